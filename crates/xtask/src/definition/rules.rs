//! The rules of a definition that no linter has: an incident must not get lost or stuck in it, whatever fails.

use std::collections::BTreeSet;

use playbook::Fault;
use serde_json::{Map, Value};

use super::{
    State,
    canonical::Place,
    leads_to,
    pieces::{expression, newer_operator, variables},
    states, substitutions, texts,
};

/// More are not read by a person.
const STATES_MAX: usize = 40;
/// Where a failing state leads in machines that keep an incident's record.
pub const FAILURE: &str = "MarkFailed";
/// The net itself, which ends as failed whatever happens in it.
const NET: [&str; 2] = [FAILURE, "TellFailed"];
const TOKEN: &str = "$states.context.Task.Token";

/// What a definition may name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The functions, by their ids in the template.
    pub functions: BTreeSet<String>,
    /// What the template fills in for this machine; `None` for a machine that it does not deploy.
    pub substitutions: Option<BTreeSet<String>>,
}

impl Known {
    /// Everything that is wrong, a sentence each; empty when the definition can be deployed.
    #[must_use]
    pub fn findings(&self, definition: &Value) -> Vec<String> {
        findings(definition, self)
    }
}

fn findings(definition: &Value, known: &Known) -> Vec<String> {
    let mut findings = vec![];
    keys(definition, Place::Machine, "the machine", &mut findings);
    let all = states(definition);
    if all.len() > STATES_MAX {
        findings.push(format!("{} states, at most {STATES_MAX}: move a part into a machine of its own", all.len()));
        return findings;
    }
    if definition["QueryLanguage"] != "JSONata" {
        findings.push("QueryLanguage is not JSONata: every expression here is".to_owned());
    }
    paths(definition, &mut findings);
    names(definition, known, &mut findings);
    let declared = declared(definition);
    for state in &all {
        let mut of_state = vec![];
        match state.kind() {
            "Task" => task(state, known, definition, &mut of_state),
            "Map" => catches(state, definition, &mut of_state),
            "Choice" if state.body["Default"].as_str().is_none() => {
                of_state.push("has no Default: an incident that no condition fits would be lost".to_owned());
            }
            _ => {}
        }
        if ["Task", "Map", "Pass"].contains(&state.kind())
            && !state.is_inner
            && state.body["End"] != true
            && state.body["Output"] != Value::Object(Map::new())
        {
            of_state.push("its Output is not {}: states hand on variables only, so that they can be moved".to_owned());
        }
        expressions(state, &declared, &mut of_state);
        findings.extend(of_state.into_iter().map(|finding| format!("{}: {finding}", state.name)));
    }
    findings
}

/// Keys that the language does not have, or that nothing here uses.
fn keys(value: &Value, place: Place, at: &str, findings: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let is_open = matches!(place, Place::Free | Place::States);
            for (key, value) in map {
                if !is_open && !place.keys().contains(&key.as_str()) {
                    findings.push(format!("{at}: the key {key} is not used here"));
                    continue;
                }
                let below = place.below(key);
                if below != Place::Free {
                    keys(value, below, if below == Place::State { key } else { at }, findings);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, place, at, findings)),
        _ => {}
    }
}

/// Every target exists, and every state is reached.
fn paths(definition: &Value, findings: &mut Vec<String>) {
    let Some(top) = definition["States"].as_object() else {
        findings.push("there are no States".to_owned());
        return;
    };
    walk(top, definition["StartAt"].as_str().unwrap_or_default(), "the machine", findings);
    for (name, state) in top {
        let processor = &state["ItemProcessor"];
        if state["Type"] == "Map" {
            match processor["States"].as_object() {
                Some(inner) => walk(inner, processor["StartAt"].as_str().unwrap_or_default(), name, findings),
                None => findings.push(format!("{name}: a Map without states inside")),
            }
        }
    }
}

