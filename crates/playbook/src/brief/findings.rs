//! Findings: every observable with its verdict and what each source said or failed to say.

use std::collections::BTreeSet;

use super::{
    LINES_MAX, TEXT_MAX_CHARS, ago, around, bounded, hostile, spell,
    words::{self, day},
};
use crate::{
    Timestamp,
    assessment::{Assessed, Assessment, Said},
    incident::Withheld,
    outcome::Judgement,
};

/// Findings shown besides those of the plan; the rest is counted.
pub(super) const FINDINGS_MAX: usize = 60;

/// One observable with its verdict and evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Spelled defanged.
    pub indicator: String,
    /// Its type.
    pub kind: &'static str,
    /// `malicious`, `suspicious`, `benign` or `unknown`; also the style.
    pub verdict: &'static str,
    /// Why the verdict is what it is.
    pub conclusion: String,
    /// `4 of 6 sources answered`.
    pub coverage: String,
    /// Families that say what the verdict says.
    pub agree: String,
    /// Families that say otherwise.
    pub disagree: String,
    /// Where in the evidence it was found.
    pub places: String,
    /// How often it was seen here; empty where that is not known.
    pub history: String,
    /// Why it is never written.
    pub guarded: Option<String>,
    /// One line per provider.
    pub lines: Vec<Line>,
    /// How many further providers are not shown.
    pub lines_left_out: usize,
}

/// What one provider said or failed to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The provider.
    pub provider: String,
    /// `malicious`, `does not know it`, `failed: timeout` …
    pub says: String,
    /// Its sentence.
    pub text: String,
    /// Where to look it up: text, not a link.
    pub permalink: String,
    /// How long ago the provider saw it, or answered: `3 days ago`.
    pub age: String,
    /// The day of that, such as `2026-11-21`.
    pub seen_on: String,
    /// Whether it failed to answer.
    pub is_failure: bool,
    /// Whether it says otherwise than the verdict does.
    pub disagrees: bool,
}

/// Those of the plan, then the others, worst first; and how many are not among them.
pub(super) fn findings(assessment: &Assessment, now: Timestamp) -> (Vec<Finding>, usize) {
    let planned: BTreeSet<String> = assessment.plan.open().map(|entry| entry.observable.key()).collect();
    let (of_plan, others): (Vec<&Assessed>, Vec<&Assessed>) = assessment
        .observables
        .iter()
        .filter(|assessed| assessed.sighted.withheld.is_none() || assessed.conclusion.is_bad())
        .partition(|assessed| planned.contains(&assessed.sighted.observable.key()));
    let left_out = others.len().saturating_sub(FINDINGS_MAX);
    let shown = of_plan.into_iter().chain(others.into_iter().take(FINDINGS_MAX));
    (shown.map(|assessed| finding(assessed, now)).collect(), left_out)
}

pub(crate) fn finding(assessed: &Assessed, now: Timestamp) -> Finding {
    let verdict = &assessed.conclusion;
    let families = |agrees: bool| {
        let matching = verdict.opinions.iter().filter(|opinion| {
            let is_opinion = opinion.counts && opinion.verdict != Judgement::Unknown;
            is_opinion && (opinion.verdict == verdict.verdict) == agrees
        });
        let names: BTreeSet<String> = matching
            .map(|opinion| {
                let family = hostile(&opinion.family, 60);
                if agrees { family } else { format!("{family} says {}", opinion.verdict.as_str()) }
            })
            .collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    Finding {
        indicator: spell(&assessed.sighted.observable),
        kind: assessed.sighted.observable.kind().as_str(),
        verdict: verdict.verdict.as_str(),
        conclusion: words::conclusion(verdict),
        coverage: words::coverage(verdict),
        agree: families(true),
        disagree: families(false),
        places: assessed.sighted.places.iter().take(8).map(|p| hostile(p, 120)).collect::<Vec<_>>().join(", "),
        history: assessed.history.as_ref().map_or_else(String::new, around::history),
        guarded: assessed.guarded.as_ref().map(|reason| hostile(reason, TEXT_MAX_CHARS)),
        lines: assessed.evidence.iter().take(LINES_MAX).map(|said| line(said, verdict.verdict, now)).collect(),
        lines_left_out: assessed.evidence.len().saturating_sub(LINES_MAX),
    }
}

fn line(said: &Said, verdict: Judgement, now: Timestamp) -> Line {
    let opinion = said.verdict.as_deref().filter(|opinion| *opinion != Judgement::Unknown.as_str());
    Line {
        provider: hostile(&said.provider, 60),
        says: words::says(said),
        text: said.text.as_ref().map_or_else(String::new, |text| hostile(text, TEXT_MAX_CHARS)),
        permalink: said.permalink.as_ref().map_or_else(String::new, |link| hostile(link, TEXT_MAX_CHARS)),
        age: ago(now.ms_since(said.seen)),
        seen_on: day(said.seen),
        is_failure: matches!(said.outcome.as_str(), "error" | "rate_limited" | "pending"),
        disagrees: opinion.is_some_and(|opinion| opinion != verdict.as_str()),
    }
}

/// What was not looked up, and why.
pub(super) fn withheld(assessment: &Assessment) -> Vec<String> {
    bounded(assessment.observables.iter().filter_map(|assessed| {
        let why = match assessed.sighted.withheld? {
            Withheld::Own => "one of our own",
            Withheld::Reserved => "private or reserved",
            Withheld::Infrastructure => "shared infrastructure",
        };
        Some(format!("{}: {why}", spell(&assessed.sighted.observable)))
    }))
}
