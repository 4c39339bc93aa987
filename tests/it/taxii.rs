//! The TAXII feed against a real server, medallion by OASIS, on loopback: the shipped example manifest, and no fake of the
//! network.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use egress::Https;
use playbook::{
    Timestamp,
    bundle::Bundle,
    canonical,
    fakes::{MemoryEvidence, MemoryQueue, MemoryRows, MemorySecrets, StoppedClock},
    incident::Intake,
    intake::{Alert, FeedState, IntakeSource},
    lookup::{Answer, CallError, Method, Request},
    policy::Policy,
    ports::{Destination, Egress, Evidence, Reach},
    rows::Rows,
};
use poll_feeds::{Input, Output, World, run};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::{local::Venv, project::Project};

const HOST: &str = "taxii.example";
const MEDIA_TYPE: &str = "application/taxii+json;version=2.1";
const USER: &str = "analyst:correct-horse";
const PATIENCE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(200);

/// A running server; ended when it is dropped.
struct Medallion {
    child: Child,
    base: String,
    source: IntakeSource,
    _folder: TempDir,
}

impl Drop for Medallion {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Medallion {
    async fn start(project: &Project) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "data.json"] {
            std::fs::copy(project.path("tests/fixtures/taxii").join(file), folder.path().join(file)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(Venv::medallion(project).unwrap().program("medallion"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "config.json"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let yaml = std::fs::read_to_string(project.path("playbook/intake/taxii.yaml")).unwrap();
        let source = serde_saphyr::from_str(&yaml).unwrap();
        let mut server = Self { child, base: format!("http://127.0.0.1:{port}"), source, _folder: folder };
        let started = Instant::now();
        while !server.ask(Method::Get, "/taxii2/", &json!(null)).await.is_ok_and(|answer| answer.status == 200) {
            assert_eq!(server.child.try_wait().unwrap(), None, "the server has ended");
            assert!(started.elapsed() < PATIENCE, "the server does not answer");
            tokio::time::sleep(STEP).await;
        }
        server
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Answer, CallError> {
        let credentials = data_encoding::BASE64.encode(USER.as_bytes());
        let headers =
            [("accept", MEDIA_TYPE), ("content-type", MEDIA_TYPE), ("authorization", &format!("Basic {credentials}"))];
        let request = Request {
            method,
            url: format!("https://{HOST}{path}").parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: if body.is_null() { vec![] } else { body.to_string().into_bytes() },
        };
        let to = Destination::of(HOST, Reach { stand_in: Some(&self.base), ..Reach::default() });
        Https::new().unwrap().call(&to, &request, Duration::from_secs(5)).await
    }

    /// Adds indicators as an author's client would: all of them in one request, so that they share a date.
    async fn add(&self, objects: &[Value]) {
        let path = self.source.feed.as_ref().unwrap().path.clone();
        let answer = self.ask(Method::Post, &path, &json!({ "objects": objects })).await.unwrap();
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &status["success_count"]), (202, &json!(objects.len())), "{status}");
    }
}

fn indicator(number: u32, pattern: &str) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created": "2026-11-24T04:00:00.000Z", "modified": "2026-11-24T04:00:00.000Z", "name": format!("n{number}"),
        "pattern": pattern, "pattern_type": "stix", "valid_from": "2026-11-24T04:00:00Z"
    })
}

/// What the feed's reader keeps.
struct Reader {
    rows: MemoryRows,
    evidence: MemoryEvidence,
    queue: MemoryQueue,
    clock: StoppedClock,
    digest: String,
}

impl Reader {
    /// The shipped example, switched on, with two objects a page.
    async fn of(server: &Medallion, project: &Project) -> Self {
        let mut source = server.source.clone();
        source.enabled = true;
        source.feed.as_mut().unwrap().query.insert("limit".to_owned(), "2".to_owned());
        let yaml = std::fs::read_to_string(project.path("playbook/policy.yaml")).unwrap();
        let mut policy: Policy = serde_saphyr::from_str(&yaml).unwrap();
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.clear();
        policy.egress.stand_in = Some(server.base.clone());
        let bundle = Bundle::new(policy, vec![], vec![]).with_intake(vec![source]);
        let evidence = MemoryEvidence::default();
        let digest = bundle.digest().unwrap();
        let bytes = canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&digest), "application/json", &bytes).await.unwrap();
        let clock = StoppedClock::at(Timestamp::parse("2026-11-24T05:00:00Z").unwrap());
        Self { rows: MemoryRows::default(), evidence, queue: MemoryQueue::default(), clock, digest }
    }

    async fn poll(&self, password: &str) -> Output {
        self.clock.advance_minutes(60);
        let secrets = MemorySecrets([("taxii".to_owned(), password.to_owned())].into());
        let Self { rows, evidence, queue, clock, digest } = self;
        let world = World { rows, evidence, secrets: &secrets, queue, clock, egress: &Https::new().unwrap() };
        run(&world, (digest, "000000000000"), Duration::from_mins(2), Input::default()).await.unwrap()
    }

    async fn state(&self) -> FeedState {
        self.rows.get(&FeedState::key("taxii")).await.unwrap().unwrap().read().unwrap()
    }

    /// What the last incident names.
    async fn told(&self) -> Vec<String> {
        let message = self.queue.messages.borrow().last().cloned().unwrap();
        let intake: Intake = serde_json::from_str(&message).unwrap();
        let alert: Alert =
            serde_json::from_slice(&self.evidence.fetch(&intake.evidence.unwrap()).await.unwrap()).unwrap();
        alert.observables.into_iter().map(|named| named.value).collect()
    }
}

#[tokio::test]
async fn a_collection_is_read_page_by_page_and_each_indicator_is_told_once() {
    let project = Project::find().unwrap();
    let server = Medallion::start(&project).await;
    let reader = Reader::of(&server, &project).await;
    assert_eq!(reader.poll(USER).await, Output { fetched: 1, ..Output::default() }, "an empty collection");
    assert_eq!(reader.state().await.watermark, None);

    server
        .add(&[
            indicator(1, "[domain-name:value = 'a.example' OR ipv4-addr:value = '192.0.2.1']"),
            indicator(2, "[url:value = 'http://b.example/x']"),
            indicator(3, "[ipv4-addr:value = '192.0.2.3'] FOLLOWEDBY [domain-name:value = 'c.example']"),
            indicator(
                4,
                "[file:hashes.'SHA-256' = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']",
            ),
            indicator(5, "[domain-name:value = 'e.example']"),
        ])
        .await;
    assert_eq!(reader.poll(USER).await, Output { fetched: 1, incidents: 1, ..Output::default() });
    let file = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(reader.told().await, ["a.example", "e.example", file, "192.0.2.1", "http://b.example/x"]);
    let state = reader.state().await;
    assert_eq!((state.left_out, state.next), (1, None));
    assert!(state.watermark.is_some(), "the server dates what it has");

    assert_eq!(reader.poll(USER).await, Output { fetched: 1, ..Output::default() }, "nothing new");
    assert_eq!(reader.state().await.watermark, state.watermark);

    server.add(&[indicator(6, "[domain-name:value = 'f.example']")]).await;
    assert_eq!(reader.poll(USER).await, Output { fetched: 1, incidents: 1, ..Output::default() });
    assert_eq!(reader.told().await, ["f.example"]);

    assert_eq!(reader.poll("analyst:wrong").await, Output { failed: 1, ..Output::default() });
    let failed = reader.state().await;
    assert_eq!(failed.failure.as_deref(), Some("the feed refuses our secret (http 401)"));
    assert_ne!(failed.watermark, state.watermark, "what was read stays read");
}
