//! Mail security tools open links, run through pages and press buttons: none of it decides anything.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use playbook::{
    audit::{Entry, Event},
    brief::sample::{APPROVER, OTHER_APPROVER},
};
use scraper::Selector;

use crate::{
    oidc::visitor::{self, Visitor},
    world::{Answer, Browser, ORIGIN, Team, with},
};

/// Visits of each kind.
const VISITS: usize = 100;

/// What a scanner does with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Asks whether it is there.
    Head,
    /// Opens it, as a preview does.
    Get,
    /// Follows everything that the page names.
    Links,
    /// Sends every form as it stands.
    Forms,
    /// Presses everything, with what one would guess typed into every field: the address of the mail, too.
    Plausible,
    /// The same as a script of another site would send it.
    Elsewhere,
}

const KINDS: [Kind; 6] = [Kind::Head, Kind::Get, Kind::Links, Kind::Forms, Kind::Plausible, Kind::Elsewhere];

/// What one would guess; addresses and six digits among it.
const TYPED: [&str; 5] = ["test", "123456", APPROVER, OTHER_APPROVER, "<script>alert(1)</script>"];

async fn visit(team: &Team, link: u8, kind: Kind) -> usize {
    let mut browser = Browser::of(team, link);
    let path = format!("/r/{}", browser.link.reveal());
    if kind == Kind::Head {
        for method in [Method::HEAD, Method::OPTIONS] {
            let answer = browser.request(method.clone(), &path, String::new()).await;
            assert!(answer.status.is_success() && answer.html.is_empty(), "{method}");
        }
        return 2;
    }
    let page = browser.open().await;
    match kind {
        Kind::Head | Kind::Get => 1,
        Kind::Links => follow(&mut browser, &page).await,
        Kind::Forms | Kind::Plausible => press(&mut browser, &page, &path, kind).await,
        Kind::Elsewhere => {
            browser.headers = vec![("sec-fetch-site", "cross-site".to_owned()), ("origin", "null".to_owned())];
            press(&mut browser, &page, &path, Kind::Plausible).await
        }
    }
}

async fn follow(browser: &mut Browser<'_>, page: &Answer) -> usize {
    let links = Selector::parse("[href]").unwrap();
    let mut requests = 0;
    for element in page.document().select(&links) {
        let href = element.value().attr("href").unwrap();
        assert!(href.starts_with('#') || href.starts_with(ORIGIN), "{href}");
        if href.starts_with(ORIGIN) {
            browser.request(Method::GET, href, String::new()).await;
            requests += 1;
        }
    }
    requests
}

async fn press(browser: &mut Browser<'_>, page: &Answer, path: &str, kind: Kind) -> usize {
    let mut requests = 0;
    for (action, fields) in page.forms() {
        let end = action.strip_prefix(&format!("{ORIGIN}{path}")).unwrap().to_owned();
        let mut attempts = vec![fields.clone()];
        for text in TYPED.iter().filter(|_| kind == Kind::Plausible) {
            let typed = ["address", "reason", "code"].map(|name| (name, *text));
            attempts.push(with(fields.clone(), &typed));
            for choice in ["approved", "rejected", "escalated", text] {
                attempts.push(with(with(fields.clone(), &typed), &[("choice", choice), ("never_again", "yes")]));
            }
        }
        for attempt in attempts {
            let answer = browser.post(&end, &attempt).await;
            assert_ne!(answer.status, StatusCode::SEE_OTHER, "{attempt:?}");
            requests += 1;
        }
    }
    requests
}

/// Events on record, but for codes that were mailed.
async fn events(team: &Team) -> Vec<Event> {
    team.audit().await.into_iter().map(|(event, ..)| event).collect()
}

#[tokio::test]
async fn scanners_of_six_kinds_decide_nothing_and_use_up_nothing_of_a_persons() {
    let team = Team::waiting().await;
    let mut person = Browser::of(&team, 1);
    person.ask(APPROVER).await;
    let code = team.newest_code();
    let mut requests = 0;
    let started = team.rows.all().len();
    for number in 0..VISITS {
        for kind in KINDS {
            requests += visit(&team, 1 + u8::try_from(number % 2).unwrap(), kind).await;
        }
        // Between them the person looks at the page, and the clock goes on: 600 visits in eight minutes.
        person.open().await;
        if number % 12 == 11 {
            team.clock.advance_minutes(1);
        }
    }
    println!("{} visits of {} kinds, {requests} requests", VISITS * KINDS.len(), KINDS.len());
    assert!(requests > 10_000, "{requests} requests");
    assert!(team.decision().await.is_none() && team.machines.woken.borrow().is_empty());
    assert_eq!(events(&team).await, []);

    // Of both links at most five codes were mailed in the hour, each to the one whose link it is, and nothing else was written.
    let mails = team.outbox.mails.borrow().len();
    let audit = Entry::all(&team.rows, &team.assessment.incident_id).await.unwrap();
    for approver in [APPROVER, OTHER_APPROVER] {
        let mailed = team.outbox.mails.borrow().iter().filter(|mail| mail.to == approver).count();
        assert!(mailed <= 5, "{mailed} codes for one link");
        assert_eq!(audit.iter().filter(|entry| entry.who == approver).count(), mailed, "each is on record");
    }
    let codes: BTreeSet<String> = team.rows.all().into_iter().map(|row| row.key.sk).collect();
    assert!(codes.iter().all(|sk| !sk.starts_with("vote#") && !sk.starts_with("decision#")), "{codes:?}");
    assert!(team.rows.all().len() <= started + 2 * mails, "a code and its entry on record for each mail");

    // Every try is still there, and the code from before decides.
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for left in ["4 tries are left", "3 tries are left", "2 tries are left", "One try is left"] {
        let answer = person.decide("approved", "phishing", wrong).await;
        assert!(answer.text().contains(left), "{}", answer.text());
    }
    assert_eq!(person.decide("approved", "phishing", &code).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn where_people_sign_in_a_scanner_writes_nothing_at_all() {
    let team = visitor::team().await;
    let (rows, commits) = (team.rows.all(), team.rows.commits.get());
    let mut person = Visitor::of(&team);
    person.sign_in(1, APPROVER).await;
    for number in 0..VISITS {
        for kind in KINDS {
            visit(&team, 1 + u8::try_from(number % 2).unwrap(), kind).await;
        }
    }
    assert_eq!((team.rows.commits.get(), team.rows.all()), (commits, rows));
    assert!(team.outbox.mails.borrow().is_empty());
    let answer = person.decide(1, &[("choice", "approved"), ("reason", "phishing")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
}
