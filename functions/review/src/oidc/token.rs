//! The token: every check, by our own clock, and what it says of the person.

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use openidconnect::{
    ClaimsVerificationError, ClientId, Nonce, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm as Algorithm},
};
use playbook::Timestamp;
use serde_json::Value;

use super::{provider::Provider, trouble::Trouble};

/// How far the issuer's clock may be from ours.
const SKEW_MS: i64 = 60_000;
/// A working day: the longest time since the person typed something at the issuer, where the issuer says how long it was.
pub const AUTH_MAX_AGE_SECONDS: u16 = 43_200;
/// OpenID Connect Core 1.0, section 2.
const SUBJECT_MAX_CHARS: usize = 255;
/// RFC 5321.
const ADDRESS_MAX_CHARS: usize = 254;

/// Signatures that only the issuer can make: never `none`, and no secret that is shared.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RsaSsaPkcs1V15Sha256,
    Algorithm::RsaSsaPkcs1V15Sha384,
    Algorithm::RsaSsaPkcs1V15Sha512,
    Algorithm::RsaSsaPssSha256,
    Algorithm::RsaSsaPssSha384,
    Algorithm::RsaSsaPssSha512,
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EdDsa,
];

/// Who the issuer says has signed in.
#[derive(Debug)]
pub struct Person {
    /// The issuer's name for the person.
    pub subject: String,
    /// What else the token says; hostile text.
    pub said: Value,
}

/// Why claims hold no address that counts.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// They do not say; the issuer may say it elsewhere.
    Unsaid(&'static str),
    /// The issuer says that it does not count.
    Denied(&'static str),
}

/// Why a token is not taken.
#[derive(Debug)]
pub enum Refusal {
    /// It is signed by a key that we do not know: the issuer may have a new one.
    UnknownKey,
    /// It does not count.
    Not(Trouble),
}

/// What a token must fit.
#[derive(Debug)]
pub struct Expected<'a> {
    /// Who has made it, and for whom.
    pub provider: &'a Provider,
    /// What it must repeat.
    pub nonce: String,
    /// When the person set out to sign in: no older token is one of this sign-in.
    pub since: Timestamp,
    /// The moment.
    pub now: Timestamp,
}

impl Expected<'_> {
    /// Checks a token against the keys: signature, issuer, audience and authorized party, nonce, all times, and the claim.
    pub fn check(&self, token: &CoreIdToken, keys: &CoreJsonWebKeySet) -> Result<Person, Refusal> {
        let not = |why| Refusal::Not(Trouble::Token(why));
        let client_id = ClientId::new(self.provider.client_id().to_owned());
        let [now, since] = [self.now, self.since].map(Timestamp::as_millis);
        // As of a public client: a token that is signed with a shared secret never counts.
        let verifier =
            CoreIdTokenVerifier::new_public_client(client_id, self.provider.issuer_url().clone(), keys.clone())
                .set_allowed_algs(ALGORITHMS)
                .set_time_fn(move || moment(now - SKEW_MS))
                .set_issue_time_verifier_fn(move |at| {
                    let at = at.timestamp_millis();
                    ((since - SKEW_MS)..=(now + SKEW_MS)).contains(&at).then_some(()).ok_or_else(String::new)
                })
                .set_auth_time_verifier_fn(move |at| {
                    let Some(at) = at.map(|at| at.timestamp_millis()) else { return Ok(()) };
                    let max_age_ms = i64::from(AUTH_MAX_AGE_SECONDS) * 1000;
                    let oldest = now - max_age_ms - SKEW_MS;
                    (oldest..=(now + SKEW_MS)).contains(&at).then_some(()).ok_or_else(String::new)
                });
        let nonce = Nonce::new(self.nonce.clone());
        let claims = token.claims(&verifier, &nonce).map_err(|error| refusal(&error))?;
        // The library leaves this one open (OpenID Connect Core 1.0, section 3.1.3.7, number 5).
        if claims.authorized_party().is_some_and(|party| party.as_str() != self.provider.client_id()) {
            return Err(not("it was made for another application"));
        }
        let said = payload(token).ok_or_else(|| not("it cannot be read"))?;
        let not_before = said.get("nbf").and_then(Value::as_f64).unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
        if not_before * 1000.0 > (now + SKEW_MS) as f64 {
            return Err(not("it does not count yet; the issuer's clock may be ahead of ours"));
        }
        let subject = claims.subject().as_str();
        if subject.is_empty() || subject.chars().count() > SUBJECT_MAX_CHARS {
            return Err(not("it names nobody"));
        }
        Ok(Person { subject: subject.to_owned(), said })
    }
}

/// The address in the claims of one document, where it counts.
pub fn address(provider: &Provider, said: &Value) -> Result<String, Lack> {
    let address = said.get(provider.claim()).and_then(Value::as_str).unwrap_or_default();
    if address.is_empty() || address.chars().count() > ADDRESS_MAX_CHARS {
        return Err(Lack::Unsaid("it has no address where this page was told to look for one"));
    }
    if provider.must_be_verified() {
        let unverified = "the issuer does not say that it has verified your address";
        match said.get("email_verified") {
            Some(Value::Bool(true)) => {}
            // Some issuers write it as text.
            Some(Value::String(verified)) if verified == "true" => {}
            None | Some(Value::Null) => return Err(Lack::Unsaid(unverified)),
            Some(_) => return Err(Lack::Denied(unverified)),
        }
    }
    Ok(address.to_owned())
}

fn refusal(error: &ClaimsVerificationError) -> Refusal {
    use ClaimsVerificationError as Claims;
    let why = match error {
        Claims::SignatureVerification(SignatureVerificationError::NoMatchingKey) => return Refusal::UnknownKey,
        Claims::SignatureVerification(SignatureVerificationError::NoSignature) => "it is not signed",
        Claims::SignatureVerification(SignatureVerificationError::DisallowedAlg(_)) => {
            "it is signed in a way that others could use, too"
        }
        Claims::SignatureVerification(_) => "its signature is wrong",
        Claims::InvalidIssuer(_) => "it was made by another issuer",
        Claims::InvalidAudience(_) => "it was made for another application",
        Claims::InvalidNonce(_) => "it belongs to another sign-in",
        Claims::InvalidAuthTime(_) => "you signed in at the issuer too long ago",
        Claims::Expired(_) => "it is not of this moment: it has expired, or the issuer's clock differs from ours",
        _ => "it cannot be read",
    };
    Refusal::Not(Trouble::Token(why))
}

/// What stands in a token whose signature was checked.
fn payload(token: &CoreIdToken) -> Option<Value> {
    let text = token.to_string();
    let bytes = BASE64URL_NOPAD.decode(text.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn moment(millis: i64) -> DateTime<Utc> {
    // Beyond what can be spelled, everything has expired.
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
