//! Scenarios of what comes late or was left behind, and of playbooks that somebody has copied.

use std::rc::Rc;

use playbook::{
    IncidentId, Timestamp,
    decision::{Choice, DECIDED, DUE_WAKE, Decision},
    incident::IncidentStatus,
    ports::Clock,
};
use serde_json::{Value, json};
use xtask::stand_in::{Canned, Provider, tickets::System};

use super::{Deployed, LEAD, NIGHT_SHIFT, deployed::until, mail};

fn now() -> Timestamp {
    aws::SystemClock.now()
}

pub async fn answered(deployed: Rc<Deployed>) {
    let id = deployed.receive("late.eml", mail("late", "Pay: https://late.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    let incident = deployed.incident(&id).await;
    assert_eq!(incident.route.as_deref(), Some("needs-data"), "{}", deployed.story(&id).await);
    deployed.decide(&id, NIGHT_SHIFT, "acknowledged").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.run, incident.result.as_deref()), (1, Some("acknowledged")));
    let before = deployed.issue(System::Jira, &id);

    // Now the source speaks, and its lookup is due.
    deployed.stand_in.answer_anew("https://late.example/pay", Provider::Threatfox, Canned::Malicious);
    deployed.stand_in.answer_anew("https://late.example/pay", Provider::Urlhaus, Canned::Malicious);
    let pk = format!("incident#{id}");
    let rows = deployed.stack.rows(&pk, "pending#1#threatfox#").await.unwrap();
    let row = rows.iter().find(|row| row["about"]["value"] == "https://late.example/pay");
    let row = row.unwrap_or_else(|| panic!("nothing is followed up: {rows:?}"));
    let (sk, due) = (row["sk"].as_str().unwrap(), now().plus_minutes(-1).to_string());
    deployed.set(&id, sk, &[("try_at", &due)]).await;
    let message = json!({"schema": "follow-up/1", "pk": pk, "sk": sk, "try_at": due}).to_string();
    let event = json!({"Records": [{"messageId": "m1", "body": message}]});
    for _ in 0..5 {
        let told = deployed.invoke("FollowUpFunction", &event).await;
        assert_eq!(told["batchItemFailures"], json!([]), "{told}");
    }

    // One further run, one update of the same ticket, one mail.
    deployed.asked(&id, 2, 1).await;
    assert_eq!(deployed.incident(&id).await.route.as_deref(), Some("review"));
    assert_eq!(deployed.questions(&id, NIGHT_SHIFT).await.len(), 2, "one question a run");
    let after = deployed.issue(System::Jira, &id);
    assert_eq!((&after.key, after.edits), (&before.key, before.edits + 1));
    let execution = |run: u32| id.execution_name(run);
    assert!(deployed.stack.execution(&execution(2)).await.unwrap().is_some());
    assert!(deployed.stack.execution(&execution(3)).await.unwrap().is_none());
    deployed.invoke("FollowUpFunction", &event).await;
    assert_eq!(deployed.incident(&id).await.run, 2);
}

pub async fn killed(deployed: Rc<Deployed>) {
    let id = deployed.receive("killed.eml", mail("killed", "Pay: https://killed.example/pay")).await;
    let round = deployed.asked(&id, 1, 1).await;
    // What `review` writes in its one transaction; then it is killed, and wakes nobody.
    let decision = Decision {
        schema: Decision::SCHEMA.to_owned(),
        choice: Choice::Rejected,
        last: false,
        by: NIGHT_SHIFT.to_owned(),
        authenticated_by: "mailbox".to_owned(),
        at: now(),
        from: String::new(),
        reason: "a test of ours".to_owned(),
        shown_digest: round["shown_digest"].as_str().unwrap().to_owned(),
        plan_digest: round["plan_digest"].as_str().unwrap().to_owned(),
        indicators: vec![],
    };
    deployed.put(&format!("incident#{id}"), "decision#1#1", &serde_json::to_value(&decision).unwrap()).await;
    let due = now().plus_minutes(-1).to_string();
    deployed.set(&id, "round#1#1", &[("state", DECIDED), ("due_kind", DUE_WAKE), ("due_at", &due)]).await;

    deployed.invoke("SweepFunction", &json!({})).await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("false_positive"));
}

