//! How much of hostile evidence is read. Whatever a limit leaves out becomes an omission (SECURITY.md, row 15).

/// Larger evidence is not fetched: SES delivers 40 MB at most, and a function has little more memory.
pub const FETCHED_BYTES: u64 = 40 * 1024 * 1024;
/// Bytes of one piece of evidence that are read.
pub const READ_BYTES: usize = 10 * 1024 * 1024;
/// How deep parts and mails may lie in each other.
pub const DEPTH: usize = 20;
/// Parts that are read, over all mails in the evidence.
pub const PARTS: usize = 1_000;
/// Bytes of one part's headers.
pub const HEADER_BYTES: usize = 64 * 1024;
/// Bytes of headers over all parts: their parser is not made for millions of tokens.
pub const ALL_HEADER_BYTES: usize = 1024 * 1024;
/// Bytes of one HTML part.
pub const HTML_BYTES: usize = 1024 * 1024;
/// Links of one HTML part.
pub const LINKS: usize = 500;
/// Observables of one incident.
pub const OBSERVABLES: usize = 500;
/// Addresses that sent or received.
pub const PARTICIPANTS: usize = 200;
/// Places noted for one observable.
pub const PLACES: usize = 8;
/// Omissions that are spelled out.
pub const OMISSIONS: usize = 100;
/// Bytes of the longest URL that is kept: longer ones are padding, and no provider takes them.
pub const URL_BYTES: usize = 8 * 1024;
/// Characters of a name or a subject.
pub const NAME_CHARS: usize = 200;
