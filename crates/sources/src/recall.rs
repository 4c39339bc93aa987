//! What is known already: the cache, what was put off before, and what providers have said earlier.

use std::{collections::BTreeMap, sync::PoisonError};

use futures::future::try_join_all;
use playbook::{
    Fault, Timestamp,
    cache::{KEYS_MAX, Leases, Outcomes, Quotas, Verdicts},
    outcome::{Outcome, Stale},
    ports::{Clock, Egress},
};

use crate::{
    asking::{Asking, DIGEST_CHARS},
    list::Lists,
    plan::Work,
    postponed::{Postponed, put_off},
};

impl<V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress, L: Lists> Asking<'_, V, Q, C, G, L> {
    /// Takes out of `works` what the cache knows, and what is not to be asked yet.
    pub(crate) async fn recall(
        &self,
        works: &mut BTreeMap<String, Work>,
        answers: &mut BTreeMap<String, Outcomes>,
    ) -> Result<(), Fault> {
        self.remember(works, answers);
        let keys: Vec<String> = works.keys().cloned().collect();
        let pages = try_join_all(keys.chunks(KEYS_MAX).map(|page| self.verdicts.recall(page))).await?;
        let now = self.clock.now();
        for (key, known) in pages.into_iter().flatten() {
            for outcome in known.values() {
                self.note_stale(&key, outcome, now);
            }
            let (submitted, known): (Vec<_>, Vec<_>) = known.into_values().partition(|known| known.task.is_some());
            if let Some(work) = works.get_mut(&key) {
                self.note_submitted(work, submitted);
            }
            self.use_known(works, answers, &key, known.into_iter().filter(|outcome| self.is_of_use(outcome, now)));
        }
        self.leave_for_later(works, answers);
        Ok(())
    }

    /// Somebody has submitted it already: whoever asks next asks for the result.
    fn note_submitted(&self, work: &mut Work, submitted: Vec<Outcome>) {
        for outcome in submitted {
            if self.is_ours(&outcome)
                && let Some(postponed) = Postponed::of(&outcome, &work.observable)
            {
                work.postponed.insert(outcome.provider, postponed);
            }
        }
    }

    /// Takes out of `works` what was put off until after the deadline; a result is not even waited for.
    fn leave_for_later(&self, works: &mut BTreeMap<String, Work>, answers: &mut BTreeMap<String, Outcomes>) {
        let (now, until) = (self.clock.now(), self.until());
        for (key, work) in works.iter_mut() {
            let Work { providers, postponed, .. } = work;
            providers.retain(|id| {
                let Some((line, before)) = self.lines.get(id).zip(postponed.get(id)) else { return true };
                if before.try_at <= if before.task.is_some() { now } else { until } {
                    return true;
                }
                let outcome = put_off(line.manifest, &before.reason, before.try_at, now);
                let outcome = Outcome { task: before.task.clone(), ..outcome };
                answers.entry(key.clone()).or_default().insert(id.clone(), outcome);
                false
            });
        }
        works.retain(|_, work| !work.providers.is_empty());
    }

    /// Whether the manifest that made an outcome is the one that we have, by as much of its digest as was kept.
    fn is_ours(&self, outcome: &Outcome) -> bool {
        let digest = &outcome.manifest_digest;
        let is_long_enough = digest.len() >= DIGEST_CHARS;
        self.lines.get(&outcome.provider).is_some_and(|line| is_long_enough && line.digest.starts_with(digest.as_str()))
    }

    /// Takes out of one work what is answered by outcomes that the same manifest made.
    pub(crate) fn use_known(
        &self,
        works: &mut BTreeMap<String, Work>,
        answers: &mut BTreeMap<String, Outcomes>,
        key: &str,
        known: impl Iterator<Item = Outcome>,
    ) {
        let Some(work) = works.get_mut(key) else { return };
        let answered = answers.entry(key.to_owned()).or_default();
        for outcome in known {
            let is_ours = self.is_ours(&outcome);
            let place = work.providers.iter().position(|id| *id == outcome.provider).filter(|_| is_ours);
            if let Some(place) = place {
                work.providers.swap_remove(place);
                let manifest_digest =
                    self.lines.get(&outcome.provider).map_or_else(String::new, |line| line.digest.clone());
                answered.insert(outcome.provider.clone(), Outcome { cached: true, manifest_digest, ..outcome });
            }
        }
        if work.providers.is_empty() {
            works.remove(key);
        }
    }

    /// Whether an outcome may be used instead of asking.
    fn is_of_use(&self, outcome: &Outcome, now: Timestamp) -> bool {
        let is_asked_again = outcome.outcome.is_failed() && self.failures_since > Some(outcome.fetched_at);
        outcome.expires_at > now && !is_asked_again && self.answers_since <= Some(outcome.fetched_at)
    }

    /// Takes out of `works` what this sandbox has seen lately; only where that answers the whole of a work, because a part of it
    /// may be old news.
    fn remember(&self, works: &mut BTreeMap<String, Work>, answers: &mut BTreeMap<String, Outcomes>) {
        let now = self.clock.now();
        for key in works.keys().cloned().collect::<Vec<_>>() {
            let Some(mut known) = self.verdicts.remembered(&key) else { continue };
            known.retain(|_, outcome| self.is_of_use(outcome, now) && self.is_ours(outcome) && outcome.task.is_none());
            if works.get(&key).is_some_and(|work| work.providers.iter().all(|id| known.contains_key(id))) {
                self.use_known(works, answers, &key, known.into_values());
            }
        }
    }

    /// Keeps in mind what a provider has said before and is not to be used any more, though not twice as old as its lifetime.
    fn note_stale(&self, key: &str, outcome: &Outcome, now: Timestamp) {
        if !self.is_ours(outcome) || self.is_of_use(outcome, now) {
            return;
        }
        let said = outcome.opinion.clone().map(|opinion| Stale { opinion, fetched_at: outcome.fetched_at });
        let minutes = self.lines.get(&outcome.provider).map_or(0, |line| line.manifest.lifetimes_minutes.found);
        let is_stale = |stale: &Stale| now < stale.fetched_at.plus_minutes(i64::from(minutes).saturating_mul(2));
        if let Some(stale) = said.or_else(|| outcome.stale.as_deref().cloned()).filter(is_stale) {
            let mut before = self.said_before.lock().unwrap_or_else(PoisonError::into_inner);
            before.insert((key.to_owned(), outcome.provider.clone()), stale);
        }
    }

    /// An outcome that has failed says what the provider said before.
    pub(crate) fn add_said_before(&self, key: &str, outcome: &mut Outcome) {
        if outcome.outcome.is_failed() && outcome.stale.is_none() {
            let before = self.said_before.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.stale = before.get(&(key.to_owned(), outcome.provider.clone())).cloned().map(Box::new);
        }
    }
}
