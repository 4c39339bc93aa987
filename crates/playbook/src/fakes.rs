//! In-memory implementations of every port. They keep the promises of the real ones: conditions, atomicity, digests.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use ipnet::IpNet;
use serde_json::Value;

use crate::{
    Fault, Timestamp,
    authored::Complaint,
    canonical,
    incident::EvidenceRef,
    manifest::Manifest,
    ports::{
        Clock, Entropy, Evidence, IpSet, IpSets, Machines, Mail, Outbox, Queue, Secret, Secrets, Started, Stored, Woken,
    },
    rows::{Attributes, Change, Commit, Condition, Key, Row, Rows, Write},
};

/// The record in memory.
#[derive(Debug, Default)]
pub struct MemoryRows {
    rows: RefCell<BTreeMap<Key, Attributes>>,
    /// How many commits were done.
    pub commits: Cell<usize>,
}

impl MemoryRows {
    /// Every row, for assertions.
    #[must_use]
    pub fn all(&self) -> Vec<Row> {
        self.rows.borrow().iter().map(|(key, a)| Row { key: key.clone(), attributes: a.clone() }).collect()
    }
}

fn holds(row: Option<&Attributes>, condition: &Condition) -> bool {
    match condition {
        Condition::Absent => row.is_none(),
        Condition::Present => row.is_some(),
        Condition::Is(name, value) => row.and_then(|r| r.get(*name)) == Some(value),
        Condition::Lacks(name) => row.is_none_or(|r| !r.contains_key(*name)),
        Condition::After(name, text) => {
            row.and_then(|r| r.get(*name)).and_then(Value::as_str).is_some_and(|value| value > text.as_str())
        }
    }
}

fn number(value: Option<&Value>) -> i64 {
    value.and_then(Value::as_i64).unwrap_or(0)
}

impl Rows for MemoryRows {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        Ok(self.rows.borrow().get(key).map(|a| Row { key: key.clone(), attributes: a.clone() }))
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        Ok(self.all().into_iter().filter(|row| row.key.pk == pk && row.key.sk.starts_with(sk_prefix)).collect())
    }

    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        let until = until.to_string();
        let text = |row: &Row, name: &str| row.attributes.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut due: Vec<Row> = self
            .all()
            .into_iter()
            .filter(|row| {
                text(row, "due_kind") == kind && !text(row, "due_at").is_empty() && text(row, "due_at") <= until
            })
            .collect();
        due.sort_by_key(|row| text(row, "due_at"));
        due.truncate(limit);
        Ok(due)
    }

    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        let text = |row: &Row, name: &str| row.attributes.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut rows: Vec<Row> = self.all().into_iter().filter(|row| text(row, "observable") == observable).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(text(row, "seen_at")));
        rows.truncate(limit);
        Ok(rows)
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        if writes.is_empty() || writes.len() > 100 {
            return Err(Fault::Rejected(format!("a commit has 1 to 100 writes, not {}", writes.len())));
        }
        let mut keys: Vec<&Key> = writes.iter().map(|write| &write.key).collect();
        keys.sort();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Fault::Rejected("a commit writes each row once".to_owned()));
        }
        let mut rows = self.rows.borrow_mut();
        if !writes.iter().all(|write| write.conditions.iter().all(|c| holds(rows.get(&write.key), c))) {
            return Ok(Commit::Conflict);
        }
        for write in writes {
            match &write.change {
                Change::Put(attributes) => {
                    rows.insert(write.key.clone(), attributes.clone());
                }
                Change::Set { set, remove, add } => {
                    let row = rows.entry(write.key.clone()).or_default();
                    row.extend(set.clone());
                    for name in remove {
                        row.remove(*name);
                    }
                    for (name, summand) in add {
                        let sum = number(row.get(*name)).saturating_add(*summand);
                        row.insert((*name).to_owned(), sum.into());
                    }
                }
                Change::Delete => {
                    rows.remove(&write.key);
                }
                Change::Check => {}
            }
        }
        self.commits.set(self.commits.get() + 1);
        Ok(Commit::Done)
    }
}

