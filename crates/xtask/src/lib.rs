//! `cargo xtask`: the one command line, and the local stack that its demo and the tests share.

pub mod build;
pub mod check;
pub mod config;
pub mod definition;
pub mod demo;
pub mod diagram;
pub mod doctor;
pub mod export;
pub mod extract_command;
pub mod listing;
pub mod local;
pub mod package;
pub mod playbook_command;
pub mod process;
pub mod project;
pub mod publish;
pub mod recorded;
pub mod replay;
pub mod schema;
pub mod stand_in;
pub mod template;
pub mod term;
pub mod test;
