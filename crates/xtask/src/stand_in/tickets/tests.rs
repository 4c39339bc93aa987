//! The systems, the shipped manifests and the engine together: one ticket, whatever breaks.

use std::{cell::Cell, time::Duration};

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::sample,
    bundle::Bundle,
    canonical,
    decision::{Choice, Decision},
    fakes::{CountingEntropy, MemoryEvidence, MemoryRows, MemorySecrets, StoppedClock},
    incident::Incident,
    lookup::{CallError, Request},
    policy::Policy,
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Evidence, Nameserver},
    rows::{Commit, Rows, Write},
    target::Target,
    ticket::{Story, Text, Ticket},
};
use serde_json::json;
use targets::ticket::{self, Aim, Told, World};

use super::*;
use crate::project::Project;

/// The way to the stand-in; it gives way at every call, as a network does, and can be cut.
struct Way {
    tickets: Tickets,
    /// So many more answers arrive; after them the caller dies before it hears anything.
    arrives: Cell<usize>,
}

impl Egress for Way {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        tokio::task::yield_now().await;
        assert_eq!(request.url.host_str(), Some(to.host));
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", request.url.path());
        let answer = self.tickets.answer(to.host, request.method.as_str(), &path, &request.headers, &request.body);
        let answer = answer.ok_or_else(|| CallError::Unreachable("no such host".to_owned()))?;
        if self.arrives.get() == 0 {
            std::future::pending::<()>().await;
        }
        self.arrives.set(self.arrives.get() - 1);
        tokio::task::yield_now().await;
        Ok(answer)
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

/// An incident, and the systems that are on.
struct Team {
    rows: MemoryRows,
    clock: StoppedClock,
    entropy: CountingEntropy,
    secrets: MemorySecrets,
    way: Way,
    bundle: Bundle,
    incident: Incident,
    assessment: Assessment,
}

fn target(system: System) -> Target {
    let file = format!("{}.yaml", system.id());
    let path = Project::find().unwrap().path("playbook/targets").join(&file);
    let target = Target::parse(&std::fs::read_to_string(path).unwrap(), &file).unwrap();
    assert_eq!((target.off_reason(), target.host.as_str()), (Some("disabled"), system.host()));
    Target { enabled: true, ..target }
}

fn now() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

impl Team {
    fn with(systems: &[System]) -> Self {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../../../playbook/policy.yaml")).unwrap();
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.clear();
        let assessment = sample::assessment().unwrap();
        let incident = json!({
            "schema": "incident/1", "incident_id": assessment.incident_id, "tenant": "default", "kind": "mail",
            "source": "mail", "native_id": "sample", "severity": "low", "evidence": { "key": "mail/1" },
            "received_at": now(), "config_digest": "", "status": "open", "run": 1, "updated_at": now(),
        });
        let secrets = [("jira", "bot@corp.example:token"), ("github", "token"), ("slack", "token")];
        Self {
            rows: MemoryRows::default(),
            clock: StoppedClock::at(now()),
            entropy: CountingEntropy::default(),
            secrets: MemorySecrets(secrets.map(|(id, secret)| (id.to_owned(), secret.to_owned())).into()),
            way: Way { tickets: Tickets::default(), arrives: Cell::new(usize::MAX) },
            bundle: Bundle::new(policy, vec![], systems.iter().map(|system| target(*system)).collect()),
            incident: serde_json::from_value(incident).unwrap(),
            assessment,
        }
    }

    fn text(&self, decision: Option<&Decision>, result: Option<&str>) -> Text {
        let (incident, assessment) = (&self.incident, Some(&self.assessment));
        Text::of(&Story { incident, assessment, decision, result, failure: None, parents: &[] })
    }

    async fn reach(&self, text: &Text, aim: Aim) -> Result<Told, Fault> {
        let Self { rows, clock, entropy, secrets, way, .. } = self;
        ticket::reach(&World { rows, clock, egress: way, secrets, entropy }, &self.bundle, text, aim).await
    }

    async fn open(&self) -> Result<Told, Fault> {
        self.reach(&self.text(None, None), Aim::Open).await
    }

