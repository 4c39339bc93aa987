//! `Assess` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`. Calls S3 `GetObject`, `PutObject`; DynamoDB `GetItem`, `Query`
//! (also of the index `by_observable`), `PutItem`, `UpdateItem`.

use aws::{Error, Invocation, Platform};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (platform.evidence()?, platform.rows()?, platform.clock());

    aws::serve(async |input, Invocation { account, .. }| assess::run(&evidence, &rows, &clock, &account, input).await)
        .await
}
