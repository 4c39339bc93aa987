//! Scenarios in which a person is asked: what is decided is what happens, and nothing happens without a decision.

use std::rc::Rc;

use playbook::incident::IncidentStatus;
use serde_json::json;
use xtask::stand_in::tickets::System;

use super::{Deployed, LEAD, NIGHT_SHIFT, Visitor, deployed::until, mail};

pub async fn approved(deployed: Rc<Deployed>) {
    let id = deployed.receive("phish.eml", deployed.fixture("phish.eml")).await;
    let round = deployed.asked(&id, 1, 1).await;
    assert_eq!(round["asked"], json!([NIGHT_SHIFT]));
    assert_eq!(deployed.incident(&id).await.status, IncidentStatus::Waiting);

    // The person who is asked, and nobody else; nothing to click but our link, nothing enforced yet.
    let mails = deployed.mails(&id).await;
    assert_eq!(mails.iter().map(|mail| mail.to.clone()).collect::<Vec<_>>(), [[NIGHT_SHIFT]]);
    let (question, _) = deployed.questions(&id, NIGHT_SHIFT).await.remove(0);
    assert!(question.body_text.contains("secure-parcel[.]example"), "{}", question.body_text);
    assert!(!question.body_text.contains("secure-parcel.example"), "{}", question.body_text);
    assert!(!deployed.lists().await.contains("secure-parcel.example"));

    deployed.decide(&id, NIGHT_SHIFT, "approved").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("enforced"));
    let decision = deployed.row(&id, "decision#1#1").await.unwrap();
    assert_eq!((&decision["by"], &decision["authenticated_by"]), (&json!(NIGHT_SHIFT), &json!("mailbox")));
    assert_eq!(decision["reason"], "seen in two mailboxes");

    // Firewalls fetch exactly what was approved.
    assert!(deployed.list("ipv4-addr").await.contains(&"203.0.113.77".to_owned()));
    assert!(deployed.list("domain-name").await.contains(&"secure-parcel.example".to_owned()));
    let urls = deployed.list("url").await;
    assert!(urls.contains(&"https://secure-parcel.example/track/pay?id=4471&lang=en".to_owned()), "{urls:?}");
    let lists = deployed.lists().await;
    let entries = lists.lines().filter(|entry| entry.contains("secure-parcel.example") || *entry == "203.0.113.77");
    assert_eq!(entries.count(), decision["indicators"].as_array().unwrap().len(), "{lists}");
    assert!(!lists.contains("parcel-track"), "what nobody knows is not enforced: {lists}");

    let told = deployed.mails(&id).await.pop().unwrap();
    assert_eq!(told.to, [NIGHT_SHIFT]);
    assert!(told.subject.contains("approved"), "{}", told.subject);
    let unknown = deployed.stack.list("url", "firewall", "guessed").await;
    assert!(unknown.is_err_and(|error| error.to_string().contains("401")), "a list needs a consumer's password");
}

