//! `update-databases`: writes approved indicators through the ledger, and releases them.

mod caps;

use std::collections::BTreeSet;

use ioc::{Observable, ObservableType};
use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    decision::{Choice, Decision},
    guard::Guard,
    incident::{Incident, Refused, Run},
    ledger::{self, Claim},
    plan::Entry,
    ports::{Clock, Evidence},
    rows::{Rows, Write},
    served,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::info;

/// From the decision.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// What to do.
    pub act: Act,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The round whose decision is carried out.
    pub round: u32,
}

/// What this stage can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Write what the decision approves.
    Enforce,
    /// Take back everything that this incident wrote.
    Release,
}

/// How many entries.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Written, or there already and claimed.
    pub written: usize,
    /// Approved and yet refused: guarded, or over a cap.
    pub refused: usize,
    /// Taken back.
    pub released: usize,
}

/// Carries out a decision. Acts set a state, so running again changes nothing.
pub async fn run(
    evidence: &impl Evidence,
    rows: &impl Rows,
    clock: &impl Clock,
    account: &str,
    input: Input,
) -> Result<Output, Fault> {
    let now = clock.now();
    let incident = Incident::load(rows, &input.incident_id).await?;
    let bundle = Bundle::load(evidence, &incident.config_digest, account).await?;
    let output = match input.act {
        Act::Enforce => enforce(evidence, rows, now, &bundle, &input).await?,
        Act::Release => release(evidence, rows, now, &input).await?,
    };
    info!(
        incident.id = %input.incident_id,
        written = output.written, refused = output.refused, released = output.released,
        "updated databases"
    );
    Ok(output)
}

/// Writes what the decision row approves, and nothing else: not what the callback says, and not a plan that has changed.
async fn enforce(
    evidence: &impl Evidence,
    rows: &impl Rows,
    now: Timestamp,
    bundle: &Bundle,
    input: &Input,
) -> Result<Output, Fault> {
    let decision = Decision::load(rows, &input.incident_id, input.run, input.round).await?;
    let decision = decision.filter(|decision| decision.choice == Choice::Approved);
    let decision = decision.ok_or_else(|| Fault::Rejected("nobody has approved this round".to_owned()))?;
    let assessment = Assessment::load(evidence, rows, &input.incident_id, input.run).await?;
    let assessment = assessment.ok_or_else(|| Fault::Rejected("the run has no assessment".to_owned()))?;
    if decision.plan_digest != assessment.plan.digest()? {
        return Err(Fault::Rejected("the plan is not the one that was approved".to_owned()));
    }
    let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
    let mut output = Output::default();
    let mut refusals = vec![];
    let mut admitted: Vec<&Entry> = vec![];
    let hosts = bundle.hosts();
    let guard = Guard::new(&bundle.policy, &hosts);
    for entry in assessment.plan.entries.iter().filter(|entry| approved.contains(entry.observable.key().as_str())) {
        // The guard refuses here too: the plan is only a document.
        let guarded = guard.check(&entry.observable).map(|guarded| guarded.reason);
        match entry.refused.clone().or(guarded) {
            Some(reason) => refusals.push((entry, reason)),
            None => admitted.push(entry),
        }
    }
    let (admitted, over) = caps::admit(rows, &bundle.policy.enforce.caps, admitted, now).await?;
    refusals.extend(over);
    for entry in &admitted {
        let claim = Claim {
            incident_id: input.incident_id.clone(),
            expires_at: now.plus_hours(i64::from(entry.lifetime_hours)),
            approved_by: decision.by.clone(),
        };
        let _: ledger::Claimed = ledger::claim(rows, &entry.target, &entry.observable, &claim, now).await?;
        output.written += 1;
    }
    output.refused = refusals.len();
    render(evidence, rows, now, admitted.iter().map(|entry| &entry.observable)).await?;
    note_refusals(rows, input, &refusals).await?;
    Ok(output)
}

/// Takes back what any run of this incident wrote.
async fn release(evidence: &impl Evidence, rows: &impl Rows, now: Timestamp, input: &Input) -> Result<Output, Fault> {
    let mut output = Output::default();
    let mut touched = vec![];
    for run in 1..=input.run {
        let Some(assessment) = Assessment::load(evidence, rows, &input.incident_id, run).await? else { continue };
        for entry in assessment.plan.entries {
            if ledger::release(rows, &entry.target, &entry.observable, &input.incident_id).await? {
                output.released += 1;
            }
            // Also what an earlier try has released: it may have failed before the list was rendered.
            touched.push(entry.observable);
        }
    }
    render(evidence, rows, now, touched.iter()).await?;
    Ok(output)
}

async fn render<'a>(
    evidence: &impl Evidence,
    rows: &impl Rows,
    now: Timestamp,
    observables: impl Iterator<Item = &'a Observable>,
) -> Result<(), Fault> {
    let kinds: BTreeSet<ObservableType> = observables.map(Observable::kind).collect();
    for kind in kinds {
        served::render(rows, evidence, kind, now).await?;
    }
    Ok(())
}

/// What was approved and yet not written is kept with its reason.
async fn note_refusals(rows: &impl Rows, input: &Input, refusals: &[(&Entry, String)]) -> Result<(), Fault> {
    if refusals.is_empty() {
        return Ok(());
    }
    let refused: Vec<Refused> = refusals
        .iter()
        .map(|(entry, reason)| Refused {
            observable: entry.observable.key(),
            target: entry.target.clone(),
            reason: reason.clone(),
        })
        .collect();
    let write = Write::set(Run::key(&input.incident_id, input.run), &json!({"refused": refused}))?;
    let _: playbook::rows::Commit = rows.commit(&[write]).await?;
    Ok(())
}
