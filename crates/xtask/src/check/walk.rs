//! The walk: function → folder → SAM id → state or trigger → test, without a gap.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::sources;
use crate::{definition, local::logical_id, playbook_command, project::Project, template};

/// One function in all its places.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The verb.
    pub function: String,
    /// Its folder, which is also its crate.
    pub folder: String,
    /// Its id in the template.
    pub sam_id: String,
    /// The states that call it.
    pub states: Vec<String>,
    /// What starts it otherwise.
    pub triggers: Vec<String>,
    /// Tests in its folder.
    pub own_tests: usize,
    /// Files of `tests/it` that use it.
    pub used_by: Vec<String>,
}

/// Every function, and everything that does not fit.
#[derive(Debug)]
pub struct Walk {
    /// One row a function, in the order of folders.
    pub rows: Vec<Row>,
    /// Every gap, in words.
    pub gaps: Vec<String>,
}

impl Walk {
    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> Vec<Vec<String>> {
        let mut table =
            vec![["FUNCTION", "FOLDER = CRATE", "SAM ID", "STATE OR TRIGGER", "TESTS"].map(str::to_owned).to_vec()];
        for row in &self.rows {
            let starts: Vec<&str> = row.states.iter().chain(&row.triggers).map(String::as_str).collect();
            let tests = std::iter::once(format!("{} own", row.own_tests)).chain(row.used_by.iter().cloned());
            table.push(vec![
                row.function.clone(),
                row.folder.clone(),
                row.sam_id.clone(),
                starts.join(", "),
                tests.collect::<Vec<_>>().join(", "),
            ]);
        }
        table
    }
}

/// Walks from the folders to everything that must know them, and back.
pub fn walk(project: &Project) -> Result<Walk> {
    let template = template::text(project)?;
    let resources = resources(&template);
    let mut gaps = vec![];
    let states = machines(project, &template, &mut gaps)?;
    let mut rows = vec![];
    for function in project.functions()? {
        let row = row(project, &function, &resources, &states);
        let folder = project.path(&row.folder);
        let crate_name = package_name(&std::fs::read_to_string(folder.join("Cargo.toml"))?);
        if crate_name.as_deref() != Some(&function) {
            gaps.push(format!("{}: the crate is called {crate_name:?}, not like its folder", row.folder));
        }
        match resources.get(&row.sam_id) {
            None => gaps.push(format!("{function}: infra/template.yaml has no {}", row.sam_id)),
            Some(block) if !block.contains(&format!("../dist/{function}/")) => {
                gaps.push(format!("{}: its CodeUri is not ../dist/{function}/", row.sam_id));
            }
            Some(_) => {}
        }
        if row.states.is_empty() && row.triggers.is_empty() {
            gaps.push(format!("{function}: no state calls it and nothing else starts it"));
        }
        if row.own_tests == 0 && row.used_by.is_empty() {
            gaps.push(format!("{function}: no test"));
        }
        rows.push(row);
    }
    let known: Vec<&str> = rows.iter().map(|row| row.sam_id.as_str()).collect();
    for (id, block) in &resources {
        if block.contains("AWS::Serverless::Function") && !known.contains(&id.as_str()) {
            gaps.push(format!("{id}: infra/template.yaml has it, and no folder below functions/ does"));
        }
    }
    for (id, names) in states.iter().filter(|(id, _)| !known.contains(&id.as_str())) {
        gaps.push(format!("{}: calls {id}, and there is no such function", names.join(", ")));
    }
    Ok(Walk { rows, gaps })
}

fn row(
    project: &Project,
    function: &str,
    resources: &BTreeMap<String, String>,
    states: &BTreeMap<String, Vec<String>>,
) -> Row {
    let folder = format!("functions/{function}");
    let sam_id = format!("{}Function", logical_id(function));
    let ident = format!("{}::", function.replace('-', "_"));
    let (mut own_tests, mut used_by) = (0, vec![]);
    for path in sources::files(project) {
        let name = project.name_of(&path);
        let is_own = name.starts_with(&format!("{folder}/"));
        if path.extension().is_none_or(|ending| ending != "rs") || !(is_own || name.starts_with("tests/it/")) {
            continue;
        }
        let code = std::fs::read_to_string(&path).unwrap_or_default();
        if is_own {
            own_tests += code.matches("#[test]").count() + code.matches("#[tokio::test").count();
        } else if code.contains(&ident) {
            used_by.push(name.trim_start_matches("tests/it/").trim_end_matches(".rs").to_owned());
        }
    }
    Row {
        function: function.to_owned(),
        states: states.get(&sam_id).cloned().unwrap_or_default(),
        triggers: triggers(&sam_id, resources),
        folder,
        sam_id,
        own_tests,
        used_by,
    }
}

