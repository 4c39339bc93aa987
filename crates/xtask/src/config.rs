//! The configuration: `playbook/` read and checked into one bundle, with file and line in every complaint.

use std::{fmt, path::Path};

use playbook::{
    authored::{self, Complaint, line_of},
    bundle::Bundle,
    grades::Grades,
    intake::{Event, IntakeSource},
    manifest::Manifest,
    policy::Policy,
    target::Target,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::project::Project;

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

/// Reads `playbook/policy.yaml`, `playbook/grades.yaml`, `playbook/providers/*.yaml`, `playbook/targets/*.yaml` and `playbook/intake/*.yaml` of the
/// project.
///
/// `overlay` is a piece of policy that is laid over the shipped one, key by key; lists and texts replace. The demo uses
/// it to open its doors. Everything that is wrong is reported at once.
pub fn load(project: &Project, overlay: Option<&Overlay>) -> Result<Bundle, Complaints> {
    load_from(project, &project.path("playbook"), overlay)
}

/// The same of another folder that is arranged like `playbook/`.
pub fn load_from(project: &Project, folder: &Path, overlay: Option<&Overlay>) -> Result<Bundle, Complaints> {
    let mut complaints = vec![];
    let policy_path = folder.join("policy.yaml");
    let policy = read(project, &policy_path).and_then(|text| policy(project, &policy_path, &text, overlay));
    let grades_path = folder.join("grades.yaml");
    let grades_file = project.name_of(&grades_path);
    let grades =
        read(project, &grades_path).and_then(|text| Ok((authored::read::<Grades>(&text, &grades_file)?, text)));
    let providers = each(project, &folder.join("providers"), &mut complaints, Manifest::parse);
    let targets = each(project, &folder.join("targets"), &mut complaints, Target::parse);
    let intake = each(project, &folder.join("intake"), &mut complaints, |text, file| {
        let source = IntakeSource::parse(text, file)?;
        Ok((source, file.to_owned(), line_of(text, &["event"])))
    });
    complaints.extend(heard_twice(&intake));
    let changes = overlay.map(|overlay| &overlay.manifests);
    let (providers, targets) = (changed(providers, changes, "providers"), changed(targets, changes, "targets"));
    let intake = intake.into_iter().map(|(source, ..)| source).collect();
    let (Ok(providers), Ok(targets), Ok(intake)) = (providers, targets, changed(intake, changes, "intake")) else {
        let file = overlay.map_or_else(String::new, |overlay| overlay.file.clone());
        return Err(Complaints(vec![Complaint {
            file,
            line: 1,
            message: "a manifest it changes cannot be read".to_owned(),
        }]));
    };
    let (policy, grades) = match (policy, grades) {
        (Ok(policy), Ok(grades)) if complaints.is_empty() => (policy, grades),
        (policy, grades) => {
            let first = [policy.err(), grades.err()].into_iter().flatten();
            return Err(Complaints(first.chain(complaints).collect()));
        }
    };
    let bundle = Bundle::new(policy.0, providers, targets).with_intake(intake).with_grades(grades.0);
    let file = project.name_of(&policy_path);
    let located = |fault: String| match fault.strip_prefix("grades: ") {
        Some(fault) => locate(&grades_file, &grades.1, fault),
        None => locate(&file, &policy.1, &fault),
    };
    complaints.extend(bundle.faults().into_iter().map(located));
    if complaints.is_empty() { Ok(bundle) } else { Err(Complaints(complaints)) }
}

/// What is laid over the shipped configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// For messages.
    pub file: String,
    /// The keys of the policy that differ.
    pub policy: Value,
    /// The manifests that differ: `{providers | targets | intake: {<id>: {<key>: …}}}`.
    pub manifests: Value,
}

