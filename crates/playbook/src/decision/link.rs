//! Review links: one for each approver and round, found by the digest of its secret.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{IncidentId, Timestamp, canonical, rows::Key};

/// The secret of a review link: 256 random bits, of which only the SHA-256 is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret(String);

impl LinkSecret {
    /// Spells 32 random bytes as 43 characters.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(BASE64URL_NOPAD.encode(random))
    }

    /// Reads the secret from a path; `None` unless it is exactly 43 base64url characters of 32 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The secret, for the one link in the one mail.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored and found by.
    #[must_use]
    pub fn digest(&self) -> String {
        canonical::sha256_hex(self.0.as_bytes())
    }
}

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A review link (`link/1`): `link#<sha256>` / `meta`. One per approver and round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `link/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The round.
    pub round: u32,
    /// Whose link it is: one address.
    pub approver: String,
    /// When one-time codes were mailed for this link, oldest first; at most the last hour's.
    #[serde(default)]
    pub codes_sent: Vec<Timestamp>,
    /// Raised with every code, so that two requests at once do not both send.
    #[serde(default)]
    pub revision: u64,
    /// When DynamoDB may forget the row, in epoch seconds.
    pub ttl: i64,
}

impl Link {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "link/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(digest: &str) -> Key {
        Key::new(format!("link#{digest}"), "meta")
    }
}
