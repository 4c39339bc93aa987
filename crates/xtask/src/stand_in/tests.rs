//! The stand-in and the manifests understand each other: each canned answer becomes the outcome it stands for.

use std::fs;
use std::path::Path;

use ioc::{Hashes, ObservableType};
use playbook::lookup::{FirstStep, Request, first_step, interpret, prepare, prepare_at, prepare_poll};
use playbook::manifest::Manifest;
use playbook::outcome::{Judgement, Outcome, Status};
use playbook::ports::Secret;

use super::*;

const DUMMY_KEY: &str = "dummy-key";

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_500_000_000)
}

fn manifest(provider: Provider) -> Manifest {
    let file = format!("{}.yaml", provider.id());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../playbook/providers").join(&file);
    Manifest::parse(&fs::read_to_string(path).unwrap(), &file).unwrap()
}

fn sample(kind: ObservableType) -> Observable {
    let value = match kind {
        ObservableType::Ipv4Addr => "192.0.2.7",
        ObservableType::Ipv6Addr => "2001:db8::7",
        ObservableType::DomainName => "evil.example",
        ObservableType::Url => "http://evil.example/a b?c=d&e=%2f+ü#f",
        ObservableType::EmailAddr => "user@evil.example",
        ObservableType::File => {
            let hashes = Hashes { md5: Some("a".repeat(32)), sha1: Some("b".repeat(40)), sha256: Some("c".repeat(64)) };
            return Observable::file(hashes).unwrap();
        }
    };
    Observable::parse(kind, value).unwrap()
}

/// The outcome of a lookup, of both steps where it has two; `None` where nothing is answered.
fn ask(stand_in: &StandIn, manifest: &Manifest, observable: &Observable) -> Option<Outcome> {
    let answer = send(stand_in, &request(manifest, observable))?;
    if manifest.poll_for(observable).is_none() {
        return Some(interpret(manifest, observable, Ok(&answer), now()));
    }
    match first_step(manifest, observable, Ok(&answer), now()) {
        FirstStep::Done(outcome) => Some(*outcome),
        FirstStep::Task(task) => {
            let second = prepare_poll(manifest, observable, Some(&Secret::new(DUMMY_KEY)), &task).unwrap();
            Some(interpret(manifest, observable, Ok(&send(stand_in, &second)?), now()))
        }
    }
}

fn send(stand_in: &StandIn, request: &Request) -> Option<Answer> {
    let host = request.url.host_str().unwrap();
    match stand_in.answer(host, request.method.as_str(), request.path_and_query(), &request.headers, &request.body) {
        Reply::Answer(answer) => Some(answer),
        Reply::Hang => None,
    }
}

/// The request, at the host that a bootstrap file names where no manifest can.
fn request(manifest: &Manifest, observable: &Observable) -> Request {
    if manifest.hosts_from.is_some() {
        let base = format!("https://{}/", Provider::Rdap.host()).parse().unwrap();
        return prepare_at(manifest, observable, &base).unwrap();
    }
    prepare(manifest, observable, Some(&Secret::new(DUMMY_KEY))).unwrap()
}

fn with(canned: &str) -> StandIn {
    StandIn::new(Answers::parse(&format!("'*': {{ '*': {canned} }}")).unwrap(), now)
}

