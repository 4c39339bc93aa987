//! The contract of a provider: cases that say how it is asked and what an answer of it means.

use std::collections::{BTreeMap, BTreeSet};

use ioc::{Observable, ObservableType};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Timestamp,
    authored::{self, Complaint},
    grades::Grades,
    lookup::{Answer, Request, interpret, prepare, prepare_at, questions},
    manifest::{Manifest, ProviderKind},
    outcome::{Grade, Judgement, Outcome, Status},
    ports::Secret,
};

/// The key of every case.
const DUMMY_KEY: &str = "dummy-key";
/// Stands for the host that a bootstrap file names.
const BASE: &str = "https://rdap.registry.example/v1/";

/// One case: an observable, the answer, and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is asked about.
    pub observable: Observable,
    /// What the provider answers.
    pub answer: CaseAnswer,
    /// What that means.
    pub expect: Expected,
    /// How it is asked. For http.
    #[serde(default)]
    pub request: Option<ExpectedRequest>,
    /// How it is asked: each `name RECORD`. For dns.
    #[serde(default)]
    pub questions: Vec<String>,
}

/// What a provider answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    pub body: Value,
}

/// What an answer means. What is not said may be anything, but for `reason`, `verdict`, `score` and `grade`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The outcome.
    pub outcome: Status,
    /// Its reason.
    pub reason: Option<String>,
    /// The opinion's verdict.
    pub verdict: Option<Judgement>,
    /// Its score.
    pub score: Option<u8>,
    /// How far it is trusted, within what `playbook/grades.yaml` says of the source.
    pub grade: Option<Grade>,
    /// Whose data it repeats.
    pub upstreams: Option<Vec<String>>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its sentence.
    pub evidence: Option<String>,
    /// Where a person can look.
    pub permalink: Option<String>,
    /// When the provider last saw it.
    pub last_seen: Option<String>,
}

/// A request as it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRequest {
    /// The method.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

impl ExpectedRequest {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method.as_str().to_owned(),
            url: request.url.to_string(),
            headers: request.headers.iter().cloned().collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        }
    }
}

impl Case {
    /// Reads a case; `file` is only for messages.
    pub fn parse(yaml: &str, file: &str) -> Result<Self, Complaint> {
        authored::read(yaml, file)
    }

    /// The answer as it would come in.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let body = match &self.answer.body {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let headers = self.answer.headers.clone().into_iter().collect();
        Answer { status: self.answer.status, headers, body: body.into_bytes() }
    }

    /// Everything in which the manifest differs from the case, a sentence each; empty when it does what the case says.
    #[must_use]
    pub fn differences(&self, manifest: &Manifest, grades: &Grades, now: Timestamp) -> Vec<String> {
        if !manifest.takes(&self.observable) {
            return vec![format!("the provider does not take {}", self.observable.key())];
        }
        let mut differences = vec![];
        self.compare_request(manifest, &mut differences);
        let outcome = interpret(manifest, &self.observable, Ok(&self.answer()), now);
        self.expect.compare((manifest, grades), &self.observable, &outcome, &mut differences);
        differences
    }

    fn compare_request(&self, manifest: &Manifest, differences: &mut Vec<String>) {
        let key = Secret::new(DUMMY_KEY);
        match manifest.kind {
            ProviderKind::Http => {
                let made = match (manifest.hosts_from, BASE.parse()) {
                    (Some(_), Ok(base)) => prepare_at(manifest, &self.observable, &base),
                    _ => prepare(manifest, &self.observable, Some(&key)),
                };
                match (made, &self.request) {
                    (Err(refusal), _) => differences.push(format!("no request can be made: {refusal}")),
                    (Ok(request), Some(expected)) => {
                        let request = ExpectedRequest::of(&request);
                        differ("request", expected, &request, differences);
                    }
                    (Ok(_), None) => {}
                }
            }
            ProviderKind::Dns => match questions(manifest, &self.observable, Some(&key)) {
                Err(refusal) => differences.push(format!("no question can be made: {refusal}")),
                Ok(made) => {
                    let names: Vec<String> =
                        made.iter().map(|q| format!("{} {:?}", q.asked.name, q.asked.record).to_uppercase()).collect();
                    let expected: Vec<String> = self.questions.iter().map(|name| name.to_uppercase()).collect();
                    if !expected.is_empty() {
                        differ("questions", &expected, &names, differences);
                    }
                    if made.iter().any(|question| format!("{question:?}").contains(DUMMY_KEY)) {
                        differences.push("the key is shown where a question is".to_owned());
                    }
                }
            },
            ProviderKind::List => {}
        }
    }
}

impl Expected {
    fn compare(
        &self,
        (manifest, grades): (&Manifest, &Grades),
        observable: &Observable,
        outcome: &Outcome,
        differences: &mut Vec<String>,
    ) {
        differ("outcome", &self.outcome, &outcome.outcome, differences);
        differ("reason", &self.reason, &outcome.reason, differences);
        if outcome.expires_at <= outcome.fetched_at {
            differences.push("the outcome has no lifetime".to_owned());
        }
        let opinion = outcome.opinion.as_ref();
        differ("verdict", &self.verdict, &opinion.map(|o| o.verdict), differences);
        differ("score", &self.score, &opinion.map(|o| o.score), differences);
        // Context has no grade.
        let ceiling = grades.of(manifest, observable.kind()).filter(|_| manifest.opines);
        let grade =
            opinion.and_then(|o| Some(o.grade.map_or(ceiling?, |said| ceiling.map_or(said, |c| said.at_most(c)))));
        differ("grade", &self.grade.filter(|_| manifest.opines), &grade, differences);
        let Some(opinion) = opinion else { return };
        let last_seen = opinion.last_seen.map(|seen| seen.to_string());
        told("evidence", self.evidence.as_ref(), opinion.evidence.as_ref(), differences);
        told("permalink", self.permalink.as_ref(), opinion.permalink.as_ref(), differences);
        told("last_seen", self.last_seen.as_ref(), last_seen.as_ref(), differences);
        told("tags", self.tags.as_ref(), Some(&opinion.tags), differences);
        told("upstreams", self.upstreams.as_ref(), Some(&opinion.upstreams), differences);
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T, differences: &mut Vec<String>) {
    if expected != got {
        differences.push(format!("{what}: the case says {expected:?}, the manifest gives {got:?}"));
    }
}

/// The same where the case may leave it out.
fn told<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: Option<&T>,
    got: Option<&T>,
    differences: &mut Vec<String>,
) {
    if expected.is_some() && expected != got {
        differences.push(format!("{what}: the case says {expected:?}, the manifest gives {got:?}"));
    }
}

/// The types of the provider whose request no case shows.
#[must_use]
pub fn unshown<'a>(manifest: &Manifest, cases: impl IntoIterator<Item = &'a Case>) -> BTreeSet<ObservableType> {
    let mut missing: BTreeSet<ObservableType> = manifest.types.iter().copied().collect();
    for case in cases {
        let is_shown = case.request.is_some() || !case.questions.is_empty() || manifest.kind == ProviderKind::List;
        if is_shown {
            missing.remove(&case.observable.kind());
        }
    }
    missing
}
