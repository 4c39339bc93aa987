//! A million observables and texts, each in every place of a request: none leaves its place.

use std::thread;

use ioc::ObservableType;

use super::*;
use crate::lookup::{is_name, questions};

const TEXTS: usize = 1_000_000;
const WORKERS: usize = 2;
const HOST: &str = "api.sample.example";

const HTTP: &str = r#"
schema: provider/1
id: sample
name: Sample
kind: http
verified: live
types: [url, email-addr, domain-name, file]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
host: api.sample.example
requests:
  - types: [url]
    method: POST
    path: /v1/{value}/x-{value}
  - types: [email-addr]
    method: POST
    path: /v1/query
    query: { q: "{value}" }
  - types: [domain-name]
    method: POST
    path: /v1/form
    form: { ask: "{value}", more: "x" }
  - types: [file]
    hashes: [md5]
    method: POST
    path: /v1/json
    json: { ask: ["{value}", { deep: "<{value}>" }] }
outcome:
  - status: [200]
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;

const DNS: &str = r#"
schema: provider/1
id: names
name: Names
kind: dns
verified: live
types: [ipv4-addr, domain-name]
family: names
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
resolver: system
requests:
  - types: [domain-name]
    questions: [{ name: "{value}.list.example", records: [A] }]
  - types: [ipv4-addr]
    questions: [{ name: "{reversed}.list.example", records: [A] }]
outcome:
  - status: [200]
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;

/// What steers parsers, and what looks like it.
const PIECES: [&str; 56] = [
    "/",
    "\\",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "?",
    "#",
    "@",
    ":",
    "&",
    "=",
    ";",
    "+",
    " ",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\t",
    "%00",
    "%0d%0a",
    "%",
    "//",
    "/../",
    "/./",
    "http://",
    "https:",
    "[::1]",
    "127.0.0.1",
    "evil.example",
    "localhost",
    "{value}",
    "{secret}",
    "{",
    "}",
    "\"",
    "'",
    "<",
    ">",
    "|",
    "^",
    "`",
    "~",
    "$",
    "é",
    "．",
    "／",
    "。",
    "＠",
    "\u{202e}",
    "\u{200b}",
    "a",
    "Z9-_",
];

