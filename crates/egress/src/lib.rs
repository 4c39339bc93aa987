//! The way out: the only place from which a byte leaves for a provider, a target or a feed.

pub mod dns;
mod failure;
mod redirects;
mod resolver;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use playbook::{
    Fault,
    lookup::{Answer, CallError, Method, Request, is_name},
    policy::{PRIVATE_HOSTS_MAX, PrivateHost},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Nameserver},
};
use url::{Host, Url};

use failure::told;
use resolver::{Lookup, Rules, Vetted};

/// The most that is read of an answer, decoded; a download names its own.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Names the real host when the stand-in answers for it.
pub const STAND_IN_HEADER: &str = "x-playbook-host";

const USER_AGENT: &str = concat!("ioc-enrichment-playbook/", env!("CARGO_PKG_VERSION"));
const IDLE: Duration = Duration::from_secs(50);

/// Calls over https to public addresses, and to private ones of hosts that the destination names; questions to name servers.
/// No proxies, no retries, no address literals, and no redirects but those that the destination allows.
#[derive(Clone)]
pub struct Https {
    public: reqwest::Client,
    loopback: reqwest::Client,
    private: Arc<Private>,
}

/// A client for each private host and its networks: a connection into one of them is never used for anything else.
struct Private {
    tls: rustls::ClientConfig,
    lookup: Lookup,
    rules: Rules,
    clients: Mutex<BTreeMap<Vec<PrivateHost>, reqwest::Client>>,
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").finish_non_exhaustive()
    }
}

impl Https {
    /// Made once per sandbox; keeps connections open between invocations.
    pub fn new() -> Result<Self, Fault> {
        Self::made(tls()?, resolver::system(), Rules::STRICT)
    }

    fn made(tls: rustls::ClientConfig, lookup: Lookup, rules: Rules) -> Result<Self, Fault> {
        let public = outward(tls.clone(), Vetted::public(Arc::clone(&lookup), rules))?;
        // Names are not resolved for the stand-in: its address is a literal that is checked at every call.
        let nobody = Vetted::public(resolver::nobody(), Rules::STRICT);
        let loopback = strict(tls.clone()).dns_resolver(nobody).build().map_err(|_| broken("client"))?;
        Ok(Self { public, loopback, private: Arc::new(Private { tls, lookup, rules, clients: Mutex::default() }) })
    }

    /// Who makes a connection to this host: of private networks are those meant that are named with it.
    fn client(&self, host: &str, private: &[PrivateHost]) -> Result<reqwest::Client, CallError> {
        let mut networks: Vec<PrivateHost> = private.iter().filter(|named| named.host == host).cloned().collect();
        if networks.is_empty() {
            return Ok(self.public.clone());
        }
        networks.sort_unstable();
        networks.dedup();
        self.private.client(networks)
    }
}

impl Private {
    fn client(&self, networks: Vec<PrivateHost>) -> Result<reqwest::Client, CallError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&networks) {
            return Ok(client.clone());
        }
        let vetted = Vetted::private(Arc::clone(&self.lookup), self.rules, &networks);
        let client = outward(self.tls.clone(), vetted).map_err(|_| CallError::Refused("no client".to_owned()))?;
        // A sandbox sees few policies; what outlives many of them starts again.
        if clients.len() >= PRIVATE_HOSTS_MAX {
            clients.clear();
        }
        clients.insert(networks, client.clone());
        Ok(client)
    }
}

fn outward(tls: rustls::ClientConfig, resolver: Vetted) -> Result<reqwest::Client, Fault> {
    strict(tls).https_only(true).dns_resolver(resolver).build().map_err(|_| broken("client"))
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

/// What all clients refuse.
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
        let mut answer = self.once(to, request, body_max_bytes).await?;
        let mut asked = request.clone();
        for _ in 0..redirects::HOPS_MAX {
            let Some((next, answered)) = self.hop(to, &asked, &answer, body_max_bytes).await else { break };
            answer = answered?;
            asked = next;
        }
        Ok(answer)
    }

    /// The next request and its answer, where this answer redirects to somewhere that is allowed.
    async fn hop(
        &self,
        to: &Destination<'_>,
        asked: &Request,
        answer: &Answer,
        body_max_bytes: usize,
    ) -> Option<(Request, Result<Answer, CallError>)> {
        let (host, next) = redirects::next(to.redirects, asked, answer)?;
        // Whoever answers may name a host, and no way into a private network with it.
        let private = if host == to.host { to.private } else { &[] };
        let answered = self.once(&Destination { host: &host, private, ..*to }, &next, body_max_bytes).await;
        Some((next, answered))
    }

    async fn once(&self, to: &Destination<'_>, request: &Request, body_max_bytes: usize) -> Result<Answer, CallError> {
        admit(to.host, &request.url)?;
        let built = match to.stand_in {
            None => build(&self.client(to.host, to.private)?, request, request.url.clone()),
            Some(base) => {
                build(&self.loopback, request, stand_in(base, &request.url)?).header(STAND_IN_HEADER, to.host)
            }
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
        Some(Host::Domain(name)) if name == host && is_name(name.strip_suffix('.').unwrap_or(name)) => {}
        Some(Host::Domain(name)) if name == host => return refused("not a name"),
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

#[cfg(test)]
mod tests;
