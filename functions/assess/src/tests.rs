//! The stage in memory: what it concludes, and what earlier incidents have to do with it.

use ioc::{Observable, ObservableType};
use playbook::{
    fakes::{MemoryEvidence, MemoryRows, StoppedClock},
    policy::{Act, DocumentationRanges, Policy},
    severity::Severity,
    sighting::{COMMON, Persistence},
    target::Target,
};
use serde_json::Value;

use super::*;

/// The account of the local stack: only there `.example` is a name like any other.
const ACCOUNT: &str = "000000000000";

struct Team {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    clock: StoppedClock,
    config_digest: String,
}

impl Team {
    async fn with(act: Act) -> Self {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.guard.documentation_ranges = DocumentationRanges::AsPublic;
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets = [("served-list".to_owned(), act)].into();
        let target = include_str!("../../../playbook/targets/served-list.yaml");
        let target: Target = serde_saphyr::from_str(target).unwrap();
        let bundle = Bundle::new(policy, vec![], vec![target]);
        let config_digest = bundle.digest().unwrap();
        let evidence = MemoryEvidence::default();
        let json = playbook::canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        let clock = StoppedClock::at(at("2026-11-24T05:00:00Z"));
        Self { evidence, rows: MemoryRows::default(), clock, config_digest }
    }

    async fn usual() -> Self {
        Self::with(Act::AfterApproval).await
    }

    /// An incident with these domains, each called `verdict` by these families; the mail names an own host, too.
    async fn incident(
        &self,
        number: usize,
        received_at: &str,
        domains: &[&str],
        (verdict, families): (&str, &[&str]),
    ) -> IncidentId {
        let id = IncidentId::of("default", "mail", &number.to_string());
        let incident = json!({
            "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": number.to_string(), "severity": "low", "evidence": {"key": "mail/1"},
            "received_at": at(received_at), "config_digest": self.config_digest, "status": "open", "run": 1,
            "updated_at": at(received_at),
        });
        let mut observables: Vec<Value> =
            domains.iter().map(|name| json!({"type": "domain-name", "value": name, "places": ["text"]})).collect();
        observables.push(json!({"type": "domain-name", "value": "www.corp.example", "places": [], "withheld": "own"}));
        let extraction = self
            .document(&json!({
                "schema": "extraction/1", "incident_id": id, "subject": "s", "participants": [],
                "observables": observables, "omissions": [],
            }))
            .await;
        let outcome = |family: &&str| {
            json!({"provider": family, "family": family, "outcome": "found", "fetched_at": at(received_at),
                   "expires_at": at("2027-01-01T00:00:00Z"), "manifest_digest": "",
                   "opinion": {"verdict": verdict, "score": 100, "grade": "A"}})
        };
        let outcomes: Vec<Value> = families.iter().map(outcome).collect();
        let of = |name: &&str| json!({"observable": format!("domain-name#{name}"), "outcomes": outcomes});
        let enriched: Vec<Value> = domains.iter().map(of).collect();
        let enrichment = self.document(&json!({"schema": "enrichment/1", "observables": enriched})).await;
        let run = Run { schema: Run::SCHEMA.to_owned(), extraction: Some(extraction), ..Run::default() };
        let writes = [
            Write::put(Incident::key(&id), &incident).unwrap(),
            Write::put(Run::key(&id, 1), &run).unwrap(),
            Write::put(Run::enrichment_key(&id, 1, 0), &Pointer { document: enrichment }).unwrap(),
        ];
        assert_eq!(self.rows.commit(&writes).await, Ok(Commit::Done));
        id
    }

    async fn document(&self, document: &Value) -> EvidenceRef {
        let bytes = serde_json::to_vec(document).unwrap();
        let key = playbook::canonical::sha256_hex(&bytes);
        self.evidence.store(&key, "application/json", &bytes).await.unwrap()
    }

    async fn assess(&self, id: &IncidentId) -> (Output, Assessment) {
        let input = Input { incident_id: id.clone(), run: 1 };
        let output = run(&self.evidence, &self.rows, &self.clock, ACCOUNT, input).await.unwrap();
        (output, Assessment::load(&self.evidence, &self.rows, id, 1).await.unwrap().unwrap())
    }

