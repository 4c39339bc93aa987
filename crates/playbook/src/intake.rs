//! What comes in, described by `playbook/intake/<id>.yaml`: alerts at the door, events of AWS, feeds that are fetched.

pub mod alert;
pub mod feed;
pub mod fingerprint;
mod validate;

use std::collections::BTreeMap;

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    authored::{self, yes},
    incident::EvidenceRef,
    manifest::{Terms, Tlp},
    rows::Key,
    severity::Severity,
};

/// The manifest of a source (`intake-source/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IntakeSource {
    /// `intake-source/1`.
    pub schema: String,
    /// The file's name without `.yaml`; also the source of its incidents and the last word of its address.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it is heard or fetched.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Terms that must be acknowledged first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Whose incidents they are: decided by the source, never by what it sends.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// It is sent to `POST <api>/alerts/<id>`. Exactly one of `webhook`, `event` and `feed` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// It comes as an event on the default bus of `EventBridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// It is fetched by `poll-feeds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
    /// JSONata that makes alerts or entries of what came in.
    pub mapping: String,
}

/// Alerts that are sent to us; the secret `<secret>` is shared with the sender: `cargo xtask secret set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How the sender shows who it is.
    pub auth: Auth,
    /// The id of the secret; several may be set, separated by a line break, while keys are changed.
    pub secret: String,
}

/// Events of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `source` of the event, such as `aws.guardduty`.
    pub source: String,
    /// `detail-type` of the event.
    pub detail_type: String,
}

/// How a sender shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// HMAC-SHA256 over id, time and body, as Standard Webhooks has it: headers `webhook-id`, `webhook-timestamp`,
    /// `webhook-signature`.
    Hmac,
    /// The secret is the last segment of the path, for senders that cannot sign.
    PathSecret,
}

/// A feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// A DNS name; fetched over https.
    pub host: String,
    /// Path below the host, from `/`.
    pub path: String,
    /// Query parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers; may hold `{secret}` and `{secret|basic}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The id of its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What it is written in.
    pub format: Format,
    /// Minutes between two fetches; 5 to 10,080.
    pub every_minutes: u32,
    /// What becomes of the entries.
    pub becomes: Becomes,
    /// The independent upstream whose data it repeats, as providers name it; its own id when absent. Of incidents that it
    /// reports, the same family is not counted twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// How it may be shared.
    pub tlp: Tlp,
    /// The most entries that it may have; with more the fetch has failed.
    #[serde(default = "many")]
    pub entries_max: usize,
}

/// What a feed is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One indicator a line; `#` and `;` begin comments. The mapping sees `{line}`.
    Text,
    /// Comma-separated; `#` begins comments. The first line names the columns, or the last comment before it. The mapping sees
    /// `{row}`, the columns by name.
    Csv,
    /// One JSON document. The mapping sees `{body}` and gives all entries, at most 10,000; nothing where the document has
    /// not the shape that it expects.
    Json,
    /// A collection of TAXII 2.1, read from where it was left. The mapping sees `{object, indicators}` of each STIX object
    /// that has indicators, each `{type, value}`.
    Taxii,
}

/// What becomes of a feed's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Becomes {
    /// A list that a provider of kind `list` looks into.
    List,
    /// Entries that are new since the last fetch become incidents, of 500 observables at most. The first fetch of a
    /// document is only what later ones are compared with; of a collection of TAXII everything is news.
    Incidents,
}

fn default_tenant() -> String {
    "default".to_owned()
}

const fn many() -> usize {
    1_000_000
}

impl IntakeSource {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "intake-source/1";

    /// Why it is not heard or fetched, if it is not: `disabled` or `terms`.
    #[must_use]
    pub fn off_reason(&self) -> Option<&'static str> {
        authored::off_reason(self.enabled, self.terms.as_ref())
    }
}

/// An alert as the playbook reads it (`alert/1`): the evidence of an incident of kind `alert` or `feed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// `alert/1`.
    pub schema: String,
    /// Which source.
    pub source: String,
    /// The source's own id.
    pub native_id: String,
    /// One line; hostile text.
    pub title: String,
    /// What the source says of the severity.
    pub severity: Severity,
    /// How it may be shared.
    #[serde(default)]
    pub tlp: Tlp,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Indicators that the mapping names.
    #[serde(default)]
    pub observables: Vec<Named>,
    /// Free texts that are searched for more.
    #[serde(default)]
    pub texts: Vec<String>,
    /// Hosts and accounts of ours that it is about.
    #[serde(default)]
    pub assets: Vec<String>,
    /// Whether the source let the traffic pass; `None` where it does not say.
    #[serde(default)]
    pub was_allowed: Option<bool>,
    /// Where the source shows it: an https URL.
    #[serde(default)]
    pub permalink: Option<String>,
    /// What came in, as it came.
    #[serde(default)]
    pub raw: Value,
}

/// An indicator that a mapping names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ObservableType,
    /// As the source spells it.
    pub value: String,
    /// What the source says of it, in a few words; hostile text.
    #[serde(default)]
    pub role: Option<String>,
}

impl Alert {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "alert/1";
}

/// Where a feed stands (`feed/1`): `feed#<id>` / `state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// `feed/1`.
    pub schema: String,
    /// When it was last fetched, or found unchanged.
    #[serde(default)]
    pub fetched_at: Option<Timestamp>,
    /// When it is to be fetched next.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
    /// For the conditional fetch.
    #[serde(default)]
    pub etag: Option<String>,
    /// For the conditional fetch.
    #[serde(default)]
    pub last_modified: Option<String>,
    /// TAXII: `X-TAXII-Date-Added-Last` of what was read to its end.
    #[serde(default)]
    pub watermark: Option<String>,
    /// TAXII: the server's word for the page to go on with, while what is behind the watermark is not read to its end.
    #[serde(default)]
    pub next: Option<String>,
    /// Digest of the place it was read from: `Feed::origin`.
    #[serde(default)]
    pub origin: String,
    /// SHA-256 of the mapping that read it.
    #[serde(default)]
    pub mapping_digest: String,
    /// When the first list was kept without an incident, so that only what came later is news.
    #[serde(default)]
    pub baseline_at: Option<Timestamp>,
    /// The compiled list: NDJSON, `{"key": <observable key>, "entry": …}` a line, sorted by key.
    #[serde(default)]
    pub list: Option<EvidenceRef>,
    /// Entries of the list.
    #[serde(default)]
    pub entries: usize,
    /// Lines and objects that were no indicator.
    #[serde(default)]
    pub left_out: usize,
    /// What was wrong at the last try; absent when it worked.
    #[serde(default)]
    pub failure: Option<String>,
    /// Tries that failed, one after the other.
    #[serde(default)]
    pub failures: u32,
    /// Raised with every change, so that of two fetches at once one counts.
    #[serde(default)]
    pub revision: u64,
}

impl FeedState {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "feed/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &str) -> Key {
        Key::new(format!("feed#{id}"), "state")
    }
}

/// A line of a compiled list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLine {
    /// `Observable::key`.
    pub key: String,
    /// What the feed says of it; small.
    pub entry: Value,
}

impl Named {
    /// The observable, where the spelling is one.
    #[must_use]
    pub fn observable(&self) -> Option<Observable> {
        Observable::parse(self.kind, &self.value).ok()
    }
}
