//! Silence: a round that ends without anybody's decision. Nothing is enforced by it.

use super::{Choice, Decision, Round};
use crate::{
    Fault, Timestamp,
    audit::{Entry, Event},
    ports::Entropy,
    rows::{Commit, Rows, Write},
};

/// The writes that end an open round as timed out, for this reason, and put that on record.
pub fn silence(round: &Round, entropy: &impl Entropy, reason: &str, now: Timestamp) -> Result<Vec<Write>, Fault> {
    let decision = Decision {
        last: round.last,
        reason: reason.to_owned(),
        shown_digest: round.shown_digest.clone(),
        plan_digest: round.plan_digest.clone(),
        ..Decision::at(now)
    };
    let audited = Entry {
        choice: Choice::TimedOut.as_str().to_owned(),
        shown_digest: round.shown_digest.clone(),
        plan_digest: round.plan_digest.clone(),
        detail: reason.to_owned(),
        ..Entry::of((&round.incident_id, round.run, round.round), Event::TimedOut, now)
    };
    let mut writes = decision.writes(round, now)?;
    writes.push(audited.write(entropy)?);
    Ok(writes)
}

/// Ends an open round that nobody has decided in time. `Conflict`: somebody decided in the last moment, and that stands.
pub async fn end(rows: &impl Rows, entropy: &impl Entropy, round: &Round, now: Timestamp) -> Result<Commit, Fault> {
    rows.commit(&silence(round, entropy, "nobody decided in time", now)?).await
}
