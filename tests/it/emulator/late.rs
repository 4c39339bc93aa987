//! Scenarios of what comes late, of what was left behind, and of who is reminded.

use std::rc::Rc;

use playbook::{
    IncidentId, Timestamp,
    decision::{Choice, DECIDED, DUE_WAKE, Decision},
    incident::IncidentStatus,
    ports::Clock,
};
use serde_json::{Value, json};
use xtask::stand_in::{Canned, Provider, tickets::System};

use super::{Deployed, NIGHT_SHIFT, deployed::until, intake::executions, mail};

fn now() -> Timestamp {
    aws::SystemClock.now()
}

/// Both sources speak about what `ThreatFox` was asked for in run 1 and did not answer, and the lookup is due: returns what
/// brings the message of it to `follow-up`.
async fn speaks(deployed: &Deployed, id: &IncidentId, about: &str) -> Value {
    for provider in [Provider::Threatfox, Provider::Urlhaus] {
        deployed.stand_in.answer_anew(about, provider, Canned::Malicious);
    }
    let pk = format!("incident#{id}");
    let rows = deployed.stack.rows(&pk, "pending#1#threatfox#").await.unwrap();
    let row = rows.iter().find(|row| row["about"]["value"] == about);
    let row = row.unwrap_or_else(|| panic!("nothing is followed up: {rows:?}"));
    let (sk, due) = (row["sk"].as_str().unwrap(), now().plus_minutes(-1).to_string());
    deployed.set(id, sk, &[("try_at", &due)]).await;
    let message = json!({"schema": "follow-up/1", "pk": pk, "sk": sk, "try_at": due}).to_string();
    json!({"Records": [{"messageId": "m1", "body": message}]})
}

pub async fn answered(deployed: Rc<Deployed>) {
    let id = deployed.receive("late.eml", mail("late", "Pay: https://late.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    let incident = deployed.incident(&id).await;
    assert_eq!(incident.route.as_deref(), Some("needs-data"), "{}", deployed.story(&id).await);
    deployed.decide(&id, NIGHT_SHIFT, "acknowledged").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.run, incident.result.as_deref()), (1, Some("acknowledged")));
    let before = [System::Jira, System::Slack].map(|system| deployed.issue(system, &id));

    let mails = deployed.mails(&id).await.len();
    let event = speaks(&deployed, &id, "https://late.example/pay").await;
    // Five deliveries, three of them at the same moment.
    let deliver = async || {
        let told = deployed.invoke("FollowUpFunction", &event).await;
        assert_eq!(told["batchItemFailures"], json!([]), "{told}");
    };
    tokio::join!(deliver(), deliver(), deliver());
    deliver().await;
    deliver().await;

    // One further run, one update of the same ticket, one mail.
    deployed.asked(&id, 2, 1).await;
    assert_eq!(deployed.incident(&id).await.route.as_deref(), Some("review"));
    assert_eq!(deployed.questions(&id, NIGHT_SHIFT).await.len(), 2, "one question a run");
    for (system, before) in [System::Jira, System::Slack].into_iter().zip(before) {
        let after = deployed.issue(system, &id);
        assert_eq!((&after.key, after.edits), (&before.key, before.edits + 1), "one update of the same ticket");
    }
    assert_eq!(deployed.mails(&id).await.len(), mails + 1);
    deliver().await;
    assert_eq!(executions(&deployed, &id).await, [id.execution_name(1), id.execution_name(2)]);
    assert_eq!(deployed.incident(&id).await.run, 2);
    assert_eq!(deployed.mails(&id).await.len(), mails + 1);
}

/// A source that is only slow costs time, not a second run: the machine itself asks again.
pub async fn waited_for(deployed: Rc<Deployed>) {
    let url = "https://pending.example/pay";
    // Started by hand, so that nobody but us says when the run began: it waits as long as this test needs.
    let key = "incidents/pending/mail.eml";
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    let bytes = mail("pending", &format!("Pay: {url}"));
    deployed.gateway().put_object(bucket, key, "message/rfc822", bytes).await.unwrap();
    deployed.stack.start("pending", &json!({"evidence": {"key": key}, "kind": "mail"})).await.unwrap();
    let id = IncidentId::of("default", "console", key);
    until("its record is made", async || deployed.row(&id, "meta").await.ok_or_else(String::new)).await;
    deployed.set(&id, "meta", &[("started_at", &now().plus_minutes(5).to_string())]).await;

    until("the source is asked again", async || {
        let calls = deployed.stand_in.calls().into_iter();
        let asked = calls.filter(|call| call.provider == "threatfox" && call.observable == url).count();
        if asked >= 2 { Ok(()) } else { Err(format!("asked {asked} times; {}", deployed.story(&id).await)) }
    })
    .await;
    assert_eq!(deployed.incident(&id).await.route, None, "nothing is concluded from half of the answers");
    for provider in [Provider::Threatfox, Provider::Urlhaus] {
        deployed.stand_in.answer_anew(url, provider, Canned::Malicious);
    }
    let round = deployed.asked(&id, 1, 1).await;
    assert_eq!(round["question"], "approve_plan");
    let incident = deployed.incident(&id).await;
    assert_eq!((incident.run, incident.reopened, incident.route.as_deref()), (1, 0, Some("review")));
    let rows = deployed.stack.rows(&format!("incident#{id}"), "pending#").await.unwrap();
    assert_eq!(rows, Vec::<Value>::new(), "nothing is left to be followed up");
}

