//! `cargo xtask bench`: what the pure core, enriching and a cold start cost, as counts, and as ratios of one run. Times are never
//! part of a test: machines are noisy.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail};

use crate::{package, process, project::Project, term};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Verdicts, receipts and plan of 125 to 2,000 observables with 20 opinions each: processor time, allocations, growth
    Assess,
    /// One incident of 25 observables at 12 providers: time over the slowest answer, calls, capacity units, dollars, beside other designs
    Enrich,
    /// From exec to the first question for work: processor time, beside the smallest Lambdas in Rust and Python
    ColdStart,
}

/// Builds and runs a benchmark; its table goes to standard output. False when it failed.
pub fn run(project: &Project, what: What, writes: bool) -> Result<bool> {
    if writes && what != What::Enrich {
        bail!("--write is for `bench enrich`");
    }
    let (package, bench, arguments): (_, _, Vec<OsString>) = match what {
        What::Assess => ("playbook", "assess", vec![]),
        What::Enrich => {
            let mut arguments = vec!["--bootstraps".into(), bootstraps(project)?.into()];
            arguments.extend(writes.then(|| "--write".into()));
            ("measure", "enrich", arguments)
        }
        What::ColdStart => {
            let mut hello = process::cargo(project.root());
            hello.args(["build", "--quiet", "--release", "--locked", "--package", "measure", "--example", "hello"]);
            process::run(&mut hello)?;
            let folder = bootstraps(project)?;
            let (bootstrap, hello) = (folder.join("enrich"), folder.join("examples/hello"));
            ("measure", "cold_start", vec!["--bootstrap".into(), bootstrap.into(), "--hello".into(), hello.into()])
        }
    };
    let mut cargo = process::cargo(project.root());
    cargo.args(["bench", "--quiet", "--package", package, "--bench", bench, "--"]).args(arguments);
    Ok(cargo.status()?.success())
}

/// The folder with what `package` builds for this processor.
fn bootstraps(project: &Project) -> Result<PathBuf> {
    term::progress("building the functions with the release profile (the first time takes minutes)");
    package::native(project)
}
