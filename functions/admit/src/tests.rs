//! The stage as the intake queue sees it, over the in-memory ports.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use playbook::{
    IncidentId, Timestamp, canonical,
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryRows, MemorySecrets, StoppedClock},
    incident::{ForeignExecution, Incident},
    lookup::{Answer, CallError, Request},
    policy::{DEMO_ACCOUNT, Policy},
    ports::{Destination, DnsAnswer, DnsQuestion, Nameserver, Started, Woken},
    rows::{Commit, Key, Row, Write},
    target::Target,
};
use serde_json::{Value, json};

use super::*;

/// Machines that throttle for a while.
#[derive(Default)]
struct Throttling {
    machines: MemoryMachines,
    failures: Cell<usize>,
    tried: Cell<usize>,
    chosen: Cell<Option<String>>,
}

impl Machines for Throttling {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<Started, Fault> {
        self.tried.set(self.tried.get() + 1);
        self.chosen.set(Some(machine.to_owned()));
        if self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Err(Fault::Throttled("sfn StartExecution: ThrottlingException".to_owned()));
        }
        self.machines.start(machine, name, input).await
    }

    async fn wake(&self, task_token: &str) -> Result<Woken, Fault> {
        self.machines.wake(task_token).await
    }

    async fn is_running(&self, machine: &str, name: &str) -> Result<Option<bool>, Fault> {
        self.machines.is_running(machine, name).await
    }
}

const BOARD: &str = r#"
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
"#;

/// A ticket system that takes everything and keeps the paths, until it is down.
#[derive(Default)]
struct Board {
    asked: RefCell<Vec<String>>,
    is_down: Cell<bool>,
}

impl Egress for Board {
    async fn call(&self, _: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        self.asked.borrow_mut().push(request.url.path().to_owned());
        let status = if self.is_down.get() { 503 } else { 200 };
        Ok(Answer { status, headers: vec![], body: br#"{"found": false, "id": 7}"#.to_vec() })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

/// A record in which others are faster for a while.
#[derive(Default)]
struct Contended {
    rows: MemoryRows,
    /// Commits that are lost to others.
    lost: Cell<usize>,
}

impl Contended {
    fn all(&self) -> Vec<Row> {
        self.rows.all()
    }
}

impl Rows for Contended {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.rows.get(key).await
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.rows.list(pk, sk_prefix).await
    }

    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.rows.due(kind, until, limit).await
    }

    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.rows.by_observable(observable, limit).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        let left = self.lost.get();
        if left == 0 {
            return self.rows.commit(writes).await;
        }
        self.lost.set(left - 1);
        if left.is_multiple_of(2) {
            return Ok(Commit::Conflict);
        }
        Err(Fault::Throttled("dynamodb TransactWriteItems: TransactionConflict".to_owned()))
    }
}

struct Stage {
    board: Board,
    entropy: CountingEntropy,
    evidence: MemoryEvidence,
    rows: Contended,
    machines: Throttling,
    clock: StoppedClock,
    settings: Settings,
}

impl Stage {
    /// A stage under the shipped policy with these keys on top.
    async fn with(policy: Value) -> Self {
        let shipped: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        let mut merged = serde_json::to_value(shipped).unwrap();
        merged["enforce"]["targets"] = json!({});
        merged["required"].as_object_mut().unwrap().values_mut().for_each(|families| *families = json!([]));
        merged.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        let board = Target::parse(BOARD, "board.yaml").unwrap();
        let bundle = Bundle::new(serde_json::from_value(merged).unwrap(), vec![], vec![board]);
        let evidence = MemoryEvidence::default();
        let digest = bundle.digest().unwrap();
        let document = canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&digest), "application/json", &document).await.unwrap();
        Self {
            board: Board::default(),
            entropy: CountingEntropy::default(),
            evidence,
            rows: Contended::default(),
            machines: Throttling::default(),
            clock: StoppedClock::at(Timestamp::parse("2026-11-24T05:00:30Z").unwrap()),
            settings: Settings::new(digest),
        }
    }

    async fn new() -> Self {
        Self::with(json!({})).await
    }

    async fn deliver(&self, bodies: &[String]) -> Vec<String> {
        let records = bodies.iter().enumerate().map(|(n, body)| Message { id: format!("m{n}"), body: body.clone() });
        let world = World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            clock: &self.clock,
            settings: &self.settings,
            account: DEMO_ACCOUNT,
        };
        let tickets = ticket::World {
            rows: &self.rows,
            clock: &self.clock,
            egress: &self.board,
            secrets: &MemorySecrets::default(),
            entropy: &self.entropy,
        };
        let output = run(&world, &tickets, Input { records: records.collect() }).await.unwrap();
        output.failures.into_iter().map(|failure| failure.id).collect()
    }

    /// Stores a mail and gives the message about it.
    async fn mail(&self, key: &str, content: &str) -> String {
        self.evidence.store(key, "message/rfc822", content.as_bytes()).await.unwrap();
        mail(key)
    }

    async fn incident(&self, id: &IncidentId) -> Incident {
        Incident::load(&self.rows, id).await.unwrap()
    }

    fn incidents(&self) -> Vec<Incident> {
        let rows = self.rows.all().into_iter().filter(|row| row.key.pk.starts_with("incident#"));
        rows.map(|row| row.read().unwrap()).collect()
    }

    fn started(&self) -> usize {
        self.machines.machines.started.borrow().len()
    }
}

