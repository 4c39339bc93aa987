//! `cargo xtask config` and `cargo xtask secret`: what a deployment is told, with the AWS command line's own sign-in.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use playbook::{bundle::Bundle, canonical};
use serde_json::{Value, json};

use crate::{config, listing, local::Venv, process, project::Project, term};

/// Checks `playbook/` and says what it holds.
pub fn check(project: &Project, json: bool) -> Result<()> {
    let bundle = config::load(project, None)?;
    let digest = bundle.digest()?;
    if json {
        let on: Vec<&String> =
            bundle.providers.iter().filter(|(_, m)| m.off_reason().is_none()).map(|(id, _)| id).collect();
        let told = json!({ "digest": digest, "providers": bundle.providers.keys().collect::<Vec<_>>(), "on": on, "targets": bundle.targets.keys().collect::<Vec<_>>() });
        term::line(&serde_json::to_string_pretty(&told)?);
        return Ok(());
    }
    term::line(&listing::provider_table(&bundle, &None));
    term::line(&format!(
        "\nplaybook/ is in order: providers {}, targets {}, digest {digest}",
        bundle.providers.len(),
        bundle.targets.len()
    ));
    Ok(())
}

/// Writes the configuration into a deployment's bucket.
pub fn publish(project: &Project, bucket: &str, json: bool) -> Result<()> {
    let bundle = config::load(project, None)?;
    let doors = bundle.policy.open_doors();
    if !doors.is_empty() {
        bail!("playbook/policy.yaml opens {}: that is for the demo's policy only", doors.join(" and "));
    }
    let digest = bundle.digest()?;
    let location = Bundle::location(&digest);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&canonical::to_json(&bundle)?)?;
    let mut put = Command::new(aws(project)?);
    put.args([
        "s3api",
        "put-object",
        "--content-type",
        "application/json",
        "--bucket",
        bucket,
        "--key",
        &location,
        "--body",
    ])
    .arg(file.path());
    process::output(&mut put).with_context(|| {
        format!(
            "s3://{bucket}/{location} cannot be written: are you signed in (aws sts get-caller-identity), and is the \
             bucket the stack's EvidenceBucketName?"
        )
    })?;
    if json {
        term::line(&json!({ "digest": digest, "bucket": bucket, "key": location }).to_string());
    } else {
        term::line(&digest);
        term::message(&format!(
            "written to s3://{bucket}/{location}\nNext: sam deploy --parameter-overrides ConfigDigest={digest}"
        ));
    }
    Ok(())
}

/// Writes a secret as an SSM `SecureString` wherever a manifest names it; the value comes from standard input or from a
/// prompt, never from a flag.
pub fn set_secret(project: &Project, stack: &str, id: &str, is_consumer: bool) -> Result<()> {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        bail!("{id:?} cannot be an id: letters, digits, - _ .");
    }
    let kinds = match id {
        _ if is_consumer => vec!["consumers"],
        CLIENT_SECRET => vec!["review"],
        _ => kinds(&config::load(project, None)?, id)?,
    };
    let value = value(id)?;
    for kind in kinds {
        let name = format!("/{stack}/{kind}/{id}");
        put_secret(project, &name, &value)?;
        let when = if kind == "review" { "when their next sandbox starts" } else { "within five minutes" };
        term::message(&format!(
            "{name} is set; functions read it {when}. To undo: aws ssm delete-parameter --name {name}"
        ));
    }
    Ok(())
}

/// The secret of the review page at the issuer that people sign in at: of the stack, not of a manifest.
const CLIENT_SECRET: &str = "oidc-client";

/// A secret that a manifest names.
pub struct Named<'a> {
    /// Who reads it: each kind of manifest has a path of its own, so that no function can read another's keys.
    pub kind: &'static str,
    /// Its id.
    pub id: &'a str,
    /// Whether the manifest that names it is on.
    pub is_on: bool,
}

impl<'a> Named<'a> {
    fn new(kind: &'static str, id: Option<&'a String>, off: Option<&str>) -> Option<Self> {
        Some(Self { kind, id: id?, is_on: off.is_none() })
    }
}

/// The kinds of manifests that name secrets.
pub const KINDS: [&str; 4] = ["providers", "targets", "alerts", "feeds"];

/// Every secret that a manifest names.
#[must_use]
pub fn named(bundle: &Bundle) -> Vec<Named<'_>> {
    let providers = bundle.providers.values().map(|m| Named::new("providers", m.secret.as_ref(), m.off_reason()));
    let targets = bundle.targets.values().map(|t| Named::new("targets", t.secret.as_ref(), t.off_reason()));
    let intake = bundle.intake.values().flat_map(|source| {
        let webhook = source.webhook.as_ref().map(|webhook| &webhook.secret);
        let feed = source.feed.as_ref().and_then(|feed| feed.secret.as_ref());
        [Named::new("alerts", webhook, source.off_reason()), Named::new("feeds", feed, source.off_reason())]
    });
    providers.chain(targets).chain(intake).flatten().collect()
}

