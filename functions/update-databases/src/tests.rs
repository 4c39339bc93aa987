use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use ioc::{Observable, ObservableType};
use playbook::{
    Timestamp,
    brief::sample,
    fakes::{MemoryEvidence, MemoryIpSets, MemoryRows, MemorySecrets, StoppedClock},
    ledger::LedgerEntry,
    lookup::{Answer, CallError, Request},
    policy::{DocumentationRanges, Policy},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Evidence, Nameserver},
    served,
    target::Target,
};
use serde_json::Value;
use targets::World;

use super::*;

const ACCOUNT: &str = "000000000000";
const EVIL: &str = "https://evil.example/login?next=invoice";
const DOUBT: &str = "cdn.evil.example";

/// A watchlist that keeps what it is given and answers with a status.
struct Watchlist {
    status: Cell<u16>,
    documents: RefCell<Vec<Value>>,
}

impl Egress for Watchlist {
    async fn call(&self, _: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        self.documents.borrow_mut().push(serde_json::from_slice(&request.body).unwrap());
        Ok(Answer { status: self.status.get(), headers: vec![], body: vec![] })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Refused("no target asks for names".to_owned()))
    }
}

struct Bench {
    rows: MemoryRows,
    evidence: MemoryEvidence,
    clock: StoppedClock,
    egress: Watchlist,
    incident: Incident,
    assessment: Assessment,
}

fn bundle() -> Bundle {
    let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
    policy.guard.documentation_ranges = DocumentationRanges::AsPublic;
    policy.required = ObservableType::ALL.into_iter().map(|kind| (kind, vec![])).collect();
    let target = |yaml: &str| Target { enabled: true, ..serde_saphyr::from_str(yaml).unwrap() };
    let targets = vec![
        target(include_str!("../../../playbook/targets/webhook.yaml")),
        target(include_str!("../../../playbook/targets/served-list.yaml")),
    ];
    Bundle::new(policy, vec![], targets)
}

/// The sample's plan, with the link on the watchlist and enforced automatically.
fn assessment() -> Assessment {
    let mut assessment = sample::assessment().unwrap();
    assessment.plan.entries[0].automatic = true;
    assessment.plan.entries[1].act = "offer".to_owned();
    let mut watched = assessment.plan.entries[0].clone();
    (watched.target, watched.act) = ("webhook".to_owned(), "detect".to_owned());
    (watched.automatic, watched.ticked) = (false, false);
    assessment.plan.entries.push(watched);
    assessment.plan_digest = assessment.plan.digest().unwrap();
    assessment
}

fn incident(id: &IncidentId, config_digest: &str) -> Incident {
    let json = json!({
        "schema": Incident::SCHEMA, "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
        "native_id": "n", "severity": "high", "evidence": {"key": "mail/n"}, "received_at": sample::ASSESSED_AT,
        "config_digest": config_digest, "status": "open", "run": 1, "updated_at": sample::ASSESSED_AT,
    });
    serde_json::from_value(json).unwrap()
}

impl Bench {
    async fn new() -> Self {
        let (rows, evidence, bundle) = (MemoryRows::default(), MemoryEvidence::default(), bundle());
        let (digest, json) = (bundle.digest().unwrap(), playbook::canonical::to_json(&bundle).unwrap());
        evidence.store(&Bundle::location(&digest), "application/json", &json).await.unwrap();
        let assessment = assessment();
        let json = serde_json::to_vec(&assessment).unwrap();
        let document = evidence.store("assessment.json", "application/json", &json).await.unwrap();
        let incident = incident(&assessment.incident_id, &digest);
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        let writes = [
            Write::put(Run::key(&incident.incident_id, 1), &run).unwrap(),
            Write::put(Incident::key(&incident.incident_id), &incident).unwrap(),
        ];
        assert_eq!(rows.commit(&writes).await.unwrap(), Commit::Done);
        let clock = StoppedClock::at(Timestamp::parse(sample::ASSESSED_AT).unwrap());
        let egress = Watchlist { status: Cell::new(204), documents: RefCell::default() };
        Self { rows, evidence, clock, egress, incident, assessment }
    }

