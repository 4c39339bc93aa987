//! Compiled lists: what a feed says of an observable, looked up without a call.

use std::{collections::BTreeMap, sync::Arc};

use ioc::{HashAlgorithm, Observable, ObservableType};
use playbook::{
    Fault, Timestamp,
    intake::{FeedState, ListLine},
    manifest::Manifest,
    ports::Evidence,
    rows::{Row, Rows},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::debug;

/// So long a feed's row is believed without being read again.
const ROW_MAX_AGE_MS: i64 = 30_000;

/// What a list says of an observable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The feed's entry; `None` when the observable is not in the list.
    pub entry: Option<Value>,
    /// When the list was fetched, or found unchanged.
    pub fetched_at: Timestamp,
    /// How many entries the list has.
    pub entries: usize,
}

/// Where compiled lists are looked into.
pub trait Lists {
    /// What the list of a provider of kind `list` says. The error is the word in an outcome: `no_list` when the feed was
    /// never read, `stale_list` when it was read longer ago than the manifest believes, `list_unreadable`.
    async fn look(&self, manifest: &Manifest, observable: &Observable, now: Timestamp) -> Result<Looked, &'static str>;
}

/// The lists that `poll-feeds` compiled. Made once per sandbox: a document is read once for as long as it is the latest.
#[derive(Debug)]
pub struct StoredLists<'a, R, E> {
    rows: &'a R,
    evidence: &'a E,
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    read_at: Timestamp,
    state: FeedState,
    compiled: Option<Arc<Compiled>>,
}

impl<'a, R: Rows, E: Evidence> StoredLists<'a, R, E> {
    /// Lists of this record and this bucket; nothing is read yet.
    pub fn new(rows: &'a R, evidence: &'a E) -> Self {
        Self { rows, evidence, held: Mutex::default() }
    }

    /// The latest list of a feed. Whoever comes second waits for the first instead of reading it too.
    async fn latest(&self, id: &str, now: Timestamp) -> Result<(FeedState, Option<Arc<Compiled>>), Fault> {
        let mut held = self.held.lock().await;
        if let Some(known) = held.get(id)
            && (0..ROW_MAX_AGE_MS).contains(&now.ms_since(known.read_at))
        {
            return Ok((known.state.clone(), known.compiled.clone()));
        }
        let row = self.rows.get(&FeedState::key(id)).await?;
        let state: FeedState = row.as_ref().map(Row::read).transpose()?.unwrap_or_default();
        let kept = held.remove(id).filter(|known| known.state.list == state.list).and_then(|known| known.compiled);
        let compiled = match (kept, &state.list) {
            (Some(kept), _) => Some(kept),
            (None, None) => None,
            (None, Some(list)) => Some(Arc::new(Compiled::read(self.evidence.fetch(list).await?)?)),
        };
        held.insert(id.to_owned(), Held { read_at: now, state: state.clone(), compiled: compiled.clone() });
        Ok((state, compiled))
    }
}

impl<R: Rows, E: Evidence> Lists for StoredLists<'_, R, E> {
    async fn look(&self, manifest: &Manifest, observable: &Observable, now: Timestamp) -> Result<Looked, &'static str> {
        let id = manifest.list.as_deref().ok_or("no_list")?;
        let unreadable = |fault: Fault| {
            debug!(provider.id = %manifest.id, fault = fault.name(), "list cannot be read: {fault}");
            "list_unreadable"
        };
        let (state, compiled) = self.latest(id, now).await.map_err(unreadable)?;
        let (Some(fetched_at), Some(compiled)) = (state.fetched_at, compiled) else { return Err("no_list") };
        let is_stale = |minutes: u32| now > fetched_at.plus_minutes(i64::from(minutes));
        if manifest.list_max_age_minutes.is_some_and(is_stale) {
            return Err("stale_list");
        }
        let entry = compiled.find(observable).map_err(unreadable)?;
        Ok(Looked { entry, fetched_at, entries: compiled.starts.len() })
    }
}

/// A compiled list: its NDJSON and where each line starts.
#[derive(Debug)]
struct Compiled {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

#[derive(Deserialize)]
struct Keyed {
    key: String,
}

impl Compiled {
    fn read(bytes: Vec<u8>) -> Result<Self, Fault> {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let mut starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
        match starts.pop() {
            Some(end) if end == bytes.len() => Ok(Self { bytes, starts }),
            _ => Err(Fault::Rejected("a compiled list ends with a line break".to_owned())),
        }
    }

