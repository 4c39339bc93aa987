//! The stage as the state machine sees it, over the in-memory ports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
#![allow(clippy::format_collect, reason = "a test need not be fast")]

mod common;

use common::{policy, root};
use extract::{Chunk, Input, Output, Settings};
use playbook::{
    Fault, IncidentId, Timestamp,
    bundle::Bundle,
    canonical,
    fakes::{MemoryEvidence, MemoryRows, StoppedClock},
    incident::{self, EvidenceRef, Extraction, Incident, IncidentStatus, Run},
    policy::DEMO_ACCOUNT,
    ports::Evidence,
    rows::Rows,
};
use serde_json::{Value, json};

struct World {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    clock: StoppedClock,
    settings: Settings,
}

impl World {
    async fn new() -> Self {
        let evidence = MemoryEvidence::default();
        let bundle = Bundle::new(policy(), vec![], vec![]);
        let digest = bundle.digest().unwrap();
        evidence
            .store(&Bundle::location(&digest), "application/json", &canonical::to_json(&bundle).unwrap())
            .await
            .unwrap();
        let clock = StoppedClock::at(Timestamp::parse("2026-11-24T05:00:00Z").unwrap());
        Self {
            evidence,
            rows: MemoryRows::default(),
            clock,
            settings: Settings { config_digest: digest, stack: "ioc".to_owned() },
        }
    }

    async fn put(&self, key: &str, content: &[u8]) -> EvidenceRef {
        self.evidence.store(key, "message/rfc822", content).await.unwrap()
    }

    async fn run(&self, input: Value) -> Result<Output, Fault> {
        let input: Input = serde_json::from_value(input).unwrap();
        extract::run(&self.evidence, &self.rows, &self.clock, &self.settings, DEMO_ACCOUNT, input).await
    }

    async fn extraction(&self, output: &Output) -> Extraction {
        let run = Run::load(&self.rows, &output.incident_id, output.run).await.unwrap();
        serde_json::from_slice(&self.evidence.fetch(&run.extraction.unwrap()).await.unwrap()).unwrap()
    }
}

fn phish() -> Vec<u8> {
    std::fs::read(root().join("tests/fixtures/mails/phish.eml")).unwrap()
}

#[tokio::test]
async fn a_mail_alone_is_enough_and_twice_is_once() {
    let world = World::new().await;
    world.put("mail/a", &phish()).await;
    let input = json!({"evidence": {"key": "mail/a"}, "kind": "mail", "note": "by hand"});
    let output = world.run(input.clone()).await.unwrap();
    assert_eq!(output.incident_id, IncidentId::of("default", "console", "mail/a"));
    assert_eq!((output.run, output.observables), (1, 22));
    assert_eq!(output.chunks, [Chunk { offset: 0, count: 18 }]);

    let incident = Incident::load(&world.rows, &output.incident_id).await.unwrap();
    assert_eq!(incident.evidence.size_bytes, phish().len() as u64);
    assert_eq!(incident.config_digest, world.settings.config_digest);
    assert!(incident.started_at.is_some());

    let extraction = world.extraction(&output).await;
    assert_eq!(extraction.observables.len(), 22, "the withheld ones are kept");
    assert!(extraction.observables[18..].iter().all(|sighted| sighted.withheld.is_some()));

    let (rows, keys) = (world.rows.all(), world.evidence.keys());
    assert_eq!(world.run(input).await.unwrap(), output);
    assert_eq!((world.rows.all(), world.evidence.keys()), (rows, keys));
}

#[tokio::test]
async fn what_admit_has_written_rules() {
    let world = World::new().await;
    let evidence = world.put("mail/b", b"Subject: hello\n\nnothing").await;
    let first = world.run(json!({"evidence": evidence})).await.unwrap();
    let stranger = Settings { config_digest: "0".repeat(64), stack: String::new() };
    let input: Input =
        serde_json::from_value(json!({"incident_id": first.incident_id, "run": 1, "evidence": evidence})).unwrap();
    let again = extract::run(&world.evidence, &world.rows, &world.clock, &stranger, DEMO_ACCOUNT, input).await.unwrap();
    assert_eq!(again, first);
    assert_eq!((again.observables, again.chunks.len()), (0, 0));
}

