//! `receive-mail`: one incident per stored mail, onto the intake queue.

use aws_lambda_events::event::s3::S3Event;
use playbook::{
    Fault, Timestamp,
    incident::{EvidenceRef, INTAKE_SCHEMA, Intake, Kind},
    ports::{Clock, Queue},
    severity::Severity,
};
use serde::Serialize;
use tracing::info;

/// For the log only: S3 does not read the answer.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Messages put on the intake queue.
    pub received: usize,
}

/// Puts one message on the intake queue for each stored mail. A redelivered event makes the same message again;
/// `admit` recognises it by the object's bucket, key and version.
pub async fn run(queue: &impl Queue, clock: &impl Clock, event: S3Event) -> Result<Output, Fault> {
    let mut received = 0;
    for record in event.records {
        let bucket = record.s3.bucket.name.unwrap_or_default();
        let object = record.s3.object;
        let key = decoded(&object.key.unwrap_or_default())?;
        if bucket.is_empty() || key.is_empty() {
            return Err(Fault::Rejected("the event names no object".to_owned()));
        }
        // An unversioned bucket has no version: the content's ETag tells two mails under one key apart.
        let version = object.version_id.clone().or(object.e_tag).unwrap_or_default();
        let intake = Intake {
            schema: INTAKE_SCHEMA.to_owned(),
            kind: Kind::Mail,
            tenant: "default".to_owned(),
            source: "mail".to_owned(),
            native_id: format!("{bucket}/{key}/{version}"),
            severity: Severity::Low,
            evidence: Some(EvidenceRef {
                key,
                version_id: object.version_id,
                sha256: String::new(),
                size_bytes: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            }),
            received_at: received_at(record.event_time.timestamp_millis(), clock),
            fingerprint: None,
            status: None,
        };
        let body = serde_json::to_string(&intake).map_err(|error| Fault::Rejected(error.to_string()))?;
        queue.push(&body, 0).await?;
        received += 1;
    }
    info!(count = received, "received mails");
    Ok(Output { received })
}

/// S3 spells keys in events like a form: `+` for a space, percent for the rest.
fn decoded(key: &str) -> Result<String, Fault> {
    let spaced = key.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| Fault::Rejected("the object's key is not UTF-8".to_owned()))
}

fn received_at(event_millis: i64, clock: &impl Clock) -> Timestamp {
    if event_millis > 0 { Timestamp::from_millis(event_millis) } else { clock.now() }
}

#[cfg(test)]
mod tests {
    use playbook::fakes::{MemoryQueue, StoppedClock};
    use serde_json::json;

    use super::*;

    fn event(objects: &[serde_json::Value]) -> S3Event {
        let records: Vec<_> = objects
            .iter()
            .map(|object| {
                json!({
                    "eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": "2026-11-24T05:00:00.000Z",
                    "userIdentity": {}, "requestParameters": {}, "responseElements": {},
                    "s3": {"bucket": {"name": "evidence", "ownerIdentity": {}}, "object": object}
                })
            })
            .collect();
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    async fn receive(objects: &[serde_json::Value]) -> Result<Vec<Intake>, Fault> {
        let queue = MemoryQueue::default();
        run(&queue, &StoppedClock::at(Timestamp::from_millis(0)), event(objects)).await?;
        let messages = queue.messages.borrow();
        Ok(messages.iter().map(|body| serde_json::from_str(body).unwrap()).collect())
    }

    #[tokio::test]
    async fn a_stored_mail_becomes_one_message_that_names_its_version() {
        let stored = json!({"key": "mail/a+b%20c.eml", "size": 12, "versionId": "v1"});
        let messages = receive(&[stored.clone(), stored]).await.unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], messages[1], "a redelivery says the same");
        assert_eq!(messages[0].native_id, "evidence/mail/a b c.eml/v1");
        assert_eq!(messages[0].received_at.to_string(), "2026-11-24T05:00:00.000Z");
    }

    #[tokio::test]
    async fn two_mails_under_one_key_are_two_pieces_of_work() {
        let versions = [json!({"key": "mail/a", "eTag": "x"}), json!({"key": "mail/a", "eTag": "y"})];
        let messages = receive(&versions).await.unwrap();
        assert_ne!(messages[0].native_id, messages[1].native_id);
    }

    #[tokio::test]
    async fn an_event_without_an_object_is_rejected() {
        assert!(matches!(receive(&[json!({"key": ""})]).await, Err(Fault::Rejected(_))));
    }
}
