//! A security team in memory, with an incident that waits for a decision, and browsers that visit its page.

use std::{cell::Cell, time::Duration};

use http::{HeaderMap, Method, Request, StatusCode};
use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    audit::{Entry, Event},
    brief::sample,
    decision::{Decision, LinkSecret, Question, Round},
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, StoppedClock},
    incident::{EvidenceRef, Run},
    lookup::{self, Answer as Answered, CallError},
    ports::{
        Clock as _, Destination, DnsAnswer, DnsQuestion, Egress, Evidence, Machines, Mail, Nameserver, Outbox, Secret,
        Started, Woken,
    },
    rows::{Commit, Key, Row, Rows, Write},
};
use review::{Caller, Settings, World};
use scraper::{Html, Selector};

use crate::oidc::issuer::MockIssuer;

pub const ORIGIN: &str = "https://review.soc.example";

pub struct Team {
    pub evidence: MemoryEvidence,
    pub rows: MemoryRows,
    pub outbox: MemoryOutbox,
    pub machines: MemoryMachines,
    pub clock: StoppedClock,
    pub entropy: CountingEntropy,
    pub settings: Settings,
    pub assessment: Assessment,
    pub trouble: Cell<Trouble>,
    /// Where people sign in, if anywhere.
    pub issuer: Option<MockIssuer>,
}

/// What the team's infrastructure does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// No decision is written.
    Writes,
    /// A decision is written, but the answer gets lost.
    Answers,
    /// No execution is woken.
    Machines,
    /// No mail goes out.
    Mails,
}

/// Ports in trouble; their futures give way now and then, so that visitors at the same moment interleave.
struct Ports<'t>(&'t Team);

impl Ports<'_> {
    fn unless(&self, trouble: Trouble) -> Result<(), Fault> {
        let is_up = self.0.trouble.get() != trouble;
        if is_up { Ok(()) } else { Err(Fault::Unavailable("no answer".to_owned())) }
    }
}

impl Rows for Ports<'_> {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        tokio::task::yield_now().await;
        self.0.rows.get(key).await
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        self.0.rows.list(pk, sk_prefix).await
    }

    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.rows.due(kind, until, limit).await
    }

    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.0.rows.by_observable(observable, limit).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        tokio::task::yield_now().await;
        let is_decision = writes.iter().any(|write| write.key.sk.starts_with("decision#"));
        if is_decision {
            self.unless(Trouble::Writes)?;
        }
        let committed = self.0.rows.commit(writes).await;
        if is_decision {
            self.unless(Trouble::Answers)?;
        }
        committed
    }
}

impl Machines for Ports<'_> {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<Started, Fault> {
        self.0.machines.start(machine, name, input).await
    }

    async fn wake(&self, task_token: &str) -> Result<Woken, Fault> {
        self.unless(Trouble::Machines)?;
        self.0.machines.wake(task_token).await
    }

    async fn is_running(&self, machine: &str, name: &str) -> Result<Option<bool>, Fault> {
        self.0.machines.is_running(machine, name).await
    }
}

impl Outbox for Ports<'_> {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        self.unless(Trouble::Mails)?;
        self.0.outbox.send(mail).await
    }
}

impl Egress for Ports<'_> {
    async fn call(&self, to: &Destination<'_>, asked: &lookup::Request, wait: Duration) -> Result<Answered, CallError> {
        tokio::task::yield_now().await;
        let issuer = self.0.issuer.as_ref().ok_or_else(|| CallError::Refused("nobody is called".to_owned()))?;
        issuer.call(to, asked, wait, self.0.clock.now())
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Refused("nobody is called".to_owned()))
    }
}

impl Team {
    pub async fn waiting() -> Self {
        Self::asking(sample::assessment().unwrap(), Question::ApprovePlan).await
    }

    pub async fn asking(assessment: Assessment, question: Question) -> Self {
        let now = Timestamp::parse(sample::ASSESSED_AT).unwrap();
        let team = Self {
            evidence: MemoryEvidence::default(),
            rows: MemoryRows::default(),
            outbox: MemoryOutbox::default(),
            machines: MemoryMachines::default(),
            clock: StoppedClock::at(now),
            entropy: CountingEntropy::default(),
            settings: Settings::new(ORIGIN, Secret::new("page-key-of-at-least-32-characters")).unwrap(),
            assessment,
            trouble: Cell::new(Trouble::None),
            issuer: None,
        };
        let round = sample::round(&team.assessment, question).unwrap();
        let document = team.store(&team.assessment).await;
        let links = [(&secret(1), sample::APPROVER), (&secret(2), sample::OTHER_APPROVER)];
        let writes = sample::waiting(&round, document, &links, now).unwrap();
        assert_eq!(team.rows.commit(&writes).await, Ok(Commit::Done));
        team
    }

    /// Makes this the assessment of run 1.
    pub async fn assess(&self, assessment: &Assessment) {
        let document = self.store(assessment).await;
        let run = Run { schema: Run::SCHEMA.to_owned(), assessment: Some(document), ..Run::default() };
        self.change(Write::put(Run::key(&assessment.incident_id, 1), &run).unwrap()).await;
    }

