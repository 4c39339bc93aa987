//! `assess`: verdicts, correlation, severity, plan, and the one word that the machine routes by.

mod conclude;
mod correlate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessed, Assessment, Route},
    bundle::Bundle,
    guard::Guard,
    incident::{Enriched, Enrichment, EvidenceRef, Extraction, Incident, Pointer, Run, Sighted},
    outcome::Outcome,
    plan::Plan,
    ports::{Clock, Evidence},
    receipt::Receipt,
    rows::{Commit, Condition, Row, Rows, Write},
    verdict::{Facts, PersonDecision, Verdict},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::info;

use crate::correlate::Correlation;

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
    let mut outcomes = outcomes(evidence, rows, &incident.incident_id, input.run).await?;

    let receipts = judge(rows, &bundle, (&incident, input.run), &extraction, &mut outcomes, now).await?;
    let correlation = correlate::correlate(rows, &incident, &receipts, now).await?;
    let case = Case { incident, run: input.run, extraction, receipts, correlation };
    let assessment = case.conclude(evidence, &bundle, now).await?;
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

/// A receipt for each observable, in the extraction's order.
async fn judge(
    rows: &impl Rows,
    bundle: &Bundle,
    (incident, run): (&Incident, u32),
    extraction: &Extraction,
    outcomes: &mut BTreeMap<String, Vec<Outcome>>,
    now: Timestamp,
) -> Result<Vec<Receipt>, Fault> {
    let mut receipts = vec![];
    let decisions: Vec<Option<PersonDecision>> = stream::iter(&extraction.observables)
        .map(|sighted| earlier_decision(rows, sighted, now))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    for (sighted, decision) in extraction.observables.iter().zip(decisions) {
        let observable = sighted.observable.clone();
        let required = conclude::required(bundle, &observable);
        let outcomes = match outcomes.remove(&observable.key()) {
            Some(outcomes) => outcomes,
            None if sighted.withheld.is_some() => vec![],
            // Its chunk failed: nobody was asked, and that is a failure of every source.
            None => conclude::unasked(&required, now),
        };
        let facts = Facts { withheld: sighted.withheld, required, outcomes, decision, observable };
        receipts.push(Receipt {
            schema: Receipt::SCHEMA.to_owned(),
            incident_id: incident.incident_id.clone(),
            run,
            config_digest: incident.config_digest.clone(),
            now,
            verdict: Verdict::reach(&facts, now),
            facts,
        });
    }
    Ok(receipts)
}

/// Everything that is known of a run.
struct Case {
    incident: Incident,
    run: u32,
    extraction: Extraction,
    receipts: Vec<Receipt>,
    correlation: Correlation,
}

impl Case {
    /// To an assessment: worst first, with the plan and everything a person should know.
    async fn conclude(self, evidence: &impl Evidence, bundle: &Bundle, now: Timestamp) -> Result<Assessment, Fault> {
        let Self { incident, run, extraction, receipts, correlation } = self;
        let hosts = bundle.hosts();
        let guard = Guard::new(&bundle.policy, &hosts);
        let mut judged: Vec<(Sighted, Receipt)> = extraction.observables.into_iter().zip(receipts).collect();
        judged.sort_by_key(|(sighted, receipt)| (conclude::order(&receipt.verdict), sighted.observable.key()));

        let targets: Vec<_> = bundle.targets.values().collect();
        let verdicts: Vec<_> = judged
            .iter()
            .map(|(s, r)| (s.observable.clone(), r.verdict.clone(), conclude::is_phishing(&r.facts.outcomes)))
            .collect();
        let plan = Plan::make(&verdicts, &bundle.policy, &targets, &guard, &incident, now);
        let (severity, severity_terms) = conclude::severity(incident.severity, judged.iter().map(|(_, r)| &r.verdict));
        let mut failed = conclude::failed(judged.iter().map(|(_, r)| r.facts.outcomes.as_slice()));
        let off = conclude::off(judged.iter().map(|(_, r)| r.facts.outcomes.as_slice()));
        if extraction.incomplete {
            failed.insert(0, "extract: the evidence was not read completely".to_owned());
        }
        let receipts = store_receipts(evidence, &incident.incident_id, run, &judged).await?;
        let observables: Vec<Assessed> = judged
            .into_iter()
            .map(|(sighted, receipt)| Assessed {
                guarded: guard.check(&sighted.observable).map(|guarded| guarded.reason),
                evidence: conclude::said(&receipt.facts.outcomes),
                conclusion: receipt.verdict,
                history: correlation.histories.get(&sighted.observable.key()).copied(),
                sighted,
            })
            .collect();
        let route = conclude::route(incident.kind, severity, &observables, extraction.incomplete);
        Ok(Assessment {
            schema: Assessment::SCHEMA.to_owned(),
            incident_id: incident.incident_id,
            run,
            config_digest: incident.config_digest,
            assessed_at: now,
            subject: extraction.subject,
            participants: extraction.participants,
            route,
            severity,
            severity_terms,
            observables,
            plan_digest: plan.digest()?,
            acts_automatically: plan.acts_automatically(),
            plan,
            failed,
            receipts,
            omissions: extraction.omissions,
            off,
            related: correlation.related,
            opens_ticket: conclude::opens_ticket(route, severity, &bundle.policy.ticket),
        })
    }
}

/// Stores the receipts, a line each, in the order of the assessment's observables.
async fn store_receipts(
    evidence: &impl Evidence,
    id: &IncidentId,
    run: u32,
    judged: &[(Sighted, Receipt)],
) -> Result<EvidenceRef, Fault> {
    let receipts: Vec<Receipt> = judged.iter().map(|(_, receipt)| receipt.clone()).collect();
    let lines = Receipt::to_lines(&receipts)?;
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
) -> Result<BTreeMap<String, Vec<Outcome>>, Fault> {
    let mut outcomes = BTreeMap::new();
    for row in rows.list(&format!("incident#{id}"), &format!("enrichment#{run}#")).await? {
        let pointer: Pointer = row.read()?;
        let enrichment: Enrichment = document(&evidence.fetch(&pointer.document).await?)?;
        outcomes
            .extend(enrichment.observables.into_iter().map(|Enriched { observable, outcomes }| (observable, outcomes)));
    }
    Ok(outcomes)
}

/// What a person decided on this observable before, while it rules.
async fn earlier_decision(
    rows: &impl Rows,
    sighted: &Sighted,
    now: Timestamp,
) -> Result<Option<PersonDecision>, Fault> {
    if sighted.withheld.is_some() {
        return Ok(None);
    }
    let row = rows.get(&PersonDecision::key(&sighted.observable)).await?;
    let decision: Option<PersonDecision> = row.as_ref().map(Row::read).transpose()?;
    Ok(decision.filter(|decision| decision.expires_at > now))
}

fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Rejected(format!("stored document cannot be read: {error}")))
}
