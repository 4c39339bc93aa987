//! `update-databases`: records, detects and enforces through the ledger, and releases.

mod caps;
mod document;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use playbook::{
    Fault, IncidentId,
    assessment::Assessment,
    bundle::Bundle,
    decision::{Authority, Choice, Decision},
    guard::Guard,
    incident::{Incident, Refused, Run},
    ledger::Claim,
    plan::Entry,
    ports::Clock,
    rows::{Commit, Rows, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use targets::{
    Ports,
    entries::{self, Settled, Wanted},
};
use tracing::info;

/// Who stands behind an entry that nobody was asked about.
const POLICY: &str = "policy";

/// From the assessment, or from the decision.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// What to do.
    pub act: Act,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The round whose decision is carried out.
    #[serde(default)]
    pub round: u32,
    /// Only these targets; absent: all of them.
    #[serde(default)]
    pub targets: Option<Vec<String>>,
}

impl Input {
    /// Whether something is taken back.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.act == Act::Release
    }

    fn is_about(&self, target: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(|id| id == target))
    }
}

/// What this stage can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Write what blocks nothing: threat databases and watchlists.
    Record,
    /// Enforce what policy does not ask about, for twelve hours at most.
    EnforceAutomatically,
    /// Enforce what the decision approves.
    Enforce,
    /// Take back everything that this incident wrote.
    Release,
}

/// How many entries.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Written, or there already and claimed.
    pub written: usize,
    /// Not written, or not taken back yet, each for a reason that is kept: guarded, over a cap, or the target refused.
    pub refused: usize,
    /// Gone from their targets.
    pub released: usize,
}

impl Output {
    /// What the dashboard reads.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [("EntriesWritten", self.written), ("EntriesRefused", self.refused), ("EntriesReleased", self.released)]
            .into_iter()
    }
}

/// Does one act. Acts set a state, so running again changes nothing.
///
/// A target that fails does not hold up the others. The stage fails, and is tried again, when one was out of reach; what a
/// target refuses for good is noted on the run.
pub async fn run(ports: &impl Ports, input: Input) -> Result<Output, Fault> {
    let incident = Incident::load(ports.rows(), &input.incident_id).await?;
    let output = match input.act {
        Act::Release => release(ports, &input).await?,
        _ => write(ports, &incident, &input).await?,
    };
    info!(
        incident.id = %input.incident_id,
        written = output.written, refused = output.refused, released = output.released,
        "updated databases"
    );
    Ok(output)
}

/// The entries of an act, and who stands behind them.
struct Chosen<'a> {
    entries: Vec<&'a Entry>,
    approved_by: String,
    /// The row that approves them; none where policy alone does.
    decision: Option<Decision>,
    /// Whether they are new entries that caps count.
    is_capped: bool,
    /// Whether a person stands behind them, for the whole lifetime.
    is_confirmed: bool,
}

impl Chosen<'_> {
    /// Hours that an entry lives: by the plan, or less where a person chose less.
    fn lifetime_hours(&self, entry: &Entry) -> u32 {
        if entry.automatic && !self.is_confirmed {
            return entry.unconfirmed_hours();
        }
        let chosen = self.decision.as_ref().and_then(|row| row.lifetime_hours.get(&entry.observable.key()).copied());
        chosen.filter(|hours| *hours > 0).map_or(entry.lifetime_hours, |hours| hours.min(entry.lifetime_hours))
    }
}

async fn write(ports: &impl Ports, incident: &Incident, input: &Input) -> Result<Output, Fault> {
    let (rows, now) = (ports.rows(), ports.clock().now());
    let bundle = Bundle::load(ports.evidence(), &incident.config_digest, ports.account()).await?;
    let assessment = Assessment::load(ports.evidence(), rows, &input.incident_id, input.run).await?;
    let assessment = assessment.ok_or_else(|| Fault::Rejected("the run has no assessment".to_owned()))?;
    let mut chosen = choose(rows, &assessment, input).await?;
    chosen.entries.retain(|entry| input.is_about(&entry.target));
    let (admitted, mut refusals) = gate(&bundle, &assessment, &chosen);
    let admitted = if chosen.is_capped {
        let (admitted, over) = caps::admit(rows, &bundle.policy.enforce.caps, admitted, now).await?;
        refusals.extend(over.into_iter().map(|(entry, reason)| refused(entry, reason)));
        admitted
    } else {
        admitted
    };
    let wanted: Vec<Wanted> = admitted
        .iter()
        .map(|entry| {
            let hours = chosen.lifetime_hours(entry);
            let (approved_by, expires_at) = (chosen.approved_by.clone(), now.plus_hours(i64::from(hours)));
            Wanted {
                target: entry.target.clone(),
                observable: entry.observable.clone(),
                document: document::of(&assessment, incident, entry, &approved_by, expires_at),
                claim: Claim { incident_id: input.incident_id.clone(), expires_at, approved_by },
            }
        })
        .collect();
    let results = entries::write(ports, &bundle, &incident.config_digest, &wanted, &holder(input)).await;
    let spots = wanted.iter().map(|wanted| (wanted.target.as_str(), wanted.observable.key()));
    finish(ports, input, spots.zip(results), refusals).await
}

