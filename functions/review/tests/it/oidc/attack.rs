//! What an attacker tries on the way back from the issuer.

use http::StatusCode;
use playbook::{brief::sample::APPROVER, ports::Clock as _};
use serde_json::json;
use url::Url;

use super::{
    issuer::ISSUER,
    visitor::{Visitor, check_refused, path, team},
};
use crate::world::{ORIGIN, secret};

const NOT_HERE: &str = "This browser has not begun this sign-in";

/// The address with one parameter changed.
fn with(back: &Url, name: &str, value: &str) -> String {
    let others: Vec<(String, String)> = back.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
    let mut changed = back.clone();
    changed.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    changed.to_string()
}

#[tokio::test]
async fn an_answer_in_another_browser_counts_for_nobody() {
    // An attacker signs in as himself and sends the answer's address to Ana (login CSRF), or has Ana sign in at an address
    // that he got for her link (fixation): her browser has begun neither.
    let team = team().await;
    let mut eve = Visitor::of(&team);
    for account in ["eve@evil.example", APPROVER] {
        let back = eve.authorize(1, account).await;
        let mut ana = Visitor::of(&team);
        check_refused(&ana.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
        ana.begin(1).await;
        check_refused(&ana.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
        assert!(ana.identity(1).is_none());
    }
    assert_eq!(eve.issuer().count("/token"), 0, "the code is not used up either");
}

#[tokio::test]
async fn a_code_of_another_sign_in_is_not_taken() {
    // An attacker has got hold of Ana's code, and puts it into a sign-in of his own for the same link.
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let anas = ana.authorize(1, APPROVER).await;
    let code = anas.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let mut eve = Visitor::of(&team);
    let eves = eve.authorize(1, "eve@evil.example").await;
    let answer = eve.get(&with(&eves, "code", &code)).await;
    check_refused(&answer, StatusCode::FORBIDDEN, "The issuer did not take the answer");
    assert!(eve.identity(1).is_none());
    ana.get(anas.as_str()).await;
    assert!(ana.identity(1).is_some(), "Ana's is as good as before");
}

#[tokio::test]
async fn a_code_is_taken_once() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    let jar = ana.jar.clone();
    assert_eq!(ana.get(back.as_str()).await.status, StatusCode::SEE_OTHER);
    check_refused(&ana.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
    // Somebody who kept the cookies, too, meets the issuer.
    let mut eve = Visitor::of(&team);
    eve.jar = jar;
    check_refused(&eve.get(back.as_str()).await, StatusCode::FORBIDDEN, "it was used before, or is too old");
    assert!(eve.identity(1).is_none());
}

#[tokio::test]
async fn a_sign_in_is_good_for_ten_minutes() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let asked = ana.begin(1).await;
    let jar = ana.jar.clone();
    team.clock.advance_minutes(10);
    let back = ana.issuer().authorize(&asked, APPROVER, team.clock.now());
    let answer = ana.get(back.as_str()).await;
    check_refused(&answer, StatusCode::FORBIDDEN, "The sign-in took longer than ten minutes");
    assert!(answer.html.contains(&format!("{ORIGIN}{}/sign-in", path(1))), "there is a way on");
    assert!(ana.identity(1).is_none() && !ana.jar.keys().any(|name| name.starts_with("__Host-sign-in-")));

    // Whoever moves the cookie's end on has not our signature.
    let mut eve = Visitor::of(&team);
    let until = (team.clock.now().as_seconds() + 300).to_string();
    for (name, value) in jar {
        let parts: Vec<&str> = value.split('.').collect();
        eve.jar.insert(name, [parts[0], &until, parts[2], parts[3]].join("."));
    }
    check_refused(&eve.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
}

#[tokio::test]
async fn no_cookie_or_a_changed_one_is_no_sign_in() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    let (name, value) = ana.jar.first_key_value().unwrap();
    let (name, value) = (name.clone(), value.clone());
    let parts: Vec<&str> = value.split('.').collect();
    let other = secret(2);
    let forged = [
        String::new(),
        format!("{value}0"),
        format!("{value}.x"),
        value.replacen('.', "", 1),
        [parts[0], parts[1], other.reveal(), parts[3]].join("."),
        ["AAAAAAAAAAAAAAAAAAAAAA", parts[1], parts[2], parts[3]].join("."),
        [parts[0], parts[1], parts[2], &"0".repeat(64)].join("."),
    ];
    let mut eve = Visitor::of(&team);
    check_refused(&eve.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
    for value in forged {
        eve.jar.insert(name.clone(), value.clone());
        let back = back.as_str().replace(parts[0], value.split('.').next().unwrap());
        check_refused(&eve.get(&back).await, StatusCode::FORBIDDEN, NOT_HERE);
    }
    // The cookie of one link under the name of another.
    eve.jar = [("__Host-sign-in-0123456789abcdef".to_owned(), value)].into();
    check_refused(&eve.get(back.as_str()).await, StatusCode::FORBIDDEN, NOT_HERE);
    assert_eq!(eve.issuer().count("/token"), 0);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_taken() {
    // RFC 9207: mix-up.
    let check = async |promised: bool, iss: Option<&str>, is_taken: bool| {
        let team = team().await;
        let mut ana = Visitor::of(&team);
        *ana.issuer().says.borrow_mut() = json!({"authorization_response_iss_parameter_supported": promised});
        let mut back = ana.authorize(1, APPROVER).await;
        let others: Vec<_> = back.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
        back.query_pairs_mut().clear().extend_pairs(others).extend_pairs(iss.map(|iss| ("iss", iss)));
        let answer = ana.get(back.as_str()).await;
        if is_taken {
            assert!(ana.identity(1).is_some(), "{iss:?}: {}", answer.text());
        } else {
            check_refused(&answer, StatusCode::FORBIDDEN, "is not the issuer's");
            assert_eq!(ana.issuer().count("/token"), 0, "the code is shown to nobody");
        }
    };
    check(false, None, true).await;
    check(false, Some(ISSUER), true).await;
    check(false, Some("https://evil.example"), false).await;
    check(false, Some(""), false).await;
    check(true, None, false).await;
    check(true, Some(ISSUER), true).await;
    check(true, Some("https://login.example/"), false).await;
}

#[tokio::test]
async fn a_parameter_that_comes_twice_counts_for_nothing() {
    let team = team().await;
    for name in ["state", "code", "iss"] {
        let mut ana = Visitor::of(&team);
        let mut back = ana.authorize(1, APPROVER).await;
        back.query_pairs_mut().append_pair("iss", ISSUER);
        let value = back.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
        back.query_pairs_mut().append_pair(name, &value);
        let answer = ana.get(back.as_str()).await;
        check_refused(&answer, StatusCode::FORBIDDEN, "");
        assert!(ana.identity(1).is_none(), "{name}");
    }
}

#[tokio::test]
async fn what_the_issuer_calls_the_reason_is_shown_only_as_a_word() {
    let team = team().await;
    let check = async |error: &str, shown: &str| {
        let mut ana = Visitor::of(&team);
        let back = ana.authorize(1, APPROVER).await;
        let mut ended = with(&back, "error", error).parse::<Url>().unwrap();
        ended.query_pairs_mut().append_pair("error_description", "Call https://evil.example now");
        let answer = ana.get(ended.as_str()).await;
        check_refused(&answer, StatusCode::FORBIDDEN, &format!("It calls the reason {shown}."));
        assert!(!answer.html.contains("evil") && !answer.html.contains("<b>"), "{}", answer.html);
        assert!(ana.identity(1).is_none());
    };
    check("access_denied", "access_denied").await;
    check("login_required", "login_required").await;
    check("<b>pay at evil.example</b>", "unknown").await;
    check("call evil", "unknown").await;
    check("", "unknown").await;
    // Whoever makes it up cannot even end a sign-in of another browser.
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    check_refused(&ana.get("/signed-in?error=access_denied&state=guessed").await, StatusCode::FORBIDDEN, NOT_HERE);
    ana.get(back.as_str()).await;
    assert!(ana.identity(1).is_some());
}
