//! One request to a feed, and what its answer means before anybody reads it.

use std::time::Duration;

use playbook::{
    lookup::{Answer, retry_after_seconds},
    ports::{Destination, Egress, Secret},
};
use tokio::time::Instant;

use crate::Source;

/// The largest document of a feed, decoded. A larger one is a failure, never half a list.
pub const BODY_MAX_BYTES: usize = 16 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(45);
/// The longest wait that a feed may ask for.
const RETRY_AFTER_MAX_SECONDS: u64 = 86_400;

/// Names and values.
pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Why a feed was not read this time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In our own words: nothing of the feed's text and nothing of its address.
    pub reason: String,
    /// How long the feed wants to be left alone.
    pub retry_after_seconds: Option<u64>,
}

impl Failure {
    /// A failure that is tried again when its time comes.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after_seconds: None }
    }
}

/// Fetches a page: status 200, or 304 where the headers are conditional.
pub(crate) async fn fetch(
    egress: &impl Egress,
    source: Source<'_>,
    secret: Option<&Secret>,
    (query, headers): (Pairs<'_>, Pairs<'_>),
    until: Instant,
) -> Result<Answer, Failure> {
    let request = source.feed.request(secret, query, headers).map_err(|error| Failure::new(error.to_string()))?;
    let to = Destination::of(&source.feed.host, source.reach);
    let left = until.saturating_duration_since(Instant::now()).min(TIMEOUT);
    let answer =
        egress.download(&to, &request, left, BODY_MAX_BYTES).await.map_err(|error| Failure::new(error.to_string()))?;
    let is_conditional = headers.iter().any(|(name, _)| matches!(*name, "if-none-match" | "if-modified-since"));
    match answer.status {
        200 if is_page(&answer) => Err(Failure::new("the answer is a web page, not the feed")),
        200 => Ok(answer),
        304 if is_conditional => Ok(answer),
        401 | 403 => Err(Failure::new(format!("the feed refuses our secret (http {})", answer.status))),
        status => Err(Failure {
            reason: format!("the feed answered http {status}"),
            retry_after_seconds: retry_after_seconds(&answer).map(|seconds| seconds.min(RETRY_AFTER_MAX_SECONDS)),
        }),
    }
}

/// A login page, a block page or an error page that says 200. No format of ours begins with `<`.
fn is_page(answer: &Answer) -> bool {
    let is_html = answer.header("content-type").is_some_and(|text| text.to_ascii_lowercase().contains("html"));
    let body = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&answer.body);
    is_html || body.trim_ascii_start().first() == Some(&b'<')
}
