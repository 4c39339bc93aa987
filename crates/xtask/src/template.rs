//! The template, read and added to: which machines it deploys, what it fills into them, and one more of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::project::Project;

/// Where the template lies.
pub const FILE: &str = "infra/template.yaml";
/// Machines are added above the lines that say so.
const MARK: &str = "# `cargo xtask playbook copy` adds machines above this line.";
/// The machine that is copied.
const ORIGINAL: &str = "Playbook";

/// A machine that the template deploys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its id in the template.
    pub id: String,
    /// Its word: the file in `statemachine/`, and the last part of its name.
    pub word: String,
    /// What is filled into its definition.
    pub substitutions: BTreeSet<String>,
    /// The id of its role.
    pub role: String,
}

/// The template's text.
pub fn text(project: &Project) -> Result<String> {
    std::fs::read_to_string(project.path(FILE)).with_context(|| format!("{FILE} cannot be read"))
}

/// The template as data; intrinsic functions lose their tag and keep their argument.
pub fn parse(text: &str) -> Result<Value> {
    let mut plain = String::new();
    for line in text.lines() {
        let is_tag =
            |word: &&str| word.len() > 1 && word.starts_with('!') && word[1..].chars().all(char::is_alphanumeric);
        let words: Vec<&str> = line.split(' ').filter(|word| !is_tag(word)).collect();
        plain.push_str(&words.join(" "));
        plain.push('\n');
    }
    serde_saphyr::from_str(&plain).with_context(|| format!("{FILE} cannot be read"))
}

/// The ids of all functions.
#[must_use]
pub fn functions(template: &Value) -> BTreeSet<String> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources.filter(|(_, r)| r["Type"] == "AWS::Serverless::Function").map(|(id, _)| id.clone()).collect()
}

/// The machines, in the order of their ids.
#[must_use]
pub fn machines(template: &Value) -> Vec<Machine> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    let machines = resources.filter(|(_, resource)| resource["Type"] == "AWS::Serverless::StateMachine");
    let machine = |(id, resource): (&String, &Value)| {
        let properties = &resource["Properties"];
        let file = properties["DefinitionUri"].as_str().unwrap_or_default();
        let given = properties["DefinitionSubstitutions"].as_object().into_iter().flatten();
        Machine {
            id: id.clone(),
            word: crate::definition::name_of(std::path::Path::new(file)),
            substitutions: given.map(|(name, _)| name.clone()).collect(),
            role: properties["Role"].as_str().unwrap_or_default().trim_end_matches(".Arn").to_owned(),
        }
    };
    machines.map(machine).collect()
}

/// The template with one more machine: a copy of the playbook under another name. Nothing else changes, comments included.
pub fn with_machine(template: &str, word: &str) -> Result<String> {
    let id = format!("{}Machine", crate::local::logical_id(word));
    if template.lines().any(|line| line == format!("  {id}:")) {
        bail!("{FILE} has a resource {id} already");
    }
    let original = block(template, ORIGINAL).with_context(|| format!("{FILE} has no resource {ORIGINAL}"))?;
    let copy = original
        .replacen(&format!("  {ORIGINAL}:\n"), &format!("  {id}:\n"), 1)
        .replace("${AWS::StackName}-playbook", &format!("${{AWS::StackName}}-{word}"))
        .replace("statemachine/playbook.asl.json", &format!("statemachine/{word}.asl.json"));
    let (resource_mark, list_mark) = (format!("  {MARK}\n"), format!("            {MARK}\n"));
    for mark in [format!("\n{resource_mark}"), format!("\n{list_mark}")] {
        if template.matches(&mark).count() != 1 {
            bail!("{FILE}: the line {:?} must be there once for each place where machines are added", mark.trim());
        }
    }
    let with_resource = template.replace(&format!("\n{resource_mark}"), &format!("\n{copy}\n{resource_mark}"));
    let entry = format!("            - !Ref {id}\n");
    Ok(with_resource.replace(&format!("\n{list_mark}"), &format!("\n{entry}{list_mark}")))
}

/// The lines of one resource.
fn block<'a>(template: &'a str, id: &str) -> Option<&'a str> {
    let start = template.find(&format!("\n  {id}:\n"))? + 1;
    let rest = template.get(start..)?;
    rest.get(..=rest.find("\n\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> String {
        text(&Project::find().unwrap()).unwrap()
    }

    #[test]
    fn a_copied_machine_has_the_same_role_and_placeholders_and_is_watched() {
        let before = ours();
        let after = with_machine(&before, "two-approvals").unwrap();
        let machines = machines(&parse(&after).unwrap());
        let find = |id: &str| machines.iter().find(|machine| machine.id == id).unwrap().clone();
        let (original, copy) = (find("Playbook"), find("TwoApprovalsMachine"));
        assert_eq!(copy, Machine { id: copy.id.clone(), word: "two-approvals".to_owned(), ..original });
        let rule = &parse(&after).unwrap()["Resources"]["EndedExecutionRule"]["Properties"]["EventPattern"]["detail"];
        assert_eq!(rule["stateMachineArn"], serde_json::json!(["Playbook", "EnrichOnly", "TwoApprovalsMachine"]));
        // Nothing but lines of the copy's own has come in.
        let mut left = after.lines();
        assert!(before.lines().all(|line| left.any(|other| other == line)));
    }

    #[test]
    fn a_second_copy_stands_behind_the_first_and_one_of_the_same_name_is_refused() {
        let once = with_machine(&ours(), "a").unwrap();
        let twice = with_machine(&once, "b").unwrap();
        assert!(twice.find("  AMachine:").unwrap() < twice.find("  BMachine:").unwrap());
        assert!(with_machine(&once, "a").unwrap_err().to_string().contains("AMachine already"));
        assert!(with_machine(&once.replace(MARK, "# gone"), "c").is_err());
    }
}
