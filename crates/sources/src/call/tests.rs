//! Lookups of every kind against a way out that answers from a table.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use playbook::{
    Timestamp,
    fakes::StoppedClock,
    manifest::Manifest,
    outcome::Judgement,
    ports::{DnsAnswer, DnsQuestion, DnsRecord, Secret},
};
use serde_json::{Value, json};

use super::*;
use crate::{lines::Key, list::Looked};

const SECOND: Duration = Duration::from_secs(1);
const NAMES: &str = "https://data.iana.org/rdap/dns.json";

const HEAD: &str = r#"
schema: provider/1
id: sample
name: Sample
verified: live
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 1000
outcome:
  - when: body.state = "running"
    outcome: OPEN
  - status: [404]
    outcome: not_found
  - when: body.entry = null
    outcome: not_found
  - when: $exists(body.verdict) or $type(body.entry) = "object" or "NOERROR" in body.answers.rcode
    outcome: found
mapping: '{"verdict": body.verdict = "malicious" or $type(body.entry) = "object" ? "malicious" : "unknown", "score": 90, "tags": [body.answers.records.data]}'
"#;

const ONE_STEP: &str = r#"kind: http
types: [domain-name]
host: api.example
requests:
  - { types: [domain-name], path: "/d/{value}" }
"#;

const TWO_STEPS: &str = r#"kind: http
types: [domain-name]
host: api.example
requests:
  - types: [domain-name]
    path: /search/{value}
    task: body.id
    poll: { path: "/report/{task}", every_seconds: 0 }
"#;

const SUBMITTED: &str = r#"kind: http
secret: sample
types: [domain-name]
host: api.example
requests:
  - types: [domain-name]
    path: /submit/{value}
    headers: { x-key: "{secret}" }
    task: body.id
    poll: { path: "/report/{task}", every_seconds: 60, for_seconds: 3600 }
"#;

const DNS: &str = r#"kind: dns
secret: sample
types: [ipv4-addr]
resolver: system
requests:
  - types: [ipv4-addr]
    questions:
      - { name: "{reversed}.{secret}.zen.example", records: [A, TXT] }
"#;

const LIST: &str = "kind: list
types: [domain-name]
list: sample-feed
";

const RDAP: &str = r#"kind: http
types: [domain-name, ipv4-addr]
hosts_from: rdap_bootstrap
redirects: rdap
requests:
  - { types: [domain-name], path: "/domain/{value}" }
  - { types: [ipv4-addr], path: "/ip/{value}" }
"#;

fn manifest(kind: &str) -> Manifest {
    let open = if kind.contains("poll:") { "pending" } else { "error\n    reason: running" };
    Manifest::parse(&format!("{HEAD}{kind}").replace("OPEN", open), "sample.yaml").unwrap()
}

/// The outside: what is not in the table cannot be reached.
#[derive(Default)]
struct Outside {
    answers: RefCell<BTreeMap<String, Result<Answer, CallError>>>,
    names: BTreeMap<(String, String), Result<DnsAnswer, CallError>>,
    listed: Option<Result<Looked, &'static str>>,
    takes: Cell<Duration>,
    seen: RefCell<Vec<String>>,
}

impl Outside {
    fn answering(answers: &[(&str, u16, Value)]) -> Self {
        let outside = Self::default();
        for (url, status, body) in answers {
            outside.says(url, *status, body);
        }
        outside
    }

    fn says(&self, url: &str, status: u16, body: &Value) {
        let headers = vec![("retry-after".to_owned(), "7".to_owned())];
        let answer = Answer { status, headers, body: body.to_string().into_bytes() };
        self.answers.borrow_mut().insert(url.to_owned(), Ok(answer));
    }

    fn seen(&self) -> Vec<String> {
        self.seen.take()
    }
}