/// The entries that the act is about: by the plan what is done without asking, by the decision row what is approved, and
/// nothing else: not what the callback says, and not a plan that has changed.
async fn choose<'a>(rows: &impl Rows, assessment: &'a Assessment, input: &Input) -> Result<Chosen<'a>, Fault> {
    let plan = &assessment.plan;
    let by_policy = |entries: Vec<&'a Entry>, is_capped: bool| Chosen {
        entries,
        approved_by: POLICY.to_owned(),
        decision: None,
        is_capped,
        is_confirmed: false,
    };
    if input.act == Act::Record {
        return Ok(by_policy(plan.at_once().collect(), false));
    }
    if input.act == Act::EnforceAutomatically {
        return Ok(by_policy(plan.open().filter(|entry| entry.automatic).collect(), true));
    }
    let decision = Decision::load(rows, &input.incident_id, input.run, input.round).await?;
    let decision = decision.filter(|decision| decision.choice == Choice::Approved);
    let decision = decision.ok_or_else(|| Fault::Rejected("nobody has approved this round".to_owned()))?;
    if decision.plan_digest != plan.digest()? {
        return Err(Fault::Rejected("the plan is not the one that was approved".to_owned()));
    }
    let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
    let is_approved = |entry: &&Entry| entry.asks() && approved.contains(entry.observable.key().as_str());
    let entries = plan.entries.iter().filter(is_approved).collect();
    let approved_by = decision.by.clone();
    Ok(Chosen { entries, approved_by, decision: Some(decision), is_capped: true, is_confirmed: true })
}

/// What may be written. The guard refuses here too: the plan is only a document. So does whoever may approve what: the page
/// that took the decision is only a page.
fn gate<'a>(bundle: &Bundle, assessment: &Assessment, chosen: &Chosen<'a>) -> (Vec<&'a Entry>, Vec<Refused>) {
    let hosts = bundle.hosts();
    let guard = Guard::new(&bundle.policy, &hosts);
    let authority = Authority { plan: &assessment.plan, alone_max: bundle.policy.review.alone_max };
    let denied = |entry: &Entry| authority.denies(chosen.decision.as_ref()?, &assessment.participants, entry);
    let mut admitted = vec![];
    let mut refusals = vec![];
    for &entry in &chosen.entries {
        let guarded = guard.check(&entry.observable).map(|guarded| guarded.reason);
        match entry.refused.clone().or(guarded).or_else(|| denied(entry)) {
            Some(reason) => refusals.push(refused(entry, reason)),
            None => admitted.push(entry),
        }
    }
    (admitted, refusals)
}

fn refused(entry: &Entry, reason: String) -> Refused {
    Refused { observable: entry.observable.key(), target: entry.target.clone(), reason }
}

/// Who holds the ledger's rows: the same on every repetition.
fn holder(input: &Input) -> String {
    input.incident_id.execution_name(input.run)
}

/// Takes back what any run of this incident wrote.
async fn release(ports: &impl Ports, input: &Input) -> Result<Output, Fault> {
    let mut spots = vec![];
    let mut seen = BTreeSet::new();
    for run in 1..=input.run {
        let assessment = Assessment::load(ports.evidence(), ports.rows(), &input.incident_id, run).await?;
        for entry in assessment.into_iter().flat_map(|assessment| assessment.plan.entries) {
            if input.is_about(&entry.target) && seen.insert((entry.target.clone(), entry.observable.key())) {
                spots.push((entry.target, entry.observable));
            }
        }
    }
    let results = entries::release(ports, &spots, &input.incident_id, &holder(input)).await;
    let named = spots.iter().map(|(target, observable)| (target.as_str(), observable.key()));
    finish(ports, input, named.zip(results), vec![]).await
}

/// Counts what was done and notes what was refused; a target that was out of reach makes the stage fail, so that it is
/// tried again.
async fn finish<'a>(
    ports: &impl Ports,
    input: &Input,
    results: impl Iterator<Item = ((&'a str, String), Result<Settled, Fault>)>,
    mut refusals: Vec<Refused>,
) -> Result<Output, Fault> {
    let mut output = Output::default();
    let mut out_of_reach = None;
    for ((target, observable), result) in results {
        match result {
            Ok(Settled::Written) => output.written += 1,
            Ok(Settled::Left) => output.released += 1,
            Ok(Settled::Stays) => {}
            Err(Fault::Rejected(reason) | Fault::Misconfigured(reason)) => {
                refusals.push(Refused { observable, target: target.to_owned(), reason });
            }
            Err(fault) => {
                out_of_reach.get_or_insert(fault);
            }
        }
    }
    output.refused = refusals.len();
    note(ports.rows(), input, refusals).await?;
    out_of_reach.map_or(Ok(output), Err)
}

/// What was not written is kept with its reason, beside what earlier acts of the run have noted.
async fn note(rows: &impl Rows, input: &Input, refusals: Vec<Refused>) -> Result<(), Fault> {
    if refusals.is_empty() {
        return Ok(());
    }
    let mut refused = Run::load(rows, &input.incident_id, input.run).await?.refused;
    let is_new =
        |known: &Refused| refusals.iter().all(|r| (&r.observable, &r.target) != (&known.observable, &known.target));
    refused.retain(is_new);
    refused.extend(refusals);
    let write = Write::set(Run::key(&input.incident_id, input.run), &json!({"refused": refused}))?;
    let _: Commit = rows.commit(&[write]).await?;
    Ok(())
}
