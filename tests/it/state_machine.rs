//! Rules of the state machine and the template that no linter and no emulator checks.

use std::collections::{BTreeMap, BTreeSet};

use playbook::Fault;
use serde_json::Value;
use xtask::project::Project;

/// The definition, with every state: those inside the Map as well.
struct Machine {
    definition: Value,
    states: BTreeMap<String, Value>,
    /// Names of the states inside the Map.
    inner: BTreeSet<String>,
}

fn read(path: &str) -> String {
    let path = Project::find().unwrap().path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn machine() -> Machine {
    let definition: Value = serde_json::from_str(&read("statemachine/playbook.asl.json")).unwrap();
    let mut states = BTreeMap::new();
    let mut inner = BTreeSet::new();
    for (name, state) in definition["States"].as_object().unwrap() {
        states.insert(name.clone(), state.clone());
        for (name, state) in state["ItemProcessor"]["States"].as_object().into_iter().flatten() {
            states.insert(name.clone(), state.clone());
            inner.insert(name.clone());
        }
    }
    Machine { definition, states, inner }
}

/// The template; intrinsic functions lose their tag and keep their argument.
fn template() -> Value {
    let mut text = String::new();
    for line in read("infra/template.yaml").lines() {
        let mut words = vec![];
        for word in line.split(' ') {
            let is_tag = word.starts_with('!') && word.len() > 1 && word[1..].chars().all(char::is_alphanumeric);
            if !is_tag {
                words.push(word);
            }
        }
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    serde_saphyr::from_str(&text).unwrap()
}

/// Where a state may lead.
fn targets(state: &Value) -> Vec<String> {
    let mut targets = vec![];
    let mut add = |value: &Value| targets.extend(value.as_str().map(str::to_owned));
    add(&state["Next"]);
    add(&state["Default"]);
    for list in ["Choices", "Catch"] {
        state[list].as_array().into_iter().flatten().for_each(|entry| add(&entry["Next"]));
    }
    targets
}

fn errors(state: &Value, list: &str) -> Vec<Vec<String>> {
    let entries = state[list].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| serde_json::from_value(entry["ErrorEquals"].clone()).unwrap()).collect()
}

/// `update-databases` → `UpdateDatabasesFunction`.
fn sam_id(folder: &str) -> String {
    let pascal: String = folder
        .split('-')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect();
    pascal + "Function"
}

/// Every text inside a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

fn substitutions(text: &str) -> BTreeSet<String> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_target_exists_and_every_state_is_reached() {
    let machine = machine();
    let top = machine.definition["States"].as_object().unwrap();
    assert!(machine.states.len() <= 40);
    let mut reached = BTreeSet::new();
    let mut open = vec![machine.definition["StartAt"].as_str().unwrap().to_owned()];
    while let Some(name) = open.pop() {
        if !reached.insert(name.clone()) {
            continue;
        }
        let state = top.get(&name).unwrap_or_else(|| panic!("there is no state {name}"));
        open.extend(targets(state));
        let processor = &state["ItemProcessor"];
        if processor.is_object() {
            let inside = processor["States"].as_object().unwrap();
            assert!(inside.contains_key(processor["StartAt"].as_str().unwrap()));
            for (inner_name, inner) in inside {
                assert!(
                    targets(inner).iter().all(|target| inside.contains_key(target)),
                    "{inner_name} leads out of its Map"
                );
            }
        }
    }
    assert_eq!(reached, top.keys().cloned().collect());
}

#[test]
fn every_task_ends_in_time_is_retried_and_is_caught() {
    let machine = machine();
    for (name, state) in machine.states.iter().filter(|(_, state)| state["Type"] == "Task") {
        assert!(state["TimeoutSeconds"].is_u64(), "{name}: the timeout is a literal number");
        assert!(state["Retry"].as_array().is_some_and(|retry| !retry.is_empty()), "{name} is not retried");
        for retry in state["Retry"].as_array().unwrap() {
            assert_eq!(retry["JitterStrategy"], "FULL", "{name}");
        }
        let catches = errors(state, "Catch");
        assert_eq!(catches.last(), Some(&vec!["States.ALL".to_owned()]), "{name} catches everything, last");
        let is_net = ["MarkFailed", "TellFailed"].contains(&name.as_str());
        if !machine.inner.contains(name) && !is_net {
            let last = state["Catch"].as_array().unwrap().last().unwrap();
            assert_eq!(last["Next"], "MarkFailed", "{name}");
            assert!(catches.iter().any(|errors| errors.contains(&"States.DataLimitExceeded".to_owned())), "{name}");
        }
    }
}

#[test]
fn only_the_await_waits_for_a_token_and_it_hands_the_token_on() {
    let waits: Vec<(String, Value)> = machine()
        .states
        .into_iter()
        .filter(|(_, state)| state["Resource"].as_str().is_some_and(|resource| resource.contains("waitForTaskToken")))
        .collect();
    assert_eq!(waits.len(), 1);
    let (name, state) = &waits[0];
    assert_eq!(name, "AwaitDecision");
    assert_eq!(state["Resource"], "arn:aws:states:::lambda:invoke.waitForTaskToken");
    assert!(texts(&state["Arguments"]).iter().any(|text| text.contains("$states.context.Task.Token")));
}

#[test]
fn the_machine_and_the_code_name_the_same_faults() {
    let known: BTreeSet<&str> = Fault::NAMES.into();
    let mut retried = BTreeSet::new();
    for (name, state) in &machine().states {
        for list in ["Retry", "Catch"] {
            for error in errors(state, list).into_iter().flatten().filter(|error| !error.contains('.')) {
                assert!(known.contains(error.as_str()), "{name}: {error} is no fault of ours");
                if list == "Retry" {
                    retried.insert(error);
                }
            }
        }
        let is_ours = state["Resource"].as_str().is_some_and(|resource| resource.contains("lambda:invoke"));
        if is_ours {
            let retry: BTreeSet<String> = errors(state, "Retry").into_iter().flatten().collect();
            assert!(["Throttled", "Unavailable"].iter().all(|fault| retry.contains(*fault)), "{name}");
        }
    }
    let never: Vec<&String> =
        retried.iter().filter(|error| ["Rejected", "Misconfigured"].contains(&error.as_str())).collect();
    assert!(never.is_empty(), "{never:?} cannot be mended by trying again");
}

#[test]
fn functions_folders_template_and_machine_use_one_word() {
    let project = Project::find().unwrap();
    let template = template();
    let resources = template["Resources"].as_object().unwrap();
    let folders: BTreeSet<String> = project.functions().unwrap().into_iter().collect();
    let functions: BTreeSet<&String> =
        resources.iter().filter(|(_, r)| r["Type"] == "AWS::Serverless::Function").map(|(id, _)| id).collect();
    let expected: BTreeSet<String> = folders.iter().map(|folder| sam_id(folder)).collect();
    assert_eq!(functions, expected.iter().collect());
    for folder in &folders {
        let code = resources[&sam_id(folder)]["Properties"]["CodeUri"].as_str().unwrap();
        assert_eq!(code.trim_end_matches('/'), format!("../dist/{folder}"));
        let manifest = read(&format!("functions/{folder}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{folder}\"")), "{folder}");
        let lines = read(&format!("functions/{folder}/src/main.rs")).lines().count();
        assert!(lines <= 45, "{folder}/src/main.rs has {lines} lines: wiring only");
    }
    for (name, state) in &machine().states {
        let resource = state["Resource"].as_str().unwrap_or_default();
        if resource.contains("lambda:invoke") {
            let function = state["Arguments"]["FunctionName"].as_str().unwrap();
            let id = function.trim_start_matches("${").trim_end_matches('}');
            assert!(expected.contains(id), "{name}: {function}");
        }
    }
}