impl Egress for Outside {
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        assert_eq!(request.url.host_str(), Some(to.host));
        self.seen.borrow_mut().push(request.url.to_string());
        if self.takes.get() > timeout {
            tokio::time::sleep(timeout).await;
            return Err(CallError::Timeout);
        }
        tokio::time::sleep(self.takes.get()).await;
        let nobody = || Err(CallError::Unreachable("no connection".to_owned()));
        self.answers.borrow().get(request.url.as_str()).cloned().unwrap_or_else(nobody)
    }

    async fn resolve(&self, at: &Nameserver<'_>, question: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        assert_eq!(at.address, None);
        let record = format!("{:?}", question.record).to_uppercase();
        self.seen.borrow_mut().push(format!("{} {record}", question.name));
        self.names.get(&(question.name.clone(), record)).cloned().unwrap_or(Err(CallError::Timeout))
    }
}

impl Lists for Outside {
    async fn look(&self, manifest: &Manifest, _: &Observable, _: Timestamp) -> Result<Looked, &'static str> {
        assert_eq!(manifest.list.as_deref(), Some("sample-feed"));
        self.listed.clone().unwrap_or(Err("no_list"))
    }
}

/// What lookups use, kept between them.
struct World {
    outside: Outside,
    clock: StoppedClock,
    registries: Registries,
    line: Line<'static>,
}

impl World {
    fn of(kind: &str, outside: Outside) -> Self {
        let manifest: &'static Manifest = Box::leak(Box::new(manifest(kind)));
        let key = if manifest.secret.is_some() { Key::Known(Secret::new("k3y")) } else { Key::Unneeded };
        let clock = StoppedClock::at(Timestamp::from_millis(1_795_500_000_000));
        Self { outside, clock, registries: Registries::default(), line: Line::new(manifest, key, 8) }
    }

    fn ways(&self) -> Ways<'_, StoppedClock, Outside, Outside> {
        Ways {
            clock: &self.clock,
            egress: &self.outside,
            lists: &self.outside,
            registries: &self.registries,
            reach: Reach::default(),
            stand_in_dns: None,
        }
    }

    async fn ask_within(&self, value: &str, timeout: Duration) -> Called {
        lookup(&self.ways(), &self.line, &Observable::parse_any(value).unwrap(), timeout).await
    }

    async fn ask(&self, value: &str) -> Called {
        self.ask_within(value, SECOND).await
    }

    async fn poll(&self, task: &str) -> Called {
        poll(&self.ways(), &self.line, &Observable::parse_any("evil.example").unwrap(), task, SECOND).await
    }
}

fn said(called: &Called) -> (Status, Option<&str>, usize) {
    (called.outcome.outcome, called.outcome.reason.as_deref(), called.calls)
}

#[tokio::test]
async fn one_step_is_one_call() {
    let bad = json!({ "verdict": "malicious" });
    let world = World::of(ONE_STEP, Outside::answering(&[("https://api.example/d/evil.example", 200, bad)]));
    let called = world.ask("evil.example").await;
    assert_eq!(said(&called), (Status::Found, None, 1));
    assert_eq!(called.outcome.opinion.map(|opinion| opinion.verdict), Some(Judgement::Malicious));
    assert_eq!((called.task, called.retry_after_seconds, called.is_cut_short), (None, None, false));

    world.outside.says("https://api.example/d/evil.example", 429, &json!({}));
    let called = world.ask("evil.example").await;
    assert_eq!(said(&called), (Status::RateLimited, Some("http_429"), 1));
    assert_eq!(called.retry_after_seconds, Some(7));
}

#[tokio::test]
async fn only_our_own_haste_is_cut_short() {
    let world = World::of(ONE_STEP, Outside::default());
    world.outside.takes.set(Duration::from_secs(9));
    let late = world.ask_within("evil.example", Duration::from_millis(20)).await;
    assert_eq!((said(&late), late.is_cut_short), ((Status::Error, Some("timeout"), 1), true));
    let late = world.ask("evil.example").await;
    assert_eq!((said(&late), late.is_cut_short), ((Status::Error, Some("timeout"), 1), false));
    let late = world.ask_within("evil.example", Duration::ZERO).await;
    assert_eq!((said(&late), late.is_cut_short), ((Status::Error, Some("timeout"), 0), true));
}

