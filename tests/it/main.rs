//! One binary for every test that crosses crates. Read `walkthrough` first: it is the way of one incident.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a wrong assumption ends the test")]

mod browser;
mod costs;
mod dns;
mod emulator;
mod faults;
mod hostile;
mod oidc;
mod outage;
mod page;
mod releases;
mod scanner;
mod state_machine;
mod stix;
mod taxii;
mod walkthrough;
mod what_if;
mod world;