/// The resources of the template, each with its text.
fn resources(template: &str) -> BTreeMap<String, String> {
    let mut resources: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    let body = template.lines().skip_while(|line| *line != "Resources:").skip(1);
    for line in body.take_while(|line| line.is_empty() || line.starts_with([' ', '#'])) {
        let is_name =
            line.starts_with("  ") && !line.starts_with("   ") && line.trim_end().ends_with(':') && !line.contains('#');
        if is_name {
            current = Some(line.trim().trim_end_matches(':').to_owned());
        } else if let Some(name) = &current {
            let block = resources.entry(name.clone()).or_default();
            block.push_str(line);
            block.push('\n');
        }
    }
    resources
}

/// What starts a function besides states.
fn triggers(sam_id: &str, resources: &BTreeMap<String, String>) -> Vec<String> {
    let mut triggers = vec![];
    let attribute = format!("!GetAtt {sam_id}.Arn");
    if let Some(own) = resources.get(sam_id) {
        let events = own.split("      Events:").nth(1).unwrap_or_default();
        for (word, meaning) in [
            ("Type: SQS", "a queue"),
            ("Type: Schedule", "the clock"),
            ("Type: S3", "S3"),
            ("Type: EventBridgeRule", "events of AWS"),
        ] {
            if events.contains(&format!("{word}\n")) {
                triggers.push(meaning.to_owned());
            }
        }
    }
    for (name, block) in resources {
        if block.contains("AWS::S3::Bucket") && block.contains(&attribute) {
            triggers.push("a mail in S3".to_owned());
        }
        if block.contains("ApiGatewayV2::Integration") && block.contains(&attribute) {
            let target = format!("integrations/${{{name}}}");
            let routes = resources.values().filter(|route| route.contains(&target));
            triggers.extend(routes.filter_map(|route| {
                Some(route.lines().find_map(|line| line.trim().strip_prefix("RouteKey: "))?.to_owned())
            }));
        }
    }
    triggers
}

/// The states that call each function, by its id in the template: of every machine that is deployed. What is wrong with a
/// definition is a gap too.
fn machines(project: &Project, template: &str, gaps: &mut Vec<String>) -> Result<BTreeMap<String, Vec<String>>> {
    let template = template::parse(template)?;
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let deployed = template::machines(&template);
    let files = definition::all(project)?;
    for path in &files {
        let (word, name) = (definition::name_of(path), project.name_of(path));
        let machine = definition::read(path)?;
        let known = playbook_command::known(&template, &word);
        gaps.extend(known.findings(&machine).into_iter().map(|finding| format!("{name}: {finding}")));
        let is_example = name.contains("/examples/");
        if !is_example && known.substitutions.is_none() {
            gaps.push(format!("{name}: infra/template.yaml deploys no such machine"));
        }
        for (function, callers) in definition::calls(&machine) {
            let known = states.entry(function).or_default();
            known.extend(callers.into_iter().filter(|_| !is_example));
            known.sort();
            known.dedup();
        }
    }
    for machine in deployed {
        if !files.contains(&project.path(&format!("statemachine/{}{}", machine.word, definition::ENDING))) {
            gaps.push(format!("{}: statemachine/{}.asl.json is not there", machine.id, machine.word));
        }
    }
    Ok(states)
}

fn package_name(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("name = "))?;
    Some(line.trim_start_matches("name = ").trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_told_apart_by_their_indent() {
        let template = "Parameters:\n  A:\n    Type: String\nResources:\n  # why\n  One:\n    Type: x\n\n  Two:\n    Type: y\nOutputs:\n  Three:\n";
        let found = resources(template);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["One", "Two"]);
        assert!(found["One"].contains("Type: x"));
    }

    #[test]
    fn routes_are_found_through_their_integration() {
        let template = "Resources:\n  PageIntegration:\n    Type: AWS::ApiGatewayV2::Integration\n    Uri: !GetAtt ReviewFunction.Arn\n  PageRoute:\n    RouteKey: GET /r/{secret}\n    Target: !Sub integrations/${PageIntegration}\n";
        assert_eq!(triggers("ReviewFunction", &resources(template)), ["GET /r/{secret}"]);
    }
}
