//! A decision: the question, the people asked, the links, and the one row that says what was decided.
//!
//! The row is the authority. Task tokens only wake; links only find the round.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    Fault, IncidentId, Timestamp, canonical,
    policy::Policy,
    rows::{Condition, Key, Row, Rows, Write},
    severity::Severity,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// May the plan be enforced?
    ApprovePlan,
    /// Sources failed; what shall become of the incident?
    NeedsData,
}

impl Question {
    /// The answers that a person may choose from; none is chosen beforehand.
    #[must_use]
    pub const fn choices(self) -> &'static [Choice] {
        match self {
            Self::ApprovePlan => &[Choice::Approved, Choice::Rejected],
            Self::NeedsData => &[Choice::Acknowledged, Choice::Rejected, Choice::LookAgain],
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Enforce what is ticked.
    Approved,
    /// False positive: release everything, and never again.
    Rejected,
    /// Seen; close as unknown.
    Acknowledged,
    /// Ask the sources again.
    LookAgain,
    /// Nobody decided in time.
    TimedOut,
}

impl Choice {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Acknowledged => "acknowledged",
            Self::LookAgain => "look_again",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A round of asking (`round/1`): `incident#<id>` / `round#<run>#<round>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// `round/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// Rounds of a run count from 1; each asks the next level.
    pub round: u32,
    /// What is asked.
    pub question: Question,
    /// How much the incident matters.
    pub severity: Severity,
    /// `open` until the decision is written, then `decided`.
    pub state: String,
    /// When people were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// When those who have not decided are reminded: at half time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Timestamp>,
    /// Whether they were.
    #[serde(default)]
    pub reminded: bool,
    /// When the round ends.
    pub deadline: Timestamp,
    /// Who was asked.
    pub asked: Vec<String>,
    /// Who was not asked although policy names them, because their mailbox is part of the incident.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// Those who were asked and whose mail came back for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<String>,
    /// Whether no level follows.
    pub last: bool,
    /// Digest of what is shown: assessment and question.
    pub shown_digest: String,
    /// Digest of the plan.
    pub plan_digest: String,
    /// What wakes the execution; stored by the await, never leaves the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_token: Option<String>,
    /// `round-deadline` while open, `decided-not-woken` until the execution has been woken; then absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_kind: Option<String>,
    /// When `sweep` has to look: at `remind_at` first, then at the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// Open rounds are found under this `due_kind`: to remind people at half time, and at their deadline.
pub const DUE_DEADLINE: &str = "round-deadline";
/// Rounds that are decided and whose execution nobody has woken are found under this `due_kind`.
pub const DUE_WAKE: &str = "decided-not-woken";
/// A round that can be decided.
pub const OPEN: &str = "open";
/// A round that is decided.
pub const DECIDED: &str = "decided";

impl Round {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "round/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, run: u32, round: u32) -> Key {
        Key::new(format!("incident#{id}"), format!("round#{run}#{round}"))
    }

    /// Reads a round.
    pub async fn load(rows: &impl Rows, id: &IncidentId, run: u32, round: u32) -> Result<Option<Self>, Fault> {
        rows.get(&Self::key(id, run, round)).await?.as_ref().map(Row::read).transpose()
    }

    /// Whether the mail to somebody who was asked came back for good.
    #[must_use]
    pub fn is_undelivered(&self, address: &str) -> bool {
        self.undelivered.iter().any(|known| known.eq_ignore_ascii_case(address))
    }

    /// Whether people were asked, and the mail reached none of them.
    #[must_use]
    pub fn is_unreached(&self) -> bool {
        !self.asked.is_empty() && self.asked.iter().all(|address| self.is_undelivered(address))
    }

    /// Every round of a run, in order.
    pub async fn all(rows: &impl Rows, id: &IncidentId, run: u32) -> Result<Vec<Self>, Fault> {
        let rows = rows.list(&format!("incident#{id}"), &format!("round#{run}#")).await?;
        let mut rounds = rows.iter().map(Row::read).collect::<Result<Vec<Self>, Fault>>()?;
        rounds.sort_by_key(|round| round.round);
        Ok(rounds)
    }
}

/// What was decided (`decision/1`): `incident#<id>` / `decision#<run>#<round>`. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `decision/1`.
    pub schema: String,
    /// What.
    pub choice: Choice,
    /// For `timed_out`: whether no level follows.
    #[serde(default)]
    pub last: bool,
    /// Who; empty for `timed_out`.
    pub by: String,
    /// `mailbox`, `oidc`, `inherited` from an earlier run, or `nobody`.
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
    /// Keys of the indicators that the person approved.
    pub indicators: Vec<String>,
}

