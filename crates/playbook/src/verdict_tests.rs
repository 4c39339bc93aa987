//! The rule of verdicts, situation by situation, and what must hold of all of them.

use proptest::prelude::*;

use super::*;
use crate::outcome::{Opinion, Status};

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

/// `provider family grade verdict age_days`, or `provider family status`.
fn outcome(line: &str) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bare = |status, reason: Option<&str>, opinion| Outcome {
        provider: words[0].to_owned(),
        family: words[1].to_owned(),
        outcome: status,
        reason: reason.map(str::to_owned),
        opinion,
        fetched_at: now(),
        expires_at: now().plus_hours(1),
        manifest_digest: String::new(),
        cached: false,
        task: None,
    };
    match words[2] {
        "not_found" => bare(Status::NotFound, None, None),
        "found" => bare(Status::Found, None, None),
        "error" => bare(Status::Error, Some("timeout"), None),
        "rate_limited" => bare(Status::RateLimited, None, None),
        "pending" => bare(Status::Pending, None, None),
        "skipped" => bare(Status::Skipped, Some("no_key"), None),
        grade => {
            let age: i64 = words[4].parse().unwrap();
            let opinion = Opinion {
                verdict: serde_json::from_value(words[3].into()).unwrap(),
                score: 0,
                grade: serde_json::from_value(grade.into()).unwrap(),
                upstreams: words[5..].iter().map(|w| (*w).to_owned()).collect(),
                tags: vec![],
                evidence: None,
                permalink: None,
                last_seen: Some(now().plus_hours(-24 * age)),
            };
            bare(Status::Found, None, Some(opinion))
        }
    }
}

fn facts(kind: ObservableType, required: &[&str], lines: &[&str]) -> Facts {
    let value = match kind {
        ObservableType::Ipv4Addr => "203.0.113.7",
        ObservableType::Ipv6Addr => "2001:db8::7",
        ObservableType::DomainName => "evil.example",
        ObservableType::Url => "https://evil.example/a",
        ObservableType::EmailAddr => "a@evil.example",
        ObservableType::File => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    };
    Facts {
        observable: Observable::parse(kind, value).unwrap(),
        withheld: None,
        required: required.iter().map(|f| (*f).to_owned()).collect(),
        outcomes: lines.iter().map(|line| outcome(line)).collect(),
        decision: None,
    }
}

fn check(kind: ObservableType, required: &[&str], lines: &[&str], expected: &str) {
    let verdict = Verdict::reach(&facts(kind, required, lines), now());
    let reason = verdict.reason.map_or("-", Reason::as_str);
    let Coverage { answered, required } = verdict.coverage;
    let degraded = if verdict.degraded { " degraded" } else { "" };
    let got = format!("{} {reason} {answered}/{required}{degraded}", verdict.verdict.as_str());
    assert_eq!(got, expected, "{lines:?}\n{verdict:#?}");
}

#[test]
fn one_grade_a_family_is_enough_while_it_is_fresh() {
    use ObservableType::{DomainName, File, Ipv4Addr, Url};
    check(Url, &["u", "t"], &["u u A malicious 0", "t t not_found"], "malicious - 2/2");
    check(Ipv4Addr, &["t"], &["t t A malicious 5"], "malicious - 1/1");
    check(Ipv4Addr, &["t"], &["t t A malicious 10"], "suspicious - 1/1");
    check(DomainName, &["t"], &["t t A malicious 1095"], "unknown expired 1/1");
    check(File, &["t"], &["t t A malicious 300"], "suspicious - 1/1");
}

#[test]
fn two_families_make_malicious_only_together_and_only_if_independent() {
    use ObservableType::{Ipv4Addr, Url};
    check(Ipv4Addr, &[], &["v v B malicious 0", "a a C malicious 0"], "malicious - 0/0");
    check(Ipv4Addr, &[], &["o o C malicious 0", "a a C malicious 0"], "malicious - 0/0");
    check(Ipv4Addr, &[], &["o o C malicious 1", "a a C malicious 0"], "suspicious - 0/0");
    check(Ipv4Addr, &[], &["a1 a C malicious 0", "a2 a C malicious 0"], "suspicious - 0/0");
    check(Ipv4Addr, &[], &["a a D malicious 0", "b b D malicious 0", "c c D malicious 0"], "suspicious - 0/0");
    check(Url, &[], &["v v B malicious 0 u", "o o C malicious 0 u", "p p C malicious 0 u"], "suspicious - 0/0");
    check(Url, &[], &["u u B malicious 0", "v v B malicious 0 u"], "suspicious - 0/0");
    check(Url, &[], &["u u B malicious 0", "v v B malicious 0 u x"], "malicious - 0/0");
    check(Url, &[], &["m self A malicious 0"], "unknown expired 0/0");
}

