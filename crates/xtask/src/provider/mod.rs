//! `cargo xtask provider`: a new provider, its cases, and a try at the real one.

mod skeleton;
mod try_it;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use playbook::{
    Timestamp,
    contract::{self, Case},
    grades::Grades,
    manifest::{Manifest, ProviderKind},
};
use serde_json::json;

use crate::{project::Project, term};

pub use try_it::{Key, try_it};

/// When the cases are read: ages in them are counted from here.
const NOW: &str = "2026-11-24T06:00:00Z";

/// Writes a manifest that is off, and cases that hold for it, to be filled in.
pub fn new(project: &Project, id: &str, kind: ProviderKind) -> Result<()> {
    let manifest = file(project, id)?;
    let folder = cases_folder(project, id);
    for there in [&manifest, &folder] {
        if there.exists() {
            bail!("{} is there already", project.name_of(there));
        }
    }
    std::fs::write(&manifest, skeleton::manifest(id, kind))
        .with_context(|| format!("{} cannot be written", project.name_of(&manifest)))?;
    std::fs::create_dir_all(&folder)?;
    for (name, text) in skeleton::cases(id, kind) {
        std::fs::write(folder.join(name).with_extension("yaml"), text)?;
    }
    term::message(&format!(
        "{} and its cases in {} are written; it is off.\n\
         Next: fill them in (docs/PROVIDERS.md), cargo xtask provider check {id}, and with a key:\n  \
         cargo xtask provider try {id} 192.0.2.7 --key -",
        project.name_of(&manifest),
        project.name_of(&folder)
    ));
    Ok(())
}

/// Reads the manifest and runs its cases; false when one says something else.
pub fn check(project: &Project, id: &str, json: bool) -> Result<bool> {
    let manifest = load(project, id)?;
    let grades = grades(project)?;
    let now = Timestamp::parse(NOW)?;
    let mut told = vec![];
    let mut cases = vec![];
    for path in files(&cases_folder(project, id)) {
        let name = project.name_of(&path);
        let case = Case::parse(&std::fs::read_to_string(&path)?, &name)?;
        let differences = case.differences(&manifest, &grades, now);
        told.push((name, case.expect.outcome.as_str(), differences));
        cases.push(case);
    }
    let mut missing: Vec<String> = contract::unshown(&manifest, &cases)
        .iter()
        .map(|kind| format!("no case shows the request for {kind}"))
        .collect();
    if cases.is_empty() {
        missing.push(format!("it has no cases in {}", project.name_of(&cases_folder(project, id))));
    }
    let is_opining = manifest.opines && manifest.types.iter().any(|kind| grades.of(&manifest, *kind).is_none());
    if is_opining {
        missing.push(format!("playbook/grades.yaml says nothing of {id}: how far is it trusted?"));
    }
    let is_good = missing.is_empty() && told.iter().all(|(_, _, differences)| differences.is_empty());
    if json {
        let cases = told.iter().map(
            |(case, outcome, differences)| json!({ "case": case, "outcome": outcome, "differences": differences }),
        );
        let document = json!({ "provider": id, "in_order": is_good, "off": manifest.off_reason(), "missing": missing,
            "cases": cases.collect::<Vec<_>>() });
        term::line(&serde_json::to_string_pretty(&document)?);
        return Ok(is_good);
    }
    for (case, outcome, differences) in &told {
        let state = if differences.is_empty() { "as it says" } else { "differs" };
        term::line(&format!("{state:<10}  {outcome:<12}  {case}"));
        for difference in differences {
            term::line(&format!("            {difference}"));
        }
    }
    for missing in &missing {
        term::line(&format!("missing     {missing}"));
    }
    let off = manifest.off_reason().map_or_else(|| "it is on".to_owned(), |reason| format!("it is off: {reason}"));
    term::line(&format!("\n{} cases of {}; {off}", told.len(), manifest.name));
    Ok(is_good)
}

/// The manifest of this id; a wrong one is told with file and line.
fn load(project: &Project, id: &str) -> Result<Manifest> {
    let path = file(project, id)?;
    if !path.is_file() {
        bail!("there is no {}: cargo xtask provider new {id} makes it", project.name_of(&path));
    }
    let yaml = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", project.name_of(&path)))?;
    Ok(Manifest::parse(&yaml, &project.name_of(&path))?)
}

fn grades(project: &Project) -> Result<Grades> {
    let path = project.path("playbook/grades.yaml");
    let yaml = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", project.name_of(&path)))?;
    Ok(playbook::authored::read(&yaml, &project.name_of(&path))?)
}

fn file(project: &Project, id: &str) -> Result<PathBuf> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=40).contains(&id.len()) || !id.bytes().all(is_plain) || id.starts_with('-') {
        bail!("{id:?} cannot be a provider's id: lower-case letters, digits and hyphens, at most 40");
    }
    Ok(project.path("playbook/providers").join(format!("{id}.yaml")))
}

fn cases_folder(project: &Project, id: &str) -> PathBuf {
    project.path("tests/fixtures/providers").join(id)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[cfg(test)]
mod tests;
