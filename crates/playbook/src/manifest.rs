//! A provider's manifest (`playbook/providers/<id>.yaml`): which observables it takes, how it is asked and how its answers are read.

mod template;
mod validate;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ioc::{HashAlgorithm, Observable, ObservableType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Fault,
    authored::{self, Complaint, yes},
    canonical,
    mapping::{Expression, MappingError},
    outcome::{Grade, Status},
    ports::RecordType,
};

pub(crate) use template::{Part, Place, Template};

/// The name of the manifest's schema.
pub const SCHEMA: &str = "provider/1";
/// The most that one call may cost: $100.
const PRICE_MAX_MICRODOLLARS: u32 = 100_000_000;

/// How a provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Over https.
    Http,
    /// Questions to a name server.
    Dns,
    /// A list that `poll-feeds` has fetched and compiled.
    List,
}

impl ProviderKind {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dns => "dns",
            Self::List => "list",
        }
    }
}

/// What `resolver` says for the system's own name server.
pub const SYSTEM_RESOLVER: &str = "system";

/// Where the host of a request comes from, where no manifest can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostsFrom {
    /// IANA's bootstrap files for RDAP (RFC 9224).
    RdapBootstrap,
}

/// Which redirects are followed, each one vetted like a first request and never with a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// None.
    #[default]
    None,
    /// To the same host.
    SameHost,
    /// From one RDAP server to another, over https, at most three times.
    Rdap,
}

/// What the mapping was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// The provider itself, with a key.
    Live,
    /// Answers that somebody recorded from the provider.
    Recorded,
    /// Documentation only; such a provider stays off until somebody has verified it.
    Documented,
}

/// Terms of use that somebody must have read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What they forbid or ask, in a sentence, with the address to read them at.
    pub note: String,
    /// Whether the deployment's owner has read and accepted them; until then the provider is off.
    #[serde(default)]
    pub acknowledged: bool,
}

/// A sharing mark of the Traffic Light Protocol 2.0, from free to closed. What nobody has marked is `AMBER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Tlp {
    /// Anybody.
    #[serde(rename = "CLEAR")]
    Clear,
    /// The community.
    #[serde(rename = "GREEN")]
    Green,
    /// The organisation and its clients.
    #[default]
    #[serde(rename = "AMBER")]
    Amber,
    /// The organisation only.
    #[serde(rename = "AMBER+STRICT")]
    AmberStrict,
    /// The named recipients only.
    #[serde(rename = "RED")]
    Red,
}

/// A mark of the Permissible Actions Protocol, from free to closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Pap {
    /// Any action.
    Clear,
    /// Active but harmless actions.
    Green,
    /// Passive lookups at others.
    Amber,
    /// Nothing that leaves the own network.
    Red,
}

/// What a call tells the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Discloses {
    /// Nothing.
    None,
    /// The provider learns that we asked about this indicator.
    Indicator,
    /// The provider receives content, such as a file.
    Content,
    /// Everybody can see what we asked.
    Public,
}

/// Whose calls a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// All calls with one key.
    Key,
    /// All calls from one address.
    Address,
}

/// So many calls in so long a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Calls in the window.
    pub limit: u32,
    /// Length of the window.
    pub window_seconds: u64,
    /// Whose calls are counted.
    pub scope: LimitScope,
}

/// The headers in which a provider says what is left of its limits: at 0 nobody calls it until its count starts anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitHeaders {
    /// The header that says how many calls are left.
    pub remaining: String,
    /// The header that says when the count starts anew.
    pub reset: String,
    /// What that is.
    pub reset_is: ResetIs,
}

/// What a provider means by a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResetIs {
    /// Seconds from now.
    Seconds,
    /// Seconds since 1970.
    EpochSeconds,
}

/// How long an outcome is used again, in minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Lifetimes {
    /// Of `found`.
    pub found: u32,
    /// Of `not_found`.
    pub not_found: u32,
    /// Of `error` and `rate_limited`.
    pub error: u32,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Without a body.
    Get,
    /// With a form or a JSON body.
    Post,
    /// Only for targets.
    Put,
    /// Only for targets.
    Patch,
    /// Only for targets.
    Delete,
}