    fn sightings(&self) -> usize {
        self.rows.all().iter().filter(|row| row.key.sk.starts_with("sighting#domain-name#")).count()
    }
}

fn at(time: &str) -> Timestamp {
    Timestamp::parse(time).unwrap()
}

const BAD: (&str, &[&str]) = ("malicious", &["threatfox", "urlhaus"]);
const DAY: [&str; 3] = ["2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z", "2026-11-24T05:00:00Z"];

#[tokio::test]
async fn incidents_with_the_same_observable_are_related_and_the_observable_is_persistent() {
    let team = Team::usual().await;
    for (number, day) in DAY.iter().enumerate().take(2) {
        let id = team.incident(number, day, &["evil.example"], BAD).await;
        team.assess(&id).await;
    }
    let other = team.incident(8, DAY[0], &["other.example"], BAD).await;
    team.assess(&other).await;
    let id = team.incident(9, DAY[2], &["evil.example", "new.example"], BAD).await;
    let (_, assessment) = team.assess(&id).await;

    // Three of fewer than a thousand incidents: ln(1000/3) = 5.81; the newer of two that weigh the same comes first.
    let related: Vec<_> = assessment.related.iter().map(|r| (r.incident_id.clone(), r.weight)).collect();
    let earlier = |number: usize| IncidentId::of("default", "mail", &number.to_string());
    assert_eq!(related, [(earlier(1), 581), (earlier(0), 581)]);
    assert_eq!(assessment.related[0].observables, ["domain-name#evil.example"]);
    let history = |name: &str| {
        let key = Observable::parse(ObservableType::DomainName, name).unwrap().key();
        assessment.observables.iter().find(|a| a.sighted.observable.key() == key).unwrap().history
    };
    let evil = history("evil.example").unwrap();
    assert_eq!((evil.persistence, evil.incidents, evil.days), (Persistence::Persistent, 3, 3));
    assert_eq!(evil.first_seen, at(DAY[0]));
    assert_eq!(history("new.example").unwrap().persistence, Persistence::Isolated);
    assert_eq!(history("www.corp.example"), None, "what is withheld is looked up nowhere");
}

#[tokio::test]
async fn a_repetition_changes_nothing() {
    let team = Team::usual().await;
    let first = team.incident(0, DAY[0], &["evil.example"], BAD).await;
    team.assess(&first).await;
    let id = team.incident(1, DAY[2], &["evil.example"], BAD).await;
    let (_, once) = team.assess(&id).await;
    let rows = team.rows.all();
    for _ in 0..4 {
        assert_eq!(team.assess(&id).await.1, once);
    }
    assert_eq!(team.rows.all(), rows);
    assert_eq!(playbook::sighting::incidents(&team.rows).await, Ok(2));
}

#[tokio::test]
async fn the_fifty_first_incident_writes_no_sighting_and_is_tied_to_nothing() {
    let team = Team::usual().await;
    for number in 0..COMMON {
        let id = team.incident(number, DAY[0], &["common.example"], BAD).await;
        team.assess(&id).await;
    }
    assert_eq!(team.sightings(), COMMON);
    for number in COMMON..COMMON + 2 {
        let id = team.incident(number, DAY[2], &["common.example"], BAD).await;
        let (_, assessment) = team.assess(&id).await;
        assert_eq!((team.sightings(), assessment.related.len()), (COMMON, 0));
        let history = assessment.observables[0].history.unwrap();
        assert_eq!((history.incidents, history.persistence), (COMMON + 1, Persistence::Persistent));
    }
}

#[tokio::test]
async fn at_most_ten_incidents_are_named_and_none_of_the_own_storm() {
    let team = Team::usual().await;
    let id = IncidentId::of("default", "mail", "99");
    for number in 0..20 {
        let other = team.incident(number, DAY[0], &["evil.example"], BAD).await;
        team.assess(&other).await;
        if number >= 12 {
            let attached = json!({"parent": id, "status": "attached"});
            playbook::incident::update(&team.rows, &other, &attached).await.unwrap();
        }
    }
    team.incident(99, DAY[2], &["evil.example"], BAD).await;
    let (_, assessment) = team.assess(&id).await;
    assert_eq!(assessment.related.len(), 10);
    for related in &assessment.related {
        let other = Incident::load(&team.rows, &related.incident_id).await.unwrap();
        assert_eq!(other.parent, None);
    }
}

