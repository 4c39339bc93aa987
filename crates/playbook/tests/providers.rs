//! The providers' contract: every manifest in `playbook/providers` is good, and reads the answers in
//! `tests/fixtures/providers/<id>` as they say. Add a file, get a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ioc::{Observable, ObservableType};
use playbook::Timestamp;
use playbook::grades::Grades;
use playbook::lookup::{Answer, CallError, Request, interpret, prepare, prepare_at, questions};
use playbook::manifest::{Manifest, ProviderKind};
use playbook::outcome::{Grade, Judgement, Opinion, Outcome, Status};
use playbook::ports::Secret;
use serde::Deserialize;
use serde_json::Value;

const NOW: &str = "2026-11-24T06:00:00Z";
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|known| known == extension));
    paths.sort();
    paths
}

fn manifests() -> Vec<Manifest> {
    let paths = files(&root().join("playbook/providers"), "yaml");
    let read = |path: &PathBuf| {
        let yaml = fs::read_to_string(path).unwrap();
        Manifest::parse(&yaml, &path.to_string_lossy()).unwrap_or_else(|error| panic!("{error}"))
    };
    paths.iter().map(read).collect()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
}

#[test]
fn answers_are_read_as_the_fixtures_say() {
    for manifest in manifests() {
        let folder = root().join("tests/fixtures/providers").join(&manifest.id);
        let paths = files(&folder, "yaml");
        assert!(!paths.is_empty(), "{} has no fixtures in {}", manifest.id, folder.display());
        let mut asked: BTreeSet<ObservableType> = BTreeSet::new();
        for path in paths {
            let yaml = fs::read_to_string(&path).unwrap();
            let fixture: Fixture = serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
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

fn sample(kind: ObservableType) -> Observable {
    let value = match kind {
        ObservableType::Ipv4Addr => "192.0.2.7",
        ObservableType::Ipv6Addr => "2001:db8::7",
        ObservableType::DomainName => "evil.example",
        ObservableType::Url => "http://evil.example/",
        ObservableType::EmailAddr => "user@evil.example",
        ObservableType::File => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    Observable::parse(kind, value).unwrap()
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
            check(Err(&CallError::Dns), error("dns"));
            check(Err(&CallError::Tls("the handshake failed".to_owned())), error("tls"));
            check(Err(&CallError::Unreachable("no connection".to_owned())), error("unreachable"));
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
            check(Ok(&answer(200, "{}")), error("unexpected"));
            for odd in ["null", "[]", "7", "\"ok\"", r#"{"data":[]}"#, r#"{"data":{"attributes":7}}"#, "[[{}]]"] {
                let outcome = interpret(&manifest, &sample(*kind), Ok(&answer(200, odd)), now());
                assert!(!outcome.outcome.is_answered() || outcome.outcome == Status::NotFound, "{} {odd}", manifest.id);
            }
        }
    }
}

/// Any leaf of any recorded shape may turn into anything: the outcome stays one of ours, within its caps.
#[test]
fn a_changed_answer_is_still_an_outcome() {
    let strange = [
        Value::Null,
        serde_json::json!([[{ "a": 1 }]]),
        serde_json::json!(1e300),
        Value::from("\u{202e}x".repeat(400)),
    ];
    for manifest in manifests() {
        for path in files(&root().join("tests/fixtures/providers").join(&manifest.id), "yaml") {
            let fixture: Fixture = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
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
        "crtsh disabled",
        "cymru-asn documented",
        "doh-blocking documented",
        "greynoise documented",
        "openphish terms",
        "spamhaus-dqs documented",
        "surbl terms",
        "uribl terms",
        "virustotal disabled",
    ];
    assert_eq!(off, expected);
}

/// Real and documented answers lie beside the repository on some machines; they are never copied into it, so each says
/// itself, at the pointer, which observable it is about.
#[test]
fn collected_samples_are_understood() {
    use Judgement::{Benign, Malicious, Suspicious, Unknown};
    use ObservableType::{DomainName, File, Ipv4Addr, Url};

    let folder = root().join("../shared/samples");
    if !folder.is_dir() {
        println!("{} is absent: nothing to compare with", folder.display());
        return;
    }
    let manifests = manifests();
    let check = |file: &str, kind: ObservableType, pointer: &str, status, expected: (Status, Option<Judgement>)| {
        let id = file.split('/').next().unwrap();
        let manifest = manifests.iter().find(|manifest| manifest.id == id.replace("abusech", "urlhaus")).unwrap();
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let observable = match body.pointer(pointer).and_then(Value::as_str) {
            // ThreatFox lists addresses with their port.
            Some(value) if kind == Ipv4Addr => Observable::parse(kind, value.split(':').next().unwrap()).unwrap(),
            Some(value) => Observable::parse(kind, value).unwrap(),
            None => sample(kind),
        };
        let outcome = interpret(manifest, &observable, Ok(&answer(status, &text)), now());
        assert_eq!((outcome.outcome, outcome.opinion.as_ref().map(|o| o.verdict)), expected, "{file}: {outcome:?}");
    };
    let found = |verdict| (Status::Found, Some(verdict));
    let (not_found, error, limited) = ((Status::NotFound, None), (Status::Error, None), (Status::RateLimited, None));

    check("urlhaus/url-malicious.json", Url, "/url", 200, found(Malicious));
    check("urlhaus/host-malicious.json", DomainName, "/host", 200, found(Malicious));
    check("urlhaus/hash-malicious.json", File, "/sha256_hash", 200, found(Suspicious));
    check("urlhaus/hash-malicious.json", File, "/md5_hash", 200, found(Suspicious));
    check("urlhaus/url-malicious.json", Url, "", 200, error);
    check("urlhaus/notfound.json", Url, "", 200, not_found);
    check("abusech/error-401.json", Url, "", 401, error);

    check("threatfox/search_ioc-domain-malicious.json", DomainName, "/data/0/ioc", 200, found(Malicious));
    check("threatfox/search_ioc-domain-malicious.json", DomainName, "", 200, not_found);
    check("threatfox/search_ioc-ipport-malicious.json", Ipv4Addr, "/data/0/ioc", 200, found(Malicious));
    check("threatfox/search_ioc-ipport-malicious.json", Ipv4Addr, "", 200, not_found);
    check("threatfox/search_ioc-sha256-malicious.json", File, "/data/0/ioc", 200, found(Suspicious));
    check("threatfox/search_ioc-url-malicious.json", Url, "/data/0/ioc", 200, found(Malicious));
    check("threatfox/search_ioc-notfound.json", DomainName, "", 200, not_found);

    check("malwarebazaar/hash-malicious.json", File, "/data/0/sha256_hash", 200, found(Malicious));
    check("malwarebazaar/hash-malicious.json", File, "/data/0/md5_hash", 200, found(Malicious));
    check("malwarebazaar/hash-malicious.json", File, "", 200, error);
    check("malwarebazaar/hash-notfound.json", File, "", 200, not_found);

    check("abuseipdb/ip-check.json", Ipv4Addr, "/data/ipAddress", 200, found(Malicious));
    check("abuseipdb/ip-clean-0.json", Ipv4Addr, "/data/ipAddress", 200, not_found);
    check("abuseipdb/ip-malicious-100.json", Ipv4Addr, "/data/ipAddress", 200, found(Malicious));
    check("abuseipdb/ip-suspicious-42.json", Ipv4Addr, "/data/ipAddress", 200, found(Suspicious));
    check("abuseipdb/ip-malicious-100.json", Ipv4Addr, "", 200, error);
    check("abuseipdb/error-422.json", Ipv4Addr, "", 422, error);
    check("abuseipdb/error-429.json", Ipv4Addr, "", 429, limited);

    check("hashlookup/md5-found.json", File, "/MD5", 200, found(Unknown));
    check("hashlookup/sha1-found.json", File, "/SHA-1", 200, found(Unknown));
    check("hashlookup/sha1-malicious-shape.json", File, "/SHA-1", 200, found(Malicious));
    check("hashlookup/sha1-found.json", File, "", 200, error);
    check("hashlookup/hash-notfound.json", File, "/query", 404, not_found);

    check("virustotal/ip-malicious.json", Ipv4Addr, "/data/id", 200, found(Malicious));
    check("virustotal/ip-harmless.json", Ipv4Addr, "/data/id", 200, found(Benign));
    check("virustotal/domain-malicious.json", DomainName, "/data/id", 200, found(Malicious));
    check("virustotal/domain-harmless.json", DomainName, "/data/id", 200, found(Benign));
    check("virustotal/url-malicious.json", Url, "/data/attributes/url", 200, found(Malicious));
    check("virustotal/url-harmless.json", Url, "/data/attributes/url", 200, found(Benign));
    check("virustotal/file-malicious.json", File, "/data/attributes/sha256", 200, found(Malicious));
    check("virustotal/file-malicious.json", File, "/data/attributes/md5", 200, found(Malicious));
    check("virustotal/file-malicious.json", File, "", 200, error);
    check("otx/file-general-nopulse.json", File, "/indicator", 200, not_found);
    check("otx/ip-general-notfound.json", Ipv4Addr, "/indicator", 200, not_found);
    check("otx/ip-general-rep50.json", Ipv4Addr, "/indicator", 200, not_found);
    check("greynoise/community-malicious.json", Ipv4Addr, "/ip", 200, found(Malicious));
    check("greynoise/community-riot-benign.json", Ipv4Addr, "/ip", 200, found(Benign));
    check("greynoise/community-notfound.json", Ipv4Addr, "/ip", 404, not_found);
    check("rdap/domain-microsoft.click-real.json", DomainName, "/ldhName", 200, found(Unknown));
    check("rdap/domain-afnic-real.json", DomainName, "/ldhName", 200, found(Unknown));
    check("rdap/domain-lemonde-real.json", DomainName, "/ldhName", 200, found(Unknown));
    check("rdap/ip-arin-real.json", Ipv4Addr, "/startAddress", 200, found(Unknown));
    check("rdap/error-404.json", DomainName, "", 404, not_found);
    check("crtsh/domain-found.json", DomainName, "", 200, found(Unknown));
    check("crtsh/example.com.json", DomainName, "", 200, found(Unknown));
    check("urlscan/search-found.json", DomainName, "", 200, found(Unknown));
    check("urlscan/search-small.json", DomainName, "", 200, found(Unknown));
    check("urlscan/error-429.json", DomainName, "", 429, limited);
    check("cape/report-excerpt.json", File, "", 200, found(Malicious));

    check("virustotal/error-404.json", DomainName, "", 404, not_found);
    check("virustotal/error-401.json", DomainName, "", 401, error);
    check("virustotal/error-429.json", DomainName, "", 429, limited);
}
