//! The doors' contract: every manifest in `playbook/intake` is good, and the alerts of those that are heard read the
//! messages in `tests/fixtures/intake/<id>` as they say. Add a file, get a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

use std::fs;
use std::path::{Path, PathBuf};

use playbook::Timestamp;
use playbook::intake::{Alert, IntakeSource};
use serde::Deserialize;
use serde_json::Value;

const NOW: &str = "2026-11-24T06:00:00Z";

/// What came in, and what it must be read as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    /// The body of the request, or the whole event.
    input: Value,
    /// Fields of the alert, or of each alert; what is not named may be anything.
    #[serde(default)]
    expect: Value,
    /// A piece of the reason why it cannot be mapped.
    #[serde(default)]
    unmapped: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn sources() -> Vec<IntakeSource> {
    let parse = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        IntakeSource::parse(&fs::read_to_string(&path).unwrap(), &name).unwrap_or_else(|error| panic!("{error}"))
    };
    files(&root().join("playbook/intake")).into_iter().map(parse).collect()
}

/// An alert as a document, with only the fields that are asked for.
fn seen(alert: &Alert, expected: &Value) -> Value {
    let document = serde_json::to_value(alert).unwrap();
    let fields = expected.as_object().unwrap().keys().map(|name| (name.clone(), document[name].clone()));
    Value::Object(fields.collect())
}

fn check(source: &IntakeSource, path: &Path) {
    let fixture: Fixture = serde_saphyr::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let alerts = source.alerts(&fixture.input, Timestamp::parse(NOW).unwrap());
    if let Some(reason) = &fixture.unmapped {
        let told = alerts.map_err(|why| why.to_string());
        let is_it = told.as_ref().is_err_and(|why| why.contains(reason.as_str()));
        assert!(is_it, "{}: {told:?}", path.display());
        return;
    }
    let alerts = alerts.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected = match fixture.expect {
        Value::Array(expected) => expected,
        one => vec![one],
    };
    assert_eq!(alerts.len(), expected.len(), "{}: {alerts:#?}", path.display());
    for (alert, expected) in alerts.iter().zip(&expected) {
        assert_eq!(&seen(alert, expected), expected, "{}", path.display());
    }
}

#[test]
fn every_message_is_read_as_its_fixture_says() {
    for source in sources().iter().filter(|source| source.feed.is_none()) {
        let fixtures = files(&root().join("tests/fixtures/intake").join(&source.id));
        assert!(fixtures.len() >= 3, "{}: at least three messages show what its mapping does", source.id);
        for path in fixtures {
            check(source, &path);
        }
    }
}

#[test]
fn the_doors_that_are_promised_are_there_and_no_event_has_two() {
    let sources = sources();
    for id in ["generic", "splunk", "guardduty", "security-hub"] {
        let source = sources.iter().find(|source| source.id == id).unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(source.off_reason(), None, "{id}");
    }
    let mut events: Vec<_> = sources.iter().filter_map(|source| source.event.as_ref()).collect();
    events.sort_by_key(|event| (event.source.clone(), event.detail_type.clone()));
    assert!(events.windows(2).all(|pair| pair[0] != pair[1]), "{events:?}");
}

#[test]
fn no_mapping_panics_on_what_it_does_not_expect() {
    let hostile = [
        "null",
        "[]",
        "{}",
        "0",
        "\"text\"",
        "[[[]]]",
        r#"{"detail": 1}"#,
        r#"{"detail": {"findings": "x"}}"#,
        r#"{"result": [1, {"src": {"a": []}}], "sid": {}}"#,
        r#"{"alerts": [null, 1, {"id": []}]}"#,
        r#"{"detail": {"findings": [1, null, [], {"Severity": 9, "Resources": {"Id": 3}}]}}"#,
        r#"{"detail": {"id": 1, "severity": "x", "service": {"action": []}, "updatedAt": 5}}"#,
    ];
    for source in sources().iter().filter(|source| source.feed.is_none()) {
        for text in hostile {
            let body: Value = serde_json::from_str(text).unwrap();
            let at = Timestamp::parse(NOW).unwrap();
            if let Err(why) = source.alerts(&body, at) {
                let alert = source.unmapped("x", &body, at, &why);
                assert!(alert.title.contains("could not be mapped"), "{}", alert.title);
            }
        }
    }
}
