//! Whether a condition failed on our own earlier write, whose answer was lost, or on another's.

use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use playbook::{Fault, rows::Commit};

use super::item::Item;
use crate::{commit_id, faults::by_code};

/// DynamoDB answers every cancelled transaction with it.
const BAD_REQUEST: u16 = 400;

/// What became of a single write whose condition failed on `old`. Only the id tells our own write: two writers may well
/// write the same document.
pub fn judge_one(old: Option<&Item>, id: Option<&str>) -> Commit {
    let is_ours =
        old.zip(id).is_some_and(|(old, id)| old.get(commit_id::NAME) == Some(&AttributeValue::S(id.to_owned())));
    if is_ours { Commit::Done } else { Commit::Conflict }
}

/// What became of a transaction that was cancelled for these reasons. A repeated call of our own is not among them: the
/// service knows it by its token.
pub fn judge_all(reasons: &[CancellationReason]) -> Result<Commit, Fault> {
    if reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        return Ok(Commit::Conflict);
    }
    let reason = reasons.iter().find(|reason| !matches!(reason.code(), None | Some("None")));
    let code = reason.and_then(CancellationReason::code).unwrap_or("unknown");
    let message = reason.and_then(CancellationReason::message).unwrap_or_default();
    Err(by_code(code, BAD_REQUEST, format!("dynamodb TransactWriteItems: {code} {message}")))
}
