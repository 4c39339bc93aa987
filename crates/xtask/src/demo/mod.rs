//! `cargo xtask demo`: one mail, all the way, on the local stack; from a fresh checkout to the block list.

mod analyst;
mod browser;
pub mod campaign;
mod record;
mod show;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ioc::ObservableType;
use playbook::{Timestamp, bundle::Bundle, ids::IncidentId, incident::Kind};
use serde_json::Value;

pub use analyst::Decide;
pub use record::Record;
use watch::Watch;

use crate::{
    build, config,
    local::{self, Deployment, Emulator, Purpose, SentMail, Stack},
    project::Project,
    stand_in::{Answers, StandIn, dns, server},
    term,
};

const MAIL: &str = "tests/fixtures/mails/phish.eml";
const ANSWERS: &str = "infra/local/demo-answers.yaml";
const POLICY: &str = "infra/local/demo-policy.yaml";
const STACK: &str = "ioc-demo";

/// What the demo shall do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mail; a phish of ours when absent.
    pub file: Option<PathBuf>,
    /// What the providers answer.
    pub answers: Option<PathBuf>,
    /// Plays the analyst.
    pub decide: Option<Decide>,
    /// One record on standard output, and nothing else there.
    pub json: bool,
    /// Leaves the stack up when the incident has ended.
    pub keep: bool,
}

/// Ends whatever a demo of this checkout has left up.
pub fn down(project: &Project) {
    match local::end_all(project) {
        0 => term::message("no demo is up"),
        1 => term::message("the demo's stack is down"),
        many => term::message(&format!("{many} stacks of the demo are down")),
    }
}

/// Runs the demo; false when the execution failed.
pub async fn run(project: &Project, options: &Options) -> Result<bool> {
    let path = options.file.clone().unwrap_or_else(|| project.path(MAIL));
    let mail = std::fs::read(&path)
        .with_context(|| format!("{} cannot be read: name a mail as an .eml file", path.display()))?;
    let stand_in = Arc::new(StandIn::new(answers(project, options, &mail)?, now));
    let begun = Instant::now();
    let mut world = World::set_up(project, Arc::clone(&stand_in)).await?;
    let set_up = begun.elapsed().as_secs_f64();

    let told = follow(project, &world, &stand_in, &path, mail, set_up, options).await;
    if options.keep || told.as_ref().is_ok_and(|told| told.waits) {
        world.emulator.stay();
    }
    told.map(|told| told.succeeded)
}

/// How a demo ended.
struct Told {
    succeeded: bool,
    /// Somebody may still open the link.
    waits: bool,
}

/// The stack, deployed and with everything that the demo sets.
struct World {
    emulator: Emulator,
    stack: Stack,
    bundle: Bundle,
}

impl World {
    async fn set_up(project: &Project, stand_in: Arc<StandIn>) -> Result<Self> {
        let prepared = project.clone();
        tokio::task::spawn_blocking(move || {
            local::Venv::local(&prepared)?;
            build::for_local(&prepared)
        })
        .await??;

        let listener = server::listen(0).await.context("no free port for the stand-in")?;
        let address = format!("http://{}", listener.local_addr()?);
        let names = dns::listen(0).await.context("no free port for the name server's stand-in")?;
        let name_server = names.local_addr()?.to_string();
        tokio::spawn(dns::serve(names, Arc::clone(&stand_in)));
        tokio::spawn(server::serve(listener, stand_in));
        let overlay = config::Overlay::read(project, &project.path(POLICY))
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))?;
        let bundle = config::load(project, Some(&overlay.with_stand_in(&address).with_stand_in_dns(&name_server)))?;

        term::progress("starting the emulator");
        let emulator = Emulator::start(project, Purpose::Demo).await?;
        term::progress("deploying infra/template.yaml");
        let stack = Stack::deploy(project, &emulator, &Deployment::new(STACK), &bundle).await?;
        stack.set_dummy_secrets(&bundle).await?;
        stack.set_consumer_secret(record::CONSUMER.0, record::CONSUMER.1).await?;
        // The schedule comes by every five minutes; a demo does not wait for it.
        stack.invoke("PollFeedsFunction", &serde_json::json!({})).await?;
        Ok(Self { emulator, stack, bundle })
    }
}

