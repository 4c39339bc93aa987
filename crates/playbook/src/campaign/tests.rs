//! Campaigns in memory: found, joined and merged, by many at once.

use futures::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::fakes::MemoryRows;

/// The campaign that this one was merged into at last, with everything below that.
async fn whole(rows: &MemoryRows, id: &CampaignId) -> (CampaignId, BTreeMap<IncidentId, Member>, Vec<SharedKey>) {
    let id = root(rows, id, now()).await.unwrap().campaign_id;
    let (members, keys) = everything(rows, &id).await.unwrap();
    (id, members, keys)
}

async fn members(rows: &MemoryRows, id: &CampaignId) -> Vec<Member> {
    whole(rows, id).await.1.into_values().collect()
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
}

fn member(number: usize) -> Member {
    let id = IncidentId::of("default", "mail", &number.to_string());
    Member::new(id, now().plus_minutes(i64::try_from(number).unwrap()))
}

fn names(keys: &[&str]) -> Vec<(String, u32)> {
    keys.iter().map(|key| ((*key).to_owned(), 600)).collect()
}

async fn joined(rows: &MemoryRows, number: usize, keys: &[&str]) -> Option<Campaign> {
    join(rows, &member(number), &names(keys), &[], now()).await.unwrap()
}

const URL: &str = "url#https://evil.example/a";
const FILE: &str = "file#sha256:00";

#[tokio::test]
async fn the_second_incident_with_a_bad_observable_begins_a_campaign_of_two() {
    let rows = MemoryRows::default();
    assert_eq!(joined(&rows, 1, &[URL]).await, None);
    let campaign = joined(&rows, 2, &[URL, FILE]).await.unwrap();
    assert_eq!((campaign.members, campaign.named_by.as_slice()), (2, &[URL.to_owned()][..]));
    assert_eq!((campaign.first_seen, campaign.last_seen), (member(1).received_at, member(2).received_at));
    assert_eq!(of(&rows, &member(1).incident_id).await.unwrap(), Some(campaign.campaign_id.clone()));
    // The file was new to it: with the third it names the campaign, too.
    let campaign = joined(&rows, 3, &[FILE]).await.unwrap();
    assert_eq!(campaign.members, 3);
    assert_eq!(campaign.named_by, [FILE, URL]);
}

#[tokio::test]
async fn a_repetition_changes_nothing() {
    let rows = MemoryRows::default();
    joined(&rows, 1, &[URL]).await;
    let once = joined(&rows, 2, &[URL]).await;
    let before = rows.all();
    for _ in 0..3 {
        assert_eq!(joined(&rows, 2, &[URL]).await, once);
        assert_eq!(joined(&rows, 1, &[URL]).await, once);
    }
    assert_eq!(rows.all(), before);
}

#[tokio::test]
async fn incidents_that_share_no_bad_observable_are_tied_by_what_is_rare() {
    let rows = MemoryRows::default();
    let shared = vec![("url#https://unknown.example/".to_owned(), 520)];
    let tie = Tie { other: member(1), shared: shared.clone() };
    let campaign = join(&rows, &member(2), &[], &[tie], now()).await.unwrap().unwrap();
    assert_eq!((campaign.members, campaign.named_by.as_slice()), (2, &[shared[0].0.clone()][..]));
    // Once something bad is shared, that names it.
    let named = join(&rows, &member(1), &names(&[URL]), &[], now()).await.unwrap().unwrap();
    assert_eq!(named.named_by, campaign.named_by);
    assert_eq!(joined(&rows, 4, &[URL]).await.unwrap().named_by, [URL]);
    // A third joins the campaign of whom it is tied to, whatever ties it.
    let tie = Tie { other: member(2), shared: vec![("network#192.0.2.0/24".to_owned(), 510)] };
    let again = join(&rows, &member(3), &[], &[tie], now()).await.unwrap().unwrap();
    assert_eq!((again.campaign_id, again.members), (campaign.campaign_id, 4));
}

#[tokio::test]
async fn a_merge_loses_nobody_and_the_older_one_lives_on() {
    let rows = MemoryRows::default();
    for number in 0..20 {
        joined(&rows, number, &[URL]).await;
        joined(&rows, 100 + number, &[FILE]).await;
    }
    let of_file = of(&rows, &member(100).incident_id).await.unwrap().unwrap();
    let merged = join(&rows, &member(999), &names(&[URL, FILE]), &[], now().plus_hours(1)).await.unwrap().unwrap();
    assert_eq!(merged.members, 41);
    // Whoever knew the other one finds the same campaign, and late members of it are found too.
    let (id, members_of, keys) = whole(&rows, &of_file).await;
    assert_eq!(Campaign::of(id, &members_of, keys).unwrap(), merged);
    assert_eq!(joined(&rows, 1000, &[FILE]).await.unwrap().members, 42);
    assert_eq!(members(&rows, &of_file).await.len(), 42);
}

