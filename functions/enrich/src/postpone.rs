//! What is still to come when the stage ends: a row for each lookup, so that `follow-up` asks for it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, IncidentId, Timestamp,
    bundle::Bundle,
    incident::{Incident, Sighted},
    outcome::PENDING_SUBMITTED,
    pending::PendingLookup,
    ports::Queue,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};
use sources::Postponed;
use tracing::error;

/// Rows written at once.
const WRITES: usize = 16;

/// The lookups of one chunk that were put off, by the key of their row.
pub type Pending = BTreeMap<Key, PendingLookup>;

/// What earlier invocations of the run have put off.
pub async fn load(rows: &impl Rows, id: &IncidentId, run: u32) -> Result<Vec<PendingLookup>, Fault> {
    rows.list(&format!("incident#{id}"), &format!("pending#{run}#")).await?.iter().map(Row::read).collect()
}

/// That of this chunk.
pub fn of_chunk(lookups: Vec<PendingLookup>, chunk: &[Sighted]) -> Pending {
    let is_of_chunk = |row: &PendingLookup| {
        row.observable.as_ref().is_some_and(|about| chunk.iter().any(|s| s.observable.key() == about.key()))
    };
    lookups.into_iter().filter(is_of_chunk).map(|row| (row.own_key(), row)).collect()
}

/// What the sources have to know of them: who need not be asked yet.
pub fn before(pending: &Pending) -> Vec<Postponed> {
    let postponed = |row: &PendingLookup| {
        let observable = row.observable.clone().filter(|_| row.outcome.is_none())?;
        let (provider, reason, task) = (row.provider.clone(), row.reason.clone(), row.task.clone());
        Some(Postponed { provider, observable, reason, try_at: row.try_at, task })
    };
    pending.values().filter_map(postponed).collect()
}

/// Writes a row for each lookup that is still to come and deletes those of lookups that have ended; what is to be followed up
/// comes back. Each row says when `sweep` has to look after it: from here on a kill loses nothing.
pub async fn keep(
    rows: &impl Rows,
    (incident, run, bundle): (&Incident, u32, &Bundle),
    before: &Pending,
    postponed: &[Postponed],
    now: Timestamp,
) -> Result<Vec<PendingLookup>, Fault> {
    let mut kept = vec![];
    let mut writes = vec![];
    for lookup in postponed {
        let key = PendingLookup::key(&incident.incident_id, run, &lookup.provider, Some(&lookup.observable));
        let known = before.get(&key);
        let row = next(known, (incident, run, bundle), lookup, now);
        if known != Some(&row) {
            // Somebody else may have moved it on meanwhile; that is the later word.
            let condition =
                known.map_or(Condition::Absent, |known| Condition::Is("try_at", known.try_at.to_string().into()));
            writes.push(Write::put(key, &row)?.only_if(condition));
        }
        kept.push(row);
    }
    let is_over = |key: &Key| kept.iter().all(|row| row.own_key() != *key);
    writes.extend(before.keys().filter(|key| is_over(key)).cloned().map(Write::delete));
    let done = stream::iter(&writes).map(|write| rows.commit(std::slice::from_ref(write))).buffer_unordered(WRITES);
    let _: Vec<Commit> = done.try_collect().await?;
    Ok(kept)
}

fn next(
    known: Option<&PendingLookup>,
    (incident, run, bundle): (&Incident, u32, &Bundle),
    lookup: &Postponed,
    now: Timestamp,
) -> PendingLookup {
    let is_same =
        |row: &&PendingLookup| (&row.reason, row.try_at, &row.task) == (&lookup.reason, lookup.try_at, &lookup.task);
    if let Some(row) = known.filter(is_same) {
        return row.clone();
    }
    let since = known.map_or(now, |row| row.since);
    let mut row = PendingLookup {
        schema: PendingLookup::SCHEMA.to_owned(),
        incident_id: incident.incident_id.clone(),
        run,
        provider: lookup.provider.clone(),
        observable: Some(lookup.observable.clone()),
        reason: lookup.reason.clone(),
        task: lookup.task.clone(),
        since,
        try_at: lookup.try_at,
        give_up_at: give_up_at(bundle, lookup, since),
        outcome: None,
        held: None,
        due_kind: None,
        due_at: None,
    };
    row.put_off(lookup.try_at, now);
    row
}

/// A result is waited for as long as its manifest says, everything else as long as policy says.
fn give_up_at(bundle: &Bundle, lookup: &Postponed, since: Timestamp) -> Timestamp {
    let by_policy = since.plus_hours(i64::from(bundle.policy.follow_up.give_up_hours));
    let manifest = bundle.providers.get(&lookup.provider).filter(|_| lookup.reason == PENDING_SUBMITTED);
    let poll = manifest.and_then(|manifest| manifest.poll_for(&lookup.observable)).filter(|poll| poll.for_seconds > 0);
    poll.map_or(by_policy, |poll| by_policy.min(since.plus_ms(i64::from(poll.for_seconds).saturating_mul(1_000))))
}

/// Sends the messages. One that cannot be sent is made up for by `sweep`.
pub async fn announce(queue: &impl Queue, rows: &[PendingLookup], now: Timestamp) {
    let sent = stream::iter(rows).map(|row| row.announce(queue, now)).buffer_unordered(WRITES);
    let failed: Vec<Fault> = sent.filter_map(async |sent| sent.err()).collect().await;
    if let Some(fault) = failed.first() {
        error!(fault = fault.name(), count = failed.len(), "messages to follow up were not sent: {fault}");
    }
}
