//! `assess`: verdicts, correlation, severity, plan, and the one word that the machine routes by.

mod correlate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessment, Basis, Route},
    bundle::Bundle,
    case::{self, Case, SaidBefore},
    effort::Efforts,
    incident::{Enriched, Enrichment, EvidenceRef, Extraction, Incident, Pointer, Run, Sighted},
    outcome::Outcome,
    ports::{Clock, Evidence},
    receipt::Receipt,
    rows::{Commit, Condition, Row, Rows, Write},
    severity::Pinned,
    verdict::{PersonDecision, Precedent, Verdict},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::info;

/// Observables looked up at once.
const AT_ONCE: usize = 16;

/// From `Enrich`, which has noted its documents under the run.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
}

/// To the Choice `Route`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Output {
    /// `review`, `needs-data`, `watch`, `provisional` or `benign`.
    pub route: Route,
    /// How much the incident matters.
    pub severity: playbook::severity::Severity,
    /// How many entries a person could approve.
    pub plan_entries: usize,
    /// Whether a ticket is opened.
    pub opens_ticket: bool,
    /// Whether something is enforced before a person has decided.
    pub acts_automatically: bool,
}

/// Reaches a verdict for every observable and says which way the incident goes. Safe to run again.
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
    let work = Run::load(rows, &incident.incident_id, input.run).await?;
    let extraction = work.extraction.ok_or_else(|| Fault::Rejected("the run has no extraction".to_owned()))?;
    let extraction: Extraction = document(&evidence.fetch(&extraction).await?)?;
    let (mut outcomes, efforts) = outcomes(evidence, rows, &incident.incident_id, input.run).await?;

    let pinned = rows.get(&Pinned::key(&incident.incident_id)).await?.as_ref().map(Row::read).transpose()?;
    let basis = Basis::of(&incident, &extraction, pinned);
    let mut judged = judge(rows, &bundle, (&incident, input.run, &basis), &extraction, &mut outcomes, now).await?;
    Case::worst_first(&mut judged);
    let receipts: Vec<&Receipt> = judged.iter().map(|(_, receipt)| receipt).collect();
    let correlation =
        correlate::correlate(rows, &bundle, (&incident, &extraction.participants), &receipts, now).await?;
    let stored = store_receipts(evidence, &incident.incident_id, input.run, &receipts).await?;
    let case = Case {
        incident_id: incident.incident_id,
        run: input.run,
        config_digest: incident.config_digest,
        basis,
        subject: extraction.subject,
        participants: extraction.participants,
        omissions: extraction.omissions,
        judged,
        histories: correlation.histories,
        related: correlation.related,
        campaign: correlation.campaign,
    };
    let assessment = Assessment { efforts, ..case.conclude(&bundle, stored, now)? };
    store(evidence, rows, &assessment).await?;

    info!(
        incident.id = %assessment.incident_id,
        route = assessment.route.as_str(),
        severity = assessment.severity.as_str(),
        count = assessment.observables.len(),
        related = assessment.related.len(),
        "assessed"
    );
    Ok(Output {
        route: assessment.route,
        severity: assessment.severity,
        plan_entries: assessment.plan.open().count(),
        opens_ticket: assessment.opens_ticket,
        acts_automatically: assessment.acts_automatically,
    })
}

/// Every observable with its receipt, in the extraction's order.
async fn judge(
    rows: &impl Rows,
    bundle: &Bundle,
    (incident, run, basis): (&Incident, u32, &Basis),
    extraction: &Extraction,
    outcomes: &mut BTreeMap<String, Vec<Outcome>>,
    now: Timestamp,
) -> Result<Vec<(Sighted, Receipt)>, Fault> {
    let before: Vec<SaidBefore> = stream::iter(&extraction.observables)
        .map(|sighted| said_before(rows, sighted, now))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let all = &extraction.observables;
    let hosts = case::hosts(all);
    let mut judged = vec![];
    for (sighted, before) in all.iter().zip(before) {
        let mut known = outcomes.remove(&sighted.observable.key());
        if let (Some(known), Some(claim)) = (&mut known, case::claim(bundle, basis, sighted, &hosts, now)) {
            known.push(claim);
        }
        let facts = case::facts(bundle, basis, sighted, known, before, now);
        let receipt = Receipt {
            schema: Receipt::SCHEMA.to_owned(),
            incident_id: incident.incident_id.clone(),
            run,
            config_digest: incident.config_digest.clone(),
            now,
            verdict: Verdict::reach(&facts, now),
            facts,
        };
        judged.push((sighted.clone(), receipt));
    }
    Ok(judged)
}

/// Stores the receipts, a line each, in the order of the assessment's observables.
async fn store_receipts(
    evidence: &impl Evidence,
    id: &IncidentId,
    run: u32,
    receipts: &[&Receipt],
) -> Result<EvidenceRef, Fault> {
    let lines = Receipt::to_lines(receipts.iter().copied())?;
    let key = format!("receipts/{id}/r{run}/{}.json", playbook::canonical::sha256_hex(&lines));
    evidence.store(&key, "application/x-ndjson", &lines).await
}

/// Stores the assessment and notes it, and the route, on the run and the incident.
async fn store(evidence: &impl Evidence, rows: &impl Rows, assessment: &Assessment) -> Result<(), Fault> {
    let json = serde_json::to_vec(assessment).map_err(|error| Fault::Rejected(error.to_string()))?;
    let (id, run) = (&assessment.incident_id, assessment.run);
    let key = format!("incidents/{id}/r{run}/assess/{}.json", playbook::canonical::sha256_hex(&json));
    let document = evidence.store(&key, "application/json", &json).await?;
    let route = json!({"route": assessment.route, "updated_at": assessment.assessed_at});
    let writes = [
        Write::set(Run::key(id, run), &json!({"schema": Run::SCHEMA, "assessment": document}))?,
        Write::set(Incident::key(id), &route)?.only_if(Condition::Present),
    ];
    match rows.commit(&writes).await? {
        Commit::Done => Ok(()),
        Commit::Conflict => Err(Fault::Rejected(format!("there is no incident {id}"))),
    }
}

/// The outcomes of every chunk that was enriched; one that failed has none.
async fn outcomes(
    evidence: &impl Evidence,
    rows: &impl Rows,
    id: &IncidentId,
    run: u32,
) -> Result<(BTreeMap<String, Vec<Outcome>>, Efforts), Fault> {
    let mut outcomes = BTreeMap::new();
    let mut efforts = Efforts::default();
    for row in rows.list(&format!("incident#{id}"), &format!("enrichment#{run}#")).await? {
        let pointer: Pointer = row.read()?;
        let enrichment: Enrichment = document(&evidence.fetch(&pointer.document).await?)?;
        efforts += enrichment.efforts;
        outcomes
            .extend(enrichment.observables.into_iter().map(|Enriched { observable, outcomes }| (observable, outcomes)));
    }
    Ok((outcomes, efforts))
}

/// What people have said of this observable before: a decision while it rules, and every false positive.
async fn said_before(rows: &impl Rows, sighted: &Sighted, now: Timestamp) -> Result<SaidBefore, Fault> {
    if sighted.withheld.is_some() {
        return Ok(SaidBefore::default());
    }
    let key = PersonDecision::key(&sighted.observable);
    let said = rows.list(&key.pk, "").await?;
    let decision: Option<PersonDecision> = said.iter().find(|row| row.key == key).map(Row::read).transpose()?;
    let decision = decision.filter(|decision| decision.expires_at > now);
    Ok(SaidBefore { decision, precedent: Precedent::read(&said)? })
}

fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Rejected(format!("stored document cannot be read: {error}")))
}
