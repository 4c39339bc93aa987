//! What a browser keeps of a sign-in: one that is under way, and one that has succeeded. Both are signed; nothing is stored.
//!
//! Each link has cookies of its own, so that somebody who decides on two incidents at a time can sign in for both.

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, Response, header};
use playbook::{Fault, Timestamp, decision::LinkSecret, ports::Entropy};
use serde::{Deserialize, Serialize};

use crate::{
    gate::{is_same, sign},
    settings::Settings,
};

/// A sign-in has to come back within this time.
const RUNNING_SECONDS: i64 = 600;
/// A person who has signed in has this long to decide.
const SIGNED_IN_SECONDS: i64 = 1_800;

/// How far the clocks of two sandboxes may be apart.
const SKEW_SECONDS: i64 = 60;

const RUNNING: &str = "__Host-sign-in-";
const SIGNED_IN: &str = "__Host-signed-in-";

/// A sign-in that is under way in this browser.
#[derive(Debug)]
pub struct Running {
    /// What the issuer hands back.
    pub state: String,
    /// Which link it is for.
    pub secret: LinkSecret,
    until_seconds: i64,
}

impl Running {
    /// A new one.
    pub fn fresh(entropy: &impl Entropy, secret: &LinkSecret, now: Timestamp) -> Result<Self, Fault> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        let until_seconds = now.as_seconds() + RUNNING_SECONDS;
        Ok(Self { state: BASE64URL_NOPAD.encode(&random), secret: secret.clone(), until_seconds })
    }

    /// The one that an answer with this state belongs to; compared in constant time.
    pub fn of(headers: &HeaderMap, settings: &Settings, state: &str) -> Option<Self> {
        let mut running = cookies(headers).filter(|(name, _)| name.starts_with(RUNNING));
        running.find_map(|(name, value)| {
            let mut parts = value.split('.');
            let (known, until, secret, signature) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let secret = LinkSecret::parse(secret)?;
            let running = Self { state: known.to_owned(), until_seconds: until.parse().ok()?, secret };
            let is_ours = parts.next().is_none()
                && is_same(&running.signature(settings), signature)
                && name == running.name()
                && is_same(known, state);
            is_ours.then_some(running)
        })
    }

    /// Whether it took too long.
    pub const fn is_late(&self, now: Timestamp) -> bool {
        self.until_seconds <= now.as_seconds()
    }

    /// Since when it runs.
    pub fn since(&self) -> Timestamp {
        Timestamp::from_millis((self.until_seconds - RUNNING_SECONDS).saturating_mul(1000))
    }

    /// What the token must repeat. Known to nobody who has not our key, until the issuer is told.
    pub fn nonce(&self, settings: &Settings) -> String {
        sign(settings, &["oidc nonce", &self.state, &self.secret.digest()])
    }

    /// What proves to the issuer that the code was asked for by us (RFC 7636).
    pub fn verifier(&self, settings: &Settings) -> String {
        sign(settings, &["oidc verifier", &self.state, &self.secret.digest()])
    }

    /// The cookie that carries it.
    pub fn cookie(&self, settings: &Settings) -> String {
        let Self { state, secret, until_seconds } = self;
        let value = format!("{state}.{until_seconds}.{}.{}", secret.reveal(), self.signature(settings));
        cookie(&self.name(), &value, RUNNING_SECONDS)
    }

    /// The cookie that ends it.
    pub fn end(&self) -> String {
        cookie(&self.name(), "", 0)
    }

    fn name(&self) -> String {
        format!("{RUNNING}{}", short(&self.secret.digest()))
    }

    fn signature(&self, settings: &Settings) -> String {
        let until = self.until_seconds.to_string();
        sign(settings, &["oidc state", &self.state, &until, self.secret.reveal()])
    }
}

/// A person who has signed in, for one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who says so.
    pub issuer: String,
    /// The issuer's own name for the person, which it gives to nobody else.
    pub subject: String,
    /// The person's address, as the issuer spells it: the approver's, but for upper and lower case.
    pub address: String,
    /// When.
    pub signed_in_at: Timestamp,
}

/// What the cookie says; link and issuer are in the signature.
#[derive(Serialize, Deserialize)]
struct Said {
    subject: String,
    address: String,
    signed_in_at: Timestamp,
}

impl Identity {
    /// Whether this is who was asked: the same mailbox, never merely the same domain.
    #[must_use]
    pub fn is(&self, approver: &str) -> bool {
        self.address.eq_ignore_ascii_case(approver)
    }

    /// Until when it is good.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.signed_in_at.plus_ms(SIGNED_IN_SECONDS * 1000)
    }

    /// What the audit says of the person beyond the address; hostile text.
    #[must_use]
    pub fn detail(&self) -> String {
        let Self { issuer, subject, signed_in_at, .. } = self;
        format!("signed in at {issuer} as {subject}, {signed_in_at}")
    }

    pub(super) fn cookie(&self, settings: &Settings, link_digest: &str) -> Result<String, Fault> {
        let said =
            Said { subject: self.subject.clone(), address: self.address.clone(), signed_in_at: self.signed_in_at };
        let said = serde_json::to_vec(&said)
            .map_err(|error| Fault::Rejected(format!("a sign-in cannot be written: {error}")))?;
        let said = BASE64URL_NOPAD.encode(&said);
        let signature = signature(settings, link_digest, &self.issuer, &said);
        Ok(cookie(&signed_in(link_digest), &format!("{said}.{signature}"), SIGNED_IN_SECONDS))
    }
}

/// Who has signed in for this link in this browser, at the issuer of the settings, at most thirty minutes ago.
#[must_use]
pub fn identity(headers: &HeaderMap, settings: &Settings, link_digest: &str, now: Timestamp) -> Option<Identity> {
    let issuer = settings.oidc()?.issuer();
    let wanted = signed_in(link_digest);
    let said: Said = cookies(headers).filter(|(name, _)| *name == wanted).find_map(|(_, value)| {
        let (said, signed) = value.split_once('.')?;
        let is_ours = is_same(&signature(settings, link_digest, issuer, said), signed);
        is_ours.then(|| serde_json::from_slice(&BASE64URL_NOPAD.decode(said.as_bytes()).ok()?).ok())?
    })?;
    let good_for_ms = (-SKEW_SECONDS * 1000)..(SIGNED_IN_SECONDS * 1000);
    let is_fresh = good_for_ms.contains(&now.ms_since(said.signed_in_at));
    is_fresh.then(|| Identity {
        issuer: issuer.to_owned(),
        subject: said.subject,
        address: said.address,
        signed_in_at: said.signed_in_at,
    })
}

/// Ends the sign-in for this link in this browser, as a decision does.
pub fn end(response: &mut Response<Vec<u8>>, link_digest: &str) -> Result<(), Fault> {
    add(response, &cookie(&signed_in(link_digest), "", 0))
}

/// Adds a cookie to those that the response sets already.
pub fn add(response: &mut Response<Vec<u8>>, cookie: &str) -> Result<(), Fault> {
    let value = cookie.parse().map_err(|_| Fault::Misconfigured("a cookie cannot be written".to_owned()))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

fn signature(settings: &Settings, link_digest: &str, issuer: &str, said: &str) -> String {
    sign(settings, &["oidc identity", link_digest, issuer, said])
}

fn signed_in(link_digest: &str) -> String {
    format!("{SIGNED_IN}{}", short(link_digest))
}

/// Enough of a digest to keep links apart.
fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

fn cookie(name: &str, value: &str, seconds: i64) -> String {
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}")
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}
