//! What earlier releases wrote is read by this one, and what they had begun is brought to its end.
//!
//! `tests/fixtures/releases/<version>/` holds what the functions of that release left behind, recorded once and never edited:
//! the configuration under `config/`, named by its digest, and one folder for each situation in which a deployment may find
//! an incident. A new release is a new folder. Each situation has the table (`rows.json`), the bucket (`documents.json`), the
//! mails that were sent (`mails.json`), and what went over the intake queue and from the state machine to its stages with
//! what they answered (`stages.json`, with the time of the recording).

mod reading;
mod recording;

use playbook::{
    IncidentId,
    assessment::{Assessment, Route},
    incident::{Incident, IncidentStatus},
    outcome::Judgement,
    plan::Entry,
};
use serde::Serialize;
use update_databases::Act;

use crate::{
    releases::recording::{Recording, all, of},
    walkthrough::{Browser, link_in},
    world::World,
};

/// The incident of the recording, as its row stands now.
fn incident(world: &World) -> Incident {
    let rows = world.rows.all();
    let mut incidents = rows.iter().filter(|row| row.key.pk.starts_with("incident#") && row.key.sk == "meta");
    let incident = incidents.next().unwrap().read().unwrap();
    assert!(incidents.next().is_none(), "a recording is about one incident");
    incident
}

/// The entries of the plan on the lists that we serve.
fn listed(assessment: &Assessment) -> impl Iterator<Item = &Entry> {
    assessment.plan.open().filter(|entry| entry.target == "served-list")
}

/// Asserts that the served lists hold everything that the plan puts on them, or nothing of it.
async fn check_lists(world: &World, assessment: &Assessment, are_filled: bool) {
    assert!(listed(assessment).count() > 0, "the recorded plan puts something on a list");
    for entry in listed(assessment) {
        let list = world.list(entry.observable.kind().as_str()).await;
        assert_eq!(list.iter().any(|line| line == entry.observable.value()), are_filled, "{entry:?}: {list:?}");
    }
}

/// Decides by the link that the earlier release mailed.
async fn decide(world: &World, recording: &Recording, choice: &str) {
    let mail = recording.mails().into_iter().find(|mail| mail.text.contains("/r/")).unwrap();
    let response = Browser::open(world, &link_in(&mail)).await.decide(choice).await;
    assert_eq!(response.status(), 303, "{}: {}", recording.name, String::from_utf8_lossy(response.body()));
    assert_eq!(*world.machines.woken.borrow(), ["token-1"], "{}: the execution that waits is woken", recording.name);
}

/// What was approved is written, served and closed.
async fn enforce_and_close(world: &World, id: &IncidentId) {
    let assessment = world.assessment(id).await;
    let written = world.update_databases(id, Act::Enforce).await.unwrap();
    assert_eq!((written.written, written.refused), (assessment.plan.open().count(), 0));
    check_lists(world, &assessment, true).await;
    assert_eq!(world.close(id).await.result, "enforced");
    assert_eq!(world.incident(id).await.status, IncidentStatus::Closed);
}

/// Asserts that a stage answers with every field that it answered with in an earlier release: executions that were started
/// then run to their end by the machine of then, and it reads them.
fn check_answer(stage: &str, answer: &impl Serialize) {
    let answer = serde_json::to_value(answer).unwrap();
    let recordings = all();
    let calls: Vec<_> = recordings.iter().flat_map(Recording::calls).filter(|call| call.stage == stage).collect();
    assert!(!calls.is_empty(), "no call of {stage} is recorded");
    for field in calls.iter().flat_map(|call| call.output.as_object().unwrap().keys()) {
        assert!(answer.get(field).is_some(), "{stage} does not answer {field:?} any more: {answer}");
    }
}

#[tokio::test]
async fn every_stage_answers_what_the_machine_of_the_release_before_reads() {
    for recording in of("admitted") {
        let world = recording.world().await;
        let extracted = world.extract(&recording.executions()[0]).await;
        check_answer("extract", &extracted);
        world.enrich(&extracted).await.iter().for_each(|enriched| check_answer("enrich", enriched));
        check_answer("assess", &world.assess(&extracted.incident_id).await);
        check_answer("request-review", &world.request_review(&extracted.incident_id).await);
        check_answer("close", &world.close(&extracted.incident_id).await);
    }
    for recording in of("decided") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        check_answer("update-databases", &world.update_databases(&id, Act::Enforce).await.unwrap());
    }
}

#[tokio::test]
async fn an_incident_that_was_only_admitted_goes_all_the_way() {
    for recording in of("admitted") {
        let world = recording.world().await;
        let extracted = world.extract(&recording.executions()[0]).await;
        let id = extracted.incident_id.clone();
        assert!(world.enrich(&extracted).await.iter().all(|chunk| chunk.degraded == 0), "{}", recording.name);
        assert_eq!(world.assess(&id).await.route, Route::Benign, "{}: nobody knows anything of it", recording.name);
        assert_eq!(world.close(&id).await.result, "not_malicious", "{}", recording.name);
    }
}

