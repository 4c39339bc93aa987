//! `cargo xtask`: the one command line, and the local stack that its demo and the tests share.

pub mod build;
pub mod config;
pub mod local;
pub mod process;
pub mod project;
pub mod stand_in;
pub mod term;