    async fn run(&self, act: Act) -> Result<Output, Fault> {
        self.run_at(act, None).await
    }

    /// Only at one target.
    async fn run_at(&self, act: Act, targets: Option<&str>) -> Result<Output, Fault> {
        let secrets = MemorySecrets([("webhook".to_owned(), "dummy-key".to_owned())].into());
        let (ip_sets, secrets) = (&MemoryIpSets::default(), &secrets);
        let Self { rows, evidence, clock, egress, .. } = self;
        let world = World { evidence, rows, clock, egress, ip_sets, secrets, account: ACCOUNT };
        let (incident_id, targets) = (self.incident.incident_id.clone(), targets.map(|id| vec![id.to_owned()]));
        run(&world, Input { act, incident_id, run: 1, round: 1, targets }).await
    }

    /// A person approves these.
    async fn approve(&self, values: &[&str]) {
        let approved: BTreeSet<&str> = values.iter().copied().collect();
        let entries = self.assessment.plan.entries.iter();
        let keys = entries.filter(|e| approved.contains(e.observable.value())).map(|e| e.observable.key()).collect();
        let decision = Decision {
            choice: Choice::Approved,
            by: sample::APPROVER.to_owned(),
            authenticated_by: "mailbox".to_owned(),
            reason: "seen".to_owned(),
            plan_digest: self.assessment.plan_digest.clone(),
            indicators: keys,
            ..Decision::at(self.clock.now())
        };
        let write = Write::put(Decision::key(&self.incident.incident_id, 1, 1), &decision).unwrap();
        assert_eq!(self.rows.commit(&[write]).await.unwrap(), Commit::Done);
    }

    async fn list(&self, kind: ObservableType) -> String {
        let stored = self.evidence.find(&served::location(kind)).await.unwrap();
        stored.map(|stored| String::from_utf8(stored.bytes).unwrap()).unwrap_or_default()
    }

    async fn hours(&self, target: &str, value: &str) -> Option<i64> {
        let observable = Observable::parse_any(value).unwrap();
        let entry = LedgerEntry::load(&self.rows, target, &observable).await.unwrap()?;
        Some(entry.expires_at.ms_since(self.clock.now()) / 3_600_000)
    }

    async fn refused(&self) -> Vec<String> {
        let refused = Run::load(&self.rows, &self.incident.incident_id, 1).await.unwrap().refused;
        refused.into_iter().map(|r| format!("{} at {}: {}", r.observable, r.target, r.reason)).collect()
    }
}

const fn output(written: usize, refused: usize, released: usize) -> Output {
    Output { written, refused, released }
}

#[tokio::test]
async fn what_blocks_nothing_is_written_at_once_and_nothing_else() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        assert_eq!(bench.run(Act::Record).await, Ok(output(1, 0, 0)));
    }
    let documents = bench.egress.documents.take();
    assert_eq!(documents.len(), 1);
    assert_eq!((&documents[0]["action"], &documents[0]["verdict"]), (&json!("set"), &json!("malicious")));
    assert_eq!(documents[0]["until"], "2026-12-08T05:00:00.000Z");
    assert_eq!(bench.list(ObservableType::Url).await, "");
}

#[tokio::test]
async fn what_nobody_was_asked_about_lives_twelve_hours_until_a_person_confirms_it() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(Act::EnforceAutomatically).await, Ok(output(1, 0, 0)));
    assert_eq!(bench.hours(served::TARGET, EVIL).await, Some(12));
    assert_eq!(bench.list(ObservableType::Url).await, format!("{EVIL}\n"));
    bench.approve(&[EVIL]).await;
    assert_eq!(bench.run(Act::Enforce).await, Ok(output(1, 0, 0)));
    assert_eq!(bench.hours(served::TARGET, EVIL).await, Some(336));
    // A late repetition of the first act takes nothing back of that.
    assert_eq!(bench.run(Act::EnforceAutomatically).await, Ok(output(1, 0, 0)));
    assert_eq!(bench.hours(served::TARGET, EVIL).await, Some(336));
}

