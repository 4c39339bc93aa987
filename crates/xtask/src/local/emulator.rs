//! The emulator as a process of ours: started on a free port of the loopback address, ended with everything it started.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Gateway, Venv};
use crate::{process, project::Project, term};

/// Where a test run finds an emulator that runs already: `http://127.0.0.1:<port>`.
pub const EMULATOR_VARIABLE: &str = "PLAYBOOK_EMULATOR";

/// What an emulator was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A demo; it may stay up after the command that started it.
    Demo,
    /// Tests.
    Test,
}

/// A running emulator; ended when this is dropped, unless it is told to stay.
#[derive(Debug)]
pub struct Emulator {
    url: String,
    /// Absent for one that somebody else started.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    child: Child,
    folder: PathBuf,
    stays: bool,
}

/// What is noted of an emulator in `.local/<port>/emulator.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    purpose: Purpose,
    emulator_pid: u32,
    driver_pid: u32,
    driver: String,
}

impl Emulator {
    /// Starts an emulator of our own and waits until it answers. Ends those that an earlier run has left behind.
    pub async fn start(project: &Project, purpose: Purpose) -> Result<Self> {
        let venv = Venv::local(project)?;
        end_left_behind(project, |_| false);
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(project, &venv, purpose).await {
                // Somebody was faster on that port.
                Err(error) if tries < 3 => term::progress(&format!("{error:#}; trying another port")),
                started => return started,
            }
        }
    }

    /// The emulator that the test run shares, else one of our own.
    pub async fn shared(project: &Project) -> Result<Self> {
        match std::env::var(EMULATOR_VARIABLE) {
            Ok(url) if !url.is_empty() => Ok(Self { url, own: None }),
            _ => Self::start(project, Purpose::Test).await,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The emulator as account 000000000000, the only one in which the demo's doors may be open.
    pub fn gateway(&self) -> Result<Gateway> {
        Gateway::new(&self.url, "test")
    }

    /// The emulator as another account, 12 digits.
    pub fn gateway_of(&self, account: &str) -> Result<Gateway> {
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            bail!("{account:?} is not an account: 12 digits");
        }
        Gateway::new(&self.url, if account == playbook::policy::DEMO_ACCOUNT { "test" } else { account })
    }

    /// Leaves it running after us, until `demo --down` or the next demo.
    pub fn stay(&mut self) {
        if let Some(own) = &mut self.own {
            own.stays = true;
        }
    }

    async fn try_start(project: &Project, venv: &Venv, purpose: Purpose) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = project.path(".local").join(port.to_string());
        let temporary = folder.join("tmp");
        std::fs::create_dir_all(&temporary)?;
        let log = folder.join("emulator.log");
        let url = format!("http://127.0.0.1:{port}");
        let child = Command::new(venv.program("python"))
            .arg(project.path("infra/local/emulator.py"))
            // The functions inherit what the emulator has: nothing of ours.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &temporary)
            .env("TMPDIR", &temporary)
            .env("STATE_DIR", folder.join("state"))
            .env("S3_DATA_DIR", folder.join("s3"))
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("AWS_ENDPOINT_URL", &url)
            .env("AUTH", "true")
            .current_dir(project.root())
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            // A group of its own: Ctrl-C is for us, and the end takes the functions along.
            .process_group(0)
            .spawn()
            .context("the emulator cannot be started")?;
        let driver_pid = std::process::id();
        let driver = process::command_line(driver_pid).unwrap_or_default();
        let note = Note { purpose, emulator_pid: child.id(), driver_pid, driver };
        let mut emulator = Self { url, own: Some(Own { child, folder: folder.clone(), stays: false }) };
        std::fs::write(folder.join(NOTE), serde_json::to_vec(&note)?)?;
        emulator.wait_until_ready(&log).await?;
        Ok(emulator)
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let gateway = self.gateway()?;
        let started = Instant::now();
        loop {
            let health = format!("{}/_ministack/health", self.url);
            if gateway.http().get(health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            if let Some(own) = &mut self.own
                && let Some(status) = own.child.try_wait()?
            {
                bail!("the emulator ended at once ({status}):\n{}", process::tail(said().trim(), 20));
            }
            if started.elapsed() > Duration::from_mins(1) {
                bail!("the emulator does not answer after a minute:\n{}", process::tail(said().trim(), 20));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        if own.stays {
            return;
        }
        process::end_group(own.child.id(), || drop(own.child.try_wait()));
        let _ = std::fs::remove_dir_all(&own.folder);
    }
}

const NOTE: &str = "emulator.json";

/// Ends every emulator that a demo of this checkout has left up, whoever waits for it. Returns how many.
#[must_use]
pub fn end_all(project: &Project) -> usize {
    end_left_behind(project, |note| note.purpose == Purpose::Demo)
}

/// Ends the emulators of this checkout whose driver is gone, and those that `also` names.
fn end_left_behind(project: &Project, also: impl Fn(&Note) -> bool) -> usize {
    let mut ended = 0;
    for entry in std::fs::read_dir(project.path(".local")).into_iter().flatten().flatten() {
        let folder = entry.path();
        let note = std::fs::read(folder.join(NOTE)).ok().and_then(|json| serde_json::from_slice::<Note>(&json).ok());
        let Some(note) = note else { continue };
        let is_driven = process::command_line(note.driver_pid).is_some_and(|line| line == note.driver);
        if is_driven && !also(&note) {
            continue;
        }
        if is_ours(project, note.emulator_pid) {
            process::end_group(note.emulator_pid, || ());
            ended += 1;
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
    ended
}

/// Whether this process is an emulator of this checkout: a number in a file may by now be anybody's.
fn is_ours(project: &Project, pid: u32) -> bool {
    let launcher = project.path("infra/local/emulator.py").display().to_string();
    process::command_line(pid).is_some_and(|line| line.contains(&launcher))
}
