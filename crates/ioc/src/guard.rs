//! What can never be anybody's indicator: reserved addresses, special-use names, public suffixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// IANA special-purpose registry for IPv4 (RFC 6890 and its updates), narrow ranges before wide ones.
const IPV4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 32, "unspecified"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// IANA special-purpose registry for IPv6, narrow ranges before wide ones.
const IPV6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "nat64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmarking"),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, "orchid"),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, "orchid"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

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
    let bits = ip.to_bits();
    let within = |net: &Ipv4Addr, len: u8| (bits ^ net.to_bits()).leading_zeros() >= u32::from(len);
    IPV4.iter().find(|(net, len, _)| within(net, *len)).map(|(_, _, name)| *name)
}

fn reserved_ipv6(ip: Ipv6Addr) -> Option<&'static str> {
    let bits = ip.to_bits();
    let within = |net: &Ipv6Addr, len: u8| (bits ^ net.to_bits()).leading_zeros() >= u32::from(len);
    if let Some((_, _, name)) = IPV6.iter().find(|(net, len, _)| within(net, *len)) {
        return Some(name);
    }
    if let Some(name) = embedded_ipv4(ip).into_iter().flatten().find_map(reserved_ipv4) {
        return Some(name);
    }
    // Embedded addresses that are global themselves: the wrapping decides.
    let [first, second, ..] = ip.segments();
    match (first, second) {
        (0x64, 0xff9b) => Some("nat64"),
        (0x2001, 0) => Some("teredo"),
        (0x2001, 0..=0x1ff) => Some("protocol assignments"),
        _ if ip.to_ipv4_mapped().is_some() || (0x2000..0x4000).contains(&first) => None,
        // Only 2000::/3 is allocated as global unicast (IANA IPv6 address space registry).
        _ => Some("reserved"),
    }
}

/// The IPv4 addresses that an IPv6 address carries.
fn embedded_ipv4(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => [Some(join(g, h)), None],
        (0x2002, ..) => [Some(join(b, c)), None],
        // Teredo (RFC 4380): the server in clear, the client inverted.
        (0x2001, 0, ..) => [Some(join(c, d)), Some(join(!g, !h))],
        (.., 0 | 0x200, 0x5efe) => [Some(join(g, h)), None],
        _ => [None, None],
    }
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

/// The special use that `domain` (canonical) is set aside for, if any.
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
