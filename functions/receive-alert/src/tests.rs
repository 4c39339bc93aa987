//! The door as senders see it, over the in-memory ports.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use playbook::{
    IncidentId, Timestamp,
    fakes::{MemoryEvidence, MemoryQueue, MemoryRows, MemorySecrets, StoppedClock},
    incident::{Intake, Kind},
    intake::Alert,
    policy::{DEMO_ACCOUNT, Policy},
    severity::Severity,
};
use serde_json::json;
use sha2::Sha256;
use tracing::{Event, Metadata, Subscriber, field::Visit, span};

use super::*;

const KEY: &str = "key-of-the-generic-door";
const OTHER_KEY: &str = "key-of-the-other-door";
const PATH_SECRET: &str = "s3cret-in-the-path-of-splunk";

/// A queue that fails for a while.
#[derive(Default)]
struct Flaky {
    queue: MemoryQueue,
    failures: Cell<usize>,
    skip: Cell<usize>,
}

impl Queue for Flaky {
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault> {
        if self.skip.get() == 0 && self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Err(Fault::Unavailable("sqs SendMessage: no answer in time".to_owned()));
        }
        self.skip.set(self.skip.get().saturating_sub(1));
        self.queue.push(body, delay_seconds).await
    }
}

struct Door {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    queue: Flaky,
    secrets: MemorySecrets,
    clock: StoppedClock,
    settings: Settings,
    /// Everything that was answered, headers included.
    answers: RefCell<String>,
}

fn shipped(name: &str) -> IntakeSource {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../playbook/intake");
    let yaml = std::fs::read_to_string(root.join(format!("{name}.yaml"))).unwrap();
    IntakeSource::parse(&yaml, &format!("{name}.yaml")).unwrap()
}

