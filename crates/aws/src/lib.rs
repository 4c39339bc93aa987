//! The only crate that names `aws-sdk-*`: adapters for the ports, settings, secrets and `serve`.
//!
//! Each client hides behind a feature of the same name, so that a function links only what it uses.

#[cfg(feature = "dynamodb")]
pub mod cache;
pub mod clock;
#[cfg(feature = "dynamodb")]
mod commit_id;
pub mod error;
#[cfg(feature = "s3")]
pub mod evidence;
mod faults;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "wafv2")]
pub mod ip_sets;
pub mod logs;
#[cfg(feature = "sfn")]
pub mod machines;
pub mod metrics;
#[cfg(feature = "ses")]
pub mod outbox;
#[cfg(feature = "secretsmanager")]
mod page_key;
pub mod platform;
#[cfg(feature = "sqs")]
pub mod queue;
#[cfg(feature = "dynamodb")]
pub mod rows;
#[cfg(feature = "ssm")]
pub mod secrets;
pub mod serve;

#[cfg(feature = "dynamodb")]
pub use cache::{Capacity, DynamoQuotas, DynamoVerdicts};
pub use clock::{OsEntropy, SystemClock};
pub use error::Error;
#[cfg(feature = "s3")]
pub use evidence::S3Evidence;
#[cfg(feature = "http")]
pub use http::{serve_either, serve_http};
#[cfg(feature = "wafv2")]
pub use ip_sets::WafIpSets;
#[cfg(feature = "sfn")]
pub use machines::SfnMachines;
#[cfg(feature = "ses")]
pub use outbox::SesOutbox;
pub use platform::Platform;
#[cfg(feature = "sqs")]
pub use queue::SqsQueue;
#[cfg(feature = "dynamodb")]
pub use rows::DynamoRows;
#[cfg(feature = "ssm")]
pub use secrets::SsmSecrets;
pub use serve::{Invocation, serve};
