//! From verdicts to the incident: order, route, severity, and what people are told of the sources.

use std::collections::{BTreeMap, BTreeSet};

use ioc::Observable;
use playbook::{
    Timestamp,
    assessment::{Assessed, Route, Said},
    bundle::Bundle,
    incident::Kind,
    outcome::{Judgement, Outcome, Status},
    policy::TicketPolicy,
    severity::Severity,
    verdict::{Reason, Verdict},
};

/// The families that policy requires for this observable: those of the type that have a provider which takes it. A
/// provider that has no request for the digest at hand is not silent, it was never to be asked.
pub fn required(bundle: &Bundle, observable: &Observable) -> Vec<String> {
    let is_askable = |family: &&String| bundle.providers.values().any(|m| &&m.family == family && m.takes(observable));
    bundle.policy.required(observable.kind()).iter().filter(is_askable).cloned().collect()
}

/// The outcomes of an observable whose chunk failed.
pub fn unasked(required: &[String], now: Timestamp) -> Vec<Outcome> {
    let failed = |family: &String| Outcome {
        provider: family.clone(),
        family: family.clone(),
        outcome: Status::Error,
        reason: Some("chunk_failed".to_owned()),
        opinion: None,
        fetched_at: now,
        expires_at: now,
        manifest_digest: String::new(),
        cached: false,
        task: None,
    };
    required.iter().map(failed).collect()
}

/// Worst first: malicious, contradiction, suspicious, unknown for want of answers, unknown, benign.
pub fn order(verdict: &Verdict) -> u8 {
    match (verdict.verdict, verdict.reason) {
        (Judgement::Malicious, _) => 0,
        (_, Some(Reason::Contradiction)) => 1,
        (Judgement::Suspicious, _) => 2,
        (Judgement::Unknown, Some(Reason::Degraded | Reason::LowCoverage)) => 3,
        (Judgement::Unknown, _) => 4,
        (Judgement::Benign, _) => 5,
    }
}

/// The first route that any observable calls for. All mail counts as reported by a person. Of evidence that was not read
/// completely nobody says that there was nothing in it.
pub fn route(kind: Kind, severity: Severity, observables: &[Assessed], incomplete: bool) -> Route {
    let is_reported = kind == Kind::Mail || severity >= Severity::High;
    let without_data = if is_reported { Route::NeedsData } else { Route::Provisional };
    let of_each = observables.iter().map(|assessed| {
        let verdict = &assessed.conclusion;
        match (verdict.verdict, verdict.reason) {
            (Judgement::Malicious, _) | (_, Some(Reason::Contradiction)) => Route::Review,
            (Judgement::Suspicious, _) if assessed.guarded.is_some() => Route::Review,
            (Judgement::Suspicious, _) => Route::Watch,
            (Judgement::Unknown, Some(Reason::Degraded | Reason::LowCoverage)) => without_data,
            (Judgement::Unknown | Judgement::Benign, _) => Route::Benign,
        }
    });
    let of_evidence = if incomplete { without_data } else { Route::Benign };
    let worst = of_each.min().unwrap_or(Route::Benign).min(of_evidence);
    if severity == Severity::Critical { Route::Review } else { worst }
}

/// Whether the incident gets a ticket: whatever a person is asked about, and what is watched from policy's severity on.
pub fn opens_ticket(route: Route, severity: Severity, policy: &TicketPolicy) -> bool {
    match route {
        Route::Review | Route::NeedsData => true,
        Route::Watch => severity >= policy.watch_from,
        Route::Provisional | Route::Benign => false,
    }
}

/// The higher of what the verdicts and the source say, each term listed.
pub fn severity<'a>(source: Severity, verdicts: impl Iterator<Item = &'a Verdict>) -> (Severity, Vec<String>) {
    let of_verdict = |verdict: &Verdict| match verdict.verdict {
        Judgement::Malicious => Severity::High,
        Judgement::Suspicious => Severity::Medium,
        Judgement::Unknown | Judgement::Benign => Severity::Low,
    };
    let verdicts = verdicts.map(of_verdict).max().unwrap_or_default();
    let terms = vec![format!("verdicts: {}", verdicts.as_str()), format!("source: {}", source.as_str())];
    (verdicts.max(source), terms)
}

