//! What invocations share: the cache, leases and quotas.

use futures::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_second_incident_with_the_same_observables_calls_nobody() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.egress.set("b", NOT_FOUND);
    assert_eq!(desk.told("one", &addresses(25)).await[0], "a found, b not_found");
    assert_eq!(desk.egress.calls.borrow().len(), 50);
    let writes = desk.verdicts.0.writes.get();
    assert_eq!(writes, 50, "a lease and a save for each observable");
    assert!(desk.told("two", &addresses(25)).await.iter().all(|text| text == "a found cached, b not_found cached"));
    assert_eq!(desk.egress.calls.borrow().len(), 50);
    assert_eq!(desk.verdicts.0.writes.get(), writes, "what is cached costs no write");
}

#[tokio::test(start_paused = true)]
async fn twelve_providers_and_twenty_five_observables_of_which_sixty_per_cent_are_cached() {
    let limits = "limits: [{ limit: 600, window_seconds: 60, scope: key }]";
    let desk = Desk::new((0..12).map(|n| provider(&format!("p{n}"), limits)).collect()).await;
    desk.told("before", &addresses(15)).await;
    sleep(Duration::from_mins(2)).await;
    let counters = || {
        (
            desk.egress.calls.borrow().len(),
            desk.verdicts.0.writes.get() + desk.quotas.0.writes.get(),
            desk.verdicts.0.reads.get(),
        )
    };
    let (calls, writes, reads) = counters();
    desk.told("one", &addresses(25)).await;
    let after = counters();
    assert_eq!(after.0 - calls, 120, "what is missing, once");
    assert_eq!(after.1 - writes, 32, "ten leases, ten saves, twelve reservations");
    assert_eq!(after.2 - reads, 25, "every observable once");
}

#[tokio::test(start_paused = true)]
async fn keys_are_kept_nowhere() {
    let mut desk =
        Desk::new(vec![changed("a", |manifest| manifest.secret = Some("a".to_owned())), provider("b", "")]).await;
    desk.secrets.0.insert("a".to_owned(), "c4n4ry".to_owned());
    desk.egress.set("a", Does::Refuse);
    let id = desk.admit("one", &addresses(2)).await;
    desk.run(&id).await.unwrap();
    let kept = format!("{:?}{:?}{:?}", desk.rows.all(), desk.verdicts.0.all(), desk.enrichment(&id).await);
    assert!(kept.contains("unreachable") && !kept.contains("c4n4ry"), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_again_changes_nothing() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &addresses(3)).await;
    let first = desk.run(&id).await.unwrap();
    let before = desk.enrichment(&id).await;
    assert_eq!(desk.run(&id).await.unwrap(), first);
    let mut after = desk.enrichment(&id).await;
    assert_eq!(desk.egress.calls.borrow().len(), 3);
    for outcome in after.observables.iter_mut().flat_map(|enriched| &mut enriched.outcomes) {
        assert!(outcome.cached);
        outcome.cached = false;
    }
    assert_eq!((after.efforts.made.calls, after.efforts.made.cached), (0, 3));
    after.efforts = before.efforts;
    assert_eq!(before, after);
    let rows = desk.rows.all().into_iter().filter(|row| row.key.sk.starts_with("enrichment#")).count();
    assert_eq!(rows, 1);
}

