//! How far each source is trusted: what a team decides in `playbook/grades.yaml`.

use std::collections::BTreeMap;

use ioc::ObservableType;
use serde::{Deserialize, Serialize};

use crate::{manifest::Manifest, outcome::Grade};

/// How far each provider is trusted at most (`grades/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grades {
    /// `grades/1`.
    pub schema: String,
    /// By provider. A single answer may be trusted less, as its mapping says; never more.
    pub grades: BTreeMap<String, Grade>,
    /// By provider and type, where a source is better or worse at one type than at the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exceptions: BTreeMap<String, BTreeMap<ObservableType, Grade>>,
}

impl Default for Grades {
    fn default() -> Self {
        Self { schema: Self::SCHEMA.to_owned(), grades: BTreeMap::new(), exceptions: BTreeMap::new() }
    }
}

impl Grades {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "grades/1";

    /// How far a provider is trusted for a type: what the team says, else what its author says.
    #[must_use]
    pub fn of(&self, provider: &Manifest, kind: ObservableType) -> Option<Grade> {
        let exception = self.exceptions.get(&provider.id).and_then(|types| types.get(&kind));
        exception.or_else(|| self.grades.get(&provider.id)).copied().or(provider.grade)
    }

    /// Everything that is wrong with it, a sentence each, each beginning with its key.
    #[must_use]
    pub fn faults(&self, providers: &BTreeMap<String, Manifest>) -> Vec<String> {
        let mut faults = vec![];
        if self.schema != Self::SCHEMA {
            faults.push(format!("schema: it is {:?}, this version reads {:?}", self.schema, Self::SCHEMA));
        }
        for (id, key) in
            self.grades.keys().map(|id| (id, "grades")).chain(self.exceptions.keys().map(|id| (id, "exceptions")))
        {
            match providers.get(id) {
                None => faults.push(format!("{key}.{id}: there is no provider {id:?}")),
                Some(provider) if !provider.opines => {
                    faults.push(format!("{key}.{id}: it gives context only (opines: false), so that no grade counts"));
                }
                Some(_) => {}
            }
        }
        for (id, types) in &self.exceptions {
            for kind in types.keys() {
                if providers.get(id).is_some_and(|provider| !provider.types.contains(kind)) {
                    faults.push(format!("exceptions.{id}.{kind}: the provider does not take this type"));
                }
            }
        }
        for provider in providers.values().filter(|provider| provider.opines) {
            if provider.types.iter().any(|kind| self.of(provider, *kind).is_none()) {
                let id = &provider.id;
                faults.push(format!("grades: {id} is missing: how far is it trusted? A, B, C, D, E or F"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(id: &str, opines: bool, grade: Option<Grade>) -> Manifest {
        let shipped = include_str!("../../../playbook/providers/threatfox.yaml");
        let shipped = Manifest::parse(shipped, "threatfox.yaml").unwrap();
        let mut provider = shipped;
        (provider.id, provider.opines, provider.grade) = (id.to_owned(), opines, grade);
        provider.types = vec![ObservableType::Url];
        provider
    }

    #[test]
    fn a_team_rules_over_an_author_and_an_exception_over_both() {
        let yaml = "schema: grades/1\ngrades: {a: B}\nexceptions: {a: {url: D}}\n";
        let grades: Grades = crate::authored::read(yaml, "grades.yaml").unwrap();
        let check = |id: &str, author, kind, expected| {
            assert_eq!(grades.of(&provider(id, true, author), kind), expected, "{id} {kind}");
        };
        check("a", Some(Grade::A), ObservableType::File, Some(Grade::B));
        check("a", Some(Grade::A), ObservableType::Url, Some(Grade::D));
        check("b", Some(Grade::A), ObservableType::Url, Some(Grade::A));
        check("b", None, ObservableType::Url, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        let providers = [provider("a", true, None), provider("b", false, None), provider("c", true, Some(Grade::C))];
        let providers: BTreeMap<String, Manifest> = providers.into_iter().map(|p| (p.id.clone(), p)).collect();
        let check = |yaml: &str, expected: &[&str]| {
            let grades: Grades = crate::authored::read(yaml, "grades.yaml").unwrap();
            let faults = grades.faults(&providers);
            assert_eq!(faults.len(), expected.len(), "{faults:?}");
            for (fault, expected) in faults.iter().zip(expected) {
                assert!(fault.starts_with(expected), "{fault}");
            }
        };
        check("schema: grades/1\ngrades: {a: B}\n", &[]);
        check("schema: grades/1\ngrades: {}\n", &["grades: a is missing"]);
        check("schema: grades/2\ngrades: {a: B}\n", &["schema: it is"]);
        check(
            "schema: grades/1\ngrades: {a: B, b: C, z: A}\n",
            &["grades.b: it gives context", "grades.z: there is no"],
        );
        check("schema: grades/1\ngrades: {a: B}\nexceptions: {a: {file: C}}\n", &["exceptions.a.file: the provider"]);
        assert!(crate::authored::read::<Grades>("schema: grades/1\ngrades: {a: G}\n", "g.yaml").is_err());
    }
}
