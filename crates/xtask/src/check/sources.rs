//! Rules about files: none too long, none that knows somebody's machine.

use std::path::{Path, PathBuf};

use super::Outcome;
use crate::project::Project;

const LINES_MAX: usize = 600;

/// Folders that are made, not written.
#[rustfmt::skip]
const MADE: [&str; 9] = [
    ".git", "target", "dist", ".venv", ".venv-faults", ".local", "node_modules", "__pycache__", ".ruff_cache",
];

/// Folders of people and machines; spelled in pieces, so that this file does not find itself.
const MACHINES: [&str; 4] =
    [concat!("/", "root/"), concat!("/", "home/"), concat!("/", "Users/"), concat!("/", "work/")];

/// Every file of the project that a person wrote, sorted.
#[must_use]
pub fn files(project: &Project) -> Vec<PathBuf> {
    let mut files = vec![];
    collect(project.root(), &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !MADE.contains(&name.as_str()) => collect(&path, files),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}

/// Looks at every file.
pub fn check(project: &Project) -> Outcome {
    let mut findings = vec![];
    for path in files(project) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let name = project.name_of(&path);
        if path.extension().is_some_and(|ending| ending == "rs") && text.lines().count() > LINES_MAX {
            findings.push(format!("{name}: {} lines, at most {LINES_MAX}: split it by idea", text.lines().count()));
        }
        // Samples hold what others wrote.
        if !name.starts_with("tests/fixtures/") && !name.ends_with("Cargo.lock") && !name.ends_with("package-lock.json")
        {
            for (number, line) in (1..).zip(text.lines()) {
                if let Some(path) = machine_path(line) {
                    findings.push(format!("{name}:{number}: {path}… exists on one machine only"));
                }
            }
        }
    }
    Outcome::of(findings)
}

/// A path that begins with a machine's folder; one inside an address or a longer path is none.
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINES.into_iter().find(|folder| {
        line.match_indices(folder).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            before.is_none_or(|c| !c.is_alphanumeric() && !"._-*$}~/".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_a_machine_are_found() {
        let check = |line: &str, found: bool| assert_eq!(machine_path(line).is_some(), found, "{line}");
        check(&format!("see {}me/x", MACHINES[1]), true);
        check(&format!("\"{}x\"", MACHINES[3]), true);
        check(&format!("https://example.test{}x", MACHINES[3]), false);
        check("docs/work/x", false);
    }
}
