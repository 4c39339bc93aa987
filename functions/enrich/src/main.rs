//! `Enrich` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `VERDICTS_TABLE`, `QUOTAS_TABLE`, `SECRETS_PREFIX`. Calls S3 `GetObject`,
//! `PutObject`; DynamoDB `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem`; SSM `GetParameter`; and the providers.

use aws::{Error, Invocation, Platform};
use enrich::{World, egress::Https};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (&platform.evidence()?, &platform.rows()?, &platform.clock());
    let (verdicts, quotas) = (&platform.verdicts()?, &platform.quotas()?);
    let (secrets, egress) = (&platform.secrets()?, &Https::new()?);
    let world = World { rows, evidence, verdicts, quotas, secrets, clock, egress };

    aws::serve(async |input, invocation: Invocation| {
        let result = enrich::run(&world, &invocation.account, invocation.remaining(), input).await;
        platform.capacity().log();
        result
    })
    .await
}