fn mail(key: &str) -> String {
    json!({
        "schema": "intake/1", "kind": "mail", "tenant": "default", "source": "mail", "native_id": format!("b/{key}/1"),
        "severity": "low", "evidence": {"key": key, "version_id": "1"}, "received_at": "2026-11-24T05:00:00.000Z"
    })
    .to_string()
}

fn mail_id(key: &str) -> IncidentId {
    IncidentId::of("default", "mail", &format!("b/{key}/1"))
}

fn alert(n: usize, change: &Value) -> String {
    let mut alert = json!({
        "schema": "intake/1", "kind": "alert", "tenant": "default", "source": "siem", "native_id": n.to_string(),
        "severity": "high", "evidence": {"key": format!("alerts/{n}")}, "received_at": "2026-11-24T05:00:00.000Z",
        "fingerprint": "f".repeat(64)
    });
    alert.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    alert.to_string()
}

fn ended(name: &str) -> String {
    json!({
        "schema": "intake/1", "kind": "execution_ended", "tenant": "default", "source": "step-functions",
        "native_id": format!("arn:aws:states:us-east-1:000000000000:execution:x-playbook:{name}"),
        "severity": "low", "evidence": null, "received_at": "2026-11-24T05:00:00Z", "status": "ABORTED"
    })
    .to_string()
}

#[tokio::test]
async fn five_redeliveries_start_one_execution() {
    let stage = Stage::new().await;
    let message = stage.mail("mail/a", "Subject: a\n\nhello").await;
    for _ in 0..5 {
        assert!(stage.deliver(std::slice::from_ref(&message)).await.is_empty());
    }
    assert_eq!((stage.started(), stage.incidents().len()), (1, 1));
    let incident = stage.incident(&mail_id("mail/a")).await;
    assert_eq!(incident.config_digest, stage.settings.config_digest);
    assert_eq!((incident.machine(), incident.machine.as_deref()), ("playbook", None));
    assert_eq!(incident.due_kind.as_deref(), Some("incident-open"));
    assert_eq!(incident.due_at.unwrap().to_string(), "2026-11-24T05:15:30.000Z");
    assert!(incident.fingerprint.is_some());
    let storm = stage.rows.all().into_iter().find(|row| row.key.pk.starts_with("storm#")).unwrap();
    assert_eq!((storm.key.sk.as_str(), &storm.attributes["count"]), ("2026-11-24T05:00", &json!(1)));
}

#[tokio::test]
async fn a_row_that_was_not_started_is_started_by_the_redelivery() {
    let stage = Stage::new().await;
    let message = stage.mail("mail/a", "Subject: a\n\nhello").await;
    stage.deliver(std::slice::from_ref(&message)).await;
    let id = mail_id("mail/a");
    let unstarted = Write::set(Incident::key(&id), &json!({})).unwrap().removing(&["started_at"]);
    assert_eq!(stage.rows.commit(&[unstarted]).await.unwrap(), Commit::Done);
    stage.deliver(&[message]).await;
    assert!(stage.incident(&id).await.started_at.is_some());
}

#[tokio::test]
async fn a_poison_message_does_not_hold_up_the_others() {
    let stage = Stage::new().await;
    let failed = stage.deliver(&[mail("mail/a"), "{not json".to_owned(), mail("mail/b")]).await;
    assert_eq!((failed, stage.started()), (vec!["m1".to_owned()], 2));
    assert!(
        stage.incidents().iter().all(|incident| incident.fingerprint.is_none()),
        "mails that cannot be read are like none"
    );
}

