//! The way of one incident, from the mail to closed, in one process. Read this first.
//!
//! The order is the order of the functions; the state machine only calls them one after the other.

use playbook::{
    IncidentId, assessment::Route, incident::IncidentStatus, outcome::Judgement, ports::Evidence, receipt::Receipt,
    verdict::Reason,
};

use serde_json::json;
use xtask::stand_in::tickets::System;

use crate::world::{World, fixture};

const ANALYST: &str = "night-shift@soc.example";

/// The analyst's browser: one cookie, and the forms of the page.
pub struct Browser<'w> {
    world: &'w World,
    link: String,
    cookie: String,
    page: String,
}

impl<'w> Browser<'w> {
    /// Opens the link of the mail.
    pub async fn open(world: &'w World, link: &str) -> Self {
        let request = http::Request::get(link).body(vec![]).unwrap();
        let response = world.review(request).await;
        assert_eq!(response.status(), 200);
        let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let page = String::from_utf8(response.body().clone()).unwrap();
        Self { world, link: link.to_owned(), cookie, page }
    }

    /// A hidden field of the page.
    fn field(&self, name: &str) -> String {
        let page = scraper::Html::parse_document(&self.page);
        let input = scraper::Selector::parse(&format!("input[name={name}]")).unwrap();
        page.select(&input).next().and_then(|input| input.value().attr("value")).unwrap_or_default().to_owned()
    }

    /// The boxes that are ticked as the page comes.
    fn ticked(&self) -> Vec<String> {
        let page = scraper::Html::parse_document(&self.page);
        let boxes = scraper::Selector::parse("input[type=checkbox][checked]").unwrap();
        page.select(&boxes).filter_map(|tick| tick.value().attr("value").map(str::to_owned)).collect()
    }

    async fn submit(&self, action: &str, fields: &[(&str, &str)]) -> http::Response<Vec<u8>> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = http::Request::post(format!("{}/{action}", self.link))
            .header("cookie", &self.cookie)
            .header("origin", "https://review.corp.example")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .unwrap();
        self.world.review(request).await
    }

    /// Asks for the one-time code, reads it from the mail and decides.
    pub async fn decide(&self, choice: &str) -> http::Response<Vec<u8>> {
        let csrf = self.field("csrf");
        self.submit("code", &[("csrf", &csrf), ("address", ANALYST)]).await;
        let mail = self.world.mails_to(ANALYST).pop().unwrap();
        let code = mail.text.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6).unwrap();
        let shown = self.field("shown_digest");
        let ticked = self.ticked();
        let mut fields = vec![
            ("csrf", csrf.as_str()),
            ("shown_digest", &shown),
            ("choice", choice),
            ("reason", "seen in two mailboxes"),
            ("code", code),
        ];
        fields.extend(ticked.iter().map(|tick| ("indicators", tick.as_str())));
        self.submit("decide", &fields).await
    }
}

/// The stages up to the question, without looking at each.
async fn until_a_person_is_asked(world: &World) -> IncidentId {
    let input = world.admit(&world.receive_mail(&fixture("phish.eml")).await).await;
    let extracted = world.extract(&input).await;
    let id = extracted.incident_id.clone();
    world.enrich(&extracted).await;
    world.assess(&id).await;
    world.request_review(&id).await;
    id
}

