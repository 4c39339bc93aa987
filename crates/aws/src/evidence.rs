//! The evidence bucket in S3.

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client, error::ProvideErrorMetadata as _, operation::get_object::GetObjectOutput, primitives::ByteStream,
};
use playbook::{
    Fault, canonical,
    incident::EvidenceRef,
    ports::{Evidence, Stored},
};

use crate::faults::fault;

/// Longest document that is read into memory.
const MAX_BYTES: u64 = 50 * 1024 * 1024;

/// Documents in one bucket.
#[derive(Clone, Debug)]
pub struct S3Evidence {
    client: Client,
    bucket: String,
}

impl S3Evidence {
    /// The documents of this bucket.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // Path style: the local stack has one address for all buckets.
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
        Self { client: Client::from_conf(config), bucket }
    }

    /// One object; `None` where there is none.
    async fn read(&self, key: &str, version: Option<&str>) -> Result<Option<Stored>, Fault> {
        let call = self.client.get_object().bucket(&self.bucket).key(key).set_version_id(version.map(str::to_owned));
        match call.send().await {
            Ok(object) => collect(key, object).await.map(Some),
            Err(error) => match error.code() {
                Some("NoSuchKey" | "NoSuchVersion") => Ok(None),
                _ => Err(fault("s3 GetObject", &error)),
            },
        }
    }
}

async fn collect(key: &str, object: GetObjectOutput) -> Result<Stored, Fault> {
    let size = u64::try_from(object.content_length().unwrap_or_default()).unwrap_or(u64::MAX);
    if size > MAX_BYTES {
        return Err(Fault::Rejected(format!("document {key} has {size} bytes, more than {MAX_BYTES}")));
    }
    let etag = object.e_tag().unwrap_or_default().to_owned();
    let bytes = object.body.collect().await;
    let bytes = bytes.map_err(|error| Fault::Unavailable(format!("document {key} was cut off: {error}")))?;
    Ok(Stored { bytes: bytes.to_vec(), etag })
}

impl Evidence for S3Evidence {
    async fn fetch(&self, evidence: &EvidenceRef) -> Result<Vec<u8>, Fault> {
        let EvidenceRef { key, version_id, sha256, .. } = evidence;
        let stored = self.read(key, version_id.as_deref()).await?;
        let stored = stored.ok_or_else(|| Fault::Rejected(format!("there is no document {key}")))?;
        if sha256.is_empty() || canonical::sha256_hex(&stored.bytes) == *sha256 {
            Ok(stored.bytes)
        } else {
            Err(Fault::Rejected(format!("document {key} is not what its reference says")))
        }
    }

    async fn find(&self, key: &str) -> Result<Option<Stored>, Fault> {
        self.read(key, None).await
    }

    async fn store(&self, key: &str, content_type: &str, bytes: &[u8]) -> Result<EvidenceRef, Fault> {
        let call = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        let written = call.body(ByteStream::from(bytes.to_vec())).send().await;
        let written = written.map_err(|error| fault("s3 PutObject", &error))?;
        Ok(EvidenceRef {
            key: key.to_owned(),
            version_id: written.version_id().map(str::to_owned),
            sha256: canonical::sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
        })
    }

    /// False also where our own write got through and only its answer was lost: the caller reads again.
    async fn replace(&self, key: &str, content_type: &str, bytes: &[u8], etag: Option<&str>) -> Result<bool, Fault> {
        let call = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        let call = match etag {
            Some(etag) => call.if_match(etag),
            None => call.if_none_match("*"),
        };
        match call.body(ByteStream::from(bytes.to_vec())).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.code() {
                // NoSuchKey: the version that should be replaced is gone altogether.
                Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey") => Ok(false),
                _ => Err(fault("s3 PutObject", &error)),
            },
        }
    }
}
