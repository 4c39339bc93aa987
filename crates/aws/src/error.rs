//! Why a function did not start or stopped serving.

use std::fmt;

use playbook::Fault;
use thiserror::Error as ThisError;

/// The start failed or the runtime ended. Prints the same for people and for `main`.
#[derive(Clone, PartialEq, Eq, ThisError)]
pub enum Error {
    /// A setting is missing; the variable's name.
    #[error("the environment variable {0} is not set")]
    Setting(String),
    /// Something that every function needs could not be set up.
    #[error("cannot start: {0}")]
    Start(String),
    /// The Lambda runtime went away.
    #[error("the runtime ended: {0}")]
    Runtime(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Start(fault.to_string())
    }
}
