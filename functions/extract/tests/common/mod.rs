//! What the tests of `extract` share: a policy in which `.example` may be judged, and where the fixtures lie.

#![allow(dead_code, reason = "each test binary uses its own half")]

use std::path::{Path, PathBuf};

use playbook::{
    IncidentId,
    guard::Guard,
    incident::{Extraction, Kind},
    policy::Policy,
};

const POLICY: &str = r"
schema: policy/1
own: {domains: [corp.example], networks: [192.0.2.0/24]}
required: {ipv4-addr: [], ipv6-addr: [], domain-name: [], url: [], email-addr: [], file: []}
review:
  levels: [{approvers: [anna.weber@corp.example]}]
  deadline_minutes: {critical: 15, high: 60, medium: 720, low: 1440}
enforce:
  targets: {}
  lifetime_hours: {}
  phishing_domain_hours: 72
  caps: {per_incident: 50, per_hour: 200, per_list: 9000}
enrich: {deadline_ms: 10000, calls: 128, calls_per_provider: 8}
guard: {documentation_ranges: as_public}
";

/// The policy of a team that owns `corp.example` and 192.0.2.0/24.
pub fn policy() -> Policy {
    serde_saphyr::from_str(POLICY).unwrap()
}

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a mail holds.
pub fn extraction(raw: &[u8]) -> Extraction {
    extract::extract(Kind::Mail, raw, Guard::new(&policy(), &[]), &IncidentId::of("default", "mail", "test"))
}
