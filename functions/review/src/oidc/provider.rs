//! The issuer as the settings name it, and what is remembered of it between two requests.

use std::sync::{Arc, Mutex, PoisonError};

use openidconnect::IssuerUrl;
use playbook::{Fault, ports::Secret};
use url::{Host, Url};

use super::issuer::Known;

/// The claim that holds a person's address where the settings name none.
const EMAIL: &str = "email";

/// An issuer and our registration there. Clones share what is remembered.
#[derive(Clone, Debug)]
pub struct Provider {
    issuer: IssuerUrl,
    url: Url,
    client_id: String,
    client_secret: Option<Secret>,
    claim: String,
    known: Arc<Mutex<Option<Known>>>,
}

impl Provider {
    /// `Misconfigured` unless the issuer is a name reached by https on port 443 (or http on loopback, which only a page on
    /// loopback takes), exactly as it spells itself, and there is a client id. Without a secret we are a public client;
    /// PKCE is used either way. An empty `claim` is `email`.
    pub fn new(issuer: &str, client_id: &str, client_secret: Option<Secret>, claim: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::Misconfigured(format!("OIDC_ISSUER {why}"));
        let spelled = IssuerUrl::new(issuer.to_owned()).map_err(|_| bad("cannot be read"))?;
        let url = spelled.url().clone();
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("has more than a host and a path"));
        }
        let is_on_loopback = is_on_loopback(&url);
        if !is_on_loopback && (url.scheme() != "https" || url.port().is_some()) {
            return Err(bad("is not https on port 443"));
        }
        if !is_on_loopback && !matches!(url.host(), Some(Host::Domain(_))) {
            return Err(bad("is an address, not a name"));
        }
        if client_id.is_empty() {
            return Err(Fault::Misconfigured("OIDC_CLIENT_ID is empty".to_owned()));
        }
        let claim = if claim.is_empty() { EMAIL } else { claim };
        let (client_id, claim) = (client_id.to_owned(), claim.to_owned());
        Ok(Self { issuer: spelled, url, client_id, client_secret, claim, known: Arc::default() })
    }

    /// The issuer, as it spells itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    pub(super) const fn issuer_url(&self) -> &IssuerUrl {
        &self.issuer
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(super) const fn client_secret(&self) -> Option<&Secret> {
        self.client_secret.as_ref()
    }

    /// The claim that holds a person's address.
    pub(super) fn claim(&self) -> &str {
        &self.claim
    }

    /// Whether the claim counts only where the issuer says that it has verified the address.
    pub(super) fn must_be_verified(&self) -> bool {
        self.claim == EMAIL
    }

    /// Whether the issuer is reached without TLS on this machine: an emulator's.
    pub(crate) fn is_on_loopback(&self) -> bool {
        is_on_loopback(&self.url)
    }

    /// Whether a document of the issuer may name this address: https, or the same server on loopback.
    pub(super) fn may_name(&self, url: &Url) -> bool {
        if self.is_on_loopback() { url.origin() == self.url.origin() } else { url.scheme() == "https" }
    }

    /// The server that plays the issuer on loopback.
    pub(super) fn stand_in(&self) -> Option<String> {
        self.is_on_loopback().then(|| format!("http://127.0.0.1:{}", self.url.port().unwrap_or(80)))
    }

    pub(super) fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn remember(&self, known: &Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
    }
}

fn is_on_loopback(url: &Url) -> bool {
    let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
    url.scheme() == "http" && is_here && url.port().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_name_reached_by_https() {
        let check = |issuer: &str, expected: bool| {
            assert_eq!(Provider::new(issuer, "id", None, "").is_ok(), expected, "{issuer}");
        };
        check("https://login.example", true);
        check("https://login.example/", true);
        check("https://login.example/realms/soc", true);
        check("http://localhost:3000", true);
        check("http://127.0.0.1:3000", true);
        check("http://login.example", false);
        check("http://localhost", false);
        check("http://localhost.evil.example:3000", false);
        check("https://login.example:8443", false);
        check("https://192.0.2.7", false);
        check("https://0x7f.1", false);
        check("https://[2001:db8::1]", false);
        check("https://user@login.example", false);
        check("https://login.example/?tenant=a", false);
        check("https://login.example/#a", false);
        check("ftp://login.example", false);
        check("login.example", false);
        check("", false);
        assert!(Provider::new("https://login.example", "", None, "").is_err());
    }

    #[test]
    fn an_issuer_may_name_servers_by_https_and_one_on_loopback_only_itself() {
        let check = |issuer: &str, named: &str, expected: bool| {
            let provider = Provider::new(issuer, "id", None, "").unwrap();
            assert_eq!(provider.may_name(&Url::parse(named).unwrap()), expected, "{issuer} names {named}");
        };
        check("https://login.example", "https://keys.example/jwks", true);
        check("https://login.example", "http://login.example/jwks", false);
        check("https://login.example", "http://localhost:3000/jwks", false);
        check("https://login.example", "javascript:alert(1)", false);
        check("http://localhost:3000", "http://localhost:3000/jwks", true);
        check("http://localhost:3000", "http://localhost:3001/jwks", false);
        check("http://localhost:3000", "http://127.0.0.1:3000/jwks", false);
        check("http://localhost:3000", "https://login.example/jwks", false);
    }
}
