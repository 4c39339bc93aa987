//! A lookup whose answer is still to come: it waits for a slot, or for a sandbox. `follow-up` owns it.

use ioc::Observable;
use serde::{Deserialize, Serialize};

use crate::{Fault, IncidentId, Timestamp, canonical, outcome::Outcome, ports::Queue, rows::Key};

/// Lookups that wait longer than a queue can are found under this `due_kind`.
pub const DUE_PARKED: &str = "parked-lookup";

/// The longest that a message of the queue can wait.
pub const DELAY_MAX_SECONDS: i64 = 900;

/// The provider of a row that is no lookup: the whole incident is looked at again.
pub const EVERY_PROVIDER: &str = "*";

/// Why a whole incident is looked at again.
pub const RECHECK: &str = "recheck";

/// So long after its time a lookup has lost its message, and `sweep` sends another.
const LOST_AFTER_MS: i64 = 120_000;

/// So long before its time `sweep` sends the message of a parked lookup.
const PARKED_UNTIL_MS: i64 = 600_000;

/// A lookup to follow up (`pending/1`): `incident#<id>` / `pending#<run>#<provider>#<digest of the observable's key>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLookup {
    /// `pending/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// The run that asked.
    pub run: u32,
    /// The provider's id; `*` for a look again at the whole incident.
    pub provider: String,
    /// What is asked about; absent with `*`. Not stored as `observable`: that is the key of an index, which takes texts only.
    #[serde(default, rename = "about", skip_serializing_if = "Option::is_none")]
    pub observable: Option<Observable>,
    /// `quota`, `retry_after`, `submitted`, `asked_elsewhere` or `recheck`.
    pub reason: String,
    /// For a submitted sandbox: what the provider calls the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// When the lookup was first put off.
    pub since: Timestamp,
    /// When it is tried next.
    pub try_at: Timestamp,
    /// When it is given up.
    pub give_up_at: Timestamp,
    /// The answer, once it is there and cannot be used yet: a person is deciding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why nobody looks at it any more although it is not done; shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// `parked-lookup`, unless it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_kind: Option<String>,
    /// When `sweep` has to send a message: some time before the next try where it lies further away than the queue can
    /// wait, otherwise some time after it, should the message be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// The message on the follow-up queue (`follow-up/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowUp {
    /// `follow-up/1`.
    pub schema: String,
    /// Partition of the row.
    pub pk: String,
    /// Sort key of the row.
    pub sk: String,
    /// The row's `try_at` when the message was sent: of a row that has moved on it is an old message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub try_at: Option<Timestamp>,
}

impl PendingLookup {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "pending/1";

    /// Where the row of a lookup lies.
    #[must_use]
    pub fn key(id: &IncidentId, run: u32, provider: &str, observable: Option<&Observable>) -> Key {
        let mut digest = observable.map_or_else(String::new, |o| canonical::sha256_hex(o.key().as_bytes()));
        digest.truncate(32);
        Key::new(format!("incident#{id}"), format!("pending#{run}#{provider}#{digest}"))
    }

    /// Where this row lies.
    #[must_use]
    pub fn own_key(&self) -> Key {
        Self::key(&self.incident_id, self.run, &self.provider, self.observable.as_ref())
    }

    /// A look again at a whole incident, at `try_at`.
    #[must_use]
    pub fn recheck(id: &IncidentId, run: u32, now: Timestamp, try_at: Timestamp) -> Self {
        let mut row = Self {
            schema: Self::SCHEMA.to_owned(),
            incident_id: id.clone(),
            run,
            provider: EVERY_PROVIDER.to_owned(),
            observable: None,
            reason: RECHECK.to_owned(),
            task: None,
            since: now,
            try_at,
            give_up_at: try_at,
            outcome: None,
            held: None,
            due_kind: None,
            due_at: None,
        };
        row.put_off(try_at, now);
        row
    }

