//! A realistic assessment with its round, for tests of everything that a person is shown.

use ioc::{Observable, ObservableType};
use serde_json::{Value, json};

use crate::{
    Fault, IncidentId, Timestamp,
    assessment::Assessment,
    brief::{Surroundings, Written},
    canonical,
    decision::{self, Link, LinkSecret, Question, Round},
    incident::{EvidenceRef, Incident, Run},
    plan::Entry,
    rows::Write,
    severity::Severity,
};

/// When the sample was assessed.
pub const ASSESSED_AT: &str = "2026-11-24T05:00:00.000Z";
/// Who is asked.
pub const APPROVER: &str = "ana@soc.example";
/// Who is asked too.
pub const OTHER_APPROVER: &str = "ben@soc.example";

#[expect(clippy::needless_pass_by_value, reason = "values are made where they are passed")]
fn verdict(word: &str, reason: Value, rule: u8, answered: u32, opinions: &Value, failed: &Value) -> Value {
    json!({
        "verdict": word, "reason": reason, "degraded": failed != &json!([]), "confidence": 92, "rule": rule,
        "coverage": { "answered": answered, "required": 3 }, "opinions": opinions, "failed": failed,
        "sums": { "malicious": 17500, "malicious_together": 17500, "malicious_families": 2, "malicious_grade_a": 10000,
                  "suspicious": 0, "benign": 0 },
    })
}

fn opinion(family: &str, word: &str, grade: &str) -> Value {
    json!({ "provider": family, "family": family, "verdict": word, "grade": grade, "seen": ASSESSED_AT,
            "weight_hundredths": 7500, "counts": true })
}

#[expect(clippy::needless_pass_by_value, reason = "values are made where they are passed")]
fn said(provider: &str, outcome: &str, reason: Value, word: Value, text: Value, seen: &str) -> Value {
    json!({ "provider": provider, "outcome": outcome, "reason": reason, "verdict": word, "text": text, "seen": seen,
            "permalink": if outcome == "found" { json!(format!("https://{provider}.example/lookup/4711")) } else { Value::Null } })
}

fn sighted(observable: &Observable, places: &[&str]) -> Value {
    json!({ "type": observable.kind().as_str(), "value": observable.value(), "places": places })
}

fn merged(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    base
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(|error| Fault::Rejected(format!("sample cannot be read: {error}")))
}

fn observable(kind: ObservableType, text: &str) -> Result<Observable, Fault> {
    Observable::parse(kind, text).map_err(|error| Fault::Rejected(error.to_string()))
}