/// xorshift64*: the same texts every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % most
    }

    fn text(&mut self) -> String {
        (0..=self.below(6)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}

/// What became of the texts.
#[derive(Default)]
struct Count {
    sent: usize,
    refused: usize,
    names: usize,
}

struct Bench {
    http: Manifest,
    dns: Manifest,
    base: Url,
    key: Secret,
}

impl Bench {
    fn new() -> Self {
        let (http, dns) = (Manifest::parse(HTTP, "sample.yaml").unwrap(), Manifest::parse(DNS, "names.yaml").unwrap());
        Self { base: own(&http).unwrap(), http, dns, key: Secret::new("s3cr3t") }
    }

    /// One text in one place: path, query, form, JSON, or the labels of a name.
    fn check(&self, count: &mut Count, number: usize, text: &str) {
        // Dear places less often.
        let place = match number % 20 {
            0..=4 => 0,
            5..=7 => 1,
            8..=10 => 2,
            11 => 3,
            _ => 4,
        };
        let Some(template) = self.http.requests.get(place) else { return self.check_name(count, number, text) };
        let request =
            Filler::of(&self.http, text, Some(&self.key)).and_then(|filler| filler.request(&self.base, template));
        let Ok(request) = request else {
            let is_dots = place == 0 && matches!(text, "." | "..");
            assert!(is_dots || text.chars().any(char::is_control), "refused {text:?}");
            count.refused += 1;
            return;
        };
        count.sent += 1;
        assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
        let url = &request.url;
        assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some(HOST), None), "{text:?}");
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{text:?}");
        assert_eq!(url.path().matches('/').count(), if place == 0 { 3 } else { 2 }, "{text:?}");
        match place {
            0 => assert!(url.query().is_none() && !url.as_str().contains(['\r', '\n']), "{text:?}"),
            1 => assert!(url.query().is_some_and(|query| !query.contains(['&', ';', '#'])), "{text:?}"),
            2 => {
                let body = std::str::from_utf8(&request.body).unwrap();
                assert_eq!((body.matches('&').count(), body.matches('=').count()), (1, 2), "{text:?}");
            }
            _ => {
                let quoted = |text: &str| serde_json::to_string(text).unwrap();
                let expected = format!(r#"{{"ask":[{},{{"deep":{}}}]}}"#, quoted(text), quoted(&format!("<{text}>")));
                assert_eq!(request.body, expected.as_bytes(), "{text:?}");
                if number.is_multiple_of(16) {
                    let body: Value = serde_json::from_slice(&request.body).unwrap();
                    assert_eq!(body, serde_json::json!({ "ask": [text, { "deep": format!("<{text}>") }] }));
                }
            }
        }
        // What is sent reads back as what was made; dear, so not for each.
        if number.is_multiple_of(16) {
            assert_eq!(&Url::parse(url.as_str()).unwrap(), url);
        }
    }

    /// As far as it is a name at all.
    fn check_name(&self, count: &mut Count, number: usize, text: &str) {
        let address = || format!("1.{}.3.{}", number / 4 % 256, number / 1_024 % 256);
        let name = Observable::parse(ObservableType::DomainName, &format!("{text}.evil.example"));
        let (observable, labels) = if let Ok(name) = name {
            count.names += 1;
            let labels = name.value().split('.').count();
            (name, labels)
        } else if !number.is_multiple_of(4) {
            count.refused += 1;
            return;
        } else {
            (Observable::parse(ObservableType::Ipv4Addr, &address()).unwrap(), 4)
        };
        let asked = questions(&self.dns, &observable, None);
        match asked {
            Ok(asked) => {
                count.sent += 1;
                let asked = &asked[0].asked.name;
                assert!(is_name(asked) && asked.ends_with(".list.example"), "{asked}");
                assert_eq!(asked.split('.').count(), labels + 2, "{asked}");
            }
            Err(refusal) => {
                count.refused += 1;
                assert_eq!(refusal, Refusal::Unencodable, "{text:?}");
            }
        }
    }
}

#[test]
fn a_million_texts_stay_in_their_places() {
    let started = std::time::Instant::now();
    let work = |worker: usize| {
        let (bench, mut count) = (Bench::new(), Count::default());
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (worker as u64 + 1));
        for number in 0..TEXTS / WORKERS {
            bench.check(&mut count, number, &random.text());
        }
        count
    };
    let counts: Vec<Count> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |part: fn(&Count) -> usize| counts.iter().map(part).sum::<usize>();
    let (sent, refused, names) = (sum(|count| count.sent), sum(|count| count.refused), sum(|count| count.names));
    println!("{TEXTS} texts: {sent} sent, {refused} refused, {names} names; {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(sent + refused, TEXTS);
    assert!(sent > TEXTS / 4 && refused > TEXTS / 20 && names > 1_000);
}

#[test]
fn dots_and_line_ends_are_refused_before_there_is_a_url() {
    let manifest = Manifest::parse(HTTP, "sample.yaml").unwrap();
    let key = Secret::new("s3cr3t");
    for text in ["\r", "\n", "\0", "a\r\nHost: evil.example", "\u{85}", "\t", "\u{7f}", ""] {
        assert!(Filler::of(&manifest, text, Some(&key)).is_err(), "{text:?}");
    }
    for text in [".", ".."] {
        let filler = Filler::of(&manifest, text, Some(&key)).unwrap();
        let template = manifest.requests.first().unwrap();
        assert_eq!(filler.request(&own(&manifest).unwrap(), template), Err(Refusal::Unencodable), "{text:?}");
    }
}
