//! Asking: the cache first, then a lease, then slots, then the providers, all before one deadline.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    future::{join, join_all, join3, try_join_all},
    stream::{FuturesUnordered, StreamExt},
};
use ioc::Observable;
use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    cache::{Lease, Leases, Outcomes, Quotas, Taken, Verdicts},
    canonical,
    effort::Effort,
    lookup::skipped,
    manifest::{Manifest, ProviderKind},
    outcome::{Outcome, PENDING_SUBMITTED, Stale, Status},
    policy::Policy,
    ports::{Clock, Egress},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{
    World,
    call::{self, Ways},
    lines::{Health, Line, Lines},
    list::Lists,
    payer::Payer,
    plan::Work,
    postponed::{Postponed, RETRY_AFTER, put_off},
    slots::{NoSlot, Slot, Slots},
};

/// A call that would have less time than this is not started.
pub(crate) const CALL_MIN: Duration = Duration::from_millis(50);

/// How long a lease outlives the deadline: what was learned must still be saved.
const LEASE_EXTRA_MS: i64 = 1_000;

/// How long a provider is left alone that answers 429 and does not say how long.
const PAUSE_SECONDS: u64 = 30;

/// Outcomes of one observable, and which of them may be used again.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    pub(crate) outcomes: Outcomes,
    kept: Vec<Outcome>,
    left: Vec<Outcome>,
}

impl Learned {
    /// One more outcome, and whether it may be used again.
    pub(crate) fn add(&mut self, outcome: Outcome, is_kept: bool) {
        let list = if is_kept { &mut self.kept } else { &mut self.left };
        list.push(outcome.clone());
        self.outcomes.insert(outcome.provider.clone(), outcome);
    }

    /// Those of another round.
    pub(crate) fn append(&mut self, more: Self) {
        self.outcomes.extend(more.outcomes);
        self.kept.extend(more.kept);
        self.left.extend(more.left);
    }
}

/// Seconds between two questions for a result where the manifest does not say.
const POLL_SECONDS: u32 = 60;

/// Who asks, and until when.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub owner: String,
    pub deadline: Instant,
    /// Failures from before this moment are asked again.
    pub failures_since: Option<Timestamp>,
    /// Everything from before this moment is asked again: a person has asked to look again.
    pub answers_since: Option<Timestamp>,
    /// For whom: how much of a provider's quota may be used.
    pub payer: Payer<'a>,
    /// Whether leases are ended also where everything was cached.
    pub ends_leases: bool,
}

/// A lookup's turn: the places that it takes, and the time that it has.
struct Turn<'a> {
    timeout: Duration,
    _places: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

/// One invocation's asking.
#[derive(Debug)]
pub(crate) struct Asking<'a, V, Q, C, G, L> {
    pub(crate) verdicts: &'a V,
    pub(crate) quotas: &'a Q,
    pub(crate) clock: &'a C,
    pub(crate) lines: &'a Lines<'a>,
    ways: Ways<'a, C, G, L>,
    pub(crate) owner: String,
    pub(crate) deadline: Instant,
    pub(crate) failures_since: Option<Timestamp>,
    pub(crate) answers_since: Option<Timestamp>,
    pub(crate) payer: Payer<'a>,
    ends_leases: bool,
    pub(crate) bundle: &'a Bundle,
    pub(crate) policy: &'a Policy,
    /// What providers have said before, by observable and provider.
    pub(crate) said_before: Mutex<BTreeMap<(String, String), Stale>>,
    /// Calls at once in all.
    places: Semaphore,
    calls: AtomicU64,
    /// What the calls have cost, in millionths of a dollar.
    spent: AtomicU64,
}