impl Decision {
    /// What was decided at last of these: where a playbook asks twice, silence takes back nothing that a person has decided.
    #[must_use]
    pub fn last_word(decisions: &[Self]) -> Option<&Self> {
        let of_people = decisions.iter().filter(|decision| decision.choice != Choice::TimedOut);
        // Of two of one moment the same, in whatever order they come.
        let latest = of_people.max_by_key(|decision| (decision.at, decision.choice.as_str(), &decision.indicators));
        latest.or_else(|| decisions.last())
    }

    /// The name of the row's schema.
    pub const SCHEMA: &str = "decision/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, run: u32, round: u32) -> Key {
        Key::new(format!("incident#{id}"), format!("decision#{run}#{round}"))
    }

    /// Reads a decision.
    pub async fn load(rows: &impl Rows, id: &IncidentId, run: u32, round: u32) -> Result<Option<Self>, Fault> {
        rows.get(&Self::key(id, run, round)).await?.as_ref().map(Row::read).transpose()
    }

    /// Every decision of an incident, in the order of runs and rounds (below ten each).
    pub async fn all(rows: &impl Rows, id: &IncidentId) -> Result<Vec<Self>, Fault> {
        rows.list(&format!("incident#{id}"), "decision#").await?.iter().map(Row::read).collect()
    }
}

impl Decision {
    /// The writes that take this decision: its row, made only once, and the round, which must still be open and show
    /// the same. Callers add conditions, such as that the deadline is not over, and further writes.
    pub fn writes(&self, round: &Round, now: Timestamp) -> Result<Vec<Write>, Fault> {
        let decided = serde_json::json!({
            "state": DECIDED, "due_kind": DUE_WAKE, "due_at": now,
            "shown_digest": self.shown_digest, "plan_digest": self.plan_digest,
        });
        let id = &round.incident_id;
        Ok(vec![
            Write::put(Self::key(id, round.run, round.round), self)?.only_if(Condition::Absent),
            Write::set(Round::key(id, round.run, round.round), &decided)?
                .only_if(Condition::Is("state", OPEN.into()))
                .only_if(Condition::Is("shown_digest", round.shown_digest.as_str().into())),
        ])
    }
}

/// The digest of what a person is shown; the form carries it, and only the same may be decided.
pub fn shown_digest(id: &IncidentId, run: u32, question: Question, assessment_sha256: &str) -> Result<String, Fault> {
    canonical::digest(&serde_json::json!({
        "incident_id": id, "run": run, "question": question, "assessment": assessment_sha256,
    }))
}

/// The secret of a review link: 256 random bits, of which only the SHA-256 is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret(String);

