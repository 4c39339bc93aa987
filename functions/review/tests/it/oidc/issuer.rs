//! An issuer in this process: it plays the way out, and does what a real one does with each request.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use playbook::{
    Timestamp,
    lookup::{self, Answer, CallError},
    manifest::Redirects,
    ports::Destination,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::keys::Key;
use crate::world::ORIGIN;

pub const ISSUER: &str = "https://login.example";
pub const CLIENT: &str = "review-page";
pub const CLIENT_SECRET: &str = "made up: the secret of the client";

/// What the issuer is asked, as it came.
pub struct Asked {
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What the issuer does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// No connection.
    Down,
    /// No answer in time.
    Hangs,
    /// An answer that is longer than anybody reads.
    Huge,
    /// An answer that is no JSON.
    Garbage,
    /// An answer of a proxy in between.
    BadGateway,
}

/// What a code stands for.
struct Grant {
    challenge: String,
    nonce: String,
    redirect_uri: String,
    account: String,
    signed_in_at: Timestamp,
    used: bool,
}

/// How the token of a grant is made: from the honest claims.
pub type Maker = Box<dyn Fn(&MockIssuer, Value) -> String>;

pub struct MockIssuer {
    pub mood: Cell<Mood>,
    /// What is said otherwise in the discovery document.
    pub says: RefCell<Value>,
    /// The keys; the last one signs.
    pub keys: RefCell<Vec<Key>>,
    pub maker: RefCell<Option<Maker>>,
    /// What the userinfo endpoint answers, if there is one.
    pub userinfo: RefCell<Option<Value>>,
    /// A public client has none.
    pub secret: Cell<Option<&'static str>>,
    pub asked: RefCell<Vec<Asked>>,
    grants: RefCell<BTreeMap<String, Grant>>,
}

impl MockIssuer {
    pub fn new(key: Key) -> Self {
        Self {
            mood: Cell::new(Mood::Good),
            says: RefCell::new(json!({})),
            keys: RefCell::new(vec![key]),
            maker: RefCell::new(None),
            userinfo: RefCell::new(None),
            secret: Cell::new(Some(CLIENT_SECRET)),
            asked: RefCell::default(),
            grants: RefCell::default(),
        }
    }

    /// Makes every token in another way.
    pub fn make(&self, maker: impl Fn(&Self, Value) -> String + 'static) {
        *self.maker.borrow_mut() = Some(Box::new(maker));
    }

    /// Changes the claims of every token before it is signed.
    pub fn claim(&self, changed: Value) {
        self.make(move |issuer, mut claims| {
            for (name, value) in changed.as_object().unwrap() {
                match value {
                    Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                    value => claims[name] = value.clone(),
                }
            }
            issuer.sign(&claims)
        });
    }

