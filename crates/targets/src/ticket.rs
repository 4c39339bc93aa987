//! Tickets and notices: what an incident has in ticket systems and channels, opened once, brought up to date, closed.

mod one;

use futures::future::join_all;
use playbook::{
    Fault,
    assessment::Assessment,
    bundle::Bundle,
    incident::Incident,
    policy::Act,
    ports::{Clock, Egress, Entropy, Evidence, Secrets},
    rows::Rows,
    target::{Effect, Target},
    ticket::{Story, Text, Ticket},
};
use tracing::info;

use one::One;

/// The ports that tickets need.
#[derive(Debug)]
pub struct World<'a, R, C, G, S, N> {
    /// The record.
    pub rows: &'a R,
    /// The time.
    pub clock: &'a C,
    /// The way out.
    pub egress: &'a G,
    /// The targets' secrets.
    pub secrets: &'a S,
    /// Randomness for the names of owners.
    pub entropy: &'a N,
}

/// What an incident's tickets shall come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// There is one, it is open and says this.
    Open,
    /// Where there is one, it says this, and stays as it is.
    Note,
    /// Where there is one, it says this and is closed.
    Close,
}

/// What stands there afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Tickets of the incident.
    pub tickets: usize,
    /// Channels that were told of it.
    pub told: usize,
}

/// The targets of a bundle that take incidents and are on.
pub fn targets(bundle: &Bundle) -> impl Iterator<Item = &Target> {
    bundle.targets.values().filter(|target| {
        matches!(target.effect, Effect::Tickets | Effect::Notifies)
            && target.off_reason().is_none()
            && bundle.policy.enforce.targets.get(&target.id) != Some(&Act::Never)
    })
}

/// Opens the incident's ticket at every target that is on, or brings it up to date: once per content, whoever calls and
/// however often; a channel is updated once a run at most.
///
/// A target that fails does not keep the others from being done; then one fault names all that failed: `Unavailable` or
/// `Throttled` while trying again may help, also when somebody else is writing just now; else `Rejected` or
/// `Misconfigured`.
pub async fn open_or_update(
    world: &World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    bundle: &Bundle,
    text: &Text,
) -> Result<Told, Fault> {
    reach(world, bundle, text, Aim::Open).await
}

/// Brings the tickets there are, and those of which nobody knows whether they were opened, to what is aimed at. Faults as
/// of [`open_or_update`].
pub async fn reach(
    world: &World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    bundle: &Bundle,
    text: &Text,
    aim: Aim,
) -> Result<Told, Fault> {
    let digest = text.digest()?;
    let reach = bundle.policy.reach();
    let work = targets(bundle).map(|target| {
        let one = One { world, reach, target, text, digest: &digest };
        async move { (target, one.reach(aim).await) }
    });
    let mut told = Told::default();
    let mut faults = vec![];
    for (target, result) in join_all(work).await {
        match (result, target.effect) {
            (Ok(true), Effect::Tickets) => told.tickets += 1,
            (Ok(true), _) => told.told += 1,
            (Ok(false), _) => {}
            (Err(fault), _) => faults.push(fault),
        }
    }
    match together(&faults) {
        None => Ok(told),
        Some(fault) => Err(fault),
    }
}

/// Opens or updates the tickets of an incident on which the machine failed, once per reason: the second net. A bundle or an
/// assessment that cannot be read is no reason to stay silent where the other can.
pub async fn failed(
    world: &World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    evidence: &impl Evidence,
    account: &str,
    incident: &Incident,
    reason: &str,
) -> Result<Told, Fault> {
    let bundle = Bundle::load(evidence, &incident.config_digest, account).await?;
    let assessment = match Assessment::load(evidence, world.rows, &incident.incident_id, incident.run).await {
        // What cannot be read may be why the machine failed.
        Err(Fault::Rejected(_)) => None,
        other => other?,
    };
    let parents = parents(world.rows, incident).await?;
    let text = Text::of(&Story {
        incident,
        assessment: assessment.as_ref(),
        decision: None,
        result: None,
        failure: Some(reason),
        parents: &parents,
    });
    let told = open_or_update(world, &bundle, &text).await?;
    info!(incident.id = %incident.incident_id, tickets = told.tickets, told = told.told, "told that the playbook failed");
    Ok(told)
}

/// The tickets of the incident that this one is attached to.
pub async fn parents(rows: &impl Rows, incident: &Incident) -> Result<Vec<Ticket>, Fault> {
    match &incident.parent {
        Some(parent) => Ticket::all(rows, parent).await,
        None => Ok(vec![]),
    }
}

/// One fault for all: one that passes comes first, so that the machine tries again; the message names every target.
fn together(faults: &[Fault]) -> Option<Fault> {
    let passes = |fault: &Fault| matches!(fault, Fault::Throttled(_) | Fault::Unavailable(_) | Fault::Pending(_));
    let lead = faults.iter().find(|fault| passes(fault)).or_else(|| faults.first())?.clone();
    let (Fault::Throttled(message)
    | Fault::Unavailable(message)
    | Fault::Rejected(message)
    | Fault::Misconfigured(message)
    | Fault::Pending(message)) = &lead;
    let others = faults.iter().filter(|fault| **fault != lead).map(|fault| format!("; {fault}"));
    let message: String = std::iter::once(message.clone()).chain(others).collect();
    Some(match lead {
        Fault::Throttled(_) => Fault::Throttled(message),
        Fault::Unavailable(_) => Fault::Unavailable(message),
        Fault::Rejected(_) => Fault::Rejected(message),
        Fault::Misconfigured(_) => Fault::Misconfigured(message),
        Fault::Pending(_) => Fault::Pending(message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_passes_comes_first_and_all_are_named() {
        let rejected = || Fault::Rejected("target jira: status 400".to_owned());
        let unavailable = || Fault::Unavailable("target slack: status 500".to_owned());
        assert_eq!(together(&[]), None);
        assert_eq!(together(&[rejected()]), Some(rejected()));
        let both = "target slack: status 500; rejected: target jira: status 400".to_owned();
        assert_eq!(together(&[rejected(), unavailable()]), Some(Fault::Unavailable(both)));
    }
}
