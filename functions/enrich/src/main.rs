//! `Enrich` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `VERDICTS_TABLE`, `QUOTAS_TABLE`, `SECRETS_PREFIX`, `FOLLOW_UP_QUEUE_URL`.
//! Calls S3 `GetObject`, `PutObject`; DynamoDB `GetItem`, `Query`, `BatchGetItem`, `PutItem`, `UpdateItem`, `DeleteItem`; SSM
//! `GetParameter`; SQS `SendMessage`; and the providers.

use aws::{Error, Invocation, Platform};
use egress::Https;
use enrich::World;
use playbook::cache::Warm;
use sources::{list::StoredLists, rdap::Registries};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (&platform.evidence()?, &platform.rows()?, &platform.clock());
    let (verdicts, quotas, queue) =
        (&Warm::new(platform.verdicts()?), &platform.quotas()?, &platform.follow_up_queue()?);
    let (secrets, egress) = (&platform.secrets()?, &Https::new()?);
    let (lists, registries) = (&StoredLists::new(rows, evidence), &Registries::default());
    let world = World { rows, evidence, verdicts, quotas, secrets, clock, egress, lists, registries, queue };

    aws::serve(async |input, invocation: Invocation| {
        let run = enrich::run(&world, &invocation.account, invocation.remaining(), input);
        let result = Box::pin(run).await;
        platform.capacity().log();
        aws::metrics::tell(env!("CARGO_PKG_NAME"), result.as_ref().map(enrich::Output::metrics));
        result
    })
    .await
}
