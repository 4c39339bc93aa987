//! The policy: what a team decides once, in `playbook/policy.yaml`.

use std::collections::BTreeMap;

use ioc::ObservableType;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::severity::Severity;

/// The whole policy (`policy/1`). Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `policy/1`.
    pub schema: String,
    /// What belongs to us: withheld from providers, never written anywhere.
    pub own: Own,
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
}

/// What belongs to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Domains, each with everything below it.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Networks in CIDR notation.
    #[serde(default)]
    pub networks: Vec<IpNet>,
}

/// Who decides, and how long they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Asked one after the other; each level is a list of single persons' addresses.
    pub levels: Vec<Level>,
    /// Minutes a level has, by severity; 1–8,640.
    pub deadline_minutes: BTreeMap<Severity, u32>,
}

/// The people who are asked together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// One person's address each, never a list's.
    pub approvers: Vec<String>,
}

/// When a class of writes happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// After a person has approved it.
    AfterApproval,
    /// Never.
    Never,
}

/// What may be written, where and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct Enrich {
    /// Milliseconds for all lookups of a chunk; 500–25,000.
    pub deadline_ms: u64,
    /// Calls at once in all.
    pub calls: usize,
    /// Calls at once at one provider.
    pub calls_per_provider: usize,
}

/// Never-block rules beyond the fixed ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardPolicy {
    /// Whether `192.0.2.0/24`, `2001:db8::/32`, `.example` and the like may be judged and written. Only for the demo.
    #[serde(default)]
    pub documentation_ranges: DocumentationRanges,
}

/// What the ranges for documentation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// A server on loopback that plays all providers; refused outside account 000000000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
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
        for (number, level) in self.review.levels.iter().enumerate() {
            for address in &level.approvers {
                if ioc::Observable::parse(ObservableType::EmailAddr, address).is_err() {
                    faults.push(format!("review.levels[{number}].approvers: {address:?} is not one person's address"));
                }
            }
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
        doors
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
        check("[analyst@corp.example]", "[]", "nobody is named");
        check("[analyst@corp.example]", "[everybody]", "not one person's address");
        check("domains: [corp.example]", "domains: [\"not a name\"]", "own.domains");
        check("deadline_ms: 10000", "deadline_ms: 100000", "enrich.deadline_ms");
        check("calls: 128", "calls: 0", "at least 1");
    }

    #[test]
    fn unknown_keys_are_errors() {
        let shipped = include_str!("../../../playbook/policy.yaml");
        let error = serde_saphyr::from_str::<Policy>(&format!("{shipped}\nsurprise: 1\n")).unwrap_err();
        assert!(error.to_string().contains("surprise"), "{error}");
    }
}
