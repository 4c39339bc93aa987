//! Votes: one person or two, by code or by sign-in, and what is on record of them.

use http::StatusCode;
use playbook::{
    assessment::Assessment,
    audit::Event,
    brief::sample::{self, APPROVER, OTHER_APPROVER},
    decision::{Choice, Decision, Question, Round},
    rows::Write,
};
use scraper::Selector;
use serde_json::json;

use crate::{
    oidc::visitor::{self, Visitor},
    world::{Answer, Browser, Team, with},
};

const URL: &str = "url#https://evil.example/login?next=invoice";
const WHY: &str = "it is an asset of ours in this alert";

/// The sample, whose first entry takes two people.
fn marked() -> Assessment {
    let mut assessment = sample::assessment().unwrap();
    assessment.plan.entries[0].second = Some(WHY.to_owned());
    assessment.plan_digest = assessment.plan.digest().unwrap();
    assessment
}

/// A team that signs in, and an incident of which something takes two people.
pub async fn two() -> Team {
    let mut team = visitor::team().await;
    team.assessment = marked();
    team.assess(&team.assessment).await;
    team.set(json!({"sign_in": true})).await;
    team
}

impl Team {
    /// Sets attributes of the round.
    pub async fn set(&self, document: serde_json::Value) {
        self.change(Write::set(Round::key(&self.assessment.incident_id, 1, 1), &document).unwrap()).await;
    }
}

pub async fn signed_in(team: &Team, link: u8) -> Visitor<'_> {
    let mut visitor = Visitor::of(team);
    visitor.sign_in(link, if link == 1 { APPROVER } else { OTHER_APPROVER }).await;
    visitor
}

const APPROVE: [(&str, &str); 2] = [("choice", "approved"), ("reason", "seen it")];

