//! `cargo xtask playbook`: a playbook of one's own, and the editor's changes to it brought back.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    definition::{self, canonical::canonical, names::Names, rules},
    project::Project,
    publish, template, term,
};

/// Where an edited definition comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file: the definition, or what `aws stepfunctions describe-state-machine` says.
    File(PathBuf),
    /// The machine of this stack.
    Stack(String),
}

/// Makes a copy of the playbook under a name of its own, and has the template deploy it.
pub fn copy(project: &Project, word: &str) -> Result<()> {
    if !is_word(word) {
        bail!("{word:?} cannot be a playbook's name: small letters, digits and single hyphens, at most 30 in all");
    }
    let (from, to) = (project.path("statemachine/playbook.asl.json"), file(project, word));
    if to.exists() {
        bail!("{} is there already", project.name_of(&to));
    }
    let changed = template::with_machine(&template::text(project)?, word)?;
    std::fs::copy(&from, &to).with_context(|| format!("{} cannot be written", to.display()))?;
    std::fs::write(project.path(template::FILE), changed)?;
    term::message(&format!(
        "{} is a copy of the playbook, and {} deploys it as <stack>-{word}.\n\
         Next: edit it, cargo xtask check, and say in playbook/policy.yaml which incidents take it, such as:\n",
        project.name_of(&to),
        template::FILE
    ));
    term::line(&format!("route:\n  - {{ kind: alert, severity_from: high, machine: {word} }}"));
    Ok(())
}

/// Brings an edited definition back into its file, in the canonical form. What the checks would refuse is refused here.
pub fn pull(project: &Project, word: &str, source: &Source) -> Result<()> {
    let text = template::text(project)?;
    let parsed = template::parse(&text)?;
    let to = file(project, word);
    if !to.is_file() {
        bail!("there is no {}: cargo xtask playbook copy {word} makes it", project.name_of(&to));
    }
    let (said, names) = match source {
        Source::File(path) => (definition::read(path)?, Names::of_ids(ids(&parsed))),
        Source::Stack(stack) => describe(project, stack, word, ids(&parsed))?,
    };
    let written = pulled(said, &names, &parsed, word)?;
    let before = std::fs::read_to_string(&to)?;
    if before == written {
        term::message(&format!("{} is as it was", project.name_of(&to)));
        return Ok(());
    }
    std::fs::write(&to, &written)?;
    term::message(&format!("{} has changed: look at it with git diff, then cargo xtask check", project.name_of(&to)));
    Ok(())
}

/// An edited definition as its file must hold it; everything that is wrong with it is the error.
pub fn pulled(mut said: Value, names: &Names, template: &Value, word: &str) -> Result<String> {
    if let Some(inside) = said["definition"].as_str() {
        said = serde_json::from_str(inside).context("the definition inside is not JSON")?;
    }
    if !said["States"].is_object() {
        bail!("this is no definition of a state machine: it has no States");
    }
    names.restore(&mut said);
    let findings = known(template, word).findings(&said);
    if !findings.is_empty() {
        bail!("it cannot be taken over as it is:\n  {}", findings.join("\n  "));
    }
    Ok(canonical(&said))
}

/// What the definition of this word may name.
#[must_use]
pub fn known(template: &Value, word: &str) -> rules::Known {
    let machine = template::machines(template).into_iter().find(|machine| machine.word == word);
    rules::Known {
        functions: template::functions(template),
        substitutions: machine.map(|machine| machine.substitutions),
    }
}

/// The resources that a definition may name: whatever is filled into some machine, and every function.
fn ids(template: &Value) -> BTreeSet<String> {
    let mut ids = template::functions(template);
    ids.extend(template::machines(template).into_iter().flat_map(|machine| machine.substitutions));
    ids
}

/// The definition as it stands in a stack, and how the stack's resources are called.
fn describe(project: &Project, stack: &str, word: &str, ids: BTreeSet<String>) -> Result<(Value, Names)> {
    let ask = |words: &[&str]| publish::ask(project, words).map_err(|why| anyhow::anyhow!("{why}"));
    let resources = ask(&["cloudformation", "list-stack-resources", "--stack-name", stack]).with_context(|| {
        format!("the stack {stack} cannot be read: are you signed in (aws sts get-caller-identity)?")
    })?;
    let ending = format!(":stateMachine:{stack}-{word}");
    let listed = resources["StackResourceSummaries"].as_array().into_iter().flatten();
    let arn = listed.filter_map(|r| r["PhysicalResourceId"].as_str()).find(|name| name.ends_with(&ending));
    let arn = arn.with_context(|| format!("the stack {stack} has no machine {stack}-{word}: deploy it first"))?;
    let said = ask(&["stepfunctions", "describe-state-machine", "--state-machine-arn", arn])
        .with_context(|| format!("the machine {stack}-{word} cannot be read"))?;
    Ok((said, Names::of_ids(ids).with_resources(&resources)))
}

fn file(project: &Project, word: &str) -> PathBuf {
    project.path("statemachine").join(Path::new(word).file_name().unwrap_or_default()).with_extension("asl.json")
}

fn is_word(word: &str) -> bool {
    let parts = word
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    parts && word.len() <= 30 && word.starts_with(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests;
