//! What a person does: reads, asks for a code, decides, comes back.

use http::StatusCode;
use playbook::{
    brief::{sample, sample::APPROVER},
    decision::{Choice, DECIDED, Link, Question, Round},
    incident::{Incident, Run},
    ledger::LedgerEntry,
    rows::{Condition, Write},
    ticket::Ticket,
};
use serde_json::json;

use crate::world::{Answer, Browser, ORIGIN, Team, secret, with};

async fn with_code(team: &Team, link: u8) -> (Browser<'_>, String) {
    let address = if link == 1 { APPROVER } else { sample::OTHER_APPROVER };
    let mut browser = Browser::of(team, link);
    assert_eq!(browser.ask(address).await.status, StatusCode::OK);
    let code = team.newest_code();
    (browser, code)
}

/// Keeps the page where the setting says, to be looked at in a browser.
fn save(page: &Answer, setting: &str) {
    if let Some(file) = std::env::var_os(setting) {
        let style = format!("<style>{}</style>", include_str!("../../templates/page.css"));
        std::fs::write(file, page.html.replace("</head>", &format!("{style}</head>"))).unwrap();
    }
}

#[tokio::test]
async fn the_page_says_what_happened_before_anybody_opened_it() {
    let (assessment, second, around) = sample::busy().unwrap();
    let team = Team::asking(assessment, Question::ApprovePlan).await;
    let id = team.assessment.incident_id.clone();
    for ticket in &around.tickets {
        team.change(Write::put(Ticket::key(&id, &ticket.target), ticket).unwrap()).await;
    }
    for written in &around.written {
        let (entry, key) = (&written.entry, LedgerEntry::key(&written.entry.target, &written.entry.observable));
        if let Some(ledger) = &written.ledger {
            team.change(Write::put(key, ledger).unwrap()).await;
        }
        if let Some(reason) = &written.refused {
            let refused = json!([{"observable": entry.observable.key(), "target": entry.target, "reason": reason}]);
            team.change(Write::set(Run::key(&id, 1), &json!({"refused": refused})).unwrap()).await;
        }
    }
    let asked = vec![APPROVER.to_owned()];
    team.change(Write::put(Round::key(&id, 1, 2), &Round { asked, ..second.clone() }).unwrap()).await;
    team.change(Write::set(Link::key(&secret(1).digest()), &json!({"round": 2})).unwrap()).await;
    team.clock.advance_minutes(60);
    let mut browser = Browser::of(&team, 1);
    let page = browser.open().await;
    save(&page, "BUSY_PAGE_HTML");
    let text = page.text();
    for part in [
        "You are asked because nobody answered:",
        "level 1: ana[@]soc[.]example, ben[@]soc[.]example were asked at 2026-11-24 05:00 UTC and did not answer by 06:00 UTC",
        "already recorded in misp until 2026-12-08 05:00 UTC",
        "not on the watchlist of splunk: the target answered 500",
        "already blocked on waf until 2026-11-24 17:00 UTC unless you reject",
        "keep blocking on waf for 14 days, until 2026-12-08 05:00 UTC",
        "jira IOC-17, hxxps://jira[.]corp[.]example/browse/IOC-17",
        "nothing more is enforced, what was blocked at once runs to its own expiry at 2026-11-24 17:00 UTC, nobody else \
         is asked, and the ticket stays open.",
    ] {
        assert!(text.contains(part), "the page does not say {part:?}: {text}");
    }
    // What is written without asking is not there to be ticked: one box for the link, one for the contradiction.
    let boxes = page.html.matches("name=\"indicators\"").count();
    assert_eq!(boxes, 2);

    team.clock.advance_minutes(61);
    let over = browser.open().await.text();
    assert!(over.contains("Nothing more was enforced; what was blocked at once runs to its own expiry at"), "{over}");
    assert!(over.contains("the incident stays undecided, and its ticket stays open"), "{over}");
}

#[tokio::test]
async fn the_page_says_what_a_person_needs_to_know() {
    let team = Team::waiting().await;
    let page = Browser::of(&team, 1).open().await;
    let text = page.text();
    for part in [
        "HIGH",
        "Shall this indicator be blocked? The sources contradict each other on 1 more.",
        "hxxps://evil[.]example/login?next=invoice",
        "2026-11-24 06:00 UTC",
        "in 60 minutes",
        "2 of 3 required sources answered",
        "Agree: threatfox, urlhaus",
        "Disagree: hashlookup says benign, threatfox says malicious",
        "virustotal: timeout (1)",
        "block on served-list for 14 days, until 2026-12-08 05:00 UTC",
        "own domain corp[.]example",
        "3 days ago",
        "hxxps://threatfox[.]example/lookup/4711",
        "encrypted, not opened",
        "nothing is enforced, and the next level is asked",
        "2 related incidents:",
        "shares hxxps://evil[.]example/login?next=invoice (weight 3.4), 3 days ago",
        "persistent: in 4 incidents on 3 days since 2026-11-20 09:30 UTC",
        "isolated: in no other incident",
        team.assessment.incident_id.as_str(),
    ] {
        assert!(text.contains(part), "the page does not say {part:?}");
    }
    save(&page, "PAGE_HTML");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-session=") && cookie.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"));
}

