//! A look again at a whole incident that was closed for want of answers.

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    incident::{Incident, IncidentStatus},
    pending::PendingLookup,
    ports::{Evidence, Machines, Queue},
    rows::{Commit, Condition, Rows, Write},
    waking,
};

use crate::{Followed, finish_opening, row};

/// While the run still works, it is looked at again after at least so long.
const OPEN_SECONDS: i64 = 300;

/// Starts the next run, once, of an incident that is still as the run has left it: provisional, or closed with a verdict that
/// lacked an answer.
pub async fn look_again(
    rows: &impl Rows,
    evidence: &impl Evidence,
    machines: &impl Machines,
    queue: &impl Queue,
    lookup: &PendingLookup,
    now: Timestamp,
) -> Result<Followed, Fault> {
    let incident = Incident::load(rows, &lookup.incident_id).await?;
    let is_due = match incident.status {
        _ if incident.run > lookup.run => {
            // By us, if we were killed before it was started.
            finish_opening(rows, machines, &incident, now).await?;
            false
        }
        IncidentStatus::Provisional => true,
        IncidentStatus::Closed => lacks_answers(evidence, rows, &incident).await?,
        IncidentStatus::Open | IncidentStatus::Waiting => {
            let try_at = now.plus_ms(row::patience_ms(lookup, OPEN_SECONDS, now));
            return row::put_off(rows, queue, lookup, lookup.clone(), try_at, now).await;
        }
        IncidentStatus::Failed | IncidentStatus::Attached => false,
    };
    if is_due {
        let status = Condition::Is("status", serde_json::json!(incident.status));
        // Somebody who was faster has opened it, or closed it otherwise: the row tells at the next delivery.
        if rows.commit(&[waking::raising(&incident, now)?.only_if(status)]).await? == Commit::Conflict {
            return Err(Fault::Unavailable(format!("{} has moved on meanwhile", lookup.incident_id)));
        }
        let opened = Incident::load(rows, &lookup.incident_id).await?;
        finish_opening(rows, machines, &opened, now).await?;
    }
    let _: Commit = rows.commit(&[Write::delete(lookup.own_key())]).await?;
    Ok(if is_due { Followed::Reopened(incident.run.saturating_add(1)) } else { Followed::Over })
}

async fn lacks_answers(evidence: &impl Evidence, rows: &impl Rows, incident: &Incident) -> Result<bool, Fault> {
    let assessment = Assessment::load(evidence, rows, &incident.incident_id, incident.run).await?;
    Ok(assessment.is_some_and(|assessment| assessment.observables.iter().any(|seen| seen.conclusion.degraded)))
}
