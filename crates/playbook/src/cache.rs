//! What lookups leave behind for the next one: cached outcomes, leases on observables being asked about, and quotas.
//!
//! Two tables, three ports, and the rules above them written once.
//!
//! # Table `Verdicts` (`pk` only; TTL attribute `ttl`, epoch seconds)
//!
//! | item | `pk` | attributes |
//! |---|---|---|
//! | outcomes | observable key, `ipv4-addr#192.0.2.7` | per provider one **top-level** attribute whose name is literally `outcomes.<provider>` and whose value is the [`Outcome`] as a map; `ttl` |
//! | lease | `lease#<observable key>` | `owner`, `until` (RFC 3339), `left` (list of outcomes, absent while it runs), `ttl` |
//!
//! The attribute's name holds the dot, behind an alias (`#p0 = "outcomes.urlhaus"`): a member of a map can only be set
//! once the map exists, which would cost a second write for every new observable.
//!
//! # Table `Quotas` (`pk` only; TTL attribute `ttl`)
//!
//! `pk` = `<provider>#<key id>#all`, the [`Quota`] as attributes and `ttl`. One item holds all windows of an account,
//! because one conditional update has to see all of them.

#[cfg(any(test, feature = "fakes"))]
mod memory;
mod quota;
mod warm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(any(test, feature = "fakes"))]
pub use memory::{MemoryQuotas, MemoryVerdicts};
pub use quota::{Claim, Quota, Share};
pub use warm::Warm;

use crate::{Fault, Timestamp, manifest::Manifest, outcome::Outcome};

/// The most keys in one read: DynamoDB's limit for `BatchGetItem`.
pub const KEYS_MAX: usize = 100;

/// Outcomes by provider id.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Cached outcomes by observable.
pub trait Verdicts {
    /// What is known of each observable key; keys without anything are left out, expired outcomes are not. Consistent:
    /// a `save` that has returned is seen. At most [`KEYS_MAX`] keys, no duplicates; the adapter asks again for
    /// unprocessed keys. An outcome that cannot be read is left out.
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault>;

    /// Keeps the outcomes of one observable, one per provider, in one update; those of other providers stay.
    ///
    /// An outcome is written only over an older or equally old one: the condition, for every provider written, is
    /// `attribute_not_exists(#p) OR #p.fetched_at <= :fetched_at`. If it fails, the adapter leaves out what is older
    /// than the item returned (`ReturnValuesOnConditionCheckFailure: ALL_OLD`) and writes the rest once more, or nothing.
    /// `ttl` becomes the latest `expires_at` written plus a day.
    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault>;

    /// What this sandbox itself has seen of a key lately, without asking anybody; it may lack what others have saved since.
    /// `None` where nothing is remembered.
    fn remembered(&self, _key: &str) -> Option<Outcomes> {
        None
    }
}

/// The right to ask about an observable: only its holder calls providers, everybody else waits for what it saves.
///
/// One lease per observable covers all its providers: it costs one write unit where one per provider would cost a dozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it: `<incident_id>-r<run>-<offset>`, so that a repeated invocation, or one whose answer was lost, recognises itself.
    pub owner: String,
    /// Until when; from then on anybody may take it. Compared in code and conditions, never left to the TTL.
    pub until: Timestamp,
    /// Set when the holder is done: outcomes that were not cached, for those who waited for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Outcome>,
}

impl Lease {
    /// Whether anybody may take it.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

/// What became of taking a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// We hold it, and no lease lay there before: nobody has saved anything since the cache was read.
    First,
    /// We hold it after somebody else, or after ourselves: the cache must be read again before calling.
    After,
    /// Somebody else holds it.
    Held,
}

/// Leases by observable.
pub trait Leases {
    /// Takes the lease of an observable key: puts the whole item if
    /// `attribute_not_exists(pk) OR #until <= :now OR #owner = :owner`. Whether a lease lay there is told by the old
    /// item that the put returns (`ReturnValues: ALL_OLD`). `ttl` is `until` plus an hour.
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault>;

    /// The leases of these observable keys, over or not; keys without one are left out. Consistent. At most [`KEYS_MAX`] keys.
    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault>;

    /// Ends our own lease now and leaves outcomes to those who wait: sets `until` and `left` if `#owner = :owner`.
    /// Somebody else's lease, or none, is left alone without an error. Not called where everything was cached, which
    /// would cost a write for nothing: such a lease runs out by itself.
    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault>;
}

/// What became of replacing a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swapped {
    /// It was written.
    Done,
    /// Somebody was faster; this is what lies there now.
    Changed(Quota),
}

/// Quotas by account, see [`account`].
pub trait Quotas {
    /// The quotas of these accounts; those without one are left out. Consistent. At most [`KEYS_MAX`] accounts.
    async fn load(&self, accounts: &[String]) -> Result<BTreeMap<String, Quota>, Fault>;

    /// Replaces the quota of an account if its `version` is still `seen` (0: there is none):
    /// `attribute_not_exists(pk)` for 0, else `#version = :seen`. A failed condition returns what lies there
    /// (`ReturnValuesOnConditionCheckFailure: ALL_OLD`). `ttl` lies
    /// further away than the longest window: 40 days.
    async fn swap(&self, account: &str, seen: u64, quota: &Quota) -> Result<Swapped, Fault>;
}

/// Whose limits a call to this provider counts against: `<provider>#<key id>#all`, the key id `none` where it needs no key.
#[must_use]
pub fn account(manifest: &Manifest) -> String {
    format!("{}#{}#all", manifest.id, manifest.secret.as_deref().unwrap_or("none"))
}
