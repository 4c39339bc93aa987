//! An incident: one mail, alert or feed batch, from intake to closed.

use ioc::Observable;
use serde::{Deserialize, Serialize};

use crate::{
    Fault, IncidentId, Timestamp,
    effort::Efforts,
    manifest::Tlp,
    rows::{Change, Condition, Key, Row, Rows, Write},
    severity::Severity,
};

/// A document in the evidence bucket, with its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRef {
    /// The object's key.
    pub key: String,
    /// The object's version, where the bucket keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Lower-case hex SHA-256 of the content; empty when nobody has read it yet.
    #[serde(default)]
    pub sha256: String,
    /// Length of the content.
    #[serde(default)]
    pub size_bytes: u64,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A reported mail.
    Mail,
    /// An alert of a SIEM or an AWS service.
    Alert,
    /// A batch of a feed.
    Feed,
    /// Not a piece of work: an execution has ended badly.
    ExecutionEnded,
}

/// The message on the intake queue (`intake/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intake {
    /// `intake/1`.
    pub schema: String,
    /// What came in.
    pub kind: Kind,
    /// Whose it is.
    pub tenant: String,
    /// Which door: `mail`, a SIEM's id, `step-functions`.
    pub source: String,
    /// The source's own id; for mail: bucket, key and version.
    pub native_id: String,
    /// What the source says of the severity.
    pub severity: Severity,
    /// Where the content lies.
    #[serde(default)]
    pub evidence: Option<EvidenceRef>,
    /// When it came in.
    pub received_at: Timestamp,
    /// Digest of what makes it alike others, where the door knows it: `admit` groups storms by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How the execution ended; only for `execution_ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// The name of the intake message's schema.
pub const INTAKE_SCHEMA: &str = "intake/1";

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Being worked on.
    Open,
    /// A person has been asked.
    Waiting,
    /// Closed.
    Closed,
    /// Closed for now; it will be looked at again.
    Provisional,
    /// The machine failed on it; a person must look.
    Failed,
    /// One of a storm: it belongs to a parent, and no execution of its own looks at it.
    Attached,
}

/// The incident's row (`incident/1`): `incident#<id>` / `meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `incident/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Whose it is.
    pub tenant: String,
    /// What came in.
    pub kind: Kind,
    /// Which door.
    pub source: String,
    /// The source's own id.
    pub native_id: String,
    /// What the source says of the severity.
    pub severity: Severity,
    /// Where the content lies.
    pub evidence: EvidenceRef,
    /// When it came in.
    pub received_at: Timestamp,
    /// The configuration that judges this incident from start to end.
    pub config_digest: String,
    /// Where it stands.
    pub status: IncidentStatus,
    /// The current run, from 1.
    pub run: u32,
    /// When the current run's execution was started; absent: it must be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Which way it went: `review`, `needs-data`, `watch`, `provisional`, `benign`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// How it ended: `not_malicious`, `enforced`, `false_positive`, `acknowledged`, `timed_out`, `provisional`, `watched`, `look_again`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why the machine failed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What a person should know of how it was handled, such as that somebody woke it without a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Which state machine works on it; absent: `playbook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Digest of what makes it alike others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The incident that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<IncidentId>,
    /// How many are attached to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<u64>,
    /// How often evidence that came late has opened it again.
    #[serde(default)]
    pub reopened: u32,
    /// The run that a person has asked for: in it the sources are asked anew, whatever the cache knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_again: Option<u32>,
    /// `incident-open` while it is worked on: `sweep` looks whether somebody really does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_kind: Option<String>,
    /// When `sweep` has to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When the row was last written.
    pub updated_at: Timestamp,
}

/// Incidents that are worked on are found under this `due_kind`.
pub const DUE_OPEN: &str = "incident-open";
/// Minutes after which `sweep` looks whether an incident has a living execution, and looks again.
pub const WATCH_MINUTES: i64 = 15;

/// The write also makes `sweep` look after a while whether somebody really works on the incident. For `put` and `set`.
#[must_use]
pub fn watch(mut write: Write, now: Timestamp) -> Write {
    if let Change::Put(set) | Change::Set { set, .. } = &mut write.change {
        set.insert("due_kind".to_owned(), DUE_OPEN.into());
        set.insert("due_at".to_owned(), now.plus_minutes(WATCH_MINUTES).to_string().into());
    }
    write
}

/// The write also makes `sweep` leave the incident alone: nobody works on it any more. For `set`.
#[must_use]
pub fn unwatch(write: Write) -> Write {
    write.removing(&["due_kind", "due_at"])
}

impl Incident {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "incident/1";
    /// The machine of incidents that name none.
    pub const MACHINE: &str = "playbook";

    /// Which state machine works on it.
    #[must_use]
    pub fn machine(&self) -> &str {
        self.machine.as_deref().unwrap_or(Self::MACHINE)
    }

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId) -> Key {
        Key::new(format!("incident#{id}"), "meta")
    }

    /// Reads an incident; an unknown one is `Rejected`.
    pub async fn load(rows: &impl Rows, id: &IncidentId) -> Result<Self, Fault> {
        let row = rows.get(&Self::key(id)).await?;
        row.ok_or_else(|| Fault::Rejected(format!("there is no incident {id}")))?.read()
    }
}

