//! The rules: the first that holds decides.

use std::collections::BTreeSet;

use super::{Coverage, Edition, Facts, Merge, Precedent, Reason, SELF, Sums, Weighed, weighing::COUNTS};
use crate::{
    Timestamp,
    outcome::{Grade, Judgement, Outcome, Status},
};

/// One grade-A family of this weight makes malicious by itself (hundredths).
const LONE_MALICIOUS: u32 = 7_000;
/// At least two counting families together make malicious from this weight (hundredths).
const JOINT_MALICIOUS: u32 = 10_000;
/// Malicious and benign contradict each other from this weight each (hundredths).
const CONTRADICTS: u32 = 5_000;

/// What the sources did that opine.
#[derive(Clone, Copy)]
pub(super) struct Answers {
    pub(super) coverage: Coverage,
    /// A required family failed to answer.
    required_failed: bool,
    /// Any source failed to answer.
    outage: bool,
    /// A source was not asked that could have been: a mark or a secret forbade it. One that is off is none.
    gap: bool,
    edition: Edition,
}

impl Answers {
    pub(super) fn of(facts: &Facts, edition: Edition) -> Self {
        let opining = || facts.outcomes.iter().filter(|outcome| !outcome.context);
        let required: BTreeSet<&str> = facts.required.iter().map(String::as_str).collect();
        let mut answered = 0;
        let mut required_failed = false;
        for family in &required {
            let mut of_family = opining().filter(|o| o.family == *family);
            if of_family.clone().any(|o| o.outcome.is_answered()) {
                answered += 1;
            } else if of_family.any(|o| o.outcome.is_failed()) {
                required_failed = true;
            }
        }
        let required = u32::try_from(required.len()).unwrap_or(u32::MAX);
        let outage = opining().any(|outcome| outcome.outcome.is_failed());
        let gap = opining().any(|outcome| outcome.outcome == Status::Skipped && !outcome.is_off());
        Self {
            coverage: Coverage { answered, required },
            required_failed,
            outage,
            gap: gap && edition > Edition::First,
            edition,
        }
    }

    /// Whether the verdict may be too low.
    pub(super) fn is_degraded(self) -> bool {
        if self.edition == Edition::First { self.required_failed } else { self.outage }
    }

    const fn is_complete(self) -> bool {
        self.coverage.answered == self.coverage.required
    }

    /// Whether everybody who could have said otherwise has answered: only then anything is called benign.
    const fn nobody_is_missing(self) -> bool {
        self.is_complete() && !self.outage && !self.gap
    }

    /// The first that holds.
    pub(super) fn reason(self, facts: &Facts, opinions: &[Weighed]) -> Reason {
        let mut spoken = opinions.iter().filter(|o| o.verdict != Judgement::Unknown).peekable();
        let opining = || facts.outcomes.iter().filter(|outcome| !outcome.context);
        if self.required_failed {
            Reason::Degraded
        } else if !self.is_complete() {
            Reason::LowCoverage
        } else if self.edition == Edition::First
            && self.outage
            && opinions.iter().any(|o| o.verdict == Judgement::Benign)
        {
            Reason::Degraded
        } else if spoken.peek().is_some() {
            if spoken.any(|o| o.weight_hundredths > 0) { Reason::WeakEvidence } else { Reason::Expired }
        } else if opining().any(|o| o.outcome == Status::Found) || !opining().any(|o| o.outcome.is_answered()) {
            Reason::NoOpinion
        } else {
            Reason::NotFound
        }
    }
}

/// The first rule that holds: its number, the verdict and the deciding weight.
pub(super) fn decide(
    facts: &Facts,
    opinions: &[Weighed],
    sums: Sums,
    answers: Answers,
    now: Timestamp,
) -> (u8, Judgement, u32) {
    if let Some(decision) = facts.decision.as_ref().filter(|d| d.expires_at > now) {
        let is_bad = |verdict| matches!(verdict, Judgement::Malicious | Judgement::Suspicious);
        let speaks_against = |o: &Weighed| match o.verdict {
            Judgement::Unknown => false,
            Judgement::Suspicious if answers.edition == Edition::First => false,
            said => is_bad(said) != is_bad(decision.verdict),
        };
        let is_newer = |o: &Weighed| is_newer_grade_a(o, decision.at, answers.edition);
        return if opinions.iter().any(|o| is_newer(o) && speaks_against(o)) {
            (2, Judgement::Suspicious, 50)
        } else {
            (1, decision.verdict, 100)
        };
    }
    let (rule, verdict, weight) = match facts.merge {
        Merge::Families => families(opinions, sums, answers),
        Merge::Xsoar => most_reliable(opinions, answers),
    };
    if verdict == Judgement::Malicious && is_precedent(facts, opinions) {
        return (2, Judgement::Suspicious, weight.min(50));
    }
    (rule, verdict, weight)
}

