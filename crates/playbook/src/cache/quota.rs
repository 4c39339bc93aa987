//! How often one account may call a provider: spacing for short windows, counters for long ones, and the provider's own word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, manifest::Limit};

/// Windows from this length on are counted from full hour or UTC midnight, as providers reset them; shorter ones are spaced.
const COUNTED_FROM_SECONDS: u64 = 3_600;

/// Limits below this are spaced evenly; from here on half of the limit may come at once.
const BURST_FROM: u32 = 20;

/// Spaced windows are kept this much longer than they are: a call reaches its provider later than its slot, and not always equally late.
const MARGIN_MAX_MS: i64 = 500;

/// What an account has used of its limits.
///
/// Short windows follow the generic cell rate algorithm. A burst of b and one call each interval T afterwards make at
/// most b − 1 + W/T calls in any window W, so T = W / (limit − b + 1) never exceeds the limit, wherever the window
/// starts: four a minute is one every 15 seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Raised by every write; 0 where there is none yet.
    pub version: u64,
    /// Per spaced limit (`4/60s`): the theoretical arrival time of the next call.
    #[serde(default)]
    pub arrival: BTreeMap<String, Timestamp>,
    /// Per counted limit (`500/86400s`): what was used of the current window.
    #[serde(default)]
    pub used: BTreeMap<String, Used>,
    /// The provider asked us to wait until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    /// The last moment that was promised to somebody who waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised_until: Option<Timestamp>,
}

/// What was used of one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When the window started.
    pub since: Timestamp,
    /// Calls since then.
    pub calls: u32,
}

fn name(limit: &Limit) -> String {
    format!("{}/{}s", limit.limit, limit.window_seconds)
}

fn window_ms(limit: &Limit) -> i64 {
    i64::try_from(limit.window_seconds.saturating_mul(1000)).unwrap_or(i64::MAX).max(1)
}

/// The interval between calls and how far ahead of it a burst may run, in milliseconds.
fn spacing(limit: &Limit) -> (i64, i64) {
    let burst = if limit.limit < BURST_FROM { 1 } else { i64::from(limit.limit / 2) };
    let steps = (i64::from(limit.limit) - burst + 1).max(1);
    let window = window_ms(limit).saturating_add((window_ms(limit) / 20).min(MARGIN_MAX_MS));
    let interval = window / steps + i64::from(window % steps != 0);
    (interval, interval.saturating_mul(burst - 1))
}

impl Quota {
    /// Takes up to `wanted` slots, none later than `until`: the moments at which to call, earliest first.
    ///
    /// All limits hold; fewer slots mean that the rest has no place before `until`.
    pub fn take(&mut self, limits: &[Limit], wanted: usize, now: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut slots = Vec::new();
        while slots.len() < wanted {
            let Some(slot) = self.next_slot(limits, now, until) else { break };
            self.spend(limits, slot);
            slots.push(slot);
        }
        slots
    }

    /// Moments at which up to `wanted` more lookups may try again, earliest first, none later than `until`: behind the slots
    /// that are taken and behind the earlier promises, so that those who wait do not all come at once.
    ///
    /// A promise is no slot: whoever comes at its time takes one then, or is promised another.
    pub fn promise(&mut self, limits: &[Limit], wanted: usize, now: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut queue = self.clone();
        if let Some(last) = self.promised_until.filter(|last| *last > now) {
            queue.spend(limits, last);
        }
        let promises = queue.take(limits, wanted, now, until);
        self.promised_until = self.promised_until.max(promises.last().copied());
        promises
    }

    /// The provider asked us to wait until then; a later word stays.
    pub fn pause(&mut self, until: Timestamp) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Whether the provider has asked us to wait.
    #[must_use]
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// The first moment at which every limit has room; `None` where there is none up to `until`.
    fn next_slot(&self, limits: &[Limit], now: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut slot = self.paused_until.unwrap_or(now).max(now);
        loop {
            let before = slot;
            for limit in limits {
                slot = slot.max(self.room(limit, slot)?);
            }
            if slot > until {
                return None;
            }
            if slot == before {
                return Some(slot);
            }
        }
    }

    /// The first moment from `at` on at which one limit has room.
    fn room(&self, limit: &Limit, at: Timestamp) -> Option<Timestamp> {
        if limit.limit == 0 {
            return None;
        }
        if limit.window_seconds < COUNTED_FROM_SECONDS {
            let arrival = self.arrival.get(&name(limit)).copied().unwrap_or(at);
            return Some(at.max(arrival.plus_ms(-spacing(limit).1)));
        }
        match self.used.get(&name(limit)) {
            // A slot of a later window was given away: the earlier ones are closed.
            Some(used) if used.since >= window_start(limit, at) => {
                let is_full = used.calls >= limit.limit;
                Some(at.max(if is_full { used.since.plus_ms(window_ms(limit)) } else { used.since }))
            }
            _ => Some(at),
        }
    }

    fn spend(&mut self, limits: &[Limit], slot: Timestamp) {
        for limit in limits {
            if limit.window_seconds < COUNTED_FROM_SECONDS {
                let arrival = self.arrival.entry(name(limit)).or_insert(slot);
                *arrival = (*arrival).max(slot).plus_ms(spacing(limit).0);
            } else {
                let since = window_start(limit, slot);
                let used = self.used.entry(name(limit)).or_insert(Used { since, calls: 0 });
                if used.since < since {
                    *used = Used { since, calls: 0 };
                }
                used.calls = used.calls.saturating_add(1);
            }
        }
    }
}

