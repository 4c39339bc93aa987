//! `Close` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `SENDER_ADDRESS`, `MAIL_EVENTS`, `SECRETS_PREFIX`. Calls
//! S3 `GetObject`; DynamoDB `GetItem`, `Query`, `PutItem`, `UpdateItem`; Step Functions `StartExecution`; SES
//! `SendEmail`; SSM `GetParameter`; and the targets that hold tickets.

use aws::{Error, Invocation, Platform};
use close::World;
use egress::Https;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, machines) = (&platform.evidence()?, &platform.rows()?, &platform.machines()?);
    let (outbox, clock, entropy) = (&platform.outbox()?, &platform.clock(), &platform.entropy());
    let (secrets, egress) = (&platform.secrets()?, &Https::new()?);

    aws::serve(async |input, invocation: Invocation| {
        let account = &invocation.account;
        let world = World { evidence, rows, machines, outbox, clock, entropy, secrets, egress, account };
        let result = close::run(&world, input).await;
        aws::metrics::tell(env!("CARGO_PKG_NAME"), result.as_ref().map(close::Output::metrics));
        result
    })
    .await
}
