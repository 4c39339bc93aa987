//! The providers' contract: every manifest in `playbook/providers` is good, and reads the answers in
//! `tests/fixtures/providers/<id>` as they say. Add a file, get a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ioc::{Observable, ObservableType};
use playbook::grades::Grades;
use playbook::lookup::{Answer, CallError, Request, interpret, prepare, prepare_at, questions};
use playbook::manifest::{Manifest, ProviderKind};
use playbook::outcome::{Grade, Judgement, Opinion, Outcome, Status};
use playbook::ports::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use common::{answer, files, manifests, now, root, sample};

const DUMMY_KEY: &str = "dummy-key";
/// Stands for the host that a bootstrap file names.
const BASE: &str = "https://rdap.registry.example/v1/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    observable: Observable,
    answer: FixtureAnswer,
    expect: Expected,
    /// For http.
    #[serde(default)]
    request: Option<ExpectedRequest>,
    /// For dns: each `name RECORD`.
    #[serde(default)]
    questions: Vec<String>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    outcome: Status,
    reason: Option<String>,
    verdict: Option<Judgement>,
    score: Option<u8>,
    grade: Option<Grade>,
    upstreams: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    evidence: Option<String>,
    permalink: Option<String>,
    last_seen: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

impl ExpectedRequest {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method.as_str().to_owned(),
            url: request.url.to_string(),
            headers: request.headers.iter().cloned().collect(),
            body: String::from_utf8(request.body.clone()).unwrap(),
        }
    }
}

/// The cases of a provider, with their files.
fn cases(manifest: &Manifest) -> Vec<(PathBuf, Fixture)> {
    let folder = root().join("tests/fixtures/providers").join(&manifest.id);
    let read = |path: PathBuf| {
        let yaml = fs::read_to_string(&path).unwrap();
        let fixture = serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, fixture)
    };
    files(&folder, "yaml").into_iter().map(read).collect()
}

#[test]
fn answers_are_read_as_the_fixtures_say() {
    for manifest in manifests() {
        let cases = cases(&manifest);
        assert!(!cases.is_empty(), "{} has no cases", manifest.id);
        let mut asked: BTreeSet<ObservableType> = BTreeSet::new();
        for (path, fixture) in cases {
            check(&manifest, &fixture, &path);
            if fixture.request.is_some() || !fixture.questions.is_empty() || manifest.kind == ProviderKind::List {
                asked.insert(fixture.observable.kind());
            }
        }
        let taken: BTreeSet<ObservableType> = manifest.types.iter().copied().collect();
        assert_eq!(asked, taken, "{}: fixtures must show the request of every type", manifest.id);
    }
}

fn check(manifest: &Manifest, fixture: &Fixture, path: &Path) {
    let at = path.display();
    assert!(manifest.takes(&fixture.observable), "{at}: the provider does not take this observable");
    let key = Secret::new(DUMMY_KEY);
    match manifest.kind {
        ProviderKind::Http => {
            let request = if manifest.hosts_from.is_some() {
                prepare_at(manifest, &fixture.observable, &BASE.parse().unwrap()).unwrap()
            } else {
                prepare(manifest, &fixture.observable, Some(&key)).unwrap()
            };
            if let Some(expected) = &fixture.request {
                assert_eq!(&ExpectedRequest::of(&request), expected, "{at}");
            }
        }
        ProviderKind::Dns => {
            let made = questions(manifest, &fixture.observable, Some(&key)).unwrap();
            let names: Vec<String> = made.iter().map(|q| format!("{} {:?}", q.asked.name, q.asked.record)).collect();
            if !fixture.questions.is_empty() {
                assert_eq!(names.join(", ").to_uppercase(), fixture.questions.join(", ").to_uppercase(), "{at}");
            }
            assert!(made.iter().all(|question| !format!("{question:?}").contains(DUMMY_KEY)), "{at}: the key is shown");
        }
        ProviderKind::List => {}
    }
    let body = match &fixture.answer.body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let headers = fixture.answer.headers.clone().into_iter().collect();
    let answer = Answer { status: fixture.answer.status, headers, body: body.into_bytes() };
    let outcome = interpret(manifest, &fixture.observable, Ok(&answer), now());
    compare(manifest, &outcome, &fixture.expect, &at.to_string());
}

/// How far an opinion is trusted: what the mapping says, within what `playbook/grades.yaml` says of the source. Context has no
/// grade.
fn trusted(manifest: &Manifest, opinion: &Opinion) -> Option<Grade> {
    let yaml = fs::read_to_string(root().join("playbook/grades.yaml")).unwrap();
    let grades: Grades = serde_saphyr::from_str(&yaml).unwrap();
    let ceiling = *grades.grades.get(&manifest.id)?;
    Some(opinion.grade.map_or(ceiling, |said| said.at_most(ceiling)))
}

fn compare(manifest: &Manifest, outcome: &Outcome, expect: &Expected, at: &str) {
    assert_eq!((outcome.outcome, &outcome.reason), (expect.outcome, &expect.reason), "{at}: {outcome:?}");
    assert!(outcome.expires_at > outcome.fetched_at, "{at}");
    let opinion = outcome.opinion.as_ref();
    assert_eq!(opinion.map(|o| o.verdict), expect.verdict, "{at}: {outcome:?}");
    assert_eq!(opinion.map(|o| o.score), expect.score, "{at}: {outcome:?}");
    let grade = opinion.and_then(|opinion| trusted(manifest, opinion));
    assert_eq!(grade, expect.grade.filter(|_| manifest.opines), "{at}: {outcome:?}");
    let Some(opinion) = opinion else { return };
    let last_seen = opinion.last_seen.map(|seen| seen.to_string());
    let same = |expected: &Option<String>, got: &Option<String>| expected.is_none() || expected == got;
    assert!(same(&expect.evidence, &opinion.evidence), "{at}: {opinion:?}");
    assert!(same(&expect.permalink, &opinion.permalink), "{at}: {opinion:?}");
    assert!(same(&expect.last_seen, &last_seen), "{at}: {opinion:?}");
    assert!(expect.tags.is_none() || expect.tags.as_ref() == Some(&opinion.tags), "{at}: {opinion:?}");
    assert!(expect.upstreams.is_none() || expect.upstreams.as_ref() == Some(&opinion.upstreams), "{at}: {opinion:?}");
}

