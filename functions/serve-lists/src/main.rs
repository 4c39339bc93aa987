//! `ServeLists` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `EVIDENCE_BUCKET`, `SECRETS_PREFIX`. Calls S3 `GetObject`; SSM `GetParameter`.

use aws::{Error, Platform};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (evidence, secrets) = (platform.evidence()?, platform.secrets()?);

    aws::serve_http(async |request, _| serve_lists::handle(&evidence, &secrets, request).await).await
}
