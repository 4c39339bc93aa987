//! `Review` on AWS Lambda: wires the page to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `PUBLIC_BASE_URL`, `SENDER_ADDRESS`, `MAIL_EVENTS`,
//! `PAGE_KEY_SECRET`. Calls S3 `GetObject`; DynamoDB `GetItem`, `Query`, `PutItem`, `UpdateItem`, `ConditionCheckItem`;
//! SES `SendEmail`; Step Functions `SendTaskSuccess`, `StartExecution`, `DescribeExecution`; Secrets Manager
//! `GetSecretValue`.

use aws::{Error, Platform};
use egress::Https;
use review::{Caller, Settings, World};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, outbox) = (&platform.evidence()?, &platform.rows()?, &platform.outbox()?);
    let (machines, clock, entropy) = (&platform.machines()?, &platform.clock(), &platform.entropy());
    let settings = &Settings::new(&Platform::setting("PUBLIC_BASE_URL")?, platform.page_key().await?)?;
    let egress = &Https::new()?;
    let world = World { evidence, rows, outbox, machines, clock, entropy, egress, settings };

    aws::serve_http(async |mut request, invocation| {
        request.extensions_mut().insert(Caller(invocation.source_ip.unwrap_or_default()));
        review::handle(&world, request).await
    })
    .await
}
