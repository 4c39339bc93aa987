//! The stage in memory, on a clock that only moves while everybody waits.

mod chaos;
mod engine;
mod outcomes;
mod pending;
mod sharing;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use ioc::{Observable, ObservableType};
use playbook::{
    Timestamp,
    cache::{Lease, MemoryQuotas, MemoryVerdicts, Outcomes, Quota, Swapped, Taken},
    fakes::{MemoryEvidence, MemoryQueue, MemoryRows, MemorySecrets},
    incident::{Sighted, Withheld},
    lookup::{Answer, CallError, Request},
    manifest::{Manifest, Tlp},
    outcome::{Outcome, Status},
    policy::{self, Policy},
    severity::Severity,
};
use serde_json::{Value, json};
use sources::list::StoredLists;
use tokio::time::sleep;

use super::*;
use playbook::ports::{Destination, DnsAnswer, DnsQuestion, Nameserver};

/// The account of the local stack.
const ACCOUNT: &str = "000000000000";
const REMAINING: Duration = Duration::from_secs(30);

/// A clock that goes with tokio's, so that it stands and jumps with it.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap().plus_ms(elapsed)
    }
}

/// A port behind a network: every call takes a moment, so that invocations interleave, and fails while it is down.
struct Distant<T>(T, Cell<Down>);

/// What does not work.
#[derive(Clone, Copy, PartialEq)]
enum Down {
    Nothing,
    Writes,
    Everything,
}

impl<T> Distant<T> {
    const fn new(port: T) -> Self {
        Self(port, Cell::new(Down::Nothing))
    }

    async fn reach(&self, is_write: bool) -> Result<&T, Fault> {
        sleep(DISTANCE).await;
        match self.1.get() {
            Down::Everything => Err(Fault::Unavailable("down".to_owned())),
            Down::Writes if is_write => Err(Fault::Throttled("slow down".to_owned())),
            Down::Nothing | Down::Writes => Ok(&self.0),
        }
    }
}

const DISTANCE: Duration = Duration::from_millis(3);

impl Verdicts for Distant<MemoryVerdicts> {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        self.reach(false).await?.recall(keys).await
    }
    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        self.reach(true).await?.save(key, outcomes).await
    }
}

impl Leases for Distant<MemoryVerdicts> {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        self.reach(true).await?.take(key, lease, now).await
    }
    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        self.reach(false).await?.look(keys).await
    }
    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        self.reach(true).await?.finish(key, owner, now, left).await
    }
}

impl Quotas for Distant<MemoryQuotas> {
    async fn load(&self, accounts: &[String]) -> Result<BTreeMap<String, Quota>, Fault> {
        self.reach(false).await?.load(accounts).await
    }
    async fn swap(&self, account: &str, seen: u64, quota: &Quota) -> Result<Swapped, Fault> {
        self.reach(true).await?.swap(account, seen, quota).await
    }
}

/// One call at a time at each provider.
fn one_place() -> policy::Enrich {
    policy::Enrich { calls_per_provider: 1, ..policy::Enrich::default() }
}

