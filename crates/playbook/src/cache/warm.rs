//! What this sandbox has read or saved lately, in front of the table: a warm sandbox need not ask again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Lease, Leases, Outcomes, Taken, Verdicts};
use crate::{Fault, Timestamp, outcome::Outcome};

/// How long something is remembered. Whatever others save meanwhile is newer, never contrary to a lifetime.
pub const REMEMBERED: Duration = Duration::from_mins(1);

/// The most observables; when there are more, all are forgotten, which costs a read.
const ENTRIES_MAX: usize = 1_000;

/// A cache that remembers.
#[derive(Debug)]
pub struct Warm<V> {
    table: V,
    seen: Mutex<BTreeMap<String, (Instant, Outcomes)>>,
}

impl<V> Warm<V> {
    /// In front of this table; made once per sandbox.
    pub const fn new(table: V) -> Self {
        Self { table, seen: Mutex::new(BTreeMap::new()) }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Outcomes)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: &str, outcomes: Outcomes) {
        let mut seen = self.seen();
        if seen.len() >= ENTRIES_MAX && !seen.contains_key(key) {
            seen.clear();
        }
        seen.insert(key.to_owned(), (Instant::now(), outcomes));
    }
}

impl<V: Verdicts> Verdicts for Warm<V> {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        let found = self.table.recall(keys).await?;
        for (key, outcomes) in &found {
            self.note(key, outcomes.clone());
        }
        Ok(found)
    }

    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        self.table.save(key, outcomes).await?;
        let mut known = self.remembered(key).unwrap_or_default();
        for outcome in outcomes {
            let is_newer = known.get(&outcome.provider).is_none_or(|kept| kept.fetched_at <= outcome.fetched_at);
            if is_newer {
                known.insert(outcome.provider.clone(), outcome.clone());
            }
        }
        self.note(key, known);
        Ok(())
    }

    fn remembered(&self, key: &str) -> Option<Outcomes> {
        let seen = self.seen();
        let (since, outcomes) = seen.get(key)?;
        (since.elapsed() < REMEMBERED).then(|| outcomes.clone())
    }
}

impl<V: Leases> Leases for Warm<V> {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        self.table.take(key, lease, now).await
    }

    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        self.table.look(keys).await
    }

    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        self.table.finish(key, owner, now, left).await
    }
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::MemoryVerdicts;

    fn outcome(provider: &str, minute: i64) -> Outcome {
        let at = Timestamp::from_millis(0).plus_minutes(minute);
        let json = serde_json::json!({
            "provider": provider, "family": provider, "outcome": "not_found", "fetched_at": at,
            "expires_at": at.plus_minutes(60), "manifest_digest": "d",
        });
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn what_was_read_or_saved_is_remembered_and_newer_words_stay() {
        let warm = Warm::new(MemoryVerdicts::default());
        warm.table.save("a", &[outcome("x", 1)]).await.unwrap();
        assert_eq!(warm.remembered("a"), None, "nobody has read it yet");
        warm.recall(&["a".to_owned(), "b".to_owned()]).await.unwrap();
        assert_eq!(warm.remembered("a").unwrap()["x"], outcome("x", 1));
        assert_eq!(warm.remembered("b"), None);
        warm.save("a", &[outcome("x", 0), outcome("y", 2)]).await.unwrap();
        let known = warm.remembered("a").unwrap();
        assert_eq!((&known["x"], &known["y"]), (&outcome("x", 1), &outcome("y", 2)));
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let warm = Warm::new(MemoryVerdicts::default());
        for n in 0..=ENTRIES_MAX {
            warm.save(&n.to_string(), &[outcome("x", 1)]).await.unwrap();
        }
        assert_eq!(warm.seen().len(), 1);
    }
}
