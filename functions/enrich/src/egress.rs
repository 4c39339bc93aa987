//! The way out: the only place from which a byte leaves for a provider.

mod resolver;

use std::{error::Error, sync::Arc, time::Duration};

use playbook::{
    Fault,
    lookup::{Answer, CallError, Method, Request},
};
use url::{Host, Url};

use resolver::{NotPublic, Vetted};

/// The most that is read of an answer, decoded.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Names the real host when the stand-in answers for it.
pub const STAND_IN_HEADER: &str = "x-playbook-host";

const USER_AGENT: &str = concat!("ioc-enrichment-playbook/", env!("CARGO_PKG_VERSION"));
const IDLE: Duration = Duration::from_secs(50);

/// Where a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The manifest's host: keys are bound to it, and a request to any other is refused.
    pub host: &'a str,
    /// `policy.egress.stand_in`: a server on 127.0.0.1 that plays the host. Only of a bundle that was admitted to the account.
    pub stand_in: Option<&'a str>,
}

/// Calls providers.
pub trait Egress {
    /// Sends the request and reads the whole answer within `timeout`. Any HTTP status is an answer, redirects too:
    /// they are not followed. Errors hold neither the request nor the key.
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError>;
}

/// Calls over https to public addresses, and nothing else: no redirects, no proxies, no retries, no address literals.
#[derive(Debug, Clone)]
pub struct Https {
    public: reqwest::Client,
    loopback: reqwest::Client,
}

impl Https {
    /// Made once per sandbox; keeps connections open between invocations.
    pub fn new() -> Result<Self, Fault> {
        Self::resolving(Vetted::new(resolver::system))
    }

    fn resolving(resolver: impl reqwest::dns::Resolve + 'static) -> Result<Self, Fault> {
        let tls = tls()?;
        let public =
            strict(tls.clone()).https_only(true).dns_resolver(resolver).build().map_err(|_| broken("client"))?;
        // Names are not resolved for the stand-in: its address is a literal that is checked at every call.
        let nobody = Vetted::new(resolver::nobody);
        let loopback = strict(tls).dns_resolver(nobody).build().map_err(|_| broken("client"))?;
        Ok(Self { public, loopback })
    }
}

fn broken(what: &str) -> Fault {
    Fault::Misconfigured(format!("egress {what} cannot be made"))
}

fn tls() -> Result<rustls::ClientConfig, Fault> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| broken("tls"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// What both clients refuse.
fn strict(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        .pool_idle_timeout(IDLE)
}

impl Egress for Https {
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        admit(to.host, &request.url)?;
        let built = match to.stand_in {
            None => build(&self.public, request, request.url.clone()),
            Some(base) => {
                build(&self.loopback, request, stand_in(base, &request.url)?).header(STAND_IN_HEADER, to.host)
            }
        };
        // A late answer is dropped together with its connection.
        tokio::time::timeout(timeout, exchange(built)).await.unwrap_or(Err(CallError::Timeout))
    }
}

/// The request goes to the manifest's host by https on port 443, and that host is a name.
///
/// Addresses are refused in whatever spelling, because the client does not ask the resolver about them; `url` has
/// folded `0x7f.1`, `2130706433` and the like to addresses by now.
fn admit(host: &str, url: &Url) -> Result<(), CallError> {
    let refused = |why: &str| Err(CallError::Refused(why.to_owned()));
    if url.scheme() != "https" {
        return refused("not https");
    }
    match url.host() {
        Some(Host::Domain(name)) if name == host => {}
        Some(Host::Domain(_)) => return refused("not the host of the manifest"),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => return refused("an address, not a name"),
        None => return refused("no host"),
    }
    if url.port().is_some() {
        return refused("not port 443");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("credentials in the address");
    }
    Ok(())
}

/// The same path and query at the stand-in.
fn stand_in(base: &str, url: &Url) -> Result<Url, CallError> {
    let refused = || CallError::Refused("the stand-in is not on http://127.0.0.1".to_owned());
    let mut there = Url::parse(base).map_err(|_| refused())?;
    if there.scheme() != "http"
        || there.host() != Some(Host::Ipv4(std::net::Ipv4Addr::LOCALHOST))
        || there.port().is_none()
    {
        return Err(refused());
    }
    there.set_path(url.path());
    there.set_query(url.query());
    there.set_fragment(None);
    Ok(there)
}

fn build(client: &reqwest::Client, request: &Request, url: Url) -> reqwest::RequestBuilder {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    let mut built = client.request(method, url);
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    if request.body.is_empty() { built } else { built.body(request.body.clone()) }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, CallError> {
    let mut response = request.send().await.map_err(|error| told(&error))?;
    let status = response.status().as_u16();
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let headers = response.headers().iter().filter_map(text).collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
        if body.len() + chunk.len() > BODY_MAX_BYTES {
            return Err(CallError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

/// What went wrong, in our own words: the client's would repeat the address with the key in it.
fn told(error: &reqwest::Error) -> CallError {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return CallError::Refused("no public address".to_owned());
        }
        source = cause.source();
    }
    if error.is_timeout() {
        CallError::Timeout
    } else if error.is_builder() {
        CallError::Refused("not a request".to_owned())
    } else if error.is_connect() {
        CallError::Unreachable("no connection".to_owned())
    } else {
        CallError::Unreachable("the connection broke".to_owned())
    }
}

#[cfg(test)]
mod tests;
