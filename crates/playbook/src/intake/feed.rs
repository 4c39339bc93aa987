//! A feed's manifest: what must hold of it, and the request that fetches it.

use data_encoding::BASE64;
use ioc::{Observable, ObservableType};
use url::Url;

use super::{Feed, Format, IntakeSource};
use crate::{Fault, canonical, lookup::Request, manifest::Method, ports::Secret};

/// Minutes between two fetches.
const EVERY_MINUTES: std::ops::RangeInclusive<u32> = 5..=10_080;
/// The most entries that a feed may have.
const ENTRIES_MAX: usize = 1_000_000;
const SECRET: &str = "{secret}";
const BASIC: &str = "{secret|basic}";

/// Headers that the fetch itself decides.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "if-modified-since",
    "if-none-match",
    "proxy-authorization",
    "transfer-encoding",
];

/// Everything that is wrong with the feed of a source, a sentence each, beginning with the key it is about; nothing
/// where the source is no feed. The mapping is checked with that of every source.
#[must_use]
pub fn faults(source: &IntakeSource) -> Vec<String> {
    let Some(feed) = &source.feed else { return vec![] };
    let mut faults = vec![];
    let mut complain = |is_wrong: bool, message: &str| {
        if is_wrong {
            faults.push(message.to_owned());
        }
    };
    complain(
        !is_canonical(&feed.host),
        "host: a DNS name in lower case, without scheme, port or path, and never an address",
    );
    complain(feed.url().is_none(), "path: begins with /, has no ., .., ? or #, and is encoded as in an address");
    complain(
        feed.query.iter().any(|(name, value)| name.is_empty() || value.contains(['{', '}'])),
        "query: names are not empty and values hold no placeholders: addresses are logged",
    );
    complain(
        feed.headers.keys().any(|name| !is_header(name)),
        "headers: a name is a token that the fetch does not set",
    );
    complain(
        feed.headers.values().any(|text| !is_template(text)),
        "headers: there are {secret} and {secret|basic} only",
    );
    let names_the_secret = feed.headers.values().any(|text| text.contains(SECRET) || text.contains(BASIC));
    complain(feed.secret.is_some() && !names_the_secret, "secret: no header holds {secret} or {secret|basic}");
    complain(feed.secret.is_none() && names_the_secret, "secret: a header holds one, and the feed names none");
    complain(
        feed.secret.as_deref().is_some_and(|id| !is_id(id)),
        "secret: an id of lower-case letters, digits and hyphens, never the secret itself",
    );
    complain(!EVERY_MINUTES.contains(&feed.every_minutes), "every_minutes: 5 to 10,080");
    complain(!(1..=ENTRIES_MAX).contains(&feed.entries_max), "entries_max: 1 to 1,000,000");
    if feed.format == Format::Taxii {
        complain(!feed.path.ends_with("/objects/"), "path: of a collection of TAXII it ends with /objects/");
        complain(feed.query.contains_key("next"), "query: next is the server's word");
        complain(
            feed.query
                .get("limit")
                .is_some_and(|limit| !limit.parse().is_ok_and(|limit| (1..=10_000).contains(&limit))),
            "query: limit is 1 to 10,000 objects a page",
        );
    }
    faults
}

/// Whether it is spelled as the observable it is.
fn is_canonical(host: &str) -> bool {
    Observable::parse(ObservableType::DomainName, host).is_ok_and(|name| name.value() == host)
}

fn is_id(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_token) && !OWN_HEADERS.contains(&lower.as_str())
}

fn is_template(text: &str) -> bool {
    let rest = text.replace(SECRET, "").replace(BASIC, "");
    text.len() <= 1024 && !rest.contains(['{', '}']) && rest.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

/// Why a feed cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaskable {
    /// It needs a secret that nobody has set.
    #[error("its secret is not set")]
    NoSecret,
    /// The secret cannot be a header's value.
    #[error("its secret holds characters that no header may hold")]
    BadSecret,
    /// The manifest is wrong.
    #[error("its manifest makes no request")]
    Manifest,
}

