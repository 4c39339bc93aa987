//! Canonical forms: what each type of value must look like, and how it is spelled once and for all.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use url::{Position, Url};

use crate::guard;

/// RFC 1035: the longest name, and the longest label, in bytes.
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;
/// RFC 5321: the longest local part in bytes.
const LOCAL_PART_MAX_BYTES: usize = 64;

/// Why a text is not a value of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not four decimal octets.
    #[error("not an IPv4 address in dotted decimal")]
    NotIpv4,
    /// Not an IPv6 address.
    #[error("not an IPv6 address")]
    NotIpv6,
    /// A label is empty, too long, or holds a character that no host name has.
    #[error("not a host name")]
    NotAName,
    /// A name needs at least two labels.
    #[error("a domain name needs at least two labels")]
    SingleLabel,
    /// The name itself is one under which others register, such as `co.uk`.
    #[error("a public suffix, not a domain name")]
    PublicSuffix,
    /// The last label is no top-level domain and no special-use name.
    #[error("under no known top-level domain")]
    UnknownSuffix,
    /// Not a URL at all.
    #[error("not an absolute URL")]
    NotAUrl,
    /// A URL, but of a scheme that fetches nothing from a host.
    #[error("not a URL of a scheme that reaches a host")]
    UnsupportedScheme,
    /// Not a local part, `@` and a domain.
    #[error("not an e-mail address")]
    NotAnEmail,
    /// Not 32, 40 or 64 hexadecimal digits.
    #[error("not a digest of 32, 40 or 64 hexadecimal digits")]
    NotADigest,
    /// Digests beside a value that is no file.
    #[error("hashes beside a value that is not a file")]
    HashesOfNoFile,
    /// The value is not the strongest of the digests beside it.
    #[error("the value is not the strongest of its hashes")]
    HashesDisagree,
}

/// What a URL or an e-mail address points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address literal.
    Address(IpAddr),
    /// A canonical domain name.
    Name(String),
}

/// Dotted decimal, without leading zeros.
pub fn ipv4(text: &str) -> Result<Ipv4Addr, ParseError> {
    text.parse().map_err(|_| ParseError::NotIpv4)
}

/// Any textual form of RFC 4291.
pub fn ipv6(text: &str) -> Result<Ipv6Addr, ParseError> {
    text.parse().map_err(|_| ParseError::NotIpv6)
}

/// A domain name in lower-case A-labels under a known suffix.
pub fn domain(text: &str) -> Result<String, ParseError> {
    let name = host_name(text.strip_suffix('.').unwrap_or(text))?.into_owned();
    if !name.contains('.') {
        return Err(ParseError::SingleLabel);
    }
    if guard::is_special_use_tld(&name) {
        return Ok(name);
    }
    if !guard::has_known_suffix(&name) {
        return Err(ParseError::UnknownSuffix);
    }
    if guard::is_icann_suffix(&name) {
        return Err(ParseError::PublicSuffix);
    }
    Ok(name)
}

/// A host name of at least two labels, under whatever suffix, that is no number.
pub fn dotted_name(text: &str) -> Result<Cow<'_, str>, ParseError> {
    let name = host_name(text.strip_suffix('.').unwrap_or(text))?;
    let tld = name.rsplit('.').next().unwrap_or("");
    if tld.len() == name.len() {
        return Err(ParseError::SingleLabel);
    }
    if tld.len() >= 2 && tld.bytes().any(|b| b.is_ascii_alphabetic()) { Ok(name) } else { Err(ParseError::NotAName) }
}

/// The A-label form of a host name; underscores allowed, as in service names.
fn host_name(text: &str) -> Result<Cow<'_, str>, ParseError> {
    if text.is_empty() || text.len() > 4 * NAME_MAX_BYTES {
        return Err(ParseError::NotAName);
    }
    let name = match ascii_name(text) {
        Some(name) => name,
        None => Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Verify)
            .map_err(|_| ParseError::NotAName)?,
    };
    if name.len() <= NAME_MAX_BYTES && name.split('.').all(is_label) { Ok(name) } else { Err(ParseError::NotAName) }
}