/// What a run has produced so far (`run/1`): `incident#<id>` / `run#<run>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `run/1`.
    #[serde(default)]
    pub schema: String,
    /// The extraction document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraction: Option<EvidenceRef>,
    /// The assessment document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<EvidenceRef>,
    /// The name of the execution, when somebody else than `admit` has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// What was approved and yet not written, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// Which run an execution works on that `admit` has not started (`execution/1`): `execution#<name>` / `meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignExecution {
    /// `execution/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
}

impl ForeignExecution {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "execution/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(name: &str) -> Key {
        Key::new(format!("execution#{name}"), "meta")
    }

    /// The incident and run of an execution of any name.
    pub async fn find(rows: &impl Rows, name: &str) -> Result<Option<(IncidentId, u32)>, Fault> {
        if let Some(ours) = IncidentId::from_execution_name(name) {
            return Ok(Some(ours));
        }
        let row: Option<Self> = rows.get(&Self::key(name)).await?.as_ref().map(Row::read).transpose()?;
        Ok(row.map(|row| (row.incident_id, row.run)))
    }
}

/// An entry that was approved and yet not written: guarded, or over a cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `Observable::key`.
    pub observable: String,
    /// The target's id.
    pub target: String,
    /// Why.
    pub reason: String,
}

impl Run {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "run/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, run: u32) -> Key {
        Key::new(format!("incident#{id}"), format!("run#{run}"))
    }

    /// Where the enrichment of the chunk that starts at `offset` is noted: one row a chunk, so that chunks do not race.
    #[must_use]
    pub fn enrichment_key(id: &IncidentId, run: u32, offset: usize) -> Key {
        Key::new(format!("incident#{id}"), format!("enrichment#{run}#{offset:06}"))
    }

    /// Where it is noted what the lookups of that chunk take: an [`Effort`](crate::effort::Effort), before the first call.
    #[must_use]
    pub fn effort_key(id: &IncidentId, run: u32, offset: usize) -> Key {
        Key::new(format!("incident#{id}"), format!("effort#{run}#{offset:06}"))
    }

    /// Reads a run; a run that has produced nothing is empty.
    pub async fn load(rows: &impl Rows, id: &IncidentId, run: u32) -> Result<Self, Fault> {
        rows.get(&Self::key(id, run)).await?.as_ref().map_or_else(|| Ok(Self::default()), Row::read)
    }
}

/// A row that only points to a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The document.
    pub document: EvidenceRef,
}

/// Why an observable is not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// One of our own names or addresses.
    Own,
    /// A private, reserved or special-use address or name.
    Reserved,
    /// A public suffix or a provider's own host.
    Infrastructure,
}

/// An observable with where it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighted {
    /// The observable.
    #[serde(flatten)]
    pub observable: Observable,
    /// Where in the evidence: `header:from`, `text`, `html:href`, `attachment:invoice.pdf`, nested `message/1/text`; at most 8.
    pub places: Vec<String>,
    /// Why it is not looked up, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// Something that the extraction left out or could not read; shown, never silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// Where in the evidence.
    pub place: String,
    /// What was left out and why.
    pub reason: String,
}

/// What `Extract` found (`extraction/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extraction {
    /// `extraction/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// The subject, as a person may read it; hostile text.
    pub subject: String,
    /// Addresses that sent, received or reported: for the rule that a mailbox that is part of the incident cannot approve.
    pub participants: Vec<String>,
    /// How it may be shared: providers whose ceiling lies below are not asked.
    #[serde(default)]
    pub tlp: Tlp,
    /// Whether the traffic went through, where an alert says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_allowed: Option<bool>,
    /// Sorted, without duplicates.
    pub observables: Vec<Sighted>,
    /// What was left out.
    pub omissions: Vec<Omission>,
    /// Whether a limit left out something that may hold observables: then nobody may say that there was nothing.
    #[serde(default)]
    pub incomplete: bool,
}

impl Extraction {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "extraction/1";
}

/// The outcomes of one observable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enriched {
    /// `Observable::key`.
    pub observable: String,
    /// One per provider that was asked or considered.
    pub outcomes: Vec<crate::outcome::Outcome>,
}

/// What `Enrich` learned of one chunk (`enrichment/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrichment {
    /// `enrichment/1`.
    pub schema: String,
    /// One per observable of the chunk.
    pub observables: Vec<Enriched>,
    /// What the lookups cost; absent in those of earlier releases.
    #[serde(default)]
    pub efforts: Efforts,
}

impl Enrichment {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "enrichment/1";
}

/// Moves an incident on: sets status, result and failure of the row, whatever it was.
pub async fn update(rows: &impl Rows, id: &IncidentId, document: &impl Serialize) -> Result<(), Fault> {
    let write = Write::set(Incident::key(id), document)?.only_if(Condition::Present);
    match rows.commit(&[write]).await? {
        crate::rows::Commit::Done => Ok(()),
        crate::rows::Commit::Conflict => Err(Fault::Rejected(format!("there is no incident {id}"))),
    }
}