    async fn row(&self, system: System) -> Ticket {
        let row = self.rows.get(&Ticket::key(&self.incident.incident_id, system.id())).await.unwrap();
        row.unwrap().read().unwrap()
    }

    /// The one issue of a system.
    fn only(&self, system: System) -> Issue {
        let mut issues = self.way.tickets.issues(system);
        assert_eq!(issues.len(), 1, "{system:?}: {issues:?}");
        issues.remove(0)
    }
}

fn decision(choice: Choice) -> Decision {
    Decision {
        choice,
        last: true,
        by: sample::APPROVER.to_owned(),
        authenticated_by: "mailbox".to_owned(),
        reason: "seen in two mailboxes".to_owned(),
        ..Decision::at(now().plus_minutes(5))
    }
}

#[tokio::test]
async fn every_system_gets_one_ticket_with_the_severity_and_the_whole_story() {
    let team = Team::with(&System::ALL);
    for _ in 0..5 {
        assert_eq!(team.open().await, Ok(Told { tickets: 2, told: 1 }));
    }
    let id = team.incident.incident_id.as_str();
    for (system, severity, permalink) in [
        (System::Jira, "High", "https://jira.corp.example/browse/SEC-1"),
        (System::Github, "high", "https://github.com/corp-example/incidents/issues/1"),
        (System::Slack, "", "https://corp-example.slack.com/archives/C0000000000/p1700000000000100"),
    ] {
        let issue = team.only(system);
        assert_eq!((issue.severity.as_str(), issue.edits, issue.closed), (severity, 0, None), "{system:?}");
        assert!(issue.title.contains(id) && issue.text.contains("evil[.]example"), "{system:?}: {}", issue.text);
        assert!(issue.live.is_empty(), "{system:?}: {:?}", issue.live);
        let row = team.row(system).await;
        assert_eq!((row.external_id, row.is_busy, row.updates), (Some(issue.key), false, 0), "{system:?}");
        assert_eq!(row.permalink.as_deref(), Some(permalink));
        // It looks, then it writes; what is said already is not said again.
        assert_eq!(team.way.tickets.calls(system), 2, "{system:?}");
    }
}

#[tokio::test]
async fn a_ticket_that_was_created_and_answered_with_500_is_found_again() {
    for system in System::ALL {
        let team = Team::with(&[system]);
        team.way.tickets.trouble(system, Trouble::FailsAfter);
        let fault = team.open().await.unwrap_err();
        assert!(matches!(&fault, Fault::Unavailable(message) if message.contains(system.id())), "{fault}");
        assert!(!team.row(system).await.is_opened());
        team.open().await.unwrap();
        assert_eq!(team.row(system).await.external_id, Some(team.only(system).key));
    }
}

#[tokio::test]
async fn a_crash_between_the_call_and_the_row_leaves_one_ticket() {
    for system in System::ALL {
        let team = Team::with(&[system]);
        // It looks, writes, and is killed before it hears the answer.
        team.way.arrives.set(1);
        assert!(tokio::time::timeout(Duration::from_millis(20), team.open()).await.is_err());
        assert!(!team.only(system).key.is_empty());
        team.way.arrives.set(usize::MAX);
        // The dead one may still be at work as far as anybody knows.
        assert!(matches!(team.open().await, Err(Fault::Throttled(_))));
        team.clock.advance_minutes(1);
        team.open().await.unwrap();
        let (issue, row) = (team.only(system), team.row(system).await);
        assert_eq!((row.external_id, row.is_busy), (Some(issue.key), false), "{system:?}");
        let calls = team.way.tickets.calls(system);
        team.open().await.unwrap();
        assert_eq!(team.way.tickets.calls(system), calls, "{system:?}");
    }
}

#[tokio::test]
async fn a_crash_while_updating_or_closing_repeats_what_changes_nothing() {
    for system in System::ALL {
        let team = Team::with(&[system]);
        team.open().await.unwrap();
        let text = team.text(Some(&decision(Choice::Approved)), Some("1 entry was enforced"));
        for arrives in [0, 1] {
            team.way.arrives.set(arrives);
            let _ = tokio::time::timeout(Duration::from_millis(20), team.reach(&text, Aim::Close)).await;
            team.clock.advance_minutes(1);
        }
        team.way.arrives.set(usize::MAX);
        team.reach(&text, Aim::Close).await.unwrap();
        let issue = team.only(system);
        assert_eq!(issue.closed.is_some(), system != System::Slack, "{system:?}");
        assert!(issue.text.contains("1 entry was enforced"), "{system:?}");
        assert!(team.row(system).await.is_closed, "{system:?}");
    }
}

#[tokio::test]
async fn five_at_once_open_one_ticket() {
    for system in System::ALL {
        let team = Team::with(&[system]);
        let (one, two) = (team.open(), team.open());
        let (three, four, five) = (team.open(), team.open(), team.open());
        let results: [_; 5] = tokio::join!(one, two, three, four, five).into();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{system:?}: {results:?}");
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Fault::Throttled(_)))), "{results:?}");
        team.only(system);
        team.open().await.unwrap();
        assert_eq!(team.only(system).edits, 0);
    }
}