impl LinkSecret {
    /// Spells 32 random bytes as 43 characters.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(BASE64URL_NOPAD.encode(random))
    }

    /// Reads the secret from a path; `None` unless it is exactly 43 base64url characters of 32 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The secret, for the one link in the one mail.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored and found by.
    #[must_use]
    pub fn digest(&self) -> String {
        canonical::sha256_hex(self.0.as_bytes())
    }
}

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A review link (`link/1`): `link#<sha256>` / `meta`. One per approver and round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `link/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The round.
    pub round: u32,
    /// Whose link it is: one address.
    pub approver: String,
    /// When one-time codes were mailed for this link, oldest first; at most the last hour's.
    #[serde(default)]
    pub codes_sent: Vec<Timestamp>,
    /// Raised with every code, so that two requests at once do not both send.
    #[serde(default)]
    pub revision: u64,
    /// When DynamoDB may forget the row, in epoch seconds.
    pub ttl: i64,
}

impl Link {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "link/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(digest: &str) -> Key {
        Key::new(format!("link#{digest}"), "meta")
    }
}

/// Who is asked in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// One address each; empty when nobody is left who could decide.
    pub asked: Vec<String>,
    /// Addresses that policy names up to this level and that are part of the incident.
    pub skipped: Vec<String>,
    /// Whether no level follows.
    pub last: bool,
}

/// Who is asked in a round: the level of that number, counting only levels in which somebody may decide.
///
/// A mailbox that is part of the incident is skipped; a level of which nobody is left does not use up a round.
#[must_use]
pub fn audience(policy: &Policy, participants: &[String], round: u32) -> Audience {
    let wanted = usize::try_from(round.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut audience = Audience { last: true, ..Audience::default() };
    let mut levels = 0;
    for level in &policy.review.levels {
        let (skipped, asked): (Vec<&String>, Vec<&String>) =
            level.approvers.iter().partition(|approver| is_part_of_incident(participants, approver));
        if levels > wanted {
            audience.last &= asked.is_empty();
            continue;
        }
        add_new(&mut audience.skipped, skipped);
        if asked.is_empty() {
            continue;
        }
        if levels == wanted {
            add_new(&mut audience.asked, asked);
        }
        levels += 1;
    }
    audience
}

fn add_new(addresses: &mut Vec<String>, more: Vec<&String>) {
    for address in more {
        if !addresses.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            addresses.push(address.clone());
        }
    }
}

/// Whether a mailbox may not decide: when the address, or the mailbox behind its `+tag`, is itself part of the incident.
#[must_use]
pub fn is_part_of_incident(participants: &[String], approver: &str) -> bool {
    participants.iter().any(|address| mailbox(address) == mailbox(approver))
}

/// The mailbox behind an address: lower case, without the `+tag` of RFC 5233.
fn mailbox(address: &str) -> String {
    let address = address.trim().to_ascii_lowercase();
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let plain = local.split_once('+').map_or(local, |(before, _)| before);
            format!("{}@{domain}", if plain.is_empty() { local } else { plain })
        }
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(levels: &[&[&str]]) -> Policy {
        let levels: Vec<_> = levels.iter().map(|approvers| serde_json::json!({ "approvers": approvers })).collect();
        serde_json::from_value(serde_json::json!({
            "schema": "policy/1", "own": {}, "required": {},
            "review": { "levels": levels, "deadline_minutes": {} },
            "enforce": { "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
                         "caps": { "per_incident": 50, "per_hour": 200, "per_list": 9000 } },
            "enrich": { "deadline_ms": 1000, "calls": 1, "calls_per_provider": 1 },
        }))
        .unwrap()
    }

    fn check(levels: &[&[&str]], participants: &[&str], round: u32, asked: &[&str], skipped: &[&str], last: bool) {
        let participants: Vec<String> = participants.iter().map(ToString::to_string).collect();
        let audience = audience(&policy(levels), &participants, round);
        assert_eq!(audience.asked, asked, "asked in round {round} of {levels:?}");
        assert_eq!(audience.skipped, skipped, "skipped in round {round} of {levels:?}");
        assert_eq!(audience.last, last, "last in round {round} of {levels:?}");
    }

    #[test]
    fn each_round_asks_the_next_level() {
        let levels: &[&[&str]] = &[&["a@soc.example", "A@soc.example"], &["b@soc.example"]];
        check(levels, &[], 1, &["a@soc.example"], &[], false);
        check(levels, &[], 2, &["b@soc.example"], &[], true);
        check(levels, &[], 3, &[], &[], true);
    }

    #[test]
    fn a_mailbox_that_is_part_of_the_incident_is_skipped_and_an_empty_level_uses_up_no_round() {
        let levels: &[&[&str]] = &[&["a@soc.example"], &["b@soc.example", "c@soc.example"], &["d@soc.example"]];
        check(levels, &["A+phish@SOC.example"], 1, &["b@soc.example", "c@soc.example"], &["a@soc.example"], false);
        check(levels, &["a@soc.example"], 2, &["d@soc.example"], &["a@soc.example"], true);
        check(levels, &["d@soc.example"], 2, &["b@soc.example", "c@soc.example"], &[], true);
    }

    #[test]
    fn nobody_left_is_nobody_asked() {
        check(&[&["a@soc.example"]], &["a@soc.example"], 1, &[], &["a@soc.example"], true);
    }
}
