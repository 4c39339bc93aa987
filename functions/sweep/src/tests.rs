//! The minute in memory: everything that may be past its time.

mod undelivered;

use playbook::{
    IncidentId,
    assessment::Assessment,
    brief::sample,
    decision::{Choice, Decision, Question, Round},
    fakes::{
        CountingEntropy, MemoryEvidence, MemoryIpSets, MemoryMachines, MemoryOutbox, MemoryQueue, MemoryRows,
        MemorySecrets, StoppedClock,
    },
    incident::{Incident, IncidentStatus, Run},
    lookup::{Answer, CallError, Request},
    pending::PendingLookup,
    ports::{Destination, DnsAnswer, DnsQuestion, Mail, Nameserver},
    rows::{Commit, Key, Write},
    waking,
};
use serde_json::{Value, json};

use super::*;

/// Nothing of these tests leaves.
struct NoWayOut;

impl Egress for NoWayOut {
    async fn call(&self, _: &Destination<'_>, _: &Request, _: std::time::Duration) -> Result<Answer, CallError> {
        Err(CallError::Unreachable("no way out".to_owned()))
    }

    async fn resolve(
        &self,
        _: &Nameserver<'_>,
        _: &DnsQuestion,
        _: std::time::Duration,
    ) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no way out".to_owned()))
    }
}

/// An outbox that refuses mails as it is told.
#[derive(Default)]
struct Post {
    sent: MemoryOutbox,
    fault: std::cell::RefCell<Option<Fault>>,
}

impl Outbox for Post {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        let fault = self.fault.borrow().clone();
        match fault {
            Some(fault) => Err(fault),
            None => self.sent.send(mail).await,
        }
    }
}

struct Team {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    machines: MemoryMachines,
    outbox: Post,
    clock: StoppedClock,
    entropy: CountingEntropy,
    follow_up: MemoryQueue,
    assessment: Assessment,
    round: Round,
}

impl Team {
    /// The sample incident, running, whose only round was opened just now.
    async fn asked() -> Self {
        let assessment = sample::assessment().unwrap();
        let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
        let team = Self {
            evidence: MemoryEvidence::default(),
            rows: MemoryRows::default(),
            machines: MemoryMachines::default(),
            outbox: Post::default(),
            clock: StoppedClock::at(round.opened_at.unwrap()),
            entropy: CountingEntropy::default(),
            follow_up: MemoryQueue::default(),
            assessment,
            round,
        };
        let json = serde_json::to_vec(&team.assessment).unwrap();
        let document = team.evidence.store("assessment.json", "application/json", &json).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        team.put(Run::key(team.id(), 1), &run).await;
        team.put(Round::key(team.id(), 1, 1), &team.round).await;
        let now = team.clock.now();
        let incident = json!({
            "schema": "incident/1", "incident_id": team.id(), "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": "sample", "severity": "low", "evidence": {"key": "mail/1"}, "received_at": now,
            "config_digest": "", "status": "waiting", "run": 1, "updated_at": now,
        });
        team.put(Incident::key(team.id()), &incident).await;
        waking::start_run(&team.rows, &team.machines, &team.incident().await, now).await.unwrap();
        team
    }

    fn id(&self) -> &IncidentId {
        &self.assessment.incident_id
    }

    async fn put(&self, key: Key, document: &impl Serialize) {
        let write = Write::put(key, document).unwrap();
        assert_eq!(self.rows.commit(&[write]).await, Ok(Commit::Done));
    }

    async fn set(&self, key: Key, document: Value) {
        let write = Write::set(key, &document).unwrap();
        assert_eq!(self.rows.commit(&[write]).await, Ok(Commit::Done));
    }

    async fn sweep(&self) -> Output {
        // Ages go into the metrics and have a test of their own.
        Output { oldest_open_seconds: 0, ..self.measured_sweep().await }
    }

    async fn measured_sweep(&self) -> Output {
        self.run(Input::default()).await.unwrap()
    }

    async fn run(&self, input: Input) -> Result<Output, Fault> {
        let world = World {
            evidence: &self.evidence,
            rows: &self.rows,
            machines: &self.machines,
            outbox: &self.outbox,
            clock: &self.clock,
            entropy: &self.entropy,
            follow_up: &self.follow_up,
            egress: &NoWayOut,
            ip_sets: &MemoryIpSets::default(),
            secrets: &MemorySecrets::default(),
            account: "111111111111",
        };
        run(&world, input).await
    }

