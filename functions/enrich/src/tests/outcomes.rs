//! Whatever happens, every provider that takes an observable has exactly one outcome for it.

use playbook::manifest::Verified;

use super::*;
use sources::lines::{BREAKER_FAILURES, Health, Key, Line};

#[tokio::test(start_paused = true)]
async fn every_provider_has_one_outcome_for_every_observable() {
    let desk = Desk::new(vec![
        provider("a", ""),
        provider("b", ""),
        provider("c", "enabled: false"),
        provider("d", "terms: { note: read https://d.example/terms }"),
        changed("e", |manifest| manifest.secret = Some("e".to_owned())),
        changed("f", |manifest| manifest.verified = Verified::Documented),
        changed("g", |manifest| manifest.tlp_ceiling = Tlp::Green),
    ])
    .await;
    desk.egress.set("b", NOT_FOUND);
    let told = desk
        .told(
            "one",
            &[observable(ObservableType::Ipv4Addr, "5.6.7.8"), observable(ObservableType::DomainName, "evil.net")],
        )
        .await;
    let expected = "a found, b not_found, c skipped(disabled), d skipped(terms), e skipped(no_key), f skipped(documented), g skipped(tlp)";
    assert_eq!(told, [expected, expected]);
    assert_eq!(desk.egress.calls.borrow().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_about_what_is_marked_up_to_its_ceiling() {
    let ceilings = [("clear", Tlp::Clear), ("green", Tlp::Green), ("amber", Tlp::Amber), ("red", Tlp::Red)];
    let providers = ceilings.map(|(id, ceiling)| changed(id, |manifest| manifest.tlp_ceiling = ceiling));
    let mut desk = Desk::new(providers.into()).await;
    for (name, mark, expected) in [
        ("clear", Some(Tlp::Clear), "amber found, clear found, green found, red found"),
        ("green", Some(Tlp::Green), "amber found, clear skipped(tlp), green found, red found"),
        ("unmarked", None, "amber found, clear skipped(tlp), green skipped(tlp), red found"),
        ("strict", Some(Tlp::AmberStrict), "amber skipped(tlp), clear skipped(tlp), green skipped(tlp), red found"),
        ("red", Some(Tlp::Red), "amber skipped(tlp), clear skipped(tlp), green skipped(tlp), red found"),
    ] {
        desk.mark = mark;
        // Each its own: an answer from the cache would say nothing about what left.
        let told = desk.told(name, &[observable(ObservableType::DomainName, &format!("{name}.net"))]).await;
        assert_eq!(told, [expected], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn withheld_observables_and_other_types_have_none() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let own = |value, withheld| Sighted { withheld: Some(withheld), ..observable(ObservableType::Ipv4Addr, value) };
    let observables = [
        own("10.0.0.1", Withheld::Reserved),
        own("5.6.7.8", Withheld::Own),
        observable(ObservableType::EmailAddr, "victim@corp.net"),
    ];
    assert_eq!(desk.told("one", &observables).await, ["", "", ""]);
    assert_eq!(desk.egress.calls.borrow().len(), 0);
    assert_eq!(desk.verdicts.0.writes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn secrets_in_addresses_stay_here() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let url = |text| observable(ObservableType::Url, text);
    let observables = [
        url("https://evil.net/login"),
        url("https://evil.net/login?email=victim@corp.net"),
        url("https://evil.net/reset/3f9a8b7c6d5e4f3a2b1c0d9e"),
    ];
    assert_eq!(desk.told("one", &observables).await, ["a found", "a found(reduced)", "a skipped(secret)"]);
    assert_eq!(desk.egress.calls.borrow().len(), 1, "the reduced address is the first one");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_skipped_and_a_wrong_key_is_an_error() {
    let mut desk =
        Desk::new(vec![changed("a", |manifest| manifest.secret = Some("a".to_owned())), provider("b", "")]).await;
    desk.secrets.0.insert("a".to_owned(), "two\r\nlines".to_owned());
    let long = observable(ObservableType::Url, &format!("https://evil.net/{}", "a".repeat(5_000)));
    let told = desk.told("one", &[long, observable(ObservableType::DomainName, "evil.net")]).await;
    assert_eq!(told, ["a skipped(unencodable), b skipped(unencodable)", "a error(bad_key), b found"]);
}

#[tokio::test(start_paused = true)]
async fn all_providers_down_is_a_result_and_not_a_fault() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", ""), provider("c", "")]).await;
    desk.egress.set("a", Does::Refuse);
    desk.egress.set("b", Does::Answer(10, 503, "down"));
    desk.egress.set("c", Does::Hang);
    let id = desk.admit("one", &addresses(2)).await;
    let expected = "a error(unreachable), b error(http_503), c error(timeout)";
    assert_eq!(desk.run(&id).await, Ok((0, 2)));
    let told: Vec<String> = desk.enrichment(&id).await.observables.iter().map(|e| tell(&e.outcomes)).collect();
    assert_eq!(told, [expected, expected]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_costs_its_places_and_nobody_elses_time() {
    let providers = vec![provider("slow", ""), provider("a", ""), provider("b", "")];
    let desk = Desk::with(providers, policy::Enrich { calls: 16, ..policy::Enrich::default() }).await;
    desk.egress.set("slow", Does::Hang);
    let started = Instant::now();
    let told = desk.told("one", &addresses(40)).await;
    assert_eq!(desk.egress.calls("slow"), 8, "the breaker stops the others");
    assert!(started.elapsed() < Duration::from_millis(4_200), "{:?}", started.elapsed());
    assert_eq!(told.iter().filter(|text| text.contains("slow error(timeout)")).count(), 8);
    assert_eq!(told.iter().filter(|text| text.contains("slow error(breaker_open)")).count(), 32);
    assert!(told.iter().all(|text| text.contains("a found, b found")), "{told:?}");
    assert_eq!(desk.egress.fullest.get(), (8, 16));
    let quick = desk
        .egress
        .calls
        .borrow()
        .iter()
        .filter(|(host, _, _)| host != "slow.example")
        .map(|call| call.2)
        .max()
        .unwrap();
    assert!(quick - started < Duration::from_millis(500), "{:?}", quick - started);
}

#[tokio::test(start_paused = true)]
async fn five_calls_without_an_answer_open_the_breaker_and_what_was_not_asked_is_not_remembered() {
    let mut desk = Desk::with(vec![provider("a", "")], one_place()).await;
    desk.egress.set("a", Does::Refuse);
    let told = desk.told("one", &addresses(12)).await;
    assert_eq!(told.iter().filter(|text| *text == "a error(unreachable)").count(), 5);
    assert_eq!(told.iter().filter(|text| *text == "a error(breaker_open)").count(), 7);
    desk.egress = Script::default();
    sleep(Duration::from_secs(46)).await;
    let told = desk.told("two", &addresses(12)).await;
    assert_eq!(
        told.iter().filter(|text| *text == "a error(unreachable) cached").count(),
        5,
        "errors are remembered for a while"
    );
    assert_eq!(told.iter().filter(|text| *text == "a found").count(), 7);
}

#[tokio::test(start_paused = true)]
async fn an_error_about_one_observable_does_not_keep_us_from_asking_on() {
    let desk = Desk::with(vec![provider("a", "")], one_place()).await;
    desk.egress.set("a", Does::Answer(10, 400, ""));
    let told = desk.told("one", &addresses(12)).await;
    assert!(told.iter().all(|text| text == "a error(http_400)"), "{told:?}");
}

#[tokio::test]
async fn a_success_mends_a_line_until_it_is_broken() {
    let manifest = provider("a", "");
    let line = Line::new(&manifest, Key::Unneeded, 1);
    let outcome = |status| Outcome {
        outcome: status,
        ..playbook::lookup::skipped(&manifest, "timeout", Timestamp::from_millis(0))
    };
    let count = |status, times| (0..times).filter_map(|_| line.count(&outcome(status))).last();
    count(Status::Error, BREAKER_FAILURES - 1);
    count(Status::NotFound, 1);
    count(Status::Error, BREAKER_FAILURES - 1);
    assert_eq!(line.closed(), None);
    assert_eq!(count(Status::Error, 1), Some(Health::Broken));
    count(Status::Found, 1);
    assert_eq!(line.closed(), Some("breaker_open"), "a late answer to an earlier call does not mend it");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_an_error_with_a_name() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", ""), provider("c", ""), provider("d", "")]).await;
    desk.egress.set("a", Does::Answer(1, 200, "<html>"));
    desk.egress.set("b", Does::Answer(1, 200, r#"{"found": "yes"}"#));
    desk.egress.set("c", Does::Answer(1, 302, ""));
    desk.egress.set("d", Does::Answer(1, 403, "{}"));
    assert_eq!(
        desk.told("one", &addresses(1)).await,
        ["a error(garbage), b error(unexpected), c error(http_302), d error(auth)"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_smaller_of_policy_and_invocation() {
    let check = async |deadline_ms, remaining_ms, expected_ms: u64| {
        let desk =
            Desk::with(vec![provider("a", "")], policy::Enrich { deadline_ms, ..policy::Enrich::default() }).await;
        desk.egress.set("a", Does::Hang);
        let id = desk.admit("one", &addresses(1)).await;
        let started = Instant::now();
        desk.run_chunk(&id, 0, 50, Duration::from_millis(remaining_ms)).await.unwrap();
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(expected_ms) && took < Duration::from_millis(expected_ms + 30),
            "{took:?}"
        );
        assert_eq!(tell(&desk.enrichment(&id).await.observables[0].outcomes), "a error(timeout)");
        // Our own hurry is not held against the provider.
        let remembered = desk.verdicts.0.all().len();
        assert_eq!(remembered, usize::from(expected_ms >= 4_000), "{expected_ms}");
    };
    check(10_000, 30_000, 4_000).await;
    check(1_200, 30_000, 1_200).await;
    check(10_000, 2_500, 1_000).await;
    check(10_000, 1_000, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_a_part_of_the_extraction_and_a_missing_one_is_rejected() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &addresses(10)).await;
    for (offset, count, expected) in [(0, 4, 4), (8, 50, 2), (10, 50, 0), (99, 1, 0)] {
        desk.run_chunk(&id, offset, count, REMAINING).await.unwrap();
        let row = desk.rows.get(&Run::enrichment_key(&id, 1, offset)).await.unwrap().unwrap();
        let bytes = desk.evidence.fetch(&row.read::<Pointer>().unwrap().document).await.unwrap();
        let document: Enrichment = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document.observables.len(), expected, "{offset}+{count}");
    }
    let gone = desk.run(&IncidentId::of("default", "mail", "nobody")).await;
    assert!(matches!(gone, Err(Fault::Rejected(_))), "{gone:?}");
}

#[test]
fn input_ignores_what_authors_add() {
    let text =
        r#"{"incident_id": "inc-aaaaaaaaaaaaaaaaaaaaaaaaaa", "run": 1, "offset": 0, "count": 50, "note": {"x": 1}}"#;
    assert_eq!(serde_json::from_str::<Input>(text).unwrap().count, 50);
    assert_eq!(
        serde_json::to_string(&Output { degraded: 3, ..Output::default() }).unwrap(),
        r#"{"pending":0,"degraded":3}"#
    );
}
