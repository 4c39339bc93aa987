//! The targets' understudy: a MISP and a watchlist that keep what they are given, so that one can look whether it is there.
//!
//! It decodes each request as the target would: a wrong request changes nothing, and is answered as the target would.

use std::collections::BTreeMap;

use playbook::lookup::Answer;
use serde::Serialize;
use serde_json::{Value, json};

use super::{document, text};

/// The host of the shipped MISP manifest.
const MISP: &str = "misp.corp.example";
/// The host of the shipped webhook manifest.
const WATCHLIST: &str = "watchlist.corp.example";

/// An attribute of a MISP event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MispAttribute {
    /// Its number.
    pub id: String,
    /// The event that it belongs to.
    pub event_id: String,
    /// MISP's type, such as `ip-dst`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What.
    pub value: String,
    /// Who put it there.
    pub comment: String,
    /// Whether it may be exported to detection.
    pub to_ids: bool,
}

/// An indicator on the watchlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What.
    pub value: String,
    /// Until when.
    pub until: String,
}

/// Everything that was written and not taken back.
#[derive(Debug, Default)]
pub struct Targets {
    attributes: Vec<MispAttribute>,
    last_id: u32,
    watched: BTreeMap<String, Watched>,
}

impl Targets {
    /// MISP's attributes, oldest first.
    #[must_use]
    pub fn attributes(&self) -> Vec<MispAttribute> {
        self.attributes.clone()
    }

    /// The watchlist, sorted.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        self.watched.values().cloned().collect()
    }

    /// Puts an attribute into MISP that somebody else has made.
    pub fn put(&mut self, kind: &str, value: &str) {
        let id = self.next_id();
        let (kind, value, comment) = (kind.to_owned(), value.to_owned(), "added by an analyst".to_owned());
        self.attributes.push(MispAttribute { id, event_id: "1".to_owned(), kind, value, comment, to_ids: true });
    }

    /// Answers a request for one of these hosts; `None` for any other.
    pub fn answer(
        &mut self,
        host: &str,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Option<Answer> {
        let key = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let key = key.map(|(_, value)| value.trim()).unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match host.split(':').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            MISP if key.is_empty() => Some(misp_error(403, "Authentication failed.", path)),
            MISP => Some(self.misp(method, path, &body)),
            WATCHLIST if !key.starts_with("Bearer ") => Some(text(401, "")),
            WATCHLIST => Some(self.watchlist(method, path, &body)),
            _ => None,
        }
    }

    fn next_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    fn misp(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, segments.as_slice()) {
            ("POST", ["attributes", "restSearch"]) => self.search(body),
            ("POST", ["attributes", "add", event]) => self.add(event, body, path),
            ("GET", ["attributes", "view", id]) => match self.attributes.iter().find(|known| known.id == *id) {
                Some(attribute) => document(200, &json!({ "Attribute": attribute })),
                None => misp_error(404, "Invalid attribute", path),
            },
            ("DELETE", ["attributes", "delete", id, "1"]) => {
                let before = self.attributes.len();
                self.attributes.retain(|known| known.id != *id);
                if self.attributes.len() == before {
                    misp_error(404, "Invalid attribute", path)
                } else {
                    document(200, &json!({ "message": "Attribute deleted." }))
                }
            }
            _ => misp_error(404, "Invalid endpoint", path),
        }
    }

    /// Attributes of an event with one of these values. MISP takes one value or a list.
    fn search(&self, body: &Value) -> Answer {
        let one_or_many = |name: &str| match &body[name] {
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(text) => vec![text.clone()],
            _ => vec![],
        };
        let (values, events) = (one_or_many("value"), one_or_many("eventid"));
        let fits = |known: &&MispAttribute| {
            values.contains(&known.value) && (events.is_empty() || events.contains(&known.event_id))
        };
        let found: Vec<&MispAttribute> = self.attributes.iter().filter(fits).collect();
        document(200, &json!({ "response": { "Attribute": found } }))
    }

    fn add(&mut self, event: &str, body: &Value, path: &str) -> Answer {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (kind, value) = (text("type"), text("value"));
        if kind.is_empty() || value.is_empty() {
            return misp_error(403, "Could not add Attribute", path);
        }
        let is_alike = |known: &MispAttribute| known.event_id == event && known.kind == kind && known.value == value;
        if self.attributes.iter().any(is_alike) {
            let why = "A similar attribute already exists for this event.";
            let answer = json!({
                "saved": false, "name": "Could not add Attribute", "message": "Could not add Attribute",
                "url": "/attributes/add", "errors": { "value": [why] },
            });
            return document(403, &answer);
        }
        let to_ids = body["to_ids"] == Value::Bool(true);
        let (id, event_id, comment) = (self.next_id(), event.to_owned(), text("comment"));
        let attribute = MispAttribute { id, event_id, kind, value, comment, to_ids };
        let answer = document(200, &json!({ "Attribute": attribute }));
        self.attributes.push(attribute);
        answer
    }

    fn watchlist(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let indicator = |name: &str| body["indicator"][name].as_str().unwrap_or_default().to_owned();
        let (kind, value) = (indicator("type"), indicator("value"));
        if method != "POST" || path != "/indicators" {
            return text(404, "Not Found");
        }
        match body["action"].as_str() {
            _ if value.is_empty() => text(400, "an indicator has a value"),
            Some("set") => {
                let until = body["until"].as_str().unwrap_or_default().to_owned();
                self.watched.insert(format!("{kind}#{value}"), Watched { kind, value, until });
                text(204, "")
            }
            Some("unset") => {
                let was_there = self.watched.remove(&format!("{kind}#{value}")).is_some();
                text(if was_there { 204 } else { 404 }, "")
            }
            _ => text(400, "action is set or unset"),
        }
    }
}