    async fn sweep_after(&self, minutes: i64) -> Output {
        self.clock.advance_minutes(minutes);
        self.sweep().await
    }

    async fn incident(&self) -> Incident {
        Incident::load(&self.rows, self.id()).await.unwrap()
    }

    async fn decision(&self) -> Option<Decision> {
        Decision::load(&self.rows, self.id(), 1, 1).await.unwrap()
    }

    async fn decide(&self, choice: Choice) {
        let decision = Decision {
            choice,
            by: sample::APPROVER.to_owned(),
            authenticated_by: "mailbox".to_owned(),
            reason: "seen".to_owned(),
            shown_digest: self.round.shown_digest.clone(),
            plan_digest: self.round.plan_digest.clone(),
            ..Decision::at(self.clock.now())
        };
        let writes = decision.writes(&self.round, self.clock.now()).unwrap();
        assert_eq!(self.rows.commit(&writes).await, Ok(Commit::Done));
    }

    /// Recipient and the words of the subject that tell the kinds of mail apart.
    fn mails(&self) -> Vec<String> {
        let kind = |subject: &str| {
            let kinds = ["reminder", "the next level is asked", "stays undecided", "is not reached", "is reached late"];
            kinds.into_iter().find(|kind| subject.contains(kind)).unwrap_or("other").to_owned()
        };
        let mails = self.outbox.sent.mails.borrow();
        mails.iter().map(|mail| format!("{}: {}", mail.to, kind(&mail.subject))).collect()
    }

    /// Nobody runs the execution any more.
    fn abort(&self) {
        self.machines.started.borrow_mut().clear();
        self.machines.gone.borrow_mut().push("token-1".to_owned());
    }
}

#[tokio::test]
async fn people_are_reminded_once_at_half_time_and_the_round_ends_at_its_deadline() {
    let team = Team::asked().await;
    assert_eq!(team.sweep_after(29).await, Output::default());
    assert_eq!(team.sweep_after(1).await, Output { reminded: 1, ..Output::default() });
    let reminders = ["ana@soc.example: reminder", "ben@soc.example: reminder"];
    assert_eq!(team.mails(), reminders);
    assert_eq!((team.sweep().await, team.sweep_after(29).await), (Output::default(), Output::default()));
    assert_eq!(team.mails(), reminders, "nobody is reminded twice");

    assert_eq!(team.sweep_after(1).await, Output { ended: 1, woken: 1, ..Output::default() });
    let decision = team.decision().await.unwrap();
    assert_eq!((decision.choice, decision.last), (Choice::TimedOut, false));
    assert!(decision.indicators.is_empty(), "a time-out approves nothing");
    let told = ["ana@soc.example: the next level is asked", "ben@soc.example: the next level is asked"];
    assert_eq!(team.mails()[2..], told);
    assert_eq!(team.sweep().await, Output::default(), "nobody is told or woken twice");
    assert_eq!(*team.machines.woken.borrow(), ["token-1"]);
}

#[tokio::test]
async fn a_sweep_that_missed_half_time_still_honours_the_deadline() {
    let team = Team::asked().await;
    assert_eq!(team.sweep_after(75).await, Output { ended: 1, woken: 1, ..Output::default() });
    assert!(team.mails().iter().all(|mail| mail.ends_with("the next level is asked")), "{:?}", team.mails());
}

#[tokio::test]
async fn a_reminder_that_cannot_be_sent_is_tried_again_and_holds_up_no_deadline() {
    let team = Team::asked().await;
    *team.outbox.fault.borrow_mut() = Some(Fault::Throttled("slow down".to_owned()));
    assert_eq!(team.sweep_after(30).await, Output { failed: 1, ..Output::default() });
    assert_eq!(team.sweep_after(1).await, Output::default(), "not every minute");
    *team.outbox.fault.borrow_mut() = None;
    assert_eq!(team.sweep_after(4).await, Output { reminded: 1, ..Output::default() });
    assert_eq!(team.mails().len(), 2);

    let team = Team::asked().await;
    *team.outbox.fault.borrow_mut() = Some(Fault::Throttled("slow down".to_owned()));
    team.sweep_after(30).await;
    assert_eq!(team.sweep_after(30).await, Output { ended: 1, woken: 1, ..Output::default() });

    // Who can never be mailed is not tried again.
    let team = Team::asked().await;
    *team.outbox.fault.borrow_mut() = Some(Fault::Rejected("no such mailbox".to_owned()));
    assert_eq!(team.sweep_after(30).await, Output { reminded: 1, ..Output::default() });
}

