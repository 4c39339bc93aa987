//! `admit`: dedupes what came in, pins the policy and starts the execution.

use playbook::{
    Fault, IncidentId, Timestamp,
    incident::{ForeignExecution, INTAKE_SCHEMA, Incident, IncidentStatus, Intake, Kind},
    ports::{Clock, Machines},
    rows::{Commit, Condition, Rows, Write},
    waking,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, info};

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
    /// The ones that failed.
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

/// Admits every message of the batch; one that fails does not hold up the others. Safe to run again.
pub async fn run(
    rows: &impl Rows,
    machines: &impl Machines,
    clock: &impl Clock,
    config_digest: &str,
    input: Input,
) -> Result<Output, Fault> {
    let mut failures = vec![];
    for message in input.records {
        match admit(rows, machines, clock.now(), config_digest, &message.body).await {
            Ok(incident) => info!(incident.id = %incident, "admitted"),
            Err(fault) => {
                error!(fault = fault.name(), message.id, "not admitted: {fault}");
                failures.push(Failure { id: message.id });
            }
        }
    }
    Ok(Output { failures })
}

async fn admit(
    rows: &impl Rows,
    machines: &impl Machines,
    now: Timestamp,
    config_digest: &str,
    body: &str,
) -> Result<String, Fault> {
    let intake: Intake =
        serde_json::from_str(body).map_err(|error| Fault::Rejected(format!("not an intake message: {error}")))?;
    if intake.schema != INTAKE_SCHEMA {
        return Err(Fault::Rejected(format!("schema is {:?}, this version reads {INTAKE_SCHEMA:?}", intake.schema)));
    }
    if intake.kind == Kind::ExecutionEnded {
        return record_ending(rows, now, &intake).await;
    }
    let incident = open(rows, now, config_digest, intake).await?;
    // The row decides, not the execution's name: without `started_at` it is started again.
    if incident.started_at.is_none() {
        // Five deliveries at once start under one name: Step Functions takes one of them.
        waking::start_run(rows, machines, &incident, now).await?;
    }
    Ok(incident.incident_id.to_string())
}

/// The incident's row: made for new work, read for a redelivery.
async fn open(rows: &impl Rows, now: Timestamp, config_digest: &str, intake: Intake) -> Result<Incident, Fault> {
    let evidence = intake.evidence.ok_or_else(|| Fault::Rejected("the message names no evidence".to_owned()))?;
    let incident = Incident {
        schema: Incident::SCHEMA.to_owned(),
        incident_id: IncidentId::of(&intake.tenant, &intake.source, &intake.native_id),
        tenant: intake.tenant,
        kind: intake.kind,
        source: intake.source,
        native_id: intake.native_id,
        severity: intake.severity,
        evidence,
        received_at: intake.received_at,
        config_digest: config_digest.to_owned(),
        status: IncidentStatus::Open,
        run: 1,
        started_at: None,
        route: None,
        result: None,
        failure: None,
        updated_at: now,
    };
    let write = Write::put(Incident::key(&incident.incident_id), &incident)?.only_if(Condition::Absent);
    match rows.commit(&[write]).await? {
        Commit::Done => Ok(incident),
        Commit::Conflict => Incident::load(rows, &incident.incident_id).await,
    }
}

/// The second net: an execution that ended badly without the machine having recorded it.
async fn record_ending(rows: &impl Rows, now: Timestamp, intake: &Intake) -> Result<String, Fault> {
    let name = intake.native_id.rsplit(':').next().unwrap_or_default();
    let Some((id, run)) = ForeignExecution::find(rows, name).await? else {
        return Ok(format!("none: {name} has reached no incident"));
    };
    let status = intake.status.as_deref().unwrap_or("ended");
    let failed = json!({"status": "failed", "failure": format!("execution {status}"), "updated_at": now});
    for standing in ["open", "waiting"] {
        let write = Write::set(Incident::key(&id), &failed)?
            .only_if(Condition::Is("run", run.into()))
            .only_if(Condition::Is("status", standing.into()));
        if rows.commit(&[write]).await? == Commit::Done {
            error!(incident.id = %id, run, "execution {status}; the incident waits for a person");
            break;
        }
    }
    Ok(id.to_string())
}

#[cfg(test)]
mod tests {
    use playbook::fakes::{MemoryMachines, MemoryRows, StoppedClock};

    use super::*;

