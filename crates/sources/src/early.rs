//! Asking in two rounds: first who has plenty, then who is scarce, and that one only where its answer could change something.

use std::{borrow::Cow, collections::BTreeMap};

use futures::future::join_all;
use ioc::ObservableType;
use playbook::{
    cache::{Leases, Outcomes, Quotas, Verdicts},
    case,
    lookup::skipped,
    outcome::{Grade, Judgement, Outcome},
    ports::{Clock, Egress},
    verdict::{Facts, Merge, Verdict},
};

use crate::{
    asking::{Asking, Learned},
    lines::Line,
    list::Lists,
    plan::Work,
    slots::Slots,
};

/// Why a source is not asked whose answer could not change the verdict.
pub(crate) const DECIDED: &str = "decided";

impl<V: Verdicts + Leases, Q: Quotas, C: Clock, G: Egress, L: Lists> Asking<'_, V, Q, C, G, L> {
    /// Asks those that have plenty, then the scarce. `slots` are those of the first round.
    pub(crate) async fn ask_in_two_rounds(
        &self,
        works: BTreeMap<String, Work>,
        slots: &Slots,
        known: &BTreeMap<String, Outcomes>,
    ) -> BTreeMap<String, Outcomes> {
        let first = self.first_round(&works).into_owned();
        let mut second = works;
        for work in second.values_mut() {
            work.providers.retain(|id| self.lines.get(id).is_some_and(|line| line.manifest.is_scarce()));
        }
        let mut learned: BTreeMap<String, Learned> = self.learn_all(&first, slots).await.into_iter().collect();
        for (key, work) in &mut second {
            let said = learned.entry(key.clone()).or_default();
            self.leave_out(work, said, known.get(key));
        }
        second.retain(|_, work| !work.providers.is_empty());
        // Who is not asked takes nobody's slot.
        let slots = self.slots(&second).await;
        for (key, more) in self.learn_all(&second, &slots).await {
            learned.entry(key).or_default().append(more);
        }
        join_all(learned.iter().map(|(key, learned)| self.keep(key, learned))).await;
        learned.into_iter().map(|(key, learned)| (key, learned.outcomes)).collect()
    }

    /// Who is asked at once: everybody, unless the scarce come later.
    pub(crate) fn first_round<'w>(&self, works: &'w BTreeMap<String, Work>) -> Cow<'w, BTreeMap<String, Work>> {
        if !self.policy.enrich.early_stop {
            return Cow::Borrowed(works);
        }
        let mut first = works.clone();
        for work in first.values_mut() {
            work.providers.retain(|id| self.lines.get(id).is_some_and(|line| !line.manifest.is_scarce()));
        }
        Cow::Owned(first)
    }

    async fn learn_all(&self, works: &BTreeMap<String, Work>, slots: &Slots) -> Vec<(String, Learned)> {
        let asked = works.iter().map(|(key, work)| async move { (key.clone(), self.learn(key, work, slots).await) });
        join_all(asked).await
    }

    /// Takes out of a work whom nobody needs to ask any more, and says so.
    fn leave_out(&self, work: &mut Work, said: &mut Learned, known: Option<&Outcomes>) {
        let outcomes: Vec<Outcome> =
            known.into_iter().flat_map(BTreeMap::values).chain(said.outcomes.values()).cloned().collect();
        let facts = Facts { outcomes, ..Facts::bare(work.observable.clone()) };
        let facts = case::under(self.bundle, &self.payer.source, facts);
        if !is_settled(&facts, &Verdict::reach(&facts, self.clock.now())) {
            return;
        }
        let kind = work.observable.kind();
        work.providers.retain(|id| {
            let Some(line) = self.lines.get(id).filter(|line| !self.could_change_it(line, kind)) else { return true };
            said.add(skipped(line.manifest, DECIDED, self.clock.now()), false);
            false
        });
    }

    /// Only grades A and B can contradict, and only A is newer than a person's decision.
    fn could_change_it(&self, line: &Line<'_>, kind: ObservableType) -> bool {
        let grade = self.bundle.grades.of(line.manifest, kind);
        line.manifest.opines && grade.is_none_or(|grade| matches!(grade, Grade::A | Grade::B))
    }
}

/// Whether nobody below grade B can change the verdict any more: more of what makes it malicious or contradictory changes
/// neither.
fn is_settled(facts: &Facts, verdict: &Verdict) -> bool {
    facts.merge == Merge::Families && (verdict.verdict == Judgement::Malicious || verdict.is_contradiction())
}
