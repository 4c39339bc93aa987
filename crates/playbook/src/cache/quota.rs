//! How often one account may call a provider: spacing for short windows, counters for long ones, and the provider's own word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, manifest::Limit};

/// Windows from this length on are counted from full hour or UTC midnight, as providers reset them; shorter ones are spaced.
const COUNTED_FROM_SECONDS: u64 = 3_600;

/// Windows from this length on, 28 days, are months: they are counted from the first at UTC midnight.
const MONTH_FROM_SECONDS: u64 = 2_419_200;

/// The most sources that are told apart in one window.
const SOURCES_MAX: usize = 32;

/// Everybody else.
const OTHERS: &str = "others";

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
    /// The provider was found out of order: nobody calls it before then, and then one call tries whether it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_until: Option<Timestamp>,
}

/// What was used of one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When the window started.
    pub since: Timestamp,
    /// Calls since then.
    pub calls: u32,
    /// Those of them that one source of incidents has caused, by the source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by: BTreeMap<String, u32>,
}

impl Used {
    const fn since(since: Timestamp) -> Self {
        Self { since, calls: 0, by: BTreeMap::new() }
    }

    /// Under which name a source is counted.
    fn known_as<'a>(&self, source: &'a str) -> &'a str {
        if self.by.len() < SOURCES_MAX || self.by.contains_key(source) { source } else { OTHERS }
    }
}

/// Whose calls are planned, and how much of a counted window they may use. Spaced limits are shared by nobody: they refill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The source of incidents, such as `default#mail`.
    pub source: &'a str,
    /// The most that this source may use of a window, in percent.
    pub source_percent: u32,
    /// The most that all of them may have used of it, in percent: the rest is kept for others.
    pub all_percent: u32,
}

impl Share<'_> {
    /// Nobody shares.
    pub const WHOLE: Self = Self { source: "", source_percent: 100, all_percent: 100 };

    /// Calls that are a part of a limit; at least one, so that a small limit is of use.
    fn of(percent: u32, limit: &Limit) -> u32 {
        let part = u64::from(limit.limit) * u64::from(percent.min(100)) / 100;
        u32::try_from(part).unwrap_or(u32::MAX).max(1).min(limit.limit)
    }
}

/// The limits of an account, and how much of them may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// All hold.
    pub limits: &'a [Limit],
    /// Whose calls.
    pub share: Share<'a>,
}

impl<'a> Claim<'a> {
    /// Shared with nobody.
    #[must_use]
    pub const fn whole(limits: &'a [Limit]) -> Self {
        Self { limits, share: Share::WHOLE }
    }

    /// The most lookups that one incident may take of every counted window, in percent of it; `None` where nothing is counted.
    #[must_use]
    pub fn at_most(&self, percent: u32) -> Option<u32> {
        self.limits.iter().filter(|limit| is_counted(limit)).map(|limit| Share::of(percent, limit)).min()
    }
}

