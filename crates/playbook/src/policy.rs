//! The policy: what a team decides once, in `playbook/policy.yaml`.

mod network;

use std::{collections::BTreeMap, net::SocketAddr};

use ioc::ObservableType;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Timestamp, incident::Kind, ports::Reach, severity::Severity, verdict::Merge};

pub use network::{Network, PRIVATE_HOSTS_MAX, PrivateHost};

/// The whole policy (`policy/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `policy/1`.
    pub schema: String,
    /// What belongs to us: withheld from providers, never written anywhere.
    pub own: Own,
    /// What makes an incident matter more than others.
    #[serde(default, skip_serializing_if = "Critical::is_empty")]
    pub critical: Critical,
    /// How opinions become a verdict.
    #[serde(default)]
    pub merge: Merge,
    /// Per type, the families that must have answered before anything counts as known to be harmless.
    pub required: BTreeMap<ObservableType, Vec<String>>,
    /// Who decides, and how long they have.
    pub review: Review,
    /// What may be written, where and for how long.
    pub enforce: Enforce,
    /// How long a stage may ask around.
    pub enrich: Enrich,
    /// Never-block rules beyond the fixed ones.
    #[serde(default)]
    pub guard: GuardPolicy,
    /// Where calls may go.
    #[serde(default)]
    pub egress: Egress,
    /// Which private addresses calls may go to; none if not said.
    #[serde(default, skip_serializing_if = "Network::is_empty")]
    pub network: Network,
    /// Which state machine works on what; the first line that fits. None: `playbook`.
    #[serde(default)]
    pub route: Vec<RouteRule>,
    /// When many alike come in at once.
    #[serde(default)]
    pub storm: Storm,
    /// When tickets are opened.
    #[serde(default)]
    pub ticket: TicketPolicy,
    /// How long answers are waited for.
    #[serde(default)]
    pub follow_up: FollowUpPolicy,
}

/// What belongs to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Domains, each with everything below it.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Networks in CIDR notation.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub networks: Vec<IpNet>,
}

/// What makes an incident matter more than others: a step of severity when it is part of one. Compared without case with
/// the assets of alerts and the addresses of mails; `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Critical {
    /// Hosts, instances, networks' own names and addresses.
    #[serde(default)]
    pub assets: Vec<String>,
    /// People, by address or account.
    #[serde(default)]
    pub users: Vec<String>,
}

impl Critical {
    fn is_empty(&self) -> bool {
        self.assets.is_empty() && self.users.is_empty()
    }

    /// Whether it names this asset or person.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        let name = name.trim().to_lowercase();
        self.assets.iter().chain(&self.users).any(|pattern| fits(&pattern.to_lowercase(), &name))
    }
}

/// Whether a name is spelled like this, `*` standing for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
    for part in middle.split('*') {
        let Some(at) = left.find(part) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

/// Who decides, and how long they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Asked one after the other; each level is a list of single persons' addresses.
    pub levels: Vec<Level>,
    /// Minutes a level has, by severity; 1–8,640.
    pub deadline_minutes: BTreeMap<Severity, u32>,
    /// Who owns a target, by its id: asked with the first level when the plan would write there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owners: BTreeMap<String, Vec<String>>,
    /// Who is away, and until when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_office: Vec<Absence>,
    /// Entries that one person may approve alone; above it, two have to sign in. 1–50.
    #[serde(default = "crate::decision::alone_max")]
    pub alone_max: usize,
}

impl Review {
    /// Whether somebody is away at a moment.
    #[must_use]
    pub fn away(&self, address: &str, now: Timestamp) -> Option<&Absence> {
        let now = now.to_string();
        let today = now.get(..10).unwrap_or_default();
        self.out_of_office.iter().find(|absence| {
            absence.address.eq_ignore_ascii_case(address)
                && absence.from.as_str() <= today
                && today <= absence.until.as_str()
        })
    }
}

/// Somebody who is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Whose address.
    pub address: String,
    /// The first day, such as `2026-12-24`, in UTC.
    pub from: String,
    /// The last day.
    pub until: String,
    /// Who is asked in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// The people who are asked together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// One person's address each, never a list's.
    pub approvers: Vec<String>,
    /// Asked only from this severity on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_from: Option<Severity>,
}

/// When a class of writes happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// After a person has approved it.
    AfterApproval,
    /// At once, when two families agree; such entries live twelve hours unless a person confirms them.
    Automatically,
    /// At once, when two families agree and the condition holds: JSONata over `{observable, verdict, incident}`.
    AutomaticallyIf(String),
    /// Never.
    Never,
}

