//! A case: everything that is known of one run of an incident, and what follows from it. Pure: the same case under the same
//! configuration is always concluded alike, so that another policy can be tried on it.

use std::collections::{BTreeMap, BTreeSet};

use ioc::Observable;

use crate::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessed, Assessment, Basis, Route, Said},
    bundle::Bundle,
    campaign::Campaign,
    effort::Efforts,
    guard::Guard,
    incident::{EvidenceRef, Kind, Omission, Sighted},
    outcome::{Grade, Judgement, Opinion, Outcome, Status},
    plan::Plan,
    policy::TicketPolicy,
    receipt::Receipt,
    severity::{self, Circumstances, Severity},
    sighting::{History, Related},
    verdict::{Facts, PersonDecision, Precedent, Reason, Verdict},
};

/// Everything that is known of one run of an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The configuration that judges.
    pub config_digest: String,
    /// What came in.
    pub basis: Basis,
    /// The mail's subject; hostile text.
    pub subject: String,
    /// Addresses and assets that are part of the incident.
    pub participants: Vec<String>,
    /// What the extraction left out.
    pub omissions: Vec<Omission>,
    /// Every observable with its receipt, in the order of [`Case::worst_first`].
    pub judged: Vec<(Sighted, Receipt)>,
    /// How often each was seen here, by its key.
    pub histories: BTreeMap<String, History>,
    /// Other incidents, strongest first.
    pub related: Vec<Related>,
    /// The campaign that it belongs to.
    pub campaign: Option<Campaign>,
}

impl Case {
    /// Puts observables in the order in which people read them.
    pub fn worst_first(judged: &mut [(Sighted, Receipt)]) {
        judged.sort_by_cached_key(|(sighted, receipt)| (order(&receipt.verdict), sighted.observable.key()));
    }

    /// To an assessment: worst first, with the plan and everything that a person should know. `receipts` is where the
    /// receipts lie.
    pub fn conclude(self, bundle: &Bundle, receipts: EvidenceRef, now: Timestamp) -> Result<Assessment, Fault> {
        let Self { incident_id, judged, basis, .. } = self;
        let hosts = bundle.hosts();
        let guard = Guard::new(&bundle.policy, &hosts);
        let targets: Vec<_> = bundle.targets.values().collect();
        let verdicts: Vec<_> = judged
            .iter()
            .map(|(s, r)| (s.observable.clone(), r.verdict.clone(), is_phishing(&r.facts.outcomes)))
            .collect();
        let of = (&incident_id, &basis, self.participants.as_slice());
        let plan = Plan::make(&verdicts, &bundle.policy, &targets, &guard, of, now);
        let circumstances = Circumstances {
            source: basis.severity,
            critical: critical(bundle, &self.participants, judged.iter().map(|(sighted, _)| sighted)),
            was_allowed: basis.was_allowed,
            campaign: self.campaign.as_ref().map_or(0, |campaign| campaign.members),
            pinned: basis.pinned.as_ref(),
        };
        let (severity, severity_terms) = severity::reach(judged.iter().map(|(_, r)| &r.verdict), &circumstances);
        let mut failed = failed(judged.iter().map(|(_, r)| r.facts.outcomes.as_slice()));
        let off = off(judged.iter().map(|(_, r)| r.facts.outcomes.as_slice()));
        if basis.incomplete {
            failed.insert(0, "extract: the evidence was not read completely".to_owned());
        }
        let observables: Vec<Assessed> = judged
            .into_iter()
            .map(|(sighted, receipt)| Assessed {
                guarded: guard.check(&sighted.observable).map(|guarded| guarded.reason),
                evidence: said(&receipt.facts.outcomes),
                conclusion: receipt.verdict,
                history: self.histories.get(&sighted.observable.key()).copied(),
                sighted,
            })
            .collect();
        let route = route(basis.kind, severity, &observables, basis.incomplete);
        Ok(Assessment {
            schema: Assessment::SCHEMA.to_owned(),
            incident_id,
            run: self.run,
            config_digest: self.config_digest,
            assessed_at: now,
            subject: self.subject,
            participants: self.participants,
            route,
            severity,
            severity_terms,
            observables,
            plan_digest: plan.digest()?,
            acts_automatically: plan.acts_automatically(),
            plan,
            failed,
            receipts,
            omissions: self.omissions,
            off,
            efforts: Efforts::default(),
            related: self.related,
            opens_ticket: opens_ticket(route, severity, &bundle.policy.ticket),
            campaign: self.campaign,
            basis: Some(basis),
        })
    }
}