#[tokio::test]
async fn approval_enforces_what_was_ticked_and_notes_what_must_not_be() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(Act::Enforce).await.unwrap_err().name(), "Rejected", "nobody has approved");
    bench.approve(&[EVIL, DOUBT, "portal.corp.example"]).await;
    assert_eq!(bench.run(Act::Enforce).await, Ok(output(2, 1, 0)));
    assert_eq!(bench.list(ObservableType::DomainName).await, format!("{DOUBT}\n"));
    let refused = ["domain-name#portal.corp.example at served-list: own domain corp[.]example"];
    assert_eq!(bench.refused().await, refused);
    assert!(bench.egress.documents.borrow().is_empty(), "approval records nothing");
}

#[tokio::test]
async fn an_act_may_be_about_some_targets_only() {
    let bench = Bench::new().await;
    bench.approve(&[EVIL]).await;
    assert_eq!(bench.run_at(Act::Enforce, Some("waf-ip-set")).await, Ok(output(0, 0, 0)));
    assert_eq!(bench.run_at(Act::Enforce, Some(served::TARGET)).await, Ok(output(1, 0, 0)));
    assert_eq!(bench.run_at(Act::Release, Some("waf-ip-set")).await, Ok(output(0, 0, 0)));
    assert_eq!(bench.run_at(Act::Release, Some(served::TARGET)).await, Ok(output(0, 0, 1)));
}

#[tokio::test]
async fn release_takes_back_whatever_any_act_has_written() {
    let bench = Bench::new().await;
    bench.approve(&[EVIL, DOUBT]).await;
    for act in [Act::Record, Act::EnforceAutomatically, Act::Enforce] {
        bench.run(act).await.unwrap();
    }
    assert_eq!(bench.run(Act::Release).await, Ok(output(0, 0, 3)));
    assert_eq!(bench.run(Act::Release).await, Ok(output(0, 0, 0)));
    assert_eq!(bench.list(ObservableType::Url).await + &bench.list(ObservableType::DomainName).await, "");
    let actions: Vec<Value> = bench.egress.documents.borrow().iter().map(|d| d["action"].clone()).collect();
    assert_eq!(actions, ["set", "unset"]);
}

#[tokio::test]
async fn a_target_out_of_reach_makes_the_stage_fail_and_its_repetition_finishes() {
    let bench = Bench::new().await;
    bench.egress.status.set(503);
    assert_eq!(bench.run(Act::Record).await.unwrap_err().name(), "Unavailable");
    bench.egress.status.set(204);
    assert_eq!(bench.run(Act::Record).await, Ok(output(1, 0, 0)));
    bench.egress.status.set(500);
    assert_eq!(bench.run(Act::Release).await.unwrap_err().name(), "Unavailable");
    bench.egress.status.set(204);
    assert_eq!(bench.run(Act::Release).await, Ok(output(0, 0, 1)));
}

#[tokio::test]
async fn a_refusal_for_good_is_noted_beside_earlier_ones_and_the_stage_goes_on() {
    let bench = Bench::new().await;
    bench.approve(&[EVIL, "portal.corp.example"]).await;
    bench.run(Act::Enforce).await.unwrap();
    bench.egress.status.set(400);
    assert_eq!(bench.run(Act::Record).await, Ok(output(0, 1, 0)));
    let refused = bench.refused().await;
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[1].starts_with(&format!("url#{EVIL} at webhook: target webhook: status 400")), "{refused:?}");
}

#[tokio::test]
async fn a_plan_that_has_changed_is_not_the_one_that_was_approved() {
    let mut bench = Bench::new().await;
    bench.assessment.plan_digest = "0".repeat(64);
    bench.approve(&[EVIL]).await;
    assert_eq!(bench.run(Act::Enforce).await.unwrap_err().name(), "Rejected");
}
