//! Watching an execution: each state as it is done, with the time it took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{local::Stack, term};

/// How long a stage may take here before something must be wrong.
const PATIENCE: Duration = Duration::from_mins(3);

/// What has been shown of an execution so far.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    is_shown: bool,
    seen: usize,
    entered: BTreeMap<String, f64>,
}

impl Watch {
    /// The clock starts now.
    #[must_use]
    pub fn new(is_shown: bool) -> Self {
        Self { begun: Instant::now(), is_shown, seen: 0, entered: BTreeMap::new() }
    }

    /// Seconds since the mail came to the door.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The mail lies at the S3 door.
    pub fn at_the_door(&mut self, key: &str) {
        self.begun = Instant::now();
        self.say("mail", &format!("at the S3 door: {key}"));
    }

    /// Another execution of the same incident is watched from now on.
    pub fn starts_over(&mut self) {
        self.seen = 0;
        self.entered.clear();
    }

    /// The analyst has decided.
    pub fn decided(&self, approver: &str, choice: &str) {
        self.say("review", &format!("{approver} has decided on the page: {choice}"));
    }

    /// Shows the states until a person is asked (true) or the execution has ended (false).
    pub async fn until_asked_or_ended(&mut self, stack: &Stack, execution: &str) -> Result<bool> {
        let begun = Instant::now();
        loop {
            let ended = self.look(stack, execution).await?;
            if ended {
                return Ok(false);
            }
            if is_asked(stack, execution).await? {
                self.look(stack, execution).await?;
                return Ok(true);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{execution} neither asks nor ends; its last state is {}", self.last());
            }
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
    }

    /// Shows the states until the execution has ended, which it does soon: somebody has decided.
    pub async fn until_ended_soon(&mut self, stack: &Stack, execution: &str) -> Result<()> {
        match tokio::time::timeout(PATIENCE, self.until_ended(stack, execution)).await {
            Ok(ended) => ended,
            Err(_) => bail!("{execution} does not end after the decision; its last state is {}", self.last()),
        }
    }

    /// Shows the states until the execution has ended.
    pub async fn until_ended(&mut self, stack: &Stack, execution: &str) -> Result<()> {
        while !self.look(stack, execution).await? {
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
        Ok(())
    }

    /// Shows what is new; true when the execution has ended.
    async fn look(&mut self, stack: &Stack, execution: &str) -> Result<bool> {
        // The status first: what it says has happened is then in the history.
        let Some(now) = stack.execution(execution).await? else { return Ok(false) };
        let events = stack.history(execution).await?;
        let fresh = events.get(self.seen..).unwrap_or_default().to_vec();
        self.seen = events.len();
        for event in &fresh {
            self.note(event);
        }
        Ok(now.status != "RUNNING")
    }

    fn note(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let name = |details: &str| event[details]["name"].as_str().unwrap_or_default().to_owned();
        if kind.ends_with("StateEntered") {
            let name = name("stateEnteredEventDetails");
            self.entered.insert(name, event["timestamp"].as_f64().unwrap_or_default());
        } else if kind.ends_with("StateExited") {
            let name = name("stateExitedEventDetails");
            let left = event["timestamp"].as_f64().unwrap_or_default();
            let took = self.entered.get(&name).map_or(0.0, |entered| left - entered);
            if kind.starts_with("Task") || kind.starts_with("Map") {
                self.say(&name, &format!("{took:.1} s  {}", meaning(&name)));
            }
        }
    }

    fn last(&self) -> &str {
        let latest = self.entered.iter().max_by(|a, b| a.1.total_cmp(b.1));
        latest.map_or("none", |(name, _)| name)
    }

    fn say(&self, what: &str, text: &str) {
        if self.is_shown {
            term::line(&format!("  {}  {what:14}  {text}", term::dim(&format!("{:6.1} s", self.seconds()))));
        } else {
            term::progress(&format!("{what}: {text}"));
        }
    }
}

/// Whether the execution waits behind a question.
async fn is_asked(stack: &Stack, execution: &str) -> Result<bool> {
    let Some((id, run)) = playbook::IncidentId::from_execution_name(execution) else { return Ok(false) };
    let rounds = stack.rows(&format!("incident#{id}"), &format!("round#{run}#")).await?;
    Ok(rounds.iter().any(|round| round["state"] == "open" && round["task_token"].is_string()))
}

/// What a state does, for somebody who sees it for the first time.
fn meaning(state: &str) -> &'static str {
    match state {
        "Extract" => "every indicator in the mail, and where it was found",
        "Enrich" => "every source asked about them",
        "EnrichChunks" => "all chunks done",
        "Assess" => "verdicts, severity, plan, route",
        "Record" => "what blocks nothing written at once: threat databases, watchlists",
        "OpenTicket" => "the ticket opened with its severity raised, the channel told",
        "EnforceAutomatically" => "what policy lets act without asking, for twelve hours",
        "PrepareReview" => "the question written, a link mailed to each approver",
        "AwaitDecision" => "waited for a person",
        "ReadDecision" => "the decision row read",
        "Enforce" => "what was approved written to the block lists",
        "Release" => "whatever this incident wrote taken back",
        "Close" => "ticket and incident closed, everybody told",
        "MarkFailed" => "the failure noted in the incident",
        _ => "",
    }
}