/// What a provider does when it is called.
#[derive(Clone, Debug)]
enum Does {
    /// Answers after so many milliseconds.
    Answer(u64, u16, &'static str),
    /// Answers 429 and asks to wait so many seconds.
    Limit(&'static str),
    /// Answers `found`, says that no call is left, and in how many seconds it counts anew.
    UsedUp(&'static str),
    /// Says nothing.
    Hang,
    /// Cannot be reached.
    Refuse,
}

const FOUND: Does = Does::Answer(40, 200, r#"{"found": true}"#);
const NOT_FOUND: Does = Does::Answer(40, 404, "{}");

/// Providers by host; who is not named answers `found`.
#[derive(Default)]
struct Script {
    does: RefCell<BTreeMap<String, Does>>,
    /// Host, path, and when.
    calls: RefCell<Vec<(String, String, Instant)>>,
    open: RefCell<BTreeMap<String, usize>>,
    /// The most calls that were open at once, at one provider and in all.
    fullest: Cell<(usize, usize)>,
}

impl Script {
    fn set(&self, provider: &str, does: Does) {
        self.does.borrow_mut().insert(format!("{provider}.example"), does);
    }

    fn calls(&self, provider: &str) -> usize {
        self.calls.borrow().iter().filter(|(host, _, _)| *host == format!("{provider}.example")).count()
    }

    fn begin(&self, host: &str, request: &Request) {
        self.calls.borrow_mut().push((host.to_owned(), request.url.path().to_owned(), Instant::now()));
        let mut open = self.open.borrow_mut();
        *open.entry(host.to_owned()).or_default() += 1;
        let (one, all) = self.fullest.get();
        self.fullest.set((one.max(open[host]), all.max(open.values().sum())));
    }
}

/// Ends a call when it is dropped, answered or not.
struct Open<'a>(&'a Script, String);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.0.open.borrow_mut().get_mut(&self.1) {
            *open -= 1;
        }
    }
}

impl Egress for Script {
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        assert_eq!(request.url.host_str(), Some(to.host));
        self.begin(to.host, request);
        let _open = Open(self, to.host.to_owned());
        let does = self.does.borrow().get(to.host).cloned().unwrap_or(FOUND);
        let answer = |status, headers: &[(&str, &str)], body: &str| Answer {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        let answered = async {
            match does {
                Does::Answer(after_ms, status, body) => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Ok(answer(status, &[], body))
                }
                Does::Limit(seconds) => {
                    sleep(Duration::from_millis(40)).await;
                    Ok(answer(429, &[("retry-after", seconds)], ""))
                }
                Does::UsedUp(seconds) => {
                    let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", seconds)];
                    Ok(answer(200, &headers, r#"{"found": true}"#))
                }
                Does::Hang => std::future::pending().await,
                Does::Refuse => Err(CallError::Unreachable("no connection".to_owned())),
            }
        };
        tokio::time::timeout(timeout, answered).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

/// A provider at `<id>.example`, with more lines of YAML.
fn provider(id: &str, more: &str) -> Manifest {
    playbook::fakes::provider(id, more).unwrap_or_else(|error| panic!("{error}"))
}

/// The same, changed before its first use.
fn changed(id: &str, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = provider(id, "");
    change(&mut manifest);
    manifest
}

fn policy(enrich: policy::Enrich) -> Policy {
    let deadlines =
        [Severity::Low, Severity::Medium, Severity::High, Severity::Critical].map(|severity| (severity, 60));
    Policy {
        schema: Policy::SCHEMA.to_owned(),
        own: policy::Own::default(),
        critical: policy::Critical::default(),
        merge: playbook::verdict::Merge::default(),
        required: ObservableType::ALL.into_iter().map(|kind| (kind, vec![])).collect(),
        review: policy::Review {
            levels: vec![policy::Level { approvers: vec!["analyst@soc.example".to_owned()], severity_from: None }],
            deadline_minutes: deadlines.into(),
            owners: BTreeMap::new(),
            out_of_office: vec![],
            alone_max: 50,
        },
        enforce: policy::Enforce {
            targets: BTreeMap::new(),
            lifetime_hours: BTreeMap::new(),
            phishing_domain_hours: 72,
            caps: policy::Caps { per_incident: 50, per_hour: 200, per_list: 9000 },
        },
        enrich,
        guard: policy::GuardPolicy::default(),
        egress: policy::Egress::default(),
        network: policy::Network::default(),
        route: vec![],
        storm: policy::Storm::default(),
        ticket: policy::TicketPolicy::default(),
        // Most tests are about one invocation; those of waiting say how long.
        follow_up: policy::FollowUpPolicy { wait_seconds: 0, ..policy::FollowUpPolicy::default() },
    }
}

fn observable(kind: ObservableType, value: &str) -> Sighted {
    Sighted { observable: Observable::parse(kind, value).unwrap(), places: vec!["text".to_owned()], withheld: None }
}

/// So many public addresses.
fn addresses(count: usize) -> Vec<Sighted> {
    (0..count).map(|n| observable(ObservableType::Ipv4Addr, &format!("5.6.7.{n}"))).collect()
}

/// Everything around the stage.
struct Desk {
    rows: MemoryRows,
    evidence: MemoryEvidence,
    verdicts: Distant<MemoryVerdicts>,
    quotas: Distant<MemoryQuotas>,
    secrets: MemorySecrets,
    clock: TokioClock,
    egress: Script,
    registries: Registries,
    queue: MemoryQueue,
    bundle: Bundle,
    digest: String,
    /// How the incidents are marked.
    mark: Option<Tlp>,
}

impl Desk {
    async fn new(providers: Vec<Manifest>) -> Self {
        Self::with(providers, policy::Enrich::default()).await
    }

    async fn with(providers: Vec<Manifest>, enrich: policy::Enrich) -> Self {
        let bundle = Bundle::new(policy(enrich), providers, vec![]);
        let mut desk = Self {
            rows: MemoryRows::default(),
            evidence: MemoryEvidence::default(),
            verdicts: Distant::new(MemoryVerdicts::default()),
            quotas: Distant::new(MemoryQuotas::default()),
            secrets: MemorySecrets::default(),
            clock: TokioClock(Instant::now()),
            egress: Script::default(),
            registries: Registries::default(),
            queue: MemoryQueue::default(),
            bundle,
            digest: String::new(),
            mark: None,
        };
        desk.publish().await;
        desk
    }

    /// Stores the bundle; incidents admitted from now on use it.
    async fn publish(&mut self) {
        self.digest = self.bundle.digest().unwrap();
        let bytes = canonical::to_json(&self.bundle).unwrap();
        self.evidence.store(&Bundle::location(&self.digest), "application/json", &bytes).await.unwrap();
    }

    /// Admits and extracts an incident.
    async fn admit(&self, name: &str, observables: &[Sighted]) -> IncidentId {
        let id = IncidentId::of("default", "mail", name);
        let now = self.clock.now();
        // As JSON, so that fields that the stage does not read can be added without touching it.
        let incident = json!({
            "schema": Incident::SCHEMA, "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": name, "severity": "medium", "evidence": { "key": "mail/x" }, "received_at": now,
            "config_digest": self.digest, "status": "open", "run": 1, "updated_at": now,
        });
        let mut document = json!({
            "schema": Extraction::SCHEMA, "incident_id": id, "subject": "x", "participants": [],
            "observables": observables, "omissions": [],
        });
        if let Some(mark) = self.mark {
            document["tlp"] = json!(mark);
        }
        let bytes = canonical::to_json(&document).unwrap();
        let extraction = self.evidence.store(&format!("x/{name}"), "application/json", &bytes).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), extraction: Some(extraction), ..Run::default() };
        let writes = [Write::put(Incident::key(&id), &incident).unwrap(), Write::put(Run::key(&id, 1), &run).unwrap()];
        let _done = self.rows.commit(&writes).await.unwrap();
        id
    }

    /// Runs the stage; how many observables are pending and degraded.
    async fn run(&self, incident_id: &IncidentId) -> Result<(usize, usize), Fault> {
        self.run_chunk(incident_id, 0, 50, REMAINING).await
    }

    async fn run_chunk(
        &self,
        incident_id: &IncidentId,
        offset: usize,
        count: usize,
        remaining: Duration,
    ) -> Result<(usize, usize), Fault> {
        self.run_as(Input { incident_id: incident_id.clone(), run: 1, offset, count }, remaining).await
    }

    async fn run_as(&self, input: Input, remaining: Duration) -> Result<(usize, usize), Fault> {
        let world = World {
            rows: &self.rows,
            evidence: &self.evidence,
            verdicts: &self.verdicts,
            quotas: &self.quotas,
            secrets: &self.secrets,
            clock: &self.clock,
            egress: &self.egress,
            lists: &StoredLists::new(&self.rows, &self.evidence),
            registries: &self.registries,
            queue: &self.queue,
        };
        run(&world, ACCOUNT, remaining, input).await.map(|output| (output.pending, output.degraded))
    }

    /// What the first run stored.
    async fn enrichment(&self, incident_id: &IncidentId) -> Enrichment {
        self.enrichment_of(incident_id, 1).await
    }

    async fn enrichment_of(&self, incident_id: &IncidentId, run: u32) -> Enrichment {
        let row = self.rows.get(&Run::enrichment_key(incident_id, run, 0)).await.unwrap().unwrap();
        let pointer: Pointer = row.read().unwrap();
        serde_json::from_slice(&self.evidence.fetch(&pointer.document).await.unwrap()).unwrap()
    }

    /// Admits, runs, and says what became of each lookup, such as `a found` or `b error(timeout)`, one text per observable.
    async fn told(&self, name: &str, observables: &[Sighted]) -> Vec<String> {
        let id = self.admit(name, observables).await;
        self.run(&id).await.unwrap();
        self.enrichment(&id).await.observables.iter().map(|enriched| tell(&enriched.outcomes)).collect()
    }
}

fn tell(outcomes: &[Outcome]) -> String {
    let one = |outcome: &Outcome| {
        let reason = outcome.reason.as_ref().map_or_else(String::new, |reason| format!("({reason})"));
        format!(
            "{} {}{reason}{}",
            outcome.provider,
            outcome.outcome.as_str(),
            if outcome.cached { " cached" } else { "" }
        )
    };
    outcomes.iter().map(one).collect::<Vec<_>>().join(", ")
}
