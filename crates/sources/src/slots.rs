//! Slots: when each lookup may go out without exceeding a provider's limits, agreed with every other invocation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use playbook::{
    Timestamp,
    cache::{KEYS_MAX, Leases, Quota, Quotas, Swapped, Verdicts, account},
    effort::Effort,
    ports::{Clock, Egress},
};
use tokio::time::sleep;
use tracing::{debug, error};

use crate::{
    asking::{Asking, CALL_MIN, count, price},
    lines::Line,
    list::Lists,
    plan::Work,
    postponed::RETRY_AFTER,
    waiting::jitter,
};

/// The first wait between two tries at writing a quota; the next ones are twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

/// So long, a half more or less, nobody calls a provider that is out of order.
const BROKEN_FOR: Duration = Duration::from_secs(30);

/// When a lookup may go out, or why it may not before the deadline.
pub(crate) type Slot = Result<Timestamp, NoSlot>;

/// Why a lookup may not go out before the deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSlot {
    /// `quota`, `retry_after`, `budget` or `quota_unavailable`.
    pub reason: &'static str,
    /// When to try again; `None` where no time is known, or only one at which the lookup would have been given up.
    pub try_at: Option<Timestamp>,
}

/// What one provider's limits leave: slots for the first lookups, times to try again for the next, nothing for the rest.
#[derive(Debug)]
struct Left {
    slots: Vec<Timestamp>,
    promises: Vec<Timestamp>,
    /// Why those that have no slot have none.
    reason: &'static str,
    /// So many may be asked at all; those after them are over the incident's budget.
    budget: usize,
}

impl Left {
    const fn nothing(reason: &'static str) -> Self {
        Self { slots: vec![], promises: vec![], reason, budget: usize::MAX }
    }

    fn spread(self, keys: &[&str]) -> BTreeMap<String, Slot> {
        let Self { slots, promises, reason, budget } = self;
        let none = |reason, try_at| Err(NoSlot { reason, try_at });
        let slots = slots.into_iter().map(Ok);
        let promises = promises.into_iter().map(|promise| none(reason, Some(promise)));
        let rest = slots.chain(promises).chain(std::iter::repeat_with(|| none(reason, None))).take(budget);
        let spread = rest.chain(std::iter::repeat_with(|| none("budget", None)));
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
    /// What asking for all of these will take, as far as slots tell.
    pub(crate) fn planned(&self, works: &BTreeMap<String, Work>, slots: &Slots) -> Effort {
        let now = self.clock.now();
        let mut plan = Effort { lookups: count(works), ..Effort::default() };
        for (key, work) in works {
            for line in work.providers.iter().filter_map(|id| self.lines.get(id)) {
                // Of the second round it is not known yet who is asked: at most everybody.
                let is_later = self.policy.enrich.early_stop && line.manifest.is_scarce();
                match if is_later { Ok(now) } else { slots.of(&line.manifest.id, key) } {
                    _ if line.closed().is_some() => plan.left_out += 1,
                    Ok(slot) => {
                        let calls = line.manifest.calls_for(&work.observable);
                        plan.calls += calls;
                        plan.microdollars += calls.saturating_mul(price(line.manifest));
                        plan.wait_ms = plan.wait_ms.max(u64::try_from(slot.ms_since(now)).unwrap_or(0));
                    }
                    Err(NoSlot { try_at: Some(_), .. }) => plan.put_off += 1,
                    Err(_) => plan.left_out += 1,
                }
            }
        }
        plan
    }

    /// Reserves slots for all of these lookups: one read for all providers, one write for each that has limits.
    pub(crate) async fn slots(&self, works: &BTreeMap<String, Work>) -> Slots {
        self.slots_of(works, self.quotas_for(works).await).await
    }

    /// The same of quotas that were read before; `None` where they could not be read.
    pub(crate) async fn slots_of(
        &self,
        works: &BTreeMap<String, Work>,
        known: Option<BTreeMap<String, Quota>>,
    ) -> Slots {
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, work) in works {
            for id in &work.providers {
                wanted.entry(id).or_default().push(key);
            }
        }
        let (known, wanted) = (&known, &wanted);
        let lines = wanted.keys().filter_map(|id| self.lines.get(id));
        let reserved = lines.map(|line| async move {
            let id = line.manifest.id.as_str();
            let keys = wanted.get(id).map_or(&[][..], Vec::as_slice);
            (id.to_owned(), self.reserve(line, known.as_ref(), keys).await)
        });
        Slots(join_all(reserved).await.into_iter().collect())
    }

