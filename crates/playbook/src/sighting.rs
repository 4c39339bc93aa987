//! Sightings: where an observable was seen before, what it was judged there, and which incidents it ties together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Fault, IncidentId, Timestamp, canonical,
    incident::Kind,
    infrastructure::{self, Link},
    rows::{Commit, Condition, Key, Row, Rows, Write},
};

/// An observable that is in more incidents than this ties nothing together, and no further sightings of it are written.
pub const COMMON: usize = 50;
/// Incidents from which an observable is persistent, on whatever days they came in.
const PERSISTENT_INCIDENTS: usize = 3;
/// Observables that are named of a related incident.
const SHARED_MAX: usize = 10;
/// A commit has at most 100 writes; two may be those that count the incident.
const SIGHTINGS_PER_COMMIT: usize = 90;
/// Counters of incidents, so that many at once do not wait for one row.
const SHARDS: u8 = 8;

/// One time an observable was seen here (`sighting/1`): `incident#<id>` / `sighting#<observable key>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// `sighting/1`.
    pub schema: String,
    /// `Observable::key`, or the key of an infrastructure link; the index `by_observable` finds it.
    pub observable: String,
    /// Of a file's TLSH digest, of which the key is a piece: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When the incident came in.
    pub seen_at: Timestamp,
    /// The incident.
    pub incident_id: IncidentId,
    /// What came in.
    pub kind: Kind,
    /// Which door.
    pub source: String,
    /// What the last run concluded: `malicious`, `suspicious`, `benign`, `unknown`.
    pub verdict: String,
    /// Digests of our own assets and people that were part of the incident; at most [`ASSETS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<String>,
}

/// Assets that a sighting remembers.
pub const ASSETS_MAX: usize = 16;

/// What a sighting remembers of an asset or a person: enough to tell two apart, and no name.
#[must_use]
pub fn asset(name: &str) -> String {
    let mut digest = canonical::sha256_hex(name.trim().to_lowercase().as_bytes());
    digest.truncate(12);
    digest
}

impl Sighting {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "sighting/1";

    /// Where the row lies.
    #[must_use]
    pub fn key(id: &IncidentId, observable_key: &str) -> Key {
        Key::new(format!("incident#{id}"), format!("sighting#{observable_key}"))
    }
}

/// Another incident with observables of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// The other incident.
    pub incident_id: IncidentId,
    /// When it came in.
    pub seen_at: Timestamp,
    /// Keys of the observables that both have, and of the infrastructure that theirs stand on, rarest first; at most 10.
    pub observables: Vec<String>,
    /// How much they tie together: the sum of ln(N/df), in hundredths; infrastructure counts in part.
    pub weight: u32,
}

/// Whether an observable was seen here once or again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// In this incident alone.
    Isolated,
    /// In several incidents, or on several days.
    Persistent,
}

/// How often an observable was seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Once or again and again.
    pub persistence: Persistence,
    /// Distinct incidents, this one included; at most 51, which stands for more than 50.
    pub incidents: usize,
    /// Distinct days (UTC) on which they came in.
    pub days: usize,
    /// Distinct assets and people of ours, those of this incident included; 0 where none is known.
    #[serde(default)]
    pub assets: usize,
    /// When it was first seen here.
    pub first_seen: Timestamp,
    /// What it was judged in the other incidents that are known, in how many each.
    #[serde(default)]
    pub reputation: Reputation,
}

/// What an observable was judged in other incidents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reputation {
    /// In how many incidents malicious.
    pub malicious: u32,
    /// In how many suspicious.
    pub suspicious: u32,
    /// In how many benign.
    pub benign: u32,
    /// In how many unknown.
    pub unknown: u32,
    /// When it was malicious or suspicious for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_bad: Option<Timestamp>,
}

