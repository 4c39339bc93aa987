//! The final record of a demo: what `--json` prints, read back from the stack and not from memory.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use playbook::{
    assessment::{Assessment, Said},
    incident::{Enrichment, Incident, Pointer, Run},
    outcome::Outcome,
    plan::Entry,
    verdict::Coverage,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    extract_command::word,
    local::{SentMail, Stack},
    stand_in::{
        ServedAs, StandIn,
        targets::{MispAttribute, Watched},
        tickets::Issue,
    },
};

/// The consumer that the demo reads the block lists as, and its password in the local stack.
pub const CONSUMER: (&str, &str) = ("demo", "local-demo-only");

/// Everything that came of one mail.
#[derive(Debug, Serialize)]
pub struct Record {
    /// The incident.
    pub incident_id: String,
    /// `review`, `needs-data`, `watch`, `provisional`, `benign`; null where it was never reached.
    pub route: Option<String>,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `ABORTED`.
    pub execution_status: String,
    /// `approved`, `rejected`, `acknowledged`, `look_again`, `timed_out`, or null.
    pub decision: Option<String>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// Where the incident stands: `open`, `waiting`, `closed`, `provisional`, `failed`.
    pub status: String,
    /// How it ended.
    pub result: Option<String>,
    /// Why the machine failed on it.
    pub failure: Option<String>,
    /// How much it matters.
    pub severity: Option<String>,
    /// Worst first.
    pub observables: Vec<ObservableRecord>,
    /// What is or would be written.
    pub plan: Vec<PlanRecord>,
    /// What the served lists hold now, by type.
    pub lists: BTreeMap<&'static str, Vec<String>>,
    /// What the stand-in's threat database holds now.
    pub recorded: Vec<MispAttribute>,
    /// What the stand-in's watchlist holds now.
    pub watchlist: Vec<Watched>,
    /// Tickets and messages in the stand-in's systems, by target.
    pub tickets: BTreeMap<&'static str, Vec<Issue>>,
    /// Every mail that was sent, oldest first.
    pub mails: Vec<MailRecord>,
    /// Required sources that failed.
    pub failed: Vec<String>,
    /// What the extraction left out.
    pub omissions: Vec<String>,
    /// Answers that a provider cannot give, and what was served instead.
    pub served_as: Vec<ServedAs>,
    /// The local page that asks; null where nobody is asked any more.
    pub review_link: Option<String>,
    /// Where the receipts of all verdicts were put, for `cargo xtask replay`; relative to the project.
    pub receipts_file: Option<String>,
    /// True: providers were played by a local stand-in.
    pub answers_are_recorded: bool,
    /// Seconds from the mail at the door to the end of what is recorded here.
    pub seconds: f64,
}

/// One observable.
#[derive(Debug, Serialize)]
pub struct ObservableRecord {
    /// STIX type.
    pub r#type: String,
    /// The canonical value.
    pub value: String,
    /// Every digest, for files.
    pub hashes: Value,
    /// What the playbook concludes.
    pub verdict: String,
    /// Why it is unknown, or that it is a contradiction.
    pub reason: Option<String>,
    /// Who has answered.
    pub coverage: Coverage,
    /// A required source failed.
    pub degraded: bool,
    /// How sure, 0–100.
    pub confidence: u32,
    /// Which rule decided, 1–6.
    pub rule: u8,
    /// Why it was not looked up.
    pub withheld: Option<String>,
    /// Why it is never written.
    pub guarded: Option<String>,
    /// Where in the evidence.
    pub places: Vec<String>,
    /// What became of each lookup.
    pub outcomes: Vec<OutcomeRecord>,
}

/// One lookup.
#[derive(Debug, Serialize)]
pub struct OutcomeRecord {
    /// The provider.
    pub provider: String,
    /// Its family.
    pub family: String,
    /// `found`, `not_found`, `error`, `rate_limited`, `skipped`, `pending`.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// What it says.
    pub verdict: Option<String>,
}

