//! Tokens that prove nothing, though the issuer hands them out.

use http::StatusCode;
use playbook::{brief::sample::APPROVER, ports::Clock as _};
use serde_json::{Value, json};

use super::{
    issuer::{CLIENT_SECRET, MockIssuer},
    keys::{Key, hs256, unsigned},
    visitor::{Visitor, check_refused, provider, settings, team, team_with},
};

const CLOCK: &str = "it is not of this moment";

/// Signs in with tokens whose claims differ so; an empty `why` is no refusal.
async fn check(changed: Value, why: &str) {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.issuer().claim(changed.clone());
    let answer = ana.sign_in(1, APPROVER).await;
    if why.is_empty() {
        assert!(ana.identity(1).is_some(), "{changed}: {}", answer.text());
    } else {
        check_refused(&answer, StatusCode::FORBIDDEN, why);
        assert!(ana.identity(1).is_none(), "{changed}");
    }
}

/// The same with every token made in this way.
async fn check_made(key: Key, why: &str, make: impl Fn(&MockIssuer, Value) -> String + 'static) {
    let team = team_with(key).await;
    let mut ana = Visitor::of(&team);
    ana.issuer().make(make);
    check_refused(&ana.sign_in(1, APPROVER).await, StatusCode::FORBIDDEN, why);
    assert!(ana.identity(1).is_none());
}

async fn now() -> i64 {
    team().await.clock.now().as_seconds()
}

#[tokio::test]
async fn the_wrong_audience() {
    let why = "made for another application";
    check(json!({"aud": "another-page"}), why).await;
    check(json!({"aud": ["another-page"]}), why).await;
    check(json!({"aud": ["review-page", "another-page"]}), why).await;
    check(json!({"aud": []}), why).await;
    check(json!({"azp": "another-page"}), why).await;
    check(json!({"aud": ["review-page"], "azp": "review-page"}), "").await;
}

#[tokio::test]
async fn the_wrong_issuer() {
    for iss in ["https://login.example/", "https://evil.example", "http://login.example"] {
        check(json!({ "iss": iss }), "it was made by another issuer").await;
    }
}

#[tokio::test]
async fn expired_but_for_a_minute_of_skew() {
    let now = now().await;
    check(json!({"exp": now - 3_600, "iat": now - 3_700}), CLOCK).await;
    check(json!({"exp": now - 61}), CLOCK).await;
    check(json!({"exp": now - 59}), "").await;
}

#[tokio::test]
async fn from_the_future_but_for_a_minute_of_skew() {
    let now = now().await;
    check(json!({"iat": now + 3_600, "exp": now + 7_200}), CLOCK).await;
    check(json!({"iat": now + 61}), CLOCK).await;
    check(json!({"iat": now + 59}), "").await;
    check(json!({"nbf": now + 61}), "it does not count yet").await;
    check(json!({"nbf": now + 59}), "").await;
}

#[tokio::test]
async fn made_before_the_sign_in_was_begun() {
    let now = now().await;
    check(json!({"iat": now - 61}), CLOCK).await;
    check(json!({"iat": now - 59}), "").await;
}

#[tokio::test]
async fn a_sign_in_at_the_issuer_that_is_too_old() {
    let now = now().await;
    check(json!({"auth_time": now - 43_200 - 61}), "you signed in at the issuer too long ago").await;
    check(json!({"auth_time": now + 61}), "you signed in at the issuer too long ago").await;
    check(json!({"auth_time": now - 43_200}), "").await;
    // Not every issuer says it.
    check(json!({"auth_time": null}), "").await;
}

#[tokio::test]
async fn the_wrong_nonce() {
    for nonce in [json!("another"), json!(""), json!(null)] {
        check(json!({ "nonce": nonce }), "it belongs to another sign-in").await;
    }
}

#[tokio::test]
async fn alg_none() {
    for alg in ["none", "None", "NONE"] {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        ana.issuer().make(move |_, claims| format!("{}.", unsigned(&json!({"alg": alg, "typ": "JWT"}), &claims)));
        let answer = ana.sign_in(1, APPROVER).await;
        assert!(!answer.status.is_redirection() && answer.text().contains("Nothing was decided."), "{}", answer.text());
        assert!(ana.identity(1).is_none(), "{alg}");
    }
}

#[tokio::test]
async fn hs256_with_the_public_key() {
    check_made(Key::rs256("key-1"), "signed in a way that others could use", |issuer, claims| {
        hs256(issuer.keys.borrow()[0].public_pem().unwrap().as_bytes(), "key-1", &claims)
    })
    .await;
}

#[tokio::test]
async fn hs256_with_the_clients_secret() {
    check_made(Key::es256("key-1"), "signed in a way that others could use", |_, claims| {
        hs256(CLIENT_SECRET.as_bytes(), "key-1", &claims)
    })
    .await;
}

