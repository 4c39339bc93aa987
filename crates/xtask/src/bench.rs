//! `cargo xtask bench`: what the pure core costs, as ratios of one run. Never part of a test: machines are noisy.

use anyhow::Result;

use crate::{process, project::Project};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Verdicts, receipts and plan of 125 to 2,000 observables with 20 opinions each: processor time, allocations, growth
    Assess,
}

impl What {
    const fn package(self) -> (&'static str, &'static str) {
        match self {
            Self::Assess => ("playbook", "assess"),
        }
    }
}

/// Builds and runs a benchmark; its table goes to standard output. False when it failed.
pub fn run(project: &Project, what: What) -> Result<bool> {
    let (package, bench) = what.package();
    let ran =
        process::cargo(project.root()).args(["bench", "--quiet", "--package", package, "--bench", bench]).status()?;
    Ok(ran.success())
}
