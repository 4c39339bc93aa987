//! `Close` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `SENDER_ADDRESS`. Calls S3 `GetObject`; DynamoDB
//! `GetItem`, `Query`, `PutItem`, `UpdateItem`; Step Functions `StartExecution`; SES `SendEmail`.

use aws::{Error, Platform};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, machines) = (platform.evidence()?, platform.rows()?, platform.machines()?);
    let (outbox, clock, entropy) = (platform.outbox()?, platform.clock(), platform.entropy());

    aws::serve(async |input, _| close::run(&evidence, &rows, &machines, &outbox, (&clock, &entropy), input).await).await
}
