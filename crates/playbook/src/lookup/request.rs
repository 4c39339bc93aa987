//! The request that asks a provider about one observable: every text is encoded for the place it stands in.

use ioc::{HashAlgorithm, Observable};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::Request;
use crate::{
    manifest::{Manifest, Method, Part, Place, RequestTemplate, Template},
    ports::Secret,
};

/// The longest observable that is sent, in bytes.
const VALUE_MAX_BYTES: usize = 4_096;

/// Why no request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The provider does not take this type, or none of the file's digests.
    #[error("the provider does not take this observable")]
    Type,
    /// The provider needs a key and there is none.
    #[error("the provider has no key")]
    NoKey,
    /// The key cannot be a header's value.
    #[error("the key holds characters that no key has")]
    BadKey,
    /// The observable cannot stand where the request wants it.
    #[error("the observable cannot be sent to this provider")]
    Unencodable,
    /// The manifest's template is wrong.
    #[error("the manifest's request is wrong")]
    Manifest,
}

impl Refusal {
    /// The word in an outcome: `type`, `no_key`, `bad_key`, `unencodable`, `manifest`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::NoKey => "no_key",
            Self::BadKey => "bad_key",
            Self::Unencodable => "unencodable",
            Self::Manifest => "manifest",
        }
    }
}

/// Makes the request. Whatever the observable: the host is the manifest's, the path has as many segments as the
/// template, and nothing but a whole parameter, form field or JSON text is made of it.
pub fn prepare(manifest: &Manifest, observable: &Observable, secret: Option<&Secret>) -> Result<Request, Refusal> {
    let (template, value) = manifest.request_for(observable).ok_or(Refusal::Type)?;
    if value.is_empty() || value.len() > VALUE_MAX_BYTES || value.chars().any(char::is_control) {
        return Err(Refusal::Unencodable);
    }
    let secret = match (&manifest.secret, secret) {
        (None, _) => "",
        (Some(_), None) => return Err(Refusal::NoKey),
        (Some(_), Some(secret)) => secret.reveal(),
    };
    let is_key = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if manifest.secret.is_some() && !is_key(secret) {
        return Err(Refusal::BadKey);
    }
    let filler = Filler { value, algorithm: HashAlgorithm::of_hex(value).map_or("", HashAlgorithm::as_str), secret };

    let url = filler.url(&manifest.host, template)?;
    let mut headers = filler.headers(template)?;
    let mut body = Vec::new();
    if let Some(form) = &template.form {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        for (name, text) in form {
            encoded.append_pair(name, &filler.text(text, Place::Field)?);
        }
        body = encoded.finish().into_bytes();
        headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
    }
    if let Some(json) = &template.json {
        body = serde_json::to_vec(&filler.json(json)?).map_err(|_| Refusal::Manifest)?;
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    if template.method == Method::Get && !body.is_empty() {
        return Err(Refusal::Manifest);
    }
    Ok(Request { method: template.method, url, headers, body })
}

/// What the placeholders stand for.
struct Filler<'a> {
    value: &'a str,
    algorithm: &'a str,
    secret: &'a str,
}

