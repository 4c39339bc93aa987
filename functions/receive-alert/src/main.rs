//! `ReceiveAlert` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `INTAKE_QUEUE_URL`, `SECRETS_PREFIX`, `CONFIG_DIGEST`. Calls S3
//! `GetObject`, `PutObject`; DynamoDB `GetItem`, `PutItem`, `UpdateItem`; SQS `SendMessage`; SSM `GetParameter`.

use aws::{Error, Platform};
use receive_alert::{Settings, World};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, queue) = (&platform.evidence()?, &platform.rows()?, &platform.intake_queue()?);
    let (secrets, clock) = (&platform.secrets()?, &platform.clock());
    let settings = &Settings::new(Platform::setting("CONFIG_DIGEST")?);

    aws::serve_either(
        async |request, at| {
            let world = World { evidence, rows, queue, secrets, clock, settings, account: &at.account };
            receive_alert::handle(&world, request).await
        },
        async |event, at| {
            let world = World { evidence, rows, queue, secrets, clock, settings, account: &at.account };
            receive_alert::run(&world, event).await
        },
    )
    .await
}
