//! `Review` on AWS Lambda: wires the page to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `INCIDENTS_TABLE`, `PLAYBOOK_ARN`, `PUBLIC_BASE_URL`, `SENDER_ADDRESS`, `MAIL_EVENTS`,
//! `PAGE_KEY_SECRET`; where people sign in, also `OIDC_ISSUER`, `OIDC_CLIENT_ID`, `OIDC_CLAIM`, `SECRETS_PREFIX`. Calls S3 `GetObject`; DynamoDB
//! `GetItem`, `Query`, `PutItem`, `UpdateItem`, `ConditionCheckItem`; SES `SendEmail`; Step Functions `SendTaskSuccess`,
//! `StartExecution`, `DescribeExecution`; Secrets Manager `GetSecretValue`; SSM `GetParameter`; and the issuer.

use aws::{Error, Platform};
use egress::Https;
use playbook::ports::Secrets as _;
use review::{Caller, Settings, World, oidc::Provider};

/// The client's secret at the issuer, below `SECRETS_PREFIX`; a public client has none.
const CLIENT_SECRET: &str = "oidc-client";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, rows, outbox) = (&platform.evidence()?, &platform.rows()?, &platform.outbox()?);
    let (machines, clock, entropy) = (&platform.machines()?, &platform.clock(), &platform.entropy());
    let mut settings = Settings::new(&Platform::setting("PUBLIC_BASE_URL")?, platform.page_key().await?)?;
    if let Some(issuer) = Platform::optional_setting("OIDC_ISSUER") {
        let client_id = Platform::setting("OIDC_CLIENT_ID")?;
        let claim = Platform::optional_setting("OIDC_CLAIM").unwrap_or_default();
        let secret = platform.secrets()?.secret(CLIENT_SECRET).await?;
        settings = settings.signing_in(Provider::new(&issuer, &client_id, secret, &claim)?)?;
    }
    let settings = &settings;
    let egress = &Https::new()?;
    let world = World { evidence, rows, outbox, machines, clock, entropy, egress, settings };

    aws::serve_http(async |mut request, invocation| {
        request.extensions_mut().insert(Caller(invocation.source_ip.unwrap_or_default()));
        review::handle(&world, request).await
    })
    .await
}
