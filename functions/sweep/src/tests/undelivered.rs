//! Mails that did not arrive.

use std::cell::RefCell;

use playbook::{
    audit,
    brief::sample::{APPROVER, OTHER_APPROVER},
    decision, notice,
};

use super::*;
use crate::{rounds::Post as Telling, undelivered::Noted};

const PERMANENT: (&str, &str) = ("Bounce", "Permanent");

impl Team {
    /// The same, with the mails that ask.
    async fn mailed() -> Self {
        let team = Self::asked().await;
        for (number, address) in team.round.asked.iter().enumerate() {
            let sent = json!({"schema": "effect/1", "mail_id": format!("0100-{number}")});
            team.put(notice::effect_key(team.id(), 1, 1, notice::QUESTION, address), &sent).await;
        }
        team
    }

    /// What the rule hands on.
    fn report(&self, what: &str, (kind, subtype): (&str, &str), recipient: &str) -> Value {
        json!({
            "incident_id": [self.id()], "run": ["1"], "round": ["1"], "what": [what], "mail_id": "0100-0",
            "recipients": [recipient], "kind": kind, "subtype": subtype, "at": "2026-11-24T05:00:09Z",
        })
    }

    async fn tell(&self, report: Value) -> Result<Output, Fault> {
        self.run(serde_json::from_value(json!({"undelivered": report})).unwrap()).await
    }

    async fn bounces(&self, how: (&str, &str), recipient: &str) -> Output {
        self.tell(self.report("question", how, recipient)).await.unwrap()
    }

    async fn row(&self, round: u32) -> Round {
        Round::load(&self.rows, self.id(), 1, round).await.unwrap().unwrap()
    }

    /// Event and person of every entry of the audit.
    async fn audit(&self) -> Vec<(audit::Event, String)> {
        let entries = audit::Entry::all(&self.rows, self.id()).await.unwrap();
        let mut told: Vec<_> = entries.into_iter().map(|entry| (entry.event, entry.who)).collect();
        told.sort();
        told
    }
}

fn undelivered(address: &str) -> (audit::Event, String) {
    (audit::Event::Undelivered, address.to_owned())
}

#[tokio::test]
async fn one_of_two_bounces_and_the_other_is_told_and_goes_on() {
    let team = Team::mailed().await;
    let noted = team.bounces(PERMANENT, OTHER_APPROVER).await;
    assert_eq!(noted, Output { undelivered: 1, unreached: 1, ..Output::default() });
    assert!(noted.metrics().any(|metric| metric == ("PeopleNotReached", 1)));
    let round = team.row(1).await;
    assert_eq!((round.undelivered.as_slice(), round.state.as_str()), ([OTHER_APPROVER.to_owned()].as_slice(), "open"));
    assert_eq!(team.mails(), ["ana@soc.example: is not reached"]);
    let mail = team.outbox.sent.mails.borrow()[0].clone();
    assert_eq!((mail.follows.as_deref(), mail.about.round), (Some("0100-0"), 1));
    let entry = audit::Entry::all(&team.rows, team.id()).await.unwrap().remove(0);
    assert_eq!(entry.detail, "question 0100-0: it bounced for good, at 2026-11-24 05:00 UTC");
    assert_eq!((entry.event, entry.who.as_str()), (audit::Event::Undelivered, OTHER_APPROVER));

    // Nobody writes to that address again.
    team.outbox.sent.mails.borrow_mut().clear();
    assert_eq!((team.sweep_after(30).await.reminded, team.sweep_after(30).await.ended), (1, 1));
    assert_eq!(team.mails(), ["ana@soc.example: reminder", "ana@soc.example: the next level is asked"]);
}