pub async fn rejected(deployed: Rc<Deployed>) {
    let id = deployed.receive("rejected.eml", mail("rejected", "Pay: https://rejected.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("false_positive"));
    assert!(!deployed.lists().await.contains("rejected.example"));
    assert!(deployed.states(&id.execution_name(1)).await.contains(&"Release".to_owned()));

    // Remembered: the same indicator in another mail is benign now, and nobody is asked again.
    let remembered = deployed.stack.rows("observable#url#https://rejected.example/pay", "decision").await.unwrap();
    assert_eq!((&remembered[0]["verdict"], &remembered[0]["by"]), (&json!("benign"), &json!(NIGHT_SHIFT)));
    let again = deployed.receive("rejected-again.eml", mail("again", "Pay: https://rejected.example/pay")).await;
    let again = deployed.ends(&again, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(again.result.as_deref(), Some("not_malicious"));
}

pub async fn outage(deployed: Rc<Deployed>) {
    let id = deployed.receive("outage.eml", mail("outage", "Pay: https://outage.example/pay")).await;
    let round = deployed.asked(&id, 1, 1).await;
    assert_eq!(round["question"], "needs_data");
    let incident = deployed.incident(&id).await;
    assert_eq!((incident.status, incident.route.as_deref()), (IncidentStatus::Waiting, Some("needs-data")));
    let execution = deployed.stack.execution(&id.execution_name(1)).await.unwrap().unwrap();
    assert_eq!(execution.status, "RUNNING");

    let (question, _) = deployed.questions(&id, NIGHT_SHIFT).await.remove(0);
    let failed =
        question.body_text.split("SOURCES THAT FAILED").nth(1).unwrap_or_else(|| panic!("{}", question.body_text));
    let failed = failed.split("EVIDENCE").next().unwrap();
    assert!(failed.contains("urlhaus") && failed.contains("threatfox"), "{failed}");
    assert!(!question.body_text.contains("benign"), "nothing calls it harmless: {}", question.body_text);

    deployed.decide(&id, NIGHT_SHIFT, "acknowledged").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("acknowledged"));
    assert!(!deployed.lists().await.contains("outage.example"));
}

pub async fn aborted(deployed: Rc<Deployed>) {
    let id = deployed.receive("aborted.eml", mail("aborted", "Pay: https://aborted.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    deployed.stack.stop(&id.execution_name(1)).await.unwrap();

    // EventBridge puts the end on the intake queue, and `admit` records it with its reason.
    let incident = deployed.ends(&id, IncidentStatus::Failed, "ABORTED").await;
    assert!(incident.failure.as_deref().unwrap().contains("ABORTED"), "{incident:?}");
    assert_eq!(incident.run, 1, "a run is not repeated behind a person's back");

    // The emulator still takes the token of an aborted execution; AWS answers that the task is gone, as the emulator does
    // of a token that it does not know.
    deployed.set(&id, "round#1#1", &[("task_token", "a-token-that-is-gone")]).await;
    deployed.decide(&id, NIGHT_SHIFT, "approved").await;
    until(&format!("{id} starts run 2"), async || {
        deployed.invoke("SweepFunction", &json!({})).await;
        if deployed.incident(&id).await.run == 2 { Ok(()) } else { Err(deployed.story(&id).await) }
    })
    .await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.run, incident.result.as_deref(), incident.failure), (2, Some("enforced"), None));
    let inherited = deployed.row(&id, "decision#2#1").await.unwrap();
    assert_eq!((&inherited["authenticated_by"], &inherited["by"]), (&json!("inherited"), &json!(NIGHT_SHIFT)));
    assert!(deployed.list("url").await.contains(&"https://aborted.example/pay".to_owned()));
    assert_eq!(deployed.questions(&id, NIGHT_SHIFT).await.len(), 1, "nobody is asked twice");
}

pub async fn by_hand(deployed: Rc<Deployed>) {
    // The mail lies where `receive-mail` has put nothing on the queue for it: under a key of its own.
    let bytes = mail("by hand", "Pay: https://byhand.example/pay");
    let key = "incidents/by-hand/mail.eml";
    let bucket = deployed.stack.output("EvidenceBucketName").unwrap();
    deployed.stack.gateway().put_object(bucket, key, "message/rfc822", bytes).await.unwrap();
    deployed.stack.start("by-hand", &json!({"evidence": {"key": key}, "kind": "mail"})).await.unwrap();

    let id = playbook::IncidentId::of("default", "console", key);
    deployed.asked(&id, 1, 1).await;
    deployed.stack.stop("by-hand").await.unwrap();
    until(&format!("{id} is recorded as failed"), async || {
        let incident = deployed.incident(&id).await;
        let is_recorded = incident.status == IncidentStatus::Failed;
        if is_recorded { Ok(()) } else { Err(deployed.story(&id).await) }
    })
    .await;
    assert!(deployed.incident(&id).await.failure.unwrap().contains("ABORTED"));
}

pub async fn nobody(deployed: Rc<Deployed>) {
    let bytes = String::from_utf8(mail("nobody", "Pay: https://nobody.example/pay")).unwrap();
    let bytes = bytes.replace("To: Mia Berg <mia.berg@corp.example>", &format!("To: {NIGHT_SHIFT}, {LEAD}"));
    let id = deployed.receive("nobody.eml", bytes.into_bytes()).await;
    let incident = deployed.ends(&id, IncidentStatus::Failed, "FAILED").await;
    assert!(incident.failure.as_deref().unwrap().contains("nobody is left"), "{incident:?}");
    assert!(deployed.mails(&id).await.is_empty());
    assert!(!deployed.lists().await.contains("nobody.example"));
}

pub async fn deadline(deployed: Rc<Deployed>) {
    let id = deployed.receive("deadline.eml", mail("deadline", "Pay: https://deadline.example/pay")).await;
    for (round, person) in [(1, NIGHT_SHIFT), (2, LEAD)] {
        let row = deployed.asked(&id, 1, round).await;
        assert_eq!(row["asked"], json!([person]));
        assert_eq!(row["last"], json!(person == LEAD));
        let link = deployed.link(&id, person).await;

        // The deadline passes; whichever sweep comes first, this one or the minute's, ends the round.
        let past = "2026-01-01T00:00:00.000Z";
        deployed.set(&id, &format!("round#1#{round}"), &[("deadline", past), ("due_at", past)]).await;
        let shown = Visitor::new(deployed.gateway()).open(&link).await;
        assert_eq!(shown.status, 410, "{}", shown.text());
        let decision = format!("decision#1#{round}");
        until(&format!("round {round} of {id} is ended"), async || {
            deployed.invoke("SweepFunction", &json!({})).await;
            deployed.row(&id, &decision).await.ok_or_else(|| "there is no decision row".to_owned())
        })
        .await;
        let decision = deployed.row(&id, &decision).await.unwrap();
        assert_eq!((&decision["choice"], &decision["last"]), (&json!("timed_out"), &json!(person == LEAD)));
        until(&format!("{person} is told"), async || {
            let mails = deployed.mails(&id).await;
            let follows = if person == LEAD { "stays undecided" } else { "not decided in time" };
            let told = mails.iter().any(|mail| mail.to == [person] && mail.subject.contains(follows));
            if told { Ok(()) } else { Err(format!("{:?}", mails.iter().map(|mail| &mail.subject).collect::<Vec<_>>())) }
        })
        .await;
    }
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("timed_out"));
    assert!(!deployed.lists().await.contains("deadline.example"));
    let issue = deployed.issue(System::Jira, &id);
    assert_eq!(issue.closed, None, "nobody has decided that it is over");
    assert!(issue.text.contains("Nothing more is enforced, and this stays open"), "{}", issue.text);
    let message = deployed.issue(System::Slack, &id);
    assert!(message.text.contains("not decided in time"), "{}", message.text);
    assert_eq!(deployed.questions(&id, NIGHT_SHIFT).await.len(), 1);
    assert_eq!(deployed.questions(&id, LEAD).await.len(), 1);
}

/// A token only wakes: whoever calls Step Functions with it decides nothing, and the incident says that it was tried.
pub async fn woken(deployed: Rc<Deployed>) {
    let id = deployed.receive("woken.eml", mail("woken", "Pay: https://woken.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    let token = until("the token is kept", async || {
        let round = deployed.row(&id, "round#1#1").await.unwrap();
        round["task_token"].as_str().map(str::to_owned).ok_or_else(|| round.to_string())
    })
    .await;
    let stolen = json!({"taskToken": token, "output": "{\"choice\": \"approved\"}"});
    deployed.gateway().call("states", "AWSStepFunctions.SendTaskSuccess", &stolen).await.unwrap();

    let incident = until("the incident says so", async || {
        let incident = deployed.incident(&id).await;
        if incident.warning.is_some() { Ok(incident) } else { Err(deployed.story(&id).await) }
    })
    .await;
    assert!(incident.warning.unwrap().contains("without a decision: nothing was written"));
    assert_eq!(incident.status, IncidentStatus::Waiting);
    let audit = deployed.stack.rows(&format!("incident#{id}"), "audit#").await.unwrap();
    assert!(audit.iter().any(|row| row["event"] == "woken_without_decision"), "{audit:?}");
    assert_eq!(deployed.row(&id, "decision#1#1").await, None);
    assert!(!deployed.lists().await.contains("woken.example"));
    assert_eq!(deployed.stack.execution(&id.execution_name(1)).await.unwrap().unwrap().status, "RUNNING");

    deployed.decide(&id, NIGHT_SHIFT, "approved").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("enforced"));
    assert!(deployed.lists().await.contains("woken.example"));
}

/// Whoever hands a question on ends the round: the next level is asked at once, and is told by whom and why.
pub async fn handed_on(deployed: Rc<Deployed>) {
    let id = deployed.receive("handed-on.eml", mail("handed on", "Pay: https://handed-on.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    deployed.decide(&id, NIGHT_SHIFT, "escalated").await;
    deployed.asked(&id, 1, 2).await;
    let (question, _) = deployed.questions(&id, LEAD).await.remove(0);
    assert!(question.body_text.contains("handed it on: seen in two mailboxes"), "{}", question.body_text);
    assert!(!deployed.lists().await.contains("handed-on.example"));
    deployed.decide(&id, LEAD, "approved").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("enforced"));
    assert!(deployed.lists().await.contains("handed-on.example"));
}