#[tokio::test]
async fn the_machine_is_told_about_the_ticket_and_what_happens_without_asking() {
    let check = async |act: Act, said: (&str, &[&str]), expected: (Route, bool, bool)| {
        let team = Team::with(act).await;
        let id = team.incident(0, DAY[2], &["evil.example"], said).await;
        let (output, assessment) = team.assess(&id).await;
        assert_eq!((output.route, output.opens_ticket, output.acts_automatically), expected, "{said:?}");
        assert_eq!((assessment.opens_ticket, assessment.acts_automatically), (expected.1, expected.2));
    };
    check(Act::Automatically, BAD, (Route::Review, true, true)).await;
    // One family is not enough to act without a person.
    check(Act::Automatically, ("malicious", &["threatfox"]), (Route::Review, true, false)).await;
    check(Act::AfterApproval, BAD, (Route::Review, true, false)).await;
    check(Act::Automatically, ("suspicious", &["threatfox"]), (Route::Watch, false, false)).await;
    check(Act::Automatically, ("benign", &["threatfox"]), (Route::Benign, false, false)).await;
}

/// What a team decides, with another policy on top.
impl Team {
    async fn under(change: impl FnOnce(&mut Policy)) -> Self {
        let team = Self::usual().await;
        let bundle = Bundle::load(&team.evidence, &team.config_digest, ACCOUNT).await.unwrap();
        let mut bundle = bundle;
        change(&mut bundle.policy);
        let config_digest = bundle.digest().unwrap();
        let json = playbook::canonical::to_json(&bundle).unwrap();
        team.evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        Self { config_digest, ..team }
    }

    async fn set(&self, id: &IncidentId, attributes: &Value) {
        playbook::incident::update(&self.rows, id, attributes).await.unwrap();
    }
}

#[tokio::test]
async fn three_incidents_with_a_bad_domain_are_a_campaign_that_raises_the_severity() {
    let team = Team::usual().await;
    let mut seen = vec![];
    for (number, day) in DAY.into_iter().enumerate() {
        let own = format!("only-{number}.example");
        let id = team.incident(number, day, &["evil.example", &own], BAD).await;
        let (output, assessment) = team.assess(&id).await;
        seen.push((output.severity, assessment.campaign.map(|campaign| (campaign.members, campaign.named_by))));
    }
    let named = vec!["domain-name#evil.example".to_owned()];
    assert_eq!(
        seen,
        [(Severity::High, None), (Severity::High, Some((2, named.clone()))), (Severity::Critical, Some((3, named))),]
    );
    // What nobody calls bad ties nobody together, however rare it is.
    for (number, said) in ["benign", "benign", "unknown", "unknown", "unknown"].into_iter().enumerate() {
        let shared = if said == "benign" { "news.example" } else { "terms.example" };
        let id = team.incident(10 + number, DAY[0], &[shared, "shop.example"], (said, &["threatfox"])).await;
        assert_eq!(team.assess(&id).await.1.campaign, None, "{said}");
    }
    // Nor does a list of what is bad, from a feed or in a report.
    let feed = team.incident(20, DAY[2], &["evil.example"], BAD).await;
    team.set(&feed, &json!({"kind": "feed"})).await;
    assert_eq!(team.assess(&feed).await.1.campaign, None);
    let listed: Vec<String> =
        (0..30).map(|n| format!("listed-{n}.example")).chain(["evil.example".to_owned()]).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let report = team.incident(21, DAY[2], &listed, BAD).await;
    assert_eq!(team.assess(&report).await.1.campaign, None);
}

#[tokio::test]
async fn neighbours_on_the_same_infrastructure_are_related_though_they_share_nothing() {
    let team = Team::usual().await;
    let first = team.incident(0, DAY[0], &["a.evil.example"], BAD).await;
    team.assess(&first).await;
    let second = team.incident(1, DAY[1], &["b.evil.example"], BAD).await;
    let (_, assessment) = team.assess(&second).await;
    // Half of ln(1000/2) = 6.21.
    let related: Vec<_> = assessment.related.iter().map(|r| (r.weight, r.observables.clone())).collect();
    assert_eq!(related, [(310, vec!["registrable-domain#evil.example".to_owned()])]);
    assert_eq!(assessment.campaign, None, "one coincidence is no campaign");
}