#[tokio::test]
async fn a_round_that_reaches_nobody_ends_at_once_and_enforces_nothing() {
    for how in [PERMANENT, ("Complaint", ""), ("Reject", "Bad content")] {
        let team = Team::mailed().await;
        team.bounces(PERMANENT, APPROVER).await;
        team.outbox.sent.mails.borrow_mut().clear();
        let ended = team.bounces(how, &OTHER_APPROVER.to_uppercase()).await;
        assert_eq!(ended, Output { undelivered: 1, unreached: 1, ended: 1, woken: 1, ..Output::default() }, "{how:?}");
        let decision = team.decision().await.unwrap();
        assert_eq!((decision.choice, decision.last, decision.by.as_str()), (Choice::TimedOut, false, ""));
        assert_eq!(decision.reason, "the mail could be delivered to nobody who was asked");
        assert!(decision.indicators.is_empty());
        assert!(team.row(1).await.is_unreached());
        assert_eq!(*team.machines.woken.borrow(), ["token-1"]);
        assert_eq!(team.mails(), Vec::<String>::new(), "there is nobody to tell");
        let nobody = (audit::Event::TimedOut, String::new());
        assert_eq!(team.audit().await, [nobody, undelivered(APPROVER), undelivered(OTHER_APPROVER)]);
        assert_eq!(team.sweep().await, Output::default(), "nothing is left for the sweep");
    }
}

#[tokio::test]
async fn whoever_the_mail_service_refused_is_not_waited_for() {
    let team = Team::mailed().await;
    let refused = json!({"schema": "effect/1", "refused": "not verified"});
    team.put(notice::effect_key(team.id(), 1, 1, notice::QUESTION, OTHER_APPROVER), &refused).await;
    assert_eq!(team.bounces(PERMANENT, APPROVER).await.ended, 1);
}

#[tokio::test]
async fn what_wakes_nobody_at_once_is_left_to_the_sweep() {
    let team = Team::mailed().await;
    team.bounces(PERMANENT, APPROVER).await;
    let key = Round::key(team.id(), 1, 1);
    let waits = Write::set(key, &json!({})).unwrap().removing(&["task_token"]);
    assert_eq!(team.rows.commit(&[waits]).await, Ok(Commit::Done));
    let ended = team.bounces(PERMANENT, OTHER_APPROVER).await;
    assert_eq!((ended.ended, ended.woken), (1, 0), "nobody waits yet");
    team.set(Round::key(team.id(), 1, 1), json!({"task_token": "token-2"})).await;
    assert_eq!(team.sweep().await, Output { woken: 1, ..Output::default() });
    assert_eq!(*team.machines.woken.borrow(), ["token-2"]);
}

#[tokio::test]
async fn after_the_last_level_everybody_who_can_be_reached_is_told() {
    let team = Team::mailed().await;
    team.bounces(PERMANENT, OTHER_APPROVER).await;
    team.sweep_after(60).await;
    let lead = "lead@soc.example".to_owned();
    let second = Round { round: 2, asked: vec![lead.clone()], last: true, ..team.round.clone() };
    team.put(Round::key(team.id(), 1, 2), &second).await;
    let sent = json!({"schema": "effect/1", "mail_id": "0100-9"});
    team.put(notice::effect_key(team.id(), 1, 2, notice::QUESTION, &lead), &sent).await;
    team.outbox.sent.mails.borrow_mut().clear();
    let mut report = team.report("question", PERMANENT, &lead);
    report["round"] = json!(["2"]);
    assert_eq!(team.tell(report).await.unwrap().ended, 1);
    assert_eq!(team.mails(), ["ana@soc.example: stays undecided"]);
    let text = team.outbox.sent.mails.borrow()[0].text.clone();
    assert!(text.contains("was not decided: the mail could be delivered to nobody who was asked."), "{text}");
}

#[tokio::test]
async fn what_may_still_arrive_is_told_and_changes_nothing() {
    for how in [("Bounce", "Transient"), ("Bounce", "Undetermined"), ("DeliveryDelay", "")] {
        let team = Team::mailed().await;
        let expected = Output { undelivered: 1, ..Output::default() };
        assert_eq!(team.bounces(how, OTHER_APPROVER).await, expected, "{how:?}");
        assert_eq!(team.row(1).await, team.round);
        assert_eq!(team.mails(), ["ana@soc.example: is reached late"]);
        assert_eq!(team.audit().await, [undelivered(OTHER_APPROVER)]);
        // Also where it is everybody's mail: it may come.
        team.bounces(how, APPROVER).await;
        assert_eq!(team.row(1).await, team.round);
    }
}