/// One entry of the plan.
#[derive(Debug, Serialize)]
pub struct PlanRecord {
    /// STIX type.
    pub r#type: String,
    /// The canonical value.
    pub value: String,
    /// The target.
    pub target: String,
    /// `enforce`, or `offer`: enforced only when a person ticks it.
    pub act: String,
    /// When it leaves.
    pub expires_at: String,
    /// Why it is not written: whatever is approved, or because nobody ticked it.
    pub refused: Option<String>,
    /// Whether approval takes it.
    pub ticked: bool,
}

/// One mail.
#[derive(Debug, Serialize)]
pub struct MailRecord {
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
}

/// The documents behind an incident, as far as they exist.
#[derive(Debug)]
pub struct Documents {
    /// The incident's row.
    pub incident: Incident,
    /// The assessment.
    pub assessment: Option<Assessment>,
    /// Outcomes by observable key.
    pub outcomes: BTreeMap<String, Vec<Outcome>>,
}

impl Documents {
    /// Reads what there is of an incident.
    pub async fn read(stack: &Stack, incident: &Value) -> Result<Self> {
        let incident: Incident = parse(incident)?;
        let (id, run) = (&incident.incident_id, incident.run);
        let pk = format!("incident#{id}");
        let row = stack.rows(&pk, &Run::key(id, run).sk).await?;
        // `run#1` is also how `run#10` begins.
        let row = row.iter().find(|row| row["sk"] == Run::key(id, run).sk.as_str());
        let noted: Run = row.map_or_else(|| Ok(Run::default()), parse)?;
        let assessment = match &noted.assessment {
            Some(at) => Some(serde_json::from_slice(&stack.document(at).await?)?),
            None => None,
        };
        let mut outcomes = BTreeMap::new();
        for row in stack.rows(&pk, &format!("enrichment#{run}#")).await? {
            let pointer: Pointer = parse(&row)?;
            let enrichment: Enrichment = serde_json::from_slice(&stack.document(&pointer.document).await?)?;
            outcomes.extend(enrichment.observables.into_iter().map(|one| (one.observable, one.outcomes)));
        }
        Ok(Self { incident, assessment, outcomes })
    }
}

fn parse<T: DeserializeOwned>(row: &Value) -> Result<T> {
    Ok(serde_json::from_value(row.clone())?)
}