impl Reputation {
    fn add(&mut self, verdict: &str, at: Timestamp) {
        let counted = match verdict {
            "malicious" => &mut self.malicious,
            "suspicious" => &mut self.suspicious,
            "benign" => &mut self.benign,
            _ => &mut self.unknown,
        };
        *counted = counted.saturating_add(1);
        if matches!(verdict, "malicious" | "suspicious") {
            self.last_bad = self.last_bad.max(Some(at));
        }
    }
}

/// Where else an observable was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// `Observable::key`, or the key of a link.
    pub observable: String,
    /// Other incidents, and when each came in; at most [`COMMON`] + 1 of them, the newest.
    pub incidents: BTreeMap<IncidentId, Timestamp>,
    /// What it was judged in them.
    pub reputation: Reputation,
    /// Digests of the assets and people of ours that were part of them.
    pub assets: BTreeSet<String>,
    /// How much of an observable's weight it has: 100, and of a link less.
    pub percent: u32,
    /// Of a link: keys of our own observables that stand on it. Where one of them is shared itself, the link says nothing more.
    pub of: BTreeSet<String>,
    /// Of a piece of a file's TLSH digest: the whole. However many pieces are shared, the file counts once.
    pub digest: Option<String>,
}

impl Elsewhere {
    /// Looks an observable up for an incident, whose own earlier sighting does not count. From an index: what others have
    /// written in the last moment may be missing.
    pub async fn find(rows: &impl Rows, observable: String, own: &IncidentId) -> Result<Self, Fault> {
        Self::among(rows, observable, |sighting| sighting.incident_id != *own).await
    }

    /// Looks an infrastructure link up. Of the pieces of a file's digest only those incidents count whose file is alike.
    pub async fn follow(rows: &impl Rows, link: &Link, own: &IncidentId) -> Result<Self, Fault> {
        let is_alike = |sighting: &Sighting| match (&link.digest, &sighting.digest) {
            (None, _) => true,
            (Some(ours), Some(other)) => infrastructure::are_alike(ours, other),
            (Some(_), None) => false,
        };
        let is_other = |sighting: &Sighting| sighting.incident_id != *own && is_alike(sighting);
        let found = Self::among(rows, link.key.clone(), is_other).await?;
        Ok(Self { percent: link.sort.percent(), of: link.of.clone(), digest: link.digest.clone(), ..found })
    }

    async fn among(
        rows: &impl Rows,
        observable: String,
        is_counted: impl Fn(&Sighting) -> bool,
    ) -> Result<Self, Fault> {
        let mut found = Self {
            observable,
            incidents: BTreeMap::new(),
            reputation: Reputation::default(),
            assets: BTreeSet::new(),
            percent: 100,
            of: BTreeSet::new(),
            digest: None,
        };
        // One more than may be others: one of them can be our own.
        for row in rows.by_observable(&found.observable, COMMON + 2).await? {
            let sighting: Sighting = row.read()?;
            if is_counted(&sighting) && found.incidents.len() <= COMMON {
                found.reputation.add(&sighting.verdict, sighting.seen_at);
                found.assets.extend(sighting.assets);
                found.incidents.insert(sighting.incident_id, sighting.seen_at);
            }
        }
        Ok(found)
    }

    /// How much it ties together that are in `all` incidents, in hundredths; of a link only a part.
    #[must_use]
    pub fn weight(&self, all: u64) -> u32 {
        scarcity(all.max(POPULATION_MIN), self.frequency()) * self.percent / 100
    }

    /// Incidents with the observable, this one included; [`COMMON`] + 1 stands for more.
    #[must_use]
    pub fn frequency(&self) -> usize {
        (self.incidents.len() + 1).min(COMMON + 1)
    }