/// What a parent has asked for stays the parent's: late evidence corrects the record, and does nothing else.
pub async fn of_a_parent(deployed: Rc<Deployed>) {
    let (domain, name) = ("embedded-late.example", "embedded-late");
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    let key = format!("incidents/embedded/{name}.eml");
    let bytes = mail(name, &format!("See {domain}"));
    deployed.gateway().put_object(bucket, &key, "message/rfc822", bytes).await.unwrap();
    let stack = deployed.stack.with_executions_of("enrich-only");
    let input = json!({"evidence": {"key": key}, "kind": "mail", "source": "parent", "native_id": name});
    stack.start(name, &input).await.unwrap();
    let id = IncidentId::of("default", "parent", name);
    let is_judged = async |run: u32, route: &str| {
        until(&format!("run {run} of {id} is {route}"), async || {
            let row = deployed.row(&id, "meta").await.unwrap_or_default();
            let stands = (&row["run"], &row["status"], &row["result"], &row["route"]);
            let is_so = stands == (&json!(run), &json!("closed"), &json!("enriched"), &json!(route));
            if is_so { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    };
    is_judged(1, "needs-data").await;

    let event = speaks(&deployed, &id, domain).await;
    deployed.invoke("FollowUpFunction", &event).await;
    is_judged(2, "review").await;
    assert!(stack.execution(&id.execution_name(2)).await.unwrap().is_some());
    assert_eq!(executions(&deployed, &id).await, Vec::<String>::new(), "the playbook itself has never seen it");
    assert!(deployed.mails(&id).await.is_empty() && deployed.issues(System::Jira, &id).is_empty());
}

pub async fn killed(deployed: Rc<Deployed>) {
    let id = deployed.receive("killed.eml", mail("killed", "Pay: https://killed.example/pay")).await;
    let round = deployed.asked(&id, 1, 1).await;
    // What `review` writes in its one transaction; then it is killed, and wakes nobody.
    let decision = Decision {
        choice: Choice::Rejected,
        by: NIGHT_SHIFT.to_owned(),
        authenticated_by: "mailbox".to_owned(),
        reason: "a test of ours".to_owned(),
        shown_digest: round["shown_digest"].as_str().unwrap().to_owned(),
        plan_digest: round["plan_digest"].as_str().unwrap().to_owned(),
        ..Decision::at(now())
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

pub async fn reminded(deployed: Rc<Deployed>) {
    let id = deployed.receive("reminded.eml", mail("reminded", "Pay: https://reminded.example/pay")).await;
    let asked = deployed.asked(&id, 1, 1).await;
    assert_eq!((&asked["reminded"], &asked["due_at"]), (&json!(false), &asked["remind_at"]));
    let reminders = async || {
        let mails = deployed.mails(&id).await.into_iter();
        mails.filter(|mail| mail.subject.contains("reminder")).map(|mail| mail.to).collect::<Vec<_>>()
    };
    deployed.invoke("SweepFunction", &json!({})).await;
    assert!(reminders().await.is_empty(), "before half time nobody is reminded");

    // Half of the time is over. Two sweeps at once, and one more for which it is due again, are one reminder.
    let passed = now().plus_minutes(-1).to_string();
    for _ in 0..2 {
        deployed.set(&id, "round#1#1", &[("due_at", &passed)]).await;
        let sweep = async || deployed.invoke("SweepFunction", &json!({})).await;
        tokio::join!(sweep(), sweep());
        until(&format!("round 1 of {id} waits for its deadline"), async || {
            let row = deployed.row(&id, "round#1#1").await.unwrap();
            let is_so = row["reminded"] == true && row["due_at"] == row["deadline"];
            if is_so { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        assert_eq!(reminders().await, [[NIGHT_SHIFT]], "everybody asked, once");
    }

    // It is the same question: the link of the first mail still decides.
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("false_positive"));
    deployed.invoke("SweepFunction", &json!({})).await;
    assert_eq!(reminders().await.len(), 1);
}