#[test]
fn half_the_suspicious_weight_counts_towards_suspicious() {
    use ObservableType::Ipv4Addr;
    check(Ipv4Addr, &[], &["a a C suspicious 0"], "unknown weak_evidence 0/0");
    check(Ipv4Addr, &[], &["a a B suspicious 0"], "suspicious - 0/0");
    check(Ipv4Addr, &[], &["a a C suspicious 0", "b b D suspicious 0"], "suspicious - 0/0");
    check(Ipv4Addr, &[], &["a a C malicious 0"], "suspicious - 0/0");
    check(Ipv4Addr, &[], &["a a D malicious 0"], "unknown weak_evidence 0/0");
}

#[test]
fn weighty_opposites_contradict_each_other() {
    use ObservableType::File;
    check(File, &["m"], &["m m A malicious 0", "h h B benign 0"], "suspicious contradiction 1/1");
    check(File, &["m"], &["m m A malicious 0", "h h C benign 0"], "malicious - 1/1");
    check(File, &["m"], &["m m D malicious 0", "h h B benign 0"], "unknown weak_evidence 1/1");
}

#[test]
fn silence_is_not_innocence() {
    use ObservableType::{EmailAddr, File, Url};
    check(File, &["m", "t"], &["m m not_found", "t t not_found", "h h B benign 0"], "benign - 2/2");
    check(File, &["m", "t"], &["m m not_found", "t t error", "h h B benign 0"], "unknown degraded 1/2 degraded");
    check(File, &["m", "t"], &["m m not_found", "h h B benign 0"], "unknown low_coverage 1/2");
    check(File, &["m", "t"], &["m m not_found", "t t skipped", "h h B benign 0"], "unknown low_coverage 1/2");
    check(File, &["m"], &["m m not_found", "h h C benign 0"], "unknown weak_evidence 1/1");
    check(File, &["m"], &["m m not_found", "x x error", "h h B benign 0"], "unknown degraded 1/1");
    check(Url, &["u", "t"], &["u u not_found", "t t not_found"], "unknown not_found 2/2");
    check(Url, &["u", "t"], &["u u found", "t t not_found"], "unknown no_opinion 2/2");
    check(Url, &["u", "t"], &["u u rate_limited", "t t pending"], "unknown degraded 0/2 degraded");
    check(Url, &["u", "t"], &[], "unknown low_coverage 0/2");
    check(EmailAddr, &[], &[], "unknown no_opinion 0/0");
}

#[test]
fn a_bad_verdict_with_a_source_down_says_degraded() {
    use ObservableType::Url;
    check(Url, &["u", "t"], &["u u A malicious 0", "t t error"], "malicious - 1/2 degraded");
    check(Url, &["u", "t"], &["u u C malicious 0", "t t error"], "suspicious - 1/2 degraded");
}

#[test]
fn a_family_is_answered_when_any_of_its_providers_answers() {
    use ObservableType::Url;
    check(Url, &["u"], &["u1 u error", "u2 u not_found"], "unknown not_found 1/1");
}

#[test]
fn what_is_withheld_has_no_opinion_and_no_coverage() {
    let facts = Facts { withheld: Some(Withheld::Own), ..facts(ObservableType::DomainName, &["u"], &[]) };
    let verdict = Verdict::reach(&facts, now());
    assert_eq!((verdict.verdict, verdict.reason), (Judgement::Unknown, Some(Reason::NoOpinion)));
    assert_eq!(verdict.coverage, Coverage { answered: 0, required: 0 });
}

