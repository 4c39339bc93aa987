//! What surrounds an assessment at the moment it is shown: what was written at once, tickets, earlier rounds and runs,
//! and other incidents.

use std::collections::BTreeMap;

use super::{
    Done, INDICATOR_MAX_CHARS, TEXT_MAX_CHARS, ago, bounded, decided_as, hostile, moment, short_moment, spell,
};
use crate::{
    Fault, Timestamp,
    assessment::Assessment,
    decision::{Choice, Decision, Round},
    incident::{Incident, Refused, Run},
    ledger::{EntryState, LedgerEntry},
    plan::Entry,
    rows::{Row, Rows},
    sighting::{COMMON, History, Persistence, Related, Reputation},
    ticket::Ticket,
};

/// Entries whose place in the ledger is looked up for one mail or page.
const ENTRIES_MAX: usize = 60;
/// Observables named of a related incident.
const SHARED_SHOWN: usize = 3;

/// What the record knows of an incident besides its assessment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Tickets and notices.
    pub tickets: Vec<Ticket>,
    /// The rounds of this run before this one; nobody decided in them.
    pub earlier: Vec<Round>,
    /// What people decided in earlier runs.
    pub decided: Vec<Decision>,
    /// What was to be written without asking, and where it stands.
    pub written: Vec<Written>,
    /// Of the earlier rounds, who handed the question on.
    pub handed_on: BTreeMap<u32, Decision>,
    /// What a person should know of how the incident was handled.
    pub warning: Option<String>,
}

/// An entry that needed nobody's approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The plan's entry.
    pub entry: Entry,
    /// How the ledger has it; `None` where it is not.
    pub ledger: Option<LedgerEntry>,
    /// Why it was not written, if that is known.
    pub refused: Option<String>,
}

impl Surroundings {
    /// Reads what there is at this moment. Rounds from this number on are no earlier ones.
    pub async fn load(rows: &impl Rows, assessment: &Assessment, round: u32) -> Result<Self, Fault> {
        let (id, run) = (&assessment.incident_id, assessment.run);
        let mut earlier = Round::all(rows, id, run).await?;
        earlier.retain(|known| known.round < round);
        let refused = Run::load(rows, id, run).await?.refused;
        let mut written = vec![];
        let unasked = assessment.plan.at_once().chain(assessment.plan.open().filter(|entry| entry.automatic));
        for entry in unasked.take(ENTRIES_MAX) {
            written.push(Written {
                ledger: LedgerEntry::load(rows, &entry.target, &entry.observable).await?,
                refused: reason(&refused, entry),
                entry: entry.clone(),
            });
        }
        let mut handed_on = BTreeMap::new();
        for round in &earlier {
            let decision = Decision::load(rows, id, run, round.round).await?;
            handed_on.extend(decision.filter(|d| d.choice == Choice::Escalated).map(|d| (round.round, d)));
        }
        let tickets = Ticket::all(rows, id).await?;
        let warning = Incident::load(rows, id).await?.warning;
        Ok(Self { tickets, earlier, decided: decided(rows, assessment).await?, written, handed_on, warning })
    }

    /// When the last of what was enforced without asking leaves by itself; `None` when there is nothing such.
    #[must_use]
    pub fn automatic_until(&self) -> Option<Timestamp> {
        let enforced = self.written.iter().filter(|written| written.entry.automatic);
        enforced.filter_map(|written| written.ledger.as_ref()).map(|entry| entry.expires_at).max()
    }

    /// Where people look the incident up, such as `jira IOC-17, hxxps://…`.
    pub(super) fn tickets(&self) -> Vec<String> {
        bounded(self.tickets.iter().filter_map(|ticket| {
            let id = ticket.external_id.as_deref()?;
            let closed = if ticket.is_closed { " (closed)" } else { "" };
            let link = ticket.permalink.as_deref().map_or_else(String::new, |link| format!(", {link}"));
            Some(hostile(&format!("{} {id}{closed}{link}", ticket.target), TEXT_MAX_CHARS))
        }))
    }

    /// Whether a ticket is open, as far as we know.
    #[must_use]
    pub fn has_open_ticket(&self) -> bool {
        self.tickets.iter().any(|ticket| ticket.external_id.is_some() && !ticket.is_closed)
    }

    /// What happens when nobody decides in a round.
    pub(super) fn if_nobody(&self, is_last: bool) -> String {
        let until = self.automatic_until().map(moment);
        let more = if until.is_some() { "nothing more" } else { "nothing" };
        if !is_last {
            return format!("{more} is enforced, and the next level is asked.");
        }
        let runs_out = until.map(|until| format!("what was blocked at once runs to its own expiry at {until}"));
        let stays = self.has_open_ticket().then(|| "the ticket stays open".to_owned());
        let parts = [Some(format!("{more} is enforced")), runs_out, Some("nobody else is asked".to_owned()), stays];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.split_last() {
            Some((last, others)) => format!("{}, and {last}.", others.join(", ")),
            None => String::new(),
        }
    }

