//! Providers that do everything wrong, all at once, over real sockets: the stage ends in time and in little memory, says of
//! each what it did, and takes none of it for an answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a wrong assumption ends the test")]

mod providers;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ioc::{Observable, ObservableType};
use playbook::{
    IncidentId, Timestamp, authored,
    bundle::Bundle,
    cache::{MemoryQuotas, MemoryVerdicts},
    canonical,
    fakes::{self, MemoryEvidence, MemoryQueue, MemoryRows, MemorySecrets},
    incident::{Enrichment, Extraction, Incident, Pointer, Run, Sighted},
    lookup::{Answer, CallError, Request},
    manifest::Manifest,
    outcome::{Grade, Judgement, Outcome, Status},
    policy::{DEMO_ACCOUNT, Policy},
    ports::{Clock, Destination, DnsAnswer, DnsQuestion, Egress, Evidence, Nameserver},
    rows::{Rows, Write},
    verdict::{Facts, Reason, Verdict},
};
use serde_json::json;
use sources::{list::StoredLists, rdap::Registries};
use tokio::time::Instant;

use providers::{Does, StandIn};

/// What the stage has, by policy.
const DEADLINE: Duration = Duration::from_secs(3);
/// Between the deadline and the end lie reading and writing in memory; the rest is for a machine with other work.
const MARGIN: Duration = Duration::from_secs(2);
/// What every provider has: more than the stage.
const PROVIDER_TIMEOUT_MS: u32 = 8_000;
/// Memory above what was there before, at any moment.
const MEMORY_MAX: u64 = 128 * 1024 * 1024;

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }
}

/// The real way out, and until when each call was allowed to take.
struct Watched {
    egress: egress::Https,
    until: RefCell<Vec<Instant>>,
}

impl Egress for Watched {
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        self.until.borrow_mut().push(Instant::now() + timeout);
        self.egress.call(to, request, timeout).await
    }

    async fn resolve(
        &self,
        at: &Nameserver<'_>,
        asked: &DnsQuestion,
        timeout: Duration,
    ) -> Result<DnsAnswer, CallError> {
        self.egress.resolve(at, asked, timeout).await
    }
}

/// A provider of grade A whose word is that something is harmless.
fn manifest(id: &str) -> Manifest {
    let mut manifest = fakes::provider(id, "").unwrap();
    (manifest.grade, manifest.timeout_ms) = (Some(Grade::A), PROVIDER_TIMEOUT_MS);
    r#"{"verdict": "benign", "score": 0}"#.clone_into(&mut manifest.mapping);
    manifest
}

/// The shipped policy with these providers, played at this address.
fn bundle(address: &str) -> Bundle {
    let mut policy: Policy = authored::read(include_str!("../../../../playbook/policy.yaml"), "policy.yaml").unwrap();
    policy.required.values_mut().for_each(Vec::clear);
    policy.enforce.targets.clear();
    policy.enrich.deadline_ms = u64::try_from(DEADLINE.as_millis()).unwrap();
    policy.egress.stand_in = Some(address.to_owned());
    Bundle::new(policy, Does::ALL.map(|does| manifest(does.id())).into(), vec![])
}

fn observable(n: usize) -> Observable {
    Observable::parse(ObservableType::DomainName, &format!("asked-{n}.example")).unwrap()
}

/// What became of the stage.
struct Ended {
    /// By observable, then by provider.
    outcomes: Vec<BTreeMap<String, Outcome>>,
    degraded: usize,
    took: Duration,
    /// The latest moment until which any call was allowed to take, after the start.
    longest_call: Duration,
}

/// Admits an incident with so many observables and runs the stage.
async fn enrich(address: &str, count: usize) -> Ended {
    let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
    let bundle = bundle(address);
    let digest = bundle.digest().unwrap();
    let bytes = canonical::to_json(&bundle).unwrap();
    evidence.store(&Bundle::location(&digest), "application/json", &bytes).await.unwrap();
    let id = IncidentId::of("default", "mail", "one");
    let now = WallClock.now();
    let incident = json!({
        "schema": Incident::SCHEMA, "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
        "native_id": "one", "severity": "medium", "evidence": { "key": "mail/x" }, "received_at": now,
        "config_digest": digest, "status": "open", "run": 1, "updated_at": now,
    });
    let sighted = (0..count).map(|n| Sighted { observable: observable(n), places: vec![], withheld: None });
    let document = json!({
        "schema": Extraction::SCHEMA, "incident_id": id, "subject": "x", "participants": [],
        "observables": sighted.collect::<Vec<_>>(), "omissions": [],
    });
    let bytes = canonical::to_json(&document).unwrap();
    let extraction = evidence.store("x", "application/json", &bytes).await.unwrap();
    let run = Run { schema: Run::SCHEMA.to_owned(), extraction: Some(extraction), ..Run::default() };
    let writes = [Write::put(Incident::key(&id), &incident).unwrap(), Write::put(Run::key(&id, 1), &run).unwrap()];
    let _done = rows.commit(&writes).await.unwrap();

    let egress = Watched { egress: egress::Https::new().unwrap(), until: RefCell::default() };
    let (verdicts, quotas) = (MemoryVerdicts::default(), MemoryQuotas::default());
    let world = enrich::World {
        rows: &rows,
        evidence: &evidence,
        verdicts: &verdicts,
        quotas: &quotas,
        secrets: &MemorySecrets::default(),
        clock: &WallClock,
        egress: &egress,
        lists: &StoredLists::new(&rows, &evidence),
        registries: &Registries::default(),
        queue: &MemoryQueue::default(),
    };
    let input = enrich::Input { incident_id: id.clone(), run: 1, offset: 0, count: 50 };
    let started = Instant::now();
    let output = enrich::run(&world, DEMO_ACCOUNT, Duration::from_secs(30), input).await.unwrap();
    let took = started.elapsed();

    let row = rows.get(&Run::enrichment_key(&id, 1, 0)).await.unwrap().unwrap();
    let pointer: Pointer = row.read().unwrap();
    let stored: Enrichment = serde_json::from_slice(&evidence.fetch(&pointer.document).await.unwrap()).unwrap();
    let by_provider = |outcomes: Vec<Outcome>| outcomes.into_iter().map(|o| (o.provider.clone(), o)).collect();
    Ended {
        outcomes: stored.observables.into_iter().map(|about| by_provider(about.outcomes)).collect(),
        degraded: output.degraded,
        took,
        longest_call: egress.until.borrow().iter().map(|until| *until - started).max().unwrap(),
    }
}

