//! The bundle: policy and manifests as one document, named by its digest; an incident is judged from start to end by one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Fault, canonical,
    grades::Grades,
    intake::IntakeSource,
    manifest::Manifest,
    mapping::Expression,
    policy::{Act, DEMO_ACCOUNT, Policy},
    ports::Evidence,
    served,
    target::{Effect, Target, TargetKind},
};

/// Everything that authors edit, compiled (`bundle/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// `bundle/1`.
    pub schema: String,
    /// The policy.
    pub policy: Policy,
    /// The providers by id.
    pub providers: BTreeMap<String, Manifest>,
    /// The targets by id.
    pub targets: BTreeMap<String, Target>,
    /// What comes in, by id.
    #[serde(default)]
    pub intake: BTreeMap<String, IntakeSource>,
    /// How far each provider is trusted.
    #[serde(default)]
    pub grades: Grades,
}

impl Bundle {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "bundle/1";

    /// Puts a bundle together.
    #[must_use]
    pub fn new(policy: Policy, providers: Vec<Manifest>, targets: Vec<Target>) -> Self {
        let providers = providers.into_iter().map(|manifest| (manifest.id.clone(), manifest)).collect();
        let targets = targets.into_iter().map(|target| (target.id.clone(), target)).collect();
        let schema = Self::SCHEMA.to_owned();
        Self { schema, policy, providers, targets, intake: BTreeMap::new(), grades: Grades::default() }
    }

    /// With what comes in.
    #[must_use]
    pub fn with_intake(mut self, intake: Vec<IntakeSource>) -> Self {
        self.intake = intake.into_iter().map(|source| (source.id.clone(), source)).collect();
        self
    }

    /// With how far each provider is trusted.
    #[must_use]
    pub fn with_grades(mut self, grades: Grades) -> Self {
        self.grades = grades;
        self
    }

    /// The SHA-256 that names the bundle.
    pub fn digest(&self) -> Result<String, Fault> {
        canonical::digest(self)
    }

    /// Where the bundle of this digest lies.
    #[must_use]
    pub fn location(digest: &str) -> String {
        format!("config/{digest}.json")
    }