    /// To be tried at `try_at`. `sweep` is told as well, so that nothing is lost when no message follows.
    pub fn put_off(&mut self, try_at: Timestamp, now: Timestamp) {
        self.try_at = try_at;
        self.due_kind = Some(DUE_PARKED.to_owned());
        self.due_at = Some(if self.delay_seconds(now).is_some() {
            try_at.max(now).plus_ms(LOST_AFTER_MS)
        } else {
            try_at.plus_ms(-PARKED_UNTIL_MS)
        });
    }

    /// How long its message waits in the queue; `None` where that is longer than it can.
    #[must_use]
    pub fn delay_seconds(&self, now: Timestamp) -> Option<u32> {
        let ms = self.try_at.ms_since(now).max(0);
        let seconds = ms / 1_000 + i64::from(ms % 1_000 != 0);
        u32::try_from(seconds).ok().filter(|seconds| i64::from(*seconds) <= DELAY_MAX_SECONDS)
    }

    /// The message that makes `follow-up` look at it.
    pub fn message(&self) -> Result<String, Fault> {
        let Key { pk, sk } = self.own_key();
        let message = FollowUp { schema: FollowUp::SCHEMA.to_owned(), pk, sk, try_at: Some(self.try_at) };
        serde_json::to_string(&message).map_err(|error| Fault::Rejected(error.to_string()))
    }

    /// Sends the message, to arrive at the time of the next try. A parked one has none yet: `sweep` sends it.
    pub async fn announce(&self, queue: &impl Queue, now: Timestamp) -> Result<(), Fault> {
        match self.delay_seconds(now) {
            Some(seconds) => queue.push(&self.message()?, seconds).await,
            None => Ok(()),
        }
    }
}

impl FollowUp {
    /// The name of the message's schema.
    pub const SCHEMA: &str = "follow-up/1";
}

/// An answer that came after its run had gone on, or was given up (`late/1`):
/// `incident#<id>` / `late#<run>#<provider>#<digest of the observable's key>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateOutcome {
    /// `late/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// The run that asked.
    pub run: u32,
    /// What was asked about.
    pub about: Observable,
    /// What became of it in the end.
    pub outcome: Outcome,
    /// When that was known.
    pub at: Timestamp,
    /// The run that it opened, if it changed the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_run: Option<u32>,
}

impl LateOutcome {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "late/1";

    /// Where the row lies.
    #[must_use]
    pub fn own_key(&self) -> Key {
        let mut key = PendingLookup::key(&self.incident_id, self.run, &self.outcome.provider, Some(&self.about));
        key.sk = key.sk.replacen("pending#", "late#", 1);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wait_seconds: i64, delay: Option<u32>, due_seconds: i64) {
        let now = Timestamp::parse("2026-11-24T05:00:00Z").unwrap();
        let id = IncidentId::of("default", "mail", "1");
        let row = PendingLookup::recheck(&id, 1, now, now.plus_ms(wait_seconds * 1_000));
        assert_eq!(row.delay_seconds(now), delay, "{wait_seconds}");
        assert_eq!(row.due_at, Some(now.plus_ms(due_seconds * 1_000)), "{wait_seconds}");
        assert_eq!(row.due_kind.as_deref(), Some(DUE_PARKED));
    }

    #[test]
    fn what_the_queue_cannot_hold_is_parked_and_what_it_holds_is_looked_after() {
        check(30, Some(30), 150);
        check(900, Some(900), 1_020);
        check(901, None, 301);
        check(43_200, None, 42_600);
        // Its time has come already.
        check(-60, Some(0), 120);
    }

    #[test]
    fn a_message_never_arrives_early() {
        let now = Timestamp::parse("2026-11-24T05:00:00Z").unwrap();
        let row = PendingLookup::recheck(&IncidentId::of("default", "mail", "1"), 1, now, now.plus_ms(1_001));
        assert_eq!(row.delay_seconds(now), Some(2));
    }
}
