//! The providers' contract: every manifest in `playbook/providers` is good, and reads the answers in
//! `tests/fixtures/providers/<id>` as they say. Add a file, get a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ioc::{Observable, ObservableType};
use playbook::lookup::{Answer, CallError, Request, interpret, prepare};
use playbook::manifest::Manifest;
use playbook::outcome::{Grade, Judgement, Outcome, Status};
use playbook::ports::Secret;
use playbook::Timestamp;
use serde::Deserialize;
use serde_json::Value;

const NOW: &str = "2026-11-24T06:00:00Z";
const DUMMY_KEY: &str = "dummy-key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    observable: Observable,
    answer: FixtureAnswer,
    expect: Expected,
    #[serde(default)]
    request: Option<ExpectedRequest>,
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
            if fixture.request.is_some() {
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
    let request = prepare(manifest, &fixture.observable, Some(&Secret::new(DUMMY_KEY))).unwrap();
    if let Some(expected) = &fixture.request {
        assert_eq!(&ExpectedRequest::of(&request), expected, "{at}");
    }
    let body = match &fixture.answer.body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let headers = fixture.answer.headers.clone().into_iter().collect();
    let answer = Answer { status: fixture.answer.status, headers, body: body.into_bytes() };
    let outcome = interpret(manifest, &fixture.observable, Ok(&answer), now());
    compare(&outcome, &fixture.expect, &at.to_string());
}

fn compare(outcome: &Outcome, expect: &Expected, at: &str) {
    assert_eq!((outcome.outcome, &outcome.reason), (expect.outcome, &expect.reason), "{at}: {outcome:?}");
    assert!(outcome.expires_at > outcome.fetched_at, "{at}");
    let opinion = outcome.opinion.as_ref();
    assert_eq!(opinion.map(|o| o.verdict), expect.verdict, "{at}: {outcome:?}");
    assert_eq!(opinion.map(|o| o.score), expect.score, "{at}: {outcome:?}");
    assert_eq!(opinion.map(|o| o.grade), expect.grade, "{at}: {outcome:?}");
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
            check(Ok(&answer(200, "{}")), error("unexpected"));
            for odd in ["null", "[]", "7", "\"ok\"", r#"{"data":[]}"#, r#"{"data":{"attributes":7}}"#, "[[{}]]"] {
                let outcome = interpret(&manifest, &sample(*kind), Ok(&answer(200, odd)), now());
                assert!(!outcome.outcome.is_answered() || outcome.outcome == Status::NotFound, "{} {odd}", manifest.id);
            }
        }
    }
}

/// What is off stays off, and says why.
#[test]
fn only_virustotal_ships_off() {
    let off: Vec<(String, Option<&str>)> =
        manifests().iter().filter(|m| m.off_reason().is_some()).map(|m| (m.id.clone(), m.off_reason())).collect();
    assert_eq!(off, [("virustotal".to_owned(), Some("disabled"))]);
}