/// A phishing mail: a malicious link, a domain on which sources contradict each other, one of our own, one unknown file.
pub fn assessment() -> Result<Assessment, Fault> {
    let url = observable(ObservableType::Url, "https://evil.example/login?next=invoice")?;
    let domain = observable(ObservableType::DomainName, "cdn.evil.example")?;
    let own = observable(ObservableType::DomainName, "portal.corp.example")?;
    let intranet = observable(ObservableType::DomainName, "intranet.corp.example")?;
    let address = observable(ObservableType::Ipv4Addr, "192.0.2.7")?;
    let file = observable(ObservableType::File, &"ab".repeat(32))?;
    let entry = |o: &Observable, hours: u32, expires_at: &str, ticked: bool, refused: Value| {
        json!({ "type": o.kind().as_str(), "value": o.value(), "target": "served-list", "act": "enforce",
                "lifetime_hours": hours, "expires_at": expires_at, "ticked": ticked, "refused": refused })
    };
    let malicious = json!([opinion("threatfox", "malicious", "A"), opinion("urlhaus", "malicious", "A")]);
    let torn = json!([opinion("threatfox", "malicious", "A"), opinion("hashlookup", "benign", "B")]);
    let seen = "2026-11-21T05:00:00.000Z";
    let mut assessment: Assessment = parsed(json!({
        "schema": Assessment::SCHEMA, "incident_id": IncidentId::of("default", "mail", "sample"), "run": 1,
        "config_digest": "", "assessed_at": ASSESSED_AT,
        "subject": "Overdue invoice 4711, see https://evil.example/login",
        "participants": ["billing@evil.example", "carl@corp.example"],
        "route": "review", "severity": "high",
        "severity_terms": ["high: a malicious indicator", "+0: nothing else is known of the asset"],
        "observables": [
            merged(sighted(&url, &["html:href", "text"]), &json!({
                "history": { "persistence": "persistent", "incidents": 4, "days": 3, "first_seen": "2026-11-20T09:30:00.000Z" },
                "conclusion": verdict("malicious", Value::Null, 3, 2, &malicious, &json!(["virustotal: timeout"])),
                "evidence": [
                    said("threatfox", "found", Value::Null, json!("malicious"), json!("payload delivery, confidence 100"), seen),
                    said("urlhaus", "found", Value::Null, json!("malicious"), json!("online, malware_download"), seen),
                    said("virustotal", "error", json!("timeout"), Value::Null, Value::Null, ASSESSED_AT),
                ] })),
            merged(sighted(&domain, &["html:img"]), &json!({
                "history": { "persistence": "isolated", "incidents": 1, "days": 1, "first_seen": ASSESSED_AT },
                "conclusion": verdict("suspicious", json!("contradiction"), 2, 3, &torn, &json!([])),
                "evidence": [
                    said("threatfox", "found", Value::Null, json!("malicious"), json!("botnet_cc"), seen),
                    said("hashlookup", "found", Value::Null, json!("benign"), json!("known good, trust 100"), seen),
                ] })),
            merged(sighted(&own, &["text"]), &json!({
                "guarded": "own domain corp[.]example",
                "conclusion": verdict("malicious", Value::Null, 3, 3, &malicious, &json!([])),
                "evidence": [said("urlhaus", "found", Value::Null, json!("malicious"), json!("offline"), seen)] })),
            merged(sighted(&intranet, &["text"]), &json!({
                "withheld": "own", "conclusion": verdict("unknown", json!("no_opinion"), 6, 0, &json!([]), &json!([])) })),
            merged(sighted(&file, &["attachment:invoice.pdf"]), &json!({
                "conclusion": verdict("unknown", json!("degraded"), 6, 1, &json!([]), &json!(["malwarebazaar: http_500"])),
                "evidence": [
                    said("malwarebazaar", "error", json!("http_500"), Value::Null, Value::Null, ASSESSED_AT),
                    said("hashlookup", "not_found", Value::Null, Value::Null, Value::Null, ASSESSED_AT),
                ] })),
            merged(sighted(&address, &["header:received"]), &json!({
                "conclusion": verdict("benign", Value::Null, 5, 3, &json!([opinion("abuseipdb", "benign", "B")]), &json!([])),
                "evidence": [said("abuseipdb", "found", Value::Null, json!("benign"), json!("whitelisted"), seen)] })),
        ],
        "plan": { "entries": [
            entry(&url, 336, "2026-12-08T05:00:00.000Z", true, Value::Null),
            entry(&domain, 72, "2026-11-27T05:00:00.000Z", false, Value::Null),
            entry(&own, 720, "2026-12-24T05:00:00.000Z", false, json!("own domain corp[.]example")),
        ] },
        "plan_digest": "",
        "receipts": { "key": "receipts/sample.json" },
        "failed": ["virustotal: timeout (1)", "malwarebazaar: http_500 (1)"],
        "omissions": [{ "place": "attachment:report.zip", "reason": "encrypted, not opened" }],
        "related": [
            { "incident_id": IncidentId::of("default", "mail", "earlier"), "seen_at": "2026-11-22T05:00:00.000Z",
              "observables": [url.key(), "domain-name#gone.example"], "weight": 812 },
            { "incident_id": IncidentId::of("default", "mail", "first"), "seen_at": "2026-11-20T09:30:00.000Z",
              "observables": [url.key()], "weight": 341 },
        ],
    }))?;
    assessment.plan_digest = assessment.plan.digest()?;
    Ok(assessment)
}

/// The open first round of an assessment, with an hour to decide.
pub fn round(assessment: &Assessment, question: Question) -> Result<Round, Fault> {
    let bytes = serde_json::to_vec(assessment).map_err(|error| Fault::Rejected(error.to_string()))?;
    let opened_at = Timestamp::parse(ASSESSED_AT).map_err(|error| Fault::Rejected(error.to_string()))?;
    let deadline = opened_at.plus_minutes(60);
    let id = assessment.incident_id.clone();
    let mut round = Round {
        schema: Round::SCHEMA.to_owned(),
        run: assessment.run,
        round: 1,
        question,
        severity: Severity::High,
        state: decision::OPEN.to_owned(),
        opened_at: Some(opened_at),
        remind_at: Some(opened_at.plus_minutes(30)),
        reminded: false,
        deadline,
        asked: vec![APPROVER.to_owned(), OTHER_APPROVER.to_owned()],
        skipped: vec![],
        away: vec![],
        undelivered: vec![],
        last: false,
        asks: None,
        sign_in: false,
        alone_max: decision::alone_max(),
        votes: Some(0),
        shown_digest: String::new(),
        plan_digest: assessment.plan_digest.clone(),
        task_token: Some("token-1".to_owned()),
        due_kind: Some(decision::DUE_DEADLINE.to_owned()),
        due_at: Some(opened_at.plus_minutes(30)),
        incident_id: id.clone(),
    };
    round.shown_digest = decision::shown_digest(&id, assessment.run, &round, &canonical::sha256_hex(&bytes))?;
    Ok(round)
}

