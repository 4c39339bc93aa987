//! Settings: where the page is served, the key that signs its cookies, and where people sign in.

use playbook::{Fault, ports::Secret};
use url::Url;

use crate::oidc::Provider;

/// What is read once, at start.
#[derive(Clone, Debug)]
pub struct Settings {
    base: String,
    base_path: String,
    origin: String,
    page_key: Secret,
    is_on_loopback: bool,
    oidc: Option<Provider>,
}

impl Settings {
    /// `Misconfigured` unless the address is https (or http on loopback) and the key has at least 32 characters.
    pub fn new(public_base_url: &str, page_key: Secret) -> Result<Self, Fault> {
        let url = Url::parse(public_base_url)
            .map_err(|error| Fault::Misconfigured(format!("PUBLIC_BASE_URL cannot be read: {error}")))?;
        let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            return Err(Fault::Misconfigured("PUBLIC_BASE_URL is not https".to_owned()));
        }
        if page_key.reveal().len() < 32 {
            return Err(Fault::Misconfigured("the page key has less than 32 characters".to_owned()));
        }
        Ok(Self {
            base: public_base_url.trim_end_matches('/').to_owned(),
            base_path: url.path().trim_end_matches('/').to_owned(),
            origin: url.origin().ascii_serialization(),
            page_key,
            is_on_loopback: is_loopback,
            oidc: None,
        })
    }

    /// The same for people who sign in at an issuer. `Misconfigured` where the issuer is on loopback and the page is not:
    /// whoever answers there on a server could sign in as anybody.
    pub fn signing_in(self, provider: Provider) -> Result<Self, Fault> {
        if provider.is_on_loopback() && !self.is_on_loopback {
            return Err(Fault::Misconfigured("OIDC_ISSUER is on loopback and the page is not".to_owned()));
        }
        Ok(Self { oidc: Some(provider), ..self })
    }

    /// Where people sign in; `None` in mailbox mode.
    pub(crate) const fn oidc(&self) -> Option<&Provider> {
        self.oidc.as_ref()
    }

    /// Where the page is served, without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A request's path below the base; gateways differ in whether they cut the prefix off.
    pub(crate) fn below<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(&self.base_path).unwrap_or(path)
    }

    /// The origin of the page, as browsers write it.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The key that signs cookies, form tokens and codes.
    pub(crate) fn page_key(&self) -> &[u8] {
        self.page_key.reveal().as_bytes()
    }
}