/// Reads the answers, and tells them which digests are one file of this mail.
fn answers(project: &Project, options: &Options, mail: &[u8]) -> Result<Answers> {
    let path = options.answers.clone().unwrap_or_else(|| project.path(ANSWERS));
    let name = project.name_of(&path);
    let yaml = std::fs::read_to_string(&path)
        .with_context(|| format!("{name} cannot be read: it holds what the providers answer"))?;
    let mut answers = Answers::parse_file(&yaml, &name)?;
    one_file_each(&mut answers, &config::load(project, None)?, Kind::Mail, mail);
    Ok(answers)
}

/// Tells the answers which digests are one file of this evidence.
fn one_file_each(answers: &mut Answers, bundle: &Bundle, kind: Kind, evidence: &[u8]) {
    let hosts = bundle.hosts();
    let guard = playbook::guard::Guard::new(&bundle.policy, &hosts);
    let found = extract::extract(kind, evidence, guard, &IncidentId::of("default", "console", "demo"));
    for sighted in found.observables.iter().filter(|sighted| sighted.observable.kind() == ObservableType::File) {
        answers.one_file(sighted.observable.hashes());
    }
}

async fn follow(
    project: &Project,
    world: &World,
    stand_in: &StandIn,
    path: &Path,
    mail: Vec<u8>,
    set_up: f64,
    options: &Options,
) -> Result<Told> {
    let name = path.file_name().map_or_else(|| "mail.eml".to_owned(), |name| name.to_string_lossy().into_owned());
    let stack = &world.stack;
    let mut watch = Watch::new(!options.json);
    if !options.json {
        show::opening(&name, set_up, &world.bundle);
    }
    let key = stack.put_mail(&name, mail).await?;
    watch.at_the_door(&key);
    let execution = admitted(stack, &key).await?;

    let asked = watch.until_asked_or_ended(stack, &execution).await?;
    let question = if asked { Some(question(stack).await?) } else { None };
    let link = question.as_ref().map(|(_, link)| link.clone());

    let mut waits = question.is_some();
    if let Some((mail, link)) = &question {
        if !options.json {
            let so_far = record::read(stack, &key, stand_in, Some(link.clone()), watch.seconds()).await?;
            show::question(&so_far, mail, link);
        }
        if let Some(decide) = options.decide {
            let approver = mail.to.first().cloned().unwrap_or_default();
            let chosen = analyst::decide(stack, &approver, link, decide).await?;
            watch.decided(&approver, &chosen);
            watch.until_ended_soon(stack, &execution).await?;
            waits = false;
        } else if !options.json {
            show::waiting();
            waits = !tokio::select! {
                ended = until_a_person_has_decided(&mut watch, stack, execution) => ended.map(|()| true)?,
                failed = read_mails_out(stack) => failed?,
                pressed = tokio::signal::ctrl_c() => { pressed?; false }
            };
        }
    }

    let link = link.filter(|_| waits);
    let mut record = record::read(stack, &key, stand_in, link, watch.seconds()).await?;
    record.receipts_file = keep_receipts(project, stack, &key, &name).await?;
    if options.json {
        term::line(&serde_json::to_string_pretty(&record)?);
    } else if !waits {
        show::ending(&record, question.is_some());
    }
    if waits {
        term::message("The stack stays up; cargo xtask demo --down ends it.");
    } else if options.keep {
        term::message(&format!("The stack stays up at {}; cargo xtask demo --down ends it.", stack.gateway().url()));
    }
    let succeeded = matches!(record.execution_status.as_str(), "SUCCEEDED" | "RUNNING");
    if !succeeded {
        let reason = record.failure.as_deref().unwrap_or("no reason is given");
        term::message(&format!("the execution ended as {}: {reason}", record.execution_status));
    }
    Ok(Told { succeeded, waits })
}

