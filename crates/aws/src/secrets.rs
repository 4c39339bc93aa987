//! Secrets in SSM Parameter Store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_config::SdkConfig;
use aws_sdk_ssm::{Client, error::ProvideErrorMetadata as _};
use playbook::{
    Fault,
    ports::{Secret, Secrets},
};

use crate::{clock::now_ms, faults::fault};

/// How long a secret is kept.
const KEPT_MS: i64 = 5 * 60_000;
/// How long it is remembered that nobody set one.
const ABSENT_KEPT_MS: i64 = 60_000;

/// The secrets under one path; each is fetched on first use and kept for 5 minutes.
#[derive(Clone, Debug)]
pub struct SsmSecrets {
    client: Client,
    prefix: String,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    until_ms: i64,
    secret: Option<Secret>,
}

impl SsmSecrets {
    /// The secrets under `prefix`, such as `/ioc/providers`.
    #[must_use]
    pub fn new(config: &SdkConfig, prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self { client: Client::new(config), prefix, kept: Arc::default() }
    }

    async fn fetch(&self, id: &str) -> Result<Option<Secret>, Fault> {
        let call = self.client.get_parameter().name(format!("{}/{id}", self.prefix)).with_decryption(true);
        match call.send().await {
            Ok(found) => Ok(found.parameter.and_then(|parameter| parameter.value).map(Secret::new)),
            Err(error) => match error.code() {
                Some("ParameterNotFound") => Ok(None),
                _ => Err(fault("ssm GetParameter", &error)),
            },
        }
    }
}

impl Secrets for SsmSecrets {
    async fn secret(&self, id: &str) -> Result<Option<Secret>, Fault> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(Fault::Rejected(format!("{id:?} cannot be the id of a secret")));
        }
        let now = now_ms();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(kept) = kept.filter(|kept| kept.until_ms > now) {
            return Ok(kept.secret);
        }
        let secret = self.fetch(id).await?;
        let until_ms = now + if secret.is_some() { KEPT_MS } else { ABSENT_KEPT_MS };
        let kept = Kept { until_ms, secret: secret.clone() };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), kept);
        Ok(secret)
    }
}
