//! The configuration: `playbook/` read and checked into one bundle, with file and line in every complaint.

use std::{fmt, path::Path};

use playbook::{bundle::Bundle, manifest::Manifest, policy::Policy, target::Target};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::project::Project;

/// Something wrong in a file that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file, relative to the project's root.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Everything that is wrong, at least one complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints(pub Vec<Complaint>);

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Complaint::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Complaints {}

/// Reads `playbook/policy.yaml`, `playbook/providers/*.yaml` and `playbook/targets/*.yaml` of the project.
///
/// `overlay` is a piece of policy that is laid over the shipped one, key by key; lists and texts replace. The demo uses
/// it to open its doors. Everything that is wrong is reported at once.
pub fn load(project: &Project, overlay: Option<&Overlay>) -> Result<Bundle, Complaints> {
    let mut complaints = vec![];
    let policy_path = project.path("playbook/policy.yaml");
    let policy = read(project, &policy_path).and_then(|text| policy(project, &policy_path, &text, overlay));
    let providers = each(project, "playbook/providers", &mut complaints, |text, file| {
        Manifest::parse(text, file).map_err(|e| Complaint { file: e.file, line: e.line, message: e.message })
    });
    let targets = each(project, "playbook/targets", &mut complaints, target);
    match policy {
        Ok((policy, text)) if complaints.is_empty() => {
            let bundle = Bundle::new(policy, providers, targets);
            let file = project.name_of(&policy_path);
            complaints.extend(bundle.faults().into_iter().map(|fault| locate(&file, &text, &fault)));
            if complaints.is_empty() { Ok(bundle) } else { Err(Complaints(complaints)) }
        }
        Ok(_) => Err(Complaints(complaints)),
        Err(complaint) => {
            complaints.insert(0, complaint);
            Err(Complaints(complaints))
        }
    }
}

/// A piece of policy that is laid over the shipped one.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// For messages.
    pub file: String,
    /// The keys that differ.
    pub policy: Value,
}

impl Overlay {
    /// Reads an overlay from a file.
    pub fn read(project: &Project, path: &Path) -> Result<Self, Complaint> {
        let file = project.name_of(path);
        let policy = parse(&read(project, path)?, &file)?;
        Ok(Self { file, policy })
    }

    /// Opens the door for the stand-in at this address.
    #[must_use]
    pub fn with_stand_in(mut self, url: &str) -> Self {
        merge(&mut self.policy, &serde_json::json!({ "egress": { "stand_in": url } }));
        self
    }
}

/// Reads YAML strictly; the complaint names the line.
pub fn parse<T: DeserializeOwned>(yaml: &str, file: &str) -> Result<T, Complaint> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let whole = error.without_snippet().to_string();
        let message = whole.lines().next().unwrap_or_default().to_owned();
        Complaint { file: file.to_owned(), line, message }
    })
}

fn read(project: &Project, path: &Path) -> Result<String, Complaint> {
    let complain = |message: String| Complaint { file: project.name_of(path), line: 1, message };
    let bytes = std::fs::read(path).map_err(|error| complain(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|_| complain("is not UTF-8 text".to_owned()))
}

/// The policy with the overlay on top, and the text that its complaints are looked up in.
fn policy(
    project: &Project,
    path: &Path,
    text: &str,
    overlay: Option<&Overlay>,
) -> Result<(Policy, String), Complaint> {
    let file = project.name_of(path);
    let shipped: Policy = parse(text, &file)?;
    let Some(overlay) = overlay else { return Ok((shipped, text.to_owned())) };
    let mut merged = serde_json::to_value(&shipped).map_err(|error| Complaint {
        file: file.clone(),
        line: 1,
        message: error.to_string(),
    })?;
    merge(&mut merged, &overlay.policy);
    let policy = serde_json::from_value(merged).map_err(|error| Complaint {
        file: overlay.file.clone(),
        line: 1,
        message: error.to_string(),
    })?;
    Ok((policy, text.to_owned()))
}

fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

fn target(yaml: &str, file: &str) -> Result<Target, Complaint> {
    let target: Target = parse(yaml, file)?;
    let complain =
        |key: &str, message: String| Complaint { file: file.to_owned(), line: line_of(yaml, &[key]), message };
    if target.schema != Target::SCHEMA {
        return Err(complain(
            "schema",
            format!("schema is {:?}, this version reads {:?}", target.schema, Target::SCHEMA),
        ));
    }
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    if target.id != name {
        return Err(complain("id", format!("id is {:?}, but the file is called {name}.yaml", target.id)));
    }
    Ok(target)
}

/// Reads every YAML file of a folder, in the order of their names.
fn each<T>(
    project: &Project,
    folder: &str,
    complaints: &mut Vec<Complaint>,
    parse: impl Fn(&str, &str) -> Result<T, Complaint>,
) -> Vec<T> {
    let mut paths: Vec<_> = std::fs::read_dir(project.path(folder))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"))
        .collect();
    paths.sort();
    let mut parsed = vec![];
    for path in paths {
        match read(project, &path).and_then(|text| parse(&text, &project.name_of(&path))) {
            Ok(one) => parsed.push(one),
            Err(complaint) => complaints.push(complaint),
        }
    }
    parsed
}

/// A fault such as `policy: review.levels[0].approvers: nobody` with the line of the key that it names.
fn locate(file: &str, yaml: &str, fault: &str) -> Complaint {
    let message = fault.strip_prefix("policy: ").unwrap_or(fault).to_owned();
    let path = message.split(':').next().unwrap_or_default();
    let keys: Vec<&str> = path.split('.').map(|key| key.split('[').next().unwrap_or(key)).collect();
    Complaint { file: file.to_owned(), line: line_of(yaml, &keys), message }
}

/// The line of a nested key: each key is looked for below the one before, as far as they are found.
fn line_of(yaml: &str, keys: &[&str]) -> u64 {
    let mut found = 1;
    let mut lines = (1_u64..).zip(yaml.lines());
    for key in keys {
        let is_it = |line: &str| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        match lines.find(|(_, line)| is_it(line)) {
            Some((number, _)) => found = number,
            None => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_overlay_replaces_key_by_key() {
        let mut policy = json!({"review": {"levels": [1], "deadline": 2}, "own": {}});
        merge(&mut policy, &json!({"review": {"levels": [3]}, "egress": {"stand_in": "x"}}));
        assert_eq!(policy, json!({"review": {"levels": [3], "deadline": 2}, "own": {}, "egress": {"stand_in": "x"}}));
    }

    #[test]
    fn a_fault_is_found_in_the_line_of_its_key() {
        let yaml = "schema: policy/1\nown:\n  domains: []\nreview:\n  levels: []\n  deadline_minutes:\n    low: 0\n";
        let check = |fault: &str, line| assert_eq!(locate("p.yaml", yaml, fault).line, line, "{fault}");
        check("policy: review.deadline_minutes.low: not within 1 and 10080", 7);
        check("policy: review.levels[0].approvers: nobody", 5);
        check("policy: review.deadline_minutes.high: missing", 6);
        check("something else", 1);
    }

    #[test]
    fn bad_yaml_names_its_line() {
        let complaint = parse::<Value>("a: 1\nb: [\n", "x.yaml").unwrap_err();
        assert!(complaint.to_string().starts_with("x.yaml:"), "{complaint}");
        assert!(complaint.line >= 2, "{complaint}");
        let complaint =
            target("schema: target/1\nid: b\nname: n\nkind: served_list\neffect: enforces\ntypes: []\n", "t/a.yaml");
        assert_eq!(complaint.unwrap_err().line, 2);
    }
}
