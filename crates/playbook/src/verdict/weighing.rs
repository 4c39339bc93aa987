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

/// Who has spoken for one judgement so far.
#[derive(Default)]
struct Spoken<'a> {
    /// Independent sources that have counted, themselves or through an aggregator.
    of: BTreeSet<&'a str>,
    /// Where the opinion stands that counts for a family.
    by: BTreeMap<&'a str, usize>,
}

/// Weighs every opinion, then marks those that count: the highest of each family, direct ones before aggregators.
pub(super) fn weigh(facts: &Facts, edition: Edition, now: Timestamp) -> Vec<Weighed> {
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
    let counts = counting(&seen_by, edition);
    let mut opinions: Vec<Weighed> =
        seen_by.into_iter().zip(counts).map(|((weighed, _), counts)| Weighed { counts, ..weighed }).collect();
    opinions.sort_by(|a, b| {
        let rest = |o: &Weighed| (o.weight_hundredths, o.grade, o.seen, o.counts);
        let named = a.provider.cmp(&b.provider).then(a.verdict.cmp(&b.verdict)).then_with(|| a.family.cmp(&b.family));
        named.then_with(|| rest(a).cmp(&rest(b)))
    });
    opinions
}

/// The same without what is stale.
pub(super) fn weigh_fresh(facts: &Facts, edition: Edition, now: Timestamp) -> Vec<Weighed> {
    let mut fresh = facts.clone();
    for outcome in &mut fresh.outcomes {
        outcome.stale = None;
    }
    weigh(&fresh, edition, now)
}

/// Which of the opinions count, in the order of [`weigh`]: each family once, and an aggregator for what has not counted already.
fn counting(seen_by: &[(Weighed, &[String])], edition: Edition) -> Vec<bool> {
    let mut spoken: BTreeMap<Judgement, Spoken<'_>> = BTreeMap::new();
    let mut counts = vec![false; seen_by.len()];
    let weight = |at: usize| seen_by.get(at).map_or(0, |(weighed, _)| weighed.weight_hundredths);
    for (at, (weighed, upstreams)) in seen_by.iter().enumerate() {
        let spoken = spoken.entry(weighed.verdict).or_default();
        let repeats = !upstreams.is_empty() && upstreams.iter().all(|family| spoken.of.contains(family.as_str()));
        // The first edition took a family as heard that another source had only repeated, and never asked who is heavier.
        let is_heard = edition == Edition::First
            && (repeats
                || spoken.of.contains(weighed.family.as_str())
                || spoken.by.contains_key(weighed.family.as_str()));
        // A family counts once, at its highest: whoever says the same with more weight takes the place of the others. That an
        // aggregator stands there for it takes nothing from what it says for somebody who was not heard.
        let of_family =
            |place: &usize| repeats || seen_by.get(*place).is_some_and(|(there, _)| there.family == weighed.family);
        let standing = spoken.by.get(weighed.family.as_str()).copied().filter(of_family);
        let mut places: BTreeSet<usize> = standing.into_iter().collect();
        if repeats {
            places.extend(upstreams.iter().filter_map(|family| spoken.by.get(family.as_str()).copied()));
        }
        let taken: u32 = places.iter().map(|place| weight(*place)).sum();
        if is_heard || ((repeats || !places.is_empty()) && taken >= weighed.weight_hundredths) {
            continue;
        }
        if repeats && upstreams.iter().any(|family| !spoken.by.contains_key(family.as_str())) {
            // One of them was heard through an aggregator that says more than this one.
            continue;
        }
        for place in places {
            if let Some(before) = counts.get_mut(place) {
                *before = false;
            }
        }
        if let Some(own) = counts.get_mut(at) {
            *own = true;
        }
        spoken.by.insert(&weighed.family, at);
        spoken.of.insert(&weighed.family);
        for family in *upstreams {
            spoken.of.insert(family);
            if repeats {
                spoken.by.insert(family, at);
            }
        }
    }
    counts
}

pub(super) fn sum(opinions: &[Weighed], edition: Edition) -> Sums {
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
            }
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