#[tokio::test]
async fn two_earlier_false_positives_are_a_precedent_and_a_person_looks_again() {
    let team = Team::usual().await;
    let evil = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
    for number in 0..2 {
        let id = IncidentId::of("default", "mail", &format!("old-{number}"));
        let row = playbook::verdict::FalsePositive::new(at("2026-11-24T04:00:00Z"));
        let write = Write::put(Precedent::key(&evil, &id), &row).unwrap();
        assert_eq!(team.rows.commit(&[write]).await, Ok(Commit::Done));
        let number_now = team.incident(number, DAY[0], &["evil.example"], BAD).await;
        let (output, assessment) = team.assess(&number_now).await;
        let is_contradiction = assessment.observables[0].conclusion.is_contradiction();
        assert_eq!((output.route, is_contradiction), (Route::Review, number == 1));
    }
}

#[tokio::test]
async fn critical_people_raise_the_severity_and_a_person_pins_it() {
    let team = Team::under(|policy| policy.critical.assets = vec!["www.corp.example".to_owned()]).await;
    let id = team.incident(0, DAY[2], &["evil.example"], ("suspicious", &["threatfox"])).await;
    let (output, assessment) = team.assess(&id).await;
    assert_eq!(output.severity, Severity::High);
    assert_eq!(assessment.severity_terms, ["verdicts: medium", "source: low", "+1 critical asset: www.corp.example"]);

    let pinned = Pinned {
        schema: Pinned::SCHEMA.to_owned(),
        severity: Severity::Low,
        by: "ana@soc.example".to_owned(),
        at: at(DAY[2]),
        reason: "a drill".to_owned(),
    };
    let write = Write::put(Pinned::key(&id), &pinned).unwrap();
    assert_eq!(team.rows.commit(&[write]).await, Ok(Commit::Done));
    let (output, assessment) = team.assess(&id).await;
    assert_eq!(output.severity, Severity::Low);
    assert_eq!(
        assessment.severity_terms.last().unwrap(),
        "pinned to low by ana@soc.example: a drill; it would be high"
    );
    assert_eq!(assessment.basis.unwrap().pinned, Some(pinned));
}

#[tokio::test]
async fn what_a_feed_lists_is_said_by_somebody_who_cannot_be_judged() {
    let team = Team::usual().await;
    let id = team.incident(0, DAY[2], &["evil.example"], ("unknown", &["threatfox"])).await;
    team.set(&id, &json!({"kind": "feed", "source": "taxii"})).await;
    let (output, assessment) = team.assess(&id).await;
    let opinions = &assessment.observables[0].conclusion.opinions;
    let claim = opinions.iter().find(|opinion| opinion.provider == "source:taxii").unwrap();
    assert_eq!((claim.weight_hundredths, claim.counts), (2_500, true));
    let verdict = &assessment.observables[0].conclusion;
    assert_eq!(
        (verdict.reason.map(playbook::verdict::Reason::as_str), output.route),
        (Some("weak_evidence"), Route::Benign)
    );
}

/// The guard changes the plan, never the verdict: the same evidence is judged alike, whatever belongs to us.
#[tokio::test]
async fn the_guard_changes_the_plan_and_never_the_verdict() {
    for said in
        [BAD, ("suspicious", &["threatfox"][..]), ("benign", &["threatfox"][..]), ("malicious", &["openphish"][..])]
    {
        let mut concluded = vec![];
        for own in ["other.example", "evil.example"] {
            let team = Team::under(|policy| policy.own.domains.push(own.to_owned())).await;
            let id = team.incident(0, DAY[2], &["evil.example"], said).await;
            let (output, assessment) = team.assess(&id).await;
            let evil = assessment.observables.iter().find(|a| a.sighted.withheld.is_none()).unwrap().clone();
            concluded.push((evil.conclusion, evil.guarded.is_some(), assessment.plan.open().count(), output.route));
        }
        let [free, guarded] = concluded.try_into().unwrap();
        assert_eq!(free.0, guarded.0, "{said:?}");
        assert_eq!((free.1, guarded.1, guarded.2), (false, true, 0));
        let is_bad = guarded.0.is_bad();
        assert_eq!(guarded.3, if is_bad { Route::Review } else { Route::Benign });
    }
}
