//! `Admit` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `CONFIG_DIGEST`. Calls DynamoDB `GetItem`, `PutItem`, `UpdateItem`; Step
//! Functions `StartExecution`.

use aws::{Error, Platform};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (rows, machines, clock) = (platform.rows()?, platform.machines()?, platform.clock());
    let config_digest = Platform::setting("CONFIG_DIGEST")?;

    aws::serve(async |input, _| admit::run(&rows, &machines, &clock, &config_digest, input).await).await
}
