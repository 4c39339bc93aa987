//! A scorecard: how often a source was right about a type, by what people decided, and what its useful answers cost.
//!
//! People see what the sources say before they decide, and the incidents of one campaign are not independent of each
//! other: a scorecard is a reason to look, and changes nothing by itself.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ioc::ObservableType;
use serde::{Deserialize, Serialize};

use crate::{
    IncidentId, Timestamp,
    decision::{Choice, Decision},
    outcome::{Grade, Judgement, Outcome, PENDING_SUBMITTED, Status},
    receipt::Receipt,
    verdict::{SELF, Weighed},
};

/// So many decided opinions make a suggestion.
pub const DECIDED_MIN: u32 = 20;
/// 100 per cent in basis points.
pub const WHOLE: u32 = 10_000;
/// The lowest lower bound of the precision for each letter, in basis points; below the last it is `E`.
const FROM: [(u32, Grade); 4] = [(9_500, Grade::A), (8_500, Grade::B), (7_000, Grade::C), (5_000, Grade::D)];

/// What is known of one run of an incident.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// The incident.
    pub incident_id: &'a IncidentId,
    /// Its run.
    pub run: u32,
    /// A receipt for each observable.
    pub receipts: Vec<&'a Receipt>,
    /// What was decided about this run; the last that is not `timed_out` counts.
    pub decisions: &'a [Decision],
}

/// How often opinions of one sort turned out right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// People decided the same.
    pub confirmed: u32,
    /// People decided the opposite.
    pub refuted: u32,
    /// Nobody has decided.
    pub undecided: u32,
}

impl Tally {
    /// Opinions that a person's decision speaks for or against.
    #[must_use]
    pub const fn decided(self) -> u32 {
        self.confirmed.saturating_add(self.refuted)
    }

    /// All of them.
    #[must_use]
    pub const fn opinions(self) -> u32 {
        self.decided().saturating_add(self.undecided)
    }

    fn count(&mut self, is_right: Option<bool>) {
        match is_right {
            Some(true) => self.confirmed += 1,
            Some(false) => self.refuted += 1,
            None => self.undecided += 1,
        }
    }
}

/// What one source was worth at one type. Lookups are counted in every run; opinions once for each incident and observable,
/// where the source was asked in several runs, in the last that a person's decision says something about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scorecard {
    /// The provider.
    pub provider: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: ObservableType,
    /// Lookups, those that were skipped included; none while the source was off.
    pub asked: u32,
    /// Of them `found` or `not_found`.
    pub answered: u32,
    /// Of them `found`.
    pub found: u32,
    /// Of them `error`, `rate_limited` or `pending`.
    pub failed: u32,
    /// Of them `skipped`.
    pub skipped: u32,
    /// Opinions that say malicious or suspicious.
    pub bad: Tally,
    /// Opinions that say benign.
    pub benign: Tally,
    /// Confirmed bad opinions that weighed in the verdict.
    pub useful_hits: u32,
    /// Truly bad observables that it was to be asked about.
    pub truly_bad: u32,
    /// Of them those that it called malicious or suspicious.
    pub called_bad: u32,
    /// Calls that went out: each answer once, however often it was used; none for what was skipped or still waits.
    pub calls: u32,
}

impl Scorecard {
    fn new(provider: &str, kind: ObservableType) -> Self {
        Self {
            provider: provider.to_owned(),
            kind,
            asked: 0,
            answered: 0,
            found: 0,
            failed: 0,
            skipped: 0,
            bad: Tally::default(),
            benign: Tally::default(),
            useful_hits: 0,
            truly_bad: 0,
            called_bad: 0,
            calls: 0,
        }
    }

    /// How many of its decided bad opinions were right, in basis points; `None` when none was decided.
    #[must_use]
    pub fn precision(&self) -> Option<u32> {
        share(self.bad.confirmed, self.bad.decided())
    }

    /// The Wilson lower bound of [`Scorecard::precision`] at 95 per cent, in basis points, rounded down.
    #[must_use]
    pub fn precision_at_least(&self) -> Option<u32> {
        wilson_lower_bound(self.bad.confirmed, self.bad.decided())
    }

    /// How many of the truly bad observables that it was to be asked about it called bad, in basis points.
    #[must_use]
    pub fn coverage(&self) -> Option<u32> {
        share(self.called_bad, self.truly_bad)
    }

    /// How many of its lookups were answered, in basis points.
    #[must_use]
    pub fn availability(&self) -> Option<u32> {
        share(self.answered, self.asked)
    }

