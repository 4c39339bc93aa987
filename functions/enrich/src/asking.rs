//! Asking: the cache first, then a lease, then slots, then the providers, all before one deadline.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{
    future::{join, join_all, try_join_all},
    stream::{FuturesUnordered, StreamExt},
};
use playbook::{
    Fault, Timestamp,
    cache::{KEYS_MAX, Lease, Leases, Outcomes, Quotas, Taken, Verdicts},
    lookup::{Refusal, interpret, prepare, retry_after_seconds, skipped},
    outcome::{Outcome, Status},
    policy::Policy,
    ports::Clock,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{
    World,
    egress::{Destination, Egress},
    lines::{Line, Lines},
    plan::Work,
    slots::Slot,
};

/// A call that would have less time than this is not started.
pub(crate) const CALL_MIN: Duration = Duration::from_millis(50);

/// How long a lease outlives the deadline: what was learned must still be saved.
const LEASE_EXTRA_MS: i64 = 1_000;

/// How long a provider is left alone that answers 429 and does not say how long.
const PAUSE_SECONDS: u64 = 30;

/// Outcomes of one observable, and which of them may be used again.
#[derive(Debug, Default)]
struct Learned {
    outcomes: Outcomes,
    kept: Vec<Outcome>,
    left: Vec<Outcome>,
}

/// One invocation's asking.
#[derive(Debug)]
pub(crate) struct Asking<'a, V, Q, C, G> {
    pub(crate) verdicts: &'a V,
    pub(crate) quotas: &'a Q,
    pub(crate) clock: &'a C,
    egress: &'a G,
    pub(crate) lines: &'a Lines<'a>,
    stand_in: Option<&'a str>,
    pub(crate) owner: String,
    pub(crate) deadline: Instant,
    /// Failures from before this moment are asked again: a person has asked to look again.
    failures_since: Option<Timestamp>,
    /// Calls at once in all.
    places: Semaphore,
    calls: AtomicUsize,
}

