//! Asking and waiting: who is asked, once, and what wakes whom.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::cell::Cell;

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::sample::{self, APPROVER, OTHER_APPROVER},
    bundle::Bundle,
    decision::{Choice, DECIDED, Decision, Link, LinkSecret, Question, Round},
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, StoppedClock},
    incident::{Incident, IncidentStatus, Run},
    ledger::LedgerEntry,
    ports::{Evidence, Mail, Outbox},
    rows::{Commit, Rows, Write},
    ticket::Ticket,
};
use request_review::{Input, Output, Settings, World};
use serde_json::{Value, json};

/// What becomes of a mail to this address.
type Fails = fn(&str) -> Option<Fault>;

/// An outbox that fails as it is told.
#[derive(Default)]
struct Post {
    sent: MemoryOutbox,
    fails: Cell<Option<Fails>>,
    /// Whether mails go out although the answer is a fault.
    takes_it_anyway: Cell<bool>,
}

impl Outbox for Post {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        let fault = self.fails.get().and_then(|fails| fails(&mail.to));
        if fault.is_none() || self.takes_it_anyway.get() {
            self.sent.send(mail).await?;
        }
        fault.map_or(Ok("mail-1".to_owned()), Err)
    }
}

struct Team {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    outbox: Post,
    machines: MemoryMachines,
    clock: StoppedClock,
    entropy: CountingEntropy,
    assessment: Assessment,
}