#[test]
fn every_substitution_is_given_and_none_is_left_over() {
    let used = substitutions(&read("statemachine/playbook.asl.json"));
    let template = template();
    let given = template["Resources"]["Playbook"]["Properties"]["DefinitionSubstitutions"].as_object().unwrap().clone();
    assert_eq!(used, given.keys().cloned().collect());
}

#[test]
fn the_machine_may_do_what_it_does_and_nothing_else() {
    let template = template();
    let policies = &template["Resources"]["Playbook"]["Properties"]["Policies"];
    let granted = texts(policies);
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut functions = BTreeSet::new();
    for state in machine().states.values() {
        match state["Resource"].as_str().unwrap_or_default() {
            resource if resource.contains("lambda:invoke") => {
                needed.insert("lambda:InvokeFunction");
                functions.extend(substitutions(state["Arguments"]["FunctionName"].as_str().unwrap()));
            }
            "arn:aws:states:::dynamodb:getItem" => drop(needed.insert("dynamodb:GetItem")),
            "arn:aws:states:::dynamodb:updateItem" => drop(needed.insert("dynamodb:UpdateItem")),
            "arn:aws:states:::sns:publish" => drop(needed.insert("sns:Publish")),
            "" => {}
            other => panic!("{other}: say here which permission it needs"),
        }
    }
    let actions: BTreeSet<&str> = granted
        .iter()
        .map(String::as_str)
        .filter(|text| {
            text.split_once(':').is_some_and(|(service, _)| ["lambda", "dynamodb", "sns", "states"].contains(&service))
        })
        .filter(|text| !text.contains("LeadingKeys"))
        .collect();
    assert_eq!(actions, needed);
    let invoked: BTreeSet<String> = granted
        .iter()
        .filter_map(|text| text.strip_suffix("Function.Arn"))
        .map(|name| format!("{name}Function"))
        .collect();
    assert_eq!(invoked, functions);
}

#[test]
fn expressions_use_only_what_step_functions_has() {
    for (name, state) in &machine().states {
        for text in texts(state) {
            let Some(expression) = text.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) else {
                assert!(!text.contains("{%"), "{name}: an expression is a whole string: {text}");
                continue;
            };
            assert!(!expression.contains("?:") && !expression.contains("??"), "{name}: not in JSONata 2.0: {text}");
            assert!(!expression.contains("$eval"), "{name}: {text}");
            jsonata_core::parser::parse(expression).unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
        }
        // States hand on nothing but variables: the payload stays far below the limit, and states can be moved.
        if ["Task", "Map", "Pass"].contains(&state["Type"].as_str().unwrap()) && state["End"] != true {
            let is_inner = machine().inner.contains(name);
            assert!(is_inner || state["Output"] == serde_json::json!({}), "{name}: Output is not {{}}");
        }
    }
}

#[test]
fn the_largest_state_stays_below_its_budget() {
    // 500 observables are the most that one incident has; 20,000 the most that a feed brings later.
    for observables in [500, 20_000] {
        let chunks: Vec<extract::Chunk> =
            (0..observables / 50).map(|n| extract::Chunk { offset: n * 50, count: 50 }).collect();
        let bytes = serde_json::to_vec(&chunks).unwrap().len();
        assert!(bytes < 32 * 1024, "{observables} observables: {bytes} bytes");
    }
}
