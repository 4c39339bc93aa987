//! The whole playbook in one process: every port in memory, the providers played by the stand-in.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    cache::{MemoryQuotas, MemoryVerdicts},
    fakes::{
        CountingEntropy, MemoryEvidence, MemoryIpSets, MemoryMachines, MemoryOutbox, MemoryQueue, MemoryRows,
        MemorySecrets, StoppedClock,
    },
    incident::{Enrichment, Incident, Pointer, Run},
    lookup::{Answer, CallError, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Entropy, Evidence, Mail, Nameserver, Secret},
    rows::{Change, Commit, Row, Rows, Write},
};
use serde_json::{Value, json};
use xtask::{
    config::Overlay,
    project::Project,
    stand_in::{Answers, Reply, StandIn, dns::Named},
};

/// The account of the local stack: the only one in which the demo's policy may be used.
pub const ACCOUNT: &str = "000000000000";
const BASE_URL: &str = "https://review.corp.example";

/// Every port, and a clock that the test moves.
pub struct World {
    pub rows: MemoryRows,
    pub evidence: MemoryEvidence,
    pub queue: MemoryQueue,
    pub machines: MemoryMachines,
    pub outbox: MemoryOutbox,
    pub clock: StoppedClock,
    pub entropy: CountingEntropy,
    pub follow_up: MemoryQueue,
    secrets: MemorySecrets,
    ip_sets: MemoryIpSets,
    registries: sources::rdap::Registries,
    verdicts: MemoryVerdicts,
    quotas: MemoryQuotas,
    providers: Providers,
    config_digest: String,
}

/// The providers, played by the stand-in in this process.
struct Providers {
    stand_in: StandIn,
    down: Cell<Option<Down>>,
}

/// In which way nobody out there is of any use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No answer in time.
    Hangs,
    /// No connection.
    Refuses,
    /// HTTP 500.
    Fails,
    /// HTTP 403.
    Forbids,
    /// HTTP 429, and to come back in an hour.
    Limits,
    /// HTTP 200 with a page for people.
    Garbles,
}

impl Down {
    pub const ALL: [Self; 6] = [Self::Hangs, Self::Refuses, Self::Fails, Self::Forbids, Self::Limits, Self::Garbles];

    fn answer(self) -> Result<Answer, CallError> {
        let page = |status| Answer { status, headers: vec![], body: b"<!doctype html><title>Sorry</title>".to_vec() };
        let wait = || vec![("retry-after".to_owned(), "3600".to_owned())];
        match self {
            Self::Hangs => Err(CallError::Timeout),
            Self::Refuses => Err(CallError::Unreachable("no connection".to_owned())),
            Self::Fails => Ok(page(500)),
            Self::Forbids => Ok(page(403)),
            Self::Limits => Ok(Answer { headers: wait(), ..page(429) }),
            Self::Garbles => Ok(page(200)),
        }
    }
}

impl Egress for Providers {
    async fn call(&self, to: &Destination<'_>, request: &Request, _timeout: Duration) -> Result<Answer, CallError> {
        if let Some(down) = self.down.get() {
            return down.answer();
        }
        let method = request.method.as_str();
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", request.url.path());
        match self.stand_in.answer(to.host, method, &path, &request.headers, &request.body) {
            Reply::Answer(answer) => Ok(answer),
            Reply::Hang => Err(CallError::Timeout),
        }
    }

    async fn resolve(&self, _: &Nameserver<'_>, question: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        if let Some(down) = self.down.get() {
            return Err(if down == Down::Hangs { CallError::Timeout } else { CallError::Unreachable(String::new()) });
        }
        match self.stand_in.resolve(question) {
            Named::Answer(answer) => Ok(answer),
            Named::Hang => Err(CallError::Timeout),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
}

/// A mail of `tests/fixtures/mails/`.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = Project::find().unwrap().path("tests/fixtures/mails").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl World {
    /// The shipped playbook with the demo's doors open, and providers that answer as given.
    pub async fn with(answers: &str) -> Self {
        Self::with_manifests(answers, &json!({})).await
    }

