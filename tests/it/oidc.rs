//! Sign-in at a real issuer: `oidc-provider` in a process of its own, reached by the way out that production has.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use egress::Https;
use http::{Request, StatusCode};
use playbook::{
    Timestamp,
    brief::sample::{self, APPROVER},
    decision::{LinkSecret, Question, Round},
    fakes::{CountingEntropy, MemoryEvidence, MemoryMachines, MemoryOutbox, MemoryRows, StoppedClock},
    lookup::{self, Method},
    ports::{Clock as _, Destination, Egress as _, Evidence as _, Reach, Secret},
    rows::{Commit, Rows as _},
};
use review::{
    Settings, World,
    oidc::{self, Provider},
};
use scraper::{Html, Selector};
use serde_json::Value;
use url::{Url, form_urlencoded};
use xtask::project::Project;

const PAGE: &str = "http://127.0.0.1:4566/page";
const CLIENT: &str = "review-page";
const CLIENT_SECRET: &str = "made-up-secret-of-the-client";
const PATIENCE: Duration = Duration::from_secs(10);

/// The issuer's process; it ends with its standard input.
pub struct Issuer {
    process: Child,
    url: String,
}

impl Issuer {
    fn start(secret: &str) -> Self {
        Self::start_with(secret, "")
    }

    /// For a page that is served there, to a client with a secret.
    pub fn at(page: &str) -> Self {
        Self::of_page(page, CLIENT_SECRET, "")
    }

    /// Itself, as the page's settings name it.
    pub fn provider(&self) -> Provider {
        Provider::new(&self.url, CLIENT, Some(Secret::new(CLIENT_SECRET)), "").unwrap()
    }

    fn start_with(secret: &str, claims: &str) -> Self {
        Self::of_page(PAGE, secret, claims)
    }

