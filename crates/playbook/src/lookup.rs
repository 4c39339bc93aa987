//! One lookup, without the network: the request that asks a provider, and what its answer means.

mod document;
mod interpret;
mod opinion;
mod question;
mod request;

use std::fmt;

pub use interpret::{FirstStep, failed, first_step, interpret, pending, retry_after_seconds, skipped, used_up_seconds};
pub use question::{Question, dns_answer, is_name, questions, reversed};
pub use request::{Refusal, prepare, prepare_at, prepare_poll};

pub use crate::manifest::Method;

/// A request to a provider, ready to be sent as it is. `Debug` shows no key and no observable.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// https, the manifest's host, port 443.
    pub url: url::Url,
    /// Lower-case names; may hold the key.
    pub headers: Vec<(String, String)>,
    /// The body; empty for GET.
    pub body: Vec<u8>,
}

impl Request {
    /// What follows the host, as it stands in the request line.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str().unwrap_or_default())
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A provider's answer, complete and unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not come in time.
    #[error("timed out")]
    Timeout,
    /// The host's name has no address.
    #[error("the name does not resolve")]
    Dns,
    /// No TLS: the handshake failed, or the certificate is not the host's.
    #[error("no TLS: {0}")]
    Tls(String),
    /// No connection, or one that broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The egress guard refused to connect.
    #[error("refused: {0}")]
    Refused(String),
    /// The answer is larger than we read.
    #[error("answer is too large")]
    TooLarge,
}

impl CallError {
    /// The word in an outcome: `timeout`, `dns`, `tls`, `unreachable`, `refused`, `too_large`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Tls(_) => "tls",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
        }
    }
}
