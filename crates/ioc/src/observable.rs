//! An observable: a typed value that was seen, in canonical form, without judgement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::parse::{self, ParseError};

/// The longest value that is spelled out in a key; longer ones are named by their SHA-256.
const KEY_VALUE_MAX_BYTES: usize = 512;

/// What an observable is, by its STIX 2.1 cyber-observable type name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ObservableType {
    /// An IPv4 address.
    #[serde(rename = "ipv4-addr")]
    Ipv4Addr,
    /// An IPv6 address.
    #[serde(rename = "ipv6-addr")]
    Ipv6Addr,
    /// A DNS name.
    #[serde(rename = "domain-name")]
    DomainName,
    /// An absolute URL with a host.
    #[serde(rename = "url")]
    Url,
    /// An e-mail address.
    #[serde(rename = "email-addr")]
    EmailAddr,
    /// A file, known by a digest of its content.
    #[serde(rename = "file")]
    File,
}

impl ObservableType {
    /// Every type, in the order in which observables sort.
    pub const ALL: [Self; 6] =
        [Self::Ipv4Addr, Self::Ipv6Addr, Self::DomainName, Self::Url, Self::EmailAddr, Self::File];

    /// The STIX type name, `ipv4-addr`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4-addr",
            Self::Ipv6Addr => "ipv6-addr",
            Self::DomainName => "domain-name",
            Self::Url => "url",
            Self::EmailAddr => "email-addr",
            Self::File => "file",
        }
    }
}

impl fmt::Display for ObservableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no [`ObservableType`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an observable type: {}", crate::visible(.0))]
pub struct UnknownType(String);

impl FromStr for ObservableType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| UnknownType(name.to_owned()))
    }
}

/// The algorithm of a digest, told by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithm {
    /// 32 hexadecimal digits.
    Md5,
    /// 40 hexadecimal digits.
    Sha1,
    /// 64 hexadecimal digits.
    Sha256,
}

impl HashAlgorithm {
    /// The algorithm whose digests are as long as `hex`; `None` where `hex` is no digest.
    #[must_use]
    pub fn of_hex(hex: &str) -> Option<Self> {
        let algorithm = match hex.len() {
            32 => Self::Md5,
            40 => Self::Sha1,
            64 => Self::Sha256,
            _ => return None,
        };
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(algorithm)
    }

    /// `md5`, `sha1` or `sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Digests of one file, lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hashes {
    /// 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Hashes {
    /// True when no digest is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.md5.is_none() && self.sha1.is_none() && self.sha256.is_none()
    }

    fn slot(&mut self, algorithm: HashAlgorithm) -> &mut Option<String> {
        match algorithm {
            HashAlgorithm::Md5 => &mut self.md5,
            HashAlgorithm::Sha1 => &mut self.sha1,
            HashAlgorithm::Sha256 => &mut self.sha256,
        }
    }

    /// Lower case throughout; `None` when a field holds anything but a digest of its own algorithm.
    fn canonical(mut self) -> Option<Self> {
        for algorithm in [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
            if let Some(hex) = self.slot(algorithm) {
                if HashAlgorithm::of_hex(hex) != Some(algorithm) {
                    return None;
                }
                hex.make_ascii_lowercase();
            }
        }
        Some(self)
    }

    fn strongest(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.sha1.as_deref()).or(self.md5.as_deref())
    }
}

/// A typed value that was seen, in canonical form, without judgement.
///
/// `Display` and `Debug` spell it defanged, so that a log line or a panic message never holds a live link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Observable {
    #[serde(rename = "type")]
    kind: ObservableType,
    value: String,
    #[serde(skip_serializing_if = "Hashes::is_empty")]
    hashes: Hashes,
}

/// An observable as it lies in a document: canonicalised again on the way in, because documents are edited.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "type")]
    kind: ObservableType,
    value: String,
    #[serde(default)]
    hashes: Hashes,
}

impl TryFrom<Stored> for Observable {
    type Error = ParseError;

