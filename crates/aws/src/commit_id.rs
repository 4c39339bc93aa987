//! The id that tells our own write from another's.
//!
//! The client repeats a write whose answer got lost; the repeated condition then fails on our own item. An id that only
//! this call knows, kept in the item, tells that from a lost race.

use data_encoding::HEXLOWER;
use playbook::{Fault, ports::Entropy as _};

use crate::OsEntropy;

/// The attribute that holds it; readers never see it.
pub const NAME: &str = "commit_id";

/// A new one: 32 hex characters.
pub fn new() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}