impl<'a, V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress, L: Lists> Asking<'a, V, Q, C, G, L> {
    /// Nothing is asked after the deadline.
    pub(crate) fn new<S>(
        world: &World<'a, V, Q, S, C, G, L>,
        lines: &'a Lines<'a>,
        bundle: &'a Bundle,
        terms: Terms<'a>,
    ) -> Self {
        let policy = &bundle.policy;
        Self {
            verdicts: world.verdicts,
            quotas: world.quotas,
            clock: world.clock,
            lines,
            ways: Ways {
                clock: world.clock,
                egress: world.egress,
                lists: world.lists,
                registries: world.registries,
                reach: policy.reach(),
                stand_in_dns: policy.egress.stand_in_dns.as_ref(),
            },
            owner: terms.owner,
            deadline: terms.deadline,
            failures_since: terms.failures_since,
            answers_since: terms.answers_since,
            payer: terms.payer,
            ends_leases: terms.ends_leases,
            bundle,
            policy,
            said_before: Mutex::default(),
            spent: AtomicU64::new(0),
            places: Semaphore::new(policy.enrich.calls.min(Semaphore::MAX_PERMITS)),
            calls: AtomicU64::new(0),
        }
    }

    /// How many calls were made, and what they have cost in millionths of a dollar.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.spent.load(Ordering::Relaxed))
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The deadline on the clock.
    pub(crate) fn until(&self) -> Timestamp {
        self.clock.now().plus_ms(i64::try_from(self.time_left().as_millis()).unwrap_or(i64::MAX))
    }

    /// Nobody waits for an answer until then.
    pub(crate) fn gives_up_at(&self) -> Timestamp {
        self.clock.now().plus_hours(i64::from(self.policy.follow_up.give_up_hours))
    }

