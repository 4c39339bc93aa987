//! The decision in a real browser: headless Chromium with JavaScript off, driven by `tests/browser/decide.mjs`.

use std::{process::Stdio, rc::Rc, time::Duration};

use playbook::incident::IncidentStatus;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use xtask::{build, process, project::Project};

use crate::emulator::{Deployed, NIGHT_SHIFT, mail};

/// A scanner presses some hundred buttons.
const PATIENCE: Duration = Duration::from_mins(8);
const INSTALL: &str = "run cargo xtask test, which installs what the tests need or says how";

/// What the browser seen.
#[derive(Deserialize)]
struct Seen {
    question: Page,
    asked: Page,
    receipt: Page,
    again: Page,
}

#[derive(Deserialize)]
struct Page {
    status: u16,
    title: String,
    text: String,
    /// Everything that could be clicked, loaded or sent to.
    links: Vec<String>,
    /// Choices made before the person made one.
    #[serde(default)]
    chosen: Option<u32>,
    /// Boxes ticked before the person ticked one.
    #[serde(default)]
    ticked: Option<u32>,
    #[serde(default)]
    forms: Option<u32>,
}

pub async fn decides(deployed: Rc<Deployed>) {
    // As wide as a mail can make it, and as hostile.
    let long = "a".repeat(300);
    let text = format!("Pay: https://browser.example/pay?q=%3Cscript%3E or https://unknown.example/{long}");
    let id = deployed.receive("browser.eml", mail("browser <script>alert(1)</script>", &text)).await;
    let round = deployed.asked(&id, 1, 1).await;
    let link = deployed.link(&id, NIGHT_SHIFT).await;
    let seen = run(&deployed, id.as_str(), &link).await;

    let question = &seen.question;
    assert_eq!((question.status, question.chosen, question.ticked), (200, Some(0), Some(2)), "{}", question.text);
    for expected in ["hxxps://browser[.]example/pay", "Decide by", "block on served-list", "Approve", "False positive"]
    {
        assert!(question.text.contains(expected), "the page does not show {expected:?}: {}", question.text);
    }
    // As on the page: 2026-11-24 05:00 UTC.
    let deadline = round["deadline"].as_str().unwrap();
    let deadline = format!("{} {} UTC", &deadline[..10], &deadline[11..16]);
    assert!(question.text.contains(&deadline), "the page does not show {deadline}: {}", question.text);
    for page in [&seen.question, &seen.asked, &seen.receipt, &seen.again] {
        assert!(!page.text.contains("://browser.example"), "an indicator is live: {}", page.text);
        let own = deployed.stack.output("ApiUrl").unwrap();
        let foreign: Vec<&String> = page.links.iter().filter(|link| !link.starts_with(own)).collect();
        assert!(foreign.is_empty(), "{} leads elsewhere: {foreign:?}", page.title);
    }
    assert_eq!((seen.asked.status, seen.receipt.status), (200, 200));
    assert!(seen.asked.text.contains("a code is on its way"), "{}", seen.asked.text);
    assert!(seen.receipt.text.contains("hxxps://browser[.]example/pay"), "{}", seen.receipt.text);
    assert_eq!((seen.again.status, seen.again.forms), (200, Some(0)));
    assert!(
        seen.again.text.contains(&format!("Already decided by {}", ioc::defang_text(NIGHT_SHIFT))),
        "{}",
        seen.again.text
    );

    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("enforced"));
    let decision = deployed.row(&id, "decision#1#1").await.unwrap();
    assert_eq!(decision["choice"], "approved");
    assert_eq!(
        decision["indicators"],
        json!(["domain-name#browser.example", "url#https://browser.example/pay?q=%3Cscript%3E"])
    );
    assert!(decision["from"].as_str().unwrap().contains("Chrome"), "{decision}");
    assert!(deployed.list("domain-name").await.contains(&"browser.example".to_owned()));
}

async fn run(deployed: &Deployed, incident: &str, link: &str) -> Seen {
    let mails =
        format!("{}/_ministack/ses/messages?account={}", deployed.gateway().url(), deployed.gateway().account());
    let typed = [("CHOICE", "approved"), ("REASON", "seen by a person, typed in a browser")];
    let about = [("LINK", link), ("ADDRESS", NIGHT_SHIFT), ("MAILS_URL", &mails), ("INCIDENT", incident)];
    let seen = node(&deployed.project, "decide.mjs", typed.into_iter().chain(about)).await;
    serde_json::from_value(seen.clone()).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// Runs a script of `tests/browser/` with Chromium; what it says.
pub async fn node<'a>(project: &Project, script: &str, variables: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let folder = project.path("tests/browser");
    let modules = folder.join("node_modules/playwright-core");
    assert!(modules.is_dir(), "{} is missing: {INSTALL}", modules.display());
    let mut node = std::process::Command::new("node");
    node.arg(script).current_dir(&folder).stdin(Stdio::null()).envs(variables).env("CHROMIUM", browser());
    node.env("SCREENSHOTS", build::target_folder(project).unwrap().join("screenshots"));
    let ran = tokio::task::spawn_blocking(move || node.output());
    let ran = timeout(PATIENCE, ran).await.unwrap_or_else(|_| panic!("{script} is not done after {PATIENCE:?}"));
    let ran = ran.unwrap().unwrap_or_else(|error| panic!("node cannot be started: {error}; {INSTALL}"));
    let [said, failed] = [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(ran.status.success(), "{failed}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The system's own Chromium, by its whole path.
fn browser() -> String {
    let named = std::env::var(xtask::test::BROWSER_VARIABLE).ok().filter(|name| !name.is_empty());
    let known = ["chromium", "chromium-browser", "google-chrome"];
    let name = named.or_else(|| known.into_iter().find(|name| process::is_installed(name)).map(str::to_owned));
    let name = name.unwrap_or_else(|| panic!("there is no Chromium: {INSTALL}"));
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.unwrap_or_else(|| name.clone().into()).display().to_string()
}
