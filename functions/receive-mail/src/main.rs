//! `ReceiveMail` on AWS Lambda: wires the stage to the world, and nothing else.
//!
//! Reads `INTAKE_QUEUE_URL`. Calls SQS `SendMessage`.

use aws::{Error, Platform};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Made once per sandbox, reused by every invocation.
    let platform = Platform::start(env!("CARGO_PKG_NAME")).await?;
    let (queue, clock) = (platform.intake_queue()?, platform.clock());

    aws::serve(async |event, _| receive_mail::run(&queue, &clock, event).await).await
}
