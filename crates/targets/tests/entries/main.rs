//! Entries at every kind of target: whatever is killed and repeated, each is there once, and gone when nobody claims it.

#![expect(clippy::unwrap_used, reason = "a test says where it failed by failing")]

mod bench;
mod waf;

use playbook::{
    Fault,
    ledger::{EntryState, HOLD_MINUTES},
    target::Target,
};
use targets::entries::Settled;

use bench::{Bench, Death};

const TARGETS: [&str; 4] = ["misp", "webhook", "waf-ip-set", "served-list"];
const EVIL: &str = "192.0.2.7";
const WRITTEN: [Result<Settled, Fault>; 1] = [Ok(Settled::Written)];
const LEFT: [Result<Settled, Fault>; 1] = [Ok(Settled::Left)];
const STAYS: [Result<Settled, Fault>; 1] = [Ok(Settled::Stays)];

#[tokio::test]
async fn an_entry_is_written_once_however_often_it_is_asked_for_and_released_once() {
    for target in TARGETS {
        let bench = Bench::new().await;
        let wanted = [bench.wanted(target, EVIL, "one")];
        for _ in 0..5 {
            assert_eq!(bench.write(&wanted).await, WRITTEN, "{target}");
        }
        assert!(bench.is_there(&wanted[0]).await, "{target}");
        assert!(bench.services.changes.get() <= 1, "{target}");
        assert_eq!(bench.release(&wanted).await, LEFT, "{target}");
        for _ in 0..4 {
            assert_eq!(bench.release(&wanted).await, STAYS, "{target}");
        }
        assert!(!bench.is_there(&wanted[0]).await, "{target}");
        assert!(bench.services.changes.get() <= 2, "{target}");
        assert_eq!(bench.rows.all(), vec![], "{target}");
    }
}

