//! What the public sandboxes answer about a digest, in their own shapes: Hybrid Analysis and Triage.

use ioc::{HashAlgorithm, Observable};
use playbook::Timestamp;
use serde_json::{Value, json};

use super::Canned;

/// One finished analysis and one that failed; a digest that nobody has submitted is a 404.
pub fn hybrid_analysis(observable: &Observable, canned: Canned) -> Value {
    let verdict = match canned {
        Canned::Malicious => "malicious",
        Canned::Suspicious => "suspicious",
        Canned::Benign => "whitelisted",
        _ => return json!({ "message": "Requested hash not found" }),
    };
    let report = |id: u8, state: &str, verdict: Option<&str>| {
        json!({
            "id": format!("{id:024}"), "environment_id": 160, "environment_description": "Windows 10 64 bit", "state": state,
            "error_type": null, "error_origin": null, "verdict": verdict,
        })
    };
    json!({
        "sha256s": [observable.value()],
        "reports": [report(1, "SUCCESS", Some(verdict)), report(2, "ERROR", None)],
    })
}

/// The search: one sample, whose id is the digest here, so that the overview knows what it is about.
pub fn triage_search(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    if !matches!(canned, Canned::Malicious | Canned::Suspicious) {
        return json!({ "data": [], "next": null });
    }
    let sample = json!({
        "id": observable.value(), "status": "reported", "kind": "file", "filename": "setup.exe", "private": false,
        "submitted": now.plus_minutes(-12), "completed": now.plus_minutes(-10),
    });
    json!({ "data": [sample], "next": null })
}

/// The overview: score 10 for malicious, 6 for suspicious.
pub fn triage_overview(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let score = match canned {
        Canned::Malicious => 10,
        Canned::Suspicious => 6,
        _ => return json!({ "error": "NOT_FOUND", "message": "The requested item could not be found." }),
    };
    let value = observable.value();
    let mut file = json!({ "target": "setup.exe", "size": 7279, "score": score });
    file[HashAlgorithm::of_hex(value).map_or("sha256", HashAlgorithm::as_str)] = json!(value);
    let mut sample = file.clone();
    sample["id"] = json!(value);
    sample["created"] = json!(now.plus_minutes(-12));
    sample["completed"] = json!(now.plus_minutes(-10));
    file["tasks"] = json!(["behavioral1"]);
    json!({
        "version": "0.3.0",
        "sample": sample,
        "tasks": [{ "sample": value, "kind": "behavioral", "name": "behavioral1", "status": "reported", "score": score }],
        "analysis": { "score": score, "family": [], "tags": [] },
        "targets": [file],
        "signatures": [],
    })
}