/// Whether a provider that says malicious also says phishing: such domains live for days, not weeks.
pub fn is_phishing(outcomes: &[Outcome]) -> bool {
    outcomes.iter().filter_map(|outcome| outcome.opinion.as_ref()).any(|opinion| {
        opinion.verdict == Judgement::Malicious
            && opinion.tags.iter().any(|tag| tag.to_ascii_lowercase().contains("phish"))
    })
}

/// Sources that failed, with the reason and how many observables that hit, such as `urlhaus: timeout (3)`.
pub fn failed<'a>(outcomes: impl Iterator<Item = &'a [Outcome]>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes.flatten().filter(|outcome| outcome.outcome.is_failed()) {
        let reason = outcome.reason.as_deref().unwrap_or(outcome.outcome.as_str());
        *counts.entry(format!("{}: {reason}", outcome.provider)).or_default() += 1;
    }
    counts.into_iter().map(|(what, count)| format!("{what} ({count})")).collect()
}

/// Reasons of a source that is off for everybody, whatever is asked.
const OFF: [&str; 4] = ["disabled", "terms", "documented", "no_key"];

fn is_off(outcome: &Outcome) -> bool {
    outcome.outcome == Status::Skipped && outcome.reason.as_deref().is_some_and(|reason| OFF.contains(&reason))
}

