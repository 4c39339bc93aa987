//! Scenarios of what the doors promise beside the verdict: feeds tell news once, rules pass on what they should, a secret is
//! never written down, and a crowd is looked at in part.

use std::{process::Command, rc::Rc};

use playbook::{IncidentId, canonical, incident::IncidentStatus, intake::FeedState};
use serde_json::{Value, json};

use super::{
    Deployed, NIGHT_SHIFT,
    deployed::{CALL, until},
    intake::retry_soon,
};

/// A feed whose news become incidents; its document is in `tests/fixtures/feeds`.
const FEED: &str = "urlhaus-recent";
/// The entries of it that are online.
const NEWS: [&str; 2] = ["http://203.0.113.9/bins/arm7?a=1,2", "https://cdn.files.example/a%20%22b%22.zip"];
/// `storm.per_minute` of the policy, and what the crowd sends.
const LOOKED_AT: usize = 20;
const CROWD: usize = 50;
/// What a person sees of an answer, and its status on a line of its own.
const CURLRC: &str = "silent\nshow-error\nnoproxy = \"*\"\nwrite-out = \"\\n%{http_code}\"\n";

pub async fn fed(deployed: Rc<Deployed>) {
    // What it said when the stack was set up is kept, and nobody is told.
    let state: FeedState = serde_json::from_value(feed_row(&deployed).await).unwrap();
    assert!(state.baseline_at.is_some() && state.failure.is_none() && state.entries == NEWS.len(), "{state:?}");
    assert_eq!(of_source(&deployed, FEED).await, Vec::<Value>::new());

    said_less(&deployed).await;
    let told = deployed.invoke("PollFeedsFunction", &json!({"feed": FEED})).await;
    assert_eq!((&told["fetched"], &told["incidents"]), (&json!(1), &json!(1)), "{told}");
    let row = until("the news become an incident", async || {
        of_source(&deployed, FEED).await.pop().ok_or_else(|| "there is none".to_owned())
    })
    .await;
    assert_eq!((&row["kind"], &row["severity"]), (&json!("feed"), &json!("low")), "{row}");
    let id: IncidentId = serde_json::from_value(row["incident_id"].clone()).unwrap();
    deployed.asked(&id, 1, 1).await;
    let found = extracted(&deployed, &id).await;
    assert!(NEWS.iter().all(|url| found.contains(&json!(url))), "{found:?}");

    // Nothing new, and then the same news once more, as after a poll that was killed before it could note them.
    let told = deployed.invoke("PollFeedsFunction", &json!({"feed": FEED})).await;
    assert_eq!((&told["unchanged"], &told["incidents"]), (&json!(1), &json!(0)), "{told}");
    said_less(&deployed).await;
    let told = deployed.invoke("PollFeedsFunction", &json!({"feed": FEED})).await;
    assert_eq!(told["incidents"], 1, "{told}");

    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.run, incident.result.as_deref()), (1, Some("false_positive")));
    assert_eq!(of_source(&deployed, FEED).await.len(), 1, "the same news are the same incident");
}

/// Makes the last poll one that saw a single entry, which the feed does not hold any more.
async fn said_less(deployed: &Deployed) {
    let entry = json!({"type": "url", "value": "https://gone.files.example/", "verdict": "malicious"});
    let list = format!("{}\n", json!({"key": "url#https://gone.files.example/", "entry": entry})).into_bytes();
    let (sha256, size) = (canonical::sha256_hex(&list), list.len().to_string());
    let key = format!("providers/{FEED}/{sha256}");
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    deployed.gateway().put_object(bucket, &key, "application/x-ndjson", list).await.unwrap();
    let list = json!({"M": {"key": {"S": key}, "sha256": {"S": sha256}, "size_bytes": {"N": size}}});
    let input = json!({
        "TableName": deployed.stack.output("IncidentsTableName").unwrap(),
        "Key": {"pk": {"S": format!("feed#{FEED}")}, "sk": {"S": "state"}},
        "ConditionExpression": "attribute_exists(pk)",
        "UpdateExpression": "SET #list = :list REMOVE etag",
        "ExpressionAttributeNames": {"#list": "list"},
        "ExpressionAttributeValues": {":list": list},
    });
    deployed.gateway().call("dynamodb", "DynamoDB_20120810.UpdateItem", &input).await.unwrap();
}

async fn feed_row(deployed: &Deployed) -> Value {
    deployed.stack.rows(&format!("feed#{FEED}"), "state").await.unwrap().remove(0)
}

async fn of_source(deployed: &Deployed, source: &str) -> Vec<Value> {
    let incidents = deployed.stack.incidents().await.unwrap();
    incidents.into_iter().filter(|row| row["source"] == source).collect()
}

/// The values that `extract` found in the first run.
async fn extracted(deployed: &Deployed, id: &IncidentId) -> Vec<Value> {
    let run = deployed.row(id, "run#1").await.unwrap();
    let extraction = serde_json::from_value(run["extraction"].clone()).unwrap();
    let extraction: Value = serde_json::from_slice(&deployed.stack.document(&extraction).await.unwrap()).unwrap();
    extraction["observables"].as_array().unwrap().iter().map(|found| found["value"].clone()).collect()
}

