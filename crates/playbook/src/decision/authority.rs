//! Authority: what one person may approve alone, what takes a second, and what a mailbox never may.
//!
//! The page asks it before a vote is taken, and every writer asks it again of the decision row.

use std::collections::BTreeSet;

use super::{Decision, Voter, is_part_of_incident};
use crate::plan::{Entry, Plan};

/// Known by a one-time code that was mailed: stops scanners and leaked links, not a taken-over mailbox.
pub const MAILBOX: &str = "mailbox";
/// Known by signing in at the team's issuer.
pub const OIDC: &str = "oidc";

/// Votes that stand behind whatever one person does not approve alone.
const QUORUM: usize = 2;

/// What approval takes, by the plan that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Entries that one person may approve alone.
    pub alone_max: usize,
}

impl Authority<'_> {
    /// Why an entry cannot be approved by somebody who is known in this way; `None` when it can, alone or with a second.
    #[must_use]
    pub fn bars(entry: &Entry, authenticated_by: &str) -> Option<String> {
        if entry.lifetime_hours == 0 {
            return Some("it would not expire by itself".to_owned());
        }
        let second = entry.second.as_ref()?;
        (authenticated_by != OIDC).then(|| format!("{second}: two people have to sign in for it, and a mailbox cannot"))
    }

    /// Why approving these indicators takes a second person; `None` when one is enough.
    #[must_use]
    pub fn second_vote(&self, keys: &[String]) -> Option<String> {
        let entries = self.entries(keys);
        if entries.len() > self.alone_max {
            return Some(format!(
                "{} entries are more than the {} that one person approves",
                entries.len(),
                self.alone_max
            ));
        }
        entries.into_iter().find_map(|entry| entry.second.clone())
    }

    /// Whether approving these is too much for one person, whatever they are.
    #[must_use]
    pub fn is_over(&self, keys: &[String]) -> bool {
        self.entries(keys).len() > self.alone_max
    }

    /// Whether this indicator by itself takes a second person.
    #[must_use]
    pub fn is_marked(&self, key: &str) -> bool {
        self.plan.open().any(|entry| entry.second.is_some() && entry.observable.key() == key)
    }

    /// Why a decision row does not cover an entry that it names; `None` when it does. `participants` are those of the
    /// incident: none of them can stand behind it.
    #[must_use]
    pub fn denies(&self, decision: &Decision, participants: &[String], entry: &Entry) -> Option<String> {
        let voters = voters(decision);
        if let Some(voter) = voters.iter().find(|voter| is_part_of_incident(participants, &voter.who)) {
            return Some(format!("{} is part of the incident and cannot approve", ioc::defang_text(&voter.who)));
        }
        let weakest = if voters.iter().all(|voter| voter.authenticated_by == OIDC) { OIDC } else { MAILBOX };
        if let Some(why) = Self::bars(entry, weakest) {
            return Some(why);
        }
        let is_over = self.is_over(&decision.indicators);
        if !is_over && entry.second.is_none() {
            return None;
        }
        let people: BTreeSet<String> = voters.iter().map(|voter| voter.who.to_lowercase()).collect();
        if people.len() >= QUORUM && weakest == OIDC {
            return None;
        }
        let why = self.second_vote(&decision.indicators).unwrap_or_default();
        Some(format!("{why}: {QUORUM} people have to sign in and approve it, {} did", people.len()))
    }

    fn entries(&self, keys: &[String]) -> Vec<&Entry> {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        self.plan.open().filter(|entry| keys.contains(entry.observable.key().as_str())).collect()
    }
}

/// Who stands behind a decision; release 0.1.0 knew one person and mailboxes only.
fn voters(decision: &Decision) -> Vec<Voter> {
    if !decision.votes.is_empty() {
        return decision.votes.clone();
    }
    let authenticated_by = if decision.authenticated_by == OIDC { OIDC } else { MAILBOX };
    vec![Voter { who: decision.by.clone(), authenticated_by: authenticated_by.to_owned(), at: decision.at }]
}
