//! Feeds against a site that answers what a test wants and remembers what it was asked.

use std::cell::{Cell, RefCell};

use playbook::{
    Timestamp, canonical,
    fakes::{MemoryEvidence, MemoryQueue, MemoryRows, MemorySecrets, StoppedClock},
    incident::Intake,
    intake::{Alert, FeedState, ListLine},
    lookup::{Answer, CallError, Request},
    manifest::Tlp,
    policy::Policy,
    ports::{Destination, DnsAnswer, DnsQuestion, Nameserver},
    rows::{Commit, Key, Row, Write},
};
use serde_json::{Value, json};

use super::*;

const ACCOUNT: &str = "000000000000";

/// The feed's site: gives the answers one after the other, the last one for ever.
#[derive(Default)]
struct Site {
    answers: RefCell<Vec<Result<Answer, CallError>>>,
    asked: RefCell<Vec<Request>>,
}

impl Egress for Site {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        assert_eq!(request.url.host_str(), Some(to.host));
        self.asked.borrow_mut().push(request.clone());
        // A network is where others get their turn.
        tokio::task::yield_now().await;
        let mut answers = self.answers.borrow_mut();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Refused("a feed asks no name server".to_owned()))
    }
}

/// Rows that break after so many commits.
struct Breaking<'a>(&'a MemoryRows, Cell<usize>);

impl Rows for Breaking<'_> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.0.get(key).await
    }
    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.0.list(pk, sk_prefix).await
    }
    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.due(kind, until, limit).await
    }
    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.by_observable(observable, limit).await
    }
    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        match self.1.get() {
            0 => Err(Fault::Unavailable("the sandbox is gone".to_owned())),
            left => {
                self.1.set(left - 1);
                self.0.commit(writes).await
            }
        }
    }
}

struct Desk {
    rows: MemoryRows,
    evidence: MemoryEvidence,
    secrets: MemorySecrets,
    queue: MemoryQueue,
    clock: StoppedClock,
    site: Site,
    digest: String,
}

const LINES: &str = r#"{ "type": "domain-name", "value": line, "verdict": "malicious", "score": 90 }"#;

impl Desk {
    /// A desk with one feed, `news`, polled hourly.
    async fn with(feed: Value, mapping: &str) -> Self {
        let desk = Self {
            rows: MemoryRows::default(),
            evidence: MemoryEvidence::default(),
            secrets: MemorySecrets::default(),
            queue: MemoryQueue::default(),
            clock: StoppedClock::at(Timestamp::parse("2026-11-24T05:00:00Z").unwrap()),
            site: Site::default(),
            digest: String::new(),
        };
        desk.published(feed, mapping).await
    }

    async fn published(mut self, feed: Value, mapping: &str) -> Self {
        let mut manifest = json!({
            "schema": "intake-source/1", "id": "news", "name": "News", "mapping": mapping,
            "feed": { "host": "feeds.example", "path": "/list", "every_minutes": 60, "tlp": "CLEAR", "format": "text", "becomes": "list" }
        });
        for (name, value) in feed.as_object().unwrap() {
            manifest["feed"][name] = value.clone();
        }
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.clear();
        let bundle = Bundle::new(policy, vec![], vec![]).with_intake(vec![serde_json::from_value(manifest).unwrap()]);
        let bytes = canonical::to_json(&bundle).unwrap();
        self.digest = bundle.digest().unwrap();
        self.evidence.replace(&Bundle::location(&self.digest), "application/json", &bytes, None).await.unwrap();
        self
    }

    fn says(&self, answer: Answer) {
        *self.site.answers.borrow_mut() = vec![Ok(answer)];
    }

    async fn tick_on(&self, rows: &impl Rows) -> Result<Output, Fault> {
        let Self { evidence, secrets, queue, clock, site, .. } = self;
        let world = World { rows, evidence, secrets, queue, clock, egress: site };
        run(&world, (&self.digest, ACCOUNT), Duration::from_mins(5), Input::default()).await
    }

    async fn tick(&self) -> Output {
        self.tick_on(&self.rows).await.unwrap()
    }

    async fn state(&self) -> FeedState {
        self.rows.get(&FeedState::key("news")).await.unwrap().unwrap().read().unwrap()
    }

