//! The table of messages that were seen (`replay/1`): `replay#<source>#<digest of the id>` / `seen`.
//!
//! A row is made before a message is taken and marked when all of it lies on the queue. In between the same message is
//! taken again: whoever was killed there has lost nothing.

use playbook::{
    Fault, Timestamp, canonical,
    rows::{Commit, Condition, Key, Rows, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::TOLERANCE_SECONDS;

/// A row must outlive every moment at which its message could still be signed in time.
const KEPT_SECONDS: i64 = 3 * TOLERANCE_SECONDS;

#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    schema: String,
    body_sha256: String,
    received_at: Timestamp,
    pushed: bool,
    ttl: i64,
}

/// A message that may be taken.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    /// When it first came in.
    pub received_at: Timestamp,
}

/// Notes a message; `None` when it was taken before, or another one under the same id was seen.
pub async fn claim(
    rows: &impl Rows,
    source: &str,
    message: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<Claim>, Fault> {
    let key = Key::new(format!("replay#{source}#{}", canonical::sha256_hex(message.as_bytes())), "seen");
    let row = Seen {
        schema: "replay/1".to_owned(),
        body_sha256: canonical::sha256_hex(body),
        received_at: now,
        pushed: false,
        ttl: now.as_seconds().saturating_add(KEPT_SECONDS),
    };
    let write = Write::put(key.clone(), &row)?.only_if(Condition::Absent);
    if rows.commit(&[write]).await? == Commit::Done {
        return Ok(Some(Claim { key, received_at: now }));
    }
    let Some(found) = rows.get(&key).await? else {
        return Err(Fault::Unavailable("a message was forgotten while it was looked at".to_owned()));
    };
    let seen: Seen = found.read()?;
    let is_unfinished = !seen.pushed && seen.body_sha256 == row.body_sha256;
    Ok(is_unfinished.then_some(Claim { key, received_at: seen.received_at }))
}

/// All of the message lies on the queue.
pub async fn finish(rows: &impl Rows, claim: Claim) -> Result<(), Fault> {
    let write = Write::set(claim.key, &json!({ "pushed": true }))?.only_if(Condition::Present);
    // After a conflict the row has expired, and with it the time in which the message could come again.
    let (Commit::Done | Commit::Conflict) = rows.commit(&[write]).await?;
    Ok(())
}
