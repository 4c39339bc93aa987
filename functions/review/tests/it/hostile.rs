//! Everything shown is hostile. That it never becomes a tag, a link or something hidden is tested with every sink at once, in
//! `tests/it/hostile.rs`; here, that nobody approves what they cannot see.

use ioc::{Observable, ObservableType};
use playbook::{brief::sample, decision::Question};

use crate::world::{Browser, Team};

#[tokio::test]
async fn a_hostile_indicator_is_shown_whole_and_dead() {
    let mut assessment = sample::assessment().unwrap();
    let long = format!("https://evil.example/{}'\"<b>", "a".repeat(900));
    let hostile = Observable::parse(ObservableType::Url, &long).unwrap();
    assessment.observables[0].sighted.observable = hostile.clone();
    assessment.plan.entries[0].observable = hostile.clone();
    let team = Team::asking(assessment, Question::ApprovePlan).await;
    let page = Browser::of(&team, 1).open().await;
    assert!(!page.text().contains(hostile.value()));
    assert!(page.text().contains(&hostile.defanged()));
}