#[tokio::test]
async fn a_second_step_without_delay_follows_at_once() {
    let search = "https://api.example/search/evil.example";
    let report = "https://api.example/report/7";
    let world = World::of(
        TWO_STEPS,
        Outside::answering(&[(search, 200, json!({ "id": 7 })), (report, 200, json!({ "verdict": "malicious" }))]),
    );
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 2));
    assert_eq!(world.outside.seen(), [search, report]);
    // Nobody asks a second time.
    world.outside.says(report, 200, &json!({ "state": "running" }));
    let called = world.ask("evil.example").await;
    assert_eq!((said(&called), &called.task), ((Status::Error, Some("no_result"), 2), &None));
    world.outside.says(search, 404, &json!({}));
    assert_eq!(said(&world.ask("evil.example").await), (Status::NotFound, None, 1));
    world.outside.says(search, 200, &json!({ "verdict": "malicious" }));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Error, Some("no_task"), 1));
}

#[tokio::test(start_paused = true)]
async fn both_steps_share_one_time() {
    let search = "https://api.example/search/evil.example";
    let world = World::of(TWO_STEPS, Outside::answering(&[(search, 200, json!({ "id": 7 }))]));
    world.outside.takes.set(Duration::from_millis(40));
    let called = world.ask_within("evil.example", Duration::from_millis(60)).await;
    assert_eq!((said(&called), called.is_cut_short), ((Status::Error, Some("timeout"), 2), true));
}

#[tokio::test]
async fn a_submission_is_pending_until_its_result_is_there() {
    let submit = "https://api.example/submit/evil.example";
    let report = "https://api.example/report/a-7";
    let world = World::of(SUBMITTED, Outside::answering(&[(submit, 201, json!({ "id": "a-7" }))]));
    let called = world.ask("evil.example").await;
    assert_eq!(said(&called), (Status::Pending, Some("submitted"), 1));
    assert_eq!(called.task.as_deref(), Some("a-7"));
    assert_eq!(world.outside.seen(), [submit]);

    world.outside.says(report, 200, &json!({ "state": "running" }));
    let called = world.poll("a-7").await;
    assert_eq!((said(&called), called.task.as_deref()), ((Status::Pending, Some("submitted"), 1), Some("a-7")));
    world.outside.says(report, 200, &json!({ "verdict": "malicious" }));
    let called = world.poll("a-7").await;
    assert_eq!((said(&called), &called.task), ((Status::Found, None, 1), &None));
    assert_eq!(said(&world.poll("..").await), (Status::Skipped, Some("unencodable"), 0));
}

#[tokio::test]
async fn what_cannot_be_asked_is_skipped_and_a_wrong_key_is_an_error() {
    let mut world = World::of(SUBMITTED, Outside::default());
    assert_eq!(said(&world.ask("192.0.2.7").await), (Status::Skipped, Some("type"), 0));
    world.line.key = Key::Missing;
    assert_eq!(said(&world.ask("evil.example").await), (Status::Skipped, Some("no_key"), 0));
    world.line.key = Key::Known(Secret::new("a\r\nb"));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Error, Some("bad_key"), 0));
    assert_eq!(world.outside.seen(), [""; 0]);
}

fn named(record: &str, rcode: &str, data: &[&str]) -> ((String, String), Result<DnsAnswer, CallError>) {
    let record = |data: &&str| DnsRecord { record: record.to_owned(), data: (*data).to_owned(), ttl_seconds: 60 };
    let answer = DnsAnswer { rcode: rcode.to_owned(), records: data.iter().map(record).collect() };
    (("7.2.0.192.k3y.zen.example".to_owned(), String::new()), Ok(answer))
}

#[tokio::test]
async fn questions_are_asked_together_and_answers_are_read_as_one() {
    let check = async |a: Option<(&str, &[&str])>, txt: Option<(&str, &[&str])>, expected, tags: &[&str]| {
        let mut outside = Outside::default();
        for (record, answer) in [("A", a), ("TXT", txt)] {
            let Some((rcode, data)) = answer else { continue };
            let ((name, _), answer) = named(record, rcode, data);
            outside.names.insert((name, record.to_owned()), answer);
        }
        let world = World::of(DNS, outside);
        let called = world.ask("192.0.2.7").await;
        assert_eq!(said(&called), expected);
        assert_eq!(called.outcome.opinion.map(|opinion| opinion.tags).unwrap_or_default(), tags);
        assert_eq!(world.outside.seen(), ["7.2.0.192.k3y.zen.example A", "7.2.0.192.k3y.zen.example TXT"]);
    };
    let found = (Status::Found, None, 2);
    check(Some(("NOERROR", &["127.0.0.2"])), Some(("NOERROR", &["why k3y"])), found, &["127.0.0.2", "why ***"]).await;
    check(Some(("NOERROR", &["127.0.0.2"])), None, found, &["127.0.0.2"]).await;
    let error = |reason| (Status::Error, Some(reason), 2);
    check(Some(("SERVFAIL", &[])), None, error("servfail"), &[]).await;
    check(None, None, error("timeout"), &[]).await;
    check(Some(("REFUSED", &[])), Some(("REFUSED", &[])), error("unexpected"), &[]).await;
}