/// What may be written, where and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Enforce {
    /// Per target id, when it is written.
    pub targets: BTreeMap<String, Act>,
    /// Hours an entry lives, by type; 1–8,760.
    pub lifetime_hours: BTreeMap<ObservableType, u32>,
    /// Hours a domain lives that a provider tags as phishing.
    pub phishing_domain_hours: u32,
    /// How many entries may be added.
    pub caps: Caps,
}

/// How many entries may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// New entries an incident.
    pub per_incident: usize,
    /// New entries an hour.
    pub per_hour: usize,
    /// Entries of one list.
    pub per_list: usize,
}

/// How long a stage may ask around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Enrich {
    /// Milliseconds for all lookups of a chunk; 500–25,000.
    pub deadline_ms: u64,
    /// Calls at once in all.
    pub calls: usize,
    /// Calls at once at one provider.
    pub calls_per_provider: usize,
    /// Who may use how much of what providers count by the hour, day or month.
    #[serde(default, skip_serializing_if = "Budget::is_usual")]
    pub budget: Budget,
    /// Whether scarce sources are not asked about what no answer of theirs could change: it costs a second round of calls.
    #[serde(default, skip_serializing_if = "crate::canonical::is_false")]
    pub early_stop: bool,
}

impl Default for Enrich {
    fn default() -> Self {
        Self { deadline_ms: 10_000, calls: 128, calls_per_provider: 8, budget: Budget::default(), early_stop: false }
    }
}

/// Who may use how much of what a provider counts by the hour, day or month, in percent. Limits of shorter windows refill, and
/// are shared by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Kept for incidents that their source calls critical, and for what a person asks to be looked at again; 0–90.
    pub reserve_percent: u32,
    /// The most that all other incidents of one source may use of a window; 1–100.
    pub source_percent: u32,
    /// The most that one of them may use of a window; 1–100. At least one lookup.
    pub incident_percent: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { reserve_percent: 20, source_percent: 60, incident_percent: 10 }
    }
}

impl Budget {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Never-block rules beyond the fixed ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GuardPolicy {
    /// Whether `192.0.2.0/24`, `2001:db8::/32`, `.example` and the like may be judged and written. Only for the demo.
    #[serde(default)]
    pub documentation_ranges: DocumentationRanges,
}

/// What the ranges for documentation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DocumentationRanges {
    /// Reserved, as the RFCs say.
    #[default]
    Reserved,
    /// Treated like public ones; refused outside account 000000000000.
    AsPublic,
}

/// Where calls may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// A server on loopback that plays all providers; refused outside account 000000000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// A name server on loopback that plays all name servers, `127.0.0.1:<port>`; refused outside account 000000000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in_dns: Option<SocketAddr>,
}

/// Which state machine works on what. What a rule does not name, it does not ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// What came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Which source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The source's severity at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_from: Option<Severity>,
    /// The machine: the name of its file in `statemachine/` without `.asl.json`.
    pub machine: String,
}

/// When many alike come in at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// So many of one fingerprint are looked at in a minute; the others are attached to the first.
    pub per_minute: u64,
}

impl Default for Storm {
    fn default() -> Self {
        Self { per_minute: 20 }
    }
}

/// When tickets are opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TicketPolicy {
    /// The severity from which an incident that is only watched gets a ticket.
    pub watch_from: Severity,
}

impl Default for TicketPolicy {
    fn default() -> Self {
        Self { watch_from: Severity::High }
    }
}

/// How long answers are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FollowUpPolicy {
    /// Seconds that a run waits for answers before it goes on without them; 0 to 65.
    pub wait_seconds: u32,
    /// Hours until an incident that was closed for want of answers is looked at again; 1 to 24.
    pub recheck_hours: u32,
    /// Hours after which a lookup that still waits is given up; 1 to 168.
    pub give_up_hours: u32,
}

impl Default for FollowUpPolicy {
    fn default() -> Self {
        Self { wait_seconds: 45, recheck_hours: 12, give_up_hours: 48 }
    }
}

/// The account of the local stack: the only one in which the demo's doors may be open.
pub const DEMO_ACCOUNT: &str = "000000000000";

impl Policy {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "policy/1";