    /// The same with manifests changed: `{providers | targets | intake: {<id>: {<key>: …}}}`.
    pub async fn with_manifests(answers: &str, changes: &Value) -> Self {
        let project = Project::find().unwrap();
        let mut overlay = Overlay::read(&project, &project.path("infra/local/demo-policy.yaml")).unwrap();
        overlay.manifests.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let bundle: Bundle = xtask::config::load(&project, Some(&overlay)).unwrap();
        let config_digest = bundle.digest().unwrap();
        let evidence = MemoryEvidence::default();
        let json = playbook::canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        let providers = bundle.providers.values().filter_map(|provider| provider.secret.clone());
        let targets = bundle.targets.values().filter_map(|target| target.secret.clone());
        let doors = bundle.intake.values().filter_map(|source| Some(source.webhook.as_ref()?.secret.clone()));
        let keys = providers.chain(targets).chain(doors);
        let world = Self {
            rows: MemoryRows::default(),
            evidence,
            queue: MemoryQueue::default(),
            machines: MemoryMachines::default(),
            outbox: MemoryOutbox::default(),
            clock: StoppedClock::at(now()),
            entropy: CountingEntropy::default(),
            follow_up: MemoryQueue::default(),
            ip_sets: MemoryIpSets::default(),
            registries: sources::rdap::Registries::default(),
            secrets: MemorySecrets(
                keys.chain(["firewall".to_owned()]).map(|id| (id.clone(), format!("robot:secret-of-{id}"))).collect(),
            ),
            verdicts: MemoryVerdicts::default(),
            quotas: MemoryQuotas::default(),
            providers: Providers {
                stand_in: StandIn::new(Answers::parse(answers).unwrap(), now),
                down: Cell::new(None),
            },
            config_digest,
        };
        world.poll_feeds().await;
        world
    }

    /// From now on nobody out there is of any use: no provider, no list, no name server.
    pub fn take_down(&self, down: Down) {
        self.providers.down.set(Some(down));
        // What was compiled yesterday is believed no longer.
        self.clock.advance_minutes(2 * 24 * 60);
    }

    /// A world in which an earlier release has left these rows and documents, at the moment of the recording.
    ///
    /// The configuration of today is published beside the recorded one, as after a deployment.
    pub async fn of_recording(at: Timestamp, rows: Vec<Row>, documents: BTreeMap<String, Vec<u8>>) -> Self {
        let world = Self { clock: StoppedClock::at(at), ..Self::with("{}").await };
        for (key, bytes) in documents {
            world.evidence.store(&key, "application/octet-stream", &bytes).await.unwrap();
        }
        for Row { key, attributes } in rows {
            let write = Write { key, change: Change::Put(attributes), conditions: vec![] };
            assert_eq!(world.rows.commit(&[write]).await.unwrap(), Commit::Done);
        }
        // What was random in the recording must not come again.
        world.entropy.fill(&mut vec![0; 32 * 1024]).unwrap();
        world
    }

    /// The schedule's tick: feeds are fetched, and lists compiled.
    pub async fn poll_feeds(&self) -> poll_feeds::Output {
        let world = poll_feeds::World {
            rows: &self.rows,
            evidence: &self.evidence,
            secrets: &self.secrets,
            queue: &self.queue,
            clock: &self.clock,
            egress: &self.providers,
        };
        let config = (self.config_digest.as_str(), ACCOUNT);
        poll_feeds::run(&world, config, Duration::from_mins(1), poll_feeds::Input::default()).await.unwrap()
    }

