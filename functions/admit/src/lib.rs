//! `admit`: dedupes what came in, groups storms, pins the policy, chooses the machine and starts the execution.

mod ending;
mod opening;
mod route;
#[cfg(test)]
mod tests;

use playbook::{
    Fault,
    bundle::Bundle,
    incident::{INTAKE_SCHEMA, IncidentStatus, Intake, Kind},
    ports::{Clock, Egress, Entropy, Evidence, Machines, Secrets},
    rows::Rows,
    waking,
};
use serde::{Deserialize, Serialize};
use targets::ticket;
use tokio::sync::OnceCell;
use tracing::{error, info};

pub use ending::record_ending;

/// A batch from the intake queue, as SQS hands it on.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// At most ten.
    #[serde(rename = "Records")]
    pub records: Vec<Message>,
}

/// One message of the batch.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// SQS's id, for the answer.
    #[serde(rename = "messageId")]
    pub id: String,
    /// An intake message (`intake/1`).
    pub body: String,
}

/// Which messages stay in the queue. After five receives SQS moves one to the dead-letter queue, where an alarm sees it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Output {
    /// The ones that failed, and the ones that were not tried any more.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<Failure>,
}

/// A message that stays in the queue.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Failure {
    /// SQS's id.
    #[serde(rename = "itemIdentifier")]
    pub id: String,
}

/// What is read once, at start, and what a sandbox keeps.
#[derive(Debug)]
pub struct Settings {
    /// `CONFIG_DIGEST`: the configuration that is pinned to everything that comes in.
    pub config_digest: String,
    bundle: OnceCell<Bundle>,
}

impl Settings {
    /// Settings of a sandbox that has loaded nothing yet.
    #[must_use]
    pub fn new(config_digest: String) -> Self {
        Self { config_digest, bundle: OnceCell::new() }
    }
}

/// What the stage works with.
#[derive(Debug)]
pub struct World<'a, E, R, M, C> {
    /// Bundles, and the mails that are looked at for what makes them alike.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The state machines.
    pub machines: &'a M,
    /// The time.
    pub clock: &'a C,
    /// What was read at start.
    pub settings: &'a Settings,
    /// The account of this function, from its ARN: the bundle's doors depend on it.
    pub account: &'a str,
}

impl<E: Evidence, R, M, C> World<'_, E, R, M, C> {
    /// The configuration, loaded once a sandbox.
    async fn bundle(&self) -> Result<&Bundle, Fault> {
        let load = async || Bundle::load(self.evidence, &self.settings.config_digest, self.account).await;
        self.settings.bundle.get_or_try_init(load).await
    }
}

/// Admits every message of the batch; one that is bad does not hold up the others. Safe to run again.
///
/// A service that throttles or does not answer is left alone: the message that met it and all that follow stay in the queue.
/// `tickets` is for executions that ended badly: the team is told by the incident's ticket.
pub async fn run(
    world: &World<'_, impl Evidence, impl Rows, impl Machines, impl Clock>,
    tickets: &ticket::World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    input: Input,
) -> Result<Output, Fault> {
    let mut failures = vec![];
    let mut messages = input.records.into_iter();
    while let Some(message) = messages.next() {
        let Err(fault) = admit(world, tickets, &message.body).await else { continue };
        let holds_up = matches!(fault, Fault::Throttled(_) | Fault::Unavailable(_));
        failures.push(Failure { id: message.id.clone() });
        if holds_up {
            failures.extend(messages.by_ref().map(|message| Failure { id: message.id }));
        }
        error!(fault = fault.name(), message.id, left = failures.len(), "not admitted: {fault}");
    }
    Ok(Output { failures })
}

async fn admit(
    world: &World<'_, impl Evidence, impl Rows, impl Machines, impl Clock>,
    tickets: &ticket::World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    body: &str,
) -> Result<(), Fault> {
    let intake: Intake =
        serde_json::from_str(body).map_err(|error| Fault::Rejected(format!("not an intake message: {error}")))?;
    if intake.schema != INTAKE_SCHEMA {
        return Err(Fault::Rejected(format!("schema is {:?}, this version reads {INTAKE_SCHEMA:?}", intake.schema)));
    }
    let now = world.clock.now();
    if intake.kind == Kind::ExecutionEnded {
        if let Some((id, _)) = record_ending(world.rows, now, &intake).await? {
            // A ticket system that is down must not hold up what comes in: this message alone stays in the queue.
            let told = ending::tell(world.evidence, tickets, world.account, &id).await;
            told.map_err(|fault| Fault::Rejected(format!("the failure of {id} is not told yet: {fault}")))?;
        }
        return Ok(());
    }
    let incident = opening::open(world, now, intake).await?;
    if incident.status == IncidentStatus::Attached {
        let parent = incident.parent.as_ref().map(ToString::to_string);
        info!(incident.id = %incident.incident_id, parent, "one of a storm: attached, and not looked at");
        return Ok(());
    }
    // The row decides, not the execution's name: without `started_at` it is started again.
    if incident.started_at.is_none() {
        // Five deliveries at once start under one name: Step Functions takes one of them.
        waking::start_run(world.rows, world.machines, &incident, now).await?;
    }
    info!(incident.id = %incident.incident_id, "admitted");
    Ok(())
}
