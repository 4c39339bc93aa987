//! Reads a request as its provider would: which observable is it about?

use ioc::{HashAlgorithm, Observable, ObservableType};
use serde_json::Value;

use super::Provider;

/// Why a request was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// The provider has no such endpoint.
    Endpoint,
    /// The endpoint is right, what is asked is not.
    Input,
}

/// The observable that the request asks about.
pub fn observable(provider: Provider, method: &str, path_and_query: &str, body: &[u8]) -> Result<Observable, Misread> {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let segments: Vec<String> = path.strip_prefix('/').unwrap_or(path).split('/').map(|s| percent(s, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let form = || pairs(&String::from_utf8_lossy(body));
    match (provider, method, segments.as_slice()) {
        (Provider::Urlhaus, "POST", ["v1", "url", ""]) => parse(ObservableType::Url, field(&form(), "url")),
        (Provider::Urlhaus, "POST", ["v1", "host", ""]) => {
            let form = form();
            let host = field(&form, "host");
            parse(ObservableType::Ipv4Addr, host).or_else(|_| parse(ObservableType::DomainName, host))
        }
        (Provider::Urlhaus, "POST", ["v1", "payload", ""]) => {
            let form = form();
            digest(field(&form, "sha256_hash"), HashAlgorithm::Sha256)
                .or_else(|_| digest(field(&form, "md5_hash"), HashAlgorithm::Md5))
        }
        (Provider::Threatfox, "POST", ["api", "v1", ""]) => {
            let asked: Value = serde_json::from_slice(body).map_err(|_| Misread::Input)?;
            match (asked.get("query").and_then(Value::as_str), asked.get("search_term").and_then(Value::as_str)) {
                (Some("search_ioc"), Some(term)) => Observable::parse_any(term).map_err(|_| Misread::Input),
                _ => Err(Misread::Input),
            }
        }
        (Provider::Malwarebazaar, "POST", ["api", "v1", ""]) => {
            let form = form();
            match field(&form, "query") {
                "get_info" => parse(ObservableType::File, field(&form, "hash")),
                _ => Err(Misread::Input),
            }
        }
        (Provider::Abuseipdb, "GET", ["api", "v2", "check"]) => {
            let query = pairs(query);
            let address = field(&query, "ipAddress");
            parse(ObservableType::Ipv4Addr, address).or_else(|_| parse(ObservableType::Ipv6Addr, address))
        }
        (Provider::Hashlookup, "GET", ["lookup", "md5", hex]) => digest(hex, HashAlgorithm::Md5),
        (Provider::Hashlookup, "GET", ["lookup", "sha1", hex]) => digest(hex, HashAlgorithm::Sha1),
        (Provider::Hashlookup, "GET", ["lookup", "sha256", hex]) => digest(hex, HashAlgorithm::Sha256),
        (Provider::Virustotal, "GET", ["api", "v3", collection, id]) => virustotal(collection, id),
        (Provider::Otx, "GET", ["api", "v1", "indicators", kind, value, "general"]) => otx(kind, value),
        (Provider::Urlscan, "GET", ["api", "v1", "search", ""]) => urlscan(field(&pairs(query), "q")),
        (Provider::Rdap, "GET", ["domain", name]) => parse(ObservableType::DomainName, name),
        (Provider::Rdap, "GET", ["ip", address]) => {
            parse(ObservableType::Ipv4Addr, address).or_else(|_| parse(ObservableType::Ipv6Addr, address))
        }
        _ => Err(Misread::Endpoint),
    }
}

fn virustotal(collection: &str, id: &str) -> Result<Observable, Misread> {
    match collection {
        "ip_addresses" => parse(ObservableType::Ipv4Addr, id).or_else(|_| parse(ObservableType::Ipv6Addr, id)),
        "domains" => parse(ObservableType::DomainName, id),
        "files" => parse(ObservableType::File, id),
        "urls" => {
            let url = data_encoding::BASE64URL_NOPAD.decode(id.as_bytes()).map_err(|_| Misread::Input)?;
            parse(ObservableType::Url, &String::from_utf8_lossy(&url))
        }
        _ => Err(Misread::Endpoint),
    }
}

fn otx(kind: &str, value: &str) -> Result<Observable, Misread> {
    match kind {
        "IPv4" => parse(ObservableType::Ipv4Addr, value),
        "IPv6" => parse(ObservableType::Ipv6Addr, value),
        "domain" | "hostname" => parse(ObservableType::DomainName, value),
        "url" => parse(ObservableType::Url, value),
        "file" => parse(ObservableType::File, value),
        _ => Err(Misread::Endpoint),
    }
}

/// One term of the search language: `page.domain:NAME`, `page.ip:"ADDRESS"` or `hash:DIGEST`.
fn urlscan(term: &str) -> Result<Observable, Misread> {
    let (field, value) = term.split_once(':').ok_or(Misread::Input)?;
    let value = value.trim_matches('"');
    match field {
        "page.domain" => parse(ObservableType::DomainName, value),
        "page.ip" => parse(ObservableType::Ipv4Addr, value).or_else(|_| parse(ObservableType::Ipv6Addr, value)),
        "hash" => digest(value, HashAlgorithm::Sha256),
        _ => Err(Misread::Input),
    }
}

fn parse(kind: ObservableType, text: &str) -> Result<Observable, Misread> {
    Observable::parse(kind, text).map_err(|_| Misread::Input)
}

fn digest(hex: &str, algorithm: HashAlgorithm) -> Result<Observable, Misread> {
    if HashAlgorithm::of_hex(hex) == Some(algorithm) { parse(ObservableType::File, hex) } else { Err(Misread::Input) }
}

fn field<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
}

/// `a=1&b=2`, as in a query or a form.
fn pairs(text: &str) -> Vec<(String, String)> {
    let split = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent(name, true), percent(value, true))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

/// Undoes percent encoding; in forms `+` is a space.
fn percent(text: &str, is_form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%');
        let decoded = pair.and_then(|pair| data_encoding::HEXLOWER_PERMISSIVE.decode(pair).ok());
        if let Some([byte]) = decoded.as_deref() {
            bytes.push(*byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(if is_form && *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        let check = |text: &str, is_form, expected: &str| assert_eq!(percent(text, is_form), expected, "{text}");
        check("http%3A%2f%2Fevil.example%2F", true, "http://evil.example/");
        check("a+b%20c", true, "a b c");
        check("a+b", false, "a+b");
        check("100%", true, "100%");
        check("%zz%4", true, "%zz%4");
        check("%C3%A9", true, "é");
    }

    #[test]
    fn only_the_providers_own_endpoints_are_understood() {
        let check = |provider, method: &str, path: &str, body: &str, expected| {
            assert_eq!(observable(provider, method, path, body.as_bytes()).err(), Some(expected), "{method} {path}");
        };
        check(Provider::Urlhaus, "GET", "/v1/url/", "", Misread::Endpoint);
        check(Provider::Urlhaus, "POST", "/v1/url", "url=http://a.example/", Misread::Endpoint);
        check(Provider::Urlhaus, "POST", "/v1/url/", "host=a.example", Misread::Input);
        check(Provider::Urlhaus, "POST", "/v1/payload/", "sha256_hash=abc", Misread::Input);
        check(Provider::Threatfox, "POST", "/api/v1/", "query=search_ioc", Misread::Input);
        check(Provider::Threatfox, "POST", "/api/v1/", r#"{"query":"get_iocs"}"#, Misread::Input);
        check(Provider::Malwarebazaar, "POST", "/api/v1/", "hash=abc", Misread::Input);
        check(Provider::Abuseipdb, "GET", "/api/v2/check?ip=192.0.2.7", "", Misread::Input);
        check(Provider::Hashlookup, "GET", "/lookup/sha256/abc", "", Misread::Input);
        check(Provider::Virustotal, "GET", "/api/v3/urls/***", "", Misread::Input);
        check(Provider::Virustotal, "GET", "/api/v3/groups/x", "", Misread::Endpoint);
        check(Provider::Otx, "GET", "/api/v1/indicators/IPv4/evil.example/general", "", Misread::Input);
        check(Provider::Otx, "GET", "/api/v1/pulses/x", "", Misread::Endpoint);
        check(Provider::Urlscan, "GET", "/api/v1/search/?q=evil.example", "", Misread::Input);
        check(Provider::Rdap, "GET", "/entity/x", "", Misread::Endpoint);
    }
}
