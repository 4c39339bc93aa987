//! `open-ticket`: opens the incident's ticket or brings it up to date, raises its severity, and tells the team.

use playbook::{
    Fault, IncidentId,
    assessment::Assessment,
    bundle::Bundle,
    incident::Incident,
    ports::{Clock, Egress, Entropy, Evidence, Secrets},
    rows::Rows,
    ticket::{Story, Text},
};
use serde::{Deserialize, Serialize};
use targets::ticket;
use tracing::info;

/// From `Record`, or from `Route` when sources failed. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
}

/// What stands there now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Tickets of the incident.
    pub tickets: usize,
    /// Channels that were told.
    pub told: usize,
    /// Why there is none, if there cannot be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
}

/// What the stage works with.
#[derive(Debug)]
pub struct World<'a, E, R, S, C, N, G> {
    /// Assessments and configurations.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The targets' secrets.
    pub secrets: &'a S,
    /// The time.
    pub clock: &'a C,
    /// Randomness for the names of owners.
    pub entropy: &'a N,
    /// The way out.
    pub egress: &'a G,
    /// The account of this function, from its ARN: the bundle's doors depend on it.
    pub account: &'a str,
}

/// Opens or updates one ticket a ticket system, and tells each channel. Safe to run again, and five times at once: then one
/// goes on, and the others are `Throttled` until it is done.
pub async fn run(
    world: &World<'_, impl Evidence, impl Rows, impl Secrets, impl Clock, impl Entropy, impl Egress>,
    input: Input,
) -> Result<Output, Fault> {
    let Input { incident_id, run } = input;
    let incident = Incident::load(world.rows, &incident_id).await?;
    if incident.run != run {
        return Err(Fault::Rejected(format!("run {run} is no longer the current run of {incident_id}")));
    }
    let bundle = Bundle::load(world.evidence, &incident.config_digest, world.account).await?;
    if ticket::targets(&bundle).next().is_none() {
        info!(incident.id = %incident_id, "no ticket: no target that takes tickets or tells people is on");
        return Ok(Output { tickets: 0, told: 0, skipped: Some("no target that takes tickets or tells people is on") });
    }
    let assessment = Assessment::load(world.evidence, world.rows, &incident_id, run).await?;
    let assessment =
        assessment.ok_or_else(|| Fault::Rejected(format!("run {run} of {incident_id} has no assessment")))?;
    let parents = ticket::parents(world.rows, &incident).await?;
    let text = Text::of(&Story {
        incident: &incident,
        assessment: Some(&assessment),
        decision: None,
        result: None,
        failure: None,
        parents: &parents,
    });
    let World { rows, secrets, clock, entropy, egress, .. } = *world;
    let told = ticket::open_or_update(&ticket::World { rows, clock, egress, secrets, entropy }, &bundle, &text).await?;
    info!(incident.id = %incident_id, tickets = told.tickets, told = told.told, "told the team");
    Ok(Output { tickets: told.tickets, told: told.told, skipped: None })
}

#[cfg(test)]
mod tests;
