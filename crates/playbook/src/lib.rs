//! The contract between the stages: incident, outcome, opinion, verdict, receipt, plan, policy, manifests, ports and faults.
//!
//! Everything here is pure or goes through a port; no clock, environment, randomness or network.

pub mod assessment;
pub mod audit;
pub mod authored;
pub mod brief;
pub mod bundle;
pub mod cache;
pub mod campaign;
pub mod canonical;
pub mod case;
pub mod contract;
pub mod decision;
pub mod effort;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod fault;
pub mod grades;
pub mod guard;
pub mod ids;
pub mod incident;
pub mod infrastructure;
pub mod intake;
pub mod ledger;
pub mod lookup;
pub mod mail;
pub mod manifest;
pub mod mapping;
pub mod notice;
pub mod outcome;
pub mod pending;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod receipt;
pub mod rows;
pub mod scorecard;
pub mod served;
pub mod severity;
pub mod sighting;
pub mod stix;
pub mod target;
pub mod ticket;
pub mod time;
pub mod verdict;
pub mod waking;
pub mod weight;

pub use fault::Fault;
pub use ids::IncidentId;
pub use time::Timestamp;
