//! `sweep`: what is past its time. Stateless, every minute; what it does not get done stays due.

mod incidents;
mod ledger;
mod parked;
mod rounds;
#[cfg(test)]
mod tests;
mod undelivered;

use std::cell::Cell;

use playbook::{
    Fault, Timestamp,
    decision::{DUE_DEADLINE, DUE_WAKE},
    incident::DUE_OPEN,
    pending::DUE_PARKED,
    ports::{Clock, Egress, Entropy, Evidence, IpSets, Machines, Outbox, Queue, Secrets},
    rows::{Row, Rows},
};
use serde::{Deserialize, Serialize};
use tracing::{error, info};

pub use undelivered::Undelivered;

/// Rows of each kind that one sweep looks at; the next minute takes the next ones.
const BATCH: usize = 100;

/// From the schedule, whose content does not matter, or from the rules for mails that did not arrive.
#[derive(Debug, Default, Deserialize)]
pub struct Input {
    /// A mail that did not arrive: then nothing else is looked at.
    #[serde(default)]
    pub undelivered: Option<Undelivered>,
}

/// What was past its time.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Rounds whose people were reminded.
    pub reminded: usize,
    /// Rounds that ended without a decision.
    pub ended: usize,
    /// Executions that were woken, or restarted with the decision.
    pub woken: usize,
    /// Entries that left a target.
    pub expired: usize,
    /// Entries that somebody had begun to write or to undo.
    pub finished: usize,
    /// Lookups that go on.
    pub requeued: usize,
    /// Executions that nobody had started.
    pub started: usize,
    /// Incidents whose execution is gone: a person must look.
    pub lost: usize,
    /// Mails that did not arrive, of which nobody had told before.
    pub undelivered: usize,
    /// Rows that could not be handled and stay due.
    pub failed: usize,
    /// For the metrics: of the mails that did not arrive, those that asked somebody who will not get them.
    #[serde(skip)]
    pub unreached: usize,
    /// For the metrics: decisions that the sweeps before could not bring to their execution.
    #[serde(skip)]
    pub not_woken: usize,
    /// For the metrics: age of the oldest incident that was looked at and is still worked on.
    #[serde(skip)]
    pub oldest_open_seconds: usize,
    /// For the metrics: entries whose undo failed.
    #[serde(skip)]
    pub releases_failed: usize,
}

impl Output {
    /// What the dashboard and the alarms of the template read; zeros too, every minute.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("DecisionsNotWoken", self.not_woken),
            ("OldestOpenSeconds", self.oldest_open_seconds),
            ("EntriesReleased", self.expired),
            ("ReleasesFailed", self.releases_failed),
            ("IncidentsLost", self.lost),
            ("PeopleNotReached", self.unreached),
        ]
        .into_iter()
    }
}

/// A decision that woke nobody for so long rings the alarm.
const NOT_WOKEN_MINUTES: i64 = 5;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Somebody else has done it, or it is not its time yet.
    Nothing,
    Reminded,
    Ended,
    Woken,
    Requeued,
    Started,
    Lost,
}

/// What the sweep works with.
#[derive(Debug)]
pub struct World<'a, E, R, M, O, C, N, Q, G, I, S> {
    /// Assessments, configurations and served lists.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The state machines.
    pub machines: &'a M,
    /// The way mails go out.
    pub outbox: &'a O,
    /// The time.
    pub clock: &'a C,
    /// Randomness for the names of owners.
    pub entropy: &'a N,
    /// Lookups that go on.
    pub follow_up: &'a Q,
    /// The way to the targets.
    pub egress: &'a G,
    /// IP sets of AWS WAF.
    pub ip_sets: &'a I,
    /// The targets' secrets.
    pub secrets: &'a S,
    /// The account of this function, from its ARN.
    pub account: &'a str,
}

