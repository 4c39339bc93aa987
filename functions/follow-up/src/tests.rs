//! The function in memory, on a clock that only moves while everybody waits, and with ports that die at any call.

mod asking;
mod late;
mod recheck;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use ioc::{Observable, ObservableType};
use playbook::{
    IncidentId,
    brief::sample,
    bundle::Bundle,
    cache::{Lease, MemoryQuotas, MemoryVerdicts, Outcomes, Taken},
    canonical,
    fakes::{MemoryEvidence, MemoryMachines, MemoryQueue, MemoryRows, MemorySecrets},
    incident::Run,
    lookup::{Answer, CallError, Request, pending, skipped},
    manifest::Manifest,
    outcome::{Outcome, Status},
    pending::LateOutcome,
    policy::Policy,
    ports::{Destination, DnsAnswer, DnsQuestion, Nameserver, Started, Woken},
    receipt::Receipt,
    rows::{Commit, Write},
    verdict::{Facts, Verdict},
};
use serde_json::{Value, json};
use sources::{list::StoredLists, rdap::Registries};
use tokio::time::sleep;

use super::*;

const ACCOUNT: &str = "000000000000";

fn start() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

/// A clock that goes with tokio's, so that it stands and jumps with it.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        start().plus_ms(i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// How many calls of the record, the queue, the machines and the cache are left before the function is killed.
#[derive(Debug)]
struct Fuse(Cell<usize>);

impl Fuse {
    fn burn(&self) -> Result<(), Fault> {
        match self.0.get() {
            0 => Err(Fault::Unavailable("killed".to_owned())),
            left => {
                self.0.set(left - 1);
                Ok(())
            }
        }
    }
}

/// A port that works until the fuse has burnt down.
#[derive(Debug)]
struct Mortal<'a, T>(&'a T, &'a Fuse);

impl<T: Rows> Rows for Mortal<'_, T> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.1.burn()?;
        self.0.get(key).await
    }
    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.1.burn()?;
        self.0.list(pk, sk_prefix).await
    }
    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.1.burn()?;
        self.0.due(kind, until, limit).await
    }
    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.1.burn()?;
        self.0.by_observable(observable, limit).await
    }
    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        self.1.burn()?;
        self.0.commit(writes).await
    }
}

impl<T: Queue> Queue for Mortal<'_, T> {
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault> {
        self.1.burn()?;
        self.0.push(body, delay_seconds).await
    }
}

impl<T: Machines> Machines for Mortal<'_, T> {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<Started, Fault> {
        self.1.burn()?;
        self.0.start(machine, name, input).await
    }
    async fn wake(&self, task_token: &str) -> Result<Woken, Fault> {
        self.1.burn()?;
        self.0.wake(task_token).await
    }
    async fn is_running(&self, machine: &str, name: &str) -> Result<Option<bool>, Fault> {
        self.1.burn()?;
        self.0.is_running(machine, name).await
    }
}

impl<T: Verdicts> Verdicts for Mortal<'_, T> {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        self.1.burn()?;
        self.0.recall(keys).await
    }
    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        self.1.burn()?;
        self.0.save(key, outcomes).await
    }
}

impl<T: Leases> Leases for Mortal<'_, T> {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        self.1.burn()?;
        self.0.take(key, lease, now).await
    }
    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        self.1.burn()?;
        self.0.look(keys).await
    }
    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        self.1.burn()?;
        self.0.finish(key, owner, now, left).await
    }
}

/// A provider that answers what the test says, 40 ms later.
#[derive(Debug)]
struct Provider {
    status: Cell<u16>,
    body: RefCell<String>,
    /// Paths, and when.
    calls: RefCell<Vec<(String, Instant)>>,
}