impl Method {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How some types are asked for. Texts may hold `{value}`, `{value|base64url}`, `{algorithm}` (of the digest sent)
/// and, in headers, query and body, `{secret}`; each is encoded for the place it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RequestTemplate {
    /// For which types.
    pub types: Vec<ObservableType>,
    /// For files: which digests the provider takes; the strongest that is known is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<HashAlgorithm>,
    /// The method. Only for http.
    #[serde(default = "get")]
    pub method: Method,
    /// Path below the host, from `/`; a placeholder fills one segment or a part of it. Only for http.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Questions to a name server, each `{name, records}`, asked together. Their answer has status 200 and the body
    /// `{answers: [{name, record, rcode, records: [{record, data, ttl_seconds}]}]}`; a question that was not answered, though
    /// another was, has `rcode` null and an `error`. Only for dns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionTemplate>,
    /// Query parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers; never hold an observable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body as `application/x-www-form-urlencoded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, String>>,
    /// Body as JSON; placeholders only in texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// For work that takes time, and for a second step: JSONata over `{status, body, observable}` that names what was found
    /// or submitted; it must give a text or a number. Then `poll` is asked, and its answer is the one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// How the result is fetched. Only together with `task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollTemplate>,
}

const fn get() -> Method {
    Method::Get
}

/// A name and the records that are asked of it. The name may hold `{value}`, `{reversed}` (the labels of an IPv4 address or
/// the nibbles of an IPv6 address backwards) and `{secret}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuestionTemplate {
    /// The name; at most 253 characters when filled, each label at most 63.
    pub name: String,
    /// Which records.
    pub records: Vec<RecordType>,
}

/// How the result of a task is fetched: GET with the headers of its request; the path may hold `{task}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PollTemplate {
    /// Path below the host, from `/`.
    pub path: String,
    /// Query parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Seconds between two tries, 5 to 900; 0 asks at once and once: a second step of the same lookup.
    pub every_seconds: u32,
    /// After so many seconds the result is given up as `error(no_result)`; at most 86,400.
    #[serde(default)]
    pub for_seconds: u32,
}

/// What an answer means. The first rule that fits decides, before the mapping sees the answer; an answer that fits
/// none is `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OutcomeRule {
    /// HTTP status codes it fits; none means 200–299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// JSONata over `{status, body, observable}` that must be `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The outcome.
    pub outcome: Status,
    /// A short fixed word, for `error` and `skipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A provider, as its author describes it (`provider/1`). Not changed after its first use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `provider/1`.
    pub schema: String,
    /// The file's name without `.yaml`: lower-case letters, digits and hyphens.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it is reached.
    pub kind: ProviderKind,
    /// Whether the author wants it asked.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Terms that must be acknowledged first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// What the mapping was checked against.
    pub verified: Verified,
    /// The id of its secret; absent where no key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The observables it takes.
    pub types: Vec<ObservableType>,
    /// The independent upstream whose data it repeats.
    pub family: String,
    /// How far its author trusts it at most, where `playbook/grades.yaml` says nothing of it; an answer may be trusted less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// False for sources of context: tags, never weight or coverage.
    #[serde(default = "yes")]
    pub opines: bool,
    /// The most closed TLP mark of data that may be sent to it.
    pub tlp_ceiling: Tlp,
    /// The most closed PAP mark of data that may be sent to it.
    pub pap_ceiling: Pap,
    /// What a call tells the outside.
    pub discloses: Discloses,
    /// Its limits; all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Where it says itself what is left of them. Only for http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_headers: Option<LimitHeaders>,
    /// How long outcomes are used again.
    pub lifetimes_minutes: Lifetimes,
    /// How long one call may take.
    pub timeout_ms: u32,
    /// What one call costs, in millionths of a US dollar, 0 to 100,000,000: $5 for 1,000 calls are 5,000. Only scorecards read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_microdollars: Option<u32>,
    /// A DNS name; every request goes there, to port 443. Only for http, and not together with `hosts_from`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Where the host comes from, where it depends on the observable. Only for http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts_from: Option<HostsFrom>,
    /// Which redirects are followed. Only for http.
    #[serde(default, skip_serializing_if = "is_none")]
    pub redirects: Redirects,
    /// The address of the name server, or `system`. Only for dns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// The id of the feed whose list is looked into. The answer has status 200 and the body `{entry, fetched_at, entries}`; the
    /// entry is null where the list has none. Only for list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// A list that was fetched longer ago is not believed: `error(stale_list)`. Only for list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_max_age_minutes: Option<u32>,
    /// How each type is asked for; none for list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestTemplate>,
    /// What answers mean.
    pub outcome: Vec<OutcomeRule>,
    /// JSONata over `{status, body, observable}`, giving `{verdict, score, grade, own, upstreams, tags, evidence, permalink,
    /// last_seen}`.
    pub mapping: String,
    #[serde(skip)]
    made: Made,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(redirects: &Redirects) -> bool {
    *redirects == Redirects::None
}

