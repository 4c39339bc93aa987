//! Mail security tools open links, run through pages and press buttons: none of it decides anything.

use http::{Method, StatusCode};
use playbook::brief::sample::APPROVER;
use scraper::Selector;

use crate::world::{Browser, ORIGIN, Team, with};

const RANDOM_TEXTS: [&str; 4] = ["test", "123456", "scanner@scanner.example", "<script>alert(1)</script>"];

async fn visit(team: &Team, link: u8) -> usize {
    let mut browser = Browser::of(team, link);
    let path = format!("/r/{}", browser.link.reveal());
    let mut requests = 0;
    for method in [Method::HEAD, Method::OPTIONS, Method::GET] {
        let answer = browser.request(method.clone(), &path, String::new()).await;
        assert!(answer.status.is_success(), "{method}");
        assert_eq!(answer.html.is_empty(), method != Method::GET);
        requests += 1;
    }
    let page = browser.open().await;
    let links = Selector::parse("[href]").unwrap();
    for element in page.document().select(&links) {
        let href = element.value().attr("href").unwrap();
        assert!(href.starts_with('#') || href.starts_with(ORIGIN), "{href}");
        if href.starts_with(ORIGIN) {
            browser.request(Method::GET, href, String::new()).await;
            requests += 1;
        }
    }
    for (action, fields) in page.forms() {
        let end = action.strip_prefix(&format!("{ORIGIN}{path}")).unwrap().to_owned();
        let mut attempts = vec![fields.clone()];
        for text in RANDOM_TEXTS {
            let typed = ["address", "reason", "code"].map(|name| (name, text));
            attempts.push(with(fields.clone(), &typed));
            for choice in ["approved", "rejected", text] {
                attempts.push(with(with(fields.clone(), &typed), &[("choice", choice)]));
            }
        }
        for attempt in attempts {
            let answer = browser.post(&end, &attempt).await;
            assert_ne!(answer.status, StatusCode::SEE_OTHER);
            requests += 1;
        }
    }
    requests
}

#[tokio::test]
async fn a_scanner_decides_nothing_writes_nothing_and_uses_up_nothing() {
    let team = Team::waiting().await;
    let (rows, commits) = (team.rows.all(), team.rows.commits.get());
    let mut requests = 0;
    for number in 0..60 {
        requests += visit(&team, 1 + number % 2).await;
    }
    assert!(requests > 2_000, "{requests} requests");
    assert_eq!(team.rows.commits.get(), commits);
    assert_eq!(team.rows.all(), rows);
    assert!(team.outbox.mails.borrow().is_empty());

    let mut person = Browser::of(&team, 1);
    person.ask(APPROVER).await;
    let code = team.newest_code();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for left in ["4 tries are left", "3 tries are left", "2 tries are left", "One try is left"] {
        let answer = person.decide("approved", "phishing", wrong).await;
        assert!(answer.text().contains(left), "{}", answer.text());
    }
    assert_eq!(person.decide("approved", "phishing", &code).await.status, StatusCode::SEE_OTHER);
}
