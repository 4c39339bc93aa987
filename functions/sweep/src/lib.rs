//! `sweep`: what is past its time: review rounds, decisions that woke nobody, ledger entries. Stateless, every minute.

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    decision::{Choice, DUE_DEADLINE, DUE_WAKE, Decision, OPEN, Round},
    ledger::{self, DUE_EXPIRY, LedgerEntry},
    mail, notice,
    ports::{Clock, Entropy, Evidence, Machines, Outbox},
    rows::{Commit, Row, Rows},
    served,
    waking::{self, Waking},
};
use serde::{Deserialize, Serialize};
use tracing::{error, info};

/// Rows of each kind that one sweep looks at; the next minute takes the next ones.
const BATCH: usize = 100;

/// From the schedule; its content does not matter.
#[derive(Debug, Default, Deserialize)]
pub struct Input {}

/// What was past its time.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Rounds that ended without a decision.
    pub ended: usize,
    /// Executions that were woken, or restarted with the decision.
    pub woken: usize,
    /// Entries that left a target.
    pub expired: usize,
    /// Rows that could not be handled and stay due.
    pub failed: usize,
}

/// Handles everything that is due; one row that fails does not hold up the others. Safe to run at the same time twice.
pub async fn run(
    evidence: &impl Evidence,
    rows: &impl Rows,
    machines: &impl Machines,
    outbox: &impl Outbox,
    (clock, entropy): (&impl Clock, &impl Entropy),
    _input: Input,
) -> Result<Output, Fault> {
    let now = clock.now();
    let mut output = Output::default();
    for row in rows.due(DUE_DEADLINE, now, BATCH).await? {
        count(end_round(rows, &row, now).await, &mut output.ended, &mut output.failed);
    }
    // Rounds that have just ended are among these.
    for row in rows.due(DUE_WAKE, now, BATCH).await? {
        let woken = wake(evidence, rows, machines, outbox, entropy, &row, now).await;
        count(woken, &mut output.woken, &mut output.failed);
    }
    for row in rows.due(DUE_EXPIRY, now, BATCH).await? {
        count(expire(evidence, rows, &row, now).await, &mut output.expired, &mut output.failed);
    }
    info!(ended = output.ended, woken = output.woken, expired = output.expired, failed = output.failed, "swept");
    Ok(output)
}

fn count(result: Result<bool, Fault>, done: &mut usize, failed: &mut usize) {
    match result {
        Ok(true) => *done += 1,
        Ok(false) => {}
        Err(fault) => {
            error!(fault = fault.name(), "a row stays due: {fault}");
            *failed += 1;
        }
    }
}

/// Ends a round that nobody decided in time: nothing is enforced by that. The index may be late: the row decides.
async fn end_round(rows: &impl Rows, row: &Row, now: Timestamp) -> Result<bool, Fault> {
    let Some(row) = rows.get(&row.key).await? else { return Ok(false) };
    let round: Round = row.read()?;
    if round.state != OPEN || round.deadline > now {
        return Ok(false);
    }
    let decision = Decision {
        schema: Decision::SCHEMA.to_owned(),
        choice: Choice::TimedOut,
        last: round.last,
        by: String::new(),
        authenticated_by: "nobody".to_owned(),
        at: now,
        from: String::new(),
        reason: "nobody decided in time".to_owned(),
        shown_digest: round.shown_digest.clone(),
        plan_digest: round.plan_digest.clone(),
        indicators: vec![],
    };
    // A conflict means that somebody decided in the last moment: that decision stands.
    Ok(rows.commit(&decision.writes(&round, now)?).await? == Commit::Done)
}

/// Wakes an execution that nobody has woken. Of a round that timed out the people who were asked are told first.
async fn wake(
    evidence: &impl Evidence,
    rows: &impl Rows,
    machines: &impl Machines,
    outbox: &impl Outbox,
    entropy: &impl Entropy,
    row: &Row,
    now: Timestamp,
) -> Result<bool, Fault> {
    let round: Round = row.read()?;
    let (id, run) = (&round.incident_id, round.run);
    let decision = Decision::load(rows, id, run, round.round).await?;
    if decision.is_some_and(|decision| decision.choice == Choice::TimedOut)
        && let Err(fault) = tell_expired(evidence, rows, outbox, entropy, &round, now).await
    {
        error!(incident.id = %id, fault = fault.name(), "end of the round not told: {fault}");
    }
    let waking = waking::wake(rows, machines, id, run, round.round, now).await?;
    Ok(waking != Waking::NotYet)
}