fn walk(states: &Map<String, Value>, start: &str, at: &str, findings: &mut Vec<String>) {
    let mut reached = BTreeSet::new();
    let mut open = vec![(at, start)];
    while let Some((from, name)) = open.pop() {
        match states.get_key_value(name) {
            None => findings.push(format!("{from}: leads to {name:?}, and there is no such state")),
            Some((name, state)) if reached.insert(name) => {
                open.extend(leads_to(state).into_iter().map(|to| (name.as_str(), to)));
            }
            Some(_) => {}
        }
    }
    let lost = states.keys().filter(|name| !reached.contains(name));
    findings.extend(lost.map(|name| format!("{name}: nothing leads to it")));
}

/// Names of functions and resources are placeholders that the template fills in, each one of them.
fn names(definition: &Value, known: &Known, findings: &mut Vec<String>) {
    for text in texts(&definition["States"]) {
        if text.starts_with("arn:") && !text.starts_with("arn:aws:states:::") {
            findings
                .push(format!("{text} is no resource of the template: name it as ${{…}}, and give it in the template"));
        }
    }
    let Some(given) = &known.substitutions else { return };
    let used = substitutions(definition);
    for name in used.difference(given) {
        findings.push(format!(
            "${{{name}}} is not filled in: add it to the machine's DefinitionSubstitutions in infra/template.yaml"
        ));
    }
    for name in given.difference(&used) {
        findings.push(format!(
            "${{{name}}} is used nowhere: take it out of the machine's DefinitionSubstitutions in infra/template.yaml"
        ));
    }
}

fn task(state: &State<'_>, known: &Known, definition: &Value, findings: &mut Vec<String>) {
    if !state.body["TimeoutSeconds"].is_u64() {
        findings.push("TimeoutSeconds is no literal number: it could wait for ever".to_owned());
    }
    let attempts = state.body["Retry"].as_array().map(Vec::as_slice).unwrap_or_default();
    if attempts.is_empty() {
        findings.push("it is not retried".to_owned());
    }
    if attempts.iter().any(|retry| retry["JitterStrategy"] != "FULL") {
        findings
            .push("a Retry without JitterStrategy FULL: after an outage everybody would come back at once".to_owned());
    }
    let retried = errors(state, "Retry");
    faults(&retried, findings);
    faults(&errors(state, "Catch"), findings);
    for fault in ["Rejected", "Misconfigured"].iter().filter(|fault| retried.contains(**fault)) {
        findings.push(format!("{fault} is retried, and cannot be mended by trying again"));
    }
    if state.resource().starts_with("arn:aws:states:::lambda:invoke") {
        match state.function() {
            Some(id) if known.functions.contains(id) => {}
            _ => findings.push(format!(
                "FunctionName {} is no function of the template",
                state.body.pointer("/Arguments/FunctionName").unwrap_or(&Value::Null)
            )),
        }
        if !["Throttled", "Unavailable"].iter().all(|fault| retried.contains(*fault)) {
            findings.push("Throttled and Unavailable are not both retried".to_owned());
        }
    }
    token(state, &retried, findings);
    catches(state, definition, findings);
}

/// What waits hands its token on, and comes back when nobody wakes it.
fn token(state: &State<'_>, retried: &BTreeSet<&str>, findings: &mut Vec<String>) {
    let waits = state.resource().contains("waitForTaskToken");
    let hands_on = texts(&state.body["Arguments"]).iter().any(|text| text.contains(TOKEN));
    if !waits {
        if hands_on {
            findings.push("it hands on a task token and does not wait for it".to_owned());
        }
        return;
    }
    if state.resource() != "arn:aws:states:::lambda:invoke.waitForTaskToken" {
        findings.push(format!("{} cannot be waited for here", state.resource()));
    }
    if !hands_on {
        findings.push(format!("it waits, and does not hand on {TOKEN}: nobody could wake it"));
    }
    if retried.contains("States.Timeout") {
        findings.push("its time-out is retried: it would wait twice as long".to_owned());
    }
    let reads = state.body["Catch"].as_array().into_iter().flatten();
    let is_backstop = |catch: &&Value| catch["ErrorEquals"] == serde_json::json!(["States.Timeout"]);
    if !reads.clone().any(|catch| is_backstop(&catch) && catch["Next"] != FAILURE) {
        findings.push(
            "its time-out does not lead to reading the decision: a decision that woke nobody would be lost".to_owned(),
        );
    }
}

