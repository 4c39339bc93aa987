//! Waking: what follows a decision. The execution is woken; where it is gone, the next run starts and inherits.

use serde_json::json;

use crate::{
    Fault, IncidentId, Timestamp,
    decision::{DECIDED, DUE_WAKE, Decision, Round},
    incident::{self, Incident, IncidentStatus, Run},
    ports::{Machines, Started, Woken},
    rows::{Commit, Condition, Rows, Write},
};

/// What became of a decided round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// The execution goes on; nothing is due any more.
    Done,
    /// The execution was gone; this run has been started and will inherit the decision.
    Restarted(u32),
    /// Nobody can be woken yet; `sweep` has to look again.
    NotYet,
}

/// Wakes the execution behind a decided round, or starts the next run when it is gone. Safe to run again.
///
/// Whoever decides calls this after the decision is written; `sweep` calls it for every row of [`DUE_WAKE`].
pub async fn wake(
    rows: &impl Rows,
    machines: &impl Machines,
    id: &IncidentId,
    run: u32,
    round: u32,
    now: Timestamp,
) -> Result<Waking, Fault> {
    let Some(row) = Round::load(rows, id, run, round).await? else {
        return Err(Fault::Rejected(format!("there is no round {round} in run {run} of {id}")));
    };
    if row.state != DECIDED || row.due_kind.as_deref() != Some(DUE_WAKE) {
        return Ok(Waking::Done);
    }
    if let Some(token) = &row.task_token
        && machines.wake(token).await? == Woken::Yes
    {
        clear(rows, &row).await?;
        return Ok(Waking::Done);
    }
    // Without a token the await is still to come, or the execution ended before it. A token that is gone was used, was
    // replaced by a retried await, or belongs to an execution that ended.
    let execution = Run::load(rows, id, run).await?.execution.unwrap_or_else(|| id.execution_name(run));
    let machine = Incident::load(rows, id).await?.machine().to_owned();
    match machines.is_running(&machine, &execution).await? {
        Some(true) if row.task_token.is_some() => {
            clear(rows, &row).await?;
            Ok(Waking::Done)
        }
        Some(true) | None => Ok(Waking::NotYet),
        Some(false) => restart(rows, machines, &row, now).await,
    }
}

/// The round waits for nobody any more.
pub async fn clear(rows: &impl Rows, round: &Round) -> Result<(), Fault> {
    let write = Write::set(Round::key(&round.incident_id, round.run, round.round), &json!({}))?
        .removing(&["due_kind", "due_at"])
        .only_if(Condition::Is("state", DECIDED.into()));
    let _ = rows.commit(&[write]).await?;
    Ok(())
}

async fn restart(rows: &impl Rows, machines: &impl Machines, round: &Round, now: Timestamp) -> Result<Waking, Fault> {
    let id = &round.incident_id;
    let incident = Incident::load(rows, id).await?;
    let decision = Decision::load(rows, id, round.run, round.round).await?;
    let nobody_decided = decision.is_none_or(|decision| decision.choice.asks_on());
    // An execution that a person has ended is not brought back by a time-out.
    let has_ended = matches!(incident.status, IncidentStatus::Closed | IncidentStatus::Provisional)
        || (incident.status == IncidentStatus::Failed && nobody_decided);
    if incident.run == round.run && !has_ended {
        let raised = raise_run(rows, &incident, now).await?;
        if raised.is_none() {
            return Ok(Waking::NotYet);
        }
    } else if has_ended || incident.run < round.run || incident.started_at.is_some() {
        // It ended after the decision, or a later run is under way; that one inherits or asks.
        clear(rows, round).await?;
        return Ok(Waking::Done);
    }
    let incident = Incident::load(rows, id).await?;
    start_run(rows, machines, &incident, now).await?;
    clear(rows, round).await?;
    Ok(Waking::Restarted(incident.run))
}