fn problem(answer: &Answer) -> String {
    let alerts = Selector::parse("[role=alert]").unwrap();
    answer.document().select(&alerts).flat_map(|alert| alert.text().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn who_has_signed_in_decides_once() {
    let team = visitor::team().await;
    let mut ana = signed_in(&team, 1).await;
    let page = ana.open(1).await;
    assert!(page.text().contains("You are signed in as ana[@]soc[.]example"), "{}", page.text());
    assert!(page.forms().iter().all(|(action, _)| action.ends_with("/decide")), "no code is asked for");
    let answer = ana.decide(1, &APPROVE).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let decision = team.decision().await.unwrap();
    assert_eq!((decision.by.as_str(), decision.authenticated_by.as_str()), (APPROVER, "oidc"));
    assert_eq!(decision.votes.len(), 1);
    assert!(ana.identity(1).is_none(), "the sign-in ends with the decision");
    let audit = team.audit().await;
    let [(Event::Decided, who, detail)] = audit.as_slice() else { panic!("{audit:?}") };
    assert_eq!(who, "ana@soc.example oidc");
    assert!(detail.contains("signed in at") && detail.contains("subject of ana"), "{detail}");
    assert_eq!(team.machines.woken.borrow().len(), 1);
}

#[tokio::test]
async fn who_has_not_signed_in_decides_nothing_and_gets_no_code() {
    let team = visitor::team().await;
    let commits = team.rows.commits.get();
    let mut eve = Visitor::of(&team);
    let page = eve.open(1).await;
    assert!(page.forms().is_empty() && page.text().contains("Sign in to decide"), "{}", page.text());
    // The form as somebody else sees it.
    let mut ana = signed_in(&team, 1).await;
    let token = ana.open(1).await.form("/decide");
    let mut posted = with(token.clone(), &APPROVE);
    for field in &mut posted {
        if field.0 == "csrf" {
            field.1 = String::from("0");
        }
    }
    assert_eq!(eve.post(1, "/decide", &posted).await.status, StatusCode::FORBIDDEN);
    // A session of ours with its token, and no sign-in.
    ana.jar.retain(|name, _| name == "__Host-session");
    let answer = ana.post(1, "/decide", &with(token.clone(), &APPROVE)).await;
    assert!(problem(&answer).contains("Sign in first"), "{}", answer.text());
    let answer = ana.post(1, "/code", &with(token, &[("address", APPROVER)])).await;
    assert!(problem(&answer).contains("no code is mailed"), "{}", answer.text());
    assert!(team.outbox.mails.borrow().is_empty() && team.decision().await.is_none());
    assert_eq!(team.rows.commits.get(), commits);
}

#[tokio::test]
async fn a_sign_in_that_was_asked_for_does_not_become_a_code() {
    let team = Team::waiting().await;
    team.set(json!({"sign_in": true})).await;
    let page = Browser::of(&team, 1).open().await;
    assert!(page.forms().is_empty() && page.text().contains("nobody can decide behind this link"), "{}", page.text());
}

#[tokio::test]
async fn what_takes_two_people_is_approved_by_two() {
    let team = two().await;
    let mut ana = signed_in(&team, 1).await;
    assert!(ana.open(1).await.text().contains(&format!("Takes a second person: {WHY}")));
    let answer = ana.decide(1, &APPROVE).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert!(team.decision().await.is_none() && team.machines.woken.borrow().is_empty());
    let page = ana.open(1).await.text();
    assert!(page.contains("Votes so far") && page.contains("A second person has to approve the same"), "{page}");

    // Once more is no second.
    ana.sign_in(1, APPROVER).await;
    assert_eq!(ana.decide(1, &APPROVE).await.status, StatusCode::SEE_OTHER);
    assert!(team.decision().await.is_none());

    let mut ben = signed_in(&team, 2).await;
    assert_eq!(ben.decide(2, &[("choice", "approved"), ("reason", "me too")]).await.status, StatusCode::SEE_OTHER);
    let decision = team.decision().await.unwrap();
    let voters: Vec<&str> = decision.votes.iter().map(|voter| voter.who.as_str()).collect();
    assert_eq!(
        (voters.as_slice(), decision.indicators.as_slice()),
        (&[APPROVER, OTHER_APPROVER][..], &[URL.to_owned()][..])
    );
    assert_eq!(team.machines.woken.borrow().len(), 1);
    let receipt = Visitor::of(&team).open(1).await.text();
    assert!(receipt.contains("Votes behind it") && receipt.contains("ana[@]soc[.]example"), "{receipt}");
    let mut events: Vec<Event> = team.audit().await.into_iter().map(|(event, ..)| event).collect();
    events.sort_unstable();
    assert_eq!(events, [Event::Voted, Event::Voted, Event::Decided]);
}

#[tokio::test]
async fn a_plan_that_changes_voids_the_votes_and_says_so() {
    let team = two().await;
    signed_in(&team, 1).await.decide(1, &APPROVE).await;
    let mut ben = signed_in(&team, 2).await;
    let form = with(ben.open(2).await.form("/decide"), &APPROVE);
    let mut changed = marked();
    changed.plan.entries[0].lifetime_hours += 1;
    changed.plan_digest = changed.plan.digest().unwrap();
    team.assess(&changed).await;

    let answer = ben.post(2, "/decide", &form).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text().contains("on what was shown before it changed: it no longer counts"), "{}", answer.text());
    let audit = team.audit().await;
    let (_, who, detail) = audit.iter().find(|(event, ..)| *event == Event::Refused).unwrap();
    assert_eq!(who, "ben@soc.example oidc");
    assert!(detail.starts_with("what was shown has changed"), "{detail}");
    assert_eq!(ben.decide(2, &APPROVE).await.status, StatusCode::SEE_OTHER);
    assert!(team.decision().await.is_none(), "a vote on another plan is no second");
    signed_in(&team, 1).await.decide(1, &APPROVE).await;
    assert_eq!(team.decision().await.unwrap().votes.len(), 2);
}

#[tokio::test]
async fn a_rejection_takes_one_person_whatever_votes_there_are() {
    let team = two().await;
    signed_in(&team, 1).await.decide(1, &APPROVE).await;
    let reject = [("choice", "rejected"), ("reason", "ours"), ("never_again", "yes")];
    signed_in(&team, 2).await.decide(2, &reject).await;
    let decision = team.decision().await.unwrap();
    assert_eq!((decision.choice, decision.by.as_str(), decision.never_again), (Choice::Rejected, OTHER_APPROVER, true));
}

/// Decides by code, with these fields.
async fn by_code(team: &Team, typed: &[(&str, &str)]) -> Answer {
    let mut ana = Browser::of(team, 1);
    ana.ask(APPROVER).await;
    let code = team.newest_code();
    let fields = with(with(ana.open().await.form("/decide"), &[("reason", "seen it"), ("code", &code)]), typed);
    ana.post("/decide", &fields).await
}

#[tokio::test]
async fn a_mailbox_approves_nothing_that_takes_two_whatever_is_posted() {
    let team = Team::asking(marked(), Question::ApprovePlan).await;
    let page = Browser::of(&team, 1).open().await;
    assert!(page.text().contains("Cannot be approved here") && page.text().contains("a mailbox cannot"));
    let tick = playbook::brief::tick(URL);
    assert!(!page.html.contains(&tick), "there is no box to tick");
    let answer = by_code(&team, &[("choice", "approved"), ("indicators", &tick)]).await;
    assert!(problem(&answer).contains("may not be approved"), "{}", answer.text());
    assert!(team.decision().await.is_none());
    let audit = team.audit().await;
    let [(Event::Refused, who, why)] = audit.as_slice() else { panic!("{audit:?}") };
    assert!(who == "ana@soc.example mailbox" && why.contains("may not be approved"), "{audit:?}");
}

#[tokio::test]
async fn what_was_ticked_and_is_no_longer_planned_has_changed() {
    let team = two().await;
    let mut ben = signed_in(&team, 2).await;
    let form = with(ben.open(2).await.form("/decide"), &APPROVE);
    let mut changed = marked();
    changed.plan.entries.remove(0);
    changed.plan_digest = changed.plan.digest().unwrap();
    team.assess(&changed).await;
    assert_eq!(ben.post(2, "/decide", &form).await.status, StatusCode::CONFLICT);
    let audit = team.audit().await;
    let [(Event::Refused, _, why)] = audit.as_slice() else { panic!("{audit:?}") };
    assert!(why.starts_with("what was shown has changed"), "{why}");
}

#[tokio::test]
async fn a_mailbox_approves_no_more_than_one_person_may() {
    let team = Team::waiting().await;
    team.set(json!({"alone_max": 1})).await;
    let (one, other) = (playbook::brief::tick(URL), playbook::brief::tick("domain-name#cdn.evil.example"));
    let mut ana = Browser::of(&team, 1);
    ana.ask(APPROVER).await;
    let code = team.newest_code();
    let form = with(ana.open().await.form("/decide"), &[("choice", "approved"), ("reason", "all"), ("code", &code)]);
    let mut both = with(form.clone(), &[("indicators", &one)]);
    both.push(("indicators".to_owned(), other));
    let answer = ana.post("/decide", &both).await;
    assert!(problem(&answer).contains("More than 1 entries take two people"), "{}", answer.text());
    assert_eq!(ana.post("/decide", &with(form, &[("indicators", &one)])).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_indicator_can_live_shorter_and_never_longer() {
    let check = async |hours: &str, expected: Option<u32>| {
        let team = Team::waiting().await;
        let field = format!("lifetime-{}", playbook::brief::tick(URL));
        let answer = by_code(&team, &[("choice", "approved"), (&field, hours)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        assert_eq!(team.decision().await.unwrap().lifetime_hours.get(URL).copied(), expected, "{hours}");
    };
    check("", None).await;
    check("24", Some(24)).await;
    check("9000", None).await;
    check("1", None).await;
    let team = Team::waiting().await;
    let field = format!("lifetime-{}", playbook::brief::tick(URL));
    assert!(
        problem(&by_code(&team, &[("choice", "approved"), (&field, "soon")]).await).contains("not a number of hours")
    );
}

#[tokio::test]
async fn a_question_can_be_handed_on_where_a_level_follows() {
    let team = Team::waiting().await;
    assert_eq!(by_code(&team, &[("choice", "escalated")]).await.status, StatusCode::SEE_OTHER);
    let decision = team.decision().await.unwrap();
    assert_eq!((decision.choice, decision.last, decision.indicators.len()), (Choice::Escalated, false, 0));
    assert!(Browser::of(&team, 2).open().await.text().contains("Handed to the next level"));

    let team = Team::waiting().await;
    team.set(json!({"last": true})).await;
    assert!(!Browser::of(&team, 1).open().await.html.contains("escalated"));
    assert!(problem(&by_code(&team, &[("choice", "escalated")]).await).contains("Choose one of the answers"));
}

#[tokio::test]
async fn an_authors_question_is_answered_in_his_words() {
    let team = Team::waiting().await;
    let asks = json!({
        "question": "Shall dc01 be isolated?", "indicators": true, "evidence": "nothing",
        "choices": [{"value": "isolate", "label": "Isolate it", "effect": "the network team is paged"}, {"value": "leave", "label": "Leave it"}],
    });
    team.set(json!({"question": "manual", "asks": asks})).await;
    let page = Browser::of(&team, 1).open().await;
    let text = page.text();
    for expected in ["Shall dc01 be isolated?", "Isolate it", "the network team is paged", "Leave it"] {
        assert!(text.contains(expected), "{text}");
    }
    for absent in ["What approval", "Evidence", "urlhaus", "False positive", "Escalate", "It leaves again"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    for wrong in ["approved", "rejected", "answered", "", "Isolate it"] {
        assert!(problem(&by_code(&team, &[("choice", wrong)]).await).contains("Choose one of the answers"));
        team.clock.advance_minutes(1);
    }
    let team = Team::waiting().await;
    team.set(json!({"question": "manual", "asks": asks})).await;
    let domain = "domain-name#cdn.evil.example";
    let answer = by_code(&team, &[("choice", "isolate"), ("indicators", &playbook::brief::tick(domain))]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let Decision { choice, answer, indicators, reason, .. } = team.decision().await.unwrap();
    assert_eq!((choice, answer.as_deref(), reason.as_str()), (Choice::Answered, Some("isolate"), "seen it"));
    assert_eq!(indicators, [domain]);
    let receipt = Browser::of(&team, 1).open().await.text();
    assert!(receipt.contains("Answered") && receipt.contains("Isolate it"), "{receipt}");
}

#[tokio::test]
async fn whoever_is_known_and_too_late_is_on_record_and_nobody_else() {
    let team = Team::waiting().await;
    let mut ana = Browser::of(&team, 1);
    ana.ask(APPROVER).await;
    let code = team.newest_code();
    let form = with(ana.open().await.form("/decide"), &[("choice", "approved"), ("reason", "twice"), ("code", &code)]);
    assert_eq!(ana.post("/decide", &form).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ana.post("/decide", &form).await.status, StatusCode::OK);
    let commits = team.rows.commits.get();
    ana.post("/decide", &with(form.clone(), &[("code", "000000")])).await;
    Browser::of(&team, 1).post("/decide", &form).await;
    assert_eq!(team.rows.commits.get(), commits, "of whom nobody knows who it is nothing is written");
    let audit = team.audit().await;
    assert_eq!(audit.len(), 2, "{audit:?}");
    let (_, who, why) = audit.iter().find(|(event, ..)| *event == Event::Refused).unwrap();
    assert_eq!((who.as_str(), why.as_str()), ("ana@soc.example mailbox", "it was decided already"));
}