/// The evidence bucket in memory.
#[derive(Debug, Default)]
pub struct MemoryEvidence {
    objects: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl MemoryEvidence {
    /// Keys of every object, for assertions.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.objects.borrow().keys().cloned().collect()
    }

    /// Every object with its key, for tools that read a copy of the bucket.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects.borrow().clone()
    }
}

/// Names the folder in which the receipts of a whole test run are kept, to be replayed at its end.
pub const RECEIPTS_VARIABLE: &str = "PLAYBOOK_RECEIPTS";

fn keep_receipts(key: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os(RECEIPTS_VARIABLE).filter(|_| key.starts_with("receipts/")) {
        // The run's end says how many there were; a test is not about this.
        let _ = std::fs::write(
            std::path::Path::new(&folder).join(format!("{}.jsonl", canonical::sha256_hex(bytes))),
            bytes,
        );
    }
}

impl Evidence for MemoryEvidence {
    async fn fetch(&self, evidence: &EvidenceRef) -> Result<Vec<u8>, Fault> {
        let bytes = self.objects.borrow().get(&evidence.key).cloned();
        let bytes = bytes.ok_or_else(|| Fault::Rejected(format!("there is no document {}", evidence.key)))?;
        if evidence.sha256.is_empty() || canonical::sha256_hex(&bytes) == evidence.sha256 {
            Ok(bytes)
        } else {
            Err(Fault::Rejected(format!("document {} is not what its reference says", evidence.key)))
        }
    }

    async fn find(&self, key: &str) -> Result<Option<Stored>, Fault> {
        let bytes = self.objects.borrow().get(key).cloned();
        Ok(bytes.map(|bytes| Stored { etag: canonical::sha256_hex(&bytes), bytes }))
    }

    async fn store(&self, key: &str, _content_type: &str, bytes: &[u8]) -> Result<EvidenceRef, Fault> {
        self.objects.borrow_mut().insert(key.to_owned(), bytes.to_vec());
        keep_receipts(key, bytes);
        Ok(EvidenceRef {
            key: key.to_owned(),
            version_id: None,
            sha256: canonical::sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
        })
    }

    async fn replace(&self, key: &str, content_type: &str, bytes: &[u8], etag: Option<&str>) -> Result<bool, Fault> {
        let stored = self.find(key).await?;
        if stored.as_ref().map(|s| s.etag.as_str()) != etag {
            return Ok(false);
        }
        self.store(key, content_type, bytes).await?;
        Ok(true)
    }
}

/// Mails that were sent.
#[derive(Debug, Default)]
pub struct MemoryOutbox {
    /// In the order of sending.
    pub mails: RefCell<Vec<Mail>>,
}

impl Outbox for MemoryOutbox {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        self.mails.borrow_mut().push(mail.clone());
        Ok(format!("mail-{}", self.mails.borrow().len()))
    }
}

/// Messages that were pushed.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    /// In the order of pushing.
    pub messages: RefCell<Vec<String>>,
    /// Seconds that each waits before it is delivered.
    pub delays: RefCell<Vec<u32>>,
}

impl Queue for MemoryQueue {
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault> {
        self.delays.borrow_mut().push(delay_seconds);
        self.messages.borrow_mut().push(body.to_owned());
        Ok(())
    }
}

/// A state machine that remembers what was started and woken; it runs nothing.
#[derive(Debug, Default)]
pub struct MemoryMachines {
    /// Name and input of what was started.
    pub started: RefCell<Vec<(String, String)>>,
    /// Tokens that were woken.
    pub woken: RefCell<Vec<String>>,
    /// Tokens behind which nobody waits.
    pub gone: RefCell<Vec<String>>,
}

impl Machines for MemoryMachines {
    async fn start(&self, _machine: &str, name: &str, input: &str) -> Result<Started, Fault> {
        let arn = format!("arn:aws:states:us-east-1:000000000000:execution:fake-playbook:{name}");
        if self.started.borrow().iter().any(|(known, _)| known == name) {
            return Ok(Started::Exists(arn));
        }
        self.started.borrow_mut().push((name.to_owned(), input.to_owned()));
        Ok(Started::New(arn))
    }