/// Opens the incident's next run, to be started by [`start_run`]; `None` when somebody else has raised the run meanwhile.
pub async fn raise_run(rows: &impl Rows, incident: &Incident, now: Timestamp) -> Result<Option<u32>, Fault> {
    Ok(match rows.commit(&[raising(incident, now)?]).await? {
        Commit::Done => Some(incident.run.saturating_add(1)),
        Commit::Conflict => None,
    })
}

/// The same where a person has asked to look again: the next run asks the sources anew.
pub async fn raise_run_anew(rows: &impl Rows, incident: &Incident, now: Timestamp) -> Result<Option<u32>, Fault> {
    let run = incident.run.saturating_add(1);
    let write = raising(incident, now)?.setting("asked_again", run.into());
    Ok(match rows.commit(&[write]).await? {
        Commit::Done => Some(run),
        Commit::Conflict => None,
    })
}

/// The write of [`raise_run`], for a commit that has conditions or writes of its own.
pub fn raising(incident: &Incident, now: Timestamp) -> Result<Write, Fault> {
    let run = incident.run.saturating_add(1);
    let write = Write::set(
        Incident::key(&incident.incident_id),
        &json!({ "run": run, "status": IncidentStatus::Open, "updated_at": now }),
    )?
    .removing(&["started_at", "failure", "result"])
    .only_if(Condition::Is("run", incident.run.into()));
    Ok(incident::watch(write, now))
}

/// Starts the execution of the incident's current run and notes that it was started; from then on `sweep` looks whether
/// it lives. Safe to run again.
pub async fn start_run(
    rows: &impl Rows,
    machines: &impl Machines,
    incident: &Incident,
    now: Timestamp,
) -> Result<(), Fault> {
    let name = incident.incident_id.execution_name(incident.run);
    match machines.start(incident.machine(), &name, &execution_input(incident)).await? {
        Started::New(_) | Started::Exists(_) => {}
    }
    let write = Write::set(Incident::key(&incident.incident_id), &json!({ "started_at": now, "updated_at": now }))?
        .only_if(Condition::Is("run", incident.run.into()));
    let _ = rows.commit(&[incident::watch(write, now)]).await?;
    Ok(())
}

