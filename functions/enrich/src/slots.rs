//! Slots: when each lookup may go out without exceeding a provider's limits, agreed with every other invocation.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use playbook::{
    Timestamp,
    cache::{KEYS_MAX, Leases, Quota, Quotas, Swapped, Verdicts, account},
    ports::Clock,
};
use tokio::time::sleep;
use tracing::error;

use crate::{
    asking::{Asking, CALL_MIN},
    egress::Egress,
    lines::Line,
    plan::Work,
    waiting::jitter,
};

/// The first wait between two tries at writing a quota; the next ones are twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

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
        let mut slots = Vec::new();
        let mut reason = "quota";
        let written = self.write(line, Some(seen), |quota| {
            let now = self.clock.now();
            if self.time_left() < CALL_MIN {
                // Nobody is called any more: the lookups see that themselves, and no slot is wasted.
                slots = vec![now; wanted];
                return false;
            }
            let until = self.until().plus_ms(-i64::try_from(CALL_MIN.as_millis()).unwrap_or(0));
            reason = if quota.is_paused(now) { "retry_after" } else { "quota" };
            slots = quota.take(limits, wanted, now, until);
            !limits.is_empty() && !slots.is_empty()
        });
        if written.await { (slots, reason) } else { (vec![], "quota_unavailable") }
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
