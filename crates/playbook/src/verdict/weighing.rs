//! What each opinion weighs, which of them count, and the sums.

use std::collections::{BTreeMap, BTreeSet};

use ioc::ObservableType;

use super::{Edition, Facts, SELF, Sums, Weighed};
use crate::{
    Timestamp,
    outcome::{Grade, Judgement},
    weight,
};

/// A family counts towards a joint verdict from this weight (hundredths); also the threshold of suspicious and benign.
pub(super) const COUNTS: u32 = 3_500;

/// What the opinions come to.
pub(super) struct Weighing {
    pub(super) opinions: Vec<Weighed>,
    pub(super) sums: Sums,
}

/// Weighs every opinion, marks those that count, and adds them up.
pub(super) fn weigh(facts: &Facts, edition: Edition, now: Timestamp) -> Weighing {
    let kind: ObservableType = facts.observable.kind();
    let mut seen_by: Vec<(Weighed, &[String])> = vec![];
    for outcome in &facts.outcomes {
        // What a source said before counts where it has not answered now, and only against the observable.
        let before = outcome.stale.as_deref().filter(|stale| outcome.opinion.is_none() && stale.is_bad());
        let fresh = outcome.opinion.as_ref().map(|opinion| (opinion, outcome.fetched_at));
        let said = fresh.or_else(|| before.map(|stale| (&stale.opinion, stale.fetched_at)));
        let Some((opinion, fetched_at)) = said.filter(|_| !outcome.context) else { continue };
        let seen = opinion.last_seen.unwrap_or(fetched_at);
        let dated = edition > Edition::First && opinion.last_seen.is_some();
        let family = if opinion.own { SELF } else { outcome.family.as_str() };
        let grade = facts.grade(outcome, opinion);
        let weight_hundredths = if family == SELF { 0 } else { weight::hundredths(grade, kind, seen, now) };
        let weighed = Weighed {
            provider: outcome.provider.clone(),
            family: family.to_owned(),
            verdict: opinion.verdict,
            grade,
            seen,
            weight_hundredths,
            counts: false,
            dated,
            stale: outcome.opinion.is_none(),
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
            .then_with(|| (&a.family, a.seen, a_up).cmp(&(&b.family, b.seen, b_up)))
    });
    let counts = if edition == Edition::First { counting_first(&seen_by) } else { counting(&seen_by, 0) };
    let together = if edition == Edition::First { counts.clone() } else { counting(&seen_by, COUNTS) };
    let joint = seen_by.iter().zip(together).filter(|(_, counts)| *counts).map(|((weighed, _), _)| weighed);
    let joint = joint.filter(|o| o.verdict == Judgement::Malicious && o.weight_hundredths >= COUNTS);
    let (malicious_together, malicious_families) =
        joint.fold((0_u32, 0), |(sum, count), o| (sum.saturating_add(o.weight_hundredths), count + 1));
    let mut opinions: Vec<Weighed> =
        seen_by.into_iter().zip(counts).map(|((weighed, _), counts)| Weighed { counts, ..weighed }).collect();
    opinions.sort_by(|a, b| {
        let rest = |o: &Weighed| (o.weight_hundredths, o.grade, o.seen, o.counts);
        let named = a.provider.cmp(&b.provider).then(a.verdict.cmp(&b.verdict)).then_with(|| a.family.cmp(&b.family));
        named.then_with(|| rest(a).cmp(&rest(b)))
    });
    let sums = Sums { malicious_together, malicious_families, ..sum(&opinions, edition) };
    Weighing { opinions, sums }
}

/// The same without what is stale.
pub(super) fn weigh_fresh(facts: &Facts, edition: Edition, now: Timestamp) -> Weighing {
    let mut fresh = facts.clone();
    for outcome in &mut fresh.outcomes {
        outcome.stale = None;
    }
    weigh(&fresh, edition, now)
}

/// Which of the opinions count, in the order of [`weigh`], of those that weigh at least so much.
///
/// A family counts once, and an aggregator only while one of its upstreams has no other voice among those that count: itself or
/// through another aggregator. Of all selections that hold this the heaviest counts, so that one more opinion never makes the
/// sum smaller; of equally heavy ones that with fewer aggregators, and then the first.
fn counting(seen_by: &[(Weighed, &[String])], at_least: u32) -> Vec<bool> {
    let mut counts = vec![false; seen_by.len()];
    for verdict in [Judgement::Unknown, Judgement::Benign, Judgement::Suspicious, Judgement::Malicious] {
        let fits =
            |(weighed, _): &&(Weighed, &[String])| weighed.verdict == verdict && weighed.weight_hundredths >= at_least;
        let voices: Vec<(usize, &Weighed, &[String])> = (0..)
            .zip(seen_by)
            .filter(|(_, seen)| fits(seen))
            .map(|(at, (weighed, upstreams))| (at, weighed, *upstreams))
            .collect();
        for at in Selection::heaviest(&voices) {
            if let Some(counts) = counts.get_mut(at) {
                *counts = true;
            }
        }
    }
    counts
}

/// The most aggregators that are tried together with each other; the lightest beyond them do not count.
const AGGREGATORS_MAX: usize = 10;

/// Voices that count together.
struct Selection;

