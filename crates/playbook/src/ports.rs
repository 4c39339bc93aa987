//! The other ports: documents, mail, queue, machines, secrets, clock and randomness. Two implementations exist of each, AWS and the in-memory fake.

use crate::{Fault, Timestamp, incident::EvidenceRef};

/// A stored document: the evidence bucket.
pub trait Evidence {
    /// Reads a document; the bytes have the digest that the reference names, or it is `Rejected`.
    async fn fetch(&self, evidence: &EvidenceRef) -> Result<Vec<u8>, Fault>;
    /// Reads a document by its key alone; `None` where there is none.
    async fn find(&self, key: &str) -> Result<Option<Stored>, Fault>;
    /// Writes a document under a key and says where it lies.
    async fn store(&self, key: &str, content_type: &str, bytes: &[u8]) -> Result<EvidenceRef, Fault>;
    /// Writes only if the stored version is still this one (`None`: only if there is none). False when it is not.
    async fn replace(&self, key: &str, content_type: &str, bytes: &[u8], etag: Option<&str>) -> Result<bool, Fault>;
}

/// A document with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The content.
    pub bytes: Vec<u8>,
    /// Changes whenever the content does.
    pub etag: String,
}

/// A mail to be sent: one recipient, both bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One address.
    pub to: String,
    /// One line; already defanged.
    pub subject: String,
    /// The text part: it alone must be enough.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// `References`, so that the mails of one incident thread.
    pub thread: String,
}

/// The way mails go out.
pub trait Outbox {
    /// Sends and returns the id that the mail service gave.
    async fn send(&self, mail: &Mail) -> Result<String, Fault>;
}

/// The intake queue.
pub trait Queue {
    /// Puts a message in, visible after `delay_seconds` (0–900).
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault>;
}

/// What became of starting an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs; its ARN.
    New(String),
    /// One of this name exists already, running or ended; its ARN.
    Exists(String),
}

/// What became of waking an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The token was taken.
    Yes,
    /// Nobody waits behind this token any more.
    Gone,
}

/// The state machine.
pub trait Machines {
    /// Starts an execution under a name.
    async fn start(&self, name: &str, input: &str) -> Result<Started, Fault>;
    /// Wakes the execution that waits behind a task token. The token only wakes; it carries no decision.
    async fn wake(&self, task_token: &str) -> Result<Woken, Fault>;
    /// Whether the execution of this name is still running; `None` where it is unknown.
    async fn is_running(&self, name: &str) -> Result<Option<bool>, Fault>;
}

/// A secret; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where secrets lie.
pub trait Secrets {
    /// The secret of this id, such as a provider's; `None` where nobody set one.
    async fn secret(&self, id: &str) -> Result<Option<Secret>, Fault>;
}

/// The time.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Randomness that nobody can guess.
pub trait Entropy {
    /// Fills the bytes.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault>;
}
