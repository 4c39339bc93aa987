//! Severity: how much an incident matters, each term listed.

use serde::{Deserialize, Serialize};

use crate::{
    IncidentId, Timestamp,
    outcome::Judgement,
    rows::Key,
    verdict::{SELF, Verdict, Weighed},
};

/// How much it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody needs to hurry.
    #[default]
    Low,
    /// Today.
    Medium,
    /// Within the hour.
    High,
    /// Now.
    Critical,
}

impl Severity {
    /// From the least to the most.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// So many steps up or down, within the four.
    #[must_use]
    pub fn moved(self, steps: i32) -> Self {
        let at = i32::try_from(self as usize).unwrap_or(0).saturating_add(steps);
        usize::try_from(at).map_or(Self::Low, |at| Self::ALL.get(at).copied().unwrap_or(Self::Critical))
    }
}

/// Incidents from which a campaign raises the severity.
pub const CAMPAIGN_FROM: usize = 3;
/// The most that all terms together raise or lower it.
const STEPS_MAX: i32 = 2;

/// A severity that a person has set (`pinned/1`): `incident#<id>` / `severity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// `pinned/1`.
    pub schema: String,
    /// What it is, whatever the terms say.
    pub severity: Severity,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl Pinned {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "pinned/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId) -> Key {
        Key::new(format!("incident#{id}"), "severity")
    }
}

/// What the severity comes from, besides the verdicts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// What the source says.
    pub source: Severity,
    /// A critical asset or person that is part of the incident.
    pub critical: Option<&'a str>,
    /// Whether the traffic went through; `None` where nobody says.
    pub was_allowed: Option<bool>,
    /// Incidents of its campaign, this one included; 0 without one.
    pub campaign: usize,
    /// What a person has set.
    pub pinned: Option<&'a Pinned>,
}

/// The higher of what verdicts and source say, then every term that raises or lowers it, by two steps at most in all; what
/// a person has set comes before all of it. With the terms, a line each.
#[must_use]
pub fn reach<'a>(
    verdicts: impl Iterator<Item = &'a Verdict>,
    circumstances: &Circumstances<'_>,
) -> (Severity, Vec<String>) {
    let verdicts: Vec<&Verdict> = verdicts.collect();
    let of_verdicts = verdicts.iter().map(|verdict| of_verdict(verdict)).max().unwrap_or_default();
    let mut terms =
        vec![format!("verdicts: {}", of_verdicts.as_str()), format!("source: {}", circumstances.source.as_str())];
    let mut steps = 0;
    let mut step = |by: i32, why: String| {
        steps += by;
        terms.push(format!("{by:+} {why}"));
    };
    if let Some(name) = circumstances.critical {
        step(1, format!("critical asset: {name}"));
    }
    match circumstances.was_allowed {
        Some(true) => step(1, "traffic was allowed".to_owned()),
        Some(false) => step(-1, "blocked at source".to_owned()),
        None => {}
    }
    if circumstances.campaign >= CAMPAIGN_FROM {
        step(1, format!("campaign of {} incidents", circumstances.campaign));
    }
    if is_stale(&verdicts) {
        step(-1, "everything that speaks against it has decayed below 50".to_owned());
    }
    let allowed = steps.clamp(-STEPS_MAX, STEPS_MAX);
    if allowed != steps {
        terms.push(format!("all terms together: {allowed:+} at most"));
    }
    let severity = of_verdicts.max(circumstances.source).moved(allowed);
    match circumstances.pinned {
        None => (severity, terms),
        Some(pinned) => {
            let why = if pinned.reason.is_empty() { String::new() } else { format!(": {}", pinned.reason) };
            terms.push(format!(
                "pinned to {} by {}{why}; it would be {}",
                pinned.severity.as_str(),
                pinned.by,
                severity.as_str()
            ));
            (pinned.severity, terms)
        }
    }
}

fn of_verdict(verdict: &Verdict) -> Severity {
    match verdict.verdict {
        Judgement::Malicious => Severity::High,
        Judgement::Suspicious => Severity::Medium,
        Judgement::Unknown | Judgement::Benign => Severity::Low,
    }
}