/// Kills at every call in turn, before it and after it, until a run needs no more calls.
async fn killed_everywhere(target: &str, releases: bool, repeats: bool) {
    for death in [Death::Before, Death::After] {
        for call in 0.. {
            let bench = Bench::new().await;
            let wanted = [bench.wanted(target, EVIL, "one")];
            if releases {
                assert_eq!(bench.write(&wanted).await, WRITTEN);
            }
            bench.fuse.set(Some((call, death)));
            let _ = if releases { bench.release(&wanted).await } else { bench.write(&wanted).await };
            let was_killed = bench.fuse.is_burnt();
            bench.fuse.set(None);
            let place = format!("{target}, {death:?} call {call}, releases: {releases}, repeats: {repeats}");
            let was_claimed = bench.entry(&wanted[0]).await.is_some();
            for _ in 0..5 {
                match (repeats, releases) {
                    (true, true) => drop(bench.release(&wanted).await),
                    (true, false) => drop(bench.write(&wanted).await),
                    (false, _) => {
                        bench.clock.advance_minutes(2 * HOLD_MINUTES);
                        drop(bench.sweep().await);
                    }
                }
            }
            // A repetition does the work; `sweep` finishes what was begun.
            let is_claimed = bench.entry(&wanted[0]).await.is_some();
            let expected = match (releases, repeats) {
                (true, true) => false,
                (false, true) => true,
                (true, false) => is_claimed,
                (false, false) => was_claimed,
            };
            assert_eq!((bench.is_there(&wanted[0]).await, is_claimed), (expected, expected), "{place}");
            assert!(bench.services.ours().len() <= 1, "{place}");
            if let Some(entry) = bench.entry(&wanted[0]).await {
                assert_eq!(entry.state, EntryState::Written, "{place}");
                assert!(target != "misp" || entry.external_id.is_some(), "{place}");
            }
            if !was_killed {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_write_that_is_killed_anywhere_and_repeated_is_there_once() {
    for target in TARGETS {
        killed_everywhere(target, false, true).await;
    }
}

#[tokio::test]
async fn a_release_that_is_killed_anywhere_and_repeated_leaves_nothing() {
    for target in TARGETS {
        killed_everywhere(target, true, true).await;
    }
}

#[tokio::test]
async fn sweep_finishes_what_was_killed_and_is_never_repeated() {
    for target in TARGETS {
        killed_everywhere(target, false, false).await;
        killed_everywhere(target, true, false).await;
    }
}

#[tokio::test]
async fn two_incidents_claim_the_same_and_it_leaves_with_the_second() {
    for target in TARGETS {
        let bench = Bench::new().await;
        let (one, two) = ([bench.wanted(target, EVIL, "one")], [bench.wanted(target, EVIL, "two")]);
        assert_eq!((bench.write(&one).await, bench.write(&two).await), (WRITTEN.to_vec(), WRITTEN.to_vec()));
        assert_eq!(bench.release(&one).await, STAYS, "{target}");
        assert!(bench.is_there(&one[0]).await, "{target}");
        assert_eq!(bench.release(&two).await, LEFT, "{target}");
        assert!(!bench.is_there(&one[0]).await, "{target}");
    }
}

#[tokio::test]
async fn an_entry_leaves_by_itself_when_its_time_is_over() {
    for target in TARGETS {
        let bench = Bench::new().await;
        let wanted = [bench.wanted(target, EVIL, "one")];
        assert_eq!(bench.write(&wanted).await, WRITTEN);
        bench.clock.advance_minutes(24 * 60 - 1);
        assert_eq!(bench.sweep().await, vec![], "{target}");
        bench.clock.advance_minutes(1);
        assert_eq!(bench.sweep().await, LEFT, "{target}");
        assert!(!bench.is_there(&wanted[0]).await, "{target}");
        assert_eq!(bench.rows.all(), vec![], "{target}");
    }
}

#[tokio::test]
async fn what_was_there_before_us_is_claimed_and_never_removed() {
    let bench = Bench::new().await;
    bench.services.put(EVIL, "an analyst's own");
    let wanted = [bench.wanted("misp", EVIL, "one")];
    assert_eq!(bench.write(&wanted).await, WRITTEN);
    assert!(bench.entry(&wanted[0]).await.unwrap().pre_existing);
    assert_eq!(bench.release(&wanted).await, LEFT);
    assert!(bench.is_there(&wanted[0]).await);
    assert_eq!((bench.services.changes.get(), bench.rows.all()), (0, vec![]));
}

#[tokio::test]
async fn a_dry_run_looks_and_changes_nothing() {
    let bench = Bench::with(|target| target.dry_run = target.calls.is_some()).await;
    for target in ["misp", "webhook"] {
        let wanted = [bench.wanted(target, EVIL, "one")];
        assert_eq!(bench.write(&wanted).await, WRITTEN, "{target}");
        assert!(bench.entry(&wanted[0]).await.unwrap().dry_run, "{target}");
        assert_eq!(bench.release(&wanted).await, LEFT, "{target}");
    }
    assert_eq!((bench.services.changes.get(), bench.rows.all()), (0, vec![]));
}

#[tokio::test]
async fn an_entry_that_is_leaving_is_claimed_by_another_incident_later() {
    let bench = Bench::new().await;
    let (one, two) = ([bench.wanted("misp", EVIL, "one")], [bench.wanted("misp", EVIL, "two")]);
    assert_eq!(bench.write(&one).await, WRITTEN);
    // Killed after the claim has gone, before MISP was told.
    for call in 0.. {
        bench.fuse.set(Some((call, Death::Before)));
        let _ = bench.release(&one).await;
        bench.fuse.set(None);
        if bench.entry(&one[0]).await.unwrap().state == EntryState::Leaving {
            break;
        }
    }
    let throttled = bench.write(&two).await.remove(0).unwrap_err();
    assert_eq!(throttled.name(), "Throttled");
    bench.clock.advance_minutes(HOLD_MINUTES);
    assert_eq!(bench.write(&two).await, WRITTEN);
    assert_eq!(bench.services.ours(), [EVIL]);
    bench.clock.advance_minutes(2 * HOLD_MINUTES);
    assert_eq!(bench.sweep().await, vec![], "nobody takes it away after that");
}

#[tokio::test]
async fn a_target_that_is_out_of_reach_is_not_asked_for_all_and_sweep_writes_later() {
    let bench = Bench::new().await;
    let wanted: Vec<_> = (1..=5).map(|n| bench.wanted("misp", &format!("192.0.2.{n}"), "one")).collect();
    let here = bench.wanted("webhook", EVIL, "one");
    bench.services.ill.set(Some(500));
    let results = bench.write(&wanted).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().name() == "Unavailable"), "{results:?}");
    bench.services.ill.set(None);
    assert_eq!(bench.write(std::slice::from_ref(&here)).await, WRITTEN, "the others are not held up");
    bench.clock.advance_minutes(5);
    assert!(bench.sweep().await.iter().all(|result| *result == Ok(Settled::Written)));
    assert_eq!(bench.services.ours().len(), 5);
}

#[tokio::test]
async fn what_a_target_refuses_for_good_leaves_no_claim_and_the_others_go_on() {
    let bench = Bench::new().await;
    let wanted = [bench.wanted("misp", EVIL, "one"), bench.wanted("webhook", EVIL, "one")];
    bench.services.ill.set(Some(400));
    let results = bench.write(&wanted).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().name() == "Rejected"), "{results:?}");
    assert_eq!(bench.rows.all(), vec![]);
}

#[tokio::test]
async fn a_wrong_secret_is_named_and_not_shown_and_the_entry_follows_when_it_is_right() {
    let mut bench = Bench::new().await;
    bench.secrets.0.remove("misp");
    let wanted = [bench.wanted("misp", EVIL, "one"), bench.wanted("misp", "192.0.2.8", "one")];
    for result in bench.write(&wanted).await {
        assert_eq!(result.unwrap_err(), Fault::Misconfigured("target misp: secret misp is not set".to_owned()));
    }
    bench.secrets.0.insert("misp".to_owned(), "dummy-key".to_owned());
    bench.clock.advance_minutes(5);
    assert_eq!(bench.sweep().await, [Ok(Settled::Written), Ok(Settled::Written)]);
}

#[tokio::test]
async fn guarded_indicators_and_targets_that_are_off_are_refused_by_the_writer_too() {
    let bench = Bench::with(|target: &mut Target| target.enabled = target.id != "webhook").await;
    let refused = [
        bench.wanted("misp", "10.1.2.3", "one"),
        bench.wanted("misp", "mail.corp.example", "one"),
        bench.wanted("misp", "misp.corp.example", "one"),
        bench.wanted("webhook", EVIL, "one"),
        bench.wanted("waf-ip-set", "evil.example", "one"),
        bench.wanted("nobody", EVIL, "one"),
    ];
    for (wanted, result) in refused.iter().zip(bench.write(&refused).await) {
        assert_eq!(result.unwrap_err().name(), "Rejected", "{wanted:?}");
    }
    assert_eq!((bench.services.changes.get(), bench.rows.all()), (0, vec![]));
}