pub async fn rules(deployed: Rc<Deployed>) {
    let (guardduty, hub) =
        (finding(&deployed, "guardduty/dns-request"), finding(&deployed, "security-hub/nothing-to-take"));
    let function = deployed.physical_id("ReceiveAlertFunction").await;
    for (rule, own, other) in
        [("ReceiveAlertFunctionGuardDuty", &guardduty, &hub), ("ReceiveAlertFunctionSecurityHub", &hub, &guardduty)]
    {
        let name = deployed.physical_id(rule).await;
        let described = events(&deployed, "DescribeRule", &json!({"Name": name})).await;
        assert_eq!(described["State"], "ENABLED", "{described}");
        let mut renamed = own.clone();
        renamed["detail-type"] = json!("AWS API Call via CloudTrail");
        for (event, expected) in [(own, true), (other, false), (&renamed, false)] {
            let input = json!({"EventPattern": described["EventPattern"], "Event": event.to_string()});
            let told = events(&deployed, "TestEventPattern", &input).await;
            assert_eq!(told["Result"], expected, "{rule}: {event}");
        }
        let targets = events(&deployed, "ListTargetsByRule", &json!({"Rule": name})).await;
        let targets = targets["Targets"].as_array().unwrap();
        let is_function = |target: &Value| target["Arn"].as_str().is_some_and(|arn| arn.ends_with(&function));
        assert!(targets.len() == 1 && is_function(&targets[0]), "{rule}: {targets:?}");
        assert!(targets[0]["DeadLetterConfig"]["Arn"].is_string(), "{rule}: {targets:?}");
    }
    delivered(&deployed, &hub).await;
}

