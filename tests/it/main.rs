//! One binary for every test that crosses crates. Read `walkthrough` first: it is the way of one incident.

mod state_machine;
mod walkthrough;
mod world;
