//! What a deployment has recorded: receipts, assessments and decisions, from a folder or from the stack itself.
//!
//! A folder holds them in any arrangement, one document a file or one a line; each says by its `schema` what it is. So a copy
//! of the evidence bucket will do. Of a stack, the documents are copied into `.local/recorded/<stack>` first.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use playbook::{
    IncidentId, Timestamp, assessment::Assessment, audit::Entry, bundle::Bundle, decision::Decision, receipt::Receipt,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{process, project::Project, publish, term};

/// Where to look.
#[derive(Clone, Debug)]
pub enum Place {
    /// Documents that somebody has copied.
    Folder(PathBuf),
    /// A deployment.
    Stack(String),
}

impl Place {
    /// A folder where one is named, else the stack.
    #[must_use]
    pub fn of(folder: Option<PathBuf>, stack: String) -> Self {
        folder.map_or(Self::Stack(stack), Self::Folder)
    }
}

/// A decision with the run that it was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Everything of one run of an incident.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// A receipt for each observable; of an assessment that was repeated, the last.
    pub receipts: BTreeMap<String, Receipt>,
    /// What was concluded.
    pub assessment: Option<Assessment>,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
}

/// Runs by incident and number.
pub type Runs = BTreeMap<(IncidentId, u32), Recorded>;

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What was judged, concluded and decided.
    pub runs: Runs,
    /// The configurations that judged, by their digest, as far as they were copied.
    pub bundles: BTreeMap<String, Bundle>,
}

/// Reads everything since a moment; runs that were assessed before are left out.
pub fn read(project: &Project, place: &Place, since: Option<Timestamp>) -> Result<Record> {
    let folder = match place {
        Place::Folder(folder) => folder.clone(),
        Place::Stack(stack) => copy(project, stack)?,
    };
    let mut record = Record::default();
    let mut files = vec![];
    walk(&folder, &mut files)?;
    let mut unknown = 0_usize;
    for file in &files {
        let name = project.name_of(file);
        for document in documents(file)? {
            unknown += usize::from(!take(&mut record, document, file).with_context(|| name.clone())?);
        }
    }
    let runs = &mut record.runs;
    if let Some(since) = since {
        runs.retain(|_, recorded| {
            let assessed = recorded.receipts.values().map(|receipt| receipt.now).max();
            assessed.or_else(|| recorded.assessment.as_ref().map(|a| a.assessed_at)).is_some_and(|at| at >= since)
        });
    }
    if runs.is_empty() {
        bail!(
            "{} holds no receipts, assessments or decisions{}: copy the folder receipts/ of the evidence bucket there",
            folder.display(),
            since.map_or_else(String::new, |since| format!(" since {since}"))
        );
    }
    if unknown > 0 {
        term::message(&format!("{unknown} documents of another sort were passed over"));
    }
    Ok(record)
}

/// Every entry of the audit, oldest first.
pub fn audit(project: &Project, place: &Place) -> Result<Vec<Entry>> {
    let folder = match place {
        Place::Folder(folder) => folder.clone(),
        Place::Stack(stack) => copy_audit(project, stack)?,
    };
    let mut files = vec![];
    walk(&folder, &mut files)?;
    let mut entries: Vec<Entry> = vec![];
    for file in &files {
        for document in documents(file)?.into_iter().filter(|document| sort(document) == "audit") {
            entries.push(serde_json::from_value(document).with_context(|| project.name_of(file))?);
        }
    }
    if entries.is_empty() {
        bail!("{} holds no audit: its documents have the schema {}", folder.display(), Entry::SCHEMA);
    }
    entries.sort_by(|one, other| (one.at, &one.incident_id).cmp(&(other.at, &other.incident_id)));
    Ok(entries)
}

/// The moment of `--since`: a day in UTC, or a time in RFC 3339.
pub fn moment(text: &str) -> Result<Timestamp> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Timestamp::parse(&whole).with_context(|| format!("{text:?} is no moment: 2026-11-24 or 2026-11-24T05:00:00Z"))
}

