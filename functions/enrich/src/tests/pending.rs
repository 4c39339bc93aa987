//! What cannot be answered in time is put off, in order, and lost by nobody.

use futures::future::join_all;
use playbook::{
    pending::{DUE_PARKED, FollowUp, PendingLookup},
    rows::{Commit, Key, Row},
};

use super::*;

const FOUR_A_MINUTE: &str = "limits: [{ limit: 4, window_seconds: 60, scope: key }]";

impl Desk {
    /// A desk whose runs wait so many seconds for answers.
    async fn waiting(providers: Vec<Manifest>, wait_seconds: u32) -> Self {
        let mut desk = Self::new(providers).await;
        desk.bundle.policy.follow_up.wait_seconds = wait_seconds;
        // What is put off is looked at here, not what is left out.
        desk.bundle.policy.enrich.budget.incident_percent = 100;
        desk.publish().await;
        desk
    }

    async fn pending(&self, id: &IncidentId) -> Vec<PendingLookup> {
        let rows = self.rows.list(&format!("incident#{id}"), "pending#1#").await.unwrap();
        let mut pending: Vec<PendingLookup> = rows.iter().map(|row| row.read().unwrap()).collect();
        pending.sort_by_key(|lookup| lookup.try_at);
        pending
    }

    /// As the state machine does: again while the stage says `Pending`. How often it ran, and its result.
    async fn run_with_retries(&self, id: &IncidentId) -> (usize, (usize, usize)) {
        for (attempt, wait_seconds) in [5, 10, 20, 30, 0].into_iter().enumerate() {
            match self.run(id).await {
                Ok(output) => return (attempt + 1, output),
                Err(Fault::Pending(_)) => sleep(Duration::from_secs(wait_seconds)).await,
                Err(fault) => panic!("{fault}"),
            }
        }
        panic!("still pending")
    }
}

/// Whole seconds from the start of the test.
fn seconds(at: Timestamp) -> i64 {
    at.ms_since(Timestamp::parse("2026-11-24T05:00:00Z").unwrap()) / 1_000
}

