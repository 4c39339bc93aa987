//! The payloads: a family a file, one payload a line.

use std::path::PathBuf;

use serde::Deserialize;
use xtask::project::Project;

/// What somebody might put where we show something.
pub struct Payload {
    pub family: String,
    pub text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Once(String),
    Often { text: String, times: usize },
}

/// Every payload there is.
pub fn payloads() -> Vec<Payload> {
    let mut payloads = vec![];
    for file in files() {
        let family = file.file_stem().unwrap().to_string_lossy().into_owned();
        let written: Vec<Written> = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        payloads.extend(written.into_iter().map(|written| {
            let text = match written {
                Written::Once(text) => text,
                Written::Often { text, times } => text.repeat(times),
            };
            Payload { family: family.clone(), text }
        }));
    }
    payloads
}

fn files() -> Vec<PathBuf> {
    let folder = Project::find().unwrap().path("tests/fixtures/hostile");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_is_large_and_says_nothing_twice() {
    let payloads = payloads();
    let texts: std::collections::BTreeSet<&str> = payloads.iter().map(|payload| payload.text.as_str()).collect();
    assert_eq!(texts.len(), payloads.len());
    let families: std::collections::BTreeSet<&str> = payloads.iter().map(|payload| payload.family.as_str()).collect();
    println!("{} payloads in {} families", payloads.len(), families.len());
    assert!(payloads.len() >= 300 && families.len() >= 20, "{families:?}");
    // Escapes of the notation are read as what they stand for.
    assert!(texts.contains("\u{202e}gnp.exe") && texts.contains("\u{1b}[31mred\u{1b}[0m") && texts.contains("\\ud800"));
}
