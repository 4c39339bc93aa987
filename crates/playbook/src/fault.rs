//! A fault: the only ways in which a stage may fail, named as the state machine knows them.

use thiserror::Error;

/// Why a stage did not do its work. The variant's name is the Lambda error type and the ASL error name: the state
/// machine decides by it what is retried, so renaming one is a change of contract.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Somebody asked us to slow down; trying again later helps.
    #[error("throttled: {0}")]
    Throttled(String),
    /// Something we need did not answer; trying again helps.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The input cannot be worked on; trying again does not help.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The deployment is wrong; a person must change it.
    #[error("misconfigured: {0}")]
    Misconfigured(String),
    /// Not ready yet, and there is time left to wait.
    #[error("pending: {0}")]
    Pending(String),
}

impl Fault {
    /// Every name, in the order of the variants.
    pub const NAMES: [&'static str; 5] = ["Throttled", "Unavailable", "Rejected", "Misconfigured", "Pending"];

    /// The Lambda error type and ASL error name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Throttled(_) => "Throttled",
            Self::Unavailable(_) => "Unavailable",
            Self::Rejected(_) => "Rejected",
            Self::Misconfigured(_) => "Misconfigured",
            Self::Pending(_) => "Pending",
        }
    }
}
