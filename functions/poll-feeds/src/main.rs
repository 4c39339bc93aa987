//! `PollFeeds` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `INTAKE_QUEUE_URL`, `SECRETS_PREFIX`, `CONFIG_DIGEST`. Calls S3 `GetObject`,
//! `PutObject`; DynamoDB `GetItem`, `PutItem`; SQS `SendMessage`; SSM `GetParameter`; and the feeds.

use aws::{Error, Invocation, Platform};
use egress::Https;
use poll_feeds::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (&platform.evidence()?, &platform.rows()?, &platform.clock());
    let (secrets, queue, egress) = (&platform.secrets()?, &platform.intake_queue()?, &Https::new()?);
    let config_digest = Platform::optional_setting("CONFIG_DIGEST").unwrap_or_default();
    let world = World { rows, evidence, secrets, queue, clock, egress };

    aws::serve(async |input, invocation: Invocation| {
        poll_feeds::run(&world, (&config_digest, &invocation.account), invocation.remaining(), input).await
    })
    .await
}