/// Whatever a state throws leads to the failure's record, or to a Fail where there is none.
fn catches(state: &State<'_>, definition: &Value, findings: &mut Vec<String>) {
    let catches = state.body["Catch"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(last) = catches.last().filter(|last| last["ErrorEquals"] == serde_json::json!(["States.ALL"])) else {
        findings.push("it does not catch States.ALL, alone and last".to_owned());
        return;
    };
    if state.is_inner || NET.contains(&state.name) {
        return;
    }
    let all = &definition["States"];
    let to = last["Next"].as_str().unwrap_or_default();
    let has_record = all[FAILURE].is_object();
    if has_record && to != FAILURE {
        findings.push(format!("its States.ALL leads to {to}, not to {FAILURE}"));
    }
    if !has_record && all[to]["Type"] != "Fail" {
        findings
            .push(format!("its States.ALL leads to {to}, which is no Fail: a failure must not look like a success"));
    }
    if !errors(state, "Catch").contains("States.DataLimitExceeded") {
        findings.push("States.DataLimitExceeded is not caught, and States.ALL does not catch it".to_owned());
    }
}

fn errors<'a>(state: &State<'a>, list: &'static str) -> BTreeSet<&'a str> {
    let entries = state.body[list].as_array().into_iter().flatten();
    entries.flat_map(|entry| entry["ErrorEquals"].as_array().into_iter().flatten()).filter_map(Value::as_str).collect()
}

/// Errors without a dot are our own.
fn faults(errors: &BTreeSet<&str>, findings: &mut Vec<String>) {
    let unknown = errors.iter().filter(|error| !error.contains('.') && !Fault::NAMES.contains(error));
    findings.extend(unknown.map(|error| format!("{error} is no fault of ours: {}", Fault::NAMES.join(", "))));
}

/// The variables that the first state assigns: every path passes it.
fn declared(definition: &Value) -> BTreeSet<String> {
    let first = &definition["States"][definition["StartAt"].as_str().unwrap_or_default()];
    first["Assign"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn expressions(state: &State<'_>, declared: &BTreeSet<String>, findings: &mut Vec<String>) {
    let body: Vec<(&String, &Value)> =
        state.body.as_object().into_iter().flatten().filter(|(key, _)| *key != "ItemProcessor").collect();
    for (key, value) in &body {
        for text in texts(value) {
            let Some(code) = expression(text) else {
                if text.contains("{%") {
                    findings.push(format!("an expression is a whole text: {text}"));
                }
                continue;
            };
            if let Some(operator) = newer_operator(code) {
                findings.push(format!("{operator} is not in the JSONata of Step Functions: {text}"));
            }
            if code.contains("$eval") {
                findings.push(format!("$eval is not allowed: {text}"));
            }
            if matches!(key.as_str(), "Arguments" | "Items" | "ItemSelector")
                && (code.contains("$states.result") || code.contains("$states.errorOutput"))
            {
                findings.push(format!("there is no result yet: {text}"));
            }
            if let Err(error) = jsonata_core::parser::parse(code) {
                findings.push(format!("{text}: {error}"));
            }
            for name in variables(code).difference(declared) {
                findings.push(format!("${name} is not assigned by the first state: {text}"));
            }
        }
    }
    assigned(state.body, findings);
}

/// All of one Assign are reached from the values before it; the emulator takes them one after the other.
fn assigned(value: &Value, findings: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| *key != "ItemProcessor") {
                if key == "Assign"
                    && let Some(block) = value.as_object()
                {
                    for (name, value) in block {
                        let read: BTreeSet<String> =
                            texts(value).into_iter().filter_map(expression).flat_map(variables).collect();
                        let others = read.iter().filter(|other| *other != name && block.contains_key(*other));
                        findings.extend(others.map(|other| {
                            format!("{name} is reached from {other}, which the same Assign changes: use two states")
                        }));
                    }
                } else {
                    assigned(value, findings);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| assigned(item, findings)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
