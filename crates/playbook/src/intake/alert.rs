//! From what a source sent to alerts: the mapping of its manifest, within bounds. What a bound would leave out makes the
//! whole mapping fail, and then what came in is kept and searched as it stands: nothing is cut off in silence.

use ioc::{Observable, ObservableType};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Alert, IntakeSource, Named};
use crate::{
    Timestamp, canonical,
    manifest::Tlp,
    mapping::{Expression, MappingError},
    severity::Severity,
};

/// The most alerts of one request or event.
pub const ALERTS_MAX: usize = 100;
/// The most indicators that the mapping names in one alert.
pub const OBSERVABLES_MAX: usize = 500;
/// The most texts of one alert.
pub const TEXTS_MAX: usize = 100;
/// The most assets of one alert.
pub const ASSETS_MAX: usize = 500;
/// The most bytes of all alerts of one request or event, as documents.
pub const DOCUMENTS_MAX_BYTES: usize = 4 * 1024 * 1024;

const VALUE_MAX_BYTES: usize = 8 * 1024;
const NATIVE_ID_MAX_BYTES: usize = 512;
const TITLE_MAX_CHARS: usize = 200;
const ROLE_MAX_CHARS: usize = 80;
const ASSET_MAX_CHARS: usize = 320;
const PERMALINK_MAX_BYTES: usize = 2048;

/// Why a mapping made no alerts. Never repeats what came in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// The expression is wrong, or failed on what came in.
    #[error("{0}")]
    Expression(#[from] MappingError),
    /// One of the alerts is none; numbered from 1.
    #[error("alert {0}: {1}")]
    NotAnAlert(usize, &'static str),
    /// More than [`ALERTS_MAX`].
    #[error("{0} alerts at once; at most {ALERTS_MAX} are taken")]
    TooMany(usize),
    /// More than [`DOCUMENTS_MAX_BYTES`].
    #[error("alerts of more than {DOCUMENTS_MAX_BYTES} bytes together")]
    TooLarge,
    /// Two alerts that differ have the same id; the second one is numbered.
    #[error("alert {0}: another one has the same native_id")]
    SameId(usize),
}

impl IntakeSource {
    /// The alerts in what came in: the mapping over `{body, received_at}`. None at all is an answer too.
    pub fn alerts(&self, body: &Value, received_at: Timestamp) -> Result<Vec<Alert>, Unmapped> {
        let expression = Expression::compile(&self.mapping)?;
        let mapped = match expression.evaluate(&json!({ "body": body, "received_at": received_at }))? {
            Value::Null => vec![],
            Value::Array(items) => items,
            one => vec![one],
        };
        if mapped.len() > ALERTS_MAX {
            return Err(Unmapped::TooMany(mapped.len()));
        }
        let mut alerts: Vec<Alert> = Vec::with_capacity(mapped.len());
        let mut bytes = 0_usize;
        for (number, item) in (1..).zip(mapped) {
            let alert = self.alert(item, body, received_at).map_err(|why| Unmapped::NotAnAlert(number, why))?;
            match alerts.iter().find(|other| other.native_id == alert.native_id) {
                Some(other) if *other == alert => continue,
                Some(_) => return Err(Unmapped::SameId(number)),
                None => {}
            }
            bytes = bytes.saturating_add(serde_json::to_vec(&alert).map_or(usize::MAX, |document| document.len()));
            if bytes > DOCUMENTS_MAX_BYTES {
                return Err(Unmapped::TooLarge);
            }
            alerts.push(alert);
        }
        Ok(alerts)
    }

    fn alert(&self, item: Value, body: &Value, received_at: Timestamp) -> Result<Alert, &'static str> {
        let Value::Object(mut item) = item else { return Err("not an object") };
        let mut alert = Alert {
            schema: Alert::SCHEMA.to_owned(),
            source: self.id.clone(),
            native_id: native_id(item.get("native_id")).ok_or("no native_id")?,
            title: one_line(item.get("title").and_then(Value::as_str).unwrap_or_default(), TITLE_MAX_CHARS),
            severity: severity(item.get("severity"))?,
            tlp: Tlp::default(),
            occurred_at: text(&item, "occurred_at").and_then(|text| Timestamp::parse(text).ok()).unwrap_or(received_at),
            observables: vec![],
            texts: texts(item.get("texts"))?,
            assets: texts(item.get("assets"))?.iter().map(|name| one_line(name, ASSET_MAX_CHARS)).collect(),
            was_allowed: item.get("was_allowed").and_then(Value::as_bool),
            permalink: text(&item, "permalink").and_then(permalink),
            raw: item.remove("raw").filter(|raw| !raw.is_null()).unwrap_or_else(|| body.clone()),
        };
        if alert.title.is_empty() {
            alert.title = format!("{}: alert without a title", self.name);
        }
        for named in list(item.get("observables")) {
            name(named, &mut alert)?;
        }
        if alert.observables.len() > OBSERVABLES_MAX {
            return Err("more than 500 observables");
        }
        if alert.texts.len() > TEXTS_MAX {
            return Err("more than 100 texts");
        }
        if alert.assets.len() > ASSETS_MAX {
            return Err("more than 500 assets");
        }
        Ok(alert)
    }

    /// The alert of something that could not be mapped: every text in it is searched, and the title says why.
    #[must_use]
    pub fn unmapped(&self, native_id: &str, body: &Value, received_at: Timestamp, why: &Unmapped) -> Alert {
        let native_id = format!("unmapped/{native_id}");
        Alert {
            schema: Alert::SCHEMA.to_owned(),
            source: self.id.clone(),
            native_id: bounded_id(&native_id),
            title: one_line(&format!("{}: an alert that could not be mapped: {why}", self.name), TITLE_MAX_CHARS),
            // Nobody knows how bad it is; somebody should look today.
            severity: Severity::Medium,
            tlp: Tlp::default(),
            occurred_at: received_at,
            observables: vec![],
            texts: vec![strings(body)],
            assets: vec![],
            was_allowed: None,
            permalink: None,
            raw: body.clone(),
        }
    }
}

