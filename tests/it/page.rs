//! The review page in real Chromium: decided by keyboard in both modes, looked at for barriers, pressed by a scanner.
//!
//! The page is the real one, in this process and on the loopback interface, with rows in memory; `tests/browser/page.mjs`
//! drives the browser. The same decision on the deployed stack is in `browser.rs`.

use std::{cell::Cell, rc::Rc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use egress::Https;
use playbook::{
    Timestamp,
    assessment::Assessment,
    brief::sample::{self, APPROVER, OTHER_APPROVER},
    decision::{Choice, Decision, LinkSecret, Question, Round},
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, StoppedClock},
    ports::{Clock as _, Evidence as _, Secret},
    rows::{Commit, Row, Rows as _},
};
use review::{Caller, Settings, World};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use xtask::project::Project;

use crate::{browser, oidc::Issuer};

const BODY_MAX_BYTES: usize = 1024 * 1024;

/// A request on its way to the page, and where its answer goes.
type Asked = (http::Request<Vec<u8>>, oneshot::Sender<http::Response<Vec<u8>>>);

/// A team in memory, with as many incidents as are asked about.
struct Desk {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    outbox: MemoryOutbox,
    machines: MemoryMachines,
    clock: StoppedClock,
    entropy: CountingEntropy,
    egress: Https,
    settings: Settings,
    base: String,
    signs_in: bool,
    links: Cell<u8>,
}