impl Selection {
    /// The places of the voices of the heaviest selection. Voices are in the order of [`weigh`].
    fn heaviest(voices: &[(usize, &Weighed, &[String])]) -> Vec<usize> {
        // Of each family the heaviest that speaks for itself.
        let mut direct: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
        for (at, weighed, _) in voices.iter().filter(|(_, _, upstreams)| upstreams.is_empty()) {
            direct.entry(&weighed.family).or_insert((*at, weighed.weight_hundredths));
        }
        let aggregators: Vec<_> =
            voices.iter().filter(|(_, _, upstreams)| !upstreams.is_empty()).take(AGGREGATORS_MAX).collect();
        let mut best: Option<(u64, u32, u32)> = None;
        for mask in 0..1_u32 << aggregators.len() {
            let chosen = || (0..).zip(&aggregators).filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, voice)| *voice);
            if let Some(weight) = Self::weight(&direct, chosen()) {
                let key = (weight, u32::MAX - mask.count_ones(), u32::MAX - mask);
                best = best.max(Some(key));
            }
        }
        let mask = best.map_or(0, |(_, _, left)| u32::MAX - left);
        let chosen: Vec<_> =
            (0..).zip(&aggregators).filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, v)| *v).collect();
        let silent = Self::silent(&direct, chosen.iter().copied()).unwrap_or_default();
        let own = direct.iter().filter(|(family, _)| !silent.contains(*family)).map(|(_, (at, _))| *at);
        own.chain(chosen.iter().map(|(at, _, _)| *at)).collect()
    }

    /// What these aggregators and everybody who may speak beside them weigh; `None` where they do not go together.
    fn weight<'v>(
        direct: &BTreeMap<&str, (usize, u32)>,
        chosen: impl Iterator<Item = &'v (usize, &'v Weighed, &'v [String])> + Clone,
    ) -> Option<u64> {
        let silent = Self::silent(direct, chosen.clone())?;
        let own = direct.iter().filter(|(family, _)| !silent.contains(*family));
        let own: u64 = own.map(|(_, (_, weight))| u64::from(*weight)).sum();
        Some(own + chosen.map(|(_, weighed, _)| u64::from(weighed.weight_hundredths)).sum::<u64>())
    }

    /// The families that do not speak for themselves beside these aggregators: theirs, and for each the lightest of its
    /// upstreams for which nobody else speaks. `None` where one of them would only repeat the others.
    fn silent<'v>(
        direct: &BTreeMap<&str, (usize, u32)>,
        chosen: impl Iterator<Item = &'v (usize, &'v Weighed, &'v [String])> + Clone,
    ) -> Option<BTreeSet<&'v str>> {
        let mut silent: BTreeSet<&str> = BTreeSet::new();
        for (_, weighed, _) in chosen.clone() {
            // A family counts once.
            if !silent.insert(&weighed.family) {
                return None;
            }
        }
        let families = silent.clone();
        for (at, _, upstreams) in chosen.clone() {
            let speaks = |other: &(usize, &Weighed, &[String]), family: &str| {
                other.0 != *at && (other.1.family == family || other.2.iter().any(|up| up == family))
            };
            let has_no_other_voice = |family: &&String| !chosen.clone().any(|other| speaks(other, family));
            let own_voice = |family: &str| {
                let is_silent = families.contains(family);
                direct.get(family).filter(|_| !is_silent).map_or(0, |(_, weight)| *weight)
            };
            let witness =
                upstreams.iter().filter(has_no_other_voice).min_by_key(|family| (own_voice(family), *family))?;
            silent.insert(witness);
        }
        Some(silent)
    }
}

/// As the first edition counted: who was heard, itself or through an aggregator, was not heard again.
fn counting_first(seen_by: &[(Weighed, &[String])]) -> Vec<bool> {
    let mut spoken: BTreeMap<Judgement, BTreeSet<&str>> = BTreeMap::new();
    let counts = seen_by.iter().map(|(weighed, upstreams)| {
        let spoken = spoken.entry(weighed.verdict).or_default();
        let repeats = !upstreams.is_empty() && upstreams.iter().all(|family| spoken.contains(family.as_str()));
        if repeats || spoken.contains(weighed.family.as_str()) {
            return false;
        }
        spoken.insert(&weighed.family);
        spoken.extend(upstreams.iter().map(String::as_str));
        true
    });
    counts.collect()
}

fn sum(opinions: &[Weighed], edition: Edition) -> Sums {
    let mut sums = Sums::default();
    for opinion in opinions.iter().filter(|o| o.counts) {
        let weight = opinion.weight_hundredths;
        match opinion.verdict {
            Judgement::Malicious => sums.malicious = sums.malicious.saturating_add(weight),
            Judgement::Suspicious => sums.suspicious = sums.suspicious.saturating_add(weight),
            Judgement::Benign | Judgement::Unknown => {}
        }
    }
    // That a family also says so with more weight and less trust takes nothing from what it says with the best grade.
    let is_best = |o: &&Weighed| o.verdict == Judgement::Malicious && o.grade == Grade::A;
    let best = opinions.iter().filter(is_best).filter(|o| o.counts || edition > Edition::First);
    sums.malicious_grade_a = best.map(|o| o.weight_hundredths).max().unwrap_or(0);
    // An explicit benign needs no sum: one trusted source says so.
    let trusted = |o: &&Weighed| o.verdict == Judgement::Benign && matches!(o.grade, Grade::A | Grade::B);
    sums.benign = opinions.iter().filter(trusted).map(|o| o.weight_hundredths).max().unwrap_or(0);
    sums
}
