//! Quotas as budgets, the breaker that all share, what is stale, and what is asked anew.

use futures::future::join_all;
use playbook::{
    cache::account,
    effort::{Effort, Efforts},
    manifest::Limit,
    outcome::{Grade, Judgement},
    policy::Budget,
    verdict::{Facts, Verdict},
};

use super::*;

const A_DAY: &str = "limits: [{ limit: 100, window_seconds: 86400, scope: key }]";

impl Desk {
    /// Admits as this source does, with more fields of the incident's row.
    async fn admit_as(&self, source: &str, name: &str, observables: &[Sighted], more: Value) -> IncidentId {
        let id = self.admit(&format!("{source} {name}"), observables).await;
        let Value::Object(more) = more else { panic!("fields, not {more}") };
        let mut write = Write::set(Incident::key(&id), &json!({ "source": source })).unwrap();
        for (name, value) in more {
            write = write.setting(&name, value);
        }
        let _done = self.rows.commit(&[write]).await.unwrap();
        id
    }

    async fn outcomes(&self, id: &IncidentId) -> Vec<Vec<Outcome>> {
        self.enrichment(id).await.observables.into_iter().map(|enriched| enriched.outcomes).collect()
    }

    /// How often the first provider said so, over all observables.
    async fn count(&self, id: &IncidentId, said: &str) -> usize {
        self.outcomes(id).await.iter().filter(|outcomes| tell(outcomes) == said).count()
    }

    async fn quota(&self, provider: &str) -> Quota {
        let account = account(&self.bundle.providers[provider]);
        self.quotas.0.load(std::slice::from_ref(&account)).await.unwrap().remove(&account).unwrap_or_default()
    }
}

fn names(count: usize, of: &str) -> Vec<Sighted> {
    (0..count).map(|n| observable(ObservableType::DomainName, &format!("{of}{n}.net"))).collect()
}