const fn is_counted(limit: &Limit) -> bool {
    limit.window_seconds >= COUNTED_FROM_SECONDS
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
    pub fn take(&mut self, claim: &Claim<'_>, wanted: usize, now: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut slots = Vec::new();
        while slots.len() < wanted {
            let Some(slot) = self.next_slot(claim, now, until) else { break };
            self.spend(claim, slot);
            slots.push(slot);
        }
        slots
    }

    /// Moments at which up to `wanted` more lookups may try again, earliest first, none later than `until`: behind the slots
    /// that are taken and behind the earlier promises, so that those who wait do not all come at once.
    ///
    /// A promise is no slot: whoever comes at its time takes one then, or is promised another.
    pub fn promise(&mut self, claim: &Claim<'_>, wanted: usize, now: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut queue = self.clone();
        if let Some(last) = self.promised_until.filter(|last| *last > now) {
            queue.spend(claim, last);
        }
        let promises = queue.take(claim, wanted, now, until);
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

    /// Whether the provider was found out of order and it is too early to try again.
    #[must_use]
    pub fn is_broken(&self, now: Timestamp) -> bool {
        self.broken_until.is_some_and(|until| until > now)
    }

    /// The first moment at which every limit has room; `None` where there is none up to `until`.
    fn next_slot(&self, claim: &Claim<'_>, now: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut slot = self.paused_until.unwrap_or(now).max(now);
        loop {
            let before = slot;
            for limit in claim.limits {
                slot = slot.max(self.room(limit, claim.share, slot)?);
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
    fn room(&self, limit: &Limit, share: Share<'_>, at: Timestamp) -> Option<Timestamp> {
        if limit.limit == 0 {
            return None;
        }
        if !is_counted(limit) {
            let arrival = self.arrival.get(&name(limit)).copied().unwrap_or(at);
            return Some(at.max(arrival.plus_ms(-spacing(limit).1)));
        }
        match self.used.get(&name(limit)) {
            // A slot of a later window was given away: the earlier ones are closed.
            Some(used) if used.since >= window_start(limit, at) => {
                let own = used.by.get(used.known_as(share.source)).copied().unwrap_or(0);
                let is_full =
                    used.calls >= Share::of(share.all_percent, limit) || own >= Share::of(share.source_percent, limit);
                Some(at.max(if is_full { window_end(limit, used.since) } else { used.since }))
            }
            _ => Some(at),
        }
    }

    fn spend(&mut self, claim: &Claim<'_>, slot: Timestamp) {
        for limit in claim.limits {
            if is_counted(limit) {
                let since = window_start(limit, slot);
                let used = self.used.entry(name(limit)).or_insert(Used::since(since));
                if used.since < since {
                    *used = Used::since(since);
                }
                used.calls = used.calls.saturating_add(1);
                // Without a source nobody shares.
                if !claim.share.source.is_empty() {
                    let source = used.known_as(claim.share.source).to_owned();
                    let own = used.by.entry(source).or_default();
                    *own = own.saturating_add(1);
                }
            } else {
                let arrival = self.arrival.entry(name(limit)).or_insert(slot);
                *arrival = (*arrival).max(slot).plus_ms(spacing(limit).0);
            }
        }
    }
}

fn window_start(limit: &Limit, at: Timestamp) -> Timestamp {
    if limit.window_seconds >= MONTH_FROM_SECONDS {
        return at.month_start();
    }
    Timestamp::from_millis(at.as_millis().div_euclid(window_ms(limit)).saturating_mul(window_ms(limit)))
}

fn window_end(limit: &Limit, since: Timestamp) -> Timestamp {
    if limit.window_seconds >= MONTH_FROM_SECONDS {
        // Every month has begun 32 days after the one before it.
        return since.plus_hours(32 * 24).month_start();
    }
    since.plus_ms(window_ms(limit))
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
        assert_eq!(seconds(&quota.take(&Claim::whole(&limits), 25, at(0), at(10))), [0]);
        assert_eq!(seconds(&quota.take(&Claim::whole(&limits), 25, at(1), at(10))), [0_i64; 0]);
        assert_eq!(seconds(&quota.take(&Claim::whole(&limits), 2, at(2), at(31))), [15, 30]);
        // An idle hour saves nothing up.
        assert_eq!(seconds(&quota.take(&Claim::whole(&limits), 9, at(3600), at(3600 + 59))), [3600, 3615, 3630, 3645]);
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
                slots.extend(quota.take(&Claim::whole(&limits), 30, now, now.plus_ms(3_000)));
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
        assert_eq!(quota.take(&Claim::whole(&limits), 5, late, late.plus_ms(1_000)), [late; 3]);
        assert_eq!(quota.take(&Claim::whole(&limits), 2, late, late.plus_ms(10_000)), [midnight; 2]);
        assert_eq!(quota.take(&Claim::whole(&limits), 2, midnight, midnight.plus_minutes(600)), [midnight]);
    }

    #[test]
    fn all_limits_hold_and_a_large_one_lets_a_burst_through() {
        let mut quota = Quota::default();
        assert_eq!(quota.take(&Claim::whole(&[limit(60, 60)]), 25, at(0), at(10)).len(), 25);
        let mut quota = Quota::default();
        assert_eq!(quota.take(&Claim::whole(&[limit(60, 60), limit(10, 86_400)]), 25, at(0), at(10)).len(), 10);
        assert_eq!(Quota::default().take(&Claim::whole(&[limit(0, 60)]), 1, at(0), at(10)).len(), 0);
    }

    #[test]
    fn promises_queue_up_behind_slots_and_behind_each_other_and_take_nothing() {
        let limits = [limit(4, 60)];
        let mut quota = Quota::default();
        assert_eq!(seconds(&quota.take(&Claim::whole(&limits), 9, at(0), at(10))), [0]);
        assert_eq!(seconds(&quota.promise(&Claim::whole(&limits), 3, at(0), at(900))), [15, 30, 45]);
        assert_eq!(seconds(&quota.promise(&Claim::whole(&limits), 2, at(1), at(900))), [60, 75]);
        assert_eq!(
            seconds(&quota.take(&Claim::whole(&limits), 1, at(16), at(20))),
            [16],
            "whoever comes takes what is free"
        );
        assert_eq!(seconds(&quota.promise(&Claim::whole(&limits), 9, at(800), at(830))), [800, 815]);
        assert_eq!(Quota::default().promise(&Claim::whole(&[limit(0, 60)]), 1, at(0), at(900)).len(), 0);
    }

    #[test]
    fn promises_of_a_used_up_day_are_for_midnight_and_none_lie_before_the_end_of_a_pause() {
        let limits = [limit(3, 86_400)];
        let midnight = Timestamp::parse("2026-11-25T00:00:00Z").unwrap();
        let mut quota = Quota::default();
        assert_eq!(
            quota.take(&Claim::whole(&limits), 9, midnight.plus_minutes(-60), midnight.plus_minutes(-59)).len(),
            3
        );
        assert_eq!(
            quota.promise(&Claim::whole(&limits), 2, midnight.plus_minutes(-60), midnight.plus_minutes(60)),
            [midnight; 2]
        );
        assert_eq!(
            quota.promise(&Claim::whole(&limits), 2, midnight.plus_minutes(-60), midnight.plus_minutes(-1)).len(),
            0
        );
        quota.pause(midnight.plus_minutes(30));
        assert_eq!(
            quota.promise(&Claim::whole(&[]), 1, midnight, midnight.plus_minutes(60)),
            [midnight.plus_minutes(30)]
        );
    }

    #[test]
    fn a_pause_holds_for_everybody() {
        let mut quota = Quota::default();
        quota.pause(at(30));
        quota.pause(at(20));
        assert!(quota.is_paused(at(29)) && !quota.is_paused(at(30)));
        assert_eq!(quota.take(&Claim::whole(&[]), 1, at(0), at(10)).len(), 0);
        assert_eq!(seconds(&quota.take(&Claim::whole(&[]), 1, at(0), at(40))), [30]);
    }

    #[test]
    fn a_month_is_the_calendars() {
        let limits = [limit(2, 2_592_000)];
        let mut quota = Quota::default();
        let late = Timestamp::parse("2026-02-27T23:00:00Z").unwrap();
        let march = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
        assert_eq!(quota.take(&Claim::whole(&limits), 9, late, late.plus_minutes(1)).len(), 2);
        assert_eq!(quota.promise(&Claim::whole(&limits), 1, late, late.plus_hours(48)), [march]);
        assert_eq!(quota.take(&Claim::whole(&limits), 9, march, march.plus_hours(24 * 30)), [march; 2]);
        let april = Timestamp::parse("2026-04-01T00:00:00Z").unwrap();
        assert_eq!(quota.promise(&Claim::whole(&limits), 1, march, april), [april]);
    }

    #[test]
    fn a_source_uses_its_share_and_what_is_reserved_is_left_to_the_critical() {
        let limits = [limit(100, 86_400)];
        let of =
            |source, all_percent| Claim { limits: &limits, share: Share { source, source_percent: 60, all_percent } };
        let mut quota = Quota::default();
        let mut take =
            |source, all_percent, wanted: usize| quota.take(&of(source, all_percent), wanted, at(0), at(10)).len();
        assert_eq!(take("mail", 80, 1_000), 60, "its share");
        assert_eq!(take("mail", 100, 1_000), 0, "whatever is left of the whole");
        assert_eq!(take("siem", 80, 1_000), 20, "up to the reserve");
        assert_eq!(take("edr", 80, 1), 0);
        assert_eq!(take("siem", 100, 1_000), 20, "the reserve");
        assert_eq!(take("siem", 100, 1), 0, "and never more than the limit");
    }

    #[test]
    fn a_small_limit_is_of_use_and_many_sources_are_bounded() {
        let limits = [limit(2, 86_400)];
        let share = Share { source: "mail", source_percent: 10, all_percent: 10 };
        let claim = Claim { limits: &limits, share };
        assert_eq!(Quota::default().take(&claim, 9, at(0), at(10)).len(), 1);
        assert_eq!((claim.at_most(10), Claim::whole(&[limit(4, 60)]).at_most(10)), (Some(1), None));
        assert_eq!(Claim::whole(&[limit(500, 86_400), limit(100, 3_600), limit(4, 60)]).at_most(10), Some(10));

        let limits = [limit(1_000, 86_400)];
        let mut quota = Quota::default();
        for n in 0..100 {
            let source = format!("s{n}");
            let share = Share { source: &source, source_percent: 100, all_percent: 100 };
            assert_eq!(quota.take(&Claim { limits: &limits, share }, 1, at(0), at(10)).len(), 1);
        }
        let used = quota.used.values().next().unwrap();
        assert_eq!((used.calls, used.by.len(), used.by[OTHERS]), (100, SOURCES_MAX + 1, 68));
    }
}