#[tokio::test]
async fn a_list_is_looked_into_without_a_call() {
    let fetched_at = Timestamp::from_millis(1_795_400_000_000);
    let looked = |entry| Outside { listed: Some(Ok(Looked { entry, fetched_at, entries: 3 })), ..Outside::default() };
    let world = World::of(LIST, looked(Some(json!({ "line": 7 }))));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 0));
    let world = World::of(LIST, looked(None));
    assert_eq!(said(&world.ask("evil.example").await), (Status::NotFound, None, 0));
    let world = World::of(LIST, Outside { listed: Some(Err("stale_list")), ..Outside::default() });
    assert_eq!(said(&world.ask("evil.example").await), (Status::Error, Some("stale_list"), 0));
}

fn bootstrap() -> Value {
    json!({ "services": [[["example"], ["https://rdap.registry.example/v1/"]]] })
}

#[tokio::test]
async fn the_registry_is_found_once_and_asked_for_the_registrable_name() {
    let there = "https://rdap.registry.example/v1/domain/evil.example";
    let world =
        World::of(RDAP, Outside::answering(&[(NAMES, 200, bootstrap()), (there, 200, json!({ "verdict": "" }))]));
    assert_eq!(said(&world.ask("a.b.evil.example").await), (Status::Found, None, 1));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 1));
    assert_eq!(said(&world.ask("evil.invalid").await), (Status::Skipped, Some("no_rdap"), 0));
    assert_eq!(world.outside.seen(), [NAMES, there, there]);
    // Addresses have a file of their own, which nobody can reach here.
    assert_eq!(said(&world.ask("192.0.2.7").await), (Status::Error, Some("unreachable"), 0));
    assert_eq!(world.outside.seen(), ["https://data.iana.org/rdap/ipv4.json"]);
}

#[tokio::test]
async fn an_old_file_is_better_than_none() {
    let there = "https://rdap.registry.example/v1/domain/evil.example";
    let world = World::of(RDAP, Outside::answering(&[(NAMES, 503, json!({})), (there, 200, json!({ "verdict": "" }))]));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Error, Some("no_bootstrap"), 0));
    world.outside.says(NAMES, 200, &bootstrap());
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 1));
    world.outside.says(NAMES, 200, &json!({ "services": [] }));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 1));
    world.clock.advance_minutes(24 * 60);
    world.outside.says(NAMES, 503, &json!({}));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Found, None, 1));
    world.outside.says(NAMES, 200, &json!({ "services": [] }));
    assert_eq!(said(&world.ask("evil.example").await), (Status::Skipped, Some("no_rdap"), 0));
}

#[test]
fn silence_may_pass_and_breaks_the_line() {
    let check = |reason: &str, is_silence: bool| {
        let world = World::of(ONE_STEP, Outside::answering(&[]));
        let outcome = failed(world.line.manifest, reason, world.clock.now());
        assert_eq!((crate::may_pass(&outcome), outcome.is_silence()), (is_silence, is_silence), "{reason}");
        for _ in 0..crate::lines::BREAKER_FAILURES {
            world.line.count(&outcome);
        }
        assert_eq!((world.line.closed() == Some("breaker_open")), is_silence, "{reason}");
    };
    for reason in ["timeout", "dns", "tls", "unreachable"] {
        check(reason, true);
    }
    for reason in ["refused", "too_large", "garbage", "mapping", "auth", "http_404"] {
        check(reason, false);
    }
}
