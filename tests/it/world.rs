//! The whole playbook in one process: every port in memory, the providers played by the stand-in.

use std::time::Duration;

use enrich::egress::{Destination, Egress};
use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    cache::{MemoryQuotas, MemoryVerdicts},
    fakes::{
        CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryQueue, MemoryRows, MemorySecrets,
        StoppedClock,
    },
    incident::{Incident, Run},
    lookup::{Answer, CallError, Method, Request},
    ports::{Evidence, Mail, Secret},
};
use serde_json::{Value, json};
use xtask::{
    config::Overlay,
    project::Project,
    stand_in::{Answers, Reply, StandIn},
};

/// The account of the local stack: the only one in which the demo's policy may be used.
const ACCOUNT: &str = "000000000000";
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
    secrets: MemorySecrets,
    verdicts: MemoryVerdicts,
    quotas: MemoryQuotas,
    providers: Providers,
    config_digest: String,
}

/// The providers, played by the stand-in in this process.
struct Providers(StandIn);

impl Egress for Providers {
    async fn call(&self, to: &Destination<'_>, request: &Request, _timeout: Duration) -> Result<Answer, CallError> {
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", request.url.path());
        match self.0.answer(to.host, method, &path, &request.headers, &request.body) {
            Reply::Answer(answer) => Ok(answer),
            Reply::Hang => Err(CallError::Timeout),
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
        let project = Project::find().unwrap();
        let overlay = Overlay::read(&project, &project.path("infra/local/demo-policy.yaml")).unwrap();
        let bundle: Bundle = xtask::config::load(&project, Some(&overlay)).unwrap();
        let config_digest = bundle.digest().unwrap();
        let evidence = MemoryEvidence::default();
        let json = playbook::canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        let keys = bundle.providers.values().filter_map(|provider| provider.secret.clone());
        Self {
            rows: MemoryRows::default(),
            evidence,
            queue: MemoryQueue::default(),
            machines: MemoryMachines::default(),
            outbox: MemoryOutbox::default(),
            clock: StoppedClock::at(now()),
            entropy: CountingEntropy::default(),
            secrets: MemorySecrets(
                keys.chain(["firewall".to_owned()]).map(|id| (id.clone(), format!("secret-of-{id}"))).collect(),
            ),
            verdicts: MemoryVerdicts::default(),
            quotas: MemoryQuotas::default(),
            providers: Providers(StandIn::new(Answers::parse(answers).unwrap(), now)),
            config_digest,
        }
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

    /// The intake queue delivers a message to `admit`, which starts the execution; its input comes back.
    pub async fn admit(&self, message: &str) -> Value {
        let batch = json!({"Records": [{"messageId": "m1", "body": message}]});
        let batch = serde_json::from_value(batch).unwrap();
        let output = admit::run(&self.rows, &self.machines, &self.clock, &self.config_digest, batch).await.unwrap();
        assert!(output.failures.is_empty());
        serde_json::from_str(&self.machines.started.borrow().last().unwrap().1).unwrap()
    }

    /// State `Extract`.
    pub async fn extract(&self, input: &Value) -> extract::Output {
        let settings = extract::Settings { config_digest: self.config_digest.clone() };
        let input = serde_json::from_value(input.clone()).unwrap();
        extract::run(&self.evidence, &self.rows, &self.clock, &settings, ACCOUNT, input).await.unwrap()
    }

    /// State `Enrich`, once for each chunk.
    pub async fn enrich(&self, extracted: &extract::Output) -> Vec<enrich::Output> {
        let world = enrich::World {
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

    /// States `PrepareReview` and `AwaitDecision`: people are mailed, the execution sleeps behind its token.
    pub async fn request_review(&self, id: &IncidentId) {
        let settings = request_review::Settings { public_base_url: BASE_URL.to_owned() };
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
        for act in [json!({"act": "prepare"}), json!({"act": "await", "task_token": "token-1"})] {
            let mut input = json!({"incident_id": id, "run": 1, "round": 1});
            input.as_object_mut().unwrap().extend(act.as_object().unwrap().clone());
            request_review::run(&world, serde_json::from_value(input).unwrap()).await.unwrap();
        }
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
            settings: &settings,
        };
        review::handle(&world, request).await
    }

    /// States `Enforce` and `Release`.
    pub async fn update_databases(
        &self,
        id: &IncidentId,
        act: update_databases::Act,
    ) -> Result<update_databases::Output, Fault> {
        let input = update_databases::Input { act, incident_id: id.clone(), run: 1, round: 1 };
        update_databases::run(&self.evidence, &self.rows, &self.clock, ACCOUNT, input).await
    }

    /// State `Close`.
    pub async fn close(&self, id: &IncidentId) -> close::Output {
        let input = close::Input { incident_id: id.clone(), run: 1 };
        let (clock, entropy) = (&self.clock, &self.entropy);
        close::run(&self.evidence, &self.rows, &self.machines, &self.outbox, (clock, entropy), input).await.unwrap()
    }

    /// The minute's sweep.
    pub async fn sweep(&self) -> sweep::Output {
        let (clock, entropy) = (&self.clock, &self.entropy);
        sweep::run(&self.evidence, &self.rows, &self.machines, &self.outbox, (clock, entropy), sweep::Input {})
            .await
            .unwrap()
    }

    /// What a firewall gets of a type; nothing where no list was ever written.
    pub async fn list(&self, kind: &str) -> Vec<String> {
        let credentials = data_encoding::BASE64.encode(b"firewall:secret-of-firewall");
        let request = http::Request::get(format!("/lists/{kind}"))
            .header("authorization", format!("Basic {credentials}"))
            .body(vec![])
            .unwrap();
        let response = serve_lists::handle(&self.evidence, &self.secrets, request).await;
        let text = String::from_utf8(response.body().clone()).unwrap();
        if response.status() == 200 { text.lines().map(str::to_owned).collect() } else { vec![] }
    }

    /// What `assess` concluded.
    pub async fn assessment(&self, id: &IncidentId) -> Assessment {
        let run = Run::load(&self.rows, id, 1).await.unwrap();
        serde_json::from_slice(&self.evidence.fetch(&run.assessment.unwrap()).await.unwrap()).unwrap()
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
