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
    outcome::{Outcome, Status},
    ports::{Secret, Secrets},
};
use tokio::sync::Semaphore;
use tracing::{debug, error};

/// So many calls without an answer, or with a server's error, one after the other, and the provider is not called again in
/// this invocation; the others are told.
pub const BREAKER_FAILURES: u32 = 5;

/// So many refusals of the key one after the other, and nobody knocks again in this invocation: it may lock the key.
pub const KEY_FAILURES: u32 = 2;

/// What a call has changed for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The provider is out of order.
    Broken,
    /// It was, and is back.
    Mended,
}

/// What an outcome says of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It works: it has answered, limited us, or called the question bad.
    Well,
    /// It does not answer, or not well.
    Ill,
    /// It does not take our key.
    BadKey,
}

impl Sign {
    fn of(outcome: &Outcome) -> Self {
        let reason = outcome.reason.as_deref().unwrap_or_default();
        match (outcome.outcome, reason) {
            _ if outcome.is_silence() => Self::Ill,
            (Status::Error, reason) if reason.starts_with("http_5") => Self::Ill,
            (Status::Error, "auth") => Self::BadKey,
            _ => Self::Well,
        }
    }
}

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
    key_failures: AtomicU32,
    /// Places that are held back while one call tries whether the provider is back.
    held_back: Mutex<Option<usize>>,
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
            key_failures: AtomicU32::new(0),
            held_back: Mutex::new(None),
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

    /// Why the provider is not called any more in this invocation, if it is not: `breaker_open` or `auth`.
    pub fn closed(&self) -> Option<&'static str> {
        if self.failures.load(Ordering::Relaxed) >= BREAKER_FAILURES {
            Some("breaker_open")
        } else if self.key_failures.load(Ordering::Relaxed) >= KEY_FAILURES {
            Some("auth")
        } else {
            None
        }
    }

    /// Others have found it out of order: it is not called.
    pub fn open_breaker(&self) {
        self.failures.store(BREAKER_FAILURES, Ordering::Relaxed);
    }

    /// It was out of order: one call goes out and tries, the others wait for what becomes of it.
    pub fn try_one(&self) {
        let held = self.places.available_permits().saturating_sub(1);
        if let Ok(places) = self.places.try_acquire_many(u32::try_from(held).unwrap_or(u32::MAX)) {
            places.forget();
            *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
            // The first failure is the last.
            self.failures.store(BREAKER_FAILURES - 1, Ordering::Relaxed);
        }
    }

    /// Counts an outcome of a call; says when it has changed what others should know. What is closed stays closed.
    pub fn count(&self, outcome: &Outcome) -> Option<Health> {
        match Sign::of(outcome) {
            Sign::Ill => {
                let before = self.failures.fetch_add(1, Ordering::Relaxed);
                (before.saturating_add(1) == BREAKER_FAILURES).then_some(Health::Broken)
            }
            Sign::BadKey => {
                if self.key_failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    error!(provider.id = %self.manifest.id, "the provider refuses our key");
                }
                None
            }
            Sign::Well if self.closed().is_some() => None,
            Sign::Well => {
                self.failures.store(0, Ordering::Relaxed);
                self.key_failures.store(0, Ordering::Relaxed);
                let held = self.held_back.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                self.places.add_permits(held);
                Some(Health::Mended)
            }
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

    /// Every line: first those that have plenty, then the scarce, then those that cost money; of equal ones by provider id.
    pub fn cheap_first(&self) -> impl Iterator<Item = &Line<'a>> {
        let mut lines: Vec<&Line<'a>> = self.0.values().collect();
        lines.sort_by_key(|line| (line.manifest.price_microdollars.unwrap_or(0), line.manifest.is_scarce()));
        lines.into_iter()
    }

    /// The line to one provider.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Line<'a>> {
        self.0.get(id)
    }
}
