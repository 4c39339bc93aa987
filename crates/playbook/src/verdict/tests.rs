//! What must hold of every verdict, whatever the sources say. Situations are in `tests/fixtures/verdicts`.

use ioc::ObservableType;
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    IncidentId,
    assessment::Basis,
    bundle::Bundle,
    case::Case,
    incident::{EvidenceRef, Kind, Sighted},
    manifest::Tlp,
    outcome::{Opinion, Stale, Status},
    policy::{DocumentationRanges, Policy},
    receipt::Receipt,
    severity::Severity,
};

/// Cases of each property.
const CASES: u32 = 10_000;

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

/// Tries a property on so many generated inputs. The seed is printed; `PROPTEST_RNG_SEED` of the environment repeats it.
fn holds<S: Strategy>(name: &str, of: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or_else(|| {
        // A different one in each run, and the same for every property of a run that is repeated.
        u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(CASES)
    });
    println!("{name}: {CASES} cases, seed {seed}");
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(of, property) {
        panic!("{name}, seed {seed}: {error}");
    }
}

const FAMILIES: [&str; 5] = ["u", "t", "m", "h", "self"];
const LOST: [Status; 4] = [Status::Error, Status::RateLimited, Status::Pending, Status::Skipped];

fn answer(provider: &str, family: &str, outcome: Status, opinion: Option<Opinion>) -> Outcome {
    Outcome {
        provider: provider.to_owned(),
        family: family.to_owned(),
        context: false,
        outcome,
        // Not asked about this one: a mark forbade it.
        reason: (outcome == Status::Skipped).then(|| "tlp".to_owned()),
        opinion,
        fetched_at: now(),
        expires_at: now().plus_hours(1),
        manifest_digest: String::new(),
        cached: false,
        task: None,
        stale: None,
    }
}

fn any_judgement() -> impl Strategy<Value = Judgement> {
    use Judgement::{Benign, Malicious, Suspicious, Unknown};
    prop::sample::select(vec![Malicious, Suspicious, Benign, Unknown])
}

fn any_grade() -> impl Strategy<Value = Grade> {
    prop::sample::select(vec![Grade::A, Grade::B, Grade::C, Grade::D, Grade::E, Grade::F])
}

