//! The audit: who tried what on a decision, how they were known, and what became of it. Rows are added, never changed.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{
    Fault, IncidentId, Timestamp,
    ports::Entropy,
    rows::{Condition, Key, Row, Rows, Write},
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// People were asked.
    Asked,
    /// A one-time code was mailed to an approver.
    CodeMailed,
    /// A person's vote stands, and does not decide alone.
    Voted,
    /// A decision was taken.
    Decided,
    /// A person tried, and it was not taken: `detail` says why.
    Refused,
    /// Nobody decided in time, or nobody could be reached.
    TimedOut,
    /// A mail could not be delivered.
    Undelivered,
    /// Somebody woke the execution, and there was no decision.
    WokenWithoutDecision,
}

impl Event {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::CodeMailed => "code_mailed",
            Self::Voted => "voted",
            Self::Decided => "decided",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Undelivered => "undelivered",
            Self::WokenWithoutDecision => "woken_without_decision",
        }
    }
}

/// One entry (`audit/1`): `incident#<id>` / `audit#<run>#<round>#<at>#<16 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `audit/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The round.
    pub round: u32,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// The approver's address, as policy spells it; empty where nobody is known.
    #[serde(default)]
    pub who: String,
    /// `mailbox`, `oidc`, `inherited` or `nobody`.
    #[serde(default)]
    pub authenticated_by: String,
    /// From which address and with which browser, as the gateway saw it; hostile text.
    #[serde(default)]
    pub from: String,
    /// What the person chose; empty where nothing was.
    #[serde(default)]
    pub choice: String,
    /// The person's reason; hostile text.
    #[serde(default)]
    pub reason: String,
    /// Keys of the indicators that were ticked.
    #[serde(default)]
    pub indicators: Vec<String>,
    /// Digest of what the person was shown.
    #[serde(default)]
    pub shown_digest: String,
    /// Digest of the plan that the person was shown.
    #[serde(default)]
    pub plan_digest: String,
    /// More, in a sentence.
    #[serde(default)]
    pub detail: String,
}

impl Entry {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "audit/1";

    /// An entry of which only this is known so far.
    #[must_use]
    pub fn of((id, run, round): (&IncidentId, u32, u32), event: Event, at: Timestamp) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            incident_id: id.clone(),
            run,
            round,
            at,
            event,
            who: String::new(),
            authenticated_by: String::new(),
            from: String::new(),
            choice: String::new(),
            reason: String::new(),
            indicators: vec![],
            shown_digest: String::new(),
            plan_digest: String::new(),
            detail: String::new(),
        }
    }

    /// The write that adds it; no write changes or removes one.
    pub fn write(&self, entropy: &impl Entropy) -> Result<Write, Fault> {
        let mut random = [0; 8];
        entropy.fill(&mut random)?;
        let sk = format!("audit#{}#{}#{}#{}", self.run, self.round, self.at, HEXLOWER.encode(&random));
        let key = Key::new(format!("incident#{}", self.incident_id), sk);
        Ok(Write::put(key, self)?.only_if(Condition::Absent))
    }

    /// Adds it by itself.
    pub async fn add(&self, rows: &impl Rows, entropy: &impl Entropy) -> Result<(), Fault> {
        // Its key is random: nothing can be in its place.
        rows.commit(&[self.write(entropy)?]).await.map(|_| ())
    }

    /// Every entry of an incident, by run, round and time.
    pub async fn all(rows: &impl Rows, id: &IncidentId) -> Result<Vec<Self>, Fault> {
        let rows = rows.list(&format!("incident#{id}"), "audit#").await?;
        let mut entries = rows.iter().map(Row::read).collect::<Result<Vec<Self>, Fault>>()?;
        entries.sort_by_key(|entry| (entry.run, entry.round, entry.at));
        Ok(entries)
    }
}