/// The rows of an incident that waits in a round for whoever has these links; `document` is where its assessment lies.
pub fn waiting(
    round: &Round,
    document: EvidenceRef,
    links: &[(&LinkSecret, &str)],
    now: Timestamp,
) -> Result<Vec<Write>, Fault> {
    let id = &round.incident_id;
    let incident = json!({
        "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
        "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" }, "received_at": now,
        "config_digest": "", "status": "waiting", "run": round.run, "started_at": now, "updated_at": now,
    });
    let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
    let mut writes = vec![
        Write::put(Incident::key(id), &incident)?,
        Write::put(Run::key(id, round.run), &run)?,
        Write::put(Round::key(id, round.run, round.round), round)?,
    ];
    for (secret, approver) in links {
        let link = Link {
            schema: Link::SCHEMA.to_owned(),
            incident_id: id.clone(),
            run: round.run,
            round: round.round,
            approver: (*approver).to_owned(),
            codes_sent: vec![],
            revision: 0,
            ttl: now.plus_hours(800).as_seconds(),
        };
        writes.push(Write::put(Link::key(&secret.digest()), &link)?);
    }
    Ok(writes)
}

/// The same after much has happened: recorded and blocked at once, a ticket, a level that did not answer.
pub fn busy() -> Result<(Assessment, Round, Surroundings), Fault> {
    let mut assessment = assessment()?;
    let url = assessment.plan.entries.first().map(|entry| entry.observable.clone());
    let url = url.ok_or_else(|| Fault::Rejected("the sample has no entry".to_owned()))?;
    let unasked = |target: &str, act: &str| {
        let is_enforced = act == "enforce";
        let expires_at = if is_enforced { "2026-11-24T17:00:00.000Z" } else { "2026-12-08T05:00:00.000Z" };
        parsed::<Entry>(json!({
            "type": url.kind().as_str(), "value": url.value(), "target": target, "act": act, "lifetime_hours": 336,
            "expires_at": expires_at, "ticked": is_enforced, "automatic": is_enforced, "refused": null }))
    };
    let entries = [unasked("misp", "record")?, unasked("splunk", "detect")?, unasked("waf", "enforce")?];
    let refused = "the target answered 500";
    let mut written = vec![];
    for entry in &entries {
        let ledger = parsed(json!({
            "schema": "ledger/1", "target": entry.target, "type": url.kind().as_str(), "value": url.value(),
            "expires_at": entry.expires_at, "written_at": ASSESSED_AT }))?;
        let is_there = entry.target != "splunk";
        written.push(Written {
            entry: entry.clone(),
            ledger: is_there.then_some(ledger),
            refused: (!is_there).then(|| refused.to_owned()),
        });
    }
    assessment.plan.entries.extend(entries);
    assessment.plan_digest = assessment.plan.digest()?;
    let earlier = Round { state: decision::DECIDED.to_owned(), ..round(&assessment, Question::ApprovePlan)? };
    let now = earlier.deadline;
    let second = Round {
        round: 2,
        opened_at: Some(now),
        remind_at: Some(now.plus_minutes(30)),
        deadline: now.plus_minutes(60),
        asked: vec!["lead@soc.example".to_owned()],
        last: true,
        ..round(&assessment, Question::ApprovePlan)?
    };
    let ticket = parsed(json!({
        "schema": "ticket/1", "target": "jira", "owner": "", "claimed_at": ASSESSED_AT, "external_id": "IOC-17",
        "permalink": "https://jira.corp.example/browse/IOC-17" }))?;
    let around = Surroundings {
        tickets: vec![ticket],
        earlier: vec![earlier],
        decided: vec![],
        written,
        ..Surroundings::default()
    };
    Ok((assessment, second, around))
}
