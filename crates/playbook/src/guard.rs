//! The guard: what must never be written to any target, whatever anybody says of it.
//!
//! It marks at extraction, shapes the plan and refuses in every writer. It changes the plan, never the verdict.

use std::net::IpAddr;

use ioc::{Observable, ObservableType};

use crate::{
    incident::Withheld,
    policy::{DocumentationRanges, Policy},
};

/// Why an observable is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Of which sort.
    pub withheld: Withheld,
    /// What a person reads, such as `own domain corp[.]example`.
    pub reason: String,
}

/// The guard of one policy.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    policy: &'a Policy,
    hosts: &'a [String],
}

impl<'a> Guard<'a> {
    /// The guard of a policy; `hosts` are the names of providers, targets and the review page.
    #[must_use]
    pub const fn new(policy: &'a Policy, hosts: &'a [String]) -> Self {
        Self { policy, hosts }
    }

    /// Why this observable must never be written; `None` when it may.
    #[must_use]
    pub fn check(&self, observable: &Observable) -> Option<Guarded> {
        match observable.kind() {
            ObservableType::Ipv4Addr | ObservableType::Ipv6Addr => {
                observable.value().parse().ok().and_then(|address| self.check_address(address))
            }
            ObservableType::DomainName => self.check_domain(observable.value(), true),
            // Of a URL or a mail address the host decides; being a public suffix is no reason there.
            ObservableType::Url | ObservableType::EmailAddr => {
                let Some(host) = observable.host() else {
                    let reason = "its host is no public name".to_owned();
                    return Some(Guarded { withheld: Withheld::Reserved, reason });
                };
                match host.kind() {
                    ObservableType::DomainName => self.check_domain(host.value(), false),
                    _ => self.check(&host),
                }
            }
            ObservableType::File => None,
        }
    }

    fn check_address(&self, address: IpAddr) -> Option<Guarded> {
        if let Some(network) = self.policy.own.networks.iter().find(|network| network.contains(&address)) {
            return Some(Guarded { withheld: Withheld::Own, reason: format!("own network {network}") });
        }
        let range = ioc::guard::reserved_address(address)?;
        (!(range.is_documentation() && self.documentation_is_public()))
            .then(|| Guarded { withheld: Withheld::Reserved, reason: format!("reserved address ({})", range.name()) })
    }

    fn check_domain(&self, domain: &str, is_whole: bool) -> Option<Guarded> {
        if let Some(zone) = self.policy.own.domains.iter().find(|zone| ioc::guard::is_within(domain, &canonical(zone)))
        {
            return Some(Guarded { withheld: Withheld::Own, reason: format!("own domain {}", ioc::defang_text(zone)) });
        }
        let is_above = |name: &str| is_whole && ioc::guard::is_within(name, domain);
        if self.policy.own.domains.iter().any(|zone| is_above(&canonical(zone))) {
            let reason = "one of our own domains lies below it".to_owned();
            return Some(Guarded { withheld: Withheld::Own, reason });
        }
        if self.hosts.iter().any(|host| host == domain || is_above(host)) {
            return Some(Guarded {
                withheld: Withheld::Infrastructure,
                reason: "a host that the playbook itself uses".to_owned(),
            });
        }
        if let Some(name) = ioc::guard::special_use_name(domain)
            && !(name.is_documentation() && self.documentation_is_public())
        {
            return Some(Guarded {
                withheld: Withheld::Reserved,
                reason: format!("special-use name ({})", name.name()),
            });
        }
        (is_whole && ioc::guard::is_public_suffix(domain)).then(|| Guarded {
            withheld: Withheld::Infrastructure,
            reason: "public suffix: everybody below it would be hit".to_owned(),
        })
    }

    fn documentation_is_public(&self) -> bool {
        self.policy.guard.documentation_ranges == DocumentationRanges::AsPublic
    }
}

fn canonical(zone: &str) -> String {
    Observable::parse(ObservableType::DomainName, zone)
        .map_or_else(|_| zone.to_ascii_lowercase(), |o| o.value().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: ObservableType, value: &str, documentation: DocumentationRanges, expected: Option<&str>) {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.guard.documentation_ranges = documentation;
        policy.own.networks = vec!["198.51.100.0/28".parse().unwrap()];
        let hosts = ["api.abuseipdb.com".to_owned()];
        let observable = Observable::parse(kind, value).unwrap();
        let guarded = Guard::new(&policy, &hosts).check(&observable).map(|guarded| guarded.reason);
        match (&guarded, expected) {
            (Some(reason), Some(part)) => assert!(reason.contains(part), "{value}: {reason}"),
            _ => assert_eq!(guarded.as_deref(), expected, "{value}"),
        }
    }

    #[test]
    fn what_must_never_be_blocked_never_is() {
        use DocumentationRanges::{AsPublic, Reserved};
        use ObservableType::{DomainName, EmailAddr, Ipv4Addr, Ipv6Addr, Url};
        check(Ipv4Addr, "8.8.8.8", Reserved, None);
        check(Ipv4Addr, "10.1.2.3", AsPublic, Some("private"));
        check(Ipv4Addr, "127.0.0.1", AsPublic, Some("loopback"));
        check(Ipv4Addr, "192.0.2.7", Reserved, Some("documentation"));
        check(Ipv4Addr, "192.0.2.7", AsPublic, None);
        check(Ipv4Addr, "198.51.100.9", AsPublic, Some("own network"));
        check(Ipv6Addr, "fd00::1", AsPublic, Some("private"));
        check(DomainName, "corp.example", AsPublic, Some("own domain"));
        check(DomainName, "a.b.corp.example", AsPublic, Some("own domain"));
        check(DomainName, "notcorp.example", AsPublic, None);
        check(DomainName, "github.io", AsPublic, Some("public suffix"));
        check(DomainName, "evil.example", Reserved, Some("special-use"));
        check(DomainName, "api.abuseipdb.com", AsPublic, Some("playbook itself"));
        check(DomainName, "abuseipdb.com", AsPublic, Some("playbook itself"));
        check(Url, "https://portal.corp.example/login", AsPublic, Some("own domain"));
        check(Url, "https://10.0.0.1/x", AsPublic, Some("private"));
        check(Url, "http://intranet/x", AsPublic, Some("no public name"));
        check(Url, "https://evil.example/corp.example", AsPublic, None);
        check(EmailAddr, "mia@corp.example", AsPublic, Some("own domain"));
    }
}
