//! Entries at all targets, through the ledger: written, released, and finished where somebody was killed in between.
//!
//! Every function says of each entry what became of it; one that fails does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use ioc::Observable;
use playbook::{
    Fault, IncidentId,
    bundle::Bundle,
    guard::Guard,
    ledger::{Claim, LedgerEntry},
    ports::Clock,
    served,
    target::{Target, TargetKind},
};
use serde_json::Value;

use crate::{
    Ports,
    work::{Errand, Job, Place, work},
};

/// One entry that is to be at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The target's id.
    pub target: String,
    /// What.
    pub observable: Observable,
    /// For whom, and how long.
    pub claim: Claim,
    /// What the target's expressions see: `{entry, incident, verdict}`; the observable is put in here.
    pub document: Value,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is at the target.
    Written,
    /// It stays as it is: others claim it, it is not due, or somebody else is at it.
    Stays,
    /// It is gone, or was never there.
    Left,
}

/// Writes entries by a configuration, each claimed by its incident. In the order of `wanted`.
///
/// `Throttled` and `Unavailable`: it is noted in the ledger, a repetition or `sweep` finishes it. `Misconfigured`: the same,
/// once a person has changed what is wrong. `Rejected`: it was not written and will not be.
pub async fn write(
    ports: &impl Ports,
    bundle: &Bundle,
    digest: &str,
    wanted: &[Wanted],
    holder: &str,
) -> Vec<Result<Settled, Fault>> {
    let hosts = bundle.hosts();
    let guard = Guard::new(&bundle.policy, &hosts);
    let mut results: Vec<Result<Settled, Fault>> = vec![];
    let mut groups: BTreeMap<&str, Vec<Job<'_>>> = BTreeMap::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let admitted = admit(bundle, &guard, wanted);
        if admitted.is_ok() {
            let (observable, errand) = (&wanted.observable, Errand::Write(wanted, digest));
            groups.entry(&wanted.target).or_default().push(Job { index, observable, errand });
        }
        results.push(admitted.map(|()| Settled::Stays));
    }
    let works = groups.into_iter().filter_map(|(id, jobs)| {
        let target = bundle.targets.get(id)?;
        Some(work(ports, Place::of(target), bundle.policy.reach(), jobs, holder))
    });
    for (index, result) in join_all(works).await.into_iter().flatten() {
        if let Some(slot) = results.get_mut(index) {
            *slot = result;
        }
    }
    results
}

/// The last gate: whatever plan or decision say, guarded indicators are written nowhere.
fn admit(bundle: &Bundle, guard: &Guard<'_>, wanted: &Wanted) -> Result<(), Fault> {
    let refuse = |why: String| Err(Fault::Rejected(why));
    let Some(target) = bundle.targets.get(&wanted.target) else {
        return refuse(format!("there is no target {}", wanted.target));
    };
    if let Some(reason) = target.off_reason() {
        return refuse(format!("target {} is off: {reason}", target.id));
    }
    if !target.types.contains(&wanted.observable.kind()) {
        return refuse(format!("target {} takes no {}", target.id, wanted.observable.kind()));
    }
    match guard.check(&wanted.observable) {
        Some(guarded) => refuse(guarded.reason),
        None => Ok(()),
    }
}

/// Releases an incident's claims on entries; those without another claim leave their target. In the order of `spots`.
///
/// On a fault the claim is gone nevertheless, and `sweep` takes the entry back.
pub async fn release(
    ports: &impl Ports,
    spots: &[(String, Observable)],
    incident: &IncidentId,
    holder: &str,
) -> Vec<Result<Settled, Fault>> {
    let mut known = vec![];
    for (target, observable) in spots {
        known.push(LedgerEntry::load(ports.rows(), target, observable).await);
    }
    known_entries(ports, known, &Errand::Release(incident), holder).await
}

/// Brings entries that are due to where they belong: what has expired or is half-gone leaves, what is half-written is
/// finished. In the order of `due`; each is read again, because an index may be late.
pub async fn settle(ports: &impl Ports, due: &[LedgerEntry], holder: &str) -> Vec<Result<Settled, Fault>> {
    let now = ports.clock().now();
    let mut known = vec![];
    for entry in due {
        let read = LedgerEntry::load(ports.rows(), &entry.target, &entry.observable).await;
        known.push(read.map(|entry| entry.filter(|entry| entry.due_at.is_some_and(|due| due <= now))));
    }
    known_entries(ports, known, &Errand::Settle, holder).await
}

/// Does the same errand for entries as they lie in the ledger, each by the configuration that wrote it.
async fn known_entries(
    ports: &impl Ports,
    known: Vec<Result<Option<LedgerEntry>, Fault>>,
    errand: &Errand<'_>,
    holder: &str,
) -> Vec<Result<Settled, Fault>> {
    let mut results: Vec<Result<Settled, Fault>> =
        known.iter().map(|read| read.as_ref().map(|_| Settled::Stays).map_err(Clone::clone)).collect();
    let entries: Vec<(usize, &LedgerEntry)> =
        known.iter().enumerate().filter_map(|(index, read)| Some((index, read.as_ref().ok()?.as_ref()?))).collect();
    let bundles = bundles(ports, &entries).await;
    let mut groups: BTreeMap<(&str, &str), Vec<Job<'_>>> = BTreeMap::new();
    for (index, entry) in &entries {
        let job = Job { index: *index, observable: &entry.observable, errand: errand.clone() };
        groups.entry((&entry.target, &entry.config_digest)).or_default().push(job);
    }
    let works = groups.into_iter().map(|((id, digest), jobs)| {
        let bundle = bundles.get(digest);
        let place = match place(id, bundle) {
            Ok(place) => place,
            Err(fault) => Place::Unknown(id, fault),
        };
        let reach = bundle.and_then(|b| b.as_ref().ok()).map(|b| b.policy.reach()).unwrap_or_default();
        work(ports, place, reach, jobs, holder)
    });
    for (index, result) in join_all(works).await.into_iter().flatten() {
        if let Some(slot) = results.get_mut(index) {
            *slot = result;
        }
    }
    results
}

/// The configurations that wrote the entries; a served list needs none.
async fn bundles(ports: &impl Ports, entries: &[(usize, &LedgerEntry)]) -> BTreeMap<String, Result<Bundle, Fault>> {
    let elsewhere = entries.iter().filter(|(_, entry)| entry.target != served::TARGET);
    let digests: BTreeSet<&str> = elsewhere.map(|(_, entry)| entry.config_digest.as_str()).collect();
    let mut bundles = BTreeMap::new();
    for digest in digests {
        bundles.insert(digest.to_owned(), Bundle::load(ports.evidence(), digest, ports.account()).await);
    }
    bundles
}

fn place<'a>(id: &str, bundle: Option<&'a Result<Bundle, Fault>>) -> Result<Place<'a>, Fault> {
    if id == served::TARGET {
        return Ok(Place::Served);
    }
    let unknown = || Fault::Misconfigured(format!("the configuration that wrote it knows no target {id}"));
    let bundle = bundle.ok_or_else(unknown)?.as_ref().map_err(Clone::clone)?;
    bundle.targets.get(id).map(Place::of).ok_or_else(unknown)
}

impl<'a> Place<'a> {
    /// How a target is reached.
    fn of(target: &'a Target) -> Self {
        match target.kind {
            TargetKind::ServedList => Self::Served,
            TargetKind::WafIpSet => Self::Set(target),
            TargetKind::Http => Self::Http(target),
        }
    }
}
