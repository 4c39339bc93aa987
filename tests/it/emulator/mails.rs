//! Scenarios of mails that do not arrive, as SES tells of them.

use std::rc::Rc;

use playbook::incident::IncidentStatus;
use serde_json::{Value, json};

use super::{Deployed, LEAD, NIGHT_SHIFT, deployed::until, doors::events, mail};

/// Who may send events that are not of AWS.
const SOURCE: &str = "it.mails";
/// What the rules listen to where there is no configuration set.
const CONFIGURATION_SET: &str = "none";

/// What SES publishes of a mail of ours that bounced for good, as its documentation shows it.
fn bounced(id: &str, recipient: &str) -> Value {
    json!({
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": recipient, "action": "failed", "status": "5.1.1"}],
            "timestamp": "2026-11-24T05:00:09.000Z", "feedbackId": "0100", "reportingMTA": "dsn; a.example",
        },
        "mail": {
            "timestamp": "2026-11-24T05:00:08.000Z", "messageId": "0100-0", "source": "playbook@soc.example",
            "destination": [recipient], "headersTruncated": false, "headers": [],
            "tags": {
                "ses:configuration-set": [CONFIGURATION_SET], "ses:caller-identity": ["role"],
                "incident_id": [id], "run": ["1"], "round": ["1"], "what": ["question"],
            },
        },
    })
}

fn envelope(detail_type: &str, detail: &Value) -> Value {
    json!({
        "version": "0", "id": "1", "account": "000000000000", "region": "us-east-1", "resources": [],
        "time": "2026-11-24T05:00:10Z", "source": "aws.ses", "detail-type": detail_type, "detail": detail,
    })
}

pub async fn unreached(deployed: Rc<Deployed>) {
    let id = deployed.receive("unreached.eml", mail("unreached", "Pay: https://unreached.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    let (question, link) = deployed.questions(&id, NIGHT_SHIFT).await.remove(0);
    assert!(question.subject.starts_with("[IOC review] HIGH 100/100 hxxps://unreached[.]example/pay → block on "));
    let bounce = bounced(id.as_str(), NIGHT_SHIFT);
    picks(&deployed, "MailBouncedRule", "Email Bounced", &bounce, &["Email Delivered", "Email Sent"]).await;
    let others = ["Email Bounced", "Email Delivered"];
    for detail_type in ["Email Complaint Received", "Email Rejected", "Email Delivery Delayed"] {
        picks(&deployed, "MailFailedRule", detail_type, &bounce, &others).await;
    }

    // Nobody but AWS may send events of `aws.`, so the rule listens to us meanwhile.
    let name = deployed.physical_id("MailBouncedRule").await;
    let as_deployed = events(&deployed, "DescribeRule", &json!({"Name": name})).await["EventPattern"].clone();
    let mut pattern: Value = serde_json::from_str(as_deployed.as_str().unwrap()).unwrap();
    pattern["source"] = json!([SOURCE]);
    events(&deployed, "PutRule", &json!({"Name": name, "EventPattern": pattern.to_string()})).await;
    // A stranger's address first, and then the same news twice: EventBridge promises no less.
    for detail in [&bounced(id.as_str(), "eve@evil.example"), &bounce, &bounce] {
        let entry = json!({"Source": SOURCE, "DetailType": "Email Bounced", "Detail": detail.to_string()});
        let told = events(&deployed, "PutEvents", &json!({"Entries": [entry]})).await;
        assert_eq!(told["FailedEntryCount"], 0, "{told}");
    }
    let round = deployed.asked(&id, 1, 2).await;
    assert_eq!((&round["asked"], &round["last"]), (&json!([LEAD]), &json!(true)));
    events(&deployed, "PutRule", &json!({"Name": name, "EventPattern": as_deployed})).await;

    let ended = deployed.row(&id, "round#1#1").await.unwrap();
    assert_eq!((&ended["state"], &ended["undelivered"]), (&json!("decided"), &json!([NIGHT_SHIFT])));
    let decision = deployed.row(&id, "decision#1#1").await.unwrap();
    assert_eq!(decision["choice"], "timed_out");
    assert_eq!(decision["reason"], "the mail could be delivered to nobody who was asked");
    let audit = deployed.stack.rows(&format!("incident#{id}"), "audit#1#1#").await.unwrap();
    let of = |event: &str| audit.iter().filter(|entry| entry["event"] == event).collect::<Vec<_>>();
    assert_eq!((of("undelivered").len(), of("timed_out").len()), (1, 1), "{audit:?}");
    assert_eq!(of("undelivered")[0]["who"], NIGHT_SHIFT);

    // The next level reads why it is asked; nobody wrote to the first again, whose link decides nothing any more.
    let question = until("the next level is asked", async || {
        deployed.questions(&id, LEAD).await.pop().ok_or_else(|| "no mail".to_owned())
    })
    .await;
    assert!(question.0.body_text.contains("You are asked because nobody was reached:"), "{}", question.0.body_text);
    assert!(question.0.subject.ends_with("nobody was reached before"), "{}", question.0.subject);
    assert_ne!(question.1, link);
    let to_first = deployed.mails(&id).await.into_iter().filter(|mail| mail.to == [NIGHT_SHIFT]).count();
    assert_eq!(to_first, 1);

    deployed.decide(&id, LEAD, "approved").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("enforced"));
}

/// That a rule as it is deployed takes this event of ours, none of another sort, and none that is not of ours.
async fn picks(deployed: &Deployed, rule: &str, detail_type: &str, detail: &Value, others: &[&str]) {
    let name = deployed.physical_id(rule).await;
    let described = events(deployed, "DescribeRule", &json!({"Name": name})).await;
    assert_eq!(described["State"], "ENABLED", "{described}");
    let check = async |event: Value, expected: bool| {
        let input = json!({"EventPattern": described["EventPattern"], "Event": event.to_string()});
        let told = events(deployed, "TestEventPattern", &input).await;
        assert_eq!(told["Result"], expected, "{rule}: {event}");
    };
    check(envelope(detail_type, detail), true).await;
    for other in others.iter().filter(|other| **other != detail_type) {
        check(envelope(other, detail), false).await;
    }
    for (tag, value) in [("ses:configuration-set", json!(["of-another-stack"])), ("incident_id", Value::Null)] {
        let mut foreign = detail.clone();
        foreign["mail"]["tags"][tag] = value;
        if foreign["mail"]["tags"][tag].is_null() {
            foreign["mail"]["tags"].as_object_mut().unwrap().remove(tag);
        }
        check(envelope(detail_type, &foreign), false).await;
    }
    let targets = events(deployed, "ListTargetsByRule", &json!({"Rule": name})).await;
    let function = deployed.physical_id("SweepFunction").await;
    let [target] = targets["Targets"].as_array().unwrap().as_slice() else { panic!("{rule}: {targets}") };
    assert!(target["Arn"].as_str().is_some_and(|arn| arn.ends_with(&function)), "{rule}: {target}");
    assert!(target["DeadLetterConfig"]["Arn"].is_string(), "{rule}: {target}");
}