impl Door {
    async fn new() -> Self {
        let mut other = shipped("generic");
        other.id = "other".to_owned();
        other.tenant = "subsidiary".to_owned();
        other.webhook.as_mut().unwrap().secret = "other".to_owned();
        let mut off = shipped("generic");
        off.id = "off".to_owned();
        off.enabled = false;
        let sources = ["generic", "splunk", "guardduty", "security-hub"].map(shipped).into_iter().chain([other, off]);
        let policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        let mut bundle = Bundle::new(policy, vec![], vec![]).with_intake(sources.collect());
        bundle.policy.required.values_mut().for_each(Vec::clear);
        bundle.policy.enforce.targets.clear();
        let evidence = MemoryEvidence::default();
        let digest = bundle.digest().unwrap();
        let json = canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&digest), "application/json", &json).await.unwrap();
        let secrets = [("generic", KEY), ("other", OTHER_KEY), ("splunk", PATH_SECRET)];
        Self {
            evidence,
            rows: MemoryRows::default(),
            queue: Flaky::default(),
            secrets: MemorySecrets(secrets.map(|(id, key)| (id.to_owned(), key.to_owned())).into()),
            clock: StoppedClock::at(Timestamp::parse("2026-11-24T05:00:00Z").unwrap()),
            settings: Settings::new(digest),
            answers: RefCell::default(),
        }
    }

    fn world(&self) -> World<'_, MemoryEvidence, MemoryRows, Flaky, MemorySecrets, StoppedClock> {
        World {
            evidence: &self.evidence,
            rows: &self.rows,
            queue: &self.queue,
            secrets: &self.secrets,
            clock: &self.clock,
            settings: &self.settings,
            account: DEMO_ACCOUNT,
        }
    }

    async fn send(&self, request: Request<Vec<u8>>) -> (u16, Value) {
        let response = handle(&self.world(), request).await;
        let _ = write!(self.answers.borrow_mut(), "{response:?} {}", String::from_utf8_lossy(response.body()));
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    }

    /// A message signed with a key at a time, `seconds` from now.
    async fn signed(&self, path: &str, key: &str, id: &str, seconds: i64, body: &str) -> (u16, Value) {
        let time = self.clock.now().as_seconds() + seconds;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{id}.{time}.{body}").as_bytes());
        let request = Request::post(path)
            .header("webhook-id", id)
            .header("webhook-timestamp", time.to_string())
            .header("webhook-signature", format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
            .body(body.as_bytes().to_vec());
        self.send(request.unwrap()).await
    }

    async fn splunk(&self, secret: &str, body: &str) -> (u16, Value) {
        self.send(Request::post(format!("/alerts/splunk/{secret}")).body(body.as_bytes().to_vec()).unwrap()).await
    }

    fn messages(&self) -> Vec<Intake> {
        self.queue.queue.messages.borrow().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    async fn alert(&self, intake: &Intake) -> Alert {
        serde_json::from_slice(&self.evidence.fetch(intake.evidence.as_ref().unwrap()).await.unwrap()).unwrap()
    }
}

fn refused(told: &(u16, Value)) -> (u16, &str) {
    (told.0, told.1["error"].as_str().unwrap())
}

const ALERT: &str = r#"{"id": "case-17", "title": "Beacon", "severity": "high", "observables": [{"value": "c2.alert.example"}], "tenant": "subsidiary", "source": "other"}"#;

#[tokio::test]
async fn a_signed_alert_becomes_one_message_of_its_source() {
    let door = Door::new().await;
    let (status, told) = door.signed("/alerts/generic", KEY, "m1", 0, ALERT).await;
    let id = IncidentId::of("default", "generic", "case-17");
    assert_eq!((status, told), (202, json!({ "status": "received", "incidents": [id] })));
    let messages = door.messages();
    let [intake] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((intake.kind, intake.severity), (Kind::Alert, Severity::High));
    assert_eq!((intake.tenant.as_str(), intake.source.as_str()), ("default", "generic"), "the body has no say");
    assert_eq!(intake.fingerprint.as_ref().map(String::len), Some(64));
    let key = &intake.evidence.as_ref().unwrap().key;
    assert!(key.starts_with(&format!("incidents/{id}/r1/receive-alert/")), "{key}");
    assert_eq!(door.alert(intake).await.title, "Beacon");
}

#[tokio::test]
async fn what_is_not_the_sources_is_refused_with_its_reason() {
    let door = Door::new().await;
    let check = async |path: &str, key: &str, seconds: i64, body: &str, status: u16, reason: &str| {
        let told = door.signed(path, key, "m1", seconds, body).await;
        assert_eq!(refused(&told), (status, reason), "{path} {key} {seconds}");
    };
    check("/alerts/generic", "a-wrong-key-of-nobody", 0, ALERT, 401, "signature does not match").await;
    check("/alerts/generic", OTHER_KEY, 0, ALERT, 401, "signature does not match").await;
    check("/alerts/other", KEY, 0, ALERT, 401, "signature does not match").await;
    check("/alerts/generic", KEY, -301, ALERT, 401, "timestamp is older than 300 s").await;
    check("/alerts/generic", KEY, 301, ALERT, 401, "timestamp is more than 300 s ahead").await;
    check("/alerts/generic", KEY, 0, "{not json", 400, "body is not JSON").await;
    check("/alerts/generic", KEY, 0, &"x".repeat(256 * 1024 + 1), 413, "body is larger than 256 KiB").await;
    for path in [
        "/alerts/nobody",
        "/alerts/off",
        "/alerts/guardduty",
        "/alerts/splunk",
        "/alerts/generic/x",
        "/alerts/splunk/x/y",
        "/alerts/",
        "/alerts",
        "/",
        "/alerts/generic/",
    ] {
        check(path, KEY, 0, ALERT, 404, "unknown source").await;
    }
    let told = door.send(Request::post("/alerts/generic").body(ALERT.into()).unwrap()).await;
    assert_eq!(refused(&told), (401, "signature does not match"));
    let told = door.send(Request::get("/alerts/generic").body(vec![]).unwrap()).await;
    assert_eq!(refused(&told), (405, "only POST"));
    assert!(door.messages().is_empty() && door.rows.all().is_empty(), "nothing was taken and nothing remembered");
}

#[tokio::test]
async fn a_replay_is_refused_and_five_deliveries_are_one_message() {
    let door = Door::new().await;
    assert_eq!(door.signed("/alerts/generic", KEY, "m1", 0, ALERT).await.0, 202);
    for seconds in [0, 1, 200, -200] {
        let told = door.signed("/alerts/generic", KEY, "m1", seconds, ALERT).await;
        assert_eq!(refused(&told), (409, "replayed"));
    }
    let other = ALERT.replace("case-17", "case-18");
    let told = door.signed("/alerts/generic", KEY, "m1", 0, &other).await;
    assert_eq!(refused(&told), (409, "replayed"), "one id is one message");
    assert_eq!(door.messages().len(), 1);
    assert_eq!(door.signed("/alerts/other", OTHER_KEY, "m1", 0, ALERT).await.0, 202, "ids are the source's own");
    assert_eq!(door.messages()[1].tenant, "subsidiary");
    let row = &door.rows.all()[0];
    assert_eq!(row.attributes["ttl"], json!(door.clock.now().as_seconds() + 900));
}

#[tokio::test]
async fn a_message_that_was_noted_but_not_pushed_is_taken_when_it_comes_again() {
    let door = Door::new().await;
    let three = r#"{"alerts": [{"id": 1}, {"id": 2}, {"id": 3}]}"#;
    door.queue.skip.set(1);
    door.queue.failures.set(1);
    let told = door.signed("/alerts/generic", KEY, "m1", 0, three).await;
    assert_eq!(refused(&told), (503, "not taken; send it again later"));
    assert_eq!(door.messages().len(), 1, "it was cut off in between");

    let swapped = door.signed("/alerts/generic", KEY, "m1", 0, &three.replace("{\"id\": 3}", "{\"id\": 4}")).await;
    assert_eq!(refused(&swapped), (409, "replayed"), "only the same message goes on");

    door.clock.advance_minutes(2);
    let (status, told) = door.signed("/alerts/generic", KEY, "m1", 0, three).await;
    assert_eq!((status, told["incidents"].as_array().unwrap().len()), (202, 3));
    let messages = door.messages();
    assert_eq!(messages.len(), 4, "admit knows the first one again");
    assert_eq!(messages[0], messages[1], "to the byte");
    assert_eq!(refused(&door.signed("/alerts/generic", KEY, "m1", 0, three).await), (409, "replayed"));
}

#[tokio::test]
async fn what_cannot_be_mapped_is_taken_whole_and_said() {
    let door = Door::new().await;
    let poison = r#"{"alerts": [{"title": "no id", "more": {"link": "http:\/\/evil.example\/a"}}]}"#;
    let (status, told) = door.signed("/alerts/generic", KEY, "m9", 0, poison).await;
    assert_eq!((status, told["error"].as_str()), (202, Some("mapping: alert 1: no native_id")));
    let intake = &door.messages()[0];
    assert_eq!((intake.kind, intake.native_id.as_str()), (Kind::Alert, "unmapped/m9"));
    let alert = door.alert(intake).await;
    assert_eq!(alert.title, "Generic webhook: an alert that could not be mapped: alert 1: no native_id");
    assert!(alert.texts[0].contains("http://evil.example/a"), "{:?}", alert.texts);
    assert_eq!(alert.raw, serde_json::from_str::<Value>(poison).unwrap());
    assert_eq!(refused(&door.signed("/alerts/generic", KEY, "m9", 0, poison).await), (409, "replayed"));
}

#[tokio::test]
async fn a_secret_that_nobody_has_set_is_our_fault() {
    let door = Door { secrets: MemorySecrets::default(), ..Door::new().await };
    let told = door.signed("/alerts/generic", KEY, "m1", 0, ALERT).await;
    assert_eq!(refused(&told), (503, "not taken; send it again later"));
    assert_eq!(door.splunk(PATH_SECRET, "{}").await.0, 503);
}

#[tokio::test]
async fn splunk_is_known_by_its_address_which_is_never_told() {
    let door = Door::new().await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let body =
        r#"{"sid": "s1", "search_name": "Indicator seen", "result": {"src_ip": "203.0.113.9", "severity": "high"}}"#;
    for _ in 0..5 {
        let (status, told) = door.splunk(PATH_SECRET, body).await;
        assert_eq!((status, &told["incidents"]), (202, &json!([IncidentId::of("default", "splunk", "s1")])));
    }
    let encoded = PATH_SECRET.replace('-', "%2D");
    assert_eq!(door.splunk(&encoded, body).await.0, 202);
    for wrong in ["x", "s3cret-in-the-path-of-splunk-", &PATH_SECRET[1..], "", "%"] {
        let told = door.splunk(wrong, body).await;
        assert_eq!(refused(&told), (404, "unknown source"), "{wrong}");
    }
    assert_eq!(door.splunk(PATH_SECRET, "{not json").await.0, 400);
    door.queue.failures.set(1);
    assert_eq!(door.splunk(PATH_SECRET, body).await.0, 503);
    door.send(Request::get(format!("/alerts/splunk/{PATH_SECRET}")).body(vec![]).unwrap()).await;
    door.send(Request::post(format!("/alerts/{PATH_SECRET}")).body(vec![]).unwrap()).await;
    drop(guard);

    let messages = door.messages();
    assert!(messages.iter().all(|message| message == &messages[0]), "one native id, one incident");
    let log = log.text();
    assert!(log.contains("secret does not match") && log.contains("source.id=splunk"), "{log}");
    assert!(log.contains("body is not JSON") && log.contains("alert not taken"), "{log}");
    let stored = format!("{:?}", door.rows.all());
    let keys = door.evidence.keys().concat();
    for told in [&log, &*door.answers.borrow(), &stored, &keys, &format!("{messages:?}")] {
        assert!(!told.contains("in-the-path") && !told.contains("in%2Dthe"), "{told}");
    }
}

#[tokio::test]
async fn an_event_is_taken_by_the_source_that_names_it() {
    let door = Door::new().await;
    let finding = |id: &str| {
        json!({
            "ProductArn": "p", "Id": id, "UpdatedAt": "2026-11-24T04:00:00.000Z", "Title": id, "Severity": { "Label": "HIGH" },
            "ThreatIntelIndicators": [{ "Type": "DOMAIN", "Value": format!("{id}.alert.example") }]
        })
    };
    let event = json!({
        "id": "e1", "source": "aws.securityhub", "detail-type": "Security Hub Findings - Imported", "region": "eu-west-1",
        "detail": { "findings": [finding("one"), finding("two"), finding("three")] }
    });
    for _ in 0..2 {
        assert_eq!(run(&door.world(), event.clone()).await.unwrap(), Output { received: 3 });
    }
    let messages = door.messages();
    assert_eq!(messages[..3], messages[3..]);
    assert_eq!(messages[1].native_id, "p|two/2026-11-24");
    assert_eq!(door.alert(&messages[1]).await.observables[0].value, "two.alert.example");

    let broken = json!({ "id": "e2", "source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": { "title": "?" } });
    assert_eq!(run(&door.world(), broken).await.unwrap(), Output { received: 1 });
    assert_eq!(door.messages()[6].native_id, "unmapped/e2");

    for unknown in [
        json!({}),
        json!([]),
        json!({ "source": "aws.guardduty", "detail-type": "other" }),
        json!({ "source": "aws.x" }),
    ] {
        let fault = run(&door.world(), unknown).await.unwrap_err();
        assert_eq!(fault.name(), "Rejected", "{fault}");
    }
}

#[tokio::test]
async fn a_log_line_is_written_once_for_each_refusal() {
    let door = Door::new().await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    door.signed("/alerts/generic", OTHER_KEY, "m1", 0, ALERT).await;
    door.signed("/alerts/stranger", KEY, "m1", 0, ALERT).await;
    drop(guard);
    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "source.id=generic message=alert refused: signature does not match",
            "source.id=unknown message=alert refused: unknown source"
        ]
    );
}

/// Keeps every line of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

struct Line(Vec<String>);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.push(format!("{}={value}", field.name()));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(vec![]);
        event.record(&mut line);
        // Fields come in the order of the call; the message comes first.
        line.0.sort_by_key(|field| field.starts_with("message="));
        let _ = writeln!(self.0.lock().unwrap(), "{}", line.0.join(" "));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
