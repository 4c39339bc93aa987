//! A world in memory whose process can be killed at any call of any port.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use ioc::{Observable, ObservableType};
use playbook::{
    Fault, IncidentId, Timestamp,
    bundle::Bundle,
    fakes::{MemoryEvidence, MemoryIpSets, MemoryRows, MemorySecrets, StoppedClock},
    ledger::{Claim, DUE_EXPIRY, LedgerEntry},
    lookup::{Answer, CallError, Request},
    policy::{DocumentationRanges, Policy},
    ports::{Clock, Destination, DnsAnswer, DnsQuestion, Egress, Evidence, IpSet, IpSets, Nameserver},
    rows::{Commit, Key, Row, Rows, Write},
    target::{IpSetArns, Target},
};
use serde_json::{Value, json};
use targets::{
    World,
    entries::{self, Settled, Wanted},
};

pub const V4: &str = "arn:aws:wafv2:eu-west-1:111111111111:regional/ipset/v4/1";
pub const V6: &str = "arn:aws:wafv2:eu-west-1:111111111111:regional/ipset/v6/1";
const ACCOUNT: &str = "000000000000";

/// Whether the call that kills is done before the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Before,
    After,
}

/// Kills at the n-th call; every call after it finds nobody.
#[derive(Debug, Default)]
pub struct Fuse {
    at: Cell<Option<(usize, Death)>>,
    calls: Cell<usize>,
}

impl Fuse {
    pub fn set(&self, at: Option<(usize, Death)>) {
        self.at.set(at);
        self.calls.set(0);
    }

    /// Whether it has killed.
    pub fn is_burnt(&self) -> bool {
        self.at.get().is_some_and(|(at, _)| self.calls.get() > at)
    }

    /// What happens to this call: `None` when all is well.
    fn next(&self) -> Option<Death> {
        let number = self.calls.get();
        self.calls.set(number + 1);
        let (at, death) = self.at.get()?;
        match number.cmp(&at) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(death),
            std::cmp::Ordering::Greater => Some(Death::Before),
        }
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let killed = || Err(Fault::Unavailable("killed".to_owned()));
        match self.next() {
            None => call.await,
            Some(Death::Before) => killed(),
            Some(Death::After) => {
                let _ = call.await;
                killed()
            }
        }
    }
}

pub struct Fused<'a, T>(&'a T, &'a Fuse);

impl<T: Rows> Rows for Fused<'_, T> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.1.through(self.0.get(key)).await
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.1.through(self.0.list(pk, sk_prefix)).await
    }

    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.1.through(self.0.due(kind, until, limit)).await
    }

    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.1.through(self.0.by_observable(observable, limit)).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        self.1.through(self.0.commit(writes)).await
    }
}

impl<T: IpSets> IpSets for Fused<'_, T> {
    async fn read(&self, arn: &str) -> Result<IpSet, Fault> {
        self.1.through(self.0.read(arn)).await
    }

    async fn replace(&self, arn: &str, set: &IpSet) -> Result<bool, Fault> {
        self.1.through(self.0.replace(arn, set)).await
    }
}

impl Egress for Fused<'_, Services> {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        let answer = async { Ok(self.0.answer(to.host, request)) };
        self.1.through(answer).await.map_err(|_| CallError::Unreachable("killed".to_owned()))
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Refused("no target asks for names".to_owned()))
    }
}

/// MISP and a watchlist, which decode what they are sent.
#[derive(Debug, Default)]
pub struct Services {
    /// MISP's attributes: id, value, comment.
    pub attributes: RefCell<BTreeMap<u32, (String, String)>>,
    next: Cell<u32>,
    /// The watchlist.
    pub watched: RefCell<BTreeMap<String, Value>>,
    /// Every request that would change something.
    pub changes: Cell<usize>,
    /// What MISP says to everything, where it is not well.
    pub ill: Cell<Option<u16>>,
}

impl Services {
    /// Somebody else's attribute.
    pub fn put(&self, value: &str, comment: &str) {
        self.next.set(self.next.get() + 1);
        self.attributes.borrow_mut().insert(self.next.get(), (value.to_owned(), comment.to_owned()));
    }

    /// The values that carry our marker.
    pub fn ours(&self) -> Vec<String> {
        let attributes = self.attributes.borrow();
        let ours = attributes.values().filter(|(_, comment)| comment.contains(Target::marker()));
        ours.map(|(value, _)| value.clone()).collect()
    }

