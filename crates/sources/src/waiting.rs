//! Waiting for observables that somebody else is asking about.

use std::{collections::BTreeMap, time::Duration};

use futures::future::try_join_all;
use playbook::{
    Fault,
    cache::{KEYS_MAX, Lease, Leases, Outcomes, Quotas, Taken, Verdicts},
    canonical,
    ports::{Clock, Egress},
};
use tokio::time::sleep;
use tracing::debug;

use crate::{
    asking::{Asking, merge},
    list::Lists,
    plan::Work,
    postponed::{ASKED_ELSEWHERE, put_off, soon},
};

/// The first wait; the next ones are twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress, L: Lists> Asking<'_, V, Q, C, G, L> {
    /// Looks again and again until the others are done, takes over what they dropped, and gives up at the deadline.
    pub(crate) async fn wait(&self, mut works: BTreeMap<String, Work>) -> BTreeMap<String, Outcomes> {
        let mut answers = BTreeMap::new();
        let mut attempt = 0;
        while !works.is_empty() && !self.time_left().is_zero() {
            let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(8)).min(LONGEST_PAUSE);
            sleep(jitter(&self.owner, attempt, pause).min(self.time_left())).await;
            attempt += 1;
            match self.look(&mut works, &mut answers).await {
                Ok(dropped) => {
                    let asked = self.ask(dropped, &answers).await;
                    merge(&mut answers, asked);
                }
                Err(fault) => debug!(fault = fault.name(), "the cache could not be read again"),
            }
        }
        for (key, work) in works {
            let answered = answers.entry(key).or_default();
            for line in work.providers.iter().filter_map(|id| self.lines.get(id)) {
                let now = self.clock.now();
                answered.insert(line.manifest.id.clone(), put_off(line.manifest, ASKED_ELSEWHERE, soon(now), now));
            }
        }
        answers
    }

    /// One look: what was saved, what was left, and what nobody works on any more and is ours now.
    async fn look(
        &self,
        works: &mut BTreeMap<String, Work>,
        answers: &mut BTreeMap<String, Outcomes>,
    ) -> Result<BTreeMap<String, Work>, Fault> {
        // Leases first: who ends one has saved before.
        let leases = self.leases(works).await?;
        self.recall(works, answers).await?;
        let now = self.clock.now();
        let mut free = Vec::new();
        for key in works.keys().cloned().collect::<Vec<_>>() {
            match leases.get(&key) {
                Some(lease) if !lease.is_over(now) => {}
                Some(lease) => {
                    self.use_known(works, answers, &key, lease.left.iter().cloned());
                    free.push(key);
                }
                None => free.push(key),
            }
        }
        let mut ours = BTreeMap::new();
        for key in free {
            // A lease that cannot be taken now may be taken at the next look.
            if works.contains_key(&key)
                && matches!(self.take(&key).await, Ok(Taken::First | Taken::After))
                && let Some(work) = works.remove(&key)
            {
                ours.insert(key, work);
            }
        }
        // Somebody else may have had the lease between our look and our taking it.
        if let Err(fault) = self.recall(&mut ours, answers).await {
            works.append(&mut ours);
            return Err(fault);
        }
        Ok(ours)
    }

    async fn leases(&self, works: &BTreeMap<String, Work>) -> Result<BTreeMap<String, Lease>, Fault> {
        let keys: Vec<String> = works.keys().cloned().collect();
        let pages = try_join_all(keys.chunks(KEYS_MAX).map(|page| self.verdicts.look(page))).await?;
        Ok(pages.into_iter().flatten().collect())
    }
}

/// Between a half and three halves of `pause`, different for every owner and attempt, the same on every replay.
pub(crate) fn jitter(owner: &str, attempt: u32, pause: Duration) -> Duration {
    let digest = canonical::sha256_hex(format!("{owner}#{attempt}").as_bytes());
    let part = digest.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    pause.saturating_mul(32_768 + part) / 65_536
}
