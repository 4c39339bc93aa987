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

fn fresh() -> Fresh {
    Fresh {
        target: TARGET.to_owned(),
        observable: evil(),
        config_digest: "c".to_owned(),
        document: Value::Null,
        pre_existing: false,
    }
}

fn claim_of(name: &str, hours: i64) -> Claim {
    let (expires_at, approved_by) = (now().plus_hours(hours), "ana@soc.example".to_owned());
    Claim { incident_id: incident(name), expires_at, approved_by }
}

async fn claim_at(rows: &MemoryRows, name: &str, hours: i64, at: Timestamp) -> Result<Claimed, Fault> {
    claim(rows, &fresh(), &claim_of(name, hours), name, at).await
}

/// Claims and, where it is to be written, notes that it was. True when it was.
async fn write_for(rows: &MemoryRows, name: &str, hours: i64) -> bool {
    match claim_at(rows, name, hours, now()).await.unwrap() {
        Claimed::Joined(_) => false,
        Claimed::ToWrite(entry, _) => {
            wrote(rows, &entry, &Written::default()).await.unwrap();
            true
        }
    }
}

/// Releases and, where it is to be undone, notes that it is gone. True when it was.
async fn take_back(rows: &MemoryRows, name: &str) -> bool {
    match release(rows, TARGET, &evil(), &incident(name), name, now()).await.unwrap() {
        Dropped::ToUndo(entry) => {
            undone(rows, &entry).await.unwrap();
            true
        }
        Dropped::Left => panic!("it was not there before us"),
        Dropped::Absent | Dropped::Stays => false,
    }
}

async fn expired(rows: &MemoryRows, at: Timestamp) -> bool {
    match expire(rows, TARGET, &evil(), "sweep", at).await.unwrap() {
        Dropped::ToUndo(entry) => {
            undone(rows, &entry).await.unwrap();
            true
        }
        _ => false,
    }
}

async fn entry(rows: &MemoryRows) -> LedgerEntry {
    LedgerEntry::load(rows, TARGET, &evil()).await.unwrap().unwrap()
}

async fn listed(rows: &MemoryRows, at: Timestamp) -> usize {
    active(rows, TARGET, ObservableType::DomainName, at).await.unwrap().len()
}

#[tokio::test]
async fn an_entry_leaves_with_its_last_claim() {
    let rows = MemoryRows::default();
    assert!(write_for(&rows, "one", 24).await);
    assert!(!write_for(&rows, "two", 48).await);
    assert!(!take_back(&rows, "one").await);
    assert_eq!(listed(&rows, now()).await, 1);
    assert!(take_back(&rows, "two").await);
    assert_eq!(listed(&rows, now()).await, 0);
    assert!(rows.all().is_empty(), "{:?}", rows.all());
}

#[tokio::test]
async fn claiming_and_releasing_twice_changes_nothing() {
    let rows = MemoryRows::default();
    assert!(write_for(&rows, "one", 24).await);
    assert!(!write_for(&rows, "one", 24).await);
    assert_eq!(listed(&rows, now()).await, 1);
    assert!(take_back(&rows, "one").await);
    assert!(!take_back(&rows, "one").await);
}

#[tokio::test]
async fn a_repetition_shortens_nothing() {
    let rows = MemoryRows::default();
    write_for(&rows, "one", 720).await;
    write_for(&rows, "one", 12).await;
    write_for(&rows, "two", 24).await;
    take_back(&rows, "two").await;
    assert_eq!(entry(&rows).await.expires_at, now().plus_hours(720));
}

#[tokio::test]
async fn hundreds_of_claims_expire_together() {
    let rows = MemoryRows::default();
    for number in 0..205 {
        write_for(&rows, &number.to_string(), 24).await;
    }
    assert!(expired(&rows, now().plus_hours(24)).await);
    assert!(rows.all().is_empty());
}

#[tokio::test]
async fn an_entry_expires_with_its_longest_claim() {
    let rows = MemoryRows::default();
    write_for(&rows, "one", 48).await;
    write_for(&rows, "two", 24).await;
    assert_eq!(listed(&rows, now().plus_hours(47)).await, 1);
    assert_eq!(listed(&rows, now().plus_hours(48)).await, 0);
    assert!(!expired(&rows, now().plus_hours(24)).await);
    assert!(expired(&rows, now().plus_hours(48)).await);
    assert!(rows.all().is_empty());
}

#[tokio::test]
async fn what_is_being_written_is_waited_for_and_taken_over_after_its_hold() {
    let rows = MemoryRows::default();
    assert!(matches!(claim_at(&rows, "one", 24, now()).await, Ok(Claimed::ToWrite(_, true))));
    assert_eq!(claim_at(&rows, "two", 24, now()).await.unwrap_err().name(), "Throttled");
    let again = claim_at(&rows, "one", 24, now()).await;
    assert!(matches!(again, Ok(Claimed::ToWrite(_, false))), "its own repetition goes on at once: {again:?}");
    let later = now().plus_minutes(HOLD_MINUTES);
    assert!(matches!(claim_at(&rows, "two", 24, later).await, Ok(Claimed::ToWrite(_, false))));
    let due = rows.due(DUE_EXPIRY, later.plus_minutes(HOLD_MINUTES), 10).await.unwrap();
    assert_eq!(due.len(), 1, "sweep finds what was killed in between");
}

