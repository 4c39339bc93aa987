//! Writes to the targets: records, detects, enforces, tickets and tells; reads back, and undoes.

pub mod entries;
mod entry;
pub mod http;
pub mod ticket;
mod waf;
mod work;
mod world;

pub use world::{Ports, World};
