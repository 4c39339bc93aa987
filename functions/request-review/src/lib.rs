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
use serde_json::Value;

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
        /// What an author asks, whom and for how long; absent: the playbook's own question.
        #[serde(default)]
        asks: Option<Value>,
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
        /// Whether it was woken before, and there was no decision.
        #[serde(default)]
        woken: bool,
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
    /// Whether people sign in at an issuer; otherwise one-time codes are mailed to them.
    pub signs_in: bool,
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
        Input::Prepare { incident_id, run, round, asks } => {
            // Boxed here and below, so that the type of the whole future stays small enough for the compiler.
            Box::pin(prepare::prepare(world, incident_id, run, round, asks)).await
        }
        Input::Await { incident_id, run, round, task_token, woken } => {
            if woken {
                wait::warn(world, &incident_id, run, round).await?;
            }
            Box::pin(wait::wait(world.rows, world.machines, &incident_id, run, round, &task_token.0)).await?;
            Ok(Output::Waiting {})
        }
    }
}
