//! The ledger: every write we made to a target, with its claims and its undo.

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};

use crate::{
    Fault, IncidentId, Timestamp,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};

/// Entries past their expiry are found under this `due_kind`.
pub const DUE_EXPIRY: &str = "ledger-expiry";

/// A commit has at most 100 writes; two are the entry's own.
const CLAIMS_PER_COMMIT: usize = 90;

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
    /// Whether it was there before us; then it is never removed.
    #[serde(default)]
    pub pre_existing: bool,
    /// When it leaves unless it is claimed anew.
    pub expires_at: Timestamp,
    /// When it was first written.
    pub written_at: Timestamp,
    /// Raised with every change of the entry or its claims, so that two changes at once do not both happen.
    #[serde(default)]
    pub revision: u64,
    /// `ledger-expiry` while the entry is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_kind: Option<String>,
    /// When it expires.
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
    /// Who approved it.
    pub approved_by: String,
}

impl LedgerEntry {
    /// The name of the row's schema.
    pub const SCHEMA: &str = "ledger/1";

    /// The partition of an entry and its claims.
    #[must_use]
    pub fn partition(target: &str, observable: &Observable) -> String {
        format!("ledger#{target}#{}", observable.key())
    }

    fn key(target: &str, observable: &Observable) -> Key {
        Key::new(Self::partition(target, observable), "entry")
    }

    fn claim_key(target: &str, observable: &Observable, incident: &IncidentId) -> Key {
        Key::new(Self::partition(target, observable), format!("claim#{incident}"))
    }

    fn unchanged(&self) -> Condition {
        Condition::Is("revision", self.revision.into())
    }

    /// The row by which a list's active entries are found with a consistent read.
    fn member_key(target: &str, observable: &Observable) -> Key {
        Key::new(format!("active#{target}#{}", observable.kind()), observable.key())
    }
}

/// What `claim` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The entry is new.
    New,
    /// The entry was there; it now carries this claim too.
    Joined,
}

/// Claims an entry for an incident; makes it when it is new. Safe to run again.
pub async fn claim(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    claim: &Claim,
    now: Timestamp,
) -> Result<Claimed, Fault> {
    for _ in 0..4 {
        let entry_key = LedgerEntry::key(target, observable);
        let known: Option<LedgerEntry> = rows.get(&entry_key).await?.as_ref().map(Row::read).transpose()?;
        let entry = LedgerEntry {
            schema: LedgerEntry::SCHEMA.to_owned(),
            target: target.to_owned(),
            observable: observable.clone(),
            pre_existing: known.as_ref().is_some_and(|entry| entry.pre_existing),
            expires_at: known.as_ref().map_or(claim.expires_at, |entry| entry.expires_at.max(claim.expires_at)),
            written_at: known.as_ref().map_or(now, |entry| entry.written_at),
            revision: known.as_ref().map_or(1, |entry| entry.revision.saturating_add(1)),
            due_kind: Some(DUE_EXPIRY.to_owned()),
            due_at: Some(known.as_ref().map_or(claim.expires_at, |entry| entry.expires_at.max(claim.expires_at))),
        };
        // The entry may change between read and write: then it is read again.
        let unchanged = known.as_ref().map_or(Condition::Absent, LedgerEntry::unchanged);
        let writes = [
            Write::put(entry_key, &entry)?.only_if(unchanged),
            Write::put(LedgerEntry::claim_key(target, observable, &claim.incident_id), claim)?,
            Write::put(LedgerEntry::member_key(target, observable), &entry)?,
        ];
        if rows.commit(&writes).await? == Commit::Done {
            return Ok(if known.is_some() { Claimed::Joined } else { Claimed::New });
        }
    }
    Err(Fault::Throttled(format!("the ledger entry of {observable} at {target} keeps changing")))
}

/// Releases an incident's claim; the entry leaves with its last claim. True when it left. Safe to run again.
pub async fn release(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    incident: &IncidentId,
) -> Result<bool, Fault> {
    drop_claims(rows, target, observable, |claim| claim.incident_id == *incident).await
}

/// Drops claims that are past their time; the entry leaves with its last claim. True when it left.
pub async fn expire(rows: &impl Rows, target: &str, observable: &Observable, now: Timestamp) -> Result<bool, Fault> {
    drop_claims(rows, target, observable, |claim| claim.expires_at <= now).await
}