impl<'a, V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress> Asking<'a, V, Q, C, G> {
    /// Nothing is asked after `deadline`.
    pub(crate) fn new<R, E, S>(
        world: &World<'a, R, E, V, Q, S, C, G>,
        lines: &'a Lines<'a>,
        policy: &'a Policy,
        owner: String,
        deadline: Instant,
        looks_again: bool,
    ) -> Self {
        Self {
            verdicts: world.verdicts,
            quotas: world.quotas,
            clock: world.clock,
            egress: world.egress,
            lines,
            stand_in: policy.egress.stand_in.as_deref(),
            owner,
            deadline,
            failures_since: looks_again.then(|| world.clock.now()),
            places: Semaphore::new(policy.enrich.calls.min(Semaphore::MAX_PERMITS)),
            calls: AtomicUsize::new(0),
        }
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The deadline on the clock.
    pub(crate) fn until(&self) -> Timestamp {
        self.clock.now().plus_ms(i64::try_from(self.time_left().as_millis()).unwrap_or(i64::MAX))
    }

    /// One outcome for every observable and provider. A fault only before anything was asked.
    pub(crate) async fn settle(&self, mut works: BTreeMap<String, Work>) -> Result<BTreeMap<String, Outcomes>, Fault> {
        let mut answers = BTreeMap::new();
        self.recall(&mut works, &mut answers).await?;

        let leases = works.keys().map(|key| async move { Ok::<_, Fault>((key.clone(), self.take(key).await?)) });
        let (mut ours, mut again, mut theirs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let taken: BTreeMap<String, Taken> = try_join_all(leases).await?.into_iter().collect();
        for (key, work) in works {
            match taken.get(&key) {
                Some(Taken::First) => ours.insert(key, work),
                Some(Taken::After) => again.insert(key, work),
                Some(Taken::Held) | None => theirs.insert(key, work),
            };
        }
        // Whoever held the lease before may have saved since the cache was read.
        self.recall(&mut again, &mut answers).await?;
        ours.append(&mut again);

        let (asked, waited) = join(self.ask(ours), self.wait(theirs)).await;
        merge(&mut answers, asked);
        merge(&mut answers, waited);
        Ok(answers)
    }

    /// Takes out of `works` what the cache knows.
    pub(crate) async fn recall(
        &self,
        works: &mut BTreeMap<String, Work>,
        answers: &mut BTreeMap<String, Outcomes>,
    ) -> Result<(), Fault> {
        let keys: Vec<String> = works.keys().cloned().collect();
        let pages = try_join_all(keys.chunks(KEYS_MAX).map(|page| self.verdicts.recall(page))).await?;
        let now = self.clock.now();
        for (key, known) in pages.into_iter().flatten() {
            let is_of_use = |outcome: &Outcome| {
                let is_asked_again = outcome.outcome.is_failed() && self.failures_since > Some(outcome.fetched_at);
                outcome.expires_at > now && !is_asked_again
            };
            self.use_known(works, answers, &key, known.into_values().filter(is_of_use));
        }
        Ok(())
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
            let is_same = self.lines.get(&outcome.provider).is_some_and(|line| line.digest == outcome.manifest_digest);
            let place = work.providers.iter().position(|id| *id == outcome.provider).filter(|_| is_same);
            if let Some(place) = place {
                work.providers.swap_remove(place);
                answered.insert(outcome.provider.clone(), Outcome { cached: true, ..outcome });
            }
        }
        if work.providers.is_empty() {
            works.remove(key);
        }
    }

    pub(crate) async fn take(&self, key: &str) -> Result<Taken, Fault> {
        let until = self.until().plus_ms(LEASE_EXTRA_MS);
        let lease = Lease { owner: self.owner.clone(), until, left: vec![] };
        self.verdicts.take(key, &lease, self.clock.now()).await
    }

    /// Asks about observables whose leases we hold; saves what may be used again and leaves the rest to those who wait.
    pub(crate) async fn ask(&self, works: BTreeMap<String, Work>) -> BTreeMap<String, Outcomes> {
        let slots = self.slots(&works).await;
        let slots = &slots;
        let asked = works.iter().map(|(key, work)| async move {
            let calls = work.providers.iter().filter_map(|id| self.lines.get(id)).map(|line| {
                let slot = slots.of(&line.manifest.id, key);
                self.lookup(line, work, slot)
            });
            let mut learned = Learned::default();
            for (outcome, is_kept) in join_all(calls).await {
                let list = if is_kept { &mut learned.kept } else { &mut learned.left };
                list.push(outcome.clone());
                learned.outcomes.insert(outcome.provider.clone(), outcome);
            }
            self.keep(key, &learned).await;
            (key.clone(), learned.outcomes)
        });
        asked.collect::<FuturesUnordered<_>>().collect().await
    }

    /// Saving is for others: that it failed changes nothing for this incident.
    async fn keep(&self, key: &str, learned: &Learned) {
        let mut left = learned.left.clone();
        if !learned.kept.is_empty()
            && let Err(fault) = self.verdicts.save(key, &learned.kept).await
        {
            debug!(fault = fault.name(), "outcomes were not cached");
            left.extend_from_slice(&learned.kept);
        }
        if left.is_empty() {
            return;
        }
        if let Err(fault) = self.verdicts.finish(key, &self.owner, self.clock.now(), &left).await {
            debug!(fault = fault.name(), "lease was not ended");
        }
    }

    /// One lookup, and whether its outcome may be used again.
    async fn lookup(&self, line: &Line<'_>, work: &Work, slot: Slot) -> (Outcome, bool) {
        let failed = |reason: &str| {
            let skipped = skipped(line.manifest, reason, self.clock.now());
            (Outcome { outcome: Status::Error, ..skipped }, false)
        };
        let limited = |reason: &str| {
            let skipped = skipped(line.manifest, reason, self.clock.now());
            (Outcome { outcome: Status::RateLimited, ..skipped }, false)
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(reason) => return limited(reason),
        };
        let wait = Duration::from_millis(u64::try_from(slot.ms_since(self.clock.now())).unwrap_or(0));
        let start = Instant::now() + wait;
        if !wait.is_zero() {
            sleep_until(start.min(self.deadline)).await;
        }
        // The provider's place comes first: who waits for a slow provider takes no place from the others.
        let Some(_place) = self.before_deadline(line.places.acquire()).await else { return failed("timeout") };
        let Some(_call) = self.before_deadline(self.places.acquire()).await else { return failed("timeout") };
        if line.is_broken() {
            return failed("breaker_open");
        }
        // A pause that ends in time is waited for; others may prolong it meanwhile.
        while let Some(until) = line.paused_until(self.clock.now()) {
            let wait = Duration::from_millis(u64::try_from(until.ms_since(self.clock.now())).unwrap_or(0));
            if wait + CALL_MIN > self.time_left() {
                return limited("retry_after");
            }
            sleep_until(Instant::now() + wait).await;
        }
        let manifest = line.manifest;
        let timeout = Duration::from_millis(u64::from(manifest.timeout_ms)).min(self.time_left());
        if timeout < CALL_MIN {
            return failed("timeout");
        }
        let request = match prepare(manifest, &work.observable, line.secret()) {
            Ok(request) => request,
            // What cannot be asked is no failure of the provider; a wrong key or manifest is one of ours.
            Err(refusal @ (Refusal::Type | Refusal::Unencodable | Refusal::NoKey)) => {
                return (skipped(manifest, refusal.reason(), self.clock.now()), false);
            }
            Err(refusal @ (Refusal::BadKey | Refusal::Manifest)) => return failed(refusal.reason()),
        };
        let to = Destination { host: &manifest.host, stand_in: self.stand_in };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let answer = self.egress.call(&to, &request, timeout).await;
        let outcome = interpret(manifest, &work.observable, answer.as_ref(), self.clock.now());
        debug!(
            provider.id = %manifest.id,
            "observable.type" = %work.observable.kind(),
            outcome = outcome.outcome.as_str(),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "asked a provider"
        );
        line.count(&outcome);
        if outcome.outcome == Status::RateLimited {
            let seconds = answer.as_ref().ok().and_then(retry_after_seconds).unwrap_or(PAUSE_SECONDS);
            self.pause(line, seconds).await;
        }
        // A time-out that our own deadline cut short says nothing about the provider.
        let is_cut_short = answer.is_err() && timeout < Duration::from_millis(u64::from(manifest.timeout_ms));
        let is_kept = outcome.outcome.is_answered() || (outcome.outcome == Status::Error && !is_cut_short);
        (outcome, is_kept)
    }

    async fn before_deadline<T, E>(&self, permit: impl Future<Output = Result<T, E>>) -> Option<T> {
        tokio::time::timeout_at(self.deadline, permit).await.ok()?.ok()
    }
}

/// Adds outcomes to those that are known.
pub(crate) fn merge(answers: &mut BTreeMap<String, Outcomes>, more: BTreeMap<String, Outcomes>) {
    for (key, outcomes) in more {
        answers.entry(key).or_default().extend(outcomes);
    }
}