#[tokio::test]
async fn a_storm_is_attached_to_its_first_one_and_stays_visible() {
    let stage = Stage::with(json!({ "storm": { "per_minute": 20 } })).await;
    let storm: Vec<String> = (0..50).map(|n| alert(n, &json!({}))).collect();
    for batch in storm.chunks(10) {
        for _ in 0..5 {
            assert!(stage.deliver(batch).await.is_empty());
        }
    }
    assert_eq!(stage.started(), 20);
    let incidents = stage.incidents();
    assert_eq!(incidents.len(), 50, "each has its row");
    let first = IncidentId::of("default", "siem", "0");
    let attached: Vec<&Incident> = incidents.iter().filter(|one| one.status == IncidentStatus::Attached).collect();
    assert_eq!(attached.len(), 30);
    assert!(
        attached
            .iter()
            .all(|one| one.parent.as_ref() == Some(&first) && one.started_at.is_none() && one.due_at.is_none())
    );
    assert_eq!(stage.incident(&first).await.attached, Some(30), "five deliveries are counted once");

    let other = [
        alert(50, &json!({ "fingerprint": "e".repeat(64) })),
        alert(51, &json!({ "tenant": "subsidiary" })),
        alert(52, &json!({ "received_at": "2026-11-24T05:01:00.000Z" })),
    ];
    assert!(stage.deliver(&other).await.is_empty());
    assert_eq!(stage.started(), 23, "another fingerprint, tenant or minute is no part of it");
}

#[tokio::test]
async fn whoever_loses_the_race_for_the_count_counts_again() {
    let stage = Stage::with(json!({ "storm": { "per_minute": 2 } })).await;
    for n in 0..4 {
        stage.rows.lost.set(5);
        assert!(stage.deliver(&[alert(n, &json!({}))]).await.is_empty(), "{n}");
    }
    assert_eq!(stage.started(), 2);
    assert_eq!(stage.incident(&IncidentId::of("default", "siem", "0")).await.attached, Some(2));

    stage.rows.lost.set(8);
    let batch = [alert(4, &json!({})), alert(5, &json!({}))];
    assert_eq!(stage.deliver(&batch).await, ["m0", "m1"], "in the end the queue keeps it");
    assert!(stage.deliver(&batch).await.is_empty());
    assert_eq!(stage.incident(&IncidentId::of("default", "siem", "0")).await.attached, Some(4));
}

#[tokio::test]
async fn mails_that_differ_in_numbers_are_a_storm_and_others_are_not() {
    let stage = Stage::with(json!({ "storm": { "per_minute": 2 } })).await;
    for n in 0..5 {
        let content =
            format!("Message-ID: <{n}@x.example>\r\nSubject: {n}\r\n\r\nInvoice {n} at http://evil.example/{n}");
        let message = stage.mail(&format!("mail/{n}"), &content).await;
        stage.deliver(&[message]).await;
    }
    assert_eq!(stage.started(), 2);
    for n in 5..10 {
        let message = stage.mail(&format!("mail/{n}"), &format!("Subject: {n}\r\n\r\nsee http://192.0.2.{n}/")).await;
        stage.deliver(&[message]).await;
    }
    assert_eq!(stage.started(), 7, "the digits of an address count");
}

#[tokio::test]
async fn the_policy_names_the_machine() {
    let stage =
        Stage::with(json!({ "route": [{ "kind": "alert", "severity_from": "high", "machine": "urgent" }] })).await;
    assert!(stage.deliver(&[alert(1, &json!({}))]).await.is_empty());
    assert_eq!(stage.machines.chosen.take().as_deref(), Some("urgent"));
    assert_eq!(stage.incident(&IncidentId::of("default", "siem", "1")).await.machine.as_deref(), Some("urgent"));
    assert!(stage.deliver(&[mail("mail/a")]).await.is_empty());
    assert_eq!(stage.machines.chosen.take().as_deref(), Some("playbook"));
}

