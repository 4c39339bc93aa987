//! Parked lookups: their time comes near, or the message that should have come for them was lost.

use playbook::{
    Fault, Timestamp,
    pending::PendingLookup,
    ports::Queue,
    rows::{Commit, Condition, Row, Rows, Write},
};
use serde_json::json;

/// Sends the message that makes `follow-up` look at a lookup of `DUE_PARKED`; true if it was sent. Safe to run at the same time
/// twice, and to be killed anywhere: until the lookup moves on, the row falls due again.
pub async fn requeue(rows: &impl Rows, queue: &impl Queue, row: &Row, now: Timestamp) -> Result<bool, Fault> {
    // The index may be late: the row decides.
    let Some(row) = rows.get(&row.key).await? else { return Ok(false) };
    let lookup: PendingLookup = row.read()?;
    let Some(due_at) = lookup.due_at.filter(|at| lookup.due_kind.is_some() && *at <= now) else { return Ok(false) };
    let mut next = lookup.clone();
    next.put_off(lookup.try_at, now);
    let write = Write::set(row.key, &json!({ "due_at": next.due_at }))?
        .only_if(Condition::Is("due_at", due_at.to_string().into()));
    if rows.commit(&[write]).await? == Commit::Conflict {
        return Ok(false);
    }
    next.announce(queue, now).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use playbook::{
        IncidentId,
        fakes::{MemoryQueue, MemoryRows},
        pending::{DUE_PARKED, FollowUp},
    };

    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
    }

    async fn parked(rows: &MemoryRows, wait_minutes: i64) -> PendingLookup {
        let id = IncidentId::of("default", "mail", "1");
        let lookup = PendingLookup::recheck(&id, 1, now(), now().plus_minutes(wait_minutes));
        let write = Write::put(lookup.own_key(), &lookup).unwrap();
        assert_eq!(rows.commit(&[write]).await, Ok(Commit::Done));
        lookup
    }

    /// A sweep at this minute; how many messages it sent.
    async fn sweep(rows: &MemoryRows, queue: &MemoryQueue, minute: i64) -> usize {
        let at = now().plus_minutes(minute);
        let mut sent = 0;
        for row in rows.due(DUE_PARKED, at, 100).await.unwrap() {
            sent += usize::from(requeue(rows, queue, &row, at).await.unwrap());
        }
        sent
    }

    #[tokio::test]
    async fn a_parked_lookup_has_its_message_when_its_time_comes_near_and_not_before() {
        let (rows, queue) = (MemoryRows::default(), MemoryQueue::default());
        let lookup = parked(&rows, 12 * 60).await;
        assert_eq!((sweep(&rows, &queue, 0).await, sweep(&rows, &queue, 709).await), (0, 0));
        assert_eq!((sweep(&rows, &queue, 710).await, sweep(&rows, &queue, 711).await), (1, 0));
        assert_eq!(*queue.delays.borrow(), [600]);
        let message: FollowUp = serde_json::from_str(&queue.messages.borrow()[0]).unwrap();
        assert_eq!((message.sk, message.try_at), (lookup.own_key().sk, Some(lookup.try_at)));
    }

    #[tokio::test]
    async fn a_message_that_was_lost_is_sent_again_until_the_lookup_moves_on() {
        let (rows, queue) = (MemoryRows::default(), MemoryQueue::default());
        let lookup = parked(&rows, 5).await;
        assert_eq!((sweep(&rows, &queue, 6).await, sweep(&rows, &queue, 7).await), (0, 1));
        assert_eq!((sweep(&rows, &queue, 8).await, sweep(&rows, &queue, 9).await), (0, 1));
        assert_eq!(*queue.delays.borrow(), [0, 0]);
        assert_eq!(rows.commit(&[Write::delete(lookup.own_key())]).await, Ok(Commit::Done));
        assert_eq!(sweep(&rows, &queue, 60).await, 0);
    }

    #[tokio::test]
    async fn two_sweeps_at_once_send_one_message_and_an_old_row_sends_none() {
        let (rows, queue) = (MemoryRows::default(), MemoryQueue::default());
        let lookup = parked(&rows, 5).await;
        let late = rows.due(DUE_PARKED, now().plus_minutes(7), 1).await.unwrap().remove(0);
        assert_eq!(requeue(&rows, &queue, &late, now().plus_minutes(7)).await, Ok(true));
        assert_eq!(requeue(&rows, &queue, &late, now().plus_minutes(7)).await, Ok(false));
        let held = PendingLookup { held: Some("enough".to_owned()), due_kind: None, due_at: None, ..lookup.clone() };
        assert_eq!(rows.commit(&[Write::put(lookup.own_key(), &held).unwrap()]).await, Ok(Commit::Done));
        assert_eq!(requeue(&rows, &queue, &late, now().plus_minutes(60)).await, Ok(false));
        assert_eq!(queue.messages.borrow().len(), 1);
    }
}
