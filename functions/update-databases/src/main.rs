//! `UpdateDatabases` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `SECRETS_PREFIX`. Calls S3 `GetObject`, `PutObject`; DynamoDB `GetItem`,
//! `Query`, `PutItem`, `UpdateItem`, `DeleteItem`, `ConditionCheckItem`; SSM `GetParameter`; WAF `GetIPSet`,
//! `UpdateIPSet`; the targets.

use aws::{Error, Invocation, Platform};
use egress::Https;
use targets::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, clock) = (platform.evidence()?, platform.rows()?, platform.clock());
    let (egress, ip_sets, secrets) = (Https::new()?, platform.ip_sets(), platform.secrets()?);

    aws::serve(async |input, Invocation { account, .. }| {
        let (evidence, rows, clock, egress) = (&evidence, &rows, &clock, &egress);
        let world = World { evidence, rows, clock, egress, ip_sets: &ip_sets, secrets: &secrets, account: &account };
        let is_release = update_databases::Input::is_release(&input);
        let result = update_databases::run(&world, input).await;
        aws::metrics::tell(env!("CARGO_PKG_NAME"), result.as_ref().map(update_databases::Output::metrics));
        if is_release && result.is_err() {
            aws::metrics::count(env!("CARGO_PKG_NAME"), &[("ReleasesFailed", 1)]);
        }
        result
    })
    .await
}