impl Team {
    async fn of(levels: &[&[&str]], assessment: Assessment) -> Self {
        let team = Self {
            evidence: MemoryEvidence::default(),
            rows: MemoryRows::default(),
            outbox: Post::default(),
            machines: MemoryMachines::default(),
            clock: StoppedClock::at(Timestamp::parse(sample::ASSESSED_AT).unwrap()),
            entropy: CountingEntropy::default(),
            assessment,
        };
        let digest = team.publish(levels).await;
        let id = &team.assessment.incident_id;
        let incident = json!({
            "schema": "incident/1", "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" },
            "received_at": sample::ASSESSED_AT, "config_digest": digest, "status": "open", "run": 1,
            "updated_at": sample::ASSESSED_AT,
        });
        team.write(Write::put(Incident::key(id), &incident).unwrap()).await;
        team.assess(1, &team.assessment).await;
        team
    }

    async fn usual() -> Self {
        Self::of(&[&[APPROVER, OTHER_APPROVER], &["lead@soc.example"]], sample::assessment().unwrap()).await
    }

    async fn publish(&self, levels: &[&[&str]]) -> String {
        let levels: Vec<Value> = levels.iter().map(|approvers| json!({ "approvers": approvers })).collect();
        let policy = json!({
            "schema": "policy/1", "own": {}, "required": {"ipv4-addr": [], "ipv6-addr": [], "domain-name": [], "url": [], "email-addr": [], "file": []},
            "review": { "levels": levels,
                        "deadline_minutes": { "low": 1440, "medium": 720, "high": 60, "critical": 15 } },
            "enforce": { "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
                         "caps": { "per_incident": 50, "per_hour": 200, "per_list": 9000 } },
            "enrich": { "deadline_ms": 1000, "calls": 1, "calls_per_provider": 1 },
        });
        let bundle = Bundle::new(serde_json::from_value(policy).unwrap(), vec![], vec![]);
        let bytes = playbook::canonical::to_json(&bundle).unwrap();
        let digest = playbook::canonical::sha256_hex(&bytes);
        self.evidence.store(&Bundle::location(&digest), "application/json", &bytes).await.unwrap();
        digest
    }

    async fn assess(&self, run: u32, assessment: &Assessment) {
        let bytes = serde_json::to_vec(assessment).unwrap();
        let document = self.evidence.store(&format!("incidents/r{run}"), "application/json", &bytes).await.unwrap();
        let row = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        self.write(Write::put(Run::key(&assessment.incident_id, run), &row).unwrap()).await;
    }

    async fn write(&self, write: Write) {
        assert_eq!(self.rows.commit(&[write]).await, Ok(Commit::Done));
    }

    async fn run(&self, act: Value) -> Result<Output, Fault> {
        let settings = &Settings { public_base_url: "https://review.soc.example/".to_owned(), signs_in: false };
        let Self { evidence, rows, outbox, machines, clock, entropy, .. } = self;
        let world = World { evidence, rows, outbox, machines, clock, entropy, settings, account: "111111111111" };
        let mut input = json!({ "incident_id": self.assessment.incident_id, "a_field_of_an_author": 1 });
        input.as_object_mut().unwrap().extend(act.as_object().unwrap().clone());
        let input: Input = serde_json::from_value(input).unwrap();
        request_review::run(&world, input).await
    }

    async fn prepare(&self, run: u32, round: u32) -> Result<Output, Fault> {
        self.run(json!({ "act": "prepare", "run": run, "round": round })).await
    }

    async fn wait(&self, token: &str) -> Result<Output, Fault> {
        self.run(json!({ "act": "await", "run": 1, "round": 1, "task_token": token })).await
    }

    async fn round(&self, run: u32, round: u32) -> Round {
        Round::load(&self.rows, &self.assessment.incident_id, run, round).await.unwrap().unwrap()
    }

    async fn decide(&self, choice: Choice) -> Decision {
        let round = self.round(1, 1).await;
        let decision = Decision {
            choice,
            by: APPROVER.to_owned(),
            authenticated_by: "mailbox".to_owned(),
            reason: "bad".to_owned(),
            shown_digest: round.shown_digest.clone(),
            plan_digest: round.plan_digest.clone(),
            indicators: vec!["url#https://evil.example/login?next=invoice".to_owned()],
            ..Decision::at(Timestamp::parse(sample::ASSESSED_AT).unwrap())
        };
        let writes = decision.writes(&round, decision.at).unwrap();
        assert_eq!(self.rows.commit(&writes).await, Ok(Commit::Done));
        decision
    }

    fn mailed_to(&self) -> Vec<String> {
        self.outbox.sent.mails.borrow().iter().map(|mail| mail.to.clone()).collect()
    }

    fn secrets(&self) -> Vec<LinkSecret> {
        let link = |mail: &Mail| {
            let (_, rest) = mail.text.split_once("https://review.soc.example/r/").unwrap();
            LinkSecret::parse(rest.split_whitespace().next().unwrap()).unwrap()
        };
        self.outbox.sent.mails.borrow().iter().map(link).collect()
    }
}

#[tokio::test]
async fn everybody_of_the_level_is_asked_by_a_link_of_their_own() {
    let team = Team::usual().await;
    assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 2 }));
    assert_eq!(team.mailed_to(), [APPROVER, OTHER_APPROVER]);
    let round = team.round(1, 1).await;
    assert_eq!(round.question, Question::ApprovePlan);
    assert_eq!(round.deadline.to_string(), "2026-11-24T06:00:00.000Z");
    // `sweep` looks at half time first, and then at the deadline.
    assert_eq!(round.remind_at.unwrap().to_string(), "2026-11-24T05:30:00.000Z");
    assert_eq!(
        (round.due_kind.as_deref(), round.due_at, round.last, round.reminded),
        (Some("round-deadline"), round.remind_at, false, false)
    );
    assert_eq!(round.plan_digest, team.assessment.plan_digest);
    let incident = Incident::load(&team.rows, &team.assessment.incident_id).await.unwrap();
    assert_eq!(incident.status, IncidentStatus::Waiting);

    for (secret, approver) in team.secrets().iter().zip([APPROVER, OTHER_APPROVER]) {
        let link: Link = team.rows.get(&Link::key(&secret.digest())).await.unwrap().unwrap().read().unwrap();
        assert_eq!(link.approver, approver);
        let everything = format!("{:?}", team.rows.all());
        assert!(!everything.contains(secret.reveal()), "only the digest of a secret is stored");
    }
}

