//! Scenarios of machines beside the playbook: a copy that somebody has edited, and a machine that calls the enrichment alone.

use std::rc::Rc;

use playbook::{IncidentId, incident::IncidentStatus, ports::Clock};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use xtask::{
    local::Execution,
    playbook_command::{self, Source},
    project::Project,
    stand_in::tickets::System,
    template,
};

use super::{Deployed, LEAD, NIGHT_SHIFT, deployed::until, mail};

/// The copy, and the source whose incidents the policy's rule sends to it.
pub const COPY: &str = "two-approvals";
pub const COPY_SOURCE: &str = "copied";

/// The word of a machine that nobody but the scenario deploys.
const PARENT: &str = "parent";
/// Step Functions is told by it that a called execution has ended.
const RULE: &str = "StepFunctionsGetEventsForStepFunctionsExecutionRule";

/// A project that holds nothing but the playbook, and a copy of it that was edited.
pub struct Edited {
    project: Project,
    _folder: TempDir,
}

impl Edited {
    /// Makes the copy of `ours`, does to it what `docs/PLAYBOOKS.md` says, and brings it back: the exercise, on paper.
    pub fn from(ours: &Project) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let edited = Self { project: Project::at(folder.path()), _folder: folder };
        for file in ["statemachine/playbook.asl.json", template::FILE] {
            std::fs::create_dir_all(edited.project.path(file).parent().unwrap()).unwrap();
            std::fs::copy(ours.path(file), edited.project.path(file)).unwrap();
        }
        playbook_command::copy(&edited.project, COPY).unwrap();
        let mut machine = serde_json::from_str(&edited.definition()).unwrap();
        exercise(&mut machine);
        edited.pull(&machine);
        edited
    }

    /// The file of the copy.
    pub fn definition(&self) -> String {
        std::fs::read_to_string(self.project.path(&format!("statemachine/{COPY}.asl.json"))).unwrap()
    }

    /// Brings back what an editor has saved, or what Step Functions says of a machine.
    fn pull(&self, saved: &Value) {
        let file = self.project.path("saved.json");
        std::fs::write(&file, reordered(saved)).unwrap();
        playbook_command::pull(&self.project, COPY, &Source::File(file)).unwrap();
    }
}

/// The exercise: one person opens the served lists, and only a second one AWS WAF.
fn exercise(machine: &mut Value) {
    let states = machine["States"].as_object_mut().unwrap();
    let to_waf = duplicate(states, "Enforce", "EnforceAtWaf", "Close");
    to_waf["Arguments"]["Payload"]["targets"] = json!(["waf-ip-set"]);
    states["Enforce"]["Arguments"]["Payload"]["targets"] = json!(["served-list"]);
    states["Enforce"]["Next"] = json!("AskSecondLevel");
    let next_level = json!({
        "Type": "Pass", "Assign": {"round": "{% $round + 1 %}"}, "Output": {}, "Next": "PrepareSecondReview",
    });
    states.insert("AskSecondLevel".to_owned(), next_level);
    duplicate(states, "PrepareReview", "PrepareSecondReview", "AwaitSecondDecision");
    let wait = duplicate(states, "AwaitDecision", "AwaitSecondDecision", "ReadSecondDecision");
    wait["Catch"][0]["Next"] = json!("ReadSecondDecision");
    duplicate(states, "ReadDecision", "ReadSecondDecision", "SecondDecision");
    let choice = json!({
        "Type": "Choice",
        "Choices": [
            {"Condition": "{% $choice = 'approved' %}", "Next": "EnforceAtWaf"},
            {"Condition": "{% $choice = 'rejected' %}", "Next": "Release"},
            {"Condition": "{% $choice = 'none' and $wakes < 20 %}", "Next": "AwaitSecondDecision"},
        ],
        "Default": "Close",
    });
    states.insert("SecondDecision".to_owned(), choice);
}

/// A state under another name that leads elsewhere, as the editor's *Duplicate* makes it.
fn duplicate<'a>(states: &'a mut Map<String, Value>, from: &str, name: &str, next: &str) -> &'a mut Value {
    let mut state = states[from].clone();
    state["Next"] = json!(next);
    states.insert(name.to_owned(), state);
    &mut states[name]
}

/// As another tool would write it: no line breaks, every key where ours has it last.
fn reordered(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}:{}", json!(key), reordered(value)));
            let mut entries: Vec<String> = entries.collect();
            entries.reverse();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reordered).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[test]
fn the_exercise_passes_the_checks_and_is_as_it_was_after_its_keys_were_reordered() {
    let edited = Edited::from(&Project::find().unwrap());
    let ours = edited.definition();
    let saved = serde_json::from_str(&ours).unwrap();
    assert_ne!(reordered(&saved), ours);
    edited.pull(&saved);
    assert_eq!(edited.definition(), ours);
    // A change is taken over.
    let mut changed = saved;
    changed["States"]["AwaitSecondDecision"]["TimeoutSeconds"] = json!(86_400);
    edited.pull(&changed);
    assert_ne!(edited.definition(), ours);
    assert_eq!(edited.definition().replace("86400", "604800"), ours);
}

