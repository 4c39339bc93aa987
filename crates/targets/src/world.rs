//! The ports that writing uses.

use playbook::{
    ports::{Clock, Egress, Evidence, IpSets, Secrets},
    rows::Rows,
};

/// The ports, side by side.
#[derive(Debug)]
pub struct World<'a, E, R, C, G, I, S> {
    /// Configurations and served lists.
    pub evidence: &'a E,
    /// The ledger.
    pub rows: &'a R,
    /// The time.
    pub clock: &'a C,
    /// The way out.
    pub egress: &'a G,
    /// IP sets of AWS WAF.
    pub ip_sets: &'a I,
    /// The targets' secrets.
    pub secrets: &'a S,
    /// The account in which this runs: configurations are admitted to it.
    pub account: &'a str,
}

/// What is asked of a [`World`]: one name for its six types.
pub trait Ports {
    /// Configurations and served lists.
    fn evidence(&self) -> &impl Evidence;
    /// The ledger.
    fn rows(&self) -> &impl Rows;
    /// The time.
    fn clock(&self) -> &impl Clock;
    /// The way out.
    fn egress(&self) -> &impl Egress;
    /// IP sets of AWS WAF.
    fn ip_sets(&self) -> &impl IpSets;
    /// The targets' secrets.
    fn secrets(&self) -> &impl Secrets;
    /// The account in which this runs.
    fn account(&self) -> &str;
}

impl<E: Evidence, R: Rows, C: Clock, G: Egress, I: IpSets, S: Secrets> Ports for World<'_, E, R, C, G, I, S> {
    fn evidence(&self) -> &impl Evidence {
        self.evidence
    }

    fn rows(&self) -> &impl Rows {
        self.rows
    }

    fn clock(&self) -> &impl Clock {
        self.clock
    }

    fn egress(&self) -> &impl Egress {
        self.egress
    }

    fn ip_sets(&self) -> &impl IpSets {
        self.ip_sets
    }

    fn secrets(&self) -> &impl Secrets {
        self.secrets
    }

    fn account(&self) -> &str {
        self.account
    }
}
