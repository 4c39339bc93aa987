//! `Sweep` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `FOLLOW_UP_QUEUE_URL`, `PLAYBOOK_ARN`, `SENDER_ADDRESS`, `MAIL_EVENTS`,
//! `SECRETS_PREFIX`. Calls S3 `GetObject`, `PutObject`; DynamoDB `GetItem`, `Query`, `PutItem`, `UpdateItem`,
//! `DeleteItem`, `ConditionCheckItem`; SQS `SendMessage`; Step Functions `SendTaskSuccess`, `StartExecution`,
//! `DescribeExecution`; SES `SendEmail`; WAF `GetIPSet`, `UpdateIPSet`; SSM `GetParameter`; the targets over https.

use aws::{Error, Invocation, Platform};
use sweep::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, machines) = (&platform.evidence()?, &platform.rows()?, &platform.machines()?);
    let (outbox, clock, entropy) = (&platform.outbox()?, &platform.clock(), &platform.entropy());
    let (follow_up, egress) = (&platform.follow_up_queue()?, &egress::Https::new()?);
    let (ip_sets, secrets) = (&platform.ip_sets(), &platform.secrets()?);

    aws::serve(async |input, Invocation { account, .. }| {
        let account = &account;
        let world =
            World { evidence, rows, machines, outbox, clock, entropy, follow_up, egress, ip_sets, secrets, account };
        let result = sweep::run(&world, input).await;
        aws::metrics::tell(env!("CARGO_PKG_NAME"), result.as_ref().map(sweep::Output::metrics));
        result
    })
    .await
}