fn misp_error(status: u16, message: &str, path: &str) -> Answer {
    document(status, &json!({ "name": message, "message": message, "url": path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(targets: &mut Targets, host: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let headers = [("authorization".to_owned(), "Bearer dummy".to_owned())];
        let answer = targets.answer(host, method, path, &headers, body.to_string().as_bytes()).unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    #[test]
    fn misp_keeps_an_attribute_once_until_it_is_deleted() {
        let mut targets = Targets::default();
        let evil = json!({ "type": "domain", "value": "evil.example", "comment": "c", "to_ids": true });
        let mut misp = |method: &str, path: &str, body: &Value| ask(&mut targets, MISP, method, path, body);
        assert_eq!(misp("POST", "/attributes/add/1", &evil).1["Attribute"]["id"], "1");
        assert_eq!(misp("POST", "/attributes/add/1", &evil).0, 403);
        let search = json!({ "value": ["evil.example"], "eventid": "1" });
        let found = |answer: (u16, Value)| answer.1["response"]["Attribute"].as_array().unwrap().len();
        assert_eq!(found(misp("POST", "/attributes/restSearch", &search)), 1);
        let elsewhere = json!({ "value": ["evil.example"], "eventid": "2" });
        assert_eq!(found(misp("POST", "/attributes/restSearch", &elsewhere)), 0);
        assert_eq!(misp("GET", "/attributes/view/1", &Value::Null).0, 200);
        assert_eq!(misp("DELETE", "/attributes/delete/1/1", &Value::Null).0, 200);
        assert_eq!(misp("DELETE", "/attributes/delete/1/1", &Value::Null).0, 404);
        assert_eq!(targets.attributes(), vec![]);
    }

    #[test]
    fn the_watchlist_is_set_and_unset() {
        let mut targets = Targets::default();
        let document = |action: &str| json!({ "action": action, "indicator": { "type": "url", "value": "http://evil.example/" }, "until": "t" });
        let mut watchlist = |body: &Value| ask(&mut targets, WATCHLIST, "POST", "/indicators", body).0;
        assert_eq!((watchlist(&document("set")), watchlist(&document("set"))), (204, 204));
        assert_eq!((watchlist(&document("toggle")), watchlist(&json!({ "action": "set" }))), (400, 400));
        assert_eq!(targets.watched().len(), 1);
        let mut watchlist = |body: &Value| ask(&mut targets, WATCHLIST, "POST", "/indicators", body).0;
        assert_eq!((watchlist(&document("unset")), watchlist(&document("unset"))), (204, 404));
        assert_eq!(targets.watched(), vec![]);
    }

    #[test]
    fn without_a_key_nothing_is_written() {
        let mut targets = Targets::default();
        let body = json!({ "type": "domain", "value": "evil.example" }).to_string();
        for (host, path, status) in [(MISP, "/attributes/add/1", 403), (WATCHLIST, "/indicators", 401)] {
            let answer = targets.answer(host, "POST", path, &[], body.as_bytes()).unwrap();
            assert_eq!(answer.status, status, "{host}");
        }
        assert_eq!((targets.attributes(), targets.watched()), (vec![], vec![]));
        assert_eq!(targets.answer("api.abuseipdb.com", "GET", "/", &[], &[]), None);
    }
}
