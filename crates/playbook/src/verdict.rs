//! A verdict: what the playbook concludes from what the providers said.

use std::collections::{BTreeMap, BTreeSet};

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    incident::Withheld,
    outcome::{Grade, Judgement, Outcome},
    rows::Key,
    weight,
};

/// The family of what carries our own marker: it counts for nothing.
pub const SELF: &str = "self";

/// One grade-A family of this weight makes malicious by itself (hundredths).
const LONE_MALICIOUS: u32 = 7_000;
/// A family counts towards a joint verdict from this weight (hundredths); also the threshold of suspicious and benign.
const COUNTS: u32 = 3_500;
/// At least two counting families together make malicious from this weight (hundredths).
const JOINT_MALICIOUS: u32 = 10_000;
/// Malicious and benign contradict each other from this weight each (hundredths).
const CONTRADICTS: u32 = 5_000;

/// Why a verdict says so little, or that the sources contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Weighty opinions say malicious and benign: a person must look.
    Contradiction,
    /// A required family answered with an error, a limit or not yet.
    Degraded,
    /// A required family was not asked.
    LowCoverage,
    /// There are opinions, but they weigh too little.
    WeakEvidence,
    /// There are opinions, but all are too old to weigh anything.
    Expired,
    /// Nobody has an opinion.
    NoOpinion,
    /// Everybody answered, nobody knows it.
    NotFound,
}

impl Reason {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contradiction => "contradiction",
            Self::Degraded => "degraded",
            Self::LowCoverage => "low_coverage",
            Self::WeakEvidence => "weak_evidence",
            Self::Expired => "expired",
            Self::NoOpinion => "no_opinion",
            Self::NotFound => "not_found",
        }
    }
}

/// How many of the families that policy requires for the type have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Required families that answered `found` or `not_found`.
    pub answered: u32,
    /// Required families of the type.
    pub required: u32,
}

/// A person's earlier decision on an observable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonDecision {
    /// What the person decided.
    pub verdict: Judgement,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Until when it rules.
    pub expires_at: Timestamp,
}

impl PersonDecision {
    /// Days that a person's decision on an observable rules.
    pub const DAYS: i64 = 90;

    /// Where the decision on an observable is kept.
    #[must_use]
    pub fn key(observable: &Observable) -> Key {
        Key::new(format!("observable#{}", observable.key()), "decision")
    }
}

/// All that a verdict is reached from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The observable.
    pub observable: Observable,
    /// Why it was not looked up, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// The families that policy requires for the type.
    pub required: Vec<String>,
    /// What became of each lookup.
    pub outcomes: Vec<Outcome>,
    /// What a person decided earlier, if it still rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<PersonDecision>,
}

/// One opinion with the weight it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// The provider.
    pub provider: String,
    /// The family it counts for.
    pub family: String,
    /// What it says.
    pub verdict: Judgement,
    /// How far it is trusted.
    pub grade: Grade,
    /// From when its age is counted.
    pub seen: Timestamp,
    /// Grade × freshness, in hundredths, 0–10,000.
    pub weight_hundredths: u32,
    /// Whether it counts: the highest of its family, and not a repetition of what has counted already.
    pub counts: bool,
}

/// The sums behind a verdict, in hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Malicious weight: the sum over families.
    pub malicious: u32,
    /// Malicious weight of the families of at least 35.
    pub malicious_together: u32,
    /// How many families those are.
    pub malicious_families: u32,
    /// The weightiest grade-A family that says malicious.
    pub malicious_grade_a: u32,
    /// Suspicious weight: the sum over families.
    pub suspicious: u32,
    /// The weightiest explicit benign of grade A or B.
    pub benign: u32,
}

/// What the playbook concludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The conclusion.
    pub verdict: Judgement,
    /// Why it is unknown, or that it is a contradiction; absent otherwise.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// A required family failed to answer: the verdict may be too low.
    pub degraded: bool,
    /// How sure, 0–100: the deciding weight.
    pub confidence: u32,
    /// Who has answered.
    pub coverage: Coverage,
    /// Which rule of the list decided: 1 person, 2 contradiction, 3 malicious, 4 suspicious, 5 benign, 6 unknown.
    pub rule: u8,
    /// The arithmetic.
    pub sums: Sums,
    /// Every opinion with its weight, in the order of providers.
    pub opinions: Vec<Weighed>,
    /// Required families that failed to answer, with the provider and the reason, such as `urlhaus: timeout`.
    #[serde(default)]
    pub failed: Vec<String>,
}

