//! `close`: records how it ended, closes the incident and its tickets, and tells everybody who was asked.

mod ending;
mod telling;

use std::collections::BTreeSet;

use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    decision::{Choice, Decision, Round},
    incident::{self, Incident, IncidentStatus, Refused, Run},
    outcome::Judgement,
    pending::PendingLookup,
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox, Secrets},
    rows::{Commit, Condition, Rows, Write},
    ticket::Ticket,
    verdict::{FalsePositive, PersonDecision, Precedent},
    waking,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;

use ending::Ending;

/// From any branch of the machine. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
}

/// How it ended.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Output {
    /// `closed` or `provisional`; `open` when the next run was started.
    pub status: IncidentStatus,
    /// One word, as in the incident's row.
    pub result: &'static str,
    /// For the metrics: how long people had it before them, from the first question to the decision.
    #[serde(skip)]
    pub review_seconds: Option<usize>,
    /// For the metrics: whether it is the one that only shows that the playbook lives.
    #[serde(skip)]
    pub is_canary: bool,
}

impl Output {
    /// What the dashboard and the alarms of the template read.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let ended = match self.result {
            "enforced" => "IncidentsEnforced",
            "false_positive" => "IncidentsFalsePositive",
            "acknowledged" => "IncidentsAcknowledged",
            "timed_out" => "IncidentsTimedOut",
            "watched" => "IncidentsWatched",
            "provisional" => "IncidentsProvisional",
            "no_observables" => "IncidentsWithoutObservables",
            "look_again" => "IncidentsLookedAtAgain",
            _ => "IncidentsNotMalicious",
        };
        let waited = self.review_seconds.map(|seconds| ("ReviewWaitSeconds", seconds));
        [(ended, 1), ("CanariesClosed", usize::from(self.is_canary))].into_iter().chain(waited)
    }
}

/// What the stage works with.
#[derive(Debug)]
pub struct World<'a, E, R, M, O, C, N, S, G> {
    /// Assessments and configurations.
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
    /// The targets' secrets.
    pub secrets: &'a S,
    /// The way out.
    pub egress: &'a G,
    /// The account of this function, from its ARN: the bundle's doors depend on it.
    pub account: &'a str,
}

/// What is known when a run is closed.
struct Closing {
    incident: Incident,
    assessment: Option<Assessment>,
    /// The rounds of this run, in order.
    rounds: Vec<Round>,
    decision: Option<Decision>,
    /// What of the plan was refused after it was made.
    refused: Vec<Refused>,
    ending: Ending,
}

/// Closes the incident by its decision row, or by its route when nobody was asked. Safe to run again.
///
/// Where it has tickets, the result is recorded first, and the incident is closed only after they say the same. A ticket
/// system that fails makes the stage fail under its fault's name: the machine tries again while that may help, and after it
/// marks the incident as failed, with its result in the row and the reason beside it. So neither does a ticket system keep
/// an incident open for ever, nor is a ticket that says the wrong thing left behind in silence.
pub async fn run(
    world: &World<
        '_,
        impl Evidence,
        impl Rows,
        impl Machines,
        impl Outbox,
        impl Clock,
        impl Entropy,
        impl Secrets,
        impl Egress,
    >,
    input: Input,
) -> Result<Output, Fault> {
    let (rows, now) = (world.rows, world.clock.now());
    let closing = Closing::load(world.evidence, rows, &input).await?;
    let Ending { status, result, .. } = closing.ending;
    let id = &closing.incident.incident_id;
    if let (Some(assessment), Some(decision)) = (&closing.assessment, &closing.decision) {
        remember(rows, assessment, decision).await?;
        telling::by_mail(rows, world.outbox, world.entropy, &closing, now).await;
    }
    if result == "look_again" {
        look_again(rows, world.machines, &closing.incident, input.run, now).await?;
        return Ok(closing.output());
    }
    let has_tickets = !Ticket::all(rows, id).await?.is_empty();
    if has_tickets || status == IncidentStatus::Provisional {
        let bundle = Bundle::load(world.evidence, &closing.incident.config_digest, world.account).await?;
        if status == IncidentStatus::Provisional {
            recheck(rows, &closing.incident, &bundle, now).await?;
        }
        if has_tickets {
            settle(rows, &input, &json!({ "result": result, "updated_at": now }), false).await?;
            // Boxed, so that the type of the whole future stays small enough for the compiler.
            Box::pin(telling::by_ticket(world, &bundle, &closing)).await?;
        }
    }
    settle(rows, &input, &json!({ "status": status, "result": result, "updated_at": now }), true).await?;
    info!(incident.id = %id, result, "closed");
    Ok(closing.output())
}

impl Closing {
    fn output(&self) -> Output {
        let asked = self.rounds.iter().filter_map(|round| round.opened_at).min();
        let waited = self.decision.as_ref().zip(asked).map(|(decision, asked)| decision.at.ms_since(asked) / 1_000);
        Output {
            status: self.ending.status,
            result: self.ending.result,
            review_seconds: waited.and_then(|seconds| usize::try_from(seconds).ok()),
            is_canary: self.incident.source == "canary",
        }
    }