/// An incident of the source that the policy sends to the copy.
async fn receive(deployed: &Deployed, address: &str) -> IncidentId {
    let key = format!("incidents/copied/{address}.eml");
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    let bytes = mail("copied", &format!("Server: {address}"));
    deployed.gateway().put_object(bucket, &key, "message/rfc822", bytes).await.unwrap();
    let intake = json!({
        "schema": "intake/1", "kind": "mail", "tenant": "default", "source": COPY_SOURCE, "native_id": address,
        "severity": "low", "evidence": {"key": key}, "received_at": aws::SystemClock.now(),
    });
    let queue = deployed.stack.output("IntakeQueueUrl").unwrap();
    let message = json!({"QueueUrl": queue, "MessageBody": intake.to_string()});
    deployed.gateway().call("sqs", "AmazonSQS.SendMessage", &message).await.unwrap();
    let id = IncidentId::of("default", COPY_SOURCE, address);
    until(&format!("{id} is admitted"), async || deployed.row(&id, "meta").await.ok_or_else(String::new)).await;
    id
}

/// That the copy has ended, and how.
async fn ends(deployed: &Deployed, id: &IncidentId, result: &str) {
    let stack = deployed.stack.with_executions_of(COPY);
    until(&format!("the copy ends {id} as {result}"), async || {
        let execution = stack.execution(&id.execution_name(1)).await.unwrap().unwrap();
        let incident = deployed.incident(id).await;
        let is_over = execution.status == "SUCCEEDED" && incident.status == IncidentStatus::Closed;
        let is_so = is_over && incident.result.as_deref() == Some(result);
        if is_so { Ok(()) } else { Err(format!("{execution:?} {incident:?}")) }
    })
    .await;
    let original = deployed.stack.execution(&id.execution_name(1)).await.unwrap();
    assert_eq!(original, None, "the playbook itself has never seen it");
}

/// Where an address is blocked: on the served list, in AWS WAF.
async fn blocked(deployed: &Deployed, address: &str) -> (bool, bool) {
    let (list, waf) = (deployed.list("ipv4-addr").await, deployed.in_waf().await);
    (list.contains(&address.to_owned()), waf.contains(&format!("{address}/32")))
}

pub async fn copied(deployed: Rc<Deployed>) {
    let (both, first_only) = ("203.0.113.101", "203.0.113.102");
    for (address, second, result, expected) in
        [(both, "approved", "enforced", (true, true)), (first_only, "rejected", "false_positive", (false, false))]
    {
        let id = receive(&deployed, address).await;
        let round = deployed.asked(&id, 1, 1).await;
        assert_eq!(round["asked"], json!([NIGHT_SHIFT]));
        assert_eq!(deployed.incident(&id).await.machine(), COPY);
        assert_eq!(blocked(&deployed, address).await, (false, false));

        deployed.decide(&id, NIGHT_SHIFT, "approved").await;
        let round = deployed.asked(&id, 1, 2).await;
        assert_eq!(round["asked"], json!([LEAD]));
        assert_eq!(blocked(&deployed, address).await, (true, false), "one approval opens the lists only");

        deployed.decide(&id, LEAD, second).await;
        ends(&deployed, &id, result).await;
        assert_eq!(blocked(&deployed, address).await, expected, "{second}");
    }

    // What is deployed comes back as the file that it was deployed from, whatever has happened to the order of its keys.
    let edited = Edited::from(&deployed.project);
    let before = edited.definition();
    let machine = machine_arn(&deployed, COPY);
    let input = json!({"stateMachineArn": machine});
    let mut said = deployed.gateway().call("states", "AWSStepFunctions.DescribeStateMachine", &input).await.unwrap();
    let definition: Value = serde_json::from_str(said["definition"].as_str().unwrap()).unwrap();
    assert!(!definition.to_string().contains("${"), "the deployment has filled everything in");
    said["definition"] = json!(reordered(&definition));
    edited.pull(&said);
    assert_eq!(edited.definition(), before);
}

fn machine_arn(deployed: &Deployed, word: &str) -> String {
    let (account, stack) = (deployed.gateway().account(), deployed.stack.name());
    format!("arn:aws:states:us-east-1:{account}:stateMachine:{stack}-{word}")
}