/// What is made of a manifest once and kept; never part of its value, and not copied with it.
#[derive(Debug, Default)]
struct Made {
    digest: OnceLock<Result<String, Fault>>,
    mapping: OnceLock<Result<Expression, MappingError>>,
    rules: OnceLock<Vec<Result<Option<Expression>, MappingError>>>,
}

impl Clone for Made {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Made {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Made {}

impl Manifest {
    /// Reads and checks a manifest; unknown keys are errors. `file` is only for messages.
    pub fn parse(yaml: &str, file: &str) -> Result<Self, Complaint> {
        validate::parse(yaml, file)
    }

    /// SHA-256 over its canonical JSON.
    pub fn digest(&self) -> Result<String, Fault> {
        self.made.digest.get_or_init(|| canonical::digest(self)).clone()
    }

    /// Why it is not asked, if it is not: `disabled`, `terms` or `documented`.
    #[must_use]
    pub fn off_reason(&self) -> Option<&'static str> {
        let documented = (self.verified == Verified::Documented).then_some("documented");
        authored::off_reason(self.enabled, self.terms.as_ref()).or(documented)
    }

    /// Whether it can be asked about this observable: its type, and for a file one of its digests. A list takes every digest.
    #[must_use]
    pub fn takes(&self, observable: &Observable) -> bool {
        let is_taken = self.kind == ProviderKind::List || self.request_for(observable).is_some();
        self.types.contains(&observable.kind()) && is_taken
    }

    /// How many calls one lookup of this observable is at most, all told at once: steps, or questions to a name server.
    #[must_use]
    pub fn calls_for(&self, observable: &Observable) -> u64 {
        let Some((request, _)) = self.request_for(observable) else { return 0 };
        match self.kind {
            ProviderKind::List => 0,
            ProviderKind::Dns => request.questions.iter().map(|question| question.records.len() as u64).sum(),
            ProviderKind::Http => 1 + u64::from(request.poll.as_ref().is_some_and(|poll| poll.every_seconds == 0)),
        }
    }

    /// Whether its calls are few or cost money: whoever can decide without it need not ask it.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        let is_slow = |limit: &Limit| u64::from(limit.limit) < limit.window_seconds;
        self.price_microdollars.is_some_and(|price| price > 0) || self.limits.iter().any(is_slow)
    }

    /// How the result of a task about this observable is fetched, where it takes a second step.
    #[must_use]
    pub fn poll_for<'a>(&'a self, observable: &'a Observable) -> Option<&'a PollTemplate> {
        self.request_for(observable)?.0.poll.as_ref()
    }

    /// The template that asks for this observable and the text that is sent for it; for a file the strongest digest any template takes.
    pub(crate) fn request_for<'a>(&'a self, observable: &'a Observable) -> Option<(&'a RequestTemplate, &'a str)> {
        let mut fitting = self.requests.iter().filter(|request| request.types.contains(&observable.kind()));
        if observable.kind() != ObservableType::File {
            return fitting.next().map(|request| (request, observable.value()));
        }
        let hashes = observable.hashes();
        let known = [
            (HashAlgorithm::Sha256, hashes.sha256.as_deref()),
            (HashAlgorithm::Sha1, hashes.sha1.as_deref()),
            (HashAlgorithm::Md5, hashes.md5.as_deref()),
        ];
        known.into_iter().find_map(|(algorithm, digest)| {
            let request = fitting.clone().find(|request| request.hashes.contains(&algorithm))?;
            Some((request, digest?))
        })
    }

    /// The compiled mapping; compiled once.
    pub(crate) fn mapping(&self) -> Result<&Expression, &MappingError> {
        self.made.mapping.get_or_init(|| Expression::compile(&self.mapping)).as_ref()
    }

    /// The outcome rules with their compiled conditions; compiled once.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&OutcomeRule, Result<Option<&Expression>, &MappingError>)> {
        let compiled = self.made.rules.get_or_init(|| {
            self.outcome.iter().map(|rule| rule.when.as_deref().map(Expression::compile).transpose()).collect()
        });
        self.outcome.iter().zip(compiled.iter().map(|made| made.as_ref().map(Option::as_ref)))
    }
}
