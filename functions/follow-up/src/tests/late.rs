//! A late answer opens an incident again, once, when it changes the verdict, and never otherwise.

use playbook::{outcome::Judgement, verdict::PersonDecision};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_late_malicious_answer_that_is_delivered_five_times_opens_one_run() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    for _ in 0..5 {
        assert_eq!(desk.deliver(&message).await, none_failed());
    }
    desk.assert_opened_once(2).await;
    assert_eq!(desk.incident().await.reopened, 1);
    assert_eq!(desk.paths().len(), 1);
    let kept = desk.kept().await;
    assert_eq!((kept.len(), kept[0].opened_run, kept[0].outcome.outcome), (1, Some(2), Status::Found));
    let cached = desk.verdicts.all();
    assert_eq!(cached[&about().key()]["vt"].outcome, Status::Found, "the next run finds it in the cache");
}

#[tokio::test(start_paused = true)]
async fn five_deliveries_at_once_call_once_and_open_one_run() {
    let desk = Desk::new(limited(), "provisional").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    let requests = ["r1", "r2", "r3", "r4", "r5"];
    join_all(requests.map(|request| desk.deliver_until_killed(&message, request, usize::MAX))).await;
    sleep(Duration::from_mins(10)).await;
    desk.deliver(&message).await;
    desk.assert_opened_once(2).await;
    assert_eq!((desk.incident().await.reopened, desk.paths().len()), (1, 1));

    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    let batch: Vec<Value> = (0..5).map(|n| json!({"messageId": format!("m{n}"), "body": message})).collect();
    desk.invoke(json!({"Records": batch}), "r1", usize::MAX).await;
    desk.deliver(&message).await;
    desk.assert_opened_once(2).await;
    assert_eq!(desk.paths().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_call_it_opens_one_run_in_the_end() {
    for calls in 0..100 {
        let desk = Desk::new(limited(), "closed").await;
        let message = desk.postponed("vt", "quota", None, 0).await;
        let first = desk.deliver_until_killed(&message, "r1", calls).await;
        if first == none_failed() && desk.rows_pending().await.is_empty() {
            assert!(calls > 8, "{calls} calls");
            return;
        }
        // A lease of the dead is over a moment later; SQS delivers again, and the safety net of the row twice more.
        for _ in 0..3 {
            sleep(Duration::from_mins(1)).await;
            desk.deliver(&message).await;
        }
        desk.assert_opened_once(2).await;
        assert_eq!(desk.incident().await.reopened, 1, "killed at call {calls}");
        assert_eq!(desk.kept().await.len(), 1, "killed at call {calls}");
    }
    panic!("it always was killed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_nothing_only_ends_the_lookup() {
    let desk = Desk::new(limited(), "closed").await;
    desk.answers(UNKNOWN);
    let message = desk.postponed("vt", "quota", None, 0).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    assert!(desk.rows_pending().await.is_empty() && desk.started().is_empty());
    let kept = desk.kept().await;
    assert_eq!((kept[0].outcome.outcome, kept[0].opened_run), (Status::NotFound, None));
    assert_eq!((desk.incident().await.run, desk.incident().await.status), (1, IncidentStatus::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_verdict_already_has_opens_nothing() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    let found = desk.verdicts.all()[&about().key()]["vt"].clone();
    let desk = Desk::new(limited(), "closed").await;
    desk.assessed(found).await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    assert!(desk.started().is_empty() && desk.rows_pending().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_a_person_decides_the_answer_waits_and_is_used_afterwards_without_asking_again() {
    let desk = Desk::new(limited(), "waiting").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    let row = desk.the_row().await;
    assert!(row.outcome.is_some() && row.try_at == desk.clock.now().plus_minutes(5), "{row:?}");
    assert_eq!((desk.started().len(), desk.paths().len()), (0, 1));
    // Longer than the answer is kept in the cache.
    for _ in 0..60 {
        sleep(Duration::from_mins(61)).await;
        let message = desk.the_row().await.message().unwrap();
        assert_eq!(desk.deliver(&message).await, none_failed());
    }
    desk.set(json!({"status": "closed", "result": "timed_out"})).await;
    sleep(Duration::from_mins(61)).await;
    let message = desk.the_row().await.message().unwrap();
    desk.deliver(&message).await;
    desk.assert_opened_once(2).await;
    assert_eq!(desk.paths().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_an_older_run_goes_into_the_cache_only() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.set(json!({"run": 2})).await;
    desk.deliver(&message).await;
    assert!(desk.rows_pending().await.is_empty() && desk.started().is_empty());
    assert_eq!(desk.verdicts.all().len(), 1);
    assert_eq!((desk.incident().await.run, desk.incident().await.reopened), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_decided_is_not_opened_again_by_weaker_evidence() {
    let check = async |manifest: Manifest, opens: bool| {
        let desk = Desk::new(manifest, "closed").await;
        let decision = PersonDecision {
            verdict: Judgement::Benign,
            by: "ana@soc.example".to_owned(),
            at: start(),
            expires_at: start().plus_hours(24 * 90),
        };
        desk.put(PersonDecision::key(&about()), &decision).await;
        sleep(Duration::from_mins(1)).await;
        let message = desk.postponed("vt", "quota", None, 0).await;
        desk.deliver(&message).await;
        assert_eq!(desk.started().len(), usize::from(opens));
    };
    let mut weaker = limited();
    weaker.grade = Some(playbook::outcome::Grade::B);
    check(weaker, false).await;
    // A source that only goes on listing it has seen nothing new.
    check(limited(), false).await;
    // A newer word of grade A contradicts the person: somebody must look.
    let mut newer = limited();
    newer.mapping = newer.mapping.replacen('{', "{\"last_seen\": \"2999-01-01\", ", 1);
    check(newer, true).await;
}

#[tokio::test(start_paused = true)]
async fn after_three_times_an_incident_is_left_to_people_and_the_row_says_so() {
    let desk = Desk::new(limited(), "closed").await;
    desk.set(json!({"reopened": 3})).await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    for _ in 0..3 {
        assert_eq!(desk.deliver(&message).await, none_failed());
    }
    let row = desk.the_row().await;
    assert!(row.held.is_some_and(|why| why.contains("3 times")) && row.due_kind.is_none() && row.due_at.is_none());
    assert_eq!(row.outcome.map(|outcome| outcome.outcome), Some(Status::Found));
    assert!(desk.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_failed_before_it_was_assessed_is_left_to_people() {
    let desk = Desk::new(limited(), "failed").await;
    desk.put(Run::key(&desk.id, 1), &Run::default()).await;
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    assert!(desk.started().is_empty() && desk.rows_pending().await.is_empty());
    assert_eq!(desk.kept().await.len(), 1);
}