pub fn link_in(mail: &playbook::ports::Mail) -> String {
    let start = mail.text.find("https://review.corp.example/r/").unwrap();
    mail.text[start..].split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_phish_ends_on_the_block_list_by_a_named_analyst() {
    // Two providers know the link, one knows the address it came from; everything else is unknown to all.
    let world = World::with(
        "\"https://secure-parcel.example/track/pay?id=4471&lang=en\": {urlhaus: malicious, threatfox: malicious}\n\
         secure-parcel.example: {threatfox: malicious}\n\
         203.0.113.77: {threatfox: malicious, abuseipdb: malicious}\n",
    )
    .await;

    // 1 receive-mail: S3 stores the mail, one message goes onto the intake queue.
    let message = world.receive_mail(&fixture("phish.eml")).await;
    // 4 admit: one incident, one execution; the policy is pinned. A redelivery changes nothing.
    let input = world.admit(&message).await;
    world.admit(&message).await;
    assert_eq!(world.machines.started.borrow().len(), 1);

    // 5 extract: every observable with where it was found; our own names are marked.
    let extracted = world.extract(&input).await;
    let id = extracted.incident_id.clone();
    assert!(extracted.observables > 0);

    // 6 enrich: every provider about every observable; each lookup has one outcome.
    let enriched = world.enrich(&extracted).await;
    assert!(enriched.iter().all(|chunk| chunk.degraded == 0), "{enriched:?}");

    // 7 assess: verdicts with receipts, the plan, and the one word that the machine routes by.
    let assessed = world.assess(&id).await;
    assert_eq!(assessed.route, Route::Review);
    let assessment = world.assessment(&id).await;
    let worst = &assessment.observables[0];
    assert_eq!(worst.conclusion.verdict, Judgement::Malicious);
    let receipts = Receipt::parse(&world.evidence.fetch(&assessment.receipts).await.unwrap()).unwrap();
    assert!(receipts.iter().all(|receipt| receipt.replay().1.is_empty()), "every receipt reaches its verdict again");
    assert!(assessment.plan.open().count() >= 2, "{:?}", assessment.plan);

    // 11 update-databases, for the first time: what blocks nothing is written at once, and can be taken back.
    let recorded = world.update_databases(&id, update_databases::Act::Record).await.unwrap();
    assert_eq!(recorded.written, assessment.plan.at_once().count());
    assert!(world.stand_in().misp().iter().any(|attribute| attribute.value == "203.0.113.77"));
    assert!(world.stand_in().watchlist().iter().any(|watched| watched.value == "203.0.113.77"));
    assert!(world.list("ipv4-addr").await.is_empty(), "recording is not blocking");

    // 8 open-ticket: one ticket with the severity raised, however often the stage runs; the team's channel is told.
    assert_eq!(world.open_ticket(&id).await.tickets, 1);
    world.open_ticket(&id).await;
    let issues = world.stand_in().tickets.issues(System::Jira);
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert!(issues[0].title.starts_with("[HIGH]"), "{}", issues[0].title);

    // 9 request-review: the named person gets one link. Nothing is enforced yet.
    world.request_review(&id).await;
    let mail = world.mails_to(ANALYST).pop().unwrap();
    assert!(!mail.text.contains("https://secure-parcel.example"), "indicators are defanged");
    assert!(world.list("url").await.is_empty());
    assert!(
        world.update_databases(&id, update_databases::Act::Enforce).await.is_err(),
        "without a decision nothing is written"
    );

    // 10 review: the page, a one-time code from the mailbox, the decision; the execution wakes.
    let browser = Browser::open(&world, &link_in(&mail)).await;
    let response = browser.decide("approved").await;
    assert_eq!(response.status(), 303, "{}", String::from_utf8_lossy(response.body()));
    assert_eq!(*world.machines.woken.borrow(), ["token-1"]);

    // 11 update-databases: what the decision row approves is written through the ledger.
    let written = world.update_databases(&id, update_databases::Act::Enforce).await.unwrap();
    assert_eq!(written.written, assessment.plan.open().count());
    // 12 serve-lists: firewalls fetch it.
    assert_eq!(world.list("ipv4-addr").await, ["203.0.113.77"]);
    assert!(world.list("url").await.contains(&"https://secure-parcel.example/track/pay?id=4471&lang=en".to_owned()));

    // 13 close: the ticket is closed, the incident says how it ended, and everybody who was asked is told.
    assert_eq!(world.close(&id).await.result, "enforced");
    assert_eq!(world.incident(&id).await.status, IncidentStatus::Closed);
    assert!(world.mails_to(ANALYST).pop().unwrap().subject.contains("approved"), "{:?}", world.mails_to(ANALYST).pop());

    // 15 sweep: a year later every entry has expired by itself, everywhere.
    world.clock.advance_minutes(366 * 24 * 60);
    assert_eq!(world.sweep().await.expired, written.written + recorded.written);
    assert!(world.list("url").await.is_empty());
    assert!(world.stand_in().misp().is_empty() && world.stand_in().watchlist().is_empty());
}

#[tokio::test]
async fn a_false_positive_enforces_nothing_and_is_remembered() {
    let world = World::with("secure-parcel.example: {threatfox: malicious}\n").await;
    let id = until_a_person_is_asked(&world).await;

    let link = link_in(&world.mails_to(ANALYST)[0]);
    assert_eq!(Browser::open(&world, &link).await.decide("rejected").await.status(), 303);
    world.update_databases(&id, update_databases::Act::Record).await.unwrap();
    world.update_databases(&id, update_databases::Act::Release).await.unwrap();
    assert!(world.stand_in().misp().is_empty() && world.stand_in().watchlist().is_empty());
    assert_eq!(world.close(&id).await.result, "false_positive");
    assert!(world.list("domain-name").await.is_empty());

    // The person's decision rules from now on.
    world.assess(&id).await;
    let assessment = world.assessment(&id).await;
    let parcel =
        assessment.observables.iter().find(|o| o.sighted.observable.value() == "secure-parcel.example").unwrap();
    assert_eq!((parcel.conclusion.verdict, parcel.conclusion.rule), (Judgement::Benign, 1));
}

#[tokio::test]
async fn a_harmless_mail_closes_without_a_mail_to_anybody() {
    let world = World::with("{}").await;
    let input = world.admit(&world.receive_mail(&fixture("harmless.eml")).await).await;
    let extracted = world.extract(&input).await;
    world.enrich(&extracted).await;
    assert_eq!(world.assess(&extracted.incident_id).await.route, Route::Benign);
    assert_eq!(world.close(&extracted.incident_id).await.result, "not_malicious");
    assert!(world.outbox.mails.borrow().is_empty());
}

#[tokio::test]
async fn an_outage_ends_at_a_person_and_nothing_calls_it_benign() {
    let world = World::with("\"*\": {\"*\": error}\n").await;
    let input = world.admit(&world.receive_mail(&fixture("phish.eml")).await).await;
    let extracted = world.extract(&input).await;
    let id = extracted.incident_id.clone();
    world.enrich(&extracted).await;
    assert_eq!(world.assess(&id).await.route, Route::NeedsData);

    let assessment = world.assessment(&id).await;
    assert!(assessment.observables.iter().all(|o| o.conclusion.verdict == Judgement::Unknown));
    assert!(assessment.observables.iter().any(|o| o.conclusion.reason == Some(Reason::Degraded)));
    world.request_review(&id).await;
    let mail = world.mails_to(ANALYST).pop().unwrap();
    assert!(
        mail.text.contains("urlhaus") && mail.text.contains("threatfox"),
        "the sources that failed are named: {}",
        mail.text
    );
    assert_eq!(world.incident(&id).await.status, IncidentStatus::Waiting);
}

#[tokio::test]
async fn when_nobody_decides_in_time_nothing_is_enforced_and_people_are_told() {
    let world = World::with("secure-parcel.example: {threatfox: malicious}\n").await;
    let id = until_a_person_is_asked(&world).await;

    world.clock.advance_minutes(61);
    assert_eq!(world.sweep().await.ended, 1);
    assert_eq!(*world.machines.woken.borrow(), ["token-1"]);
    assert_eq!(world.sweep().await, sweep::Output::default(), "nothing is left to do");
    assert_eq!(world.close(&id).await.result, "timed_out");
    assert!(world.list("domain-name").await.is_empty());
    let told = world.mails_to(ANALYST).pop().unwrap().subject;
    assert!(told.contains("stays undecided"), "{told}");
}

#[tokio::test]
async fn a_suspicious_finding_is_watched_and_nobody_is_asked() {
    let world = World::with("198.51.100.30: {abuseipdb: suspicious, threatfox: suspicious}\n").await;
    let finding = json!({
        "id": "6a1f3c1e-0000-4000-8000-000000000001", "source": "aws.guardduty", "detail-type": "GuardDuty Finding",
        "account": "000000000000", "region": "eu-west-1", "time": "2026-11-24T04:59:00Z",
        "detail": {
            "id": "c0c0c0c0", "region": "eu-west-1", "severity": 5, "title": "An API was called from a malicious address.",
            "updatedAt": "2026-11-24T04:58:12.408Z",
            "service": {"action": {"actionType": "AWS_API_CALL", "awsApiCallAction": {
                "api": "GetObject", "remoteIpDetails": {"ipAddressV4": "198.51.100.30"}
            }}},
        },
    });
    // 2 receive-alert: a finding of GuardDuty becomes an alert on the intake queue.
    let extracted = world.extract(&world.admit(&world.receive_event(finding).await).await).await;
    let id = extracted.incident_id.clone();
    world.enrich(&extracted).await;
    let assessed = world.assess(&id).await;
    assert_eq!((assessed.route, assessed.opens_ticket), (Route::Watch, false));
    // Suspicious is put on the watchlist, which only alerts; threat databases and block lists get nothing.
    world.update_databases(&id, update_databases::Act::Record).await.unwrap();
    assert_eq!(world.stand_in().watchlist().len(), 1);
    assert!(world.stand_in().misp().is_empty() && world.list("ipv4-addr").await.is_empty());
    assert_eq!(world.close(&id).await.result, "watched");
    assert!(world.outbox.mails.borrow().is_empty());
}
