//! The arithmetic of a verdict in words: every number of the receipt, in the order in which it is reached.

use super::{SELF, Sums, Verdict, Weighed};
use crate::{
    Timestamp,
    outcome::{Grade, Judgement},
};

/// The rule that decided, in words.
#[must_use]
pub const fn rule(number: u8) -> &'static str {
    match number {
        1 => "a person decided earlier, and that still rules",
        2 => {
            "contradiction: weighty sources say malicious and benign, or newer evidence speaks against a person's decision, or \
             people have called it a false positive twice"
        }
        3 => "malicious: one grade-A source of 70 or more, or two independent sources of 35 or more, together 100",
        4 => "suspicious: malicious weight and half the suspicious weight make 35 or more",
        5 => {
            "benign: a grade A or B source of 35 or more says so, nobody says otherwise, every required source has answered, \
             and nobody is missing"
        }
        _ => "unknown: no rule holds; silence is not innocence",
    }
}

impl Grade {
    /// The Admiralty letter with its words, as Cortex XSOAR and others spell reliability.
    #[must_use]
    pub const fn reliability(self) -> &'static str {
        match self {
            Self::A => "A - Completely reliable",
            Self::B => "B - Usually reliable",
            Self::C => "C - Fairly reliable",
            Self::D => "D - Not usually reliable",
            Self::E => "E - Unreliable",
            Self::F => "F - Reliability cannot be judged",
        }
    }
}

/// A weight as people read it, such as `49.95`.
#[must_use]
pub fn weight(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// How every opinion came to its weight, a line each, then the sums.
#[must_use]
pub fn arithmetic(verdict: &Verdict, now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = verdict.opinions.iter().map(|opinion| weighed(opinion, now)).collect();
    lines.push(sums(&verdict.sums));
    lines
}

/// One opinion, such as `urlhaus says malicious: A 100 × 0.99 after 1 hour = 98.59`.
fn weighed(opinion: &Weighed, now: Timestamp) -> String {
    let Weighed { provider, family, verdict, grade, seen, weight_hundredths, counts, stale, .. } = opinion;
    let whole = grade.weight() * 100;
    // In thousandths, because a weight of 99.96 is not a freshness of 1.
    let fresh = if family == SELF || whole == 0 { 0 } else { weight_hundredths * 1_000 / whole };
    let age = age(now.ms_since(*seen));
    let said = if *stale { "has not answered now and said before" } else { "says" };
    let said = format!("{provider} {said} {}", verdict.as_str());
    let product = format!(
        "{grade:?} {} × {}.{:03} {age} = {}",
        grade.weight(),
        fresh / 1_000,
        fresh % 1_000,
        weight(*weight_hundredths)
    );
    if family == SELF {
        return format!("{said}: we have written that ourselves, so it weighs 0");
    }
    if *verdict == Judgement::Unknown {
        return format!("{said}: no opinion");
    }
    if *counts {
        return format!("{said}: {product}");
    }
    let why = if family == provider { "its sources have counted".to_owned() } else { format!("{family} has counted") };
    format!("{said}: {product}, not counted: {why}")
}

fn sums(sums: &Sums) -> String {
    let Sums { malicious, malicious_together, malicious_families, malicious_grade_a, suspicious, benign } = sums;
    if [malicious, suspicious, benign].iter().all(|sum| **sum == 0) {
        return "nothing weighs anything".to_owned();
    }
    let best = if *malicious_grade_a == 0 {
        String::new()
    } else {
        format!(", best of grade A {}", weight(*malicious_grade_a))
    };
    let together = match malicious_families {
        0 => ", no family of 35 or more".to_owned(),
        1 => format!(", {} of 1 family of 35 or more{best}", weight(*malicious_together)),
        many => format!(", {} of {many} families of 35 or more{best}", weight(*malicious_together)),
    };
    let mut parts = vec![];
    if *malicious > 0 {
        parts.push(format!("malicious {}{together}", weight(*malicious)));
    }
    if *suspicious > 0 {
        parts.push(format!("suspicious {}, half of it {}", weight(*suspicious), weight(*suspicious / 2)));
    }
    if *benign > 0 {
        parts.push(format!("benign {}", weight(*benign)));
    }
    parts.join("; ")
}

fn age(ms: i64) -> String {
    let hours = ms.max(0) / 3_600_000;
    match (hours / 24, hours) {
        (_, 0) => "fresh".to_owned(),
        (_, 1) => "after 1 hour".to_owned(),
        (0..=2, hours) => format!("after {hours} hours"),
        (days, _) => format!("after {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_reads_like_a_sum() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let check = |verdict, weight_hundredths, counts, hours: i64, expected: &str| {
            let opinion = Weighed {
                provider: "otx".to_owned(),
                family: "otx".to_owned(),
                verdict,
                grade: Grade::C,
                seen: now.plus_hours(-hours),
                weight_hundredths,
                counts,
                dated: true,
                stale: false,
            };
            assert_eq!(weighed(&opinion, now), expected);
        };
        check(Judgement::Malicious, 5_000, true, 0, "otx says malicious: C 50 × 1.000 fresh = 50.00");
        check(Judgement::Malicious, 4_930, true, 1, "otx says malicious: C 50 × 0.986 after 1 hour = 49.30");
        check(
            Judgement::Suspicious,
            2_500,
            false,
            30 * 24,
            "otx says suspicious: C 50 × 0.500 after 30 days = 25.00, not counted: its sources have counted",
        );
        check(Judgement::Unknown, 5_000, true, 0, "otx says unknown: no opinion");
        let all = Sums {
            malicious: 12_500,
            malicious_together: 12_500,
            malicious_families: 2,
            malicious_grade_a: 0,
            suspicious: 5_001,
            benign: 0,
        };
        assert_eq!(
            sums(&all),
            "malicious 125.00, 125.00 of 2 families of 35 or more; suspicious 50.01, half of it 25.00"
        );
        assert_eq!(sums(&Sums::default()), "nothing weighs anything");
    }
}