#[tokio::test(start_paused = true)]
async fn one_incident_takes_its_part_of_a_day_and_says_what_was_left_out() {
    let desk = Desk::new(vec![provider("a", A_DAY)]).await;
    let hostile = desk.admit("hostile", &names(500, "x")).await;
    for chunk in 0..10 {
        desk.run_chunk(&hostile, chunk * 50, 50, REMAINING).await.unwrap();
    }
    assert_eq!(desk.egress.calls("a"), 10, "a tenth of the day's hundred");
    let first = desk.outcomes(&hostile).await;
    let told: Vec<String> = first.iter().map(|outcomes| tell(outcomes)).collect();
    assert_eq!(told.iter().filter(|text| *text == "a found").count(), 1, "each chunk its part");
    assert_eq!(told.iter().filter(|text| *text == "a rate_limited(budget)").count(), 49);
    let rows = desk.rows.list(&format!("incident#{hostile}"), "pending#").await.unwrap();
    assert_eq!(rows.len(), 0, "what is over the budget is not put off: it would burn the next day");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hostile_mails_leave_something_for_the_others() {
    let desk = Desk::new(vec![provider("a", "limits: [{ limit: 500, window_seconds: 86400, scope: key }]")]).await;
    let mails = (0..1_000).map(async |n| {
        let id = desk.admit_as("mail", &n.to_string(), &names(1, &format!("x{n}-")), json!({})).await;
        desk.run(&id).await.unwrap();
    });
    for mails in mails.collect::<Vec<_>>().into_iter().array_chunks_of(50) {
        join_all(mails).await;
    }
    assert_eq!(desk.egress.calls("a"), 300, "the source's share");
    let siem = desk.admit_as("siem", "1", &names(20, "y"), json!({})).await;
    desk.run(&siem).await.unwrap();
    assert_eq!(desk.count(&siem, "a found").await, 20);
    // The reserve is for what its source calls critical, from whichever door, and for what a person asks to be looked at again.
    let critical = desk.admit_as("mail", "critical", &names(20, "z"), json!({ "severity": "critical" })).await;
    desk.run(&critical).await.unwrap();
    assert_eq!(desk.count(&critical, "a found").await, 20);
    let again = desk.admit_as("mail", "again", &names(20, "w"), json!({ "asked_again": 1 })).await;
    desk.run(&again).await.unwrap();
    assert_eq!(desk.count(&again, "a found").await, 20);
    let quota = desk.quota("a").await;
    assert_eq!(quota.used.values().next().unwrap().calls, 360);
}

/// Splits a list into lists of so many.
trait InLists<T> {
    fn array_chunks_of(self, size: usize) -> Vec<Vec<T>>;
}

impl<T, I: Iterator<Item = T>> InLists<T> for I {
    fn array_chunks_of(mut self, size: usize) -> Vec<Vec<T>> {
        let mut lists = vec![];
        loop {
            let list: Vec<T> = self.by_ref().take(size).collect();
            if list.is_empty() {
                return lists;
            }
            lists.push(list);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_is_noted_before_the_first_call_and_what_came_of_it_after_the_last() {
    let priced = changed("paid", |manifest| {
        manifest.price_microdollars = Some(5_000);
        manifest.limits = vec![Limit { limit: 60, window_seconds: 60, scope: playbook::manifest::LimitScope::Key }];
    });
    let desk = Desk::new(vec![
        provider("a", ""),
        priced,
        provider("slow", "limits: [{ limit: 4, window_seconds: 60, scope: key }]"),
    ])
    .await;
    desk.egress.set("a", Does::Hang);
    let id = desk.admit("one", &addresses(3)).await;
    let looks = async {
        sleep(Duration::from_secs(1)).await;
        desk.rows.get(&Run::effort_key(&id, 1, 0)).await.unwrap().unwrap().read::<Effort>().unwrap()
    };
    let (output, noted) = futures::future::join(desk.run(&id), looks).await;
    assert!(output.is_ok());
    let planned = Effort { lookups: 9, calls: 7, put_off: 2, microdollars: 15_000, ..Effort::default() };
    assert_eq!(noted, planned);
    let Efforts { planned: kept, made } = desk.enrichment(&id).await.efforts;
    assert_eq!(kept, planned);
    assert_eq!((made.lookups, made.calls, made.put_off, made.microdollars), (9, 7, 2, 15_000));
    assert!((4_000..4_100).contains(&made.wait_ms), "{made:?}");

    let again = desk.admit("two", &addresses(3)).await;
    desk.run(&again).await.unwrap();
    let Efforts { planned, made } = desk.enrichment(&again).await.efforts;
    assert_eq!(
        (planned.cached, planned.calls, made.cached),
        (7, 0, 7),
        "the hanging one is remembered, too: {planned:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_provider_is_left_alone_by_everybody_and_one_call_tries_whether_it_is_back() {
    let desk = Desk::with(vec![provider("a", "")], one_place()).await;
    desk.egress.set("a", Does::Refuse);
    desk.told("one", &names(20, "x")).await;
    assert_eq!(desk.egress.calls("a"), 5);
    // Another sandbox need not learn it anew.
    let told = desk.told("two", &names(20, "y")).await;
    assert!(told.iter().all(|text| text == "a error(breaker_open)"), "{told:?}");
    assert_eq!(desk.egress.calls("a"), 5);
    // Ten at once, when it is time: one call for all of them.
    sleep(Duration::from_secs(46)).await;
    let incidents =
        join_all((0..10).map(async |n| desk.admit(&n.to_string(), &names(20, &format!("z{n}-"))).await)).await;
    join_all(incidents.iter().map(|id| desk.run(id))).await;
    assert_eq!(desk.egress.calls("a"), 6);
    // It is back: the one that tries finds it so, and everybody goes on.
    desk.egress.set("a", FOUND);
    sleep(Duration::from_secs(46)).await;
    let told = desk.told("back", &names(20, "w")).await;
    assert!(told.iter().all(|text| text == "a found"), "{told:?}");
    assert_eq!(desk.quota("a").await.broken_until, None);
}

#[tokio::test(start_paused = true)]
async fn what_counts_against_a_provider() {
    let check = async |does: Does, calls: usize, last: &str| {
        let desk = Desk::with(vec![provider("a", "")], one_place()).await;
        desk.egress.set("a", does.clone());
        let told = desk.told("one", &names(12, "x")).await;
        let others = told.iter().filter(|text| *text == last).count();
        assert_eq!((desk.egress.calls("a"), others >= 12 - calls), (calls, true), "{does:?}: {told:?}");
    };
    check(Does::Answer(5, 503, "{}"), 5, "a error(breaker_open)").await;
    check(Does::Answer(5, 400, "{}"), 12, "a error(http_400)").await;
    check(Does::Answer(5, 200, "<html>"), 12, "a error(garbage)").await;
    // Who knocks on with a wrong key is locked out.
    check(Does::Answer(5, 401, "{}"), 2, "a error(auth)").await;
    check(Does::Answer(5, 403, "{}"), 2, "a error(auth)").await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_that_nothing_is_left_is_left_alone_until_it_counts_anew() {
    let limited = changed("a", |manifest| {
        manifest.limit_headers = Some(
            serde_json::from_value(json!({
                "remaining": "X-RateLimit-Remaining", "reset": "X-RateLimit-Reset", "reset_is": "seconds",
            }))
            .unwrap(),
        );
    });
    let desk = Desk::with(vec![limited], one_place()).await;
    desk.egress.set("a", Does::UsedUp("90"));
    let told = desk.told("one", &addresses(3)).await;
    assert_eq!(told, ["a found", "a pending(retry_after)", "a pending(retry_after)"]);
    assert_eq!(desk.told("two", &names(1, "x")).await, ["a pending(retry_after)"]);
    sleep(Duration::from_secs(91)).await;
    desk.egress.set("a", FOUND);
    assert_eq!(desk.told("three", &names(1, "x")).await, ["a found"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_may_raise_a_verdict_and_the_lookup_stays_failed() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.told("one", &addresses(1)).await;
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    sleep(hours(25)).await;
    desk.egress.set("a", Does::Answer(5, 500, ""));
    for (name, wait) in [("two", hours(0)), ("three", hours(2))] {
        sleep(wait).await;
        let id = desk.admit(name, &addresses(1)).await;
        desk.run(&id).await.unwrap();
        let outcome = &desk.outcomes(&id).await[0][0];
        assert_eq!(tell(std::slice::from_ref(outcome)), "a error(http_500)");
        let stale = outcome.stale.as_deref().expect(name);
        assert_eq!((stale.opinion.verdict, stale.is_bad()), (Judgement::Malicious, true), "{name}");
    }
    // Not for ever.
    sleep(hours(22)).await;
    let id = desk.admit("four", &addresses(1)).await;
    desk.run(&id).await.unwrap();
    assert_eq!(desk.outcomes(&id).await[0][0].stale, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_asks_to_be_looked_at_again_is_asked_anew_and_once() {
    let desk = Desk::new(vec![provider("a", ""), provider("b", "")]).await;
    desk.told("one", &addresses(4)).await;
    sleep(Duration::from_mins(1)).await;
    let now = desk.clock.now();
    let again = desk.admit_as("mail", "again", &addresses(4), json!({ "asked_again": 1, "started_at": now })).await;
    desk.run(&again).await.unwrap();
    assert_eq!(desk.egress.calls.borrow().len(), 16, "everything, whatever is kept");
    // The machine's retry of the same run asks for nothing twice.
    desk.run(&again).await.unwrap();
    assert_eq!(desk.egress.calls.borrow().len(), 16);
    // What does not answer now is not worse known than before.
    desk.egress.set("a", Does::Refuse);
    sleep(Duration::from_mins(1)).await;
    let now = desk.clock.now();
    let third = desk.admit_as("mail", "third", &addresses(1), json!({ "asked_again": 1, "started_at": now })).await;
    desk.run(&third).await.unwrap();
    let outcome = &desk.outcomes(&third).await[0][0];
    assert_eq!(tell(std::slice::from_ref(outcome)), "a error(unreachable)");
    assert!(outcome.stale.as_deref().is_some_and(playbook::outcome::Stale::is_bad));
}

#[tokio::test(start_paused = true)]
async fn the_scarce_are_left_out_where_they_could_change_nothing() {
    let check = async |early_stop: bool, grade: Grade, does: Does, expected: &str| {
        let enrich = policy::Enrich { early_stop, ..policy::Enrich::default() };
        let sure = changed("a", |manifest| manifest.grade = Some(Grade::A));
        let scarce = changed("paid", |manifest| {
            (manifest.grade, manifest.price_microdollars) = (Some(grade), Some(5_000));
        });
        let desk = Desk::with(vec![sure, scarce], enrich).await;
        desk.egress.set("a", does);
        assert_eq!(desk.told("one", &addresses(1)).await, [expected], "{early_stop} {grade:?}");
        // In the cache is what was asked, and nothing of who was left out.
        let kept: Vec<String> = desk.verdicts.0.all().into_values().flat_map(BTreeMap::into_keys).collect();
        assert_eq!(kept.contains(&"paid".to_owned()), expected.ends_with("paid found"), "{kept:?}");
    };
    check(true, Grade::C, FOUND, "a found, paid skipped(decided)").await;
    check(true, Grade::B, FOUND, "a found, paid found").await;
    check(true, Grade::C, NOT_FOUND, "a not_found, paid found").await;
    check(true, Grade::C, Does::Refuse, "a error(unreachable), paid found").await;
    check(false, Grade::C, FOUND, "a found, paid found").await;
}

/// Whatever the source that was left out might have said: the verdict is the same.
#[tokio::test(start_paused = true)]
async fn who_is_left_out_could_have_changed_nothing() {
    let sure = changed("a", |manifest| manifest.grade = Some(Grade::A));
    let desk = Desk::with(vec![sure], policy::Enrich::default()).await;
    let id = desk.admit("one", &addresses(1)).await;
    desk.run(&id).await.unwrap();
    let outcomes = desk.outcomes(&id).await.remove(0);
    let facts = |outcomes: Vec<Outcome>| {
        let facts = Facts { outcomes, ..Facts::bare(addresses(1)[0].observable.clone()) };
        let grades = [("a", Grade::A), ("x", Grade::C)].map(|(id, grade)| (id.to_owned(), grade));
        Verdict::reach(&Facts { grades: grades.into(), ..facts }, desk.clock.now()).verdict
    };
    assert_eq!(facts(outcomes.clone()), Judgement::Malicious);
    for said in [Judgement::Unknown, Judgement::Benign, Judgement::Suspicious, Judgement::Malicious] {
        let mut more = outcomes[0].clone();
        (more.provider, more.family) = ("x".to_owned(), "x".to_owned());
        more.opinion.as_mut().unwrap().verdict = said;
        assert_eq!(facts(vec![outcomes[0].clone(), more]), Judgement::Malicious, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_in_one_moment_does_not_end_in_one_moment() {
    let desk = Desk::new(vec![provider("a", "")]).await;
    let id = desk.admit("one", &names(40, "x")).await;
    desk.run(&id).await.unwrap();
    let minutes: std::collections::BTreeSet<i64> = desk
        .outcomes(&id)
        .await
        .iter()
        .map(|outcomes| outcomes[0].expires_at.ms_since(outcomes[0].fetched_at) / 60_000)
        .collect();
    assert!(minutes.len() > 20, "{minutes:?}");
    assert!(minutes.iter().all(|minutes| (1_296..=1_440).contains(minutes)), "never longer than it says: {minutes:?}");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_incidents_at_a_provider_of_four_a_minute() {
    let whole = Budget { reserve_percent: 0, source_percent: 100, incident_percent: 100 };
    let enrich = policy::Enrich { budget: whole, ..policy::Enrich::default() };
    let desk = Desk::with(vec![provider("vt", "limits: [{ limit: 4, window_seconds: 60, scope: key }]")], enrich).await;
    let incidents = join_all((0..200).map(async |n| desk.admit(&n.to_string(), &names(1, &format!("x{n}-"))).await));
    let incidents = incidents.await;
    join_all(incidents.iter().map(|id| desk.run(id))).await;
    // As the machine retries and `follow-up` asks: at the times that they were promised.
    let mut rounds = 0;
    loop {
        let rows = desk.rows.all().into_iter().filter(|row| row.key.sk.starts_with("pending#"));
        let open: Vec<PendingLookup> = rows.map(|row| row.read().unwrap()).collect();
        let Some(next) = open.iter().map(|row| row.try_at).min() else { break };
        sleep(Duration::from_millis(u64::try_from(next.ms_since(desk.clock.now())).unwrap_or(0))).await;
        let now = desk.clock.now();
        join_all(open.iter().filter(|row| row.try_at <= now).map(|row| desk.run(&row.incident_id))).await;
        rounds += 1;
        assert!(rounds < 1_000, "it never ends");
    }
    let moments: Vec<Instant> = desk.egress.calls.borrow().iter().map(|call| call.2).collect();
    let minute = Duration::from_mins(1);
    let fullest =
        (0..moments.len()).map(|n| moments[n..].iter().take_while(|at| **at - moments[n] < minute).count()).max();
    assert_eq!(
        (moments.len(), fullest),
        (200, Some(4)),
        "every incident has its answer, and no minute has a fifth call"
    );
    for id in &incidents {
        assert_eq!(tell(&desk.outcomes(id).await[0]).trim_end_matches(" cached"), "vt found");
    }
    println!("200 incidents at 4 a minute: 200 calls, at most {fullest:?} in any minute, {rounds} rounds");
}
