//! Asks every provider about every observable of a chunk, within limits and deadlines; whatever happens, every provider
//! that takes an observable has exactly one outcome for it. What is still to come is followed up.

mod postpone;

use std::time::Duration;

use futures::future::try_join3;
use playbook::{
    Fault, IncidentId, Timestamp,
    bundle::Bundle,
    cache::{Leases, Quotas, Verdicts},
    canonical,
    effort::Effort,
    incident::{Enriched, Enrichment, Extraction, Incident, Pointer, Run},
    outcome::Status,
    pending::PendingLookup,
    ports::{Clock, Egress, Evidence, Queue, Secrets},
    rows::{Rows, Write},
};
use serde::{Deserialize, Serialize};
use sources::{Asked, Payer, Postponed, list::Lists, rdap::Registries};
use tokio::time::Instant;
use tracing::{info, warn};

/// What is kept back of the invocation's time, to save and store what is known.
pub const RESERVE: Duration = Duration::from_millis(1_500);

/// From the Map over chunks. Unknown fields are ignored: executions outlive a deployment, and authors add fields of their own.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run, from 1.
    pub run: u32,
    /// The first observable of the chunk, counted from 0.
    pub offset: usize,
    /// How many observables the chunk has at most.
    pub count: usize,
}

/// To `Assess`, summed over the chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Observables for which an answer is still to come.
    pub pending: usize,
    /// Observables for which a provider failed: `error`, `rate_limited` or `pending`.
    pub degraded: usize,
    /// For the metrics: how many observables, and what became of their lookups, by name.
    #[serde(skip)]
    pub asked: usize,
    /// In the order of [`LOOKUPS`].
    #[serde(skip)]
    pub lookups: [usize; LOOKUPS.len()],
}

/// What becomes of lookups, and the metric that counts it.
pub const LOOKUPS: [(Status, &str); 6] = [
    (Status::Found, "LookupsFound"),
    (Status::NotFound, "LookupsNotFound"),
    (Status::Error, "LookupsError"),
    (Status::RateLimited, "LookupsRateLimited"),
    (Status::Pending, "LookupsPending"),
    (Status::Skipped, "LookupsSkipped"),
];

impl Output {
    /// What the dashboard and the alarms of the template read.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let lookups = LOOKUPS.iter().zip(self.lookups).map(|((_, name), count)| (*name, count));
        [("ObservablesAsked", self.asked), ("ObservablesDegraded", self.degraded)].into_iter().chain(lookups)
    }
}

/// The ports that the stage uses. `verdicts` is cache and leases, which share a table.
#[derive(Debug)]
pub struct World<'a, R, E, V, Q, S, C, G, L, U> {
    /// The record.
    pub rows: &'a R,
    /// The evidence bucket.
    pub evidence: &'a E,
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
    /// The queue of lookups to follow up.
    pub queue: &'a U,
}

/// Asks about one chunk. `account` is the account the function runs in, `remaining` the time the invocation has left.
///
/// Safe to run again: what is cached is not asked again, and the row and the document are replaced. Provider failures
/// are outcomes, never faults. `Pending` while the run may wait for answers that are to come soon: what is known is stored
/// all the same, and the next invocation asks for the rest.
pub async fn run(
    world: &World<
        '_,
        impl Rows,
        impl Evidence,
        impl Verdicts + Leases,
        impl Quotas,
        impl Secrets,
        impl Clock,
        impl Egress,
        impl Lists,
        impl Queue,
    >,
    account: &str,
    remaining: Duration,
    input: Input,
) -> Result<Output, Fault> {
    let started = Instant::now();
    let Input { incident_id, run, offset, count } = input;
    let incident = Incident::load(world.rows, &incident_id).await?;
    // All that has to be read, in one wait.
    let (extraction, bundle, postponed) = try_join3(
        extraction(world.rows, world.evidence, &incident_id, run),
        Bundle::load(world.evidence, &incident.config_digest, account),
        postpone::load(world.rows, &incident_id, run),
    )
    .await?;
    let chunk = extraction.observables.get(offset..).unwrap_or_default();
    let chunk = chunk.get(..count.min(chunk.len())).unwrap_or_default();

    let budget = Duration::from_millis(bundle.policy.enrich.deadline_ms).min(remaining.saturating_sub(RESERVE));
    let sources = sources::World {
        verdicts: world.verdicts,
        quotas: world.quotas,
        secrets: world.secrets,
        clock: world.clock,
        egress: world.egress,
        lists: world.lists,
        registries: world.registries,
    };
    let since = incident.started_at.unwrap_or_else(|| world.clock.now());
    let before = postpone::of_chunk(postponed, chunk);
    let ask = sources::Ask {
        bundle: &bundle,
        observables: chunk,
        tlp: extraction.tlp,
        postponed: &postpone::before(&before),
        owner: format!("{}-{offset}", incident_id.execution_name(run)),
        deadline: started + budget,
        failures_since: (run > 1).then_some(since),
        answers_since: (incident.asked_again == Some(run)).then_some(since),
        payer: Payer::of(&incident, run, &bundle.policy.enrich.budget, (chunk.len(), extraction.observables.len())),
    };
    let note = async |plan: Effort| note_plan(world.rows, (&incident_id, run, offset), plan).await;
    let Asked { observables, postponed, efforts } = Box::pin(sources::ask(&sources, ask, note)).await?;

    let now = world.clock.now();
    let pending = postpone::keep(world.rows, (&incident, run, &bundle), &before, &postponed, now).await?;
    let document = Enrichment { schema: Enrichment::SCHEMA.to_owned(), observables, efforts };
    store(world.rows, world.evidence, (&incident_id, run, offset), &document).await?;
    wait_for(&postponed, waits_until(&incident, &bundle, &pending), now)?;
    postpone::announce(world.queue, &pending, now).await;

    let output = summary(&document.observables);
    info!(
        incident.id = %incident_id,
        count = document.observables.len(),
        outcomes = document.observables.iter().map(|enriched| enriched.outcomes.len()).sum::<usize>(),
        calls = efforts.made.calls,
        calls_planned = efforts.planned.calls,
        cached = efforts.made.cached,
        microdollars = efforts.made.microdollars,
        failed = document.observables.iter().flat_map(|enriched| &enriched.outcomes).filter(|o| o.outcome.is_failed()).count(),
        degraded = output.degraded,
        pending = pending.len(),
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "enriched observables"
    );
    Ok(output)
}