    /// What people are shown: of a piece of a digest, the whole.
    #[must_use]
    pub fn name(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.observable.clone(), |digest| format!("tlsh#{digest}"))
    }

    /// Whether it ties nothing together.
    #[must_use]
    pub fn is_common(&self) -> bool {
        self.frequency() > COMMON
    }

    /// How often it was seen, by an incident that came in at this time with these assets.
    #[must_use]
    pub fn history(&self, received_at: Timestamp, assets: &[String]) -> History {
        let seen = || self.incidents.values().copied().chain([received_at]);
        let days: BTreeSet<String> = seen().map(|at| at.to_string().chars().take(10).collect()).collect();
        let incidents = self.frequency();
        let is_persistent = incidents >= PERSISTENT_INCIDENTS || (incidents > 1 && days.len() > 1);
        History {
            persistence: if is_persistent { Persistence::Persistent } else { Persistence::Isolated },
            incidents,
            days: days.len(),
            assets: self.assets.iter().chain(assets).collect::<BTreeSet<_>>().len(),
            first_seen: seen().min().unwrap_or(received_at),
            reputation: self.reputation,
        }
    }
}

/// How much an observable ties incidents together that are in `with_it` of `all` incidents: ln(N/df) in hundredths,
/// rounded once. Nothing when it is common; never below zero, however the two numbers were counted.
#[must_use]
pub fn scarcity(all: u64, with_it: usize) -> u32 {
    let with_it = with_it.max(1);
    if with_it > COMMON {
        return 0;
    }
    #[expect(clippy::cast_precision_loss, reason = "incidents that anybody will ever have fit into 53 bits")]
    let ratio = all.max(with_it as u64) as f64 / with_it as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4,437: the logarithm of 2^64")]
    let rounded = libm::round(libm::log(ratio) * 100.0) as u32;
    rounded
}

/// A record of fewer incidents counts as one of so many: what two of three share is as rare as it will turn out to be.
const POPULATION_MIN: u64 = 1_000;

/// Every incident that shares an observable or stands on the same infrastructure, strongest first, then newest. What is
/// common ties nothing; a link counts only where no observable is shared that stands on it.
#[must_use]
pub fn related(elsewhere: &[Elsewhere], all: u64) -> Vec<Related> {
    let mut rarest: Vec<&Elsewhere> = elsewhere.iter().filter(|e| !e.is_common()).collect();
    rarest.sort_by_key(|e| (!e.of.is_empty(), e.frequency(), &e.observable));
    let by_key: BTreeMap<&String, &Elsewhere> = elsewhere.iter().map(|e| (&e.observable, e)).collect();
    let shares = |id: &IncidentId, key: &String| by_key.get(key).is_some_and(|e| e.incidents.contains_key(id));
    let mut related: BTreeMap<&IncidentId, Related> = BTreeMap::new();
    let mut alike: BTreeSet<(&IncidentId, &str)> = BTreeSet::new();
    for shared in rarest {
        let weight = shared.weight(all);
        for (id, seen_at) in &shared.incidents {
            let is_counted = shared.digest.as_deref().is_some_and(|digest| !alike.insert((id, digest)));
            if is_counted || shared.of.iter().any(|key| shares(id, key)) {
                continue;
            }
            let tie = related.entry(id).or_insert_with(|| Related {
                incident_id: id.clone(),
                seen_at: *seen_at,
                observables: vec![],
                weight: 0,
            });
            tie.weight = tie.weight.saturating_add(weight);
            if tie.observables.len() < SHARED_MAX {
                tie.observables.push(shared.name());
            }
        }
    }
    let mut related: Vec<Related> = related.into_values().collect();
    related.sort_by(|a, b| (b.weight, b.seen_at, &b.incident_id).cmp(&(a.weight, a.seen_at, &a.incident_id)));
    related
}

/// Writes an incident's sightings and counts the incident with the first of them, once whatever is repeated. The next run
/// writes the same rows again.
pub async fn record(rows: &impl Rows, id: &IncidentId, sightings: &[Sighting], now: Timestamp) -> Result<(), Fault> {
    let marker = Key::new(format!("incident#{id}"), "counted");
    for (number, chunk) in sightings.chunks(SIGHTINGS_PER_COMMIT).enumerate() {
        let mut writes = vec![];
        for sighting in chunk {
            writes.push(Write::put(Sighting::key(id, &sighting.observable), sighting)?);
        }
        if number == 0 && rows.get(&marker).await?.is_none() {
            let counted = json!({"schema": "counted/1", "at": now});
            writes.push(Write::put(marker.clone(), &counted)?.only_if(Condition::Absent));
            writes.push(Write::set(shard(id), &json!({}))?.adding("incidents", 1));
        }
        if rows.commit(&writes).await? == Commit::Conflict {
            return Err(Fault::Throttled(format!("{id} was counted at the same moment")));
        }
    }
    Ok(())
}

