//! `FollowUp` on AWS Lambda: wires the function to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `VERDICTS_TABLE`, `QUOTAS_TABLE`, `SECRETS_PREFIX`, `FOLLOW_UP_QUEUE_URL`,
//! `PLAYBOOK_ARN`. Calls S3 `GetObject`; DynamoDB `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem`, `DeleteItem`; SSM
//! `GetParameter`; SQS `SendMessage`; Step Functions `StartExecution`; and the providers.

use aws::{Error, Invocation, Platform};
use egress::Https;
use follow_up::{Call, World};
use sources::{list::StoredLists, rdap::Registries};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (&platform.evidence()?, &platform.rows()?, &platform.clock());
    let (verdicts, quotas, queue) = (&platform.verdicts()?, &platform.quotas()?, &platform.follow_up_queue()?);
    let (secrets, egress, machines) = (&platform.secrets()?, &Https::new()?, &platform.machines()?);
    let (lists, registries) = (&StoredLists::new(rows, evidence), &Registries::default());
    let sources = sources::World { verdicts, quotas, secrets, clock, egress, lists, registries };
    let world = World { rows, evidence, sources, queue, machines };

    aws::serve(async |input, invocation: Invocation| {
        let remaining = invocation.remaining();
        let call = Call { account: &invocation.account, request_id: &invocation.request_id, remaining };
        let result = follow_up::run(&world, call, input).await;
        platform.capacity().log();
        result
    })
    .await
}