    fn try_from(stored: Stored) -> Result<Self, ParseError> {
        let parsed = Self::parse(stored.kind, &stored.value)?;
        if stored.hashes.is_empty() {
            return Ok(parsed);
        }
        let mut hashes = stored.hashes;
        let algorithm = HashAlgorithm::of_hex(&parsed.value).ok_or(ParseError::HashesOfNoFile)?;
        hashes.slot(algorithm).get_or_insert_with(|| parsed.value.clone());
        let file = Self::file(hashes).ok_or(ParseError::NotADigest)?;
        if file.value == parsed.value { Ok(file) } else { Err(ParseError::HashesDisagree) }
    }
}

impl Observable {
    /// Canonicalises and validates `text` as a `kind`; the error says what is wrong, without repeating the text.
    ///
    /// | kind | canonical form |
    /// | --- | --- |
    /// | `ipv4-addr` | dotted decimal, no octet with a leading zero |
    /// | `ipv6-addr` | RFC 5952, without zone or brackets |
    /// | `domain-name` | lower-case A-labels, at least two, no trailing dot, under a known public suffix or a special-use name |
    /// | `url` | as WHATWG URL writes it; http, https, ftp, ftps, sftp, ws, wss, tcp, udp, ldap or ldaps; userinfo and fragment kept |
    /// | `email-addr` | local part as spelled, domain canonical or a bracketed address |
    /// | `file` | lower-case hexadecimal of 32, 40 or 64 digits |
    pub fn parse(kind: ObservableType, text: &str) -> Result<Self, ParseError> {
        let value = match kind {
            ObservableType::Ipv4Addr => parse::ipv4(text)?.to_string(),
            ObservableType::Ipv6Addr => parse::ipv6(text)?.to_string(),
            ObservableType::DomainName => parse::domain(text)?,
            ObservableType::Url => parse::url(text)?,
            ObservableType::EmailAddr => parse::email(text)?,
            ObservableType::File => {
                let algorithm = HashAlgorithm::of_hex(text).ok_or(ParseError::NotADigest)?;
                let mut hashes = Hashes::default();
                *hashes.slot(algorithm) = Some(text.to_ascii_lowercase());
                return Self::file(hashes).ok_or(ParseError::NotADigest);
            }
        };
        Ok(Self::canonical(kind, value))
    }

    /// Canonicalises `text` as whatever it is; an IPv4-mapped IPv6 address becomes the IPv4 address it stands for.
    pub fn parse_any(text: &str) -> Result<Self, ParseError> {
        if HashAlgorithm::of_hex(text).is_some() {
            return Self::parse(ObservableType::File, text);
        }
        if let Ok(address) = parse::ipv4(text) {
            return Ok(Self::canonical(ObservableType::Ipv4Addr, address.to_string()));
        }
        if let Ok(address) = parse::ipv6(text) {
            return Ok(Self::address(address.to_canonical()));
        }
        let kind = if text.contains("://") {
            ObservableType::Url
        } else if text.contains('@') {
            ObservableType::EmailAddr
        } else {
            ObservableType::DomainName
        };
        Self::parse(kind, text)
    }

    /// A file known by `hashes`: its value is the strongest digest, all are kept.
    ///
    /// `None` when there is no digest, or one that its algorithm cannot have made.
    #[must_use]
    pub fn file(hashes: Hashes) -> Option<Self> {
        let hashes = hashes.canonical()?;
        let value = hashes.strongest()?.to_owned();
        Some(Self { kind: ObservableType::File, value, hashes })
    }

    /// The observable of an address, by its family.
    pub(crate) fn address(address: std::net::IpAddr) -> Self {
        let kind = if address.is_ipv4() { ObservableType::Ipv4Addr } else { ObservableType::Ipv6Addr };
        Self::canonical(kind, address.to_string())
    }

    /// Trusts the caller that `value` is in canonical form.
    pub(crate) fn canonical(kind: ObservableType, value: String) -> Self {
        Self { kind, value, hashes: Hashes::default() }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> ObservableType {
        self.kind
    }

    /// The canonical value: live, not for display (see [`Observable::defanged`]).
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Every known digest of the same file; empty for other types.
    #[must_use]
    pub const fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// The identity under which it is stored: `ipv4-addr#192.0.2.7`, `file#sha256:<hex>`.
    ///
    /// A value of more than 512 bytes becomes `<type>#sha256=<hex>`, the SHA-256 of the value.
    #[must_use]
    pub fn key(&self) -> String {
        let Self { kind, value, .. } = self;
        if value.len() > KEY_VALUE_MAX_BYTES {
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(value.as_bytes()));
            return format!("{kind}#sha256={digest}");
        }
        match HashAlgorithm::of_hex(value) {
            Some(algorithm) if *kind == ObservableType::File => format!("{kind}#{algorithm}:{value}"),
            _ => format!("{kind}#{value}"),
        }
    }

