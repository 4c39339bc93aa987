//! Every page behind the link: the question, the form filled in wrongly, the receipt and the messages.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Request, Response, StatusCode};
use playbook::{
    IncidentId, Timestamp,
    brief::sample,
    decision::{self, Choice, Decision, Link, LinkSecret, Round, Vote},
    fakes::MemoryRows,
    incident::{Incident, Run},
    ledger::LedgerEntry,
    ports::Evidence,
    rows::{Commit, Rows, Write},
    ticket::Ticket,
};
use scraper::{Html, Selector};
use serde_json::json;

use super::{
    check_dead, payloads,
    places::{Scene, Scenes},
    readers::{self, Read},
};
use crate::world::World;

const ORIGIN: &str = "https://review.corp.example";

/// A browser on the link of the first approver.
struct Browser<'w> {
    world: &'w World,
    link: LinkSecret,
    cookie: String,
    agent: String,
}

impl Browser<'_> {
    async fn send(&mut self, method: Method, end: &str, fields: &[(String, String)]) -> (StatusCode, String) {
        let path = format!("/r/{}{end}", self.link.reveal());
        let mut request = Request::builder().method(method).uri(path).header("cookie", &self.cookie);
        if http::HeaderValue::from_str(&self.agent).is_ok() {
            request = request.header("user-agent", &self.agent);
        }
        if !fields.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
            request = request.header("sec-fetch-site", "same-origin").header("origin", ORIGIN);
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let response: Response<Vec<u8>> = self.world.review(request.body(body.into_bytes()).unwrap()).await;
        if let Some(cookie) = response.headers().get("set-cookie") {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        (response.status(), String::from_utf8(response.into_body()).unwrap())
    }

    async fn open(&mut self) -> (StatusCode, String) {
        self.send(Method::GET, "", &[]).await
    }
}

/// What the page's form sends by itself, with these fields filled in.
fn filled(page: &str, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let document = Html::parse_document(page);
    let selector = Selector::parse("input[type=hidden]").unwrap();
    let hidden = document.select(&selector).map(|input| {
        let of = |name: &str| input.attr(name).unwrap_or_default().to_owned();
        (of("name"), of("value"))
    });
    let unique: BTreeSet<(String, String)> = hidden.collect();
    let typed = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    unique.into_iter().chain(typed).collect()
}

fn now() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

/// Puts everything onto the record as the stages leave it, with a question that waits.
async fn put(world: &World, scene: &Scene, payload: &str, link: &LinkSecret) {
    let Scene { incident, assessment, round, decision, around } = scene;
    let id = &assessment.incident_id;
    let bytes = serde_json::to_vec(assessment).unwrap();
    let sha256 = playbook::canonical::sha256_hex(&bytes);
    let key = format!("incidents/{sha256}");
    let document = world.evidence.store(&key, "application/json", &bytes).await.unwrap();
    let asked: Vec<String> = [sample::APPROVER.to_owned()].into_iter().chain(round.asked.clone()).collect();
    let round = Round { round: 1, asked, state: "open".to_owned(), deadline: now().plus_minutes(60), ..round.clone() };
    let refused: Vec<_> = assessment
        .plan
        .entries
        .iter()
        .map(|entry| json!({"observable": entry.observable.key(), "target": entry.target, "reason": payload}))
        .collect();
    let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
    let mut run = serde_json::to_value(&run).unwrap();
    run["refused"] = refused.into();
    let link_row = Link {
        schema: Link::SCHEMA.to_owned(),
        incident_id: id.clone(),
        run: 1,
        round: 1,
        approver: sample::APPROVER.to_owned(),
        codes_sent: vec![],
        revision: 0,
        ttl: now().plus_hours(800).as_seconds(),
    };
    let mut writes = vec![
        Write::put(Incident::key(id), incident).unwrap(),
        Write::put(Run::key(id, 1), &run).unwrap(),
        Write::put(Round::key(id, 1, 1), &round).unwrap(),
        Write::put(Round::key(id, 1, 0), &Round { round: 0, ..round.clone() }).unwrap(),
        Write::put(Decision::key(id, 0, 1), decision).unwrap(),
        Write::put(Link::key(&link.digest()), &link_row).unwrap(),
        Write::delete(Decision::key(id, 1, 1)),
    ];
    for who in [payload, sample::OTHER_APPROVER] {
        let vote = Vote {
            schema: Vote::SCHEMA.to_owned(),
            choice: Choice::Approved,
            answer: None,
            who: who.to_owned(),
            authenticated_by: payload.to_owned(),
            at: now(),
            from: payload.to_owned(),
            reason: payload.to_owned(),
            // One on what is shown now, one on something else.
            shown_digest: if who == payload {
                decision::shown_digest(id, 1, &round, &sha256).unwrap()
            } else {
                String::new()
            },
            plan_digest: assessment.plan_digest.clone(),
            indicators: assessment.plan.open().map(|entry| entry.observable.key()).collect(),
            lifetime_hours: BTreeMap::new(),
            never_again: false,
        };
        // The address is part of the key: nobody else's is there.
        writes.push(Write::put(Vote::key(id, 1, 1, if who == payload { "first" } else { who }), &vote).unwrap());
    }
    for (number, ticket) in around.tickets.iter().enumerate() {
        writes.push(Write::put(Ticket::key(id, &format!("system-{number}")), ticket).unwrap());
    }
    for written in &around.written {
        let Some(ledger) = &written.ledger else { continue };
        writes.push(Write::put(LedgerEntry::key(&written.entry.target, &ledger.observable), ledger).unwrap());
    }
    for write in writes {
        assert_eq!(world.rows.commit(&[write]).await, Ok(Commit::Done));
    }
}

