//! What a feed says, one entry an observable: sorted, without duplicates, as the compiled list holds it.

use std::collections::BTreeMap;

use ioc::{Observable, ObservableType};
use playbook::{Fault, canonical, intake::ListLine};
use serde_json::{Map, Value};

/// The member of an entry that names the object it comes from.
pub(crate) const NATIVE_ID: &str = "native_id";
/// The member of an entry that says until when it holds.
pub(crate) const VALID_UNTIL: &str = "valid_until";

/// The longest value of an observable, in bytes; what is longer is sent to nobody.
const VALUE_MAX_BYTES: usize = 4_096;
/// The largest entry beside its value, in bytes of JSON.
const SAID_MAX_BYTES: usize = 2_048;

/// Entries by observable key, each as the JSON text it is stored as: a feed may have a million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries(BTreeMap<String, String>);

impl Entries {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts an entry in. A feed that says two things of one observable means the first.
    pub fn add(&mut self, entry: Entry) {
        self.0.entry(entry.key).or_insert(entry.json);
    }

    /// The keys of the observables.
    pub fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Takes an entry out, if it still is what the object of this id says.
    pub fn withdraw(&mut self, key: &str, native_id: &str) {
        let entry = self.0.get(key).and_then(|json| serde_json::from_str::<Value>(json).ok());
        if entry.is_some_and(|entry| entry.get(NATIVE_ID).and_then(Value::as_str) == Some(native_id)) {
            self.0.remove(key);
        }
    }

    /// Puts what another one says over what this one says.
    pub fn overlay(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Keeps those that hold.
    pub fn retain(&mut self, holds: impl Fn(&Value) -> bool) {
        // What cannot be read any more is no entry.
        self.0.retain(|_, json| serde_json::from_str(json).is_ok_and(|entry| holds(&entry)));
    }

    /// Those whose observables are not in the other.
    pub fn without(&self, known: &Self) -> Self {
        let others = self.0.iter().filter(|(key, _)| !known.0.contains_key(*key));
        Self(others.map(|(key, json)| (key.clone(), json.clone())).collect())
    }

    /// In groups of at most so many, in order.
    pub fn in_groups_of(self, most: usize) -> Vec<Self> {
        let mut groups: Vec<Self> = vec![];
        for (index, (key, json)) in self.0.into_iter().enumerate() {
            if index % most == 0 {
                groups.push(Self::default());
            }
            if let Some(group) = groups.last_mut() {
                group.0.insert(key, json);
            }
        }
        groups
    }

    /// The entries as documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = Value> {
        self.0.values().filter_map(|json| serde_json::from_str(json).ok())
    }

    /// NDJSON, a [`ListLine`] a line, sorted by key.
    pub fn to_ndjson(&self) -> Vec<u8> {
        let mut lines = vec![];
        for (key, json) in &self.0 {
            // The order of the members is that of `ListLine`; the entry is JSON already.
            lines.extend_from_slice(format!("{{\"key\":{},\"entry\":{json}}}\n", Value::from(key.as_str())).as_bytes());
        }
        lines
    }

    /// Reads NDJSON back.
    pub fn from_ndjson(bytes: &[u8]) -> Result<Self, Fault> {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries = lines.map(|line| {
            let line: ListLine = serde_json::from_slice(line)
                .map_err(|error| Fault::Rejected(format!("a compiled list cannot be read: {error}")))?;
            Ok((line.key, spelled(&line.entry)?))
        });
        entries.collect::<Result<_, Fault>>().map(Self)
    }
}

/// The same words for the same entry, so that a list that says the same has the same digest.
fn spelled(entry: &Value) -> Result<String, Fault> {
    let bytes = canonical::to_json(entry)?;
    String::from_utf8(bytes).map_err(|_| Fault::Rejected("an entry is not UTF-8".to_owned()))
}

/// What a feed says of one observable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    key: String,
    json: String,
}

impl Entry {
    /// Reads what the mapping gave: `type` and `value` name the observable, the rest is what the feed says. The value is
    /// stored in canonical form. `None` where it is no observable or too much.
    pub fn read(mapped: Value, also: &Map<String, Value>) -> Option<Self> {
        let Value::Object(mut entry) = mapped else { return None };
        let kind: ObservableType = entry.remove("type")?.as_str()?.parse().ok()?;
        let value = entry.remove("value")?;
        let value = value.as_str().filter(|value| value.len() <= VALUE_MAX_BYTES)?;
        let observable = Observable::parse(kind, value).ok()?;
        entry.retain(|_, member| !member.is_null());
        for (name, member) in also {
            entry.insert(name.clone(), member.clone());
        }
        entry.insert("type".to_owned(), kind.as_str().into());
        entry.insert("value".to_owned(), observable.value().into());
        let json = spelled(&Value::Object(entry)).ok()?;
        (json.len() <= observable.value().len() + SAID_MAX_BYTES).then(|| Self { key: observable.key(), json })
    }
}
