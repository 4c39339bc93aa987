//! Sign-in at an issuer: what a person sees of it, and what stays as it was.

mod attack;
pub mod issuer;
mod keys;
mod log;
mod outage;
mod session;
mod token;
pub mod visitor;

use http::{Method, StatusCode};
use playbook::brief::sample::{APPROVER, OTHER_APPROVER};
use playbook::ports::{Clock as _, Secret};
use review::{Settings, oidc::Provider};
use serde_json::json;

use self::{
    issuer::{CLIENT, CLIENT_SECRET, ISSUER},
    keys::Key,
    visitor::{PAGE_KEY, Visitor, check_refused, path, team, team_with},
};
use crate::world::{Browser, ORIGIN, Team, secret};

#[tokio::test]
async fn a_person_who_signs_in_is_known_for_the_link() {
    let team = team().await;
    let (rows, commits) = (team.rows.all(), team.rows.commits.get());
    let mut ana = Visitor::of(&team);
    assert_eq!(ana.open(1).await.status, StatusCode::OK);
    assert!(ana.identity(1).is_none());

    let back = ana.authorize(1, APPROVER).await;
    assert_eq!((back.path(), back.origin().ascii_serialization().as_str()), ("/signed-in", ORIGIN));
    let answer = ana.get(back.as_str()).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, &*format!("{ORIGIN}{}", path(1))));

    let identity = ana.identity(1).unwrap();
    assert_eq!((identity.issuer.as_str(), identity.address.as_str()), (ISSUER, APPROVER));
    assert_eq!(identity.subject, "subject of ana at soc.example");
    assert_eq!(identity.signed_in_at, team.clock.now());
    assert!(identity.is(APPROVER) && !identity.is(OTHER_APPROVER));
    assert_eq!(ana.open(1).await.status, StatusCode::OK);
    assert_eq!(ana.jar.len(), 2, "the page's session and the sign-in; the one under way is over: {:?}", ana.jar.keys());
    assert_eq!((team.rows.all(), team.rows.commits.get()), (rows, commits), "a GET writes nothing");
    assert!(team.outbox.mails.borrow().is_empty());
}

#[tokio::test]
async fn a_token_of_an_rsa_key_counts_too() {
    let team = team_with(Key::rs256("key-1")).await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    assert!(ana.identity(1).is_some());
}

#[tokio::test]
async fn upper_and_lower_case_are_one_mailbox() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, "ANA@Soc.Example").await;
    assert!(ana.identity(1).unwrap().is(APPROVER));
}

#[tokio::test]
async fn we_say_who_we_are_as_the_issuer_wants_it() {
    let check = async |says: serde_json::Value, secret: Option<&'static str>, by_header: bool| {
        let mut team = team().await;
        let client_secret = secret.map(Secret::new);
        let provider = Provider::new(ISSUER, CLIENT, client_secret, "").unwrap();
        team.settings = visitor::settings().signing_in(provider).unwrap();
        let issuer = team.issuer.as_ref().unwrap();
        issuer.secret.set(secret);
        *issuer.says.borrow_mut() = says;
        let mut ana = Visitor::of(&team);
        ana.sign_in(1, APPROVER).await;
        assert!(ana.identity(1).is_some());
        let asked = issuer.asked.borrow();
        let token = asked.iter().find(|asked| asked.url.path() == "/token").unwrap();
        assert_eq!(token.headers.iter().any(|(name, _)| name == "authorization"), by_header);
    };
    check(json!({}), Some(CLIENT_SECRET), true).await;
    check(json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}), Some(CLIENT_SECRET), false).await;
    check(json!({}), None, false).await;
}

#[tokio::test]
async fn somebody_else_is_told_so_and_can_sign_in_as_another() {
    let check = async |prompts: serde_json::Value, expected: &str| {
        let team = team().await;
        let mut browser = Visitor::of(&team);
        *browser.issuer().says.borrow_mut() = json!({ "prompt_values_supported": prompts });
        let commits = team.rows.commits.get();
        let answer = browser.sign_in(1, OTHER_APPROVER).await;
        check_refused(&answer, StatusCode::FORBIDDEN, "This link belongs to somebody else");
        assert!(answer.text().contains(&ioc::defang_text(OTHER_APPROVER)) && !answer.html.contains(OTHER_APPROVER));
        assert!(!answer.html.contains(&ioc::defang_text(APPROVER)), "whose link it is stays unsaid");
        assert!(browser.identity(1).is_none() && browser.identity(2).is_none());
        assert_eq!(team.rows.commits.get(), commits);

        let again = format!("{}/sign-in?again", path(1));
        assert!(answer.html.contains(&again));
        let answer = browser.get(&again).await;
        let asked = url::Url::parse(answer.header("location")).unwrap();
        let prompt = asked.query_pairs().find(|(name, _)| name == "prompt").unwrap().1.into_owned();
        assert_eq!(prompt, expected);
        let back = browser.issuer().authorize(&asked, APPROVER, team.clock.now());
        browser.get(back.as_str()).await;
        assert!(browser.identity(1).is_some());
    };
    check(json!(null), "login").await;
    check(json!(["none", "login", "select_account"]), "select_account").await;
    check(json!(["none", "login", "consent"]), "login").await;
}

#[tokio::test]
async fn mailboxes_are_compared_whole() {
    let team = team().await;
    for other in ["eve@soc.example", "ana@soc.example.evil.example", "ana+x@soc.example", "xana@soc.example", "ana@soc"]
    {
        let mut eve = Visitor::of(&team);
        check_refused(&eve.sign_in(1, other).await, StatusCode::FORBIDDEN, "This link belongs to somebody else");
        assert!(eve.identity(1).is_none(), "{other}");
    }
}

