//! Asks the named people by mail, and waits behind a task token.

mod effect;
mod prepare;
mod wait;

use std::fmt;

use playbook::{
    Fault, IncidentId,
    ports::{Clock, Entropy, Evidence, Machines, Outbox},
    rows::Rows,
};
use serde::{Deserialize, Serialize};

/// From the machine: `PrepareReview` asks, `AwaitDecision` waits. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Input {
    /// Opens the round and mails everybody who is asked.
    Prepare {
        /// The incident.
        incident_id: IncidentId,
        /// Its run.
        run: u32,
        /// The round, from 1.
        round: u32,
    },
    /// Keeps the token behind which the execution waits.
    Await {
        /// The incident.
        incident_id: IncidentId,
        /// Its run.
        run: u32,
        /// The round.
        round: u32,
        /// What wakes the execution.
        task_token: TaskToken,
    },
}

/// A task token; prints as `***`, because whoever has it can wake the execution.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct TaskToken(pub String);

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// To the machine.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// Of `prepare`.
    Asked {
        /// The round that is open now.
        round: u32,
        /// How many people are asked in it; 0 when nobody may decide, and the deadline passes.
        asked: usize,
    },
    /// Of `await`: the answer is the token's, later.
    Waiting {},
}

/// What is read once, at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the page is served, such as `https://review.soc.example`; with or without a slash at the end.
    pub public_base_url: String,
}

/// What the stage works with.
#[derive(Debug)]
pub struct World<'a, E, R, O, M, C, N> {
    /// Assessments and bundles.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The way mails go out.
    pub outbox: &'a O,
    /// The state machine.
    pub machines: &'a M,
    /// The time.
    pub clock: &'a C,
    /// Randomness for link secrets.
    pub entropy: &'a N,
    /// What was read at start.
    pub settings: &'a Settings,
    /// The account of this function, from its ARN: the bundle's doors depend on it.
    pub account: &'a str,
}

/// Asks, or waits. Safe to run again: a retry keeps the round and its deadline, and mails nobody twice.
pub async fn run(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    input: Input,
) -> Result<Output, Fault> {
    match input {
        Input::Prepare { incident_id, run, round } => {
            // Boxed here and below, so that the type of the whole future stays small enough for the compiler.
            Box::pin(prepare::prepare(world, incident_id, run, round)).await
        }
        Input::Await { incident_id, run, round, task_token } => {
            Box::pin(wait::wait(world.rows, world.machines, &incident_id, run, round, &task_token.0)).await?;
            Ok(Output::Waiting {})
        }
    }
}
