//! The request of one call: every text is encoded for the place it stands in, whatever the observable.

use data_encoding::BASE64;
use playbook::{
    lookup::{Method, Request},
    mapping::{Expression, Input},
    ports::Secret,
    target::{
        Call, Target,
        text::{Part, Place, Text},
    },
};
use serde_json::Value;
use url::Url;

/// The longest text that stands for a placeholder, in bytes.
const TEXT_MAX_BYTES: usize = 4_096;
/// The longest body that is sent, in bytes.
const BODY_MAX_BYTES: usize = 65_536;

/// Why no request was made; never holds the secret or the observable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The manifest or its secret is wrong: a person must change it.
    #[error("{0}")]
    Deployment(String),
    /// This one document cannot be sent.
    #[error("{0}")]
    Document(String),
}

/// Makes the request. Whatever the document: the host is the manifest's, and the path has as many segments as the call's.
pub fn prepare(target: &Target, call: &Call, document: &Value, secret: Option<&Secret>) -> Result<Request, Refusal> {
    let filler = Filler { target, document, secret: revealed(target, secret)? };
    let url = filler.url(call)?;
    let mut headers = filler.headers(call)?;
    let body = body(call, document)?;
    if !body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    Ok(Request { method: call.method, url, headers, body })
}

fn deployment<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Deployment(message.into()))
}

fn document_refused<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Document(message.into()))
}

/// The secret as text; empty where the target has none.
fn revealed<'a>(target: &Target, secret: Option<&'a Secret>) -> Result<&'a str, Refusal> {
    match (&target.secret, secret) {
        (None, _) => Ok(""),
        (Some(id), None) => deployment(format!("secret {id} is not set")),
        (Some(id), Some(secret)) => {
            let text = secret.reveal();
            if text.is_empty() || text.chars().any(char::is_control) {
                return deployment(format!("secret {id} holds characters that no secret has"));
            }
            Ok(text)
        }
    }
}

fn body(call: &Call, document: &Value) -> Result<Vec<u8>, Refusal> {
    let Some(source) = &call.body else { return Ok(vec![]) };
    if call.method == Method::Get {
        return deployment("GET has no body");
    }
    let expression = Expression::compile(source).map_err(|error| Refusal::Deployment(format!("body: {error}")))?;
    let value = expression.evaluate_on(&Input::new(document.clone()));
    let value = value.map_err(|error| Refusal::Document(format!("body: {error}")))?;
    if !value.is_object() && !value.is_array() {
        return document_refused("body: the expression gives no JSON object or list");
    }
    let bytes = serde_json::to_vec(&value).map_err(|error| Refusal::Document(format!("body: {error}")))?;
    if bytes.len() > BODY_MAX_BYTES {
        return document_refused(format!("body: {} bytes; at most {BODY_MAX_BYTES} are sent", bytes.len()));
    }
    Ok(bytes)
}

/// What the placeholders stand for.
struct Filler<'a> {
    target: &'a Target,
    document: &'a Value,
    secret: &'a str,
}