/// Whatever the provider: outages, throttling and garbage have names and never look like an answer.
#[test]
fn no_provider_takes_trouble_for_an_answer() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for manifest in manifests() {
        for kind in &manifest.types {
            let check = |answer: Result<&Answer, &CallError>, expected: (Status, Option<&str>)| {
                let outcome = interpret(&manifest, &sample(*kind), answer, now());
                assert_eq!((outcome.outcome, outcome.reason.as_deref()), expected, "{} {kind} {answer:?}", manifest.id);
            };
            let error = |reason| (Status::Error, Some(reason));
            check(Err(&CallError::Timeout), error("timeout"));
            check(Err(&CallError::Unreachable("dns".to_owned())), error("unreachable"));
            check(Err(&CallError::Refused("loopback".to_owned())), error("refused"));
            check(Err(&CallError::TooLarge), error("too_large"));
            check(Ok(&answer(429, "{}")), (Status::RateLimited, Some("http_429")));
            check(Ok(&answer(401, "")), error("auth"));
            check(Ok(&answer(403, "<html>")), error("auth"));
            check(Ok(&answer(500, "{}")), error("http_500"));
            check(Ok(&answer(302, "")), error("http_302"));
            check(Ok(&answer(404, "<html>")), error("http_404"));
            check(Ok(&answer(200, "")), error("garbage"));
            check(Ok(&answer(200, "<html>")), error("garbage"));
            check(Ok(&answer(200, r#"{"query_status":"o"#)), error("garbage"));
            check(Ok(&answer(200, &deep)), error("garbage"));
            check(Ok(&answer(200, "{}")), empty(&manifest));
            for odd in ["null", "[]", "7", "\"ok\"", r#"{"data":[]}"#, r#"{"data":{"attributes":7}}"#, "[[{}]]"] {
                let outcome = interpret(&manifest, &sample(*kind), Ok(&answer(200, odd)), now());
                assert!(!outcome.outcome.is_answered() || outcome.outcome == Status::NotFound, "{} {odd}", manifest.id);
            }
        }
    }
}

/// What `{}` means: an answer that nobody expected, unless a case says that the provider knows nothing with it.
fn empty(manifest: &Manifest) -> (Status, Option<&'static str>) {
    let says_nothing = cases(manifest).iter().any(|(_, case)| {
        case.answer.status == 200 && case.answer.body == json!({}) && case.expect.outcome == Status::NotFound
    });
    if says_nothing { (Status::NotFound, None) } else { (Status::Error, Some("unexpected")) }
}

/// Any leaf of any recorded shape may turn into anything: the outcome stays one of ours, within its caps.
#[test]
fn a_changed_answer_is_still_an_outcome() {
    let strange = [Value::Null, json!([[{ "a": 1 }]]), json!(1e300), Value::from("\u{202e}x".repeat(400))];
    for manifest in manifests() {
        for (path, fixture) in cases(&manifest) {
            let mut leaves = vec![];
            pointers(&fixture.answer.body, String::new(), &mut leaves);
            for leaf in leaves {
                for value in &strange {
                    let mut body = fixture.answer.body.clone();
                    *body.pointer_mut(&leaf).unwrap() = value.clone();
                    let answer = answer(fixture.answer.status, &body.to_string());
                    let outcome = interpret(&manifest, &fixture.observable, Ok(&answer), now());
                    let Some(opinion) = outcome.opinion else { continue };
                    assert_eq!(outcome.outcome, Status::Found, "{} {leaf}", path.display());
                    assert!(opinion.score <= 100 && opinion.tags.len() <= 16, "{} {leaf}", path.display());
                    assert!(opinion.evidence.is_none_or(|text| text.chars().count() <= 300));
                    assert!(opinion.permalink.is_none_or(|link| link.starts_with("https://")));
                    assert!(opinion.last_seen.is_none_or(|seen| seen <= now()));
                }
            }
        }
    }
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| pointers(item, format!("{at}/{index}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| pointers(member, format!("{at}/{name}"), found));
        }
        _ => {}
    }
    found.push(at);
}

/// What is off stays off, and says why: nobody has seen it answer, or its terms or its slowness forbid it.
#[test]
fn what_ships_off_is_known() {
    let off: Vec<String> = manifests().iter().filter_map(|m| Some(format!("{} {}", m.id, m.off_reason()?))).collect();
    let expected = [
        "cape disabled",
        "censys documented",
        "crtsh disabled",
        "cymru-asn documented",
        "doh-blocking documented",
        "domaintools documented",
        "emailrep documented",
        "greynoise documented",
        "internetdb terms",
        "ipinfo documented",
        "joesandbox documented",
        "misp disabled",
        "openphish terms",
        "phishtank terms",
        "pulsedive disabled",
        "recorded-future documented",
        "securitytrails disabled",
        "spamhaus-dqs documented",
        "surbl terms",
        "uribl terms",
        "virustotal disabled",
        "webrisk documented",
        "yaraify documented",
    ];
    assert_eq!(off, expected);
}
