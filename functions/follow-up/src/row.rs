//! The row of a lookup moves on: put off, held, or over. Each move is one commit, and only from where the row was read.

use playbook::{
    Fault, Timestamp,
    outcome::Outcome,
    pending::{LateOutcome, PendingLookup},
    ports::Queue,
    rows::{Commit, Condition, Rows, Write},
};
use tracing::error;

use crate::Followed;

/// The longest that a lookup is left alone which nobody has named a time for.
const PATIENCE_MAX_MS: i64 = 3_600_000;

/// How long a lookup is left alone which nobody has named a time for: a quarter of the time that it has waited, at least this
/// many seconds and at most an hour.
pub fn patience_ms(lookup: &PendingLookup, at_least_seconds: i64, now: Timestamp) -> i64 {
    (now.ms_since(lookup.since) / 4).clamp(at_least_seconds.saturating_mul(1_000), PATIENCE_MAX_MS)
}

/// The row waits until `try_at`, then its message comes again. The row first: `sweep` makes up for a message that is not sent.
pub async fn put_off(
    rows: &impl Rows,
    queue: &impl Queue,
    before: &PendingLookup,
    mut next: PendingLookup,
    try_at: Timestamp,
    now: Timestamp,
) -> Result<Followed, Fault> {
    next.put_off(try_at, now);
    if rows.commit(&[moved(before, &next)?]).await? == Commit::Conflict {
        return Ok(Followed::Old);
    }
    if let Err(fault) = next.announce(queue, now).await {
        error!(incident.id = %next.incident_id, fault = fault.name(), "message to follow up was not sent: {fault}");
    }
    Ok(Followed::PutOff)
}

/// The row stays where people see it, and nobody looks at it any more.
pub async fn hold(
    rows: &impl Rows,
    before: &PendingLookup,
    mut next: PendingLookup,
    why: String,
) -> Result<Followed, Fault> {
    error!(incident.id = %next.incident_id, provider.id = next.provider, "not opened again: {why}");
    next.held = Some(why);
    next.due_kind = None;
    next.due_at = None;
    let _: Commit = rows.commit(&[moved(before, &next)?]).await?;
    Ok(Followed::Old)
}

/// The lookup is over: what became of it stays, its row goes.
pub async fn end(
    rows: &impl Rows,
    lookup: &PendingLookup,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Followed, Fault> {
    let gone = Write::delete(lookup.own_key());
    if let Some(late) = late(lookup, outcome, None, now) {
        let kept = Write::put(late.own_key(), &late)?.only_if(Condition::Absent);
        if rows.commit(&[kept, gone.clone()]).await? == Commit::Done {
            return Ok(Followed::Over);
        }
    }
    // It is kept already: by the commit that opened the next run, or by another delivery.
    let _: Commit = rows.commit(&[gone]).await?;
    Ok(Followed::Over)
}

/// What is kept of a lookup that is over.
pub fn late(lookup: &PendingLookup, outcome: &Outcome, opened_run: Option<u32>, now: Timestamp) -> Option<LateOutcome> {
    Some(LateOutcome {
        schema: LateOutcome::SCHEMA.to_owned(),
        incident_id: lookup.incident_id.clone(),
        run: lookup.run,
        about: lookup.observable.clone()?,
        outcome: outcome.clone(),
        at: now,
        opened_run,
    })
}

fn moved(before: &PendingLookup, next: &PendingLookup) -> Result<Write, Fault> {
    let was_read = Condition::Is("try_at", before.try_at.to_string().into());
    Ok(Write::put(before.own_key(), next)?.only_if(was_read))
}
