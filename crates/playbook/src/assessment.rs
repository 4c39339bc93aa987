//! The assessment: verdicts, severity, plan and the one word that the machine routes by.

use serde::{Deserialize, Serialize};

use crate::{
    Fault, IncidentId, Timestamp,
    campaign::Campaign,
    effort::Efforts,
    incident::{EvidenceRef, Extraction, Incident, Kind, Omission, Run, Sighted},
    manifest::Tlp,
    plan::Plan,
    ports::Evidence,
    rows::Rows,
    severity::{Pinned, Severity},
    sighting::{History, Related},
    verdict::Verdict,
};

/// Which way an incident goes; in the order in which the first wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// A person decides.
    Review,
    /// A person is told that sources failed, and asked.
    NeedsData,
    /// Closed, and looked at again when evidence arrives.
    Watch,
    /// Closed for now, and looked at again.
    Provisional,
    /// Closed.
    Benign,
}

impl Route {
    /// The word that the Choice reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::NeedsData => "needs-data",
            Self::Watch => "watch",
            Self::Provisional => "provisional",
            Self::Benign => "benign",
        }
    }
}

/// One observable with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessed {
    /// The observable and where it was found.
    #[serde(flatten)]
    pub sighted: Sighted,
    /// What the playbook concludes.
    pub conclusion: Verdict,
    /// One line per opinion that a person should read; hostile text.
    #[serde(default)]
    pub evidence: Vec<Said>,
    /// Why it would never be written, if so.
    #[serde(default)]
    pub guarded: Option<String>,
    /// How often it was seen here.
    #[serde(default)]
    pub history: Option<History>,
}

/// What one provider said or failed to say, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The provider.
    pub provider: String,
    /// `found`, `not_found`, `error` …
    pub outcome: String,
    /// The reason, where it failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// The judgement, where it has one.
    #[serde(default)]
    pub verdict: Option<String>,
    /// One sentence; hostile text.
    #[serde(default)]
    pub text: Option<String>,
    /// Where a person can look it up; https only.
    #[serde(default)]
    pub permalink: Option<String>,
    /// When the provider last saw it, or the answer was fetched.
    pub seen: Timestamp,
}

/// What an assessment comes from besides the receipts; kept, so that another policy can be tried on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Whose it is.
    pub tenant: String,
    /// What came in.
    pub kind: Kind,
    /// Which door.
    pub source: String,
    /// When it came in; absent in those of release 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// How it may be shared.
    #[serde(default)]
    pub tlp: Tlp,
    /// What the source says of the severity.
    pub severity: Severity,
    /// Whether the traffic went through, where the source says so.
    #[serde(default)]
    pub was_allowed: Option<bool>,
    /// Whether something was left out that may hold observables.
    pub incomplete: bool,
    /// The severity that a person has set.
    #[serde(default)]
    pub pinned: Option<Pinned>,
}

impl Basis {
    /// Of an incident and what was extracted from it.
    #[must_use]
    pub fn of(incident: &Incident, extraction: &Extraction, pinned: Option<Pinned>) -> Self {
        Self {
            tenant: incident.tenant.clone(),
            kind: incident.kind,
            source: incident.source.clone(),
            received_at: Some(incident.received_at),
            tlp: extraction.tlp,
            severity: incident.severity,
            was_allowed: extraction.was_allowed,
            incomplete: extraction.incomplete,
            pinned,
        }
    }
}

/// What `Assess` concluded (`assessment/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// `assessment/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The configuration that judged.
    pub config_digest: String,
    /// When.
    pub assessed_at: Timestamp,
    /// The mail's subject; hostile text.
    pub subject: String,
    /// Addresses that are part of the incident.
    pub participants: Vec<String>,
    /// Which way it goes.
    pub route: Route,
    /// How much it matters.
    pub severity: Severity,
    /// How the severity came about, a term a line.
    pub severity_terms: Vec<String>,
    /// Worst first.
    pub observables: Vec<Assessed>,
    /// What would be written.
    pub plan: Plan,
    /// The plan's digest.
    pub plan_digest: String,
    /// Required sources that failed, with the reason and how many observables that hit, such as `urlhaus: timeout (3)`.
    pub failed: Vec<String>,
    /// The receipts: one document, a receipt a line, in the order of `observables`.
    pub receipts: EvidenceRef,
    /// What the extraction left out.
    pub omissions: Vec<Omission>,
    /// What the lookups of this run took: planned before the first call, and made.
    #[serde(default)]
    pub efforts: Efforts,
    /// Sources that were asked about nothing because they are off, such as `virustotal: disabled`.
    #[serde(default)]
    pub off: Vec<String>,
    /// Other incidents with the same observables, strongest first; at most 10.
    #[serde(default)]
    pub related: Vec<Related>,
    /// Whether a ticket is opened: every review, and what policy says of the rest.
    #[serde(default)]
    pub opens_ticket: bool,
    /// Whether the plan holds entries that are enforced without asking.
    #[serde(default)]
    pub acts_automatically: bool,
    /// The campaign that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Campaign>,
    /// What it comes from; absent in those of release 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
}

impl Assessment {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "assessment/1";

    /// Reads what was concluded of a run; `None` when it has not been assessed.
    pub async fn load(
        evidence: &impl Evidence,
        rows: &impl Rows,
        id: &IncidentId,
        run: u32,
    ) -> Result<Option<Self>, Fault> {
        let Some(document) = Run::load(rows, id, run).await?.assessment else { return Ok(None) };
        let bytes = evidence.fetch(&document).await?;
        let assessment = serde_json::from_slice(&bytes);
        assessment.map(Some).map_err(|error| Fault::Rejected(format!("assessment cannot be read: {error}")))
    }
}