    /// What is left of the quotas of all who are asked about these.
    pub(crate) async fn quotas_for(&self, works: &BTreeMap<String, Work>) -> Option<BTreeMap<String, Quota>> {
        let ids: BTreeSet<&String> = works.values().flat_map(|work| &work.providers).collect();
        let lines: Vec<&Line<'_>> = ids.into_iter().filter_map(|id| self.lines.get(id)).collect();
        self.quotas_of(&lines).await
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
            None if line.manifest.limits.is_empty() => Left { slots: vec![now; keys.len()], ..Left::nothing("quota") },
            None => Left::nothing("quota_unavailable"),
        };
        left.spread(keys)
    }

    /// Slots before the deadline, and for those that are missing the reason and the times to try again.
    async fn take_slots(&self, line: &Line<'_>, seen: Quota, lookups: usize) -> Left {
        let limits = &line.manifest.limits;
        let claim = self.payer.claim(limits);
        let budget = self.payer.at_most(limits);
        let wanted = lookups.min(budget);
        let mut left = Left { budget, ..Left::nothing("quota") };
        let mut tries = false;
        let written = self.write(line, Some(seen), |quota| {
            let now = self.clock.now();
            (left.slots, left.promises, tries) = (vec![now; wanted], vec![], false);
            if self.time_left() < CALL_MIN {
                // Nobody is called any more: the lookups see that themselves, and no slot is wasted.
                return false;
            }
            if quota.is_broken(now) {
                line.open_breaker();
                return false;
            }
            // It was out of order, and it is time to try: we do, and the others stay away until we know.
            tries = quota.broken_until.is_some();
            if tries {
                quota.broken_until = Some(self.tries_again_at());
            }
            let until = self.until().plus_ms(-i64::try_from(CALL_MIN.as_millis()).unwrap_or(0));
            left.reason = if quota.is_paused(now) { RETRY_AFTER } else { "quota" };
            left.slots = quota.take(&claim, wanted, now, until);
            left.promises = quota.promise(&claim, wanted.saturating_sub(left.slots.len()), now, self.gives_up_at());
            let is_changed = !left.slots.is_empty() || !left.promises.is_empty();
            tries || (is_changed && !limits.is_empty())
        });
        if !written.await {
            return Left::nothing("quota_unavailable");
        }
        if tries {
            line.try_one();
        }
        left
    }

    /// When a provider that is out of order is tried again; not for everybody at the same moment.
    fn tries_again_at(&self) -> Timestamp {
        let wait = jitter(&self.owner, 0, BROKEN_FOR);
        self.clock.now().plus_ms(i64::try_from(wait.as_millis()).unwrap_or(0))
    }

    /// Tells the others that a provider is out of order, or that it is back.
    pub(crate) async fn hint(&self, line: &Line<'_>, is_broken: bool) {
        let until = is_broken.then(|| self.tries_again_at());
        let told = self.write(line, None, |quota| {
            let is_news = quota.broken_until.is_some() != is_broken || quota.broken_until < until;
            quota.broken_until = until;
            is_news
        });
        // That others do not know costs them a few calls, and us nothing.
        let is_told = told.await;
        debug!(provider.id = %line.manifest.id, is_broken, is_told, "the state of a provider has changed");
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
