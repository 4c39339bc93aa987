//! Caps: how many new entries an hour and in a list, whatever is approved.

use std::collections::BTreeMap;

use playbook::{
    Fault, Timestamp, ledger,
    plan::Entry,
    policy::Caps,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};
use serde::{Deserialize, Serialize};

/// New entries of one hour: `caps#<hour>` / `count`.
#[derive(Default, Serialize, Deserialize)]
struct Hour {
    count: usize,
    ttl: i64,
}

/// Splits entries into those within the caps and those over, with the reason. Entries that are active already, by
/// whomever, are not new and always pass.
pub async fn admit<'a>(
    rows: &impl Rows,
    caps: &Caps,
    entries: Vec<&'a Entry>,
    now: Timestamp,
) -> Result<(Vec<&'a Entry>, Vec<(&'a Entry, String)>), Fault> {
    let mut admitted = vec![];
    let mut over = vec![];
    let mut fresh = vec![];
    let mut lengths = BTreeMap::new();
    for entry in entries {
        let list = (entry.target.clone(), entry.observable.kind());
        if !lengths.contains_key(&list) {
            lengths.insert(list.clone(), ledger::active(rows, &entry.target, entry.observable.kind(), now).await?);
        }
        let active = lengths.get(&list).map_or(&[][..], Vec::as_slice);
        if active.iter().any(|known| known.observable.key() == entry.observable.key()) {
            admitted.push(entry);
        } else if active.len()
            + fresh.iter().filter(|e: &&&Entry| (e.target.clone(), e.observable.kind()) == list).count()
            >= caps.per_list
        {
            over.push((entry, format!("over the cap of {} entries a list", caps.per_list)));
        } else {
            fresh.push(entry);
        }
    }
    let granted = reserve(rows, caps.per_hour, fresh.len(), now).await?;
    for (number, entry) in fresh.into_iter().enumerate() {
        if number < granted {
            admitted.push(entry);
        } else {
            over.push((entry, format!("over the cap of {} new entries an hour", caps.per_hour)));
        }
    }
    Ok((admitted, over))
}

/// Takes up to `wanted` of what is left of this hour's cap.
async fn reserve(rows: &impl Rows, cap: usize, wanted: usize, now: Timestamp) -> Result<usize, Fault> {
    if wanted == 0 {
        return Ok(0);
    }
    let hour: String = now.to_string().chars().take(13).collect();
    let key = Key::new(format!("caps#{hour}"), "count");
    for _ in 0..5 {
        let known: Option<Hour> = rows.get(&key).await?.as_ref().map(Row::read).transpose()?;
        let taken = known.as_ref().map_or(0, |hour| hour.count);
        let granted = wanted.min(cap.saturating_sub(taken));
        let unchanged = known.map_or(Condition::Absent, |hour| Condition::Is("count", hour.count.into()));
        let hour = Hour { count: taken + granted, ttl: now.plus_hours(48).as_seconds() };
        if rows.commit(&[Write::put(key.clone(), &hour)?.only_if(unchanged)]).await? == Commit::Done {
            return Ok(granted);
        }
    }
    Err(Fault::Throttled("this hour's count of new entries keeps changing".to_owned()))
}

#[cfg(test)]
mod tests {
    use ioc::{Observable, ObservableType};
    use playbook::{
        IncidentId,
        fakes::MemoryRows,
        ledger::{Claim, Fresh},
    };

    use super::*;

    const CAPS: Caps = Caps { per_incident: 50, per_hour: 4, per_list: 3 };

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn entry(kind: ObservableType, value: &str) -> Entry {
        Entry {
            observable: Observable::parse(kind, value).unwrap(),
            target: "served-list".to_owned(),
            act: "enforce".to_owned(),
            lifetime_hours: 24,
            expires_at: now().plus_hours(24),
            ticked: true,
            automatic: false,
            second: None,
            refused: None,
        }
    }

    fn domains(numbers: std::ops::Range<u32>) -> Vec<Entry> {
        numbers.map(|n| entry(ObservableType::DomainName, &format!("e{n}.example"))).collect()
    }

    async fn write(rows: &MemoryRows, entries: &[Entry], at: Timestamp) -> (usize, Vec<String>) {
        let (admitted, over) = admit(rows, &CAPS, entries.iter().collect(), at).await.unwrap();
        let claim = Claim {
            incident_id: IncidentId::of("t", "s", "n"),
            expires_at: now().plus_hours(24),
            approved_by: String::new(),
        };
        for entry in &admitted {
            let fresh = Fresh {
                target: entry.target.clone(),
                observable: entry.observable.clone(),
                config_digest: String::new(),
                document: serde_json::Value::Null,
                pre_existing: false,
            };
            ledger::claim(rows, &fresh, &claim, "n", at).await.unwrap();
        }
        (admitted.len(), over.into_iter().map(|(_, reason)| reason).collect())
    }

    #[tokio::test]
    async fn a_list_takes_no_more_than_its_cap_and_what_is_in_it_is_not_new() {
        let rows = MemoryRows::default();
        assert_eq!(write(&rows, &domains(0..5), now()).await.0, 3);
        assert_eq!(write(&rows, &domains(0..3), now()).await, (3, vec![]));
        let over = write(&rows, &domains(3..4), now()).await;
        assert_eq!(over, (0, vec!["over the cap of 3 entries a list".to_owned()]));
    }

    #[tokio::test]
    async fn an_hour_takes_no_more_than_its_cap_over_all_lists() {
        let rows = MemoryRows::default();
        assert_eq!(write(&rows, &domains(0..3), now()).await.0, 3);
        let addresses =
            [entry(ObservableType::Ipv4Addr, "203.0.113.1"), entry(ObservableType::Ipv4Addr, "203.0.113.2")];
        let (written, over) = write(&rows, &addresses, now()).await;
        assert_eq!((written, over), (1, vec!["over the cap of 4 new entries an hour".to_owned()]));
        assert_eq!(write(&rows, &addresses, now().plus_hours(1)).await, (2, vec![]));
    }
}
