//! `follow-up`: lookups that had to wait or came late. Asks for what is still to come, and opens an incident again when a
//! late answer changes a verdict.

mod ask;
mod late;
mod recheck;
mod row;

use std::time::Duration;

use futures::future::join_all;
use playbook::{
    Fault, Timestamp,
    cache::{Leases, Quotas, Verdicts},
    incident::{Incident, IncidentStatus},
    pending::{EVERY_PROVIDER, FollowUp, PendingLookup},
    ports::{Clock, Egress, Evidence, Machines, Queue, Secrets},
    rows::{Key, Row, Rows},
    waking,
};
use serde::{Deserialize, Serialize};
use sources::list::Lists;
use tokio::time::Instant;
use tracing::{debug, error, info};

/// What is kept back of the invocation's time, to save what was learned and to start a run.
pub const RESERVE: Duration = Duration::from_secs(5);

/// A batch from the follow-up queue, as SQS hands it on.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// At most ten.
    #[serde(rename = "Records")]
    pub records: Vec<Message>,
}

/// One message of the batch.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// SQS's id, for the answer.
    #[serde(rename = "messageId")]
    pub id: String,
    /// A message to follow up (`follow-up/1`).
    pub body: String,
}

/// Which messages stay in the queue. After five receives SQS moves one to the dead-letter queue, where an alarm sees it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Output {
    /// The ones that failed.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<Failure>,
}

/// A message that stays in the queue.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Failure {
    /// SQS's id.
    #[serde(rename = "itemIdentifier")]
    pub id: String,
}

/// The ports that the function uses.
#[derive(Debug)]
pub struct World<'a, R, E, V, Q, S, C, G, L, U, M> {
    /// The record.
    pub rows: &'a R,
    /// The evidence bucket.
    pub evidence: &'a E,
    /// What asking uses; its clock is the function's.
    pub sources: sources::World<'a, V, Q, S, C, G, L>,
    /// The queue of lookups to follow up.
    pub queue: &'a U,
    /// The state machines.
    pub machines: &'a M,
}

/// What is known of one invocation.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The account that the function runs in.
    pub account: &'a str,
    /// Lambda's id of the request: two deliveries of one message are two askers.
    pub request_id: &'a str,
    /// The time that is left.
    pub remaining: Duration,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// Its row is gone, has moved on, or is held.
    Old,
    /// It came early, and was sent again.
    Early,
    /// The lookup is put off.
    PutOff,
    /// The lookup or the look again is over, and its row is gone.
    Over,
    /// The incident's next run was started.
    Reopened(u32),
}

/// Follows up every message of the batch; one that fails does not hold up the others. Safe to run again and at the same time
/// twice: the row decides, and who loses a race for it leaves the rest to the winner.
pub async fn run(
    world: &World<
        '_,
        impl Rows,
        impl Evidence,
        impl Verdicts + Leases,
        impl Quotas,
        impl Secrets,
        impl Clock,
        impl Egress,
        impl Lists,
        impl Queue,
        impl Machines,
    >,
    call: Call<'_>,
    input: Input,
) -> Result<Output, Fault> {
    let deadline = Instant::now() + call.remaining.saturating_sub(RESERVE);
    let followed = input.records.into_iter().map(|message| async move {
        let followed = world.follow(call, deadline, &message).await;
        (message.id, followed)
    });
    let mut failures = vec![];
    for (id, followed) in join_all(followed).await {
        match followed {
            Ok(followed) => debug!(message.id = id, "followed up: {followed:?}"),
            Err(fault) => {
                error!(fault = fault.name(), message.id = id, "not followed up: {fault}");
                failures.push(Failure { id });
            }
        }
    }
    Ok(Output { failures })
}

impl<R, E, V, Q, S, C, G, L, U, M> World<'_, R, E, V, Q, S, C, G, L, U, M>
where
    R: Rows,
    E: Evidence,
    V: Verdicts + Leases,
    Q: Quotas,
    S: Secrets,
    C: Clock,
    G: Egress,
    L: Lists,
    U: Queue,
    M: Machines,
{
    async fn follow(&self, call: Call<'_>, deadline: Instant, message: &Message) -> Result<Followed, Fault> {
        let told: FollowUp = serde_json::from_str(&message.body)
            .map_err(|error| Fault::Rejected(format!("not a message to follow up: {error}")))?;
        if told.schema != FollowUp::SCHEMA {
            let schema = &told.schema;
            return Err(Fault::Rejected(format!("schema is {schema:?}, this version reads {:?}", FollowUp::SCHEMA)));
        }
        let found = self.rows.get(&Key::new(told.pk, told.sk)).await?;
        let Some(lookup) = found.as_ref().map(Row::read::<PendingLookup>).transpose()? else {
            return Ok(Followed::Old);
        };
        let now = self.sources.clock.now();
        if lookup.held.is_some() {
            return Ok(Followed::Old);
        }
        if lookup.try_at > now {
            // Of a row that has moved on another message is under way, or `sweep` will send one.
            if told.try_at.is_some_and(|at| at != lookup.try_at) {
                return Ok(Followed::Old);
            }
            lookup.announce(self.queue, now).await?;
            return Ok(Followed::Early);
        }
        let followed = if lookup.provider == EVERY_PROVIDER {
            recheck::look_again(self.rows, self.evidence, self.machines, self.queue, &lookup, now).await?
        } else {
            self.try_again(call, deadline, &message.id, &lookup).await?
        };
        if let Followed::Reopened(run) = followed {
            info!(incident.id = %lookup.incident_id, run, provider.id = lookup.provider, "opened again");
        }
        Ok(followed)
    }
}

/// Starts a run that was raised and not started: whoever raised it was killed before.
async fn finish_opening(
    rows: &impl Rows,
    machines: &impl Machines,
    incident: &Incident,
    now: Timestamp,
) -> Result<bool, Fault> {
    let is_unstarted = incident.started_at.is_none() && incident.status == IncidentStatus::Open;
    if is_unstarted {
        waking::start_run(rows, machines, incident, now).await?;
    }
    Ok(is_unstarted)
}

#[cfg(test)]
mod tests;
