//! From what came in to intake messages: mapped, stored as documents, pushed. What cannot be mapped is taken whole.

use playbook::{
    Fault, IncidentId, Timestamp, canonical,
    incident::{INTAKE_SCHEMA, Intake, Kind},
    intake::{Alert, IntakeSource, fingerprint},
    ports::{Evidence, Queue},
};
use serde_json::Value;
use tracing::{error, info};

use crate::World;

/// What became of a message or an event.
#[derive(Debug)]
pub struct Taken {
    /// One an alert.
    pub incidents: Vec<IncidentId>,
    /// Why it was taken whole instead of being mapped.
    pub unmapped: Option<String>,
}

/// Takes every alert in `body`. `id` names the message among those of its source, for what cannot be mapped.
pub async fn take<R, S, C>(
    world: &World<'_, impl Evidence, R, impl Queue, S, C>,
    source: &IntakeSource,
    body: &Value,
    received_at: Timestamp,
    id: &str,
) -> Result<Taken, Fault> {
    let (alerts, unmapped) = match source.alerts(body, received_at) {
        Ok(alerts) => (alerts.into_iter().map(|alert| (alert.fingerprint(), alert)).collect(), None),
        Err(why) => {
            let alert = source.unmapped(id, body, received_at, &why);
            let fingerprint = fingerprint::of_text(&source.id, &alert.texts.concat());
            (vec![(fingerprint, alert)], Some(why.to_string()))
        }
    };
    let mut incidents = vec![];
    for (fingerprint, alert) in alerts {
        incidents.push(push(world, source, &alert, fingerprint, received_at).await?);
    }
    match &unmapped {
        None => info!(source.id, count = incidents.len(), "received alerts"),
        Some(why) => error!(source.id, "received an alert that could not be mapped, and took it whole: {why}"),
    }
    Ok(Taken { incidents, unmapped })
}

async fn push<R, S, C>(
    world: &World<'_, impl Evidence, R, impl Queue, S, C>,
    source: &IntakeSource,
    alert: &Alert,
    fingerprint: String,
    received_at: Timestamp,
) -> Result<IncidentId, Fault> {
    // Whose it is, the source decides; the alert has no say.
    let incident_id = IncidentId::of(&source.tenant, &source.id, &alert.native_id);
    let unwritten = |error: serde_json::Error| Fault::Rejected(format!("an alert cannot be written: {error}"));
    let document = serde_json::to_vec(alert).map_err(unwritten)?;
    let digest = canonical::sha256_hex(&document);
    let key = format!("incidents/{incident_id}/r1/receive-alert/{digest}.json");
    let intake = Intake {
        schema: INTAKE_SCHEMA.to_owned(),
        kind: Kind::Alert,
        tenant: source.tenant.clone(),
        source: source.id.clone(),
        native_id: alert.native_id.clone(),
        severity: alert.severity,
        evidence: Some(world.evidence.store(&key, "application/json", &document).await?),
        received_at,
        fingerprint: Some(fingerprint),
        status: None,
    };
    world.queue.push(&serde_json::to_string(&intake).map_err(unwritten)?, 0).await?;
    Ok(incident_id)
}