#[tokio::test]
async fn another_key_under_the_same_name() {
    let stranger = Key::es256("key-1");
    check_made(Key::es256("key-1"), "its signature is wrong", move |_, claims| {
        stranger.token(&json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"}), &claims)
    })
    .await;
}

#[tokio::test]
async fn claims_that_were_changed_after_signing() {
    check_made(Key::es256("key-1"), "its signature is wrong", |issuer, mut claims| {
        claims["email"] = json!("eve@evil.example");
        let honest = issuer.sign(&claims);
        let signature = honest.rsplit_once('.').unwrap().1;
        claims["email"] = json!(APPROVER);
        format!("{}.{signature}", unsigned(&json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"}), &claims))
    })
    .await;
}

#[tokio::test]
async fn an_access_token_is_no_proof() {
    check_made(Key::es256("key-1"), "it cannot be read", |issuer, claims| {
        issuer.keys.borrow()[0].token(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}), &claims)
    })
    .await;
}

#[tokio::test]
async fn an_unverified_address() {
    let why = "the issuer does not say that it has verified your address";
    for verified in [json!(false), json!("false"), json!(null)] {
        check(json!({ "email_verified": verified }), why).await;
    }
    check(json!({"email_verified": "true"}), "").await;
}

#[tokio::test]
async fn no_address() {
    let why = "it has no address where this page was told to look";
    for address in [json!(null), json!("")] {
        check(json!({ "email": address }), why).await;
    }
}

#[tokio::test]
async fn an_address_that_only_the_userinfo_endpoint_says() {
    let check = async |token: Value, userinfo: Value, why: &str| {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        ana.issuer().claim(token.clone());
        *ana.issuer().userinfo.borrow_mut() = Some(userinfo.clone());
        let answer = ana.sign_in(1, APPROVER).await;
        if why.is_empty() {
            assert!(ana.identity(1).is_some(), "{token} {userinfo}: {}", answer.text());
        } else {
            check_refused(&answer, StatusCode::FORBIDDEN, why);
            assert!(ana.identity(1).is_none(), "{token} {userinfo}");
        }
        ana.issuer().count("/userinfo")
    };
    let subject = "subject of ana at soc.example";
    let verified = json!({"sub": subject, "email": APPROVER, "email_verified": true});
    let nothing = json!({"email": null, "email_verified": null});
    let unverified = "does not say that it has verified your address";
    assert_eq!(check(nothing.clone(), verified.clone(), "").await, 1);
    assert_eq!(check(json!({"email_verified": null}), verified.clone(), "").await, 1);
    assert_eq!(
        check(json!({}), json!({"sub": subject, "email": "eve@evil.example"}), "").await,
        0,
        "the token is enough"
    );
    assert_eq!(check(json!({"email_verified": false}), verified, unverified).await, 0, "and what it denies is denied");
    check(nothing.clone(), json!({"sub": subject, "email": APPROVER}), unverified).await;
    check(nothing.clone(), json!({"sub": subject, "email_verified": true}), "it has no address").await;
    let other = json!({"sub": "another", "email": APPROVER, "email_verified": true});
    check(nothing.clone(), other, "the issuer speaks of two different people").await;
    let eve = json!({"sub": subject, "email": "eve@evil.example", "email_verified": true});
    check(nothing, eve, "This link belongs to somebody else").await;
}

#[tokio::test]
async fn no_subject() {
    check(json!({"sub": ""}), "it names nobody").await;
    check(json!({"sub": "x".repeat(256)}), "it names nobody").await;
    check(json!({"sub": "x".repeat(255)}), "").await;
}

#[tokio::test]
async fn another_claim_is_taken_as_the_operator_named_it() {
    let check = async |claim: &str, changed: Value, is_known: bool| {
        let mut team = team().await;
        team.settings = settings().signing_in(provider(claim)).unwrap();
        let mut ana = Visitor::of(&team);
        ana.issuer().claim(changed.clone());
        ana.sign_in(1, APPROVER).await;
        assert_eq!(ana.identity(1).is_some(), is_known, "{claim} {changed}");
    };
    let without = json!({"email": null, "email_verified": null});
    check("preferred_username", without.clone(), true).await;
    check("upn", without, false).await;
    check("upn", json!({"email": null, "upn": APPROVER}), true).await;
    check("upn", json!({"upn": [APPROVER]}), false).await;
    // Also one that is not in the standard, and is said at the userinfo endpoint.
    let mut team = team().await;
    team.settings = settings().signing_in(provider("upn")).unwrap();
    let mut ana = Visitor::of(&team);
    let said = json!({"sub": "subject of ana at soc.example", "upn": APPROVER});
    *ana.issuer().userinfo.borrow_mut() = Some(said);
    ana.sign_in(1, APPROVER).await;
    assert!(ana.identity(1).is_some());
    check("preferred_username", json!({"preferred_username": "eve@evil.example"}), false).await;
}