#[tokio::test]
async fn a_report_that_is_told_again_changes_nothing() {
    let team = Team::mailed().await;
    team.bounces(PERMANENT, OTHER_APPROVER).await;
    let rows = team.rows.all();
    for _ in 0..3 {
        assert_eq!(team.bounces(PERMANENT, OTHER_APPROVER).await, Output::default());
    }
    assert_eq!((team.rows.all(), team.mails().len()), (rows, 1));

    let ended = team.bounces(PERMANENT, APPROVER).await;
    assert_eq!((ended.ended, ended.woken), (1, 1));
    assert_eq!(team.bounces(PERMANENT, APPROVER).await, Output::default());
    assert_eq!(team.machines.woken.borrow().len(), 1);
}

#[tokio::test]
async fn a_report_that_is_told_again_finishes_what_was_left_undone() {
    let team = Team::mailed().await;
    *team.outbox.fault.borrow_mut() = Some(Fault::Throttled("slow down".to_owned()));
    let told = team.tell(team.report("question", PERMANENT, OTHER_APPROVER)).await;
    assert_eq!(told.unwrap_err().name(), "Throttled");
    *team.outbox.fault.borrow_mut() = None;
    assert_eq!(team.bounces(PERMANENT, OTHER_APPROVER).await, Output::default());
    assert_eq!(team.mails(), ["ana@soc.example: is not reached"]);
    assert_eq!(team.audit().await.len(), 1);
}

#[tokio::test]
async fn a_mail_that_asks_nothing_is_only_noted() {
    let team = Team::mailed().await;
    team.sweep_after(30).await;
    team.outbox.sent.mails.borrow_mut().clear();
    let before = team.row(1).await;
    for what in ["reminder", "code"] {
        let told = team.tell(team.report(what, PERMANENT, APPROVER)).await.unwrap();
        assert_eq!(told, Output { undelivered: 1, ..Output::default() }, "{what}");
    }
    assert_eq!(team.audit().await, [undelivered(APPROVER), undelivered(APPROVER)]);
    assert_eq!((team.row(1).await, team.mails().len()), (before, 0));
}

#[tokio::test]
async fn a_bounce_after_the_decision_is_only_noted() {
    let team = Team::mailed().await;
    team.decide(Choice::Approved).await;
    let before = team.row(1).await;
    for address in [APPROVER, OTHER_APPROVER] {
        let noted = team.bounces(PERMANENT, address).await;
        assert_eq!(noted, Output { undelivered: 1, unreached: 1, ..Output::default() });
    }
    assert_eq!(team.audit().await, [undelivered(APPROVER), undelivered(OTHER_APPROVER)]);
    assert_eq!((team.row(1).await, team.mails().len()), (before, 0));
    assert_eq!(team.decision().await.unwrap().choice, Choice::Approved);
}

#[tokio::test]
async fn nobody_is_told_of_a_round_whose_run_is_over() {
    let team = Team::mailed().await;
    team.set(Incident::key(team.id()), json!({"run": 2})).await;
    assert_eq!(team.bounces(PERMANENT, OTHER_APPROVER).await.undelivered, 1);
    assert_eq!(team.mails().len(), 0);
}