#[tokio::test]
async fn a_redelivered_prepare_mails_nobody_twice_and_keeps_the_deadline() {
    let team = Team::usual().await;
    for minutes in 0..5 {
        assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 2 }));
        team.clock.advance_minutes(minutes);
    }
    assert_eq!(team.mailed_to().len(), 2);
    assert_eq!(team.round(1, 1).await.deadline.to_string(), "2026-11-24T06:00:00.000Z");
}

#[tokio::test]
async fn a_mail_that_was_not_confirmed_is_sent_again_and_counted() {
    let team = Team::usual().await;
    team.outbox.fails.set(Some(|to| (to == APPROVER).then(|| Fault::Unavailable("timeout".to_owned()))));
    team.outbox.takes_it_anyway.set(true);
    assert_eq!(team.prepare(1, 1).await, Err(Fault::Unavailable("timeout".to_owned())));
    team.outbox.fails.set(None);
    assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 2 }));
    assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 2 }));
    assert_eq!(team.mailed_to(), [APPROVER, OTHER_APPROVER, APPROVER]);
    let secrets = team.secrets();
    assert_ne!(secrets[0], secrets[2], "the second mail has a link of its own");
    let attempts: Vec<Value> =
        team.rows.all().iter().filter_map(|row| row.attributes.get("attempts").cloned()).collect();
    assert!(attempts.contains(&json!(2)) && attempts.contains(&json!(1)));
}

#[tokio::test]
async fn an_address_that_is_refused_for_good_keeps_nobody_else_from_being_asked() {
    let team = Team::usual().await;
    team.outbox.fails.set(Some(|to| (to == APPROVER).then(|| Fault::Rejected("no such mailbox".to_owned()))));
    assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 2 }));
    assert_eq!(team.mailed_to(), [OTHER_APPROVER]);
    assert!(team.rows.all().iter().any(|row| row.attributes.contains_key("refused")));
}

#[tokio::test]
async fn a_mailbox_that_is_part_of_the_incident_is_not_asked_and_the_next_level_is() {
    let mut assessment = sample::assessment().unwrap();
    assessment.participants.push(APPROVER.to_uppercase());
    let team = Team::of(&[&[APPROVER], &[OTHER_APPROVER]], assessment).await;
    assert_eq!(team.prepare(1, 1).await, Ok(Output::Asked { round: 1, asked: 1 }));
    assert_eq!(team.mailed_to(), [OTHER_APPROVER]);
    let round = team.round(1, 1).await;
    assert_eq!((round.skipped, round.last), (vec![APPROVER.to_owned()], true));
    assert!(team.outbox.sent.mails.borrow()[0].text.contains("Not asked, because the mailbox is part of the incident"));
}

#[tokio::test]
async fn when_nobody_is_left_who_may_decide_the_stage_fails_visibly() {
    let mut assessment = sample::assessment().unwrap();
    assessment.participants.push(APPROVER.to_owned());
    let team = Team::of(&[&[APPROVER]], assessment).await;
    let why = "nobody is left who may decide round 1: every approver's mailbox is part of the incident";
    assert!(matches!(team.prepare(1, 1).await, Err(Fault::Rejected(reason)) if reason == why));
    assert!(team.mailed_to().is_empty());
}

#[tokio::test]
async fn a_round_after_the_last_level_fails_visibly_and_says_so() {
    let team = Team::usual().await;
    let why = "nobody is left who may decide round 3: the policy has no further level in which somebody may";
    assert!(matches!(team.prepare(1, 3).await, Err(Fault::Rejected(reason)) if reason == why));
    assert!(team.mailed_to().is_empty());
}