    /// One outcome for every observable and provider. A fault only before anything was asked. `plan` hears what is planned
    /// before the first call goes out.
    pub(crate) async fn settle(
        &self,
        mut works: BTreeMap<String, Work>,
        plan: impl AsyncFnOnce(Effort),
    ) -> Result<BTreeMap<String, Outcomes>, Fault> {
        let lookups = count(&works);
        let mut answers = BTreeMap::new();
        self.look_into_lists(&mut works, &mut answers).await;
        self.recall(&mut works, &mut answers).await?;

        let leases = works.keys().map(|key| async move { Ok::<_, Fault>((key.clone(), self.take(key).await?)) });
        let (mut ours, mut again, mut theirs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        // What is left of the quotas is read meanwhile; whoever changes it before us is noticed when it is written.
        let (taken, quotas) = join(try_join_all(leases), self.quotas_for(&works)).await;
        let taken: BTreeMap<String, Taken> = taken?.into_iter().collect();
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

        let slots = self.slots_of(&self.first_round(&ours), quotas).await;
        let planned = self.planned(&ours, &slots);
        let cached = lookups.saturating_sub(planned.lookups).saturating_sub(count(&theirs));
        let planned = Effort { lookups, cached, ..planned };
        let (asked, waited, ()) = join3(self.ask_in(ours, &slots, &answers), self.wait(theirs), plan(planned)).await;
        merge(&mut answers, asked);
        merge(&mut answers, waited);
        for (key, outcomes) in &mut answers {
            for outcome in outcomes.values_mut() {
                self.add_said_before(key, outcome);
            }
        }
        Ok(answers)
    }

    /// Takes out of `works` what a list says: that costs nothing, so that nobody need agree on it.
    async fn look_into_lists(&self, works: &mut BTreeMap<String, Work>, answers: &mut BTreeMap<String, Outcomes>) {
        let is_list = |id: &String| self.lines.get(id).is_some_and(|line| line.manifest.kind == ProviderKind::List);
        let looked = works.iter().flat_map(|(key, work)| {
            let lines = work.providers.iter().filter(|id| is_list(id)).filter_map(|id| self.lines.get(id));
            lines.map(move |line| async move {
                let timeout = self.time_left().min(Duration::from_millis(u64::from(line.manifest.timeout_ms)));
                (key.clone(), call::lookup(&self.ways, line, &work.observable, timeout).await.outcome)
            })
        });
        let looked = join_all(looked).await;
        for (key, outcome) in looked {
            answers.entry(key).or_default().insert(outcome.provider.clone(), outcome);
        }
        for work in works.values_mut() {
            work.providers.retain(|id| !is_list(id));
        }
        works.retain(|_, work| !work.providers.is_empty());
    }

    pub(crate) async fn take(&self, key: &str) -> Result<Taken, Fault> {
        let until = self.until().plus_ms(LEASE_EXTRA_MS);
        let lease = Lease { owner: self.owner.clone(), until, left: vec![] };
        self.verdicts.take(key, &lease, self.clock.now()).await
    }

    /// Asks about observables whose leases we hold; saves what may be used again and leaves the rest to those who wait.
    /// `known` is what the cache has said of them.
    pub(crate) async fn ask(
        &self,
        works: BTreeMap<String, Work>,
        known: &BTreeMap<String, Outcomes>,
    ) -> BTreeMap<String, Outcomes> {
        let slots = self.slots(&self.first_round(&works)).await;
        self.ask_in(works, &slots, known).await
    }

    /// The same with slots that were taken before.
    async fn ask_in(
        &self,
        works: BTreeMap<String, Work>,
        slots: &Slots,
        known: &BTreeMap<String, Outcomes>,
    ) -> BTreeMap<String, Outcomes> {
        if self.policy.enrich.early_stop {
            return self.ask_in_two_rounds(works, slots, known).await;
        }
        let asked = works.iter().map(|(key, work)| async move {
            let learned = self.learn(key, work, slots).await;
            self.keep(key, &learned).await;
            (key.clone(), learned.outcomes)
        });
        asked.collect::<FuturesUnordered<_>>().collect().await
    }

    /// Asks everybody about one observable.
    pub(crate) async fn learn(&self, key: &str, work: &Work, slots: &Slots) -> Learned {
        let calls = work.providers.iter().filter_map(|id| self.lines.get(id)).map(|line| {
            let slot = slots.of(&line.manifest.id, key);
            self.lookup(line, work, slot)
        });
        let mut learned = Learned::default();
        for (mut outcome, is_kept) in join_all(calls).await {
            self.add_said_before(key, &mut outcome);
            learned.add(outcome, is_kept);
        }
        learned
    }

    /// Saving is for others: that it failed changes nothing for this incident.
    pub(crate) async fn keep(&self, key: &str, learned: &Learned) {
        let mut left = learned.left.clone();
        let kept: Vec<Outcome> = learned.kept.iter().map(with_short_digest).collect();
        if !kept.is_empty()
            && let Err(fault) = self.verdicts.save(key, &kept).await
        {
            debug!(fault = fault.name(), "outcomes were not cached");
            left.extend_from_slice(&learned.kept);
        }
        if left.is_empty() && !self.ends_leases {
            return;
        }
        if let Err(fault) = self.verdicts.finish(key, &self.owner, self.clock.now(), &left).await {
            debug!(fault = fault.name(), "lease was not ended");
        }
    }

    /// The work at the provider is given up: the cache says so instead of naming it.
    pub(crate) async fn forget(&self, key: &str, given_up: &Outcome) {
        if let Err(fault) = self.verdicts.save(key, std::slice::from_ref(given_up)).await {
            debug!(fault = fault.name(), "a task was not forgotten");
        }
    }

    /// One lookup, and whether its outcome may be used again.
    async fn lookup(&self, line: &Line<'_>, work: &Work, slot: Slot) -> (Outcome, bool) {
        let task = work.postponed.get(&line.manifest.id).and_then(|before| before.task.as_deref());
        let (outcome, is_kept) = match slot {
            Ok(slot) => match self.wait_for_turn(line, slot).await {
                Ok(turn) => self.call(line, work, task, turn).await,
                Err(outcome) => (*outcome, false),
            },
            Err(no_slot) => (self.limited(line, no_slot), false),
        };
        match task {
            // The work goes on at the provider, whether or not we have reached it: it is not submitted again.
            Some(task) if may_pass(&outcome) => (self.submitted(line, work, task, &outcome), true),
            _ => (outcome, is_kept),
        }
    }

    /// Waits for the slot, the places and the end of a pause; or says what became of a lookup that has no turn.
    async fn wait_for_turn<'t>(&'t self, line: &'t Line<'_>, slot: Timestamp) -> Result<Turn<'t>, Box<Outcome>> {
        let failed = |reason: &str| {
            let skipped = skipped(line.manifest, reason, self.clock.now());
            Box::new(Outcome { outcome: Status::Error, ..skipped })
        };
        let wait = Duration::from_millis(u64::try_from(slot.ms_since(self.clock.now())).unwrap_or(0));
        let start = Instant::now() + wait;
        if !wait.is_zero() {
            sleep_until(start.min(self.deadline)).await;
        }
        // The provider's place comes first: who waits for a slow provider takes no place from the others.
        let place = self.before_deadline(line.places.acquire()).await.ok_or_else(|| failed("timeout"))?;
        let call = self.before_deadline(self.places.acquire()).await.ok_or_else(|| failed("timeout"))?;
        if let Some(reason) = line.closed() {
            return Err(failed(reason));
        }
        // A pause that ends in time is waited for; others may prolong it meanwhile.
        while let Some(until) = line.paused_until(self.clock.now()) {
            let wait = Duration::from_millis(u64::try_from(until.ms_since(self.clock.now())).unwrap_or(0));
            if wait + CALL_MIN > self.time_left() {
                return Err(Box::new(self.limited(line, NoSlot { reason: RETRY_AFTER, try_at: Some(until) })));
            }
            sleep_until(Instant::now() + wait).await;
        }
        let timeout = Duration::from_millis(u64::from(line.manifest.timeout_ms)).min(self.time_left());
        if timeout < CALL_MIN { Err(failed("timeout")) } else { Ok(Turn { timeout, _places: (place, call) }) }
    }

    /// Asks, or asks for the result of what was submitted.
    async fn call(&self, line: &Line<'_>, work: &Work, task: Option<&str>, turn: Turn<'_>) -> (Outcome, bool) {
        let (manifest, observable) = (line.manifest, &work.observable);
        let started = Instant::now();
        let called = match task {
            Some(task) => call::poll(&self.ways, line, observable, task, turn.timeout).await,
            None => call::lookup(&self.ways, line, observable, turn.timeout).await,
        };
        let mut outcome = called.outcome;
        let calls = u64::try_from(called.calls).unwrap_or(u64::MAX);
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.spent.fetch_add(calls.saturating_mul(price(manifest)), Ordering::Relaxed);
        debug!(
            provider.id = %manifest.id,
            "observable.type" = %observable.kind(),
            outcome = outcome.outcome.as_str(),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "asked a provider"
        );
        // A time-out that our own deadline cut short says nothing about the provider.
        if called.calls > 0 && !called.is_cut_short {
            match line.count(&outcome) {
                Some(Health::Broken) => self.hint(line, true).await,
                Some(Health::Mended) => self.hint(line, false).await,
                None => {}
            }
        }
        if let (Some(seconds), false) = (called.used_up_seconds, outcome.outcome == Status::RateLimited) {
            self.pause(line, seconds).await;
        }
        if outcome.outcome == Status::RateLimited {
            let seconds = called.retry_after_seconds.or(called.used_up_seconds).unwrap_or(PAUSE_SECONDS);
            self.pause(line, seconds).await;
            let until = outcome.fetched_at.plus_ms(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX));
            let is_waited_for = until <= self.gives_up_at();
            outcome.expires_at =
                if is_waited_for { until.max(outcome.fetched_at.plus_ms(1)) } else { outcome.fetched_at };
        }
        if let Some(task) = &called.task {
            return (self.submitted(line, work, task, &outcome), true);
        }
        outcome.expires_at = shortened(&outcome, observable);
        let is_kept = called.calls > 0
            && (outcome.outcome.is_answered() || (outcome.outcome == Status::Error && !called.is_cut_short));
        (outcome, is_kept)
    }

    /// The outcome of a lookup without a slot: put off where a time is known at which somebody still waits for it.
    fn limited(&self, line: &Line<'_>, NoSlot { reason, try_at }: NoSlot) -> Outcome {
        let now = self.clock.now();
        match try_at.filter(|at| *at <= self.gives_up_at()) {
            Some(try_at) => put_off(line.manifest, reason, try_at, now),
            None => Outcome { outcome: Status::RateLimited, ..skipped(line.manifest, reason, now) },
        }
    }

    /// The outcome of a lookup on which the provider works: it is asked for its result not before the manifest's interval is
    /// over, and not before the provider or its limits allow it.
    fn submitted(&self, line: &Line<'_>, work: &Work, task: &str, outcome: &Outcome) -> Outcome {
        let now = self.clock.now();
        let every = line.manifest.poll_for(&work.observable).map_or(POLL_SECONDS, |poll| poll.every_seconds);
        let allowed = Postponed::of(outcome, &work.observable).filter(|_| outcome.task.is_none());
        let allowed = allowed.filter(|before| before.reason != PENDING_SUBMITTED).map(|before| before.try_at);
        let try_at = now.plus_ms(i64::from(every).saturating_mul(1_000)).max(allowed.unwrap_or(now));
        Outcome { task: Some(task.to_owned()), ..put_off(line.manifest, PENDING_SUBMITTED, try_at, now) }
    }

    async fn before_deadline<T, E>(&self, permit: impl Future<Output = Result<T, E>>) -> Option<T> {
        tokio::time::timeout_at(self.deadline, permit).await.ok()?.ok()
    }
}

