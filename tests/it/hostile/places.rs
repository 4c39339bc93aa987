//! The places: every text of a document that is not ours, found by trying which of its texts may be any text.

use std::{collections::BTreeMap, marker::PhantomData};

use ioc::{Observable, ObservableType};
use playbook::{
    IncidentId,
    assessment::Assessment,
    brief::{Surroundings, Written, sample},
    decision::{Choice, Decision, Round},
    ids::CampaignId,
    incident::Incident,
    ledger::LedgerEntry,
    ticket::Ticket,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Texts that we write, that steer, and that no reader is shown.
const OURS: [&str; 16] = [
    "schema",
    "config_digest",
    "plan_digest",
    "shown_digest",
    "key",
    "sha256",
    "task_token",
    "owner",
    "due_kind",
    "machine",
    "native_id",
    "fingerprint",
    "state",
    "written",
    "holder",
    "document",
];

/// Words of ours that choose between sentences; any text is taken for them, so the last one of each list is any text.
const WORDS: [&str; 2] = ["act", "outcome"];

/// A document with its places.
pub struct Places<T> {
    document: Value,
    pub pointers: Vec<String>,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Places<T> {
    pub fn of(document: &T) -> Self {
        let document = serde_json::to_value(document).unwrap();
        let mut pointers = vec![];
        texts(&document, "", &mut pointers);
        pointers.retain(|pointer| is_shown(&document, pointer) && takes_any_text::<T>(&document, pointer));
        Self { document, pointers, of: PhantomData }
    }

    /// The document with the payload in every place.
    pub fn with(&self, payload: &str) -> T {
        let mut document = self.document.clone();
        for pointer in &self.pointers {
            *document.pointer_mut(pointer).unwrap() = payload.into();
        }
        serde_json::from_value(document).unwrap()
    }
}

fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(number, item)| texts(item, &format!("{at}/{number}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| texts(member, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

fn is_shown(document: &Value, pointer: &str) -> bool {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let is_last = || {
        let (list, number) = parent.rsplit_once('/').unwrap();
        let length = document.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
        number.parse::<usize>().is_ok_and(|number| number + 1 == length)
    };
    !OURS.contains(&name) && (!WORDS.contains(&name) || is_last())
}

fn takes_any_text<T: DeserializeOwned>(document: &Value, pointer: &str) -> bool {
    let mut tried = document.clone();
    *tried.pointer_mut(pointer).unwrap() = "any text".into();
    serde_json::from_value::<T>(tried).is_ok()
}

/// Everything of an incident that people are shown.
pub struct Scene {
    pub incident: Incident,
    pub assessment: Assessment,
    pub round: Round,
    pub decision: Decision,
    pub around: Surroundings,
}

/// An incident of which everything is known that may be known, with its places.
pub struct Scenes {
    incident: Places<Incident>,
    assessment: Places<Assessment>,
    round: Places<Round>,
    decision: Places<Decision>,
    ticket: Places<Ticket>,
    ledger: Places<LedgerEntry>,
}

impl Scenes {
    pub fn new() -> Self {
        let (_, round, around) = sample::busy().unwrap();
        let ledger = around.written.iter().find_map(|written| written.ledger.clone()).unwrap();
        Self {
            incident: Places::of(&incident()),
            assessment: Places::of(&assessment()),
            round: Places::of(&Round {
                skipped: vec!["carl@corp.example".to_owned()],
                away: vec!["dora@corp.example".to_owned()],
                undelivered: vec!["eve@corp.example".to_owned()],
                ..round
            }),
            decision: Places::of(&decision()),
            ticket: Places::of(&around.tickets[0]),
            ledger: Places::of(&ledger),
        }
    }

    /// How many places there are, the observables not counted.
    pub fn count(&self) -> usize {
        let of_people = self.round.pointers.len() + self.decision.pointers.len();
        let of_targets = self.ticket.pointers.len() + self.ledger.pointers.len();
        self.incident.pointers.len() + self.assessment.pointers.len() + of_people + of_targets
    }

    /// The incident with the payload in every place.
    pub fn with(&self, payload: &str) -> Scene {
        let mut assessment = self.assessment.with(payload);
        implant(&mut assessment, payload);
        let mut decision = self.decision.with(payload);
        decision.indicators.extend(assessment.plan.open().map(|entry| entry.observable.key()));
        let ticket = self.ticket.with(payload);
        let ledger = self.ledger.with(payload);
        let without_asking = assessment.plan.at_once().chain(assessment.plan.open().filter(|entry| entry.automatic));
        let written = without_asking.enumerate().map(|(number, entry)| Written {
            entry: entry.clone(),
            ledger: (number % 2 == 0).then(|| LedgerEntry { observable: entry.observable.clone(), ..ledger.clone() }),
            refused: Some(payload.to_owned()),
        });
        let around = Surroundings {
            tickets: vec![ticket.clone(), Ticket { is_closed: true, ..ticket }],
            earlier: vec![Round { round: 1, ..self.round.with(payload) }],
            decided: vec![decision.clone()],
            written: written.collect(),
            handed_on: BTreeMap::from([(1, Decision { choice: Choice::Escalated, ..decision.clone() })]),
            warning: Some(payload.to_owned()),
        };
        Scene { incident: self.incident.with(payload), assessment, round: self.round.with(payload), decision, around }
    }
}

/// Puts the payload into observables, as far as their types take it: into a link that leads, and into an address.
fn implant(assessment: &mut Assessment, payload: &str) {
    let spelled = [
        format!("https://evil.example/{payload}?{payload}#{payload}"),
        format!("https://evil.example/?q={payload}"),
        format!("{payload}@evil.example"),
        format!("{payload}.evil.example"),
        payload.to_owned(),
    ];
    let kinds = [ObservableType::Url, ObservableType::EmailAddr, ObservableType::DomainName];
    let mut implanted: Vec<Observable> = vec![];
    for text in &spelled {
        implanted.extend(kinds.iter().filter_map(|kind| Observable::parse(*kind, text).ok()));
    }
    for (assessed, observable) in assessment.observables.iter_mut().zip(&implanted) {
        assessed.sighted.observable = observable.clone();
    }
    for (entry, observable) in assessment.plan.entries.iter_mut().zip(implanted.iter().cycle()) {
        entry.observable = observable.clone();
    }
}

fn incident() -> Incident {
    let id = sample::assessment().unwrap().incident_id;
    serde_json::from_value(json!({
        "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
        "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" }, "received_at": sample::ASSESSED_AT,
        "config_digest": "", "status": "waiting", "run": 1, "started_at": sample::ASSESSED_AT,
        "updated_at": sample::ASSESSED_AT, "route": "review", "result": "enforced", "failure": "Assess failed",
        "warning": "woken without a decision",
        "parent": IncidentId::of("default", "mail", "parent"), "attached": 3,
    }))
    .unwrap()
}

pub fn decision() -> Decision {
    serde_json::from_value(json!({
        "schema": "decision/1", "choice": "approved", "last": true, "by": sample::APPROVER,
        "authenticated_by": "mailbox", "at": sample::ASSESSED_AT, "from": "192.0.2.99, a browser",
        "reason": "seen in two mailboxes", "shown_digest": "", "plan_digest": "", "indicators": ["domain-name#gone.example"],
        "answer": "isolate", "votes": [
            {"who": sample::OTHER_APPROVER, "authenticated_by": "oidc", "at": sample::ASSESSED_AT},
            {"who": sample::APPROVER, "authenticated_by": "oidc", "at": sample::ASSESSED_AT},
        ],
    }))
    .unwrap()
}

/// The sample with everything filled in that may be missing.
fn assessment() -> Assessment {
    let mut document = serde_json::to_value(sample::busy().unwrap().0).unwrap();
    document["off"] = json!(["virustotal: disabled"]);
    document["campaign"] = json!({
        "campaign_id": CampaignId::of("domain-name#evil.example"), "members": 3, "named_by": ["domain-name#evil.example"],
        "first_seen": "2026-11-20T09:30:00.000Z", "last_seen": sample::ASSESSED_AT,
    });
    document["basis"] = json!({
        "tenant": "default", "kind": "mail", "source": "mail", "received_at": sample::ASSESSED_AT, "tlp": "AMBER",
        "severity": "low", "was_allowed": true, "incomplete": true,
        "pinned": { "schema": "pinned/1", "severity": "low", "by": "ana", "at": sample::ASSESSED_AT, "reason": "a test" },
    });
    document["plan"]["entries"][1]["second"] = json!("policy calls it critical");
    for assessed in document["observables"].as_array_mut().unwrap() {
        if assessed["evidence"].is_null() {
            continue;
        }
        assessed["guarded"] = json!("own domain");
        for said in assessed["evidence"].as_array_mut().unwrap() {
            for (name, text) in
                [("reason", "http_500"), ("verdict", "malicious"), ("text", "known"), ("permalink", "x")]
            {
                if said[name].is_null() {
                    said[name] = text.into();
                }
            }
        }
    }
    serde_json::from_value(document).unwrap()
}

/// Every member of every object, with whether it is filled in anywhere; lists are read as one.
fn members(value: &Value, at: &str, found: &mut BTreeMap<String, bool>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| members(item, at, found)),
        Value::Object(map) => {
            for (name, member) in map {
                let at = format!("{at}/{name}");
                let is_empty = member.is_null() || member.as_array().is_some_and(Vec::is_empty);
                *found.entry(at.clone()).or_default() |= !is_empty;
                members(member, &at, found);
            }
        }
        _ => {}
    }
}

#[test]
fn no_place_is_forgotten() {
    let scenes = Scenes::new();
    let mut found = BTreeMap::new();
    members(&scenes.assessment.document, "", &mut found);
    // What is left empty holds no text.
    found.retain(|_, is_filled| !*is_filled);
    let empty: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(empty, ["/config_digest"; 0], "fill it in: a payload belongs there");
    for place in [
        "/subject",
        "/participants/0",
        "/severity_terms/0",
        "/failed/0",
        "/off/0",
        "/omissions/0/place",
        "/omissions/0/reason",
        "/observables/0/places/0",
        "/observables/0/guarded",
        "/observables/0/conclusion/failed/0",
        "/observables/0/conclusion/opinions/0/family",
        "/observables/0/evidence/0/provider",
        "/observables/0/evidence/0/text",
        "/observables/0/evidence/0/permalink",
        "/observables/0/evidence/0/reason",
        "/observables/0/evidence/2/outcome",
        "/plan/entries/0/target",
        "/plan/entries/1/second",
        "/plan/entries/2/refused",
        "/related/0/observables/0",
        "/campaign/named_by/0",
        "/basis/pinned/reason",
    ] {
        assert!(scenes.assessment.pointers.iter().any(|known| known == place), "{place}");
    }
    assert!(!scenes.assessment.pointers.iter().any(|known| known.ends_with("/incident_id") || known.ends_with("_at")));
    println!("{} places", scenes.count());
}
