//! An outcome: what became of one lookup; and the opinion that came with it.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Why an outcome is pending: the provider works on it.
pub const PENDING_SUBMITTED: &str = "submitted";

/// What became of one lookup. Never merged: silence is not innocence, and an outage is not silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The provider knows the observable.
    Found,
    /// The provider answered that it does not know the observable.
    NotFound,
    /// The provider failed, timed out or answered garbage.
    Error,
    /// The provider's limit is used up.
    RateLimited,
    /// We did not ask; the reason says why.
    Skipped,
    /// The answer is still to come.
    Pending,
}

impl Status {
    /// The provider has answered: `found` or `not_found`.
    #[must_use]
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Found | Self::NotFound)
    }

    /// We asked or wanted to, and have no answer: `error`, `rate_limited` or `pending`.
    #[must_use]
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::Error | Self::RateLimited | Self::Pending)
    }

    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Error => "error",
            Self::RateLimited => "rate_limited",
            Self::Skipped => "skipped",
            Self::Pending => "pending",
        }
    }
}

/// What a provider says, or what the playbook concludes, of an observable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Nothing is said.
    Unknown,
    /// Explicitly harmless.
    Benign,
    /// Possibly harmful.
    Suspicious,
    /// Harmful.
    Malicious,
}

impl Judgement {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Benign => "benign",
            Self::Suspicious => "suspicious",
            Self::Malicious => "malicious",
        }
    }
}

/// How far a source is trusted: the Admiralty letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Grade {
    /// Completely reliable.
    A,
    /// Usually reliable.
    B,
    /// Fairly reliable.
    C,
    /// Not usually reliable.
    D,
    /// Unreliable.
    E,
    /// The incident's own source: cannot be judged.
    F,
}

impl Grade {
    /// The weight of a fresh opinion of this grade, 0–100.
    #[must_use]
    pub const fn weight(self) -> u32 {
        match self {
            Self::A => 100,
            Self::B => 75,
            Self::C => 50,
            Self::D | Self::F => 25,
            Self::E => 0,
        }
    }

    /// The lower of the two: a mapping may lower its grade, never raise it.
    #[must_use]
    pub fn at_most(self, ceiling: Self) -> Self {
        if self.weight() > ceiling.weight() || (self.weight() == ceiling.weight() && self < ceiling) {
            ceiling
        } else {
            self
        }
    }
}

/// What one provider says of one observable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// The judgement.
    pub verdict: Judgement,
    /// How bad, 0–100.
    pub score: u8,
    /// How far the mapping trusts this very answer, where it says so; it never raises the grade of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// Whether the source only repeats what we have written there ourselves: then it counts for nothing.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub own: bool,
    /// For aggregators: the families whose data this opinion repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// Free words: malware family, threat type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// One sentence a person can read; hostile text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Where a person can look it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permalink: Option<String>,
    /// When the provider itself last saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// What a provider has said before, of a lookup that has brought no answer now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// What it said then.
    pub opinion: Opinion,
    /// When the answer was fetched.
    pub fetched_at: Timestamp,
}

/// What became of one lookup of one observable at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The provider's id.
    pub provider: String,
    /// The independent upstream whose data the provider repeats; `self` for our own marker.
    pub family: String,
    /// Whether the provider only gives context: then it never weighs, and neither its answer nor its silence counts.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub context: bool,
    /// What became of the lookup.
    pub outcome: Status,
    /// Why, for everything but `found` and `not_found`: a short fixed word such as `timeout`, `http_500`, `no_key`, `tlp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the provider says, when it knows the observable and opines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinion: Option<Opinion>,
    /// When the answer was fetched.
    pub fetched_at: Timestamp,
    /// When the answer is too old to be used again; of one that is still to come, when it is asked for again.
    pub expires_at: Timestamp,
    /// The manifest that made this of the answer.
    pub manifest_digest: String,
    /// Whether it came from the cache.
    #[serde(default)]
    pub cached: bool,
    /// Of a submitted one that is pending: what the provider calls the work. Whoever asks next asks for its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of one that has failed: what the provider said the last time, not long after that answer's lifetime. It may raise a
    /// verdict, never lower one, and the lookup stays failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Box<Stale>>,
}

impl Stale {
    /// Whether it speaks against the observable: only then it counts.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(self.opinion.verdict, Judgement::Malicious | Judgement::Suspicious)
    }
}

/// Reasons of a source that is off for everybody, whatever is asked. `pap` is one of them: every incident has the same mark.
const OFF: [&str; 5] = ["disabled", "terms", "documented", "no_key", "pap"];

/// Reasons of an error that nobody has said: there was no answer.
const SILENCE: [&str; 4] = ["timeout", "dns", "tls", "unreachable"];

impl Outcome {
    /// Whether nothing came back from the source at all: it was too slow, has no address, no certificate or no connection.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        self.outcome == Status::Error && self.reason.as_deref().is_some_and(|reason| SILENCE.contains(&reason))
    }

    /// Whether the source is off in this deployment: it was never to be asked, about anything.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.outcome == Status::Skipped && self.reason.as_deref().is_some_and(|reason| OFF.contains(&reason))
    }
}
