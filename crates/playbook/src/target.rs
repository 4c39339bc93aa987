//! A target: where indicators are written, described by `playbook/targets/<id>.yaml`.

use ioc::ObservableType;
use serde::{Deserialize, Serialize};

/// A target's manifest (`target/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `target/1`.
    pub schema: String,
    /// The id: the file's name without `.yaml`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it is written.
    pub kind: TargetKind,
    /// What an entry does there.
    pub effect: Effect,
    /// What it takes.
    pub types: Vec<ObservableType>,
}

/// How a target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A text list of our own that firewalls fetch.
    ServedList,
}

/// What an entry does at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A threat database: it informs.
    Records,
    /// A watchlist: it alerts.
    Detects,
    /// A block list: it blocks.
    Enforces,
}

impl Target {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "target/1";
}
