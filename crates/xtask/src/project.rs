//! Where the project lies.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The project's root folder.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Finds the project: the one that cargo runs us for, else the first folder from here upwards that is one.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = std::env::current_dir()?;
        let starts = manifest.iter().chain([&here]);
        for folder in starts.flat_map(|start| start.ancestors()) {
            if folder.join("statemachine/playbook.asl.json").is_file() && folder.join("infra/template.yaml").is_file() {
                return Ok(Self { root: folder.to_path_buf() });
            }
        }
        bail!("{} is not inside the project: change into its folder and run cargo xtask there", here.display())
    }

    /// The project in this folder.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The root folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder of the project.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The functions' names: the folders below `functions/`, sorted.
    pub fn functions(&self) -> Result<Vec<String>> {
        let mut names = vec![];
        for entry in std::fs::read_dir(self.path("functions"))? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A file's name as people write it: relative to the root where it lies in the project.
    #[must_use]
    pub fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
