//! `cargo xtask config schema`: JSON Schemas of `playbook/`, so that editors complete and check what people write.
//!
//! They are derived from the types that read the files, and say nothing that the readers do not; what spans several keys
//! is left to `cargo xtask config check`.

use anyhow::{Context, Result};
use playbook::{grades::Grades, intake::IntakeSource, manifest::Manifest, policy::Policy, target::Target};
use serde_json::Value;

use crate::{project::Project, term};

const FOLDER: &str = "playbook/schemas";

/// Every schema with the name of its file.
fn schemas() -> Result<Vec<(&'static str, String)>> {
    let spelled = |schema: schemars::Schema| {
        let value: Value = schema.into();
        serde_json::to_string_pretty(&value).map(|text| format!("{text}\n"))
    };
    Ok(vec![
        ("policy.schema.json", spelled(schemars::schema_for!(Policy))?),
        ("grades.schema.json", spelled(schemars::schema_for!(Grades))?),
        ("provider.schema.json", spelled(schemars::schema_for!(Manifest))?),
        ("target.schema.json", spelled(schemars::schema_for!(Target))?),
        ("intake.schema.json", spelled(schemars::schema_for!(IntakeSource))?),
    ])
}

/// Writes them into `playbook/schemas/`.
pub fn write(project: &Project) -> Result<()> {
    std::fs::create_dir_all(project.path(FOLDER))?;
    for (name, text) in schemas()? {
        let path = project.path(FOLDER).join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        term::line(&project.name_of(&path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_the_project_are_those_of_the_readers() {
        let project = Project::find().unwrap();
        for (name, text) in schemas().unwrap() {
            let stored = std::fs::read_to_string(project.path(FOLDER).join(name)).unwrap_or_default();
            assert!(stored == text, "{FOLDER}/{name} is not current: cargo xtask config schema");
        }
    }

    #[test]
    fn every_file_of_an_author_names_its_schema() {
        let project = Project::find().unwrap();
        let mut files = vec![
            (project.path("playbook/policy.yaml"), "schemas/policy.schema.json"),
            (project.path("playbook/grades.yaml"), "schemas/grades.schema.json"),
        ];
        for (folder, schema) in [("providers", "provider"), ("targets", "target"), ("intake", "intake")] {
            let name = match schema {
                "provider" => "../schemas/provider.schema.json",
                "target" => "../schemas/target.schema.json",
                _ => "../schemas/intake.schema.json",
            };
            let entries = std::fs::read_dir(project.path("playbook").join(folder)).unwrap();
            files.extend(entries.map(|entry| (entry.unwrap().path(), name)));
        }
        for (path, schema) in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let line = format!("# yaml-language-server: $schema={schema}");
            assert_eq!(text.lines().next(), Some(line.as_str()), "{}", path.display());
        }
    }
}