    /// The letter that the lower bound of its precision calls for: `A` from 95 per cent, `B` from 85, `C` from 70, `D` from 50,
    /// else `E`. `None` below [`DECIDED_MIN`] decided opinions.
    #[must_use]
    pub fn suggested(&self) -> Option<Grade> {
        if self.bad.decided() < DECIDED_MIN {
            return None;
        }
        let at_least = self.precision_at_least()?;
        Some(FROM.iter().find(|(from, _)| at_least >= *from).map_or(Grade::E, |(_, grade)| *grade))
    }

    /// Calls for one useful hit, in hundredths; `None` without a useful hit.
    #[must_use]
    pub fn calls_per_useful_hit_hundredths(&self) -> Option<u64> {
        rounded(u64::from(self.calls) * 100, self.useful_hits)
    }

    /// What one useful hit costs at this price of a call, both in millionths of a US dollar; `None` without a useful hit.
    #[must_use]
    pub fn microdollars_per_useful_hit(&self, price_microdollars: u32) -> Option<u64> {
        rounded(u64::from(self.calls) * u64::from(price_microdollars), self.useful_hits)
    }
}

/// What scorecards stand on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// Runs that were read.
    pub runs: u32,
    /// Their receipts.
    pub receipts: u32,
    /// Their decisions, `timed_out` included.
    pub decisions: u32,
    /// Runs whose last word is `approved` or `rejected`: only these say what is true.
    pub decided_runs: u32,
    /// Observables that people approved as bad, each once an incident.
    pub truly_bad: u32,
    /// Observables that people called a false positive, each once an incident.
    pub truly_harmless: u32,
    /// When the first of the receipts was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When the last of the receipts was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The scorecards of all sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scorecards {
    /// What they stand on.
    #[serde(flatten)]
    pub ground: Ground,
    /// One for each provider and type, in this order.
    pub scorecards: Vec<Scorecard>,
}

/// What a person's decision makes of an observable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Bad,
    Harmless,
}

/// A receipt whose opinions count, and what is true of its observable.
#[derive(Clone, Copy)]
struct Opined<'a> {
    receipt: &'a Receipt,
    run: u32,
    truth: Option<Truth>,
}

type Cards<'a> = BTreeMap<(&'a str, ObservableType), Scorecard>;