    /// Everything that is wrong with the bundle, a sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.policy.faults().into_iter().map(|f| format!("policy: {f}")).collect();
        for (kind, families) in &self.policy.required {
            for family in families {
                let names_it = |m: &&Manifest| &m.family == family && m.types.contains(kind) && m.opines;
                match self.providers.values().find(names_it) {
                    None => faults
                        .push(format!("policy: required.{kind}: no provider of family {family:?} takes this type")),
                    Some(_) if self.providers.values().filter(names_it).all(|m| m.off_reason().is_some()) => {
                        faults.push(format!("policy: required.{kind}: every provider of family {family:?} is off"));
                    }
                    Some(_) => {}
                }
            }
        }
        faults.extend(self.grades.faults(&self.providers).into_iter().map(|fault| format!("grades: {fault}")));
        for target in self.policy.enforce.targets.keys().filter(|id| !self.targets.contains_key(*id)) {
            faults.push(format!("policy: enforce.targets: there is no target {target:?}"));
        }
        for target in self.policy.review.owners.keys().filter(|id| !self.targets.contains_key(*id)) {
            faults.push(format!("policy: review.owners: there is no target {target:?}"));
        }
        self.act_faults(&mut faults);
        for target in self.targets.values() {
            faults.extend(target.faults().into_iter().map(|fault| format!("target {:?}: {fault}", target.id)));
            if target.kind == TargetKind::ServedList && target.id != served::TARGET {
                faults.push(format!(
                    "target {:?}: the lists that we serve ourselves are {:?}",
                    target.id,
                    served::TARGET
                ));
            }
        }
        faults
    }

    /// What policy says of targets and would not do.
    fn act_faults(&self, faults: &mut Vec<String>) {
        for (id, act) in &self.policy.enforce.targets {
            if let Act::AutomaticallyIf(condition) = act
                && let Err(error) = Expression::compile(condition)
            {
                faults.push(format!("policy: enforce.targets: {id}: {error}"));
            }
            let is_at_once = |target: &Target| matches!(target.effect, Effect::Records | Effect::Detects);
            let waits = matches!(act, Act::AfterApproval | Act::AutomaticallyIf(_));
            if waits && self.targets.get(id).is_some_and(is_at_once) {
                let why = "it blocks nothing and is written at once; only `never` holds it back";
                faults.push(format!("policy: enforce.targets: {id}: {why}"));
            }
        }
    }

    /// Names of hosts that the playbook itself uses: the guard never lets them be written.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let providers = self.providers.values().map(|manifest| &manifest.host);
        let targets = self.targets.values().map(|target| &target.host);
        providers.chain(targets).filter(|host| !host.is_empty()).cloned().collect()
    }

    /// Loads the bundle of a digest for a function of `account`.
    ///
    /// `Misconfigured` when there is none, when its content is not what the digest says, when it is faulty, or when a
    /// door of the demo is open outside the local stack.
    pub async fn load(evidence: &impl Evidence, digest: &str, account: &str) -> Result<Self, Fault> {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Fault::Misconfigured(
                "no configuration is published: run cargo xtask config publish".to_owned(),
            ));
        }
        let stored = evidence.find(&Self::location(digest)).await?;
        let stored =
            stored.ok_or_else(|| Fault::Misconfigured(format!("configuration {digest} is not in the bucket")))?;
        if canonical::sha256_hex(&stored.bytes) != digest {
            return Err(Fault::Misconfigured(format!("configuration {digest} is not what its name says")));
        }
        let bundle: Self = serde_json::from_slice(&stored.bytes)
            .map_err(|error| Fault::Misconfigured(format!("configuration {digest} cannot be read: {error}")))?;
        bundle.admit_to(account)?;
        Ok(bundle)
    }

    /// Refuses faults, and open doors outside the local stack.
    pub fn admit_to(&self, account: &str) -> Result<(), Fault> {
        let doors = self.policy.open_doors();
        if account != DEMO_ACCOUNT && !doors.is_empty() {
            return Err(Fault::Misconfigured(format!(
                "policy: {} may be set in the local stack only (account {DEMO_ACCOUNT}), this is account {account}",
                doors.join(" and ")
            )));
        }
        match self.faults().first() {
            None => Ok(()),
            Some(fault) => Err(Fault::Misconfigured(fault.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, act: Act, expected: Option<&str>) {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.insert(target.to_owned(), act);
        let shipped = [
            include_str!("../../../playbook/targets/misp.yaml"),
            include_str!("../../../playbook/targets/served-list.yaml"),
        ];
        let targets = shipped.map(|yaml| serde_saphyr::from_str(yaml).unwrap()).to_vec();
        let faults = Bundle::new(policy, vec![], targets).faults();
        let is_expected = match expected {
            Some(part) => faults.len() == 1 && faults[0].contains(part),
            None => faults.is_empty(),
        };
        assert!(is_expected, "{target}: {faults:?}");
    }

    #[test]
    fn what_policy_says_of_a_target_is_what_happens() {
        let condition = |text: &str| Act::AutomaticallyIf(text.to_owned());
        check("served-list", condition("incident.severity = 'critical'"), None);
        check("served-list", condition("incident.severity = ("), Some("enforce.targets: served-list: expression"));
        check("misp", Act::Never, None);
        check("misp", Act::AfterApproval, Some("enforce.targets: misp: it blocks nothing"));
        check("nobody", Act::Never, Some("there is no target"));
    }

    #[test]
    fn nobody_owns_a_target_that_is_not_there() {
        let faults = |target: &str| {
            let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
            policy.review.owners.insert(target.to_owned(), vec!["owner@corp.example".to_owned()]);
            let shipped = include_str!("../../../playbook/targets/served-list.yaml");
            let faults = Bundle::new(policy, vec![], vec![serde_saphyr::from_str(shipped).unwrap()]).faults();
            faults.into_iter().any(|fault| fault.contains("review.owners"))
        };
        assert!(faults("nobody") && !faults("served-list"));
    }
}
