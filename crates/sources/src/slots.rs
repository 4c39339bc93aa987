//! Slots: when each lookup may go out without exceeding a provider's limits, agreed with every other invocation.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use playbook::{
    Timestamp,
    cache::{KEYS_MAX, Leases, Quota, Quotas, Swapped, Verdicts, account},
    ports::{Clock, Egress},
};
use tokio::time::sleep;
use tracing::error;

use crate::{
    asking::{Asking, CALL_MIN},
    lines::Line,
    list::Lists,
    plan::Work,
    postponed::RETRY_AFTER,
    waiting::jitter,
};

/// The first wait between two tries at writing a quota; the next ones are twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

/// When a lookup may go out, or why it may not before the deadline.
pub(crate) type Slot = Result<Timestamp, NoSlot>;

/// Why a lookup may not go out before the deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSlot {
    /// `quota`, `retry_after` or `quota_unavailable`.
    pub reason: &'static str,
    /// When to try again; `None` where no time is known, or only one at which the lookup would have been given up.
    pub try_at: Option<Timestamp>,
}

/// What one provider's limits leave: slots for the first lookups, times to try again for the next, nothing for the rest.
#[derive(Debug, Default)]
struct Left {
    slots: Vec<Timestamp>,
    promises: Vec<Timestamp>,
    reason: &'static str,
}

impl Left {
    const fn nothing(reason: &'static str) -> Self {
        Self { slots: vec![], promises: vec![], reason }
    }

    fn spread(self, keys: &[&str]) -> BTreeMap<String, Slot> {
        let Self { slots, promises, reason } = self;
        let none = |try_at| Err(NoSlot { reason, try_at });
        let slots = slots.into_iter().map(Ok);
        let promises = promises.into_iter().map(|promise| none(Some(promise)));
        let spread = slots.chain(promises).chain(std::iter::repeat_with(|| none(None)));
        keys.iter().map(|key| (*key).to_owned()).zip(spread).collect()
    }
}

/// Per provider, a slot for each of its observables, in their order, as far as there are slots.
#[derive(Debug, Default)]
pub(crate) struct Slots(BTreeMap<String, BTreeMap<String, Slot>>);

impl Slots {
    /// When to ask this provider about this observable.
    pub(crate) fn of(&self, provider: &str, key: &str) -> Slot {
        self.0
            .get(provider)
            .and_then(|slots| slots.get(key))
            .copied()
            .unwrap_or(Err(NoSlot { reason: "quota", try_at: None }))
    }
}

impl<V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress, L: Lists> Asking<'_, V, Q, C, G, L> {
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
                    error!(fault = fault.name(), "no limited provider is asked, quotas could not be read: {fault}");
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
        let left = match known {
            Some(known) => self.take_slots(line, known.get(&account).cloned().unwrap_or_default(), keys.len()).await,
            // Without knowing the others' calls: unlimited providers are asked, limited ones are not.
            None if line.manifest.limits.is_empty() => Left { slots: vec![now; keys.len()], ..Left::default() },
            None => Left::nothing("quota_unavailable"),
        };
        left.spread(keys)
    }

    /// Slots before the deadline, and for those that are missing the reason and the times to try again.
    async fn take_slots(&self, line: &Line<'_>, seen: Quota, wanted: usize) -> Left {
        let limits = &line.manifest.limits;
        let mut left = Left::nothing("quota");
        let written = self.write(line, Some(seen), |quota| {
            let now = self.clock.now();
            if self.time_left() < CALL_MIN {
                // Nobody is called any more: the lookups see that themselves, and no slot is wasted.
                left = Left { slots: vec![now; wanted], ..Left::nothing("quota") };
                return false;
            }
            let until = self.until().plus_ms(-i64::try_from(CALL_MIN.as_millis()).unwrap_or(0));
            left.reason = if quota.is_paused(now) { RETRY_AFTER } else { "quota" };
            left.slots = quota.take(limits, wanted, now, until);
            left.promises = quota.promise(limits, wanted.saturating_sub(left.slots.len()), now, self.gives_up_at());
            let is_changed = !left.slots.is_empty() || !left.promises.is_empty();
            is_changed && !limits.is_empty()
        });
        if written.await { left } else { Left::nothing("quota_unavailable") }
    }

    /// The provider asked us to wait: no call of ours goes out before, and other invocations are told, once.
    pub(crate) async fn pause(&self, line: &Line<'_>, seconds: u64) {
        let now = self.clock.now();
        let until = now.plus_ms(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX));
        if seconds > 0 && line.pause(now, until) {
            let told = self.write(line, None, |quota| {
                let is_known = quota.paused_until >= Some(until);
                quota.pause(until);
                !is_known
            });
            // That others do not know costs them a call, and us nothing.
            let _is_told = told.await;
        }
    }

    /// Changes a quota until nobody was faster; `change` says whether there is anything to write. False if it was not
    /// possible before the deadline.
    async fn write(&self, line: &Line<'_>, seen: Option<Quota>, mut change: impl FnMut(&mut Quota) -> bool) -> bool {
        let account = account(line.manifest);
        let mut seen = seen;
        let mut attempt = 0;
        loop {
            // What others may have changed during a pause is read again; it is stale otherwise.
            let quota = match seen.take() {
                Some(quota) => Ok(quota),
                None => self
                    .quotas
                    .load(std::slice::from_ref(&account))
                    .await
                    .map(|mut known| known.remove(&account).unwrap_or_default()),
            };
            let swapped = match quota {
                Ok(mut quota) => {
                    let version = quota.version;
                    if !change(&mut quota) {
                        return true;
                    }
                    quota.version = version.saturating_add(1);
                    self.quotas.swap(&account, version, &quota).await
                }
                Err(fault) => Err(fault),
            };
            match swapped {
                Ok(Swapped::Done) => return true,
                Ok(Swapped::Changed(_)) if self.time_left() >= CALL_MIN => {}
                Ok(Swapped::Changed(_)) => return false,
                Err(fault) => {
                    error!(provider.id = %line.manifest.id, fault = fault.name(), "quota could not be written: {fault}");
                    return false;
                }
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(8)).min(LONGEST_PAUSE);
            sleep(jitter(&self.owner, attempt, pause).min(self.time_left())).await;
            attempt += 1;
        }
    }
}
