//! Which registry answers for a name or an address: IANA's bootstrap files (RFC 9224).

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ioc::{Observable, ObservableType, guard::registrable_domain};
use ipnet::IpNet;
use playbook::{
    Timestamp,
    lookup::{Method, Request},
    ports::{Clock, Destination, Egress},
};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Host, Url};

use crate::{call::Ways, list::Lists};

/// Where the files lie.
pub const BOOTSTRAP_HOST: &str = "data.iana.org";

/// IANA asks that the files are kept for a while; they change some times a week.
const MAX_AGE_MS: i64 = 24 * 3_600_000;

/// A file with more keys than this is not IANA's.
const KEYS_MAX: usize = 20_000;

/// Why there is no server to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoServer {
    /// No registry serves RDAP over https for it.
    None,
    /// The bootstrap file could not be had; the word in an outcome.
    Failed(&'static str),
}

/// Where registries answer. Made once per sandbox: each file is read once a day.
#[derive(Debug, Default)]
pub struct Registries(Mutex<BTreeMap<File, Held>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum File {
    Dns,
    Ipv4,
    Ipv6,
}

impl File {
    const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns.json",
            Self::Ipv4 => "ipv4.json",
            Self::Ipv6 => "ipv6.json",
        }
    }
}

#[derive(Debug)]
struct Held {
    read_at: Timestamp,
    services: Arc<Services>,
}

/// What a registry is asked for: of a domain its registrable part, anything else as it is.
pub(crate) fn registered(observable: &Observable) -> Observable {
    let is_domain = observable.kind() == ObservableType::DomainName;
    let name = registrable_domain(observable.value()).filter(|_| is_domain);
    name.and_then(|name| Observable::parse(ObservableType::DomainName, name).ok()).unwrap_or_else(|| observable.clone())
}

impl Registries {
    /// The base address of the registry that answers for this observable.
    pub(crate) async fn server<C: Clock, G: Egress, L: Lists>(
        &self,
        ways: &Ways<'_, C, G, L>,
        observable: &Observable,
        timeout: Duration,
    ) -> Result<Url, NoServer> {
        let file = match observable.kind() {
            ObservableType::DomainName => File::Dns,
            ObservableType::Ipv4Addr => File::Ipv4,
            ObservableType::Ipv6Addr => File::Ipv6,
            ObservableType::Url | ObservableType::EmailAddr | ObservableType::File => return Err(NoServer::None),
        };
        // Whoever comes second waits for the first instead of reading it too.
        let mut held = self.0.lock().await;
        let now = ways.clock.now();
        let known = held.get(&file);
        let services = match known {
            Some(known) if (0..MAX_AGE_MS).contains(&now.ms_since(known.read_at)) => Arc::clone(&known.services),
            _ => match fetch(ways, file, timeout).await {
                Ok(services) => {
                    let services = Arc::new(services);
                    held.insert(file, Held { read_at: now, services: Arc::clone(&services) });
                    services
                }
                // Registries seldom move: an old file is better than none.
                Err(reason) => Arc::clone(&known.ok_or(NoServer::Failed(reason))?.services),
            },
        };
        drop(held);
        services.find(observable).cloned().ok_or(NoServer::None)
    }
}

async fn fetch<C: Clock, G: Egress, L: Lists>(
    ways: &Ways<'_, C, G, L>,
    file: File,
    timeout: Duration,
) -> Result<Services, &'static str> {
    let url = Url::parse(&format!("https://{BOOTSTRAP_HOST}/rdap/{}", file.name())).map_err(|_| "no_bootstrap")?;
    let headers = vec![("accept".to_owned(), "application/json".to_owned())];
    let request = Request { method: Method::Get, url, headers, body: vec![] };
    let to = Destination::of(BOOTSTRAP_HOST, ways.reach.public());
    let answer = ways.egress.call(&to, &request, timeout).await.map_err(|error| error.reason())?;
    if answer.status != 200 {
        return Err("no_bootstrap");
    }
    Services::read(&answer.body).ok_or("no_bootstrap")
}

/// A bootstrap file: the best address of each registry by what it answers for.
#[derive(Debug, Default)]
struct Services {
    zones: HashMap<String, Url>,
    networks: Vec<(IpNet, Url)>,
}

#[derive(Deserialize)]
struct Document {
    services: Vec<(Vec<String>, Vec<String>)>,
}

