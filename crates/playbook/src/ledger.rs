//! The ledger: every write we made to a target, with its claims and its undo.
//!
//! An entry is `writing` until the target has shown it, `written` while it is claimed, `leaving` until it is gone there. A
//! row is there before the first call and after the last one, so that whatever is killed in between is found again.

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Fault, IncidentId, Timestamp,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};

/// Entries that `sweep` has to look at are found under this `due_kind`: expired, half-written or half-gone.
pub const DUE_EXPIRY: &str = "ledger-expiry";

/// Minutes that whoever writes or undoes an entry has it for itself; after that others take it over.
pub const HOLD_MINUTES: i64 = 3;

/// A commit has at most 100 writes; two are the entry's own.
const CLAIMS_PER_COMMIT: usize = 90;
/// Changes at once are tried again so often.
const TRIES: usize = 5;
/// The longest wait before `sweep` tries an entry again, in minutes.
const POSTPONE_MAX_MINUTES: i64 = 1_440;

/// How far an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Claimed; nobody has seen it at the target yet.
    Writing,
    /// At the target.
    #[default]
    Written,
    /// Without claims; nobody has seen it gone yet.
    Leaving,
}

/// An entry (`ledger/1`): `ledger#<target>#<observable key>` / `entry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// `ledger/1`.
    pub schema: String,
    /// The target's id.
    pub target: String,
    /// What was written.
    #[serde(flatten)]
    pub observable: Observable,
    /// How far it is.
    #[serde(default)]
    pub state: EntryState,
    /// Whether it was there before us; then it is never removed.
    #[serde(default)]
    pub pre_existing: bool,
    /// Whether it was only noted, because the target was in `dry_run`: then there is nothing to undo.
    #[serde(default)]
    pub dry_run: bool,
    /// What it is called at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The configuration by which it is written, and undone.
    #[serde(default)]
    pub config_digest: String,
    /// What the target's expressions see, until it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
    /// Who is writing or undoing it now, until `due_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// How often writing or undoing it has failed since it last worked.
    #[serde(default)]
    pub failures: u32,
    /// When it leaves unless it is claimed anew.
    pub expires_at: Timestamp,
    /// When it was first written.
    pub written_at: Timestamp,
    /// Raised with every change of the entry or its claims, so that two changes at once do not both happen.
    #[serde(default)]
    pub revision: u64,
    /// `ledger-expiry` always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_kind: Option<String>,
    /// When `sweep` has to look at it: at its expiry, or when nobody holds it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// An incident's claim on an entry: the entry leaves when the last claim is released or expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The incident.
    pub incident_id: IncidentId,
    /// Until when.
    pub expires_at: Timestamp,
    /// Who approved it; `policy` where nobody was asked.
    pub approved_by: String,
}

/// What `claim` makes an entry of, where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The target's id.
    pub target: String,
    /// What is to be written.
    pub observable: Observable,
    /// The configuration by which it is written.
    pub config_digest: String,
    /// What the target's expressions see.
    pub document: Value,
    /// Whether it is known to be there already, by somebody else's doing.
    pub pre_existing: bool,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It has to be written; the caller holds it for [`HOLD_MINUTES`]. The flag: nobody has tried before.
    ToWrite(LedgerEntry, bool),
    /// It is at the target, and now carries this claim too.
    Joined(LedgerEntry),
}

/// What became of dropping claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There is no such entry.
    Absent,
    /// It stays: others claim it, or somebody else is taking it away just now.
    Stays,
    /// Its rows are gone, and there is nothing to undo: it was there before us, or was only noted.
    Left,
    /// It has to be undone; the caller holds it for [`HOLD_MINUTES`].
    ToUndo(Box<LedgerEntry>),
}

impl LedgerEntry {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "ledger/1";

    /// The partition of an entry and its claims.
    #[must_use]
    pub fn partition(target: &str, observable: &Observable) -> String {
        format!("ledger#{target}#{}", observable.key())
    }

    /// Where the entry lies.
    #[must_use]
    pub fn key(target: &str, observable: &Observable) -> Key {
        Key::new(Self::partition(target, observable), "entry")
    }

    /// Reads an entry; `None` where there is none.
    pub async fn load(rows: &impl Rows, target: &str, observable: &Observable) -> Result<Option<Self>, Fault> {
        rows.get(&Self::key(target, observable)).await?.as_ref().map(Row::read).transpose()
    }

    /// Whether somebody else is at it now.
    #[must_use]
    pub fn is_held_from(&self, who: &str, now: Timestamp) -> bool {
        self.holder.as_deref().is_some_and(|holder| holder != who) && self.due_at.is_some_and(|until| until > now)
    }