impl Verdict {
    /// Silence is not innocence: without an explicit opinion the verdict is `Unknown`, with the reason. Total, and
    /// independent of the order of the outcomes.
    #[must_use]
    pub fn reach(facts: &Facts, now: Timestamp) -> Self {
        if facts.withheld.is_some() && facts.outcomes.is_empty() {
            return Self::silent(Reason::NoOpinion);
        }
        let opinions = weigh(facts, now);
        let sums = sum(&opinions);
        let answers = Answers::of(facts);
        let (rule, verdict, confidence) = decide(facts, &opinions, sums, answers, now);
        let reason = match (rule, verdict) {
            (2, _) => Some(Reason::Contradiction),
            (_, Judgement::Unknown) => Some(answers.reason(facts, &opinions)),
            _ => None,
        };
        Self {
            verdict,
            reason,
            degraded: answers.degraded,
            confidence,
            coverage: answers.coverage,
            rule,
            sums,
            opinions,
            failed: failures(facts),
        }
    }

    /// A person must look although no rule says malicious.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        self.reason == Some(Reason::Contradiction)
    }

    /// Malicious or suspicious.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Judgement::Malicious | Judgement::Suspicious)
    }

    fn silent(reason: Reason) -> Self {
        Self {
            verdict: Judgement::Unknown,
            reason: Some(reason),
            degraded: false,
            confidence: 0,
            coverage: Coverage::default(),
            rule: 6,
            sums: Sums::default(),
            opinions: vec![],
            failed: vec![],
        }
    }
}

/// Weighs every opinion, then marks those that count: the highest of each family, direct ones before aggregators.
fn weigh(facts: &Facts, now: Timestamp) -> Vec<Weighed> {
    let kind: ObservableType = facts.observable.kind();
    let mut seen_by: Vec<(Weighed, &[String])> = vec![];
    for outcome in &facts.outcomes {
        let Some(opinion) = &outcome.opinion else { continue };
        let seen = opinion.last_seen.unwrap_or(outcome.fetched_at);
        let weight_hundredths =
            if outcome.family == SELF { 0 } else { weight::hundredths(opinion.grade, kind, seen, now) };
        let weighed = Weighed {
            provider: outcome.provider.clone(),
            family: outcome.family.clone(),
            verdict: opinion.verdict,
            grade: opinion.grade,
            seen,
            weight_hundredths,
            counts: false,
        };
        seen_by.push((weighed, &opinion.upstreams));
    }
    // Direct before aggregators, heavy before light, then by provider: the order of the input never matters.
    seen_by.sort_by(|(a, a_up), (b, b_up)| {
        (!a_up.is_empty())
            .cmp(&!b_up.is_empty())
            .then(b.weight_hundredths.cmp(&a.weight_hundredths))
            .then(a.grade.cmp(&b.grade))
            .then(a.provider.cmp(&b.provider))
            .then(a.verdict.cmp(&b.verdict))
    });
    let mut counted: BTreeMap<Judgement, BTreeSet<&str>> = BTreeMap::new();
    let mut counts = vec![];
    for (weighed, upstreams) in &seen_by {
        let taken = counted.entry(weighed.verdict).or_default();
        let repeats = !upstreams.is_empty() && upstreams.iter().all(|family| taken.contains(family.as_str()));
        let first_of_family = !taken.contains(weighed.family.as_str());
        if first_of_family && !repeats {
            taken.insert(&weighed.family);
            taken.extend(upstreams.iter().map(String::as_str));
        }
        counts.push(first_of_family && !repeats);
    }
    let mut opinions: Vec<Weighed> =
        seen_by.into_iter().zip(counts).map(|((weighed, _), counts)| Weighed { counts, ..weighed }).collect();
    opinions.sort_by(|a, b| a.provider.cmp(&b.provider).then(a.verdict.cmp(&b.verdict)));
    opinions
}