impl Overlay {
    /// Reads an overlay from a file.
    pub fn read(project: &Project, path: &Path) -> Result<Self, Complaint> {
        let file = project.name_of(path);
        let mut policy: Value = authored::read(&read(project, path)?, &file)?;
        let mut manifests = serde_json::Map::new();
        if let Some(keys) = policy.as_object_mut() {
            manifests.extend(["providers", "targets", "intake"].iter().filter_map(|kind| keys.remove_entry(*kind)));
        }
        Ok(Self { file, policy, manifests: Value::Object(manifests) })
    }

    /// Opens the door for the name server's stand-in at this address.
    #[must_use]
    pub fn with_stand_in_dns(mut self, address: &str) -> Self {
        merge(&mut self.policy, &serde_json::json!({ "egress": { "stand_in_dns": address } }));
        self
    }

    /// Opens the door for the stand-in at this address.
    #[must_use]
    pub fn with_stand_in(mut self, url: &str) -> Self {
        merge(&mut self.policy, &serde_json::json!({ "egress": { "stand_in": url } }));
        self
    }
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
    let shipped: Policy = authored::read(text, &file)?;
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

/// Manifests with what an overlay changes in them.
fn changed<T: Serialize + DeserializeOwned>(
    manifests: Vec<T>,
    changes: Option<&Value>,
    kind: &str,
) -> Result<Vec<T>, serde_json::Error> {
    let Some(changes) = changes.and_then(|all| all.get(kind)) else { return Ok(manifests) };
    let change = |manifest: T| {
        let mut value = serde_json::to_value(&manifest)?;
        match value.get("id").and_then(Value::as_str).and_then(|id| changes.get(id)).cloned() {
            Some(over) => {
                merge(&mut value, &over);
                serde_json::from_value(value)
            }
            None => Ok(manifest),
        }
    };
    manifests.into_iter().map(change).collect()
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

/// Events that two sources would take: only one of them would get them.
fn heard_twice(intake: &[(IntakeSource, String, u64)]) -> Vec<Complaint> {
    let mut heard: Vec<(&Event, &str)> = vec![];
    let mut complaints = vec![];
    for (source, file, line) in intake.iter().filter(|(source, ..)| source.off_reason().is_none()) {
        let Some(event) = &source.event else { continue };
        match heard.iter().find(|(other, _)| *other == event) {
            Some((_, other)) => complaints.push(Complaint {
                file: file.clone(),
                line: *line,
                message: format!("event: {other} takes {:?} of {:?} already", event.detail_type, event.source),
            }),
            None => heard.push((event, &source.id)),
        }
    }
    complaints
}

/// Reads every YAML file of a folder, in the order of their names.
fn each<T>(
    project: &Project,
    folder: &Path,
    complaints: &mut Vec<Complaint>,
    parse: impl Fn(&str, &str) -> Result<T, Complaint>,
) -> Vec<T> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
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
    fn an_event_is_taken_by_one_source() {
        let source = |id: &str, enabled: bool| {
            let yaml = format!(
                "schema: intake-source/1\nid: {id}\nname: A\nenabled: {enabled}\nevent: {{source: aws.x, detail_type: Y}}\nmapping: body\n"
            );
            (IntakeSource::parse(&yaml, &format!("i/{id}.yaml")).unwrap(), format!("i/{id}.yaml"), 5)
        };
        assert_eq!(heard_twice(&[source("a", true), source("b", false)]), []);
        let complaints = heard_twice(&[source("a", true), source("b", true)]);
        assert_eq!(complaints[0].to_string(), "i/b.yaml:5: event: a takes \"Y\" of \"aws.x\" already");
    }

    #[test]
    fn bad_yaml_names_its_line() {
        let complaint = authored::read::<Value>("a: 1\nb: [\n", "x.yaml").unwrap_err();
        assert!(complaint.to_string().starts_with("x.yaml:"), "{complaint}");
        assert!(complaint.line >= 2, "{complaint}");
        let complaint = Target::parse(
            "schema: target/1\nid: b\nname: n\nkind: served_list\neffect: enforces\ntypes: []\n",
            "t/a.yaml",
        );
        assert_eq!(complaint.unwrap_err().line, 2);
    }
}
