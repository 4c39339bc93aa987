//! A recording: what a release left behind in one situation.

use std::{collections::BTreeMap, fs, path::Path};

use playbook::{
    Timestamp,
    ports::{About, Mail},
    rows::{Attributes, Key, Row},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use xtask::project::Project;

use crate::world::World;

/// The situations for which there are tests.
const SITUATIONS: [&str; 8] =
    ["admitted", "decided", "enforced", "enriched", "execution-ended", "false-positive", "needs-data", "waiting"];

#[derive(Debug, Deserialize)]
struct RecordedRow {
    pk: String,
    sk: String,
    attributes: Attributes,
}

/// A document of the bucket, byte for byte.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Text(String),
    Base64(String),
}

#[derive(Debug, Deserialize)]
struct RecordedMail {
    to: String,
    subject: String,
    text: String,
}

/// A call of a stage.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// The folder of the function.
    pub stage: String,
    /// What it got.
    pub input: Value,
    /// What it answered.
    pub output: Value,
}

/// What went between the functions until the recording.
#[derive(Debug, Deserialize)]
struct Traffic {
    at: Timestamp,
    messages: Vec<String>,
    executions: Vec<Value>,
    stages: Vec<Call>,
}

/// What a release left behind in one situation.
#[derive(Debug)]
pub struct Recording {
    /// Release and situation, for messages.
    pub name: String,
    rows: Vec<RecordedRow>,
    documents: BTreeMap<String, Vec<u8>>,
    mails: Vec<RecordedMail>,
    traffic: Traffic,
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every recording of every release.
pub fn all() -> Vec<Recording> {
    let root = Project::find().unwrap().path("tests/fixtures/releases");
    let mut recordings = vec![];
    for release in names(&root) {
        let folder = root.join(&release);
        for situation in names(&folder).iter().filter(|name| *name != "config") {
            assert!(SITUATIONS.contains(&situation.as_str()), "no test brings {situation:?} of {release} to its end");
            recordings.push(Recording::read(&folder, &release, situation));
        }
    }
    recordings
}

/// The recordings of a situation; of one release at least.
pub fn of(situation: &str) -> Vec<Recording> {
    let recordings: Vec<Recording> =
        all().into_iter().filter(|recording| recording.name.ends_with(&format!("/{situation}"))).collect();
    assert!(!recordings.is_empty(), "nothing is recorded of {situation:?}");
    recordings
}

impl Recording {
    fn read(folder: &Path, release: &str, situation: &str) -> Self {
        let of = folder.join(situation);
        let documents: BTreeMap<String, Content> = read(&of.join("documents.json"));
        let mut documents: BTreeMap<String, Vec<u8>> = documents
            .into_iter()
            .map(|(key, content)| match content {
                Content::Text(text) => (key, text.into_bytes()),
                Content::Base64(text) => (key, data_encoding::BASE64.decode(text.as_bytes()).unwrap()),
            })
            .collect();
        // The configuration is the same in every situation of a release.
        for name in names(&folder.join("config")) {
            documents.insert(format!("config/{name}"), fs::read(folder.join("config").join(&name)).unwrap());
        }
        Self {
            name: format!("{release}/{situation}"),
            rows: read(&of.join("rows.json")),
            documents,
            mails: read(&of.join("mails.json")),
            traffic: read(&of.join("stages.json")),
        }
    }

    /// Today's functions over what was recorded.
    pub async fn world(&self) -> World {
        World::of_recording(self.traffic.at, self.rows(), self.documents.clone()).await
    }

    /// The table.
    pub fn rows(&self) -> Vec<Row> {
        let row = |row: &RecordedRow| Row { key: Key::new(&row.pk, &row.sk), attributes: row.attributes.clone() };
        self.rows.iter().map(row).collect()
    }

    /// The bucket.
    pub const fn documents(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.documents
    }

    /// The mails that were sent; only their text was recorded.
    pub fn mails(&self) -> Vec<Mail> {
        let mail = |mail: &RecordedMail| Mail {
            to: mail.to.clone(),
            subject: mail.subject.clone(),
            text: mail.text.clone(),
            html: String::new(),
            thread: String::new(),
            follows: None,
            about: About::default(),
        };
        self.mails.iter().map(mail).collect()
    }

    /// The messages on the intake queue.
    pub fn messages(&self) -> &[String] {
        &self.traffic.messages
    }

    /// What the state machine hands to its first state, for each execution that was started.
    pub fn executions(&self) -> &[Value] {
        &self.traffic.executions
    }

    /// The calls of stages, in order.
    pub fn calls(&self) -> &[Call] {
        &self.traffic.stages
    }

    /// How many entries of the ledger were recorded.
    pub fn entries(&self) -> usize {
        let count = self.rows.iter().filter(|row| row.pk.starts_with("ledger#") && row.sk == "entry").count();
        assert!(count > 0, "{}: no entry is recorded", self.name);
        count
    }
}