/// What an execution is started with: the incident's identity and evidence.
#[must_use]
pub fn execution_input(incident: &Incident) -> String {
    json!({
        "incident_id": incident.incident_id, "run": incident.run, "evidence": incident.evidence, "kind": incident.kind,
        "tenant": incident.tenant, "source": incident.source, "native_id": incident.native_id,
        "severity": incident.severity, "received_at": incident.received_at,
    })
    .to_string()
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        brief::sample,
        decision::{Choice, Decision, Question},
        fakes::{MemoryMachines, MemoryRows},
        rows::Write,
    };

    struct Team {
        rows: MemoryRows,
        machines: MemoryMachines,
        id: IncidentId,
        now: Timestamp,
    }

    impl Team {
        /// An incident whose round is decided and not woken; the execution of run 1 runs or not.
        async fn decided(token: Option<&str>, is_gone: bool, is_running: bool) -> Self {
            let assessment = sample::assessment().unwrap();
            let mut round = sample::round(&assessment, Question::ApprovePlan).unwrap();
            round.task_token = token.map(str::to_owned);
            let id = assessment.incident_id.clone();
            let now = Timestamp::parse(sample::ASSESSED_AT).unwrap();
            let team = Self { rows: MemoryRows::default(), machines: MemoryMachines::default(), id, now };
            if is_gone {
                team.machines.gone.borrow_mut().extend(token.map(str::to_owned));
            }
            if is_running {
                team.machines.start("playbook", &team.id.execution_name(1), "").await.unwrap();
            }
            let incident = json!({
                "schema": "incident/1", "incident_id": team.id, "tenant": "default", "kind": "mail", "source": "mail",
                "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" }, "received_at": now,
                "config_digest": "", "status": "waiting", "run": 1, "started_at": now, "updated_at": now,
            });
            let decision = Decision {
                choice: Choice::Approved,
                by: sample::APPROVER.to_owned(),
                authenticated_by: "mailbox".to_owned(),
                reason: "bad".to_owned(),
                shown_digest: round.shown_digest.clone(),
                plan_digest: round.plan_digest.clone(),
                ..Decision::at(now)
            };
            let first = [
                Write::put(Incident::key(&team.id), &incident).unwrap(),
                Write::put(Round::key(&team.id, 1, 1), &round).unwrap(),
            ];
            assert_eq!(team.rows.commit(&first).await, Ok(Commit::Done));
            assert_eq!(team.rows.commit(&decision.writes(&round, now).unwrap()).await, Ok(Commit::Done));
            team
        }

        async fn wake(&self) -> Waking {
            wake(&self.rows, &self.machines, &self.id, 1, 1, self.now).await.unwrap()
        }

        async fn is_due(&self) -> bool {
            Round::load(&self.rows, &self.id, 1, 1).await.unwrap().unwrap().due_kind.is_some()
        }

        async fn set(&self, document: serde_json::Value) {
            incident::update(&self.rows, &self.id, &document).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_waiting_execution_is_woken_once() {
        let team = Team::decided(Some("token"), false, true).await;
        assert_eq!((team.wake().await, team.wake().await), (Waking::Done, Waking::Done));
        assert_eq!(*team.machines.woken.borrow(), ["token"]);
        assert!(!team.is_due().await);
    }

    #[tokio::test]
    async fn an_execution_that_goes_on_already_is_left_alone() {
        let team = Team::decided(Some("token"), true, true).await;
        assert_eq!(team.wake().await, Waking::Done);
        assert_eq!(team.machines.started.borrow().len(), 1);
        assert!(!team.is_due().await);
    }

    #[tokio::test]
    async fn an_await_that_is_still_to_come_is_waited_for() {
        let team = Team::decided(None, false, true).await;
        assert_eq!(team.wake().await, Waking::NotYet);
        assert!(team.is_due().await);
    }

    #[tokio::test]
    async fn an_execution_that_is_gone_is_followed_by_the_next_run_once() {
        for token in [Some("token"), None] {
            let team = Team::decided(token, true, false).await;
            assert_eq!((team.wake().await, team.wake().await), (Waking::Restarted(2), Waking::Done));
            let incident = Incident::load(&team.rows, &team.id).await.unwrap();
            assert_eq!((incident.run, incident.status, incident.started_at), (2, IncidentStatus::Open, Some(team.now)));
            assert_eq!(team.machines.started.borrow().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_time_out_does_not_bring_back_an_execution_that_a_person_has_ended() {
        let team = Team::decided(Some("token"), true, false).await;
        team.set(json!({"status": "failed", "failure": "execution ABORTED"})).await;
        let timed_out = json!({"choice": "timed_out"});
        let write = Write::set(Decision::key(&team.id, 1, 1), &timed_out).unwrap();
        assert_eq!(team.rows.commit(&[write]).await, Ok(Commit::Done));
        assert_eq!(team.wake().await, Waking::Done);
        assert!(team.machines.started.borrow().is_empty());
        assert!(!team.is_due().await);
    }

    #[tokio::test]
    async fn a_run_that_was_raised_and_not_started_is_started() {
        let team = Team::decided(Some("token"), true, false).await;
        let incident = Incident::load(&team.rows, &team.id).await.unwrap();
        assert_eq!(raise_run(&team.rows, &incident, team.now).await, Ok(Some(2)));
        assert_eq!(raise_run(&team.rows, &incident, team.now).await, Ok(None));
        assert_eq!(team.wake().await, Waking::Restarted(2));
        assert_eq!(team.machines.started.borrow()[0].0, team.id.execution_name(2));
    }

    #[tokio::test]
    async fn an_incident_that_is_closed_or_runs_anew_starts_nothing() {
        for document in [json!({ "status": "closed" }), json!({ "run": 2 })] {
            let team = Team::decided(Some("token"), true, false).await;
            team.set(document).await;
            assert_eq!(team.wake().await, Waking::Done);
            assert!(team.machines.started.borrow().is_empty());
            assert!(!team.is_due().await);
        }
    }
}
