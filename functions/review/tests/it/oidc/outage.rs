//! The issuer in trouble: what people read, and how often it is asked.

use http::StatusCode;
use playbook::brief::sample::APPROVER;
use serde_json::json;

use super::{
    issuer::{ISSUER, Mood},
    keys::Key,
    visitor::{Visitor, check_refused, path, team},
};

const MOODS: [(Mood, &str); 5] = [
    (Mood::Down, "did not answer"),
    (Mood::Hangs, "did not answer"),
    (Mood::Huge, "did not answer"),
    (Mood::Garbage, "answered something that cannot be used"),
    (Mood::BadGateway, "answered something that cannot be used"),
];

#[tokio::test]
async fn before_the_sign_in() {
    for (mood, why) in MOODS {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        ana.issuer().mood.set(mood);
        let answer = ana.get(&format!("{}/sign-in", path(1))).await;
        check_refused(&answer, StatusCode::BAD_GATEWAY, why);
        assert!(answer.html.contains(&path(1)) && ana.jar.is_empty(), "{mood:?}");
        ana.issuer().mood.set(Mood::Good);
        ana.sign_in(1, APPROVER).await;
        assert!(ana.identity(1).is_some(), "a failure is not remembered");
    }
}

#[tokio::test]
async fn after_the_sign_in() {
    for (mood, why) in MOODS {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        let back = ana.authorize(1, APPROVER).await;
        ana.issuer().mood.set(mood);
        let answer = ana.get(back.as_str()).await;
        check_refused(&answer, StatusCode::BAD_GATEWAY, why);
        assert!(answer.html.contains(&path(1)) && ana.identity(1).is_none(), "{mood:?}");
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_know_us() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.issuer().secret.set(Some("another secret"));
    let answer = ana.sign_in(1, APPROVER).await;
    check_refused(&answer, StatusCode::BAD_GATEWAY, "its registration at the issuer is wrong");
}

#[tokio::test]
async fn a_discovery_document_that_is_not_the_issuers() {
    let cases = [
        json!({"issuer": "https://evil.example"}),
        json!({"issuer": format!("{ISSUER}/")}),
        json!({"authorization_endpoint": "http://login.example/authorize"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"token_endpoint": "http://login.example/token"}),
        json!({"token_endpoint": "http://127.0.0.1:3000/token"}),
        json!({"token_endpoint": null}),
        json!({"jwks_uri": "http://login.example/jwks"}),
        json!({"jwks_uri": null}),
    ];
    for says in cases {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        *ana.issuer().says.borrow_mut() = says.clone();
        let answer = ana.get(&format!("{}/sign-in", path(1))).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{says}");
        assert_eq!(ana.issuer().count("/token"), 0);
    }
}

#[tokio::test]
async fn what_it_says_is_remembered_for_ten_minutes() {
    let team = team().await;
    let check = async |expected: usize| {
        Visitor::of(&team).sign_in(1, APPROVER).await;
        let issuer = team.issuer.as_ref().unwrap();
        let counts = [issuer.count("/.well-known/openid-configuration"), issuer.count("/jwks")];
        assert_eq!(counts, [expected, expected]);
    };
    check(1).await;
    check(1).await;
    team.clock.advance_minutes(9);
    check(1).await;
    team.clock.advance_minutes(1);
    check(2).await;
}

#[tokio::test]
async fn a_new_key_counts_at_once() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    let issuer = team.issuer.as_ref().unwrap();
    issuer.keys.borrow_mut().push(Key::es256("key-2"));
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    assert!(ana.identity(1).is_some());
    assert_eq!((issuer.count("/jwks"), issuer.count("/.well-known/openid-configuration")), (2, 1));
    // And the old one no longer, once it is withdrawn and that is known.
    issuer.keys.borrow_mut().remove(0);
    team.clock.advance_minutes(10);
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    assert!(ana.identity(1).is_some());
}

#[tokio::test]
async fn a_key_that_is_not_published_is_asked_for_once_a_minute() {
    let team = team().await;
    let issuer = team.issuer.as_ref().unwrap();
    let stranger = Key::es256("stranger");
    issuer.make(move |_, claims| stranger.token(&json!({"alg": "ES256", "kid": "stranger"}), &claims));
    let attempt = async || {
        let mut eve = Visitor::of(&team);
        let answer = eve.sign_in(1, APPROVER).await;
        check_refused(&answer, StatusCode::FORBIDDEN, "signed by a key that is not the issuer's");
        assert!(eve.identity(1).is_none());
        issuer.count("/jwks")
    };
    assert_eq!(attempt().await, 2, "with discovery, and once more");
    assert_eq!(attempt().await, 2);
    team.clock.advance_minutes(1);
    assert_eq!(attempt().await, 3);
    assert_eq!(attempt().await, 3);
}
