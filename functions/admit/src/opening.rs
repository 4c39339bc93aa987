//! The incident's row: read for a redelivery; made for new work, alone or attached to the first of its storm.

use playbook::{
    Fault, IncidentId, Timestamp,
    incident::{DUE_OPEN, EvidenceRef, Incident, IncidentStatus, Intake, Kind},
    intake::fingerprint,
    ports::{Clock, Evidence, Machines},
    rows::{Commit, Condition, Key, Rows, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{World, route};

/// When `sweep` looks whether somebody works on a new incident.
const LOOK_AFTER_MINUTES: i64 = 15;
/// Larger mails are not read for what makes them alike.
const MAIL_MAX_BYTES: u64 = 40 * 1024 * 1024;
/// How long a minute's count is kept: redeliveries come within hours.
const STORM_KEPT_HOURS: i64 = 24;
/// Looks at a row that others are writing at the same moment.
const TRIES: usize = 8;

/// How many of one fingerprint came in a minute (`storm/1`): `storm#<tenant>#<fingerprint>` / `<minute>`.
#[derive(Debug, Serialize, Deserialize)]
struct Storm {
    schema: String,
    /// The first one: the others are attached to it.
    parent: IncidentId,
    /// How many are looked at by an execution of their own.
    #[serde(default)]
    count: u64,
    /// When it may go.
    ttl: i64,
}

impl Storm {
    fn key(tenant: &str, fingerprint: &str, received_at: Timestamp) -> Key {
        let minute: String = received_at.to_string().chars().take("2026-11-24T05:00".len()).collect();
        Key::new(format!("storm#{tenant}#{fingerprint}"), minute)
    }
}

/// The incident of an intake message. Safe to run again: whatever is counted is counted in one commit with the row.
pub async fn open(
    world: &World<'_, impl Evidence, impl Rows, impl Machines, impl Clock>,
    now: Timestamp,
    intake: Intake,
) -> Result<Incident, Fault> {
    let id = IncidentId::of(&intake.tenant, &intake.source, &intake.native_id);
    if let Some(row) = world.rows.get(&Incident::key(&id)).await? {
        return row.read();
    }
    let policy = &world.bundle().await?.policy;
    let machine = route::machine(&policy.route, &intake);
    let evidence =
        intake.evidence.clone().ok_or_else(|| Fault::Rejected("the message names no evidence".to_owned()))?;
    let fingerprint = match (&intake.fingerprint, intake.kind) {
        (Some(known), _) => Some(known.clone()),
        (None, Kind::Mail) => mail_fingerprint(world.evidence, &evidence).await?,
        (None, _) => None,
    };
    let incident = Incident {
        schema: Incident::SCHEMA.to_owned(),
        incident_id: id,
        tenant: intake.tenant,
        kind: intake.kind,
        source: intake.source,
        native_id: intake.native_id,
        severity: intake.severity,
        evidence,
        received_at: intake.received_at,
        config_digest: world.settings.config_digest.clone(),
        status: IncidentStatus::Open,
        run: 1,
        started_at: None,
        route: None,
        result: None,
        failure: None,
        warning: None,
        machine,
        fingerprint,
        parent: None,
        attached: None,
        reopened: 0,
        asked_again: None,
        due_kind: Some(DUE_OPEN.to_owned()),
        due_at: Some(now.plus_minutes(LOOK_AFTER_MINUTES)),
        updated_at: now,
    };
    match incident.fingerprint.clone() {
        Some(fingerprint) => counted(world.rows, now, incident, &fingerprint, policy.storm.per_minute).await,
        None => alone(world.rows, incident).await,
    }
}

/// What makes a mail alike others; a mail that cannot be read is like none.
async fn mail_fingerprint(evidence: &impl Evidence, mail: &EvidenceRef) -> Result<Option<String>, Fault> {
    if mail.size_bytes > MAIL_MAX_BYTES {
        return Ok(None);
    }
    match evidence.fetch(mail).await {
        Ok(raw) => Ok(fingerprint::of_mail(&raw)),
        Err(Fault::Rejected(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn put(incident: &Incident) -> Result<Write, Fault> {
    Ok(Write::put(Incident::key(&incident.incident_id), incident)?.only_if(Condition::Absent))
}

async fn alone(rows: &impl Rows, incident: Incident) -> Result<Incident, Fault> {
    match rows.commit(&[put(&incident)?]).await? {
        Commit::Done => Ok(incident),
        Commit::Conflict => Incident::load(rows, &incident.incident_id).await,
    }
}

/// Makes the row and counts it, both or none. The minute is that of its coming, so that a redelivery is counted there too.
async fn counted(
    rows: &impl Rows,
    now: Timestamp,
    incident: Incident,
    fingerprint: &str,
    per_minute: u64,
) -> Result<Incident, Fault> {
    let key = Storm::key(&incident.tenant, fingerprint, incident.received_at);
    for _ in 0..TRIES {
        let storm: Option<Storm> = rows.get(&key).await?.map(|row| row.read()).transpose()?;
        let attempt = match storm {
            Some(storm) if storm.count >= per_minute => attached(rows, &incident, storm.parent).await,
            storm => looked_at(rows, now, &incident, &key, storm).await,
        };
        match attempt {
            Ok(Some(made)) => return Ok(made),
            // In a storm many write one row at once, and of those that meet one goes through.
            Ok(None) | Err(Fault::Throttled(_)) => {}
            Err(fault) => return Err(fault),
        }
        // Somebody has made the row, or was counted between our look and our write.
        if let Some(row) = rows.get(&Incident::key(&incident.incident_id)).await? {
            return row.read();
        }
    }
    Err(Fault::Throttled(format!("too many alike come in at once: {} could not be counted", incident.incident_id)))
}

/// One of the first of its minute: an execution looks at it. `None` when the commit met another.
async fn looked_at(
    rows: &impl Rows,
    now: Timestamp,
    incident: &Incident,
    key: &Key,
    storm: Option<Storm>,
) -> Result<Option<Incident>, Fault> {
    let count = if let Some(storm) = storm {
        Write::set(key.clone(), &json!({}))?.adding("count", 1).only_if(Condition::Is("count", storm.count.into()))
    } else {
        let (parent, ttl) = (incident.incident_id.clone(), now.plus_hours(STORM_KEPT_HOURS).as_seconds());
        let first = Storm { schema: "storm/1".to_owned(), parent, count: 1, ttl };
        Write::put(key.clone(), &first)?.only_if(Condition::Absent)
    };
    let done = rows.commit(&[put(incident)?, count]).await?;
    Ok((done == Commit::Done).then(|| incident.clone()))
}

/// One too many: it is attached to the first, counted there, and no execution looks at it. `None` when the commit met another.
async fn attached(rows: &impl Rows, incident: &Incident, parent: IncidentId) -> Result<Option<Incident>, Fault> {
    let raise = Write::set(Incident::key(&parent), &json!({}))?.adding("attached", 1).only_if(Condition::Present);
    let child = Incident {
        status: IncidentStatus::Attached,
        parent: Some(parent),
        due_kind: None,
        due_at: None,
        ..incident.clone()
    };
    let done = rows.commit(&[put(&child)?, raise]).await?;
    Ok((done == Commit::Done).then_some(child))
}
