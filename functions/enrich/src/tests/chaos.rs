//! Many seeds of bad weather: nothing is lost, nothing is invented.

use super::*;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's MMIX generator; the high bits are the random ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

const WEATHER: [Does; 9] = [
    FOUND,
    NOT_FOUND,
    Does::Answer(2_000, 200, r#"{"found": true}"#),
    Does::Answer(5, 200, "\u{0}garbage"),
    Does::Answer(5, 500, "{}"),
    Does::Limit("1"),
    Does::Limit("soon"),
    Does::Hang,
    Does::Refuse,
];

const MANIFESTS: [&str; 5] = [
    "",
    "enabled: false",
    "limits: [{ limit: 4, window_seconds: 60, scope: key }]",
    "limits: [{ limit: 600, window_seconds: 60, scope: key }, { limit: 30, window_seconds: 86400, scope: key }]",
    "opines: false",
];

#[tokio::test(start_paused = true)]
async fn whatever_providers_do_every_lookup_has_one_honest_outcome() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let ids: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
        let providers = ids.iter().map(|id| provider(id, MANIFESTS[dice.roll(MANIFESTS.len())])).collect();
        let places = 1 + dice.roll(8);
        let desk = Desk::with(
            providers,
            policy::Enrich { deadline_ms: 3_000, calls: 16, calls_per_provider: places, ..policy::Enrich::default() },
        )
        .await;
        for incident in 0..4 {
            for id in &ids {
                desk.egress.set(id, WEATHER[dice.roll(WEATHER.len())].clone());
            }
            let mut observables = addresses(1 + dice.roll(20));
            for sighted in &mut observables {
                sighted.withheld = (dice.roll(5) == 0).then_some(Withheld::Own);
            }
            let (one, other) = (
                desk.admit(&format!("{incident}"), &observables).await,
                desk.admit(&format!("{incident} again"), &observables).await,
            );
            let started = Instant::now();
            let (first, second) = futures::future::join(desk.run(&one), desk.run(&other)).await;
            assert!(started.elapsed() < Duration::from_millis(3_100), "seed {seed}: {:?}", started.elapsed());
            for (id, output) in [(one, first), (other, second)] {
                check(&desk, &ids, &observables, &desk.enrichment(&id).await, output.unwrap());
            }
            sleep(Duration::from_secs(u64::try_from(dice.roll(90)).unwrap())).await;
        }
        let (one, all) = desk.egress.fullest.get();
        // Two invocations at a time.
        assert!(one <= 2 * places && all <= 2 * 16, "seed {seed}: {one} at one provider, {all} in all");
    }
}

fn check(desk: &Desk, ids: &[String], observables: &[Sighted], document: &Enrichment, output: (usize, usize)) {
    assert_eq!(document.observables.len(), observables.len());
    for (sighted, enriched) in observables.iter().zip(&document.observables) {
        assert_eq!(sighted.observable.key(), enriched.observable);
        let asked: Vec<&str> = enriched.outcomes.iter().map(|outcome| outcome.provider.as_str()).collect();
        let expected: Vec<&str> =
            if sighted.withheld.is_some() { vec![] } else { ids.iter().map(String::as_str).collect() };
        assert_eq!(asked, expected);
        for outcome in &enriched.outcomes {
            assert_eq!(outcome.opinion.is_some(), outcome.outcome == Status::Found);
            assert_eq!(outcome.reason.is_none(), outcome.outcome.is_answered(), "{outcome:?}");
            let is_off = desk.bundle.providers[&outcome.provider].off_reason().is_some();
            assert_eq!(outcome.outcome == Status::Skipped, is_off, "{outcome:?}");
        }
    }
    let failed = |enriched: &&Enriched| enriched.outcomes.iter().any(|outcome| outcome.outcome.is_failed());
    assert_eq!(output.1, document.observables.iter().filter(failed).count());
}
