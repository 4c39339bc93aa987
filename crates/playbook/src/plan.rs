//! The plan: what would be written where, for how long, and what must not be.

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};

use crate::{
    Fault, Timestamp, canonical,
    guard::Guard,
    outcome::Judgement,
    policy::{Act, Policy},
    target::{Effect, Target},
    verdict::Verdict,
};

/// One indicator at one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What.
    #[serde(flatten)]
    pub observable: Observable,
    /// Where: the target's id.
    pub target: String,
    /// `enforce`, or `offer`: enforced only when a person ticks it.
    pub act: String,
    /// How long it stays after it is written.
    pub lifetime_hours: u32,
    /// When it would leave if it were written at the time of the assessment.
    pub expires_at: Timestamp,
    /// Whether approval takes it unless a person unticks it; contradictions have to be ticked.
    pub ticked: bool,
    /// Why it is not written whatever is approved.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Everything that would be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of observables, then targets.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// The plan for these verdicts: malicious is enforced, a contradiction is offered unticked, guarded is refused.
    #[must_use]
    pub fn make(
        verdicts: &[(Observable, Verdict, bool)],
        policy: &Policy,
        targets: &[&Target],
        guard: &Guard,
        now: Timestamp,
    ) -> Self {
        let mut entries = vec![];
        let mut admitted = 0;
        for (observable, verdict, is_phishing) in verdicts {
            let enforces = verdict.verdict == Judgement::Malicious;
            if !enforces && !verdict.is_contradiction() {
                continue;
            }
            for target in
                targets.iter().filter(|t| t.effect == Effect::Enforces && t.types.contains(&observable.kind()))
            {
                if policy.enforce.targets.get(&target.id).copied().unwrap_or(Act::Never) == Act::Never {
                    continue;
                }
                let mut refused = guard.check(observable).map(|guarded| guarded.reason);
                if refused.is_none() {
                    admitted += 1;
                    if admitted > policy.enforce.caps.per_incident {
                        refused =
                            Some(format!("over the cap of {} entries an incident", policy.enforce.caps.per_incident));
                    }
                }
                let lifetime_hours = lifetime_hours(policy, observable.kind(), *is_phishing);
                entries.push(Entry {
                    observable: observable.clone(),
                    target: target.id.clone(),
                    act: if enforces { "enforce" } else { "offer" }.to_owned(),
                    lifetime_hours,
                    expires_at: now.plus_hours(i64::from(lifetime_hours)),
                    ticked: enforces && refused.is_none(),
                    refused,
                });
            }
        }
        Self { entries }
    }

    /// SHA-256 over what would be written. Times are left out: the same plan an hour later is the same plan.
    pub fn digest(&self) -> Result<String, Fault> {
        let acts: Vec<_> = self
            .entries
            .iter()
            .map(|e| {
                serde_json::json!({
                    "observable": e.observable.key(), "target": e.target, "act": e.act,
                    "lifetime_hours": e.lifetime_hours, "ticked": e.ticked, "refused": e.refused,
                })
            })
            .collect();
        canonical::digest(&acts)
    }

    /// The entries that a person may approve.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.refused.is_none())
    }
}

fn lifetime_hours(policy: &Policy, kind: ObservableType, is_phishing: bool) -> u32 {
    if kind == ObservableType::DomainName && is_phishing {
        return policy.enforce.phishing_domain_hours;
    }
    policy.enforce.lifetime_hours.get(&kind).copied().unwrap_or(24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        target::TargetKind,
        verdict::{Coverage, Reason, Sums},
    };

    fn verdict(judgement: Judgement, reason: Option<Reason>) -> Verdict {
        Verdict {
            verdict: judgement,
            reason,
            degraded: false,
            confidence: 100,
            coverage: Coverage::default(),
            rule: 3,
            sums: Sums::default(),
            opinions: vec![],
            failed: vec![],
        }
    }

    fn plan(verdicts: &[(Observable, Verdict, bool)]) -> Plan {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.guard.documentation_ranges = crate::policy::DocumentationRanges::AsPublic;
        policy.enforce.caps.per_incident = 3;
        let target: Target =
            serde_saphyr::from_str(include_str!("../../../playbook/targets/served-list.yaml")).unwrap();
        assert_eq!(target.kind, TargetKind::ServedList);
        let now = Timestamp::from_millis(1_800_000_000_000);
        Plan::make(verdicts, &policy, &[&target], &Guard::new(&policy, &[]), now)
    }

    fn domain(name: &str) -> Observable {
        Observable::parse(ObservableType::DomainName, name).unwrap()
    }

    #[test]
    fn malicious_is_enforced_contradictions_are_offered_and_the_guard_refuses() {
        let plan = plan(&[
            (domain("evil.example"), verdict(Judgement::Malicious, None), true),
            (domain("doubt.example"), verdict(Judgement::Suspicious, Some(Reason::Contradiction)), false),
            (domain("mail.corp.example"), verdict(Judgement::Malicious, None), false),
            (domain("meh.example"), verdict(Judgement::Suspicious, None), false),
        ]);
        let lines: Vec<_> = plan
            .entries
            .iter()
            .map(|e| format!("{} {} {} {}", e.observable.value(), e.lifetime_hours, e.ticked, e.refused.is_some()))
            .collect();
        assert_eq!(
            lines,
            ["evil.example 72 true false", "doubt.example 720 false false", "mail.corp.example 720 false true"]
        );
    }

    #[test]
    fn an_incident_adds_no_more_than_its_cap() {
        let many: Vec<_> =
            (0..5).map(|n| (domain(&format!("e{n}.example")), verdict(Judgement::Malicious, None), false)).collect();
        assert_eq!(plan(&many).open().count(), 3);
    }

    #[test]
    fn the_same_plan_an_hour_later_has_the_same_digest() {
        let verdicts = [(domain("evil.example"), verdict(Judgement::Malicious, None), false)];
        let one = plan(&verdicts);
        let mut later = one.clone();
        later.entries[0].expires_at = later.entries[0].expires_at.plus_hours(1);
        assert_eq!(one.digest().unwrap(), later.digest().unwrap());
        later.entries[0].ticked = false;
        assert_ne!(one.digest().unwrap(), later.digest().unwrap());
    }
}