    async fn wake(&self, task_token: &str) -> Result<Woken, Fault> {
        if self.gone.borrow().iter().any(|token| token == task_token) {
            return Ok(Woken::Gone);
        }
        self.woken.borrow_mut().push(task_token.to_owned());
        Ok(Woken::Yes)
    }

    async fn is_running(&self, _machine: &str, name: &str) -> Result<Option<bool>, Fault> {
        Ok(Some(self.started.borrow().iter().any(|(known, _)| known == name)))
    }
}

/// Secrets by id.
#[derive(Debug, Default)]
pub struct MemorySecrets(pub BTreeMap<String, String>);

impl Secrets for MemorySecrets {
    async fn secret(&self, id: &str) -> Result<Option<Secret>, Fault> {
        Ok(self.0.get(id).map(Secret::new))
    }
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct StoppedClock(Cell<Timestamp>);

impl StoppedClock {
    /// A clock that stands at this moment.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(Cell::new(now))
    }

    /// Moves the clock on.
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.set(self.0.get().plus_ms(seconds * 1000));
    }

    /// Moves the clock on.
    pub fn advance_minutes(&self, minutes: i64) {
        self.0.set(self.0.get().plus_minutes(minutes));
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        self.0.get()
    }
}

/// Bytes that look random and are the same in every test: a counter through SHA-256.
#[derive(Debug, Default)]
pub struct CountingEntropy(Cell<u64>);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault> {
        for chunk in bytes.chunks_mut(32) {
            self.0.set(self.0.get() + 1);
            let hex = canonical::sha256_hex(&self.0.get().to_be_bytes());
            for (byte, pair) in chunk.iter_mut().zip(hex.as_bytes().chunks(2)) {
                let text = std::str::from_utf8(pair).unwrap_or("00");
                *byte = u8::from_str_radix(text, 16).unwrap_or(0);
            }
        }
        Ok(())
    }
}

/// IP sets by ARN; a set that was never replaced is empty.
#[derive(Debug, Default)]
pub struct MemoryIpSets {
    /// What is in each.
    pub sets: RefCell<BTreeMap<String, BTreeSet<IpNet>>>,
    versions: RefCell<BTreeMap<String, u64>>,
}

impl IpSets for MemoryIpSets {
    async fn read(&self, arn: &str) -> Result<IpSet, Fault> {
        let networks = self.sets.borrow().get(arn).cloned().unwrap_or_default();
        let version = self.versions.borrow().get(arn).copied().unwrap_or(0);
        Ok(IpSet { networks, lock_token: version.to_string() })
    }

    async fn replace(&self, arn: &str, set: &IpSet) -> Result<bool, Fault> {
        let mut versions = self.versions.borrow_mut();
        let version = versions.entry(arn.to_owned()).or_default();
        if set.lock_token != version.to_string() {
            return Ok(false);
        }
        *version += 1;
        self.sets.borrow_mut().insert(arn.to_owned(), set.networks.clone());
        Ok(true)
    }
}

/// A provider at `<id>.example` of grade B, with more lines of YAML: it is asked by GET, 404 is `not_found`, and `{"found": true}` is
/// malicious.
pub fn provider(id: &str, more: &str) -> Result<Manifest, Complaint> {
    let yaml = format!(
        r#"
schema: provider/1
id: {id}
name: Provider {id}
kind: http
verified: recorded
types: [ipv4-addr, domain-name, url]
family: {id}
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: {{ found: 1440, not_found: 60, error: 5 }}
timeout_ms: 4000
host: {id}.example
requests:
  - types: [ipv4-addr, domain-name, url]
    method: GET
    path: /v1/lookup
    query: {{ q: "{{value}}" }}
outcome:
  - {{ status: [404], outcome: not_found }}
  - {{ when: "body.found = true", outcome: found }}
mapping: '{{"verdict": "malicious", "score": 90}}'
{more}
"#
    );
    Manifest::parse(&yaml, &format!("{id}.yaml"))
}