#[tokio::test(start_paused = true)]
async fn outcomes_expire_by_the_clock_and_with_their_manifest() {
    let mut desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.egress.set("b", NOT_FOUND);
    desk.told("one", &addresses(1)).await;
    sleep(Duration::from_mins(61)).await;
    assert_eq!(desk.told("two", &addresses(1)).await, ["a found cached, b not_found"]);
    // The lease of the last lookup is over by then.
    sleep(Duration::from_secs(12)).await;
    desk.bundle.providers.insert("a".to_owned(), provider("a", "opines: false"));
    desk.publish().await;
    assert_eq!(desk.told("three", &addresses(1)).await, ["a found, b not_found cached"]);
    sleep(Duration::from_hours(25)).await;
    assert_eq!(desk.told("four", &addresses(1)).await, ["a found, b not_found"]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_incidents_at_once_ask_every_provider_once() {
    let ids: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
    let desk = Desk::new(ids.iter().map(|id| provider(id, "")).collect()).await;
    desk.egress.set("p3", NOT_FOUND);
    desk.egress.set("p4", Does::Answer(900, 404, ""));
    let incidents = join_all((0..100).map(async |n| desk.admit(&n.to_string(), &addresses(25)).await)).await;
    let started = Instant::now();
    let outputs = join_all(incidents.iter().map(|id| desk.run(id))).await;
    for (id, output) in incidents.iter().zip(outputs) {
        assert_eq!(output, Ok((0, 0)));
        let document = desk.enrichment(id).await;
        assert!(document.observables.iter().all(|enriched| enriched.outcomes.len() == 12));
    }
    let calls = desk.egress.calls.borrow().len();
    assert_eq!(calls, 300, "the floor is 25 observables at 12 providers");
    // Eight at a time, 25 need four rounds of the slowest provider; those who wait look again every 1.2 seconds or less.
    assert!(started.elapsed() < Duration::from_millis(4 * 900 + 1_600), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn different_incidents_that_start_at_different_moments_still_share() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.egress.set("b", Does::Answer(700, 200, r#"{"found": true}"#));
    let incidents = join_all((0..40).map(async |n| desk.admit(&n.to_string(), &addresses(25)).await)).await;
    let staggered = incidents.iter().enumerate().map(|(n, id)| {
        let desk = &desk;
        async move {
            sleep(Duration::from_millis(n as u64 * 137)).await;
            desk.run(id).await
        }
    });
    assert!(join_all(staggered).await.iter().all(|output| *output == Ok((0, 0))));
    assert_eq!(desk.egress.calls.borrow().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn four_a_minute_is_one_call_every_fifteen_seconds_however_many_ask() {
    let desk =
        Desk::new(vec![provider("vt", "limits: [{ limit: 4, window_seconds: 60, scope: key }]"), provider("a", "")])
            .await;
    for n in 0..40 {
        let observables = vec![observable(ObservableType::DomainName, &format!("evil{n}.net")); 1];
        let more: Vec<Sighted> =
            (0..3).map(|m| observable(ObservableType::DomainName, &format!("evil{n}-{m}.net"))).collect();
        let told = desk.told(&n.to_string(), &[observables, more].concat()).await;
        assert!(told.iter().all(|text| text.contains("a found")), "{told:?}");
        sleep(Duration::from_secs(2)).await;
    }
    let calls = desk.egress.calls.borrow();
    let moments: Vec<Instant> = calls.iter().filter(|(host, _, _)| host == "vt.example").map(|call| call.2).collect();
    assert!(moments.len() >= 4, "{moments:?}");
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(15)), "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_slot_is_put_off_at_once_for_everybody_who_waits() {
    let desk =
        Desk::new(vec![provider("vt", "limits: [{ limit: 4, window_seconds: 60, scope: key }]"), provider("a", "")])
            .await;
    let incidents = join_all((0..30).map(async |n| desk.admit(&n.to_string(), &addresses(25)).await)).await;
    let started = Instant::now();
    let outputs = join_all(incidents.iter().map(|id| desk.run(id))).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(outputs.iter().all(|output| *output == Ok((24, 24))), "{outputs:?}");
    assert_eq!((desk.egress.calls("vt"), desk.egress.calls("a")), (1, 25));
    // It is not remembered: fifteen seconds later one more has a slot.
    sleep(Duration::from_secs(15)).await;
    let told = desk.told("later", &addresses(25)).await;
    assert_eq!(told.iter().filter(|text| text.ends_with("vt found")).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|text| text.ends_with("vt pending(quota)")).count(), 23, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn many_different_incidents_at_once_agree_on_a_quota() {
    let desk = Desk::new(vec![provider("a", "limits: [{ limit: 600, window_seconds: 60, scope: key }]")]).await;
    let incidents = join_all((0..100).map(async |n| {
        desk.admit(&n.to_string(), &[observable(ObservableType::DomainName, &format!("evil{n}.net"))]).await
    }))
    .await;
    let started = Instant::now();
    let outputs = join_all(incidents.iter().map(|id| desk.run(id))).await;
    assert!(outputs.iter().all(|output| *output == Ok((0, 0))), "{outputs:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(desk.quotas.0.writes.get() < 800, "{} writes", desk.quotas.0.writes.get());
}

#[tokio::test(start_paused = true)]
async fn a_slot_within_the_deadline_is_waited_for() {
    let desk = Desk::new(vec![provider("a", "limits: [{ limit: 1, window_seconds: 2, scope: key }]")]).await;
    let told = desk.told("one", &addresses(9)).await;
    assert_eq!(told.iter().filter(|text| *text == "a found").count(), 5, "{told:?}");
    let moments: Vec<Instant> = desk.egress.calls.borrow().iter().map(|call| call.2).collect();
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(2)), "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_429_is_left_alone_for_as_long_as_it_asks() {
    let desk =
        Desk::with(vec![provider("a", "")], policy::Enrich { calls_per_provider: 2, ..policy::Enrich::default() })
            .await;
    desk.egress.set("a", Does::Limit("60"));
    let told = desk.told("one", &addresses(10)).await;
    assert_eq!(desk.egress.calls("a"), 2, "those already on their way");
    assert_eq!(told.iter().filter(|text| *text == "a rate_limited(http_429)").count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|text| *text == "a pending(retry_after)").count(), 8, "{told:?}");
    desk.egress.set("a", FOUND);
    assert!(desk.told("two", &addresses(10)).await.iter().all(|text| text == "a pending(retry_after)"));
    assert_eq!(desk.egress.calls("a"), 2);
    sleep(Duration::from_secs(61)).await;
    assert!(desk.told("three", &addresses(10)).await.iter().all(|text| text == "a found"));
}

#[tokio::test(start_paused = true)]
async fn a_later_run_asks_again_where_a_source_has_failed() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.egress.set("a", Does::Answer(10, 500, ""));
    let id = desk.admit("one", &addresses(2)).await;
    desk.run(&id).await.unwrap();
    desk.egress.set("a", FOUND);
    let first = desk.rows.get(&Run::key(&id, 1)).await.unwrap().unwrap();
    let second = Write::put(Run::key(&id, 2), &first.attributes).unwrap();
    let _done = desk.rows.commit(&[second]).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let input = Input { incident_id: id.clone(), run: 2, offset: 0, count: 50 };
    assert_eq!(desk.run_as(input, REMAINING).await, Ok((0, 0)));
    let told: Vec<String> =
        desk.enrichment_of(&id, 2).await.observables.iter().map(|enriched| tell(&enriched.outcomes)).collect();
    assert_eq!(told, ["a found, b found cached", "a found, b found cached"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_in_time_is_waited_for() {
    let desk =
        Desk::with(vec![provider("a", "")], policy::Enrich { calls_per_provider: 2, ..policy::Enrich::default() })
            .await;
    desk.egress.set("a", Does::Limit("1"));
    let started = Instant::now();
    let told = desk.told("one", &addresses(6)).await;
    assert!(told.iter().all(|text| text == "a rate_limited(http_429)"), "{told:?}");
    assert_eq!(desk.egress.calls("a"), 6);
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_somebody_who_died_is_taken_over_when_it_is_over() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let key = addresses(1)[0].observable.key();
    let lease = |ms| Lease { owner: "dead".to_owned(), until: desk.clock.now().plus_ms(ms), left: vec![] };
    assert_eq!(desk.verdicts.take(&key, &lease(2_000), desk.clock.now()).await, Ok(Taken::First));
    let started = Instant::now();
    assert_eq!(desk.told("one", &addresses(1)).await, ["a found"]);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_waits_to_the_end_says_so_and_does_not_call() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let key = addresses(1)[0].observable.key();
    let lease = Lease { owner: "slow".to_owned(), until: desk.clock.now().plus_minutes(5), left: vec![] };
    assert_eq!(desk.verdicts.take(&key, &lease, desk.clock.now()).await, Ok(Taken::First));
    let id = desk.admit("one", &addresses(1)).await;
    assert_eq!(desk.run(&id).await, Ok((1, 1)));
    assert_eq!(tell(&desk.enrichment(&id).await.observables[0].outcomes), "a pending(asked_elsewhere)");
    assert_eq!(desk.egress.calls.borrow().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_recognises_its_own_lease() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &addresses(1)).await;
    let key = addresses(1)[0].observable.key();
    let lease = Lease { owner: format!("{id}-r1-0"), until: desk.clock.now().plus_minutes(5), left: vec![] };
    assert_eq!(desk.verdicts.take(&key, &lease, desk.clock.now()).await, Ok(Taken::First));
    assert_eq!(desk.run(&id).await, Ok((0, 0)));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_lease_after_somebody_reads_the_cache_again() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &addresses(1)).await;
    // The second delivery reads the cache just before the first one saves, and has the lease just after.
    let again = async {
        sleep(Duration::from_millis(47)).await;
        desk.run(&id).await
    };
    let (first, second) = futures::future::join(desk.run(&id), again).await;
    assert_eq!((first, second), (Ok((0, 0)), Ok((0, 0))));
    assert_eq!(desk.egress.calls("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn older_answers_never_replace_newer_ones() {
    let cache = MemoryVerdicts::default();
    let outcome = |minutes| Outcome {
        provider: "a".to_owned(),
        family: "a".to_owned(),
        context: false,
        outcome: Status::NotFound,
        reason: None,
        opinion: None,
        fetched_at: Timestamp::from_millis(0).plus_minutes(minutes),
        expires_at: Timestamp::from_millis(0).plus_minutes(99),
        manifest_digest: String::new(),
        cached: false,
        task: None,
        stale: None,
    };
    for minutes in [5, 3, 7, 6] {
        cache.save("k", &[outcome(minutes)]).await.unwrap();
    }
    assert_eq!(cache.all()["k"]["a"], outcome(7));
}

#[tokio::test(start_paused = true)]
async fn without_the_cache_nobody_is_asked_and_the_machine_tries_again() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &addresses(3)).await;
    for down in [Down::Everything, Down::Writes] {
        desk.verdicts.1.set(down);
        let fault = desk.run(&id).await.unwrap_err();
        assert!(
            matches!(fault, Fault::Throttled(_) | Fault::Unavailable(_)),
            "the machine retries only these: {fault}"
        );
    }
    assert_eq!(desk.egress.calls.borrow().len(), 0);
    desk.verdicts.1.set(Down::Nothing);
    assert_eq!(desk.run(&id).await, Ok((0, 0)));
}

#[tokio::test(start_paused = true)]
async fn without_quotas_limited_providers_are_left_alone() {
    let desk =
        Desk::new(vec![provider("a", ""), provider("b", "limits: [{ limit: 600, window_seconds: 60, scope: key }]")])
            .await;
    for down in [Down::Everything, Down::Writes] {
        desk.quotas.1.set(down);
        let told = desk.told(if down == Down::Writes { "one" } else { "two" }, &addresses(1)).await;
        assert!(told[0].ends_with("b rate_limited(quota_unavailable)"), "{told:?}");
    }
    assert_eq!((desk.egress.calls("a"), desk.egress.calls("b")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_cached_is_still_an_answer() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    desk.egress.set("a", Does::Answer(1_000, 200, r#"{"found": true}"#));
    let id = desk.admit("one", &addresses(1)).await;
    let fails = async {
        sleep(Duration::from_millis(500)).await;
        desk.verdicts.1.set(Down::Everything);
    };
    let (output, ()) = futures::future::join(desk.run(&id), fails).await;
    assert_eq!(output, Ok((0, 0)));
}