pub async fn abandoned(deployed: Rc<Deployed>) {
    let id = deployed.receive("abandoned.eml", mail("abandoned", "Pay: https://abandoned.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    // As if nothing had told that the execution is gone.
    let due = now().plus_minutes(-1).to_string();
    deployed.set(&id, "meta", &[("status", "open"), ("due_kind", "incident-open"), ("due_at", &due)]).await;
    let incident = until(&format!("{id} is found"), async || {
        deployed.invoke("SweepFunction", &json!({})).await;
        let incident = deployed.incident(&id).await;
        if incident.status == IncidentStatus::Failed {
            Ok(incident)
        } else {
            Err(format!("it is {:?}", incident.status))
        }
    })
    .await;
    assert_eq!(incident.failure.as_deref(), Some("no living execution"));
}

/// The copy of `tests/fixtures/machines` and the policy's rule that sends incidents of a source to it.
pub const COPY: &str = "two-approvals";
pub const COPY_SOURCE: &str = "copied";

pub fn copy_definition() -> &'static str {
    include_str!("../../fixtures/machines/two-approvals.asl.json")
}

pub async fn copied(deployed: Rc<Deployed>) {
    let key = "incidents/copied/copied.eml";
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    let bytes = mail("copied", "Pay: https://copied.example/pay");
    deployed.gateway().put_object(bucket, key, "message/rfc822", bytes).await.unwrap();
    let message = json!({
        "schema": "intake/1", "kind": "mail", "tenant": "default", "source": COPY_SOURCE, "native_id": "copied-1",
        "severity": "low", "evidence": {"key": key}, "received_at": now(),
    });
    let queue = deployed.stack.output("IntakeQueueUrl").unwrap();
    let message = json!({"QueueUrl": queue, "MessageBody": message.to_string()});
    deployed.gateway().call("sqs", "AmazonSQS.SendMessage", &message).await.unwrap();

    let id = IncidentId::of("default", COPY_SOURCE, "copied-1");
    until("it is admitted", async || deployed.row(&id, "meta").await.ok_or_else(String::new)).await;
    deployed.asked(&id, 1, 1).await;
    assert_eq!(deployed.incident(&id).await.machine(), COPY);
    deployed.decide(&id, NIGHT_SHIFT, "approved").await;
    // The second level is asked only after the first has approved; the served list has it already, the firewall has not.
    deployed.asked(&id, 1, 2).await;
    assert!(deployed.lists().await.contains("copied.example"));
    deployed.decide(&id, LEAD, "approved").await;
    let stack = deployed.stack.with_executions_of(COPY);
    until("the copy ends", async || {
        let execution = stack.execution(&id.execution_name(1)).await.unwrap().unwrap();
        let incident = deployed.incident(&id).await;
        let is_over = execution.status == "SUCCEEDED" && incident.status == IncidentStatus::Closed;
        if is_over { Ok(()) } else { Err(format!("{} {:?}", execution.status, incident.status)) }
    })
    .await;
    assert_eq!(deployed.incident(&id).await.result.as_deref(), Some("enforced"));

    // It is the copy that was deployed, with all of its states.
    let arn = format!(
        "arn:aws:states:us-east-1:{}:stateMachine:{}-{COPY}",
        deployed.gateway().account(),
        deployed.stack.name()
    );
    let input = json!({"stateMachineArn": arn});
    let told = deployed.gateway().call("states", "AWSStepFunctions.DescribeStateMachine", &input).await.unwrap();
    let saved: Value = serde_json::from_str(told["definition"].as_str().unwrap()).unwrap();
    assert_eq!(saved["StartAt"], "Extract");
    assert_eq!(saved["States"].as_object().unwrap().len(), 27);
}