/// Deploys the example parent beside the stack, with a role that may do what `docs/PLAYBOOKS.md` says and nothing else.
async fn deploy_parent(deployed: &Deployed) {
    let (gateway, callee) = (deployed.gateway(), machine_arn(deployed, "enrich-only"));
    let made = gateway.query("sns", &[("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", PARENT)]).await;
    let made = made.unwrap();
    let topic = made.split("<TopicArn>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();

    let executions = format!("{}:*", callee.replacen(":stateMachine:", ":execution:", 1));
    let told_by = format!("arn:aws:events:us-east-1:{}:rule/{RULE}", gateway.account());
    let statement = |actions: &[&str], on: &str| json!({"Effect": "Allow", "Action": actions, "Resource": on});
    let may = json!({"Version": "2012-10-17", "Statement": [
        statement(&["states:StartExecution"], &callee),
        statement(&["states:DescribeExecution", "states:StopExecution"], &executions),
        statement(&["events:PutTargets", "events:PutRule", "events:DescribeRule"], &told_by),
        statement(&["sns:Publish"], topic),
    ]});
    let trusts = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    let (may, trusts) = (may.to_string(), trusts.to_string());
    for form in [
        &[("Action", "CreateRole"), ("RoleName", PARENT), ("AssumeRolePolicyDocument", &trusts)][..],
        &[("Action", "PutRolePolicy"), ("RoleName", PARENT), ("PolicyName", PARENT), ("PolicyDocument", &may)][..],
    ] {
        let form: Vec<_> = form.iter().copied().chain([("Version", "2010-05-08")]).collect();
        gateway.query("iam", &form).await.unwrap();
    }

    let example = deployed.project.path("statemachine/examples/parent.asl.json");
    let definition = std::fs::read_to_string(example).unwrap();
    let definition = definition.replace("${EnrichOnlyArn}", &callee).replace("${NotificationTopic}", topic);
    let role = format!("arn:aws:iam::{}:role/{PARENT}", gateway.account());
    let name = format!("{}-{PARENT}", deployed.stack.name());
    let input = json!({"name": name, "definition": definition, "roleArn": role});
    gateway.call("states", "AWSStepFunctions.CreateStateMachine", &input).await.unwrap();
}

/// Runs the parent on an alert that names a domain; the execution, and the states that it passed.
async fn run_parent(deployed: &Deployed, name: &str, evidence: &str) -> (Execution, Vec<String>) {
    let parent = deployed.stack.with_executions_of(PARENT);
    parent.start(name, &json!({"evidence": {"key": evidence}, "native_id": name})).await.unwrap();
    let ended = until(&format!("the parent has ended {name}"), async || {
        let execution = parent.execution(name).await.unwrap().unwrap();
        if execution.status == "RUNNING" { Err(format!("{execution:?}")) } else { Ok(execution) }
    })
    .await;
    let events = parent.history(name).await.unwrap();
    let entered = events.iter().filter_map(|event| event["stateEnteredEventDetails"]["name"].as_str());
    (ended, entered.map(str::to_owned).collect())
}

pub async fn embedded(deployed: Rc<Deployed>) {
    deploy_parent(&deployed).await;
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    for (name, domain, route, passed) in [
        ("embedded-bad", "embedded.example", "review", &["Enrich", "ByRoute", "Tell", "Done"][..]),
        ("embedded-harmless", "embedded-harmless.example", "benign", &["Enrich", "ByRoute", "Done"][..]),
    ] {
        let alert = json!({
            "schema": "alert/1", "source": PARENT, "native_id": name, "title": "Beacon", "severity": "medium",
            "occurred_at": aws::SystemClock.now(), "observables": [{"type": "domain-name", "value": domain}],
        });
        let key = format!("incidents/embedded/{name}.json");
        let bytes = alert.to_string().into_bytes();
        deployed.gateway().put_object(bucket, &key, "application/json", bytes).await.unwrap();

        let (execution, states) = run_parent(&deployed, name, &key).await;
        assert_eq!(execution.status, "SUCCEEDED", "{execution:?}");
        let output = execution.output.unwrap();
        let id = IncidentId::of("default", PARENT, name);
        assert_eq!((&output["incident_id"], &output["route"]), (&json!(id), &json!(route)));
        assert!(output["severity"].is_string(), "{output}");
        assert_eq!(states, passed);

        // It judges, and nothing else: what follows is the caller's.
        let incident = deployed.incident(&id).await;
        assert_eq!((incident.status, incident.result.as_deref()), (IncidentStatus::Closed, Some("enriched")));
        assert_eq!((incident.machine(), &incident.due_kind), ("enrich-only", &None));
        assert!(deployed.mails(&id).await.is_empty() && deployed.issues(System::Jira, &id).is_empty());
        assert!(!deployed.lists().await.contains(domain));
    }

    // A failed enrichment is an error of the parent's, never an answer.
    let (execution, states) = run_parent(&deployed, "embedded-gone", "incidents/embedded/gone.json").await;
    let failure = execution.failure.unwrap();
    assert_eq!(execution.status, "FAILED");
    assert!(failure.starts_with("EnrichmentFailed") && failure.contains("PlaybookFailed"), "{failure}");
    assert_eq!(states, ["Enrich", "Failed"]);
}
