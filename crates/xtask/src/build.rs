//! Building the functions: `<folder>/<function>/bootstrap`, stripped, as Lambda wants them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail};

use crate::{local::lock, process, project::Project, term};

/// Builds every function with the profile that the tests use, and puts it where the local stack deploys it from.
///
/// `dist/` is left alone: what lies there was built for AWS.
pub fn for_local(project: &Project) -> Result<()> {
    use std::io::IsTerminal;

    let _lock = lock(&project.path(".local"), "build.lock")?;
    let mut build = process::cargo(project.root());
    // The whole workspace and not only the functions: the same features, hence the same files, as for the tests.
    build.args(["build", "--workspace", "--bins"]);
    if !std::io::stderr().is_terminal() {
        build.arg("--quiet");
    }
    term::progress("building the functions");
    process::run(&mut build).context("the functions do not build: the compiler's messages are above")?;
    install(project, &target_folder(project)?.join("debug"), &project.path(STAGE).join("dist"))
}

/// The mirror of the project's layout from which the local stack is deployed: `infra/`, `statemachine/`, `dist/`.
pub const STAGE: &str = ".local/stage";

/// Copies every function from cargo's output to `<to>/<function>/bootstrap`, where it has changed.
pub fn install(project: &Project, from: &Path, to: &Path) -> Result<()> {
    for function in project.functions()? {
        let built = from.join(&function);
        let stamp = stamp(&built).with_context(|| format!("{} was not built", built.display()))?;
        let noted = to.join(format!(".{function}"));
        let bootstrap = to.join(&function).join("bootstrap");
        if bootstrap.is_file() && std::fs::read_to_string(&noted).is_ok_and(|found| found == stamp) {
            continue;
        }
        std::fs::create_dir_all(to.join(&function))?;
        let fresh = to.join(format!(".{function}.new"));
        std::fs::copy(&built, &fresh)?;
        strip(&fresh);
        std::fs::rename(&fresh, &bootstrap)?;
        std::fs::write(&noted, &stamp)?;
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub fn target_folder(project: &Project) -> Result<PathBuf> {
    let asked = process::output(process::cargo(project.root()).args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&asked.stdout)?;
    match metadata.get("target_directory").and_then(|folder| folder.as_str()) {
        Some(folder) => Ok(folder.into()),
        None => bail!("cargo metadata names no target directory"),
    }
}

/// Names the state of a built file without reading it.
fn stamp(file: &Path) -> Result<String> {
    let metadata = std::fs::metadata(file)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(format!("{} {changed}", metadata.len()))
}

/// Leaves out what only a debugger reads; where there is no `strip` the file is just larger.
fn strip(file: &Path) {
    let _ = Command::new("strip").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