/// Handles a mail that did not arrive, or everything that is due: neither a row nor a kind that fails holds up the others. Safe to run at the same time
/// twice. Fails when a kind could not be looked at at all.
pub async fn run(
    world: &World<
        '_,
        impl Evidence,
        impl Rows,
        impl Machines,
        impl Outbox,
        impl Clock,
        impl Entropy,
        impl Queue,
        impl Egress,
        impl IpSets,
        impl Secrets,
    >,
    input: Input,
) -> Result<Output, Fault> {
    let (rows, now) = (world.rows, world.clock.now());
    let post = rounds::Post { evidence: world.evidence, rows, outbox: world.outbox, entropy: world.entropy };
    let mut output = Output::default();
    if let Some(told) = input.undelivered {
        let noted = post.note(world.machines, &told, now).await?;
        (output.undelivered, output.unreached) = (noted.new, noted.unreached);
        (output.ended, output.woken) = (noted.ended, noted.woken);
        return Ok(output);
    }
    let oldest = Cell::new(0);
    // Rounds that have just ended are among those to be woken, and a run that is restarted is not lost.
    let kinds = [
        each(rows, DUE_DEADLINE, now, &mut output, async |row| post.pass(row, now).await).await,
        each(rows, DUE_WAKE, now, &mut output, async |row| post.wake(world.machines, row, now).await).await,
        each(rows, DUE_PARKED, now, &mut output, async |row| {
            let is_sent = parked::requeue(rows, world.follow_up, row, now).await?;
            Ok(if is_sent { Done::Requeued } else { Done::Nothing })
        })
        .await,
        each(rows, DUE_OPEN, now, &mut output, async |row| {
            let (done, age_seconds) = incidents::look(rows, world.machines, row, now).await?;
            oldest.set(oldest.get().max(age_seconds));
            Ok(done)
        })
        .await,
        // Last: targets may be slow.
        entries(world, &mut output).await,
    ];
    let overdue = rows.due(DUE_WAKE, now.plus_minutes(-NOT_WOKEN_MINUTES), BATCH).await;
    output.not_woken = overdue.map_or(0, |overdue| overdue.len());
    output.oldest_open_seconds = oldest.get();
    info!(
        reminded = output.reminded,
        ended = output.ended,
        woken = output.woken,
        expired = output.expired,
        finished = output.finished,
        requeued = output.requeued,
        started = output.started,
        lost = output.lost,
        failed = output.failed,
        "swept"
    );
    kinds.into_iter().collect::<Result<(), Fault>>().map(|()| output)
}

/// Handles the rows of one kind that are due.
async fn each(
    rows: &impl Rows,
    kind: &str,
    now: Timestamp,
    output: &mut Output,
    handle: impl AsyncFn(&Row) -> Result<Done, Fault>,
) -> Result<(), Fault> {
    let due = rows.due(kind, now, BATCH).await;
    for row in due.inspect_err(|fault| error!(due_kind = kind, fault = fault.name(), "not swept: {fault}"))? {
        match handle(&row).await {
            Ok(done) => output.count(done),
            Err(fault) => {
                error!(due_kind = kind, fault = fault.name(), "{} / {} stays due: {fault}", row.key.pk, row.key.sk);
                output.failed += 1;
            }
        }
    }
    Ok(())
}

impl Output {
    const fn count(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Reminded => self.reminded += 1,
            Done::Ended => self.ended += 1,
            Done::Woken => self.woken += 1,
            Done::Requeued => self.requeued += 1,
            Done::Started => self.started += 1,
            Done::Lost => self.lost += 1,
        }
    }
}

/// Takes entries out of their targets whose time is over, and finishes what was begun.
async fn entries(
    world: &World<
        '_,
        impl Evidence,
        impl Rows,
        impl Machines,
        impl Outbox,
        impl Clock,
        impl Entropy,
        impl Queue,
        impl Egress,
        impl IpSets,
        impl Secrets,
    >,
    output: &mut Output,
) -> Result<(), Fault> {
    let targets = targets::World {
        evidence: world.evidence,
        rows: world.rows,
        clock: world.clock,
        egress: world.egress,
        ip_sets: world.ip_sets,
        secrets: world.secrets,
        account: world.account,
    };
    let swept = ledger::sweep(&targets, BATCH).await;
    let swept = swept.inspect_err(|fault| error!(fault = fault.name(), "the ledger was not swept: {fault}"))?;
    output.expired += swept.expired;
    output.finished += swept.finished;
    output.failed += swept.failed;
    output.releases_failed = swept.failed;
    Ok(())
}