#[tokio::test]
async fn approval_takes_what_is_ticked_and_wakes_the_execution() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let answer = browser.decide("approved", " a real\nphish ", &format!("{} {}", &code[..3], &code[3..])).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), format!("{ORIGIN}/r/{}", secret(1).reveal()));

    let decision = team.decision().await.unwrap();
    assert_eq!(decision.choice, Choice::Approved);
    assert_eq!(decision.indicators, ["url#https://evil.example/login?next=invoice"]);
    assert_eq!((decision.by.as_str(), decision.authenticated_by.as_str()), (APPROVER, "mailbox"));
    assert_eq!((decision.reason.as_str(), decision.from.as_str()), ("a real phish", "192.0.2.99, test browser"));
    assert_eq!(decision.plan_digest, team.assessment.plan_digest);
    let round = team.round().await;
    assert_eq!((round.state.as_str(), round.due_kind), (DECIDED, None));
    assert_eq!(*team.machines.woken.borrow(), ["token-1"]);
    let tries = team.rows.all().into_iter().find(|row| row.key.sk.starts_with("code#")).unwrap();
    assert_eq!(tries.attributes["tries"], 5, "the code is used up");

    let receipt = browser.open().await.text();
    assert!(receipt.contains("Already decided by ana[@]soc[.]example at 2026-11-24 05:00 UTC"), "{receipt}");
    assert!(receipt.contains("hxxps://evil[.]example/login?next=invoice"));
}

#[tokio::test]
async fn a_contradiction_is_approved_only_when_a_person_ticks_it() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let mut fields = browser.open().await.form("/decide");
    fields.push(("indicators".to_owned(), playbook::brief::tick("domain-name#cdn.evil.example")));
    let typed = [("choice", "approved"), ("reason", "both"), ("code", code.as_str())];
    assert_eq!(browser.post("/decide", &with(fields, &typed)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(team.decision().await.unwrap().indicators.len(), 2);
}

#[tokio::test]
async fn a_guarded_indicator_cannot_be_approved_whatever_the_form_says() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let mut fields = browser.open().await.form("/decide");
    fields.push(("indicators".to_owned(), playbook::brief::tick("domain-name#portal.corp.example")));
    let typed = [("choice", "approved"), ("reason", "all"), ("code", code.as_str())];
    let answer = browser.post("/decide", &with(fields, &typed)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn a_false_positive_approves_nothing() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    assert_eq!(browser.decide("rejected", "our own newsletter", &code).await.status, StatusCode::SEE_OTHER);
    let decision = team.decision().await.unwrap();
    assert_eq!((decision.choice, decision.indicators), (Choice::Rejected, vec![]));
    assert!(browser.open().await.text().contains("remembered for 90 days"));
}

#[tokio::test]
async fn a_needs_data_question_offers_its_own_answers() {
    let team = Team::asking(sample::assessment().unwrap(), Question::NeedsData).await;
    let (mut browser, code) = with_code(&team, 1).await;
    let answer = browser.decide("approved", "x", &code).await;
    assert!(answer.text().contains("Choose one of the answers"));
    assert_eq!(browser.decide("look_again", "sources are back", &code).await.status, StatusCode::SEE_OTHER);
    assert_eq!(team.decision().await.unwrap().choice, Choice::LookAgain);
}

#[tokio::test]
async fn of_two_decisions_one_wins_and_the_other_person_sees_it() {
    let team = Team::waiting().await;
    let (mut ana, ana_code) = with_code(&team, 1).await;
    let (mut ben, ben_code) = with_code(&team, 2).await;
    let ben_form = ben.open().await.form("/decide");
    assert_eq!(ana.decide("approved", "bad", &ana_code).await.status, StatusCode::SEE_OTHER);
    let typed = [("choice", "rejected"), ("reason", "good"), ("code", ben_code.as_str())];
    let answer = ben.post("/decide", &with(ben_form.clone(), &typed)).await;
    assert!(answer.text().contains("Already decided by ana[@]soc[.]example"));
    assert!(ben.post("/decide", &with(ben_form, &typed)).await.text().contains("Already decided"));
    assert_eq!(team.decision().await.unwrap().choice, Choice::Approved);
    assert_eq!(team.machines.woken.borrow().len(), 1);
}

#[tokio::test]
async fn what_changed_meanwhile_is_shown_again_and_can_then_be_decided() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let fields = browser.open().await.form("/decide");
    let mut newer = team.assessment.clone();
    newer.severity_terms.push("+1: traffic was allowed".to_owned());
    team.assess(&newer).await;
    let typed = [("choice", "approved"), ("reason", "bad"), ("code", code.as_str())];
    let answer = browser.post("/decide", &with(fields, &typed)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text().contains("changed meanwhile") && answer.text().contains("traffic was allowed"));
    assert!(team.decision().await.is_none());

    assert_eq!(browser.decide("approved", "still bad", &code).await.status, StatusCode::SEE_OTHER);
    assert_eq!(team.round().await.shown_digest, team.decision().await.unwrap().shown_digest);
}

