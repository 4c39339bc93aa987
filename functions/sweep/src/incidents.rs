//! Incidents that are worked on: whether somebody really does.

use playbook::{
    Fault, Timestamp,
    decision::{DUE_WAKE, Round},
    incident::{self, DUE_OPEN, Incident, IncidentStatus, Run},
    ports::Machines,
    rows::{Commit, Condition, Row, Rows, Write},
    waking,
};
use serde_json::{Value, json};
use tracing::error;

use crate::Done;

/// Starts an execution that nobody has started, and marks an incident as failed whose execution is gone without an end;
/// otherwise looks again later, and says how old it is in seconds. The index may be late: the row decides.
pub async fn look(
    rows: &impl Rows,
    machines: &impl Machines,
    row: &Row,
    now: Timestamp,
) -> Result<(Done, usize), Fault> {
    let Some(row) = rows.get(&row.key).await? else { return Ok((Done::Nothing, 0)) };
    let incident: Incident = row.read()?;
    if incident.due_kind.as_deref() != Some(DUE_OPEN) || incident.due_at.is_none_or(|at| at > now) {
        return Ok((Done::Nothing, 0));
    }
    if !matches!(incident.status, IncidentStatus::Open | IncidentStatus::Waiting) {
        let ended = incident::unwatch(unless_changed(&incident, &json!({}))?);
        let _: Commit = rows.commit(&[ended]).await?;
        return Ok((Done::Nothing, 0));
    }
    if incident.started_at.is_none() {
        waking::start_run(rows, machines, &incident, now).await?;
        return Ok((Done::Started, 0));
    }
    let (id, run) = (&incident.incident_id, incident.run);
    let execution = Run::load(rows, id, run).await?.execution.unwrap_or_else(|| id.execution_name(run));
    let is_gone = machines.is_running(incident.machine(), &execution).await? == Some(false);
    // What was decided is carried out by the next run, which the sweep of decided rounds starts.
    if is_gone && !Round::all(rows, id, run).await?.iter().any(|round| round.due_kind.as_deref() == Some(DUE_WAKE)) {
        return Ok((lose(rows, &incident, now).await?, 0));
    }
    let later = incident::watch(unless_changed(&incident, &json!({}))?, now);
    let _: Commit = rows.commit(&[later]).await?;
    let age_seconds = usize::try_from(now.ms_since(incident.received_at) / 1_000).unwrap_or(0);
    Ok((Done::Nothing, age_seconds))
}

/// The incident has failed: it stays visible, and whoever was asked can still decide.
async fn lose(rows: &impl Rows, incident: &Incident, now: Timestamp) -> Result<Done, Fault> {
    let failed = json!({"status": IncidentStatus::Failed, "failure": "no living execution", "updated_at": now});
    let failed = incident::unwatch(unless_changed(incident, &failed)?);
    if rows.commit(&[failed]).await? == Commit::Conflict {
        return Ok(Done::Nothing);
    }
    error!(incident.id = %incident.incident_id, run = incident.run, "no living execution; the incident waits for a person");
    Ok(Done::Lost)
}

/// A write to the incident's row, unless it has moved on.
fn unless_changed(incident: &Incident, document: &Value) -> Result<Write, Fault> {
    Ok(Write::set(Incident::key(&incident.incident_id), document)?
        .only_if(Condition::Is("run", incident.run.into()))
        .only_if(Condition::Is("status", json!(incident.status))))
}