/// ASCII names are taken as they are: a malformed `xn--` label cannot be displayed, but it can be registered and resolved.
fn ascii_name(text: &str) -> Option<Cow<'_, str>> {
    if !text.is_ascii() {
        return None;
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(Cow::Owned(text.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(text))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_MAX_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The host of a URL or an e-mail address: an address literal, with or without brackets, or a domain.
pub fn host(text: &str) -> Result<Host, ParseError> {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let bare = literal.strip_prefix("IPv6:").unwrap_or(literal);
        return bare.parse().map(Host::Address).map_err(|_| ParseError::NotIpv6);
    }
    match ipv4(text) {
        Ok(address) => Ok(Host::Address(address.into())),
        Err(_) => domain(text).map(Host::Name),
    }
}

/// A URL as WHATWG writes it.
pub fn url(text: &str) -> Result<String, ParseError> {
    let (scheme, rest) = text.split_once("://").ok_or(ParseError::NotAUrl)?;
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "http" | "https" | "ftp" | "ws" | "wss" => special_url(&scheme, rest),
        // The standard knows no rules for these hosts: they are read as https and keep their own scheme.
        "ftps" | "sftp" | "tcp" | "udp" | "ldap" | "ldaps" => {
            // Whichever of the two does not take the port for its own default and drop it.
            let stand_in = if rest.contains(":443") { "ftp" } else { "https" };
            let url = special_url(stand_in, rest)?;
            Ok(url.replacen(stand_in, &scheme, 1))
        }
        _ => Err(ParseError::UnsupportedScheme),
    }
}

fn special_url(scheme: &str, rest: &str) -> Result<String, ParseError> {
    let parsed = match Url::parse(&format!("{scheme}://{rest}")) {
        Ok(url) => url.into(),
        Err(url::ParseError::IdnaError) => odd_host_url(scheme, rest)?,
        Err(_) => return Err(ParseError::NotAUrl),
    };
    Ok(parsed)
}

/// A URL whose host has a malformed `xn--` label: canonical but for the host, which is taken as spelled.
fn odd_host_url(scheme: &str, rest: &str) -> Result<String, ParseError> {
    let authority_end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let (userinfo, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = host_port.split_once(':').unwrap_or((host_port, ""));
    if !host.is_ascii() {
        return Err(ParseError::NotAUrl);
    }
    let host = host_name(host)?;
    let stand_in =
        Url::parse(&format!("{scheme}://{userinfo}@host.invalid:{port}{tail}")).map_err(|_| ParseError::NotAUrl)?;
    let (before, after) = (&stand_in[..Position::BeforeHost], &stand_in[Position::AfterHost..]);
    Ok(format!("{before}{host}{after}"))
}

/// The host of a canonical URL, brackets kept.
pub fn url_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    if host_port.starts_with('[') {
        return host_port.split_inclusive(']').next();
    }
    host_port.split(':').next()
}

/// An e-mail address: local part as spelled, domain canonical.
pub fn email(text: &str) -> Result<String, ParseError> {
    let (local, domain) = text.rsplit_once('@').ok_or(ParseError::NotAnEmail)?;
    if local.is_empty() || local.len() > LOCAL_PART_MAX_BYTES || !local.chars().all(is_local_char) {
        return Err(ParseError::NotAnEmail);
    }
    if let Ok(address) = ipv4(domain) {
        return Ok(format!("{local}@{address}"));
    }
    if domain.starts_with('[') {
        return match host(domain)? {
            Host::Address(IpAddr::V4(address)) => Ok(format!("{local}@[{address}]")),
            Host::Address(IpAddr::V6(address)) => Ok(format!("{local}@[IPv6:{address}]")),
            Host::Name(_) => Err(ParseError::NotAnEmail),
        };
    }
    dotted_name(domain).map(|name| format!("{local}@{name}"))
}

/// RFC 5321 `atext` and dot, and RFC 6531 letters.
pub fn is_local_char(c: char) -> bool {
    c.is_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// The domain of a canonical e-mail address.
pub fn email_domain(email: &str) -> Option<&str> {
    email.rsplit_once('@').map(|(_, domain)| domain)
}