    pub fn sign(&self, claims: &Value) -> String {
        let keys = self.keys.borrow();
        let key = keys.last().unwrap();
        key.token(&json!({"alg": key.algorithm(), "typ": "JWT", "kid": key.kid}), claims)
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| asked.url.path() == path).count()
    }

    /// A person signs in at the authorization endpoint; where the browser is sent back to.
    pub fn authorize(&self, asked: &Url, account: &str, now: Timestamp) -> Url {
        let query: BTreeMap<String, String> = asked.query_pairs().into_owned().collect();
        assert_eq!((asked.scheme(), asked.host_str(), asked.path()), ("https", Some("login.example"), "/authorize"));
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["redirect_uri"], format!("{ORIGIN}/signed-in"), "no other address is registered");
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        assert!(query["state"].len() >= 22 && query["nonce"].len() >= 22);
        let code = format!("code-{}", self.grants.borrow().len() + 1);
        let grant = Grant {
            challenge: query["code_challenge"].clone(),
            nonce: query["nonce"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            account: account.to_owned(),
            signed_in_at: now,
            used: false,
        };
        self.grants.borrow_mut().insert(code.clone(), grant);
        let mut back = Url::parse(&query["redirect_uri"]).unwrap();
        back.query_pairs_mut().append_pair("code", &code).append_pair("state", &query["state"]);
        if self.says.borrow()["authorization_response_iss_parameter_supported"] == true {
            back.query_pairs_mut().append_pair("iss", ISSUER);
        }
        back
    }

    /// The way out, as the page knows it.
    pub fn call(
        &self,
        to: &Destination<'_>,
        request: &lookup::Request,
        wait: Duration,
        now: Timestamp,
    ) -> Result<Answer, CallError> {
        assert_eq!((to.host, to.stand_in, to.redirects), ("login.example", None, Redirects::None));
        assert_eq!((request.url.scheme(), request.url.host_str()), ("https", Some("login.example")));
        assert!(wait * 5 < Duration::from_secs(15), "five calls have to fit in the time of the function");
        self.asked.borrow_mut().push(Asked {
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: String::from_utf8(request.body.clone()).unwrap(),
        });
        match self.mood.get() {
            Mood::Good => {}
            Mood::Down => return Err(CallError::Unreachable("no connection".to_owned())),
            Mood::Hangs => return Err(CallError::Timeout),
            Mood::Huge => return Ok(json_answer(200, vec![b'['; 300 * 1024])),
            Mood::Garbage => return Ok(json_answer(200, b"{\"issuer\": <html>".to_vec())),
            Mood::BadGateway => return Ok(json_answer(502, b"{}".to_vec())),
        }
        let (status, said) = match (request.method, request.url.path()) {
            (lookup::Method::Get, "/.well-known/openid-configuration") => (200, self.discovery()),
            (lookup::Method::Get, "/jwks") => {
                let keys: Vec<Value> = self.keys.borrow().iter().map(Key::jwk).collect();
                (200, json!({ "keys": keys }))
            }
            (lookup::Method::Post, "/token") => self.token(request, now),
            (lookup::Method::Get, "/userinfo") => {
                let bearer = ("authorization".to_owned(), "Bearer made-up-access-token".to_owned());
                assert!(request.headers.contains(&bearer), "{:?}", request.headers);
                (200, self.userinfo.borrow().clone().unwrap())
            }
            _ => (404, json!({})),
        };
        Ok(json_answer(status, said.to_string().into_bytes()))
    }

    fn discovery(&self) -> Value {
        let mut said = json!({
            "issuer": ISSUER,
            "authorization_endpoint": format!("{ISSUER}/authorize"),
            "token_endpoint": format!("{ISSUER}/token"),
            "jwks_uri": format!("{ISSUER}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        });
        if self.userinfo.borrow().is_some() {
            said["userinfo_endpoint"] = json!(format!("{ISSUER}/userinfo"));
        }
        for (name, value) in self.says.borrow().as_object().unwrap() {
            said[name] = value.clone();
        }
        said
    }

    /// The token endpoint, by RFC 6749 and RFC 7636.
    fn token(&self, request: &lookup::Request, now: Timestamp) -> (u16, Value) {
        let header = |wanted: &str| request.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        assert_eq!(header("content-type").unwrap(), "application/x-www-form-urlencoded");
        let fields: BTreeMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let basic = header("authorization").map(|value| {
            let decoded = BASE64.decode(value.strip_prefix("Basic ").unwrap().as_bytes()).unwrap();
            let decoded = String::from_utf8(decoded).unwrap();
            let (id, secret) = decoded.split_once(':').unwrap();
            let text = |part: &str| {
                let pairs = format!("v={part}");
                url::form_urlencoded::parse(pairs.as_bytes()).next().unwrap().1.into_owned()
            };
            (text(id), text(secret))
        });
        let (client, secret) = match basic {
            Some((id, secret)) => (id, Some(secret)),
            None => (fields["client_id"].clone(), fields.get("client_secret").cloned()),
        };
        if client != CLIENT || secret.as_deref() != self.secret.get() {
            return (401, json!({"error": "invalid_client"}));
        }
        let bad = (400, json!({"error": "invalid_grant", "error_description": "<b>no</b>"}));
        assert_eq!(fields["grant_type"], "authorization_code");
        let mut grants = self.grants.borrow_mut();
        let Some(grant) = grants.get_mut(&fields["code"]) else { return bad };
        let verifier = &fields["code_verifier"];
        assert!((43..=128).contains(&verifier.len()));
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes()));
        let is_late = now.ms_since(grant.signed_in_at) > 60_000;
        if grant.used || is_late || challenge != grant.challenge || fields["redirect_uri"] != grant.redirect_uri {
            return bad;
        }
        grant.used = true;
        let (seconds, account) = (now.as_seconds(), &grant.account);
        let claims = json!({
            "iss": ISSUER, "sub": format!("subject of {}", account.replace('@', " at ")), "aud": CLIENT,
            "iat": seconds, "exp": seconds + 300, "auth_time": grant.signed_in_at.as_seconds(), "nonce": grant.nonce,
            "email": account, "email_verified": true, "preferred_username": account,
        });
        let maker = self.maker.borrow();
        let token = maker.as_ref().map_or_else(|| self.sign(&claims), |make| make(self, claims.clone()));
        (
            200,
            json!({"access_token": "made-up-access-token", "token_type": "Bearer", "expires_in": 300, "id_token": token}),
        )
    }
}

fn json_answer(status: u16, body: Vec<u8>) -> Answer {
    Answer { status, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
}