#[tokio::test]
async fn a_message_that_comes_again_after_the_deployment_starts_nothing() {
    for recording in of("admitted") {
        let world = recording.world().await;
        let before = incident(&world);
        for message in recording.messages() {
            assert!(world.deliver(message).await.failures.is_empty(), "{}", recording.name);
        }
        assert!(world.machines.started.borrow().is_empty(), "{}", recording.name);
        assert_eq!(incident(&world), before, "{}", recording.name);
    }
}

#[tokio::test]
async fn an_execution_of_the_release_before_that_ended_badly_is_noted() {
    for recording in of("execution-ended") {
        let world = recording.world().await;
        for message in recording.messages() {
            assert!(world.deliver(message).await.failures.is_empty(), "{}", recording.name);
        }
        let incident = incident(&world);
        assert_eq!(incident.status, IncidentStatus::Failed, "{}", recording.name);
        assert!(incident.failure.is_some_and(|failure| failure.contains("TIMED_OUT")), "{}", recording.name);
    }
}

#[tokio::test]
async fn what_was_enriched_is_assessed_asked_and_enforced() {
    for recording in of("enriched") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        assert_eq!(world.assess(&id).await.route, Route::Review, "{}", recording.name);
        // The machine of then goes on, which recorded nothing and opened no ticket.
        world.request_review(&id).await;
        let mail = world.outbox.mails.borrow().last().cloned().unwrap();
        assert_eq!(Browser::open(&world, &link_in(&mail)).await.decide("approved").await.status(), 303);
        enforce_and_close(&world, &id).await;
    }
}

#[tokio::test]
async fn a_person_decides_by_the_link_that_the_release_before_mailed() {
    for recording in of("waiting") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        assert!(world.update_databases(&id, Act::Enforce).await.is_err(), "{}: nobody has decided", recording.name);
        decide(&world, &recording, "approved").await;
        enforce_and_close(&world, &id).await;
    }
}

#[tokio::test]
async fn a_false_positive_of_the_release_before_is_taken_back_and_remembered() {
    for recording in of("waiting") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        decide(&world, &recording, "rejected").await;
        world.update_databases(&id, Act::Release).await.unwrap();
        assert_eq!(world.close(&id).await.result, "false_positive", "{}", recording.name);
        check_lists(&world, &world.assessment(&id).await, false).await;
    }
}

#[tokio::test]
async fn nobody_decides_and_the_deadline_that_the_release_before_set_passes() {
    for recording in of("waiting") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        world.clock.advance_minutes(7 * 24 * 60);
        let swept = world.sweep().await;
        assert_eq!((swept.ended, swept.failed), (1, 0), "{}: {swept:?}", recording.name);
        assert_eq!(world.close(&id).await.result, "timed_out", "{}", recording.name);
        check_lists(&world, &world.assessment(&id).await, false).await;
    }
}

#[tokio::test]
async fn what_was_decided_before_the_deployment_is_enforced_after_it() {
    for recording in of("decided") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        enforce_and_close(&world, &id).await;
    }
}

#[tokio::test]
async fn an_incident_that_lacks_data_is_acknowledged_and_closed() {
    for recording in of("needs-data") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        decide(&world, &recording, "acknowledged").await;
        assert_eq!(world.close(&id).await.result, "acknowledged", "{}", recording.name);
        assert_eq!(world.incident(&id).await.status, IncidentStatus::Closed, "{}", recording.name);
    }
}

#[tokio::test]
async fn entries_of_the_release_before_are_released() {
    for recording in of("enforced") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        let assessment = world.assessment(&id).await;
        check_lists(&world, &assessment, true).await;
        let output = world.update_databases(&id, Act::Release).await.unwrap();
        assert_eq!((output.released, output.refused), (recording.entries(), 0), "{}", recording.name);
        check_lists(&world, &assessment, false).await;
    }
}

#[tokio::test]
async fn entries_of_the_release_before_expire_by_themselves() {
    for recording in of("enforced") {
        let world = recording.world().await;
        let assessment = world.assessment(&incident(&world).incident_id).await;
        world.clock.advance_minutes(366 * 24 * 60);
        let swept = world.sweep().await;
        assert_eq!((swept.expired, swept.failed), (recording.entries(), 0), "{}: {swept:?}", recording.name);
        check_lists(&world, &assessment, false).await;
    }
}

#[tokio::test]
async fn enforcing_again_after_the_deployment_changes_nothing() {
    for recording in of("enforced") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        enforce_and_close(&world, &id).await;
        let entries = world.rows.all().iter().filter(|row| row.key.sk == "entry").count();
        assert_eq!(entries, recording.entries(), "{}: no entry is written twice", recording.name);
        assert!(world.mails_to("night-shift@soc.example").is_empty(), "{}: nobody is told twice", recording.name);
    }
}

#[tokio::test]
async fn a_decision_of_the_release_before_on_an_observable_still_rules() {
    for recording in of("false-positive") {
        let world = recording.world().await;
        let id = incident(&world).incident_id;
        world.assess(&id).await;
        let assessment = world.assessment(&id).await;
        let ruled = assessment.observables.iter().filter(|o| o.conclusion.rule == 1).collect::<Vec<_>>();
        assert!(!ruled.is_empty(), "{}", recording.name);
        assert!(ruled.iter().all(|o| o.conclusion.verdict == Judgement::Benign), "{}", recording.name);
    }
}
