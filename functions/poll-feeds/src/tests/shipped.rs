//! The feeds in `playbook/intake` read the documents in `tests/fixtures/feeds/<id>` into the lists that lie beside them.
//! Add a folder, get a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use playbook::{
    intake::{Format, feed},
    mapping::Expression,
};

use super::*;
use crate::read::Reader;

fn inside(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn shipped(path: &Path) -> IntakeSource {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_feed_is_good_and_its_mapping_compiles() {
    let feeds: Vec<IntakeSource> =
        inside("playbook/intake").iter().map(|path| shipped(path)).filter(|source| source.feed.is_some()).collect();
    assert!(feeds.len() >= 4, "{}", feeds.len());
    for source in feeds {
        assert_eq!(feed::faults(&source), Vec::<String>::new(), "{}", source.id);
        assert!(Expression::compile(&source.mapping).is_ok(), "{}", source.id);
    }
}

#[test]
fn documents_become_the_lists_beside_them() {
    for folder in inside("tests/fixtures/feeds") {
        let id = folder.file_name().unwrap().to_str().unwrap();
        let source = shipped(&folder.join(format!("../../../../playbook/intake/{id}.yaml")));
        let feed = source.feed.unwrap();
        let extension = match feed.format {
            Format::Text => "txt",
            Format::Csv => "csv",
            Format::Json | Format::Taxii => "json",
        };
        let document = fs::read(folder.join("document").with_extension(extension)).unwrap();
        let mapping = &Expression::compile(&source.mapping).unwrap();
        let reader = Reader { mapping, entries_max: feed.entries_max, until: Instant::now() + FEED_TIME };
        let reading = reader.document(feed.format, &document).unwrap();
        let list = String::from_utf8(reading.entries.to_ndjson()).unwrap();
        assert_eq!(list, fs::read_to_string(folder.join("list.ndjson")).unwrap_or_default(), "{id}");
    }
}
