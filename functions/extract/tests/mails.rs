//! Mails with what must be found in them: every `tests/fixtures/mails/*.eml` with its `.expected.yaml` is a test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use common::{extraction, root};
use ioc::ObservableType;
use playbook::incident::Withheld;
use serde::Deserialize;

/// What must be found in a mail. Types that are not named hold nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    subject: String,
    /// Everything, withheld or not.
    observables: BTreeMap<ObservableType, BTreeSet<String>>,
    #[serde(default)]
    withheld: BTreeMap<String, Withheld>,
    #[serde(default)]
    participants: Vec<String>,
    /// Places of an observable, among others.
    #[serde(default)]
    places: BTreeMap<String, Vec<String>>,
    /// `place: reason`, exactly these.
    #[serde(default)]
    omissions: Vec<String>,
}

fn check(name: &str, raw: &[u8], expected: &Expected) {
    let found = extraction(raw);
    let mut observables: BTreeMap<ObservableType, BTreeSet<String>> = BTreeMap::new();
    for sighted in &found.observables {
        observables.entry(sighted.observable.kind()).or_default().insert(sighted.observable.value().to_owned());
    }
    assert_eq!(observables, expected.observables, "{name}: observables");
    assert_eq!(found.subject, expected.subject, "{name}: subject");
    let withheld: BTreeMap<String, Withheld> =
        found.observables.iter().filter_map(|s| Some((s.observable.value().to_owned(), s.withheld?))).collect();
    assert_eq!(withheld, expected.withheld, "{name}: withheld");
    assert_eq!(found.participants, expected.participants, "{name}: participants");
    for (value, places) in &expected.places {
        let sighted = found.observables.iter().find(|s| s.observable.value() == value);
        let found = &sighted.unwrap_or_else(|| panic!("{name}: {value} is missing")).places;
        assert!(places.iter().all(|place| found.contains(place)), "{name}: places of {value}: {found:?}");
    }
    let omissions: Vec<String> = found.omissions.iter().map(|o| format!("{}: {}", o.place, o.reason)).collect();
    assert_eq!(omissions, expected.omissions, "{name}: omissions");

    let sorted = found.observables.windows(2).all(|pair| {
        let order = |s: &playbook::incident::Sighted| (s.withheld.is_some(), s.observable.clone());
        order(&pair[0]) < order(&pair[1])
    });
    assert!(sorted, "{name}: those to be looked up come first, sorted, without duplicates");
}

#[test]
fn every_fixture_holds_what_is_written_beside_it() {
    let mut count = 0;
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root().join("tests/fixtures/mails")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "eml")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let raw = std::fs::read(path).unwrap();
        if std::env::var_os("SHOW").is_some() {
            println!("--- {name}\n{}", serde_json::to_string_pretty(&extraction(&raw)).unwrap());
            count += 1;
            continue;
        }
        let yaml = std::fs::read_to_string(path.with_extension("expected.yaml"))
            .unwrap_or_else(|_| panic!("{name}: what must be found?"));
        let expected: Expected = serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &raw, &expected);
        // The same mail as a mail server hands it on.
        if !raw.contains(&b'\r') {
            check(&format!("{name} with CRLF"), &with_crlf(&raw), &expected);
        }
        count += 1;
    }
    assert!(count >= 12, "only {count} mails");
}

fn with_crlf(raw: &[u8]) -> Vec<u8> {
    raw.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| line.strip_suffix(b"\n").map_or_else(|| line.to_vec(), |line| [line, b"\r\n"].concat()))
        .collect()
}
