//! `cargo xtask config` and `cargo xtask secret`: what a deployment is told, with the AWS command line's own sign-in.

use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use playbook::{bundle::Bundle, canonical};
use serde_json::json;

use crate::{config, local::Venv, process, project::Project, term};

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
    let mut rows = vec![["PROVIDER", "TYPES", "GRADE", "KEY", "STATE"].map(str::to_owned).to_vec()];
    for manifest in bundle.providers.values() {
        let types: Vec<&str> = manifest.types.iter().map(|kind| kind.as_str()).collect();
        rows.push(vec![
            manifest.id.clone(),
            types.join(" "),
            crate::extract_command::word(&manifest.grade),
            manifest.secret.clone().unwrap_or_else(|| "none needed".to_owned()),
            manifest.off_reason().map_or_else(|| "on".to_owned(), |why| format!("off: {why}")),
        ]);
    }
    term::line(&term::table(&rows));
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

/// Writes a secret as an SSM `SecureString`; the value comes from standard input or from a prompt, never from a flag.
pub fn set_secret(project: &Project, stack: &str, id: &str, is_consumer: bool) -> Result<()> {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        bail!("{id:?} cannot be an id: letters, digits, - _ .");
    }
    let kind = if is_consumer { "consumers" } else { "providers" };
    if !is_consumer && let Ok(bundle) = config::load(project, None) {
        let known: Vec<&str> = bundle.providers.values().filter_map(|manifest| manifest.secret.as_deref()).collect();
        if !known.contains(&id) {
            bail!("no provider asks for the secret {id:?}: they ask for {}", known.join(", "));
        }
    }
    let value = value(id)?;
    let name = format!("/{stack}/{kind}/{id}");
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
    term::message(&format!(
        "{name} is set; functions read it within five minutes. To undo: aws ssm delete-parameter --name {name}"
    ));
    Ok(())
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

/// The person's own AWS command line, else the one in `.venv`.
fn aws(project: &Project) -> Result<PathBuf> {
    if process::is_installed("aws") { Ok(PathBuf::from("aws")) } else { Ok(Venv::local(project)?.program("aws")) }
}
