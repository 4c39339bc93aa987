//! Campaigns: incidents that belong together because they share what few others have.
//!
//! No lock is taken, and nobody is lost in a race. The first incident with a bad observable leaves its name under it, once; the
//! second finds it there and puts both into the campaign that the observable names. A row once written under a campaign is
//! never moved: a campaign that is merged into another stays where it is, and is counted with it.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Fault, IncidentId, Timestamp,
    ids::CampaignId,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};

/// So much has to tie two incidents together that share no bad name, in hundredths of ln(N/df).
pub const TIE_FROM: u32 = 500;
/// Observables that name a campaign.
const NAMED_BY_MAX: usize = 3;
/// What is in many incidents names a campaign only for so long after it was first bad: a wave is over then, and what goes on
/// is no wave.
const WAVE_HOURS: i64 = 14 * 24;
/// So often a merge is tried again that somebody else has merged at the same moment.
const TRIES_MAX: usize = 8;

/// A campaign (`campaign/1`): `campaign#<id>` / `meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    schema: String,
    campaign_id: CampaignId,
    created_at: Timestamp,
    /// The campaign that it was merged into; the older of two lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged_into: Option<CampaignId>,
}

/// One of a campaign's incidents (`member/1`): `campaign#<id>` / `member#<incident>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// `member/1`.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// When it came in.
    pub received_at: Timestamp,
}

impl Member {
    /// An incident that came in at this time.
    #[must_use]
    pub fn new(incident_id: IncidentId, received_at: Timestamp) -> Self {
        Self { schema: "member/1".to_owned(), incident_id, received_at }
    }
}

/// What ties incidents of a campaign together (`campaign-key/1`): `campaign#<id>` / `bad#<observable key>`, and `key#…` of what
/// is only shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SharedKey {
    schema: String,
    key: String,
    /// How much it tied together when it was first shared, in hundredths: the rarest names the campaign.
    weight: u32,
    /// Whether it was judged to be bad. What is only shared names a campaign that shares nothing bad.
    bad: bool,
}

/// The first incident with a bad observable (`first-bad/1`): `observable#<key>` / `first-bad`. The next one finds it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FirstBad {
    schema: String,
    incident_id: IncidentId,
    received_at: Timestamp,
}

impl FirstBad {
    fn key(observable_key: &str) -> Key {
        Key::new(format!("observable#{observable_key}"), "first-bad")
    }

    /// Leaves this incident's name under the observable, and says whose name stands there: of many at once, one is first.
    async fn claim(rows: &impl Rows, observable_key: &str, member: &Member) -> Result<Member, Fault> {
        let key = Self::key(observable_key);
        let ours = Self {
            schema: "first-bad/1".to_owned(),
            incident_id: member.incident_id.clone(),
            received_at: member.received_at,
        };
        let found = match rows.get(&key).await? {
            Some(row) => Some(row),
            None => match rows.commit(&[Write::put(key.clone(), &ours)?.only_if(Condition::Absent)]).await? {
                Commit::Done => None,
                Commit::Conflict => rows.get(&key).await?,
            },
        };
        let first: Self = found.as_ref().map(Row::read).transpose()?.unwrap_or(ours);
        Ok(Member::new(first.incident_id, first.received_at))
    }
}

/// What an incident shares with another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The other incident.
    pub other: Member,
    /// What both have, rarest first, each with how much it ties together, in hundredths.
    pub shared: Vec<(String, u32)>,
}

/// A campaign as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// Its id; of several that were merged, the oldest one's.
    pub campaign_id: CampaignId,
    /// Keys of the rarest observables that its incidents share, rarest first; at most 3.
    pub named_by: Vec<String>,
    /// Its incidents.
    pub members: usize,
    /// When the first of them came in.
    pub first_seen: Timestamp,
    /// When the last of them came in.
    pub last_seen: Timestamp,
}

fn partition(id: &CampaignId) -> String {
    format!("campaign#{id}")
}

fn meta_key(id: &CampaignId) -> Key {
    Key::new(partition(id), "meta")
}

fn belongs_key(id: &IncidentId) -> Key {
    Key::new(format!("incident#{id}"), "campaign")
}

/// The campaign that an incident was first put into (`belongs/1`): `incident#<id>` / `campaign`. Never changed: that one may
/// have been merged into another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Belongs {
    schema: String,
    campaign_id: CampaignId,
}

