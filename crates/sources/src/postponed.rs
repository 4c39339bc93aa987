//! What was put off: lookups that have a time at which they are to be tried again.

use ioc::Observable;
use playbook::{
    Timestamp,
    lookup::pending,
    manifest::Manifest,
    outcome::{Outcome, PENDING_SUBMITTED, Status},
};

/// Why a lookup is put off: the provider asked us to wait.
pub(crate) const RETRY_AFTER: &str = "retry_after";

/// Why a lookup is put off: somebody else is asking.
pub(crate) const ASKED_ELSEWHERE: &str = "asked_elsewhere";

/// When a lookup is tried again that nobody has named a time for.
const SOON_MS: i64 = 30_000;

/// A lookup whose answer is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// The provider.
    pub provider: String,
    /// What is asked about, as it was seen.
    pub observable: Observable,
    /// `quota`, `retry_after`, `submitted` or `asked_elsewhere`.
    pub reason: String,
    /// When it is to be tried again.
    pub try_at: Timestamp,
    /// Of a submitted one: what the provider calls the work.
    pub task: Option<String>,
}

impl Postponed {
    /// What an outcome says about trying again: one that is pending, and one of a provider that said for how long it is to be
    /// left alone.
    #[must_use]
    pub fn of(outcome: &Outcome, observable: &Observable) -> Option<Self> {
        let named = Some(outcome.expires_at).filter(|at| *at > outcome.fetched_at);
        let (reason, try_at) = match outcome.outcome {
            Status::Pending => {
                (outcome.reason.as_deref().unwrap_or(PENDING_SUBMITTED), named.unwrap_or(soon(outcome.fetched_at)))
            }
            Status::RateLimited => (RETRY_AFTER, named?),
            _ => return None,
        };
        Some(Self {
            provider: outcome.provider.clone(),
            observable: observable.clone(),
            reason: reason.to_owned(),
            try_at,
            task: outcome.task.clone(),
        })
    }
}

/// The outcome of a lookup that is put off until `try_at`.
pub(crate) fn put_off(manifest: &Manifest, reason: &str, try_at: Timestamp, now: Timestamp) -> Outcome {
    Outcome { expires_at: try_at, ..pending(manifest, reason, now) }
}

/// When a lookup is tried again that nobody has named a time for.
pub(crate) fn soon(now: Timestamp) -> Timestamp {
    now.plus_ms(SOON_MS)
}
