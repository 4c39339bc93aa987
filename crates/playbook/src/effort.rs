//! What lookups cost: calls, waiting and money, as planned before the first call and as it came out.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What asking costs, or has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Lookups in all: observables × the providers that take them, without those that are not asked.
    pub lookups: u64,
    /// Of these, answered by what is known already.
    pub cached: u64,
    /// Calls that go out. A lookup in two steps, or of several names, has more than one.
    pub calls: u64,
    /// Lookups that are put off until a later moment.
    pub put_off: u64,
    /// Lookups that are left out: over a limit or a budget, or because they could not change the verdict.
    pub left_out: u64,
    /// Milliseconds: of a plan, how long the last call has to wait for its slot; of what was made, how long all of it took.
    pub wait_ms: u64,
    /// What the calls cost, in millionths of a US dollar, by the prices that manifests name.
    pub microdollars: u64,
}

impl AddAssign for Effort {
    /// Chunks wait at the same time, so that the longest wait counts; everything else is added.
    fn add_assign(&mut self, other: Self) {
        self.lookups = self.lookups.saturating_add(other.lookups);
        self.cached = self.cached.saturating_add(other.cached);
        self.calls = self.calls.saturating_add(other.calls);
        self.put_off = self.put_off.saturating_add(other.put_off);
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.wait_ms = self.wait_ms.max(other.wait_ms);
        self.microdollars = self.microdollars.saturating_add(other.microdollars);
    }
}

/// What was planned and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Efforts {
    /// Before the first call.
    pub planned: Effort,
    /// After the last one.
    pub made: Effort,
}

impl AddAssign for Efforts {
    fn add_assign(&mut self, other: Self) {
        self.planned += other.planned;
        self.made += other.made;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_add_up_and_wait_together() {
        let mut sum = Effort { lookups: 12, calls: 5, wait_ms: 900, microdollars: 10, ..Effort::default() };
        sum += Effort { lookups: 3, cached: 1, put_off: 2, left_out: 4, wait_ms: 200, ..sum };
        let expected =
            Effort { lookups: 15, cached: 1, calls: 10, put_off: 2, left_out: 4, wait_ms: 900, microdollars: 20 };
        assert_eq!(sum, expected);
    }
}