/// Real and documented answers lie beside the repository on some machines; they are never copied into it.
#[test]
fn collected_samples_are_understood() {
    let folder = root().join("../shared/samples");
    if !folder.is_dir() {
        println!("{} is absent: nothing to compare with", folder.display());
        return;
    }
    let manifests = manifests();
    let check = |id: &str, file: &str, kind, value: &str, status, expected: (Status, Option<Judgement>)| {
        let manifest = manifests.iter().find(|manifest| manifest.id == id).unwrap();
        let body = fs::read_to_string(folder.join(file)).unwrap();
        let observable = Observable::parse(kind, value).unwrap();
        let outcome = interpret(manifest, &observable, Ok(&answer(status, &body)), now());
        assert_eq!((outcome.outcome, outcome.opinion.as_ref().map(|o| o.verdict)), expected, "{file}: {outcome:?}");
    };
    let found = |verdict| (Status::Found, Some(verdict));
    let (not_found, error) = ((Status::NotFound, None), (Status::Error, None));
    use Judgement::{Benign, Malicious, Suspicious, Unknown};
    use ObservableType::{DomainName, File, Ipv4Addr, Url};

    let url = "http://sskymedia.com/VMYB-ht_JAQo-gi/INV/99401FORPO/20673114777/US/Outstanding-Invoices/";
    check("urlhaus", "urlhaus/url-malicious.json", Url, url, 200, found(Malicious));
    check("urlhaus", "urlhaus/host-malicious.json", DomainName, "vektorex.com", 200, found(Malicious));
    let sha256 = "35e304d10d53834e3e41035d12122773c9a4d183a24e03f980ad3e6b2ecde7fa";
    check("urlhaus", "urlhaus/hash-malicious.json", File, sha256, 200, found(Suspicious));
    check("urlhaus", "urlhaus/hash-malicious.json", File, "1585ad28f7d1e0ca696e6c6c2f1d008a", 200, found(Suspicious));
    check("urlhaus", "urlhaus/notfound.json", Url, url, 200, not_found);
    check("urlhaus", "abusech/error-401.json", Url, url, 401, error);

    let domain = "famesurvelizerditis.sytes.net";
    check("threatfox", "threatfox/search_ioc-domain-malicious.json", DomainName, domain, 200, found(Malicious));
    check("threatfox", "threatfox/search_ioc-domain-malicious.json", DomainName, "sytes.net", 200, not_found);
    check("threatfox", "threatfox/search_ioc-ipport-malicious.json", Ipv4Addr, "104.168.44.59", 200, found(Malicious));
    check("threatfox", "threatfox/search_ioc-ipport-malicious.json", Ipv4Addr, "104.168.44.5", 200, not_found);
    let sha256 = "6f8a836d10eada55bb1d3901ceb5b97711afc9f7018e3bd0f0a8e77521f18e5b";
    check("threatfox", "threatfox/search_ioc-sha256-malicious.json", File, sha256, 200, found(Suspicious));
    let url = "https://rest.helphealthcareservice.com/apiv2/v1/session/keepalive";
    check("threatfox", "threatfox/search_ioc-url-malicious.json", Url, url, 200, found(Malicious));
    check("threatfox", "threatfox/search_ioc-notfound.json", DomainName, domain, 200, not_found);
    check("threatfox", "threatfox/get_iocs-recent.json", DomainName, domain, 200, found(Malicious));

    let sha256 = "7de2c1bf58bce09eecc70476747d88a26163c3d6bb1d85235c24a558d1f16754";
    check("malwarebazaar", "malwarebazaar/hash-malicious.json", File, sha256, 200, found(Malicious));
    check("malwarebazaar", "malwarebazaar/hash-notfound.json", File, sha256, 200, not_found);

    check("abuseipdb", "abuseipdb/ip-check.json", Ipv4Addr, "198.51.100.100", 200, found(Malicious));
    check("abuseipdb", "abuseipdb/ip-clean-0.json", Ipv4Addr, "38.75.137.9", 200, not_found);
    check("abuseipdb", "abuseipdb/ip-malicious-100.json", Ipv4Addr, "118.25.6.39", 200, found(Malicious));
    check("abuseipdb", "abuseipdb/ip-suspicious-42.json", Ipv4Addr, "8.8.8.8", 200, found(Suspicious));
    check("abuseipdb", "abuseipdb/error-422.json", Ipv4Addr, "8.8.8.8", 422, error);
    check("abuseipdb", "abuseipdb/error-429.json", Ipv4Addr, "8.8.8.8", 429, (Status::RateLimited, None));

    let md5 = "8ed4b4ed952526d89899e723f3488de4";
    check("hashlookup", "hashlookup/md5-found.json", File, md5, 200, found(Unknown));
    let sha1 = "fffffdac1b1b4c513896c805c2c698d9688be69f";
    check("hashlookup", "hashlookup/sha1-found.json", File, sha1, 200, found(Unknown));
    check("hashlookup", "hashlookup/sha1-malicious-shape.json", File, md5, 200, found(Malicious));
    check("hashlookup", "hashlookup/hash-notfound.json", File, &"0".repeat(40), 404, not_found);

    check("virustotal", "virustotal/ip-malicious.json", Ipv4Addr, "138.128.150.133", 200, found(Malicious));
    check("virustotal", "virustotal/ip-harmless.json", Ipv4Addr, "167.179.69.149", 200, found(Benign));
    check("virustotal", "virustotal/domain-malicious.json", DomainName, "tawuhoju.com", 200, found(Malicious));
    check("virustotal", "virustotal/domain-harmless.json", DomainName, "ninoseki.github.io", 200, found(Benign));
    check("virustotal", "virustotal/url-malicious.json", Url, "http://soclosebutyetqq.com/69.exe", 200, found(Malicious));
    check("virustotal", "virustotal/url-harmless.json", Url, "http://example.com/", 200, found(Benign));
    let sha256 = "4bc00f7d638e042da764e8648c03c0db46700599dd4f08d117e3e9e8b538519b";
    check("virustotal", "virustotal/file-malicious.json", File, sha256, 200, found(Malicious));
    check("virustotal", "virustotal/error-404.json", DomainName, "evil.example", 404, not_found);
    check("virustotal", "virustotal/error-401.json", DomainName, "evil.example", 401, error);
    check("virustotal", "virustotal/error-429.json", DomainName, "evil.example", 429, (Status::RateLimited, None));
}
