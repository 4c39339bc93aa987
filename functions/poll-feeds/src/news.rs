//! Indicators that are new in a feed become incidents.

use playbook::{
    Fault, Timestamp, canonical,
    incident::{EvidenceRef, INTAKE_SCHEMA, Intake, Kind},
    intake::{Alert, Named},
    ports::{Evidence, Queue},
    severity::Severity,
};
use serde_json::{Value, json};

use crate::{Source, entries::Entries};

/// The most observables of one incident; more make several.
pub const OBSERVABLES_MAX: usize = 500;

/// Puts the incidents on the intake queue and says how many. The same content has the same native id, so that `admit`
/// knows what was told twice.
pub(crate) async fn tell(
    (evidence, queue): (&impl Evidence, &impl Queue),
    source: Source<'_>,
    news: Entries,
    now: Timestamp,
) -> Result<usize, Fault> {
    let groups = news.in_groups_of(OBSERVABLES_MAX);
    for group in &groups {
        let digest = canonical::sha256_hex(&group.to_ndjson());
        let intake = Intake {
            schema: INTAKE_SCHEMA.to_owned(),
            kind: Kind::Feed,
            tenant: source.manifest.tenant.clone(),
            source: source.manifest.id.clone(),
            native_id: format!("{}/{digest}", source.manifest.id),
            severity: Severity::Low,
            evidence: Some(document(evidence, source, group, &digest, now).await?),
            received_at: now,
            fingerprint: None,
            status: None,
        };
        let body = serde_json::to_string(&intake).map_err(|error| Fault::Rejected(error.to_string()))?;
        queue.push(&body, 0).await?;
    }
    Ok(groups.len())
}

/// Stores the evidence once: the incident names it by its digest, and a second telling must not change it.
async fn document(
    evidence: &impl Evidence,
    source: Source<'_>,
    group: &Entries,
    digest: &str,
    now: Timestamp,
) -> Result<EvidenceRef, Fault> {
    let id = &source.manifest.id;
    let key = format!("feeds/{id}/{digest}.json");
    if let Some(stored) = evidence.find(&key).await? {
        let (sha256, size_bytes) = (canonical::sha256_hex(&stored.bytes), stored.bytes.len() as u64);
        return Ok(EvidenceRef { key, version_id: None, sha256, size_bytes });
    }
    let entries: Vec<Value> = group.documents().collect();
    let alert = Alert {
        schema: Alert::SCHEMA.to_owned(),
        source: id.clone(),
        native_id: format!("{id}/{digest}"),
        title: format!("{}: {} new indicators", source.manifest.name, entries.len()),
        severity: Severity::Low,
        tlp: source.feed.tlp,
        occurred_at: now,
        observables: entries.iter().filter_map(named).collect(),
        texts: vec![],
        assets: vec![],
        was_allowed: None,
        permalink: None,
        raw: json!({ "feed": id, "entries": entries }),
    };
    let bytes = serde_json::to_vec(&alert).map_err(|error| Fault::Rejected(error.to_string()))?;
    evidence.store(&key, "application/json", &bytes).await
}

fn named(entry: &Value) -> Option<Named> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let role = text("evidence").map(|text| text.chars().take(200).collect());
    Some(Named { kind: text("type")?.parse().ok()?, value: text("value")?.to_owned(), role })
}
