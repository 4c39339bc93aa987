//! A thousand races by seed, and a page that is killed at every await: one decision each, and every attempt on record.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use playbook::{
    audit::{Entry, Event},
    brief::sample::{APPROVER, OTHER_APPROVER},
    decision::{self, Choice, DUE_WAKE, Decision, Round},
    ports::Clock as _,
    rows::{Row, Rows},
    waking,
};
use serde_json::json;

use crate::{
    oidc::visitor::{self, Visitor},
    votes,
    world::{Browser, Team, with},
};

const RACES: u64 = 1_000;

/// A sequence that a seed determines.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What somebody does in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The approver of this link posts this choice.
    Post(u8, &'static str),
    /// The deadline passes, and `sweep` ends the round.
    Timeout,
    /// The run is assessed anew.
    PlanChange,
}

const ACTS: [Act; 8] = [
    Act::Post(1, "approved"),
    Act::Post(1, "approved"),
    Act::Post(1, "rejected"),
    Act::Post(2, "approved"),
    Act::Post(2, "rejected"),
    Act::Post(2, "escalated"),
    Act::Timeout,
    Act::PlanChange,
];

/// Runs all of them at once, in an order that the dice choose anew at every await.
async fn interleave(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>, dice: &mut Dice) {
    std::future::poll_fn(|context: &mut Context<'_>| {
        while !futures.is_empty() {
            let turn = dice.below(futures.len());
            if futures[turn].as_mut().poll(context).is_ready() {
                drop(futures.swap_remove(turn));
            }
        }
        Poll::Ready(())
    })
    .await;
}

async fn act(team: &Team, act: Act, mut visitor: Visitor<'_>, form: Vec<(String, String)>) {
    match act {
        Act::Post(link, choice) => {
            visitor.post(link, "/decide", &with(form, &[("choice", choice), ("reason", "because")])).await;
        }
        Act::Timeout => {
            team.clock.advance_minutes(11);
            tokio::task::yield_now().await;
            let round = team.round().await;
            tokio::task::yield_now().await;
            let _ = decision::end(&team.rows, &team.entropy, &round, team.clock.now()).await;
        }
        Act::PlanChange => {
            let mut changed = team.assessment.clone();
            changed.plan.entries[0].lifetime_hours -= 1;
            changed.plan_digest = changed.plan.digest().unwrap();
            tokio::task::yield_now().await;
            team.assess(&changed).await;
        }
    }
}

#[tokio::test]
async fn of_a_thousand_races_each_has_one_decision_and_every_attempt_is_on_record() {
    let signed_in = {
        let team = visitor::team().await;
        let jars = [votes::signed_in(&team, 1).await.jar, votes::signed_in(&team, 2).await.jar];
        // The page's own session comes with the page.
        jars.map(|jar| jar.into_iter().filter(|(name, _)| name != "__Host-session").collect::<BTreeMap<_, _>>())
    };
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..RACES {
        *outcomes.entry(race(seed, &signed_in).await).or_default() += 1;
    }
    println!("{RACES} races, seeds 0 to {}: {outcomes:?}", RACES - 1);
    for expected in ["approved by 1", "approved by 2", "rejected by 1", "escalated by 1", "timed_out by 0"] {
        assert!(outcomes.get(expected).is_some_and(|count| *count > 10), "{expected}: {outcomes:?}");
    }
}

async fn race(seed: u64, signed_in: &[BTreeMap<String, String>; 2]) -> String {
    let mut dice = Dice(seed);
    let takes_two = dice.below(2) == 0;
    let team = if takes_two { votes::two().await } else { visitor::team().await };
    team.set(json!({"deadline": team.clock.now().plus_minutes(10)})).await;
    let acts: Vec<Act> = (0..2 + dice.below(4)).map(|_| ACTS[dice.below(ACTS.len())]).collect();

    let mut futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![];
    for one in &acts {
        let link = if let Act::Post(link, _) = one { *link } else { 1 };
        let mut visitor = Visitor::of(&team);
        visitor.jar.clone_from(&signed_in[usize::from(link) - 1]);
        let form = visitor.open(link).await.form("/decide");
        futures.push(Box::pin(act(&team, *one, visitor, form)));
    }
    interleave(futures, &mut dice).await;

    // Whoever decides nothing in time has decided nothing.
    if team.decision().await.is_none() {
        let _ = decision::end(&team.rows, &team.entropy, &team.round().await, team.clock.now()).await;
    }
    let id = &team.assessment.incident_id;
    let decisions = Decision::all(&team.rows, id).await.unwrap();
    assert_eq!(decisions.len(), 1, "seed {seed}, {acts:?}");
    let decision = decisions.into_iter().next().unwrap();
    let people: BTreeSet<&str> = decision.votes.iter().map(|voter| voter.who.as_str()).collect();
    if decision.choice == Choice::Approved && takes_two {
        assert_eq!(people.len(), 2, "seed {seed}, {acts:?}: {decision:?}");
    }

    let audit = Entry::all(&team.rows, id).await.unwrap();
    let count = |of: fn(&Entry) -> bool| audit.iter().filter(|entry| of(entry)).count();
    let posted = acts.iter().filter(|act| matches!(act, Act::Post(..))).count();
    assert_eq!(count(|entry| !entry.who.is_empty()), posted, "seed {seed}, {acts:?}: {audit:?}");
    let ended = count(|entry| matches!(entry.event, Event::Decided | Event::TimedOut));
    assert_eq!(ended, 1, "seed {seed}, {acts:?}: {audit:?}");
    format!("{} by {}", decision.choice.as_str(), people.len())
}

