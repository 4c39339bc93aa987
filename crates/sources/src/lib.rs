//! Asks the sources about observables, within gates, limits and deadlines; whatever happens, every provider that takes an
//! observable has exactly one outcome for it.

mod asking;
mod call;
mod early;
pub mod gate;
pub mod lines;
pub mod list;
mod payer;
mod plan;
mod postponed;
pub mod rdap;
mod recall;
mod slots;
mod waiting;

use std::collections::BTreeMap;

use ioc::Observable;
use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    cache::{Leases, Outcomes, Quotas, Verdicts},
    effort::{Effort, Efforts},
    incident::{Enriched, Sighted},
    lookup::failed,
    manifest::Tlp,
    outcome::{Outcome, Status},
    ports::{Clock, Egress, Secrets},
};
use tokio::time::Instant;

pub use asking::may_pass;
use asking::{Asking, Terms};
use lines::Lines;
use list::Lists;
pub use payer::Payer;
use plan::Plan;
pub use postponed::Postponed;
use rdap::Registries;

/// The ports that asking uses. `verdicts` is cache and leases, which share a table.
#[derive(Debug)]
pub struct World<'a, V, Q, S, C, G, L> {
    /// Cached outcomes and leases.
    pub verdicts: &'a V,
    /// What is left of the providers' limits.
    pub quotas: &'a Q,
    /// The providers' keys.
    pub secrets: &'a S,
    /// The time.
    pub clock: &'a C,
    /// The way out.
    pub egress: &'a G,
    /// The compiled lists.
    pub lists: &'a L,
    /// Which registry answers for what.
    pub registries: &'a Registries,
}

/// What is asked, and until when.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Providers and policy.
    pub bundle: &'a Bundle,
    /// The observables.
    pub observables: &'a [Sighted],
    /// How they may be shared.
    pub tlp: Tlp,
    /// Lookups that were put off before: those whose time lies after the deadline are not asked again.
    pub postponed: &'a [Postponed],
    /// Who asks, for leases: the same on every repetition of the same work.
    pub owner: String,
    /// Nothing is asked after it.
    pub deadline: Instant,
    /// Failures that are kept from before this moment are asked again.
    pub failures_since: Option<Timestamp>,
    /// Everything from before this moment is asked again, whatever is kept: a person wants to know it anew.
    pub answers_since: Option<Timestamp>,
    /// For whom: how much of the providers' quotas may be used.
    pub payer: Payer<'a>,
}

/// What was learned.
#[derive(Debug)]
pub struct Asked {
    /// One per observable, in their order.
    pub observables: Vec<Enriched>,
    /// What is still to come, and when to ask for it.
    pub postponed: Vec<Postponed>,
    /// What was planned, and what came of it.
    pub efforts: Efforts,
}

/// One lookup that was put off and is tried again.
#[derive(Debug)]
pub struct AskOne<'a> {
    /// Providers and policy.
    pub bundle: &'a Bundle,
    /// The observable, as it was seen.
    pub observable: &'a Observable,
    /// The provider's id.
    pub provider: &'a str,
    /// Of a submitted one: what the provider calls the work. It is asked for its result and nothing is submitted again.
    pub task: Option<&'a str>,
    /// Who asks, for leases: nobody else's, not even of a second delivery of the same message.
    pub owner: String,
    /// Nothing is asked after it.
    pub deadline: Instant,
    /// For whom: how much of the provider's quota may be used.
    pub payer: Payer<'a>,
    /// Whether nobody waits any longer: what is not answered now is an error, `no_result` of a submitted one, else `gave_up`.
    pub is_last: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedOne {
    /// The outcome; one of a call is in the cache as well.
    pub outcome: Outcome,
    /// When to try again, if the answer is still to come.
    pub postponed: Option<Postponed>,
}

