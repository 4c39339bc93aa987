//! Rules of the state machines and the template that no linter and no emulator checks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use xtask::{
    definition::{self, State},
    playbook_command,
    project::Project,
    template::{self, Machine},
};

/// The longest way of an incident that no person is asked about.
const TRANSITIONS_MAX: usize = 12;

fn read(path: &str) -> String {
    let path = Project::find().unwrap().path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A definition with its name; examples are not deployed.
fn definitions() -> Vec<(String, Value)> {
    let files = definition::all(&Project::find().unwrap()).unwrap();
    files.iter().map(|path| (definition::name_of(path), definition::read(path).unwrap())).collect()
}

fn playbook() -> Value {
    definition::read(&Project::find().unwrap().path("statemachine/playbook.asl.json")).unwrap()
}

fn parsed() -> Value {
    template::parse(&read(template::FILE)).unwrap()
}

/// `update-databases` → `UpdateDatabasesFunction`.
fn sam_id(folder: &str) -> String {
    xtask::local::logical_id(folder) + "Function"
}

#[test]
fn every_definition_keeps_the_rules() {
    let template = parsed();
    for (name, machine) in definitions() {
        let findings = playbook_command::known(&template, &name).findings(&machine);
        assert_eq!(findings, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_template_deploys_every_machine_and_the_second_net_is_below_each() {
    let template = parsed();
    let machines = template::machines(&template);
    let words: BTreeSet<&str> = machines.iter().map(|machine| machine.word.as_str()).collect();
    let files = definition::deployed(&Project::find().unwrap()).unwrap();
    assert_eq!(
        words,
        files.iter().map(|path| definition::name_of(path)).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );
    let watched = &template["Resources"]["EndedExecutionRule"]["Properties"]["EventPattern"]["detail"];
    let watched: BTreeSet<&str> =
        watched["stateMachineArn"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(watched, machines.iter().map(|machine| machine.id.as_str()).collect());
    for machine in &machines {
        let properties = &template["Resources"][&machine.id]["Properties"];
        assert_eq!(properties["Name"], format!("${{AWS::StackName}}-{}", machine.word));
        assert_eq!(properties["Type"], "STANDARD", "an Express machine cannot wait for a person");
        assert_eq!(properties["Tracing"]["Enabled"], true, "{}", machine.id);
        assert_eq!(properties["Logging"]["IncludeExecutionData"], false, "{}: the data holds task tokens", machine.id);
    }
}

#[test]
fn functions_folders_template_and_machines_use_one_word() {
    let project = Project::find().unwrap();
    let template = parsed();
    let folders: BTreeSet<String> = project.functions().unwrap().into_iter().collect();
    let expected: BTreeSet<String> = folders.iter().map(|folder| sam_id(folder)).collect();
    assert_eq!(template::functions(&template), expected);
    for folder in &folders {
        let code = template["Resources"][&sam_id(folder)]["Properties"]["CodeUri"].as_str().unwrap();
        assert_eq!(code.trim_end_matches('/'), format!("../dist/{folder}"));
        let manifest = read(&format!("functions/{folder}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{folder}\"")), "{folder}");
        let lines = read(&format!("functions/{folder}/src/main.rs")).lines().count();
        assert!(lines <= 45, "{folder}/src/main.rs has {lines} lines: wiring only");
    }
    for (machine, definition) in definitions() {
        for (function, states) in definition::calls(&definition) {
            assert!(expected.contains(&function), "{machine}: {states:?} call {function}");
        }
    }
}

/// What a function's `main.rs` says of itself: the settings it reads, and the calls it makes as actions of IAM.
fn says(function: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    const SERVICES: [(&str, &str); 8] = [
        ("S3", "s3"),
        ("DynamoDB", "dynamodb"),
        ("SQS", "sqs"),
        ("Step Functions", "states"),
        ("SES", "ses"),
        ("SSM", "ssm"),
        ("Secrets Manager", "secretsmanager"),
        ("WAF", "wafv2"),
    ];
    let code = read(&format!("functions/{function}/src/main.rs"));
    let header: Vec<&str> = code.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let (mut settings, mut actions, mut service) = (BTreeSet::new(), BTreeSet::new(), "");
    // Odd pieces stand between backticks.
    for (number, piece) in header.join("").split('`').enumerate() {
        if number % 2 == 0 {
            let named = SERVICES.iter().filter_map(|(name, prefix)| Some((piece.rfind(name)?, *prefix)));
            service = named.max().map_or(service, |(_, prefix)| prefix);
        } else if piece.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            settings.insert(piece.to_owned());
        } else if !service.is_empty() && piece.bytes().all(|b| b.is_ascii_alphanumeric()) {
            actions.insert(format!("{service}:{piece}"));
        }
    }
    (settings, actions)
}

/// Names of the variables that the template gives.
fn variables(properties: &Value) -> BTreeSet<String> {
    let given = properties["Environment"]["Variables"].as_object().into_iter().flatten();
    given.map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_function_is_given_what_it_reads_and_may_do_what_it_calls_and_nothing_else() {
    // What comes with a call: a version of an object, a 404 instead of a 403, the other name of sending mail.
    const ALONG: [&str; 3] = ["s3:GetObjectVersion", "s3:ListBucket", "ses:SendRawEmail"];
    let template = parsed();
    // Every function has these, and says so only where its own code reads them.
    let common = variables(&template["Globals"]["Function"]);
    for function in Project::find().unwrap().functions().unwrap() {
        let properties = &template["Resources"][sam_id(&function)]["Properties"];
        let (settings, calls) = says(&function);
        let own = variables(properties);
        let given = own.union(&common).filter(|name| own.contains(*name) || settings.contains(*name)).cloned();
        let given: BTreeSet<String> = given.collect();
        assert_eq!(given, settings, "{function}: settings of the template, and of its main.rs");
        let services = ["s3:", "dynamodb:", "sqs:", "states:", "ses:", "ssm:", "secretsmanager:", "wafv2:"];
        let allowed: BTreeSet<String> = definition::texts(&properties["Policies"])
            .into_iter()
            .filter(|text| services.iter().any(|service| text.starts_with(service)) && !text.contains("FromAddress"))
            .filter(|text| !ALONG.contains(text))
            .map(str::to_owned)
            .collect();
        assert_eq!(allowed, calls, "{function}: actions that the template allows, and calls that its main.rs names");
    }
}

/// What a state needs to be allowed, and of which function where it calls one.
fn needs(state: &State<'_>) -> Option<(&'static str, Option<String>)> {
    match state.resource() {
        "" => None,
        resource if resource.contains("lambda:invoke") => {
            Some(("lambda:InvokeFunction", state.function().map(str::to_owned)))
        }
        "arn:aws:states:::dynamodb:getItem" => Some(("dynamodb:GetItem", None)),
        "arn:aws:states:::dynamodb:updateItem" => Some(("dynamodb:UpdateItem", None)),
        "arn:aws:states:::sns:publish" => Some(("sns:Publish", None)),
        other => panic!("{other}: say here which permission it needs"),
    }
}

#[test]
fn the_machines_may_do_what_they_do_and_nothing_else() {
    let template = parsed();
    let mut by_role: BTreeMap<String, Vec<Machine>> = BTreeMap::new();
    for machine in template::machines(&template) {
        by_role.entry(machine.role.clone()).or_default().push(machine);
    }
    for (role, machines) in by_role {
        let (mut actions, mut functions) = (BTreeSet::new(), BTreeSet::new());
        for machine in machines {
            let definition: Value =
                serde_json::from_str(&read(&format!("statemachine/{}.asl.json", machine.word))).unwrap();
            for (action, function) in definition::states(&definition).iter().filter_map(needs) {
                actions.insert(action);
                functions.extend(function);
            }
        }
        let policies = &template["Resources"][&role]["Properties"]["Policies"];
        let granted = definition::texts(policies);
        let is_ours = |text: &&str| {
            let service = text.split_once(':').map(|(service, _)| service);
            service.is_some_and(|service| ["lambda", "dynamodb", "sns", "states"].contains(&service))
        };
        let allowed: BTreeSet<&str> = granted.iter().copied().filter(is_ours).collect();
        assert_eq!(allowed, actions, "{role}");
        let invoked: BTreeSet<String> = granted
            .iter()
            .filter_map(|text| text.strip_suffix("Function.Arn"))
            .map(|n| format!("{n}Function"))
            .collect();
        assert_eq!(invoked, functions, "{role}");
    }
}

#[test]
fn only_the_await_of_the_playbook_waits_for_a_person() {
    for (name, expected) in [("playbook", &["AwaitDecision"][..]), ("enrich-only", &[])] {
        let definition: Value = serde_json::from_str(&read(&format!("statemachine/{name}.asl.json"))).unwrap();
        let states = definition::states(&definition);
        let waits: Vec<&str> = states
            .iter()
            .filter(|state| state.resource().contains("waitForTaskToken"))
            .map(|state| state.name)
            .collect();
        assert_eq!(waits, expected, "{name}");
    }
}

/// The longest way from a state to an end that passes none of these states, in states.
fn longest(states: &Map<String, Value>, from: &str, shut: &[&str], passed: &mut Vec<String>) -> Option<usize> {
    if shut.contains(&from) || passed.iter().any(|name| name == from) {
        return None;
    }
    let state = &states[from];
    // Each item of a Map enters the one state that does its work.
    let own = if state["Type"] == "Map" { 2 } else { 1 };
    if state["End"] == true {
        return Some(own);
    }
    passed.push(from.to_owned());
    let ways: Vec<usize> =
        definition::leads_to(state).into_iter().filter_map(|to| longest(states, to, shut, passed)).collect();
    passed.pop();
    Some(own + ways.into_iter().max()?)
}

#[test]
fn an_incident_that_needs_no_person_takes_few_transitions() {
    for (name, asks) in [("playbook", &["PrepareReview", "MarkFailed"][..]), ("enrich-only", &["MarkFailed"])] {
        let definition: Value = serde_json::from_str(&read(&format!("statemachine/{name}.asl.json"))).unwrap();
        let way = longest(definition["States"].as_object().unwrap(), "Extract", asks, &mut vec![]).unwrap();
        assert!((6..=TRANSITIONS_MAX).contains(&way), "{name}: {way} states");
    }
}

#[test]
fn nothing_is_enforced_without_a_decision_or_the_policy_and_the_table_of_ways_holds() {
    let definition = playbook();
    let states = definition["States"].as_object().unwrap();
    let acts: BTreeMap<&str, &str> = states
        .iter()
        .filter_map(|(name, state)| Some((name.as_str(), state.pointer("/Arguments/Payload/act")?.as_str()?)))
        .collect();
    let expected = [
        ("AwaitDecision", "await"),
        ("Enforce", "enforce"),
        ("EnforceAutomatically", "enforce_automatically"),
        ("PrepareReview", "prepare"),
        ("Record", "record"),
        ("Release", "release"),
    ];
    assert_eq!(acts, BTreeMap::from(expected));
    let enforcing: BTreeSet<&str> = states
        .iter()
        .filter(|(_, state)| definition::leads_to(state).contains(&"Enforce"))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(enforcing, BTreeSet::from(["Decision"]));
    let first: BTreeMap<&str, &str> = states["Route"]["Choices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|choice| Some((choice["Condition"].as_str()?.split('\'').nth(1)?, choice["Next"].as_str()?)))
        .collect();
    let ways = [
        ("benign", "Close"),
        ("needs-data", "OpenTicket"),
        ("provisional", "Close"),
        ("review", "Record"),
        ("watch", "Record"),
    ];
    assert_eq!(first, BTreeMap::from(ways));
}

/// Every act and name of the function that a payload may hold, as the code reads it.
#[test]
fn every_act_is_one_that_the_functions_know() {
    for act in ["record", "enforce_automatically", "enforce", "release"] {
        let input = serde_json::json!({
            "act": act, "incident_id": "inc-aaaaaaaaaaaaaaaaaaaaaaaaaa", "run": 1, "round": 1,
        });
        serde_json::from_value::<update_databases::Input>(input).unwrap_or_else(|error| panic!("{act}: {error}"));
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