/// Sources that are off, each once, such as `virustotal: disabled`.
pub fn off<'a>(outcomes: impl Iterator<Item = &'a [Outcome]>) -> Vec<String> {
    let off = outcomes.flatten().filter(|outcome| is_off(outcome));
    let told = off.map(|outcome| format!("{}: {}", outcome.provider, outcome.reason.as_deref().unwrap_or_default()));
    told.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What each provider said or failed to say; those with an opinion first. Sources that are off are told once for the whole
/// incident instead, see [`off`].
pub fn said(outcomes: &[Outcome]) -> Vec<Said> {
    let mut said: Vec<(u8, Said)> = outcomes
        .iter()
        .filter(|outcome| !is_off(outcome))
        .map(|outcome| {
            let opinion = outcome.opinion.as_ref();
            let rank = match outcome.outcome {
                Status::Found => 0,
                status if status.is_failed() => 1,
                Status::Skipped => 2,
                _ => 3,
            };
            let line = Said {
                provider: outcome.provider.clone(),
                outcome: outcome.outcome.as_str().to_owned(),
                reason: outcome.reason.clone(),
                verdict: opinion.map(|opinion| opinion.verdict.as_str().to_owned()),
                text: opinion.and_then(|opinion| opinion.evidence.clone()),
                permalink: opinion.and_then(|opinion| opinion.permalink.clone()),
                seen: opinion.and_then(|opinion| opinion.last_seen).unwrap_or(outcome.fetched_at),
            };
            (rank, line)
        })
        .collect();
    said.sort_by(|(a_rank, a), (b_rank, b)| a_rank.cmp(b_rank).then_with(|| a.provider.cmp(&b.provider)));
    said.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use ioc::ObservableType;
    use playbook::{
        incident::Sighted,
        verdict::{Coverage, Sums},
    };

    use super::*;

    fn assessed(verdict: Judgement, reason: Option<Reason>, guarded: bool) -> Assessed {
        let observable = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
        Assessed {
            sighted: Sighted { observable, places: vec![], withheld: None },
            conclusion: Verdict {
                verdict,
                reason,
                degraded: reason == Some(Reason::Degraded),
                confidence: 0,
                coverage: Coverage::default(),
                rule: 6,
                sums: Sums::default(),
                opinions: vec![],
                failed: vec![],
            },
            evidence: vec![],
            history: None,
            guarded: guarded.then(|| "own domain".to_owned()),
        }
    }

    fn check(kind: Kind, severity: Severity, incomplete: bool, observables: &[Assessed], expected: Route) {
        assert_eq!(route(kind, severity, observables, incomplete), expected, "{observables:?}");
    }

    #[test]
    fn the_first_route_that_any_observable_calls_for_wins() {
        use Judgement::{Benign, Malicious, Suspicious, Unknown};
        let silent = || assessed(Unknown, Some(Reason::NotFound), false);
        let down = || assessed(Unknown, Some(Reason::Degraded), false);
        let watched = || assessed(Suspicious, None, false);
        let (mail, alert, low, high) = (Kind::Mail, Kind::Alert, Severity::Low, Severity::High);
        check(mail, low, false, &[], Route::Benign);
        check(mail, low, false, &[silent(), assessed(Benign, None, false)], Route::Benign);
        check(mail, low, false, &[silent(), watched()], Route::Watch);
        check(mail, low, false, &[watched(), down()], Route::NeedsData);
        check(mail, low, false, &[down(), assessed(Malicious, None, false)], Route::Review);
        check(mail, low, false, &[assessed(Suspicious, Some(Reason::Contradiction), false)], Route::Review);
        check(mail, low, false, &[assessed(Suspicious, None, true)], Route::Review);
        check(alert, low, false, &[down()], Route::Provisional);
        check(alert, low, false, &[down(), watched()], Route::Watch);
        check(alert, high, false, &[down()], Route::NeedsData);
        check(alert, Severity::Critical, false, &[silent()], Route::Review);
        check(mail, low, false, &[assessed(Unknown, Some(Reason::LowCoverage), false)], Route::NeedsData);
        check(mail, low, false, &[assessed(Unknown, Some(Reason::WeakEvidence), false)], Route::Benign);
    }

    #[test]
    fn a_chunk_that_failed_is_a_failure_of_every_required_source() {
        let observable = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
        let (required, now) = (vec!["threatfox".to_owned(), "urlhaus".to_owned()], Timestamp::from_millis(0));
        let outcomes = unasked(&required, now);
        assert_eq!(
            failed([outcomes.as_slice()].into_iter()),
            ["threatfox: chunk_failed (1)", "urlhaus: chunk_failed (1)"]
        );
        let facts = playbook::verdict::Facts { observable, withheld: None, required, outcomes, decision: None };
        let verdict = Verdict::reach(&facts, now);
        assert_eq!((verdict.reason, verdict.degraded), (Some(Reason::Degraded), true));
    }

    #[test]
    fn evidence_that_was_not_read_completely_is_never_harmless() {
        check(Kind::Mail, Severity::Low, true, &[], Route::NeedsData);
        check(Kind::Feed, Severity::Low, true, &[], Route::Provisional);
    }

    #[test]
    fn a_ticket_is_opened_for_whatever_asks_a_person_and_for_what_is_watched_when_it_matters() {
        let policy = TicketPolicy { watch_from: Severity::Medium };
        let check = |route, severity, expected| {
            assert_eq!(opens_ticket(route, severity, &policy), expected, "{route:?} {severity:?}");
        };
        check(Route::Review, Severity::Low, true);
        check(Route::NeedsData, Severity::Low, true);
        check(Route::Watch, Severity::Low, false);
        check(Route::Watch, Severity::Medium, true);
        check(Route::Provisional, Severity::High, false);
        check(Route::Benign, Severity::High, false);
    }

    #[test]
    fn severity_is_the_higher_of_verdicts_and_source_with_both_terms() {
        let verdict = assessed(Judgement::Suspicious, None, false).conclusion;
        assert_eq!(
            severity(Severity::Low, [&verdict].into_iter()),
            (Severity::Medium, vec!["verdicts: medium".to_owned(), "source: low".to_owned()])
        );
        assert_eq!(severity(Severity::Critical, [&verdict].into_iter()).0, Severity::Critical);
    }
}
