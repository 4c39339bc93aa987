//! The providers' contract: every manifest in `playbook/providers` is good, and reads the answers in
//! `tests/fixtures/providers/<id>` as they say. Add a file, get a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

mod common;

use std::{fs, path::PathBuf};

use playbook::contract::{self, Case};
use playbook::grades::Grades;
use playbook::lookup::{Answer, CallError, interpret};
use playbook::manifest::Manifest;
use playbook::outcome::Status;
use serde_json::{Value, json};

use common::{answer, files, manifests, now, root, sample};

/// The cases of a provider, with their files.
fn cases(manifest: &Manifest) -> Vec<(PathBuf, Case)> {
    let folder = root().join("tests/fixtures/providers").join(&manifest.id);
    let read = |path: PathBuf| {
        let yaml = fs::read_to_string(&path).unwrap();
        let case = Case::parse(&yaml, &path.to_string_lossy()).unwrap_or_else(|error| panic!("{error}"));
        (path, case)
    };
    files(&folder, "yaml").into_iter().map(read).collect()
}

#[test]
fn answers_are_read_as_the_cases_say() {
    let yaml = fs::read_to_string(root().join("playbook/grades.yaml")).unwrap();
    let grades: Grades = serde_saphyr::from_str(&yaml).unwrap();
    let mut wrong = vec![];
    for manifest in manifests() {
        let cases = cases(&manifest);
        assert!(!cases.is_empty(), "{} has no cases", manifest.id);
        for (path, case) in &cases {
            let differences = case.differences(&manifest, &grades, now());
            wrong.extend(differences.iter().map(|difference| format!("{}: {difference}", path.display())));
        }
        let missing = contract::unshown(&manifest, cases.iter().map(|(_, case)| case));
        wrong.extend(missing.iter().map(|kind| format!("{}: no case shows the request for {kind}", manifest.id)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case that says something else than the manifest does is told, each difference by its name.
#[test]
fn a_case_that_differs_is_told() {
    let manifest = manifests().into_iter().find(|manifest| manifest.id == "hashlookup").unwrap();
    let check = |yaml: &str, expected: &[&str]| {
        let case = Case::parse(yaml, "case.yaml").unwrap();
        let differences = case.differences(&manifest, &Grades::default(), now());
        assert_eq!(differences.len(), expected.len(), "{differences:?}");
        for (difference, expected) in differences.iter().zip(expected) {
            assert!(difference.starts_with(expected), "{difference}");
        }
    };
    let file = "observable: {type: file, value: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}";
    check(&format!("{file}\nanswer: {{status: 500, body: ''}}\nexpect: {{outcome: error, reason: http_500}}"), &[]);
    check(
        &format!("{file}\nanswer: {{status: 500, body: ''}}\nexpect: {{outcome: found, verdict: malicious, score: 9}}"),
        &["outcome: ", "reason: ", "verdict: ", "score: "],
    );
    let request = "request: {method: POST, url: 'https://evil.example/', headers: {}}";
    check(
        &format!("{file}\n{request}\nanswer: {{status: 500, body: ''}}\nexpect: {{outcome: error, reason: http_500}}"),
        &["request: "],
    );
    check(
        "observable: {type: url, value: 'http://evil.example/'}\nanswer: {status: 200, body: ''}\nexpect: {outcome: found}",
        &["the provider does not take url#"],
    );
    assert!(Case::parse("observable: 7", "case.yaml").unwrap_err().to_string().starts_with("case.yaml:1: "));
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
        for (path, case) in cases(&manifest) {
            let mut leaves = vec![];
            pointers(&case.answer.body, String::new(), &mut leaves);
            for leaf in leaves {
                for value in &strange {
                    let mut body = case.answer.body.clone();
                    *body.pointer_mut(&leaf).unwrap() = value.clone();
                    let answer = answer(case.answer.status, &body.to_string());
                    let outcome = interpret(&manifest, &case.observable, Ok(&answer), now());
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
        "shodan disabled",
        "spamhaus-dqs documented",
        "surbl terms",
        "uribl terms",
        "virustotal disabled",
        "webrisk documented",
        "yaraify documented",
    ];
    assert_eq!(off, expected);
}
