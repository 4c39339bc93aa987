//! Who is asked about what: everything that is decided without asking anybody.

use std::collections::BTreeMap;

use ioc::Observable;
use playbook::{
    Timestamp,
    cache::Outcomes,
    incident::{Enriched, Sighted},
    lookup::skipped,
    manifest::Tlp,
    outcome::{Outcome, Status},
};

use crate::{
    gate::{self, Outgoing},
    lines::{Key, Lines},
    postponed::Postponed,
};

/// One observable and the providers to ask about it.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// What is sent, and the cache's key: what is left of an address without its secrets.
    pub observable: Observable,
    /// Ids of providers.
    pub providers: Vec<String>,
    /// Lookups that were put off before, by provider.
    pub postponed: BTreeMap<String, Postponed>,
}

/// The outcomes of a chunk, as far as they are known without asking.
pub(crate) struct Plan<'a> {
    sighted: Vec<Placed<'a>>,
    works: BTreeMap<String, Work>,
}

struct Placed<'a> {
    sighted: &'a Sighted,
    /// Outcomes that need no call.
    settled: Outcomes,
    /// Under which key the others are asked.
    key: String,
    /// Who is asked.
    asked: Vec<String>,
    /// Whether only a part of the observable leaves.
    is_reduced: bool,
}

impl<'a> Plan<'a> {
    /// Decides for every observable that is not withheld and every provider that takes it.
    pub(crate) fn of(
        (chunk, tlp): (&'a [Sighted], Tlp),
        lines: &Lines<'_>,
        postponed: &[Postponed],
        now: Timestamp,
    ) -> Self {
        let mut works: BTreeMap<String, Work> = BTreeMap::new();
        let mut placed = Vec::with_capacity(chunk.len());
        for sighted in chunk {
            let one = place((sighted, tlp), lines, now, &mut works);
            if let Some(work) = works.get_mut(&one.key) {
                let before = postponed.iter().filter(|before| before.observable.key() == sighted.observable.key());
                work.postponed.extend(before.map(|before| (before.provider.clone(), before.clone())));
            }
            placed.push(one);
        }
        Self { sighted: placed, works }
    }

    /// What is to be asked, by observable key: each observable once, however often it was seen.
    pub(crate) fn works(&self) -> BTreeMap<String, Work> {
        self.works.clone()
    }

    /// One outcome per observable and provider, in the order of the chunk, and what is still to come.
    pub(crate) fn collect(self, answers: &BTreeMap<String, Outcomes>) -> (Vec<Enriched>, Vec<Postponed>) {
        let mut postponed = vec![];
        let enriched = |placed: Placed<'_>| {
            let mut outcomes = placed.settled;
            let answered = answers.get(&placed.key);
            for id in &placed.asked {
                if let Some(outcome) = answered.and_then(|known| known.get(id)) {
                    outcomes.insert(id.clone(), note(outcome, placed.is_reduced));
                }
            }
            let observable = &placed.sighted.observable;
            postponed.extend(outcomes.values().filter_map(|outcome| Postponed::of(outcome, observable)));
            Enriched { observable: observable.key(), outcomes: outcomes.into_values().collect() }
        };
        let enriched = self.sighted.into_iter().map(enriched).collect();
        (enriched, postponed)
    }
}

/// An answer about a reduced address says so.
fn note(outcome: &Outcome, is_reduced: bool) -> Outcome {
    let mut outcome = outcome.clone();
    if is_reduced && outcome.outcome.is_answered() {
        outcome.reason = Some("reduced".to_owned());
    }
    outcome
}

fn place<'a>(
    (sighted, tlp): (&'a Sighted, Tlp),
    lines: &Lines<'_>,
    now: Timestamp,
    works: &mut BTreeMap<String, Work>,
) -> Placed<'a> {
    let mut placed = Placed { sighted, settled: Outcomes::new(), key: String::new(), asked: vec![], is_reduced: false };
    if sighted.withheld.is_some() {
        return placed;
    }
    let outgoing = gate::outgoing(&sighted.observable);
    let sent = match &outgoing {
        Outgoing::Reduced(reduced) => reduced,
        Outgoing::Whole | Outgoing::Nothing => &sighted.observable,
    };
    placed.is_reduced = sent != &sighted.observable;
    placed.key = sent.key();
    for line in lines.cheap_first().filter(|line| line.manifest.takes(&sighted.observable)) {
        let manifest = line.manifest;
        let skip = |reason| skipped(manifest, reason, now);
        let settled = if let Some(reason) = manifest.off_reason() {
            skip(reason)
        } else if let Some(reason) = gate::closed(manifest, tlp) {
            skip(reason)
        } else if outgoing == Outgoing::Nothing {
            skip("secret")
        } else {
            match &line.key {
                Key::Missing => skip("no_key"),
                Key::Unavailable => Outcome { outcome: Status::Error, ..skip("key_unavailable") },
                Key::Unneeded | Key::Known(_) => {
                    placed.asked.push(manifest.id.clone());
                    continue;
                }
            }
        };
        placed.settled.insert(manifest.id.clone(), settled);
    }
    if !placed.asked.is_empty() {
        let work = works.entry(placed.key.clone()).or_insert_with(|| Work {
            observable: sent.clone(),
            providers: vec![],
            postponed: BTreeMap::new(),
        });
        for id in &placed.asked {
            if !work.providers.contains(id) {
                work.providers.push(id.clone());
            }
        }
    }
    placed
}