#[test]
fn a_person_rules_until_the_decision_expires_or_newer_grade_a_evidence_comes() {
    let decided = |days_ago: i64| PersonDecision {
        verdict: Judgement::Benign,
        by: "ana@soc.example".to_owned(),
        at: now().plus_hours(-24 * days_ago),
        expires_at: now().plus_hours(24 * (90 - days_ago)),
    };
    let reach = |line: &str, days_ago: i64| {
        let facts = Facts { decision: Some(decided(days_ago)), ..facts(ObservableType::Url, &["u"], &[line]) };
        let verdict = Verdict::reach(&facts, now());
        (verdict.verdict, verdict.rule)
    };
    assert_eq!(reach("u u A malicious 20", 10), (Judgement::Benign, 1));
    assert_eq!(reach("u u B malicious 1", 10), (Judgement::Benign, 1));
    assert_eq!(reach("u u A malicious 1", 10), (Judgement::Suspicious, 2));
    assert_eq!(reach("u u A malicious 1", 91), (Judgement::Malicious, 3));
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let provider = prop::sample::select(vec!["p1", "p2", "p3", "p4", "p5", "p6"]);
    let family = prop::sample::select(vec!["u", "t", "m", "h", "self"]);
    let tail = prop_oneof![
        prop::sample::select(vec!["not_found", "error", "rate_limited", "pending", "skipped", "found"])
            .prop_map(str::to_owned),
        (
            prop::sample::select(vec!["A", "B", "C", "D", "E", "F"]),
            prop::sample::select(vec!["malicious", "suspicious", "benign", "unknown"]),
            0..500_i64,
            prop::sample::select(vec!["", "u", "u t"]),
        )
            .prop_map(|(grade, verdict, age, upstreams)| format!("{grade} {verdict} {age} {upstreams}")),
    ];
    (provider, family, tail).prop_map(|(provider, family, tail)| outcome(&format!("{provider} {family} {tail}")))
}

proptest! {
    #[test]
    fn the_order_of_outcomes_never_matters(outcomes in prop::collection::vec(any_outcome(), 0..7), seed in any::<u64>()) {
        let base = Facts { outcomes, ..facts(ObservableType::Url, &["u", "t"], &[]) };
        let mut shuffled = base.clone();
        let length = shuffled.outcomes.len().max(1);
        let by = usize::try_from(seed % length as u64).unwrap().min(shuffled.outcomes.len());
        shuffled.outcomes.rotate_left(by);
        shuffled.outcomes.reverse();
        let (a, b) = (Verdict::reach(&base, now()), Verdict::reach(&shuffled, now()));
        prop_assert_eq!((a.verdict, a.reason, a.sums, a.coverage), (b.verdict, b.reason, b.sums, b.coverage));
    }

    #[test]
    fn the_same_family_twice_equals_once(outcomes in prop::collection::vec(any_outcome(), 1..6)) {
        let once = Facts { outcomes, ..facts(ObservableType::Url, &["u", "t"], &[]) };
        let mut twice = once.clone();
        twice.outcomes.extend(once.outcomes.clone());
        prop_assert_eq!(Verdict::reach(&once, now()).sums, Verdict::reach(&twice, now()).sums);
    }

    #[test]
    fn losing_an_answer_never_makes_it_benign(
        outcomes in prop::collection::vec(any_outcome(), 1..7),
        index in any::<prop::sample::Index>(),
        lost in prop::sample::select(vec!["error", "rate_limited", "pending", "skipped"]),
    ) {
        let before = Facts { outcomes, ..facts(ObservableType::File, &["u", "t"], &[]) };
        let mut after = before.clone();
        let at = index.index(after.outcomes.len());
        let line = format!("{} {} {lost}", after.outcomes[at].provider, after.outcomes[at].family);
        let was = std::mem::replace(&mut after.outcomes[at], outcome(&line));
        let (a, b) = (Verdict::reach(&before, now()), Verdict::reach(&after, now()));
        // A source that fails never leaves anything benign behind.
        if lost != "skipped" {
            prop_assert!(b.verdict != Judgement::Benign);
        }
        let is_required = before.required.contains(&was.family);
        if is_required && !after.outcomes.iter().any(|o| o.family == was.family && o.outcome.is_answered()) {
            prop_assert!(b.verdict != Judgement::Benign);
            if b.verdict < a.verdict && lost != "skipped" {
                prop_assert!(b.degraded);
            }
        }
    }

    #[test]
    fn every_receipt_replays(outcomes in prop::collection::vec(any_outcome(), 0..7)) {
        let facts = Facts { outcomes, ..facts(ObservableType::Ipv4Addr, &["u", "t"], &[]) };
        let receipt = crate::receipt::Receipt {
            schema: crate::receipt::Receipt::SCHEMA.to_owned(),
            incident_id: crate::IncidentId::of("t", "s", "n"),
            run: 1,
            config_digest: String::new(),
            now: now(),
            verdict: Verdict::reach(&facts, now()),
            facts,
        };
        let read = crate::receipt::Receipt::parse(&crate::receipt::Receipt::to_lines(&[receipt]).unwrap()).unwrap();
        prop_assert!(read[0].replay().1.is_empty());
    }
}
