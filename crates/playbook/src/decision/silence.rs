//! Silence: a round that ends without anybody's decision. Nothing is enforced by it.

use super::{Choice, Decision, Round};
use crate::{
    Fault, Timestamp,
    audit::{Entry, Event},
    ports::Entropy,
    rows::{Commit, Rows},
};

/// Ends an open round as timed out, for this reason. `Conflict`: somebody decided in the last moment, and that stands.
pub async fn end(
    rows: &impl Rows,
    entropy: &impl Entropy,
    round: &Round,
    reason: &str,
    now: Timestamp,
) -> Result<Commit, Fault> {
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
    rows.commit(&writes).await
}
