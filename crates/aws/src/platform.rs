//! What a sandbox sets up once: the log, the settings and the clients.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::{Error, OsEntropy, SystemClock, logs};

/// Attempts at one call. Where many calls are throttled, repeating one costs a call, and repeating the stage, which is the state
/// machine's business, costs all that came before: with two, a third of throttled calls make some incidents be given up
/// (`tests/it/faults.rs`). What is repeated is safe to repeat: leases have owners, writes have ids. In an outage the clients
/// stop by themselves: their common budget of retries is used up after a hundred that did not help.
const ATTEMPTS: u32 = 4;
/// The longest wait before the second attempt; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// Everything that adapters are made from. Cheap to keep, made once per sandbox.
#[derive(Clone, Debug)]
pub struct Platform {
    config: SdkConfig,
    #[cfg(feature = "dynamodb")]
    capacity: crate::Capacity,
}

impl Platform {
    /// Sets up log, TLS and the clients' configuration. `stage` is the name of the function's crate, which every line
    /// of the log carries: `env!("CARGO_PKG_NAME")`.
    ///
    /// Reads the AWS variables that Lambda sets and `RUST_LOG`. Makes no call.
    pub async fn start(stage: &'static str) -> Result<Self, Error> {
        logs::start(stage);
        Self::of(aws_config::defaults(BehaviorVersion::latest())).await
    }

    /// The same clients for AWS as it is played at this address, such as the local emulator's, as the account of this access key;
    /// reads nothing from the environment and leaves the log alone.
    #[cfg(feature = "played")]
    pub async fn played(endpoint: &str, access_key: &str) -> Result<Self, Error> {
        let credentials = aws_sdk_dynamodb::config::Credentials::new(access_key, "played", None, None, "played");
        let at = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(endpoint);
        Self::of(at.region(aws_config::Region::from_static("us-east-1")).credentials_provider(credentials)).await
    }

    async fn of(loader: ConfigLoader) -> Result<Self, Error> {
        // One TLS stack: rustls with ring. An error means that it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = loader
            .http_client(client)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(2))
                    .operation_attempt_timeout(Duration::from_secs(6))
                    .operation_timeout(Duration::from_secs(13))
                    .build(),
            )
            .load()
            .await;
        if config.region().is_none() {
            return Err(Error::Setting("AWS_REGION".to_owned()));
        }
        Ok(Self {
            config,
            #[cfg(feature = "dynamodb")]
            capacity: crate::Capacity::default(),
        })
    }

    /// What clients are made from.
    #[cfg(feature = "played")]
    #[must_use]
    pub const fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A setting from the environment. A missing or empty one stops the start.
    pub fn setting(name: &str) -> Result<String, Error> {
        Self::optional_setting(name).ok_or_else(|| Error::Setting(name.to_owned()))
    }

    /// A setting that may be absent; empty counts as absent.
    #[must_use]
    pub fn optional_setting(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// The time.
    #[must_use]
    pub const fn clock(&self) -> SystemClock {
        SystemClock
    }

    /// Randomness.
    #[must_use]
    pub const fn entropy(&self) -> OsEntropy {
        OsEntropy
    }

    /// The evidence bucket. Reads `EVIDENCE_BUCKET`.
    #[cfg(feature = "s3")]
    pub fn evidence(&self) -> Result<crate::S3Evidence, Error> {
        Ok(crate::S3Evidence::new(&self.config, Self::setting("EVIDENCE_BUCKET")?))
    }

    /// The record. Reads `INCIDENTS_TABLE`.
    #[cfg(feature = "dynamodb")]
    pub fn rows(&self) -> Result<crate::DynamoRows, Error> {
        Ok(crate::DynamoRows::new(&self.config, Self::setting("INCIDENTS_TABLE")?))
    }

    /// Cached outcomes and leases. Reads `VERDICTS_TABLE`.
    #[cfg(feature = "dynamodb")]
    pub fn verdicts(&self) -> Result<crate::DynamoVerdicts, Error> {
        Ok(crate::DynamoVerdicts::new(&self.config, Self::setting("VERDICTS_TABLE")?, self.capacity()))
    }

    /// Quotas. Reads `QUOTAS_TABLE`.
    #[cfg(feature = "dynamodb")]
    pub fn quotas(&self) -> Result<crate::DynamoQuotas, Error> {
        Ok(crate::DynamoQuotas::new(&self.config, Self::setting("QUOTAS_TABLE")?, self.capacity()))
    }

    /// What `verdicts` and `quotas` consume, together.
    #[cfg(feature = "dynamodb")]
    #[must_use]
    pub fn capacity(&self) -> crate::Capacity {
        self.capacity.clone()
    }

    /// Outgoing mail. Reads `SENDER_ADDRESS`, and `MAIL_EVENTS`, which is empty where nothing reports what was not delivered.
    #[cfg(feature = "ses")]
    pub fn outbox(&self) -> Result<crate::SesOutbox, Error> {
        crate::SesOutbox::new(&self.config, Self::setting("SENDER_ADDRESS")?, Self::optional_setting("MAIL_EVENTS"))
    }

    /// The intake queue. Reads `INTAKE_QUEUE_URL`.
    #[cfg(feature = "sqs")]
    pub fn intake_queue(&self) -> Result<crate::SqsQueue, Error> {
        Ok(crate::SqsQueue::new(&self.config, Self::setting("INTAKE_QUEUE_URL")?))
    }

    /// The follow-up queue. Reads `FOLLOW_UP_QUEUE_URL`.
    #[cfg(feature = "sqs")]
    pub fn follow_up_queue(&self) -> Result<crate::SqsQueue, Error> {
        Ok(crate::SqsQueue::new(&self.config, Self::setting("FOLLOW_UP_QUEUE_URL")?))
    }

    /// The state machines. Reads `PLAYBOOK_ARN`.
    #[cfg(feature = "sfn")]
    pub fn machines(&self) -> Result<crate::SfnMachines, Error> {
        Ok(crate::SfnMachines::new(&self.config, &Self::setting("PLAYBOOK_ARN")?))
    }

    /// Secrets of providers or consumers. Reads `SECRETS_PREFIX`.
    #[cfg(feature = "ssm")]
    pub fn secrets(&self) -> Result<crate::SsmSecrets, Error> {
        Ok(crate::SsmSecrets::new(&self.config, &Self::setting("SECRETS_PREFIX")?))
    }

    /// IP sets of AWS WAF, by ARN.
    #[cfg(feature = "wafv2")]
    #[must_use]
    pub fn ip_sets(&self) -> crate::WafIpSets {
        crate::WafIpSets::new(&self.config)
    }

    /// The key of the review page's cookies and forms, kept as long as the sandbox. Reads `PAGE_KEY_SECRET`; calls
    /// Secrets Manager `GetSecretValue`.
    #[cfg(feature = "secretsmanager")]
    pub async fn page_key(&self) -> Result<playbook::ports::Secret, Error> {
        Ok(crate::page_key::read(&self.config, &Self::setting("PAGE_KEY_SECRET")?).await?)
    }
}
