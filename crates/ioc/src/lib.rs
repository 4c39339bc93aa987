//! Observables: what they are, how they are found in hostile text, how they are shown, and which of them never become indicators.
//!
//! Pure and total: no I/O, clock, environment or randomness, time linear in the input, and no input that panics.

mod defang;
mod digest;
mod encoded;
pub mod guard;
mod host;
mod judge;
mod link;
mod mail;
mod observable;
mod parse;
mod redirect;
mod refang;
mod scan;
mod spelled;
mod text;
mod wrapped;

pub use defang::{defang_text, is_hidden, visible};
pub use observable::{HashAlgorithm, Hashes, Observable, ObservableType, UnknownType};
pub use parse::ParseError;
pub use scan::{extract, inside};