/// Asks every provider about every observable. Provider failures are outcomes, never faults; a fault only before anything
/// was asked. `plan` hears what is planned before the first call goes out.
pub async fn ask(
    world: &World<'_, impl Verdicts + Leases, impl Quotas, impl Secrets, impl Clock, impl Egress, impl Lists>,
    ask: Ask<'_>,
    plan: impl AsyncFnOnce(Effort),
) -> Result<Asked, Fault> {
    let lines = Lines::open(ask.bundle, world.secrets).await;
    let who = Plan::of((ask.observables, ask.tlp), &lines, ask.postponed, world.clock.now());
    let terms = Terms {
        owner: ask.owner,
        deadline: ask.deadline,
        failures_since: ask.failures_since,
        answers_since: ask.answers_since,
        payer: ask.payer,
        // A repetition asks for a part only: the others need not wait until its time is over.
        ends_leases: !ask.postponed.is_empty(),
    };
    let started = Instant::now();
    let asking = Asking::new(world, &lines, ask.bundle, terms);
    let mut planned = Effort::default();
    let answers = asking
        .settle(who.works(), async |effort| {
            planned = effort;
            plan(effort).await;
        })
        .await?;
    let (observables, postponed) = who.collect(&answers);
    let (calls, microdollars) = asking.spent();
    let wait_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let made = Effort { calls, microdollars, wait_ms, lookups: planned.lookups, ..made(&answers) };
    Ok(Asked { observables, postponed, efforts: Efforts { planned, made } })
}

/// What became of the lookups.
fn made(answers: &BTreeMap<String, Outcomes>) -> Effort {
    let mut made = Effort::default();
    for outcome in answers.values().flat_map(BTreeMap::values) {
        made.cached += u64::from(outcome.cached);
        made.put_off += u64::from(outcome.outcome == Status::Pending);
        made.left_out += u64::from(matches!(outcome.outcome, Status::Skipped | Status::RateLimited));
    }
    made
}

/// Asks one provider about one observable, under the same cache, lease and limits. `None` where the provider is not one of
/// the bundle's, or does not take the observable.
pub async fn ask_one(
    world: &World<'_, impl Verdicts + Leases, impl Quotas, impl Secrets, impl Clock, impl Egress, impl Lists>,
    ask: AskOne<'_>,
) -> Result<Option<AskedOne>, Fault> {
    let Some(manifest) = ask.bundle.providers.get(ask.provider) else { return Ok(None) };
    let bundle = Bundle::new(ask.bundle.policy.clone(), vec![manifest.clone()], vec![]);
    let lines = Lines::open(&bundle, world.secrets).await;
    let sighted = [Sighted { observable: ask.observable.clone(), places: vec![], withheld: None }];
    let now = world.clock.now();
    let task = ask.task.map(|task| Postponed {
        provider: ask.provider.to_owned(),
        observable: ask.observable.clone(),
        reason: playbook::outcome::PENDING_SUBMITTED.to_owned(),
        try_at: now,
        task: Some(task.to_owned()),
    });
    // Its marks were looked at when it was put off.
    let plan = Plan::of((&sighted, Tlp::Clear), &lines, task.as_slice(), now);
    let terms = Terms {
        owner: ask.owner,
        deadline: ask.deadline,
        failures_since: None,
        answers_since: None,
        payer: ask.payer,
        ends_leases: true,
    };
    let asking = Asking::new(world, &lines, &bundle, terms);
    let works = plan.works();
    let key = works.keys().next().cloned();
    let answers = asking.settle(works, async |_| {}).await?;
    let (observables, mut postponed) = plan.collect(&answers);
    let Some(outcome) = observables.into_iter().flat_map(|enriched| enriched.outcomes).next() else { return Ok(None) };
    if ask.is_last && may_pass(&outcome) {
        let reason = if outcome.task.is_some() { "no_result" } else { "gave_up" };
        let given_up = failed(manifest, reason, world.clock.now());
        if let Some(key) = key.filter(|_| outcome.task.is_some()) {
            // Who asks next submits it anew.
            asking.forget(&key, &given_up).await;
        }
        return Ok(Some(AskedOne { outcome: given_up, postponed: None }));
    }
    Ok(Some(AskedOne { outcome, postponed: postponed.pop() }))
}
