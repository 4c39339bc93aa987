//! What counts for a source, what counts against it, and what says nothing.

use ioc::Observable;
use proptest::prelude::*;

use super::*;
use crate::{
    outcome::Opinion,
    verdict::{Facts, Verdict},
};

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn incident(number: u32) -> IncidentId {
    IncidentId::of("default", "mail", &number.to_string())
}

fn outcome(provider: &str, status: Status, says: Option<Judgement>) -> Outcome {
    let opinion = says.map(|verdict| Opinion {
        verdict,
        score: 50,
        grade: Some(Grade::A),
        own: false,
        upstreams: vec![],
        tags: vec![],
        evidence: None,
        permalink: None,
        last_seen: None,
    });
    Outcome {
        provider: provider.to_owned(),
        family: provider.to_owned(),
        context: false,
        outcome: status,
        reason: None,
        opinion,
        fetched_at: now(),
        expires_at: now().plus_hours(1),
        manifest_digest: "d".to_owned(),
        cached: false,
        task: None,
        stale: None,
    }
}

fn says(provider: &str, verdict: Judgement) -> Outcome {
    outcome(provider, Status::Found, Some(verdict))
}

fn silent(provider: &str, status: Status, reason: &str) -> Outcome {
    Outcome { reason: Some(reason.to_owned()), ..outcome(provider, status, None) }
}

fn receipt(number: u32, run: u32, value: &str, outcomes: Vec<Outcome>) -> Receipt {
    let facts = Facts { outcomes, ..Facts::bare(Observable::parse_any(value).unwrap()) };
    Receipt {
        schema: Receipt::SCHEMA.to_owned(),
        incident_id: incident(number),
        run,
        config_digest: String::new(),
        now: now(),
        verdict: Verdict::reach(&facts, now()),
        facts,
    }
}

fn decision(choice: Choice, indicators: &[&str]) -> Decision {
    let keys = indicators.iter().map(|value| Observable::parse_any(value).unwrap().key());
    Decision {
        choice,
        last: true,
        by: "ana@soc.example".to_owned(),
        authenticated_by: "mailbox".to_owned(),
        indicators: keys.collect(),
        ..Decision::at(now())
    }
}

type Input = (u32, u32, Vec<Receipt>, Vec<Decision>);

/// A run of an incident with these receipts and decisions.
fn run(number: u32, run: u32, observables: &[(&str, &[Outcome])], decisions: &[Decision]) -> Input {
    let receipts = observables.iter().map(|(value, outcomes)| receipt(number, run, value, outcomes.to_vec()));
    (number, run, receipts.collect(), decisions.to_vec())
}

fn scored(inputs: &[Input]) -> Scorecards {
    let ids: Vec<IncidentId> = inputs.iter().map(|(number, ..)| incident(*number)).collect();
    let judged = inputs.iter().zip(&ids).map(|((_, run, receipts, decisions), incident_id)| Judged {
        incident_id,
        run: *run,
        receipts: receipts.iter().collect(),
        decisions,
    });
    Scorecards::of(&judged.collect::<Vec<_>>())
}

fn the_card(inputs: &[Input]) -> Scorecard {
    let [card] = <[Scorecard; 1]>::try_from(scored(inputs).scorecards).unwrap();
    card
}

/// The bad and the benign opinions of the one source, each as confirmed, refuted and undecided, and its useful hits.
fn check(inputs: &[Input], bad: [u32; 3], benign: [u32; 3], useful_hits: u32) {
    let card = the_card(inputs);
    let plain = |tally: Tally| [tally.confirmed, tally.refuted, tally.undecided];
    assert_eq!((plain(card.bad), plain(card.benign), card.useful_hits), (bad, benign, useful_hits), "{card:?}");
}

const EVIL: &str = "evil.example";
const OTHER: &str = "other.example";

#[test]
fn what_a_person_approves_is_bad_and_what_was_not_approved_is_left_open() {
    let bad: &[Outcome] = &[says("a", Judgement::Malicious)];
    let good: &[Outcome] = &[says("a", Judgement::Benign)];
    let approved = || vec![decision(Choice::Approved, &[EVIL])];
    check(&[run(1, 1, &[(EVIL, bad), (OTHER, bad)], &approved())], [1, 0, 1], [0; 3], 1);
    check(&[run(1, 1, &[(EVIL, good), (OTHER, good)], &approved())], [0; 3], [0, 1, 1], 0);
}

