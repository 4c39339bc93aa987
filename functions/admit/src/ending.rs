//! The second net: an execution that ended badly, whether or not the machine has recorded it.

use playbook::{
    Fault, IncidentId, Timestamp,
    incident::{ForeignExecution, Incident, IncidentStatus, Intake},
    ports::{Clock, Egress, Entropy, Evidence, Secrets},
    rows::{Commit, Condition, Rows, Write},
};
use serde_json::json;
use targets::ticket;
use tracing::{error, info};

/// Records how an execution ended in its incident, unless that has ended itself.
///
/// The incident and the run, when it stands failed and so needs a ticket: every delivery says so again, and the ticket is
/// opened once. `None` when there is nothing to be told: the execution reached no incident, or the incident is closed or
/// in a later run.
pub async fn record_ending(
    rows: &impl Rows,
    now: Timestamp,
    intake: &Intake,
) -> Result<Option<(IncidentId, u32)>, Fault> {
    let name = intake.native_id.rsplit(':').next().unwrap_or_default();
    let Some((id, run)) = ForeignExecution::find(rows, name).await? else {
        info!(execution = name, "an execution that has reached no incident has ended");
        return Ok(None);
    };
    let status = intake.status.as_deref().unwrap_or("ended");
    let failed = json!({"status": IncidentStatus::Failed, "failure": format!("execution {status}"), "updated_at": now});
    for standing in [IncidentStatus::Open, IncidentStatus::Waiting] {
        let write = Write::set(Incident::key(&id), &failed)?
            .only_if(Condition::Is("run", run.into()))
            .only_if(Condition::Is("status", json!(standing)));
        if rows.commit(&[write]).await? == Commit::Done {
            error!(incident.id = %id, run, "execution {status}; the incident waits for a person");
            return Ok(Some((id, run)));
        }
    }
    let Some(row) = rows.get(&Incident::key(&id)).await? else { return Ok(None) };
    let incident: Incident = row.read()?;
    let stands_failed = incident.status == IncidentStatus::Failed && incident.run == run;
    Ok(stands_failed.then_some((id, run)))
}

/// Says in the incident's tickets that the machine failed on it, and opens them where there are none; once, however often
/// it is delivered.
pub async fn tell(
    evidence: &impl Evidence,
    tickets: &ticket::World<'_, impl Rows, impl Clock, impl Egress, impl Secrets, impl Entropy>,
    account: &str,
    id: &IncidentId,
) -> Result<(), Fault> {
    let incident = Incident::load(tickets.rows, id).await?;
    let reason = incident.failure.as_deref().unwrap_or("the execution ended");
    ticket::failed(tickets, evidence, account, &incident, reason).await?;
    Ok(())
}
