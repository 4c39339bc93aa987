//! Slots: when each lookup may go out without exceeding a provider's limits, agreed with every other invocation.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use playbook::{
    Timestamp,
    cache::{KEYS_MAX, Leases, Quota, Quotas, Swapped, Verdicts, account},
    ports::Clock,
};
use tokio::time::sleep;
use tracing::debug;

use crate::{
    asking::{Asking, CALL_MIN},
    egress::Egress,
    lines::Line,
    plan::Work,
    waiting::jitter,
};

/// How often one writes a quota against others before giving up.
const SWAPS_MAX: u32 = 20;

/// The wait between two tries at writing a quota.
const SWAP_PAUSE: Duration = Duration::from_millis(20);

/// When a lookup may go out, or why it may not before the deadline.
pub(crate) type Slot = Result<Timestamp, &'static str>;

/// Per provider, a slot for each of its observables, in their order, as far as there are slots.
#[derive(Debug, Default)]
pub(crate) struct Slots(BTreeMap<String, BTreeMap<String, Slot>>);

impl Slots {
    /// When to ask this provider about this observable.
    pub(crate) fn of(&self, provider: &str, key: &str) -> Slot {
        self.0.get(provider).and_then(|slots| slots.get(key)).copied().unwrap_or(Err("quota"))
    }
}

impl<V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress> Asking<'_, V, Q, C, G> {
    /// Reserves slots for all of these lookups: one read for all providers, one write for each that has limits.
    pub(crate) async fn slots(&self, works: &BTreeMap<String, Work>) -> Slots {
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, work) in works {
            for id in &work.providers {
                wanted.entry(id).or_default().push(key);
            }
        }
        let lines: Vec<&Line<'_>> = wanted.keys().filter_map(|id| self.lines.get(id)).collect();
        let known = self.quotas_of(&lines).await;
        let (known, wanted) = (&known, &wanted);
        let reserved = lines.into_iter().map(|line| async move {
            let id = line.manifest.id.as_str();
            let keys = wanted.get(id).map_or(&[][..], Vec::as_slice);
            (id.to_owned(), self.reserve(line, known.as_ref(), keys).await)
        });
        Slots(join_all(reserved).await.into_iter().collect())
    }

    /// What lies in the table; `None` where it cannot be read.
    async fn quotas_of(&self, lines: &[&Line<'_>]) -> Option<BTreeMap<String, Quota>> {
        let accounts: Vec<String> = lines.iter().map(|line| account(line.manifest)).collect();
        let pages = join_all(accounts.chunks(KEYS_MAX).map(|page| self.quotas.load(page))).await;
        let mut known = BTreeMap::new();
        for page in pages {
            match page {
                Ok(page) => known.extend(page),
                Err(fault) => {
                    debug!(fault = fault.name(), "quotas could not be read");
                    return None;
                }
            }
        }
        Some(known)
    }

    async fn reserve(
        &self,
        line: &Line<'_>,
        known: Option<&BTreeMap<String, Quota>>,
        keys: &[&str],
    ) -> BTreeMap<String, Slot> {
        let account = account(line.manifest);
        let now = self.clock.now();
        let (slots, reason) = match known {
            Some(known) => self.take_slots(line, known.get(&account).cloned().unwrap_or_default(), keys.len()).await,
            // Without knowing the others' calls: unlimited providers are asked, limited ones are not.
            None if line.manifest.limits.is_empty() => (vec![now; keys.len()], "quota"),
            None => (vec![], "quota_unavailable"),
        };
        let none = std::iter::repeat(Err(reason));
        keys.iter().map(|key| (*key).to_owned()).zip(slots.into_iter().map(Ok).chain(none)).collect()
    }

    /// Slots before the deadline, and the reason for those that are missing.
    async fn take_slots(&self, line: &Line<'_>, seen: Quota, wanted: usize) -> (Vec<Timestamp>, &'static str) {
        let limits = &line.manifest.limits;
        let account = account(line.manifest);
        let mut seen = seen;
        for attempt in 0..SWAPS_MAX {
            let now = self.clock.now();
            if self.time_left() < CALL_MIN {
                // Nobody is called any more: the lookups see that themselves, and no slot is wasted.
                return (vec![now; wanted], "quota");
            }
            let until = self.until().plus_ms(-i64::try_from(CALL_MIN.as_millis()).unwrap_or(0));
            let reason = if seen.is_paused(now) { "retry_after" } else { "quota" };
            let mut quota = seen.clone();
            let slots = quota.take(limits, wanted, now, until);
            if limits.is_empty() || slots.is_empty() {
                return (slots, reason);
            }
            quota.version = seen.version.saturating_add(1);
            match self.quotas.swap(&account, seen.version, &quota).await {
                Ok(Swapped::Done) => return (slots, reason),
                Ok(Swapped::Changed(there)) => seen = there,
                Err(fault) => {
                    debug!(provider.id = %line.manifest.id, fault = fault.name(), "no slots could be reserved");
                    break;
                }
            }
            sleep(jitter(&self.owner, attempt, SWAP_PAUSE).min(self.time_left())).await;
        }
        (vec![], "quota_unavailable")
    }

    /// The provider asked us to wait: no call of ours goes out before, and other invocations are told, once.
    pub(crate) async fn pause(&self, line: &Line<'_>, seconds: u64) {
        let now = self.clock.now();
        let until = now.plus_ms(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX));
        if seconds == 0 || !line.pause(now, until) {
            return;
        }
        let account = account(line.manifest);
        let mut seen = match self.quotas.load(std::slice::from_ref(&account)).await {
            Ok(mut known) => known.remove(&account).unwrap_or_default(),
            Err(_) => return,
        };
        for attempt in 0..SWAPS_MAX {
            let mut quota = seen.clone();
            quota.pause(until);
            if quota == seen {
                return;
            }
            quota.version = seen.version.saturating_add(1);
            match self.quotas.swap(&account, seen.version, &quota).await {
                Ok(Swapped::Changed(there)) => seen = there,
                Ok(Swapped::Done) | Err(_) => return,
            }
            sleep(jitter(&self.owner, attempt, SWAP_PAUSE).min(self.time_left())).await;
        }
    }
}
