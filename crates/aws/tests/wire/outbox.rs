//! One envelope recipient, whatever the headers say.

use aws::SesOutbox;
use playbook::ports::{Mail, Outbox};
use serde_json::json;

use crate::{Wire, error, fault};

fn mail(to: &str) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: "[high] Please decide\r\nBcc: eve@evil.example".to_owned(),
        text: "text".to_owned(),
        html: "<p>html</p>".to_owned(),
        thread: "inc-a@soc.example".to_owned(),
    }
}

#[tokio::test]
async fn the_envelope_has_one_recipient() {
    let wire = Wire::of([(200, json!({"MessageId": "0100"}))]);
    let outbox = SesOutbox::new(&wire.config().await, "playbook@soc.example".to_owned()).unwrap();
    assert_eq!(outbox.send(&mail("ana@soc.example")).await.unwrap(), "0100");
    let request = &wire.requests()[0];
    assert_eq!(request["Destination"], json!({"ToAddresses": ["ana@soc.example"]}));
    assert_eq!(request["FromEmailAddress"], "playbook@soc.example");
    assert_eq!(fault(outbox.send(&mail("ana@soc.example,eve@evil.example")).await), "Rejected");
}

#[tokio::test]
async fn a_sender_that_is_not_verified_is_rejected_for_this_mail() {
    let wire = Wire::of([(400, error("MessageRejected"))]);
    let outbox = SesOutbox::new(&wire.config().await, "playbook@soc.example".to_owned()).unwrap();
    assert_eq!(fault(outbox.send(&mail("ana@soc.example")).await), "Rejected");
}