#[test]
fn every_canned_answer_becomes_the_outcome_it_stands_for() {
    let verdicts =
        [("malicious", Judgement::Malicious), ("suspicious", Judgement::Suspicious), ("benign", Judgement::Benign)];
    for provider in Provider::ALL {
        let manifest = manifest(provider);
        assert!(manifest.hosts_from.is_some() || manifest.host == provider.host());
        for kind in manifest.types.clone() {
            let observable = sample(kind);
            let get = |canned: &str| {
                let stand_in = with(canned);
                let outcome = ask(&stand_in, &manifest, &observable);
                // The second step is asked about what the first one found.
                let is_found = outcome.as_ref().is_some_and(|outcome| outcome.outcome == Status::Found);
                let steps = 1 + usize::from(is_found && manifest.poll_for(&observable).is_some());
                let call = Call { provider: manifest.id.clone(), observable: observable.value().to_owned() };
                assert_eq!(stand_in.calls(), vec![call; steps]);
                (outcome, stand_in.served_as())
            };
            for (word, verdict) in verdicts {
                let (outcome, served_as) = get(word);
                let outcome = outcome.unwrap();
                let canned: Canned = serde_json::from_value(json!(word)).unwrap();
                let got = (outcome.outcome, outcome.opinion.as_ref().map(|opinion| opinion.verdict));
                let at = format!("{} {kind} {word}: {outcome:?}", manifest.id);
                if provider.can_say(canned, kind) {
                    // Sources of context know it, and have no opinion.
                    let verdict = if manifest.opines { verdict } else { Judgement::Unknown };
                    assert_eq!(got, (Status::Found, Some(verdict)), "{at}");
                    assert_eq!(served_as, [], "{at}");
                    let seen = outcome.opinion.unwrap().last_seen.map_or(0, |seen| now().ms_since(seen));
                    assert!((0..3_600_000).contains(&seen), "{at}: evidence is dated now");
                } else {
                    assert_eq!(got, (Status::NotFound, None), "{at}");
                    assert_eq!(served_as.len(), 1, "{at}");
                    assert_eq!((served_as[0].asked, served_as[0].served), (canned, Canned::NotFound), "{at}");
                }
            }
            let check = |word: &str, expected: (Status, Option<&str>)| {
                let (outcome, served_as) = get(word);
                let outcome = outcome.unwrap();
                assert_eq!((outcome.outcome, outcome.reason.as_deref()), expected, "{} {kind} {word}", manifest.id);
                assert_eq!(served_as, []);
            };
            check("not_found", (Status::NotFound, None));
            check("error", (Status::Error, Some("http_500")));
            check("throttled", (Status::RateLimited, Some("http_429")));
            check("garbage", (Status::Error, Some("garbage")));
            assert_eq!(get("hang").0, None);
        }
    }
}

#[test]
fn without_a_key_the_provider_refuses() {
    for provider in Provider::ALL {
        let manifest = manifest(provider);
        let observable = sample(manifest.types[0]);
        let mut request = request(&manifest, &observable);
        request.headers.retain(|(name, _)| !matches!(provider.key(), Some(Key::Header(key)) if key == name.as_str()));
        let path = request.path_and_query().replace(DUMMY_KEY, "");
        let stand_in = with(if manifest.opines { "malicious" } else { "benign" });
        let method = request.method.as_str();
        let reply = stand_in.answer(provider.host(), method, &path, &request.headers, &request.body);
        let Reply::Answer(answer) = reply else { panic!("{} hangs", manifest.id) };
        let outcome = interpret(&manifest, &observable, Ok(&answer), now());
        let expected = if provider.key().is_some() { Some("auth") } else { None };
        assert_eq!(outcome.reason.as_deref(), expected, "{}", manifest.id);
    }
}

#[test]
fn strangers_and_wrong_paths_are_not_played() {
    let stand_in = with("malicious");
    let status = |host: &str, path: &str| {
        let key = [("auth-key".to_owned(), "k".to_owned())];
        match stand_in.answer(host, "POST", path, &key, b"url=http%3A%2F%2Fevil.example%2F") {
            Reply::Answer(answer) => answer.status,
            Reply::Hang => 0,
        }
    };
    assert_eq!(status("ti.example", "/v1/url/"), 404);
    assert_eq!(status("urlhaus-api.abuse.ch", "/v2/url/"), 404);
    assert_eq!(status("urlhaus-api.abuse.ch:443", "/v1/url/"), 200);
    assert_eq!(stand_in.calls().len(), 1);
}

#[test]
fn the_exact_observable_alone_is_answered() {
    let answers = Answers::parse("hxxp://evil[.]example/a: { urlhaus: malicious }").unwrap();
    let stand_in = StandIn::new(answers, now);
    let manifest = manifest(Provider::Urlhaus);
    let check = |kind, value: &str, expected| {
        let observable = Observable::parse(kind, value).unwrap();
        assert_eq!(ask(&stand_in, &manifest, &observable).unwrap().outcome, expected, "{value}");
    };
    check(ObservableType::Url, "http://evil.example/a", Status::Found);
    check(ObservableType::Url, "http://evil.example/b", Status::NotFound);
    check(ObservableType::DomainName, "evil.example", Status::NotFound);
}
