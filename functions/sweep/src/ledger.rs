//! The ledger's entries that are due: expired ones leave their targets, half-written and half-gone ones are finished.

use std::collections::BTreeSet;

use playbook::{
    Fault,
    ledger::{DUE_EXPIRY, LedgerEntry},
    ports::Clock,
    rows::{Row, Rows},
};
use targets::{
    Ports,
    entries::{self, Settled},
};
use tracing::error;

/// Who holds the rows while `sweep` is at them.
const HOLDER: &str = "sweep";

/// What became of the entries that were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries that left a target.
    pub expired: usize,
    /// Entries that somebody had begun to write.
    pub finished: usize,
    /// Entries that could not be handled: they are due again after a while.
    pub failed: usize,
}

/// Handles at most `limit` entries that are due, oldest first. One that fails does not hold up the others. Safe to run at
/// the same time twice.
pub async fn sweep(ports: &impl Ports, limit: usize) -> Result<Swept, Fault> {
    let rows = ports.rows().due(DUE_EXPIRY, ports.clock().now(), limit).await?;
    let mut swept = Swept::default();
    let mut due = vec![];
    // Version 0.1 made the row by which a list finds its entry due as well: such an entry comes twice.
    let mut seen = BTreeSet::new();
    for row in &rows {
        match row.read::<LedgerEntry>() {
            Ok(entry) if !seen.insert(LedgerEntry::key(&entry.target, &entry.observable)) => {}
            Ok(entry) => due.push(entry),
            Err(fault) => swept.fail(row, &fault),
        }
    }
    let results = entries::settle(ports, &due, HOLDER).await;
    for (entry, result) in due.iter().zip(results) {
        match result {
            Ok(Settled::Written) => swept.finished += 1,
            Ok(Settled::Left) => swept.expired += 1,
            Ok(Settled::Stays) => {}
            Err(fault) => {
                let (target, observable) = (&entry.target, &entry.observable);
                error!(target.id = %target, fault = fault.name(), "the entry {observable} stays due: {fault}");
                swept.failed += 1;
            }
        }
    }
    Ok(swept)
}

impl Swept {
    fn fail(&mut self, row: &Row, fault: &Fault) {
        error!(fault = fault.name(), "a row of the ledger stays due: {} / {}: {fault}", row.key.pk, row.key.sk);
        self.failed += 1;
    }
}