#[test]
fn a_false_positive_makes_harmless_only_what_had_been_called_bad() {
    let bad: &[Outcome] = &[says("a", Judgement::Malicious)];
    let good: &[Outcome] = &[says("a", Judgement::Benign)];
    let rejected = [decision(Choice::Rejected, &[])];
    check(&[run(1, 1, &[(EVIL, bad), (OTHER, good)], &rejected)], [0, 1, 0], [0, 0, 1], 0);
    // Who said benign of what others called bad was right.
    let contradicted = [says("a", Judgement::Benign), says("b", Judgement::Malicious)];
    let cards = scored(&[run(1, 1, &[(EVIL, &contradicted)], &rejected)]).scorecards;
    assert_eq!((cards[0].benign.confirmed, cards[1].bad.refuted), (1, 1));
}

#[test]
fn nothing_but_approval_and_rejection_says_what_is_true() {
    let bad: &[Outcome] = &[says("a", Judgement::Suspicious)];
    for choice in [Choice::Acknowledged, Choice::LookAgain, Choice::TimedOut] {
        check(&[run(1, 1, &[(EVIL, bad)], &[decision(choice, &[EVIL])])], [0, 0, 1], [0; 3], 0);
    }
    check(&[run(1, 1, &[(EVIL, bad)], &[])], [0, 0, 1], [0; 3], 0);
}

#[test]
fn the_last_decision_counts_unless_nobody_took_it() {
    let bad: &[Outcome] = &[says("a", Judgement::Malicious)];
    let later = |hours, decision: Decision| Decision { at: now().plus_hours(hours), ..decision };
    let (rejected, approved) = (decision(Choice::Rejected, &[]), later(1, decision(Choice::Approved, &[EVIL])));
    let nobody = later(2, decision(Choice::TimedOut, &[]));
    check(&[run(1, 1, &[(EVIL, bad)], &[approved, nobody, rejected])], [1, 0, 0], [0; 3], 1);
}

#[test]
fn an_observable_counts_once_an_incident_by_the_last_run_that_says_something() {
    let bad: &[Outcome] = &[says("a", Judgement::Malicious)];
    let approved = [decision(Choice::Approved, &[EVIL])];
    let rejected = [decision(Choice::Rejected, &[])];
    let runs =
        [run(1, 1, &[(EVIL, bad)], &rejected), run(1, 2, &[(EVIL, bad)], &approved), run(1, 3, &[(EVIL, bad)], &[])];
    check(&runs, [1, 0, 0], [0; 3], 1);
    let card = the_card(&runs);
    assert_eq!((card.asked, card.truly_bad), (3, 1));
    check(&[run(1, 1, &[(EVIL, bad)], &approved), run(2, 1, &[(EVIL, bad)], &approved)], [2, 0, 0], [0; 3], 2);
}

#[test]
fn lookups_are_counted_by_what_became_of_them() {
    let outcomes = [
        says("a", Judgement::Malicious),
        outcome("a", Status::NotFound, None),
        silent("a", Status::Error, "timeout"),
        silent("a", Status::RateLimited, "retry_after"),
        silent("a", Status::Pending, "quota"),
        silent("a", Status::Skipped, "tlp"),
        silent("a", Status::Skipped, "no_key"),
        Outcome { context: true, ..says("context", Judgement::Unknown) },
        Outcome { manifest_digest: String::new(), ..says("source:feed", Judgement::Malicious) },
    ];
    let card = the_card(&[run(1, 1, &[(EVIL, &outcomes)], &[])]);
    assert_eq!((card.asked, card.answered, card.found, card.failed, card.skipped), (6, 2, 1, 3, 1));
    assert_eq!(card.availability(), Some(3_333));
}

#[test]
fn an_answer_is_one_call_however_often_it_is_used() {
    let answer = says("a", Judgement::Malicious);
    let again = Outcome { cached: true, ..answer.clone() };
    let later = Outcome { fetched_at: now().plus_hours(9), ..answer.clone() };
    let calls = |outcomes: &[&[Outcome]]| {
        let runs = (1..).zip(outcomes).map(|(number, outcomes)| run(number, 1, &[(EVIL, outcomes)], &[]));
        the_card(&runs.collect::<Vec<_>>()).calls
    };
    assert_eq!(calls(&[std::slice::from_ref(&answer), std::slice::from_ref(&again)]), 1);
    assert_eq!(calls(&[&[again], &[later]]), 2);
    assert_eq!(calls(&[&[silent("a", Status::Skipped, "tlp")], &[silent("a", Status::Pending, "quota")]]), 0);
    assert_eq!(calls(&[&[silent("a", Status::Pending, PENDING_SUBMITTED)]]), 1);
}