impl Scorecards {
    /// Counts. The order of what comes in never matters.
    ///
    /// An approval makes the approved observables of its run truly bad, and says nothing of the others. A rejection, a false
    /// positive, makes every observable truly harmless that was malicious or suspicious in its run. Everything else says nothing.
    #[must_use]
    pub fn of(judged: &[Judged<'_>]) -> Self {
        let mut cards = Cards::new();
        let mut calls: BTreeSet<(String, &str, Timestamp)> = BTreeSet::new();
        let mut opined: BTreeMap<(&IncidentId, String), Opined<'_>> = BTreeMap::new();
        let mut decided_runs = 0;
        for run in judged {
            let last_word = Decision::last_word(run.decisions);
            decided_runs +=
                u32::from(last_word.is_some_and(|d| matches!(d.choice, Choice::Approved | Choice::Rejected)));
            for receipt in &run.receipts {
                let (key, kind) = (receipt.facts.observable.key(), receipt.facts.observable.kind());
                for outcome in receipt.facts.outcomes.iter().filter(|outcome| is_of_a_provider(outcome)) {
                    let is_new = is_call(outcome) && calls.insert((key.clone(), &outcome.provider, outcome.fetched_at));
                    count_lookup(card(&mut cards, &outcome.provider, kind), outcome.outcome, is_new);
                }
                let new =
                    Opined { receipt, run: run.run, truth: last_word.and_then(|word| truth(word, receipt, &key)) };
                let rank = |known: &Opined<'_>| (known.truth.is_some(), known.run, known.receipt.now);
                let known = opined.entry((run.incident_id, key)).or_insert(new);
                if rank(known) < rank(&new) {
                    *known = new;
                }
            }
        }
        for opined in opined.values() {
            count_opinions(&mut cards, opined);
        }
        let receipts = || judged.iter().flat_map(|run| &run.receipts);
        let having = |truth| count(opined.values().filter(|opined| opined.truth == Some(truth)).count());
        let ground = Ground {
            runs: count(judged.len()),
            receipts: count(receipts().count()),
            decisions: count(judged.iter().map(|run| run.decisions.len()).sum()),
            decided_runs,
            truly_bad: having(Truth::Bad),
            truly_harmless: having(Truth::Harmless),
            from: receipts().map(|receipt| receipt.now).min(),
            until: receipts().map(|receipt| receipt.now).max(),
        };
        Self { ground, scorecards: cards.into_values().collect() }
    }
}

fn card<'a, 'b>(cards: &'b mut Cards<'a>, provider: &'a str, kind: ObservableType) -> &'b mut Scorecard {
    cards.entry((provider, kind)).or_insert_with(|| Scorecard::new(provider, kind))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn truth(decision: &Decision, receipt: &Receipt, key: &str) -> Option<Truth> {
    match decision.choice {
        Choice::Approved => decision.indicators.iter().any(|approved| approved == key).then_some(Truth::Bad),
        Choice::Rejected => receipt.verdict.is_bad().then_some(Truth::Harmless),
        Choice::Acknowledged | Choice::LookAgain | Choice::Escalated | Choice::Answered | Choice::TimedOut => None,
    }
}

/// Whether a provider that opines was to be asked. What no manifest made is the incident's own claim, or stands for a chunk
/// that failed.
fn is_of_a_provider(outcome: &Outcome) -> bool {
    !outcome.context && !outcome.is_off() && !outcome.manifest_digest.is_empty()
}

/// Whether something went out. `cached` does not say so: a run that waits reads its own first answers from the cache.
fn is_call(outcome: &Outcome) -> bool {
    match outcome.outcome {
        Status::Skipped => false,
        Status::Pending => outcome.reason.as_deref() == Some(PENDING_SUBMITTED),
        Status::Found | Status::NotFound | Status::Error | Status::RateLimited => true,
    }
}

fn count_lookup(card: &mut Scorecard, status: Status, is_call: bool) {
    card.asked += 1;
    card.answered += u32::from(status.is_answered());
    card.found += u32::from(status == Status::Found);
    card.failed += u32::from(status.is_failed());
    card.skipped += u32::from(status == Status::Skipped);
    card.calls += u32::from(is_call);
}

fn count_opinions<'a>(cards: &mut Cards<'a>, Opined { receipt, truth, .. }: &Opined<'a>) {
    let kind = receipt.facts.observable.kind();
    let outcomes = receipt.facts.outcomes.iter().filter(|outcome| is_of_a_provider(outcome));
    let providers: BTreeSet<&str> = outcomes.map(|outcome| outcome.provider.as_str()).collect();
    let is_bad = |opinion: &Weighed| matches!(opinion.verdict, Judgement::Malicious | Judgement::Suspicious);
    for provider in providers {
        let card = card(cards, provider, kind);
        // What carries our own marker is no opinion of the source.
        let opinions = receipt.verdict.opinions.iter().filter(|o| o.provider == provider && o.family != SELF);
        let mut called_bad = false;
        for opinion in opinions {
            if is_bad(opinion) {
                let is_right = truth.map(|truth| truth == Truth::Bad);
                card.bad.count(is_right);
                let weighed = opinion.counts && opinion.weight_hundredths > 0;
                card.useful_hits += u32::from(is_right == Some(true) && weighed);
                called_bad = true;
            } else if opinion.verdict == Judgement::Benign {
                card.benign.count(truth.map(|truth| truth == Truth::Harmless));
            }
        }
        if *truth == Some(Truth::Bad) {
            card.truly_bad += 1;
            card.called_bad += u32::from(called_bad);
        }
    }
}

/// A part of a whole in basis points, rounded half up; `None` of nothing.
fn share(part: u32, whole: u32) -> Option<u32> {
    u32::try_from(rounded(u64::from(part) * u64::from(WHOLE), whole)?).ok()
}

/// A quotient, rounded half up; `None` by zero.
fn rounded(number: u64, by: u32) -> Option<u64> {
    let by = u64::from(by);
    number.saturating_add(by / 2).checked_div(by)
}

/// The lower bound of Wilson's score interval at 95 per cent (z = 1.96) for so many of so many, in basis points, rounded down;
/// `None` of nothing. After Wilson, "Probable inference, the law of succession, and statistical inference" (1927). Exact: the
/// bound is the greatest p up to the observed share for which (share − p)² · n ≥ z² · p · (1 − p), and z² = 2401 / 625.
#[must_use]
pub fn wilson_lower_bound(confirmed: u32, decided: u32) -> Option<u32> {
    if decided == 0 {
        return None;
    }
    let (k, n, whole) = (u128::from(confirmed.min(decided)), u128::from(decided), u128::from(WHOLE));
    let holds = |p: u32| {
        let p = u128::from(p);
        let Some(distance) = (k * whole).checked_sub(p * n) else { return false };
        625 * distance * distance >= 2_401 * n * p * (whole - p)
    };
    // It holds of 0, fails from some p on, and the bound is always below 1.
    let (mut low, mut high) = (0, WHOLE - 1);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}