impl Belongs {
    /// Says where an incident belongs, unless that is said already; then what was said.
    async fn claim(rows: &impl Rows, id: &IncidentId, campaign_id: &CampaignId) -> Result<CampaignId, Fault> {
        if let Some(known) = of(rows, id).await? {
            return Ok(known);
        }
        let ours = Self { schema: "belongs/1".to_owned(), campaign_id: campaign_id.clone() };
        match rows.commit(&[Write::put(belongs_key(id), &ours)?.only_if(Condition::Absent)]).await? {
            Commit::Done => Ok(ours.campaign_id),
            Commit::Conflict => Ok(of(rows, id).await?.unwrap_or(ours.campaign_id)),
        }
    }
}

/// Finds the campaign of an incident, or begins it, or merges those that it ties together.
///
/// `names` are the keys of its bad observables, each of which is enough by itself, with how much it ties together: 0 for what is
/// in too many incidents. `ties` are incidents that share [`TIE_FROM`] or more of what is bad with it. Safe to run again, and
/// to run for many incidents at once.
pub async fn join(
    rows: &impl Rows,
    own: &Member,
    names: &[(String, u32)],
    ties: &[Tie],
    now: Timestamp,
) -> Result<Option<Campaign>, Fault> {
    let mut members: BTreeMap<IncidentId, Member> = BTreeMap::new();
    let mut shared: BTreeMap<String, (u32, bool)> = BTreeMap::new();
    for (key, weight) in names {
        let first = FirstBad::claim(rows, key, own).await?;
        let is_over = *weight == 0 && first.received_at.plus_hours(WAVE_HOURS) < own.received_at;
        if first.incident_id != own.incident_id && !is_over {
            members.insert(first.incident_id.clone(), first);
            shared.insert(key.clone(), (*weight, true));
        }
    }
    for tie in ties {
        members.insert(tie.other.incident_id.clone(), tie.other.clone());
        for (key, weight) in &tie.shared {
            shared.entry(key.clone()).or_insert((*weight, false));
        }
    }
    let begins = match shared.first_key_value() {
        Some((key, _)) => CampaignId::of(key),
        None => match of(rows, &own.incident_id).await? {
            Some(known) => known,
            None => return Ok(None),
        },
    };
    members.insert(own.incident_id.clone(), own.clone());
    // An incident says once where it belongs; whoever finds several campaigns there has to unite them.
    let mut found = BTreeSet::new();
    for member in members.values() {
        found.insert(Belongs::claim(rows, &member.incident_id, &begins).await?);
    }
    let id = united(rows, &found, now).await?;
    let (mut known, mut keys) = everything(rows, &id).await?;
    for (id_of, member) in members {
        if let Entry::Vacant(free) = known.entry(id_of) {
            put(rows, Key::new(partition(&id), format!("member#{}", free.key())), &member).await?;
            free.insert(member);
        }
    }
    for (key, (weight, bad)) in shared {
        if !keys.iter().any(|shared| shared.key == key && shared.bad == bad) {
            let row = SharedKey { schema: "campaign-key/1".to_owned(), key: key.clone(), weight, bad };
            let sort = if bad { "bad" } else { "key" };
            put(rows, Key::new(partition(&id), format!("{sort}#{key}")), &row).await?;
            keys.push(row);
        }
    }
    Ok(Campaign::of(id, &known, keys))
}

async fn put(rows: &impl Rows, key: Key, document: &impl Serialize) -> Result<(), Fault> {
    let _: Commit = rows.commit(&[Write::put(key, document)?]).await?;
    Ok(())
}

/// The campaign that an incident was first put into; that one may have been merged into another.
async fn of(rows: &impl Rows, id: &IncidentId) -> Result<Option<CampaignId>, Fault> {
    let belongs: Option<Belongs> = rows.get(&belongs_key(id)).await?.as_ref().map(Row::read).transpose()?;
    Ok(belongs.map(|belongs| belongs.campaign_id))
}

/// One campaign out of these: the oldest, with the others merged into it. Begins those that there are none of yet.
async fn united(rows: &impl Rows, ids: &BTreeSet<CampaignId>, now: Timestamp) -> Result<CampaignId, Fault> {
    for _ in 0..TRIES_MAX {
        let mut living: BTreeMap<(Timestamp, CampaignId), Meta> = BTreeMap::new();
        for id in ids {
            let meta = root(rows, id, now).await?;
            living.insert((meta.created_at, meta.campaign_id.clone()), meta);
        }
        let mut living = living.into_values();
        let Some(oldest) = living.next() else { break };
        let mut is_united = true;
        for younger in living {
            is_united &= merge(rows, &younger.campaign_id, &oldest.campaign_id, now).await?;
        }
        if is_united {
            return Ok(oldest.campaign_id);
        }
    }
    Err(Fault::Throttled("campaigns are being merged by many at once".to_owned()))
}