    async fn list(&self) -> Vec<ListLine> {
        let bytes = self.evidence.fetch(&self.state().await.list.unwrap()).await.unwrap();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn keys(&self) -> String {
        self.list().await.into_iter().map(|line| line.key).collect::<Vec<_>>().join(" ")
    }

    async fn incidents(&self) -> Vec<(Intake, Alert)> {
        let mut incidents = vec![];
        let messages = self.queue.messages.borrow().clone();
        for body in messages {
            let intake: Intake = serde_json::from_str(&body).unwrap();
            let bytes = self.evidence.fetch(intake.evidence.as_ref().unwrap()).await.unwrap();
            incidents.push((intake, serde_json::from_slice(&bytes).unwrap()));
        }
        incidents
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer { status, headers, body: body.as_bytes().to_vec() }
}

fn text(body: &str) -> Answer {
    answer(200, &[("etag", "\"1\""), ("last-modified", "Tue, 24 Nov 2026 04:00:00 GMT")], body)
}

#[tokio::test]
async fn a_list_is_compiled_sorted_and_without_duplicates() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(text("# comment\r\n\r\nB.example\r\na.example ; why\r\nb.example\r\nnot a name\r\n"));
    assert_eq!(desk.tick().await, Output { fetched: 1, ..Output::default() });
    assert_eq!(desk.keys().await, "domain-name#a.example domain-name#b.example");
    let said = json!({ "type": "domain-name", "value": "a.example", "verdict": "malicious", "score": 90 });
    assert_eq!(desk.list().await[0].entry, said);
    let state = desk.state().await;
    assert_eq!((state.entries, state.left_out, state.failures, state.failure), (2, 1, 0, None));
    assert_eq!(state.list.as_ref().unwrap().key, format!("providers/news/{}", state.list.as_ref().unwrap().sha256));
    assert_eq!(state.fetched_at, Some(desk.clock.now()));
    assert_eq!(state.next_at, Some(desk.clock.now().plus_minutes(60)));
    assert_eq!(desk.queue.messages.borrow().len(), 0);
}

#[tokio::test]
async fn what_is_unchanged_only_grows_younger() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(text("a.example"));
    desk.tick().await;
    let before = desk.state().await;
    desk.clock.advance_minutes(59);
    assert_eq!(desk.tick().await, Output::default(), "its time has not come");
    desk.clock.advance_minutes(1);
    desk.says(answer(304, &[], ""));
    assert_eq!(desk.tick().await, Output { unchanged: 1, ..Output::default() });
    let asked = desk.site.asked.borrow().clone();
    assert_eq!(asked[0].headers, []);
    let conditional = [("if-none-match", "\"1\""), ("if-modified-since", "Tue, 24 Nov 2026 04:00:00 GMT")];
    assert_eq!(asked[1].headers, conditional.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (fetched_at, next_at) = (Some(desk.clock.now()), Some(desk.clock.now().plus_minutes(60)));
    let after = desk.state().await;
    assert_eq!(after, FeedState { fetched_at, next_at, revision: after.revision, ..before });
}

#[tokio::test]
async fn a_new_mapping_reads_the_whole_feed_again() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(text("a.example"));
    desk.tick().await;
    desk.clock.advance_minutes(60);
    let desk = desk.published(json!({}), r#"{ "type": "domain-name", "value": line, "tags": ["new"] }"#).await;
    desk.tick().await;
    assert_eq!(desk.site.asked.borrow()[1].headers, [], "304 would keep what the old mapping said");
    assert_eq!(desk.list().await[0].entry["tags"], json!(["new"]));
}

#[tokio::test]
async fn a_failing_feed_keeps_its_list_and_its_age() {
    let html = "<!doctype html><html><body>Sign in</body></html>";
    let many = "a.example\n".repeat(BODY_MAX_BYTES / 10 + 1);
    let cases: [(Result<Answer, CallError>, &str, i64); 11] = [
        (Err(CallError::Timeout), "timed out", 300),
        (Err(CallError::Unreachable("no connection".to_owned())), "unreachable: no connection", 300),
        (Ok(text(&many)), "answer is too large", 300),
        (Ok(answer(429, &[("retry-after", "7200")], "")), "the feed answered http 429", 7200),
        (Ok(answer(429, &[("retry-after", "99999999999")], "")), "the feed answered http 429", 86_400),
        (Ok(answer(503, &[], "")), "the feed answered http 503", 300),
        (Ok(answer(403, &[], "")), "the feed refuses our secret (http 403)", 300),
        (Ok(answer(302, &[("location", "https://evil.example/")], "")), "the feed answered http 302", 300),
        (Ok(text(html)), "the answer is a web page, not the feed", 300),
        (Ok(answer(200, &[("content-type", "text/html")], "a.example")), "the answer is a web page, not the feed", 300),
        (Ok(text("Service unavailable\nplease come back later")), "none of 2 entries is an indicator", 300),
    ];
    for (said, failure, seconds) in cases {
        let desk = Desk::with(json!({}), LINES).await;
        desk.says(text("a.example"));
        desk.tick().await;
        let before = desk.state().await;
        desk.clock.advance_minutes(60);
        *desk.site.answers.borrow_mut() = vec![said];
        assert_eq!(desk.tick().await, Output { failed: 1, ..Output::default() }, "{failure}");
        let next_at = Some(desk.clock.now().plus_ms(seconds * 1000));
        let after = desk.state().await;
        let expected =
            FeedState { next_at, failure: Some(failure.to_owned()), failures: 1, revision: after.revision, ..before };
        assert_eq!(after, expected);
        desk.says(text("b.example"));
        desk.clock.advance_minutes(1_500);
        desk.tick().await;
        assert_eq!((desk.state().await.failures, desk.state().await.failure), (0, None), "{failure}");
    }
}

#[tokio::test]
async fn a_feed_that_goes_on_failing_is_asked_less_often() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(answer(500, &[], ""));
    let mut pauses = vec![];
    for _ in 0..70 {
        assert_eq!(desk.tick().await.failed, 1);
        let minutes = desk.state().await.next_at.unwrap().ms_since(desk.clock.now()) / 60_000;
        desk.clock.advance_minutes(minutes);
        pauses.push(minutes);
    }
    assert_eq!(pauses[..6], [5, 10, 20, 40, 60, 60]);
    assert_eq!((pauses[69], desk.state().await.failures), (60, 70));
}