/// Whether something is bad, and all that speaks against it is so old that it weighs less than half of what it weighed fresh.
fn is_stale(verdicts: &[&Verdict]) -> bool {
    let is_faded = |opinion: &Weighed| opinion.weight_hundredths * 2 < opinion.grade.weight() * 100;
    let mut against = verdicts
        .iter()
        .filter(|verdict| verdict.is_bad())
        .flat_map(|verdict| &verdict.opinions)
        .filter(|o| o.family != SELF && o.grade.weight() > 0)
        .filter(|o| matches!(o.verdict, Judgement::Malicious | Judgement::Suspicious))
        .peekable();
    // What a person has decided is as fresh as on its first day, until it expires.
    let is_decided = verdicts.iter().any(|verdict| verdict.is_bad() && verdict.rule == 1);
    !is_decided && against.peek().is_some() && against.all(is_faded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outcome::Grade,
        verdict::{Coverage, Sums},
    };

    fn verdict(verdict: Judgement, weight_hundredths: u32) -> Verdict {
        let opinion = Weighed {
            provider: "a".to_owned(),
            family: "a".to_owned(),
            verdict,
            grade: Grade::B,
            seen: Timestamp::from_millis(0),
            weight_hundredths,
            counts: true,
            dated: true,
            stale: false,
        };
        Verdict {
            verdict,
            reason: None,
            degraded: false,
            confidence: 0,
            coverage: Coverage::default(),
            rule: 6,
            sums: Sums::default(),
            opinions: vec![opinion],
            failed: vec![],
        }
    }

    const FRESH: u32 = 7_500;

    fn check(verdicts: &[Verdict], circumstances: Circumstances<'_>, expected: (Severity, &[&str])) {
        let (severity, terms) = reach(verdicts.iter(), &circumstances);
        let further: Vec<&str> = terms.iter().skip(2).map(String::as_str).collect();
        assert_eq!((severity, further.as_slice()), expected, "{circumstances:?}");
    }

    #[test]
    fn it_is_the_higher_of_verdicts_and_source_with_both_terms() {
        let verdict = verdict(Judgement::Suspicious, FRESH);
        let reach = |source| reach([&verdict].into_iter(), &Circumstances { source, ..Circumstances::default() });
        assert_eq!(
            reach(Severity::Low),
            (Severity::Medium, vec!["verdicts: medium".to_owned(), "source: low".to_owned()])
        );
        assert_eq!(reach(Severity::Critical).0, Severity::Critical);
    }

    #[test]
    fn every_term_moves_it_by_one_step_and_says_why() {
        let bad = [verdict(Judgement::Suspicious, FRESH)];
        let usual = Circumstances::default();
        check(&bad, Circumstances { critical: Some("dc01"), ..usual }, (Severity::High, &["+1 critical asset: dc01"]));
        check(&bad, Circumstances { was_allowed: Some(true), ..usual }, (Severity::High, &["+1 traffic was allowed"]));
        check(&bad, Circumstances { was_allowed: Some(false), ..usual }, (Severity::Low, &["-1 blocked at source"]));
        check(&bad, Circumstances { campaign: 2, ..usual }, (Severity::Medium, &[]));
        check(&bad, Circumstances { campaign: 3, ..usual }, (Severity::High, &["+1 campaign of 3 incidents"]));
        check(&[], usual, (Severity::Low, &[]));
    }

    #[test]
    fn it_falls_only_when_all_that_is_bad_has_faded() {
        let (old, fresh) = (verdict(Judgement::Malicious, 3_600), verdict(Judgement::Suspicious, FRESH));
        let faded = "-1 everything that speaks against it has decayed below 50";
        check(std::slice::from_ref(&old), Circumstances::default(), (Severity::Medium, &[faded]));
        check(&[old, fresh], Circumstances::default(), (Severity::High, &[]));
        check(&[verdict(Judgement::Benign, 10)], Circumstances::default(), (Severity::Low, &[]));
    }

    #[test]
    fn what_a_person_has_decided_does_not_fade() {
        let decided = Verdict { rule: 1, ..verdict(Judgement::Malicious, 100) };
        check(&[decided], Circumstances::default(), (Severity::High, &[]));
    }

    #[test]
    fn all_terms_together_move_it_by_two_steps_at_most() {
        let low = [verdict(Judgement::Unknown, FRESH)];
        let all =
            Circumstances { critical: Some("dc01"), was_allowed: Some(true), campaign: 9, ..Circumstances::default() };
        let (severity, terms) = reach(low.iter(), &all);
        assert_eq!((severity, terms.last().unwrap().as_str()), (Severity::High, "all terms together: +2 at most"));
        assert_eq!(Severity::Critical.moved(2), Severity::Critical);
        assert_eq!(Severity::Low.moved(-2), Severity::Low);
    }

    #[test]
    fn a_person_comes_before_all_terms_and_what_it_would_be_is_said() {
        let pinned = Pinned {
            schema: Pinned::SCHEMA.to_owned(),
            severity: Severity::Low,
            by: "ana@soc.example".to_owned(),
            at: Timestamp::from_millis(0),
            reason: "a test of ours".to_owned(),
        };
        let bad = [verdict(Judgement::Malicious, FRESH)];
        let term = "pinned to low by ana@soc.example: a test of ours; it would be high";
        check(&bad, Circumstances { pinned: Some(&pinned), ..Circumstances::default() }, (Severity::Low, &[term]));
    }
}
