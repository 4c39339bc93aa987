//! The stage with AWS's adapters, reached through the injector, and beside it the same tables without.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws::{Capacity, DynamoQuotas, DynamoRows, DynamoVerdicts, Platform, S3Evidence, SystemClock};
use ioc::{Observable, ObservableType};
use playbook::{
    Fault, IncidentId, Timestamp, authored,
    bundle::Bundle,
    cache::{Lease, Leases, Outcomes, Quotas, Taken, Verdicts, account},
    canonical,
    fakes::{MemoryQueue, MemorySecrets},
    incident::{Enrichment, Extraction, Incident, Pointer, Run, Sighted},
    outcome::{Outcome, Status},
    policy::{DEMO_ACCOUNT, Policy},
    ports::{Clock, Evidence},
    rows::{Rows, Write},
};
use serde_json::json;
use sources::{list::StoredLists, rdap::Registries};
use xtask::local::{Emulator, FaultInjector, Gateway};

use super::{
    GROUP, INCIDENTS,
    providers::{self, Providers},
};

/// What an invocation of the function has.
const REMAINING: Duration = Duration::from_secs(30);
/// Observables of an incident.
pub const OBSERVABLES: usize = 3;
/// Outcomes of an incident.
pub const OUTCOMES: usize = OBSERVABLES * providers::IDS.len();

/// Two that the whole group has seen, and one that nobody else has.
fn observables(n: usize) -> [String; OBSERVABLES] {
    let group = n / GROUP;
    [format!("first.group-{group}.example"), format!("second.group-{group}.example"), own(n)]
}

fn own(n: usize) -> String {
    format!("own-{n}.example")
}

fn id(n: usize) -> IncidentId {
    IncidentId::of("default", "mail", &n.to_string())
}

/// The tables and the bucket, by one way.
struct Tables {
    rows: DynamoRows,
    evidence: S3Evidence,
    verdicts: DynamoVerdicts,
    quotas: DynamoQuotas,
}

impl Tables {
    async fn at(url: &str, name: &str) -> Self {
        let platform = Platform::played(url, "test").await.unwrap();
        let config = platform.config();
        Self {
            rows: DynamoRows::new(config, format!("{name}-incidents")),
            evidence: S3Evidence::new(config, format!("{name}-evidence")),
            verdicts: DynamoVerdicts::new(config, format!("{name}-verdicts"), Capacity::default()),
            quotas: DynamoQuotas::new(config, format!("{name}-quotas"), Capacity::default()),
        }
    }
}

/// The cache, with a note of what it could not be given.
struct Noted<'a> {
    verdicts: &'a DynamoVerdicts,
    unsaved: &'a RefCell<BTreeMap<String, usize>>,
}

impl Verdicts for Noted<'_> {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        self.verdicts.recall(keys).await
    }
    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        let saved = self.verdicts.save(key, outcomes).await;
        if saved.is_err() {
            *self.unsaved.borrow_mut().entry(key.to_owned()).or_default() += 1;
        }
        saved
    }
}

impl Leases for Noted<'_> {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        self.verdicts.take(key, lease, now).await
    }
    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        self.verdicts.look(keys).await
    }
    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        self.verdicts.finish(key, owner, now, left).await
    }
}

pub struct Stage {
    /// Through the injector.
    tables: Tables,
    /// Past it.
    direct: Tables,
    pub providers: Providers,
    secrets: MemorySecrets,
    queue: MemoryQueue,
    registries: Registries,
    unsaved: RefCell<BTreeMap<String, usize>>,
}

impl Stage {
    /// Tables and a bucket of their own, and the incidents in them, admitted and extracted.
    pub async fn prepare(name: &str, emulator: &Emulator, injector: &FaultInjector) -> Self {
        let name = format!("faults-{}-{name}", std::process::id());
        make(&emulator.gateway().unwrap(), &name).await;
        let stage = Self {
            tables: Tables::at(injector.url(), &name).await,
            direct: Tables::at(emulator.url(), &name).await,
            providers: Providers::default(),
            secrets: MemorySecrets::default(),
            queue: MemoryQueue::default(),
            registries: Registries::default(),
            unsaved: RefCell::default(),
        };
        let digest = stage.publish().await;
        for n in 0..INCIDENTS {
            stage.admit(n, &digest).await;
        }
        stage
    }

    /// The shipped policy with the test's providers; the digest.
    async fn publish(&self) -> String {
        let text = include_str!("../../../playbook/policy.yaml");
        let mut policy: Policy = authored::read(text, "policy.yaml").unwrap();
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.clear();
        // A machine with other work is slow; what is shown here is not about the deadline.
        policy.enrich.deadline_ms = 20_000;
        let bundle = Bundle::new(policy, Providers::manifests(), vec![]);
        let digest = bundle.digest().unwrap();
        let bytes = canonical::to_json(&bundle).unwrap();
        self.direct.evidence.store(&Bundle::location(&digest), "application/json", &bytes).await.unwrap();
        digest
    }