fn asserts_spacing(desk: &Desk, provider: &str) {
    let host = format!("{provider}.example");
    let calls = desk.egress.calls.borrow();
    let moments: Vec<Instant> = calls.iter().filter(|(to, _, _)| *to == host).map(|call| call.2).collect();
    for window in moments.windows(5) {
        assert!(window[4] - window[0] >= Duration::from_mins(1), "more than four in a minute: {moments:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_slot_now_is_put_off_to_the_next_ones_in_order() {
    let desk = Desk::waiting(vec![provider("vt", FOUR_A_MINUTE), provider("a", "")], 0).await;
    let id = desk.admit("one", &addresses(12)).await;
    assert_eq!(desk.run(&id).await, Ok((11, 11)));
    let pending = desk.pending(&id).await;
    assert_eq!(pending.len(), 11);
    let apart: Vec<i64> = pending.windows(2).map(|pair| pair[1].try_at.ms_since(pair[0].try_at)).collect();
    assert!(apart.iter().all(|ms| (15_000..16_000).contains(ms)), "{apart:?}");
    assert_eq!(seconds(pending[0].try_at), 15);
    assert!(pending.iter().all(|lookup| lookup.reason == "quota" && lookup.due_kind.as_deref() == Some(DUE_PARKED)));
    assert!(pending.iter().all(|lookup| lookup.due_at == Some(lookup.try_at.plus_minutes(2))));
    let mut delays = desk.queue.delays.borrow().clone();
    delays.sort_unstable();
    assert_eq!(delays.len(), 11);
    assert!((15..=16).contains(&delays[0]) && delays[10] <= 170, "{delays:?}");
    let message: FollowUp = serde_json::from_str(&desk.queue.messages.borrow()[0]).unwrap();
    assert!(pending.iter().any(|lookup| lookup.own_key().sk == message.sk && Some(lookup.try_at) == message.try_at));
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_while_slots_come_in_time_and_then_goes_on() {
    let desk = Desk::waiting(vec![provider("vt", FOUR_A_MINUTE), provider("a", "")], 45).await;
    let id = desk.admit("one", &addresses(12)).await;
    assert!(matches!(desk.run(&id).await, Err(Fault::Pending(_))));
    // What is known is stored already: should the machine give up waiting, the run goes on with it.
    assert_eq!(desk.enrichment(&id).await.observables.len(), 12);
    assert!(desk.queue.messages.borrow().is_empty(), "the run asks for itself as long as it waits");
    let (runs, output) = desk.run_with_retries(&id).await;
    let answered = 12 - output.0;
    assert!((3..=4).contains(&answered) && (2..=4).contains(&runs), "{runs} runs, {output:?}");
    assert_eq!(desk.egress.calls("vt"), answered);
    assert_eq!(desk.egress.calls("a"), 12, "what is answered is not asked again");
    assert_eq!(desk.pending(&id).await.len(), output.0, "rows of answered lookups are gone");
    assert_eq!(desk.queue.messages.borrow().len(), output.0);
    asserts_spacing(&desk, "vt");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_promised_a_time_once_however_often_the_run_is_repeated() {
    let desk = Desk::waiting(vec![provider("vt", FOUR_A_MINUTE)], 0).await;
    let id = desk.admit("one", &addresses(30)).await;
    desk.run(&id).await.unwrap();
    let before = desk.pending(&id).await;
    for _ in 0..4 {
        desk.run(&id).await.unwrap();
    }
    assert_eq!(desk.pending(&id).await, before);
    // The next incident queues up behind it.
    let other = desk.admit("other", &[observable(ObservableType::DomainName, "evil.net")]).await;
    desk.run(&other).await.unwrap();
    assert!(desk.pending(&other).await[0].try_at > before[28].try_at);
}

#[tokio::test(start_paused = true)]
async fn what_waits_longer_than_the_queue_can_is_parked() {
    let desk =
        Desk::waiting(vec![provider("vt", "limits: [{ limit: 2, window_seconds: 86400, scope: key }]")], 0).await;
    let id = desk.admit("one", &addresses(3)).await;
    desk.run(&id).await.unwrap();
    let pending = desk.pending(&id).await;
    assert_eq!(pending[0].try_at, Timestamp::parse("2026-11-25T00:00:00Z").unwrap());
    assert_eq!(pending[0].due_at, Some(pending[0].try_at.plus_minutes(-10)));
    assert!(desk.queue.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_time_at_which_the_lookup_would_have_been_given_up() {
    let desk = Desk::waiting(
        vec![provider("a", ""), provider("b", "limits: [{ limit: 2, window_seconds: 2678400, scope: key }]")],
        45,
    )
    .await;
    desk.egress.set("a", Does::Limit("180000"));
    let id = desk.admit("one", &addresses(2)).await;
    desk.run(&id).await.unwrap();
    let told: Vec<String> = desk.enrichment(&id).await.observables.iter().map(|e| tell(&e.outcomes)).collect();
    assert_eq!(told, ["a rate_limited(http_429), b found", "a rate_limited(http_429), b rate_limited(quota)"]);
    assert!(desk.pending(&id).await.is_empty() && desk.queue.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_names_a_time_is_asked_again_then() {
    let desk = Desk::waiting(vec![provider("a", "")], 0).await;
    desk.egress.set("a", Does::Limit("120"));
    let id = desk.admit("one", &addresses(1)).await;
    assert_eq!(desk.run(&id).await, Ok((0, 1)));
    let pending = desk.pending(&id).await;
    assert_eq!((pending[0].reason.as_str(), seconds(pending[0].try_at)), ("retry_after", 120));
    let other = desk.admit("other", &addresses(1)).await;
    assert_eq!(desk.run(&other).await, Ok((1, 1)));
    assert_eq!(desk.pending(&other).await[0].reason, "retry_after");
}

/// A record and a queue that take so many writes and messages, and then the function is dead.
struct Mortal<'a, T>(&'a T, &'a Cell<usize>);

impl<T> Mortal<'_, T> {
    fn burn(&self) -> Result<&T, Fault> {
        let left = self.1.get().checked_sub(1).ok_or_else(|| Fault::Unavailable("killed".to_owned()))?;
        self.1.set(left);
        Ok(self.0)
    }
}

impl Rows for Mortal<'_, MemoryRows> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        self.0.get(key).await
    }
    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.0.list(pk, sk_prefix).await
    }
    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.due(kind, until, limit).await
    }
    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.by_observable(observable, limit).await
    }
    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        self.burn()?.commit(writes).await
    }
}

impl Queue for Mortal<'_, MemoryQueue> {
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault> {
        self.burn()?.push(body, delay_seconds).await
    }
}