    fn own_key(&self) -> Key {
        Self::key(&self.target, &self.observable)
    }

    fn claim_key(target: &str, observable: &Observable, incident: &IncidentId) -> Key {
        Key::new(Self::partition(target, observable), format!("claim#{incident}"))
    }

    fn unchanged(&self) -> Condition {
        Condition::Is("revision", self.revision.into())
    }

    /// The row by which a list's active entries are found with a consistent read.
    fn member_key(&self) -> Key {
        Key::new(format!("active#{}#{}", self.target, self.observable.kind()), self.observable.key())
    }

    /// What the member row holds: enough to render a list.
    fn member(&self) -> Self {
        Self { document: None, holder: None, due_kind: None, due_at: None, ..self.clone() }
    }

    /// The next revision of the entry, held by somebody.
    fn held_by(&self, holder: &str, now: Timestamp) -> Self {
        Self {
            holder: Some(holder.to_owned()),
            revision: self.revision.saturating_add(1),
            due_kind: Some(DUE_EXPIRY.to_owned()),
            due_at: Some(now.plus_minutes(HOLD_MINUTES)),
            ..self.clone()
        }
    }

    /// The next revision of the entry, held by nobody and due at this time.
    fn due(&self, at: Timestamp) -> Self {
        Self {
            holder: None,
            revision: self.revision.saturating_add(1),
            due_kind: Some(DUE_EXPIRY.to_owned()),
            due_at: Some(at),
            ..self.clone()
        }
    }
}

fn keeps_changing<T>(target: &str, observable: &Observable) -> Result<T, Fault> {
    Err(Fault::Throttled(format!("the ledger entry of {observable} at {target} keeps changing")))
}

/// Claims an entry for an incident; makes it when it is new. Safe to run again.
///
/// `Throttled` while somebody else writes it or takes it away: trying again later helps.
pub async fn claim(
    rows: &impl Rows,
    fresh: &Fresh,
    claim: &Claim,
    holder: &str,
    now: Timestamp,
) -> Result<Claimed, Fault> {
    let (target, observable) = (fresh.target.as_str(), &fresh.observable);
    for _ in 0..TRIES {
        let known = LedgerEntry::load(rows, target, observable).await?;
        if known.as_ref().is_some_and(|e| e.state != EntryState::Written && e.is_held_from(holder, now)) {
            return Err(Fault::Throttled(format!("{observable} at {target} is being written or taken away just now")));
        }
        let claim = match &known {
            Some(_) => longer(rows, fresh, claim).await?,
            None => claim.clone(),
        };
        let entry = claimed(known.as_ref(), fresh, &claim, holder, now);
        // The entry may change between read and write: then it is read again.
        let unchanged = known.as_ref().map_or(Condition::Absent, LedgerEntry::unchanged);
        let writes = [
            Write::put(entry.own_key(), &entry)?.only_if(unchanged),
            Write::put(LedgerEntry::claim_key(target, observable, &claim.incident_id), &claim)?,
            Write::put(entry.member_key(), &entry.member())?,
        ];
        if rows.commit(&writes).await? == Commit::Done {
            return Ok(match entry.state {
                EntryState::Written => Claimed::Joined(entry),
                _ => Claimed::ToWrite(entry, known.is_none()),
            });
        }
    }
    keeps_changing(target, observable)
}

/// The incident's claim as it is, where that one lives longer: a repetition shortens nothing.
async fn longer(rows: &impl Rows, fresh: &Fresh, claim: &Claim) -> Result<Claim, Fault> {
    let key = LedgerEntry::claim_key(&fresh.target, &fresh.observable, &claim.incident_id);
    let known: Option<Claim> = rows.get(&key).await?.as_ref().map(Row::read).transpose()?;
    Ok(known.filter(|known| known.expires_at > claim.expires_at).unwrap_or_else(|| claim.clone()))
}