#[tokio::test]
async fn the_second_round_asks_the_second_level_and_says_that_the_first_did_not_answer() {
    let team = Team::usual().await;
    team.prepare(1, 1).await.unwrap();
    team.clock.advance_minutes(60);
    assert_eq!(team.prepare(1, 2).await, Ok(Output::Asked { round: 2, asked: 1 }));
    assert_eq!(team.mailed_to()[2..], ["lead@soc.example"]);
    assert!(team.round(1, 2).await.last);
    let mails = team.outbox.sent.mails.borrow();
    let line = "level 1: ana[@]soc[.]example, ben[@]soc[.]example were asked at 2026-11-24 05:00 UTC and did not answer \
                by 06:00 UTC";
    assert!(mails[2].text.contains(line) && mails[2].html.contains(line), "{}", mails[2].text);
    assert!(mails[2].subject.ends_with("by 07:00Z, nobody answered before"), "{}", mails[2].subject);
    assert!(!mails[0].text.contains("nobody answered"));
}

#[tokio::test]
async fn the_mail_names_the_tickets_and_what_was_written_without_asking() {
    let mut assessment = sample::assessment().unwrap();
    let mut entry = assessment.plan.entries[0].clone();
    (entry.target, entry.act, entry.ticked) = ("misp".to_owned(), "record".to_owned(), false);
    assessment.plan.entries.push(entry.clone());
    assessment.plan_digest = assessment.plan.digest().unwrap();
    let team = Team::of(&[&[APPROVER]], assessment).await;
    let id = &team.assessment.incident_id;
    let ticket = json!({
        "schema": "ticket/1", "target": "jira", "owner": "", "claimed_at": sample::ASSESSED_AT,
        "external_id": "IOC-17", "permalink": "https://jira.corp.example/browse/IOC-17",
    });
    team.write(Write::put(Ticket::key(id, "jira"), &ticket).unwrap()).await;
    let written = json!({
        "schema": "ledger/1", "target": "misp", "type": "url", "value": entry.observable.value(),
        "expires_at": "2026-12-08T05:00:00.000Z", "written_at": sample::ASSESSED_AT,
    });
    team.write(Write::put(LedgerEntry::key("misp", &entry.observable), &written).unwrap()).await;
    team.prepare(1, 1).await.unwrap();
    let mail = team.outbox.sent.mails.borrow()[0].clone();
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("jira IOC-17, hxxps://jira[.]corp[.]example/browse/IOC-17"), "{part}");
        assert!(part.contains("already recorded in misp until 2026-12-08 05:00 UTC"), "{part}");
    }
    // What is recorded is not offered for approval.
    assert!(!mail.text.contains("on misp for"), "{}", mail.text);
}

#[tokio::test]
async fn a_later_run_is_called_looked_at_again_and_says_what_was_decided_before() {
    let team = Team::usual().await;
    team.prepare(1, 1).await.unwrap();
    team.decide(Choice::Rejected).await;
    let id = &team.assessment.incident_id;
    team.write(Write::set(Incident::key(id), &json!({ "run": 2, "status": "open" })).unwrap()).await;
    let mut again = team.assessment.clone();
    again.run = 2;
    again.plan.entries[1].ticked = true;
    again.plan_digest = again.plan.digest().unwrap();
    team.assess(2, &again).await;
    team.prepare(2, 1).await.unwrap();
    let mail = team.outbox.sent.mails.borrow()[2].clone();
    assert!(mail.subject.starts_with("[IOC review] looked at again: HIGH"), "{}", mail.subject);
    let before = "Before: called a false positive by ana[@]soc[.]example at 2026-11-24 05:00 UTC: bad";
    assert!(mail.text.contains(before) && mail.html.contains(before), "{}", mail.text);
}

#[tokio::test]
async fn an_await_keeps_the_newest_token_and_a_decided_round_wakes_it_at_once() {
    let team = Team::usual().await;
    team.prepare(1, 1).await.unwrap();
    assert_eq!(serde_json::to_value(team.wait("token-1").await.unwrap()).unwrap(), json!({}));
    team.wait("token-2").await.unwrap();
    assert_eq!(team.round(1, 1).await.task_token.as_deref(), Some("token-2"));
    assert!(team.machines.woken.borrow().is_empty());

    team.decide(Choice::Approved).await;
    assert_eq!(team.round(1, 1).await.due_kind.as_deref(), Some("decided-not-woken"));
    team.wait("token-3").await.unwrap();
    assert_eq!(*team.machines.woken.borrow(), ["token-3"]);
    let round = team.round(1, 1).await;
    assert_eq!((round.state.as_str(), round.due_kind, round.due_at), (DECIDED, None, None));
}