    /// Spelled so that nobody can click it: `hxxps://evil[.]example/a`, `192[.]0[.]2[.]7`, `2001[:]db8[:][:]1`,
    /// `user[@]evil[.]example`; control, bidi and zero-width characters are shown as `\u{202e}`.
    #[must_use]
    pub fn defanged(&self) -> String {
        match self.kind {
            ObservableType::Ipv6Addr => self.value.replace(':', "[:]").replace('.', "[.]"),
            ObservableType::File => self.value.clone(),
            _ => crate::defang_text(&self.value),
        }
    }

    /// The host of a URL or the domain of an e-mail address as an observable of its own: an address or a domain.
    ///
    /// `None` for other types, and for a host that is neither, such as a single label.
    #[must_use]
    pub fn host(&self) -> Option<Self> {
        let host = match self.kind {
            ObservableType::Url => parse::url_host(&self.value)?,
            ObservableType::EmailAddr => parse::email_domain(&self.value)?,
            _ => return None,
        };
        match parse::host(host).ok()? {
            parse::Host::Address(address) => Some(Self::address(address)),
            parse::Host::Name(name) => Some(Self::canonical(ObservableType::DomainName, name)),
        }
    }
}

impl fmt::Display for Observable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.defanged())
    }
}

impl fmt::Debug for Observable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.defanged())
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashes, Observable, ObservableType};
    use crate::ParseError;

    const MD5: &str = "0123456789abcdef0123456789abcdef";
    const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(kind: &str, text: &str, expected: Result<&str, ParseError>) {
        let parsed = Observable::parse(kind.parse().unwrap(), text);
        assert_eq!(parsed.as_ref().map(Observable::value).map_err(|error| *error), expected, "{text:?}");
    }

    #[test]
    fn values_are_canonical() {
        check("ipv4-addr", "192.0.2.7", Ok("192.0.2.7"));
        check("ipv6-addr", "2001:0DB8:0:0:0:0:0:1", Ok("2001:db8::1"));
        check("domain-name", "WWW.Evil.Example.", Ok("www.evil.example"));
        check("domain-name", "b\u{fc}cher.example", Ok("xn--bcher-kva.example"));
        check("domain-name", "_dmarc.evil.example", Ok("_dmarc.evil.example"));
        check("domain-name", "evil.github.io", Ok("evil.github.io"));
        check("url", "HTTPS://Evil.Example:443/a/../b?c#d", Ok("https://evil.example/b?c#d"));
        check("url", "http://user:pass@evil.example", Ok("http://user:pass@evil.example/"));
        check("url", "sftp://evil.example:443/a", Ok("sftp://evil.example:443/a"));
        check("email-addr", "User@Evil.Example", Ok("User@evil.example"));
        check("file", "0123456789ABCDEF0123456789ABCDEF", Ok(MD5));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        check("ipv4-addr", "192.0.2.07", Err(ParseError::NotIpv4));
        check("ipv6-addr", "192.0.2.7", Err(ParseError::NotIpv6));
        check("domain-name", "example", Err(ParseError::SingleLabel));
        check("domain-name", "co.uk", Err(ParseError::PublicSuffix));
        check("domain-name", "evil.nope", Err(ParseError::UnknownSuffix));
        check("domain-name", "e vil.example", Err(ParseError::NotAName));
        check("domain-name", "-evil.example", Err(ParseError::NotAName));
        check("url", "evil.example/a", Err(ParseError::NotAUrl));
        check("url", "javascript://evil.example/a", Err(ParseError::UnsupportedScheme));
        check("email-addr", "evil.example", Err(ParseError::NotAnEmail));
        check("file", "0123", Err(ParseError::NotADigest));
        assert!("artifact".parse::<ObservableType>().is_err());
    }

    #[test]
    fn anything_is_parsed_as_what_it_is() {
        let check =
            |text: &str, expected: &str| assert_eq!(Observable::parse_any(text).unwrap().key(), expected, "{text:?}");
        check("192.0.2.7", "ipv4-addr#192.0.2.7");
        check("::ffff:192.0.2.7", "ipv4-addr#192.0.2.7");
        check("2001:db8::1", "ipv6-addr#2001:db8::1");
        check("evil.example", "domain-name#evil.example");
        check("https://user@evil.example", "url#https://user@evil.example/");
        check("user@evil.example", "email-addr#user@evil.example");
        check(MD5, "file#md5:0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn a_key_names_long_values_by_their_digest() {
        let url = |length: usize| {
            let start = "http://evil.example/";
            Observable::parse(ObservableType::Url, &format!("{start}{}", "a".repeat(length - start.len()))).unwrap()
        };
        assert_eq!(url(512).key().len(), 516);
        assert_eq!(url(513).key().len(), "url#sha256=".len() + 64);
        assert_ne!(url(513).key(), url(514).key());
    }

    #[test]
    fn nothing_shown_can_be_clicked() {
        let check = |text: &str, expected: &str| {
            let observable = Observable::parse_any(text).unwrap();
            assert_eq!(observable.defanged(), expected);
            assert_eq!(observable.to_string(), expected);
            assert_eq!(format!("{observable:?}"), format!("{} {expected}", observable.kind()));
        };
        check("192.0.2.7", "192[.]0[.]2[.]7");
        check("2001:db8::1", "2001[:]db8[:][:]1");
        check("evil.example", "evil[.]example");
        check("https://evil.example/a", "hxxps://evil[.]example/a");
        check("https://evil.example/a.php?u=http://b.example", "hxxps://evil[.]example/a[.]php?u=hxxp://b[.]example");
        check("user@evil.example", "user[@]evil[.]example");
        check(MD5, MD5);
    }

    #[test]
    fn urls_and_mails_have_hosts() {
        let check = |text: &str, expected: Option<&str>| {
            let host = Observable::parse_any(text).unwrap().host();
            assert_eq!(host.map(|host| host.key()).as_deref(), expected, "{text:?}");
        };
        check("https://user:pass@evil.example:8443/a@b", Some("domain-name#evil.example"));
        check("http://192.0.2.7/", Some("ipv4-addr#192.0.2.7"));
        check("http://[2001:db8::1]:80/", Some("ipv6-addr#2001:db8::1"));
        check("http://localhost/", None);
        check("user@evil.example", Some("domain-name#evil.example"));
        check("user@[192.0.2.7]", Some("ipv4-addr#192.0.2.7"));
        check("evil.example", None);
    }

    #[test]
    fn a_file_is_named_by_its_strongest_digest() {
        let file = Observable::file(Hashes { md5: Some(MD5.to_uppercase()), sha256: Some(SHA256.into()), sha1: None })
            .unwrap();
        assert_eq!(file.value(), SHA256);
        assert_eq!(file.hashes().md5.as_deref(), Some(MD5));
        assert_eq!(Observable::file(Hashes::default()), None);
        assert_eq!(Observable::file(Hashes { md5: Some(SHA256.into()), ..Hashes::default() }), None);
    }

    #[test]
    fn documents_are_canonicalised_on_the_way_in() {
        let read = |json: &str| serde_json::from_str::<Observable>(json).map_err(|error| error.to_string());
        let written = |json: &str| serde_json::to_string(&read(json).unwrap()).unwrap();
        let address = r#"{"type":"ipv4-addr","value":"192.0.2.7"}"#;
        assert_eq!(written(address), address);
        assert_eq!(
            written(r#"{"type":"domain-name","value":"Evil.Example."}"#),
            r#"{"type":"domain-name","value":"evil.example"}"#
        );
        let file = format!(r#"{{"type":"file","value":"{SHA256}","hashes":{{"md5":"{MD5}","sha256":"{SHA256}"}}}}"#);
        assert_eq!(written(&file), file);
        assert!(read(r#"{"type":"ipv4-addr","value":"evil"}"#).is_err());
        assert!(read(&format!(r#"{{"type":"file","value":"{MD5}","hashes":{{"sha256":"{SHA256}"}}}}"#)).is_err());
        assert!(
            read(&format!(r#"{{"type":"url","value":"http://evil.example/","hashes":{{"md5":"{MD5}"}}}}"#)).is_err()
        );
    }
}
