//! The await: the token behind which the execution waits is kept in the round.

use playbook::{
    Fault, IncidentId,
    audit::{Entry, Event},
    decision::{DECIDED, OPEN, Round},
    incident,
    ports::{Clock, Entropy, Evidence, Machines, Outbox, Woken},
    rows::{Commit, Condition, Rows, Write},
    waking,
};
use serde_json::json;
use tracing::{error, info};

use crate::World;

/// Stores the token while the round is open; wakes it at once when the round is decided already.
pub async fn wait(
    rows: &impl Rows,
    machines: &impl Machines,
    id: &IncidentId,
    run: u32,
    round: u32,
    task_token: &str,
) -> Result<(), Fault> {
    let keep = |state: &'static str| {
        let write = Write::set(Round::key(id, run, round), &json!({ "task_token": task_token }));
        write.map(|write| write.only_if(Condition::Is("state", state.into())))
    };
    if rows.commit(&[keep(OPEN)?]).await? == Commit::Done {
        info!(stage = "request-review", incident.id = %id, run, round, "waits for a decision");
        return Ok(());
    }
    let Some(row) = Round::load(rows, id, run, round).await? else {
        return Err(Fault::Rejected(format!("there is no round {round} in run {run} of {id}")));
    };
    // Kept first: if the call below fails, the retry or `sweep` finds the newest token.
    let _ = rows.commit(&[keep(DECIDED)?]).await?;
    if machines.wake(task_token).await? == Woken::Yes {
        waking::clear(rows, &row).await?;
    }
    info!(stage = "request-review", incident.id = %id, run, round, "was decided before anybody waited");
    Ok(())
}

/// Says on the incident that the execution was woken and nothing was decided: whoever has a token can do that, and no more.
pub async fn warn(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    id: &IncidentId,
    run: u32,
    round: u32,
) -> Result<(), Fault> {
    let now = world.clock.now();
    let warning = format!("run {run} was woken at {now} without a decision: nothing was written for it");
    error!(stage = "request-review", incident.id = %id, run, round, "woken without a decision; waits on");
    let entry = Entry { detail: warning.clone(), ..Entry::of((id, run, round), Event::WokenWithoutDecision, now) };
    entry.add(world.rows, world.entropy).await?;
    incident::update(world.rows, id, &json!({ "warning": warning })).await
}