#[tokio::test]
async fn a_report_of_no_mail_of_ours_leaves_nothing_behind() {
    let team = Team::mailed().await;
    let unmailed = "carol@soc.example";
    team.set(Round::key(team.id(), 1, 1), json!({"asked": [APPROVER, OTHER_APPROVER, unmailed]})).await;
    let before = team.rows.all();
    let stranger = IncidentId::of("default", "mail", "never seen");
    for (name, value) in [
        ("incident_id", json!([stranger])),
        ("incident_id", json!(["inc-1"])),
        ("incident_id", json!([])),
        ("incident_id", json!([team.id(), team.id()])),
        ("run", json!(["2"])),
        ("run", json!(["one"])),
        ("run", json!(["-1"])),
        ("round", json!(["2"])),
        ("round", json!(["99999999999999999999"])),
        ("what", json!([])),
        ("what", json!([""])),
        ("what", json!(["decided"])),
        ("what", json!(["Question"])),
        ("what", json!(["mail#../../x"])),
        ("what", json!(["x".repeat(300)])),
        ("kind", json!("Delivery")),
        ("kind", json!("bounce")),
        ("recipients", json!([])),
        ("recipients", json!(["eve@evil.example"])),
        ("recipients", json!([""])),
        ("recipients", json!([unmailed])),
        ("recipients", json!([format!("{APPROVER}, {OTHER_APPROVER}")])),
    ] {
        let mut report = team.report("question", PERMANENT, APPROVER);
        report[name] = value.clone();
        assert_eq!(team.tell(report).await, Ok(Output::default()), "{name}: {value}");
        assert_eq!(team.rows.all(), before, "{name}: {value}");
    }
    assert_eq!(team.mails().len(), 0);
}

/// The record, in which somebody else writes something before the first commit.
struct Raced<'a> {
    rows: &'a MemoryRows,
    others: RefCell<Option<Vec<Write>>>,
}

impl Rows for Raced<'_> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.rows.get(key).await
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.rows.list(pk, sk_prefix).await
    }

    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.rows.due(kind, until, limit).await
    }

    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.rows.by_observable(observable, limit).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        let others = self.others.borrow_mut().take();
        if let Some(others) = others {
            assert_eq!(self.rows.commit(&others).await, Ok(Commit::Done));
        }
        self.rows.commit(writes).await
    }
}

/// A bounce of the last mail that could arrive, at the moment at which somebody else writes.
async fn raced(team: &Team, others: Vec<Write>) -> Noted {
    let rows = Raced { rows: &team.rows, others: RefCell::new(Some(others)) };
    let post = Telling { evidence: &team.evidence, rows: &rows, outbox: &team.outbox, entropy: &team.entropy };
    let report = serde_json::from_value(team.report("question", PERMANENT, OTHER_APPROVER)).unwrap();
    post.note(&team.machines, &report, team.clock.now()).await.unwrap()
}

#[tokio::test]
async fn a_decision_at_the_same_moment_stands() {
    let team = Team::mailed().await;
    team.bounces(PERMANENT, APPROVER).await;
    let round = team.row(1).await;
    let (shown_digest, plan_digest) = (round.shown_digest.clone(), round.plan_digest.clone());
    let decision = Decision { choice: Choice::Approved, shown_digest, plan_digest, ..Decision::at(team.clock.now()) };
    let noted = raced(&team, decision.writes(&round, team.clock.now()).unwrap()).await;
    assert_eq!(noted, Noted { new: 1, unreached: 1, ..Noted::default() });
    assert_eq!(team.decision().await.unwrap().choice, Choice::Approved);
    assert_eq!(team.row(1).await.undelivered, [APPROVER]);
    assert_eq!(team.audit().await, [undelivered(APPROVER), undelivered(OTHER_APPROVER)]);
}

#[tokio::test]
async fn two_bounces_at_the_same_moment_both_count() {
    let team = Team::mailed().await;
    let other = Write::set(Round::key(team.id(), 1, 1), &json!({"undelivered": [APPROVER]})).unwrap();
    let noted = raced(&team, vec![other]).await;
    assert_eq!((noted.new, noted.ended, noted.woken), (1, 1, 1));
    assert_eq!(team.decision().await.unwrap().choice, Choice::TimedOut);
}

#[tokio::test]
async fn a_deadline_at_the_same_moment_ends_the_round_once() {
    let team = Team::mailed().await;
    team.bounces(PERMANENT, APPROVER).await;
    let round = team.row(1).await;
    let late = decision::silence(&round, &team.entropy, "nobody decided in time", team.clock.now()).unwrap();
    let noted = raced(&team, late).await;
    assert_eq!((noted.new, noted.ended), (1, 0));
    assert_eq!(team.decision().await.unwrap().reason, "nobody decided in time");
    assert_eq!(team.sweep().await, Output { woken: 1, ..Output::default() });
}
