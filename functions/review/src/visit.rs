//! A visit: what lies behind a link at this moment. Reading it writes nothing.

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::Surroundings,
    canonical,
    decision::{self, Decision, Link, LinkSecret, Round, Vote},
    incident::{EvidenceRef, Incident, Run},
    ports::Evidence,
    rows::{Row, Rows},
};
use serde_json::Value;

/// What lies behind a link.
#[derive(Debug)]
pub struct Visit {
    /// The link's secret.
    pub secret: LinkSecret,
    /// What the link is stored under.
    pub digest: String,
    /// The link.
    pub link: Link,
    /// Its round.
    pub round: Round,
    /// What was decided in it.
    pub decision: Option<Decision>,
    /// What people said in it so far.
    pub votes: Vec<Vote>,
    /// What is shown.
    pub assessment: Assessment,
    /// Where the assessment lies, as the run's row has it: a decision counts only while this is so.
    pub assessment_place: Value,
    /// Digest of what is shown.
    pub shown_digest: String,
    /// The incident's run at this moment.
    pub current_run: u32,
    /// What else a person should know: what was done already, tickets, earlier rounds.
    pub around: Surroundings,
}

/// What can be done with a link.
#[derive(Debug)]
pub enum Standing<'a> {
    /// Nothing: it is decided.
    Decided(&'a Decision),
    /// Nothing: a later run asks anew.
    Superseded,
    /// Nothing: the deadline is over.
    Expired,
    /// It can be decided.
    Open,
}

impl Standing<'_> {
    /// Why nothing can be decided any more; `None` while it can.
    pub const fn too_late(&self) -> Option<&'static str> {
        match self {
            Self::Decided(_) => Some("it was decided already"),
            Self::Superseded => Some("a later run asks anew"),
            Self::Expired => Some("the time to decide was over"),
            Self::Open => None,
        }
    }
}

impl Visit {
    /// What lies behind a link; `None` when there is no such link, or none any more.
    pub async fn find(
        evidence: &impl Evidence,
        rows: &impl Rows,
        secret: LinkSecret,
        now: Timestamp,
    ) -> Result<Option<Self>, Fault> {
        let digest = secret.digest();
        let Some(row) = rows.get(&Link::key(&digest)).await? else { return Ok(None) };
        let link: Link = row.read()?;
        // DynamoDB forgets rows days late.
        if link.ttl <= now.as_seconds() {
            return Ok(None);
        }
        let Link { incident_id: id, run, .. } = &link;
        let lost = |what: &str| Fault::Rejected(format!("run {run} of {id} has a link and no {what}"));
        let round = Round::load(rows, id, *run, link.round).await?.ok_or_else(|| lost("round"))?;
        let decision = Decision::load(rows, id, *run, link.round).await?;
        let votes = Vote::all(rows, id, *run, link.round).await?;
        let current_run = Incident::load(rows, id).await?.run;

        let place = rows.get(&Run::key(id, *run)).await?.and_then(|row: Row| row.attributes.get("assessment").cloned());
        let assessment_place = place.ok_or_else(|| lost("assessment"))?;
        let document: EvidenceRef =
            serde_json::from_value(assessment_place.clone()).map_err(|_| lost("readable assessment"))?;
        let bytes = evidence.fetch(&document).await?;
        let assessment: Assessment = serde_json::from_slice(&bytes).map_err(|_| lost("readable assessment"))?;
        let around = Surroundings::load(rows, &assessment, link.round).await?;
        let shown_digest = decision::shown_digest(id, *run, &round, &canonical::sha256_hex(&bytes))?;
        Ok(Some(Self {
            secret,
            digest,
            link,
            round,
            decision,
            votes,
            assessment,
            assessment_place,
            shown_digest,
            current_run,
            around,
        }))
    }

    /// What can be done with the link at this moment.
    pub fn standing(&self, now: Timestamp) -> Standing<'_> {
        match &self.decision {
            Some(decision) => Standing::Decided(decision),
            None if self.current_run != self.link.run => Standing::Superseded,
            None if self.round.deadline <= now => Standing::Expired,
            None => Standing::Open,
        }
    }

    /// Whether the person of this link may decide: was asked, and is no part of the incident.
    pub fn may_decide(&self) -> bool {
        let approver = &self.link.approver;
        self.round.asked.iter().any(|asked| asked.eq_ignore_ascii_case(approver))
            && !decision::is_part_of_incident(&self.assessment.participants, approver)
    }
}