    async fn load(evidence: &impl Evidence, rows: &impl Rows, input: &Input) -> Result<Self, Fault> {
        let id = &input.incident_id;
        let incident = Incident::load(rows, id).await?;
        let assessment = Assessment::load(evidence, rows, id, input.run).await?;
        let rounds = rounds(rows, input).await?;
        let decision = last_word(rows, input, &rounds).await?;
        let ending = Ending::of(incident.route.as_deref(), assessment.as_ref(), decision.as_ref());
        if incident.run != input.run && ending.result != "look_again" {
            return Err(superseded(input));
        }
        let refused = Run::load(rows, id, input.run).await?.refused;
        Ok(Self { incident, assessment, rounds, decision, refused, ending })
    }
}

/// The last decision of the run that says what becomes of the incident. Where a playbook asks twice, silence in a later
/// round takes back nothing of what a person has decided before; an answer to an author's question settles nothing.
async fn last_word(rows: &impl Rows, input: &Input, rounds: &[Round]) -> Result<Option<Decision>, Fault> {
    let mut silence = None;
    for round in rounds.iter().rev() {
        match Decision::load(rows, &input.incident_id, input.run, round.round).await? {
            Some(decision) if decision.choice.settles() => return Ok(Some(decision)),
            Some(decision) if decision.choice == Choice::TimedOut => silence = silence.or(Some(decision)),
            // Handed on, an author's question, or the backstop of the await: nobody has decided this round.
            Some(_) | None => {}
        }
    }
    Ok(silence)
}

fn superseded(input: &Input) -> Fault {
    Fault::Rejected(format!("run {} is no longer the current run of {}", input.run, input.incident_id))
}

/// Writes how it ended; `is_over` when nobody works on it any more.
async fn settle(rows: &impl Rows, input: &Input, ended: &Value, is_over: bool) -> Result<(), Fault> {
    let write = Write::set(Incident::key(&input.incident_id), ended)?.only_if(Condition::Is("run", input.run.into()));
    let write = if is_over { incident::unwatch(write.removing(&["failure"])) } else { write };
    match rows.commit(&[write]).await? {
        Commit::Done => Ok(()),
        Commit::Conflict => Err(superseded(input)),
    }
}

/// So many runs look at an incident that stays without answers; then it stays provisional.
const RUNS_MAX: u32 = 4;

/// What was closed for want of answers is looked at again; a second call keeps the time of the first.
async fn recheck(rows: &impl Rows, incident: &Incident, bundle: &Bundle, now: Timestamp) -> Result<(), Fault> {
    if incident.run >= RUNS_MAX {
        info!(incident.id = %incident.incident_id, run = incident.run, "stays provisional: looked at often enough");
        return Ok(());
    }
    let at = now.plus_hours(i64::from(bundle.policy.follow_up.recheck_hours));
    let row = PendingLookup::recheck(&incident.incident_id, incident.run, now, at);
    let _: Commit = rows.commit(&[Write::put(row.own_key(), &row)?.only_if(Condition::Absent)]).await?;
    Ok(())
}

/// What a person decided rules for 90 days: approved indicators as malicious, a false positive's bad ones as benign; these
/// without end where the person said so.
async fn remember(rows: &impl Rows, assessment: &Assessment, decision: &Decision) -> Result<(), Fault> {
    let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
    for assessed in &assessment.observables {
        let observable = &assessed.sighted.observable;
        let verdict = match decision.choice {
            Choice::Approved if approved.contains(observable.key().as_str()) => Judgement::Malicious,
            Choice::Rejected if assessed.conclusion.is_bad() => Judgement::Benign,
            _ => continue,
        };
        let is_endless = decision.never_again && verdict == Judgement::Benign;
        let days = if is_endless { PersonDecision::DAYS_WITHOUT_END } else { PersonDecision::DAYS };
        let remembered = PersonDecision {
            verdict,
            by: decision.by.clone(),
            at: decision.at,
            expires_at: decision.at.plus_hours(24 * days),
        };
        let mut writes = vec![Write::put(PersonDecision::key(observable), &remembered)?];
        if verdict == Judgement::Benign {
            // Kept when the decision has long expired: what was a false positive twice is a precedent.
            let false_positive = FalsePositive::new(decision.at);
            writes.push(Write::put(Precedent::key(observable, &assessment.incident_id), &false_positive)?);
        }
        let _: Commit = rows.commit(&writes).await?;
    }
    Ok(())
}

/// Opens and starts the next run. A second call finds the run raised already and only makes sure that it is started.
async fn look_again(
    rows: &impl Rows,
    machines: &impl Machines,
    incident: &Incident,
    run: u32,
    now: Timestamp,
) -> Result<(), Fault> {
    if incident.run == run {
        let _: Option<u32> = waking::raise_run_anew(rows, incident, now).await?;
    }
    let incident = Incident::load(rows, &incident.incident_id).await?;
    if incident.started_at.is_none() {
        waking::start_run(rows, machines, &incident, now).await?;
    }
    info!(incident.id = %incident.incident_id, run = incident.run, "looks again");
    Ok(())
}

/// The rounds of this run, in order.
async fn rounds(rows: &impl Rows, input: &Input) -> Result<Vec<Round>, Fault> {
    let rows = rows.list(&format!("incident#{}", input.incident_id), &format!("round#{}#", input.run)).await?;
    let mut rounds = rows.iter().map(playbook::rows::Row::read).collect::<Result<Vec<Round>, Fault>>()?;
    rounds.sort_by_key(|round| round.round);
    Ok(rounds)
}

#[cfg(test)]
mod tests;