fn window_start(limit: &Limit, at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(window_ms(limit)).saturating_mul(window_ms(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::LimitScope;

    fn limit(limit: u32, window_seconds: u64) -> Limit {
        Limit { limit, window_seconds, scope: LimitScope::Key }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    /// Seconds from `at(0)` of the slots taken.
    fn seconds(slots: &[Timestamp]) -> Vec<i64> {
        slots.iter().map(|slot| slot.ms_since(at(0)) / 1000).collect()
    }

    #[test]
    fn four_a_minute_is_one_every_fifteen_seconds() {
        let limits = [limit(4, 60)];
        let mut quota = Quota::default();
        assert_eq!(seconds(&quota.take(&limits, 25, at(0), at(10))), [0]);
        assert_eq!(seconds(&quota.take(&limits, 25, at(1), at(10))), [0_i64; 0]);
        assert_eq!(seconds(&quota.take(&limits, 2, at(2), at(31))), [15, 30]);
        // An idle hour saves nothing up.
        assert_eq!(seconds(&quota.take(&limits, 9, at(3600), at(3600 + 59))), [3600, 3615, 3630, 3645]);
    }

    #[test]
    fn no_window_holds_more_than_the_limit_wherever_it_starts() {
        for (count, window) in [(1, 1), (4, 60), (7, 60), (19, 60), (20, 60), (45, 60), (1000, 900)] {
            let limits = [limit(count, window)];
            let mut quota = Quota::default();
            let mut slots = Vec::new();
            // Greedy callers at irregular moments, with a pause that lets the burst refill.
            for step in 0..200 {
                let now = at(step * 7 + if step > 90 { 5000 } else { 0 });
                slots.extend(quota.take(&limits, 30, now, now.plus_ms(3_000)));
            }
            slots.sort_unstable();
            let span = i64::try_from(window).unwrap() * 1000;
            let fullest = (0..slots.len())
                .map(|i| slots.iter().skip(i).take_while(|s| s.ms_since(slots[i]) < span).count())
                .max();
            assert!(fullest <= Some(count as usize), "{count}/{window}s: {fullest:?}");
            assert!(fullest >= Some((count as usize).min(30) / 2), "{count}/{window}s is hardly used: {fullest:?}");
        }
    }

    #[test]
    fn a_long_window_is_counted_and_starts_anew_at_midnight() {
        let limits = [limit(3, 86_400)];
        let mut quota = Quota::default();
        let midnight = Timestamp::parse("2026-11-25T00:00:00Z").unwrap();
        let late = midnight.plus_ms(-5_000);
        assert_eq!(quota.take(&limits, 5, late, late.plus_ms(1_000)), [late; 3]);
        assert_eq!(quota.take(&limits, 2, late, late.plus_ms(10_000)), [midnight; 2]);
        assert_eq!(quota.take(&limits, 2, midnight, midnight.plus_minutes(600)), [midnight]);
    }

    #[test]
    fn all_limits_hold_and_a_large_one_lets_a_burst_through() {
        let mut quota = Quota::default();
        assert_eq!(quota.take(&[limit(60, 60)], 25, at(0), at(10)).len(), 25);
        let mut quota = Quota::default();
        assert_eq!(quota.take(&[limit(60, 60), limit(10, 86_400)], 25, at(0), at(10)).len(), 10);
        assert_eq!(Quota::default().take(&[limit(0, 60)], 1, at(0), at(10)).len(), 0);
    }

    #[test]
    fn promises_queue_up_behind_slots_and_behind_each_other_and_take_nothing() {
        let limits = [limit(4, 60)];
        let mut quota = Quota::default();
        assert_eq!(seconds(&quota.take(&limits, 9, at(0), at(10))), [0]);
        assert_eq!(seconds(&quota.promise(&limits, 3, at(0), at(900))), [15, 30, 45]);
        assert_eq!(seconds(&quota.promise(&limits, 2, at(1), at(900))), [60, 75]);
        assert_eq!(seconds(&quota.take(&limits, 1, at(16), at(20))), [16], "whoever comes takes what is free");
        assert_eq!(seconds(&quota.promise(&limits, 9, at(800), at(830))), [800, 815]);
        assert_eq!(Quota::default().promise(&[limit(0, 60)], 1, at(0), at(900)).len(), 0);
    }

    #[test]
    fn promises_of_a_used_up_day_are_for_midnight_and_none_lie_before_the_end_of_a_pause() {
        let limits = [limit(3, 86_400)];
        let midnight = Timestamp::parse("2026-11-25T00:00:00Z").unwrap();
        let mut quota = Quota::default();
        assert_eq!(quota.take(&limits, 9, midnight.plus_minutes(-60), midnight.plus_minutes(-59)).len(), 3);
        assert_eq!(quota.promise(&limits, 2, midnight.plus_minutes(-60), midnight.plus_minutes(60)), [midnight; 2]);
        assert_eq!(quota.promise(&limits, 2, midnight.plus_minutes(-60), midnight.plus_minutes(-1)).len(), 0);
        quota.pause(midnight.plus_minutes(30));
        assert_eq!(quota.promise(&[], 1, midnight, midnight.plus_minutes(60)), [midnight.plus_minutes(30)]);
    }

    #[test]
    fn a_pause_holds_for_everybody() {
        let mut quota = Quota::default();
        quota.pause(at(30));
        quota.pause(at(20));
        assert!(quota.is_paused(at(29)) && !quota.is_paused(at(30)));
        assert_eq!(quota.take(&[], 1, at(0), at(10)).len(), 0);
        assert_eq!(seconds(&quota.take(&[], 1, at(0), at(40))), [30]);
    }
}
