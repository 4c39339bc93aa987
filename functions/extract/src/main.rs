//! `Extract` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `CONFIG_DIGEST`, `STACK_NAME`. Calls S3 `GetObject`, `PutObject`; DynamoDB `GetItem`,
//! `PutItem`, `UpdateItem`.

use aws::{Error, Invocation, Platform};
use extract::Settings;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (platform.evidence()?, platform.rows()?, platform.clock());
    let settings =
        Settings { config_digest: Platform::setting("CONFIG_DIGEST")?, stack: Platform::setting("STACK_NAME")? };

    aws::serve(async |input, Invocation { account, .. }| {
        extract::run(&evidence, &rows, &clock, &settings, &account, input).await
    })
    .await
}