    async fn admit(&self, n: usize, digest: &str) {
        let id = id(n);
        let sighted = observables(n).map(|value| Sighted {
            observable: Observable::parse(ObservableType::DomainName, &value).unwrap(),
            places: vec!["text".to_owned()],
            withheld: None,
        });
        let incident = json!({
            "schema": Incident::SCHEMA, "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": n.to_string(), "severity": "medium", "evidence": { "key": "mail/x" },
            "received_at": SystemClock.now(), "config_digest": digest, "status": "open", "run": 1,
            "updated_at": SystemClock.now(),
        });
        let document = json!({
            "schema": Extraction::SCHEMA, "incident_id": id, "subject": "x", "participants": [],
            "observables": sighted, "omissions": [],
        });
        let bytes = canonical::to_json(&document).unwrap();
        let key = format!("incidents/{id}/r1/extract/{n}.json");
        let extraction = self.direct.evidence.store(&key, "application/json", &bytes).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), extraction: Some(extraction), ..Run::default() };
        let writes = [Write::put(Incident::key(&id), &incident).unwrap(), Write::put(Run::key(&id, 1), &run).unwrap()];
        let _done = self.direct.rows.commit(&writes).await.unwrap();
    }

    /// One invocation.
    pub async fn run(&self, n: usize) -> Result<enrich::Output, Fault> {
        let world = enrich::World {
            rows: &self.tables.rows,
            evidence: &self.tables.evidence,
            verdicts: &Noted { verdicts: &self.tables.verdicts, unsaved: &self.unsaved },
            quotas: &self.tables.quotas,
            secrets: &self.secrets,
            clock: &SystemClock,
            egress: &self.providers,
            lists: &StoredLists::new(&self.tables.rows, &self.tables.evidence),
            registries: &self.registries,
            queue: &self.queue,
        };
        let input = enrich::Input { incident_id: id(n), run: 1, offset: 0, count: 50 };
        Box::pin(enrich::run(&world, DEMO_ACCOUNT, REMAINING, input)).await
    }

    /// How often which observable's answers could not be cached.
    pub fn unsaved(&self) -> BTreeMap<String, usize> {
        self.unsaved.borrow().clone()
    }

    /// The slots that were taken of the limited provider's day.
    pub async fn slots_taken(&self) -> usize {
        let limited = Providers::manifests().into_iter().find(|manifest| !manifest.limits.is_empty()).unwrap();
        let quotas = self.direct.quotas.load(&[account(&limited)]).await.unwrap();
        quotas.values().flat_map(|quota| quota.used.values()).map(|used| used.calls as usize).sum()
    }

    async fn enrichment(&self, n: usize) -> Option<Enrichment> {
        let row = self.direct.rows.get(&Run::enrichment_key(&id(n), 1, 0)).await.unwrap()?;
        let pointer: Pointer = row.read().unwrap();
        Some(serde_json::from_slice(&self.direct.evidence.fetch(&pointer.document).await.unwrap()).unwrap())
    }

    /// What is stored of an incident: every outcome of each of its observables. `None` where nothing is.
    pub async fn outcomes(&self, n: usize) -> Option<Vec<Outcome>> {
        let document = self.enrichment(n).await?;
        let known: BTreeSet<String> = document.observables.iter().map(|about| about.observable.clone()).collect();
        let expected = observables(n).map(|value| format!("domain-name#{value}"));
        assert_eq!(known, BTreeSet::from(expected));
        Some(document.observables.into_iter().flat_map(|about| about.outcomes).collect())
    }

    /// Whether it has put off what nobody else asks about because somebody else asks.
    pub async fn waits_for_itself(&self, n: usize) -> bool {
        let key = format!("domain-name#{}", own(n));
        let is_waiting = |o: &Outcome| o.outcome == Status::Pending && o.reason.as_deref() == Some("asked_elsewhere");
        let document = self.enrichment(n).await;
        let mut about = document.into_iter().flat_map(|document| document.observables);
        about.any(|about| about.observable == key && about.outcomes.iter().any(is_waiting))
    }
}

async fn make(gateway: &Gateway, name: &str) {
    gateway.make_bucket(&format!("{name}-evidence")).await.unwrap();
    for (table, keys) in [("incidents", &["pk", "sk"][..]), ("verdicts", &["pk"][..]), ("quotas", &["pk"][..])] {
        let kinds = ["HASH", "RANGE"];
        let attributes: Vec<_> = keys.iter().map(|key| json!({ "AttributeName": key, "AttributeType": "S" })).collect();
        let schema: Vec<_> =
            keys.iter().zip(kinds).map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind })).collect();
        let input = json!({
            "TableName": format!("{name}-{table}"), "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes, "KeySchema": schema,
        });
        gateway.call("dynamodb", "DynamoDB_20120810.CreateTable", &input).await.unwrap();
    }
}