#[test]
fn a_hit_is_useful_only_when_it_weighed() {
    let approved = [decision(Choice::Approved, &[EVIL])];
    let by =
        |family: &str, provider: &str| Outcome { family: family.to_owned(), ..says(provider, Judgement::Malicious) };
    let cards = scored(&[run(1, 1, &[(EVIL, &[by("f", "a"), by("f", "b")])], &approved)]).scorecards;
    assert_eq!(cards.iter().map(|card| card.bad.confirmed).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(cards.iter().map(|card| card.useful_hits).collect::<Vec<_>>(), [1, 0]);
    let mut worthless = says("a", Judgement::Malicious);
    worthless.opinion.as_mut().unwrap().grade = Some(Grade::E);
    check(&[run(1, 1, &[(EVIL, &[worthless])], &approved)], [1, 0, 0], [0; 3], 0);
}

#[test]
fn what_repeats_our_own_marker_is_no_opinion_of_the_source() {
    let mut own = says("a", Judgement::Malicious);
    own.opinion.as_mut().unwrap().own = true;
    check(&[run(1, 1, &[(EVIL, &[own])], &[decision(Choice::Approved, &[EVIL])])], [0; 3], [0; 3], 0);
}

#[test]
fn coverage_is_of_what_it_was_to_be_asked_about() {
    let approved = decision(Choice::Approved, &["a.example", "b.example", "c.example", "d.example"]);
    let observables: [(&str, &[Outcome]); 4] = [
        ("a.example", &[says("a", Judgement::Malicious)]),
        ("b.example", &[outcome("a", Status::NotFound, None)]),
        ("c.example", &[silent("a", Status::Error, "timeout")]),
        ("d.example", &[silent("a", Status::Skipped, "disabled")]),
    ];
    let card = the_card(&[run(1, 1, &observables, &[approved])]);
    assert_eq!((card.called_bad, card.truly_bad, card.coverage()), (1, 3, Some(3_333)));
}

#[test]
fn the_lower_bound_is_wilsons() {
    let check = |confirmed, decided, expected| {
        assert_eq!(wilson_lower_bound(confirmed, decided), expected, "{confirmed} of {decided}");
    };
    check(0, 0, None);
    check(0, 20, Some(0));
    check(1, 1, Some(2_065));
    check(20, 20, Some(8_388));
    check(8, 10, Some(4_901));
    check(90, 100, Some(8_256));
    check(500, 1_000, Some(4_690));
    check(u32::MAX, u32::MAX, Some(9_999));
    check(9, 3, wilson_lower_bound(3, 3));
}

#[test]
fn the_letter_follows_the_lower_bound_and_needs_twenty_decisions() {
    let check = |confirmed, refuted, expected| {
        let bad = Tally { confirmed, refuted, undecided: 99 };
        let card = Scorecard { bad, ..Scorecard::new("a", ObservableType::Url) };
        assert_eq!(card.suggested(), expected, "{bad:?}");
    };
    check(0, 0, None);
    check(19, 0, None);
    check(20, 0, Some(Grade::C));
    check(21, 0, Some(Grade::C));
    check(22, 0, Some(Grade::B));
    check(72, 0, Some(Grade::B));
    check(73, 0, Some(Grade::A));
    check(19, 1, Some(Grade::C));
    check(18, 2, Some(Grade::D));
    check(12, 8, Some(Grade::E));
    check(0, 20, Some(Grade::E));
}

#[test]
fn a_useful_hit_costs_what_all_calls_cost() {
    let card = Scorecard { calls: 10, useful_hits: 3, ..Scorecard::new("a", ObservableType::Url) };
    assert_eq!(
        (card.calls_per_useful_hit_hundredths(), card.microdollars_per_useful_hit(5_000)),
        (Some(333), Some(16_667))
    );
    let none = Scorecard { useful_hits: 0, ..card.clone() };
    assert_eq!((none.calls_per_useful_hit_hundredths(), none.microdollars_per_useful_hit(5_000)), (None, None));
    let most = Scorecard { calls: u32::MAX, useful_hits: 1, ..card };
    assert!(most.microdollars_per_useful_hit(u32::MAX).is_some());
}

#[test]
fn of_nothing_there_is_nothing_to_say() {
    let nothing = scored(&[]);
    assert_eq!((nothing.ground.runs, nothing.ground.from, nothing.scorecards.len()), (0, None, 0));
    let card = Scorecard::new("a", ObservableType::Url);
    assert_eq!(
        (card.precision(), card.precision_at_least(), card.coverage(), card.availability()),
        (None, None, None, None)
    );
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    use Judgement::{Benign, Malicious, Suspicious, Unknown};
    let provider = prop::sample::select(vec!["a", "b", "c"]);
    let status = vec![Status::NotFound, Status::Error, Status::RateLimited, Status::Pending, Status::Skipped];
    let said = prop_oneof![
        prop::sample::select(status).prop_map(|status| (status, None)),
        prop::sample::select(vec![Malicious, Suspicious, Benign, Unknown]).prop_map(|says| (Status::Found, Some(says))),
    ];
    (provider, said, 0..3_i64, any::<bool>()).prop_map(|(provider, (status, says), hours, cached)| {
        let outcome = outcome(provider, status, says);
        Outcome { fetched_at: now().plus_hours(-hours), cached, ..outcome }
    })
}

fn any_decisions() -> impl Strategy<Value = Vec<Decision>> {
    use Choice::{Acknowledged, Approved, LookAgain, Rejected, TimedOut};
    let choice = prop::sample::select(vec![Approved, Rejected, Acknowledged, LookAgain, TimedOut]);
    let indicators = prop::sample::subsequence(vec![EVIL, OTHER, "192.0.2.7"], 0..=3);
    let decision = (choice, indicators, 0..3_i64).prop_map(|(choice, indicators, hours)| Decision {
        at: now().plus_hours(hours),
        ..decision(choice, &indicators)
    });
    prop::collection::vec(decision, 0..4)
}

/// Runs of some incidents, each with a receipt an observable, and the same in another order.
fn any_inputs() -> impl Strategy<Value = (Vec<Input>, Vec<Input>)> {
    let outcomes = prop::collection::btree_map(
        prop::sample::select(vec![EVIL, OTHER, "192.0.2.7"]),
        prop::collection::vec(any_outcome(), 0..5),
        0..4,
    );
    let runs = prop::collection::btree_map((0..4_u32, 1..4_u32), (outcomes, any_decisions()), 0..8);
    let inputs = runs.prop_map(|runs| {
        let mut inputs: Vec<Input> = vec![];
        for ((number, run), (outcomes, decisions)) in runs {
            let receipts = outcomes.into_iter().map(|(value, outcomes)| receipt(number, run, value, outcomes));
            inputs.push((number, run, receipts.collect(), decisions));
        }
        inputs
    });
    inputs.prop_flat_map(|inputs| {
        let shuffled = Just(inputs.clone()).prop_shuffle().prop_map(|mut inputs| {
            for (_, _, receipts, decisions) in &mut inputs {
                receipts.reverse();
                decisions.reverse();
            }
            inputs
        });
        (Just(inputs), shuffled)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_never_matters_and_the_counts_add_up((inputs, shuffled) in any_inputs()) {
        let scored_once = scored(&inputs);
        prop_assert_eq!(&scored_once, &scored(&shuffled));
        for card in &scored_once.scorecards {
            prop_assert_eq!(card.asked, card.answered + card.failed + card.skipped);
            prop_assert!(card.found <= card.answered && card.calls <= card.asked);
            prop_assert!(card.useful_hits <= card.bad.confirmed && card.called_bad <= card.truly_bad);
            prop_assert!(card.precision_at_least() <= card.precision());
            // At most one receipt for each incident and observable gives opinions, and of it every one is counted.
            let mut once: BTreeSet<(u32, String)> = BTreeSet::new();
            let mut most = 0;
            for receipt in inputs.iter().flat_map(|(.., receipts, _)| receipts) {
                let said = |o: &&Weighed| o.provider == card.provider && o.verdict != Judgement::Unknown;
                most += count(receipt.verdict.opinions.iter().filter(said).count());
            }
            for (number, _, receipts, _) in &inputs {
                once.extend(receipts.iter().map(|receipt| (*number, receipt.facts.observable.key())));
            }
            prop_assert!(card.bad.opinions() + card.benign.opinions() <= most);
            prop_assert!(card.truly_bad <= count(once.len()));
        }
    }

    #[test]
    fn every_opinion_is_confirmed_refuted_or_undecided(outcomes in prop::collection::vec(any_outcome(), 0..8), decisions in any_decisions()) {
        let said = |provider: &str, sorts: &[Judgement]| {
            let of = |o: &&Outcome| o.provider == provider && o.opinion.as_ref().is_some_and(|o| sorts.contains(&o.verdict));
            count(outcomes.iter().filter(of).count())
        };
        let input = run(1, 1, &[(EVIL, &outcomes)], &decisions);
        for card in scored(&[input]).scorecards {
            prop_assert_eq!(card.bad.opinions(), said(&card.provider, &[Judgement::Malicious, Judgement::Suspicious]));
            prop_assert_eq!(card.benign.opinions(), said(&card.provider, &[Judgement::Benign]));
        }
    }

    #[test]
    fn the_exact_bound_is_that_of_the_formula(decided in 1..100_000_u32, share in 0..=100_u32) {
        let confirmed = u32::try_from(u64::from(decided) * u64::from(share) / 100).unwrap();
        let (n, p, z) = (f64::from(decided), f64::from(confirmed) / f64::from(decided), 1.96_f64);
        let root = (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let expected = (p + z * z / (2.0 * n) - z * root) / (1.0 + z * z / n) * f64::from(WHOLE);
        let told = f64::from(wilson_lower_bound(confirmed, decided).unwrap());
        prop_assert!(told <= expected + 1e-6 && told > expected - 1.0 - 1e-6, "{told} {expected}");
    }
}
