//! `Admit` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `CONFIG_DIGEST`, `SECRETS_PREFIX`. Calls S3 `GetObject`;
//! DynamoDB `GetItem`, `Query`, `PutItem`, `UpdateItem`; Step Functions `StartExecution`; SSM `GetParameter`; and the targets
//! that take tickets.

use admit::{Settings, World};
use aws::{Error, Invocation, Platform};
use egress::Https;
use targets::ticket;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows) = (&platform.evidence()?, &platform.rows()?);
    let (machines, clock) = (&platform.machines()?, &platform.clock());
    let settings = &Settings::new(Platform::setting("CONFIG_DIGEST")?);
    let (secrets, egress, entropy) = (&platform.secrets()?, &Https::new()?, &platform.entropy());
    let tickets = ticket::World { rows, clock, egress, secrets, entropy };

    aws::serve(async |input, Invocation { account, .. }| {
        admit::run(&World { evidence, rows, machines, clock, settings, account: &account }, &tickets, input).await
    })
    .await
}