/// How many incidents were ever sighted.
pub async fn incidents(rows: &impl Rows) -> Result<u64, Fault> {
    let shards = rows.list(STATS, "shard-").await?;
    let counted = |row: &Row| row.attributes.get("incidents").and_then(Value::as_u64).unwrap_or(0);
    Ok(shards.iter().map(counted).fold(0, u64::saturating_add))
}

/// The partition of the counters.
const STATS: &str = "stats#incidents";

fn shard(id: &IncidentId) -> Key {
    let digest = canonical::sha256_hex(id.as_str().as_bytes());
    let first = digest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    Key::new(STATS, format!("shard-{}", first % SHARDS))
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::MemoryRows;

    const EVIL: &str = "domain-name#evil.example";

    fn id(number: u32) -> IncidentId {
        IncidentId::of("default", "mail", &number.to_string())
    }

    fn sighting(number: u32, observable: &str, seen_at: &str) -> Sighting {
        Sighting {
            schema: Sighting::SCHEMA.to_owned(),
            observable: observable.to_owned(),
            digest: None,
            seen_at: Timestamp::parse(seen_at).unwrap(),
            incident_id: id(number),
            kind: Kind::Mail,
            source: "mail".to_owned(),
            verdict: "malicious".to_owned(),
            assets: vec![],
        }
    }

    fn elsewhere(observable: &str, incidents: &[(u32, &str)]) -> Elsewhere {
        let incidents = incidents.iter().map(|(n, at)| (id(*n), Timestamp::parse(at).unwrap())).collect();
        let observable = observable.to_owned();
        Elsewhere {
            observable,
            incidents,
            reputation: Reputation::default(),
            assets: BTreeSet::new(),
            percent: 100,
            of: BTreeSet::new(),
            digest: None,
        }
    }

    #[test]
    fn the_rarer_an_observable_is_the_more_it_ties_together() {
        let check = |all, with_it, expected| assert_eq!(scarcity(all, with_it), expected, "{with_it} of {all}");
        check(1_000, 2, 621);
        check(1_000, 50, 300);
        check(1_000, 51, 0);
        check(2, 2, 0);
        // The counter may be behind what the index shows.
        check(0, 3, 0);
        check(1, 0, 0);
        check(u64::MAX, 1, 4436);
    }

    #[test]
    fn incidents_are_tied_by_the_sum_over_what_they_share() {
        let day = "2026-11-20T05:00:00Z";
        let found = related(
            &[
                elsewhere("url#a", &[(1, day), (2, day), (3, day)]),
                elsewhere("url#b", &[(2, day)]),
                elsewhere("url#c", &[]),
            ],
            5_000,
        );
        let seen: Vec<_> = found.iter().map(|r| (r.incident_id.clone(), r.weight, r.observables.len())).collect();
        // ln(5000/4) = 7.13 and ln(5000/2) = 7.82; what is rarest is named first.
        assert_eq!(seen[0], (id(2), 713 + 782, 2));
        assert_eq!(found[0].observables, ["url#b", "url#a"]);
        assert_eq!(seen.len(), 3);
        assert!(seen[1..].iter().all(|(_, weight, shared)| (*weight, *shared) == (713, 1)));
    }

    #[test]
    fn a_link_counts_in_part_and_only_where_nothing_that_stands_on_it_is_shared() {
        let day = "2026-11-20T05:00:00Z";
        let network = Elsewhere {
            percent: 40,
            of: [EVIL.to_owned()].into(),
            ..elsewhere("network#192.0.2.0/24", &[(1, day), (2, day)])
        };
        let found = related(&[elsewhere(EVIL, &[(1, day)]), network], 0);
        // A young record counts as one of a thousand: ln(1000/2) = 6.21; and four tenths of ln(1000/3) = 5.81.
        let seen: Vec<_> = found.iter().map(|r| (r.incident_id.clone(), r.weight, r.observables[0].as_str())).collect();
        assert_eq!(seen, [(id(1), 621, EVIL), (id(2), 232, "network#192.0.2.0/24")]);
    }

    #[test]
    fn what_is_common_ties_nothing() {
        let many: Vec<(u32, &str)> = (1..=50).map(|n| (n, "2026-11-20T05:00:00Z")).collect();
        let (common, rare) = (elsewhere(EVIL, &many), elsewhere(EVIL, &many[..49]));
        assert_eq!((common.frequency(), related(&[common], 1_000).len()), (51, 0));
        assert_eq!((rare.frequency(), related(&[rare], 1_000).len()), (50, 49));
    }

    #[test]
    fn persistent_is_three_incidents_or_two_days() {
        let check = |incidents: &[(u32, &str)], expected: (Persistence, usize, usize, &str)| {
            let history =
                elsewhere(EVIL, incidents).history(Timestamp::parse("2026-11-24T05:00:00Z").unwrap(), &[asset("dc01")]);
            assert_eq!(history.assets, 1);
            let first_seen = history.first_seen.to_string();
            let seen = (history.persistence, history.incidents, history.days, first_seen.get(..10).unwrap());
            assert_eq!(seen, expected, "{incidents:?}");
        };
        let (today, yesterday) = ("2026-11-24T00:10:00Z", "2026-11-23T23:50:00Z");
        check(&[], (Persistence::Isolated, 1, 1, "2026-11-24"));
        check(&[(1, today)], (Persistence::Isolated, 2, 1, "2026-11-24"));
        check(&[(1, yesterday)], (Persistence::Persistent, 2, 2, "2026-11-23"));
        check(&[(1, today), (2, today)], (Persistence::Persistent, 3, 1, "2026-11-24"));
    }

    #[tokio::test]
    async fn a_repetition_counts_once_and_an_own_sighting_is_no_other_incident() {
        let rows = MemoryRows::default();
        let at = "2026-11-24T05:00:00Z";
        let now = Timestamp::parse(at).unwrap();
        for _ in 0..5 {
            record(&rows, &id(1), &[sighting(1, EVIL, at), sighting(1, "url#a", at)], now).await.unwrap();
        }
        assert_eq!(incidents(&rows).await, Ok(1));
        assert!(Elsewhere::find(&rows, EVIL.to_owned(), &id(1)).await.unwrap().incidents.is_empty());
        record(&rows, &id(2), &[sighting(2, EVIL, at)], now).await.unwrap();
        assert_eq!(incidents(&rows).await, Ok(2));
        let found = Elsewhere::find(&rows, EVIL.to_owned(), &id(1)).await.unwrap();
        assert_eq!(found.incidents.keys().collect::<Vec<_>>(), [&id(2)]);
    }

    #[tokio::test]
    async fn more_sightings_than_fit_into_a_commit_are_all_written() {
        let rows = MemoryRows::default();
        let many: Vec<Sighting> = (0..200).map(|n| sighting(1, &format!("url#{n}"), "2026-11-24T05:00:00Z")).collect();
        record(&rows, &id(1), &many, Timestamp::from_millis(0)).await.unwrap();
        assert_eq!(rows.commits.get(), 3);
        // The sightings, the incident's own mark and the counter.
        assert_eq!((rows.all().len(), incidents(&rows).await), (202, Ok(1)));
    }

    #[test]
    fn incidents_are_spread_over_all_counters() {
        let used: BTreeSet<String> = (0..200).map(|n| shard(&id(n)).sk).collect();
        assert_eq!(used.len(), usize::from(SHARDS));
    }
}
