//! The page from outside: what people, scanners and attackers can and cannot do with it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod attack;
mod hostile;
mod oidc;
mod person;
mod race;
mod races;
mod scanner;
mod votes;
mod world;
