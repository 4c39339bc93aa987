//! What can never be anybody's indicator: reserved addresses, special-use names, public suffixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range of addresses that belongs to nobody on the Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRange {
    name: &'static str,
}

impl ReservedRange {
    /// Why the range is reserved, in a word or two: `private`, `loopback`, `documentation`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// True for the ranges that examples and demonstrations use (RFC 5737, RFC 3849, RFC 9637).
    #[must_use]
    pub fn is_documentation(self) -> bool {
        self.name == "documentation"
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// The network whose address starts with these 48 bits and goes on with zeros.
const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// IANA special-purpose registry for IPv4 (RFC 6890 and its updates), narrow ranges before wide ones.
const IPV4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 32), "unspecified"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(100, 64, 0, 0, 10), "shared"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// IANA special-purpose registry for IPv6, narrow ranges before wide ones.
const IPV6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (v6(0x64, 0xff9b, 1, 48), "nat64"),
    (v6(0x100, 0, 0, 64), "discard"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
    (v6(0x2001, 2, 0, 48), "benchmarking"),
    (v6(0x2001, 0x10, 0, 28), "orchid"),
    (v6(0x2001, 0x20, 0, 28), "orchid"),
    (v6(0x5f00, 0, 0, 16), "segment routing"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
];

/// What surrounds an embedded IPv4 address that is global itself.
const IPV6_WRAPPINGS: &[(Ipv6Net, &str)] = &[
    (v6(0x64, 0xff9b, 0, 96), "nat64"),
    (v6(0x2001, 0, 0, 32), "teredo"),
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
];

/// Where IPv6 addresses carry IPv4 addresses: the byte it starts at, and what its bits are flipped with.
///
/// Compatible and mapped (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo's server and client (RFC 4380).
const EMBEDDED: &[(Ipv6Net, usize, u8)] = &[
    (v6(0, 0, 0, 96), 12, 0),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), 12, 0),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), 12, 0),
    (v6(0x64, 0xff9b, 0, 96), 12, 0),
    (v6(0x2002, 0, 0, 16), 2, 0),
    (v6(0x2001, 0, 0, 32), 4, 0),
    (v6(0x2001, 0, 0, 32), 12, 0xff),
];

/// The only range allocated as global unicast (IANA IPv6 address space registry).
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Why `ip` can never be anybody's indicator; `None` for global unicast.
///
/// An IPv6 address that embeds an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) is judged by that one too.
#[must_use]
pub fn reserved_address(ip: IpAddr) -> Option<ReservedRange> {
    let name = match ip {
        IpAddr::V4(ip) => reserved_ipv4(ip),
        IpAddr::V6(ip) => reserved_ipv6(ip),
    };
    name.map(|name| ReservedRange { name })
}

fn reserved_ipv4(ip: Ipv4Addr) -> Option<&'static str> {
    IPV4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, name)| *name)
}

fn reserved_ipv6(ip: Ipv6Addr) -> Option<&'static str> {
    let named = |ranges: &'static [(Ipv6Net, &'static str)]| {
        ranges.iter().find(|(net, _)| net.contains(&ip)).map(|(_, name)| *name)
    };
    let is_global = || GLOBAL_UNICAST.contains(&ip) || ip.to_ipv4_mapped().is_some();
    named(IPV6)
        .or_else(|| embedded_ipv4(ip).into_iter().find_map(reserved_ipv4))
        .or_else(|| named(IPV6_WRAPPINGS))
        .or_else(|| (!is_global()).then_some("reserved"))
}

/// The IPv4 addresses that an IPv6 address carries.
fn embedded_ipv4(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = ip.octets();
    let at = |start: usize, flip: u8| {
        let bytes = octets.get(start..start + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(|bytes| Ipv4Addr::from(bytes.map(|byte| byte ^ flip)))
    };
    // ISATAP (RFC 5214) is told by the interface, not by the network.
    let isatap = octets.get(8..12).is_some_and(|id| matches!(id, [0 | 2, 0, 0x5e, 0xfe])).then(|| at(12, 0));
    let embedded = EMBEDDED.iter().filter(|(net, ..)| net.contains(&ip)).map(|(_, start, flip)| at(*start, *flip));
    embedded.chain(isatap).flatten().collect()
}

/// Networks whose addresses mean something else in every house: RFC 1918, RFC 6598 (shared), RFC 4193.
const PRIVATE: [IpNet; 5] = [
    IpNet::V4(v4(10, 0, 0, 0, 8)),
    IpNet::V4(v4(172, 16, 0, 0, 12)),
    IpNet::V4(v4(192, 168, 0, 0, 16)),
    IpNet::V4(v4(100, 64, 0, 0, 10)),
    IpNet::V6(v6(0xfc00, 0, 0, 7)),
];

/// Where in them clouds answer with keys and metadata of the machine that asks: AWS, Alibaba Cloud.
const METADATA: [IpNet; 2] = [IpNet::V6(v6(0xfd00, 0xec2, 0, 32)), IpNet::V4(v4(100, 100, 100, 200, 32))];

/// Whether all of a network is private: of RFC 1918, RFC 6598 or RFC 4193, and no cloud's metadata service.
#[must_use]
pub fn is_private_network(network: IpNet) -> bool {
    PRIVATE.iter().any(|private| private.contains(&network)) && !METADATA.iter().any(|never| never.contains(&network))
}

/// The same of one address.
#[must_use]
pub fn is_private_address(ip: IpAddr) -> bool {
    is_private_network(ip.into())
}

/// A name or zone set aside by a standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialUse {
    name: &'static str,
    is_documentation: bool,
}

