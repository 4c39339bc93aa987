//! The record as rows under conditions: the one port through which incidents, rounds, votes, effects and the ledger are kept.
//!
//! A commit is atomic. Every rule about who wins a race is a condition on a row, so that the in-memory fake and
//! DynamoDB behave the same and the logic above is written once.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Fault, Timestamp};

/// A row's attributes, `pk` and `sk` left out.
pub type Attributes = Map<String, Value>;

/// Where a row lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Partition: what the row belongs to, such as `incident#<id>`.
    pub pk: String,
    /// Sort key inside the partition, such as `meta`.
    pub sk: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it lies.
    pub key: Key,
    /// What it holds.
    pub attributes: Attributes,
}

impl Row {
    /// The row as a document; unknown attributes are ignored.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_value(Value::Object(self.attributes.clone()))
            .map_err(|error| Fault::Rejected(format!("row {} / {} cannot be read: {error}", self.key.pk, self.key.sk)))
    }
}

/// What must hold of the row before a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// No such row.
    Absent,
    /// There is such a row.
    Present,
    /// The attribute has this value.
    Is(&'static str, Value),
    /// The attribute does not exist.
    Lacks(&'static str),
    /// The attribute is a text that sorts after this one; for times.
    After(&'static str, String),
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The row becomes exactly this.
    Put(Attributes),
    /// These attributes are set, these removed, the others stay. Makes the row where there is none.
    Set {
        /// Attributes to set.
        set: Attributes,
        /// Attributes to remove.
        remove: Vec<&'static str>,
        /// Number attributes to add to; a missing one counts as 0.
        add: Vec<(&'static str, i64)>,
    },
    /// The row goes away.
    Delete,
    /// Nothing: the conditions must hold for the commit to happen.
    Check,
}

/// A write with its conditions, all of which must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which row.
    pub key: Key,
    /// What happens to it.
    pub change: Change,
    /// What must hold before.
    pub conditions: Vec<Condition>,
}

impl Write {
    /// The row becomes this document.
    pub fn put<T: Serialize>(key: Key, document: &T) -> Result<Self, Fault> {
        Ok(Self { key, change: Change::Put(attributes(document)?), conditions: vec![] })
    }

    /// These attributes are set, the others stay.
    pub fn set<T: Serialize>(key: Key, document: &T) -> Result<Self, Fault> {
        let change = Change::Set { set: attributes(document)?, remove: vec![], add: vec![] };
        Ok(Self { key, change, conditions: vec![] })
    }

    /// The row goes away.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self { key, change: Change::Delete, conditions: vec![] }
    }

    /// The commit happens only if the conditions hold of this row.
    #[must_use]
    pub fn check(key: Key) -> Self {
        Self { key, change: Change::Check, conditions: vec![] }
    }

    /// Also removes these attributes. Only for `set`.
    #[must_use]
    pub fn removing(mut self, names: &[&'static str]) -> Self {
        if let Change::Set { remove, .. } = &mut self.change {
            remove.extend_from_slice(names);
        }
        self
    }

    /// Also adds to a number. Only for `set`.
    #[must_use]
    pub fn adding(mut self, name: &'static str, number: i64) -> Self {
        if let Change::Set { add, .. } = &mut self.change {
            add.push((name, number));
        }
        self
    }

    /// Also sets an attribute. Not for `delete`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        if let Change::Put(set) | Change::Set { set, .. } = &mut self.change {
            set.insert(name.to_owned(), value);
        }
        self
    }

    /// Only if this holds.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }
}

/// A document as attributes; nulls are left out, so that an absent attribute and `None` are the same.
pub fn attributes<T: Serialize>(document: &T) -> Result<Attributes, Fault> {
    match serde_json::to_value(document) {
        Ok(Value::Object(map)) => Ok(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        Ok(other) => Err(Fault::Rejected(format!("a row is an object, not {other}"))),
        Err(error) => Err(Fault::Rejected(format!("row cannot be written: {error}"))),
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// All writes were done.
    Done,
    /// A condition did not hold; nothing was written.
    Conflict,
}

/// The record. Reads are consistent; `list` and `due` return everything, page by page behind the port.
pub trait Rows {
    /// One row.
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault>;
    /// All rows of a partition whose sort key starts so, in order.
    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault>;
    /// Rows with this `due_kind` whose `due_at` is not after `until`, oldest first, at most `limit`.
    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault>;
    /// Rows with this `observable`, newest `seen_at` first, at most `limit`.
    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault>;
    /// Does all writes or none. A single write costs no transaction. At most 100 writes.
    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault>;
}
