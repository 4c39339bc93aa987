use std::{cell::RefCell, time::Duration};

use playbook::{
    Timestamp,
    brief::sample,
    canonical,
    fakes::{CountingEntropy, MemoryEvidence, MemoryRows, MemorySecrets, StoppedClock},
    incident::Run,
    lookup::{Answer, CallError, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Nameserver},
    rows::{Commit, Write},
    target::Target,
};
use serde_json::json;

use super::*;

/// A board for tickets and a wall on which everybody reads; the wall cannot be edited.
const TARGETS: [(&str, &str); 2] = [
    (
        "board",
        r#"
schema: target/1
id: board
name: Board
kind: http
effect: tickets
host: board.corp.example
calls:
  precheck: {method: POST, path: /find, body: '{"id": incident.incident_id}', found_when: body.found, external_id: body.id}
  write: {method: POST, path: /open, body: '{"text": ticket.text}', external_id: body.id}
  update: {method: POST, path: "/update/{external_id}", body: '{"text": ticket.text}'}
"#,
    ),
    (
        "wall",
        r#"
schema: target/1
id: wall
name: Wall
kind: http
effect: notifies
host: wall.corp.example
calls:
  write: {method: POST, path: /say, body: '{"text": ticket.short}'}
"#,
    ),
];

/// Takes everything and keeps the paths.
#[derive(Default)]
struct Way(RefCell<Vec<String>>);

impl Egress for Way {
    async fn call(&self, _: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        self.0.borrow_mut().push(request.url.path().to_owned());
        Ok(Answer { status: 200, headers: vec![], body: br#"{"found": false, "id": 7}"#.to_vec() })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

struct Team {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    way: Way,
    entropy: CountingEntropy,
    id: IncidentId,
}

fn now() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

impl Team {
    /// The sample incident, assessed or not, under a bundle with these targets.
    async fn with(targets: &[(&str, &str)], is_assessed: bool) -> Self {
        let policy = json!({
            "schema": "policy/1", "own": {},
            "required": {"ipv4-addr": [], "ipv6-addr": [], "domain-name": [], "url": [], "email-addr": [], "file": []},
            "review": {
                "levels": [{"approvers": ["ana@soc.example"]}],
                "deadline_minutes": {"critical": 15, "high": 60, "medium": 720, "low": 1440},
            },
            "enforce": {
                "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
                "caps": {"per_incident": 50, "per_hour": 200, "per_list": 9000},
            },
            "enrich": {"deadline_ms": 1000, "calls": 1, "calls_per_provider": 1},
        });
        let read = |(id, yaml): &(&str, &str)| Target::parse(yaml, &format!("{id}.yaml")).unwrap();
        let bundle = Bundle::new(serde_json::from_value(policy).unwrap(), vec![], targets.iter().map(read).collect());
        let evidence = MemoryEvidence::default();
        let config_digest = bundle.digest().unwrap();
        let json = canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        let assessment = sample::assessment().unwrap();
        let id = assessment.incident_id.clone();
        let incident = json!({
            "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" }, "received_at": now(),
            "config_digest": config_digest, "status": "open", "run": 1, "started_at": now(), "updated_at": now(),
        });
        let team = Self {
            evidence,
            rows: MemoryRows::default(),
            way: Way::default(),
            entropy: CountingEntropy::default(),
            id: id.clone(),
        };
        team.put(Write::put(Incident::key(&id), &incident).unwrap()).await;
        if is_assessed {
            team.assessed(1).await;
        }
        team
    }

    /// A run has come to the sample's assessment.
    async fn assessed(&self, run: u32) {
        let assessment = Assessment { run, ..sample::assessment().unwrap() };
        let bytes = serde_json::to_vec(&assessment).unwrap();
        let document = self.evidence.store(&format!("{run}.json"), "application/json", &bytes).await.unwrap();
        let row = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        self.put(Write::put(Run::key(&self.id, run), &row).unwrap()).await;
    }

    async fn put(&self, write: Write) {
        assert_eq!(self.rows.commit(&[write]).await, Ok(Commit::Done));
    }

    async fn open(&self, run: u32) -> Result<Output, Fault> {
        let world = World {
            evidence: &self.evidence,
            rows: &self.rows,
            secrets: &MemorySecrets::default(),
            clock: &StoppedClock::at(now()),
            entropy: &self.entropy,
            egress: &self.way,
            account: "000000000000",
        };
        super::run(&world, Input { incident_id: self.id.clone(), run }).await
    }

    fn paths(&self) -> Vec<String> {
        self.way.0.borrow().clone()
    }
}

#[tokio::test]
async fn a_ticket_is_opened_once_and_everybody_is_told_once_a_run() {
    let team = Team::with(&TARGETS, true).await;
    for _ in 0..5 {
        assert_eq!(team.open(1).await, Ok(Output { tickets: 1, told: 1, skipped: None }));
    }
    let mut paths = team.paths();
    paths.sort();
    assert_eq!(paths, ["/find", "/open", "/say"]);

    team.way.0.borrow_mut().clear();
    team.put(Write::set(Incident::key(&team.id), &json!({ "run": 2 })).unwrap()).await;
    team.assessed(2).await;
    for _ in 0..5 {
        assert_eq!(team.open(2).await, Ok(Output { tickets: 1, told: 1, skipped: None }));
    }
    let mut paths = team.paths();
    paths.sort();
    assert_eq!(paths, ["/say", "/update/7"]);
}

#[tokio::test]
async fn without_a_target_that_is_on_nothing_is_done_and_the_output_says_so() {
    let off = TARGETS.map(|(id, yaml)| (id, yaml.replace("kind: http", "kind: http\nenabled: false")));
    let off = [(off[0].0, off[0].1.as_str()), (off[1].0, off[1].1.as_str())];
    for targets in [&[][..], &off] {
        let team = Team::with(targets, true).await;
        let output = serde_json::to_value(team.open(1).await.unwrap()).unwrap();
        let why = "no target that takes tickets or tells people is on";
        assert_eq!(output, json!({ "tickets": 0, "told": 0, "skipped": why }));
        assert!(team.paths().is_empty());
    }
}

#[tokio::test]
async fn a_run_that_is_not_the_current_one_or_was_never_assessed_is_rejected() {
    let team = Team::with(&TARGETS, false).await;
    for run in [1, 2] {
        assert!(matches!(team.open(run).await, Err(Fault::Rejected(_))), "run {run}");
    }
    assert!(team.paths().is_empty());
}

#[test]
fn unknown_fields_of_the_input_are_ignored() {
    let input = json!({ "incident_id": IncidentId::of("t", "s", "n"), "run": 3, "note": "an author's own" });
    assert_eq!(serde_json::from_value::<Input>(input).unwrap().run, 3);
}
