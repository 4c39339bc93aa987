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
        (Provider::Shodan, "GET", ["shodan", "host", address]) => parse(ObservableType::Ipv4Addr, address),
        (Provider::HybridAnalysis, "GET", ["api", "v2", "search", "hash"]) => {
            parse(ObservableType::File, field(&pairs(query), "hash"))
        }
        (Provider::Triage, "GET", ["api", "v0", "search"]) => triage(field(&pairs(query), "query")),
        // A sample is called by its digest here.
        (Provider::Triage, "GET", ["api", "v0", "samples", id, "overview.json"]) => parse(ObservableType::File, id),
        _ => Err(Misread::Endpoint),
    }
}

/// Whether the request is the second step of a lookup.
pub fn is_second_step(provider: Provider, path_and_query: &str) -> bool {
    provider == Provider::Triage && path_and_query.starts_with("/api/v0/samples/")
}

/// Whether a parameter of the query is there and holds something.
pub fn has_parameter(path_and_query: &str, name: &str) -> bool {
    let query = path_and_query.split_once('?').map(|(_, query)| query).unwrap_or_default();
    !field(&pairs(query), name).trim().is_empty()
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

/// One term of the search language: `sha256:DIGEST`, `sha1:DIGEST` or `md5:DIGEST`.
fn triage(term: &str) -> Result<Observable, Misread> {
    let (algorithm, hex) = term.split_once(':').ok_or(Misread::Input)?;
    match HashAlgorithm::of_hex(hex) {
        Some(known) if known.as_str() == algorithm => parse(ObservableType::File, hex),
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
    fn an_empty_parameter_is_none() {
        let check = |path: &str, expected| assert_eq!(has_parameter(path, "key"), expected, "{path}");
        check("/shodan/host/192.0.2.7?key=k", true);
        check("/shodan/host/192.0.2.7?minify=true&key=k", true);
        check("/shodan/host/192.0.2.7?key=", false);
        check("/shodan/host/192.0.2.7?monkey=k", false);
        check("/shodan/host/192.0.2.7", false);
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
        check(Provider::Shodan, "GET", "/shodan/host/evil.example?key=k", "", Misread::Input);
        check(Provider::Shodan, "GET", "/shodan/host/search?key=k", "", Misread::Input);
        check(Provider::Shodan, "GET", "/shodan/query", "", Misread::Endpoint);
        check(Provider::HybridAnalysis, "POST", "/api/v2/search/hash", "hash=abc", Misread::Endpoint);
        check(Provider::HybridAnalysis, "GET", "/api/v2/search/hash?hash=abc", "", Misread::Input);
        check(Provider::Triage, "GET", "/api/v0/search?query=family:x", "", Misread::Input);
        check(Provider::Triage, "GET", "/api/v0/search?query=md5:abc", "", Misread::Input);
        check(Provider::Triage, "GET", "/api/v0/samples/abc/overview.json", "", Misread::Input);
        check(Provider::Triage, "GET", "/api/v0/samples/abc", "", Misread::Endpoint);
    }
}
