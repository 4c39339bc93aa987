//! A ticket: what an incident has in a ticket system or a channel, one a target.

mod text;

use serde::{Deserialize, Serialize};

pub use text::{Story, Text};

use crate::{
    Fault, IncidentId, Timestamp,
    rows::{Key, Row, Rows},
};

/// A ticket as an effect (`ticket/1`): `incident#<id>` / `effect#open-ticket#<target>`. Opened once an incident, whatever
/// the run; everything later is an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// `ticket/1`.
    pub schema: String,
    /// The target's id.
    pub target: String,
    /// Who opens or updates it: of two at once only one goes on.
    pub owner: String,
    /// When that one began.
    pub claimed_at: Timestamp,
    /// What it is called there; absent while nobody knows whether it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where people look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permalink: Option<String>,
    /// Digest of what was last written there: the same is not written twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// How often it was brought up to date.
    #[serde(default)]
    pub updates: u32,
    /// Whether it was closed.
    #[serde(default)]
    pub is_closed: bool,
    /// Whether the owner is still at it, as far as anybody knows.
    #[serde(default)]
    pub is_busy: bool,
    /// The run that wrote there last.
    #[serde(default)]
    pub run: u32,
    /// Whether somebody has ever begun to close it: then it may be closed already.
    #[serde(default)]
    pub was_closing: bool,
}

impl Ticket {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "ticket/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, target: &str) -> Key {
        Key::new(format!("incident#{id}"), format!("effect#open-ticket#{target}"))
    }

    /// Every ticket of an incident, those of which nobody knows yet whether they were opened included.
    pub async fn all(rows: &impl Rows, id: &IncidentId) -> Result<Vec<Self>, Fault> {
        rows.list(&format!("incident#{id}"), "effect#open-ticket#").await?.iter().map(Row::read).collect()
    }

    /// Whether it was opened; in a dry run without a name.
    #[must_use]
    pub const fn is_opened(&self) -> bool {
        self.external_id.is_some() || self.written.is_some()
    }
}