fn sum(opinions: &[Weighed]) -> Sums {
    let mut sums = Sums::default();
    for opinion in opinions.iter().filter(|o| o.counts) {
        let weight = opinion.weight_hundredths;
        match opinion.verdict {
            Judgement::Malicious => {
                sums.malicious = sums.malicious.saturating_add(weight);
                if weight >= COUNTS {
                    sums.malicious_together = sums.malicious_together.saturating_add(weight);
                    sums.malicious_families += 1;
                }
                if opinion.grade == Grade::A {
                    sums.malicious_grade_a = sums.malicious_grade_a.max(weight);
                }
            }
            Judgement::Suspicious => sums.suspicious = sums.suspicious.saturating_add(weight),
            Judgement::Benign | Judgement::Unknown => {}
        }
    }
    // An explicit benign needs no sum: one trusted source says so.
    let trusted = |o: &&Weighed| o.verdict == Judgement::Benign && matches!(o.grade, Grade::A | Grade::B);
    sums.benign = opinions.iter().filter(trusted).map(|o| o.weight_hundredths).max().unwrap_or(0);
    sums
}

/// What the required families did.
#[derive(Clone, Copy)]
struct Answers {
    coverage: Coverage,
    /// A required family failed to answer.
    degraded: bool,
    /// Any source failed to answer: then nothing is called benign, whoever was required.
    outage: bool,
}

impl Answers {
    fn of(facts: &Facts) -> Self {
        let required: BTreeSet<&str> = facts.required.iter().map(String::as_str).collect();
        let mut answered = 0;
        let mut degraded = false;
        for family in &required {
            let mut of_family = facts.outcomes.iter().filter(|o| o.family == *family);
            if of_family.clone().any(|o| o.outcome.is_answered()) {
                answered += 1;
            } else if of_family.any(|o| o.outcome.is_failed()) {
                degraded = true;
            }
        }
        let required = u32::try_from(required.len()).unwrap_or(u32::MAX);
        let outage = facts.outcomes.iter().any(|outcome| outcome.outcome.is_failed());
        Self { coverage: Coverage { answered, required }, degraded, outage }
    }

    const fn is_complete(self) -> bool {
        self.coverage.answered == self.coverage.required
    }

    /// The first that holds.
    fn reason(self, facts: &Facts, opinions: &[Weighed]) -> Reason {
        let mut spoken = opinions.iter().filter(|o| o.verdict != Judgement::Unknown).peekable();
        let answered = facts.outcomes.iter().any(|o| o.outcome.is_answered());
        let known = facts.outcomes.iter().any(|o| o.outcome == crate::outcome::Status::Found);
        if self.degraded {
            Reason::Degraded
        } else if !self.is_complete() {
            Reason::LowCoverage
        } else if self.outage && opinions.iter().any(|o| o.verdict == Judgement::Benign) {
            // It would be benign but for a source that failed.
            Reason::Degraded
        } else if spoken.peek().is_some() {
            if spoken.any(|o| o.weight_hundredths > 0) { Reason::WeakEvidence } else { Reason::Expired }
        } else if known || !answered {
            Reason::NoOpinion
        } else {
            Reason::NotFound
        }
    }
}

/// The first rule that holds: its number, the verdict and the deciding weight.
fn decide(facts: &Facts, opinions: &[Weighed], sums: Sums, answers: Answers, now: Timestamp) -> (u8, Judgement, u32) {
    if let Some(decision) = facts.decision.as_ref().filter(|d| d.expires_at > now) {
        let newer_grade_a = opinions.iter().any(|o| {
            o.grade == Grade::A
                && o.weight_hundredths > 0
                && o.seen > decision.at
                && matches!(o.verdict, Judgement::Malicious | Judgement::Benign)
                && o.verdict != decision.verdict
        });
        return if newer_grade_a { (2, Judgement::Suspicious, 50) } else { (1, decision.verdict, 100) };
    }
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
    } else if sums.benign >= COUNTS && !spoken_against && answers.is_complete() && !answers.outage {
        (5, Judgement::Benign, percent(sums.benign))
    } else {
        (6, Judgement::Unknown, 0)
    }
}

fn percent(hundredths: u32) -> u32 {
    (hundredths / 100).min(100)
}

fn failures(facts: &Facts) -> Vec<String> {
    let mut failed: Vec<String> = facts
        .outcomes
        .iter()
        .filter(|o| o.outcome.is_failed())
        .map(|o| format!("{}: {}", o.provider, o.reason.as_deref().unwrap_or(o.outcome.as_str())))
        .collect();
    failed.sort();
    failed.dedup();
    failed
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
