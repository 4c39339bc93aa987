//! The intake queue in SQS.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use playbook::{Fault, ports::Queue};

use crate::faults::fault;

/// Longest delay that SQS knows, in seconds.
const MAX_DELAY_SECONDS: u32 = 900;

/// One queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue of this URL.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: Client::new(config), url }
    }
}

impl Queue for SqsQueue {
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault> {
        let delay = i32::try_from(delay_seconds.min(MAX_DELAY_SECONDS)).unwrap_or_default();
        let call = self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        call.send().await.map(drop).map_err(|error| fault("sqs SendMessage", &error))
    }
}