    fn answer(&self, host: &str, request: &Request) -> Answer {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (status, body) = match (self.ill.get(), host) {
            (Some(status), _) => (status, json!({})),
            (None, "misp.corp.example") => self.misp(request, &body),
            _ => {
                self.changes.set(self.changes.get() + 1);
                let value = body["indicator"]["value"].as_str().unwrap().to_owned();
                match body["action"].as_str() {
                    Some("set") => drop(self.watched.borrow_mut().insert(value, body)),
                    _ => drop(self.watched.borrow_mut().remove(&value)),
                }
                (204, Value::Null)
            }
        };
        Answer { status, headers: vec![], body: body.to_string().into_bytes() }
    }

    fn misp(&self, request: &Request, body: &Value) -> (u16, Value) {
        let path: Vec<&str> = request.url.path_segments().unwrap().collect();
        let shown = |id: &u32, (value, comment): &(String, String)| json!({ "id": id.to_string(), "event_id": "1", "value": value, "comment": comment });
        let mut attributes = self.attributes.borrow_mut();
        match path[..] {
            ["attributes", "restSearch"] => {
                let value = body["value"][0].as_str().unwrap();
                let found = attributes.iter().filter(|(_, (known, _))| known == value);
                (200, json!({ "response": { "Attribute": found.map(|(id, a)| shown(id, a)).collect::<Vec<_>>() } }))
            }
            ["attributes", "add", "1"] => {
                self.changes.set(self.changes.get() + 1);
                let text = |name: &str| body[name].as_str().unwrap().to_owned();
                if attributes.values().any(|(known, _)| *known == text("value")) {
                    let why = "A similar attribute already exists for this event.";
                    return (403, json!({ "errors": { "value": [why] } }));
                }
                self.next.set(self.next.get() + 1);
                let attribute = (text("value"), text("comment"));
                let answer = json!({ "Attribute": shown(&self.next.get(), &attribute) });
                attributes.insert(self.next.get(), attribute);
                (200, answer)
            }
            ["attributes", "view", id] => match attributes.get(&id.parse().unwrap()) {
                Some(attribute) => (200, json!({ "Attribute": shown(&id.parse().unwrap(), attribute) })),
                None => (404, json!({})),
            },
            ["attributes", "delete", id, "1"] => {
                self.changes.set(self.changes.get() + 1);
                let is_gone = attributes.remove(&id.parse().unwrap()).is_none();
                (if is_gone { 404 } else { 200 }, json!({}))
            }
            _ => (405, json!({})),
        }
    }
}

/// Everything in memory.
pub struct Bench {
    pub rows: MemoryRows,
    pub services: Services,
    pub sets: MemoryIpSets,
    pub evidence: MemoryEvidence,
    pub clock: StoppedClock,
    pub secrets: MemorySecrets,
    pub fuse: Fuse,
    pub bundle: Bundle,
    pub digest: String,
}