/// Every string of a document, names included, a line each, with its escapes undone.
#[must_use]
pub fn strings(document: &Value) -> String {
    fn join(value: &Value, lines: &mut String) {
        match value {
            Value::String(text) => {
                lines.push_str(text);
                lines.push('\n');
            }
            Value::Array(items) => items.iter().for_each(|item| join(item, lines)),
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                lines.push_str(name);
                lines.push('\n');
                join(member, lines);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut lines = String::new();
    join(document, &mut lines);
    lines
}

fn text<'a>(item: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    item.get(name).and_then(Value::as_str)
}

/// JSONata makes one item of a list of one.
fn list(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
    }
}

fn native_id(value: Option<&Value>) -> Option<String> {
    let id = match value? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!id.is_empty()).then(|| bounded_id(&id))
}

/// Longer ids are named by their digest.
fn bounded_id(id: &str) -> String {
    if id.len() <= NATIVE_ID_MAX_BYTES && !id.chars().any(char::is_control) {
        id.to_owned()
    } else {
        format!("sha256:{}", canonical::sha256_hex(id.as_bytes()))
    }
}

fn severity(value: Option<&Value>) -> Result<Severity, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(Severity::Low),
        Some(word) => serde_json::from_value(word.clone())
            .map_err(|_| "severity is low, medium, high or critical, and nothing else"),
    }
}

/// White space collapsed, control characters gone.
fn one_line(text: &str, chars: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(chars).collect()
}

fn texts(value: Option<&Value>) -> Result<Vec<String>, &'static str> {
    let mut texts = vec![];
    for item in list(value) {
        match item {
            Value::Null => {}
            Value::String(text) if text.trim().is_empty() => {}
            Value::String(text) => texts.push(text.clone()),
            Value::Number(number) => texts.push(number.to_string()),
            _ => return Err("texts and assets are lists of texts"),
        }
    }
    Ok(texts)
}

fn permalink(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && text.len() <= PERMALINK_MAX_BYTES)?;
    Some(url.into())
}