impl Egress for Provider {
    async fn call(&self, _: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        self.calls.borrow_mut().push((request.url.path().to_owned(), Instant::now()));
        sleep(Duration::from_millis(40)).await;
        let (status, body) = (self.status.get(), self.body.borrow().clone().into_bytes());
        Ok(Answer { status, headers: vec![], body })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

const MALICIOUS: (u16, &str) = (200, r#"{"found": true}"#);
const UNKNOWN: (u16, &str) = (404, "{}");

/// A manifest of a provider of grade A: its word alone makes malicious.
fn manifest(id: &str, request: &str, rule: &str, more: &str) -> Manifest {
    let yaml = format!(
        r#"
schema: provider/1
id: {id}
name: Provider {id}
kind: http
verified: recorded
types: [url]
family: {id}
grade: A
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: {{ found: 1440, not_found: 60, error: 5 }}
timeout_ms: 4000
host: {id}.example
requests:
  - types: [url]
    {request}
outcome:
  - {{ status: [404], outcome: not_found }}
{rule}  - {{ when: "body.found = true", outcome: found }}
mapping: '{{"verdict": "malicious", "score": 90}}'
{more}
"#
    );
    Manifest::parse(&yaml, &format!("{id}.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

fn limited() -> Manifest {
    let limits = "limits: [{ limit: 4, window_seconds: 60, scope: key }]";
    manifest("vt", "path: /lookup\n    query: { q: '{value}' }", "", limits)
}

fn sandbox() -> Manifest {
    let request = "method: POST\n    path: /submit\n    json: { url: '{value}' }\n    task: body.task\n    \
                   poll: { path: '/result/{task}', every_seconds: 60, for_seconds: 3600 }";
    manifest("box", request, "  - { when: \"body.state = 'running'\", outcome: pending }\n", "")
}

fn about() -> Observable {
    Observable::parse(ObservableType::Url, "https://evil.net/login").unwrap()
}

fn policy() -> Policy {
    let levels = json!([{ "approvers": ["ana@soc.example"] }]);
    let deadlines = json!({ "low": 60, "medium": 60, "high": 60, "critical": 60 });
    let required: BTreeMap<ObservableType, Vec<String>> =
        ObservableType::ALL.into_iter().map(|kind| (kind, vec![])).collect();
    let policy: Policy = serde_json::from_value(json!({
        "schema": Policy::SCHEMA, "own": {}, "review": { "levels": levels, "deadline_minutes": deadlines },
        "required": required,
        "enforce": { "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
                     "caps": { "per_incident": 50, "per_hour": 200, "per_list": 9000 } },
        "enrich": { "deadline_ms": 10_000, "calls": 128, "calls_per_provider": 8 }, "guard": {}, "egress": {},
    }))
    .unwrap();
    assert_eq!(policy.faults(), Vec::<String>::new());
    policy
}

/// Everything around the function: an incident whose first run has ended without the answer of one provider.
struct Desk {
    rows: MemoryRows,
    evidence: MemoryEvidence,
    verdicts: MemoryVerdicts,
    quotas: MemoryQuotas,
    secrets: MemorySecrets,
    clock: TokioClock,
    provider: Provider,
    registries: Registries,
    queue: MemoryQueue,
    machines: MemoryMachines,
    id: IncidentId,
}

impl Desk {
    async fn new(manifest: Manifest, status: &str) -> Self {
        let desk = Self {
            rows: MemoryRows::default(),
            evidence: MemoryEvidence::default(),
            verdicts: MemoryVerdicts::default(),
            quotas: MemoryQuotas::default(),
            secrets: MemorySecrets::default(),
            clock: TokioClock(Instant::now()),
            provider: Provider { status: Cell::new(0), body: RefCell::default(), calls: RefCell::default() },
            registries: Registries::default(),
            queue: MemoryQueue::default(),
            machines: MemoryMachines::default(),
            id: sample::assessment().unwrap().incident_id,
        };
        desk.answers(MALICIOUS);
        let outcome = pending(&manifest, "quota", start());
        let bundle = Bundle::new(policy(), vec![manifest], vec![]);
        let digest = bundle.digest().unwrap();
        let bytes = canonical::to_json(&bundle).unwrap();
        desk.evidence.store(&Bundle::location(&digest), "application/json", &bytes).await.unwrap();
        let incident = json!({
            "schema": Incident::SCHEMA, "incident_id": desk.id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": "sample", "severity": "medium", "evidence": { "key": "mail/x" }, "received_at": start(),
            "config_digest": digest, "status": status, "run": 1, "started_at": start(), "updated_at": start(),
        });
        desk.put(Incident::key(&desk.id), &incident).await;
        desk.assessed(outcome).await;
        desk
    }

    async fn put(&self, key: Key, document: &impl Serialize) {
        assert_eq!(self.rows.commit(&[Write::put(key, document).unwrap()]).await, Ok(Commit::Done));
    }

    async fn set(&self, document: Value) {
        playbook::incident::update(&self.rows, &self.id, &document).await.unwrap();
    }

    /// What `assess` has stored of the first run, with this outcome of the provider.
    async fn assessed(&self, outcome: Outcome) {
        let facts = Facts { outcomes: vec![outcome], ..Facts::bare(about()) };
        let receipt = Receipt {
            schema: Receipt::SCHEMA.to_owned(),
            incident_id: self.id.clone(),
            run: 1,
            config_digest: String::new(),
            now: start(),
            verdict: Verdict::reach(&facts, start()),
            facts,
        };
        let mut assessment = sample::assessment().unwrap();
        assessment.observables.clear();
        let lines = Receipt::to_lines(&[receipt]).unwrap();
        assessment.receipts = self.evidence.store("receipts/x", "application/x-ndjson", &lines).await.unwrap();
        let json = serde_json::to_vec(&assessment).unwrap();
        let document = self.evidence.store("assessment.json", "application/json", &json).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        self.put(Run::key(&self.id, 1), &run).await;
    }

    fn answers(&self, (status, body): (u16, &str)) {
        self.provider.status.set(status);
        body.clone_into(&mut self.provider.body.borrow_mut());
    }

    /// The row of the lookup, to be tried after so many seconds; its message comes back.
    async fn postponed(&self, provider: &str, reason: &str, task: Option<&str>, after_seconds: i64) -> String {
        let now = self.clock.now();
        let mut row = PendingLookup::recheck(&self.id, 1, now, now.plus_ms(after_seconds * 1_000));
        row.provider = provider.to_owned();
        row.observable = Some(about());
        row.reason = reason.to_owned();
        row.task = task.map(str::to_owned);
        row.give_up_at = now.plus_hours(if task.is_some() { 1 } else { 48 });
        self.put(row.own_key(), &row).await;
        row.message().unwrap()
    }

    async fn deliver(&self, body: &str) -> Output {
        self.deliver_until_killed(body, "r1", usize::MAX).await
    }

    /// One invocation, killed at a call.
    async fn deliver_until_killed(&self, body: &str, request_id: &str, calls: usize) -> Output {
        let batch = json!({"Records": [{"messageId": "m1", "body": body}]});
        self.invoke(batch, request_id, calls).await
    }

    async fn invoke(&self, batch: Value, request_id: &str, calls: usize) -> Output {
        let fuse = &Fuse(Cell::new(calls));
        let rows = &Mortal(&self.rows, fuse);
        let sources = sources::World {
            verdicts: &Mortal(&self.verdicts, fuse),
            quotas: &self.quotas,
            secrets: &self.secrets,
            clock: &self.clock,
            egress: &self.provider,
            lists: &StoredLists::new(&self.rows, &self.evidence),
            registries: &self.registries,
        };
        let (queue, machines) = (&Mortal(&self.queue, fuse), &Mortal(&self.machines, fuse));
        let world = World { rows, evidence: &self.evidence, sources, queue, machines };
        let call = Call { account: ACCOUNT, request_id, remaining: Duration::from_secs(30) };
        run(&world, call, serde_json::from_value(batch).unwrap()).await.unwrap()
    }

    /// The rows that wait, whatever for.
    async fn rows_pending(&self) -> Vec<PendingLookup> {
        let rows = self.rows.list(&format!("incident#{}", self.id), "pending#").await.unwrap();
        rows.iter().map(|row| row.read().unwrap()).collect()
    }

    async fn the_row(&self) -> PendingLookup {
        let mut rows = self.rows_pending().await;
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    async fn kept(&self) -> Vec<LateOutcome> {
        let rows = self.rows.list(&format!("incident#{}", self.id), "late#").await.unwrap();
        rows.iter().map(|row| row.read().unwrap()).collect()
    }

    async fn incident(&self) -> Incident {
        Incident::load(&self.rows, &self.id).await.unwrap()
    }

    /// The runs that were started.
    fn started(&self) -> Vec<String> {
        self.machines.started.borrow().iter().map(|(name, _)| name.clone()).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.provider.calls.borrow().iter().map(|(path, _)| path.clone()).collect()
    }

    /// Whether this run, and only this one, was opened and started.
    async fn assert_opened_once(&self, run: u32) {
        let incident = self.incident().await;
        assert_eq!((incident.run, incident.status), (run, IncidentStatus::Open));
        assert!(incident.started_at.is_some());
        assert_eq!(self.started(), [self.id.execution_name(run)]);
        assert!(self.rows_pending().await.is_empty());
    }
}

fn none_failed() -> Output {
    Output { failures: vec![] }
}
