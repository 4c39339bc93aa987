//! Correlation: where else the observables were seen, and which incidents they tie to this one.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, Timestamp,
    incident::Incident,
    receipt::Receipt,
    rows::{Row, Rows},
    sighting::{self, Elsewhere, History, Related, Sighting},
};

use crate::AT_ONCE;

/// Related incidents that are kept.
const RELATED_MAX: usize = 10;
/// Related incidents that are looked at for those: of a storm, all but one may be our own.
const LOOKED_AT_MAX: usize = 60;

/// What the record knows of an incident's observables.
#[derive(Debug, Default)]
pub struct Correlation {
    /// Other incidents with the same observables, strongest first.
    pub related: Vec<Related>,
    /// By observable key.
    pub histories: BTreeMap<String, History>,
}

/// Looks up where else each observable was seen that is not withheld, and notes that it was seen here. Safe to run again.
pub async fn correlate(
    rows: &impl Rows,
    incident: &Incident,
    receipts: &[Receipt],
    now: Timestamp,
) -> Result<Correlation, Fault> {
    let seen: Vec<&Receipt> = receipts.iter().filter(|receipt| receipt.facts.withheld.is_none()).collect();
    let own = &incident.incident_id;
    let elsewhere: Vec<Elsewhere> = stream::iter(&seen)
        .map(|receipt| Elsewhere::find(rows, receipt.facts.observable.key(), own))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    // What is common gets no further rows: neither the index nor anybody's patience holds them.
    let telling = seen.iter().zip(&elsewhere).filter(|(_, elsewhere)| !elsewhere.is_common());
    let sightings: Vec<Sighting> = telling.map(|(receipt, _)| sighting(incident, receipt)).collect();
    sighting::record(rows, own, &sightings, now).await?;
    // Counted after our own are written, so that this incident is one of them.
    let all = sighting::incidents(rows).await?;

    let histories = elsewhere.iter().map(|e| (e.observable.clone(), e.history(incident.received_at))).collect();
    let related = without_own_storm(rows, incident, sighting::related(&elsewhere, all)).await?;
    Ok(Correlation { related, histories })
}

fn sighting(incident: &Incident, receipt: &Receipt) -> Sighting {
    Sighting {
        schema: Sighting::SCHEMA.to_owned(),
        observable: receipt.facts.observable.key(),
        seen_at: incident.received_at,
        incident_id: incident.incident_id.clone(),
        kind: incident.kind,
        source: incident.source.clone(),
        verdict: receipt.verdict.verdict.as_str().to_owned(),
    }
}

/// The strongest, but for those that are attached to this incident: they are the same thing, not another.
async fn without_own_storm(
    rows: &impl Rows,
    incident: &Incident,
    candidates: Vec<Related>,
) -> Result<Vec<Related>, Fault> {
    let mut related = vec![];
    for candidate in candidates.into_iter().take(LOOKED_AT_MAX) {
        if related.len() == RELATED_MAX {
            break;
        }
        let row = rows.get(&Incident::key(&candidate.incident_id)).await?;
        let other: Option<Incident> = row.as_ref().map(Row::read).transpose()?;
        let is_attached = other.is_some_and(|other| other.parent.as_ref() == Some(&incident.incident_id));
        if !is_attached {
            related.push(candidate);
        }
    }
    Ok(related)
}
