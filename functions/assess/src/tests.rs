//! The stage in memory: what it concludes, and what earlier incidents have to do with it.

use ioc::{Observable, ObservableType};
use playbook::{
    fakes::{MemoryEvidence, MemoryRows, StoppedClock},
    policy::{Act, DocumentationRanges, Policy},
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
