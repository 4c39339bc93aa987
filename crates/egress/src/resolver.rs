//! Names to addresses, public ones only: what a name means is decided and checked at the same moment, so it cannot be rebound.

use std::{io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name has no public address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
pub struct NotPublic;

/// Asks `lookup` and keeps the addresses that belong to somebody on the Internet.
#[derive(Clone, Copy, Debug)]
pub struct Vetted<L>(L);

impl<L> Vetted<L> {
    /// Vets what `lookup` finds.
    pub const fn new(lookup: L) -> Self {
        Self(lookup)
    }
}

impl<L, F> Resolve for Vetted<L>
where
    L: Fn(String) -> F + Send + Sync,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = found.await?;
            addresses.retain(|address| ioc::guard::reserved_address(address.ip()).is_none());
            if addresses.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
pub async fn system(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

/// Knows no name.
pub async fn nobody(_name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(vec![])
}