/// The entry with one more claim. What is not known to be at the target has to be written by the holder.
fn claimed(known: Option<&LedgerEntry>, fresh: &Fresh, claim: &Claim, holder: &str, now: Timestamp) -> LedgerEntry {
    let Some(known) = known else {
        let entry = LedgerEntry {
            schema: LedgerEntry::SCHEMA.to_owned(),
            target: fresh.target.clone(),
            observable: fresh.observable.clone(),
            state: EntryState::Writing,
            pre_existing: fresh.pre_existing,
            dry_run: false,
            external_id: None,
            config_digest: fresh.config_digest.clone(),
            document: Some(fresh.document.clone()),
            holder: None,
            failures: 0,
            expires_at: claim.expires_at,
            written_at: now,
            revision: 0,
            due_kind: None,
            due_at: None,
        };
        return entry.held_by(holder, now);
    };
    let entry = match known.state {
        // Its last claim is gone: nothing of it counts any more.
        EntryState::Leaving => LedgerEntry { expires_at: claim.expires_at, external_id: None, ..known.clone() },
        _ => LedgerEntry { expires_at: known.expires_at.max(claim.expires_at), ..known.clone() },
    };
    let expires_at = entry.expires_at;
    if known.state == EntryState::Written {
        return entry.due(expires_at);
    }
    let document = Some(fresh.document.clone());
    let config_digest = fresh.config_digest.clone();
    LedgerEntry { state: EntryState::Writing, document, config_digest, failures: 0, ..entry }.held_by(holder, now)
}

/// What is known of an entry after it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// What it is called at the target.
    pub external_id: Option<String>,
    /// Whether it was there before us.
    pub pre_existing: bool,
    /// Whether it was only noted.
    pub dry_run: bool,
}

/// Notes that an entry is at the target. Others may have claimed it meanwhile; whoever took it over notes it itself.
pub async fn wrote(rows: &impl Rows, held: &LedgerEntry, written: &Written) -> Result<(), Fault> {
    for _ in 0..TRIES {
        let Some(entry) = still_held(rows, held).await? else { return Ok(()) };
        let expires_at = entry.expires_at;
        let noted = LedgerEntry {
            state: EntryState::Written,
            external_id: written.external_id.clone().or_else(|| entry.external_id.clone()),
            pre_existing: entry.pre_existing || written.pre_existing,
            dry_run: written.dry_run,
            document: None,
            failures: 0,
            ..entry.due(expires_at)
        };
        let write = Write::put(entry.own_key(), &noted)?.only_if(entry.unchanged());
        if rows.commit(&[write]).await? == Commit::Done {
            return Ok(());
        }
    }
    keeps_changing(&held.target, &held.observable)
}

/// Notes that an entry is gone at the target: its row goes too, unless somebody has claimed or taken it over meanwhile.
pub async fn undone(rows: &impl Rows, held: &LedgerEntry) -> Result<(), Fault> {
    let write = Write::delete(held.own_key()).only_if(held.unchanged());
    // A conflict means that it is no longer ours to say.
    let _: Commit = rows.commit(&[write]).await?;
    Ok(())
}

/// Gives a held entry up after a failure: others may try at once, `sweep` does after a while, longer each time.
pub async fn postpone(rows: &impl Rows, held: &LedgerEntry, now: Timestamp) -> Result<(), Fault> {
    for _ in 0..TRIES {
        let Some(entry) = still_held(rows, held).await? else { return Ok(()) };
        let failures = entry.failures.saturating_add(1);
        let minutes = 1_i64.checked_shl(failures.min(20)).unwrap_or(POSTPONE_MAX_MINUTES).min(POSTPONE_MAX_MINUTES);
        let given_up = LedgerEntry { failures, ..entry.due(now.plus_minutes(minutes)) };
        let write = Write::put(entry.own_key(), &given_up)?.only_if(entry.unchanged());
        if rows.commit(&[write]).await? == Commit::Done {
            return Ok(());
        }
    }
    keeps_changing(&held.target, &held.observable)
}

/// The entry as it is now, while this holder still has it in this state.
async fn still_held(rows: &impl Rows, held: &LedgerEntry) -> Result<Option<LedgerEntry>, Fault> {
    let entry = LedgerEntry::load(rows, &held.target, &held.observable).await?;
    Ok(entry.filter(|entry| entry.holder == held.holder && entry.state == held.state))
}

/// Takes an entry over to finish it; `None` when it is not there, is being worked on, or has just changed.
pub async fn hold(
    rows: &impl Rows,
    entry: &LedgerEntry,
    holder: &str,
    now: Timestamp,
) -> Result<Option<LedgerEntry>, Fault> {
    if entry.is_held_from(holder, now) {
        return Ok(None);
    }
    let held = entry.held_by(holder, now);
    let write = Write::put(entry.own_key(), &held)?.only_if(entry.unchanged());
    Ok((rows.commit(&[write]).await? == Commit::Done).then_some(held))
}

/// Releases an incident's claim; an entry without claims has to be undone by the caller. Safe to run again.
pub async fn release(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    incident: &IncidentId,
    holder: &str,
    now: Timestamp,
) -> Result<Dropped, Fault> {
    drop_claims(rows, target, observable, holder, now, |claim| claim.incident_id == *incident).await
}

