//! The work at one target: a row in the ledger before the first call, and the row's end after the last.

use std::collections::{BTreeMap, BTreeSet};

use ioc::{Observable, ObservableType};
use ipnet::IpNet;
use playbook::{
    Fault, IncidentId, Timestamp,
    ledger::{self, Claimed, Dropped, EntryState, Fresh, LedgerEntry, Written},
    ports::{Clock, Egress, Reach, Secrets},
    served,
    target::Target,
};

use crate::{
    Ports,
    entries::{Settled, Wanted},
    entry::{self, NotWritten},
    http::Wire,
    waf,
};

/// A target that does not answer is not asked again in the same invocation after so many failures in a row.
const FAILURES_IN_A_ROW: usize = 2;

/// Where the work is done.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// The lists that we serve ourselves.
    Served,
    /// IP sets of AWS WAF.
    Set(&'a Target),
    /// Over https.
    Http(&'a Target),
    /// Nobody knows: the configuration that wrote to the target of this id cannot be read.
    Unknown(&'a str, Fault),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Errand<'a> {
    /// It is claimed and written, by the configuration of this digest.
    Write(&'a Wanted, &'a str),
    /// The incident's claim is released.
    Release(&'a IncidentId),
    /// Whatever is due is done.
    Settle,
}

/// An errand for one observable; the index is the caller's.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The caller's number.
    pub index: usize,
    /// Which.
    pub observable: &'a Observable,
    /// What.
    pub errand: Errand<'a>,
}

/// What the ledger says is left to do.
enum Step {
    Over(Settled),
    /// To be written by us; the flag: nobody has tried before.
    Write(Box<LedgerEntry>, bool),
    Undo(Box<LedgerEntry>),
}

type Results = Vec<(usize, Result<Settled, Fault>)>;

/// Does the jobs at one target.
pub async fn work(ports: &impl Ports, place: Place<'_>, reach: Reach<'_>, jobs: Vec<Job<'_>>, holder: &str) -> Results {
    match place {
        Place::Served => listed(ports, None, jobs, holder).await,
        Place::Set(target) => listed(ports, Some(target), jobs, holder).await,
        Place::Http(target) => over_https(ports, target, reach, jobs, holder).await,
        Place::Unknown(id, fault) => {
            let mut results = vec![];
            for job in jobs {
                // The claims go all the same; what is at the target stays until the configuration can be read.
                let begun = begin(ports, &job, id, false, holder).await;
                results.push((job.index, given_up(ports, begun, &fault).await));
            }
            results
        }
    }
}

/// The ledger's part before the first call.
async fn begin(
    ports: &impl Ports,
    job: &Job<'_>,
    target: &str,
    pre_existing: bool,
    holder: &str,
) -> Result<Step, Fault> {
    let (rows, now) = (ports.rows(), ports.clock().now());
    match &job.errand {
        Errand::Write(wanted, digest) => {
            let fresh = Fresh {
                target: wanted.target.clone(),
                observable: wanted.observable.clone(),
                config_digest: (*digest).to_owned(),
                document: wanted.document.clone(),
                pre_existing,
            };
            Ok(match ledger::claim(rows, &fresh, &wanted.claim, holder, now).await? {
                Claimed::ToWrite(entry, is_first) => Step::Write(Box::new(entry), is_first),
                Claimed::Joined(_) => Step::Over(Settled::Written),
            })
        }
        Errand::Release(incident) => {
            Ok(Step::of(ledger::release(rows, target, job.observable, incident, holder, now).await?))
        }
        Errand::Settle => due(ports, target, job.observable, holder, now).await,
    }
}

/// What is left to do of an entry that is due.
async fn due(
    ports: &impl Ports,
    target: &str,
    observable: &Observable,
    holder: &str,
    now: Timestamp,
) -> Result<Step, Fault> {
    let rows = ports.rows();
    let Some(entry) = LedgerEntry::load(rows, target, observable).await? else { return Ok(Step::Over(Settled::Left)) };
    if entry.state == EntryState::Written || (entry.state == EntryState::Writing && entry.expires_at <= now) {
        return Ok(Step::of(ledger::expire(rows, target, observable, holder, now).await?));
    }
    Ok(match ledger::hold(rows, &entry, holder, now).await? {
        None => Step::Over(Settled::Stays),
        Some(held) if held.state == EntryState::Writing => Step::Write(Box::new(held), false),
        Some(held) => Step::Undo(Box::new(held)),
    })
}

impl Step {
    fn of(dropped: Dropped) -> Self {
        match dropped {
            Dropped::Absent | Dropped::Stays => Self::Over(Settled::Stays),
            Dropped::Left => Self::Over(Settled::Left),
            Dropped::ToUndo(entry) => Self::Undo(entry),
        }
    }
}

/// Leaves a step to `sweep`, because of a fault at the target.
async fn given_up(ports: &impl Ports, begun: Result<Step, Fault>, fault: &Fault) -> Result<Settled, Fault> {
    match begun? {
        Step::Over(settled) => Ok(settled),
        Step::Write(entry, _) | Step::Undo(entry) => {
            ledger::postpone(ports.rows(), &entry, ports.clock().now()).await?;
            Err(fault.clone())
        }
    }
}

/// A target that is one list a type: every row first, then each list once, then the rows' end.
async fn listed(ports: &impl Ports, set: Option<&Target>, jobs: Vec<Job<'_>>, holder: &str) -> Results {
    let id = set.map_or(served::TARGET, |target| target.id.as_str());
    let mut by_kind: BTreeMap<ObservableType, Vec<Job<'_>>> = BTreeMap::new();
    for job in jobs {
        by_kind.entry(job.observable.kind()).or_default().push(job);
    }
    let mut results = vec![];
    for (kind, jobs) in by_kind {
        let present = match present(ports, set, kind, &jobs).await {
            Ok(present) => present,
            Err(fault) => {
                results.extend(jobs.iter().map(|job| (job.index, Err(fault.clone()))));
                continue;
            }
        };
        let mut steps = vec![];
        for job in &jobs {
            let known = present.as_ref().zip(waf::network(job.observable).ok());
            let is_present = known.is_some_and(|(networks, network)| networks.contains(&network));
            steps.push((job, begin(ports, job, id, is_present, holder).await));
        }
        let leaving: Vec<&Observable> = steps
            .iter()
            .filter_map(|(_, step)| match step {
                Ok(Step::Undo(entry)) => Some(&entry.observable),
                _ => None,
            })
            .collect();
        let is_touched = steps.iter().any(|(job, step)| {
            // An entry that had expired and is claimed again is at once in the ledger, but not in the list.
            matches!(job.errand, Errand::Write(..)) || matches!(step, Ok(Step::Write(..) | Step::Undo(_)))
        });
        let rendered = match set {
            _ if !is_touched => Ok(()),
            None => served::render(ports.rows(), ports.evidence(), kind, ports.clock().now()).await.map(|_| ()),
            Some(target) => waf::merge(ports, target, kind, &leaving).await,
        };
        for (job, step) in steps {
            let result = match (&rendered, step) {
                (Ok(()), step) => end(ports, step).await,
                (Err(fault @ Fault::Rejected(_)), Ok(Step::Write(entry, is_first))) => {
                    let refused = NotWritten { fault: fault.clone(), may_be_there: !is_first };
                    withdraw(ports, job, &entry, &refused, holder).await.and(Err(refused.fault))
                }
                (Err(fault), step) => given_up(ports, step, fault).await,
            };
            results.push((job.index, result));
        }
    }
    results
}

/// What is in an IP set before we write: it was there before us. Only where something is to be written.
async fn present(
    ports: &impl Ports,
    set: Option<&Target>,
    kind: ObservableType,
    jobs: &[Job<'_>],
) -> Result<Option<BTreeSet<IpNet>>, Fault> {
    match set {
        Some(target) if jobs.iter().any(|job| matches!(job.errand, Errand::Write(..))) => {
            waf::present(ports, target, kind).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// The ledger's part after a list was brought to it.
async fn end(ports: &impl Ports, step: Result<Step, Fault>) -> Result<Settled, Fault> {
    match step? {
        Step::Over(settled) => Ok(settled),
        Step::Write(entry, _) => {
            ledger::wrote(ports.rows(), &entry, &Written::default()).await?;
            Ok(Settled::Written)
        }
        Step::Undo(entry) => {
            ledger::undone(ports.rows(), &entry).await?;
            Ok(Settled::Left)
        }
    }
}

/// A target with one call an entry.
async fn over_https(
    ports: &impl Ports,
    target: &Target,
    reach: Reach<'_>,
    jobs: Vec<Job<'_>>,
    holder: &str,
) -> Results {
    let secret = match &target.secret {
        Some(id) => ports.secrets().secret(id).await,
        None => Ok(None),
    };
    let (secret, mut stopped) = match secret {
        Ok(secret) => (secret, None),
        Err(fault) => (None, Some(fault)),
    };
    let wire = Wire { egress: ports.egress(), reach, secret: secret.as_ref() };
    let mut in_a_row = 0;
    let mut results = vec![];
    for job in &jobs {
        let begun = begin(ports, job, &target.id, false, holder).await;
        if let Some(fault) = &stopped {
            results.push((job.index, given_up(ports, begun, fault).await));
            continue;
        }
        let result = match begun {
            Err(fault) => {
                // Only the ledger was asked.
                results.push((job.index, Err(fault)));
                continue;
            }
            Ok(Step::Over(settled)) => {
                results.push((job.index, Ok(settled)));
                continue;
            }
            Ok(Step::Write(entry, is_first)) => write(ports, &wire, target, job, &entry, is_first, holder).await,
            Ok(Step::Undo(entry)) => undo(ports, &wire, target, &entry).await,
        };
        in_a_row = match &result {
            Err(Fault::Unavailable(_)) => in_a_row + 1,
            _ => 0,
        };
        // The same would happen to all the others.
        if let Err(fault) = &result
            && (in_a_row >= FAILURES_IN_A_ROW || matches!(fault, Fault::Throttled(_) | Fault::Misconfigured(_)))
        {
            stopped = Some(fault.clone());
        }
        results.push((job.index, result));
    }
    results
}

async fn write(
    ports: &impl Ports,
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    job: &Job<'_>,
    entry: &LedgerEntry,
    is_first: bool,
    holder: &str,
) -> Result<Settled, Fault> {
    let rows = ports.rows();
    match entry::put(wire, target, entry, is_first, ports.clock().now()).await {
        Ok(written) => {
            ledger::wrote(rows, entry, &written).await?;
            Ok(Settled::Written)
        }
        Err(refused) if matches!(refused.fault, Fault::Rejected(_)) => {
            let left = withdraw(ports, job, entry, &refused, holder).await?;
            if let Some(leaving) = left {
                undo(ports, wire, target, &leaving).await?;
            }
            Err(refused.fault)
        }
        Err(NotWritten { fault, .. }) => {
            ledger::postpone(rows, entry, ports.clock().now()).await?;
            Err(fault)
        }
    }
}

/// Drops the claims on an entry that its target does not take. What may be there all the same is handed back, to be undone.
async fn withdraw(
    ports: &impl Ports,
    job: &Job<'_>,
    entry: &LedgerEntry,
    refused: &NotWritten,
    holder: &str,
) -> Result<Option<Box<LedgerEntry>>, Fault> {
    let (rows, now) = (ports.rows(), ports.clock().now());
    let dropped = match &job.errand {
        Errand::Write(wanted, _) => {
            let incident = &wanted.claim.incident_id;
            ledger::release(rows, &entry.target, &entry.observable, incident, holder, now).await?
        }
        _ => ledger::give_up(rows, &entry.target, &entry.observable, holder, now).await?,
    };
    match dropped {
        Dropped::ToUndo(leaving) if refused.may_be_there => Ok(Some(leaving)),
        Dropped::ToUndo(leaving) => ledger::undone(rows, &leaving).await.map(|()| None),
        // Others claim it too: `sweep` finds out for them.
        Dropped::Stays => ledger::postpone(rows, entry, now).await.map(|()| None),
        Dropped::Absent | Dropped::Left => Ok(None),
    }
}

async fn undo(
    ports: &impl Ports,
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    entry: &LedgerEntry,
) -> Result<Settled, Fault> {
    match entry::take_back(wire, target, entry, ports.clock().now()).await {
        Ok(()) => {
            ledger::undone(ports.rows(), entry).await?;
            Ok(Settled::Left)
        }
        Err(fault) => {
            ledger::postpone(ports.rows(), entry, ports.clock().now()).await?;
            Err(fault)
        }
    }
}