    /// Whether people were asked before, and none of them could be reached.
    pub(super) fn is_unreached(&self) -> bool {
        !self.earlier.is_empty() && self.earlier.iter().all(Round::is_unreached)
    }

    /// Who was asked before and did not answer or could not be reached, a round a line.
    pub(super) fn earlier(&self) -> Vec<String> {
        bounded(self.earlier.iter().map(|round| {
            let (lost, silent): (Vec<&String>, Vec<&String>) =
                round.asked.iter().partition(|address| round.is_undelivered(address));
            let spelled = |addresses: &[&String]| {
                addresses.iter().map(|address| hostile(address, 254)).collect::<Vec<_>>().join(", ")
            };
            let when = round.opened_at.map_or_else(String::new, |at| format!(" at {}", moment(at)));
            let lost = spelled(&lost);
            if silent.is_empty() && !lost.is_empty() {
                return format!("level {}: {lost} could not be reached by mail{when}", round.round);
            }
            let deadline = round.opened_at.map_or_else(
                || moment(round.deadline),
                |at| {
                    let short = short_moment(round.deadline, at);
                    short.strip_suffix('Z').map_or(short.clone(), |time| format!("{time} UTC"))
                },
            );
            let people = if silent.is_empty() { "nobody".to_owned() } else { spelled(&silent) };
            let verb = if silent.len() == 1 { "was" } else { "were" };
            let lost = if lost.is_empty() { lost } else { format!("; {lost} could not be reached by mail") };
            if let Some(decision) = self.handed_on.get(&round.round) {
                let (by, reason) = (hostile(&decision.by, 254), hostile(&decision.reason, TEXT_MAX_CHARS));
                return format!("level {}: {people} {verb} asked{when}, and {by} handed it on: {reason}", round.round);
            }
            format!("level {}: {people} {verb} asked{when} and did not answer by {deadline}{lost}", round.round)
        }))
    }

    /// What was decided in earlier runs, a decision a line.
    pub(super) fn decided(&self) -> Vec<String> {
        bounded(self.decided.iter().map(|decision| {
            let by = if decision.by.is_empty() { String::new() } else { format!(" by {}", hostile(&decision.by, 254)) };
            let reason = match decision.reason.as_str() {
                "" => String::new(),
                reason => format!(": {}", hostile(reason, TEXT_MAX_CHARS)),
            };
            format!("{}{by} at {}{reason}", decided_as(decision.choice), moment(decision.at))
        }))
    }

    /// What was done already, an indicator a group, in the plan's order; while a round is open, a person may still reject it.
    pub(super) fn done(&self, is_open: bool) -> Vec<Done> {
        let mut done: Vec<Done> = vec![];
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for written in &self.written {
            let line = standing(written, is_open);
            let place = *places.entry(written.entry.observable.key()).or_insert(done.len());
            match done.get_mut(place) {
                Some(known) => known.lines.push(line),
                None => done.push(Done { indicator: spell(&written.entry.observable), lines: vec![line] }),
            }
        }
        done
    }
}

async fn decided(rows: &impl Rows, assessment: &Assessment) -> Result<Vec<Decision>, Fault> {
    let mut decided = vec![];
    for row in rows.list(&format!("incident#{}", assessment.incident_id), "decision#").await? {
        let run = row.key.sk.split('#').nth(1).and_then(|run| run.parse::<u32>().ok());
        let decision: Decision = Row::read(&row)?;
        // What a later run has inherited is the same decision.
        let is_first = decision.choice.settles() && decision.authenticated_by != "inherited";
        if run.is_some_and(|run| run < assessment.run) && is_first {
            decided.push(decision);
        }
    }
    decided.sort_by_key(|decision| decision.at);
    Ok(decided)
}

fn reason(refused: &[Refused], entry: &Entry) -> Option<String> {
    let key = entry.observable.key();
    let found = refused.iter().find(|refused| refused.observable == key && refused.target == entry.target);
    found.map(|refused| refused.reason.clone())
}

/// Where an entry stands, such as `already blocked on waf until 2026-11-24 17:00 UTC unless you reject`.
fn standing(written: &Written, is_open: bool) -> String {
    let target = hostile(&written.entry.target, 80);
    let place = match written.entry.act.as_str() {
        "record" => format!("recorded in {target}"),
        "detect" => format!("on the watchlist of {target}"),
        _ => format!("blocked on {target}"),
    };
    let Some(ledger) = &written.ledger else {
        return match &written.refused {
            Some(reason) => format!("not {place}: {}", hostile(reason, TEXT_MAX_CHARS)),
            None => format!("not {place} at this moment"),
        };
    };
    let tried = if ledger.failures > 0 { format!(", failed {} times so far", ledger.failures) } else { String::new() };
    match ledger.state {
        EntryState::Writing => format!("about to be {place}{tried}"),
        EntryState::Leaving => format!("about to be no longer {place}{tried}"),
        EntryState::Written if ledger.pre_existing => format!("{place} before us, and stays there"),
        EntryState::Written if ledger.dry_run => format!("not {place}: the target is in dry run, so it is only noted"),
        EntryState::Written => {
            let condition = if written.entry.automatic && is_open { " unless you reject" } else { "" };
            format!("already {place} until {}{condition}", moment(ledger.expires_at))
        }
    }
}

