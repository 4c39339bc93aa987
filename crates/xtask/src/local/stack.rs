//! One deployed stack: the template, the configuration, and the questions that the demo and the tests ask.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use playbook::{
    bundle::Bundle,
    canonical,
    incident::{EvidenceRef, Incident},
};
use serde_json::{Value, json};

use super::{Emulator, Gateway, Venv, basic, lock};
use crate::{build::STAGE, process, project::Project, publish};

/// What one call to a function may take.
const CALL: Duration = Duration::from_mins(1);

/// What is deployed, and how it is called.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The stack's name; several stacks may share an emulator.
    pub name: String,
    /// The account: 12 digits.
    pub account: String,
    /// Parameters of the template beyond `ConfigDigest` and `LocalGateway`.
    pub parameters: BTreeMap<String, String>,
    /// Machines beside those of the template, by name, with their definitions: copies of the playbook.
    pub machines: BTreeMap<String, String>,
}

impl Deployment {
    /// A stack of this name in account 000000000000.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            account: playbook::policy::DEMO_ACCOUNT.to_owned(),
            parameters: BTreeMap::new(),
            machines: BTreeMap::new(),
        }
    }

    /// In another account.
    #[must_use]
    pub fn in_account(mut self, account: &str) -> Self {
        account.clone_into(&mut self.account);
        self
    }

    /// With a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a copy of the playbook, as `cargo xtask playbook copy` adds it to the template.
    #[must_use]
    pub fn with_machine(mut self, name: &str, definition: &str) -> Self {
        self.machines.insert(name.to_owned(), definition.to_owned());
        self
    }
}

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Stack {
    name: String,
    /// Whose executions are asked for.
    machine: String,
    gateway: Gateway,
    outputs: BTreeMap<String, String>,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: String,
    /// Its input, as it was given.
    pub input: String,
    /// What it gave, where it succeeded.
    pub output: Option<Value>,
    /// Error and cause, where it failed.
    pub failure: Option<String>,
}

impl Stack {
    /// Deploys the template with this configuration. The functions must have been built ([`crate::build::for_local`]).
    pub async fn deploy(
        project: &Project,
        emulator: &Emulator,
        deployment: &Deployment,
        bundle: &Bundle,
    ) -> Result<Self> {
        let gateway = emulator.gateway_of(&deployment.account)?;
        let digest = bundle.digest()?;
        gateway.make_bucket(&artifacts(&gateway)).await?;
        let templates = (project.clone(), deployment.clone(), gateway.clone(), digest);
        tokio::task::spawn_blocking(move || {
            let (project, deployment, gateway, digest) = templates;
            deploy_template(&project, &deployment, &gateway, &digest)
        })
        .await??;
        let outputs = outputs(&gateway, &deployment.name).await?;
        let machine = Incident::MACHINE.to_owned();
        let stack = Self { name: deployment.name.clone(), machine, gateway, outputs };
        stack.publish(bundle).await?;
        Ok(stack)
    }

    /// The same stack, asked for the executions of another machine: `enrich-only`, or a copy of the playbook.
    #[must_use]
    pub fn with_executions_of(&self, machine: &str) -> Self {
        Self { machine: machine.to_owned(), ..self.clone() }
    }