/// That what a rule matches reaches the function. Nobody but AWS may send events of `aws.`, so the rule listens to us
/// meanwhile, and its target is given the event.
async fn delivered(deployed: &Deployed, event: &Value) {
    let name = deployed.physical_id("ReceiveAlertFunctionSecurityHub").await;
    let as_deployed = events(deployed, "DescribeRule", &json!({"Name": name})).await["EventPattern"].clone();
    let target = events(deployed, "ListTargetsByRule", &json!({"Rule": name})).await["Targets"][0].clone();
    let mut given = target.clone();
    given["Input"] = json!(event.to_string());
    let set = async |pattern: &Value, target: &Value| {
        events(deployed, "PutRule", &json!({"Name": name, "EventPattern": pattern})).await;
        events(deployed, "PutTargets", &json!({"Rule": name, "Targets": [target]})).await;
    };
    set(&json!(r#"{"source": ["it.doors"]}"#), &given).await;
    let entry = json!({"Source": "it.doors", "DetailType": "Test", "Detail": "{}"});
    let told = events(deployed, "PutEvents", &json!({"Entries": [entry]})).await;
    assert_eq!(told["FailedEntryCount"], 0, "{told}");
    // Everything in it is archived, suppressed or about settings.
    until("the event is received, and nothing of it taken", async || {
        let lines = deployed.stack.logs("receive-alert").await.unwrap();
        let is_it = |line: &String| line.contains("\"security-hub\"") && line.contains("\"count\":0");
        if lines.iter().any(is_it) { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
    set(&as_deployed, &target).await;
}

/// An event of `tests/fixtures/intake`.
fn finding(deployed: &Deployed, name: &str) -> Value {
    let yaml = std::fs::read_to_string(deployed.project.path(&format!("tests/fixtures/intake/{name}.yaml"))).unwrap();
    let fixture: Value = serde_saphyr::from_str(&yaml).unwrap();
    let mut event = fixture["input"].clone();
    event["resources"] = json!([]);
    event
}

pub async fn events(deployed: &Deployed, operation: &str, input: &Value) -> Value {
    deployed.gateway().call("events", &format!("AWSEvents.{operation}"), input).await.unwrap()
}

pub async fn splunk(deployed: Rc<Deployed>) {
    let body = json!({
        "sid": "unlogged", "search_name": "Rare host", "app": "search", "owner": "admin",
        "results_link": "https://splunk.corp.example/app/search/@go?sid=unlogged",
        "result": {"src": "192.0.2.9", "domain": "unlogged.example"},
    });
    let url = format!("{}/alerts/splunk", deployed.stack.output("ApiUrl").unwrap());
    let post = async |secret: &str| {
        let sent = deployed.gateway().http().post(format!("{url}/{secret}")).body(body.to_string());
        sent.timeout(CALL).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("guessed-by-a-stranger").await, 404);
    assert_eq!(post("robot:dummy-key-of-splunk").await, 202);
    let id = IncidentId::of("default", "splunk", "unlogged");
    until("it is admitted", async || deployed.row(&id, "meta").await.ok_or("there is no incident".to_owned())).await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("not_malicious"), "{}", deployed.story(&id).await);

    // That it was refused is written down, so that the silence about the secret is none of a log that nobody writes.
    until("the refusal is logged", async || {
        let lines = deployed.stack.logs("receive-alert").await.unwrap();
        let is_there = lines.iter().any(|line| line.contains("secret does not match"));
        if is_there { Ok(()) } else { Err(format!("{} lines", lines.len())) }
    })
    .await;
    let lines = every_log_line(&deployed).await;
    for function in ["ReceiveAlert", "Admit", "Extract", "Close"] {
        assert!(lines.iter().any(|(group, _)| group.contains(function)), "{function} has logged");
    }
    for (group, line) in &lines {
        for secret in ["guessed-by-a-stranger", "dummy-key-of-splunk"] {
            assert!(!line.contains(secret), "{group} holds the secret: {line}");
        }
    }
}

/// Everything that is logged in the account, each line with its log group.
async fn every_log_line(deployed: &Deployed) -> Vec<(String, String)> {
    let call = async |operation: &str, input: &Value| {
        deployed.gateway().call("logs", &format!("Logs_20140328.{operation}"), input).await.unwrap()
    };
    let mut lines = vec![];
    let groups = call("DescribeLogGroups", &json!({})).await;
    assert_eq!(groups["nextToken"], Value::Null, "one page holds every group");
    for group in groups["logGroups"].as_array().unwrap() {
        let group = group["logGroupName"].as_str().unwrap();
        let told = call("FilterLogEvents", &json!({"logGroupName": group})).await;
        let messages = told["events"].as_array().unwrap().iter().filter_map(|event| event["message"].as_str());
        lines.extend(messages.map(|message| (group.to_owned(), message.to_owned())));
    }
    lines
}

pub async fn crowd(deployed: Rc<Deployed>) {
    // Whoever loses the race for the count comes again.
    retry_soon(&deployed).await;
    // One message, so that all come within one minute.
    let native = |number: usize| format!("crowd-{number}");
    let alerts: Vec<Value> = (0..CROWD)
        .map(|n| json!({"id": native(n), "title": format!("Sensor {n} is silent"), "severity": "low"}))
        .collect();
    let (status, answer) = send_as_documented(&deployed, &json!({"alerts": alerts}).to_string()).await;
    assert_eq!((status, answer["incidents"].as_array().map(Vec::len)), (202, Some(CROWD)), "{answer}");

    let ids: Vec<IncidentId> = (0..CROWD).map(|n| IncidentId::of("default", "generic", &native(n))).collect();
    let rows = until("the crowd is admitted and closed", async || {
        let incidents = of_source(&deployed, "generic").await.into_iter();
        let rows: Vec<Value> = incidents.filter(|row| ids.iter().any(|id| row["incident_id"] == id.as_str())).collect();
        let open = rows.iter().filter(|row| row["status"] == "open").count();
        if rows.len() == CROWD && open == 0 { Ok(rows) } else { Err(format!("{} rows, {open} open", rows.len())) }
    })
    .await;
    let (attached, looked_at): (Vec<Value>, Vec<Value>) = rows.into_iter().partition(|row| row["status"] == "attached");
    assert_eq!((looked_at.len(), attached.len()), (LOOKED_AT, CROWD - LOOKED_AT));
    let parent = looked_at.iter().find(|row| row["incident_id"] == attached[0]["parent"]).unwrap();
    assert_eq!(parent["attached"], CROWD - LOOKED_AT, "{parent}");
    assert!(attached.iter().all(|row| row["parent"] == parent["incident_id"]), "{attached:?}");
    for (rows, is_executed) in [(&looked_at, true), (&attached, false)] {
        for row in rows {
            let id: IncidentId = serde_json::from_value(row["incident_id"].clone()).unwrap();
            let execution = deployed.stack.execution(&id.execution_name(1)).await.unwrap();
            assert_eq!(execution.is_some(), is_executed, "{row}: {execution:?}");
        }
    }
}

/// Sends a body to the generic door with the lines that `docs/OPERATIONS.md` gives to people, which must hold.
async fn send_as_documented(deployed: &Deployed, body: &str) -> (u16, Value) {
    let guide = std::fs::read_to_string(deployed.project.path("docs/OPERATIONS.md")).unwrap();
    let lines = guide.lines().skip_while(|line| !line.starts_with("id=$("));
    let script: Vec<&str> = lines.take_while(|line| !line.starts_with("```")).collect();
    assert!(script.iter().any(|line| line.starts_with("curl ")), "{script:?}");
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".curlrc"), CURLRC).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euc", &script.join("\n")]).env("CURL_HOME", home.path()).env("body", body);
    command.env("KEY", "robot:dummy-key-of-generic").env("API", deployed.stack.output("ApiUrl").unwrap());
    let told = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let text = String::from_utf8(told.stdout).unwrap();
    let (answer, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(answer).unwrap_or_else(|_| Value::from(answer)))
}
