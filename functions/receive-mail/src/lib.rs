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
        let key = object.url_decoded_key.or(object.key).unwrap_or_default();
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
            status: None,
        };
        let body = serde_json::to_string(&intake).map_err(|error| Fault::Rejected(error.to_string()))?;
        queue.push(&body, 0).await?;
        received += 1;
    }
    info!(count = received, "received mails");
    Ok(Output { received })
}

fn received_at(event_millis: i64, clock: &impl Clock) -> Timestamp {
    if event_millis > 0 { Timestamp::from_millis(event_millis) } else { clock.now() }
}