impl Feed {
    /// The request that fetches it. `query` replaces parameters of the manifest, `headers` come first.
    pub fn request(
        &self,
        secret: Option<&Secret>,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Request, Unaskable> {
        let secret = match (&self.secret, secret) {
            (None, _) => "",
            (Some(_), None) => return Err(Unaskable::NoSecret),
            (Some(_), Some(secret)) => secret.reveal(),
        };
        let mut url = self.url().ok_or(Unaskable::Manifest)?;
        let own = self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| query.iter().all(|(replaced, _)| replaced != name));
        let pairs: Vec<(&str, &str)> = own.chain(query.iter().copied()).collect();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let mut filled: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (name, text) in &self.headers {
            let is_clear = text.contains(SECRET);
            if is_clear && !secret.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                return Err(Unaskable::BadSecret);
            }
            let text = text.replace(BASIC, &BASE64.encode(secret.as_bytes())).replace(SECRET, secret);
            filled.push((name.to_ascii_lowercase(), text));
        }
        Ok(Request { method: Method::Get, url, headers: filled, body: vec![] })
    }

    /// Where it lies, without its query; `None` where host and path are no such address.
    fn url(&self) -> Option<Url> {
        let url = Url::parse(&format!("https://{}{}", self.host, self.path)).ok()?;
        let is_ours = url.host_str() == Some(self.host.as_str())
            && url.path() == self.path
            && url.port().is_none()
            && url.username().is_empty()
            && url.query().is_none()
            && url.fragment().is_none();
        is_ours.then_some(url)
    }

    /// Names the place that the feed is read from: another place is another feed, whose state means nothing here.
    pub fn origin(&self) -> Result<String, Fault> {
        canonical::digest(&(&self.host, &self.path, &self.query, self.format, self.becomes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn source(change: &Value) -> IntakeSource {
        let mut feed = json!({
            "host": "feeds.example", "path": "/list.txt", "format": "text", "every_minutes": 60, "becomes": "list", "tlp": "CLEAR"
        });
        for (key, value) in change.as_object().unwrap() {
            feed[key] = value.clone();
        }
        let source = json!({ "schema": "intake-source/1", "id": "a", "name": "A", "feed": feed, "mapping": "line" });
        serde_json::from_value(source).unwrap()
    }

    #[test]
    fn a_wrong_manifest_is_refused_by_the_key_that_is_wrong() {
        let check = |change: Value, expected: &str| {
            let faults = faults(&source(&change));
            let keys: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
            assert_eq!(keys.join(" "), expected, "{change}: {faults:?}");
        };
        check(json!({}), "");
        check(json!({ "host": "Feeds.example" }), "host path");
        check(json!({ "host": "192.0.2.1" }), "host");
        check(json!({ "host": "feeds.example:8443" }), "host path");
        check(json!({ "path": "list" }), "path");
        check(json!({ "path": "/a/../b" }), "path");
        check(json!({ "path": "/a?b=c" }), "path");
        check(json!({ "path": "/a b" }), "path");
        check(json!({ "query": { "key": "{secret}" } }), "query");
        check(json!({ "headers": { "Auth-Key": "{secret}" } }), "secret");
        check(json!({ "headers": { "Auth-Key": "{secret}" }, "secret": "a" }), "");
        check(json!({ "headers": { "Authorization": "Basic {secret|basic}" }, "secret": "a" }), "");
        check(json!({ "headers": { "Auth-Key": "{secrte}" }, "secret": "a" }), "headers secret");
        check(json!({ "headers": { "If-None-Match": "x" } }), "headers");
        check(json!({ "headers": { "a b": "x" } }), "headers");
        check(json!({ "headers": { "a": "x\r\ny" } }), "headers");
        check(json!({ "secret": "a" }), "secret");
        check(json!({ "secret": "S3cr3t!", "headers": { "a": "{secret}" } }), "secret");
        check(json!({ "every_minutes": 4 }), "every_minutes");
        check(json!({ "every_minutes": 10_081 }), "every_minutes");
        check(json!({ "entries_max": 0 }), "entries_max");
        check(json!({ "format": "taxii" }), "path");
        let collection = "/api/collections/1/objects/";
        check(json!({ "format": "taxii", "path": collection, "query": { "match[type]": "indicator" } }), "");
        check(json!({ "format": "taxii", "path": collection, "query": { "limit": "0", "next": "a" } }), "query query");
    }

    #[test]
    fn a_request_is_made_of_the_manifest() {
        let change = json!({
            "query": { "limit": "10", "match[type]": "indicator" }, "secret": "a",
            "headers": { "Authorization": "Basic {secret|basic}", "X-Key": "k {secret}" }
        });
        let feed = source(&change).feed.unwrap();
        let secret = Secret::new("user:pass");
        let request =
            feed.request(Some(&secret), &[("limit", "5"), ("next", "a&b")], &[("accept", "text/plain")]).unwrap();
        assert_eq!(request.url.as_str(), "https://feeds.example/list.txt?match%5Btype%5D=indicator&limit=5&next=a%26b");
        let headers = [("accept", "text/plain"), ("authorization", "Basic dXNlcjpwYXNz"), ("x-key", "k user:pass")];
        assert_eq!(request.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn without_a_usable_secret_nothing_is_asked() {
        let feed = source(&json!({ "secret": "a", "headers": { "x-key": "{secret}" } })).feed.unwrap();
        assert_eq!(feed.request(None, &[], &[]), Err(Unaskable::NoSecret));
        assert_eq!(feed.request(Some(&Secret::new("a\nb")), &[], &[]), Err(Unaskable::BadSecret));
    }
}