    struct World {
        rows: MemoryRows,
        machines: MemoryMachines,
        clock: StoppedClock,
    }

    fn world() -> World {
        World {
            rows: MemoryRows::default(),
            machines: MemoryMachines::default(),
            clock: StoppedClock::at(Timestamp::from_millis(1_800_000_000_000)),
        }
    }

    fn mail(key: &str) -> String {
        json!({
            "schema": "intake/1", "kind": "mail", "tenant": "default", "source": "mail", "native_id": format!("b/{key}/1"),
            "severity": "low", "evidence": {"key": key, "version_id": "1"}, "received_at": "2026-11-24T05:00:00.000Z"
        })
        .to_string()
    }

    async fn deliver(world: &World, bodies: &[String]) -> Vec<String> {
        let records = bodies.iter().enumerate().map(|(n, body)| Message { id: format!("m{n}"), body: body.clone() });
        let input = Input { records: records.collect() };
        let output = run(&world.rows, &world.machines, &world.clock, &"a".repeat(64), input).await.unwrap();
        output.failures.into_iter().map(|failure| failure.id).collect()
    }

    #[tokio::test]
    async fn five_redeliveries_start_one_execution() {
        let world = world();
        for _ in 0..5 {
            assert!(deliver(&world, &[mail("mail/a")]).await.is_empty());
        }
        assert_eq!(world.machines.started.borrow().len(), 1);
        assert_eq!(world.rows.all().len(), 1);
    }

    #[tokio::test]
    async fn a_row_that_was_not_started_is_started_by_the_redelivery() {
        let world = world();
        deliver(&world, &[mail("mail/a")]).await;
        let id = IncidentId::of("default", "mail", "b/mail/a/1");
        let unstarted = Write::set(Incident::key(&id), &json!({})).unwrap().removing(&["started_at"]);
        assert_eq!(world.rows.commit(&[unstarted]).await.unwrap(), Commit::Done);
        deliver(&world, &[mail("mail/a")]).await;
        assert!(Incident::load(&world.rows, &id).await.unwrap().started_at.is_some());
    }

    #[tokio::test]
    async fn a_poison_message_does_not_hold_up_the_others() {
        let world = world();
        let failed = deliver(&world, &[mail("mail/a"), "{not json".to_owned(), mail("mail/b")]).await;
        assert_eq!(failed, ["m1"]);
        assert_eq!(world.machines.started.borrow().len(), 2);
    }

    #[tokio::test]
    async fn an_aborted_execution_is_recorded_and_a_closed_incident_is_left_alone() {
        let world = world();
        deliver(&world, &[mail("mail/a")]).await;
        let id = IncidentId::of("default", "mail", "b/mail/a/1");
        let ended = json!({
            "schema": "intake/1", "kind": "execution_ended", "tenant": "default", "source": "step-functions",
            "native_id": format!("arn:aws:states:us-east-1:000000000000:execution:x-playbook:{}", id.execution_name(1)),
            "severity": "low", "evidence": null, "received_at": "2026-11-24T05:00:00Z", "status": "ABORTED"
        })
        .to_string();
        assert!(deliver(&world, std::slice::from_ref(&ended)).await.is_empty());
        let incident = Incident::load(&world.rows, &id).await.unwrap();
        assert_eq!(incident.status, IncidentStatus::Failed);
        assert_eq!(incident.failure.as_deref(), Some("execution ABORTED"));

        // One that was started by hand is found by its row.
        playbook::incident::update(&world.rows, &id, &json!({"status": "waiting"})).await.unwrap();
        let by_hand = ForeignExecution { schema: ForeignExecution::SCHEMA.to_owned(), incident_id: id.clone(), run: 1 };
        let row = Write::put(ForeignExecution::key("by-hand"), &by_hand).unwrap();
        assert_eq!(world.rows.commit(&[row]).await.unwrap(), Commit::Done);
        let other = ended.replace(&id.execution_name(1), "by-hand");
        assert!(deliver(&world, &[other]).await.is_empty());
        assert_eq!(Incident::load(&world.rows, &id).await.unwrap().status, IncidentStatus::Failed);

        playbook::incident::update(&world.rows, &id, &json!({"status": "closed"})).await.unwrap();
        assert!(deliver(&world, &[ended]).await.is_empty());
        assert_eq!(Incident::load(&world.rows, &id).await.unwrap().status, IncidentStatus::Closed);
    }
}
