//! `cargo xtask`: the one command line, and the local stack that its demo and the tests share.

pub mod build;
pub mod check;
pub mod config;
pub mod demo;
pub mod diagram;
pub mod extract_command;
pub mod local;
pub mod package;
pub mod process;
pub mod project;
pub mod publish;
pub mod replay;
pub mod stand_in;
pub mod term;
pub mod test;
