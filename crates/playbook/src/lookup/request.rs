//! The request that asks a provider about one observable: every text is encoded for the place it stands in.

use std::collections::BTreeMap;

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
    let filler = Filler::of(manifest, value, secret)?;
    filler.request(&own(manifest)?, template)
}

/// The same below `base`, where the host depends on the observable; such a request holds no key.
pub fn prepare_at(manifest: &Manifest, observable: &Observable, base: &Url) -> Result<Request, Refusal> {
    if manifest.hosts_from.is_none() || manifest.secret.is_some() {
        return Err(Refusal::Manifest);
    }
    let (template, value) = manifest.request_for(observable).ok_or(Refusal::Type)?;
    Filler::of(manifest, value, None)?.request(base, template)
}

/// The request that fetches the result of a task, with the headers of the request that named it.
pub fn prepare_poll(
    manifest: &Manifest,
    observable: &Observable,
    secret: Option<&Secret>,
    task: &str,
) -> Result<Request, Refusal> {
    let (template, value) = manifest.request_for(observable).ok_or(Refusal::Type)?;
    let poll = template.poll.as_ref().ok_or(Refusal::Manifest)?;
    sendable(task)?;
    let filler = Filler { task, ..Filler::of(manifest, value, secret)? };
    let url = filler.url(&own(manifest)?, (&poll.path, Place::PollPath), (&poll.query, Place::PollField))?;
    Ok(Request { method: Method::Get, url, headers: filler.headers(template)?, body: vec![] })
}

/// The manifest's host.
fn own(manifest: &Manifest) -> Result<Url, Refusal> {
    Url::parse(&format!("https://{}/", manifest.host)).map_err(|_| Refusal::Manifest)
}

/// Whether a text may leave at all.
pub(super) fn sendable(text: &str) -> Result<(), Refusal> {
    let is_sendable = !text.is_empty() && text.len() <= VALUE_MAX_BYTES && !text.chars().any(char::is_control);
    if is_sendable { Ok(()) } else { Err(Refusal::Unencodable) }
}

/// The key; empty where none is needed.
pub(super) fn key<'a>(manifest: &Manifest, secret: Option<&'a Secret>) -> Result<&'a str, Refusal> {
    match (&manifest.secret, secret.map(Secret::reveal)) {
        (None, _) => Ok(""),
        (Some(_), None) => Err(Refusal::NoKey),
        (Some(_), Some(key)) if !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()) => Ok(key),
        (Some(_), Some(_)) => Err(Refusal::BadKey),
    }
}

/// What the placeholders stand for.
struct Filler<'a> {
    value: &'a str,
    algorithm: &'a str,
    secret: &'a str,
    task: &'a str,
}

impl<'a> Filler<'a> {
    fn of(manifest: &Manifest, value: &'a str, secret: Option<&'a Secret>) -> Result<Self, Refusal> {
        sendable(value)?;
        let secret = key(manifest, secret)?;
        let algorithm = HashAlgorithm::of_hex(value).map_or("", HashAlgorithm::as_str);
        Ok(Self { value, algorithm, secret, task: "" })
    }

    fn request(&self, base: &Url, template: &RequestTemplate) -> Result<Request, Refusal> {
        let url = self.url(base, (&template.path, Place::Path), (&template.query, Place::Field))?;
        let mut headers = self.headers(template)?;
        let mut body = Vec::new();
        if let Some(form) = &template.form {
            let mut encoded = form_urlencoded::Serializer::new(String::new());
            for (name, text) in form {
                encoded.append_pair(name, &self.text(text, Place::Field)?);
            }
            body = encoded.finish().into_bytes();
            headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        }
        if let Some(json) = &template.json {
            body = serde_json::to_vec(&self.json(json)?).map_err(|_| Refusal::Manifest)?;
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        if template.method == Method::Get && !body.is_empty() {
            return Err(Refusal::Manifest);
        }
        Ok(Request { method: template.method, url, headers, body })
    }

    fn text(&self, text: &str, place: Place) -> Result<String, Refusal> {
        let template = Template::parse(text, place).map_err(|_| Refusal::Manifest)?;
        let filled = template.0.into_iter().map(|part| match part {
            Part::Text(text) => Ok(text),
            Part::Value => Ok(self.value.to_owned()),
            Part::ValueBase64Url => Ok(data_encoding::BASE64URL_NOPAD.encode(self.value.as_bytes())),
            Part::Algorithm => Ok(self.algorithm.to_owned()),
            Part::Secret => Ok(self.secret.to_owned()),
            Part::Task => Ok(self.task.to_owned()),
            // Only names hold it, and names are not made here.
            Part::Reversed => Err(Refusal::Manifest),
        });
        filled.collect()
    }

    /// The path and its parameters below `base`, whose own path stays in front.
    fn url(
        &self,
        base: &Url,
        (path, path_place): (&str, Place),
        (query, query_place): (&BTreeMap<String, String>, Place),
    ) -> Result<Url, Refusal> {
        let mut url = base.clone();
        let below = path.strip_prefix('/').ok_or(Refusal::Manifest)?;
        let segments = below.split('/').map(|segment| self.text(segment, path_place));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            // The URL standard resolves them, which would shorten the path.
            return Err(Refusal::Unencodable);
        }
        url.path_segments_mut().map_err(|()| Refusal::Manifest)?.pop_if_empty().extend(&segments);
        if !query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, text) in query {
                pairs.append_pair(name, &self.text(text, query_place)?);
            }
        }
        let own_segments = base.path_segments().map_or(0, |own| own.filter(|segment| !segment.is_empty()).count());
        let is_ours = url.scheme() == "https"
            && url.host() == base.host()
            && url.port().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.path_segments().map(Iterator::count) == Some(own_segments + segments.len());
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
mod generated;

