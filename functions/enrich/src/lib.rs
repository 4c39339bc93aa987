//! Asks every provider about every observable of a chunk, within limits and deadlines; whatever happens, every provider
//! that takes an observable has exactly one outcome for it.

mod asking;
pub mod egress;
pub mod gate;
mod lines;
mod plan;
mod slots;
mod waiting;

use std::time::Duration;

use playbook::{
    Fault, IncidentId,
    bundle::Bundle,
    cache::{Leases, Quotas, Verdicts},
    canonical,
    incident::{Enriched, Enrichment, Extraction, Incident, Pointer, Run},
    ports::{Clock, Evidence, Secrets},
    rows::{Rows, Write},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::info;

use asking::Asking;
use egress::Egress;
use lines::Lines;
use plan::Plan;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Observables for which an answer is still to come.
    pub pending: usize,
    /// Observables for which a provider failed: `error`, `rate_limited` or `pending`.
    pub degraded: usize,
}

/// The ports that the stage uses. `verdicts` is cache and leases, which share a table.
#[derive(Debug)]
pub struct World<'a, R, E, V, Q, S, C, G> {
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
}

/// Asks about one chunk. `account` is the account the function runs in, `remaining` the time the invocation has left.
///
/// Safe to run again: what is cached is not asked again, and the row and the document are replaced. Provider failures
/// are outcomes, never faults.
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
    >,
    account: &str,
    remaining: Duration,
    input: Input,
) -> Result<Output, Fault> {
    let started = Instant::now();
    let Input { incident_id, run, offset, count } = input;
    let incident = Incident::load(world.rows, &incident_id).await?;
    let extraction = extraction(world.rows, world.evidence, &incident_id, run).await?;
    let chunk = extraction.observables.get(offset..).unwrap_or_default();
    let chunk = chunk.get(..count.min(chunk.len())).unwrap_or_default();
    let bundle = Bundle::load(world.evidence, &incident.config_digest, account).await?;

    let lines = Lines::open(&bundle, world.secrets).await;
    let plan = Plan::of(chunk, &lines, world.clock.now());
    let budget = Duration::from_millis(bundle.policy.enrich.deadline_ms).min(remaining.saturating_sub(RESERVE));
    let owner = format!("{}-{offset}", incident_id.execution_name(run));
    let asking = Asking::new(world, &lines, &bundle.policy, owner, started + budget, run > 1);
    let answers = asking.settle(plan.works()).await?;
    let observables = plan.collect(&answers);

    let document = Enrichment { schema: Enrichment::SCHEMA.to_owned(), observables };
    store(world.rows, world.evidence, (&incident_id, run, offset), &document).await?;

    let output = summary(&document.observables);
    info!(
        incident.id = %incident_id,
        count = document.observables.len(),
        outcomes = document.observables.iter().map(|enriched| enriched.outcomes.len()).sum::<usize>(),
        calls = asking.calls(),
        cached = document.observables.iter().flat_map(|enriched| &enriched.outcomes).filter(|o| o.cached).count(),
        failed = document.observables.iter().flat_map(|enriched| &enriched.outcomes).filter(|o| o.outcome.is_failed()).count(),
        degraded = output.degraded,
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "enriched observables"
    );
    Ok(output)
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
    Output {
        pending: having(|outcome| outcome.outcome == playbook::outcome::Status::Pending),
        degraded: having(|outcome| outcome.outcome.is_failed()),
    }
}

#[cfg(test)]
mod tests;
