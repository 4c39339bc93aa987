//! What all files that authors write have in common: how they are read, where a complaint stands, and when one is off.

use serde::de::DeserializeOwned;

use crate::manifest::Terms;

/// Something wrong in a file, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Complaint {
    /// The file, as it was named to us.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Reads YAML; `file` names it in messages.
pub fn read<T: DeserializeOwned>(yaml: &str, file: &str) -> Result<T, Complaint> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        // The reader repeats the place, and an excerpt of the file: the first words say it all.
        let whole = error.without_snippet().to_string();
        let message = whole.split(" at line ").next().and_then(|text| text.lines().next()).unwrap_or_default();
        Complaint { file: file.to_owned(), line, message: message.to_owned() }
    })
}

/// The line of a nested key: each key is looked for below the one before, as far as they are found.
#[must_use]
pub fn line_of(yaml: &str, keys: &[&str]) -> u64 {
    let mut found = 1;
    let mut lines = (1_u64..).zip(yaml.lines());
    for key in keys {
        let is_it = |line: &str| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        match lines.find(|(_, line)| is_it(line)) {
            Some((number, _)) => found = number,
            None => break,
        }
    }
    found
}

/// What is wrong, before it has a place: the top-level key it is about, a text in that key's part of the file, and the
/// message.
pub(crate) struct Wrong {
    pub(crate) key: &'static str,
    pub(crate) near: String,
    pub(crate) message: String,
}

pub(crate) type Checked = Result<(), Wrong>;

impl Wrong {
    pub(crate) fn new(key: &'static str, near: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key, near: near.into(), message: message.into() }
    }

    /// With its place: the first line that holds `near` in the part of the file that belongs to the key, or the key's own.
    pub(crate) fn within(self, yaml: &str, file: &str) -> Complaint {
        let near = self.near.lines().next().unwrap_or_default().trim();
        let mut own = 1;
        let mut inside = false;
        for (number, line) in (1_u64..).zip(yaml.lines()) {
            if line.strip_prefix(self.key).is_some_and(|rest| rest.starts_with(':')) {
                (own, inside) = (number, true);
            } else if !line.starts_with([' ', '-', '#']) && !line.is_empty() {
                inside = false;
            }
            if inside && !near.is_empty() && line.contains(near) {
                own = number;
                break;
            }
        }
        Complaint { file: file.to_owned(), line: own, message: self.message }
    }
}

pub(crate) fn complain(key: &'static str, near: impl Into<String>, message: impl Into<String>) -> Checked {
    Err(Wrong::new(key, near, message))
}

/// That the file is called as its id.
pub(crate) fn named_as(id: &str, file: &str) -> Checked {
    let stem = file.rsplit(['/', '\\']).next().unwrap_or_default().split('.').next().unwrap_or_default();
    if stem.is_empty() || stem == id {
        return Ok(());
    }
    complain("id", "", format!("id: it is {id:?}, but the file is called {stem}.yaml"))
}

/// Whether it is an id: lower-case letters, digits and hyphens, at most 40.
pub(crate) fn is_id(text: &str) -> bool {
    is_word(text, '-')
}

/// Whether it is lower-case letters, digits and one more character, at most 40.
pub(crate) fn is_word(text: &str, also: char) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=40).contains(&text.len()) && text.starts_with(is_plain) && text.chars().all(|c| is_plain(c) || c == also)
}

/// Why a manifest is not used, if it is not: `disabled` or `terms`.
pub(crate) fn off_reason(enabled: bool, terms: Option<&Terms>) -> Option<&'static str> {
    if !enabled {
        Some("disabled")
    } else if terms.is_some_and(|terms| !terms.acknowledged) {
        Some("terms")
    } else {
        None
    }
}

/// For serde: what is on unless somebody says otherwise.
pub(crate) const fn yes() -> bool {
    true
}