/// Notes an indicator that the mapping names: `{type, value, role}`. `value` may be a list; what is absent is nothing;
/// without `type` it is whatever it reads as, and a text to be searched when it reads as nothing.
fn name(item: &Value, alert: &mut Alert) -> Result<(), &'static str> {
    let Value::Object(item) = item else {
        return if item.is_null() { Ok(()) } else { Err("an observable is an object") };
    };
    let kind = match text(item, "type") {
        None => None,
        Some(word) => Some(word.parse::<ObservableType>().map_err(|_| "there is no such type of observable")?),
    };
    let role = text(item, "role").map(|role| one_line(role, ROLE_MAX_CHARS)).filter(|role| !role.is_empty());
    for value in texts(item.get("value")).map_err(|_| "the value of an observable is a text")? {
        if value.len() > VALUE_MAX_BYTES {
            return Err("an observable of more than 8,192 bytes");
        }
        let value = value.trim().to_owned();
        let known = kind.or_else(|| Observable::parse_any(&value).ok().map(|observable| observable.kind()));
        match known {
            Some(kind) => {
                let named = Named { kind, value, role: role.clone() };
                if !alert.observables.contains(&named) {
                    alert.observables.push(named);
                }
            }
            None if alert.texts.contains(&value) => {}
            None => alert.texts.push(value),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(mapping: &str) -> IntakeSource {
        serde_json::from_value(json!({
            "schema": "intake-source/1", "id": "siem", "name": "SIEM", "mapping": mapping,
            "webhook": { "auth": "hmac", "secret": "siem" }
        }))
        .unwrap()
    }

    fn at() -> Timestamp {
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
    }

    fn map(body: &Value) -> Result<Vec<Alert>, Unmapped> {
        source("body").alerts(body, at())
    }

    #[test]
    fn nothing_one_and_many_are_answers() {
        assert_eq!(map(&Value::Null).unwrap(), []);
        assert_eq!(map(&json!([])).unwrap(), []);
        assert_eq!(map(&json!({ "native_id": 7 })).unwrap()[0].native_id, "7");
        let alerts = map(&json!([{ "native_id": "a" }, { "native_id": "b" }, { "native_id": "a" }])).unwrap();
        assert_eq!(alerts.len(), 2, "the same alert twice is one");
        assert_eq!((alerts[0].occurred_at, alerts[0].severity), (at(), Severity::Low));
    }

    #[test]
    fn what_is_no_alert_says_why() {
        let check = |body: Value, expected: &str| assert_eq!(map(&body).unwrap_err().to_string(), expected);
        check(json!("text"), "alert 1: not an object");
        check(json!([{ "native_id": "a" }, {}]), "alert 2: no native_id");
        check(json!({ "native_id": " " }), "alert 1: no native_id");
        check(
            json!({ "native_id": "a", "severity": "urgent" }),
            "alert 1: severity is low, medium, high or critical, and nothing else",
        );
        check(json!({ "native_id": "a", "observables": "x" }), "alert 1: an observable is an object");
        check(
            json!({ "native_id": "a", "observables": [{ "type": "mutex", "value": "x" }] }),
            "alert 1: there is no such type of observable",
        );
        check(json!({ "native_id": "a", "texts": [{}] }), "alert 1: texts and assets are lists of texts");
        check(
            json!([{ "native_id": "a" }, { "native_id": "a", "title": "other" }]),
            "alert 2: another one has the same native_id",
        );
        let many: Vec<Value> = (0..101).map(|n| json!({ "native_id": n })).collect();
        check(json!(many), "101 alerts at once; at most 100 are taken");
        let values: Vec<String> = (0..501).map(|n| format!("h{n}.example")).collect();
        check(json!({ "native_id": "a", "observables": { "value": values } }), "alert 1: more than 500 observables");
        check(json!({ "native_id": "a", "texts": vec!["x"; 101] }), "alert 1: more than 100 texts");
        let large: Vec<Value> = (0..100).map(|n| json!({ "native_id": n, "raw": "x".repeat(50_000) })).collect();
        check(json!(large), "alerts of more than 4194304 bytes together");
    }

    #[test]
    fn a_mapping_that_fails_says_so_without_the_input() {
        let failure = source("body.secret * 2").alerts(&json!({ "secret": "s3cr3t" }), at()).unwrap_err();
        assert!(failure.to_string().starts_with("expression failed"), "{failure}");
        let alert = source("x").unmapped(
            "id-1",
            &json!({ "url": "http://evil.example/a", "n": [{ "ip": "192.0.2.7" }] }),
            at(),
            &failure,
        );
        assert_eq!(alert.native_id, "unmapped/id-1");
        assert!(
            alert.title.starts_with("SIEM: an alert that could not be mapped: expression failed"),
            "{}",
            alert.title
        );
        assert!(!alert.title.contains("s3cr3t"));
        assert_eq!(alert.texts, ["url\nhttp://evil.example/a\nn\nip\n192.0.2.7\n"]);
    }

    #[test]
    fn hostile_fields_are_bounded() {
        let body = json!({
            "native_id": "x".repeat(600), "title": format!("a\r\n\u{1b}[31mb {}", "c".repeat(500)),
            "permalink": "javascript:alert(1)", "assets": ["pc\n7"], "was_allowed": "yes", "occurred_at": "yesterday",
            "observables": [
                { "type": "ipv4-addr", "value": null }, { "type": "domain-name" }, null,
                { "value": ["192.0.2.7", "evil.example", "not a host", "192.0.2.7"], "role": " source\n " },
                { "type": "ipv4-addr", "value": "999.1.1.1" }
            ]
        });
        let alert = map(&body).unwrap().remove(0);
        assert!(alert.native_id.starts_with("sha256:") && alert.native_id.len() == 71, "{}", alert.native_id);
        assert!(alert.title.starts_with("a [31mb ccc") && alert.title.chars().count() == 200, "{}", alert.title);
        assert_eq!((alert.permalink, alert.was_allowed, alert.occurred_at), (None, None, at()));
        assert_eq!(alert.assets, ["pc 7"]);
        let named: Vec<(&str, &str)> = alert.observables.iter().map(|n| (n.kind.as_str(), n.value.as_str())).collect();
        assert_eq!(named, [("ipv4-addr", "192.0.2.7"), ("domain-name", "evil.example"), ("ipv4-addr", "999.1.1.1")]);
        assert_eq!(alert.observables[0].role.as_deref(), Some("source"));
        assert_eq!(alert.texts, ["not a host"], "what reads as nothing is searched");
        assert_eq!(alert.raw, body);
    }

    #[test]
    fn alike_alerts_have_one_fingerprint() {
        let alert = |title: &str, host: &str| {
            let body = json!({ "native_id": title, "title": title, "observables": { "value": host } });
            map(&body).unwrap().remove(0).fingerprint()
        };
        assert_eq!(alert("Beacon 17", "evil.example"), alert("beacon  18", "EVIL.example"));
        assert_ne!(alert("Beacon 17", "evil.example"), alert("Beacon 17", "other.example"));
        assert_ne!(alert("Beacon 17", "192.0.2.1"), alert("Beacon 17", "192.0.2.2"));
    }
}
