//! The condition and update expressions of a write. Every name is a placeholder, so that no name is reserved.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use playbook::{
    Fault,
    rows::{Change, Condition, Write},
};
use serde_json::Value;

use super::item;
use crate::commit_id;

/// What a request needs beside its key; absent where empty, because the service refuses empty ones.
#[derive(Debug, Default, PartialEq)]
pub struct Expression {
    pub names: Option<HashMap<String, String>>,
    pub values: Option<HashMap<String, AttributeValue>>,
    pub condition: Option<String>,
    pub update: Option<String>,
}

impl Expression {
    /// The expressions of a write that carries this `commit_id`, where it has one.
    pub fn of(write: &Write, id: Option<&str>) -> Result<Self, Fault> {
        let mut terms = Terms::default();
        let mut conditions = Vec::new();
        for condition in &write.conditions {
            conditions.push(terms.condition(condition)?);
        }
        let mut update = None;
        match &write.change {
            Change::Set { set, remove, add } => {
                let mut clauses = Vec::new();
                let mut assigned = Vec::new();
                for (name, value) in set {
                    assigned.push(format!("{} = {}", terms.name(name), terms.value(value)?));
                }
                if let Some(id) = id {
                    assigned.push(format!("{} = {}", terms.name(commit_id::NAME), terms.value(&id.into())?));
                }
                clauses.extend(clause("SET", &assigned));
                let removed: Vec<String> = remove.iter().map(|name| terms.name(name)).collect();
                clauses.extend(clause("REMOVE", &removed));
                let mut added = Vec::new();
                for (name, summand) in add {
                    added.push(format!("{} {}", terms.name(name), terms.value(&(*summand).into())?));
                }
                clauses.extend(clause("ADD", &added));
                if let Some(id) = id.filter(|_| !add.is_empty()) {
                    // Adding is not done twice by one call.
                    let (name, value) = (terms.name(commit_id::NAME), terms.value(&id.into())?);
                    conditions.push(format!("(attribute_not_exists({name}) OR {name} <> {value})"));
                }
                update = (!clauses.is_empty()).then(|| clauses.join(" "));
            }
            // A check without a condition always holds.
            Change::Check if conditions.is_empty() => {
                let name = terms.name("pk");
                conditions.push(format!("(attribute_exists({name}) OR attribute_not_exists({name}))"));
            }
            Change::Put(_) | Change::Delete | Change::Check => {}
        }
        Ok(Self {
            names: (!terms.names.is_empty()).then_some(terms.names),
            values: (!terms.values.is_empty()).then_some(terms.values),
            condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
            update,
        })
    }
}

fn clause(verb: &str, terms: &[String]) -> Option<String> {
    (!terms.is_empty()).then(|| format!("{verb} {}", terms.join(", ")))
}

#[derive(Default)]
struct Terms {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Terms {
    fn name(&mut self, attribute: &str) -> String {
        if let Some((known, _)) = self.names.iter().find(|(_, name)| *name == attribute) {
            return known.clone();
        }
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: &Value) -> Result<String, Fault> {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), item::value(value)?);
        Ok(placeholder)
    }

    fn condition(&mut self, condition: &Condition) -> Result<String, Fault> {
        Ok(match condition {
            Condition::Absent => format!("attribute_not_exists({})", self.name("pk")),
            Condition::Present => format!("attribute_exists({})", self.name("pk")),
            Condition::Is(name, value) => format!("{} = {}", self.name(name), self.value(value)?),
            Condition::Lacks(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::After(name, text) => format!("{} > {}", self.name(name), self.value(&text.as_str().into())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use playbook::rows::Key;
    use serde_json::json;

    #[test]
    fn a_set_says_what_it_sets_removes_and_adds_and_under_which_conditions() {
        let write = Write::set(Key::new("a", "b"), &json!({"state": "decided"})).unwrap();
        let write = write.removing(&["due_kind"]).adding("tries", 2);
        let write = write.only_if(Condition::Present).only_if(Condition::Is("state", json!("open")));
        let write = write.only_if(Condition::Lacks("token")).only_if(Condition::After("until", "2026".to_owned()));
        let expression = Expression::of(&write, Some("mine")).unwrap();
        assert_eq!(
            expression.condition.unwrap(),
            "attribute_exists(#n0) AND #n1 = :v0 AND attribute_not_exists(#n2) AND #n3 > :v1 \
             AND (attribute_not_exists(#n4) OR #n4 <> :v5)"
        );
        assert_eq!(expression.update.unwrap(), "SET #n1 = :v2, #n4 = :v3 REMOVE #n5 ADD #n6 :v4");
        assert_eq!(expression.names.unwrap()["#n1"], "state");
    }

    #[test]
    fn what_is_empty_is_absent() {
        let write = Write::put(Key::new("a", "b"), &json!({"x": 1})).unwrap();
        assert_eq!(Expression::of(&write, None).unwrap(), Expression::default());
        let write = Write::set(Key::new("a", "b"), &json!({})).unwrap();
        assert_eq!(Expression::of(&write, None).unwrap(), Expression::default());
    }
}
