//! The whole playbook as it is deployed: the real template and the real functions on the local emulator, with `AUTH=true`.
//!
//! One test, one emulator, one stack: deploying takes longer than any scenario. The scenarios run beside each other, each
//! with indicators of its own; each is bounded in time, and the report at the end names the ones that failed. One alone:
//! `PLAYBOOK_SCENARIO=aborted cargo test -p it emulator`.

mod alerts;
mod campaigns;
mod copies;
mod decisions;
mod deployed;
mod doors;
mod intake;
mod late;
mod mails;
mod permissions;
mod targets;
mod visitor;

use std::{any::Any, fmt::Write as _, pin::Pin, rc::Rc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::LocalSet,
    time::{Instant, timeout},
};

pub use deployed::{Deployed, LEAD, NIGHT_SHIFT, mail};
pub use visitor::{Answer, Visitor};

use crate::{browser, scanner};

/// Names the one scenario to run, by a part of its name.
const ONLY: &str = "PLAYBOOK_SCENARIO";
/// Scenarios at the same time: two cores are busy with three.
const AT_ONCE: u32 = 3;
/// What takes all places, because it is as much as all others together.
const ALONE: &str = "campaign:";
/// What one scenario may take, with everything else that runs beside it.
const PATIENCE: Duration = Duration::from_mins(4);

/// Characters of a failure in the report: some show a whole page.
const WORDS_MAX: usize = 600;

type Scenario = Pin<Box<dyn Future<Output = ()>>>;

fn scenarios(deployed: &Rc<Deployed>) -> Vec<(&'static str, Scenario)> {
    macro_rules! scenarios {
        ($($name:literal: $scenario:path,)*) => { vec![$(($name, Box::pin($scenario(Rc::clone(deployed))))),*] };
    }
    scenarios![
        // The slowest first: the poison message is tried five times before it is given up.
        "poison: good mails close beside it, and each poison ends visibly": intake::poison,
        "pending: what a source holds back for a while is waited for, in the same run": late::waited_for,
        "browser: a person decides in real Chromium without JavaScript": browser::decides,
        "doors: the demo's doors are refused in another account": permissions::doors,
        "approved: what a person approves is served, and the incident closes": decisions::approved,
        "rejected: nothing is enforced, and the false positive is remembered": decisions::rejected,
        "harmless: closed without a mail to anybody, within the budget": intake::harmless,
        "budget: 250 observables take at most 12 transitions": intake::budget,
        "outage: a person is told which sources failed, and acknowledges": decisions::outage,
        "redelivered: five deliveries at once are one execution and one mail": intake::redelivered,
        "aborted: recorded as failed; a later decision starts the next run": decisions::aborted,
        "by hand: an execution started from the console that is aborted is recorded too": decisions::by_hand,
        "nobody: when every approver is part of the incident, it fails where people see it": decisions::nobody,
        "deadline: the next level is asked, then nothing is enforced": decisions::deadline,
        "unreached: a mail that bounces for good ends the round, and the next level is asked": mails::unreached,
        "woken: a stolen token decides nothing, and the incident says that it was tried": decisions::woken,
        "handed on: the next level is asked at once": decisions::handed_on,
        "recorded: malicious is known, watched and in a ticket before anybody decides; approval enforces": targets::recorded,
        "released: rejection takes back what this incident wrote; what was there before stays": targets::released,
        "watched: suspicious is detected, and nobody is asked": targets::watched,
        "shared: blocked until the last of two incidents is released; what was there before stays": targets::shared,
        "firewalled: an approved address is in the IP set until it is released; what others put there stays": targets::firewalled,
        "ticket refused: the incident fails where people see it": targets::ticket_refused,
        "signed: an alert goes to its verdict; a wrong key, an old timestamp and a replay are refused": alerts::signed,
        "findings: GuardDuty and Security Hub, delivered twice, are one incident each": alerts::findings,
        "listed: what a feed lists is malicious": alerts::listed,
        "fed: what is new in a feed is one incident, however often it is told": doors::fed,
        "rules: findings of AWS services are passed on to receive-alert, and nothing else is": doors::rules,
        "splunk: the secret in the path lets in, and is in no function's log": doors::splunk,
        "crowd: fifty alike in one message start twenty executions": doors::crowd,
        "late: a malicious answer opens a closed incident once more, and five deliveries change nothing": late::answered,
        "late for a parent: the record is corrected by the enrichment alone, and nobody is asked": late::of_a_parent,
        "killed review: the sweep alone finishes what it left behind": late::killed,
        "abandoned: an incident without a living execution is found": late::abandoned,
        "reminded: at half time everybody asked is reminded, once": late::reminded,
        "copied: a playbook with a second review runs by route, and comes back as its file": copies::copied,
        "embedded: a parent calls the enrichment alone, and goes on by the route": copies::embedded,
        "scanner: whatever it opens and presses, nothing is decided": scanner::decides_nothing,
        "roles: a function cannot do what is not its business": permissions::roles,
        // The last, because it waits for all the others and holds up whoever comes after it.
        "campaign: a hundred incidents at once are one campaign, and a merge of two loses nobody": campaigns::united,
    ]
}

#[test]
fn every_scenario_holds_on_the_deployed_playbook() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = LocalSet::new().block_on(&runtime, async {
        let begun = Instant::now();
        let deployed = Rc::new(Deployed::start().await);
        println!("deployed in {:.1} s", begun.elapsed().as_secs_f64());
        let report = run(&deployed).await;
        println!("receipts kept: {}", deployed.keep_receipts().await);
        report
    });
    assert!(report.is_empty(), "{report}");
}

/// Runs the scenarios; what failed comes back as a text, empty when nothing did.
async fn run(deployed: &Rc<Deployed>) -> String {
    let only = std::env::var(ONLY).unwrap_or_default();
    let places = Rc::new(Semaphore::new(AT_ONCE as usize));
    let mut running = vec![];
    for (name, scenario) in scenarios(deployed).into_iter().filter(|(name, _)| name.contains(&only)) {
        let places = Rc::clone(&places);
        let bounded = async move {
            let needed = if name.starts_with(ALONE) { AT_ONCE } else { 1 };
            let _place = places.acquire_many(needed).await.unwrap();
            let begun = Instant::now();
            let ended = timeout(PATIENCE, scenario).await;
            println!("{:6.1} s  {name}", begun.elapsed().as_secs_f64());
            ended
        };
        running.push((name, tokio::task::spawn_local(bounded)));
    }
    assert!(!running.is_empty(), "{ONLY}={only} names no scenario");

    let mut report = String::new();
    for (name, task) in running {
        let why = match task.await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => format!("not done after {} s", PATIENCE.as_secs()),
            Err(error) => error.try_into_panic().map_or_else(|error| error.to_string(), |panic| words(panic.as_ref())),
        };
        // All of it is above, where it happened.
        let why: String = why.chars().take(WORDS_MAX).collect();
        writeln!(report, "\nFAILED {name}\n{why}").unwrap();
    }
    if !report.is_empty() {
        writeln!(report, "\n{}", deployed.errors().await).unwrap();
    }
    report
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
