//! Names to addresses that may be connected to: what a name means is decided and checked at the same moment, so that it
//! cannot be rebound.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use playbook::policy::PrivateHost;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name has no address at all.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub struct Unresolved;

/// The name has addresses, and none of them may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address that may be connected to")]
pub struct NotAdmitted;

/// What a lookup gives.
pub type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> Found + Send + Sync>;

/// Which addresses may be connected to.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Of any host.
    pub public: fn(IpAddr) -> bool,
    /// Of a host that a policy names.
    pub private: fn(&PrivateHost, &str, IpAddr) -> bool,
}

impl Rules {
    /// Public addresses belong to somebody on the Internet; private ones are as the policy says.
    pub const STRICT: Self =
        Self { public: |address| ioc::guard::reserved_address(address).is_none(), private: PrivateHost::admits };
}

/// Asks `lookup` and keeps the addresses that may be connected to.
pub struct Vetted {
    lookup: Lookup,
    rules: Rules,
    /// The private networks of the only host that is resolved; empty where public addresses are meant.
    private: Arc<[PrivateHost]>,
}

impl Vetted {
    /// Of any name its public addresses.
    pub fn public(lookup: Lookup, rules: Rules) -> Self {
        Self { lookup, rules, private: Arc::from([]) }
    }

    /// Of these hosts the addresses inside their networks, of any other name none.
    pub fn private(lookup: Lookup, rules: Rules, hosts: &[PrivateHost]) -> Self {
        Self { lookup, rules, private: Arc::from(hosts) }
    }
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        let (rules, private) = (self.rules, Arc::clone(&self.private));
        Box::pin(async move {
            let mut addresses = found.await.map_err(|_| Unresolved)?;
            if addresses.is_empty() {
                return Err(Unresolved.into());
            }
            addresses.retain(|address| {
                if private.is_empty() {
                    (rules.public)(address.ip())
                } else {
                    private.iter().any(|host| (rules.private)(host, name.as_str(), address.ip()))
                }
            });
            if addresses.is_empty() {
                return Err(NotAdmitted.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
pub fn system() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// Knows no name.
pub fn nobody() -> Lookup {
    Arc::new(|_| Box::pin(async { Ok(vec![]) }))
}
