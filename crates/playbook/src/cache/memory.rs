//! The cache in memory, with the conditions of the real one.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use super::{KEYS_MAX, Lease, Leases, Outcomes, Quota, Quotas, Swapped, Taken, Verdicts};
use crate::{Fault, Timestamp, outcome::Outcome};

/// Outcomes and leases in memory.
#[derive(Debug, Default)]
pub struct MemoryVerdicts {
    outcomes: RefCell<BTreeMap<String, Outcomes>>,
    leases: RefCell<BTreeMap<String, Lease>>,
    /// How many writes were tried, those that lost included: each costs at least a write unit.
    pub writes: Cell<usize>,
    /// How many keys were read.
    pub reads: Cell<usize>,
}

impl MemoryVerdicts {
    /// Everything that is cached, for assertions.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Outcomes> {
        self.outcomes.borrow().clone()
    }

    fn wrote(&self) {
        self.writes.set(self.writes.get() + 1);
    }
}

fn some_of<T: Clone>(items: &BTreeMap<String, T>, keys: &[String]) -> Result<BTreeMap<String, T>, Fault> {
    if keys.len() > KEYS_MAX {
        return Err(Fault::Rejected(format!("a read has at most {KEYS_MAX} keys, not {}", keys.len())));
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault::Rejected("a read names each key once".to_owned()));
    }
    Ok(keys.iter().filter_map(|key| Some((key.clone(), items.get(key)?.clone()))).collect())
}

impl Verdicts for MemoryVerdicts {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        self.reads.set(self.reads.get() + keys.len());
        some_of(&self.outcomes.borrow(), keys)
    }

    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        self.wrote();
        let mut items = self.outcomes.borrow_mut();
        let item = items.entry(key.to_owned()).or_default();
        for outcome in outcomes {
            if item.get(&outcome.provider).is_none_or(|kept| kept.fetched_at <= outcome.fetched_at) {
                item.insert(outcome.provider.clone(), outcome.clone());
            }
        }
        Ok(())
    }
}

impl Leases for MemoryVerdicts {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        self.wrote();
        let mut leases = self.leases.borrow_mut();
        let taken = match leases.get(key) {
            None => Taken::First,
            Some(there) if there.is_over(now) || there.owner == lease.owner => Taken::After,
            Some(_) => return Ok(Taken::Held),
        };
        leases.insert(key.to_owned(), lease.clone());
        Ok(taken)
    }

    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        self.reads.set(self.reads.get() + keys.len());
        some_of(&self.leases.borrow(), keys)
    }

    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        self.wrote();
        if let Some(lease) = self.leases.borrow_mut().get_mut(key).filter(|lease| lease.owner == owner) {
            lease.until = now;
            lease.left = left.to_vec();
        }
        Ok(())
    }
}

/// Quotas in memory.
#[derive(Debug, Default)]
pub struct MemoryQuotas {
    quotas: RefCell<BTreeMap<String, Quota>>,
    /// How many writes were tried, those that lost included.
    pub writes: Cell<usize>,
}

impl Quotas for MemoryQuotas {
    async fn load(&self, accounts: &[String]) -> Result<BTreeMap<String, Quota>, Fault> {
        some_of(&self.quotas.borrow(), accounts)
    }

    async fn swap(&self, account: &str, seen: u64, quota: &Quota) -> Result<Swapped, Fault> {
        self.writes.set(self.writes.get() + 1);
        let mut quotas = self.quotas.borrow_mut();
        let there = quotas.get(account).cloned().unwrap_or_default();
        if there.version != seen {
            return Ok(Swapped::Changed(there));
        }
        quotas.insert(account.to_owned(), quota.clone());
        Ok(Swapped::Done)
    }
}
