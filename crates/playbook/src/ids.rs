//! Names of incidents, executions and campaigns.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `inc-` and 26 lower-case base32 characters: the same piece of work always has the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct IncidentId(String);

/// The text is not an incident id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an incident id: inc- and 26 characters a–z or 2–7")]
pub struct NotAnIncidentId(String);

impl IncidentId {
    /// The id of one piece of work. A redelivery of the same native id has the same incident id.
    ///
    /// The native id of a mail is its bucket, key and version; Message-ID is the sender's word and is not used.
    #[must_use]
    pub fn of(tenant: &str, source: &str, native_id: &str) -> Self {
        Self(format!("inc-{}", digest(&[tenant, source, native_id])))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the execution of one run, `<incident_id>-r<run>`: at most 80 characters, as Step Functions wants.
    #[must_use]
    pub fn execution_name(&self, run: u32) -> String {
        format!("{}-r{run}", self.0)
    }

    /// Reads the incident and the run back from an execution's name.
    #[must_use]
    pub fn from_execution_name(name: &str) -> Option<(Self, u32)> {
        let (id, run) = name.rsplit_once("-r")?;
        Some((Self::try_from(id.to_owned()).ok()?, run.parse().ok()?))
    }
}

impl TryFrom<String> for IncidentId {
    type Error = NotAnIncidentId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_id(&text, "inc-") { Ok(Self(text)) } else { Err(NotAnIncidentId(text.chars().take(64).collect())) }
    }
}

/// `cmp-` and 26 lower-case base32 characters: the same shared observable always names the same campaign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CampaignId(String);

/// The text is not a campaign's id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a campaign id: cmp- and 26 characters a–z or 2–7")]
pub struct NotACampaignId(String);

impl CampaignId {
    /// The campaign that begins with two incidents sharing this observable.
    #[must_use]
    pub fn of(observable_key: &str) -> Self {
        Self(format!("cmp-{}", digest(&["campaign", observable_key])))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CampaignId {
    type Error = NotACampaignId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_id(&text, "cmp-") { Ok(Self(text)) } else { Err(NotACampaignId(text.chars().take(64).collect())) }
    }
}

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 26 characters that name these parts.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length goes first, so that no two lists are the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    BASE32_NOPAD.encode(&hash.finalize()).to_ascii_lowercase().chars().take(26).collect()
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 26 && rest.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
    })
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_work_has_the_same_id_and_other_work_another() {
        let id = IncidentId::of("default", "mail", "bucket/key/1");
        assert_eq!(id, IncidentId::of("default", "mail", "bucket/key/1"));
        assert_ne!(id, IncidentId::of("default", "mai", "lbucket/key/1"));
        assert_eq!(id.as_str().len(), 30);
        assert!(IncidentId::try_from(id.to_string()).is_ok());
    }

    #[test]
    fn an_execution_name_leads_back_to_its_run() {
        let id = IncidentId::of("a", "b", "c");
        assert_eq!(IncidentId::from_execution_name(&id.execution_name(3)), Some((id, 3)));
        assert_eq!(IncidentId::from_execution_name("console-test"), None);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "inc-", "inc-UPPERUPPERUPPERUPPERUPPERU", "inc-../../../../../../../../.."] {
            assert!(IncidentId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
