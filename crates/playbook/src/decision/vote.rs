//! Votes: what a person said in a round. The vote that is enough makes the decision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Authority, Choice, Decision, OIDC, Round, Voter};
use crate::{
    Fault, IncidentId, Timestamp,
    rows::{Key, Row, Rows, Write},
};

/// A vote (`vote/1`): `incident#<id>` / `vote#<run>#<round>#<approver>`. A person's later vote replaces the earlier one;
/// the audit keeps both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// `vote/1`.
    pub schema: String,
    /// What.
    pub choice: Choice,
    /// The answer to a manual question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The approver's address.
    pub who: String,
    /// `mailbox` or `oidc`.
    pub authenticated_by: String,
    /// When.
    pub at: Timestamp,
    /// From which address and with which browser, as the gateway saw it.
    #[serde(default)]
    pub from: String,
    /// Why, in the person's words.
    pub reason: String,
    /// Digest of what the person saw.
    pub shown_digest: String,
    /// Digest of the plan that the person saw.
    pub plan_digest: String,
    /// Keys of the indicators that the person ticked.
    #[serde(default)]
    pub indicators: Vec<String>,
    /// Hours that an indicator shall live, by its key, where the person chose less than the plan has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lifetime_hours: BTreeMap<String, u32>,
    /// For a false positive: remembered without end.
    #[serde(default)]
    pub never_again: bool,
}

/// What a vote comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It decides the round.
    Decides(Box<Decision>),
    /// It stands, and a second person has to approve: why.
    Stands(String),
}

