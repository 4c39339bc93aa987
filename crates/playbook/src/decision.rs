//! A decision: the question, the people asked, the votes, and the one row that says what was decided.
//!
//! The row is the authority. Task tokens only wake; links only find the round.

mod audience;
mod authority;
mod link;
mod question;
mod silence;
mod vote;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use audience::{Asking, Audience, audience, is_part_of_incident};
pub use authority::{Authority, MAILBOX, OIDC};
pub use link::{Link, LinkSecret};
pub use question::{Asked, Asks, Choice, Offered, Question, Shows};
pub use silence::{end, silence};
pub use vote::{Outcome, Vote};

use crate::{
    Fault, IncidentId, Timestamp, canonical,
    rows::{Condition, Key, Row, Rows, Write},
    severity::Severity,
};

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
    /// Who was not asked although policy names them, because they are away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<String>,
    /// Those who were asked and whose mail came back for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<String>,
    /// Whether no level follows.
    pub last: bool,
    /// What an author asks; absent where the playbook asks by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// Whether people had to sign in when they were asked: it does not become less.
    #[serde(default)]
    pub sign_in: bool,
    /// Entries that one person may approve alone.
    #[serde(default = "alone_max")]
    pub alone_max: usize,
    /// How many votes were taken: raised with each, so that two at once do not overlook each other. Absent in rounds of
    /// release 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<u32>,
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

/// Entries that one person approves alone where policy says nothing else.
#[must_use]
pub const fn alone_max() -> usize {
    50
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

    /// The answers that a person may choose from. Where a level follows, the question may be handed on.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = self.question.choices().to_vec();
        if !self.last && self.question != Question::Manual {
            choices.push(Choice::Escalated);
        }
        choices
    }

    /// Holds as long as no vote has been taken since this was read.
    #[must_use]
    pub fn counted(&self) -> Condition {
        self.votes.map_or(Condition::Lacks("votes"), |votes| Condition::Is("votes", votes.into()))
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
    /// `mailbox`, `oidc`, `inherited` from an earlier run, or `nobody`; of several votes the weakest.
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
    /// Keys of the indicators that the person approved, or ticked with an answer.
    pub indicators: Vec<String>,
    /// The answer to a manual question: what the machine reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Hours that an approved indicator lives, by its key, where the person chose less than the plan has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lifetime_hours: BTreeMap<String, u32>,
    /// For a false positive: remembered without end.
    #[serde(default)]
    pub never_again: bool,
    /// Everybody whose vote stands behind it, in the order of time; empty in those of release 0.1.0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Voter>,
}

/// Somebody whose vote stands behind a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// The approver's address.
    pub who: String,
    /// `mailbox` or `oidc`.
    pub authenticated_by: String,
    /// When.
    pub at: Timestamp,
}

impl Decision {
    /// A decision of nobody, to be filled in.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            choice: Choice::TimedOut,
            last: false,
            by: String::new(),
            authenticated_by: "nobody".to_owned(),
            at,
            from: String::new(),
            reason: String::new(),
            shown_digest: String::new(),
            plan_digest: String::new(),
            indicators: vec![],
            answer: None,
            lifetime_hours: BTreeMap::new(),
            never_again: false,
            votes: vec![],
        }
    }

    /// What was decided at last of these: where a playbook asks twice, silence takes back nothing that a person has decided.
    #[must_use]
    pub fn last_word(decisions: &[Self]) -> Option<&Self> {
        let of_people = decisions.iter().filter(|decision| decision.choice.settles());
        // Of two of one moment the same, in whatever order they come.
        let latest = of_people.max_by_key(|decision| (decision.at, decision.choice.as_str(), &decision.indicators));
        latest.or_else(|| decisions.iter().rfind(|decision| decision.choice != Choice::Answered))
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
pub fn shown_digest(id: &IncidentId, run: u32, round: &Round, assessment_sha256: &str) -> Result<String, Fault> {
    let mut shown = serde_json::json!({
        "incident_id": id, "run": run, "question": round.question, "assessment": assessment_sha256,
    });
    // Only where an author asks: rounds that wait for a decision keep the digest that was shown.
    if let Some(asks) = &round.asks {
        shown["asks"] = serde_json::json!(asks);
    }
    canonical::digest(&shown)
}
