//! `cargo xtask check`: the one gate. Every check is a line; a tool that is missing is a line too, with the reason.

mod dependencies;
mod sources;
mod tools;
mod walk;

use std::time::Instant;

pub use tools::node_modules;

use anstyle::AnsiColor;
use anyhow::Result;
use serde::Serialize;

use crate::{config, diagram, project::Project, term};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// In order.
    Passed,
    /// Something was found: what, a line each.
    Found {
        /// What.
        findings: Vec<String>,
    },
    /// Not checked.
    Skipped {
        /// Why not.
        reason: String,
    },
}

impl Outcome {
    /// Passed when nothing was found.
    #[must_use]
    pub fn of(findings: Vec<String>) -> Self {
        if findings.is_empty() { Self::Passed } else { Self::Found { findings } }
    }

    /// The complaint of a program that failed.
    #[must_use]
    pub fn of_run<T>(run: Result<T>) -> Self {
        match run {
            Ok(_) => Self::Passed,
            Err(error) => Self::Found { findings: format!("{error:#}").lines().map(str::to_owned).collect() },
        }
    }

    /// Not checked, and why.
    #[must_use]
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped { reason: reason.into() }
    }
}

/// One check with its end.
#[derive(Debug, Serialize)]
struct Checked {
    name: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
    seconds: f64,
}

/// A check by its name.
type Check = (&'static str, fn(&Project) -> Outcome);

/// From cheap to dear.
const CHECKS: &[Check] = &[
    ("sources", sources::check),
    ("configuration", configuration),
    ("dependencies", dependencies::check),
    ("advisories", tools::advisories),
    ("format", tools::format),
    ("template", tools::template),
    ("state machine: asl-validator", tools::asl_validator),
    ("state machine: statelint", tools::statelint),
    ("diagram", current_diagram),
    ("verdicts", verdicts),
    ("spelling", tools::spelling),
    ("lints", tools::lints),
    ("docs", tools::docs),
];

/// Runs every check; false when something was found.
pub fn run(project: &Project, json: bool) -> Result<bool> {
    let walked = walk::walk(project)?;
    if !json {
        term::line(&term::table(&walked.table()));
        term::line("");
    }
    let mut checked = vec![Checked { name: "walk", outcome: Outcome::of(walked.gaps.clone()), seconds: 0.0 }];
    if !json {
        show(&checked[0]);
    }
    for (name, check) in CHECKS {
        term::progress(&format!("checking {name}"));
        let begun = Instant::now();
        let outcome = check(project);
        let one = Checked { name, outcome, seconds: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0 };
        if !json {
            show(&one);
        }
        checked.push(one);
    }
    let passed = !checked.iter().any(|one| matches!(one.outcome, Outcome::Found { .. }));
    if json {
        let told = serde_json::json!({ "passed": passed, "checks": checked, "walk": walked.rows });
        term::line(&serde_json::to_string_pretty(&told)?);
    } else {
        let count = |wanted: fn(&Outcome) -> bool| checked.iter().filter(|one| wanted(&one.outcome)).count();
        term::line(&format!(
            "\n{} in order, {} with findings, {} skipped",
            count(|o| matches!(o, Outcome::Passed)),
            count(|o| matches!(o, Outcome::Found { .. })),
            count(|o| matches!(o, Outcome::Skipped { .. })),
        ));
    }
    Ok(passed)
}

fn show(one: &Checked) {
    let line = |word: &str, colour, rest: String| {
        term::line(&format!("{}  {}{}", term::coloured(&format!("{word:8}"), colour), one.name, term::dim(&rest)));
    };
    match &one.outcome {
        Outcome::Passed => line("in order", AnsiColor::Green, format!("  {:.1} s", one.seconds)),
        Outcome::Skipped { reason } => line("skipped", AnsiColor::Yellow, format!("  {reason}")),
        Outcome::Found { findings } => {
            line("found", AnsiColor::Red, format!("  {:.1} s", one.seconds));
            for finding in findings {
                term::line(&format!("    {finding}"));
            }
        }
    }
}

fn configuration(project: &Project) -> Outcome {
    match config::load(project, None) {
        Ok(bundle) => {
            let doors = bundle.policy.open_doors();
            Outcome::of(
                doors
                    .iter()
                    .map(|door| format!("playbook/policy.yaml opens {door}: that is for the demo's policy only"))
                    .collect(),
            )
        }
        Err(complaints) => Outcome::of(complaints.0.iter().map(ToString::to_string).collect()),
    }
}

fn verdicts(project: &Project) -> Outcome {
    crate::verdicts::faults(project).map_or_else(|error| Outcome::of(vec![format!("{error:#}")]), Outcome::of)
}

fn current_diagram(project: &Project) -> Outcome {
    match diagram::is_current(project) {
        Ok(true) => Outcome::Passed,
        Ok(false) => {
            Outcome::of(vec!["README.md shows an older state machine: run cargo xtask diagram --write".to_owned()])
        }
        Err(error) => Outcome::of(vec![format!("{error:#}")]),
    }
}