impl Desk {
    /// Serves the page on a free port of the loopback interface, in the mode that the issuer makes.
    async fn serve(issuer: Option<&mut Option<Issuer>>) -> Rc<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = Settings::new(&base, Secret::new("page-key-of-at-least-32-characters")).unwrap();
        let signs_in = issuer.is_some();
        if let Some(issuer) = issuer {
            let started = issuer.insert(Issuer::at(&base));
            settings = settings.signing_in(started.provider()).unwrap();
        }
        let (asks, mut asked) = mpsc::channel::<Asked>(16);
        let router = Router::new().fallback(forward).with_state(asks);
        tokio::task::spawn_local(async move { axum::serve(listener, router).await });
        let desk = Rc::new(Self {
            evidence: MemoryEvidence::default(),
            rows: MemoryRows::default(),
            outbox: MemoryOutbox::default(),
            machines: MemoryMachines::default(),
            clock: StoppedClock::at(now()),
            entropy: CountingEntropy::default(),
            egress: Https::new().unwrap(),
            settings,
            base,
            signs_in,
            links: Cell::new(0),
        });
        let page = Rc::clone(&desk);
        tokio::task::spawn_local(async move {
            while let Some((request, answer)) = asked.recv().await {
                let _ = answer.send(page.answer(request).await);
            }
        });
        desk
    }

    async fn answer(&self, mut request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>> {
        if request.uri().path() == "/_mails" {
            let mails = self.outbox.mails.borrow();
            let mails =
                mails.iter().map(|mail| json!({"To": [mail.to], "Subject": mail.subject, "BodyText": mail.text}));
            let mails: Vec<Value> = mails.collect();
            return http::Response::new(json!({"messages": {"page": mails}}).to_string().into_bytes());
        }
        if request.uri().path() == "/_ten_seconds" {
            self.clock.advance_seconds(10);
            return http::Response::new(vec![]);
        }
        request.extensions_mut().insert(Caller("127.0.0.1".to_owned()));
        let Self { evidence, rows, outbox, machines, clock, entropy, egress, settings, .. } = self;
        review::handle(&World { evidence, rows, outbox, machines, clock, entropy, egress, settings }, request).await
    }

    /// An incident that waits for both approvers; the link of each. `change` has its way with the round first.
    async fn ask(&self, change: impl Fn(&mut Round, &mut Assessment)) -> [String; 2] {
        let mut assessment = sample::assessment().unwrap();
        let number = self.links.get();
        assessment.incident_id = playbook::IncidentId::of("default", "mail", &number.to_string());
        let mut round = sample::round(&assessment, Question::ApprovePlan).unwrap();
        let now = self.clock.now();
        round.deadline = now.plus_minutes(43);
        round.sign_in = self.signs_in;
        change(&mut round, &mut assessment);
        assessment.plan_digest = assessment.plan.digest().unwrap();
        round.plan_digest.clone_from(&assessment.plan_digest);
        let id = &assessment.incident_id;
        let bytes = serde_json::to_vec(&assessment).unwrap();
        let document = self.evidence.store(&format!("incidents/{id}"), "application/json", &bytes).await.unwrap();
        let secrets = [1, 2].map(|next| LinkSecret::new(&[number + next; 32]));
        self.links.set(number + 2);
        let links = [(&secrets[0], APPROVER), (&secrets[1], OTHER_APPROVER)];
        let writes = sample::waiting(&round, document, &links, now).unwrap();
        assert_eq!(self.rows.commit(&writes).await, Ok(Commit::Done));
        secrets.map(|secret| format!("{}/r/{}", self.base, secret.reveal()))
    }

    /// A link of an incident that was decided so.
    async fn decided(&self, choice: Choice) -> String {
        let [link, _] = self.ask(|_, _| {}).await;
        let id = playbook::IncidentId::of("default", "mail", &(self.links.get() - 2).to_string());
        let round = Round::load(&self.rows, &id, 1, 1).await.unwrap().unwrap();
        let decision = Decision {
            choice,
            by: if choice == Choice::TimedOut { String::new() } else { APPROVER.to_owned() },
            authenticated_by: "mailbox".to_owned(),
            reason: "seen in two mailboxes".to_owned(),
            plan_digest: round.plan_digest.clone(),
            shown_digest: round.shown_digest.clone(),
            ..Decision::at(self.clock.now())
        };
        assert_eq!(self.rows.commit(&decision.writes(&round, decision.at).unwrap()).await, Ok(Commit::Done));
        link
    }

    fn decisions(&self) -> Vec<Decision> {
        let rows = self.rows.all();
        let decisions = rows.iter().filter(|row| row.key.sk.starts_with("decision#"));
        decisions.map(|row| Row::read(row).unwrap()).collect()
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// From the server's threads to the page's.
async fn forward(State(asks): State<mpsc::Sender<Asked>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX_BYTES).await.unwrap_or_default();
    let (answer, answered) = oneshot::channel();
    let _ = asks.send((http::Request::from_parts(head, body.to_vec()), answer)).await;
    answered.await.unwrap_or_default().map(Body::from)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

async fn drive(desk: &Desk, act: &str, more: &[(&str, &str)]) -> Value {
    let mails = format!("{}/_mails", desk.base);
    let own = [("ACT", act), ("BASE", &desk.base), ("MAILS_URL", &mails), ("ADDRESS", APPROVER)];
    browser::node(&Project::find().unwrap(), "page.mjs", own.into_iter().chain(more.iter().copied())).await
}

async fn mailboxes() -> Rc<Desk> {
    Desk::serve(None).await
}

/// With an issuer at another site, which lives as long as it is held.
async fn signing_in() -> (Rc<Desk>, Issuer) {
    let mut issuer = None;
    let desk = Desk::serve(Some(&mut issuer)).await;
    (desk, issuer.unwrap())
}

/// What the whole decision comes to.
fn check_decided(desk: &Desk, seen: &Value, known_by: &str) {
    let decisions = desk.decisions();
    let [decision] = decisions.as_slice() else { panic!("{decisions:?}") };
    assert_eq!((decision.choice, decision.by.as_str()), (Choice::Approved, APPROVER));
    assert_eq!(decision.authenticated_by, known_by);
    assert_eq!(decision.reason, "typed without a mouse");
    assert_eq!(seen["scripts"], 0);
    let receipt = seen["receipt"].as_str().unwrap();
    assert!(receipt.contains("Already decided by ana[@]soc[.]example") && receipt.contains("How to undo"), "{receipt}");
    let again = seen["again"].as_str().unwrap();
    assert!(again.contains("Already decided"), "{again}");
}

#[test]
fn a_person_decides_by_keyboard_with_a_code() {
    run(async {
        for size in ["phone", "desk"] {
            let desk = mailboxes().await;
            let [link, _] = desk.ask(|_, _| {}).await;
            let seen = drive(&desk, "decide", &[("LINK", &link), ("SIZE", size)]).await;
            check_decided(&desk, &seen, "mailbox");
        }
    });
}

#[test]
fn a_person_decides_by_keyboard_after_signing_in_at_another_site() {
    run(async {
        for size in ["phone", "desk"] {
            let (desk, _issuer) = signing_in().await;
            let [link, _] = desk.ask(|_, _| {}).await;
            let seen = drive(&desk, "decide", &[("LINK", &link), ("SIZE", size), ("ACCOUNT", "analyst")]).await;
            check_decided(&desk, &seen, "oidc");
        }
    });
}

#[test]
fn no_page_has_a_barrier() {
    run(async {
        let desk = mailboxes().await;
        let mut pages = vec![];
        let [question, _] = desk.ask(|_, _| {}).await;
        let [two, _] = desk
            .ask(|_, assessment| {
                assessment.plan.entries[0].second = Some("policy calls it critical".to_owned());
            })
            .await;
        let [manual, _] = desk
            .ask(|round, _| {
                round.question = Question::Manual;
                round.asks = serde_json::from_value(json!({
                    "question": "Shall dc01 be isolated?", "indicators": true,
                    "choices": [{"value": "isolate", "label": "Isolate it"}, {"value": "leave", "label": "Leave it"}],
                }))
                .unwrap();
            })
            .await;
        let [needs_data, _] = desk.ask(|round, _| round.question = Question::NeedsData).await;
        let [expired, _] = desk.ask(|round, _| round.deadline = round.deadline.plus_minutes(-100)).await;
        let [not_asked, _] = desk.ask(|round, _| round.asked.retain(|asked| asked != APPROVER)).await;
        let [lost_issuer, _] = desk.ask(|round, _| round.sign_in = true).await;
        let named = [
            ("question", question),
            ("two", two),
            ("manual", manual),
            ("needs-data", needs_data),
            ("expired", expired),
            ("not-asked", not_asked),
            ("lost-issuer", lost_issuer),
        ];
        pages.extend(named.map(|(name, link)| json!({"name": name, "link": link})));
        for choice in [Choice::Approved, Choice::Rejected, Choice::Escalated, Choice::LookAgain, Choice::TimedOut] {
            pages.push(json!({"name": choice.as_str(), "link": desk.decided(choice).await}));
        }
        pages.push(
            json!({"name": "unknown", "link": format!("{}/r/{}", desk.base, LinkSecret::new(&[255; 32]).reveal())}),
        );
        let pages = Value::Array(pages).to_string();
        let seen = drive(&desk, "barriers", &[("PAGES", &pages)]).await;
        let (signing, _issuer) = signing_in().await;
        let [link, _] = signing.ask(|_, _| {}).await;
        let more = json!([{"name": "sign-in", "link": link}, {"name": "not-begun", "link": format!("{}/signed-in?state=x&code=y", signing.base)}]);
        let signed = drive(&signing, "barriers", &[("PAGES", &more.to_string()), ("ACCOUNT", "somebody-else")]).await;
        let looked_at = |seen: &Value| seen["looked_at"].as_array().unwrap().len();
        println!("axe-core looked at {} pages", looked_at(&seen) + looked_at(&signed));
        assert_eq!((&seen["violations"], &signed["violations"]), (&json!([]), &json!([])));
        assert!(looked_at(&seen) >= 16 && looked_at(&signed) >= 4, "{seen} {signed}");
    });
}

#[test]
fn fifty_visits_of_a_scanner_decide_nothing() {
    run(async {
        let desk = mailboxes().await;
        let [link, _] = desk.ask(|_, _| {}).await;
        let seen = drive(&desk, "scan", &[("LINK", &link), ("VISITS", "50")]).await;
        let (visits, pressed) = (seen["visits"].as_u64().unwrap(), seen["pressed"].as_u64().unwrap());
        println!("{visits} visits pressed {pressed} buttons; {} codes were mailed", desk.outbox.mails.borrow().len());
        assert!(visits == 50 && pressed >= 200, "{seen}");
        assert_eq!(seen["decided_by_scanner"], 0);
        assert!(desk.outbox.mails.borrow().len() <= 5, "{} codes within an hour", desk.outbox.mails.borrow().len());
        // With the code that came before the scanner.
        check_decided(&desk, &seen, "mailbox");
    });
}

#[test]
fn in_a_frame_the_page_shows_nothing() {
    run(async {
        let desk = mailboxes().await;
        let [link, _] = desk.ask(|_, _| {}).await;
        let seen = drive(&desk, "frame", &[("LINK", &link)]).await;
        assert!(!seen["framed"].as_str().unwrap().contains("Decide"), "{seen}");
        assert!(seen["refused"].as_bool().unwrap(), "{seen}");
    });
}