/// Runs the stage on this thread; also the most memory that it has held at once.
fn measured(address: &str, count: usize) -> (Ended, u64) {
    let mut ended = None;
    let memory = allocation_counter::measure(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        ended = Some(runtime.block_on(enrich(address, count)));
    });
    (ended.unwrap(), memory.bytes_max)
}

fn is_in_time(ended: &Ended) {
    // Whatever the machine does meanwhile: no call was allowed to take longer than the stage.
    let allowed = DEADLINE + Duration::from_millis(100);
    assert!(ended.longest_call <= allowed, "a call may take {:?} of {DEADLINE:?}", ended.longest_call);
    assert!(ended.took < DEADLINE + MARGIN, "{:?}", ended.took);
}

/// What is concluded from what these providers said; policy requires all of them.
fn verdict(outcomes: impl Iterator<Item = Outcome>) -> Verdict {
    let outcomes: Vec<Outcome> = outcomes.collect();
    let facts = Facts {
        required: outcomes.iter().map(|outcome| outcome.family.clone()).collect(),
        grades: outcomes.iter().map(|outcome| (outcome.provider.clone(), Grade::A)).collect(),
        outcomes,
        ..Facts::bare(observable(0))
    };
    Verdict::reach(&facts, WallClock.now())
}

#[test]
fn each_is_told_by_what_it_did_and_silence_is_no_verdict() {
    let stand_in = StandIn::start();
    let (ended, _) = measured(&stand_in.address, 1);
    is_in_time(&ended);
    let outcomes = &ended.outcomes[0];
    assert_eq!(outcomes.len(), Does::ALL.len());
    for does in Does::ALL {
        let outcome = &outcomes[does.id()];
        let told = (outcome.outcome, outcome.reason.as_deref());
        assert_eq!(told, does.expected(), "{}", does.id());
        assert_eq!(outcome.opinion.is_some(), outcome.outcome == Status::Found, "{}", does.id());
    }
    assert_eq!(ended.degraded, 1);

    // Alone, the good one would make it benign; beside those that say nothing it does not.
    let of = |wanted: fn(&Outcome) -> bool| verdict(outcomes.values().filter(|o| wanted(o)).cloned());
    let is_good = |outcome: &Outcome| outcome.provider == Does::Answers.id();
    assert_eq!(of(is_good).verdict, Judgement::Benign);
    for concluded in [of(|_| true), of(|outcome| outcome.provider != Does::Answers.id())] {
        assert_eq!((concluded.verdict, concluded.reason), (Judgement::Unknown, Some(Reason::Degraded)));
        assert!(concluded.degraded);
        assert_eq!(concluded.failed.len(), Does::ALL.len() - 1, "{:?}", concluded.failed);
    }
    // Each of them is enough.
    for does in Does::ALL.into_iter().filter(|does| *does != Does::Answers) {
        let both = [Does::Answers, does].map(|does| outcomes[does.id()].clone());
        let concluded = verdict(both.into_iter());
        assert_eq!((concluded.verdict, concluded.degraded), (Judgement::Unknown, true), "{}", does.id());
    }

    // What did not come in time is not waited for afterwards, either.
    assert!(stand_in.is_left_alone(), "connections are still open");
}

#[test]
fn twenty_five_observables_at_once_fit_into_little_memory() {
    let stand_in = StandIn::start();
    let (ended, memory) = measured(&stand_in.address, 25);
    println!("{:.1} MB above idle, {:.2} s", memory_mb(memory), ended.took.as_secs_f64());
    is_in_time(&ended);
    assert!(memory <= MEMORY_MAX, "{:.1} MB", memory_mb(memory));
    assert_eq!((ended.outcomes.len(), ended.degraded), (25, 25));
    for outcomes in &ended.outcomes {
        for does in Does::ALL {
            let outcome = &outcomes[does.id()];
            assert_eq!(outcome.outcome.is_answered(), does == Does::Answers, "{outcome:?}");
            assert!(does == Does::Answers || outcome.outcome.is_failed(), "{outcome:?}");
        }
        assert_eq!(verdict(outcomes.values().cloned()).verdict, Judgement::Unknown);
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn memory_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