impl Vote {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "vote/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, run: u32, round: u32, who: &str) -> Key {
        Key::new(format!("incident#{id}"), format!("vote#{run}#{round}#{}", who.to_ascii_lowercase()))
    }

    /// The votes of a round, in the order of time.
    pub async fn all(rows: &impl Rows, id: &IncidentId, run: u32, round: u32) -> Result<Vec<Self>, Fault> {
        let rows = rows.list(&format!("incident#{id}"), &format!("vote#{run}#{round}#")).await?;
        let mut votes = rows.iter().map(Row::read).collect::<Result<Vec<Self>, Fault>>()?;
        votes.sort_by(|a, b| (a.at, &a.who).cmp(&(b.at, &b.who)));
        Ok(votes)
    }

    /// The write that keeps it.
    pub fn write(&self, round: &Round) -> Result<Write, Fault> {
        Write::put(Self::key(&round.incident_id, round.run, round.round, &self.who), self)
    }

    /// Whether it is about what is shown now: a plan that has changed voids it.
    #[must_use]
    pub fn stands(&self, shown_digest: &str, plan_digest: &str) -> bool {
        self.shown_digest == shown_digest && self.plan_digest == plan_digest
    }

    /// What it comes to beside the other votes of the round.
    ///
    /// Only approval may take a second person. Then what both have ticked is approved, and what this person may approve
    /// alone.
    #[must_use]
    pub fn tally(&self, others: &[Self], authority: &Authority<'_>) -> Outcome {
        let alone = || Outcome::Decides(Box::new(self.decision(self.indicators.clone(), &[])));
        if self.choice != Choice::Approved {
            return alone();
        }
        let Some(why) = authority.second_vote(&self.indicators) else { return alone() };
        let seconds: Vec<&Self> = others.iter().filter(|other| self.is_seconded_by(other)).collect();
        let is_over = authority.is_over(&self.indicators);
        let needs_second = |key: &String| is_over || authority.is_marked(key);
        let ticked_by = |other: &Self, key: &String| other.indicators.contains(key);
        let approved: Vec<String> = self
            .indicators
            .iter()
            .filter(|key| !needs_second(key) || seconds.iter().any(|other| ticked_by(other, key)))
            .cloned()
            .collect();
        let behind: Vec<&Self> = seconds
            .into_iter()
            .filter(|other| approved.iter().any(|key| needs_second(key) && ticked_by(other, key)))
            .collect();
        if behind.is_empty() {
            return Outcome::Stands(why);
        }
        Outcome::Decides(Box::new(self.decision(approved, &behind)))
    }

    /// Whether another vote is the second that approval takes: of another person, who signed in, of the same plan.
    fn is_seconded_by(&self, other: &Self) -> bool {
        other.choice == Choice::Approved
            && !other.who.eq_ignore_ascii_case(&self.who)
            && other.authenticated_by == OIDC
            && self.authenticated_by == OIDC
            && other.stands(&self.shown_digest, &self.plan_digest)
    }

    fn decision(&self, indicators: Vec<String>, behind: &[&Self]) -> Decision {
        let voter =
            |vote: &Self| Voter { who: vote.who.clone(), authenticated_by: vote.authenticated_by.clone(), at: vote.at };
        // Of two lifetimes the shorter.
        let chosen = behind.iter().copied().chain([self]);
        let lifetime = |key: &String| chosen.clone().filter_map(|vote| vote.lifetime_hours.get(key)).min().copied();
        Decision {
            choice: self.choice,
            by: self.who.clone(),
            authenticated_by: self.authenticated_by.clone(),
            from: self.from.clone(),
            reason: self.reason.clone(),
            shown_digest: self.shown_digest.clone(),
            plan_digest: self.plan_digest.clone(),
            answer: self.answer.clone(),
            lifetime_hours: indicators.iter().filter_map(|key| Some((key.clone(), lifetime(key)?))).collect(),
            never_again: self.never_again,
            votes: behind.iter().copied().chain([self]).map(voter).collect(),
            indicators,
            ..Decision::at(self.at)
        }
    }
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        brief::sample,
        decision::MAILBOX,
        plan::{Entry, Plan},
    };

    /// Indicators `a`, `b` … of which the upper-case ones take two people.
    fn plan(names: &str) -> Plan {
        let sample = sample::assessment().unwrap().plan.entries.swap_remove(0);
        let entry = |name: char| Entry {
            observable: ioc::Observable::parse(ioc::ObservableType::DomainName, &key(name)[12..]).unwrap(),
            second: name.is_ascii_uppercase().then(|| "ours".to_owned()),
            ..sample.clone()
        };
        Plan { entries: names.chars().map(entry).collect() }
    }

    fn key(name: char) -> String {
        format!("domain-name#{}.example", name.to_ascii_lowercase())
    }

    fn vote(who: &str, ticks: &str) -> Vote {
        Vote {
            schema: Vote::SCHEMA.to_owned(),
            choice: Choice::Approved,
            answer: None,
            who: who.to_owned(),
            authenticated_by: OIDC.to_owned(),
            at: Timestamp::from_millis(0),
            from: String::new(),
            reason: String::new(),
            shown_digest: "shown".to_owned(),
            plan_digest: "plan".to_owned(),
            indicators: ticks.chars().map(key).collect(),
            lifetime_hours: BTreeMap::new(),
            never_again: false,
        }
    }

    /// What is approved and by how many, or `stands`.
    fn come_to(plan: &Plan, alone_max: usize, vote: &Vote, others: &[Vote]) -> String {
        let authority = Authority { plan, alone_max };
        let decision = match vote.tally(others, &authority) {
            Outcome::Stands(_) => return "stands".to_owned(),
            Outcome::Decides(decision) => decision,
        };
        for entry in plan.open().filter(|entry| decision.indicators.contains(&entry.observable.key())) {
            assert_eq!(authority.denies(&decision, &[], entry), None, "a writer denies what a vote has decided");
        }
        let names: String = decision.indicators.iter().map(|key| key.chars().nth(12).unwrap()).collect();
        let people: BTreeSet<&str> = decision.votes.iter().map(|voter| voter.who.as_str()).collect();
        format!("{names} {}", people.len())
    }

    #[test]
    fn one_person_approves_alone_unless_something_takes_two() {
        let plan = plan("abXY");
        let check = |ticks: &str, others: &[(&str, &str)], expected: &str| {
            let others: Vec<Vote> = others.iter().map(|(who, ticks)| vote(who, ticks)).collect();
            assert_eq!(come_to(&plan, 3, &vote("ana", ticks), &others), expected, "{ticks} beside {others:?}");
        };
        check("ab", &[], "ab 1");
        check("", &[], " 1");
        check("aX", &[], "stands");
        check("aX", &[("ben", "bX")], "ax 2");
        check("aX", &[("ben", "ab")], "stands");
        check("aX", &[("ben", "ab"), ("eve", "X")], "ax 2");
        check("aXY", &[("ben", "X"), ("eve", "Y")], "axy 3");
        check("aXY", &[("ben", "X")], "ax 2");
        // A person is no second to himself, in whatever spelling.
        check("aX", &[("ANA", "X")], "stands");
        // More than three entries: everything takes two.
        check("abXY", &[], "stands");
        check("abXY", &[("ben", "ab")], "ab 2");
    }

    #[test]
    fn a_vote_of_another_plan_by_mailbox_or_for_something_else_is_no_second() {
        let plan = plan("X");
        let changes: [fn(&mut Vote); 5] = [
            |vote| vote.plan_digest = "other".to_owned(),
            |vote| vote.shown_digest = "other".to_owned(),
            |vote| vote.authenticated_by = MAILBOX.to_owned(),
            |vote| vote.choice = Choice::Rejected,
            |vote| vote.indicators.clear(),
        ];
        assert_eq!(come_to(&plan, 50, &vote("ana", "X"), &[vote("ben", "X")]), "x 2");
        for change in changes {
            let mut other = vote("ben", "X");
            change(&mut other);
            assert_eq!(come_to(&plan, 50, &vote("ana", "X"), &[other]), "stands");
        }
        let by_mail = Vote { authenticated_by: MAILBOX.to_owned(), ..vote("ana", "X") };
        assert_eq!(come_to(&plan, 50, &by_mail, &[vote("ben", "X")]), "stands");
    }

    #[test]
    fn whatever_enforces_nothing_takes_one_person() {
        let plan = plan("X");
        for choice in [Choice::Rejected, Choice::Acknowledged, Choice::LookAgain, Choice::Escalated, Choice::Answered] {
            let vote = Vote { choice, ..vote("ana", "") };
            assert_eq!(come_to(&plan, 50, &vote, &[]), " 1");
        }
    }

    #[test]
    fn of_two_lifetimes_the_shorter_counts() {
        let plan = plan("X");
        let lives = |hours: u32| BTreeMap::from([(key('X'), hours)]);
        let ana = Vote { lifetime_hours: lives(72), ..vote("ana", "X") };
        let ben = Vote { lifetime_hours: lives(24), ..vote("ben", "X") };
        let authority = Authority { plan: &plan, alone_max: 50 };
        let Outcome::Decides(decision) = ana.tally(&[ben], &authority) else { panic!("two approve") };
        assert_eq!(decision.lifetime_hours, lives(24));
    }

    #[test]
    fn a_writer_denies_what_the_row_does_not_carry() {
        let plan = plan("aX");
        let authority = Authority { plan: &plan, alone_max: 1 };
        let decided = |voters: &[(&str, &str)], ticks: &str| {
            let at = Timestamp::from_millis(0);
            let voter =
                |(who, how): &(&str, &str)| Voter { who: (*who).to_owned(), authenticated_by: (*how).to_owned(), at };
            let indicators = ticks.chars().map(key).collect();
            Decision {
                choice: Choice::Approved,
                by: "ana@soc.example".to_owned(),
                indicators,
                votes: voters.iter().map(voter).collect(),
                ..Decision::at(at)
            }
        };
        let check = |decision: &Decision, participants: &[&str], entry: usize, expected: Option<&str>| {
            let participants: Vec<String> = participants.iter().map(ToString::to_string).collect();
            let denied = authority.denies(decision, &participants, &plan.entries[entry]);
            match expected {
                None => assert_eq!(denied, None),
                Some(words) => assert!(denied.as_ref().is_some_and(|why| why.contains(words)), "{denied:?}"),
            }
        };
        let ana = ("ana@soc.example", OIDC);
        let ben = ("ben@soc.example", OIDC);
        let by_mail = ("ana@soc.example", MAILBOX);
        check(&decided(&[], "a"), &[], 0, None);
        check(&decided(&[by_mail], "a"), &["Ana+x@soc.example"], 0, Some("part of the incident"));
        check(&decided(&[by_mail], "X"), &[], 1, Some("a mailbox cannot"));
        check(&decided(&[ana], "X"), &[], 1, Some("2 people have to sign in and approve it, 1 did"));
        check(&decided(&[ana, ben], "X"), &[], 1, None);
        check(&decided(&[ana, by_mail], "X"), &[], 1, Some("a mailbox cannot"));
        check(&decided(&[ana], "aX"), &[], 0, Some("2 entries are more than the 1"));
        check(&decided(&[by_mail], "aX"), &[], 0, Some("2 entries are more than the 1"));
        check(&decided(&[ana, ben], "aX"), &[], 0, None);
    }
}
