use serde_json::json;

use super::*;
use crate::{definition, playbook_command, project::Project, template};

fn playbook() -> (Value, Known) {
    let project = Project::find().unwrap();
    let template = template::parse(&template::text(&project).unwrap()).unwrap();
    let machine = definition::read(&project.path("statemachine/playbook.asl.json")).unwrap();
    (machine, playbook_command::known(&template, "playbook"))
}

fn check(change: impl FnOnce(&mut Value), expected: &str) {
    let (mut machine, known) = playbook();
    change(&mut machine["States"]);
    let found = findings(&machine, &known);
    assert!(found.iter().any(|finding| finding.contains(expected)), "{expected}: {found:#?}");
}

#[test]
fn the_shipped_playbook_keeps_every_rule() {
    let (machine, known) = playbook();
    assert_eq!(findings(&machine, &known), Vec::<String>::new());
}

#[test]
fn an_incident_cannot_get_lost_between_states() {
    check(|s| s["Close"]["Catch"][1]["Next"] = json!("Gone"), "Close: leads to \"Gone\"");
    check(|s| s["Lost"] = json!({"Type": "Succeed"}), "Lost: nothing leads to it");
    check(|s| drop(s["Route"].as_object_mut().unwrap().remove("Default")), "Route: has no Default");
    check(|s| s["EnrichChunks"]["ItemProcessor"]["StartAt"] = json!("Close"), "EnrichChunks: leads to \"Close\"");
    check(|s| s["Release"]["Output"] = json!("{% $states.result %}"), "Release: its Output is not {}");
    check(|s| s["Odd"] = json!({"Type": "Pass", "InputPath": "$"}), "the key InputPath is not used here");
}

#[test]
fn every_task_ends_is_retried_and_is_caught() {
    check(|s| s["Release"]["Retry"] = json!([]), "Release: it is not retried");
    check(
        |s| s["Release"]["Retry"][0]["JitterStrategy"] = json!("NONE"),
        "Release: a Retry without JitterStrategy FULL",
    );
    check(
        |s| s["Release"]["Catch"][1]["ErrorEquals"] = json!(["States.TaskFailed"]),
        "Release: it does not catch States.ALL",
    );
    check(|s| s["Release"]["Catch"][1]["Next"] = json!("Close"), "Release: its States.ALL leads to Close");
    check(|s| drop(s["Release"]["Catch"].as_array_mut().unwrap().remove(0)), "Release: States.DataLimitExceeded");
    check(|s| s["Release"]["Retry"][0]["ErrorEquals"] = json!(["Throttled"]), "Release: Throttled and Unavailable");
    check(|s| s["Release"]["Retry"][1]["ErrorEquals"] = json!(["Rejected"]), "Release: Rejected is retried");
    check(|s| s["Release"]["Retry"][1]["ErrorEquals"] = json!(["Throtled"]), "Release: Throtled is no fault of ours");
    check(|s| s["Release"]["Arguments"]["FunctionName"] = json!("record"), "Release: FunctionName \"record\"");
}

#[test]
fn what_waits_can_be_woken() {
    let wait = "AwaitDecision";
    check(|s| s[wait]["Arguments"]["Payload"]["task_token"] = json!("x"), "does not hand on");
    check(|s| s[wait]["Catch"][0]["Next"] = json!("MarkFailed"), "does not lead to reading the decision");
    check(|s| s[wait]["Retry"][1]["ErrorEquals"] = json!(["States.Timeout"]), "its time-out is retried");
    check(|s| s[wait]["Resource"] = json!("arn:aws:states:::lambda:invoke"), "does not wait for it");
    check(|s| s[wait]["Resource"] = json!("arn:aws:states:::sqs:sendMessage.waitForTaskToken"), "cannot be waited for");
}

#[test]
fn expressions_hold_only_what_step_functions_has() {
    let check = |text: &str, expected: &str| {
        check(|s| s["NextRound"]["Assign"] = json!({"round": text, "wakes": 0}), expected);
    };
    check("{% $round ?: 1 %}", "?: is not in the JSONata");
    check("{% $eval('1') %}", "$eval is not allowed");
    check("round {% $round %}", "an expression is a whole text");
    check("{% $round + %}", "NextRound: {% $round + %}");
    check("{% $rounds + 1 %}", "$rounds is not assigned by the first state");
    check("{% $wakes + 1 %}", "round is reached from wakes");
}

#[test]
fn placeholders_and_the_template_agree() {
    let unused = |s: &mut Value| s["TellFailed"]["Arguments"]["TopicArn"] = json!("{% $failure %}");
    check(unused, "${AlarmTopic} is used nowhere");
    check(|s| s["TellFailed"]["Arguments"]["TopicArn"] = json!("${Topic}"), "${Topic} is not filled in");
    check(|s| s["TellFailed"]["Arguments"]["TopicArn"] = json!("arn:aws:sns:x:1:t"), "is no resource of the template");
    check(|s| s["Close"]["Arguments"]["Payload"]["x"] = json!("{% $states.result %}"), "there is no result yet");
}

#[test]
fn forty_states_are_enough() {
    let many = |s: &mut Value| {
        for number in 0..40 {
            s[format!("Extra{number}")] = json!({"Type": "Succeed"});
        }
    };
    check(many, "at most 40");
}