/// Drops claims that are past their time; an entry without claims has to be undone by the caller. Safe to run again.
pub async fn expire(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    holder: &str,
    now: Timestamp,
) -> Result<Dropped, Fault> {
    drop_claims(rows, target, observable, holder, now, |claim| claim.expires_at <= now).await
}

/// Drops every claim, because the target does not take the entry.
pub async fn give_up(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    holder: &str,
    now: Timestamp,
) -> Result<Dropped, Fault> {
    drop_claims(rows, target, observable, holder, now, |_| true).await
}

async fn drop_claims(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    holder: &str,
    now: Timestamp,
    goes: impl Fn(&Claim) -> bool,
) -> Result<Dropped, Fault> {
    let mut conflicts = 0;
    while conflicts < TRIES {
        let Some(entry) = LedgerEntry::load(rows, target, observable).await? else { return Ok(Dropped::Absent) };
        let claims = rows.list(&LedgerEntry::partition(target, observable), "claim#").await?;
        let claims = claims.iter().map(Row::read).collect::<Result<Vec<Claim>, Fault>>()?;
        let (mut going, mut staying): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| goes(claim));
        // What does not fit into one commit goes with the next; until then the entry stays.
        let later = going.split_off(going.len().min(CLAIMS_PER_COMMIT));
        let is_last = later.is_empty();
        staying.extend(later);
        if staying.is_empty() && entry.state == EntryState::Writing && entry.is_held_from(holder, now) {
            // Taken away now, it might arrive after that.
            return Err(Fault::Throttled(format!("{observable} at {target} is being written just now")));
        }
        if going.is_empty() && stays(&entry, &staying, holder, now) {
            return Ok(Dropped::Stays);
        }
        let (writes, dropped) = dropping(&entry, &going, &staying, holder, now)?;
        if rows.commit(&writes).await? == Commit::Conflict {
            conflicts += 1;
        } else if is_last {
            return Ok(dropped);
        }
    }
    keeps_changing(target, observable)
}

/// Whether there is nothing to change in an entry of which no claim goes.
fn stays(entry: &LedgerEntry, staying: &[Claim], holder: &str, now: Timestamp) -> bool {
    match staying.iter().map(|claim| claim.expires_at).max() {
        Some(latest) => entry.state != EntryState::Written || entry.due_at == Some(latest),
        None => entry.is_held_from(holder, now),
    }
}

/// Deletes the claims that go; the entry stays with those that stay, and has to leave when there are none.
fn dropping(
    entry: &LedgerEntry,
    going: &[Claim],
    staying: &[Claim],
    holder: &str,
    now: Timestamp,
) -> Result<(Vec<Write>, Dropped), Fault> {
    let (target, observable) = (&entry.target, &entry.observable);
    let mut writes: Vec<Write> =
        going.iter().map(|c| Write::delete(LedgerEntry::claim_key(target, observable, &c.incident_id))).collect();
    let unchanged = entry.unchanged();
    if let Some(latest) = staying.iter().map(|claim| claim.expires_at).max() {
        let kept = match entry.state {
            EntryState::Written => LedgerEntry { expires_at: latest, ..entry.due(latest) },
            // Whoever is at it goes on.
            _ => LedgerEntry { expires_at: latest, revision: entry.revision.saturating_add(1), ..entry.clone() },
        };
        writes.push(Write::put(entry.own_key(), &kept)?.only_if(unchanged));
        writes.push(Write::put(entry.member_key(), &kept.member())?);
        return Ok((writes, Dropped::Stays));
    }
    writes.push(Write::delete(entry.member_key()));
    if entry.pre_existing || (entry.dry_run && entry.state == EntryState::Written) {
        writes.push(Write::delete(entry.own_key()).only_if(unchanged));
        return Ok((writes, Dropped::Left));
    }
    let leaving = LedgerEntry { state: EntryState::Leaving, document: None, ..entry.held_by(holder, now) };
    writes.push(Write::put(entry.own_key(), &leaving)?.only_if(unchanged));
    Ok((writes, Dropped::ToUndo(Box::new(leaving))))
}

/// The entries of a list that are active now, sorted. Expired ones are left out even before `sweep` has come by.
pub async fn active(
    rows: &impl Rows,
    target: &str,
    kind: ObservableType,
    now: Timestamp,
) -> Result<Vec<LedgerEntry>, Fault> {
    let rows = rows.list(&format!("active#{target}#{kind}"), "").await?;
    let entries = rows.iter().map(Row::read).collect::<Result<Vec<LedgerEntry>, Fault>>()?;
    Ok(entries.into_iter().filter(|entry| entry.expires_at > now).collect())
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
