//! One envelope recipient, whatever the headers say.

use aws::SesOutbox;
use playbook::ports::{About, Mail, Outbox};
use serde_json::json;

use crate::{Wire, error, fault};

fn mail(to: &str) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: "[high] Please decide\r\nBcc: eve@evil.example".to_owned(),
        text: "text".to_owned(),
        html: "<p>html</p>".to_owned(),
        thread: "inc-a@soc.example".to_owned(),
        follows: None,
        about: About { incident_id: "inc-a".to_owned(), run: 1, round: 2, what: "question".to_owned() },
    }
}

#[tokio::test]
async fn the_envelope_has_one_recipient() {
    let wire = Wire::of([(200, json!({"MessageId": "0100"}))]);
    let outbox = SesOutbox::new(&wire.config().await, "playbook@soc.example".to_owned(), None).unwrap();
    assert_eq!(outbox.send(&mail("ana@soc.example")).await.unwrap(), "0100");
    let request = &wire.requests()[0];
    assert_eq!(request["Destination"], json!({"ToAddresses": ["ana@soc.example"]}));
    assert_eq!(request["FromEmailAddress"], "playbook@soc.example");
    assert!(request["ConfigurationSetName"].is_null(), "{request}");
    assert_eq!(fault(outbox.send(&mail("ana@soc.example,eve@evil.example")).await), "Rejected");
}

#[tokio::test]
async fn a_sender_that_is_not_verified_is_rejected_for_this_mail() {
    let wire = Wire::of([(400, error("MessageRejected"))]);
    let outbox = SesOutbox::new(&wire.config().await, "playbook@soc.example".to_owned(), None).unwrap();
    assert_eq!(fault(outbox.send(&mail("ana@soc.example")).await), "Rejected");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_reported_with_what_it_was_about() {
    let wire = Wire::of([(200, json!({"MessageId": "0100"}))]);
    let events = Some("stack-mail-events".to_owned());
    let outbox = SesOutbox::new(&wire.config().await, "playbook@soc.example".to_owned(), events).unwrap();
    outbox.send(&mail("ana@soc.example")).await.unwrap();
    let request = &wire.requests()[0];
    assert_eq!(request["ConfigurationSetName"], "stack-mail-events");
    let tags = [("incident_id", "inc-a"), ("run", "1"), ("round", "2"), ("what", "question")];
    assert_eq!(request["EmailTags"], json!(tags.map(|(name, value)| json!({"Name": name, "Value": value}))));
}
