//! What a target's expressions see of an entry: the observable is put in by whoever writes it.

use playbook::{Timestamp, assessment::Assessment, incident::Incident, plan::Entry};
use serde_json::{Value, json};

/// `{entry, incident, verdict}`.
pub fn of(
    assessment: &Assessment,
    incident: &Incident,
    entry: &Entry,
    approved_by: &str,
    expires_at: Timestamp,
) -> Value {
    let key = entry.observable.key();
    let assessed = assessment.observables.iter().find(|assessed| assessed.sighted.observable.key() == key);
    let verdict = assessed.map(|assessed| {
        let verdict = &assessed.conclusion;
        json!({
            "verdict": verdict.verdict, "confidence": verdict.confidence, "reason": verdict.reason,
            "families": verdict.sums.malicious_families,
        })
    });
    json!({
        "entry": {
            "act": entry.act, "target": entry.target, "automatic": entry.automatic,
            "expires_at": expires_at, "approved_by": approved_by,
        },
        "incident": {
            "incident_id": incident.incident_id, "run": assessment.run, "kind": incident.kind,
            "source": incident.source, "severity": assessment.severity,
        },
        "verdict": verdict,
    })
}