/// What `sweep` does with decided rounds.
async fn sweep(team: &Team) {
    for row in team.rows.due(DUE_WAKE, team.clock.now(), 10).await.unwrap() {
        let round: Round = Row::read(&row).unwrap();
        let (id, now) = (&round.incident_id, team.clock.now());
        waking::wake(&team.rows, &team.machines, id, round.run, round.round, now).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_that_is_killed_at_any_await_leaves_all_or_nothing() {
    let mut kills = 0;
    let (mut before, mut after) = (0, 0);
    for polls in 1.. {
        let team = Team::waiting().await;
        let mut ana = Browser::of(&team, 1);
        ana.ask(APPROVER).await;
        let code = team.newest_code();
        let typed = [("choice", "approved"), ("reason", "because"), ("code", code.as_str())];
        let form = with(ana.open().await.form("/decide"), &typed);
        let is_done = {
            let mut posting = Box::pin(ana.post("/decide", &form));
            let mut context = Context::from_waker(Waker::noop());
            (0..polls).any(|_| posting.as_mut().poll(&mut context).is_ready())
        };
        let decided = team.decision().await;
        sweep(&team).await;
        if let Some(decision) = &decided {
            after += 1;
            assert_eq!((decision.choice, decision.by.as_str()), (Choice::Approved, APPROVER));
            // Killed after it has woken, it is woken once more: by then the token is good for nothing.
            let woken: BTreeSet<String> = team.machines.woken.borrow().iter().cloned().collect();
            assert_eq!(woken, BTreeSet::from(["token-1".to_owned()]), "killed after {polls} polls");
            assert_eq!(team.round().await.due_kind, None);
        } else {
            before += 1;
            assert!(team.machines.woken.borrow().is_empty(), "killed after {polls} polls");
            // Nothing is lost with it: a person decides, if the try was the last one with a new code.
            team.clock.advance_minutes(1);
            let mut ben = Browser::of(&team, 2);
            ben.ask(OTHER_APPROVER).await;
            ben.decide("rejected", "because", &team.newest_code()).await;
            assert_eq!(team.decision().await.unwrap().choice, Choice::Rejected);
        }
        if is_done {
            break;
        }
        kills += 1;
        assert!(kills < 200, "the request never ends");
    }
    println!("killed at {kills} awaits: {before} before the decision, {after} after it");
    assert!(before > 5 && after > 1, "{before} before, {after} after");
}

#[tokio::test]
async fn a_vote_that_is_killed_at_any_await_is_cast_or_not() {
    for polls in 1.. {
        let team = votes::two().await;
        let mut ana = votes::signed_in(&team, 1).await;
        let form = with(ana.open(1).await.form("/decide"), &[("choice", "approved"), ("reason", "because")]);
        let is_done = {
            let mut posting = Box::pin(ana.post(1, "/decide", &form));
            let mut context = Context::from_waker(Waker::noop());
            (0..polls).any(|_| posting.as_mut().poll(&mut context).is_ready())
        };
        let cast = decision::Vote::all(&team.rows, &team.assessment.incident_id, 1, 1).await.unwrap().len();
        let on_record = team.audit().await.len();
        assert_eq!(cast, on_record, "after {polls} polls");
        let mut ben = votes::signed_in(&team, 2).await;
        ben.decide(2, &[("choice", "approved"), ("reason", "me too")]).await;
        assert_eq!(team.decision().await.is_some(), cast == 1, "after {polls} polls");
        if is_done {
            break;
        }
    }
}
