//! Collections of TAXII: watermark, pages, revocation.

use super::*;

const OBJECTS: &str = "/api/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116/objects/";
const MAPPING: &str = r#"indicators.{ "type": type, "value": value, "evidence": $$.object.name }"#;

async fn desk(becomes: &str) -> Desk {
    Desk::with(json!({ "format": "taxii", "path": OBJECTS, "becomes": becomes }), MAPPING).await
}

fn envelope(last: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/taxii+json;version=2.1"), ("x-taxii-date-added-last", last)];
    answer(200, &headers, &body.to_string())
}

fn indicator(id: u32, pattern: &str) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--{id}"), "name": format!("n{id}"),
        "pattern_type": "stix", "pattern": pattern, "valid_from": "2026-11-01T00:00:00Z"
    })
}

fn queries(desk: &Desk) -> Vec<String> {
    desk.site.asked.borrow().iter().map(|request| request.url.query().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_collection_is_read_on_from_its_watermark() {
    let desk = desk("incidents").await;
    let first = json!({ "more": false, "objects": [
        indicator(1, "[domain-name:value = 'a.example' OR ipv4-addr:value = '192.0.2.1']"),
        indicator(2, "[network-traffic:dst_port = 80]"),
        { "type": "malware", "id": "malware--1" },
    ]});
    desk.says(envelope("2026-11-24T04:00:00.000001Z", &first));
    assert_eq!(desk.tick().await, Output { fetched: 1, incidents: 1, ..Output::default() });
    let (_, alert) = desk.incidents().await.remove(0);
    let named: Vec<_> = alert.observables.iter().map(|n| (n.value.as_str(), n.role.as_deref())).collect();
    assert_eq!(named, [("a.example", Some("n1")), ("192.0.2.1", Some("n1"))]);
    assert_eq!(desk.state().await.left_out, 2);

    desk.clock.advance_minutes(60);
    desk.says(answer(200, &[("content-type", "application/taxii+json;version=2.1")], "{}"));
    assert_eq!(desk.tick().await, Output { fetched: 1, ..Output::default() }, "an empty envelope says nothing new");
    assert_eq!(desk.state().await.watermark.as_deref(), Some("2026-11-24T04:00:00.000001Z"));
    assert_eq!(queries(&desk), ["limit=1000", "limit=1000&added_after=2026-11-24T04%3A00%3A00.000001Z"]);
    let accept = ("accept".to_owned(), "application/taxii+json;version=2.1".to_owned());
    assert_eq!(desk.site.asked.borrow()[0].headers, [accept]);
}

#[tokio::test]
async fn pages_are_bounded_and_the_next_tick_goes_on() {
    let desk = desk("list").await;
    let page = |n: usize| {
        let pattern = format!("[domain-name:value = 'h{n}.example']");
        let objects = [indicator(u32::try_from(n).unwrap(), &pattern)];
        envelope("2026-11-24T04:00:00Z", &json!({ "more": n < 60, "next": format!("p{n}"), "objects": objects }))
    };
    *desk.site.answers.borrow_mut() = (1..=60).map(|n| Ok(page(n))).collect();
    desk.tick().await;
    let state = desk.state().await;
    assert_eq!((state.entries, state.next.as_deref(), state.watermark), (PAGES_MAX, Some("p50"), None));
    assert_eq!(state.fetched_at, None, "half a collection is no list yet");
    desk.tick().await;
    let state = desk.state().await;
    assert_eq!((state.entries, state.next, state.watermark.as_deref()), (60, None, Some("2026-11-24T04:00:00Z")));
    assert_eq!(queries(&desk)[50], "limit=1000&next=p50");

    desk.clock.advance_minutes(60);
    let forgotten = Desk {
        rows: desk.rows,
        clock: desk.clock,
        evidence: desk.evidence,
        digest: desk.digest,
        ..self::desk("list").await
    };
    let state = FeedState { next: Some("p50".to_owned()), next_at: None, ..forgotten.state().await };
    let row = Write::put(FeedState::key("news"), &state).unwrap();
    assert_eq!(forgotten.rows.commit(&[row]).await.unwrap(), Commit::Done);
    *forgotten.site.answers.borrow_mut() = vec![Ok(answer(400, &[], "")), Ok(page(61))];
    assert_eq!(forgotten.tick().await.fetched, 1, "a token that the server forgot");
    assert_eq!(queries(&forgotten)[1], "limit=1000&added_after=2026-11-24T04%3A00%3A00Z");
    assert_eq!(forgotten.state().await.entries, 61);
}

#[tokio::test]
async fn what_is_revoked_or_over_leaves_the_list() {
    let desk = desk("list").await;
    let mut short = indicator(3, "[domain-name:value = 'c.example']");
    short["valid_until"] = "2026-11-24T05:30:00Z".into();
    let mut over = indicator(4, "[domain-name:value = 'd.example']");
    over["valid_until"] = "2026-11-24T04:30:00Z".into();
    let objects = json!({ "objects": [
        indicator(1, "[domain-name:value = 'a.example']"), indicator(2, "[domain-name:value = 'b.example']"), short, over,
        { "type": "file", "id": "file--1", "hashes": { "SHA-256": "aa".repeat(32), "MD5": "bb".repeat(16) } },
    ]});
    desk.says(envelope("2026-11-24T04:00:00Z", &objects));
    desk.tick().await;
    let files = format!("file#md5:{} file#sha256:{}", "bb".repeat(16), "aa".repeat(32));
    assert_eq!(desk.keys().await, format!("domain-name#a.example domain-name#b.example domain-name#c.example {files}"));

    desk.clock.advance_minutes(60);
    let mut revoked = indicator(1, "[domain-name:value = 'a.example']");
    revoked["revoked"] = true.into();
    let changed = indicator(2, "[domain-name:value = 'b2.example']");
    desk.says(envelope("2026-11-24T04:01:00Z", &json!({ "objects": [revoked, changed] })));
    desk.tick().await;
    assert_eq!(desk.keys().await, format!("domain-name#b2.example {files}"));
}

#[tokio::test]
async fn what_is_no_envelope_is_a_failure() {
    let check = async |answer: Answer, failure: &str| {
        let desk = desk("incidents").await;
        desk.says(answer);
        assert_eq!(desk.tick().await.failed, 1, "{failure}");
        let state = desk.state().await;
        assert_eq!((state.failure.as_deref(), state.watermark), (Some(failure), None));
    };
    check(text("{}"), "the answer is not of TAXII 2.1").await;
    check(envelope("x", &json!([])), "the answer is no envelope of TAXII").await;
    check(envelope("x", &json!({ "objects": 7 })), "the answer is no envelope of TAXII").await;
    check(envelope("x", &json!({ "more": true })), "the server has more and does not say where").await;
    check(
        envelope("x", &json!({ "more": true, "next": "n".repeat(2_000) })),
        "the server's word for the next page is too long",
    )
    .await;
    check(answer(406, &[], ""), "the feed answered http 406").await;
}