#[tokio::test]
async fn nothing_on_the_way_holds_the_links_secret_or_ours() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let answer = ana.get(&format!("{}/sign-in", path(1))).await;
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let to_issuer = answer.header("location").to_owned();
    let asked = url::Url::parse(&to_issuer).unwrap();
    let back = ana.issuer().authorize(&asked, APPROVER, team.clock.now());
    let landed = ana.get(back.as_str()).await;
    assert_eq!(landed.header("referrer-policy"), "no-referrer");
    assert!(ana.identity(1).is_some());

    let asked = ana.issuer().asked.borrow();
    let token = asked.iter().find(|asked| asked.url.path() == "/token").unwrap();
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(token.body.as_bytes()).into_owned().collect();
    let verifier = &fields.iter().find(|(name, _)| name == "code_verifier").unwrap().1;
    let urls: Vec<String> =
        asked.iter().map(|asked| asked.url.to_string()).chain([to_issuer, back.to_string()]).collect();
    let (link, digest) = (secret(1), secret(1).digest());
    for secret in [verifier.as_str(), link.reveal(), &digest, CLIENT_SECRET, PAGE_KEY, APPROVER, "ana%40soc"] {
        for url in &urls {
            assert!(!url.contains(secret), "{secret} is in {url}");
        }
    }
    for asked in asked.iter() {
        assert!(!asked.body.contains(link.reveal()) && !asked.headers.iter().any(|(name, _)| name == "referer"));
    }
    // What is sent in secret prints without it.
    let printed = format!("{:?}", team.settings);
    assert!(!printed.contains(CLIENT_SECRET) && !printed.contains(PAGE_KEY), "{printed}");
}

#[tokio::test]
async fn two_links_are_signed_in_for_in_one_browser() {
    let team = team().await;
    let mut browser = Visitor::of(&team);
    let first = browser.authorize(1, APPROVER).await;
    let second = browser.authorize(2, OTHER_APPROVER).await;
    browser.get(first.as_str()).await;
    browser.get(second.as_str()).await;
    assert!(browser.identity(1).unwrap().is(APPROVER) && browser.identity(2).unwrap().is(OTHER_APPROVER));
}

#[tokio::test]
async fn scanners_that_follow_the_link_cost_no_write_and_disturb_nobody() {
    let team = team().await;
    let (rows, commits) = (team.rows.all(), team.rows.commits.get());
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    for number in 0..500_u16 {
        let mut scanner = Visitor::of(&team);
        scanner.begin(if number % 2 == 0 { 1 } else { 2 }).await;
        scanner.get("/signed-in").await;
        scanner.get("/signed-in?code=test&state=test").await;
    }
    assert_eq!((team.rows.all(), team.rows.commits.get()), (rows, commits));
    assert_eq!(ana.issuer().asked.borrow().len(), 2, "the issuer is asked once for what it says and for its keys");
    ana.get(back.as_str()).await;
    assert!(ana.identity(1).is_some());
}

#[tokio::test]
async fn only_a_get_begins_or_ends_a_sign_in() {
    let team = team().await;
    let mut browser = Browser::of(&team, 1);
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for end in [format!("{}/sign-in", path(1)), "/signed-in".to_owned()] {
            let answer = browser.request(method.clone(), &end, "a=b".to_owned()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {end}");
            assert_eq!(answer.header("set-cookie"), "");
        }
    }
}

#[tokio::test]
async fn without_an_issuer_there_is_nothing_to_sign_in_at() {
    let team = Team::waiting().await;
    let mut browser = Browser::of(&team, 1);
    for address in [format!("{}/sign-in", path(1)), "/signed-in?code=a&state=b".to_owned()] {
        let answer = browser.request(Method::GET, &address, String::new()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{address}");
    }
}

#[tokio::test]
async fn a_link_that_can_no_longer_decide_sends_nobody_to_the_issuer() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    let calls = ana.issuer().asked.borrow().len();
    team.clock.advance_minutes(9);
    let mut round = team.round().await;
    round.deadline = team.clock.now();
    let id = &team.assessment.incident_id;
    team.change(playbook::rows::Write::put(playbook::decision::Round::key(id, 1, 1), &round).unwrap()).await;
    let landed = ana.get(back.as_str()).await;
    assert_eq!((landed.status, landed.header("location")), (StatusCode::SEE_OTHER, &*format!("{ORIGIN}{}", path(1))));
    assert!(ana.identity(1).is_none());
    assert_eq!(ana.get(&format!("{}/sign-in", path(1))).await.status, StatusCode::GONE);
    assert_eq!(ana.issuer().asked.borrow().len(), calls);
    assert_eq!(ana.get("/r/unknown/sign-in").await.status, StatusCode::NOT_FOUND);
}

#[test]
fn an_issuer_on_loopback_is_for_a_page_on_loopback() {
    let check = |page: &str, issuer: &str, expected: bool| {
        let settings = Settings::new(page, Secret::new(PAGE_KEY)).unwrap();
        let provider = Provider::new(issuer, CLIENT, None, "").unwrap();
        assert_eq!(settings.signing_in(provider).is_ok(), expected, "{page} with {issuer}");
    };
    for page in ["https://review.soc.example", "http://127.0.0.1:4566/base", "http://localhost:4566"] {
        check(page, "https://login.example", true);
        for issuer in ["http://localhost:3000", "http://127.0.0.1:3000"] {
            check(page, issuer, page.starts_with("http://"));
        }
    }
}
