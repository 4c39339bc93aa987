//! A browser with a jar of cookies, for the way from the page to the issuer and back.

use std::collections::BTreeMap;

use http::{HeaderMap, Request, StatusCode, header};
use playbook::{
    decision::LinkSecret,
    ports::{Clock as _, Secret},
};
use review::{
    Caller, Settings,
    oidc::{self, Identity, Provider},
};
use url::Url;

use super::{
    issuer::{CLIENT, CLIENT_SECRET, ISSUER, MockIssuer},
    keys::Key,
};
use crate::world::{Answer, ORIGIN, Team, secret, with};

pub const PAGE_KEY: &str = "page-key-of-at-least-32-characters";

pub fn provider(claim: &str) -> Provider {
    Provider::new(ISSUER, CLIENT, Some(Secret::new(CLIENT_SECRET)), claim).unwrap()
}

pub fn settings() -> Settings {
    Settings::new(ORIGIN, Secret::new(PAGE_KEY)).unwrap()
}

/// A team that signs in at an issuer, and an incident that waits.
pub async fn team() -> Team {
    team_with(Key::es256("key-1")).await
}

pub async fn team_with(key: Key) -> Team {
    let mut team = Team::waiting().await;
    team.settings = settings().signing_in(provider("")).unwrap();
    team.issuer = Some(MockIssuer::new(key));
    team
}

pub struct Visitor<'t> {
    pub team: &'t Team,
    pub jar: BTreeMap<String, String>,
}

impl<'t> Visitor<'t> {
    pub const fn of(team: &'t Team) -> Self {
        Self { team, jar: BTreeMap::new() }
    }

    pub fn issuer(&self) -> &'t MockIssuer {
        self.team.issuer.as_ref().unwrap()
    }

    /// What this browser sends along.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !self.jar.is_empty() {
            let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            headers.insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        headers
    }

    /// Follows a link; keeps what is set, as browsers do with `__Host-` cookies.
    pub async fn get(&mut self, address: &str) -> Answer {
        let path = address.strip_prefix(ORIGIN).unwrap_or(address);
        let mut request = Request::get(path).extension(Caller("192.0.2.99".to_owned())).body(vec![]).unwrap();
        *request.headers_mut() = self.headers();
        self.send(request).await
    }

    async fn send(&mut self, request: Request<Vec<u8>>) -> Answer {
        let answer = self.team.send(request).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{cookie}");
            assert!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="), "{cookie}");
            if attributes.ends_with("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Fills in the form that decides as it stands, and sends it from our own page.
    pub async fn decide(&mut self, link: u8, typed: &[(&str, &str)]) -> Answer {
        let fields = with(self.open(link).await.form("/decide"), typed);
        self.post(link, "/decide", &fields).await
    }

    pub async fn post(&mut self, link: u8, end: &str, fields: &[(String, String)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(format!("{}{end}", path(link))).extension(Caller("192.0.2.99".to_owned()));
        *request.headers_mut().unwrap() = self.headers();
        let request = request.header("sec-fetch-site", "same-origin").header("origin", ORIGIN);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(body.into_bytes()).unwrap()).await
    }

    pub async fn open(&mut self, link: u8) -> Answer {
        self.get(&path(link)).await
    }

    /// Follows the sign-in link; where the browser is sent.
    pub async fn begin(&mut self, link: u8) -> Url {
        let answer = self.get(&format!("{}/sign-in", path(link))).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.html);
        Url::parse(answer.header("location")).unwrap()
    }

    /// Signs in at the issuer; the address that it sends the browser back to.
    pub async fn authorize(&mut self, link: u8, account: &str) -> Url {
        let asked = self.begin(link).await;
        self.issuer().authorize(&asked, account, self.team.clock.now())
    }

    /// The whole way, to where the page answers.
    pub async fn sign_in(&mut self, link: u8, account: &str) -> Answer {
        let back = self.authorize(link, account).await;
        self.get(back.as_str()).await
    }

    /// Who this browser is for a link.
    pub fn identity(&self, link: u8) -> Option<Identity> {
        oidc::identity(&self.headers(), &self.team.settings, &secret(link).digest(), self.team.clock.now())
    }
}

pub fn path(link: u8) -> String {
    path_of(&secret(link))
}

fn path_of(secret: &LinkSecret) -> String {
    format!("/r/{}", secret.reveal())
}

/// The page says that nobody is signed in, and why.
pub fn check_refused(answer: &Answer, status: StatusCode, why: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    for expected in [why, "Nothing was decided."] {
        assert!(answer.text().contains(expected), "{expected:?} is not in {}", answer.text());
    }
}