#[tokio::test]
async fn a_second_run_brings_the_same_ticket_up_to_date_once() {
    let mut team = Team::with(&System::ALL);
    team.open().await.unwrap();
    let closing = team.text(Some(&decision(Choice::Acknowledged)), Some("closed as unknown"));
    for _ in 0..5 {
        team.reach(&closing, Aim::Close).await.unwrap();
    }
    let edits: Vec<usize> = System::ALL.iter().map(|system| team.only(*system).edits).collect();
    assert_eq!(edits, [1, 1, 1]);
    assert!([System::Jira, System::Github].iter().all(|system| team.only(*system).closed.is_some()));

    team.incident.run = 2;
    team.assessment.run = 2;
    team.assessment.severity = playbook::severity::Severity::Critical;
    for _ in 0..5 {
        team.open().await.unwrap();
    }
    for (system, severity) in [(System::Jira, "Highest"), (System::Github, "critical"), (System::Slack, "")] {
        let issue = team.only(system);
        assert_eq!((issue.edits, issue.severity.as_str()), (2, severity), "{system:?}");
        assert!(issue.text.contains("run 2"), "{system:?}");
        assert!(!team.row(system).await.is_closed, "{system:?}");
    }
    // What can be opened again by the same call is open again.
    assert_eq!(team.only(System::Github).closed, None);
    let closing = team.text(Some(&decision(Choice::Rejected)), Some("nothing is enforced"));
    team.reach(&closing, Aim::Close).await.unwrap();
    assert_eq!(team.only(System::Github).closed.as_deref(), Some("not_planned"));
    assert!(team.row(System::Jira).await.is_closed);
}

#[tokio::test]
async fn a_note_leaves_the_ticket_open_and_opens_none() {
    let team = Team::with(&System::ALL);
    let text = team.text(Some(&decision(Choice::TimedOut)), Some("nothing more is enforced"));
    assert_eq!(team.reach(&text, Aim::Note).await, Ok(Told::default()));
    assert_eq!(team.reach(&text, Aim::Close).await, Ok(Told::default()));
    assert!(System::ALL.iter().all(|system| team.way.tickets.issues(*system).is_empty()));
    team.open().await.unwrap();
    team.reach(&text, Aim::Note).await.unwrap();
    for system in System::ALL {
        let issue = team.only(system);
        assert!(issue.closed.is_none() && issue.text.contains("not decided in time"), "{system:?}: {}", issue.text);
    }
}

#[tokio::test]
async fn one_target_that_fails_does_not_keep_the_others_from_being_done() {
    let team = Team::with(&System::ALL);
    team.way.tickets.trouble(System::Github, Trouble::Refuses);
    let fault = team.open().await.unwrap_err();
    assert!(matches!(&fault, Fault::Rejected(message) if message.contains("github")), "{fault}");
    team.only(System::Jira);
    team.only(System::Slack);
    team.way.tickets.trouble(System::Github, Trouble::Throttles);
    assert!(matches!(team.open().await, Err(Fault::Throttled(_))));
    assert_eq!(team.open().await, Ok(Told { tickets: 2, told: 1 }));
    team.only(System::Github);
}