async fn tell_expired(
    evidence: &impl Evidence,
    rows: &impl Rows,
    outbox: &impl Outbox,
    entropy: &impl Entropy,
    round: &Round,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(assessment) = Assessment::load(evidence, rows, &round.incident_id, round.run).await? else {
        return Ok(());
    };
    for address in &round.asked {
        let mail = mail::expired(address, &assessment, round)?;
        let of = (&round.incident_id, round.run, round.round, "expired");
        notice::send_once(rows, outbox, entropy, of, &mail, now).await?;
    }
    Ok(())
}

/// Takes an entry whose time is over out of its target.
async fn expire(evidence: &impl Evidence, rows: &impl Rows, row: &Row, now: Timestamp) -> Result<bool, Fault> {
    let entry: LedgerEntry = row.read()?;
    // The list first: it leaves out what is past its time, and an entry that stays due is tried again.
    served::render(rows, evidence, entry.observable.kind(), now).await?;
    ledger::expire(rows, &entry.target, &entry.observable, now).await
}

#[cfg(test)]
mod tests {
    use playbook::{
        decision::Question,
        fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, StoppedClock},
        incident::Run,
        rows::Write,
    };

    use super::*;

    struct World {
        rows: MemoryRows,
        evidence: MemoryEvidence,
        machines: MemoryMachines,
        outbox: MemoryOutbox,
        clock: StoppedClock,
        round: Round,
    }

    /// An open round of the sample incident, an hour before its deadline.
    async fn world() -> World {
        let assessment = playbook::brief::sample::assessment().unwrap();
        let round = playbook::brief::sample::round(&assessment, Question::ApprovePlan).unwrap();
        let (rows, evidence) = (MemoryRows::default(), MemoryEvidence::default());
        let json = serde_json::to_vec(&assessment).unwrap();
        let document = evidence.store("assessment.json", "application/json", &json).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        let (id, number) = (&round.incident_id, round.run);
        let writes = [
            Write::put(Run::key(id, number), &run).unwrap(),
            Write::put(Round::key(id, number, round.round), &round).unwrap(),
        ];
        assert_eq!(rows.commit(&writes).await.unwrap(), Commit::Done);
        let clock = StoppedClock::at(round.deadline.plus_minutes(-1));
        World { rows, evidence, machines: MemoryMachines::default(), outbox: MemoryOutbox::default(), clock, round }
    }

    async fn sweep(world: &World) -> Output {
        let (clock, entropy) = (&world.clock, &CountingEntropy::default());
        run(&world.evidence, &world.rows, &world.machines, &world.outbox, (clock, entropy), Input {}).await.unwrap()
    }

    async fn decision(world: &World) -> Option<Decision> {
        let round = &world.round;
        Decision::load(&world.rows, &round.incident_id, round.run, round.round).await.unwrap()
    }

    #[tokio::test]
    async fn a_round_ends_at_its_deadline_and_not_before() {
        let world = world().await;
        assert_eq!(sweep(&world).await, Output::default());
        world.clock.advance_minutes(1);
        assert_eq!(sweep(&world).await, Output { ended: 1, woken: 1, ..Output::default() });
        let decision = decision(&world).await.unwrap();
        assert_eq!((decision.choice, decision.last), (Choice::TimedOut, world.round.last));
        assert!(decision.indicators.is_empty(), "a time-out approves nothing");
        assert_eq!(world.outbox.mails.borrow().len(), world.round.asked.len());
        assert_eq!(sweep(&world).await, Output::default(), "nobody is told or woken twice");
        assert_eq!(world.machines.woken.borrow().len(), 1);
    }

    #[tokio::test]
    async fn a_decision_in_the_last_moment_stands_and_its_execution_is_woken() {
        let world = world().await;
        let decided = Decision {
            schema: Decision::SCHEMA.to_owned(),
            choice: Choice::Approved,
            last: false,
            by: "ana@soc.example".to_owned(),
            authenticated_by: "mailbox".to_owned(),
            at: world.clock.now(),
            from: String::new(),
            reason: "seen".to_owned(),
            shown_digest: world.round.shown_digest.clone(),
            plan_digest: world.round.plan_digest.clone(),
            indicators: vec![],
        };
        let writes = decided.writes(&world.round, world.clock.now()).unwrap();
        assert_eq!(world.rows.commit(&writes).await.unwrap(), Commit::Done);
        world.clock.advance_minutes(5);
        assert_eq!(sweep(&world).await, Output { woken: 1, ..Output::default() });
        assert_eq!(decision(&world).await.unwrap().choice, Choice::Approved);
        assert!(world.outbox.mails.borrow().is_empty());
    }
}
