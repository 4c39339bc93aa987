//! The targets' contract: every manifest in `playbook/targets` is good, and its calls make the requests and read the answers
//! in `tests/fixtures/targets/<id>` as they say. Add a file, get a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ioc::Observable;
use playbook::{
    lookup::{Answer, CallError, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Nameserver, Reach, Secret},
    target::{Call, Target},
};
use serde::Deserialize;
use serde_json::{Value, json};
use targets::http::{Reply, Wire, call};

const KEY: &str = "dummy-key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    call: String,
    #[serde(default)]
    observable: Option<Observable>,
    #[serde(default)]
    external_id: Option<String>,
    /// Laid over the usual document.
    #[serde(default)]
    document: BTreeMap<String, Value>,
    #[serde(default)]
    request: Option<ExpectedRequest>,
    answer: FixtureAnswer,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixtureAnswer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    body: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    reply: Option<String>,
    external_id: Option<String>,
    permalink: Option<String>,
    is_ours: Option<bool>,
    fault: Option<String>,
    message: Option<String>,
    /// Whether a request leaves at all.
    #[serde(default = "yes")]
    sends: bool,
}

const fn yes() -> bool {
    true
}

/// Gives one answer and keeps what was asked.
struct OneAnswer {
    answer: Answer,
    requests: RefCell<Vec<Request>>,
}

impl Egress for OneAnswer {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        assert_eq!(request.url.host_str(), Some(to.host));
        self.requests.borrow_mut().push(request.clone());
        Ok(self.answer.clone())
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Refused("no target asks for names".to_owned()))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

fn targets() -> Vec<Target> {
    let read = |path: &PathBuf| {
        let yaml = fs::read_to_string(path).unwrap();
        Target::parse(&yaml, &path.to_string_lossy()).unwrap_or_else(|error| panic!("{error}"))
    };
    files(&root().join("playbook/targets")).iter().map(read).collect()
}

fn named<'a>(target: &'a Target, name: &str, path: &Path) -> &'a Call {
    let calls = target.calls.as_ref().unwrap();
    let call = match name {
        "precheck" => calls.precheck.as_ref(),
        "write" => Some(&calls.write),
        "read_back" => calls.read_back.as_ref(),
        "update" => calls.update.as_ref(),
        "undo" => calls.undo.as_ref(),
        "close" => calls.close.as_ref(),
        _ => None,
    };
    call.unwrap_or_else(|| panic!("{}: {} has no call {name}", path.display(), target.id))
}

/// What an entry's calls see.
fn document(fixture: &Fixture) -> Value {
    let mut document = json!({
        "observable": fixture.observable,
        "entry": {"act": "record", "expires_at": "2026-11-25T06:00:00.000Z", "approved_by": "policy"},
        "incident": {"incident_id": "inc-aaaaaaaaaaaaaaaaaaaaaaaaaa", "run": 1, "severity": "high", "kind": "mail"},
        "verdict": {"verdict": "suspicious", "confidence": 60},
        "now": "2026-11-24T06:00:00.000Z",
    });
    if let Some(id) = &fixture.external_id {
        document["external_id"] = id.as_str().into();
    }
    for (name, value) in &fixture.document {
        document[name] = value.clone();
    }
    document
}

fn answer(fixture: &FixtureAnswer) -> Answer {
    let body = match &fixture.body {
        Value::String(text) => text.clone().into_bytes(),
        document => serde_json::to_vec(document).unwrap(),
    };
    Answer { status: fixture.status, headers: fixture.headers.clone().into_iter().collect(), body }
}

async fn check(target: &Target, fixture: &Fixture, path: &Path) {
    let place = path.display();
    let secret = Secret::new(if target.calls.as_ref().unwrap().write.headers.values().any(|h| h.contains("|basic")) {
        "ana@soc.example:dummy-key"
    } else {
        KEY
    });
    let egress = OneAnswer { answer: answer(&fixture.answer), requests: RefCell::default() };
    let wire = Wire { egress: &egress, reach: Reach::default(), secret: target.secret.as_ref().map(|_| &secret) };
    let result = call(&wire, target, named(target, &fixture.call, path), &document(fixture)).await;
    let requests = egress.requests.borrow();
    assert_eq!(requests.len(), usize::from(fixture.expect.sends), "{place}");
    if let Some(expected) = &fixture.request {
        let request = &requests[0];
        let sent = ExpectedRequest {
            method: request.method.as_str().to_owned(),
            url: request.url.to_string(),
            headers: request.headers.iter().cloned().collect(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
        };
        assert_eq!(&sent, expected, "{place}");
    }
    let expect = &fixture.expect;
    match result {
        Ok(reply) => {
            let (word, external_id, permalink, is_ours) = match reply {
                Reply::Done { external_id, permalink } => ("done", external_id, permalink, None),
                Reply::Duplicate { external_id } => ("duplicate", external_id, None, None),
                Reply::Found { external_id, permalink, is_ours } => ("found", external_id, permalink, Some(is_ours)),
                Reply::NotFound => ("not_found", None, None, None),
            };
            assert_eq!(Some(word), expect.reply.as_deref(), "{place}");
            assert_eq!((external_id, permalink), (expect.external_id.clone(), expect.permalink.clone()), "{place}");
            assert_eq!(is_ours, expect.is_ours, "{place}");
        }
        Err(fault) => {
            assert_eq!(Some(fault.name()), expect.fault.as_deref(), "{place}: {fault}");
            let message = fault.to_string();
            assert!(message.contains(expect.message.as_deref().unwrap()), "{place}: {message}");
            assert!(!message.contains(KEY) && !message.contains('\u{202e}'), "{place}: {message}");
        }
    }
}

/// The fixtures of a target, each with its file.
fn fixtures(target: &Target) -> Vec<(PathBuf, Fixture)> {
    let paths = files(&root().join("tests/fixtures/targets").join(&target.id));
    let read = |path: PathBuf| {
        let yaml = fs::read_to_string(&path).unwrap();
        let fixture = serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, fixture)
    };
    paths.into_iter().map(read).collect()
}

#[tokio::test]
async fn calls_are_made_and_answers_read_as_the_fixtures_say() {
    for target in targets() {
        for (path, fixture) in fixtures(&target) {
            check(&target, &fixture, &path).await;
        }
    }
}

#[test]
fn every_call_has_a_fixture() {
    for target in targets() {
        let seen: Vec<String> = fixtures(&target).into_iter().map(|(_, fixture)| fixture.call).collect();
        let Some(calls) = &target.calls else { continue };
        let needed = [
            ("precheck", calls.precheck.is_some()),
            ("write", true),
            ("read_back", calls.read_back.is_some()),
            ("update", calls.update.is_some()),
            ("undo", calls.undo.is_some()),
            ("close", calls.close.is_some()),
        ];
        for (name, _) in needed.into_iter().filter(|(_, is_there)| *is_there) {
            assert!(seen.iter().any(|call| call == name), "{}: no fixture of {name}", target.id);
        }
    }
}