#[tokio::test]
async fn a_round_that_is_decided_reminds_nobody() {
    let team = Team::asked().await;
    team.decide(Choice::Approved).await;
    assert_eq!(team.sweep_after(30).await, Output { woken: 1, started: 0, ..Output::default() });
    assert!(team.mails().is_empty());
}

#[tokio::test]
async fn a_round_of_an_earlier_run_reminds_nobody() {
    let team = Team::asked().await;
    team.set(Incident::key(team.id()), json!({"run": 2})).await;
    team.sweep_after(30).await;
    assert!(team.mails().is_empty());
    assert!(team.sweep_after(30).await.ended == 1 && team.mails().is_empty());
}

#[tokio::test]
async fn a_decision_in_the_last_moment_stands_and_its_execution_is_woken() {
    let team = Team::asked().await;
    team.clock.advance_minutes(59);
    team.decide(Choice::Approved).await;
    assert_eq!(team.sweep_after(5).await, Output { woken: 1, ..Output::default() });
    assert_eq!(team.decision().await.unwrap().choice, Choice::Approved);
    assert!(team.mails().is_empty());
}

#[tokio::test]
async fn when_the_last_level_is_silent_the_people_of_every_level_are_told() {
    let team = Team::asked().await;
    team.sweep_after(60).await;
    let now = team.clock.now();
    let second = Round {
        round: 2,
        asked: vec!["lead@soc.example".to_owned()],
        last: true,
        opened_at: Some(now),
        remind_at: Some(now.plus_minutes(30)),
        deadline: now.plus_minutes(60),
        due_at: Some(now.plus_minutes(30)),
        ..team.round.clone()
    };
    team.put(Round::key(team.id(), 1, 2), &second).await;
    team.outbox.sent.mails.borrow_mut().clear();
    assert_eq!(team.sweep_after(30).await.reminded, 1);
    assert_eq!(team.sweep_after(30).await.ended, 1);
    let expected = [
        "lead@soc.example: reminder",
        "lead@soc.example: stays undecided",
        "ana@soc.example: stays undecided",
        "ben@soc.example: stays undecided",
    ];
    assert_eq!(team.mails(), expected);
}

#[tokio::test]
async fn what_a_killed_review_left_behind_is_finished_by_the_sweep_alone() {
    // The decision is written, and nobody was woken.
    let team = Team::asked().await;
    team.decide(Choice::Rejected).await;
    assert_eq!(team.sweep().await, Output { woken: 1, ..Output::default() });
    assert_eq!(*team.machines.woken.borrow(), ["token-1"]);
    assert_eq!(team.sweep().await, Output::default());

    // The same when the execution is gone: the next run carries the decision out.
    let team = Team::asked().await;
    team.decide(Choice::Approved).await;
    team.abort();
    assert_eq!(team.sweep().await, Output { woken: 1, ..Output::default() });
    let incident = team.incident().await;
    assert_eq!((incident.run, incident.status), (2, IncidentStatus::Open));
    assert_eq!(team.machines.started.borrow()[0].0, team.id().execution_name(2));
}

#[tokio::test]
async fn an_incident_whose_execution_lives_is_looked_at_again_later() {
    let team = Team::asked().await;
    let before = team.incident().await.due_at;
    assert_eq!(team.sweep_after(15).await, Output::default());
    let incident = team.incident().await;
    assert_eq!(incident.status, IncidentStatus::Waiting);
    assert_eq!(incident.due_at, before.map(|at| at.plus_minutes(15)));
}

#[tokio::test]
async fn the_age_of_the_oldest_open_incident_is_measured_and_so_is_a_decision_that_woke_nobody() {
    let team = Team::asked().await;
    team.clock.advance_minutes(15);
    let measured = team.measured_sweep().await;
    let age = team.clock.now().ms_since(team.incident().await.received_at) / 1_000;
    assert_eq!(i64::try_from(measured.oldest_open_seconds), Ok(age));
    assert!(measured.metrics().any(|metric| metric == ("OldestOpenSeconds", measured.oldest_open_seconds)));
    assert_eq!(measured.not_woken, 0);
}

