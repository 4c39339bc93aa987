//! Scenarios of what comes in: harmless, repeated, hostile, much.

use std::rc::Rc;

use playbook::{
    IncidentId,
    incident::{Incident, IncidentStatus},
};
use serde_json::{Value, json};

use super::{
    Deployed, NIGHT_SHIFT,
    deployed::{CALL, until},
    mail,
};

/// DESIGN §12: for an incident that needs no person, up to 250 observables.
const TRANSITIONS_MAX: usize = 12;
/// DESIGN §4: what state may carry.
const PAYLOAD_MAX: usize = 32 * 1024;

/// That it closes as harmless, that nobody was mailed, and that the execution stayed within its budget.
async fn closes_quietly(deployed: &Deployed, id: &IncidentId) -> Incident {
    let incident = deployed.ends(id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.run, incident.route.as_deref()), (1, Some("benign")), "{}", deployed.story(id).await);
    assert!(deployed.mails(id).await.is_empty(), "nobody is mailed");
    within_budget(deployed, id).await;
    incident
}

/// That the first execution stayed within its budget of transitions and bytes.
pub async fn within_budget(deployed: &Deployed, id: &IncidentId) {
    let events = deployed.stack.history(&id.execution_name(1)).await.unwrap();
    let count =
        |kind: &str| events.iter().filter(|event| event["type"].as_str().is_some_and(|t| t.ends_with(kind))).count();
    // The emulator leaves the states inside the Map out of the history, but not what they call.
    let inside = count("TaskScheduled") - count("TaskStateEntered");
    let transitions = count("StateEntered") + inside;
    assert!(
        transitions <= TRANSITIONS_MAX,
        "{transitions} transitions, {inside} inside the Map: {}",
        deployed.story(id).await
    );
    assert!(inside > 0, "the Map has run");
    let sizes = events.iter().flat_map(payloads).map(|(what, text)| (text.len(), what));
    let (largest, what) = sizes.max().unwrap();
    assert!(largest <= PAYLOAD_MAX, "{largest} bytes of {what}");
    println!("{id}: {transitions} transitions, at most {largest} bytes of {what}");
}

/// Inputs and outputs in an event of the history.
fn payloads(event: &Value) -> Vec<(&str, &str)> {
    let details = event.as_object().into_iter().flatten().filter_map(|(_, details)| details.as_object());
    let texts = details.flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    texts.filter(|(name, _)| ["input", "output", "parameters"].contains(name)).collect()
}

pub async fn harmless(deployed: Rc<Deployed>) {
    let id = deployed.receive("harmless.eml", deployed.fixture("harmless.eml")).await;
    let incident = closes_quietly(&deployed, &id).await;
    assert_eq!(incident.result.as_deref(), Some("not_malicious"));
}

pub async fn budget(deployed: Rc<Deployed>) {
    // Addresses of people: no source is asked about them, so that the other scenarios keep their share of the limits.
    let addresses: Vec<String> = (0..248).map(|n| format!("person-{n:03}@many.example")).collect();
    let id = deployed.receive("many.eml", mail("many", &addresses.join("\r\n"))).await;
    closes_quietly(&deployed, &id).await;
    let run = deployed.row(&id, "run#1").await.unwrap();
    let extraction = serde_json::from_value(run["extraction"].clone()).unwrap();
    let extraction: Value = serde_json::from_slice(&deployed.stack.document(&extraction).await.unwrap()).unwrap();
    let found = extraction["observables"].as_array().unwrap().len();
    assert!((248..=254).contains(&found), "{found} observables");
}

pub async fn redelivered(deployed: Rc<Deployed>) {
    let name = "redelivered.eml";
    let mail = mail("redelivered", "Pay: https://redelivered.example/pay");
    let key = deployed.stack.put_mail(name, mail.clone()).await.unwrap();
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    let version = version(&deployed, bucket, &key).await;

    // S3 tells once; here it tells five times more at the same moment, and the queue delivers each.
    let event = json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-24T05:00:00.000Z", "userIdentity": {}, "requestParameters": {}, "responseElements": {},
        "s3": {
            "s3SchemaVersion": "1.0", "bucket": {"name": bucket, "ownerIdentity": {}},
            "object": {"key": key, "size": mail.len(), "versionId": version}
        }
    }]});
    let tell = || deployed.invoke("ReceiveMailFunction", &event);
    let told = tokio::join!(tell(), tell(), tell(), tell(), tell());
    assert_eq!(told.0["received"], 1, "{told:?}");
    let native_id = format!("{bucket}/{key}/{version}");
    let id = IncidentId::of("default", "mail", &native_id);
    deployed.asked(&id, 1, 1).await;
    // Every delivery is through, and the poison scenario's garbage, which lies on the same queue, is given up.
    empty_intake(&deployed).await;

    let incidents = deployed.stack.incidents().await.unwrap();
    let of_this_mail: Vec<&Value> = incidents.iter().filter(|row| row["evidence"]["key"] == key.as_str()).collect();
    assert_eq!(of_this_mail.len(), 1, "{of_this_mail:?}");
    assert_eq!(executions(&deployed, &id).await, [id.execution_name(1)]);
    assert_eq!(deployed.questions(&id, NIGHT_SHIFT).await.len(), 1);

    // And once more after the decision.
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    tell().await;
    empty_intake(&deployed).await;
    assert_eq!(executions(&deployed, &id).await, [id.execution_name(1)]);
    assert_eq!(deployed.incident(&id).await.result.as_deref(), Some("false_positive"));
}

