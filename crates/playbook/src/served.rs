//! A served list: the text that firewalls fetch, rendered from the ledger and never edited.

use ioc::ObservableType;

use crate::{Fault, Timestamp, ledger, ports::Evidence, rows::Rows};

/// The id of the target whose lists we serve ourselves.
pub const TARGET: &str = "served-list";

/// Where the list of a type lies.
#[must_use]
pub fn location(kind: ObservableType) -> String {
    format!("lists/{kind}.txt")
}

/// Renders the list of a type from the ledger's active rows and stores it, unless it is stored like that already.
///
/// The stored version is read before the rows and replaced only if it is still the same, so that of two writers the
/// one with the older rows renders again.
pub async fn render(
    rows: &impl Rows,
    evidence: &impl Evidence,
    kind: ObservableType,
    now: Timestamp,
) -> Result<usize, Fault> {
    let location = location(kind);
    for _ in 0..5 {
        let stored = evidence.find(&location).await?;
        let entries = ledger::active(rows, TARGET, kind, now).await?;
        let mut lines: Vec<&str> = entries.iter().map(|entry| entry.observable.value()).collect();
        lines.sort_unstable();
        lines.dedup();
        let mut text = lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        if stored.as_ref().is_some_and(|stored| stored.bytes == text.as_bytes()) {
            return Ok(lines.len());
        }
        let etag = stored.as_ref().map(|stored| stored.etag.as_str());
        if evidence.replace(&location, "text/plain; charset=utf-8", text.as_bytes(), etag).await? {
            return Ok(lines.len());
        }
    }
    Err(Fault::Throttled(format!("the list {location} keeps changing")))
}