#[tokio::test]
async fn an_incident_whose_execution_is_gone_fails_visibly_once() {
    let team = Team::asked().await;
    team.abort();
    assert_eq!(team.sweep_after(15).await, Output { lost: 1, ..Output::default() });
    let incident = team.incident().await;
    assert_eq!((incident.status, incident.failure.as_deref()), (IncidentStatus::Failed, Some("no living execution")));
    assert_eq!((incident.due_kind, incident.due_at), (None, None));
    assert_eq!(team.sweep().await, Output::default());

    // Whoever was asked may still decide, and the next run carries it out.
    team.decide(Choice::Approved).await;
    assert_eq!(team.sweep().await, Output { woken: 1, ..Output::default() });
    assert_eq!(team.incident().await.run, 2);
}

#[tokio::test]
async fn nobody_is_told_of_a_next_level_when_the_incident_has_failed() {
    let team = Team::asked().await;
    team.abort();
    team.sweep_after(15).await;
    team.sweep_after(45).await;
    assert_eq!(team.mails(), ["ana@soc.example: stays undecided", "ben@soc.example: stays undecided"]);
}

#[tokio::test]
async fn a_decided_round_that_will_be_restarted_is_not_lost() {
    let team = Team::asked().await;
    // Nobody has waited yet, as far as anybody can tell: the sweep of decided rounds has still to act.
    team.decide(Choice::Approved).await;
    team.machines.started.borrow_mut().clear();
    team.clock.advance_minutes(15);
    let row = team.rows.get(&Incident::key(team.id())).await.unwrap().unwrap();
    let done = incidents::look(&team.rows, &team.machines, &row, team.clock.now()).await;
    assert_eq!(done.unwrap().0, Done::Nothing);
    assert_eq!(team.incident().await.status, IncidentStatus::Waiting);
}

#[tokio::test]
async fn an_incident_that_nobody_started_is_started() {
    let team = Team::asked().await;
    team.abort();
    let unstarted = Write::set(Incident::key(team.id()), &json!({"status": "open"})).unwrap();
    assert_eq!(team.rows.commit(&[unstarted.removing(&["started_at"])]).await, Ok(Commit::Done));
    assert_eq!(team.sweep_after(15).await, Output { started: 1, ..Output::default() });
    assert_eq!(team.machines.started.borrow()[0].0, team.id().execution_name(1));
    assert!(team.incident().await.started_at.is_some());
    assert_eq!(team.sweep_after(1).await, Output::default());
}

#[tokio::test]
async fn an_incident_that_has_ended_is_watched_no_longer() {
    for status in ["closed", "provisional", "failed", "attached"] {
        let team = Team::asked().await;
        team.abort();
        team.set(Incident::key(team.id()), json!({"status": status})).await;
        assert_eq!(team.sweep_after(15).await, Output::default());
        let incident = team.incident().await;
        assert_eq!((incident.due_kind, incident.failure), (None, None), "{status}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stays_due_and_holds_up_nobody() {
    let team = Team::asked().await;
    let due = json!({"due_kind": DUE_DEADLINE, "due_at": "2026-11-24T00:00:00.000Z", "state": 7});
    team.put(Key::new("incident#broken", "round#1#1"), &due).await;
    assert_eq!(team.sweep_after(30).await, Output { reminded: 1, failed: 1, ..Output::default() });
}

#[tokio::test]
async fn a_parked_lookup_goes_on_when_it_is_due() {
    let team = Team::asked().await;
    let now = team.clock.now();
    let lookup: PendingLookup = serde_json::from_value(json!({
        "schema": "pending/1", "incident_id": team.id(), "run": 1, "provider": "virustotal",
        "about": team.assessment.observables[0].sighted.observable, "reason": "quota", "since": now,
        "try_at": now.plus_minutes(20), "give_up_at": now.plus_hours(48), "due_kind": DUE_PARKED,
        "due_at": now.plus_minutes(20),
    }))
    .unwrap();
    assert!(lookup.observable.is_some());
    team.put(lookup.own_key(), &lookup).await;
    assert_eq!(team.sweep_after(19).await, Output::default());
    assert_eq!(team.sweep_after(1).await, Output { requeued: 1, ..Output::default() });
    assert_eq!(*team.follow_up.messages.borrow(), [lookup.message().unwrap()]);
}