fn manifest(yaml: &str) -> Target {
    Target { enabled: true, ..serde_saphyr::from_str(yaml).unwrap() }
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With targets that differ from the shipped ones.
    pub async fn with(change: impl Fn(&mut Target)) -> Self {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../../playbook/policy.yaml")).unwrap();
        policy.guard.documentation_ranges = DocumentationRanges::AsPublic;
        policy.required = ObservableType::ALL.into_iter().map(|kind| (kind, vec![])).collect();
        let mut waf = manifest(include_str!("../../../../playbook/targets/waf-ip-set.yaml"));
        waf.ip_sets = Some(IpSetArns { ipv4: Some(V4.to_owned()), ipv6: Some(V6.to_owned()) });
        let mut targets = vec![
            manifest(include_str!("../../../../playbook/targets/misp.yaml")),
            manifest(include_str!("../../../../playbook/targets/webhook.yaml")),
            manifest(include_str!("../../../../playbook/targets/served-list.yaml")),
            waf,
        ];
        targets.iter_mut().for_each(change);
        let bundle = Bundle::new(policy, vec![], targets);
        let (digest, evidence) = (bundle.digest().unwrap(), MemoryEvidence::default());
        let json = playbook::canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&digest), "application/json", &json).await.unwrap();
        let secrets = ["misp", "webhook"].map(|id| (id.to_owned(), "dummy-key".to_owned()));
        Self {
            rows: MemoryRows::default(),
            services: Services::default(),
            sets: MemoryIpSets::default(),
            evidence,
            clock: StoppedClock::at(Timestamp::parse("2026-11-24T06:00:00Z").unwrap()),
            secrets: MemorySecrets(secrets.into()),
            fuse: Fuse::default(),
            bundle,
            digest,
        }
    }

    pub fn wanted(&self, target: &str, value: &str, incident: &str) -> Wanted {
        Wanted {
            target: target.to_owned(),
            observable: Observable::parse_any(value).unwrap(),
            claim: Claim {
                incident_id: IncidentId::of("t", "s", incident),
                expires_at: self.clock.now().plus_hours(24),
                approved_by: "policy".to_owned(),
            },
            document: json!({
                "entry": { "expires_at": self.clock.now().plus_hours(24) },
                "incident": { "incident_id": IncidentId::of("t", "s", incident), "severity": "high" },
                "verdict": { "verdict": "malicious" },
            }),
        }
    }

    pub async fn write(&self, wanted: &[Wanted]) -> Vec<Result<Settled, Fault>> {
        let (rows, egress) = (Fused(&self.rows, &self.fuse), Fused(&self.services, &self.fuse));
        let ip_sets = Fused(&self.sets, &self.fuse);
        let (evidence, clock, secrets, account) = (&self.evidence, &self.clock, &self.secrets, ACCOUNT);
        let world = World { evidence, rows: &rows, clock, egress: &egress, ip_sets: &ip_sets, secrets, account };
        let holder = wanted[0].claim.incident_id.execution_name(1);
        entries::write(&world, &self.bundle, &self.digest, wanted, &holder).await
    }

    pub async fn release(&self, wanted: &[Wanted]) -> Vec<Result<Settled, Fault>> {
        let (rows, egress) = (Fused(&self.rows, &self.fuse), Fused(&self.services, &self.fuse));
        let ip_sets = Fused(&self.sets, &self.fuse);
        let (evidence, clock, secrets, account) = (&self.evidence, &self.clock, &self.secrets, ACCOUNT);
        let world = World { evidence, rows: &rows, clock, egress: &egress, ip_sets: &ip_sets, secrets, account };
        let spots: Vec<_> = wanted.iter().map(|w| (w.target.clone(), w.observable.clone())).collect();
        let incident = &wanted[0].claim.incident_id;
        entries::release(&world, &spots, incident, &incident.execution_name(1)).await
    }

    /// What `sweep` does, once.
    pub async fn sweep(&self) -> Vec<Result<Settled, Fault>> {
        let (rows, egress) = (Fused(&self.rows, &self.fuse), Fused(&self.services, &self.fuse));
        let ip_sets = Fused(&self.sets, &self.fuse);
        let (evidence, clock, secrets, account) = (&self.evidence, &self.clock, &self.secrets, ACCOUNT);
        let world = World { evidence, rows: &rows, clock, egress: &egress, ip_sets: &ip_sets, secrets, account };
        let due = self.rows.due(DUE_EXPIRY, self.clock.now(), 100).await.unwrap();
        let due: Vec<LedgerEntry> = due.iter().map(|row| row.read().unwrap()).collect();
        entries::settle(&world, &due, "sweep").await
    }

    pub async fn entry(&self, wanted: &Wanted) -> Option<LedgerEntry> {
        LedgerEntry::load(&self.rows, &wanted.target, &wanted.observable).await.unwrap()
    }

    /// Whether the indicator of somebody's entry is at its target now.
    pub async fn is_there(&self, wanted: &Wanted) -> bool {
        let value = wanted.observable.value();
        match wanted.target.as_str() {
            "misp" => self.services.attributes.borrow().values().any(|(known, _)| known == value),
            "webhook" => self.services.watched.borrow().contains_key(value),
            "waf-ip-set" => {
                let network = value.parse::<std::net::IpAddr>().unwrap().into();
                self.sets.sets.borrow().values().any(|set| set.contains(&network))
            }
            _ => self.served(wanted).await.lines().any(|line| line == value),
        }
    }

    async fn served(&self, wanted: &Wanted) -> String {
        let location = playbook::served::location(wanted.observable.kind());
        let found = self.evidence.find(&location).await.unwrap();
        found.map(|stored| String::from_utf8(stored.bytes).unwrap()).unwrap_or_default()
    }
}