async fn drop_claims(
    rows: &impl Rows,
    target: &str,
    observable: &Observable,
    goes: impl Fn(&Claim) -> bool,
) -> Result<bool, Fault> {
    let mut conflicts = 0;
    while conflicts < 4 {
        let entry_key = LedgerEntry::key(target, observable);
        let Some(row) = rows.get(&entry_key).await? else { return Ok(false) };
        let entry: LedgerEntry = row.read()?;
        let claims = rows.list(&LedgerEntry::partition(target, observable), "claim#").await?;
        let claims = claims.iter().map(Row::read).collect::<Result<Vec<Claim>, Fault>>()?;
        let (mut going, mut staying): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| goes(claim));
        // What does not fit into one commit goes with the next; until then the entry stays.
        let later = going.split_off(going.len().min(CLAIMS_PER_COMMIT));
        let is_last = later.is_empty();
        staying.extend(later);
        let leaves = staying.is_empty() && !entry.pre_existing;
        if rows.commit(&dropping(target, &entry, &going, &staying)?).await? == Commit::Conflict {
            conflicts += 1;
        } else if is_last {
            return Ok(leaves);
        }
    }
    Err(Fault::Throttled(format!("the ledger entry of {observable} at {target} keeps changing")))
}

/// Deletes the claims that go; the entry stays with those that stay, and leaves when there are none.
fn dropping(target: &str, entry: &LedgerEntry, going: &[Claim], staying: &[Claim]) -> Result<Vec<Write>, Fault> {
    let observable = &entry.observable;
    let entry_key = LedgerEntry::key(target, observable);
    let member_key = LedgerEntry::member_key(target, observable);
    let mut writes: Vec<Write> =
        going.iter().map(|c| Write::delete(LedgerEntry::claim_key(target, observable, &c.incident_id))).collect();
    if let Some(latest) = staying.iter().map(|claim| claim.expires_at).max() {
        let revision = entry.revision.saturating_add(1);
        let kept = LedgerEntry { expires_at: latest, due_at: Some(latest), revision, ..entry.clone() };
        writes.push(Write::put(entry_key, &kept)?.only_if(entry.unchanged()));
        writes.push(Write::put(member_key, &kept)?);
    } else {
        writes.push(Write::delete(entry_key).only_if(entry.unchanged()));
        writes.push(Write::delete(member_key));
    }
    Ok(writes)
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
mod tests {
    use super::*;
    use crate::fakes::MemoryRows;

    const TARGET: &str = "served-list";

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn evil() -> Observable {
        Observable::parse(ObservableType::DomainName, "evil.example").unwrap()
    }

    fn incident(name: &str) -> IncidentId {
        IncidentId::of("t", "s", name)
    }

    async fn claim_for(rows: &MemoryRows, name: &str, hours: i64) -> Claimed {
        let claim_of = Claim {
            incident_id: incident(name),
            expires_at: now().plus_hours(hours),
            approved_by: "ana@soc.example".to_owned(),
        };
        claim(rows, TARGET, &evil(), &claim_of, now()).await.unwrap()
    }

    async fn listed(rows: &MemoryRows, at: Timestamp) -> usize {
        active(rows, TARGET, ObservableType::DomainName, at).await.unwrap().len()
    }

    #[tokio::test]
    async fn an_entry_leaves_with_its_last_claim() {
        let rows = MemoryRows::default();
        assert_eq!(claim_for(&rows, "one", 24).await, Claimed::New);
        assert_eq!(claim_for(&rows, "two", 48).await, Claimed::Joined);
        assert!(!release(&rows, TARGET, &evil(), &incident("one")).await.unwrap());
        assert_eq!(listed(&rows, now()).await, 1);
        assert!(release(&rows, TARGET, &evil(), &incident("two")).await.unwrap());
        assert_eq!(listed(&rows, now()).await, 0);
        assert!(rows.all().is_empty(), "{:?}", rows.all());
    }

    #[tokio::test]
    async fn claiming_and_releasing_twice_changes_nothing() {
        let rows = MemoryRows::default();
        claim_for(&rows, "one", 24).await;
        claim_for(&rows, "one", 24).await;
        assert_eq!(listed(&rows, now()).await, 1);
        assert!(release(&rows, TARGET, &evil(), &incident("one")).await.unwrap());
        assert!(!release(&rows, TARGET, &evil(), &incident("one")).await.unwrap());
    }

    #[tokio::test]
    async fn hundreds_of_claims_expire_together() {
        let rows = MemoryRows::default();
        for number in 0..205 {
            claim_for(&rows, &number.to_string(), 24).await;
        }
        assert!(expire(&rows, TARGET, &evil(), now().plus_hours(24)).await.unwrap());
        assert!(rows.all().is_empty());
    }

    #[tokio::test]
    async fn an_entry_expires_with_its_longest_claim() {
        let rows = MemoryRows::default();
        claim_for(&rows, "one", 48).await;
        claim_for(&rows, "two", 24).await;
        assert_eq!(listed(&rows, now().plus_hours(47)).await, 1);
        assert_eq!(listed(&rows, now().plus_hours(48)).await, 0);
        assert!(!expire(&rows, TARGET, &evil(), now().plus_hours(24)).await.unwrap());
        assert!(expire(&rows, TARGET, &evil(), now().plus_hours(48)).await.unwrap());
        assert!(rows.all().is_empty());
    }
}
