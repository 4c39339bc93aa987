//! The key under which the review page signs cookies and forms, in Secrets Manager.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use playbook::{Fault, ports::Secret};

use crate::faults::fault;

/// Reads the key; `Misconfigured` where the secret is empty.
pub(crate) async fn read(config: &SdkConfig, id: &str) -> Result<Secret, Fault> {
    let found = Client::new(config).get_secret_value().secret_id(id).send().await;
    let found = found.map_err(|error| fault("secretsmanager GetSecretValue", &error))?;
    let text = found.secret_string.filter(|text| !text.is_empty());
    text.map(Secret::new).ok_or_else(|| Fault::Misconfigured(format!("secret {id} is empty")))
}