impl SpecialUse {
    /// The zone that is set aside: `example`, `local`, `example.com`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// True for the names that examples and demonstrations use (RFC 2606: example, test, invalid, example.com, .net, .org).
    #[must_use]
    pub const fn is_documentation(self) -> bool {
        self.is_documentation
    }
}

/// Top-level names outside the public DNS, and whether they are for documentation.
///
/// RFC 2606, 6761 (test, invalid, localhost, example), 6762 (local and, in appendix G, what private networks use), 7686 (onion),
/// 8375 (home.arpa), 9476 (alt), ICANN 2024 (internal).
const SPECIAL_TLDS: &[(&str, bool)] = &[
    ("example", true),
    ("test", true),
    ("invalid", true),
    ("localhost", false),
    ("local", false),
    ("localdomain", false),
    ("internal", false),
    ("intranet", false),
    ("private", false),
    ("corp", false),
    ("home", false),
    ("lan", false),
    ("onion", false),
    ("alt", false),
    ("arpa", false),
];

/// RFC 2606, section 3.
const DOCUMENTATION_DOMAINS: &[&str] = &["example.com", "example.net", "example.org"];

/// The special use that `domain` (canonical) is set aside for, if any. Nothing below such a name resolves in the public DNS, except
/// `.onion`, which resolves elsewhere.
#[must_use]
pub fn special_use_name(domain: &str) -> Option<SpecialUse> {
    let tld = last_label(domain);
    if let Some((name, is_documentation)) = SPECIAL_TLDS.iter().find(|(name, _)| *name == tld) {
        return Some(SpecialUse { name, is_documentation: *is_documentation });
    }
    DOCUMENTATION_DOMAINS
        .iter()
        .find(|zone| is_within(domain, zone))
        .map(|name| SpecialUse { name, is_documentation: true })
}

fn last_label(domain: &str) -> &str {
    domain.rsplit('.').next().unwrap_or(domain)
}

/// True when `domain` ends in a top-level name outside the public DNS.
pub(crate) fn is_special_use_tld(domain: &str) -> bool {
    let tld = last_label(domain);
    SPECIAL_TLDS.iter().any(|(name, _)| *name == tld)
}

/// True when the public suffix list knows the suffix of `domain`.
pub(crate) fn has_known_suffix(domain: &str) -> bool {
    psl::suffix(domain.as_bytes()).is_some_and(|suffix| suffix.is_known())
}

/// True when `domain` is a suffix of the list's ICANN section, such as `co.uk`.
pub(crate) fn is_icann_suffix(domain: &str) -> bool {
    psl::suffix(domain.as_bytes())
        .is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann) && suffix.as_bytes() == domain.as_bytes())
}

/// True when others register names directly under `domain`: `com`, `co.uk`, `github.io` (the list's private section counts too).
#[must_use]
pub fn is_public_suffix(domain: &str) -> bool {
    psl::suffix(domain.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == domain.as_bytes())
}

/// The public suffix of `domain` and one label more; `None` for a public suffix itself.
#[must_use]
pub fn registrable_domain(domain: &str) -> Option<&str> {
    psl::domain_str(domain)
}