    /// The stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The emulator, as the stack's account.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Every output of the template.
    #[must_use]
    pub const fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// One output of the template.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the template has no output {name}"))
    }

    /// Writes a configuration where `admit` looks for it, and returns its digest.
    pub async fn publish(&self, bundle: &Bundle) -> Result<String> {
        let digest = bundle.digest()?;
        let bytes = canonical::to_json(bundle)?;
        let bucket = self.output("EvidenceBucketName")?;
        self.gateway.put_object(bucket, &Bundle::location(&digest), "application/json", bytes).await?;
        Ok(digest)
    }

    /// Calls a function of the template, such as `SweepFunction`, and returns what it returned.
    pub async fn invoke(&self, function: &str, input: &Value) -> Result<Value> {
        let name = self.physical_id(function).await?;
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.gateway.url());
        let scope = format!("{}/20260101/us-east-1/lambda/aws4_request", self.gateway.access_key());
        let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=local");
        let asked = self.gateway.http().post(url).timeout(CALL).body(input.to_string());
        let answer = asked.header("authorization", signature).send().await?;
        let is_fault = answer.headers().contains_key("x-amz-function-error");
        let text = answer.text().await?;
        if is_fault {
            bail!("{function}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{function}: {text}"))
    }

    /// What CloudFormation called a resource of the template.
    pub async fn physical_id(&self, logical_id: &str) -> Result<String> {
        let form = [
            ("Action", "DescribeStackResource"),
            ("Version", "2010-05-15"),
            ("StackName", self.name.as_str()),
            ("LogicalResourceId", logical_id),
        ];
        let xml = self.gateway.query("cloudformation", &form).await?;
        let id = xml.split("<PhysicalResourceId>").nth(1).and_then(|rest| rest.split('<').next());
        id.map(str::to_owned).with_context(|| format!("no resource {logical_id}: {xml}"))
    }

    /// Sets every secret that a manifest names to something: recorded answers ask for a key, not for the right one.
    pub async fn set_dummy_secrets(&self, bundle: &Bundle) -> Result<()> {
        for publish::Named { kind, id, .. } in publish::named(bundle) {
            self.set_secret(&format!("/{}/{kind}/{id}", self.name), &format!("robot:dummy-key-of-{id}")).await?;
        }
        Ok(())
    }

    /// Sets the password of a consumer of the block lists.
    pub async fn set_consumer_secret(&self, id: &str, value: &str) -> Result<()> {
        self.set_secret(&format!("/{}/consumers/{id}", self.name), value).await
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<()> {
        let input = json!({ "Name": name, "Value": value, "Type": "SecureString", "Overwrite": true });
        self.gateway.call("ssm", "AmazonSSM.PutParameter", &input).await.map(|_| ())
    }

    /// Drops a mail at the S3 door, as `mail/<name>`.
    pub async fn put_mail(&self, name: &str, mail: Vec<u8>) -> Result<String> {
        let key = format!("mail/{name}");
        self.gateway.put_object(self.output("EvidenceBucketName")?, &key, "message/rfc822", mail).await?;
        Ok(key)
    }

    /// Rows of the record, as plain JSON.
    pub async fn rows(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Value>> {
        self.gateway.rows(self.output("IncidentsTableName")?, pk, sk_prefix).await
    }

    /// The rows of all incidents.
    pub async fn incidents(&self) -> Result<Vec<Value>> {
        let rows = self.gateway.scan(self.output("IncidentsTableName")?, "meta").await?;
        Ok(rows.into_iter().filter(|row| row["pk"].as_str().is_some_and(|pk| pk.starts_with("incident#"))).collect())
    }

    /// The row of the incident that a stored mail became; `None` until `admit` has seen it.
    pub async fn incident_of(&self, key: &str) -> Result<Option<Value>> {
        let all = self.incidents().await?;
        Ok(all.into_iter().find(|row| row.pointer("/evidence/key").and_then(Value::as_str) == Some(key)))
    }

    /// A stored document.
    pub async fn document(&self, evidence: &EvidenceRef) -> Result<Vec<u8>> {
        self.gateway.object_bytes(self.output("EvidenceBucketName")?, &evidence.key).await
    }

    /// The execution of this name; `None` until it has been started.
    pub async fn execution(&self, name: &str) -> Result<Option<Execution>> {
        let asked = self.states("DescribeExecution", &json!({ "executionArn": self.execution_arn(name)? })).await;
        let told = match asked {
            Ok(told) => told,
            Err(error) if format!("{error:#}").contains("ExecutionDoesNotExist") => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = |field: &str| told[field].as_str().map(str::to_owned);
        let failure = text("error").map(|error| format!("{error}: {}", text("cause").unwrap_or_default()));
        Ok(Some(Execution {
            status: text("status").unwrap_or_default(),
            input: text("input").unwrap_or_default(),
            output: text("output").and_then(|output| serde_json::from_str(&output).ok()),
            failure,
        }))
    }

    /// The execution's events so far, oldest first.
    pub async fn history(&self, name: &str) -> Result<Vec<Value>> {
        let input = json!({ "executionArn": self.execution_arn(name)?, "maxResults": 1000 });
        let told = self.states("GetExecutionHistory", &input).await?;
        Ok(told["events"].as_array().cloned().unwrap_or_default())
    }

    /// Starts an execution by hand.
    pub async fn start(&self, name: &str, input: &Value) -> Result<()> {
        let input = json!({ "stateMachineArn": self.machine_arn()?, "name": name, "input": input.to_string() });
        self.states("StartExecution", &input).await.map(|_| ())
    }

    /// Stops an execution by hand.
    pub async fn stop(&self, name: &str) -> Result<()> {
        let input = json!({ "executionArn": self.execution_arn(name)?, "error": "Stopped", "cause": "by hand" });
        self.states("StopExecution", &input).await.map(|_| ())
    }

    async fn states(&self, operation: &str, input: &Value) -> Result<Value> {
        self.gateway.call("states", &format!("AWSStepFunctions.{operation}"), input).await
    }

    fn execution_arn(&self, name: &str) -> Result<String> {
        Ok(format!("{}:{name}", self.machine_arn()?.replacen(":stateMachine:", ":execution:", 1)))
    }

    /// Machines are called <stack>-<machine>.
    fn machine_arn(&self) -> Result<String> {
        let playbook = self.output("PlaybookArn")?;
        let stem = playbook.strip_suffix(Incident::MACHINE).context("the playbook's machine is not called so")?;
        Ok(format!("{stem}{}", self.machine))
    }

    /// The entries of a served list, comments and blank lines left out; a list that nobody has written yet is empty.
    pub async fn list(&self, kind: &str, consumer: &str, password: &str) -> Result<Vec<String>> {
        let url = format!("{}/lists/{kind}", self.output("ApiUrl")?);
        let answer = self.gateway.http().get(&url).header("authorization", basic(consumer, password)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        match status.as_u16() {
            200 => Ok(text
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty() && !l.starts_with('#'))
                .map(str::to_owned)
                .collect()),
            404 => Ok(vec![]),
            _ => bail!("the list {kind} cannot be read: {status} {text}"),
        }
    }

    /// The last lines that a function has logged.
    pub async fn logs(&self, function: &str) -> Result<Vec<String>> {
        let group = self.physical_id(&format!("{}LogGroup", logical_id(function))).await?;
        let input = json!({ "logGroupName": group });
        let told = self.gateway.call("logs", "Logs_20140328.FilterLogEvents", &input).await?;
        let events = told["events"].as_array().into_iter().flatten();
        Ok(events.filter_map(|event| Some(event["message"].as_str()?.trim_end().to_owned())).collect())
    }

    /// Asks again and again until there is an answer, for at most `seconds`.
    pub async fn wait_for<T, F: Future<Output = Result<Option<T>>>>(
        seconds: u64,
        ask: impl Fn() -> F,
    ) -> Result<Option<T>> {
        let started = Instant::now();
        loop {
            if let Some(answer) = ask().await? {
                return Ok(Some(answer));
            }
            if started.elapsed() > Duration::from_secs(seconds) {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
}

/// A function's name as the template spells it: `receive-mail` is `ReceiveMail`.
#[must_use]
pub fn logical_id(function: &str) -> String {
    let words = function.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    });
    words.collect()
}

/// Where the code is uploaded to: names of buckets are shared by all accounts.
fn artifacts(gateway: &Gateway) -> String {
    format!("playbook-artifacts-{}", gateway.account())
}

/// Uploads the code and makes or updates the stack, with the AWS command line as on AWS.
fn deploy_template(project: &Project, deployment: &Deployment, gateway: &Gateway, digest: &str) -> Result<()> {
    let venv = Venv::local(project)?;
    let mut stage = stage(project, &venv)?;
    let local = project.path(".local");
    if !deployment.machines.is_empty() {
        stage = variant(&stage, &local.join(format!("stage-{}-{}", port(gateway), deployment.name)), deployment)?;
    }
    let packaged = local.join(format!("packaged-{}-{}.yaml", port(gateway), deployment.name));
    let aws = |words: &[&str]| {
        let mut command = Command::new(venv.program("aws"));
        command.args(words).current_dir(project.root());
        // Whatever the person has configured for AWS stays out of the local stack.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_ENDPOINT_URL", gateway.url())
            .env("AWS_ACCESS_KEY_ID", gateway.access_key())
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    };
    let mut package = aws(&["cloudformation", "package", "--s3-bucket", &artifacts(gateway), "--template-file"]);
    package.arg(stage.join("infra/template.yaml")).arg("--output-template-file").arg(&packaged);
    process::output(&mut package)?;

    let mut deploy =
        aws(&["cloudformation", "deploy", "--no-fail-on-empty-changeset", "--stack-name", &deployment.name]);
    // A template of this size is handed over through a bucket.
    deploy.args(["--s3-bucket", &artifacts(gateway)]);
    deploy.args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--template-file"]).arg(&packaged);
    deploy.arg("--parameter-overrides");
    deploy.arg(format!("ConfigDigest={digest}")).arg(format!("LocalGateway={}", gateway.url()));
    deploy.args(deployment.parameters.iter().map(|(name, value)| format!("{name}={value}")));
    let deployed = process::output(&mut deploy);
    let _ = std::fs::remove_file(&packaged);
    deployed.map(|_| ())
}

/// Brings the mirror up to date from which the template is packaged: its `dist/` holds what was built for here, zipped
/// once and not for every deployment again.
fn stage(project: &Project, venv: &Venv) -> Result<PathBuf> {
    let _lock = lock(&project.path(".local"), "stage.lock")?;
    let stage = project.path(STAGE);
    for folder in ["infra", "statemachine"] {
        let to = stage.join(folder);
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(project.path(folder))? {
            let path = entry?.path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path)?;
                std::fs::write(to.join(path.file_name().unwrap_or_default()), zipped(&text))?;
            }
        }
    }
    let dist = stage.join("dist");
    let mut to_zip = vec![];
    for function in project.functions()? {
        let changed = |path: PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let Ok(built) = changed(dist.join(&function).join("bootstrap")) else {
            bail!("{function} is not built yet: call build::for_local, or run cargo xtask demo");
        };
        if changed(dist.join(format!("{function}.zip"))).is_ok_and(|zipped| zipped > built) {
            continue;
        }
        to_zip.push(function);
    }
    if !to_zip.is_empty() {
        process::output(Command::new(venv.program("python")).args(["-c", ZIP]).args(&to_zip).current_dir(&dist))?;
    }
    Ok(stage)
}

/// A mirror of its own for a deployment with more machines; the built functions are the same files.
fn variant(stage: &Path, folder: &Path, deployment: &Deployment) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(folder);
    for part in ["infra", "statemachine"] {
        std::fs::create_dir_all(folder.join(part))?;
        for entry in std::fs::read_dir(stage.join(part))? {
            let path = entry?.path();
            if path.is_file() {
                std::fs::copy(&path, folder.join(part).join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    let file = folder.join("infra/template.yaml");
    let mut template = std::fs::read_to_string(&file)?;
    for (name, definition) in &deployment.machines {
        template = crate::template::with_machine(&template, name)?;
        std::fs::write(folder.join(format!("statemachine/{name}.asl.json")), definition)?;
    }
    std::fs::write(
        file,
        template.replace("CodeUri: ../dist/", &format!("CodeUri: {}/", stage.join("dist").display())),
    )?;
    Ok(folder.to_path_buf())
}

/// Zips `<function>/bootstrap` for each argument; quickly, because nobody keeps it.
const ZIP: &str = "
import os, sys, zipfile
for name in sys.argv[1:]:
    with zipfile.ZipFile(name + '.new', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(name + '/bootstrap', 'bootstrap')
    os.replace(name + '.new', name + '.zip')
";

/// The template with `../dist/<function>.zip` for `../dist/<function>/`.
fn zipped(template: &str) -> String {
    let lines = template.lines().map(|line| match line.split_once("CodeUri: ../dist/") {
        Some((indent, rest)) => format!("{indent}CodeUri: ../dist/{}.zip", rest.trim_end_matches('/')),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn port(gateway: &Gateway) -> &str {
    gateway.url().rsplit(':').next().unwrap_or_default()
}

/// The outputs of a stack, from CloudFormation's XML.
async fn outputs(gateway: &Gateway, stack: &str) -> Result<BTreeMap<String, String>> {
    let xml = gateway
        .query("cloudformation", &[("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", stack)])
        .await?;
    let mut outputs = BTreeMap::new();
    for member in xml.split("<OutputKey>").skip(1) {
        let key = member.split("</OutputKey>").next().unwrap_or_default();
        let value = member
            .split("<OutputValue>")
            .nth(1)
            .and_then(|rest| rest.split("</OutputValue>").next())
            .unwrap_or_default();
        let value = value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        outputs.insert(key.to_owned(), value);
    }
    if outputs.is_empty() {
        bail!("stack {stack} has no outputs: {}", process::tail(&xml, 20));
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_code_lies_is_changed_in_the_template() {
        let template = "A:\n  CodeUri: ../dist/receive-mail/\n  # CodeUri\n";
        assert_eq!(zipped(template), "A:\n  CodeUri: ../dist/receive-mail.zip\n  # CodeUri\n");
    }

    #[test]
    fn a_folder_names_its_function() {
        assert_eq!(logical_id("receive-mail"), "ReceiveMail");
        assert_eq!(logical_id("close"), "Close");
    }
}