pub async fn poison(deployed: Rc<Deployed>) {
    let queue = retry_soon(&deployed).await;
    for garbage in ["{not json", r#"{"schema":"intake/1","kind":"mail"}"#] {
        let message = json!({"QueueUrl": queue, "MessageBody": garbage});
        deployed.gateway().call("sqs", "AmazonSQS.SendMessage", &message).await.unwrap();
    }

    let noise: Vec<u8> = (0..40_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let mails = [
        ("good-before.eml", mail("good", "See https://good-before.example/")),
        ("empty.eml", vec![]),
        ("truncated.eml", deployed.fixture("truncated.eml")),
        ("noise.eml", noise),
        ("non-utf8.eml", deployed.fixture("non-utf8.eml")),
        ("unfinished.eml", b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/".to_vec()),
        ("good-after.eml", mail("good", "See https://good-after.example/")),
    ];
    let mut ids = vec![];
    for (name, mail) in mails {
        ids.push((name, deployed.receive(name, mail).await));
    }
    for (name, id) in &ids {
        let incident = deployed.ends(id, IncidentStatus::Closed, "SUCCEEDED").await;
        assert_eq!(executions(&deployed, id).await, [id.execution_name(1)], "{name} is looked at once");
        let result = incident.result.unwrap();
        assert!(["not_malicious", "no_observables"].contains(&result.as_str()), "{name}: {result}");
    }

    // What is no message at all is given up where the alarm sees it, and nothing is left behind.
    until("both garbage messages are given up", async || {
        let (given_up, waiting) =
            (deployed.queued("IntakeDeadLetterQueueUrl").await, deployed.queued("IntakeQueueUrl").await);
        if given_up == (2, 0) { Ok(()) } else { Err(format!("given up {given_up:?}, on the intake queue {waiting:?}")) }
    })
    .await;
    empty_intake(&deployed).await;
    assert_eq!(deployed.queued("MailDeadLetterQueueUrl").await, (0, 0));
}

/// Lets the intake queue try again after five seconds; returns its URL. Ninety, as deployed, would take longer than every
/// other test.
pub async fn retry_soon(deployed: &Deployed) -> String {
    let queue = deployed.stack.output("IntakeQueueUrl").unwrap().to_owned();
    let attributes = json!({"QueueUrl": queue, "Attributes": {"VisibilityTimeout": "5"}});
    deployed.gateway().call("sqs", "AmazonSQS.SetQueueAttributes", &attributes).await.unwrap();
    queue
}

async fn empty_intake(deployed: &Deployed) {
    until("the intake queue is empty", async || match deployed.queued("IntakeQueueUrl").await {
        (0, 0) => Ok(()),
        left => Err(format!("it holds {left:?}")),
    })
    .await;
}

/// Names of an incident's executions by the playbook, in order.
pub async fn executions(deployed: &Deployed, id: &IncidentId) -> Vec<String> {
    let input = json!({"stateMachineArn": deployed.stack.output("PlaybookArn").unwrap(), "maxResults": 1000});
    let told = deployed.gateway().call("states", "AWSStepFunctions.ListExecutions", &input).await.unwrap();
    let names = told["executions"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(id.as_str())).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// The version of an object that was just stored.
async fn version(deployed: &Deployed, bucket: &str, key: &str) -> String {
    let gateway = deployed.gateway();
    let scope = format!("{}/20260101/us-east-1/s3/aws4_request", gateway.access_key());
    let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=local");
    let asked = gateway.http().head(format!("{}/{bucket}/{key}", gateway.url())).header("authorization", signature);
    let answer = asked.timeout(CALL).send().await.unwrap();
    answer.headers()["x-amz-version-id"].to_str().unwrap().to_owned()
}