/// True when `domain` is `zone` or below it, label by label; both canonical.
#[must_use]
pub fn is_within(domain: &str, zone: &str) -> bool {
    !zone.is_empty() && domain.strip_suffix(zone).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{
        is_private_address, is_private_network, is_public_suffix, is_within, registrable_domain, reserved_address,
        special_use_name,
    };

    fn check(address: &str, expected: Option<&str>) {
        let range = reserved_address(address.parse().unwrap());
        assert_eq!(range.map(super::ReservedRange::name), expected, "{address}");
    }

    #[test]
    fn reserved_addresses_are_nobodys() {
        check("0.0.0.0", Some("unspecified"));
        check("0.1.2.3", Some("this network"));
        check("10.0.0.1", Some("private"));
        check("100.64.0.1", Some("shared"));
        check("100.127.255.255", Some("shared"));
        check("127.0.0.1", Some("loopback"));
        check("169.254.169.254", Some("link-local"));
        check("172.31.255.255", Some("private"));
        check("192.0.0.8", Some("protocol assignments"));
        check("192.0.2.7", Some("documentation"));
        check("192.168.1.1", Some("private"));
        check("198.19.0.1", Some("benchmarking"));
        check("198.51.100.7", Some("documentation"));
        check("203.0.113.7", Some("documentation"));
        check("224.0.0.1", Some("multicast"));
        check("240.0.0.1", Some("reserved"));
        check("255.255.255.255", Some("broadcast"));
        check("::", Some("unspecified"));
        check("::1", Some("loopback"));
        check("fc00::1", Some("private"));
        check("fe80::1", Some("link-local"));
        check("ff02::1", Some("multicast"));
        check("2001:db8::1", Some("documentation"));
        check("3fff::1", Some("documentation"));
        check("100::1", Some("discard"));
        check("64:ff9b:1::1", Some("nat64"));
        check("4000::1", Some("reserved"));
    }

    #[test]
    fn global_unicast_is_somebodys() {
        check("100.63.255.255", None);
        check("100.128.0.0", None);
        check("172.32.0.1", None);
        check("192.0.1.1", None);
        check("223.255.255.255", None);
        check("2600::1", None);
    }

    #[test]
    fn embedded_addresses_are_judged_too() {
        check("::ffff:10.0.0.1", Some("private"));
        check("::ffff:223.0.0.1", None);
        check("::127.0.0.1", Some("loopback"));
        check("::ffff:0:127.0.0.1", Some("loopback"));
        check("64:ff9b::10.0.0.1", Some("private"));
        check("64:ff9b::223.0.0.1", Some("nat64"));
        check("2002:7f00:1::", Some("loopback"));
        check("2002:df00:1::", None);
        check("2001:0:df00:1::f5ff:fffe", Some("private"));
        check("2001:0:df00:1::20ff:fffe", Some("teredo"));
        check("2600::5efe:10.0.0.1", Some("private"));
        check("2600::200:5efe:10.0.0.1", Some("private"));
    }

    #[test]
    fn private_is_what_a_house_gives_out_itself() {
        for network in
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.4.0/22", "100.64.0.0/10", "fd12:3456:789a::/48", "fc00::/7"]
        {
            assert!(is_private_network(network.parse().unwrap()), "{network}");
        }
        for network in [
            "0.0.0.0/0",
            "10.0.0.0/7",
            "172.32.0.0/12",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "169.254.169.254/32",
            "100.100.100.200/32",
            "192.0.2.0/24",
            "8.8.8.0/24",
            "224.0.0.0/4",
            "::/0",
            "::1/128",
            "::ffff:10.0.0.0/104",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2002:a00::/24",
            "2600::/16",
            "fd00:ec2::/32",
            "fd00:ec2::254/128",
            "fe80::/10",
            "ff00::/8",
        ] {
            assert!(!is_private_network(network.parse().unwrap()), "{network}");
        }
        for (address, expected) in [
            ("10.1.2.3", true),
            ("fd00::1", true),
            ("fd00:ec2::254", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("::ffff:10.1.2.3", false),
            ("1.1.1.1", false),
        ] {
            assert_eq!(is_private_address(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn special_names_are_told_with_their_use() {
        let check = |domain: &str, expected: Option<(&str, bool)>| {
            let special = special_use_name(domain).map(|special| (special.name(), special.is_documentation()));
            assert_eq!(special, expected, "{domain}");
        };
        check("evil.example", Some(("example", true)));
        check("example", Some(("example", true)));
        check("www.example.com", Some(("example.com", true)));
        check("notexample.com", None);
        check("a.test", Some(("test", true)));
        check("a.invalid", Some(("invalid", true)));
        check("printer.local", Some(("local", false)));
        check("home.arpa", Some(("arpa", false)));
        check("abc.onion", Some(("onion", false)));
        check("localhost", Some(("localhost", false)));
        check("example.de", None);
    }

    #[test]
    fn suffixes_are_where_others_register() {
        for suffix in ["com", "co.uk", "github.io"] {
            assert!(is_public_suffix(suffix), "{suffix}");
            assert_eq!(registrable_domain(suffix), None, "{suffix}");
        }
        assert!(!is_public_suffix("uk.com.example"));
        assert_eq!(registrable_domain("a.b.example.co.uk"), Some("example.co.uk"));
        assert_eq!(registrable_domain("a.github.io"), Some("a.github.io"));
    }

    #[test]
    fn a_zone_holds_whole_labels() {
        assert!(is_within("example.com", "example.com"));
        assert!(is_within("a.example.com", "example.com"));
        assert!(!is_within("notexample.com", "example.com"));
        assert!(!is_within("example.com", "a.example.com"));
        assert!(!is_within("example.com", ""));
    }
}
