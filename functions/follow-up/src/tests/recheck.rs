//! A look again at a whole incident.

use super::*;

impl Desk {
    async fn rechecked(&self, after_seconds: i64) -> String {
        let now = self.clock.now();
        let row = PendingLookup::recheck(&self.id, 1, now, now.plus_ms(after_seconds * 1_000));
        self.put(row.own_key(), &row).await;
        row.message().unwrap()
    }

    /// What the run concluded of the sample's observables; two of them lack answers.
    async fn assessed_with(&self, observables: usize) {
        let mut assessment = sample::assessment().unwrap();
        assessment.observables.retain(|assessed| observables > 0 || !assessed.conclusion.degraded);
        let json = serde_json::to_vec(&assessment).unwrap();
        let document = self.evidence.store("assessment.json", "application/json", &json).await.unwrap();
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        self.put(Run::key(&self.id, 1), &run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provisional_incident_is_looked_at_again_once() {
    let desk = Desk::new(limited(), "provisional").await;
    let message = desk.rechecked(0).await;
    for _ in 0..5 {
        assert_eq!(desk.deliver(&message).await, none_failed());
    }
    desk.assert_opened_once(2).await;
    assert_eq!(desk.incident().await.reopened, 0, "no late evidence has opened it");
    assert!(desk.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_call_it_is_looked_at_again_once() {
    for calls in 0..100 {
        let desk = Desk::new(limited(), "provisional").await;
        let message = desk.rechecked(0).await;
        let first = desk.deliver_until_killed(&message, "r1", calls).await;
        if first == none_failed() {
            assert!(calls > 4, "{calls} calls");
            return;
        }
        desk.deliver(&message).await;
        desk.deliver(&message).await;
        desk.assert_opened_once(2).await;
    }
    panic!("it always was killed");
}

#[tokio::test(start_paused = true)]
async fn a_closed_incident_is_looked_at_again_only_where_answers_were_lacking() {
    let check = async |status: &str, observables: usize, opens: bool| {
        let desk = Desk::new(limited(), status).await;
        desk.assessed_with(observables).await;
        let message = desk.rechecked(0).await;
        desk.deliver(&message).await;
        assert_eq!(desk.started().len(), usize::from(opens), "{status}");
        assert!(desk.rows_pending().await.is_empty(), "{status}");
    };
    check("closed", 6, true).await;
    check("closed", 0, false).await;
    check("failed", 6, false).await;
    check("attached", 6, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_still_works_is_not_looked_at_again() {
    let desk = Desk::new(limited(), "waiting").await;
    let message = desk.rechecked(0).await;
    desk.deliver(&message).await;
    assert_eq!(desk.the_row().await.try_at, desk.clock.now().plus_minutes(5));
    desk.set(json!({"run": 2, "status": "provisional"})).await;
    sleep(Duration::from_mins(5)).await;
    let message = desk.the_row().await.message().unwrap();
    desk.deliver(&message).await;
    assert!(desk.started().is_empty() && desk.rows_pending().await.is_empty(), "a later run looks after itself");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_looked_at_tomorrow_is_parked() {
    let desk = Desk::new(limited(), "provisional").await;
    let message = desk.rechecked(12 * 3_600).await;
    desk.deliver(&message).await;
    assert!(desk.queue.messages.borrow().is_empty() && desk.started().is_empty());
    assert_eq!(desk.the_row().await.due_at, Some(start().plus_minutes(12 * 60 - 10)));
}