fn kinds(bundle: &Bundle, id: &str) -> Result<Vec<&'static str>> {
    let named = named(bundle);
    let mut kinds: Vec<&str> = named.iter().filter(|secret| secret.id == id).map(|secret| secret.kind).collect();
    kinds.dedup();
    if kinds.is_empty() {
        let known: BTreeSet<&str> = named.iter().map(|secret| secret.id).collect();
        let known: Vec<&str> = known.into_iter().collect();
        bail!(
            "no manifest asks for the secret {id:?}: they ask for {}; the review page asks for {CLIENT_SECRET}",
            known.join(", ")
        );
    }
    Ok(kinds)
}

fn put_secret(project: &Project, name: &str, value: &str) -> Result<()> {
    let input = json!({ "Name": name, "Value": value, "Type": "SecureString", "Overwrite": true });
    let mut put = Command::new(aws(project)?)
        // Through a pipe: a value on the command line could be read by anybody on this machine.
        .args(["ssm", "put-parameter", "--cli-input-json", "file:///dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("the AWS command line cannot be started")?;
    put.stdin.take().context("no pipe")?.write_all(input.to_string().as_bytes())?;
    let ended = put.wait_with_output()?;
    if !ended.status.success() {
        bail!("{name} cannot be written: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(())
}

/// Ids of the secrets of one kind that are set in a stack; never their values.
pub fn secrets(project: &Project, stack: &str, kind: &str) -> Result<BTreeSet<String>> {
    let path = format!("/{stack}/{kind}");
    let told = ask(project, &["ssm", "get-parameters-by-path", "--path", &path]).map_err(|why| {
        anyhow::anyhow!("the keys of {stack} cannot be listed: {why}; are you signed in (aws sts get-caller-identity)?")
    })?;
    let names = told["Parameters"].as_array().into_iter().flatten().filter_map(|item| item["Name"].as_str());
    Ok(names.filter_map(|name| name.rsplit('/').next()).map(str::to_owned).collect())
}

/// What the AWS command line answers to its arguments, as JSON; why not, where it does not.
pub type Ask<'a> = &'a dyn Fn(&[&str]) -> Result<Value, String>;

/// Asks the AWS command line, with the person's own sign-in. Encrypted values stay encrypted.
pub fn ask(project: &Project, arguments: &[&str]) -> Result<Value, String> {
    let program = aws(project).map_err(|error| format!("{error:#}"))?;
    let mut command = Command::new(program);
    command.args(arguments).args(["--output", "json"]).stdin(Stdio::null());
    let told = command.output().map_err(|error| format!("the AWS command line cannot be started: {error}"))?;
    if !told.status.success() {
        let why = String::from_utf8_lossy(&told.stderr);
        return Err(why.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim().to_owned());
    }
    if told.stdout.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&told.stdout).map_err(|error| format!("its answer cannot be read: {error}"))
}

fn value(id: &str) -> Result<String> {
    let mut value = String::new();
    if std::io::stdin().is_terminal() {
        term::message(&format!("value of {id} (not shown), then Enter:"));
        let echo = |word: &str| Command::new("stty").arg(word).status();
        let _ = echo("-echo");
        let read = std::io::stdin().read_line(&mut value);
        let _ = echo("echo");
        read?;
    } else {
        std::io::stdin().take(64 * 1024).read_to_string(&mut value)?;
    }
    let value = value.trim().to_owned();
    if value.is_empty() {
        bail!("the value of {id} is empty: pipe it in, or type it at the prompt");
    }
    Ok(value)
}

/// What a stack says of itself, by name.
pub fn outputs(project: &Project, stack: &str) -> Result<BTreeMap<String, String>> {
    outputs_by(&|arguments| ask(project, arguments), stack)
}

/// The same, by whoever asks.
pub fn outputs_by(ask: Ask<'_>, stack: &str) -> Result<BTreeMap<String, String>> {
    let told = ask(&["cloudformation", "describe-stacks", "--stack-name", stack]).map_err(|why| {
        anyhow::anyhow!("the stack {stack} cannot be read: {why}; are you signed in (aws sts get-caller-identity)?")
    })?;
    let outputs = told["Stacks"][0]["Outputs"].as_array().into_iter().flatten();
    let pair = |item: &Value| Some((item["OutputKey"].as_str()?.to_owned(), item["OutputValue"].as_str()?.to_owned()));
    Ok(outputs.filter_map(pair).collect())
}

/// The person's own AWS command line, else the one in `.venv`.
pub fn aws(project: &Project) -> Result<PathBuf> {
    if process::is_installed("aws") { Ok(PathBuf::from("aws")) } else { Ok(Venv::local(project)?.program("aws")) }
}
