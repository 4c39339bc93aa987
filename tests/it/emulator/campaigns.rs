//! Scenarios of campaigns: many incidents at once, and two campaigns that turn out to be one.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use futures::future::join_all;
use playbook::{IncidentId, assessment::Assessment, campaign::Campaign};
use serde_json::Value;
use tokio::time::Instant;

use super::{Deployed, mail};

/// Incidents of the first campaign, all at once.
const MANY: usize = 100;
/// Incidents of the second one.
const FEW: usize = 5;
/// What a hundred incidents may take, with everything else that runs beside them.
const PATIENCE: Duration = Duration::from_mins(3);

/// A word of letters: digits do not tell two mails apart.
fn word(mut number: usize) -> String {
    let mut word = String::from("w");
    while number > 0 {
        word.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
        number /= 26;
    }
    word
}

/// So many mails at once, each with words of its own and these links, until all of them are assessed: they are watched, and
/// nobody is asked. All are looked at together: a hundred who ask on their own would keep the emulator from its work.
async fn come_in(deployed: &Deployed, name: &str, count: usize, links: &str) -> BTreeSet<IncidentId> {
    let stored = (0..count).map(|number| {
        let word = word(number + 1);
        let mail = mail(&format!("{name} {word}"), &format!("{word} {word}\r\n{links}"));
        async move { deployed.stack.put_mail(&format!("{name}-{number}.eml"), mail).await.unwrap() }
    });
    let keys: BTreeSet<String> = join_all(stored).await.into_iter().collect();
    let begun = Instant::now();
    loop {
        let incidents = deployed.stack.incidents().await.unwrap();
        let ours: Vec<&Value> = incidents
            .iter()
            .filter(|row| row["evidence"]["key"].as_str().is_some_and(|key| keys.contains(key)))
            .collect();
        let assessed: Vec<&&Value> = ours.iter().filter(|row| row["route"].is_string()).collect();
        if assessed.len() == count {
            assert!(assessed.iter().all(|row| row["route"] == "watch" && row["run"] == 1), "{assessed:?}");
            println!("{name}: {count} incidents assessed in {:.0} s", begun.elapsed().as_secs_f64());
            return assessed.iter().map(|row| serde_json::from_value(row["incident_id"].clone()).unwrap()).collect();
        }
        let seen = (ours.len(), assessed.len());
        assert!(begun.elapsed() < PATIENCE, "of {count} incidents {} came in and {} were assessed", seen.0, seen.1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Every incident that is found from this one's campaign, through all that was merged.
async fn members(deployed: &Deployed, id: &IncidentId) -> BTreeSet<String> {
    let belongs = deployed.row(id, "campaign").await.unwrap_or_else(|| panic!("{id} belongs to no campaign"));
    let mut top = belongs["campaign_id"].as_str().unwrap().to_owned();
    loop {
        let meta = deployed.stack.rows(&format!("campaign#{top}"), "meta").await.unwrap();
        match meta[0]["merged_into"].as_str() {
            Some(into) => into.clone_into(&mut top),
            None => break,
        }
    }
    let (mut open, mut found) = (vec![top], BTreeSet::new());
    while let Some(campaign) = open.pop() {
        for row in deployed.stack.rows(&format!("campaign#{campaign}"), "").await.unwrap() {
            let sk = row["sk"].as_str().unwrap();
            found.extend(sk.strip_prefix("member#").map(str::to_owned));
            open.extend(sk.strip_prefix("merged#").map(str::to_owned));
        }
    }
    found
}

async fn assessed(deployed: &Deployed, id: &IncidentId) -> Assessment {
    let run: Value = deployed.row(id, "run#1").await.unwrap();
    let document = serde_json::from_value(run["assessment"].clone()).unwrap();
    serde_json::from_slice(&deployed.stack.document(&document).await.unwrap()).unwrap()
}

pub async fn united(deployed: Rc<Deployed>) {
    // The first one asks the sources, so that a hundred do not wait for each other's answers; of the five further down all are
    // the first.
    let mut many = come_in(&deployed, "first", 1, "https://wave.example/pay").await;
    many.extend(come_in(&deployed, "wave", MANY - 1, "https://wave.example/pay").await);
    assert_eq!(many.len(), MANY);
    let first = many.first().unwrap();
    let names = |ids: &BTreeSet<IncidentId>| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(members(&deployed, first).await, names(&many), "one campaign, {MANY} members");

    let few = come_in(&deployed, "ripple", FEW, "https://ripple.example/pay").await;
    let second = few.first().unwrap();
    assert_eq!(members(&deployed, second).await, names(&few), "another campaign");

    // One mail names both: the two are one, and nobody is lost.
    let both = come_in(&deployed, "both", 1, "https://wave.example/pay\r\nhttps://ripple.example/pay").await;
    let id = both.first().unwrap();
    let all = names(&many.iter().chain(&few).chain(&both).cloned().collect());
    for of in [first, second, id] {
        assert_eq!(members(&deployed, of).await, all);
    }
    let assessment = assessed(&deployed, id).await;
    let Campaign { members, named_by, .. } = assessment.campaign.unwrap();
    assert_eq!(members, MANY + FEW + 1);
    assert!(named_by.iter().all(|key| key.contains("wave.example") || key.contains("ripple.example")), "{named_by:?}");
    let term = format!("+1 campaign of {} incidents", MANY + FEW + 1);
    assert!(assessment.severity_terms.contains(&term), "{:?}", assessment.severity_terms);
    println!("campaign of {members}, named by {named_by:?}");
}