    async fn store(&self, assessment: &Assessment) -> EvidenceRef {
        let bytes = serde_json::to_vec(assessment).unwrap();
        let key = format!("incidents/{}", playbook::canonical::sha256_hex(&bytes));
        self.evidence.store(&key, "application/json", &bytes).await.unwrap()
    }

    pub async fn change(&self, write: Write) {
        assert_eq!(self.rows.commit(&[write]).await, Ok(Commit::Done));
    }

    pub async fn round(&self) -> Round {
        Round::load(&self.rows, &self.assessment.incident_id, 1, 1).await.unwrap().unwrap()
    }

    /// What is on record, without the requests for codes: event, who and detail.
    pub async fn audit(&self) -> Vec<(Event, String, String)> {
        let entries = Entry::all(&self.rows, &self.assessment.incident_id).await.unwrap();
        let entries = entries.into_iter().filter(|entry| entry.event != Event::CodeMailed);
        entries.map(|entry| (entry.event, format!("{} {}", entry.who, entry.authenticated_by), entry.detail)).collect()
    }

    pub async fn decision(&self) -> Option<Decision> {
        Decision::load(&self.rows, &self.assessment.incident_id, 1, 1).await.unwrap()
    }

    /// The digits of the newest code mail.
    pub fn newest_code(&self) -> String {
        let mails = self.outbox.mails.borrow();
        let text = &mails.last().expect("a mail").text;
        text.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6).expect("six digits").to_owned()
    }

    pub async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let ports = &Ports(self);
        let world = World {
            evidence: &self.evidence,
            rows: ports,
            outbox: ports,
            machines: ports,
            clock: &self.clock,
            entropy: &self.entropy,
            egress: ports,
            settings: &self.settings,
        };
        let (head, body) = Box::pin(review::handle(&world, request)).await.into_parts();
        Answer { status: head.status, headers: head.headers, html: String::from_utf8(body).unwrap() }
    }
}

pub fn secret(number: u8) -> LinkSecret {
    LinkSecret::new(&[number; 32])
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub html: String,
}

impl Answer {
    pub fn document(&self) -> Html {
        Html::parse_document(&self.html)
    }

    pub fn text(&self) -> String {
        self.document().root_element().text().collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Action and fields of each form, as they are filled in before anybody typed.
    pub fn forms(&self) -> Vec<(String, Vec<(String, String)>)> {
        let document = self.document();
        let (forms, fields) = (Selector::parse("form").unwrap(), Selector::parse("input, textarea").unwrap());
        document
            .select(&forms)
            .map(|form| {
                let inputs = form.select(&fields).filter_map(|input| {
                    let of = |name| input.value().attr(name).unwrap_or("").to_owned();
                    let is_box = matches!(of("type").as_str(), "checkbox" | "radio");
                    (!is_box || input.value().attr("checked").is_some()).then(|| (of("name"), of("value")))
                });
                (form.value().attr("action").unwrap().to_owned(), inputs.collect())
            })
            .collect()
    }

    pub fn form(&self, end: &str) -> Vec<(String, String)> {
        self.forms().into_iter().find(|(action, _)| action.ends_with(end)).expect("the form").1
    }
}

/// A browser: keeps the cookie, says where its requests come from.
pub struct Browser<'t> {
    pub team: &'t Team,
    pub link: LinkSecret,
    pub cookie: String,
    pub headers: Vec<(&'static str, String)>,
}

impl<'t> Browser<'t> {
    pub fn of(team: &'t Team, link: u8) -> Self {
        let headers = vec![("sec-fetch-site", "same-origin".to_owned()), ("origin", ORIGIN.to_owned())];
        Self { team, link: secret(link), cookie: String::new(), headers }
    }

    pub async fn request(&mut self, method: Method, path: &str, body: String) -> Answer {
        let path = path.strip_prefix(ORIGIN).unwrap_or(path);
        let mut request = Request::builder().method(method).uri(path).header("user-agent", "test browser");
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
            for (name, value) in &self.headers {
                request = request.header(*name, value);
            }
        }
        let request = request.extension(Caller("192.0.2.99".to_owned())).body(body.into_bytes()).unwrap();
        let answer = self.team.send(request).await;
        if let Some(cookie) = answer.headers.get("set-cookie") {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        answer
    }

    pub async fn open(&mut self) -> Answer {
        let path = format!("/r/{}", self.link.reveal());
        self.request(Method::GET, &path, String::new()).await
    }

    pub async fn post(&mut self, end: &str, fields: &[(String, String)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let path = format!("/r/{}{end}", self.link.reveal());
        self.request(Method::POST, &path, body).await
    }

    /// Opens the page and asks for a code with this address.
    pub async fn ask(&mut self, address: &str) -> Answer {
        let fields = self.open().await.form("/code");
        self.post("/code", &with(fields, &[("address", address)])).await
    }

    /// Fills in the form as it stands, and posts it.
    pub async fn decide(&mut self, choice: &str, reason: &str, code: &str) -> Answer {
        let fields = self.open().await.form("/decide");
        self.post("/decide", &with(fields, &[("choice", choice), ("reason", reason), ("code", code)])).await
    }
}

/// The fields with these values set, whether or not they were there.
pub fn with(fields: Vec<(String, String)>, values: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut fields: Vec<_> = fields.into_iter().filter(|(name, _)| values.iter().all(|(set, _)| set != name)).collect();
    fields.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}
