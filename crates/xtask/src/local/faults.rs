//! The fault injector as a process of ours: between AWS's clients and the emulator it throttles, cuts, resets and delays.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Emulator, Gateway, Venv};
use crate::{process, project::Project};

/// A running injector, without a fault until it is told; ended when this is dropped.
#[derive(Debug)]
pub struct FaultInjector {
    url: String,
    gateway: Gateway,
    child: Child,
    folder: PathBuf,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fired {
    /// `dynamodb`, `s3`.
    #[serde(default)]
    pub service: Option<String>,
    /// `PutItem`.
    #[serde(default)]
    pub operation: Option<String>,
    /// The table or the bucket.
    #[serde(default)]
    pub resource: Option<String>,
    /// What was done: `error:SlowDown`, `reset`, `response:abort`.
    pub action: String,
}

impl FaultInjector {
    /// Starts one in front of the emulator and waits until calls get through. The seed decides which requests are hit, as far
    /// as they come in the same order.
    pub async fn start(project: &Project, emulator: &Emulator, seed: u32) -> Result<Self> {
        let venv = Venv::faults(project)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let upstream = emulator.url().rsplit(':').next().unwrap_or_default();
        let folder = project.path(".local").join(port.to_string());
        std::fs::create_dir_all(&folder)?;
        let log = folder.join("faults.log");
        let child = Command::new(venv.program("python"))
            .arg(project.path("infra/local/faults.py"))
            .args([&port.to_string(), upstream, &seed.to_string()])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &folder)
            .current_dir(project.root())
            // Ends it when we end, however that is.
            .stdin(Stdio::piped())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .process_group(0)
            .spawn()
            .context("the fault injector cannot be started")?;
        let url = format!("http://127.0.0.1:{port}");
        let mut injector = Self { gateway: Gateway::new(&url, "test")?, url, child, folder };
        injector.wait_until_ready().await?;
        Ok(injector)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Injects by these rules from now on, and by no others; the first that matches a request and draws it decides.
    pub async fn inject(&self, rules: &Value) -> Result<()> {
        let told = self.gateway.http().post(self.control("rules")).body(rules.to_string()).send().await?;
        let (status, said) = (told.status(), told.text().await?);
        if status.is_success() { Ok(()) } else { bail!("the fault injector refuses the rules: {said}") }
    }

    /// Requests that have reached it so far, by service: those that it has let through and those that it has not.
    pub async fn requests(&self) -> Result<BTreeMap<String, usize>> {
        let stats = self.ask("stats").await?;
        let services = stats["by_service"].as_array().context("no statistics")?;
        let one = |service: &Value| {
            let count = usize::try_from(service["requests"].as_u64()?).ok()?;
            Some((service["service"].as_str()?.to_owned(), count))
        };
        Ok(services.iter().filter_map(one).collect())
    }

    /// The faults that were injected: the latest 2,000 of them.
    pub async fn fired(&self) -> Result<Vec<Fired>> {
        Ok(Vec::deserialize(self.ask("fired?limit=2000").await?)?)
    }

    async fn ask(&self, what: &str) -> Result<Value> {
        let text = self.gateway.http().get(self.control(what)).send().await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }

    fn control(&self, what: &str) -> String {
        format!("{}/_microburst/{what}", self.url)
    }

    /// Also reads AWS's own definitions of both services, which takes seconds and would look like a fault.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.ask("health").await.is_err() {
            let said = || std::fs::read_to_string(self.folder.join("faults.log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("the fault injector ended at once ({status}):\n{}", process::tail(said().trim(), 20));
            }
            if started.elapsed() > Duration::from_mins(1) {
                bail!("the fault injector does not answer after a minute:\n{}", process::tail(said().trim(), 20));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.gateway.call("dynamodb", "DynamoDB_20120810.ListTables", &json!({})).await?;
        // A bucket that nobody has: what matters is that the request was understood.
        let _unknown = self.gateway.keys("no-such-bucket", "").await;
        Ok(())
    }
}

impl Drop for FaultInjector {
    fn drop(&mut self) {
        process::end_group(self.child.id(), || drop(self.child.try_wait()));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
