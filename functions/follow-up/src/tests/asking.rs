//! Lookups are tried again at their time, within the limits, and not for ever.

use playbook::{cache::Claim, manifest::Tlp, pending::DUE_PARKED};

use super::*;

impl Desk {
    fn delays(&self) -> Vec<u32> {
        self.queue.delays.borrow().clone()
    }

    /// Delivers the row's message at its time until the row is gone; how often that was.
    async fn deliver_to_the_end(&self) -> usize {
        for times in 1..1_000 {
            let Some(row) = self.rows_pending().await.pop() else { return times - 1 };
            sleep(Duration::from_millis(u64::try_from(row.try_at.ms_since(self.clock.now())).unwrap_or(0))).await;
            assert_eq!(self.deliver(&row.message().unwrap()).await, none_failed());
        }
        panic!("it never ends")
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_early_is_sent_again_to_come_in_time() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 100).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    sleep(Duration::from_mins(1)).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    assert_eq!(desk.delays(), [100, 40]);
    assert_eq!(desk.queue.messages.borrow()[0], message);
    assert!(desk.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_old_message_of_a_row_that_has_moved_on_is_dropped() {
    let desk = Desk::new(limited(), "closed").await;
    let old = desk.postponed("vt", "quota", None, 0).await;
    desk.postponed("vt", "quota", None, 100).await;
    for _ in 0..5 {
        assert_eq!(desk.deliver(&old).await, none_failed());
    }
    assert!(desk.queue.messages.borrow().is_empty() && desk.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_was_put_off_has_passed_the_marks() {
    // As of an incident that is marked GREEN: the row does not say so, and is there because it was allowed.
    let mut provider = limited();
    provider.tlp_ceiling = Tlp::Green;
    let desk = Desk::new(provider, "closed").await;
    desk.answers(MALICIOUS);
    let message = desk.postponed("vt", "quota", None, 0).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    assert_eq!(desk.paths().len(), 1);
    desk.assert_opened_once(2).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_cannot_hold_stays_parked() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("vt", "quota", None, 3_600).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    assert!(desk.queue.messages.borrow().is_empty());
    let row = desk.the_row().await;
    assert_eq!((row.due_kind.as_deref(), row.due_at), (Some(DUE_PARKED), Some(row.try_at.plus_minutes(-10))));
}

#[tokio::test(start_paused = true)]
async fn without_a_slot_the_lookup_is_promised_the_next_one_and_then_has_it() {
    let desk = Desk::new(limited(), "closed").await;
    let account = "vt#none#all".to_owned();
    let mut quota = playbook::cache::Quota::default();
    quota.take(&Claim::whole(&limited().limits), 3, start(), start().plus_minutes(1));
    quota.version = 1;
    let _swapped = desk.quotas.swap(&account, 0, &quota).await.unwrap();
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    let row = desk.the_row().await;
    assert_eq!(row.try_at.ms_since(start()) / 1_000, 45);
    assert!(desk.paths().is_empty() && (45..=46).contains(&desk.delays()[0]));
    assert_eq!(desk.deliver_to_the_end().await, 1);
    desk.assert_opened_once(2).await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_call_a_lookup_that_is_put_off_is_not_lost() {
    for calls in 0..100 {
        let desk = Desk::new(sandbox(), "closed").await;
        desk.answers((200, r#"{"state": "running"}"#));
        let message = desk.postponed("box", "submitted", Some("t1"), 0).await;
        let first = desk.deliver_until_killed(&message, "r1", calls).await;
        let row = desk.the_row().await;
        let will_come = row.due_at.is_some_and(|at| at <= row.try_at.plus_minutes(2)) && row.due_kind.is_some();
        assert!(will_come, "killed at call {calls}: {row:?}");
        if first == none_failed() && desk.delays() == [60] {
            assert!(calls > 5, "{calls} calls");
            return;
        }
    }
    panic!("it always was killed");
}

#[tokio::test(start_paused = true)]
async fn a_submitted_sandbox_is_polled_until_it_answers_and_never_submitted_again() {
    let desk = Desk::new(sandbox(), "closed").await;
    desk.answers((200, r#"{"state": "running"}"#));
    let message = desk.postponed("box", "submitted", Some("t1"), 0).await;
    for _ in 0..5 {
        desk.deliver(&message).await;
    }
    assert_eq!(desk.paths(), ["/result/t1"]);
    let row = desk.the_row().await;
    assert_eq!((row.task.as_deref(), desk.delays().as_slice()), (Some("t1"), [60].as_slice()));
    desk.answers((503, ""));
    sleep(Duration::from_secs(61)).await;
    desk.deliver(&desk.the_row().await.message().unwrap()).await;
    assert_eq!(desk.the_row().await.task.as_deref(), Some("t1"), "a provider out of order still works on it");
    desk.answers(MALICIOUS);
    assert_eq!(desk.deliver_to_the_end().await, 1);
    assert_eq!(desk.paths(), ["/result/t1"; 3]);
    desk.assert_opened_once(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_never_answers_is_given_up_and_forgotten() {
    let desk = Desk::new(sandbox(), "closed").await;
    desk.answers((200, r#"{"state": "running"}"#));
    desk.postponed("box", "submitted", Some("t1"), 0).await;
    let times = desk.deliver_to_the_end().await;
    assert!((58..=62).contains(&times), "{times}");
    let kept = desk.kept().await;
    assert_eq!((kept[0].outcome.outcome, kept[0].outcome.reason.as_deref()), (Status::Error, Some("no_result")));
    assert_eq!(desk.verdicts.all()[&about().key()]["box"].task, None, "who asks next submits it anew");
    assert!(desk.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_stays_down_is_asked_ever_more_rarely_and_given_up() {
    let desk = Desk::new(limited(), "closed").await;
    desk.answers((503, ""));
    desk.postponed("vt", "quota", None, 0).await;
    let times = desk.deliver_to_the_end().await;
    assert!((20..=80).contains(&times) && desk.paths().len() <= times, "{times}, {}", desk.paths().len());
    assert!(desk.clock.now() >= start().plus_hours(48) && desk.clock.now() < start().plus_hours(49));
    assert_eq!(desk.kept().await[0].outcome.reason.as_deref(), Some("gave_up"));
    assert!(desk.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_error_that_does_not_pass_ends_the_lookup() {
    let desk = Desk::new(limited(), "closed").await;
    desk.answers((200, "<html>"));
    let message = desk.postponed("vt", "quota", None, 0).await;
    desk.deliver(&message).await;
    assert!(desk.rows_pending().await.is_empty() && desk.started().is_empty());
    assert_eq!(desk.kept().await[0].outcome.reason.as_deref(), Some("garbage"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_the_configuration_does_not_have_is_nobody_to_wait_for() {
    let desk = Desk::new(limited(), "closed").await;
    let message = desk.postponed("gone", "quota", None, 0).await;
    assert_eq!(desk.deliver(&message).await, none_failed());
    assert!(desk.rows_pending().await.is_empty());
    let skipped = skipped(&limited(), "x", start());
    assert!(!sources::may_pass(&skipped), "what is not asked does not change by waiting");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_in_the_queue_and_holds_up_nobody() {
    let desk = Desk::new(limited(), "closed").await;
    let good = desk.postponed("vt", "quota", None, 0).await;
    let meta = json!({"schema": "follow-up/1", "pk": format!("incident#{}", desk.id), "sk": "meta"}).to_string();
    let gone = json!({"schema": "follow-up/1", "pk": "incident#x", "sk": "pending#1#vt#x"}).to_string();
    let bodies = ["nonsense", r#"{"schema": "follow-up/9", "pk": "a", "sk": "b"}"#, &meta, &gone, &good];
    let batch: Vec<Value> =
        bodies.iter().enumerate().map(|(n, body)| json!({"messageId": n.to_string(), "body": body})).collect();
    let output = desk.invoke(json!({"Records": batch}), "r1", usize::MAX).await;
    let failed: Vec<&str> = output.failures.iter().map(|failure| failure.id.as_str()).collect();
    assert_eq!(failed, ["0", "1", "2"]);
    desk.assert_opened_once(2).await;
    assert_eq!(serde_json::to_string(&none_failed()).unwrap(), r#"{"batchItemFailures":[]}"#);
}
