//! `cargo xtask demo --campaign`: three mails of one phish, from different senders; the third finds a campaign.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use playbook::{assessment::Assessment, campaign::Campaign, incident::Kind};
use serde::Serialize;

use super::{World, admitted, now, record::Documents, watch::Watch};
use crate::{
    config,
    local::Stack,
    project::Project,
    stand_in::{Answers, StandIn},
    term,
};

const MAILS: &str = "tests/fixtures/campaign";
const ANSWERS: &str = "infra/local/campaign-answers.yaml";

/// One mail and what came of it.
#[derive(Debug, Serialize)]
struct Told {
    mail: String,
    sender: String,
    incident_id: String,
    severity: String,
    severity_terms: Vec<String>,
    route: String,
    /// The campaign as it was known when this mail was assessed.
    campaign: Option<Campaign>,
    /// Other incidents, strongest first, each with what both have.
    related: Vec<String>,
}

/// Runs the three mails, one after the other; false when no campaign of all of them was found.
pub async fn run(project: &Project, json: bool, keep: bool) -> Result<bool> {
    let mails = mails(project)?;
    let stand_in = Arc::new(StandIn::new(answers(project, &mails)?, now));
    let mut world = World::set_up(project, Arc::clone(&stand_in)).await?;
    let stack = &world.stack;
    let mut told = vec![];
    for (name, mail) in &mails {
        if !json {
            term::line(&format!("\n{}", term::bold(name)));
        }
        told.push(follow(stack, name, mail, json).await?);
    }
    let found = told.last().and_then(|last| last.campaign.clone());
    if json {
        term::line(&serde_json::to_string_pretty(&serde_json::json!({ "campaign": found, "incidents": told }))?);
    } else {
        show(&told, found.as_ref());
    }
    if keep {
        world.emulator.stay();
        term::message("The stack stays up; cargo xtask demo --down ends it.");
    }
    Ok(found.is_some_and(|campaign| campaign.members == mails.len()))
}

/// The mails in the order of their names.
fn mails(project: &Project) -> Result<Vec<(String, Vec<u8>)>> {
    let entries = std::fs::read_dir(project.path(MAILS)).with_context(|| format!("{MAILS} cannot be read"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, std::fs::read(path)?))
    };
    paths.iter().map(named).collect()
}

/// What the sources answer; of every attachment they know each digest.
fn answers(project: &Project, mails: &[(String, Vec<u8>)]) -> Result<Answers> {
    let yaml = std::fs::read_to_string(project.path(ANSWERS)).with_context(|| format!("{ANSWERS} cannot be read"))?;
    let mut answers = Answers::parse_file(&yaml, ANSWERS)?;
    let bundle = config::load(project, None)?;
    for (_, mail) in mails {
        super::one_file_each(&mut answers, &bundle, Kind::Mail, mail);
    }
    Ok(answers)
}

/// One mail until a person is asked, or until it has ended.
async fn follow(stack: &Stack, name: &str, mail: &[u8], json: bool) -> Result<Told> {
    let mut watch = Watch::new(!json);
    let key = stack.put_mail(name, mail.to_vec()).await?;
    watch.at_the_door(&key);
    let execution = admitted(stack, &key).await?;
    watch.until_asked_or_ended(stack, &execution).await?;
    let Some(row) = stack.incident_of(&key).await? else { bail!("the incident of {key} is gone") };
    let documents = Documents::read(stack, &row).await?;
    let assessment = documents.assessment.with_context(|| format!("{name} was not assessed"))?;
    Ok(told(name, mail, &assessment))
}

fn told(name: &str, mail: &[u8], assessment: &Assessment) -> Told {
    let text = String::from_utf8_lossy(mail);
    let sender = text.lines().find_map(|line| line.strip_prefix("From: ")).unwrap_or_default();
    let shared = |keys: &[String]| keys.iter().map(|key| spell(key)).collect::<Vec<_>>().join(", ");
    Told {
        mail: name.to_owned(),
        sender: ioc::defang_text(sender.trim()),
        incident_id: assessment.incident_id.to_string(),
        severity: assessment.severity.as_str().to_owned(),
        severity_terms: assessment.severity_terms.clone(),
        route: assessment.route.as_str().to_owned(),
        campaign: assessment.campaign.clone(),
        related: assessment
            .related
            .iter()
            .map(|related| format!("{} shares {}", related.incident_id, shared(&related.observables)))
            .collect(),
    }
}

/// A key without its type, defanged.
fn spell(key: &str) -> String {
    ioc::defang_text(key.split_once('#').map_or(key, |(_, value)| value))
}

fn show(told: &[Told], found: Option<&Campaign>) {
    let mut rows = vec![["MAIL", "SENDER", "SEVERITY", "ROUTE", "CAMPAIGN OF"].map(str::to_owned).to_vec()];
    rows.extend(told.iter().map(|one| {
        vec![
            one.mail.clone(),
            one.sender.clone(),
            one.severity.clone(),
            one.route.clone(),
            one.campaign.as_ref().map_or_else(|| "-".to_owned(), |campaign| campaign.members.to_string()),
        ]
    }));
    term::line(&format!("\n{}", term::table(&rows)));
    let Some(campaign) = found else {
        term::line("\nno campaign was found");
        return;
    };
    let named: Vec<String> = campaign.named_by.iter().map(|key| spell(key)).collect();
    term::line(&format!(
        "\ncampaign   {} of {} incidents, {} to {}\nnamed by   {}",
        campaign.campaign_id,
        campaign.members,
        campaign.first_seen,
        campaign.last_seen,
        named.join("\n           ")
    ));
    if let Some(last) = told.last() {
        term::line(&format!("severity   {}: {}", last.severity, last.severity_terms.join("; ")));
        for related in &last.related {
            term::line(&format!("related    {related}"));
        }
    }
}