#[tokio::test]
async fn an_ended_incident_that_is_started_again_gets_its_next_run() {
    let world = World::new().await;
    world.put("mail/c", &phish()).await;
    let input = json!({"evidence": {"key": "mail/c"}});
    let first = world.run(input.clone()).await.unwrap();
    incident::update(
        &world.rows,
        &first.incident_id,
        &json!({"status": "closed", "route": "benign", "result": "not_malicious"}),
    )
    .await
    .unwrap();
    let second = world.run(input.clone()).await.unwrap();
    assert_eq!((&second.incident_id, second.run), (&first.incident_id, 2));
    assert_eq!(world.run(input).await.unwrap().run, 2, "a retry stays in its run");
    let incident = Incident::load(&world.rows, &first.incident_id).await.unwrap();
    assert_eq!((incident.status, incident.run, incident.route, incident.result), (IncidentStatus::Open, 2, None, None));
}

#[tokio::test]
async fn a_run_belongs_to_the_machine_it_was_started_on_and_the_sweep_watches_it() {
    let world = World::new().await;
    world.put("mail/m", &phish()).await;
    let start = async |machine: &str| {
        let input = json!({"evidence": {"key": "mail/m"}, "machine": machine});
        let started = world.run(input).await.unwrap();
        let incident = Incident::load(&world.rows, &started.incident_id).await.unwrap();
        assert_eq!(incident.due_kind.as_deref(), Some(incident::DUE_OPEN));
        let ended = json!({"status": "closed", "due_kind": "none"});
        incident::update(&world.rows, &started.incident_id, &ended).await.unwrap();
        incident.machine().to_owned()
    };
    assert_eq!(start("ioc-enrich-only").await, "enrich-only");
    assert_eq!(start("ioc-playbook").await, "playbook");
    assert_eq!(start("ioc-two-approvals").await, "two-approvals");
}

#[tokio::test]
async fn evidence_that_cannot_be_read_ends_visibly() {
    let world = World::new().await;
    let output =
        world.run(json!({"evidence": {"key": "mail/huge", "sha256": "", "size_bytes": 100_000_000}})).await.unwrap();
    let omissions = world.extraction(&output).await.omissions;
    assert_eq!(omissions[0].reason, "not read: 100000000 bytes, the limit is 41943040");

    for (input, expected) in [
        (json!({}), "names neither an incident nor evidence"),
        (json!({"evidence": {"key": "mail/none"}}), "there is no document mail/none"),
    ] {
        let fault = world.run(input).await.unwrap_err();
        assert_eq!(fault.name(), "Rejected");
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[tokio::test]
async fn an_alert_is_read_by_its_strings() {
    let world = World::new().await;
    let alert = br#"{"title": "Beacon", "detail": {"dst": "203.0.113.9", "url": "http:\/\/c2.alert.example\/g", "host": "pc7.corp.example"}}"#;
    let evidence = world.put("alerts/1", alert).await;
    let output = world
        .run(json!({"evidence": evidence, "kind": "alert", "source": "siem", "native_id": "7", "severity": "high"}))
        .await
        .unwrap();
    assert_eq!(output.incident_id, IncidentId::of("default", "siem", "7"));
    let extraction = world.extraction(&output).await;
    let values: Vec<&str> = extraction.observables.iter().map(|sighted| sighted.observable.value()).collect();
    assert_eq!(values, ["203.0.113.9", "c2.alert.example", "http://c2.alert.example/g", "pc7.corp.example"]);
    assert_eq!(output.observables, 4);
}

#[tokio::test]
async fn a_long_mail_is_cut_into_chunks() {
    let world = World::new().await;
    let body: String = (0..60).map(|number| format!("http://h{number}.example/\n")).collect();
    let evidence = world.put("mail/d", format!("Subject: long\n\n{body}").as_bytes()).await;
    let output = world.run(json!({"evidence": evidence})).await.unwrap();
    assert_eq!(output.observables, 120);
    assert_eq!(
        output.chunks,
        [Chunk { offset: 0, count: 50 }, Chunk { offset: 50, count: 50 }, Chunk { offset: 100, count: 20 }]
    );
    assert_eq!(world.rows.get(&Run::key(&output.incident_id, 1)).await.unwrap().unwrap().attributes["schema"], "run/1");
}
