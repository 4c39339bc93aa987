//! Answers that others recorded from the providers, or that documentation shows, lie beside the repository on some machines.
//! They are never copied into it: `tests/fixtures/samples/<id>.yaml` says of each what our manifest reads in it, or why it is
//! left out. Add a file, get a test.
//!
//! `{folder, samples: [{file, status, type, about, between, at, below, outcome, reason, verdict, score, disagrees} |
//! {file, left_out}]}`: `folder` where it is not the id, `about` a JSON pointer to the observable's value (or the value), a
//! reserved one if not said, `between` what stands around it, `at` a pointer to the answer where the file holds several, `below`
//! the names from under which the source's tool has taken the answer out, `disagrees` why we do not follow what it says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ioc::{Observable, ObservableType};
use playbook::lookup::interpret;
use playbook::manifest::Manifest;
use playbook::outcome::{Judgement, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use common::{answer, files, manifests, now, root, sample};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Where they lie, if it is not the provider's id.
    folder: Option<String>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sample {
    LeftOut(LeftOut),
    Mapped(Mapped),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOut {
    file: String,
    /// Why it is no answer of a call that the manifest makes, in a sentence.
    left_out: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapped {
    file: String,
    status: u16,
    #[serde(rename = "type")]
    kind: ObservableType,
    about: Option<String>,
    /// What stands before and after the value.
    between: Option<(String, String)>,
    /// Where the answer of our call stands in the file.
    at: Option<String>,
    #[serde(default)]
    below: Vec<String>,
    outcome: Status,
    reason: Option<String>,
    verdict: Option<Judgement>,
    score: Option<u8>,
    disagrees: Option<String>,
}

impl Sample {
    fn file(&self) -> &str {
        match self {
            Self::LeftOut(LeftOut { file, .. }) | Self::Mapped(Mapped { file, .. }) => file,
        }
    }
}

#[derive(Default)]
struct Counts {
    mapped: usize,
    left_out: usize,
    disagreements: usize,
}

#[test]
fn collected_samples_are_understood() {
    let folder = root().join("../shared/samples");
    if !folder.is_dir() {
        println!("{} is absent: nothing to compare with", folder.display());
        return;
    }
    let kinds = kinds(&folder);
    let mut total = Counts::default();
    let known: Vec<Manifest> = manifests();
    for manifest in &known {
        let Some(listing) = listing(&manifest.id) else {
            assert!(!folder.join(&manifest.id).is_dir(), "{} has samples, but nothing lists them", manifest.id);
            continue;
        };
        let counts = compare(manifest, &listing, &folder, &kinds);
        let Counts { mapped, left_out, disagreements } = counts;
        println!("{}: {mapped} mapped, {left_out} left out, {disagreements} disagreements", manifest.id);
        total.mapped += mapped;
        total.left_out += left_out;
        total.disagreements += disagreements;
    }
    let Counts { mapped, left_out, disagreements } = total;
    println!("all: {mapped} mapped, {left_out} left out, {disagreements} disagreements");
    assert!(mapped > 0);
}

#[test]
fn every_listing_belongs_to_a_provider() {
    let known: BTreeSet<String> = manifests().into_iter().map(|manifest| manifest.id).collect();
    for path in files(&root().join("tests/fixtures/samples"), "yaml") {
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(&id), "{}: there is no provider {id}", path.display());
        for one in listing(&id).unwrap().samples {
            let (at, reason) = match &one {
                Sample::LeftOut(left_out) => (&left_out.file, Some(&left_out.left_out)),
                Sample::Mapped(mapped) => (&mapped.file, mapped.disagrees.as_ref()),
            };
            assert!(reason.is_none_or(|text| text.trim().ends_with('.')), "{id}: {at}: a reason is a sentence");
        }
    }
}

fn listing(id: &str) -> Option<Listing> {
    let path = root().join("tests/fixtures/samples").join(format!("{id}.yaml"));
    let yaml = fs::read_to_string(&path).ok()?;
    Some(serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The kind of every sample (`real`, `doc`, `mock`, `built`), by its path.
fn kinds(folder: &Path) -> BTreeMap<String, String> {
    let table = fs::read_to_string(folder.join("SOURCES.md")).unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    rows.filter(|(path, _)| path.contains('/')).collect()
}

fn compare(manifest: &Manifest, listing: &Listing, folder: &Path, kinds: &BTreeMap<String, String>) -> Counts {
    let id = &manifest.id;
    let own = listing.folder.as_ref().unwrap_or(id);
    let mut counts = Counts::default();
    let mut listed = BTreeSet::new();
    for one in &listing.samples {
        // A name with a slash lies in the folder of another.
        let path = if one.file().contains('/') { one.file().to_owned() } else { format!("{own}/{}", one.file()) };
        assert!(kinds.contains_key(&path), "{id}: no source of samples names {path}");
        match one {
            Sample::LeftOut(_) => counts.left_out += 1,
            Sample::Mapped(mapped) => {
                check(manifest, mapped, &folder.join(&path));
                counts.mapped += 1;
                counts.disagreements += usize::from(mapped.disagrees.is_some());
            }
        }
        listed.insert(path);
    }
    let is_due = |path: &&String| path.split('/').next() == Some(own.as_str());
    let missing: Vec<&String> = kinds
        .iter()
        .filter(|(_, kind)| matches!(kind.as_str(), "real" | "doc"))
        .map(|(path, _)| path)
        .filter(is_due)
        .filter(|path| !listed.contains(*path))
        .collect();
    assert!(missing.is_empty(), "{id}: mapped or left out, each is listed: {missing:?}");
    counts
}

fn check(manifest: &Manifest, mapped: &Mapped, path: &Path) {
    let at = path.display();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{at}: {error}"));
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{at}: {error}"));
    let observable =
        about(mapped, &body).unwrap_or_else(|| panic!("{at}: about {:?} is no {}", mapped.about, mapped.kind));
    assert!(manifest.takes(&observable), "{at}: {} does not take it", manifest.id);
    let body = mapped.at.as_ref().map_or(&body, |pointer| body.pointer(pointer).unwrap());
    let body = mapped.below.iter().rev().fold(body.clone(), |inner, name| json!({ name: inner }));
    let outcome = interpret(manifest, &observable, Ok(&answer(mapped.status, &body.to_string())), now());
    assert_eq!((outcome.outcome, &outcome.reason), (mapped.outcome, &mapped.reason), "{at}: {outcome:?}");
    let opinion = outcome.opinion.as_ref();
    let said = opinion.map(|opinion| (opinion.verdict, opinion.score));
    let expected = mapped.verdict.zip(mapped.score);
    assert_eq!(said, expected, "{at}: {outcome:?}");
}

fn about(mapped: &Mapped, body: &Value) -> Option<Observable> {
    let Some(about) = &mapped.about else { return Some(sample(mapped.kind)) };
    let value = if about.starts_with('/') { body.pointer(about)?.as_str()? } else { about };
    let value = match &mapped.between {
        Some((before, after)) => value.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?,
        None => value,
    };
    // Some list addresses with their port.
    let value = if mapped.kind == ObservableType::Ipv4Addr { value.split(':').next()? } else { value };
    Observable::parse(mapped.kind, value).ok()
}
