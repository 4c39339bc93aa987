//! What the tests of the providers share: the manifests of the repository, and answers to them.

use std::fs;
use std::path::{Path, PathBuf};

use ioc::{Observable, ObservableType};
use playbook::Timestamp;
use playbook::lookup::Answer;
use playbook::manifest::Manifest;

const NOW: &str = "2026-11-24T06:00:00Z";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|known| known == extension));
    paths.sort();
    paths
}

pub fn manifests() -> Vec<Manifest> {
    let paths = files(&root().join("playbook/providers"), "yaml");
    let read = |path: &PathBuf| {
        let yaml = fs::read_to_string(path).unwrap();
        Manifest::parse(&yaml, &path.to_string_lossy()).unwrap_or_else(|error| panic!("{error}"))
    };
    paths.iter().map(read).collect()
}

pub fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
}

/// An observable that is reserved for examples.
pub fn sample(kind: ObservableType) -> Observable {
    let value = match kind {
        ObservableType::Ipv4Addr => "192.0.2.7",
        ObservableType::Ipv6Addr => "2001:db8::7",
        ObservableType::DomainName => "evil.example",
        ObservableType::Url => "http://evil.example/",
        ObservableType::EmailAddr => "user@evil.example",
        ObservableType::File => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    Observable::parse(kind, value).unwrap()
}