/// The first asset or person of the incident that policy calls critical; our own hosts and addresses count as assets.
fn critical<'a>(
    bundle: &Bundle,
    participants: &'a [String],
    observables: impl Iterator<Item = &'a Sighted>,
) -> Option<&'a str> {
    let own = observables.filter(|sighted| sighted.withheld.is_some()).map(|sighted| sighted.observable.value());
    let mut names = participants.iter().map(String::as_str).chain(own);
    names.find(|name| bundle.policy.critical.names(name))
}

/// What people have said of an observable before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaidBefore {
    /// A decision that still rules.
    pub decision: Option<PersonDecision>,
    /// How often it was called a false positive.
    pub precedent: Option<Precedent>,
}

/// What a verdict on this observable is reached from, under this configuration.
#[must_use]
pub fn facts(
    bundle: &Bundle,
    basis: &Basis,
    sighted: &Sighted,
    outcomes: Option<Vec<Outcome>>,
    before: SaidBefore,
    now: Timestamp,
) -> Facts {
    let observable = sighted.observable.clone();
    let required = required(bundle, &observable);
    let outcomes = match outcomes {
        Some(outcomes) => outcomes,
        None if sighted.withheld.is_some() => vec![],
        // Its chunk failed: nobody was asked, and that is a failure of every source.
        None => unasked(&required, now),
    };
    let facts = Facts {
        withheld: sighted.withheld,
        required,
        outcomes,
        decision: before.decision,
        precedent: before.precedent,
        ..Facts::bare(observable)
    };
    under(bundle, &basis.source, facts)
}

/// The same facts of an incident of this source under another configuration: what is required, how far each source is trusted,
/// and how they are merged.
#[must_use]
pub fn under(bundle: &Bundle, source: &str, facts: Facts) -> Facts {
    let kind = facts.observable.kind();
    let trusted = |outcome: &Outcome| {
        let known = bundle.providers.get(&outcome.provider).and_then(|provider| bundle.grades.of(provider, kind));
        let known = known.or_else(|| facts.grades.get(&outcome.provider).copied());
        // Who reports an incident cannot be judged by it.
        let known = if is_own_source(source, outcome) { Some(Grade::F) } else { known };
        Some((outcome.provider.clone(), known?))
    };
    let grades = facts.outcomes.iter().filter(|outcome| !outcome.context).filter_map(trusted).collect();
    Facts { required: required(bundle, &facts.observable), merge: bundle.policy.merge, grades, ..facts }
}

/// The incident's own source as a provider: what it says by reporting it.
const SOURCE: &str = "source:";

fn is_own_source(source: &str, outcome: &Outcome) -> bool {
    outcome.provider.strip_prefix(SOURCE) == Some(source)
}

/// Keys of the hosts of these observables: whoever lists a URL says nothing of its host.
#[must_use]
pub fn hosts(all: &[Sighted]) -> BTreeSet<String> {
    all.iter().filter_map(|sighted| sighted.observable.host()).map(|host| host.key()).collect()
}

/// What a feed says of an observable by listing it: malicious, by a source that cannot be judged. `None` for what it does not
/// name itself, such as the host of a URL, and where something else than a feed came in.
#[must_use]
pub fn claim(
    bundle: &Bundle,
    basis: &Basis,
    sighted: &Sighted,
    hosts: &BTreeSet<String>,
    now: Timestamp,
) -> Option<Outcome> {
    if basis.kind != Kind::Feed || sighted.withheld.is_some() || hosts.contains(&sighted.observable.key()) {
        return None;
    }
    let feed = bundle.intake.get(&basis.source).and_then(|source| source.feed.as_ref());
    let opinion = Opinion {
        verdict: Judgement::Malicious,
        score: 50,
        grade: Some(Grade::F),
        own: false,
        // Where a provider of the same family calls it malicious itself, the claim says nothing more.
        upstreams: vec![feed.and_then(|feed| feed.family.clone()).unwrap_or_else(|| basis.source.clone())],
        tags: vec![],
        evidence: Some(format!("{} lists it, and reports it here", basis.source)),
        permalink: None,
        last_seen: None,
    };
    Some(Outcome {
        provider: format!("{SOURCE}{}", basis.source),
        family: format!("{SOURCE}{}", basis.source),
        context: false,
        outcome: Status::Found,
        reason: None,
        opinion: Some(opinion),
        fetched_at: now,
        expires_at: now,
        manifest_digest: String::new(),
        cached: false,
        task: None,
        stale: None,
    })
}