/// Waits until the mail has become an incident whose execution runs, and returns the execution's name.
async fn admitted(stack: &Stack, key: &str) -> Result<String> {
    let row = Stack::wait_for(60, || async {
        let row = stack.incident_of(key).await?;
        Ok(row.filter(|row| row.get("started_at").is_some_and(|at| !at.is_null())))
    })
    .await?;
    let Some(row) = row else {
        let mut said = vec![];
        for function in ["receive-mail", "admit"] {
            let lines = stack.logs(function).await.unwrap_or_default();
            said.extend(
                lines
                    .into_iter()
                    .filter(|l| l.contains("rror") || l.contains("WARN"))
                    .map(|l| format!("{function}: {l}")),
            );
        }
        let from = said.len().saturating_sub(10);
        bail!(
            "the mail did not become an incident within a minute; the functions said:\n{}",
            said.get(from..).unwrap_or_default().join("\n")
        );
    };
    execution_name(&row)
}

fn execution_name(row: &Value) -> Result<String> {
    let id = IncidentId::try_from(row["incident_id"].as_str().unwrap_or_default().to_owned())?;
    let run = row["run"].as_u64().and_then(|run| u32::try_from(run).ok()).unwrap_or(1);
    Ok(id.execution_name(run))
}

/// The latest mail that asks, and the link in it.
async fn question(stack: &Stack) -> Result<(SentMail, String)> {
    let base = stack.output("ApiUrl")?.to_owned();
    let found = Stack::wait_for(30, || async {
        let mails = stack.gateway().mails().await?;
        Ok(mails.into_iter().rev().find_map(|mail| analyst::link(&mail, &base).map(|link| (mail, link))))
    })
    .await?;
    found.context("a person should have been asked, but no mail with a link was sent")
}

/// Waits until somebody has decided and the execution has ended; also through further runs, where the person wants the
/// sources to be asked again.
async fn until_a_person_has_decided(watch: &mut Watch, stack: &Stack, mut execution: String) -> Result<()> {
    loop {
        watch.until_ended(stack, &execution).await?;
        let Some((id, run)) = IncidentId::from_execution_name(&execution) else { return Ok(()) };
        let decisions = stack.rows(&format!("incident#{id}"), &format!("decision#{run}#")).await?;
        if decisions.last().is_none_or(|row| row["choice"] != "look_again") {
            return Ok(());
        }
        execution = id.execution_name(run + 1);
        let next = execution.as_str();
        let started = Stack::wait_for(60, || async move { stack.execution(next).await }).await?;
        started.context("the sources should be asked again, but no further run was started")?;
        watch.starts_over();
        if !watch.until_asked_or_ended(stack, &execution).await? {
            return Ok(());
        }
        show::asked_again(&question(stack).await?.1);
    }
}

/// Puts the receipts where `replay` finds them; `None` where nothing was assessed.
async fn keep_receipts(project: &Project, stack: &Stack, key: &str, name: &str) -> Result<Option<String>> {
    let receipts = record::receipts(stack, key).await?;
    if receipts.is_empty() {
        return Ok(None);
    }
    let file = format!(".local/receipts/{name}.jsonl");
    std::fs::create_dir_all(project.path(".local/receipts"))?;
    std::fs::write(project.path(&file), receipts)?;
    Ok(Some(file))
}

/// Says what mails come in, so that a person without that mailbox learns the code. Ends only with an error.
async fn read_mails_out(stack: &Stack) -> Result<bool> {
    let mut known = stack.gateway().mails().await?.len();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mails = stack.gateway().mails().await?;
        for mail in mails.get(known..).unwrap_or_default() {
            show::new_mail(mail);
        }
        known = mails.len();
    }
}

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