impl Filler<'_> {
    fn text(&self, text: &str, place: Place) -> Result<String, Refusal> {
        let template = Template::parse(text, place).map_err(|_| Refusal::Manifest)?;
        let filled = template.0.into_iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Value => self.value.to_owned(),
            Part::ValueBase64Url => data_encoding::BASE64URL_NOPAD.encode(self.value.as_bytes()),
            Part::Algorithm => self.algorithm.to_owned(),
            Part::Secret => self.secret.to_owned(),
        });
        Ok(filled.collect())
    }

    fn url(&self, host: &str, template: &RequestTemplate) -> Result<Url, Refusal> {
        let mut url = Url::parse(&format!("https://{host}/")).map_err(|_| Refusal::Manifest)?;
        let below = template.path.strip_prefix('/').ok_or(Refusal::Manifest)?;
        let segments = below.split('/').map(|segment| self.text(segment, Place::Path));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            // The URL standard resolves them, which would shorten the path.
            return Err(Refusal::Unencodable);
        }
        url.path_segments_mut().map_err(|()| Refusal::Manifest)?.clear().extend(&segments);
        if !template.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, text) in &template.query {
                pairs.append_pair(name, &self.text(text, Place::Field)?);
            }
        }
        let is_ours = url.scheme() == "https"
            && url.host_str() == Some(host)
            && url.port().is_none()
            && url.username().is_empty()
            && url.fragment().is_none()
            && url.path_segments().map(Iterator::count) == Some(segments.len());
        if is_ours { Ok(url) } else { Err(Refusal::Unencodable) }
    }

    fn headers(&self, template: &RequestTemplate) -> Result<Vec<(String, String)>, Refusal> {
        let fill = |(name, text): (&String, &String)| Ok((name.to_ascii_lowercase(), self.text(text, Place::Header)?));
        template.headers.iter().map(fill).collect()
    }

    fn json(&self, value: &Value) -> Result<Value, Refusal> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, Place::Field)?),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?,
            Value::Object(members) => members
                .iter()
                .map(|(name, member)| Ok((name.clone(), self.json(member)?)))
                .collect::<Result<_, Refusal>>()?,
            plain => plain.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use ioc::{Hashes, ObservableType};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HOST: &str = "api.sample.example";

    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
        let yaml = r#"
schema: provider/1
id: sample
name: Sample
kind: http
verified: live
secret: sample
types: [ipv4-addr, domain-name, url, email-addr, file]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
host: api.sample.example
requests:
  - types: [domain-name, url, email-addr]
    method: POST
    path: /v1/{value}/x-{value}/{value|base64url}/
    query: { q: "{value}", fixed: "a&b" }
    headers: { X-Key: "Bearer {secret}" }
    json: { ask: ["{value}", 7, { deep: "<{value}>" }] }
  - types: [ipv4-addr]
    method: POST
    path: /v1/ip
    form: { ip: "{value}", key: "{secret}" }
  - types: [file]
    hashes: [md5, sha1]
    method: GET
    path: /{algorithm}/{value}
    headers: { X-Key: "{secret}" }
  - types: [file]
    hashes: [sha256]
    method: GET
    path: /strong/{value}
    headers: { X-Key: "{secret}" }
