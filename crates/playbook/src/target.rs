//! A target: where indicators, tickets and notices are written, described by `playbook/targets/<id>.yaml`.

pub mod text;
mod validate;

use std::collections::BTreeMap;

use ioc::ObservableType;
use serde::{Deserialize, Serialize};

use crate::{
    authored::{self, Complaint, yes},
    manifest::{Method, Terms},
};

/// A target's manifest (`target/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `target/1`.
    pub schema: String,
    /// The id: the file's name without `.yaml`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it is written to.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Terms that must be acknowledged first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// How it is written.
    pub kind: TargetKind,
    /// What an entry does there.
    pub effect: Effect,
    /// What it takes; none for `tickets` and `notifies`, which take incidents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<ObservableType>,
    /// Whether every call that would change something is only noted, never sent.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub dry_run: bool,
    /// The id of its secret; absent where no key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A DNS name; every call goes there, over https, to port 443. Only for http.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// How long one call may take; 100 to 30,000. Only for http.
    #[serde(default = "five_seconds")]
    pub timeout_ms: u32,
    /// What the author fills in, such as the project or the repository: `{settings.project}` in a path, `settings.project`
    /// in an expression.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The calls. Only for http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Calls>,
    /// The sets. Only for `waf_ip_set`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_sets: Option<IpSetArns>,
}

const fn five_seconds() -> u32 {
    5_000
}

/// How a target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A text list of our own that firewalls fetch.
    ServedList,
    /// Over https, as its calls say.
    Http,
    /// IP sets of AWS WAF, one for IPv4 and one for IPv6.
    WafIpSet,
}

/// What an entry does at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A threat database: it informs.
    Records,
    /// A watchlist: it alerts.
    Detects,
    /// A block list: it blocks.
    Enforces,
    /// A ticket system: one ticket an incident.
    Tickets,
    /// A channel: people are told once a run.
    Notifies,
}

/// ARNs of the IP sets that are written to. The template never makes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IpSetArns {
    /// The set of IPv4 networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// The set of IPv6 networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// The calls of an http target. `write` is needed; of an entry also `undo`, of a ticket `precheck` and `update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Looks whether it is there already: before the first write, and after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precheck: Option<Call>,
    /// Writes the entry, opens the ticket, tells the people.
    pub write: Call,
    /// Looks whether it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<Call>,
    /// Brings a ticket or a message up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Call>,
    /// Takes an entry back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Call>,
    /// Closes a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<Call>,
}

/// One call. Expressions are JSONata over the call's document (docs/PROVIDERS.md, "Writing a target"); those that read an
/// answer also see `status` and `body`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path below the host, from `/`; may hold `{value}`, `{external_id}` and `{settings.<name>}`, each within one segment.
    pub path: String,
    /// Query parameters; the same placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers; may hold `{secret}` and `{secret|basic}`, nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body: an expression that gives a JSON document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// When the answer means that it worked. Without it: status 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_when: Option<String>,
    /// When the answer means that it was there already, which is as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_when: Option<String>,
    /// `precheck` and `read_back`: when the answer means that it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_when: Option<String>,
    /// `precheck`: when what is there carries our own marker, so that we may remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours_when: Option<String>,
    /// What it is called there: a text or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where people look at it: an https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permalink: Option<String>,
}

impl Call {
    /// Whether it would change something there: every call but those that look.
    #[must_use]
    pub const fn changes(&self) -> bool {
        self.found_when.is_none()
    }
}

impl Target {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "target/1";

    /// Reads and checks a manifest; unknown keys are errors. `file` is only for messages.
    pub fn parse(yaml: &str, file: &str) -> Result<Self, Complaint> {
        validate::parse(yaml, file)
    }

    /// What is wrong with the manifest, a sentence each; empty when it can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        validate::faults(self)
    }

    /// Why it is not written to, if it is not: `disabled` or `terms`.
    #[must_use]
    pub fn off_reason(&self) -> Option<&'static str> {
        authored::off_reason(self.enabled, self.terms.as_ref())
    }

    /// What is written into every entry of ours, so that we know it again.
    #[must_use]
    pub fn marker() -> &'static str {
        "ioc-enrichment-playbook"
    }
}
