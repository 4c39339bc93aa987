//! `RequestReview` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `PUBLIC_BASE_URL`, `OIDC_ISSUER`, `SENDER_ADDRESS`,
//! `MAIL_EVENTS`. Calls S3 `GetObject`; DynamoDB `GetItem`, `Query`, `PutItem`, `UpdateItem`; SES `SendEmail`; Step Functions
//! `SendTaskSuccess`.

use aws::{Error, Invocation, Platform};
use request_review::{Settings, World};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, outbox) = (&platform.evidence()?, &platform.rows()?, &platform.outbox()?);
    let (machines, clock, entropy) = (&platform.machines()?, &platform.clock(), &platform.entropy());
    let settings = &Settings {
        public_base_url: Platform::setting("PUBLIC_BASE_URL")?,
        signs_in: Platform::optional_setting("OIDC_ISSUER").is_some(),
    };

    aws::serve(async |input, Invocation { account, .. }| {
        let world = World { evidence, rows, outbox, machines, clock, entropy, settings, account: &account };
        request_review::run(&world, input).await
    })
    .await
}