#[tokio::test]
async fn after_the_deadline_nothing_can_be_decided() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let fields = browser.open().await.form("/decide");
    team.clock.advance_minutes(60);
    let typed = [("choice", "approved"), ("reason", "late"), ("code", code.as_str())];
    for answer in [browser.open().await, browser.post("/decide", &with(fields, &typed)).await] {
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(answer.text().contains("The time to decide is over"));
    }
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn a_link_of_an_earlier_run_decides_nothing() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let fields = browser.open().await.form("/decide");
    let raise = Write::set(Incident::key(&team.assessment.incident_id), &json!({ "run": 2 })).unwrap();
    team.change(raise.only_if(Condition::Present)).await;
    let typed = [("choice", "approved"), ("reason", "x"), ("code", code.as_str())];
    assert_eq!(browser.post("/decide", &with(fields, &typed)).await.status, StatusCode::GONE);
    assert!(browser.open().await.text().contains("looked at again"));
}

#[tokio::test]
async fn when_the_execution_is_gone_the_next_run_starts() {
    let team = Team::waiting().await;
    team.machines.gone.borrow_mut().push("token-1".to_owned());
    let (mut browser, code) = with_code(&team, 1).await;
    assert_eq!(browser.decide("approved", "bad", &code).await.status, StatusCode::SEE_OTHER);
    let started = team.machines.started.borrow().clone();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].0, team.assessment.incident_id.execution_name(2));
    assert!(started[0].1.contains("\"run\":2"));
    assert_eq!(team.round().await.due_kind, None);
}

#[tokio::test]
async fn an_unfinished_form_keeps_what_was_typed_and_says_what_is_missing() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    for (choice, reason, typed, expected) in [
        ("", "a reason", code.as_str(), "Choose one of the answers"),
        ("approved", "  ", &code, "Give a reason"),
        ("approved", &"x".repeat(2_001), &code, "at most 2000 are kept"),
        ("approved", "a reason", "", "The code is wrong"),
    ] {
        let answer = browser.decide(choice, reason, typed).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text().contains(expected), "{expected}");
        let radio = answer.form("/decide").into_iter().find(|(name, _)| name == "choice");
        assert_eq!(radio.map(|(_, value)| value).unwrap_or_default(), choice);
        assert!(answer.text().contains(reason.trim()));
    }
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn codes_run_out_by_time_and_by_tries_and_are_mailed_sparingly() {
    let team = Team::waiting().await;
    let (mut browser, code) = with_code(&team, 1).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let again = browser.ask(APPROVER).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(again.text().contains("in 60 seconds"));
    assert_eq!(team.outbox.mails.borrow().len(), 1);

    for _ in 0..5 {
        browser.decide("approved", "x", wrong).await;
    }
    assert!(browser.decide("approved", "x", &code).await.text().contains("Ask for a new code"));

    team.clock.advance_minutes(1);
    assert_eq!(browser.ask(APPROVER).await.status, StatusCode::OK);
    let code = team.newest_code();
    team.clock.advance_minutes(10);
    assert!(browser.decide("approved", "x", &code).await.text().contains("older than ten minutes"));
    assert!(team.decision().await.is_none());
}

#[tokio::test]
async fn the_code_mail_says_what_it_is_for_and_who_asked() {
    let team = Team::waiting().await;
    with_code(&team, 1).await;
    let mails = team.outbox.mails.borrow();
    assert_eq!(mails[0].to, APPROVER);
    for part in
        [team.assessment.incident_id.as_str(), "hxxps://evil[.]example", "192[.]0[.]2[.]99, test browser", "05:10 UTC"]
    {
        assert!(mails[0].text.contains(part), "{part}");
    }
    assert!(!mails[0].text.contains("https://"));
    assert!(!mails[0].html.contains("href"));
}