fn check(name: &str, payload: &str, page: &str) -> Read {
    let read = readers::html(page);
    for target in &read.targets {
        assert!(target.starts_with('#') || target.starts_with(&format!("{ORIGIN}/")), "{name}, {payload:?}: {target}");
    }
    for text in &read.texts {
        check_dead(name, payload, text);
    }
    read
}

/// The page after the round has got these attributes.
async fn with_round(
    world: &World,
    id: &IncidentId,
    attributes: &serde_json::Value,
    browser: &mut Browser<'_>,
) -> (StatusCode, String) {
    let write = Write::set(Round::key(id, 1, 1), attributes).unwrap();
    assert_eq!(world.rows.commit(&[write]).await, Ok(Commit::Done));
    browser.open().await
}

/// The pages of one incident, by name.
async fn pages(world: &World, scene: &Scene, payload: &str) -> Vec<(&'static str, StatusCode, String)> {
    let link = LinkSecret::new(&[7; 32]);
    put(world, scene, payload, &link).await;
    let id = &scene.assessment.incident_id;
    let mut browser = Browser { world, link, cookie: String::new(), agent: payload.to_owned() };
    let mut seen = vec![];
    let (status, question) = browser.open().await;
    let wrong =
        filled(&question, &[("choice", payload), ("reason", payload), ("code", payload), ("indicators", payload)]);
    seen.push(("question", status, question.clone()));
    let (status, page) = browser.send(Method::POST, "/decide", &wrong).await;
    seen.push(("wrong choice", status, page));
    let (status, page) = browser.send(Method::POST, "/code", &[("csrf".to_owned(), payload.to_owned())]).await;
    seen.push(("refused", status, page));
    let asks = json!({
        "question": payload, "indicators": true,
        "choices": [{"value": payload, "label": payload, "effect": payload}, {"value": "leave", "label": "Leave it"}],
    });
    let (status, page) = with_round(world, id, &json!({"question": "manual", "asks": asks}), &mut browser).await;
    seen.push(("question of an author", status, page));
    let (status, page) =
        with_round(world, id, &json!({"question": "approve_plan", "sign_in": true}), &mut browser).await;
    seen.push(("sign-in that is gone", status, page));
    for choice in [Choice::Approved, Choice::Rejected] {
        let decision = Decision { choice, ..scene.decision.clone() };
        let write = Write::put(Decision::key(id, 1, 1), &decision).unwrap();
        assert_eq!(world.rows.commit(&[write]).await, Ok(Commit::Done));
        let (status, page) = browser.open().await;
        seen.push((if choice == Choice::Approved { "receipt" } else { "receipt of a rejection" }, status, page));
    }
    assert_eq!(world.rows.commit(&[Write::delete(Decision::key(id, 1, 1))]).await, Ok(Commit::Done));
    let over = Write::set(Round::key(id, 1, 1), &json!({"deadline": now().plus_minutes(-1)})).unwrap();
    assert_eq!(world.rows.commit(&[over]).await, Ok(Commit::Done));
    let (status, page) = browser.open().await;
    seen.push(("expired", status, page));
    let later = Write::set(Incident::key(id), &json!({"run": 2})).unwrap();
    assert_eq!(world.rows.commit(&[later]).await, Ok(Commit::Done));
    let (status, page) = browser.open().await;
    seen.push(("superseded", status, page));
    seen
}

#[tokio::test]
async fn no_page_holds_a_tag_or_a_link_that_is_not_ours() {
    let (scenes, mut world) = (Scenes::new(), World::with("{}").await);
    let payloads = payloads();
    let mut plain = vec![];
    for (name, status, page) in pages(&world, &scenes.with("plain"), "plain").await {
        plain.push((status, check(name, "plain", &page).shape));
    }
    let statuses: Vec<u16> = plain.iter().map(|(status, _)| status.as_u16()).collect();
    assert_eq!(statuses, [200, 422, 403, 200, 200, 200, 200, 410, 410]);
    for payload in &payloads {
        let payload = payload.text.as_str();
        // Nothing of the one before.
        world.rows = MemoryRows::default();
        let seen = pages(&world, &scenes.with(payload), payload).await;
        for ((name, status, page), (expected, shape)) in seen.iter().zip(&plain) {
            assert_eq!(status, expected, "{name}: {payload:?}");
            assert_eq!(&check(name, payload, page).shape, shape, "{name}: {payload:?}");
        }
    }
    println!("9 pages: {} payloads × {} places", payloads.len(), scenes.count());
}

#[test]
fn a_page_with_a_text_that_is_not_escaped_is_found() {
    let page = |text: &str| format!("<p>{text}</p><textarea>https://typed.example</textarea>");
    let plain = check("page", "plain", &page("plain")).shape;
    assert_ne!(readers::html(&page("<img src=x onerror=alert(1)>")).shape, plain);
    assert!(std::panic::catch_unwind(|| check("page", "x", &page("<a href=//evil.example>x</a>"))).is_err());
    assert!(std::panic::catch_unwind(|| check("page", "x", &page("see www.evil.example"))).is_err());
}