/// Reads the record back from the stack.
pub async fn read(stack: &Stack, key: &str, stand_in: &StandIn, link: Option<String>, seconds: f64) -> Result<Record> {
    let Some(row) = stack.incident_of(key).await? else { bail!("the incident of {key} is gone") };
    let documents = Documents::read(stack, &row).await?;
    let incident = &documents.incident;
    let execution = stack.execution(&incident.incident_id.execution_name(incident.run)).await?;
    let decision = stack.rows(&format!("incident#{}", incident.incident_id), "decision#").await?.pop();
    let decided = |field: &str| {
        decision.as_ref().and_then(|row| row[field].as_str()).filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let assessment = documents.assessment.as_ref();
    let given = execution.as_ref().and_then(|e| e.output.as_ref()?["route"].as_str().map(str::to_owned));
    let mut lists = BTreeMap::new();
    for kind in ["ipv4-addr", "ipv6-addr", "domain-name", "url", "file"] {
        lists.insert(kind, stack.list(kind, CONSUMER.0, CONSUMER.1).await?);
    }
    Ok(Record {
        incident_id: incident.incident_id.to_string(),
        route: assessment.map(|a| a.route.as_str().to_owned()).or_else(|| incident.route.clone()).or(given),
        execution_status: execution.as_ref().map_or_else(|| "NOT_STARTED".to_owned(), |e| e.status.clone()),
        decision: decided("choice"),
        decided_by: decided("by"),
        status: word(&incident.status),
        result: incident.result.clone(),
        failure: incident.failure.clone().or_else(|| execution.and_then(|e| e.failure)),
        severity: assessment.map(|a| a.severity.as_str().to_owned()),
        observables: assessment.map(|a| observables(a, &documents.outcomes)).unwrap_or_default(),
        plan: assessment.map(|a| plan(a, decision.as_ref())).unwrap_or_default(),
        lists,
        mails: stack.gateway().mails().await?.iter().flat_map(mails).collect(),
        failed: assessment.map(|a| a.failed.clone()).unwrap_or_default(),
        omissions: assessment
            .map(|a| a.omissions.iter().map(|o| format!("{}: {}", o.place, o.reason)).collect())
            .unwrap_or_default(),
        recorded: stand_in.misp(),
        watchlist: stand_in.watchlist(),
        tickets: stand_in.tickets.all(),
        served_as: stand_in.served_as(),
        review_link: link,
        receipts_file: None,
        answers_are_recorded: true,
        seconds: (seconds * 10.0).round() / 10.0,
    })
}

/// The receipts of all verdicts, one a line; empty where nothing was assessed.
pub async fn receipts(stack: &Stack, key: &str) -> Result<Vec<u8>> {
    let Some(row) = stack.incident_of(key).await? else { return Ok(vec![]) };
    let documents = Documents::read(stack, &row).await?;
    match documents.assessment.as_ref().map(|assessment| &assessment.receipts) {
        Some(receipts) => stack.document(receipts).await,
        None => Ok(vec![]),
    }
}

fn observables(assessment: &Assessment, outcomes: &BTreeMap<String, Vec<Outcome>>) -> Vec<ObservableRecord> {
    assessment
        .observables
        .iter()
        .map(|assessed| {
            let (observable, verdict) = (&assessed.sighted.observable, &assessed.conclusion);
            let outcomes = outcomes.get(&observable.key()).map_or_else(
                || assessed.evidence.iter().map(said).collect(),
                |outcomes| outcomes.iter().map(outcome).collect(),
            );
            ObservableRecord {
                r#type: observable.kind().to_string(),
                value: observable.value().to_owned(),
                hashes: serde_json::to_value(observable.hashes()).unwrap_or_default(),
                verdict: verdict.verdict.as_str().to_owned(),
                reason: verdict.reason.map(|reason| reason.as_str().to_owned()),
                coverage: verdict.coverage,
                degraded: verdict.degraded,
                confidence: verdict.confidence,
                rule: verdict.rule,
                withheld: assessed.sighted.withheld.map(|why| word(&why)),
                guarded: assessed.guarded.clone(),
                places: assessed.sighted.places.clone(),
                outcomes,
            }
        })
        .collect()
}

fn outcome(outcome: &Outcome) -> OutcomeRecord {
    OutcomeRecord {
        provider: outcome.provider.clone(),
        family: outcome.family.clone(),
        outcome: outcome.outcome.as_str().to_owned(),
        reason: outcome.reason.clone(),
        verdict: outcome.opinion.as_ref().map(|opinion| opinion.verdict.as_str().to_owned()),
    }
}

fn said(said: &Said) -> OutcomeRecord {
    OutcomeRecord {
        provider: said.provider.clone(),
        family: String::new(),
        outcome: said.outcome.clone(),
        reason: said.reason.clone(),
        verdict: said.verdict.clone(),
    }
}

fn plan(assessment: &Assessment, decision: Option<&Value>) -> Vec<PlanRecord> {
    let approved: Option<Vec<&str>> = decision
        .filter(|row| row["choice"] == "approved")
        .map(|row| row["indicators"].as_array().into_iter().flatten().filter_map(Value::as_str).collect());
    let unticked = |entry: &Entry| {
        let is_left_out = approved.as_ref().is_some_and(|keys| !keys.contains(&entry.observable.key().as_str()));
        (entry.asks() && is_left_out).then(|| "not ticked".to_owned())
    };

    let entries = assessment.plan.entries.iter();
    entries
        .map(|entry| PlanRecord {
            r#type: entry.observable.kind().to_string(),
            value: entry.observable.value().to_owned(),
            target: entry.target.clone(),
            act: entry.act.clone(),
            expires_at: entry.expires_at.to_string(),
            refused: entry.refused.clone().or_else(|| unticked(entry)),
            ticked: entry.ticked,
        })
        .collect()
}

fn mails(mail: &SentMail) -> Vec<MailRecord> {
    mail.to.iter().map(|to| MailRecord { to: to.clone(), subject: mail.subject.clone() }).collect()
}
