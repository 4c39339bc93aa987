//! `cargo xtask diagram`: the state machine as a Mermaid flowchart, and the copy of it in the README.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::{project::Project, term};

const BEGIN: &str = "<!-- diagram: written by cargo xtask diagram --write -->";
const END: &str = "<!-- /diagram -->";
/// Where every Catch of a failing state leads; drawn once instead of from everywhere.
const FAILURE: &str = "MarkFailed";

/// Prints the diagram, or writes it into the README.
pub fn run(project: &Project, write: bool) -> Result<()> {
    let diagram = mermaid(&machine(project)?)?;
    if !write {
        term::line(diagram.trim_end());
        return Ok(());
    }
    let path = project.path("README.md");
    let readme = std::fs::read_to_string(&path).context("README.md cannot be read")?;
    std::fs::write(&path, replaced(&readme, &diagram)?)?;
    term::message("README.md shows the state machine as it is");
    Ok(())
}

/// Whether the README shows the state machine as it is.
pub fn is_current(project: &Project) -> Result<bool> {
    let readme = std::fs::read_to_string(project.path("README.md")).context("README.md cannot be read")?;
    Ok(replaced(&readme, &mermaid(&machine(project)?)?)? == readme)
}

/// The definition of the state machine.
pub fn machine(project: &Project) -> Result<Value> {
    let path = "statemachine/playbook.asl.json";
    let text = std::fs::read(project.path(path)).with_context(|| format!("{path} cannot be read"))?;
    serde_json::from_slice(&text).with_context(|| format!("{path} is not JSON"))
}

fn replaced(readme: &str, diagram: &str) -> Result<String> {
    let Some((before, rest)) = readme.split_once(BEGIN) else {
        bail!("README.md has no place for the diagram: put the lines {BEGIN} and {END} where it belongs");
    };
    let Some((_, after)) = rest.split_once(END) else { bail!("README.md: {END} is missing") };
    Ok(format!("{before}{BEGIN}\n```mermaid\n{}\n```\n{END}{after}", diagram.trim_end()))
}

/// The flowchart of a definition.
pub fn mermaid(machine: &Value) -> Result<String> {
    let mut chart = String::from("flowchart TD\n");
    let start = machine["StartAt"].as_str().context("the state machine has no StartAt")?;
    let states = machine["States"].as_object().context("the state machine has no States")?;
    writeln!(chart, "  start([start]) --> {start}")?;
    draw(&mut chart, states, "  ")?;
    if states.contains_key(FAILURE) {
        writeln!(chart, "  fault([any fault]) -.-> {FAILURE}")?;
    }
    Ok(chart)
}

fn draw(chart: &mut String, states: &Map<String, Value>, indent: &str) -> Result<()> {
    for (name, state) in states {
        if let Some(inner) = state.pointer("/ItemProcessor/States").and_then(Value::as_object) {
            writeln!(chart, "{indent}subgraph {name}[\"{name}: for each\"]")?;
            draw(chart, inner, &format!("{indent}  "))?;
            writeln!(chart, "{indent}end")?;
        } else {
            writeln!(chart, "{indent}{}", shape(name, state))?;
        }
    }
    for (name, state) in states {
        let mut drawn = BTreeSet::new();
        for (to, label) in edges(state) {
            if drawn.insert((to.clone(), label.clone())) {
                let label = if label.is_empty() { String::new() } else { format!("|\"{label}\"|") };
                writeln!(chart, "{indent}{name} -->{label} {to}")?;
            }
        }
        for to in caught(state).filter(|to| to != FAILURE && name != FAILURE) {
            if drawn.insert((to.clone(), "caught".to_owned())) && !drawn.contains(&(to.clone(), String::new())) {
                writeln!(chart, "{indent}{name} -.-> {to}")?;
            }
        }
        if state["End"] == Value::Bool(true) && !indent.is_empty() && indent.len() == 2 {
            writeln!(chart, "{indent}{name} --> done([end])")?;
        }
    }
    Ok(())
}

fn shape(name: &str, state: &Value) -> String {
    match state["Type"].as_str().unwrap_or_default() {
        "Choice" => format!("{name}{{{name}}}"),
        "Fail" | "Succeed" => format!("{name}([{name}])"),
        _ if state["Resource"].as_str().is_some_and(|resource| resource.ends_with(".waitForTaskToken")) => {
            format!("{name}[/{name}/]")
        }
        _ => format!("{name}[{name}]"),
    }
}

/// Where a state leads to, and why.
fn edges(state: &Value) -> Vec<(String, String)> {
    let mut edges = vec![];
    for choice in state["Choices"].as_array().into_iter().flatten() {
        if let Some(to) = choice["Next"].as_str() {
            edges.push((to.to_owned(), label(choice)));
        }
    }
    if let Some(to) = state["Default"].as_str().filter(|to| *to != FAILURE) {
        edges.push((to.to_owned(), "otherwise".to_owned()));
    }
    if let Some(to) = state["Next"].as_str() {
        edges.push((to.to_owned(), String::new()));
    }
    edges
}

/// The word that a condition compares with; its comment where there is none, or more to it.
fn label(choice: &Value) -> String {
    let condition = choice["Condition"].as_str().unwrap_or_default();
    let word = condition.split('\'').nth(1).filter(|_| !condition.contains(" and ")).map(str::to_owned);
    let comment =
        || choice["Comment"].as_str().unwrap_or_default().split(['.', ':']).next().unwrap_or_default().to_lowercase();
    word.unwrap_or_else(comment).replace('"', "'")
}

fn caught(state: &Value) -> impl Iterator<Item = String> {
    let catchers = state["Catch"].as_array().cloned().unwrap_or_default();
    catchers.into_iter().filter_map(|catcher| Some(catcher["Next"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn choices_are_labelled_with_the_word_they_compare_with() {
        let machine = json!({"StartAt": "Look", "States": {
            "Look": {"Type": "Choice", "Default": "End", "Choices": [
                {"Condition": "{% $route = 'review' %}", "Next": "Ask"},
                {"Condition": "{% $n > 0 %}", "Comment": "Some are left.", "Next": "Look"},
            ]},
            "Ask": {"Type": "Task", "Resource": "x.waitForTaskToken", "Next": "End", "Catch": [{"Next": "MarkFailed"}]},
            "End": {"Type": "Succeed"},
        }});
        let chart = mermaid(&machine).unwrap();
        for line in [
            "start([start]) --> Look",
            "Look -->|\"review\"| Ask",
            "Look -->|\"some are left\"| Look",
            "Look -->|\"otherwise\"| End",
            "Ask[/Ask/]",
            "Ask --> End",
        ] {
            assert!(chart.contains(line), "{line}\n{chart}");
        }
        assert!(!chart.contains("Ask -.-> MarkFailed"), "{chart}");
    }

    #[test]
    fn the_readme_keeps_what_is_around_the_diagram() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replaced(&readme, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\n```mermaid\nnew\n```\n{END}\nb\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert!(replaced("nothing", "new").is_err());
    }
}
