//! `OpenTicket` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `SECRETS_PREFIX`. Calls S3 `GetObject`; DynamoDB `GetItem`, `Query`,
//! `PutItem`; SSM `GetParameter`; and the targets that take tickets.

use aws::{Error, Invocation, Platform};
use egress::Https;
use open_ticket::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, secrets) = (&platform.evidence()?, &platform.rows()?, &platform.secrets()?);
    let (clock, entropy, egress) = (&platform.clock(), &platform.entropy(), &Https::new()?);

    aws::serve(async |input, invocation: Invocation| {
        let account = &invocation.account;
        open_ticket::run(&World { evidence, rows, secrets, clock, entropy, egress, account }, input).await
    })
    .await
}