#[tokio::test]
async fn a_long_chain_of_merges_is_followed_and_made_short() {
    const CHAIN: usize = 40;
    let rows = MemoryRows::default();
    // The youngest first: each one that comes is older, and what was there is merged into it.
    let key = |number: usize| format!("url#https://evil.example/{number}");
    for number in 0..CHAIN {
        let at = now().plus_hours(-i64::try_from(number).unwrap());
        let pair = [key(number), key(number + 1)];
        for of in [2 * number, 2 * number + 1] {
            join(&rows, &member(of), &names(&[&pair[0]]), &[], at).await.unwrap();
        }
        if number > 0 {
            join(&rows, &member(1_000 + number), &names(&[&key(number - 1), &pair[0]]), &[], at).await.unwrap();
        }
    }
    let id = of(&rows, &member(0).incident_id).await.unwrap().unwrap();
    assert_eq!(members(&rows, &id).await.len(), 3 * CHAIN - 1);
    assert_eq!(joined(&rows, 9_999, &[&key(0)]).await.unwrap().members, 3 * CHAIN);
}

#[tokio::test]
async fn what_is_in_many_incidents_names_a_campaign_only_while_its_wave_goes_on() {
    let rows = MemoryRows::default();
    let common = [(URL.to_owned(), 0)];
    let at = |days: i64| Member::new(IncidentId::of("t", "s", &days.to_string()), now().plus_hours(24 * days));
    assert_eq!(join(&rows, &at(0), &common, &[], now()).await.unwrap(), None);
    assert_eq!(join(&rows, &at(13), &common, &[], now()).await.unwrap().unwrap().members, 2);
    assert_eq!(join(&rows, &at(15), &common, &[], now()).await.unwrap(), None);
    // What is rare does not age.
    assert_eq!(join(&rows, &at(300), &names(&[URL]), &[], now()).await.unwrap().unwrap().members, 3);
}

#[tokio::test]
async fn a_hundred_at_once_are_one_campaign_of_a_hundred() {
    let rows = MemoryRows::default();
    let all: Vec<Member> = (0..100).map(member).collect();
    let names = names(&[URL, FILE]);
    let joins = all.iter().map(|own| async {
        // Lets the others run in between.
        tokio::task::yield_now().await;
        join(&rows, own, &names, &[], now()).await
    });
    for joined in join_all(joins).await {
        joined.unwrap();
    }
    let id = of(&rows, &member(0).incident_id).await.unwrap().unwrap();
    assert_eq!(members(&rows, &id).await, {
        let mut all = all;
        all.sort();
        all
    });
}

proptest! {
    /// Whatever is shared and in whatever order it comes: incidents are in one campaign exactly when a chain of shared
    /// observables leads from one to the other.
    #[test]
    fn a_campaign_is_everything_that_hangs_together(
        shares in prop::collection::vec(prop::collection::vec(0..8_usize, 1..3), 2..24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let rows = MemoryRows::default();
            let keys: Vec<String> = (0..8).map(|n| format!("url#https://evil.example/{n}")).collect();
            for (number, shared) in shares.iter().enumerate() {
                let shared: Vec<&str> = shared.iter().map(|at| keys[*at].as_str()).collect();
                join(&rows, &member(number), &names(&shared), &[], now().plus_minutes(i64::try_from(number).unwrap())).await.unwrap();
            }
            // The same by colouring.
            let mut colour: Vec<usize> = (0..shares.len()).collect();
            for _ in 0..shares.len() {
                for a in 0..shares.len() {
                    for b in 0..shares.len() {
                        if shares[a].iter().any(|key| shares[b].contains(key)) {
                            let least = colour[a].min(colour[b]);
                            (colour[a], colour[b]) = (least, least);
                        }
                    }
                }
            }
            for a in 0..shares.len() {
                let together = colour.iter().filter(|other| **other == colour[a]).count();
                let expected = if together > 1 { together } else { 0 };
                let found = match of(&rows, &member(a).incident_id).await.unwrap() {
                    Some(id) => members(&rows, &id).await.len(),
                    None => 0,
                };
                assert_eq!(found, expected, "incident {a} of {shares:?}");
            }
        });
    }
}