/// Whether a lookup that ended so may end differently the next time: a limit, a silence, a provider out of order.
#[must_use]
pub fn may_pass(outcome: &Outcome) -> bool {
    match (outcome.outcome, outcome.reason.as_deref()) {
        (Status::Pending | Status::RateLimited, _) => true,
        (Status::Error, Some(reason)) => {
            outcome.is_silence() || matches!(reason, "breaker_open" | "key_unavailable") || reason.starts_with("http_5")
        }
        _ => false,
    }
}

/// So much of a manifest's digest lies in the cache: whole ones were a quarter of what is written.
pub(crate) const DIGEST_CHARS: usize = 16;

/// As an outcome is kept; who reads it knows the whole digest.
fn with_short_digest(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    outcome.manifest_digest.truncate(DIGEST_CHARS);
    outcome
}

/// How many lookups these are.
pub(crate) fn count(works: &BTreeMap<String, Work>) -> u64 {
    works.values().map(|work| u64::try_from(work.providers.len()).unwrap_or(u64::MAX)).sum()
}

/// What one call costs, in millionths of a dollar.
pub(crate) fn price(manifest: &Manifest) -> u64 {
    manifest.price_microdollars.map_or(0, u64::from)
}

/// The end of an answer's lifetime, up to a tenth earlier: what was learned in one moment is not asked again in one moment.
/// The same for the same observable and provider on every replay.
fn shortened(outcome: &Outcome, observable: &Observable) -> Timestamp {
    let lifetime = outcome.expires_at.ms_since(outcome.fetched_at);
    if !outcome.outcome.is_answered() || lifetime <= 0 {
        return outcome.expires_at;
    }
    let digest = canonical::sha256_hex(format!("{}#{}", outcome.provider, observable.key()).as_bytes());
    let part = digest.get(..4).and_then(|hex| i64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    outcome.expires_at.plus_ms(-(lifetime / 10).saturating_mul(part) / 65_536)
}

/// Adds outcomes to those that are known.
pub(crate) fn merge(answers: &mut BTreeMap<String, Outcomes>, more: BTreeMap<String, Outcomes>) {
    for (key, outcomes) in more {
        answers.entry(key).or_default().extend(outcomes);
    }
}
