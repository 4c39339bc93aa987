//! Hosts with private addresses that calls may go to: each by its exact name, and inside the network that is named with it.

use std::net::IpAddr;

use ioc::{Observable, ObservableType};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The most that a policy may name.
pub const PRIVATE_HOSTS_MAX: usize = 50;

/// Which private addresses calls may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Hosts of providers, targets and feeds inside a private network; at most 50.
    #[serde(default)]
    pub private: Vec<PrivateHost>,
}

/// A host with a private address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PrivateHost {
    /// The whole name, in lower case, as the manifest spells it; nothing below it is meant.
    pub host: String,
    /// The network that its addresses lie in: of RFC 1918, 100.64.0.0/10 or RFC 4193.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub cidr: IpNet,
}

impl PrivateHost {
    /// Whether a connection to `host` may go to this address. Loopback, link-local and metadata addresses never pass, whatever
    /// the network says.
    #[must_use]
    pub fn admits(&self, host: &str, address: IpAddr) -> bool {
        self.host == host && self.cidr.contains(&address) && ioc::guard::is_private_address(address)
    }
}

impl Network {
    pub(super) fn is_empty(&self) -> bool {
        self.private.is_empty()
    }

    /// Everything that is wrong, a sentence each.
    pub(super) fn faults(&self, faults: &mut Vec<String>) {
        let named = self.private.len();
        if named > PRIVATE_HOSTS_MAX {
            faults.push(format!("network.private: {named} hosts; at most {PRIVATE_HOSTS_MAX}"));
        }
        for (number, PrivateHost { host, cidr }) in self.private.iter().enumerate() {
            let is_name = Observable::parse(ObservableType::DomainName, host).is_ok_and(|name| name.value() == host);
            if !is_name {
                faults.push(format!(
                    "network.private[{number}].host: {host:?} is not a whole DNS name in lower case, without scheme, port or star"
                ));
            }
            if *cidr != cidr.trunc() {
                let meant = cidr.trunc();
                faults.push(format!(
                    "network.private[{number}].cidr: {cidr} is an address in a network; {meant} is the network"
                ));
            } else if !ioc::guard::is_private_network(*cidr) {
                faults.push(format!(
                    "network.private[{number}].cidr: {cidr} is not private; only networks within 10.0.0.0/8, 172.16.0.0/12, \
                     192.168.0.0/16, 100.64.0.0/10 and fc00::/7 are, and no metadata service"
                ));
            }
            if self.private.iter().take(number).any(|before| before.host == *host && before.cidr == *cidr) {
                faults.push(format!("network.private[{number}]: {host:?} with {cidr} is there twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn policy(private: &str) -> Policy {
        let shipped = include_str!("../../../../playbook/policy.yaml");
        serde_saphyr::from_str(&shipped.replacen("  private: []", &format!("  private: {private}"), 1)).unwrap()
    }

    #[test]
    fn a_host_with_its_network_is_no_fault() {
        for private in [
            "[]",
            "[{host: misp.corp.example, cidr: 10.20.0.0/16}]",
            "[{host: misp.corp.internal, cidr: 172.16.4.9/32}, {host: jira.lan, cidr: \"fd12:3456:789a::/48\"}]",
            "[{host: a.example, cidr: 192.168.0.0/16}, {host: a.example, cidr: 100.64.0.0/10}]",
        ] {
            assert_eq!(policy(private).faults(), Vec::<String>::new(), "{private}");
        }
    }

    #[test]
    fn what_is_not_a_host_in_a_private_network_is_a_fault() {
        let check = |private: &str, expected: &str| {
            let faults = policy(private).faults();
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{private}: {faults:?}");
        };
        for host in [
            "misp",
            "*.corp.example",
            ".corp.example",
            "Misp.corp.example",
            "10.1.2.3",
            "a.example.",
            "a.example:8443",
            "",
        ] {
            let private = format!("[{{host: {host:?}, cidr: 10.0.0.0/8}}]");
            check(&private, "network.private[0].host");
        }
        for cidr in [
            "8.8.8.0/24",
            "0.0.0.0/0",
            "127.0.0.0/8",
            "169.254.169.254/32",
            "192.0.2.0/24",
            "224.0.0.0/8",
            "::/0",
            "::1/128",
            "fe80::/10",
            "64:ff9b::/96",
            "::ffff:10.0.0.0/104",
            "fd00:ec2::/32",
        ] {
            check(&format!("[{{host: a.example, cidr: \"{cidr}\"}}]"), "network.private[0].cidr");
        }
        check("[{host: a.example, cidr: 10.1.2.3/8}]", "10.0.0.0/8 is the network");
        let twice = "[{host: a.example, cidr: 10.0.0.0/8}, {host: b.example, cidr: 10.0.0.0/8}, {host: a.example, cidr: 10.0.0.0/8}]";
        check(twice, "network.private[2]: \"a.example\" with 10.0.0.0/8 is there twice");
        let hosts: Vec<String> = (0..=50).map(|n| format!("{{host: h{n}.example, cidr: 10.0.0.0/8}}")).collect();
        check(&format!("[{}]", hosts.join(", ")), "network.private: 51 hosts; at most 50");
    }

    #[test]
    fn a_network_that_is_none_and_a_key_that_nobody_knows_are_errors_with_their_line() {
        let shipped = include_str!("../../../../playbook/policy.yaml");
        for (private, expected) in [
            ("\n    - {host: a.example, cidr: ten}", "invalid"),
            ("\n    - {host: a.example, cidr: 10.0.0.0/8, port: 8443}", "port"),
            ("\n    - {host: a.example}", "cidr"),
        ] {
            let yaml = shipped.replacen("  private: []", &format!("  private:{private}"), 1);
            let error = serde_saphyr::from_str::<Policy>(&yaml).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("line"), "{error}");
        }
    }

    #[test]
    fn only_this_host_inside_its_network_is_admitted() {
        let check = |cidr: &str, host: &str, address: &str, expected| {
            let private = PrivateHost { host: "misp.example".to_owned(), cidr: cidr.parse().unwrap() };
            assert_eq!(private.admits(host, address.parse().unwrap()), expected, "{cidr} {host} {address}");
        };
        check("10.20.0.0/16", "misp.example", "10.20.3.4", true);
        check("10.20.0.0/16", "misp.example", "10.21.3.4", false);
        check("10.20.0.0/16", "misp.example", "::ffff:10.20.3.4", false);
        check("10.20.0.0/16", "a.misp.example", "10.20.3.4", false);
        check("10.20.0.0/16", "example", "10.20.3.4", false);
        check("fd00::/8", "misp.example", "fd00::7", true);
        // Whatever policy says, and though no check has seen it.
        check("fd00::/8", "misp.example", "fd00:ec2::254", false);
        check("100.64.0.0/10", "misp.example", "100.100.100.200", false);
        check("0.0.0.0/0", "misp.example", "127.0.0.1", false);
        check("0.0.0.0/0", "misp.example", "169.254.169.254", false);
        check("0.0.0.0/0", "misp.example", "1.1.1.1", false);
        check("::/0", "misp.example", "::1", false);
        check("::/0", "misp.example", "fe80::1", false);
        check("::/0", "misp.example", "64:ff9b::a00:1", false);
    }
}