#[tokio::test]
async fn a_retried_prepare_resets_no_decision_and_mails_nobody() {
    let team = Team::usual().await;
    team.prepare(1, 1).await.unwrap();
    team.decide(Choice::Rejected).await;
    team.prepare(1, 1).await.unwrap();
    assert_eq!(team.round(1, 1).await.state, DECIDED);
    assert_eq!(team.mailed_to().len(), 2);
}

#[tokio::test]
async fn the_next_run_inherits_a_decision_on_an_equal_plan_and_asks_again_on_another() {
    for (is_equal, asked) in [(true, 0), (false, 2)] {
        let team = Team::usual().await;
        team.prepare(1, 1).await.unwrap();
        let decision = team.decide(Choice::Approved).await;
        let id = &team.assessment.incident_id;
        team.write(Write::set(Incident::key(id), &json!({ "run": 2, "status": "open" })).unwrap()).await;
        let mut again = team.assessment.clone();
        again.run = 2;
        if !is_equal {
            again.plan.entries[1].ticked = true;
            again.plan_digest = again.plan.digest().unwrap();
        }
        team.assess(2, &again).await;
        assert_eq!(team.prepare(2, 1).await, Ok(Output::Asked { round: 1, asked }));
        let inherited = Decision::load(&team.rows, id, 2, 1).await.unwrap();
        assert_eq!(inherited.is_some(), is_equal);
        if let Some(inherited) = inherited {
            assert_eq!(inherited.authenticated_by, "inherited");
            assert_eq!(
                (inherited.choice, &inherited.by, &inherited.indicators),
                (decision.choice, &decision.by, &decision.indicators)
            );
            assert_eq!(team.round(2, 1).await.state, DECIDED);
            assert_eq!(team.mailed_to().len(), 2, "nobody is mailed again");
            let act = json!({ "act": "await", "run": 2, "round": 1, "task_token": "token-r2" });
            team.run(act).await.unwrap();
            assert_eq!(*team.machines.woken.borrow(), ["token-r2"]);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_rejected_and_a_token_never_prints() {
    let team = Team::usual().await;
    assert!(matches!(team.prepare(7, 1).await, Err(Fault::Rejected(_))));
    assert!(matches!(team.wait("token").await, Err(Fault::Rejected(_))));
    let id = &team.assessment.incident_id;
    let input = json!({ "act": "await", "incident_id": id, "run": 1, "round": 1, "task_token": "very-secret" });
    assert!(!format!("{:?}", serde_json::from_value::<Input>(input).unwrap()).contains("very-secret"));
}

#[tokio::test]
async fn the_mail_says_everything_and_only_our_link_is_live() {
    let team = Team::usual().await;
    team.prepare(1, 1).await.unwrap();
    let mail = team.outbox.sent.mails.borrow()[0].clone();
    let shown = mail.text.replace(team.secrets()[0].reveal(), "<secret>");
    insta::assert_snapshot!("mail", format!("To: {}\nSubject: {}\n\n{shown}", mail.to, mail.subject));
    for part in [&mail.text, &mail.html] {
        let rest = part.replace("https://review.soc.example/r/", "");
        for live in ["http://", "https://", "evil.example", "@soc.example", "threatfox.example"] {
            assert!(!rest.contains(live), "{live:?} is live");
        }
    }
    assert_eq!(mail.html.matches("href=").count(), 1);
    assert!(mail.subject.chars().count() <= 201 && mail.subject.contains("by 06:00Z"), "{}", mail.subject);
}
