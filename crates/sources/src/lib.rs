//! Asks the sources about observables, within gates, limits and deadlines; whatever happens, every provider that takes an
//! observable has exactly one outcome for it.

mod asking;
mod call;
pub mod gate;
pub mod lines;
pub mod list;
mod plan;
mod postponed;
pub mod rdap;
mod slots;
mod waiting;

use ioc::Observable;
use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    cache::{Leases, Quotas, Verdicts},
    incident::{Enriched, Sighted},
    lookup::failed,
    manifest::Tlp,
    outcome::Outcome,
    ports::{Clock, Egress, Secrets},
};
use tokio::time::Instant;

pub use asking::may_pass;
use asking::{Asking, Terms};
use lines::Lines;
use list::Lists;
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
}

/// What was learned.
#[derive(Debug)]
pub struct Asked {
    /// One per observable, in their order.
    pub observables: Vec<Enriched>,
    /// What is still to come, and when to ask for it.
    pub postponed: Vec<Postponed>,
    /// How many calls were made.
    pub calls: usize,
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
/// was asked.
pub async fn ask(
    world: &World<'_, impl Verdicts + Leases, impl Quotas, impl Secrets, impl Clock, impl Egress, impl Lists>,
    ask: Ask<'_>,
) -> Result<Asked, Fault> {
    let lines = Lines::open(ask.bundle, world.secrets).await;
    let plan = Plan::of((ask.observables, ask.tlp), &lines, ask.postponed, world.clock.now());
    let terms = Terms {
        owner: ask.owner,
        deadline: ask.deadline,
        failures_since: ask.failures_since,
        // A repetition asks for a part only: the others need not wait until its time is over.
        ends_leases: !ask.postponed.is_empty(),
    };
    let asking = Asking::new(world, &lines, &ask.bundle.policy, terms);
    let answers = asking.settle(plan.works()).await?;
    let (observables, postponed) = plan.collect(&answers);
    Ok(Asked { observables, postponed, calls: asking.calls() })
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
    let terms = Terms { owner: ask.owner, deadline: ask.deadline, failures_since: None, ends_leases: true };
    let asking = Asking::new(world, &lines, &bundle.policy, terms);
    let works = plan.works();
    let key = works.keys().next().cloned();
    let answers = asking.settle(works).await?;
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
