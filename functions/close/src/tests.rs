use std::{cell::RefCell, time::Duration};

use playbook::{
    brief::sample,
    canonical,
    decision::Question,
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, MemorySecrets, StoppedClock},
    lookup::{Answer, CallError, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Nameserver},
    target::Target,
};
use targets::ticket::{self, Told};

use super::*;

const ACCOUNT: &str = "000000000000";
const BOARD: &str = r#"
schema: target/1
id: board
name: Board
kind: http
effect: tickets
host: board.corp.example
calls:
  precheck: {method: POST, path: /find, body: '{"id": incident.incident_id}', found_when: body.found, external_id: body.id}
  write: {method: POST, path: /open, body: '{"text": ticket.text}', external_id: body.id}
  update: {method: POST, path: "/update/{external_id}", body: '{"text": ticket.text}'}
  close: {method: POST, path: "/close/{external_id}", body: '{"decision": ticket.decision}'}
"#;

/// A board that takes everything and keeps the paths and bodies, until it is told to fail.
#[derive(Default)]
struct Board {
    asked: RefCell<Vec<(String, String)>>,
    fails_with: RefCell<Option<u16>>,
}

impl Egress for Board {
    async fn call(&self, _: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        let path = request.url.path().to_owned();
        self.asked.borrow_mut().push((path, String::from_utf8_lossy(&request.body).into_owned()));
        let status = self.fails_with.borrow().unwrap_or(200);
        Ok(Answer { status, headers: vec![], body: br#"{"found": false, "id": "7"}"#.to_vec() })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

struct Team {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    machines: MemoryMachines,
    outbox: MemoryOutbox,
    clock: StoppedClock,
    entropy: CountingEntropy,
    secrets: MemorySecrets,
    board: Board,
    bundle: Bundle,
    id: IncidentId,
}

fn now() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

impl Team {
    /// The sample incident on this route, with an open first round where a person is asked.
    async fn on(route: &str) -> Self {
        let policy = policy();
        let board = Target::parse(BOARD, "board.yaml").unwrap();
        let bundle = Bundle::new(policy, vec![], vec![board]);
        let evidence = MemoryEvidence::default();
        let config_digest = bundle.digest().unwrap();
        let json = canonical::to_json(&bundle).unwrap();
        evidence.store(&Bundle::location(&config_digest), "application/json", &json).await.unwrap();
        let assessment =
            Assessment { route: serde_json::from_value(json!(route)).unwrap(), ..sample::assessment().unwrap() };
        let id = assessment.incident_id.clone();
        let bytes = serde_json::to_vec(&assessment).unwrap();
        let document = evidence.store("assessment.json", "application/json", &bytes).await.unwrap();
        let rows = MemoryRows::default();
        let incident = json!({
            "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" }, "received_at": now(),
            "config_digest": config_digest, "status": "waiting", "run": 1, "started_at": now(), "route": route,
            "due_kind": "incident-open", "due_at": now(), "updated_at": now(),
        });
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        let writes = [Write::put(Incident::key(&id), &incident).unwrap(), Write::put(Run::key(&id, 1), &run).unwrap()];
        assert_eq!(rows.commit(&writes).await, Ok(Commit::Done));
        Self {
            evidence,
            rows,
            machines: MemoryMachines::default(),
            outbox: MemoryOutbox::default(),
            clock: StoppedClock::at(now()),
            entropy: CountingEntropy::default(),
            secrets: MemorySecrets::default(),
            board: Board::default(),
            bundle,
            id,
        }
    }

    /// Two people were asked, and this is what came of it.
    async fn decided(self, choice: Choice) -> Self {
        let question = if choice == Choice::Acknowledged { Question::NeedsData } else { Question::ApprovePlan };
        let round = sample::round(&sample::assessment().unwrap(), question).unwrap();
        let decision = Decision {
            choice,
            last: true,
            by: sample::APPROVER.to_owned(),
            authenticated_by: "mailbox".to_owned(),
            reason: "seen in two mailboxes".to_owned(),
            shown_digest: round.shown_digest.clone(),
            plan_digest: round.plan_digest.clone(),
            indicators: vec!["url#https://evil.example/login?next=invoice".to_owned()],
            ..Decision::at(now())
        };
        assert_eq!(
            self.rows.commit(&[Write::put(Round::key(&self.id, 1, 1), &round).unwrap()]).await,
            Ok(Commit::Done)
        );
        assert_eq!(self.rows.commit(&decision.writes(&round, now()).unwrap()).await, Ok(Commit::Done));
        self
    }

    /// What `open-ticket` leaves.
    async fn with_ticket(self) -> Self {
        let incident = Incident::load(&self.rows, &self.id).await.unwrap();
        let assessment = Assessment::load(&self.evidence, &self.rows, &self.id, 1).await.unwrap();
        let text = playbook::ticket::Text::of(&playbook::ticket::Story {
            incident: &incident,
            assessment: assessment.as_ref(),
            decision: None,
            result: None,
            failure: None,
            parents: &[],
        });
        let Self { rows, clock, entropy, secrets, board, .. } = &self;
        let world = ticket::World { rows, clock, egress: board, secrets, entropy };
        let told = ticket::open_or_update(&world, &self.bundle, &text).await;
        assert_eq!(told, Ok(Told { tickets: 1, told: 0 }));
        self.board.asked.borrow_mut().clear();
        self
    }

    async fn close(&self) -> Result<Output, Fault> {
        let world = World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            outbox: &self.outbox,
            clock: &self.clock,
            entropy: &self.entropy,
            secrets: &self.secrets,
            egress: &self.board,
            account: ACCOUNT,
        };
        run(&world, Input { incident_id: self.id.clone(), run: 1 }).await
    }

    async fn incident(&self) -> Incident {
        Incident::load(&self.rows, &self.id).await.unwrap()
    }

    fn paths(&self) -> Vec<String> {
        self.board.asked.borrow().iter().map(|(path, _)| path.clone()).collect()
    }
}

fn policy() -> playbook::policy::Policy {
    serde_json::from_value(json!({
        "schema": "policy/1", "own": {},
        "required": {"ipv4-addr": [], "ipv6-addr": [], "domain-name": [], "url": [], "email-addr": [], "file": []},
        "review": {
            "levels": [{"approvers": ["ana@soc.example"]}],
            "deadline_minutes": {"critical": 15, "high": 60, "medium": 720, "low": 1440},
        },
        "enforce": {
            "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
            "caps": {"per_incident": 50, "per_hour": 200, "per_list": 9000},
        },
        "enrich": {"deadline_ms": 1000, "calls": 1, "calls_per_provider": 1},
        "follow_up": {"wait_seconds": 45, "recheck_hours": 6, "give_up_hours": 48},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_decision_closes_the_ticket_with_it_and_tells_everybody_once() {
    for (choice, result) in
        [(Choice::Approved, "enforced"), (Choice::Rejected, "false_positive"), (Choice::Acknowledged, "acknowledged")]
    {
        let team = Team::on("review").await.decided(choice).await.with_ticket().await;
        for _ in 0..5 {
            let output = team.close().await.unwrap();
            assert_eq!((output.status, output.result), (IncidentStatus::Closed, result));
        }
        assert_eq!(team.paths(), ["/update/7", "/close/7"], "{choice:?}");
        let asked = team.board.asked.borrow().clone();
        assert!(asked[0].1.contains("seen in two mailboxes"), "{}", asked[0].1);
        assert_eq!(asked[1].1, format!(r#"{{"decision":"{}"}}"#, choice.as_str()));
        let mut told: Vec<String> = team.outbox.mails.borrow().iter().map(|mail| mail.to.clone()).collect();
        told.sort();
        assert_eq!(told, [sample::APPROVER, sample::OTHER_APPROVER]);
        let incident = team.incident().await;
        assert_eq!((incident.status, incident.due_kind), (IncidentStatus::Closed, None));
    }
}

#[tokio::test]
async fn whose_mail_came_back_for_good_is_not_written_to_again() {
    let team = Team::on("review").await.decided(Choice::Approved).await;
    let lost = json!({"undelivered": [sample::OTHER_APPROVER.to_uppercase()]});
    let lost = Write::set(Round::key(&team.id, 1, 1), &lost).unwrap();
    assert_eq!(team.rows.commit(&[lost]).await, Ok(Commit::Done));
    team.close().await.unwrap();
    let told: Vec<String> = team.outbox.mails.borrow().iter().map(|mail| mail.to.clone()).collect();
    assert_eq!(told, [sample::APPROVER]);
}

#[tokio::test]
async fn a_round_that_ran_out_leaves_the_ticket_open_with_a_note() {
    let team = Team::on("review").await.decided(Choice::TimedOut).await.with_ticket().await;
    for _ in 0..2 {
        assert_eq!(team.close().await.unwrap().result, "timed_out");
    }
    assert_eq!(team.paths(), ["/update/7"]);
    assert!(team.board.asked.borrow()[0].1.contains("not decided in time"));
    assert!(team.outbox.mails.borrow().is_empty());
}

#[tokio::test]
async fn a_watched_incident_has_nothing_new_to_say() {
    let team = Team::on("watch").await.with_ticket().await;
    assert_eq!(team.close().await.unwrap().result, "watched");
    assert!(team.paths().is_empty());
}

#[tokio::test]
async fn an_incident_without_a_ticket_asks_nobody() {
    let team = Team::on("benign").await;
    let output = team.close().await.unwrap();
    assert_eq!((output.status, output.result), (IncidentStatus::Closed, "not_malicious"));
    assert!(team.paths().is_empty());
}

#[tokio::test]
async fn what_is_closed_for_want_of_answers_is_looked_at_again_and_nobody_is_mailed() {
    let team = Team::on("provisional").await;
    for minutes in [0, 10, 10] {
        team.clock.advance_minutes(minutes);
        assert_eq!(team.close().await.unwrap().status, IncidentStatus::Provisional);
    }
    let row = team.rows.get(&PendingLookup::key(&team.id, 1, "*", None)).await.unwrap().unwrap();
    let row: PendingLookup = row.read().unwrap();
    assert_eq!((row.reason.as_str(), row.try_at), ("recheck", now().plus_hours(6)));
    assert!(row.due_kind.is_some() && row.due_at.is_some());
    assert!(team.outbox.mails.borrow().is_empty());
}

#[tokio::test]
async fn a_ticket_system_that_fails_is_a_fault_and_the_result_is_in_the_row() {
    for (status, name) in [(503, "Unavailable"), (429, "Throttled"), (400, "Rejected"), (401, "Misconfigured")] {
        let team = Team::on("review").await.decided(Choice::Approved).await.with_ticket().await;
        *team.board.fails_with.borrow_mut() = Some(status);
        let fault = team.close().await.unwrap_err();
        assert_eq!(fault.name(), name);
        assert!(fault.to_string().contains("board"), "{fault}");
        let incident = team.incident().await;
        assert_eq!((incident.status, incident.result.as_deref()), (IncidentStatus::Waiting, Some("enforced")));
        assert_eq!(team.outbox.mails.borrow().len(), 2);

        *team.board.fails_with.borrow_mut() = None;
        assert_eq!(team.close().await.unwrap().status, IncidentStatus::Closed);
        assert_eq!(team.outbox.mails.borrow().len(), 2);
    }
}

#[tokio::test]
async fn a_run_that_is_no_longer_the_current_one_changes_nothing() {
    let team = Team::on("review").await.decided(Choice::Approved).await.with_ticket().await;
    incident::update(&team.rows, &team.id, &json!({ "run": 2, "status": "open" })).await.unwrap();
    assert!(matches!(team.close().await, Err(Fault::Rejected(_))));
    assert!(team.paths().is_empty() && team.outbox.mails.borrow().is_empty());
    assert_eq!(team.incident().await.status, IncidentStatus::Open);
}

#[tokio::test]
async fn looking_again_starts_the_next_run_once_and_leaves_the_ticket_alone() {
    let team = Team::on("needs-data").await.decided(Choice::LookAgain).await.with_ticket().await;
    for _ in 0..3 {
        let output = team.close().await.unwrap();
        assert_eq!((output.status, output.result), (IncidentStatus::Open, "look_again"));
    }
    assert_eq!(team.incident().await.run, 2);
    assert_eq!(team.machines.started.borrow().len(), 1);
    assert!(team.paths().is_empty());
}