/// Puts a document where it belongs; false for one of another sort.
fn take(Record { runs, bundles }: &mut Record, document: Value, file: &Path) -> Result<bool> {
    match sort(&document).to_owned().as_str() {
        "receipt" => {
            let receipts = Receipt::parse(&serde_json::to_vec(&document)?)?;
            for receipt in receipts {
                let run = runs.entry((receipt.incident_id.clone(), receipt.run)).or_default();
                let key = receipt.facts.observable.key();
                if run.receipts.get(&key).is_none_or(|known| known.now <= receipt.now) {
                    run.receipts.insert(key, receipt);
                }
            }
        }
        "assessment" => {
            let assessment: Assessment = serde_json::from_value(document)?;
            let run = runs.entry((assessment.incident_id.clone(), assessment.run)).or_default();
            if run.assessment.as_ref().is_none_or(|known| known.assessed_at <= assessment.assessed_at) {
                run.assessment = Some(assessment);
            }
        }
        "bundle" => {
            // The digest is the name: what a later release reads is not what was digested.
            let digest = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            bundles.insert(digest, serde_json::from_value(document)?);
        }
        "decision" if document.get("incident_id").is_some() => {
            let Decided { incident_id, run, decision } = serde_json::from_value(document)?;
            let decisions = &mut runs.entry((incident_id, run)).or_default().decisions;
            decisions.push(decision);
            decisions.sort_by_key(|decision| decision.at);
        }
        // Told by `audit` alone.
        "audit" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a document is, by its schema without the number.
fn sort(document: &Value) -> &str {
    let schema = document.get("schema").and_then(Value::as_str).unwrap_or_default();
    schema.split_once('/').map_or(schema, |(sort, _)| sort)
}

/// Every document of a file, one or one a line; of a file that is none, nothing.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut found = vec![];
    for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        found.push(document.with_context(|| format!("{}, document {}", file.display(), found.len() + 1))?);
    }
    Ok(found)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut entries = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|ending| ["json", "jsonl", "ndjson"].iter().any(|known| ending == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Copies what the stack has recorded, only what is new.
fn copy(project: &Project, stack: &str) -> Result<PathBuf> {
    let folder = folder_of(project, stack)?;
    let bucket = output(project, stack, "EvidenceBucketName")?;
    for (prefix, filter) in [("config", None), ("receipts", None), ("incidents", Some("*/assess/*"))] {
        let mut sync = Command::new(publish::aws(project)?);
        sync.args(["s3", "sync", "--only-show-errors", &format!("s3://{bucket}/{prefix}")]).arg(folder.join(prefix));
        if let Some(filter) = filter {
            sync.args(["--exclude", "*", "--include", filter]);
        }
        process::output(&mut sync).with_context(|| {
            format!("s3://{bucket}/{prefix} cannot be copied: are you signed in (aws sts get-caller-identity)?")
        })?;
    }
    let mut lines = String::new();
    for mut row in rows(project, stack, "decision#")? {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (pk, sk) = (text("pk"), text("sk"));
        let id = pk.strip_prefix("incident#").unwrap_or_default();
        let Some(run) = sk.split('#').nth(1).and_then(|run| run.parse::<u32>().ok()) else { continue };
        row.insert("incident_id".to_owned(), id.into());
        row.insert("run".to_owned(), run.into());
        lines.push_str(&Value::Object(row).to_string());
        lines.push('\n');
    }
    std::fs::write(folder.join("decisions.jsonl"), lines)?;
    Ok(folder)
}

/// Copies the audit alone, into a folder of its own.
fn copy_audit(project: &Project, stack: &str) -> Result<PathBuf> {
    let folder = folder_of(project, stack)?.join("audit");
    std::fs::create_dir_all(&folder)?;
    let rows = rows(project, stack, "audit#")?;
    let lines: Vec<String> = rows.into_iter().map(|row| Value::Object(row).to_string()).collect();
    std::fs::write(folder.join("audit.jsonl"), lines.join("\n"))?;
    Ok(folder)
}

fn folder_of(project: &Project, stack: &str) -> Result<PathBuf> {
    let folder = project.path(".local/recorded").join(stack);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn output(project: &Project, stack: &str, name: &str) -> Result<String> {
    let outputs = publish::outputs(project, stack)?;
    outputs.get(name).cloned().with_context(|| format!("the stack {stack} has no output {name}: is it deployed?"))
}

/// Every row of the incidents table whose sort key begins so, as plain JSON.
fn rows(project: &Project, stack: &str, begins: &str) -> Result<Vec<Map<String, Value>>> {
    let table = output(project, stack, "IncidentsTableName")?;
    let values = json!({ ":begins": { "S": begins }, ":incident": { "S": "incident#" } }).to_string();
    let scan = [
        "dynamodb",
        "scan",
        "--table-name",
        &table,
        "--filter-expression",
        "begins_with(sk, :begins) AND begins_with(pk, :incident)",
        "--expression-attribute-values",
        &values,
    ];
    let told = publish::ask(project, &scan)
        .map_err(|why| anyhow::anyhow!("the rows {begins} in {table} cannot be read: {why}"))?;
    let items = told["Items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| plain(item).as_object().cloned()).collect())
}

/// An item of DynamoDB's JSON, `{"name": {"S": …}}`, as plain JSON.
#[must_use]
pub fn plain(item: &Value) -> Value {
    let members = item.as_object().into_iter().flatten();
    Value::Object(members.map(|(name, value)| (name.clone(), attribute(value))).collect::<Map<String, Value>>())
}

fn attribute(typed: &Value) -> Value {
    let Some((sort, value)) = typed.as_object().and_then(|members| members.iter().next()) else { return Value::Null };
    match sort.as_str() {
        "N" => value.as_str().and_then(|number| serde_json::from_str(number).ok()).unwrap_or(Value::Null),
        "L" => value.as_array().into_iter().flatten().map(attribute).collect(),
        "M" => plain(value),
        "NULL" => Value::Null,
        _ => value.clone(),
    }
}

/// Plain JSON as an item of DynamoDB's JSON: what [`plain`] reads. Of anything but an object it is empty.
#[must_use]
pub fn typed(document: &Value) -> Value {
    let members = document.as_object().into_iter().flatten();
    Value::Object(members.map(|(name, value)| (name.clone(), typed_attribute(value))).collect::<Map<String, Value>>())
}

fn typed_attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(is_so) => json!({ "BOOL": is_so }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(items) => json!({ "L": items.iter().map(typed_attribute).collect::<Vec<Value>>() }),
        Value::Object(_) => json!({ "M": typed(value) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_plain_documents() {
        let item = json!({
            "sk": {"S": "decision#1#1"}, "last": {"BOOL": true}, "n": {"N": "7"}, "none": {"NULL": true},
            "indicators": {"L": [{"S": "a"}, {"M": {"x": {"N": "1.5"}}}]},
        });
        let expected =
            json!({"sk": "decision#1#1", "last": true, "n": 7, "none": null, "indicators": ["a", {"x": 1.5}]});
        assert_eq!(plain(&item), expected);
        assert_eq!(typed(&expected), item);
    }

    #[test]
    fn what_is_written_as_a_row_is_read_back_the_same() {
        let documents = [
            json!({}),
            json!({"a": "", "b": "1", "c": [], "d": {}, "e": [[null, true], {"f": {"g": -0.25}}], "S": {"N": "x"}}),
            json!({"most": u64::MAX, "least": i64::MIN, "text": "\u{1F4A3} \"quoted\" \n"}),
        ];
        for document in documents {
            assert_eq!(plain(&typed(&document)), document);
        }
        assert_eq!(typed(&json!("no row")), json!({}));
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(moment("2026-11-24").unwrap().to_string(), "2026-11-24T00:00:00.000Z");
        assert_eq!(moment("2026-11-24T05:00:00+01:00").unwrap().to_string(), "2026-11-24T04:00:00.000Z");
        assert!(moment("yesterday!").unwrap_err().to_string().contains("yesterday!"));
    }

    #[test]
    fn documents_are_found_by_their_schema_and_the_last_assessment_counts() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let assessment = |at: &str| {
            let mut document = serde_json::to_value(playbook::brief::sample::assessment().unwrap()).unwrap();
            document["assessed_at"] = at.into();
            document
        };
        let (early, late) = (assessment("2026-11-24T05:00:00.000Z"), assessment("2026-11-24T06:00:00.000Z"));
        std::fs::write(folder.path().join("a/late.json"), late.to_string()).unwrap();
        std::fs::write(folder.path().join("a/b/early.jsonl"), format!("{early}\n{{\"schema\":\"other/1\"}}\n"))
            .unwrap();
        let read = |since: Option<&str>| {
            let since = since.map(|since| Timestamp::parse(since).unwrap());
            read(&project, &Place::Folder(folder.path().to_owned()), since).map(|record| record.runs)
        };
        let runs = read(None).unwrap();
        assert_eq!(runs.len(), 1);
        let known = runs.into_values().next().unwrap().assessment.unwrap();
        assert_eq!(known.assessed_at.to_string(), "2026-11-24T06:00:00.000Z");
        assert_eq!(read(Some("2026-11-24T05:30:00Z")).unwrap().len(), 1);
        let nothing = read(Some("2026-11-25T00:00:00Z")).unwrap_err();
        assert!(nothing.to_string().contains("holds no receipts"), "{nothing}");
    }
}