#[tokio::test]
async fn a_service_that_throttles_is_left_alone_and_nothing_is_lost() {
    let stage = Stage::new().await;
    let batch: Vec<String> = (0..6).map(|n| alert(n, &json!({}))).collect();
    assert!(stage.deliver(&batch[..2]).await.is_empty());
    stage.machines.failures.set(1);
    stage.machines.tried.set(0);
    assert_eq!(stage.deliver(&batch).await, ["m2", "m3", "m4", "m5"]);
    assert_eq!(stage.machines.tried.get(), 1, "the others are not tried");
    assert_eq!(stage.incidents().len(), 3, "the row is there, and sweep looks after it");
    assert!(stage.deliver(&batch).await.is_empty());
    assert_eq!(stage.started(), 6);
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_said_and_keeps_the_messages() {
    let mut stage = Stage::new().await;
    stage.settings = Settings::new("0".repeat(64));
    assert_eq!(stage.deliver(&[mail("mail/a"), mail("mail/b")]).await, ["m0", "m1"]);
    assert!(stage.rows.all().is_empty());
}

#[tokio::test]
async fn an_aborted_execution_is_recorded_and_a_closed_incident_is_left_alone() {
    let stage = Stage::new().await;
    stage.deliver(&[mail("mail/a")]).await;
    let id = mail_id("mail/a");
    let ours = ended(&id.execution_name(1));
    assert!(stage.deliver(std::slice::from_ref(&ours)).await.is_empty());
    let incident = stage.incident(&id).await;
    assert_eq!(incident.status, IncidentStatus::Failed);
    assert_eq!(incident.failure.as_deref(), Some("execution ABORTED"));

    // One that was started by hand is found by its row.
    playbook::incident::update(&stage.rows, &id, &json!({"status": "waiting"})).await.unwrap();
    let by_hand = ForeignExecution { schema: ForeignExecution::SCHEMA.to_owned(), incident_id: id.clone(), run: 1 };
    let row = Write::put(ForeignExecution::key("by-hand"), &by_hand).unwrap();
    assert_eq!(stage.rows.commit(&[row]).await.unwrap(), Commit::Done);
    assert!(stage.deliver(&[ended("by-hand")]).await.is_empty());
    assert_eq!(stage.incident(&id).await.status, IncidentStatus::Failed);

    playbook::incident::update(&stage.rows, &id, &json!({"status": "closed"})).await.unwrap();
    assert!(stage.deliver(&[ours]).await.is_empty());
    assert_eq!(stage.incident(&id).await.status, IncidentStatus::Closed);
}

#[tokio::test]
async fn every_delivery_of_a_bad_ending_asks_for_the_ticket_until_somebody_goes_on() {
    let stage = Stage::new().await;
    stage.deliver(&[mail("mail/a")]).await;
    let id = mail_id("mail/a");
    let told = async |name: &str| {
        let intake = serde_json::from_str(&ended(name)).unwrap();
        record_ending(&stage.rows, stage.clock.now(), &intake).await.unwrap()
    };
    for _ in 0..5 {
        assert_eq!(told(&id.execution_name(1)).await, Some((id.clone(), 1)));
    }
    assert_eq!(told(&id.execution_name(2)).await, None, "a run that never was");
    assert_eq!(told("console-test").await, None);
    assert_eq!(told(&mail_id("mail/none").execution_name(1)).await, None);
    playbook::incident::update(&stage.rows, &id, &json!({"status": "open", "run": 2})).await.unwrap();
    assert_eq!(told(&id.execution_name(1)).await, None, "a later run is under way");
    playbook::incident::update(&stage.rows, &id, &json!({"status": "closed", "run": 1})).await.unwrap();
    assert_eq!(told(&id.execution_name(1)).await, None);
}

#[tokio::test]
async fn the_team_is_told_once_that_an_execution_ended_badly() {
    let stage = Stage::new().await;
    stage.deliver(&[mail("mail/a")]).await;
    let ended = ended(&mail_id("mail/a").execution_name(1));
    for _ in 0..5 {
        assert!(stage.deliver(std::slice::from_ref(&ended)).await.is_empty());
    }
    assert_eq!(*stage.board.asked.borrow(), ["/find", "/open"]);
}

#[tokio::test]
async fn a_ticket_system_that_is_down_does_not_hold_up_what_comes_in() {
    let stage = Stage::new().await;
    stage.deliver(&[mail("mail/a")]).await;
    stage.board.is_down.set(true);
    let ended = ended(&mail_id("mail/a").execution_name(1));
    assert_eq!(stage.deliver(&[ended.clone(), mail("mail/b")]).await, ["m0"]);
    assert_eq!(stage.started(), 2);
    assert_eq!(stage.incident(&mail_id("mail/a")).await.status, IncidentStatus::Failed);

    stage.board.is_down.set(false);
    assert!(stage.deliver(&[ended]).await.is_empty());
    assert_eq!(stage.board.asked.borrow().last().map(String::as_str), Some("/open"));
}
