//! Virtual environments from pinned requirement files, brought up to date whenever a file changes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use playbook::canonical::sha256_hex;

use crate::{process, project::Project, term};

/// Of the emulator, the AWS command line, and once `check` has run its tools.
const SHARED: &str = ".venv";
/// Of the fault injector, which wants other versions of what the AWS command line brings.
const FAULTS: &str = ".venv-faults";

/// A virtual environment of the project.
#[derive(Clone, Debug)]
pub struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// What the emulator and the deployment need.
    pub fn local(project: &Project) -> Result<Self> {
        Self::ready(project, SHARED, "infra/local/requirements.txt")
    }

    /// What `check` needs on top.
    pub fn check(project: &Project) -> Result<Self> {
        Self::local(project)?;
        Self::ready(project, SHARED, "infra/local/requirements-check.txt")
    }

    /// What the test of the TAXII feed needs on top: a server of TAXII 2.1.
    pub fn medallion(project: &Project) -> Result<Self> {
        Self::ready(project, SHARED, "infra/local/requirements-medallion.txt")
    }

    /// What the test of the STIX export needs on top: OASIS's validator of STIX 2.1.
    pub fn stix_validator(project: &Project) -> Result<Self> {
        Self::ready(project, SHARED, "infra/local/requirements-stix.txt")
    }

    /// The fault injector, in an environment of its own.
    pub fn faults(project: &Project) -> Result<Self> {
        Self::ready(project, FAULTS, "infra/local/requirements-faults.txt")?;
        Self::ready(project, FAULTS, "infra/local/requirements-microburst.txt")
    }

    /// A program of the environment.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Makes the environment what the file says, if it is not yet. Safe to call from several processes.
    fn ready(project: &Project, folder: &str, requirements: &str) -> Result<Self> {
        let file = project.path(requirements);
        let digest = sha256_hex(&std::fs::read(&file).with_context(|| format!("{requirements} cannot be read"))?);
        let venv = Self { folder: project.path(folder) };
        let stamp = venv.folder.join(file.file_stem().unwrap_or_default()).with_extension("sha256");
        let holds = || std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest);
        if holds() {
            return Ok(venv);
        }
        let _lock = lock(&project.path(".local"), "venv.lock")?;
        if !holds() {
            term::progress(&format!("installing {requirements} into {folder} (once, up to a minute)"));
            venv.install(&file).with_context(|| {
                format!(
                    "{requirements} cannot be installed into {folder}: that needs Python 3.10 or newer with venv \
                     (Debian: apt-get install python3 python3-venv) and a package index that pip can reach"
                )
            })?;
            std::fs::write(&stamp, &digest)?;
        }
        Ok(venv)
    }

    fn install(&self, requirements: &Path) -> Result<()> {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        // Also repairs one that was left half made.
        if process::output(Command::new(self.program("python")).args(["-m", "pip", "--version"])).is_err() {
            process::output(Command::new(python).args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        }
        process::output(
            Command::new(self.program("python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(requirements),
        )?;
        Ok(())
    }
}

/// Waits until no other process of ours is in the same place; the lock ends with the file.
pub fn lock(folder: &Path, name: &str) -> Result<File> {
    std::fs::create_dir_all(folder)?;
    let file = File::create(folder.join(name))?;
    if file.lock().is_err() {
        bail!("{} cannot be locked", folder.join(name).display());
    }
    Ok(file)
}
