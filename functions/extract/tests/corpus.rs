//! Real phishing mails with their links as truth, where the shared corpus is at hand; they may not be copied in here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::{collections::HashSet, fs};

use common::{extraction, root};
use ioc::{Observable, ObservableType};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    file: String,
    expect: Expect,
}

#[derive(Debug, Deserialize)]
struct Expect {
    #[serde(default)]
    url: Vec<String>,
    #[serde(default)]
    email: Vec<String>,
}

#[derive(Debug, Default)]
struct Recall {
    found: usize,
    expected: usize,
}

impl Recall {
    fn count(
        &mut self,
        id: &str,
        kind: ObservableType,
        expected: &[String],
        found: &HashSet<(ObservableType, String)>,
    ) {
        for text in expected {
            let value = Observable::parse(kind, text).map_or_else(|_| text.clone(), |o| o.value().to_owned());
            let is_found = found.contains(&(kind, value.to_lowercase()));
            self.expected += 1;
            self.found += usize::from(is_found);
            if !is_found {
                println!("missed {id} {kind} {}", ioc::defang_text(text));
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a thousand links")]
    fn share(&self) -> f64 {
        self.found as f64 / self.expected as f64
    }
}

#[test]
fn links_of_real_phishing_mails_are_found() {
    let folder = root().join("../shared/extraction");
    let Ok(cases) = fs::read_to_string(folder.join("eml.jsonl")) else {
        println!("no corpus at {}: nothing was measured", folder.display());
        return;
    };
    let (mut urls, mut emails) = (Recall::default(), Recall::default());
    let mut lines = String::new();
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let extraction = extraction(&fs::read(folder.join(&case.file)).unwrap());
        let of = |kind: ObservableType| -> Vec<&str> {
            extraction
                .observables
                .iter()
                .map(|s| &s.observable)
                .filter(|o| o.kind() == kind)
                .map(Observable::value)
                .collect()
        };
        lines += &serde_json::json!({"id": case.id, "found": {"url": of(ObservableType::Url), "email": of(ObservableType::EmailAddr), "domain": of(ObservableType::DomainName)}}).to_string();
        lines.push('\n');
        let found =
            extraction.observables.iter().map(|s| (s.observable.kind(), s.observable.value().to_lowercase())).collect();
        urls.count(&case.id, ObservableType::Url, &case.expect.url, &found);
        emails.count(&case.id, ObservableType::EmailAddr, &case.expect.email, &found);
    }
    // For score.py, which compares in its own way.
    if let Some(path) = std::env::var_os("FOUND") {
        fs::write(path, lines).unwrap();
    }
    println!("urls {urls:?} {:.4}, senders {emails:?} {:.4}", urls.share(), emails.share());
    assert!(urls.share() >= 0.97, "urls: {:.4}", urls.share());
    // Some senders are no addresses at all, such as `no-reply@????.????`.
    assert!(emails.share() >= 0.95, "senders: {:.4}", emails.share());
}
