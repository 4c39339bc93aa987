//! Whether a condition failed on our own earlier write, whose answer was lost, or on another's.

use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use playbook::{
    Fault,
    rows::{Change, Commit, Write},
};

use super::item::{self, Item};
use crate::{commit_id, faults::by_code};

/// DynamoDB answers every cancelled transaction with it.
const BAD_REQUEST: u16 = 400;

/// What became of a single write whose condition failed on `old`.
pub fn judge_one(write: &Write, old: Option<Item>, id: Option<&str>) -> Result<Commit, Fault> {
    let Some(old) = old else { return Ok(Commit::Conflict) };
    let is_ours = id.is_some_and(|id| old.get(commit_id::NAME) == Some(&AttributeValue::S(id.to_owned())));
    Ok(if is_ours || is_this_put(write, old)? { Commit::Done } else { Commit::Conflict })
}

/// What became of a transaction that was cancelled for these reasons, one per write.
///
/// It was done before when a put failed on exactly its own document and every other write that failed is done as well:
/// the transaction is atomic, so one identical document proves the rest.
pub fn judge_all(writes: &[Write], reasons: &[CancellationReason]) -> Result<Commit, Fault> {
    let is_failed = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    if !reasons.iter().any(is_failed) {
        let reason = reasons.iter().find(|reason| !matches!(reason.code(), None | Some("None")));
        let code = reason.and_then(CancellationReason::code).unwrap_or("unknown");
        let message = reason.and_then(CancellationReason::message).unwrap_or_default();
        return Err(by_code(code, BAD_REQUEST, format!("dynamodb TransactWriteItems: {code} {message}")));
    }
    let mut is_proved = false;
    for (write, reason) in writes.iter().zip(reasons).filter(|(_, reason)| is_failed(reason)) {
        let Some(old) = reason.item().filter(|item| !item.is_empty()).cloned() else {
            match write.change {
                Change::Delete => continue,
                _ => return Ok(Commit::Conflict),
            }
        };
        match &write.change {
            Change::Put(_) if is_this_put(write, old.clone())? => is_proved = true,
            Change::Set { .. } if is_set(write, old)? => {}
            _ => return Ok(Commit::Conflict),
        }
    }
    Ok(if is_proved { Commit::Done } else { Commit::Conflict })
}

fn is_this_put(write: &Write, old: Item) -> Result<bool, Fault> {
    match &write.change {
        Change::Put(attributes) => Ok(item::row(old)?.attributes == *attributes),
        _ => Ok(false),
    }
}

fn is_set(write: &Write, old: Item) -> Result<bool, Fault> {
    let Change::Set { set, remove, .. } = &write.change else { return Ok(false) };
    let old = item::row(old)?.attributes;
    Ok(set.iter().all(|(name, value)| old.get(name) == Some(value))
        && remove.iter().all(|name| !old.contains_key(*name)))
}
