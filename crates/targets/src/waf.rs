//! IP sets of AWS WAF: merged, never replaced by ours alone. Whatever is in a set and not in the ledger stays untouched.

use std::{collections::BTreeSet, net::IpAddr};

use ioc::{Observable, ObservableType};
use ipnet::IpNet;
use playbook::{
    Fault, ledger,
    ports::{Clock, IpSet, IpSets},
    target::Target,
};

use crate::Ports;

/// What an IP set takes at most (AWS WAF quotas, "Maximum number of unique IP addresses per IP set").
const SET_MAX: usize = 10_000;
/// Somebody else may change the set between reading and replacing; then it is read again.
const TRIES: usize = 5;

/// What is in the set of a type now.
pub async fn present(ports: &impl Ports, target: &Target, kind: ObservableType) -> Result<BTreeSet<IpNet>, Fault> {
    Ok(ports.ip_sets().read(arn(target, kind)?).await?.networks)
}

/// An address as the set holds it: a network of its full length.
pub fn network(observable: &Observable) -> Result<IpNet, Fault> {
    let address: Result<IpAddr, _> = observable.value().parse();
    address.map(IpNet::from).map_err(|_| Fault::Rejected(format!("{observable} is not an address")))
}

/// Brings the set of a type to the ledger: what is leaving goes, what is active is there, everything else stays.
///
/// The set is read before the ledger and replaced only if it is still the same, so that of two writers the one with the
/// older rows merges again.
pub async fn merge(
    ports: &impl Ports,
    target: &Target,
    kind: ObservableType,
    leaving: &[&Observable],
) -> Result<(), Fault> {
    let arn = arn(target, kind)?;
    for _ in 0..TRIES {
        let IpSet { networks, lock_token } = ports.ip_sets().read(arn).await?;
        let mut wanted = networks.clone();
        for observable in leaving {
            wanted.remove(&network(observable)?);
        }
        // What was there before us is its owner's to put back.
        let active = ledger::active(ports.rows(), &target.id, kind, ports.clock().now()).await?;
        for entry in active.iter().filter(|entry| !entry.pre_existing) {
            wanted.insert(network(&entry.observable)?);
        }
        if wanted == networks {
            return Ok(());
        }
        if wanted.len() > SET_MAX && wanted.len() > networks.len() {
            return Err(Fault::Rejected(format!(
                "target {}: the set of {kind} would hold more than {SET_MAX}",
                target.id
            )));
        }
        if ports.ip_sets().replace(arn, &IpSet { networks: wanted, lock_token }).await? {
            return Ok(());
        }
    }
    Err(Fault::Throttled(format!("target {}: the set of {kind} keeps changing", target.id)))
}

fn arn(target: &Target, kind: ObservableType) -> Result<&str, Fault> {
    let sets = target.ip_sets.as_ref();
    let arn = match kind {
        ObservableType::Ipv4Addr => sets.and_then(|sets| sets.ipv4.as_deref()),
        ObservableType::Ipv6Addr => sets.and_then(|sets| sets.ipv6.as_deref()),
        _ => None,
    };
    arn.ok_or_else(|| Fault::Misconfigured(format!("target {}: no IP set is named for {kind}", target.id)))
}