impl Filler<'_> {
    fn text(&self, text: &str, place: Place) -> Result<String, Refusal> {
        let text = Text::parse(text, place).map_err(Refusal::Deployment)?;
        let mut filled = String::new();
        for part in text.0 {
            match part {
                Part::Plain(text) => filled.push_str(&text),
                Part::Value => filled.push_str(&self.of_document("observable", "/observable/value")?),
                Part::ExternalId => filled.push_str(&self.of_document("external_id", "/external_id")?),
                Part::Setting(name) => match self.target.settings.get(&name) {
                    Some(setting) if !setting.is_empty() => filled.push_str(setting),
                    _ => return deployment(format!("settings.{name} is not filled in")),
                },
                Part::Secret if self.secret.bytes().all(|b| b.is_ascii_graphic()) => filled.push_str(self.secret),
                Part::Secret => return deployment("the secret cannot be a header's value"),
                Part::SecretBasic => filled.push_str(&BASE64.encode(self.secret.as_bytes())),
            }
        }
        Ok(filled)
    }

    fn of_document(&self, name: &str, pointer: &str) -> Result<String, Refusal> {
        let text = self.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() || text.len() > TEXT_MAX_BYTES || text.chars().any(char::is_control) {
            return document_refused(format!("{name} cannot stand in an address"));
        }
        Ok(text.to_owned())
    }

    fn url(&self, call: &Call) -> Result<Url, Refusal> {
        let wrong = || Refusal::Deployment("host or path is wrong".to_owned());
        let host = self.target.host.as_str();
        let mut url = Url::parse(&format!("https://{host}/")).map_err(|_| wrong())?;
        let below = call.path.strip_prefix('/').ok_or_else(wrong)?;
        let segments = below.split('/').map(|segment| self.text(segment, Place::Path));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        // The URL standard resolves these, which would shorten the path.
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            return document_refused("a relative segment cannot stand in an address");
        }
        url.path_segments_mut().map_err(|()| wrong())?.clear().extend(&segments);
        if !call.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, text) in &call.query {
                pairs.append_pair(name, &self.text(text, Place::Query)?);
            }
        }
        let is_ours = url.scheme() == "https"
            && url.host_str() == Some(host)
            && url.port().is_none()
            && url.username().is_empty()
            && url.fragment().is_none()
            && url.path_segments().map(Iterator::count) == Some(segments.len());
        if is_ours { Ok(url) } else { document_refused("the address would not be the manifest's") }
    }

    fn headers(&self, call: &Call) -> Result<Vec<(String, String)>, Refusal> {
        let fill = |(name, text): (&String, &String)| Ok((name.to_ascii_lowercase(), self.text(text, Place::Header)?));
        call.headers.iter().map(fill).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HOST: &str = "tickets.corp.example";

    fn target() -> Target {
        let yaml = r#"
schema: target/1
id: sample
name: Sample
kind: http
effect: detects
types: [url]
secret: sample
host: tickets.corp.example
settings: { list: "block/list", empty: "" }
calls:
  write:
    method: POST
    path: /v1/{settings.list}/{value}/x-{external_id}/
    query: { q: "{value}", fixed: "a&b" }
    headers: { X-Key: "Bearer {secret}", X-Basic: "Basic {secret|basic}" }
    body: '{"value": observable.value, "text": "<" & observable.value & ">"}'
  undo: { method: DELETE, path: "/v1/{settings.empty}" }
"#;
        Target::parse(yaml, "").unwrap()
    }

    fn filled(value: &str, id: &str, secret: Option<&str>) -> Result<Request, Refusal> {
        let target = target();
        let document = json!({"observable": {"type": "url", "value": value}, "external_id": id});
        let secret = secret.map(Secret::new);
        prepare(&target, &target.calls.as_ref().unwrap().write, &document, secret.as_ref())
    }

    #[test]
    fn a_request_is_made_of_its_call() {
        let request = filled("http://evil.example/a?b=c&d", "7/8", Some("ana:s3cr3t")).unwrap();
        let url = "https://tickets.corp.example/v1/block%2Flist/http:%2F%2Fevil.example%2Fa%3Fb=c&d/x-7%2F8/\
                   ?fixed=a%26b&q=http%3A%2F%2Fevil.example%2Fa%3Fb%3Dc%26d";
        assert_eq!(request.url.as_str(), url);
        let headers = [
            ("x-basic", "Basic YW5hOnMzY3IzdA=="),
            ("x-key", "Bearer ana:s3cr3t"),
            ("content-type", "application/json"),
        ];
        assert_eq!(request.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let value = "http://evil.example/a?b=c&d";
        assert_eq!(body, json!({"value": value, "text": format!("<{value}>")}));
    }

    #[test]
    fn what_cannot_be_sent_says_whose_fault_it_is() {
        let check = |result: Result<Request, Refusal>, is_deployment: bool, expected: &str| {
            let refusal = result.unwrap_err();
            assert!(refusal.to_string().contains(expected), "{refusal}");
            assert_eq!(matches!(refusal, Refusal::Deployment(_)), is_deployment, "{refusal}");
            assert!(!refusal.to_string().contains("s3cr3t"), "{refusal}");
        };
        check(filled("http://evil.example/", "7", None), true, "secret sample is not set");
        check(filled("http://evil.example/", "7", Some("s3cr3t\r\nx: y")), true, "no secret has");
        check(filled("http://evil.example/", "7", Some("s3cr3t \u{e9}")), true, "cannot be a header's value");
        check(filled("http://evil.example/", "", Some("k")), false, "external_id cannot stand");
        check(filled(&"a".repeat(TEXT_MAX_BYTES + 1), "7", Some("k")), false, "observable cannot stand");
        check(filled("..", "7", Some("k")), false, "relative segment");
        let target = target();
        let undo = target.calls.as_ref().unwrap().undo.clone().unwrap();
        let empty = prepare(&target, &undo, &json!({}), Some(&Secret::new("k")));
        check(empty, true, "settings.empty is not filled in");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn host_and_segments_are_constant_whatever_the_text(
            value in "(\\PC|[./\\\\%?#@:&=+ \r\n]|%2[eEfF]){1,40}",
            id in "(\\PC|[./\\\\%?#@:&=+ ]|%2[eEfF]){1,20}",
        ) {
            if let Ok(request) = filled(&value, &id, Some("k")) {
                prop_assert_eq!(request.url.host_str(), Some(HOST));
                prop_assert_eq!(request.url.port_or_known_default(), Some(443));
                prop_assert_eq!(request.url.path_segments().map(Iterator::count), Some(5));
                prop_assert!(request.url.fragment().is_none() && request.url.username().is_empty());
                prop_assert!(request.headers.iter().all(|(_, value)| !value.contains('\n')));
                let again = Url::parse(request.url.as_str()).unwrap();
                prop_assert_eq!(&again, &request.url, "the URL must read back as itself");
            }
        }
    }
}
