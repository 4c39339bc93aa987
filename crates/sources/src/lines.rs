//! A line to each provider: its key, its places, its breaker and its pause, for one invocation.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::future::join_all;
use playbook::{
    Timestamp,
    bundle::Bundle,
    manifest::Manifest,
    outcome::Outcome,
    ports::{Secret, Secrets},
};
use tokio::sync::Semaphore;
use tracing::debug;

/// So many calls without an answer one after the other, and the provider is not called again in this invocation.
/// Errors that come as answers cost no time, and the next observable may fare better.
pub const BREAKER_FAILURES: u32 = 5;

/// A provider's key.
#[derive(Clone, Debug)]
pub enum Key {
    /// It needs none.
    Unneeded,
    /// It needs one that nobody has set.
    Missing,
    /// It needs one that could not be read.
    Unavailable,
    /// Its key.
    Known(Secret),
}

/// One provider.
#[derive(Debug)]
pub struct Line<'a> {
    /// What its author says of it.
    pub manifest: &'a Manifest,
    /// The manifest's digest.
    pub digest: String,
    /// Its key.
    pub key: Key,
    /// Calls at once.
    pub places: Semaphore,
    failures: AtomicU32,
    paused_until: Mutex<Option<Timestamp>>,
}

impl<'a> Line<'a> {
    /// A line nobody has used yet.
    pub fn new(manifest: &'a Manifest, key: Key, places: usize) -> Self {
        Self {
            manifest,
            digest: manifest.digest().unwrap_or_default(),
            key,
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            failures: AtomicU32::new(0),
            paused_until: Mutex::new(None),
        }
    }

    /// The key, where there is one.
    pub const fn secret(&self) -> Option<&Secret> {
        match &self.key {
            Key::Known(secret) => Some(secret),
            Key::Unneeded | Key::Missing | Key::Unavailable => None,
        }
    }

    /// Whether it has failed too often in a row.
    pub fn is_broken(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= BREAKER_FAILURES
    }

    /// Counts an outcome of a call: silence in a row breaks the line, a word from the provider mends it.
    pub fn count(&self, outcome: &Outcome) {
        if outcome.is_silence() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        } else if !self.is_broken() {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Until when the provider has asked us to wait, in this invocation; `None` when that is over.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > now)
    }

    /// Notes that the provider asked us to wait; true if nobody knew of a wait yet.
    pub fn pause(&self, now: Timestamp, until: Timestamp) -> bool {
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = paused.is_none_or(|known| known <= now);
        *paused = (*paused).max(Some(until));
        is_news
    }
}

/// The lines of a bundle by provider id.
#[derive(Debug)]
pub struct Lines<'a>(BTreeMap<&'a str, Line<'a>>);

impl<'a> Lines<'a> {
    /// Opens a line to every provider of the bundle; fetches the keys of those that are on.
    pub async fn open(bundle: &'a Bundle, secrets: &impl Secrets) -> Self {
        let places = bundle.policy.enrich.calls_per_provider;
        let open = bundle.providers.values().map(|manifest| async move {
            let key = match (&manifest.secret, manifest.off_reason()) {
                (None, _) => Key::Unneeded,
                (Some(_), Some(_)) => Key::Missing,
                (Some(id), None) => match secrets.secret(id).await {
                    Ok(Some(secret)) => Key::Known(secret),
                    Ok(None) => Key::Missing,
                    Err(fault) => {
                        debug!(provider.id = %manifest.id, fault = fault.name(), "key could not be read");
                        Key::Unavailable
                    }
                },
            };
            (manifest.id.as_str(), Line::new(manifest, key, places))
        });
        Self(join_all(open).await.into_iter().collect())
    }

    /// Every line, by provider id.
    pub fn all(&self) -> impl Iterator<Item = &Line<'a>> {
        self.0.values()
    }

    /// The line to one provider.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Line<'a>> {
        self.0.get(id)
    }
}
