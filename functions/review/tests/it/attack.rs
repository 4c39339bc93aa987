//! What an attacker tries: other sites, other sessions, other links, other mailboxes.

use http::{Method, StatusCode};
use playbook::{
    brief::{sample, sample::APPROVER},
    decision::Question,
};

use crate::world::{Browser, Team, with};

const TYPED: [(&str, &str); 2] = [("choice", "approved"), ("reason", "mine")];

#[tokio::test]
async fn a_post_from_elsewhere_is_refused() {
    let team = Team::waiting().await;
    let mut browser = Browser::of(&team, 1);
    browser.ask(APPROVER).await;
    let code = team.newest_code();
    let fields = with(with(browser.open().await.form("/decide"), &TYPED), &[("code", code.as_str())]);
    let elsewhere: [&[(&'static str, &str)]; 6] = [
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", crate::world::ORIGIN)],
        &[("sec-fetch-site", "same-origin"), ("origin", "null")],
        &[("sec-fetch-site", "none")],
    ];
    for headers in elsewhere {
        browser.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let before = team.rows.commits.get();
        for end in ["/decide", "/code"] {
            assert_eq!(browser.post(end, &fields).await.status, StatusCode::FORBIDDEN, "{headers:?}");
        }
        assert_eq!(team.rows.commits.get(), before, "a refused post costs no try");
    }
    browser.headers = vec![("origin", crate::world::ORIGIN.to_owned())];
    assert_eq!(browser.post("/decide", &fields).await.status, StatusCode::SEE_OTHER, "the same is taken from our page");
}

#[tokio::test]
async fn a_form_token_belongs_to_one_session_and_one_link() {
    let team = Team::waiting().await;
    let mut person = Browser::of(&team, 1);
    person.ask(APPROVER).await;
    let code = team.newest_code();
    let own = with(with(person.open().await.form("/decide"), &TYPED), &[("code", code.as_str())]);

    let mut stranger = Browser::of(&team, 1);
    let strangers_form = stranger.open().await.form("/decide");
    let strangers_token = strangers_form.iter().find(|(name, _)| name == "csrf").unwrap().1.clone();
    assert_eq!(stranger.post("/decide", &own).await.status, StatusCode::FORBIDDEN, "token of another session");
    assert_eq!(
        person.post("/decide", &with(own.clone(), &[("csrf", &strangers_token)])).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(person.post("/decide", &with(own.clone(), &[("csrf", "")])).await.status, StatusCode::FORBIDDEN);

    let mut other_link = Browser::of(&team, 2);
    other_link.cookie.clone_from(&person.cookie);
    assert_eq!(other_link.post("/decide", &own).await.status, StatusCode::FORBIDDEN, "token of another link");

    let mut without_cookie = Browser::of(&team, 1);
    assert_eq!(without_cookie.post("/decide", &own).await.status, StatusCode::FORBIDDEN);
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn a_code_is_good_only_in_the_session_that_asked_and_others_use_up_no_tries() {
    let team = Team::waiting().await;
    let mut person = Browser::of(&team, 1);
    person.ask(APPROVER).await;
    let code = team.newest_code();
    for _ in 0..20 {
        let mut stranger = Browser::of(&team, 1);
        let answer = stranger.decide("approved", "mine", &code).await;
        assert!(answer.text().contains("Ask for a one-time code first"), "{}", answer.text());
    }
    assert_eq!(person.decide("approved", "bad", &code).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_wrong_address_is_answered_like_the_right_one_and_mails_nothing() {
    let team = Team::waiting().await;
    let text = |answer: crate::world::Answer| {
        let document = answer.document();
        let notice = scraper::Selector::parse("[role=status]").unwrap();
        document.select(&notice).map(|e| e.text().collect::<String>()).collect::<Vec<_>>()
    };
    let wrong = text(Browser::of(&team, 1).ask("eve@evil.example").await);
    assert!(team.outbox.mails.borrow().is_empty());
    let right = text(Browser::of(&team, 1).ask(" ANA@soc.example ").await);
    assert_eq!(team.outbox.mails.borrow().len(), 1);
    assert_eq!(wrong, right);
}

#[tokio::test]
async fn a_mailbox_that_is_part_of_the_incident_cannot_decide() {
    let mut assessment = sample::assessment().unwrap();
    assessment.participants.push("Ana+newsletter@soc.example".to_owned());
    let team = Team::asking(assessment, Question::ApprovePlan).await;
    let mut other = Browser::of(&team, 2);
    let fields = with(with(other.open().await.form("/decide"), &TYPED), &[("address", APPROVER), ("code", "123456")]);
    let mut browser = Browser::of(&team, 1);
    for answer in [browser.open().await, browser.post("/code", &fields).await, browser.post("/decide", &fields).await] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.text().contains("is itself part of the incident") && answer.forms().is_empty());
    }
    assert!(team.outbox.mails.borrow().is_empty());

    // Also when it becomes known only after the code was mailed.
    let team = Team::waiting().await;
    let mut browser = Browser::of(&team, 1);
    browser.ask(APPROVER).await;
    let fields = with(with(browser.open().await.form("/decide"), &TYPED), &[("code", &team.newest_code())]);
    let mut assessment = sample::assessment().unwrap();
    assessment.participants.push(APPROVER.to_owned());
    team.assess(&assessment).await;
    assert_eq!(browser.post("/decide", &fields).await.status, StatusCode::FORBIDDEN);
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn unknown_links_and_paths_are_one_and_the_same_page() {
    let team = Team::waiting().await;
    let mut browser = Browser::of(&team, 9);
    let unknown = browser.open().await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.header("set-cookie"), "");
    for path in ["/", "/r/", "/r/short", "/r/../page.css", "/favicon.ico", "/r/%00"] {
        let answer = browser.request(Method::GET, path, String::new()).await;
        assert_eq!((answer.status, &answer.html), (StatusCode::NOT_FOUND, &unknown.html), "{path}");
    }
    let known = format!("/r/{}", crate::world::secret(1).reveal());
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::POST] {
        let answer = browser.request(method.clone(), &known, "a=b".to_owned()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
    }
    assert_eq!(browser.post("/decide", &[]).await.status, StatusCode::NOT_FOUND);
    let style = browser.request(Method::GET, "/page.css", String::new()).await;
    assert_eq!((style.status, style.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
}

#[tokio::test]
async fn what_is_no_form_decides_nothing() {
    let team = Team::waiting().await;
    let mut browser = Browser::of(&team, 1);
    let path = format!("/r/{}/decide", browser.link.reveal());
    let huge = format!("csrf=a&reason={}", "x".repeat(300_000));
    assert_eq!(browser.request(Method::POST, &path, String::new()).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.request(Method::POST, &path, huge).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_fault_is_a_page_that_says_that_nothing_was_decided() {
    let team = Team::waiting().await;
    let run = playbook::incident::Run::key(&team.assessment.incident_id, 1);
    team.change(playbook::rows::Write::delete(run)).await;
    let answer = Browser::of(&team, 1).open().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("the decision was not taken"));
    assert_eq!(answer.header("cache-control"), "no-store");
}
