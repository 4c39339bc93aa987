//! The way out: the only place from which a byte leaves for a provider, a target or a feed.

pub mod dns;
mod redirects;
mod resolver;

use std::{error::Error, sync::Arc, time::Duration};

use playbook::{
    Fault,
    lookup::{Answer, CallError, Method, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Nameserver},
};
use url::{Host, Url};

use resolver::{NotPublic, Vetted};

/// The most that is read of an answer, decoded; a download names its own.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Names the real host when the stand-in answers for it.
pub const STAND_IN_HEADER: &str = "x-playbook-host";

const USER_AGENT: &str = concat!("ioc-enrichment-playbook/", env!("CARGO_PKG_VERSION"));
const IDLE: Duration = Duration::from_secs(50);

/// Calls over https to public addresses, and questions to name servers: no proxies, no retries, no address literals, and no
/// redirects but those that the destination allows.
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
        self.download(to, request, timeout, BODY_MAX_BYTES).await
    }

    async fn download(
        &self,
        to: &Destination<'_>,
        request: &Request,
        timeout: Duration,
        body_max_bytes: usize,
    ) -> Result<Answer, CallError> {
        // A late answer is dropped together with its connection.
        tokio::time::timeout(timeout, self.follow(to, request, body_max_bytes)).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn resolve(
        &self,
        at: &Nameserver<'_>,
        question: &DnsQuestion,
        timeout: Duration,
    ) -> Result<DnsAnswer, CallError> {
        dns::ask(at, question, timeout).await
    }
}

impl Https {
    /// The answer, or that of the last redirect that is followed.
    async fn follow(
        &self,
        to: &Destination<'_>,
        request: &Request,
        body_max_bytes: usize,
    ) -> Result<Answer, CallError> {
        let mut answer = self.once(to.host, to.stand_in, request, body_max_bytes).await?;
        let mut asked = request.clone();
        for _ in 0..redirects::HOPS_MAX {
            let Some((host, next)) = redirects::next(to.redirects, &asked, &answer) else { break };
            answer = self.once(&host, to.stand_in, &next, body_max_bytes).await?;
            asked = next;
        }
        Ok(answer)
    }

    async fn once(
        &self,
        host: &str,
        plays: Option<&str>,
        request: &Request,
        body_max_bytes: usize,
    ) -> Result<Answer, CallError> {
        admit(host, &request.url)?;
        let built = match plays {
            None => build(&self.public, request, request.url.clone()),
            Some(base) => build(&self.loopback, request, stand_in(base, &request.url)?).header(STAND_IN_HEADER, host),
        };
        exchange(built, body_max_bytes).await
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
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut built = client.request(method, url);
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    if request.body.is_empty() { built } else { built.body(request.body.clone()) }
}

async fn exchange(request: reqwest::RequestBuilder, body_max_bytes: usize) -> Result<Answer, CallError> {
    let mut response = request.send().await.map_err(|error| told(&error))?;
    let status = response.status().as_u16();
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let headers = response.headers().iter().filter_map(text).collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
        if body.len() + chunk.len() > body_max_bytes {
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