    fn of_page(page: &str, secret: &str, claims: &str) -> Self {
        let folder = Project::find().unwrap().path("tests/browser");
        let modules = folder.join("node_modules/oidc-provider");
        assert!(modules.is_dir(), "{} is missing: cargo xtask test installs it", modules.display());
        let mut node = Command::new("node");
        node.arg("issuer.mjs").current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        node.env("REDIRECT_URI", format!("{page}/signed-in")).env("ANALYST", APPROVER);
        node.env("CLIENT_ID", CLIENT).env("CLIENT_SECRET", secret).env("CLAIMS", claims).env_remove("PORT");
        let mut process = node.spawn().unwrap_or_else(|error| panic!("node cannot be started: {error}"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { process, url: said["issuer"].as_str().unwrap().to_owned() }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A page in this process, and one browser that goes from it to the issuer and back.
struct Desk {
    evidence: MemoryEvidence,
    rows: MemoryRows,
    outbox: MemoryOutbox,
    machines: MemoryMachines,
    clock: StoppedClock,
    entropy: CountingEntropy,
    egress: Https,
    settings: Settings,
    secret: LinkSecret,
    stand_in: String,
    ours: BTreeMap<String, String>,
    theirs: BTreeMap<String, String>,
}

/// What the page answers.
struct Answer {
    status: StatusCode,
    to: String,
    text: String,
}

impl Desk {
    async fn at(issuer: &Issuer, secret: Option<&str>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap());
        let provider = Provider::new(&issuer.url, CLIENT, secret.map(Secret::new), "").unwrap();
        let settings = Settings::new(PAGE, Secret::new("page-key-of-at-least-32-characters")).unwrap();
        let desk = Self {
            evidence: MemoryEvidence::default(),
            rows: MemoryRows::default(),
            outbox: MemoryOutbox::default(),
            machines: MemoryMachines::default(),
            clock: StoppedClock::at(now),
            entropy: CountingEntropy::default(),
            egress: Https::new().unwrap(),
            settings: settings.signing_in(provider).unwrap(),
            secret: LinkSecret::new(&[7; 32]),
            stand_in: issuer.url.replace("localhost", "127.0.0.1"),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
        };
        desk.ask(now).await;
        desk
    }

    /// Leaves an incident that waits for the approver.
    async fn ask(&self, now: Timestamp) {
        let assessment = sample::assessment().unwrap();
        let bytes = serde_json::to_vec(&assessment).unwrap();
        let document = self.evidence.store("incidents/assessment", "application/json", &bytes).await.unwrap();
        let round = Round { deadline: now.plus_hours(1), ..sample::round(&assessment, Question::ApprovePlan).unwrap() };
        let writes = sample::waiting(&round, document, &[(&self.secret, APPROVER)], now).unwrap();
        assert_eq!(self.rows.commit(&writes).await, Ok(Commit::Done));
    }

    /// The browser opens an address of the page.
    async fn open(&mut self, address: &str) -> Answer {
        let path = address.strip_prefix("http://127.0.0.1:4566").unwrap();
        let request = Request::get(path).header("cookie", line(&self.ours)).body(vec![]).unwrap();
        let world = World {
            evidence: &self.evidence,
            rows: &self.rows,
            outbox: &self.outbox,
            machines: &self.machines,
            clock: &self.clock,
            entropy: &self.entropy,
            egress: &self.egress,
            settings: &self.settings,
        };
        let response = review::handle(&world, request).await;
        for cookie in response.headers().get_all("set-cookie") {
            keep(&mut self.ours, cookie.to_str().unwrap());
        }
        let to = response.headers().get("location").map_or("", |to| to.to_str().unwrap()).to_owned();
        let text = String::from_utf8(response.body().clone()).unwrap();
        Answer { status: response.status(), to, text }
    }

    /// Follows the page's sign-in link, fills the issuer's form in, and comes back; the address that it comes back to.
    async fn authorize(&mut self, how: &str, account: &str) -> String {
        let link = format!("{PAGE}/r/{}/sign-in{how}", self.secret.reveal());
        let began = self.open(&link).await;
        assert_eq!(began.status, StatusCode::SEE_OTHER, "{}", began.text);
        let (mut url, mut body) = (Url::parse(&began.to).unwrap(), None);
        for _ in 0..8 {
            let answer = self.at_issuer(&url, body.take()).await;
            match answer.header("location") {
                Some(to) if to.starts_with(PAGE) => return to.to_owned(),
                Some(to) => url = url.join(to).unwrap(),
                None => {
                    let text = String::from_utf8_lossy(&answer.body);
                    assert_eq!(answer.status, 200, "{url}: {text}");
                    let (action, fields) = form(&url, &text, account);
                    (url, body) = (action, Some(fields));
                }
            }
        }
        panic!("the issuer leads from one address to the next: {url}")
    }

    async fn sign_in(&mut self, account: &str) -> Answer {
        let back = self.authorize("", account).await;
        self.open(&back).await
    }

    async fn at_issuer(&mut self, url: &Url, form: Option<String>) -> lookup::Answer {
        assert_eq!(url.host_str(), Some("localhost"), "the issuer is another site than the page: {url}");
        let mut headers = vec![("cookie".to_owned(), line(&self.theirs))];
        let mut asked = Url::parse("https://localhost/").unwrap();
        asked.set_path(url.path());
        asked.set_query(url.query());
        let method = if form.is_some() { Method::Post } else { Method::Get };
        let body = form.unwrap_or_default();
        if method == Method::Post {
            headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        }
        let request = lookup::Request { method, url: asked, headers, body: body.into_bytes() };
        let reach = Reach { stand_in: Some(&self.stand_in), ..Reach::default() };
        let to = Destination::of("localhost", reach);
        let answer = self.egress.call(&to, &request, PATIENCE).await.unwrap();
        for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            keep(&mut self.theirs, cookie);
        }
        answer
    }

    fn identity(&self) -> Option<oidc::Identity> {
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", line(&self.ours).parse().unwrap());
        oidc::identity(&headers, &self.settings, &self.secret.digest(), self.clock.now())
    }

    /// Nobody is signed in, and the page says why.
    fn check_refused(&self, answer: &Answer, why: &str) {
        assert!(
            answer.status == StatusCode::FORBIDDEN || answer.status == StatusCode::BAD_GATEWAY,
            "{}",
            answer.status
        );
        for expected in [why, "Nothing was decided."] {
            assert!(answer.text.contains(expected), "{expected:?} is not in {}", answer.text);
        }
        assert!(self.identity().is_none(), "{why}");
    }
}

/// What a person without scripts does with the one form of a page: types the account, or presses Cancel.
fn form(url: &Url, page: &str, account: &str) -> (Url, String) {
    let page = Html::parse_document(page);
    let select = |what: &str| Selector::parse(what).unwrap();
    let form = page.select(&select("form[method=post]")).next().unwrap();
    let mut fields = form_urlencoded::Serializer::new(String::new());
    for input in form.select(&select("input[name]")) {
        match (input.attr("name").unwrap(), input.attr("type")) {
            ("account", _) if account == "cancel" => fields.append_pair("cancel", "yes"),
            ("account", _) => fields.append_pair("account", account),
            (name, Some("hidden")) => fields.append_pair(name, input.attr("value").unwrap()),
            (name, _) => panic!("nobody knows what to type as {name}"),
        };
    }
    (form.attr("action").map_or_else(|| url.clone(), |action| url.join(action).unwrap()), fields.finish())
}

fn line(cookies: &BTreeMap<String, String>) -> String {
    cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn keep(jar: &mut BTreeMap<String, String>, cookie: &str) {
    let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    if value.is_empty() {
        jar.remove(name);
    } else {
        jar.insert(name.to_owned(), value.to_owned());
    }
}

#[tokio::test]
async fn the_analyst_signs_in() {
    for (secret, claims) in [(CLIENT_SECRET, ""), (CLIENT_SECRET, "userinfo"), ("", "")] {
        let issuer = Issuer::start_with(secret, claims);
        let mut desk = Desk::at(&issuer, Some(secret).filter(|secret| !secret.is_empty())).await;
        let answer = desk.sign_in("analyst").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let identity = desk.identity().unwrap();
        assert!(identity.is(APPROVER));
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (issuer.url.as_str(), "analyst"));
        assert_eq!(desk.open(&answer.to).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn tokens_that_are_signed_and_wrong_are_refused() {
    let issuer = Issuer::start(CLIENT_SECRET);
    for (account, why) in [
        ("wrong-audience", "it was made for another application"),
        ("expired", "it is not of this moment"),
        ("unverified", "the issuer does not say that it has verified your address"),
    ] {
        let mut desk = Desk::at(&issuer, Some(CLIENT_SECRET)).await;
        let answer = desk.sign_in(account).await;
        desk.check_refused(&answer, why);
    }
}

#[tokio::test]
async fn somebody_else_is_refused_and_can_sign_in_as_the_analyst() {
    let issuer = Issuer::start(CLIENT_SECRET);
    let mut desk = Desk::at(&issuer, Some(CLIENT_SECRET)).await;
    let answer = desk.sign_in("somebody-else").await;
    desk.check_refused(&answer, "somebody-else[@]soc[.]example");
    // The issuer would sign the same person in again, without a question: it is told to ask.
    let again = desk.authorize("?again", "analyst").await;
    desk.open(&again).await;
    assert!(desk.identity().unwrap().is(APPROVER));
}

#[tokio::test]
async fn a_code_is_taken_once_and_an_old_answer_never() {
    let issuer = Issuer::start(CLIENT_SECRET);
    let mut desk = Desk::at(&issuer, Some(CLIENT_SECRET)).await;
    let back = desk.authorize("", "analyst").await;
    let kept = desk.ours.clone();
    assert_eq!(desk.open(&back).await.status, StatusCode::SEE_OTHER);
    // Somebody who has the address and the cookies of the way there.
    desk.ours = kept;
    let answer = desk.open(&back).await;
    desk.check_refused(&answer, "it was used before, or is too old");

    let back = desk.authorize("", "analyst").await;
    desk.clock.advance_minutes(10);
    let answer = desk.open(&back).await;
    desk.check_refused(&answer, "The sign-in took longer than ten minutes");
}

#[tokio::test]
async fn who_cancels_or_meets_no_issuer_is_not_signed_in() {
    let issuer = Issuer::start(CLIENT_SECRET);
    let mut desk = Desk::at(&issuer, Some(CLIENT_SECRET)).await;
    let answer = desk.sign_in("cancel").await;
    desk.check_refused(&answer, "It calls the reason access_denied.");

    let mut stranger = Desk::at(&issuer, Some("not the secret")).await;
    let answer = stranger.sign_in("analyst").await;
    stranger.check_refused(&answer, "its registration at the issuer is wrong");

    let back = desk.authorize("", "analyst").await;
    drop(issuer);
    let answer = desk.open(&back).await;
    desk.check_refused(&answer, "did not answer");
}