#[tokio::test(start_paused = true)]
async fn killed_between_any_two_writes_nothing_is_lost_and_nothing_is_doubled() {
    for writes in 0..11 {
        let desk = Desk::waiting(vec![provider("vt", FOUR_A_MINUTE)], 0).await;
        let id = desk.admit("one", &addresses(4)).await;
        let fuse = &Cell::new(writes);
        let world = World {
            rows: &Mortal(&desk.rows, fuse),
            evidence: &desk.evidence,
            verdicts: &desk.verdicts,
            quotas: &desk.quotas,
            secrets: &desk.secrets,
            clock: &desk.clock,
            egress: &desk.egress,
            lists: &StoredLists::new(&desk.rows, &desk.evidence),
            registries: &desk.registries,
            queue: &Mortal(&desk.queue, fuse),
        };
        let input = Input { incident_id: id.clone(), run: 1, offset: 0, count: 50 };
        let killed = run(&world, ACCOUNT, REMAINING, input).await;
        // The plan, three rows and the run's document; a message that is not sent is made up for by the row's due time.
        assert_eq!(killed.is_ok(), writes >= 5, "{writes}");
        let sent = desk.queue.messages.borrow().len();
        assert_eq!(sent, writes.saturating_sub(5).min(3), "{writes}");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(desk.run(&id).await, Ok((3, 3)), "{writes}");
        let pending = desk.pending(&id).await;
        assert_eq!(pending.len(), 3, "{writes}");
        assert!(pending.iter().all(|row| row.due_kind.is_some() && row.due_at.is_some()), "{pending:?}");
        assert_eq!(desk.egress.calls("vt"), 1, "{writes}");
    }
}

const SANDBOX: &str = r"
schema: provider/1
id: box
name: Sandbox
kind: http
verified: recorded
types: [url]
family: box
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 1440, not_found: 60, error: 5 }
timeout_ms: 4000
host: box.example
requests:
  - types: [url]
    method: POST
    path: /submit
    json: { url: '{value}' }
    task: body.task
    poll: { path: '/result/{task}', every_seconds: 20, for_seconds: 3600 }
outcome:
  - { when: 'body.state = \'running\'', outcome: pending }
  - { when: 'body.found = true', outcome: found }
mapping: '{\'verdict\': \'malicious\', \'score\': 90}'
";

