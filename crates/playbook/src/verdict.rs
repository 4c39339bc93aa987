//! A verdict: what the playbook concludes from what the providers said.

mod rules;
#[cfg(test)]
mod tests;
mod weighing;
pub mod words;

use std::collections::BTreeMap;

use ioc::Observable;
use serde::{Deserialize, Serialize};

use crate::{
    Fault, Timestamp,
    incident::Withheld,
    outcome::{Grade, Judgement, Opinion, Outcome},
    rows::{Key, Row},
};

/// The family of what carries our own marker: it counts for nothing.
pub const SELF: &str = "self";

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
    /// There are opinions, but they weigh too little, or a source that could have said otherwise is missing.
    WeakEvidence,
    /// There are opinions, but none weighs anything: they are too old, our own, or of sources that are not trusted at all.
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
    /// Days that it rules where the person said "never again": as good as without end.
    pub const DAYS_WITHOUT_END: i64 = 36_500;

    /// Where the decision on an observable is kept.
    #[must_use]
    pub fn key(observable: &Observable) -> Key {
        Key::new(format!("observable#{}", observable.key()), "decision")
    }
}

/// How often people have called an observable a false positive, whether or not one of these decisions still rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precedent {
    /// In how many incidents.
    pub false_positives: u32,
    /// When the last of them was decided.
    pub last_at: Timestamp,
}

impl Precedent {
    /// So many make a precedent.
    pub const FROM: u32 = 2;
    const PREFIX: &str = "false-positive#";

    /// Where it is kept that an incident with the observable was called a false positive.
    #[must_use]
    pub fn key(observable: &Observable, id: &crate::IncidentId) -> Key {
        Key::new(format!("observable#{}", observable.key()), format!("{}{id}", Self::PREFIX))
    }

    /// From the rows of the observable's partition; `None` where nobody has ever called it a false positive.
    pub fn read(rows: &[Row]) -> Result<Option<Self>, Fault> {
        let mut precedent: Option<Self> = None;
        for row in rows.iter().filter(|row| row.key.sk.starts_with(Self::PREFIX)) {
            let FalsePositive { at, .. } = row.read()?;
            let before = precedent.unwrap_or(Self { false_positives: 0, last_at: at });
            let false_positives = before.false_positives.saturating_add(1);
            precedent = Some(Self { false_positives, last_at: before.last_at.max(at) });
        }
        Ok(precedent)
    }
}

/// That a person has called an observable a false positive (`false-positive/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalsePositive {
    /// `false-positive/1`.
    pub schema: String,
    /// When.
    pub at: Timestamp,
}

impl FalsePositive {
    /// Decided at this time.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { schema: "false-positive/1".to_owned(), at }
    }
}

/// How opinions become a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Independent families are weighed against each other.
    #[default]
    Families,
    /// As Cortex XSOAR merges `DBotScore`s: the most reliable source decides, and of equally reliable ones the worst.
    Xsoar,
}

impl Merge {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::Families
    }
}

/// Which edition of the rule is applied: receipts are replayed by the edition that they were written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// `receipt/1`: only required families make a verdict degraded, what was not asked never stands in the way of benign, and a
    /// family that an aggregator has repeated counts as heard.
    First,
    /// `receipt/2`.
    Second,
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
    /// How far each provider is trusted at most for this type, by its id. One that is missing is trusted as far as the
    /// opinion says, and as `F` where that says nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grades: BTreeMap<String, Grade>,
    /// How opinions become a verdict.
    #[serde(default, skip_serializing_if = "Merge::is_usual")]
    pub merge: Merge,
    /// What a person decided earlier, if it still rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<PersonDecision>,
    /// How often people have called it a false positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precedent: Option<Precedent>,
}

impl Facts {
    /// Nothing but the observable: nobody was asked.
    #[must_use]
    pub const fn bare(observable: Observable) -> Self {
        Self {
            observable,
            withheld: None,
            required: vec![],
            outcomes: vec![],
            grades: BTreeMap::new(),
            merge: Merge::Families,
            decision: None,
            precedent: None,
        }
    }

    /// How far the source of an opinion is trusted: a mapping may lower the grade of its provider, never raise it.
    #[must_use]
    pub fn grade(&self, outcome: &Outcome, opinion: &Opinion) -> Grade {
        match (opinion.grade, self.grades.get(&outcome.provider).copied()) {
            (Some(said), Some(ceiling)) => said.at_most(ceiling),
            (said, ceiling) => said.or(ceiling).unwrap_or(Grade::F),
        }
    }
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
    /// Whether the source itself says when it last saw it. Only such an opinion is newer than what people have decided: a
    /// source that only goes on listing it has seen nothing new.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub dated: bool,
    /// Whether the source said it before and has not answered now.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub stale: bool,
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
    /// A source that opines failed to answer: the verdict may be too low.
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
    /// Sources that failed to answer, with the provider and the reason, such as `urlhaus: timeout`.
    #[serde(default)]
    pub failed: Vec<String>,
}

impl Verdict {
    /// Silence is not innocence: without an explicit opinion the verdict is `Unknown`, with the reason. Total, and
    /// independent of the order of the outcomes.
    #[must_use]
    pub fn reach(facts: &Facts, now: Timestamp) -> Self {
        Self::reach_by(Edition::Second, facts, now)
    }

    /// By an earlier edition of the rule.
    #[must_use]
    pub fn reach_by(edition: Edition, facts: &Facts, now: Timestamp) -> Self {
        if facts.withheld.is_some() && facts.outcomes.is_empty() {
            return Self::silent(Reason::NoOpinion);
        }
        let answers = rules::Answers::of(facts, edition);
        let by = |opinions: Vec<Weighed>| {
            let sums = weighing::sum(&opinions, edition);
            let decided = rules::decide(facts, &opinions, sums, answers, now);
            (decided, sums, opinions)
        };
        let opinions = weighing::weigh(facts, edition, now);
        let decided = if opinions.iter().any(|opinion| opinion.stale) {
            // What is stale may raise the verdict, never lower it, whichever rule would let it.
            let fresh = by(weighing::weigh_fresh(facts, edition, now));
            let all = by(opinions);
            if fresh.0.1 > all.0.1 { fresh } else { all }
        } else {
            by(opinions)
        };
        let ((rule, verdict, confidence), sums, opinions) = decided;
        let reason = match (rule, verdict) {
            (2, _) => Some(Reason::Contradiction),
            (_, Judgement::Unknown) => Some(answers.reason(facts, &opinions)),
            _ => None,
        };
        Self {
            verdict,
            reason,
            degraded: answers.is_degraded(),
            confidence,
            coverage: answers.coverage,
            rule,
            sums,
            opinions,
            failed: rules::failures(facts),
        }
    }

    /// The same in Cortex XSOAR's scale: 0 unknown, 1 good, 2 suspicious, 3 bad.
    #[must_use]
    pub const fn dbot_score(&self) -> u8 {
        match self.verdict {
            Judgement::Unknown => 0,
            Judgement::Benign => 1,
            Judgement::Suspicious => 2,
            Judgement::Malicious => 3,
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