fn families(opinions: &[Weighed], sums: Sums, answers: Answers) -> (u8, Judgement, u32) {
    let spoken_against =
        opinions.iter().any(|o| o.family != SELF && matches!(o.verdict, Judgement::Malicious | Judgement::Suspicious));
    // Malicious weight plus half the suspicious weight, doubled to stay in whole numbers.
    let doubt_doubled = sums.malicious.saturating_mul(2).saturating_add(sums.suspicious);
    if sums.malicious >= CONTRADICTS && sums.benign >= CONTRADICTS {
        (2, Judgement::Suspicious, percent(sums.malicious.min(sums.benign)))
    } else if sums.malicious_grade_a >= LONE_MALICIOUS
        || (sums.malicious_families >= 2 && sums.malicious_together >= JOINT_MALICIOUS)
    {
        (3, Judgement::Malicious, percent(sums.malicious))
    } else if doubt_doubled >= COUNTS * 2 {
        (4, Judgement::Suspicious, percent(doubt_doubled / 2))
    } else if sums.benign >= COUNTS && !spoken_against && answers.nobody_is_missing() {
        (5, Judgement::Benign, percent(sums.benign))
    } else {
        (6, Judgement::Unknown, 0)
    }
}

/// The most reliable source with an opinion that weighs anything decides, and of equally reliable ones the worst; that
/// something is benign holds as everywhere only when nobody is missing who could have said otherwise.
fn most_reliable(opinions: &[Weighed], answers: Answers) -> (u8, Judgement, u32) {
    let speaking = opinions.iter().filter(|o| o.verdict != Judgement::Unknown && o.weight_hundredths > 0);
    let Some(decides) = speaking.min_by_key(|o| (o.grade, std::cmp::Reverse(o.verdict))) else {
        return (6, Judgement::Unknown, 0);
    };
    let weight = percent(decides.weight_hundredths);
    match decides.verdict {
        Judgement::Malicious => (3, Judgement::Malicious, weight),
        Judgement::Suspicious => (4, Judgement::Suspicious, weight),
        Judgement::Benign if answers.nobody_is_missing() => (5, Judgement::Benign, weight),
        Judgement::Benign | Judgement::Unknown => (6, Judgement::Unknown, 0),
    }
}

/// Whether people have called it a false positive so often that a person has to look again, and no grade-A source has seen
/// it since.
fn is_precedent(facts: &Facts, opinions: &[Weighed]) -> bool {
    facts.precedent.is_some_and(|precedent| {
        precedent.false_positives >= Precedent::FROM
            && !opinions
                .iter()
                .any(|o| o.verdict == Judgement::Malicious && is_newer_grade_a(o, precedent.last_at, Edition::Second))
    })
}

/// Whether a grade-A source has seen it since, by its own word. The first edition took the time of the answer for it.
fn is_newer_grade_a(opinion: &Weighed, than: Timestamp, edition: Edition) -> bool {
    let is_dated = opinion.dated || edition == Edition::First;
    opinion.grade == Grade::A && opinion.weight_hundredths > 0 && opinion.seen > than && is_dated
}

fn percent(hundredths: u32) -> u32 {
    (hundredths / 100).min(100)
}

pub(super) fn failures(facts: &Facts) -> Vec<String> {
    let what = |o: &Outcome| format!("{}: {}", o.provider, o.reason.as_deref().unwrap_or(o.outcome.as_str()));
    let failed: BTreeSet<String> = facts.outcomes.iter().filter(|o| o.outcome.is_failed()).map(what).collect();
    failed.into_iter().collect()
}