/// Keeps what asking will take before the first call goes out, so that people see it while it runs, and where it dies.
async fn note_plan(rows: &impl Rows, (id, run, offset): (&IncidentId, u32, usize), plan: Effort) {
    let noted = match Write::put(Run::effort_key(id, run, offset), &plan) {
        Ok(write) => rows.commit(&[write]).await.map(|_| ()),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = noted {
        // It is told again at the end; nobody goes without answers for it.
        warn!(incident.id = %id, fault = fault.name(), "the plan of the lookups was not kept: {fault}");
    }
}

/// Until when the run waits for answers: counted from its start, or from the first answer that it lacked.
fn waits_until(incident: &Incident, bundle: &Bundle, pending: &[PendingLookup]) -> Option<Timestamp> {
    let start = incident.started_at.or_else(|| pending.iter().map(|row| row.since).min())?;
    Some(start.plus_ms(i64::from(bundle.policy.follow_up.wait_seconds).saturating_mul(1_000)))
}

/// `Pending` while there is an answer that may come in time.
fn wait_for(postponed: &[Postponed], until: Option<Timestamp>, now: Timestamp) -> Result<(), Fault> {
    let soon = until.map_or(0, |until| postponed.iter().filter(|lookup| lookup.try_at <= until && now < until).count());
    match soon {
        0 => Ok(()),
        soon => Err(Fault::Pending(format!("answers that may still come in time: {soon}"))),
    }
}

async fn extraction(
    rows: &impl Rows,
    evidence: &impl Evidence,
    id: &IncidentId,
    run: u32,
) -> Result<Extraction, Fault> {
    let document = Run::load(rows, id, run).await?.extraction;
    let document = document.ok_or_else(|| Fault::Rejected(format!("run {run} of {id} has no extraction")))?;
    let bytes = evidence.fetch(&document).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Fault::Rejected(format!("extraction of {id} cannot be read: {error}")))
}

async fn store(
    rows: &impl Rows,
    evidence: &impl Evidence,
    (id, run, offset): (&IncidentId, u32, usize),
    document: &Enrichment,
) -> Result<(), Fault> {
    let bytes = canonical::to_json(document)?;
    let key = format!("incidents/{id}/r{run}/enrich/{}.json", canonical::sha256_hex(&bytes));
    let document = evidence.store(&key, "application/json", &bytes).await?;
    let write = Write::put(Run::enrichment_key(id, run, offset), &Pointer { document })?;
    let _done = rows.commit(&[write]).await?;
    Ok(())
}

fn summary(observables: &[Enriched]) -> Output {
    let having = |is_so: fn(&playbook::outcome::Outcome) -> bool| {
        observables.iter().filter(|enriched| enriched.outcomes.iter().any(is_so)).count()
    };
    let of = |status: Status| {
        observables.iter().flat_map(|enriched| &enriched.outcomes).filter(|outcome| outcome.outcome == status).count()
    };
    Output {
        pending: having(|outcome| outcome.outcome == Status::Pending),
        degraded: having(|outcome| outcome.outcome.is_failed()),
        asked: observables.len(),
        lookups: LOOKUPS.map(|(status, _)| of(status)),
    }
}

#[cfg(test)]
mod tests;
