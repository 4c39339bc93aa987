//! One entry at a target over https: looked for, written, looked at, and taken back.

use playbook::{
    Fault, Timestamp,
    ledger::{LedgerEntry, Written},
    ports::Egress,
    target::{Calls, Target},
};
use serde_json::{Value, json};

use crate::http::{Reply, Wire, call};

/// Why an entry was not written.
#[derive(Debug)]
pub struct NotWritten {
    /// What happened.
    pub fault: Fault,
    /// Whether something of it may be at the target all the same.
    pub may_be_there: bool,
}

/// Writes an entry and looks whether it arrived. `is_first`: nobody has tried before.
///
/// What is found with our marker is ours: an earlier try was killed after its write. What is found without it was there
/// before us.
pub async fn put(
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    entry: &LedgerEntry,
    is_first: bool,
    now: Timestamp,
) -> Result<Written, NotWritten> {
    let not_written = |may_be_there: bool| move |fault: Fault| NotWritten { fault, may_be_there };
    let calls = calls(target).map_err(not_written(false))?;
    let document = document(entry, now);
    if let Some(known) = look(wire, target, calls, &document).await.map_err(not_written(!is_first))? {
        return Ok(known);
    }
    let mut written = match call(wire, target, &calls.write, &document).await {
        Ok(Reply::Done { external_id, .. }) => Written { external_id, ..Written::default() },
        Ok(Reply::Duplicate { external_id }) => {
            let known = look(wire, target, calls, &document).await.map_err(not_written(true))?;
            let before_us = Written { external_id, pre_existing: true, ..Written::default() };
            return Ok(known.unwrap_or(before_us));
        }
        Ok(reply) => return Err(not_written(true)(unexpected(target, &reply))),
        // A definite no changes nothing there; silence may.
        Err(fault) => {
            let may_be_there = !is_first || matches!(fault, Fault::Unavailable(_));
            return Err(NotWritten { fault, may_be_there });
        }
    };
    written.dry_run = target.dry_run;
    if let Some(read_back) = calls.read_back.as_ref().filter(|_| !target.dry_run) {
        let mut document = document;
        if let Some(id) = &written.external_id {
            document["external_id"] = id.as_str().into();
        }
        match call(wire, target, read_back, &document).await.map_err(not_written(true))? {
            Reply::Found { external_id, .. } => written.external_id = written.external_id.or(external_id),
            Reply::NotFound => {
                let why = format!("target {} took the entry and does not show it", target.id);
                return Err(not_written(true)(Fault::Unavailable(why)));
            }
            reply => return Err(not_written(true)(unexpected(target, &reply))),
        }
    }
    Ok(written)
}

/// Takes an entry back. What is gone already, or is there without our marker, is left alone.
pub async fn take_back(
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    entry: &LedgerEntry,
    now: Timestamp,
) -> Result<(), Fault> {
    let calls = calls(target)?;
    let Some(undo) = &calls.undo else {
        return Err(Fault::Misconfigured(format!("target {}: calls.undo is missing", target.id)));
    };
    let mut document = document(entry, now);
    if entry.external_id.is_none() && calls.precheck.is_some() {
        match look(wire, target, calls, &document).await? {
            Some(Written { external_id: Some(id), pre_existing: false, .. }) => document["external_id"] = id.into(),
            Some(Written { pre_existing: false, .. }) => {}
            Some(_) | None => return Ok(()),
        }
    }
    match call(wire, target, undo, &document).await? {
        Reply::Done { .. } | Reply::Duplicate { .. } => Ok(()),
        reply => Err(unexpected(target, &reply)),
    }
}

/// Looks whether it is there; `None` when it is not, or when the target cannot be asked.
async fn look(
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    calls: &Calls,
    document: &Value,
) -> Result<Option<Written>, Fault> {
    let Some(precheck) = &calls.precheck else { return Ok(None) };
    match call(wire, target, precheck, document).await? {
        Reply::NotFound => Ok(None),
        Reply::Found { external_id, is_ours, .. } => {
            Ok(Some(Written { external_id, pre_existing: !is_ours, dry_run: false }))
        }
        reply => Err(unexpected(target, &reply)),
    }
}

fn calls(target: &Target) -> Result<&Calls, Fault> {
    target.calls.as_ref().ok_or_else(|| Fault::Misconfigured(format!("target {}: it has no calls", target.id)))
}

/// What the expressions see. Of an entry that is undone: the observable and its names, nothing of the incident.
fn document(entry: &LedgerEntry, now: Timestamp) -> Value {
    let mut document = match &entry.document {
        Some(Value::Object(members)) => members.clone(),
        _ => serde_json::Map::new(),
    };
    document.insert("observable".to_owned(), json!(entry.observable));
    document.insert("now".to_owned(), json!(now));
    if let Some(id) = &entry.external_id {
        document.insert("external_id".to_owned(), id.as_str().into());
    }
    Value::Object(document)
}

fn unexpected(target: &Target, reply: &Reply) -> Fault {
    Fault::Misconfigured(format!("target {}: a call that looks and one that writes are mixed up: {reply:?}", target.id))
}
