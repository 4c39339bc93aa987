//! Many at once, and infrastructure in trouble: one winner, and the page never claims what is not so.

use http::StatusCode;
use playbook::{
    brief::sample::{APPROVER, OTHER_APPROVER},
    decision::{Choice, DUE_WAKE},
    ports::Secret,
};

use crate::world::{Browser, Team, Trouble, with};

async fn ready(team: &Team, link: u8) -> (Browser<'_>, Vec<(String, String)>) {
    let mut browser = Browser::of(team, link);
    browser.ask(if link == 1 { APPROVER } else { OTHER_APPROVER }).await;
    let code = team.newest_code();
    let form = browser.open().await.form("/decide");
    (browser, with(form, &[("reason", "because"), ("code", &code)]))
}

#[tokio::test]
async fn of_many_at_the_same_moment_one_wins() {
    for _ in 0..200 {
        let team = Team::waiting().await;
        let (mut ana, anas) = ready(&team, 1).await;
        let (mut ben, bens) = ready(&team, 2).await;
        let mut anas_other_tab = Browser::of(&team, 1);
        anas_other_tab.cookie.clone_from(&ana.cookie);
        let (approve, reject) = (with(anas, &[("choice", "approved")]), with(bens, &[("choice", "rejected")]));
        let (one, two, three) = tokio::join!(
            ana.post("/decide", &approve),
            ben.post("/decide", &reject),
            anas_other_tab.post("/decide", &approve)
        );
        let won = [&one, &two, &three].iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count();
        assert_eq!(won, 1);
        let decision = team.decision().await.unwrap();
        let is_bens = two.status == StatusCode::SEE_OTHER;
        assert_eq!(decision.choice, if is_bens { Choice::Rejected } else { Choice::Approved });
        assert_eq!(team.machines.woken.borrow().len(), 1);
    }
}

#[tokio::test]
async fn tries_at_the_same_moment_share_none() {
    let team = Team::waiting().await;
    let (mut ana, form) = ready(&team, 1).await;
    let code = team.newest_code();
    let wrong =
        with(form.clone(), &[("choice", "approved"), ("code", if code == "000000" { "000001" } else { "000000" })]);
    let mut tab = Browser::of(&team, 1);
    tab.cookie.clone_from(&ana.cookie);
    for _ in 0..5 {
        let (one, two) = tokio::join!(ana.post("/decide", &wrong), tab.post("/decide", &wrong));
        assert!(one.status == StatusCode::UNPROCESSABLE_ENTITY && two.status == StatusCode::UNPROCESSABLE_ENTITY);
    }
    let answer = ana.post("/decide", &with(form, &[("choice", "approved")])).await;
    assert!(answer.text().contains("Ask for a new code"), "{}", answer.text());
}

#[tokio::test]
async fn of_two_requests_for_a_code_at_the_same_moment_one_mails() {
    let team = Team::waiting().await;
    let (mut one, mut two) = (Browser::of(&team, 1), Browser::of(&team, 1));
    let (first, second) = tokio::join!(one.ask(APPROVER), two.ask(APPROVER));
    assert_eq!(team.outbox.mails.borrow().len(), 1);
    let mut statuses = [first.status, second.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test]
async fn a_decision_that_cannot_be_written_is_not_taken_and_the_page_says_so() {
    let team = Team::waiting().await;
    let (mut ana, form) = ready(&team, 1).await;
    team.trouble.set(Trouble::Writes);
    let form = with(form, &[("choice", "approved")]);
    let answer = ana.post("/decide", &form).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("the decision was not taken"));
    team.trouble.set(Trouble::None);
    assert_eq!(ana.post("/decide", &form).await.status, StatusCode::SEE_OTHER, "the same code is still good");
}

#[tokio::test]
async fn a_decision_whose_answer_got_lost_is_shown_as_it_stands() {
    let team = Team::waiting().await;
    let (mut ana, form) = ready(&team, 1).await;
    team.trouble.set(Trouble::Answers);
    let answer = ana.post("/decide", &with(form, &[("choice", "approved")])).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text().contains("Already decided by ana[@]soc[.]example"));
    assert_eq!(team.round().await.due_kind.as_deref(), Some(DUE_WAKE), "sweep wakes it");
}

#[tokio::test]
async fn a_decision_stands_although_nobody_can_be_woken() {
    let team = Team::waiting().await;
    let (mut ana, form) = ready(&team, 1).await;
    team.trouble.set(Trouble::Machines);
    assert_eq!(ana.post("/decide", &with(form, &[("choice", "approved")])).await.status, StatusCode::SEE_OTHER);
    assert_eq!(team.round().await.due_kind.as_deref(), Some(DUE_WAKE));
}

#[tokio::test]
async fn a_code_that_cannot_be_mailed_is_a_page_that_says_so() {
    let team = Team::waiting().await;
    team.trouble.set(Trouble::Mails);
    assert_eq!(Browser::of(&team, 1).ask(APPROVER).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_page_works_below_a_prefix() {
    let base = "http://127.0.0.1:4566/_aws/execute-api/abc123/$default";
    let mut team = Team::waiting().await;
    team.settings = review::Settings::new(base, Secret::new("page-key-of-at-least-32-characters")).unwrap();
    let mut browser = Browser::of(&team, 1);
    browser.headers =
        vec![("sec-fetch-site", "same-origin".to_owned()), ("origin", "http://127.0.0.1:4566".to_owned())];
    let path = format!("/_aws/execute-api/abc123/$default/r/{}", browser.link.reveal());
    let page = browser.request(http::Method::GET, &path, String::new()).await;
    assert!(page.html.contains(&format!("href=\"{base}/page.css\"")), "{}", page.html);
    let actions: Vec<String> = page.forms().into_iter().map(|(action, _)| action).collect();
    let link = format!("{base}/r/{}", browser.link.reveal());
    assert_eq!(actions, [format!("{link}/code"), format!("{link}/decide")]);

    // Gateways that cut the prefix off are as good.
    browser.ask(APPROVER).await;
    let answer = browser.decide("approved", "bad", &team.newest_code()).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, link.as_str()));
}