impl Services {
    fn read(bytes: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(bytes).ok()?;
        if document.services.iter().map(|(keys, _)| keys.len()).sum::<usize>() > KEYS_MAX {
            return None;
        }
        let mut read = Self::default();
        for (keys, urls) in document.services {
            let Some(base) = urls.iter().find_map(|url| base(url)) else { continue };
            for key in keys {
                match key.parse::<IpNet>() {
                    Ok(network) => read.networks.push((network.trunc(), base.clone())),
                    Err(_) => {
                        read.zones.insert(key.trim_matches('.').to_ascii_lowercase(), base.clone());
                    }
                }
            }
        }
        // The first that fits is the longest.
        read.networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Some(read)
    }

    fn find(&self, observable: &Observable) -> Option<&Url> {
        if let Ok(address) = observable.value().parse::<IpAddr>() {
            return self.networks.iter().find(|(network, _)| network.contains(&address)).map(|(_, base)| base);
        }
        let mut zone = observable.value();
        loop {
            if let Some(base) = self.zones.get(zone) {
                return Some(base);
            }
            (_, zone) = zone.split_once('.')?;
        }
    }
}

/// An address that a request may be put below: https, a name, and a path alone.
fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.scheme() == "https"
        && matches!(url.host(), Some(Host::Domain(_)))
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = r#"{"version": "1.0", "services": [
        [["example", "test"], ["http://rdap.example/v1/", "https://rdap.example/v1/"]],
        [["co.example"], ["https://co.rdap.example/"]],
        [["plain"], ["http://rdap.example/"]],
        [["literal"], ["https://127.0.0.1/", "https://[::1]/"]],
        [["odd"], ["https://rdap.example:8443/", "https://user@rdap.example/", "https://rdap.example/?q=", "nonsense"]]
    ]}"#;

    const NETWORKS: &str = r#"{"services": [
        [["192.0.0.0/8", "2001:db8::/32"], ["https://wide.example/rdap/"]],
        [["192.0.2.0/24", "2001:db8:1::/48"], ["https://narrow.example/rdap/"]]
    ]}"#;

    #[test]
    fn the_longest_match_answers() {
        let check = |file: &str, value: &str, expected: Option<&str>| {
            let services = Services::read(file.as_bytes()).unwrap();
            let observable = Observable::parse_any(value).unwrap();
            assert_eq!(services.find(&observable).map(Url::as_str), expected, "{value}");
        };
        check(NAMES, "evil.example", Some("https://rdap.example/v1/"));
        check(NAMES, "evil.co.example", Some("https://co.rdap.example/"));
        check(NAMES, "notco.example", Some("https://rdap.example/v1/"));
        check(NAMES, "evil.test", Some("https://rdap.example/v1/"));
        check(NAMES, "evil.invalid", None);
        check(NETWORKS, "192.0.2.7", Some("https://narrow.example/rdap/"));
        check(NETWORKS, "192.9.2.7", Some("https://wide.example/rdap/"));
        check(NETWORKS, "198.51.100.7", None);
        check(NETWORKS, "2001:db8:1::7", Some("https://narrow.example/rdap/"));
        check(NETWORKS, "2001:db8:2::7", Some("https://wide.example/rdap/"));
        check(NETWORKS, "2001:db7::7", None);
    }

    #[test]
    fn only_https_at_a_name_is_a_server() {
        let services = Services::read(NAMES.as_bytes()).unwrap();
        for zone in ["plain", "literal", "odd"] {
            assert_eq!(services.zones.get(zone), None, "{zone}");
        }
    }

    #[test]
    fn what_is_no_bootstrap_file_is_refused() {
        for text in
            ["", "[]", "{}", "<html>", r#"{"services": [[["example"]]]}"#, r#"{"services": [["example", "x"]]}"#]
        {
            assert!(Services::read(text.as_bytes()).is_none(), "{text}");
        }
        let many: Vec<String> = (0..=KEYS_MAX).map(|n| format!("\"zone{n}\"")).collect();
        let many = format!(r#"{{"services": [[[{}], ["https://rdap.example/"]]]}}"#, many.join(","));
        assert!(Services::read(many.as_bytes()).is_none());
    }

    #[test]
    fn the_registrable_part_is_asked_for() {
        let check = |value: &str, expected: &str| {
            assert_eq!(registered(&Observable::parse_any(value).unwrap()).value(), expected);
        };
        check("a.b.evil.example", "evil.example");
        check("evil.example", "evil.example");
        check("www.evil.co.uk", "evil.co.uk");
        check("192.0.2.7", "192.0.2.7");
        check("2001:db8::7", "2001:db8::7");
    }
}