    fn line(&self, index: usize) -> &[u8] {
        let start = self.starts.get(index).copied().unwrap_or(self.bytes.len());
        let end = self.starts.get(index + 1).copied().unwrap_or(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn find(&self, observable: &Observable) -> Result<Option<Value>, Fault> {
        for key in keys(observable) {
            if let Some(line) = self.find_key(&key)? {
                return Ok(Some(line.entry));
            }
        }
        Ok(None)
    }

    fn find_key(&self, key: &str) -> Result<Option<ListLine>, Fault> {
        let (mut low, mut high) = (0, self.starts.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let found: Keyed = read(self.line(middle))?;
            match found.key.as_str().cmp(key) {
                std::cmp::Ordering::Equal => return read(self.line(middle)).map(Some),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| Fault::Rejected(format!("a line of the list cannot be read: {error}")))
}

/// The keys under which a list may hold it: of a file one for each digest that is known.
fn keys(observable: &Observable) -> Vec<String> {
    if observable.kind() != ObservableType::File {
        return vec![observable.key()];
    }
    let hashes = observable.hashes();
    let known = [
        (HashAlgorithm::Sha256, &hashes.sha256),
        (HashAlgorithm::Sha1, &hashes.sha1),
        (HashAlgorithm::Md5, &hashes.md5),
    ];
    let key =
        |(algorithm, digest): (HashAlgorithm, &Option<String>)| Some(format!("file#{algorithm}:{}", digest.as_ref()?));
    known.into_iter().filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use ioc::Hashes;
    use playbook::{
        fakes::{MemoryEvidence, MemoryRows},
        rows::{Commit, Write},
    };
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = include_str!("../../../playbook/providers/feodo.yaml");

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
    }

    fn manifest() -> Manifest {
        Manifest::parse(MANIFEST, "feodo.yaml").unwrap()
    }

    fn observable(kind: ObservableType, value: &str) -> Observable {
        Observable::parse(kind, value).unwrap()
    }

    /// A list of these keys, each with its number as the entry, fetched now.
    async fn compiled(rows: &MemoryRows, evidence: &MemoryEvidence, keys: &[String]) {
        let mut keys = keys.to_vec();
        keys.sort();
        let line = |(n, key): (usize, &String)| json!({ "key": key, "entry": { "n": n } }).to_string() + "\n";
        let ndjson: String = keys.iter().enumerate().map(line).collect();
        let list = evidence.store(&format!("providers/feodo/{}", keys.len()), "", ndjson.as_bytes()).await.unwrap();
        let state = FeedState { fetched_at: Some(now()), list: Some(list), ..FeedState::default() };
        let write = Write::put(FeedState::key("feodo"), &state).unwrap();
        assert_eq!(rows.commit(&[write]).await.unwrap(), Commit::Done);
    }

    async fn look(
        (rows, evidence): (&MemoryRows, &MemoryEvidence),
        asked: &Observable,
        minutes: i64,
    ) -> Result<Looked, &'static str> {
        StoredLists::new(rows, evidence).look(&manifest(), asked, now().plus_minutes(minutes)).await
    }

    #[tokio::test]
    async fn every_entry_is_found_and_nothing_else() {
        let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
        let address = |n: u32| observable(ObservableType::Ipv4Addr, &format!("192.0.2.{n}"));
        for length in [0, 1, 2, 3, 100] {
            let keys: Vec<String> = (0..length).map(|n| address(2 * n).key()).collect();
            compiled(&rows, &evidence, &keys).await;
            let lists = StoredLists::new(&rows, &evidence);
            for n in 0..length {
                let found = lists.look(&manifest(), &address(2 * n), now()).await.unwrap();
                assert!(found.entry.is_some(), "{n} of {length}");
                assert_eq!((found.fetched_at, found.entries), (now(), keys.len()));
                let absent = lists.look(&manifest(), &address(2 * n + 1), now()).await.unwrap();
                assert_eq!(absent.entry, None, "{n} of {length}");
            }
            assert_eq!(lists.look(&manifest(), &address(255), now()).await.unwrap().entry, None);
        }
    }

    #[tokio::test]
    async fn a_file_is_found_by_any_of_its_digests() {
        let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
        compiled(&rows, &evidence, &[format!("file#md5:{}", "b".repeat(32))]).await;
        let file = |md5: &str| {
            let hashes = Hashes { md5: Some(md5.repeat(32)), sha256: Some("a".repeat(64)), ..Hashes::default() };
            Observable::file(hashes).unwrap()
        };
        assert!(look((&rows, &evidence), &file("b"), 0).await.unwrap().entry.is_some());
        assert_eq!(look((&rows, &evidence), &file("c"), 0).await.unwrap().entry, None);
    }

    #[tokio::test]
    async fn a_list_that_nobody_can_believe_is_an_error() {
        let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
        let asked = observable(ObservableType::Ipv4Addr, "192.0.2.1");
        assert_eq!(look((&rows, &evidence), &asked, 0).await, Err("no_list"));
        compiled(&rows, &evidence, &[asked.key()]).await;
        assert!(look((&rows, &evidence), &asked, 1_440).await.is_ok());
        assert_eq!(look((&rows, &evidence), &asked, 1_441).await, Err("stale_list"));
        let elsewhere = MemoryEvidence::default();
        assert_eq!(look((&rows, &elsewhere), &asked, 0).await, Err("list_unreadable"));
        let state: FeedState = rows.get(&FeedState::key("feodo")).await.unwrap().unwrap().read().unwrap();
        for broken in [&b"{\"key\":\"a\""[..], b"\n", b"<html>\n"] {
            let list = evidence.store("providers/feodo/broken", "", broken).await.unwrap();
            let state = FeedState { list: Some(list), ..state.clone() };
            let write = Write::put(FeedState::key("feodo"), &state).unwrap();
            assert_eq!(rows.commit(&[write]).await.unwrap(), Commit::Done);
            assert_eq!(look((&rows, &evidence), &asked, 0).await, Err("list_unreadable"));
        }
    }

    #[tokio::test]
    async fn a_newer_list_is_seen_after_half_a_minute() {
        let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
        let asked = observable(ObservableType::Ipv4Addr, "192.0.2.1");
        compiled(&rows, &evidence, &[]).await;
        let (lists, manifest) = (StoredLists::new(&rows, &evidence), manifest());
        let entries = async |ms: i64| lists.look(&manifest, &asked, now().plus_ms(ms)).await.unwrap().entries;
        assert_eq!(entries(0).await, 0);
        compiled(&rows, &evidence, &[asked.key()]).await;
        assert_eq!(entries(29_999).await, 0);
        assert_eq!(entries(30_000).await, 1);
    }
}