outcome:
  - status: [200]
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;
        Manifest::parse(yaml, "sample.yaml").unwrap()
    });

    fn secret() -> Secret {
        Secret::new("s3cr3t")
    }

    fn observable(kind: ObservableType, value: &str) -> Observable {
        Observable::parse(kind, value).unwrap()
    }

    #[test]
    fn a_request_is_made_of_its_template() {
        let asked = observable(ObservableType::Url, "http://evil.example/a/../b?c=d&e=f#g");
        let request = prepare(&MANIFEST, &asked, Some(&secret())).unwrap();
        assert_eq!(
            request.url.as_str(),
            "https://api.sample.example/v1/http:%2F%2Fevil.example%2Fb%3Fc=d&e=f%23g/x-http:%2F%2Fevil.example%2Fb%3Fc=d&e=f%23g/\
             aHR0cDovL2V2aWwuZXhhbXBsZS9iP2M9ZCZlPWYjZw/?fixed=a%26b&q=http%3A%2F%2Fevil.example%2Fb%3Fc%3Dd%26e%3Df%23g"
        );
        let headers = [("x-key", "Bearer s3cr3t"), ("content-type", "application/json")];
        assert_eq!(request.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let url = "http://evil.example/b?c=d&e=f#g";
        assert_eq!(body, json!({ "ask": [url, 7, { "deep": format!("<{url}>") }] }));

        let request = prepare(&MANIFEST, &observable(ObservableType::Ipv4Addr, "192.0.2.7"), Some(&secret())).unwrap();
        assert_eq!(request.body, b"ip=192.0.2.7&key=s3cr3t");
    }

    #[test]
    fn the_strongest_digest_that_is_taken_is_sent() {
        let check = |md5: bool, sha1: bool, sha256: bool, expected: Option<&str>| {
            let digest = |is_known: bool, length| is_known.then(|| "a".repeat(length));
            let hashes = Hashes { md5: digest(md5, 32), sha1: digest(sha1, 40), sha256: digest(sha256, 64) };
            let file = Observable::file(hashes).unwrap();
            let request = prepare(&MANIFEST, &file, Some(&secret()));
            let path = request.as_ref().ok().map(|request| request.url.path().split('/').nth(1).unwrap().to_owned());
            assert_eq!(path.as_deref(), expected);
            assert_eq!(MANIFEST.takes(&file), expected.is_some());
        };
        check(true, true, true, Some("strong"));
        check(true, true, false, Some("sha1"));
        check(true, false, false, Some("md5"));
    }

    #[test]
    fn refusals_have_reasons() {
        let check = |asked: &Observable, secret: Option<Secret>, expected: &str| {
            let refusal = prepare(&MANIFEST, asked, secret.as_ref()).expect_err(expected);
            assert_eq!(refusal.reason(), expected);
        };
        let domain = observable(ObservableType::DomainName, "evil.example");
        check(&observable(ObservableType::Ipv6Addr, "2001:db8::7"), Some(secret()), "type");
        check(&domain, None, "no_key");
        check(&domain, Some(Secret::new("")), "bad_key");
        check(&domain, Some(Secret::new("a\r\nHost: evil.example")), "bad_key");
        let long = format!("http://evil.example/{}", "a".repeat(VALUE_MAX_BYTES));
        check(&observable(ObservableType::Url, &long), Some(secret()), "unencodable");
    }

    #[test]
    fn a_request_does_not_print_its_key_or_its_observable() {
        let request = prepare(&MANIFEST, &observable(ObservableType::DomainName, "evil.example"), Some(&secret()));
        let shown = format!("{:?}", request.unwrap());
        assert!(!shown.contains("s3cr3t") && !shown.contains("evil.example"), "{shown}");
        assert!(shown.contains(HOST), "{shown}");
    }

    /// Fills the templates with a text that no `Observable` had to approve.
    fn fill(value: &str) -> Result<Url, Refusal> {
        let filler = Filler { value, algorithm: "", secret: "s3cr3t" };
        filler.url(HOST, MANIFEST.requests.first().unwrap())
    }

    #[test]
    fn dots_that_would_shorten_the_path_are_refused() {
        for dots in [".", ".."] {
            assert_eq!(fill(dots), Err(Refusal::Unencodable), "{dots}");
        }
        for dots in ["%2e", "%2E%2e", ".%2e", "../", "/..", "...", "..\\", "./."] {
            assert_eq!(fill(dots).unwrap().path_segments().unwrap().count(), 5, "{dots}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn host_and_segments_are_constant_whatever_the_text(value in "(\\PC|[./\\\\%?#@:&=+ ]|%2[eEfF]){1,40}") {
            if let Ok(url) = fill(&value) {
                prop_assert_eq!(url.host_str(), Some(HOST));
                prop_assert_eq!(url.port_or_known_default(), Some(443));
                prop_assert_eq!(url.path_segments().map(Iterator::count), Some(5));
                prop_assert!(url.fragment().is_none() && url.username().is_empty());
                let again = Url::parse(url.as_str()).unwrap();
                prop_assert_eq!(&again, &url, "the URL must read back as itself");
                let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
                let expected = BTreeMap::from([("fixed".to_owned(), "a&b".to_owned()), ("q".to_owned(), value.clone())]);
                prop_assert_eq!(query, expected);
            } else {
                prop_assert!(value == "." || value == "..", "refused {:?}", value);
            }
        }

        #[test]
        fn any_url_becomes_one_request_or_none(tail in "(\\PC|[./\\\\%?#@:&= \r\n\0]|%0[aAdD]){0,40}") {
            let Ok(asked) = Observable::parse(ObservableType::Url, &format!("http://evil.example/{tail}")) else {
                return Ok(());
            };
            let request = prepare(&MANIFEST, &asked, Some(&secret())).unwrap();
            prop_assert_eq!(request.url.host_str(), Some(HOST));
            prop_assert_eq!(request.url.path_segments().map(Iterator::count), Some(5));
            prop_assert!(!request.url.as_str().contains(char::is_control));
            prop_assert!(request.headers.iter().all(|(_, value)| !value.contains("evil")));
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            prop_assert_eq!(body.pointer("/ask/0").and_then(Value::as_str), Some(asked.value()));
        }
    }
}