    /// Everything that is wrong with the policy, a sentence each; empty when it can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        if self.schema != Self::SCHEMA {
            faults.push(format!("schema is {:?}, this version reads {:?}", self.schema, Self::SCHEMA));
        }
        for domain in &self.own.domains {
            if let Err(error) = ioc::Observable::parse(ObservableType::DomainName, domain) {
                faults.push(format!("own.domains: {error}"));
            }
        }
        for network in &self.own.networks {
            let is_too_wide = network.prefix_len() < if network.addr().is_ipv4() { 8 } else { 16 };
            if is_too_wide {
                faults
                    .push(format!("own.networks: {network} would withhold too much; at least /8 (IPv4) or /16 (IPv6)"));
            }
        }
        for (key, patterns) in [("assets", &self.critical.assets), ("users", &self.critical.users)] {
            for pattern in patterns.iter().filter(|pattern| pattern.chars().all(|c| c == '*' || c.is_whitespace())) {
                faults.push(format!("critical.{key}: {pattern:?} would name everything"));
            }
        }
        for kind in ObservableType::ALL.into_iter().filter(|kind| !self.required.contains_key(kind)) {
            faults.push(format!("required.{kind}: missing; an empty list says that no source is required"));
        }
        self.review_faults(&mut faults);
        for (kind, hours) in &self.enforce.lifetime_hours {
            if !(1..=8760).contains(hours) {
                faults.push(format!("enforce.lifetime_hours.{kind}: {hours} is not within 1 and 8760"));
            }
        }
        if !(1..=8760).contains(&self.enforce.phishing_domain_hours) {
            faults.push("enforce.phishing_domain_hours: not within 1 and 8760".to_owned());
        }
        if !(500..=25_000).contains(&self.enrich.deadline_ms) {
            faults.push(format!("enrich.deadline_ms: {} is not within 500 and 25000", self.enrich.deadline_ms));
        }
        if self.enrich.calls == 0 || self.enrich.calls_per_provider == 0 {
            faults.push("enrich.calls and enrich.calls_per_provider: at least 1".to_owned());
        }
        let Budget { reserve_percent, source_percent, incident_percent } = self.enrich.budget;
        for (name, percent, range) in [
            ("reserve_percent", reserve_percent, 0..=90),
            ("source_percent", source_percent, 1..=100),
            ("incident_percent", incident_percent, 1..=100),
        ] {
            if !range.contains(&percent) {
                let (min, max) = (range.start(), range.end());
                faults.push(format!("enrich.budget.{name}: {percent} is not within {min} and {max}"));
            }
        }
        if self.egress.stand_in_dns.is_some_and(|server| !server.ip().is_loopback()) {
            faults.push("egress.stand_in_dns: only 127.0.0.1:<port>".to_owned());
        }
        self.network.faults(&mut faults);
        if self.storm.per_minute == 0 {
            faults.push("storm.per_minute: at least 1".to_owned());
        }
        for (name, hours, max) in
            [("recheck_hours", self.follow_up.recheck_hours, 24), ("give_up_hours", self.follow_up.give_up_hours, 168)]
        {
            if !(1..=max).contains(&hours) {
                faults.push(format!("follow_up.{name}: {hours} is not within 1 and {max}"));
            }
        }
        if self.follow_up.wait_seconds > 65 {
            faults.push("follow_up.wait_seconds: at most 65, which is what the state machine waits".to_owned());
        }
        if let Some(url) = &self.egress.stand_in
            && !url.starts_with("http://127.0.0.1:")
        {
            faults.push("egress.stand_in: only http://127.0.0.1:<port>".to_owned());
        }
        faults
    }

    fn review_faults(&self, faults: &mut Vec<String>) {
        if self.review.levels.iter().all(|level| level.approvers.is_empty()) {
            faults.push("review.levels: nobody is named who could decide".to_owned());
        }
        let is_address = |text: &str| ioc::Observable::parse(ObservableType::EmailAddr, text).is_ok();
        let levels = self.review.levels.iter().enumerate();
        let levels = levels.map(|(number, level)| (format!("levels[{number}].approvers"), &level.approvers));
        let owners = self.review.owners.iter().map(|(target, owners)| (format!("owners.{target}"), owners));
        for (place, addresses) in levels.chain(owners) {
            for address in addresses.iter().filter(|address| !is_address(address)) {
                faults.push(format!("review.{place}: {address:?} is not one person's address"));
            }
        }
        // Somebody has to be left at the lowest severity.
        if !self.review.levels.iter().any(|level| level.severity_from.is_none() && !level.approvers.is_empty()) {
            faults.push("review.levels: every level has a severity_from, so that nobody is asked below it".to_owned());
        }
        for (number, absence) in self.review.out_of_office.iter().enumerate() {
            let is_day = |text: &str| text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_ok();
            if !is_day(&absence.from) || !is_day(&absence.until) || absence.until < absence.from {
                let (from, until) = (&absence.from, &absence.until);
                faults.push(format!(
                    "review.out_of_office[{number}]: {from:?} to {until:?} are not days such as 2026-12-24"
                ));
            }
            for address in [Some(&absence.address), absence.instead.as_ref()].into_iter().flatten() {
                if !is_address(address) {
                    faults.push(format!("review.out_of_office[{number}]: {address:?} is not one person's address"));
                }
            }
        }
        if !(1..=50).contains(&self.review.alone_max) {
            faults.push(format!("review.alone_max: {} is not within 1 and 50", self.review.alone_max));
        }
        for severity in [Severity::Low, Severity::Medium, Severity::High, Severity::Critical] {
            match self.review.deadline_minutes.get(&severity) {
                None => faults.push(format!("review.deadline_minutes.{}: missing", severity.as_str())),
                // Below the seven days after which the machine itself stops waiting.
                Some(minutes) if !(1..=8_640).contains(minutes) => {
                    faults.push(format!("review.deadline_minutes.{}: not within 1 and 8640", severity.as_str()));
                }
                Some(_) => {}
            }
        }
    }

    /// Which of the demo's doors are open; both are closed in every policy but the demo's.
    #[must_use]
    pub fn open_doors(&self) -> Vec<&'static str> {
        let mut doors = vec![];
        if self.guard.documentation_ranges == DocumentationRanges::AsPublic {
            doors.push("guard.documentation_ranges");
        }
        if self.egress.stand_in.is_some() {
            doors.push("egress.stand_in");
        }
        if self.egress.stand_in_dns.is_some() {
            doors.push("egress.stand_in_dns");
        }
        doors
    }

    /// Where calls may go by this policy.
    #[must_use]
    pub fn reach(&self) -> Reach<'_> {
        Reach { stand_in: self.egress.stand_in.as_deref(), private: &self.network.private }
    }

    /// The families that must have answered for a type.
    #[must_use]
    pub fn required(&self, kind: ObservableType) -> &[String] {
        self.required.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Minutes a level has to decide at this severity.
    #[must_use]
    pub fn deadline_minutes(&self, severity: Severity) -> u32 {
        self.review.deadline_minutes.get(&severity).copied().unwrap_or(60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, expected: &str) {
        let shipped = include_str!("../../../playbook/policy.yaml");
        assert!(shipped.contains(from), "{from}");
        let policy: Policy = serde_saphyr::from_str(&shipped.replacen(from, to, 1)).unwrap();
        let faults = policy.faults();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{to}: {faults:?}");
    }

    #[test]
    fn the_shipped_policy_has_no_fault_and_opens_no_door() {
        let policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        assert_eq!(policy.faults(), Vec::<String>::new());
        assert!(policy.open_doors().is_empty());
    }

    #[test]
    fn what_would_fail_in_silence_is_a_fault() {
        check("  url: [threatfox, urlhaus]\n", "", "required.url: missing");
        check("networks: []", "networks: [0.0.0.0/0]", "would withhold too much");
        check("critical: 15", "critical: 10080", "review.deadline_minutes.critical");
        check("reserve_percent: 20", "reserve_percent: 95", "enrich.budget.reserve_percent: 95 is not within 0 and 90");
        check("source_percent: 60", "source_percent: 0", "enrich.budget.source_percent: 0 is not within 1 and 100");
        check("[analyst@corp.example]", "[]", "nobody is named");
        check("[analyst@corp.example]", "[everybody]", "not one person's address");
        check("domains: [corp.example]", "domains: [\"not a name\"]", "own.domains");
        check("assets: []", "assets: [\"*\"]", "critical.assets");
        check("deadline_ms: 10000", "deadline_ms: 100000", "enrich.deadline_ms");
        check("calls: 128", "calls: 0", "at least 1");
    }

    #[test]
    fn what_is_critical_is_named_without_case_and_with_stars() {
        let check = |pattern: &str, name: &str, expected| {
            let critical = Critical { assets: vec![pattern.to_owned()], users: vec![] };
            assert_eq!(critical.names(name), expected, "{pattern} {name}");
        };
        check("dc01", "DC01", true);
        check("dc01", "dc011", false);
        check("srv-db-*", "srv-db-7", true);
        check("*@board.corp.example", "Eva@Board.corp.example", true);
        check("*@board.corp.example", "eva@board.corp.example.evil.example", false);
        check("srv-*-prod*", "srv-web-1-prod-eu", true);
        check("a*a", "a", false);
        check("*a*b*", "xxbxxa", false);
        check("i-0abc*", "", false);
    }

    #[test]
    fn unknown_keys_are_errors() {
        let shipped = include_str!("../../../playbook/policy.yaml");
        let error = serde_saphyr::from_str::<Policy>(&format!("{shipped}\nsurprise: 1\n")).unwrap_err();
        assert!(error.to_string().contains("surprise"), "{error}");
    }
}