fn sandbox() -> Manifest {
    let yaml = SANDBOX.replace("\\'", "''");
    Manifest::parse(&yaml, "box.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn paths(desk: &Desk) -> Vec<String> {
    desk.egress.calls.borrow().iter().map(|call| call.1.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_submitted_sandbox_is_polled_and_never_submitted_again_by_anybody() {
    let desk = Desk::waiting(vec![sandbox()], 45).await;
    desk.egress.set("box", Does::Answer(40, 200, r#"{"task": "t1"}"#));
    let url = [observable(ObservableType::Url, "https://evil.net/login")];
    let (one, two) = (desk.admit("one", &url).await, desk.admit("two", &url).await);
    let (first, second) = futures::future::join(desk.run(&one), desk.run(&two)).await;
    assert!(matches!((first, second), (Err(Fault::Pending(_)), Err(Fault::Pending(_)))));
    assert_eq!(paths(&desk), ["/submit"]);
    for id in [&one, &two] {
        let pending = desk.pending(id).await;
        assert_eq!((pending[0].reason.as_str(), pending[0].task.as_deref()), ("submitted", Some("t1")));
        assert_eq!(pending[0].give_up_at, pending[0].since.plus_minutes(60));
        assert!(matches!(desk.run(id).await, Err(Fault::Pending(_))), "its time has not come");
    }
    assert_eq!(paths(&desk), ["/submit"]);
    sleep(Duration::from_secs(21)).await;
    desk.egress.set("box", Does::Answer(40, 200, r#"{"state": "running"}"#));
    assert!(matches!(desk.run(&one).await, Err(Fault::Pending(_))));
    desk.egress.set("box", Does::Hang);
    sleep(Duration::from_secs(21)).await;
    assert_eq!(desk.run(&two).await, Ok((1, 1)), "the wait is over");
    assert_eq!(paths(&desk), ["/submit", "/result/t1", "/result/t1"]);
    desk.egress.set("box", Does::Answer(40, 200, r#"{"found": true}"#));
    sleep(Duration::from_secs(21)).await;
    for id in [&one, &two] {
        assert_eq!(desk.run(id).await, Ok((0, 0)));
        assert!(desk.pending(id).await.is_empty());
    }
    assert_eq!(paths(&desk).iter().filter(|path| *path == "/submit").count(), 1);
    assert_eq!(paths(&desk).len(), 4, "the second incident has the answer from the cache");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_cache_did_not_take_is_known_by_the_row() {
    let desk = Desk::waiting(vec![sandbox()], 0).await;
    desk.egress.set("box", Does::Answer(500, 200, r#"{"task": "t1"}"#));
    let id = desk.admit("one", &[observable(ObservableType::Url, "https://evil.net/login")]).await;
    let fails = async {
        sleep(Duration::from_millis(300)).await;
        desk.verdicts.1.set(Down::Everything);
    };
    let (output, ()) = futures::future::join(desk.run(&id), fails).await;
    assert_eq!(output, Ok((1, 1)));
    desk.verdicts.1.set(Down::Nothing);
    desk.egress.set("box", Does::Answer(40, 200, r#"{"found": true}"#));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(desk.run(&id).await, Ok((0, 0)));
    assert_eq!(paths(&desk), ["/submit", "/result/t1"]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_asks_about_is_tried_again_soon() {
    let desk = Desk::waiting(vec![provider("a", "")], 0).await;
    let key = addresses(1)[0].observable.key();
    let lease = Lease { owner: "slow".to_owned(), until: desk.clock.now().plus_minutes(5), left: vec![] };
    assert_eq!(desk.verdicts.take(&key, &lease, desk.clock.now()).await, Ok(Taken::First));
    let id = desk.admit("one", &addresses(1)).await;
    desk.run(&id).await.unwrap();
    let pending = desk.pending(&id).await;
    assert_eq!((pending[0].reason.as_str(), seconds(pending[0].try_at)), ("asked_elsewhere", 40));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_follow_up_has_moved_on_is_left_as_it_is() {
    let desk = Desk::waiting(vec![provider("a", "")], 0).await;
    desk.egress.set("a", Does::Limit("120"));
    let id = desk.admit("one", &addresses(1)).await;
    let slow = async {
        sleep(Duration::from_millis(20)).await;
        let mut row = PendingLookup::recheck(&id, 1, desk.clock.now(), desk.clock.now().plus_minutes(30));
        row.provider = "a".to_owned();
        row.observable = Some(addresses(1)[0].observable.clone());
        let write = Write::put(row.own_key(), &row).unwrap();
        assert_eq!(desk.rows.commit(&[write]).await, Ok(Commit::Done));
        row
    };
    let (output, row) = futures::future::join(desk.run(&id), slow).await;
    output.unwrap();
    assert_eq!(desk.pending(&id).await, [row]);
}

#[tokio::test(start_paused = true)]
async fn many_incidents_never_exceed_the_limit_and_none_is_forgotten() {
    let desk = Desk::waiting(vec![provider("vt", FOUR_A_MINUTE)], 45).await;
    let incidents = join_all((0..20).map(async |n| {
        let names = (0..3).map(|m| observable(ObservableType::DomainName, &format!("evil{n}-{m}.net")));
        desk.admit(&n.to_string(), &names.collect::<Vec<_>>()).await
    }))
    .await;
    let outputs = join_all(incidents.iter().map(|id| desk.run_with_retries(id))).await;
    asserts_spacing(&desk, "vt");
    let pending: usize = outputs.iter().map(|(_, output)| output.0).sum();
    assert_eq!(pending + desk.egress.calls("vt"), 60);
    let mut times = vec![];
    for id in &incidents {
        times.extend(desk.pending(id).await.iter().map(|lookup| lookup.try_at));
    }
    assert_eq!(times.len(), pending);
    times.sort_unstable();
    times.dedup();
    assert!(times.len() * 10 >= pending * 8, "hardly anybody is told the same time: {} of {pending}", times.len());
}