fn any_opinion() -> impl Strategy<Value = Opinion> {
    let upstreams = prop::sample::subsequence(vec!["u".to_owned(), "t".to_owned(), "x".to_owned()], 0..3);
    (any_judgement(), prop::option::of(any_grade()), 0..12_000_i64, upstreams, prop::bool::weighted(0.05)).prop_map(
        |(verdict, grade, age_hours, upstreams, own)| Opinion {
            verdict,
            score: 0,
            grade,
            own,
            upstreams,
            tags: vec![],
            evidence: None,
            permalink: None,
            last_seen: Some(now().plus_hours(-age_hours)),
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let provider = prop::sample::select(vec!["p1", "p2", "p3", "p4", "p5", "p6"]);
    let family = prop::sample::select(FAMILIES.to_vec());
    let status = prop::sample::select(vec![Status::NotFound, Status::Error, Status::RateLimited, Status::Skipped]);
    let said = prop_oneof![
        2 => status.prop_map(|status| (status, None)),
        3 => any_opinion().prop_map(|opinion| (Status::Found, Some(opinion))),
    ];
    (provider, family, said, prop::bool::weighted(0.1)).prop_map(|(provider, family, (status, opinion), context)| {
        Outcome { context, ..answer(provider, family, status, opinion) }
    })
}

fn any_decision() -> impl Strategy<Value = PersonDecision> {
    (any_judgement(), 0..200_i64).prop_map(|(verdict, days_ago)| PersonDecision {
        verdict,
        by: "ana@soc.example".to_owned(),
        at: now().plus_hours(-24 * days_ago),
        expires_at: now().plus_hours(24 * (PersonDecision::DAYS - days_ago)),
    })
}

/// Whatever can be known of an observable, a person's decision included.
fn any_facts() -> impl Strategy<Value = Facts> {
    let precedent = (0..4_u32, 0..400_i64)
        .prop_map(|(times, days)| Precedent { false_positives: times, last_at: now().plus_hours(-24 * days) });
    let grades = prop::collection::btree_map(prop::sample::select(vec!["p1", "p2", "p3", "p4"]), any_grade(), 0..4);
    (
        prop::sample::select(ObservableType::ALL.to_vec()),
        prop::sample::subsequence(vec!["u".to_owned(), "t".to_owned()], 0..=2),
        prop::collection::vec(any_outcome(), 0..8),
        prop::option::weighted(0.2, any_decision()),
        prop::option::weighted(0.2, precedent),
        grades,
        prop::sample::select(vec![Merge::Families, Merge::Xsoar]),
    )
        .prop_map(|(kind, required, outcomes, decision, precedent, grades, merge)| Facts {
            observable: observable(kind),
            withheld: None,
            required,
            outcomes,
            grades: grades.into_iter().map(|(provider, grade)| (provider.to_owned(), grade)).collect(),
            merge,
            decision,
            precedent,
        })
}

fn observable(kind: ObservableType) -> Observable {
    let value = match kind {
        ObservableType::Ipv4Addr => "203.0.113.7",
        ObservableType::Ipv6Addr => "2001:db8::7",
        ObservableType::DomainName => "evil.example",
        ObservableType::Url => "https://evil.example/a",
        ObservableType::EmailAddr => "a@evil.example",
        ObservableType::File => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    };
    Observable::parse(kind, value).unwrap()
}

fn reach(facts: &Facts) -> Verdict {
    Verdict::reach(facts, now())
}

#[test]
fn the_order_of_outcomes_never_matters() {
    let shuffled = any_facts().prop_flat_map(|facts| {
        let outcomes = Just(facts.outcomes.clone()).prop_shuffle();
        (Just(facts), outcomes)
    });
    holds("the order of outcomes never matters", &shuffled, |(facts, outcomes)| {
        prop_assert_eq!(reach(&facts), reach(&Facts { outcomes, ..facts }));
        Ok(())
    });
}

#[test]
fn the_same_family_twice_equals_once() {
    holds("the same family twice equals once", &any_facts(), |facts| {
        let mut twice = facts.clone();
        twice.outcomes.extend(facts.outcomes.clone());
        let (once, twice) = (reach(&facts), reach(&twice));
        prop_assert_eq!((once.verdict, once.reason, once.sums), (twice.verdict, twice.reason, twice.sums));
        Ok(())
    });
}

#[test]
fn an_answer_that_is_lost_never_leaves_anything_benign_and_a_lowered_verdict_says_so() {
    let lost = (any_facts(), any::<prop::sample::Index>(), prop::sample::select(LOST.to_vec()));
    holds("a lost answer never leaves anything benign", &lost, |(facts, index, status)| {
        if facts.outcomes.is_empty() {
            return Ok(());
        }
        let mut after = facts.clone();
        let was = &facts.outcomes[index.index(facts.outcomes.len())];
        after.outcomes[index.index(facts.outcomes.len())] =
            Outcome { context: was.context, ..answer(&was.provider, &was.family, status, None) };
        let (before, after) = (reach(&facts), reach(&after));
        // What a person has decided needs no source, and context never decides anything.
        if after.rule != 1 && !was.context {
            prop_assert!(after.verdict != Judgement::Benign, "{after:?}");
        }
        // Whoever was not asked has not failed; the coverage says that he is missing.
        if after.verdict < before.verdict && status != Status::Skipped {
            prop_assert!(after.degraded, "{after:?}");
        }
        Ok(())
    });
}

#[test]
fn somebody_who_does_not_know_it_never_makes_it_better() {
    let asked = (any_facts(), prop::sample::select(FAMILIES.to_vec()));
    holds("not_found never makes worse into better", &asked, |(facts, family)| {
        let mut more = facts.clone();
        more.outcomes.push(answer("another", family, Status::NotFound, None));
        let (before, after) = (reach(&facts), reach(&more));
        prop_assert!(after.verdict >= before.verdict || before.verdict == Judgement::Unknown, "{after:?}");
        // From unknown only to benign, and only where somebody trusted says so.
        if before.verdict == Judgement::Unknown && after.verdict != Judgement::Unknown {
            prop_assert_eq!(after.verdict, Judgement::Benign);
            prop_assert!(after.opinions.iter().any(|o| o.verdict == Judgement::Benign && o.weight_hundredths > 0));
        }
        Ok(())
    });
}

#[test]
fn silence_alone_is_never_innocence() {
    let silent = prop::sample::select(vec![Status::NotFound, Status::Error, Status::Pending, Status::Skipped]);
    let all = prop::collection::vec((prop::sample::select(FAMILIES.to_vec()), silent), 0..12);
    holds("silence alone is never innocence", &all, |silent| {
        let outcomes = silent.into_iter().map(|(family, status)| answer(family, family, status, None)).collect();
        let facts = Facts { outcomes, ..bare(ObservableType::Url) };
        prop_assert_eq!(reach(&facts).verdict, Judgement::Unknown);
        Ok(())
    });
}

#[test]
fn weights_never_grow_with_age() {
    let aged = (any_grade(), prop::sample::select(ObservableType::ALL.to_vec()), 0..20_000_i64, 0..20_000_i64);
    holds("weights never grow with age", &aged, |(grade, kind, age, more)| {
        let weight = |hours: i64| crate::weight::hundredths(grade, kind, now().plus_hours(-hours), now());
        prop_assert!(weight(age) >= weight(age + more));
        prop_assert!(weight(age) <= grade.weight() * 100);
        Ok(())
    });
}

#[test]
fn a_mapping_never_raises_the_grade_of_its_source() {
    holds("a mapping never raises a grade", &any_facts(), |facts| {
        for opinion in reach(&facts).opinions {
            if let Some(ceiling) = facts.grades.get(&opinion.provider) {
                prop_assert!(opinion.grade.weight() <= ceiling.weight(), "{opinion:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn acting_without_a_person_needs_what_two_families_say() {
    holds("malicious rests on weight", &any_facts(), |facts| {
        let verdict = reach(&facts);
        if verdict.rule == 3 && facts.merge == Merge::Families {
            let Sums { malicious_grade_a, malicious_families, malicious_together, .. } = verdict.sums;
            prop_assert!(malicious_grade_a >= 7_000 || (malicious_families > 1 && malicious_together >= 10_000));
        }
        if verdict.rule == 5 {
            prop_assert_eq!(verdict.coverage.answered, verdict.coverage.required);
            prop_assert!(!verdict.degraded && verdict.failed.is_empty() || facts.outcomes.iter().any(|o| o.context));
        }
        prop_assert_eq!(verdict.reason.is_none(), verdict.verdict != Judgement::Unknown && verdict.rule != 2);
        Ok(())
    });
}

/// The shipped policy with a list that blocks; what is ours is said by the caller.
fn bundle(own: &str) -> Bundle {
    let mut policy: Policy = crate::authored::read(include_str!("../../../../playbook/policy.yaml"), "p").unwrap();
    policy.own.domains = vec![own.to_owned()];
    policy.guard.documentation_ranges = DocumentationRanges::AsPublic;
    let target = include_str!("../../../../playbook/targets/served-list.yaml");
    Bundle::new(policy, vec![], vec![crate::authored::read(target, "t").unwrap()])
}

/// What is concluded of these facts, and how many entries a person could approve.
fn concluded(facts: &Facts, bundle: &Bundle) -> (Verdict, bool, usize) {
    let basis = Basis {
        tenant: "default".to_owned(),
        kind: Kind::Mail,
        source: "mail".to_owned(),
        severity: Severity::Low,
        was_allowed: None,
        incomplete: false,
        pinned: None,
        tlp: Tlp::default(),
        received_at: None,
    };
    let sighted = Sighted { observable: facts.observable.clone(), places: vec![], withheld: None };
    let case = Case {
        incident_id: IncidentId::of("t", "s", "n"),
        run: 1,
        config_digest: String::new(),
        basis,
        subject: String::new(),
        participants: vec![],
        omissions: vec![],
        judged: vec![(sighted, receipt(facts.clone()))],
        histories: BTreeMap::new(),
        related: vec![],
        campaign: None,
    };
    let stored = EvidenceRef { key: String::new(), version_id: None, sha256: String::new(), size_bytes: 0 };
    let mut assessment = case.conclude(bundle, stored, now()).unwrap();
    let open = assessment.plan.open().count();
    let assessed = assessment.observables.remove(0);
    (assessed.conclusion, assessed.guarded.is_some(), open)
}

#[test]
fn the_guard_changes_the_plan_and_never_the_verdict() {
    let (free, guarding) = (bundle("other.example"), bundle("evil.example"));
    let of_a_domain =
        any_facts().prop_map(|facts| Facts { observable: observable(ObservableType::DomainName), ..facts });
    holds("the guard never changes a verdict", &of_a_domain, |facts| {
        let (free, guarded) = (concluded(&facts, &free), concluded(&facts, &guarding));
        prop_assert_eq!(&free.0, &guarded.0);
        prop_assert_eq!((free.1, guarded.1, guarded.2), (false, true, 0));
        prop_assert_eq!(free.2 > 0, free.0.verdict == Judgement::Malicious || free.0.is_contradiction());
        Ok(())
    });
}

#[test]
fn every_receipt_replays() {
    holds("every receipt replays", &any_facts(), |facts| {
        let receipt = receipt(facts);
        let read = Receipt::parse(&Receipt::to_lines(&[receipt]).unwrap()).unwrap();
        prop_assert_eq!(read[0].replay().1, Vec::<String>::new());
        Ok(())
    });
}

fn receipt(facts: Facts) -> Receipt {
    Receipt {
        schema: Receipt::SCHEMA.to_owned(),
        incident_id: IncidentId::of("t", "s", "n"),
        run: 1,
        config_digest: String::new(),
        now: now(),
        verdict: reach(&facts),
        facts,
    }
}

fn bare(kind: ObservableType) -> Facts {
    Facts { required: vec!["u".to_owned(), "t".to_owned()], ..Facts::bare(observable(kind)) }
}

#[test]
fn a_receipt_of_the_first_edition_is_replayed_by_its_own_rule() {
    // A source that is not required fails: the first edition did not call that degraded.
    let outcomes = vec![
        answer("u", "u", Status::NotFound, None),
        answer("t", "t", Status::NotFound, None),
        answer("x", "x", Status::Error, None),
    ];
    let facts = Facts { outcomes, ..bare(ObservableType::Url) };
    let first = Receipt {
        schema: "receipt/1".to_owned(),
        verdict: Verdict::reach_by(Edition::First, &facts, now()),
        ..receipt(facts)
    };
    assert!(!first.verdict.degraded);
    assert_eq!(first.replay().1, Vec::<String>::new());
    let second = Receipt { schema: Receipt::SCHEMA.to_owned(), ..first };
    assert_eq!(second.replay().1, ["degraded: the receipt says false, the rule gives true"]);
}

#[test]
fn a_replay_names_the_term_that_differs() {
    let opinion = Opinion {
        verdict: Judgement::Malicious,
        score: 100,
        grade: Some(Grade::A),
        own: false,
        upstreams: vec![],
        tags: vec![],
        evidence: None,
        permalink: None,
        last_seen: Some(now().plus_hours(-1)),
    };
    let outcomes = vec![answer("urlhaus", "u", Status::Found, Some(opinion)), answer("t", "t", Status::NotFound, None)];
    let whole = receipt(Facts { outcomes, ..bare(ObservableType::Url) });
    let mut edited = whole.clone();
    edited.verdict.opinions[0].weight_hundredths = 10_000;
    let says = "opinions.urlhaus.weight_hundredths: the receipt says 10000, the rule gives 9859";
    assert_eq!(edited.replay().1, [says]);
    // Facts that somebody has changed lead elsewhere, and every term that moves is named.
    let mut edited = whole;
    edited.facts.grades.insert("urlhaus".to_owned(), Grade::C);
    let named: Vec<String> =
        edited.replay().1.iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        named,
        [
            "confidence",
            "opinions.urlhaus.grade",
            "opinions.urlhaus.weight_hundredths",
            "rule",
            "sums.malicious",
            "sums.malicious_grade_a",
            "sums.malicious_together",
            "verdict",
        ]
    );
}

#[test]
fn a_source_that_only_goes_on_listing_it_has_seen_nothing_new() {
    let listed = |last_seen| Opinion {
        verdict: Judgement::Malicious,
        score: 100,
        grade: Some(Grade::A),
        own: false,
        upstreams: vec![],
        tags: vec![],
        evidence: None,
        permalink: None,
        last_seen,
    };
    let reached = |last_seen, facts: Facts| {
        let outcomes =
            vec![answer("u", "u", Status::Found, Some(listed(last_seen))), answer("t", "t", Status::NotFound, None)];
        let verdict = reach(&Facts { outcomes, ..facts });
        (verdict.rule, verdict.verdict)
    };
    let seen = Some(now().plus_hours(-1));
    let twice = Precedent { false_positives: 2, last_at: now().plus_hours(-48) };
    let precedent = || Facts { precedent: Some(twice), ..bare(ObservableType::Url) };
    assert_eq!(reached(None, precedent()), (2, Judgement::Suspicious));
    assert_eq!(reached(seen, precedent()), (3, Judgement::Malicious));
    let decision = PersonDecision {
        verdict: Judgement::Benign,
        by: "ana@soc.example".to_owned(),
        at: now().plus_hours(-48),
        expires_at: now().plus_hours(480),
    };
    let decided = || Facts { decision: Some(decision.clone()), ..bare(ObservableType::Url) };
    assert_eq!(reached(None, decided()), (1, Judgement::Benign));
    assert_eq!(reached(seen, decided()), (2, Judgement::Suspicious));
}

#[test]
fn one_more_voice_against_it_never_makes_it_better() {
    let against = (any_facts(), any_outcome(), any_opinion());
    holds("one more voice against it never makes it better", &against, |(facts, outcome, opinion)| {
        let facts = Facts { merge: Merge::Families, decision: None, ..facts };
        // Of somebody whom nobody repeats: a source that speaks for itself may take the place of who spoke for it, and be
        // trusted less ("An aggregator repeats two families that have both spoken").
        let said = Opinion { verdict: Judgement::Malicious, own: false, ..opinion };
        let family = "nobody-else".to_owned();
        let outcome = Outcome { outcome: Status::Found, opinion: Some(said), context: false, family, ..outcome };
        let mut more = facts.clone();
        more.outcomes.push(outcome);
        let (before, after) = (reach(&facts), reach(&more));
        // Beside a trusted benign it becomes a contradiction, and silence may turn into weak evidence.
        let is_worse = after.verdict >= before.verdict || after.rule == 2 || before.rule == 5;
        prop_assert!(is_worse, "{before:?}\n{after:?}");
        Ok(())
    });
}

/// What a source has said before may raise a verdict, never lower it, however opinions are merged.
#[test]
fn what_is_stale_never_makes_it_better() {
    let stale = (any_facts(), any_outcome(), any_opinion());
    holds("what is stale never makes it better", &stale, |(facts, outcome, opinion)| {
        let failed = Outcome {
            outcome: Status::Error,
            reason: Some("timeout".to_owned()),
            opinion: None,
            context: false,
            ..outcome
        };
        let before = Outcome {
            stale: Some(Box::new(Stale { opinion: opinion.clone(), fetched_at: failed.fetched_at })),
            ..failed.clone()
        };
        let reached = |outcome: Outcome| {
            let mut facts = facts.clone();
            facts.outcomes.push(outcome);
            reach(&facts)
        };
        let (without, with) = (reached(failed), reached(before));
        prop_assert!(with.verdict >= without.verdict, "{without:?}\n{with:?}");
        prop_assert_eq!(with.degraded, without.degraded);
        prop_assert_eq!(&with.coverage, &without.coverage);
        let is_bad = matches!(opinion.verdict, Judgement::Malicious | Judgement::Suspicious);
        prop_assert!(is_bad || with == without, "only what speaks against it counts: {with:?}");
        Ok(())
    });
}

/// Two aggregators that repeat the same source, of which one also repeats somebody else, and then the source itself: its word
/// takes nothing from what was said for the other.
#[test]
fn a_source_that_speaks_for_itself_silences_nobody_who_speaks_for_others() {
    let says = |provider: &str, family: &str, grade, upstreams: &[&str]| {
        let opinion = Opinion {
            verdict: Judgement::Malicious,
            score: 90,
            grade: Some(grade),
            own: false,
            upstreams: upstreams.iter().map(|family| (*family).to_owned()).collect(),
            tags: vec![],
            evidence: None,
            permalink: None,
            last_seen: None,
        };
        answer(provider, family, Status::Found, Some(opinion))
    };
    let check = |outcomes: Vec<Outcome>, expected: &[&str], malicious: u32| {
        let verdict = reach(&Facts { outcomes, ..bare(ObservableType::Url) });
        let counts: Vec<&str> = verdict.opinions.iter().filter(|o| o.counts).map(|o| o.provider.as_str()).collect();
        assert_eq!((counts.as_slice(), verdict.sums.malicious), (expected, malicious));
    };
    let mirror = || says("mirror", "mirror", Grade::B, &["source"]);
    let echo = || says("echo", "source", Grade::D, &["source", "third"]);
    check(vec![mirror(), echo()], &["echo", "mirror"], 10_000);
    check(vec![mirror(), echo(), says("source", "source", Grade::C, &[])], &["echo", "mirror"], 10_000);
}

#[test]
fn what_is_withheld_has_no_opinion_and_no_coverage() {
    let verdict = reach(&Facts { withheld: Some(Withheld::Own), ..bare(ObservableType::DomainName) });
    assert_eq!((verdict.verdict, verdict.reason), (Judgement::Unknown, Some(Reason::NoOpinion)));
    assert_eq!(verdict.coverage, Coverage { answered: 0, required: 0 });
}