#[tokio::test]
async fn an_empty_list_is_a_list() {
    let mapping = r#"$type(body) = "array" ? [body.{ "type": "ipv4-addr", "value": ip }] : null"#;
    let desk = Desk::with(json!({ "format": "json" }), mapping).await;
    desk.says(text(r#"[{ "ip": "192.0.2.1" }, { "ip": "nonsense" }]"#));
    desk.tick().await;
    assert_eq!(desk.keys().await, "ipv4-addr#192.0.2.1");
    for (body, failure, entries) in [
        (r#"{ "error": "maintenance" }"#, Some("the document has not the shape that the mapping expects"), 1),
        ("[{", Some("the document is not json"), 1),
        (r#"[{ "ip": 7 }]"#, Some("none of 1 entries is an indicator"), 1),
        ("[]", None, 0),
    ] {
        desk.clock.advance_minutes(60);
        desk.says(text(body));
        desk.tick().await;
        let state = desk.state().await;
        assert_eq!((state.failure.as_deref(), state.entries), (failure, entries), "{body}");
    }
    assert_eq!(desk.list().await, []);
}

#[tokio::test]
async fn csv_is_read_as_it_is_written_in_the_wild() {
    let mapping =
        r#"row.status = "online" ? { "type": "url", "value": row.url, "tags": $split(row.tags, ",") } : null"#;
    let rows = "\"http://a.example/?a=1,2\",\"online\",\"elf,mips\"\r\n\"http://b.example/\"\"\",online,\"x\r\ny\"\r\n\
                http://c.example/,offline,\r\nhttp://d.example/,online\r\n";
    let expected = "url#http://a.example/?a=1,2 url#http://b.example/%22";
    let check = async |body: String, expected: Result<(&str, usize), &str>| {
        let desk = Desk::with(json!({ "format": "csv" }), mapping).await;
        desk.says(text(&body));
        desk.tick().await;
        match expected {
            Ok((keys, left_out)) => {
                assert_eq!(desk.state().await.failure, None, "{body}");
                assert_eq!((desk.keys().await.as_str(), desk.state().await.left_out), (keys, left_out), "{body}");
            }
            Err(failure) => assert_eq!(desk.state().await.failure.as_deref(), Some(failure), "{body}"),
        }
    };
    check(format!("\u{feff}url,status,tags\r\n{rows}"), Ok((expected, 2))).await;
    check(format!("# Feed of hosts, daily\r\n#\r\n# url,status,tags\r\n{rows}"), Ok((expected, 2))).await;
    check("# url,status,tags\r\n".to_owned(), Ok(("", 0))).await;
    check("url,status,tags\n".to_owned(), Ok(("", 0))).await;
    check("url,status,tags\nhttp://c.example/,offline,\n".to_owned(), Ok(("", 1))).await;
    check("url,status,tags\na,online,b\n".to_owned(), Err("none of 1 entries is an indicator")).await;
    check(String::new(), Err("the csv has no header")).await;
    check("Service unavailable\n".to_owned(), Err("the csv's first line names no columns")).await;
    check("url,url,tags\n".to_owned(), Err("the csv's first line names no columns")).await;
    let open = format!("url,status,tags\n{rows}\"http://e.example/,online,x\nhttp://f.example/,online,y\n");
    check(open, Err("a quote of the csv is not closed")).await;
    let open = format!("url,status,tags\n\"{}", "http://e.example/,online,x\n".repeat(1_000));
    check(open, Err("a field of the csv is too long: a quote is not closed")).await;
}

#[tokio::test]
async fn hostile_lines_are_counted_and_kept_out() {
    let desk = Desk::with(json!({}), LINES).await;
    let long = "a".repeat(10_000);
    let mut body = b"\xef\xbb\xbfa.example\n\xff\xfe.example\nb.example\x00\n\x1b[31mc.example\n".to_vec();
    body.extend_from_slice(format!("{long}.example\n{{secret}}\n\u{202e}d.example\n'; DROP TABLE x\n").as_bytes());
    desk.says(Answer { status: 200, headers: vec![("etag".to_owned(), "e".repeat(10_000))], body });
    desk.tick().await;
    assert_eq!(desk.keys().await, "domain-name#a.example");
    assert_eq!((desk.state().await.left_out, desk.state().await.etag), (7, None));

    let desk = Desk::with(json!({}), r#"{ "type": "domain-name", "value": line, "evidence": line & line }"#).await;
    let wide = format!("{}.example", ["a"; 120].join("."));
    desk.says(text(&format!("a.example\n{wide}")));
    desk.tick().await;
    assert_eq!(desk.state().await.left_out, 0, "{:?}", desk.state().await);

    let desk = Desk::with(json!({ "entries_max": 2 }), LINES).await;
    desk.says(text("a.example\nb.example\nc.example"));
    desk.tick().await;
    assert_eq!(desk.state().await.failure.as_deref(), Some("more than 2 entries"), "half a list is no list");
    assert_eq!(desk.state().await.list, None);
}

#[tokio::test]
async fn of_two_ticks_at_once_one_fetches() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(text("a.example"));
    let (one, other) = tokio::join!(desk.tick(), desk.tick());
    assert_eq!((one.fetched + other.fetched, desk.site.asked.borrow().len()), (1, 1));
}

#[tokio::test]
async fn the_first_fetch_is_the_baseline_and_what_comes_later_is_one_incident() {
    let desk = Desk::with(json!({ "becomes": "incidents" }), LINES).await;
    desk.says(text("a.example\nb.example"));
    assert_eq!(desk.tick().await, Output { fetched: 1, ..Output::default() });
    assert_eq!(desk.state().await.baseline_at, Some(desk.clock.now()));
    desk.clock.advance_minutes(60);
    desk.says(text("d.example\nb.example\nc.example"));
    assert_eq!(desk.tick().await, Output { fetched: 1, incidents: 1, ..Output::default() });
    let incidents = desk.incidents().await;
    let (intake, alert) = &incidents[0];
    assert_eq!((intake.source.as_str(), &intake.native_id), ("news", &alert.native_id));
    assert!(intake.native_id.starts_with("news/") && intake.native_id.len() == "news/".len() + 64);
    let named: Vec<&str> = alert.observables.iter().map(|named| named.value.as_str()).collect();
    assert_eq!((named, alert.title.as_str()), (vec!["c.example", "d.example"], "News: 2 new indicators"));
    assert_eq!(alert.tlp, Tlp::Clear, "as the feed is marked");
    desk.clock.advance_minutes(60);
    assert_eq!(desk.tick().await.incidents, 0, "nothing is new any more");
}

#[tokio::test]
async fn much_news_is_several_incidents() {
    let desk = Desk::with(json!({ "becomes": "incidents" }), LINES).await;
    desk.says(text(""));
    desk.tick().await;
    desk.clock.advance_minutes(60);
    let lines: Vec<String> = (0..=OBSERVABLES_MAX).map(|n| format!("h{n}.feed.example")).collect();
    desk.says(text(&lines.join("\n")));
    assert_eq!(desk.tick().await.incidents, 2);
    let sizes: Vec<usize> = desk.incidents().await.iter().map(|(_, alert)| alert.observables.len()).collect();
    assert_eq!(sizes, [OBSERVABLES_MAX, 1]);
}

#[tokio::test]
async fn killed_between_telling_and_noting_it_tells_the_same_again() {
    let desk = Desk::with(json!({ "becomes": "incidents" }), LINES).await;
    desk.says(text("a.example"));
    desk.tick().await;
    desk.clock.advance_minutes(60);
    desk.says(text("a.example\nb.example"));
    // The claim is written, the state is not.
    let killed = desk.tick_on(&Breaking(&desk.rows, Cell::new(1))).await;
    assert!(matches!(killed, Err(Fault::Unavailable(_))), "{killed:?}");
    assert_eq!(desk.tick().await, Output::default(), "the claim still stands");
    desk.clock.advance_minutes(16);
    assert_eq!(desk.tick().await.incidents, 1);
    let incidents = desk.incidents().await;
    assert_eq!(incidents.len(), 2);
    let told = |n: usize| (incidents[n].0.native_id.clone(), incidents[n].0.evidence.clone(), incidents[n].1.clone());
    assert_eq!(told(0), told(1), "admit knows it again, and its evidence is the same");
}

#[tokio::test]
async fn a_secret_goes_into_headers_and_a_missing_one_is_said() {
    let feed = json!({ "secret": "news", "headers": { "Auth-Key": "{secret}" } });
    let mut desk = Desk::with(feed, LINES).await;
    desk.says(text("a.example"));
    desk.tick().await;
    assert_eq!(desk.state().await.failure.as_deref(), Some("its secret is not set"));
    assert_eq!(desk.site.asked.borrow().len(), 0);
    desk.secrets.0.insert("news".to_owned(), "k3y".to_owned());
    desk.clock.advance_minutes(60);
    desk.tick().await;
    assert_eq!(desk.site.asked.borrow()[0].headers, [("auth-key".to_owned(), "k3y".to_owned())]);
}

#[tokio::test]
async fn a_person_may_ask_before_the_time_and_feeds_that_are_off_are_not_asked() {
    let desk = Desk::with(json!({}), LINES).await;
    desk.says(text("a.example"));
    desk.tick().await;
    let Desk { rows, evidence, secrets, queue, clock, site, digest, .. } = &desk;
    let world = World { rows, evidence, secrets, queue, clock, egress: site };
    let ask = async |feed: &str| {
        let input = Input { feed: Some(feed.to_owned()) };
        run(&world, (digest, ACCOUNT), Duration::from_mins(5), input).await.unwrap()
    };
    assert_eq!(ask("news").await.fetched, 1);
    assert_eq!(ask("other").await, Output::default());
    let late = run(&world, (digest, ACCOUNT), RESERVE, Input::default()).await.unwrap();
    assert_eq!(late, Output { waiting: 1, ..Output::default() });
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_one_list() {
    let desk = Desk::with(json!({}), LINES).await;
    let lines: Vec<String> = (0..100_000).map(|n| format!("h{n}.feed.example")).collect();
    desk.says(text(&lines.join("\n")));
    assert_eq!(desk.tick().await.fetched, 1);
    assert_eq!((desk.state().await.entries, desk.site.asked.borrow().len()), (100_000, 1));
}

mod collection;
mod shipped;
