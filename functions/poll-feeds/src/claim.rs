//! Whose turn it is: of two invocations at once one fetches a feed, and one that was killed blocks it for minutes only.

use playbook::{
    Fault, Timestamp,
    intake::FeedState,
    rows::{Commit, Condition, Row, Rows, Write},
};
use serde_json::Value;
use tracing::debug;

/// A claim is over after so many minutes: longer than any invocation lives.
const CLAIM_MINUTES: i64 = 16;

/// A feed that is ours to fetch.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The feed.
    pub id: String,
    /// What is known of it.
    pub state: FeedState,
}

/// Takes the feed, if its time has come or somebody asked for it; `None` when it has not, or when another one has it.
pub(crate) async fn claim(
    rows: &impl Rows,
    id: &str,
    now: Timestamp,
    is_asked_for: bool,
) -> Result<Option<Claimed>, Fault> {
    let row = rows.get(&FeedState::key(id)).await?;
    let state: FeedState = row.as_ref().map(Row::read).transpose()?.unwrap_or_default();
    if state.next_at.is_some_and(|next_at| next_at > now) && !is_asked_for {
        return Ok(None);
    }
    let taken = FeedState {
        schema: FeedState::SCHEMA.to_owned(),
        next_at: Some(now.plus_minutes(CLAIM_MINUTES)),
        revision: state.revision + 1,
        ..state
    };
    let unchanged = if row.is_some() { is_revision(taken.revision - 1) } else { Condition::Absent };
    match rows.commit(&[Write::put(FeedState::key(id), &taken)?.only_if(unchanged)]).await? {
        Commit::Done => Ok(Some(Claimed { id: id.to_owned(), state: taken })),
        Commit::Conflict => Ok(None),
    }
}

/// Writes what is known of the feed now and ends the claim. Where the claim was over and another one has the feed, its
/// word counts.
pub(crate) async fn settle(rows: &impl Rows, claimed: &Claimed, state: FeedState) -> Result<(), Fault> {
    let revision = claimed.state.revision;
    let state = FeedState { revision: revision + 1, ..state };
    let write = Write::put(FeedState::key(&claimed.id), &state)?.only_if(is_revision(revision));
    if rows.commit(&[write]).await? == Commit::Conflict {
        debug!(feed.id = %claimed.id, "another one has fetched the feed meanwhile");
    }
    Ok(())
}

fn is_revision(revision: u64) -> Condition {
    Condition::Is("revision", Value::from(revision))
}