#[cfg(test)]
mod tests {
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

    static SANDBOX: LazyLock<Manifest> = LazyLock::new(|| {
        let mut yaml = serde_json::to_value(&*MANIFEST).unwrap();
        let request = yaml.pointer_mut("/requests/1").unwrap().as_object_mut().unwrap();
        request.insert("headers".to_owned(), json!({ "X-Key": "{secret}" }));
        request.insert("task".to_owned(), json!("body.id"));
        let poll =
            json!({ "path": "/v1/tasks/{task}/", "query": { "id": "{task}", "key": "{secret}" }, "every_seconds": 0 });
        request.insert("poll".to_owned(), poll);
        serde_json::from_value(yaml).unwrap()
    });

    fn poll(task: &str) -> Result<Request, Refusal> {
        prepare_poll(&SANDBOX, &observable(ObservableType::Ipv4Addr, "192.0.2.7"), Some(&secret()), task)
    }

    #[test]
    fn a_result_is_fetched_with_the_headers_of_its_request() {
        let request = poll("a/../b?c=d&e").unwrap();
        assert_eq!(
            request.url.as_str(),
            "https://api.sample.example/v1/tasks/a%2F..%2Fb%3Fc=d&e/?id=a%2F..%2Fb%3Fc%3Dd%26e&key=s3cr3t"
        );
        assert_eq!(request.headers, [("x-key".to_owned(), "s3cr3t".to_owned())]);
        assert_eq!((request.method, request.body.len()), (Method::Get, 0));
        for task in ["", ".", "..", "a\nb"] {
            assert_eq!(poll(task), Err(Refusal::Unencodable), "{task:?}");
        }
        let domain = observable(ObservableType::DomainName, "evil.example");
        assert_eq!(prepare_poll(&SANDBOX, &domain, Some(&secret()), "7"), Err(Refusal::Manifest));
    }

    #[test]
    fn a_request_below_another_base_stays_there() {
        let yaml = r#"
schema: provider/1
id: sample
name: Sample
kind: http
verified: live
types: [domain-name, ipv6-addr]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
hosts_from: rdap_bootstrap
requests:
  - types: [domain-name, ipv6-addr]
    path: /domain/{value}
outcome:
  - status: [200]
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;
        let manifest = Manifest::parse(yaml, "sample.yaml").unwrap();
        let check = |base: &str, value: &str, expected: Result<&str, Refusal>| {
            let asked = Observable::parse_any(value).unwrap();
            let request = prepare_at(&manifest, &asked, &Url::parse(base).unwrap());
            assert_eq!(request.as_ref().map(|request| request.url.as_str()), expected.as_ref().copied(), "{base}");
        };
        check("https://rdap.example/", "evil.example", Ok("https://rdap.example/domain/evil.example"));
        check("https://rdap.example/a/b/", "evil.example", Ok("https://rdap.example/a/b/domain/evil.example"));
        check("https://rdap.example/a/b", "evil.example", Ok("https://rdap.example/a/b/domain/evil.example"));
        check("https://rdap.example", "2001:db8::7", Ok("https://rdap.example/domain/2001:db8::7"));
        check("http://rdap.example/", "evil.example", Err(Refusal::Unencodable));
        check("https://user@rdap.example/", "evil.example", Err(Refusal::Unencodable));
        check("https://rdap.example:8443/", "evil.example", Err(Refusal::Unencodable));
        check("data:text/plain,x", "evil.example", Err(Refusal::Manifest));
        let own = prepare(&manifest, &observable(ObservableType::DomainName, "evil.example"), None);
        assert_eq!(own, Err(Refusal::Manifest), "it has no host of its own");
        let foreign = prepare_at(&MANIFEST, &observable(ObservableType::DomainName, "evil.example"), &own_base());
        assert_eq!(foreign, Err(Refusal::Manifest), "its key is for one host");
    }

    fn own_base() -> Url {
        Url::parse("https://rdap.example/").unwrap()
    }

    /// Fills the templates with a text that no `Observable` had to approve.
    fn fill(value: &str) -> Result<Url, Refusal> {
        let filler = Filler { value, algorithm: "", secret: "s3cr3t", task: "" };
        let template = MANIFEST.requests.first().unwrap();
        filler.url(&own(&MANIFEST).unwrap(), (&template.path, Place::Path), (&template.query, Place::Field))
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
