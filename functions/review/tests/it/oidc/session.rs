//! What a sign-in is good for: one link, half an hour, one browser, one issuer.

use http::{Response, header};
use playbook::{brief::sample::APPROVER, ports::Secret};
use review::{
    Settings,
    oidc::{self, Provider},
};

use super::{
    issuer::CLIENT,
    visitor::{PAGE_KEY, Visitor, team},
};
use crate::world::{ORIGIN, secret};

fn name_of(visitor: &Visitor) -> String {
    visitor.jar.keys().find(|name| name.starts_with("__Host-signed-in-")).unwrap().clone()
}

#[tokio::test]
async fn it_ends_after_thirty_minutes() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    team.clock.advance_minutes(29);
    assert!(ana.identity(1).is_some());
    team.clock.advance_minutes(1);
    assert!(ana.identity(1).is_none());
    team.clock.advance_minutes(-31);
    assert!(ana.identity(1).is_some(), "another sandbox's clock may be a minute behind");
    team.clock.advance_minutes(-1);
    assert!(ana.identity(1).is_none(), "nor is it one of the future");
}

#[tokio::test]
async fn it_is_of_no_other_link() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    assert!(ana.identity(2).is_none());
    // Nor under the name that the other link's would have.
    let value = ana.jar[&name_of(&ana)].clone();
    ana.sign_in(2, playbook::brief::sample::OTHER_APPROVER).await;
    let names: Vec<String> = ana.jar.keys().filter(|name| name.starts_with("__Host-signed-in-")).cloned().collect();
    for name in names {
        ana.jar.insert(name, value.clone());
    }
    assert!(ana.identity(1).is_some() && ana.identity(2).is_none());
}

#[tokio::test]
async fn it_is_one_that_we_signed() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    let (name, value) = (name_of(&ana), ana.jar[&name_of(&ana)].clone());
    let (said, signature) = value.split_once('.').unwrap();
    for forged in [
        said.to_owned(),
        format!("{said}."),
        format!("{said}.{}", "0".repeat(64)),
        format!("A{said}.{signature}"),
        String::new(),
    ] {
        ana.jar.insert(name.clone(), forged.clone());
        assert!(ana.identity(1).is_none(), "{forged}");
    }
    ana.jar.insert(name, value);
    assert!(ana.identity(1).is_some());
}

#[tokio::test]
async fn it_ends_with_the_key_and_with_the_issuer() {
    let mut team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    let jar = ana.jar;
    let page = |key: &str| Settings::new(ORIGIN, Secret::new(key)).unwrap();
    let provider = |issuer: &str| Provider::new(issuer, CLIENT, None, "").unwrap();
    let others = [
        page("another-page-key-of-32-characters").signing_in(provider(super::issuer::ISSUER)).unwrap(),
        page(PAGE_KEY).signing_in(provider("https://other.example")).unwrap(),
        page(PAGE_KEY),
    ];
    for settings in others {
        team.settings = settings;
        assert!(Visitor { team: &team, jar: jar.clone() }.identity(1).is_none());
    }
}

#[tokio::test]
async fn a_decision_ends_it() {
    let team = team().await;
    let mut ana = Visitor::of(&team);
    ana.sign_in(1, APPROVER).await;
    let mut response = Response::new(vec![]);
    response.headers_mut().insert(header::SET_COOKIE, "__Host-session=a".parse().unwrap());
    oidc::end(&mut response, &secret(1).digest()).unwrap();
    let set: Vec<&str> =
        response.headers().get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
    let expected = format!("{}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0", name_of(&ana));
    assert_eq!(set, ["__Host-session=a", &expected]);
}