/// The campaign, and other incidents with the same observables, such as `inc-… shares evil[.]example (weight 3.4), 2 days ago`.
pub(super) fn related(assessment: &Assessment, now: Timestamp) -> Vec<String> {
    let spelled: BTreeMap<String, String> =
        assessment.observables.iter().map(|a| (a.sighted.observable.key(), spell(&a.sighted.observable))).collect();
    let value = |key: &str| hostile(key.split_once('#').map_or(key, |(_, value)| value), INDICATOR_MAX_CHARS);
    let name = |key: &String| spelled.get(key).cloned().unwrap_or_else(|| value(key));
    let line = |related: &Related| {
        let mut shared: Vec<String> =
            related.observables.iter().take(SHARED_SHOWN).map(|key| super::cut(&name(key), 120)).collect();
        let left_out = related.observables.len().saturating_sub(SHARED_SHOWN);
        if left_out > 0 {
            shared.push(format!("{left_out} more"));
        }
        let tenths = (related.weight + 5) / 10;
        let (id, seen) = (&related.incident_id, ago(now.ms_since(related.seen_at)));
        format!("{id} shares {} (weight {}.{}), {seen}", shared.join(" and "), tenths / 10, tenths % 10)
    };
    let campaign = assessment.campaign.as_ref().map(|campaign| {
        let mut named: Vec<String> = campaign.named_by.iter().map(|key| super::cut(&name(key), 120)).collect();
        if named.is_empty() {
            named.push("nothing that is rare".to_owned());
        }
        let (id, members, first) = (&campaign.campaign_id, campaign.members, moment(campaign.first_seen));
        format!("campaign {id}: {members} incidents since {first}, named by {}", named.join(" and "))
    });
    bounded(campaign.into_iter().chain(assessment.related.iter().map(line)))
}

/// How often an observable was seen here, such as `persistent: in 4 incidents on 3 days since 2026-11-20 05:00 UTC`.
pub(super) fn history(history: &History) -> String {
    let History { persistence, incidents, days, assets, first_seen, reputation } = history;
    let days = if *days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    let mut judged = judged(reputation);
    if *assets > 1 {
        judged = format!(", at {assets} assets or people of ours{judged}");
    }
    match (persistence, incidents) {
        (_, 0 | 1) => "isolated: in no other incident".to_owned(),
        (_, incidents) if *incidents > COMMON => {
            format!("persistent: in more than {COMMON} incidents, too common to tie them together")
        }
        (Persistence::Isolated, incidents) => format!("isolated: in {incidents} incidents, all on one day{judged}"),
        (Persistence::Persistent, incidents) => {
            format!("persistent: in {incidents} incidents on {days} since {}{judged}", moment(*first_seen))
        }
    }
}

/// What it was judged in the others, such as `; before: malicious 3, unknown 1, last bad 2026-11-20`.
fn judged(reputation: &Reputation) -> String {
    let Reputation { malicious, suspicious, benign, unknown, last_bad } = reputation;
    let words = [("malicious", malicious), ("suspicious", suspicious), ("benign", benign), ("unknown", unknown)];
    let counts: Vec<String> =
        words.iter().filter(|(_, count)| **count > 0).map(|(word, count)| format!("{word} {count}")).collect();
    if counts.is_empty() {
        return String::new();
    }
    let last = last_bad
        .map_or_else(String::new, |at| format!(", last bad {}", at.to_string().chars().take(10).collect::<String>()));
    format!("; before: {}{last}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_it_was_seen_is_said_in_a_line() {
        let first_seen = Timestamp::parse("2026-11-20T05:00:00Z").unwrap();
        let check = |persistence, incidents, days, expected: &str| {
            let reputation = Reputation::default();
            assert_eq!(history(&History { persistence, incidents, days, assets: 1, first_seen, reputation }), expected);
        };
        check(Persistence::Isolated, 1, 1, "isolated: in no other incident");
        check(Persistence::Isolated, 2, 1, "isolated: in 2 incidents, all on one day");
        check(Persistence::Persistent, 4, 3, "persistent: in 4 incidents on 3 days since 2026-11-20 05:00 UTC");
        check(Persistence::Persistent, 3, 1, "persistent: in 3 incidents on 1 day since 2026-11-20 05:00 UTC");
        check(Persistence::Persistent, 51, 9, "persistent: in more than 50 incidents, too common to tie them together");
        let reputation = Reputation { malicious: 3, unknown: 1, last_bad: Some(first_seen), ..Reputation::default() };
        assert_eq!(judged(&reputation), "; before: malicious 3, unknown 1, last bad 2026-11-20");
    }
}