#[tokio::test]
async fn what_is_leaving_is_not_claimed_until_it_is_gone_or_nobody_is_at_it() {
    let rows = MemoryRows::default();
    write_for(&rows, "one", 24).await;
    let Dropped::ToUndo(leaving) = release(&rows, TARGET, &evil(), &incident("one"), "one", now()).await.unwrap()
    else {
        panic!("it has no other claim");
    };
    assert_eq!(listed(&rows, now()).await, 0);
    assert_eq!(claim_at(&rows, "two", 24, now()).await.unwrap_err().name(), "Throttled");
    let later = now().plus_minutes(HOLD_MINUTES);
    let Claimed::ToWrite(taken_over, false) = claim_at(&rows, "two", 24, later).await.unwrap() else {
        panic!("it has to be written again");
    };
    undone(&rows, &leaving).await.unwrap();
    wrote(&rows, &taken_over, &Written::default()).await.unwrap();
    assert_eq!((entry(&rows).await.state, listed(&rows, later).await), (EntryState::Written, 1));
}

#[tokio::test]
async fn a_write_on_its_way_is_not_taken_away_under_its_writer() {
    let rows = MemoryRows::default();
    claim_at(&rows, "one", 24, now()).await.unwrap();
    let by_another = release(&rows, TARGET, &evil(), &incident("one"), "another", now()).await;
    assert_eq!(by_another.unwrap_err().name(), "Throttled");
    assert!(take_back(&rows, "one").await);
}

#[tokio::test]
async fn what_was_there_before_us_or_was_only_noted_leaves_without_an_undo() {
    for written in
        [Written { pre_existing: true, ..Written::default() }, Written { dry_run: true, ..Written::default() }]
    {
        let rows = MemoryRows::default();
        let Claimed::ToWrite(held, _) = claim_at(&rows, "one", 24, now()).await.unwrap() else { panic!("it is new") };
        wrote(&rows, &held, &written).await.unwrap();
        let dropped = release(&rows, TARGET, &evil(), &incident("one"), "one", now()).await.unwrap();
        assert_eq!((dropped, rows.all()), (Dropped::Left, vec![]), "{written:?}");
    }
}

#[tokio::test]
async fn a_claim_that_joins_while_it_is_written_is_kept() {
    let rows = MemoryRows::default();
    let Claimed::ToWrite(held, _) = claim_at(&rows, "one", 24, now()).await.unwrap() else { panic!("it is new") };
    postpone(&rows, &held, now()).await.unwrap();
    // Given up, so that another may write it at once.
    let Claimed::ToWrite(taken, false) = claim_at(&rows, "two", 48, now()).await.unwrap() else {
        panic!("not written")
    };
    wrote(&rows, &held, &Written { external_id: Some("late".to_owned()), ..Written::default() }).await.unwrap();
    assert_eq!(entry(&rows).await.state, EntryState::Writing, "whoever took it over says when it is written");
    wrote(&rows, &taken, &Written { external_id: Some("7".to_owned()), ..Written::default() }).await.unwrap();
    assert_eq!(entry(&rows).await.external_id.as_deref(), Some("7"));
    assert!(!take_back(&rows, "one").await);
    assert!(take_back(&rows, "two").await);
}

#[tokio::test]
async fn what_fails_again_and_again_is_tried_less_often() {
    let rows = MemoryRows::default();
    let Claimed::ToWrite(held, _) = claim_at(&rows, "one", 9_000, now()).await.unwrap() else { panic!("it is new") };
    postpone(&rows, &held, now()).await.unwrap();
    let mut waits = vec![2];
    while waits.len() < 12 {
        let due = entry(&rows).await;
        let at = due.due_at.unwrap();
        let held = hold(&rows, &due, "sweep", at).await.unwrap().unwrap();
        postpone(&rows, &held, at).await.unwrap();
        waits.push(entry(&rows).await.due_at.unwrap().ms_since(at) / 60_000);
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440, 1_440]);
}

#[tokio::test]
async fn a_row_of_an_earlier_release_is_a_written_entry() {
    let row = serde_json::json!({
        "schema": "ledger/1", "target": TARGET, "type": "domain-name", "value": "evil.example",
        "expires_at": "2027-01-15T08:00:00.000Z", "written_at": "2027-01-08T08:00:00.000Z", "revision": 1,
    });
    let entry: LedgerEntry = serde_json::from_value(row).unwrap();
    assert_eq!((entry.state, entry.dry_run, entry.external_id), (EntryState::Written, false, None));
}