    /// The mail service stores a mail in the bucket; S3 tells `receive-mail`, which puts a message on the intake queue.
    pub async fn receive_mail(&self, mail: &[u8]) -> String {
        self.evidence.store("mail/reported.eml", "message/rfc822", mail).await.unwrap();
        let event = json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventName": "ObjectCreated:Put",
            "eventTime": "2026-11-24T05:00:00.000Z", "userIdentity": {}, "requestParameters": {}, "responseElements": {},
            "s3": {
                "s3SchemaVersion": "1.0", "bucket": {"name": "evidence", "ownerIdentity": {}},
                "object": {"key": "mail/reported.eml", "size": mail.len(), "versionId": "v1"}
            }
        }]});
        let event = serde_json::from_value(event).unwrap();
        receive_mail::run(&self.queue, &self.clock, event).await.unwrap();
        self.queue.messages.borrow().last().unwrap().clone()
    }

    /// `EventBridge` hands an event of AWS to `receive-alert`, which puts its alerts on the intake queue.
    pub async fn receive_event(&self, event: Value) -> String {
        let settings = receive_alert::Settings::new(self.config_digest.clone());
        let world = receive_alert::World {
            evidence: &self.evidence,
            rows: &self.rows,
            queue: &self.queue,
            secrets: &self.secrets,
            clock: &self.clock,
            settings: &settings,
            account: ACCOUNT,
        };
        assert_eq!(receive_alert::run(&world, event).await.unwrap().received, 1);
        self.queue.messages.borrow().last().unwrap().clone()
    }

    /// The intake queue delivers a message to `admit`, which starts the execution; its input comes back.
    pub async fn admit(&self, message: &str) -> Value {
        assert!(self.deliver(message).await.failures.is_empty());
        serde_json::from_str(&self.machines.started.borrow().last().unwrap().1).unwrap()
    }

    /// The intake queue delivers a message to `admit`, whatever becomes of it.
    pub async fn deliver(&self, message: &str) -> admit::Output {
        let batch = json!({"Records": [{"messageId": "m1", "body": message}]});
        let batch = serde_json::from_value(batch).unwrap();
        let settings = admit::Settings::new(self.config_digest.clone());
        let world = admit::World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            clock: &self.clock,
            settings: &settings,
            account: ACCOUNT,
        };
        admit::run(&world, &self.tickets(), batch).await.unwrap()
    }

    /// State `Extract`.
    pub async fn extract(&self, input: &Value) -> extract::Output {
        let settings = extract::Settings { config_digest: self.config_digest.clone(), stack: "ioc".to_owned() };
        let input = serde_json::from_value(input.clone()).unwrap();
        extract::run(&self.evidence, &self.rows, &self.clock, &settings, ACCOUNT, input).await.unwrap()
    }

    /// State `Enrich`, once for each chunk.
    pub async fn enrich(&self, extracted: &extract::Output) -> Vec<enrich::Output> {
        let lists = sources::list::StoredLists::new(&self.rows, &self.evidence);
        let world = enrich::World {
            lists: &lists,
            registries: &self.registries,
            queue: &self.follow_up,
            rows: &self.rows,
            evidence: &self.evidence,
            verdicts: &self.verdicts,
            quotas: &self.quotas,
            secrets: &self.secrets,
            clock: &self.clock,
            egress: &self.providers,
        };
        let mut outputs = vec![];
        for chunk in &extracted.chunks {
            let input = enrich::Input {
                incident_id: extracted.incident_id.clone(),
                run: extracted.run,
                offset: chunk.offset,
                count: chunk.count,
            };
            outputs.push(enrich::run(&world, ACCOUNT, Duration::from_secs(30), input).await.unwrap());
        }
        outputs
    }

    /// State `Assess`.
    pub async fn assess(&self, id: &IncidentId) -> assess::Output {
        let input = assess::Input { incident_id: id.clone(), run: 1 };
        assess::run(&self.evidence, &self.rows, &self.clock, ACCOUNT, input).await.unwrap()
    }

    /// States `PrepareReview` and `AwaitDecision`: people are mailed, the execution sleeps behind its token. The answer of the first.
    pub async fn request_review(&self, id: &IncidentId) -> request_review::Output {
        let settings = request_review::Settings { public_base_url: BASE_URL.to_owned(), signs_in: false };
        let world = request_review::World {
            evidence: &self.evidence,
            rows: &self.rows,
            outbox: &self.outbox,
            machines: &self.machines,
            clock: &self.clock,
            entropy: &self.entropy,
            settings: &settings,
            account: ACCOUNT,
        };
        let mut answers = vec![];
        for act in [json!({"act": "prepare"}), json!({"act": "await", "task_token": "token-1"})] {
            let mut input = json!({"incident_id": id, "run": 1, "round": 1});
            input.as_object_mut().unwrap().extend(act.as_object().unwrap().clone());
            answers.push(request_review::run(&world, serde_json::from_value(input).unwrap()).await.unwrap());
        }
        answers.swap_remove(0)
    }

    /// A request to the page behind the link.
    pub async fn review(&self, request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>> {
        let settings = review::Settings::new(BASE_URL, Secret::new("k".repeat(64))).unwrap();
        let world = review::World {
            evidence: &self.evidence,
            rows: &self.rows,
            outbox: &self.outbox,
            machines: &self.machines,
            clock: &self.clock,
            entropy: &self.entropy,
            egress: &self.providers,
            settings: &settings,
        };
        review::handle(&world, request).await
    }

    fn tickets(
        &self,
    ) -> targets::ticket::World<'_, MemoryRows, StoppedClock, Providers, MemorySecrets, CountingEntropy> {
        let (rows, clock, egress) = (&self.rows, &self.clock, &self.providers);
        targets::ticket::World { rows, clock, egress, secrets: &self.secrets, entropy: &self.entropy }
    }

    /// States `Record`, `EnforceAutomatically`, `Enforce` and `Release`.
    pub async fn update_databases(
        &self,
        id: &IncidentId,
        act: update_databases::Act,
    ) -> Result<update_databases::Output, Fault> {
        let run = self.incident(id).await.run;
        let input = update_databases::Input { act, incident_id: id.clone(), run, round: 1, targets: None };
        let world = targets::World {
            evidence: &self.evidence,
            rows: &self.rows,
            clock: &self.clock,
            egress: &self.providers,
            ip_sets: &self.ip_sets,
            secrets: &self.secrets,
            account: ACCOUNT,
        };
        update_databases::run(&world, input).await
    }

    /// State `OpenTicket`.
    pub async fn open_ticket(&self, id: &IncidentId) -> open_ticket::Output {
        let world = open_ticket::World {
            evidence: &self.evidence,
            rows: &self.rows,
            secrets: &self.secrets,
            clock: &self.clock,
            entropy: &self.entropy,
            egress: &self.providers,
            account: ACCOUNT,
        };
        let input = open_ticket::Input { incident_id: id.clone(), run: self.incident(id).await.run };
        open_ticket::run(&world, input).await.unwrap()
    }

    /// State `Close`.
    pub async fn close(&self, id: &IncidentId) -> close::Output {
        let world = close::World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            outbox: &self.outbox,
            clock: &self.clock,
            entropy: &self.entropy,
            secrets: &self.secrets,
            egress: &self.providers,
            account: ACCOUNT,
        };
        let input = close::Input { incident_id: id.clone(), run: self.incident(id).await.run };
        close::run(&world, input).await.unwrap()
    }

    /// The minute's sweep.
    pub async fn sweep(&self) -> sweep::Output {
        let world = sweep::World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            outbox: &self.outbox,
            clock: &self.clock,
            entropy: &self.entropy,
            follow_up: &self.follow_up,
            egress: &self.providers,
            ip_sets: &self.ip_sets,
            secrets: &self.secrets,
            account: ACCOUNT,
        };
        sweep::run(&world, sweep::Input::default()).await.unwrap()
    }

    /// What a firewall gets of a type; nothing where no list was ever written.
    pub async fn list(&self, kind: &str) -> Vec<String> {
        let credentials = data_encoding::BASE64.encode(b"firewall:robot:secret-of-firewall");
        let request = http::Request::get(format!("/lists/{kind}"))
            .header("authorization", format!("Basic {credentials}"))
            .body(vec![])
            .unwrap();
        let response = serve_lists::handle(&self.evidence, &self.secrets, request).await;
        let text = String::from_utf8(response.body().clone()).unwrap();
        if response.status() == 200 { text.lines().map(str::to_owned).collect() } else { vec![] }
    }

    /// The systems that are written to, as the stand-in keeps them.
    pub const fn stand_in(&self) -> &StandIn {
        &self.providers.stand_in
    }

    /// What `assess` concluded.
    pub async fn assessment(&self, id: &IncidentId) -> Assessment {
        let run = Run::load(&self.rows, id, 1).await.unwrap();
        serde_json::from_slice(&self.evidence.fetch(&run.assessment.unwrap()).await.unwrap()).unwrap()
    }

    /// Providers that have failed to answer about any observable of the incident.
    pub async fn failed_sources(&self, id: &IncidentId) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        for row in self.rows.list(&format!("incident#{id}"), "enrichment#").await.unwrap() {
            let pointer: Pointer = row.read().unwrap();
            let stored = self.evidence.fetch(&pointer.document).await.unwrap();
            let document: Enrichment = serde_json::from_slice(&stored).unwrap();
            let outcomes = document.observables.into_iter().flat_map(|about| about.outcomes);
            failed.extend(outcomes.filter(|outcome| outcome.outcome.is_failed()).map(|outcome| outcome.provider));
        }
        failed
    }

    /// The incident's row.
    pub async fn incident(&self, id: &IncidentId) -> Incident {
        Incident::load(&self.rows, id).await.unwrap()
    }

    /// The mails that were sent to an address, in order.
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.outbox.mails.borrow().iter().filter(|mail| mail.to == address).cloned().collect()
    }
}
