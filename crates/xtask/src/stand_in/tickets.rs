//! Jira, GitHub issues and Slack: they keep what they are sent, and refuse what the real ones would.
//!
//! Everything that a reader could click, or that would call somebody, is noted, so that a test can look for it.

mod github;
mod jira;
mod slack;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use playbook::lookup::Answer;
use serde::Serialize;
use serde_json::Value;

/// A system that keeps tickets or messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Jira Cloud.
    Jira,
    /// GitHub issues.
    Github,
    /// Slack.
    Slack,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Jira, Self::Github, Self::Slack];

    /// The id of the target's manifest.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Jira => "jira",
            Self::Github => "github",
            Self::Slack => "slack",
        }
    }

    /// The host that it answers on.
    #[must_use]
    pub const fn host(self) -> &'static str {
        match self {
            Self::Jira => "jira.corp.example",
            Self::Github => "api.github.com",
            Self::Slack => "slack.com",
        }
    }
}

/// An issue or a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// `SEC-1`, `1` or `1700000001.000100`.
    pub key: String,
    /// The title; of a message what notifications say.
    pub title: String,
    /// The text, as it is read.
    pub text: String,
    /// The priority, the severity's label, or nothing.
    pub severity: String,
    /// Labels; of a message what its metadata says.
    pub labels: Vec<String>,
    /// Whether it was closed, and how; a message never is.
    pub closed: Option<String>,
    /// How often it was edited, closing not counted.
    pub edits: usize,
    /// What in it could be clicked, or would call somebody.
    pub live: Vec<String>,
}

/// What goes wrong with the next call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 500, and nothing was done.
    FailsBefore,
    /// 500, although it was done.
    FailsAfter,
    /// 429, for a second.
    Throttles,
    /// 400: this one is never taken.
    Refuses,
    /// 401: the secret is not taken.
    Denies,
}

/// The three systems.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    issues: BTreeMap<System, Vec<Issue>>,
    trouble: BTreeMap<System, Vec<Trouble>>,
    /// For every call whose body holds the text.
    lasting: Vec<(System, String, Trouble)>,
    calls: BTreeMap<System, usize>,
}

impl State {
    /// What goes wrong with this call: what lasts comes before what comes once.
    fn next_trouble(&mut self, system: System, body: &[u8]) -> Option<Trouble> {
        let body = String::from_utf8_lossy(body);
        let lasts = self.lasting.iter().find(|(known, text, _)| *known == system && body.contains(text.as_str()));
        if let Some((.., trouble)) = lasts {
            return Some(*trouble);
        }
        let once = self.trouble.entry(system).or_default();
        if once.is_empty() { None } else { Some(once.remove(0)) }
    }
}

/// A request as a system sees it.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a [(String, String)],
    body: &'a [u8],
}

impl Asked<'_> {
    fn header(&self, name: &str) -> &str {
        let named = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map_or("", |(_, value)| value.as_str())
    }

    fn bearer(&self) -> Option<&str> {
        self.header("authorization").strip_prefix("Bearer ").filter(|token| !token.is_empty())
    }

    fn json(&self) -> Option<Value> {
        let is_json = self.header("content-type").starts_with("application/json");
        is_json.then(|| serde_json::from_slice(self.body).ok()).flatten()
    }

    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes()).find(|(known, _)| known == name).map(|(_, v)| v.into_owned())
    }
}

impl Tickets {
    /// Answers a request; `None` for a host of somebody else.
    #[must_use]
    pub fn answer(
        &self,
        host: &str,
        method: &str,
        path_and_query: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Option<Answer> {
        let system = System::ALL.into_iter().find(|system| system.host() == host)?;
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let asked = Asked { method, path, query, headers, body };
        Some(self.with(|state| {
            *state.calls.entry(system).or_default() += 1;
            let trouble = if changes(system, &asked) { state.next_trouble(system, body) } else { None };
            match trouble {
                Some(Trouble::FailsBefore) => return super::text(500, "Internal Server Error"),
                Some(Trouble::Throttles) => {
                    let mut answer = super::text(429, "Too Many Requests");
                    answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
                    return answer;
                }
                Some(Trouble::Refuses) => return super::text(400, "Bad Request"),
                Some(Trouble::Denies) => return super::text(401, "Unauthorized"),
                Some(Trouble::FailsAfter) | None => {}
            }
            let issues = state.issues.entry(system).or_default();
            let answer = match system {
                System::Jira => jira::answer(issues, &asked),
                System::Github => github::answer(issues, &asked),
                System::Slack => slack::answer(issues, &asked),
            };
            if trouble == Some(Trouble::FailsAfter) { super::text(500, "Internal Server Error") } else { answer }
        }))
    }

    /// What a system holds, in the order of opening.
    #[must_use]
    pub fn issues(&self, system: System) -> Vec<Issue> {
        self.with(|state| state.issues.get(&system).cloned().unwrap_or_default())
    }

    /// What every system holds, by its id.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, Vec<Issue>> {
        self.with(|state| state.issues.iter().map(|(system, issues)| (system.id(), issues.clone())).collect())
    }

    /// How many requests a system has had.
    #[must_use]
    pub fn calls(&self, system: System) -> usize {
        self.with(|state| state.calls.get(&system).copied().unwrap_or_default())
    }

    /// The next call that changes something goes wrong; called again, the one after it.
    pub fn trouble(&self, system: System, trouble: Trouble) {
        self.with(|state| state.trouble.entry(system).or_default().push(trouble));
    }

    /// Every call that changes something and whose body holds this text goes wrong, from now on.
    pub fn trouble_about(&self, system: System, text: &str, trouble: Trouble) {
        self.with(|state| state.lasting.push((system, text.to_owned(), trouble)));
    }

    /// What was going wrong about this text goes right again.
    pub fn no_trouble_about(&self, system: System, text: &str) {
        self.with(|state| state.lasting.retain(|(known, about, _)| *known != system || about != text));
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Searching changes nothing, whatever its method.
fn changes(system: System, asked: &Asked<'_>) -> bool {
    match system {
        System::Jira => asked.path != "/rest/api/3/search/jql",
        System::Github => asked.path != "/graphql",
        System::Slack => asked.path != "/api/conversations.history",
    }
}

fn text_of<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