#[tokio::test]
async fn trouble_about_one_incident_lasts_and_is_nobody_elses() {
    let team = Team::with(&[System::Jira]);
    let about = team.incident.incident_id.as_str();
    team.way.tickets.trouble_about(System::Jira, "inc-somebody-else", Trouble::Denies);
    team.way.tickets.trouble_about(System::Jira, about, Trouble::Denies);
    for _ in 0..2 {
        let fault = team.open().await.unwrap_err();
        assert!(matches!(&fault, Fault::Misconfigured(message) if message.contains("jira")), "{fault}");
    }
    team.way.tickets.no_trouble_about(System::Jira, about);
    assert_eq!(team.open().await, Ok(Told { tickets: 1, told: 0 }));
    team.only(System::Jira);
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_is_sent() {
    let mut team = Team::with(&[System::Jira]);
    team.secrets.0.clear();
    let fault = team.open().await.unwrap_err();
    assert!(matches!(&fault, Fault::Misconfigured(message) if message.contains("jira")), "{fault}");
    assert_eq!(team.way.tickets.calls(System::Jira), 0);
}

#[tokio::test]
async fn a_dry_run_looks_and_writes_nothing() {
    let mut team = Team::with(&System::ALL);
    for target in team.bundle.targets.values_mut() {
        target.dry_run = true;
    }
    for _ in 0..2 {
        team.open().await.unwrap();
        team.reach(&team.text(None, Some("closed")), Aim::Close).await.unwrap();
    }
    for system in System::ALL {
        assert!(team.way.tickets.issues(system).is_empty());
        assert_eq!(team.way.tickets.calls(system), 1, "{system:?}");
    }
}

#[tokio::test]
async fn a_target_that_policy_turns_off_is_left_alone() {
    let mut team = Team::with(&System::ALL);
    for system in System::ALL {
        team.bundle.policy.enforce.targets.insert(system.id().to_owned(), playbook::policy::Act::Never);
    }
    assert_eq!(team.open().await, Ok(Told::default()));
    assert!(team.rows.all().is_empty());
}

#[tokio::test]
async fn whoever_lost_the_row_meanwhile_says_so() {
    let team = Team::with(&[System::Jira]);
    team.open().await.unwrap();
    let taken = json!({ "owner": "somebody-else", "is_busy": true, "claimed_at": now() });
    let write = Write::set(Ticket::key(&team.incident.incident_id, "jira"), &taken).unwrap();
    assert_eq!(team.rows.commit(&[write]).await, Ok(Commit::Done));
    let text = team.text(None, Some("closed"));
    assert!(matches!(team.reach(&text, Aim::Close).await, Err(Fault::Throttled(_))));
    assert_eq!(team.only(System::Jira).edits, 0);
}

#[tokio::test]
async fn an_incident_on_which_the_machine_failed_gets_one_ticket_that_says_so() {
    for has_ticket in [false, true] {
        let mut team = Team::with(&System::ALL);
        let evidence = MemoryEvidence::default();
        team.incident.config_digest = team.bundle.digest().unwrap();
        let json = canonical::to_json(&team.bundle).unwrap();
        evidence.store(&Bundle::location(&team.incident.config_digest), "application/json", &json).await.unwrap();
        if has_ticket {
            team.open().await.unwrap();
        }
        let Team { rows, clock, entropy, secrets, way, .. } = &team;
        let world = World { rows, clock, egress: way, secrets, entropy };
        for _ in 0..5 {
            let told = ticket::failed(&world, &evidence, "000000000000", &team.incident, "execution ABORTED").await;
            assert_eq!(told, Ok(Told { tickets: 2, told: 1 }));
        }
        for system in System::ALL {
            let issue = team.only(system);
            assert_eq!(issue.edits, usize::from(has_ticket), "{system:?}");
            assert!(issue.text.contains("The playbook FAILED on this incident: execution ABORTED"), "{}", issue.text);
        }
    }
}