/// The campaign that this one was merged into at last, or itself; begun where there is none. A longer way is made short, so
/// that it is gone once.
async fn root(rows: &impl Rows, id: &CampaignId, now: Timestamp) -> Result<Meta, Fault> {
    let mut way: Vec<CampaignId> = vec![];
    let mut at = id.clone();
    loop {
        let meta = match rows.get(&meta_key(&at)).await? {
            Some(row) => row.read()?,
            None => begin(rows, &at, now).await?,
        };
        let Some(into) = meta.merged_into.clone() else {
            for passed in way.iter().rev().skip(1) {
                let short = Write::set(meta_key(passed), &json!({ "merged_into": at }))?;
                let _: Commit = rows.commit(&[short.only_if(Condition::Present)]).await?;
            }
            return Ok(meta);
        };
        // The older of two lives on, so that nobody comes by twice; unless the rows were changed by hand.
        if way.contains(&into) {
            return Err(Fault::Rejected(format!("campaign {into} was merged into itself")));
        }
        way.push(at);
        at = into;
    }
}

async fn begin(rows: &impl Rows, id: &CampaignId, now: Timestamp) -> Result<Meta, Fault> {
    let meta = Meta { schema: "campaign/1".to_owned(), campaign_id: id.clone(), created_at: now, merged_into: None };
    match rows.commit(&[Write::put(meta_key(id), &meta)?.only_if(Condition::Absent)]).await? {
        Commit::Done => Ok(meta),
        Commit::Conflict => match rows.get(&meta_key(id)).await? {
            Some(row) => row.read(),
            None => Err(Fault::Unavailable(format!("campaign {id} was begun by another, and cannot be read"))),
        },
    }
}

/// Merges the younger into the older; false when one of them was merged elsewhere in this moment.
async fn merge(rows: &impl Rows, younger: &CampaignId, older: &CampaignId, now: Timestamp) -> Result<bool, Fault> {
    let writes = [
        Write::set(meta_key(younger), &json!({ "merged_into": older }))?.only_if(Condition::Lacks("merged_into")),
        Write::set(meta_key(older), &json!({ "updated_at": now }))?.only_if(Condition::Lacks("merged_into")),
        Write::put(
            Key::new(partition(older), format!("merged#{younger}")),
            &json!({ "schema": "merged/1", "campaign_id": younger, "at": now }),
        )?,
    ];
    Ok(rows.commit(&writes).await? == Commit::Done)
}

impl Campaign {
    /// `None` where it has no members.
    fn of(campaign_id: CampaignId, members: &BTreeMap<IncidentId, Member>, keys: Vec<SharedKey>) -> Option<Self> {
        let seen = || members.values().map(|member| member.received_at);
        let (first_seen, last_seen) = (seen().min()?, seen().max()?);
        let is_bad = keys.iter().any(|shared| shared.bad);
        let mut rarest: BTreeMap<String, u32> = BTreeMap::new();
        for shared in keys.into_iter().filter(|shared| shared.bad == is_bad) {
            let weight = rarest.entry(shared.key).or_default();
            *weight = shared.weight.max(*weight);
        }
        let mut rarest: Vec<(String, u32)> = rarest.into_iter().collect();
        rarest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| rank(&a.0).cmp(&rank(&b.0))));
        let named_by = rarest.into_iter().take(NAMED_BY_MAX).map(|(key, _)| key).collect();
        Some(Self { campaign_id, named_by, members: members.len(), first_seen, last_seen })
    }
}

/// Members and keys of a campaign and of everything below it, each partition once.
async fn everything(
    rows: &impl Rows,
    id: &CampaignId,
) -> Result<(BTreeMap<IncidentId, Member>, Vec<SharedKey>), Fault> {
    let (mut members, mut keys) = (BTreeMap::new(), vec![]);
    let (mut open, mut seen) = (vec![id.clone()], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for row in rows.list(&partition(&id), "").await? {
            if row.key.sk.starts_with("member#") {
                let member: Member = row.read()?;
                members.insert(member.incident_id.clone(), member);
            } else if row.key.sk.starts_with("key#") || row.key.sk.starts_with("bad#") {
                keys.push(row.read()?);
            } else if let Some(below) = row.key.sk.strip_prefix("merged#") {
                open.extend(CampaignId::try_from(below.to_owned()));
            }
        }
    }
    Ok((members, keys))
}

/// Of observables that are equally rare, those that say most of a campaign come first.
fn rank(key: &str) -> (u8, &str) {
    let order = ["file#", "url#", "domain-name#", "email-addr#"];
    let place = order.iter().position(|kind| key.starts_with(kind)).unwrap_or(order.len());
    (u8::try_from(place).unwrap_or(u8::MAX), key)
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests;
