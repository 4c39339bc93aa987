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
        let voices: Vec<Voice<'_>> = (0..)
            .zip(seen_by)
            .filter(|(_, seen)| fits(seen))
            .map(|(at, (weighed, upstreams))| (at, weighed, *upstreams))
            .collect();
        for at in heaviest(&voices) {
            if let Some(counts) = counts.get_mut(at) {
                *counts = true;
            }
        }
    }
    counts
}

/// The most aggregators that are tried together with each other; the lightest beyond them do not count.
const AGGREGATORS_MAX: usize = 10;

/// An opinion that may count: its place in the order of [`weigh`], its weight, and whom it repeats.
type Voice<'v> = (usize, &'v Weighed, &'v [String]);

/// Of each family the heaviest voice that repeats nobody: its place and weight.
type Direct<'v> = BTreeMap<&'v str, (usize, u32)>;

/// The places of the voices of the heaviest selection. Voices are in the order of [`weigh`].
fn heaviest(voices: &[Voice<'_>]) -> Vec<usize> {
    let mut direct = Direct::new();
    for (at, weighed, _) in voices.iter().filter(|(_, _, upstreams)| upstreams.is_empty()) {
        direct.entry(&weighed.family).or_insert((*at, weighed.weight_hundredths));
    }
    let repeating = voices.iter().filter(|(_, _, upstreams)| !upstreams.is_empty());
    let aggregators: Vec<&Voice<'_>> = repeating.take(AGGREGATORS_MAX).collect();
    let mut best: Option<(u64, Vec<usize>)> = None;
    let mut masks: Vec<u32> = (0..1_u32 << aggregators.len()).collect();
    masks.sort_by_key(|mask| (mask.count_ones(), *mask));
    for mask in masks {
        let of_mask = (0..).zip(&aggregators).filter(|(bit, _)| mask & (1_u32 << bit) != 0);
        let chosen: Vec<&Voice<'_>> = of_mask.map(|(_, voice)| *voice).collect();
        let Some(silent) = silent(&direct, &chosen) else { continue };
        let own = || direct.iter().filter(|(family, _)| !silent.contains(*family)).map(|(_, own)| *own);
        let repeated = chosen.iter().map(|(at, weighed, _)| (*at, weighed.weight_hundredths));
        let weight = own().chain(repeated.clone()).map(|(_, weight)| u64::from(weight)).sum();
        if best.as_ref().is_none_or(|(most, _)| weight > *most) {
            best = Some((weight, own().chain(repeated).map(|(at, _)| at).collect()));
        }
    }
    best.map(|(_, places)| places).unwrap_or_default()
}

/// The families that do not speak for themselves beside these aggregators: theirs, and for each the lightest of its upstreams
/// for which nobody else speaks. `None` where two are of one family, or one would only repeat the others.
fn silent<'v>(direct: &Direct<'_>, chosen: &[&Voice<'v>]) -> Option<BTreeSet<&'v str>> {
    let families: BTreeSet<&str> = chosen.iter().map(|(_, weighed, _)| weighed.family.as_str()).collect();
    if families.len() < chosen.len() {
        return None;
    }
    let mut silent = families.clone();
    for (at, _, upstreams) in chosen {
        let has_no_other_voice = |family: &&String| {
            let others = chosen.iter().filter(|(other, ..)| other != at);
            !others.into_iter().any(|(_, other, ups)| other.family == **family || ups.contains(family))
        };
        let own_weight =
            |family: &str| direct.get(family).filter(|_| !families.contains(family)).map_or(0, |(_, weight)| *weight);
        let free = upstreams.iter().filter(has_no_other_voice).min_by_key(|family| (own_weight(family), *family))?;
        silent.insert(free);
    }
    Some(silent)
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
