//! A state machine's definition: where the files lie, and which states and names are in one.

pub mod canonical;
pub mod names;
mod pieces;
pub mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::project::Project;

/// The ending of every definition's file.
pub const ENDING: &str = ".asl.json";

/// The files of the machines that the template deploys, sorted.
pub fn deployed(project: &Project) -> Result<Vec<PathBuf>> {
    files(&project.path("statemachine"))
}

/// Those, and the examples, which are only read.
pub fn all(project: &Project) -> Result<Vec<PathBuf>> {
    let mut all = deployed(project)?;
    all.extend(files(&project.path("statemachine/examples"))?);
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(ENDING)).collect();
    files.sort();
    Ok(files)
}

/// The machine's word: the file's name without its ending.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(ENDING).to_owned()
}

/// Reads a definition.
pub fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// A state with its name.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The name.
    pub name: &'a str,
    /// What it is.
    pub body: &'a Value,
    /// Whether it stands inside a Map.
    pub is_inner: bool,
}

impl<'a> State<'a> {
    /// `Task`, `Choice`, …
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.body["Type"].as_str().unwrap_or_default()
    }

    /// The integration of a Task; empty for others.
    #[must_use]
    pub fn resource(&self) -> &'a str {
        self.body["Resource"].as_str().unwrap_or_default()
    }

    /// The function that a Task calls, as its id in the template.
    #[must_use]
    pub fn function(&self) -> Option<&'a str> {
        if !self.resource().starts_with("arn:aws:states:::lambda:invoke") {
            return None;
        }
        let name = self.body.pointer("/Arguments/FunctionName")?.as_str()?;
        name.strip_prefix("${")?.strip_suffix('}')
    }
}

/// Every state, those inside a Map as well.
#[must_use]
pub fn states(definition: &Value) -> Vec<State<'_>> {
    let mut states = vec![];
    for (name, body) in definition["States"].as_object().into_iter().flatten() {
        states.push(State { name, body, is_inner: false });
        for (name, body) in body["ItemProcessor"]["States"].as_object().into_iter().flatten() {
            states.push(State { name, body, is_inner: true });
        }
    }
    states
}

/// The functions that a definition calls, by their ids in the template, with the states that call them.
#[must_use]
pub fn calls(definition: &Value) -> BTreeMap<String, Vec<String>> {
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in states(definition) {
        if let Some(function) = state.function() {
            calls.entry(function.to_owned()).or_default().push(state.name.to_owned());
        }
    }
    for states in calls.values_mut() {
        states.sort();
    }
    calls
}

/// Where a state may lead, in the order in which it is drawn: choices, default, next; errors last.
#[must_use]
pub fn leads_to(state: &Value) -> Vec<&str> {
    let of = |list: &'static str| {
        state[list].as_array().into_iter().flatten().filter_map(|entry| entry["Next"].as_str()).collect::<Vec<_>>()
    };
    let mut leads = of("Choices");
    leads.extend(state["Default"].as_str());
    leads.extend(state["Next"].as_str());
    leads.extend(of("Catch"));
    leads
}

/// Every text inside a value.
#[must_use]
pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

/// The names in `${…}` that the deployment fills in; comments are only read.
#[must_use]
pub fn substitutions(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match value {
        Value::String(text) => {
            let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(substitutions)),
        Value::Object(map) => {
            found.extend(map.iter().filter(|(key, _)| *key != "Comment").flat_map(|(_, value)| substitutions(value)));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_inside_a_map_call_functions_too() {
        let invoke = "arn:aws:states:::lambda:invoke";
        let call = json!({"Resource": invoke, "Arguments": {"FunctionName": "${EnrichFunction}"}});
        let machine = json!({"States": {"M": {"ItemProcessor": {"States": {"Enrich": call}}}, "Again": call}});
        assert_eq!(calls(&machine)["EnrichFunction"], ["Again", "Enrich"]);
    }

    #[test]
    fn a_name_in_a_comment_is_not_filled_in() {
        let value = json!({"Comment": "${A}", "x": ["${B}", {"y": "{% '${C}' & '${D}' %}"}]});
        assert_eq!(substitutions(&value).into_iter().collect::<Vec<_>>(), ["B", "C", "D"]);
    }

    #[test]
    fn a_file_names_its_machine() {
        assert_eq!(name_of(Path::new("statemachine/two-approvals.asl.json")), "two-approvals");
    }
}