/// The families that policy requires for this observable: those of the type that have a provider which takes it. A
/// provider that has no request for the digest at hand is not silent, it was never to be asked.
#[must_use]
pub fn required(bundle: &Bundle, observable: &Observable) -> Vec<String> {
    let is_askable = |family: &&String| bundle.providers.values().any(|m| &&m.family == family && m.takes(observable));
    bundle.policy.required(observable.kind()).iter().filter(is_askable).cloned().collect()
}

/// The outcomes of an observable whose chunk failed.
fn unasked(required: &[String], now: Timestamp) -> Vec<Outcome> {
    let failed = |family: &String| Outcome {
        provider: family.clone(),
        family: family.clone(),
        context: false,
        outcome: Status::Error,
        reason: Some("chunk_failed".to_owned()),
        opinion: None,
        fetched_at: now,
        expires_at: now,
        manifest_digest: String::new(),
        cached: false,
        task: None,
        stale: None,
    };
    required.iter().map(failed).collect()
}

/// Worst first: malicious, contradiction, suspicious, unknown for want of answers, unknown, benign.
fn order(verdict: &Verdict) -> u8 {
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
#[must_use]
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
fn opens_ticket(route: Route, severity: Severity, policy: &TicketPolicy) -> bool {
    match route {
        Route::Review | Route::NeedsData => true,
        Route::Watch => severity >= policy.watch_from,
        Route::Provisional | Route::Benign => false,
    }
}

/// Whether a provider that says malicious also says phishing: such domains live for days, not weeks.
fn is_phishing(outcomes: &[Outcome]) -> bool {
    outcomes.iter().filter_map(|outcome| outcome.opinion.as_ref()).any(|opinion| {
        opinion.verdict == Judgement::Malicious
            && opinion.tags.iter().any(|tag| tag.to_ascii_lowercase().contains("phish"))
    })
}

/// Sources that failed, with the reason and how many observables that hit, such as `urlhaus: timeout (3)`.
fn failed<'a>(outcomes: impl Iterator<Item = &'a [Outcome]>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes.flatten().filter(|outcome| outcome.outcome.is_failed()) {
        let reason = outcome.reason.as_deref().unwrap_or(outcome.outcome.as_str());
        *counts.entry(format!("{}: {reason}", outcome.provider)).or_default() += 1;
    }
    counts.into_iter().map(|(what, count)| format!("{what} ({count})")).collect()
}

/// Sources that are off, each once, such as `virustotal: disabled`.
fn off<'a>(outcomes: impl Iterator<Item = &'a [Outcome]>) -> Vec<String> {
    let off = outcomes.flatten().filter(|outcome| outcome.is_off());
    let told = off.map(|outcome| format!("{}: {}", outcome.provider, outcome.reason.as_deref().unwrap_or_default()));
    told.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What each provider said or failed to say; those with an opinion first. Sources that are off are told once for the whole
/// incident instead, see [`off`].
fn said(outcomes: &[Outcome]) -> Vec<Said> {
    let mut said: Vec<(u8, Said)> = outcomes
        .iter()
        .filter(|outcome| !outcome.is_off())
        .map(|outcome| {
            let stale = outcome.stale.as_deref().filter(|stale| stale.is_bad());
            let opinion = outcome.opinion.as_ref().or(stale.map(|stale| &stale.opinion));
            let fetched_at = stale.map_or(outcome.fetched_at, |stale| stale.fetched_at);
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
                seen: opinion.and_then(|opinion| opinion.last_seen).unwrap_or(fetched_at),
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

    use super::*;
    use crate::verdict::{Coverage, Sums};

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
        let facts = Facts { required, outcomes, ..Facts::bare(observable) };
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
}
