//! `cargo xtask test`: every test, with whatever it needs installed first.

use std::{
    io::{BufRead, BufReader, IsTerminal},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use playbook::fakes::RECEIPTS_VARIABLE;

use crate::{
    build, check,
    local::{EMULATOR_VARIABLE, Emulator, Purpose, Venv},
    process,
    project::Project,
    replay, term,
};

/// Tests of `tests/it` that need the emulator, a browser, Node.js or a name server.
#[rustfmt::skip]
const SLOW: [&str; 8] = [
    "emulator::", "browser::", "scanner::", "oidc::", "page::", "dns::a_real_name_server", "faults::two_hundred", "costs::",
];

/// Where the receipts of the run are kept.
const RECEIPTS: &str = ".local/receipts-of-tests";

/// Where a test finds the browser.
pub const BROWSER_VARIABLE: &str = "PLAYBOOK_BROWSER";

/// Runs the tests; false when one failed.
pub async fn run(project: &Project, fast: bool) -> Result<bool> {
    let begun = Instant::now();
    let mut tests = tests(project, fast);
    let receipts = project.path(RECEIPTS);
    if receipts.exists() {
        std::fs::remove_dir_all(&receipts)?;
    }
    std::fs::create_dir_all(&receipts)?;
    tests.env(RECEIPTS_VARIABLE, &receipts);
    let mut emulator = None;
    if !fast {
        Venv::local(project)?;
        Venv::faults(project)?;
        if project.path("tests/browser/package.json").is_file() {
            tests.env(BROWSER_VARIABLE, browser()?);
            check::node_modules(project, "tests/browser")?
                .context("the browser tests need npm (Debian: apt-get install npm), or run cargo xtask test --fast")?;
        }
        if name_server().is_err() {
            install("knot")?;
            name_server()?;
        }
        build::for_local(project)?;
        // One for all tests: each has a stack of its own in it.
        let started = Emulator::start(project, Purpose::Test).await?;
        tests.env(EMULATOR_VARIABLE, started.url());
        emulator = Some(started);
    }
    let prepared = begun.elapsed();
    let (passed, said) = tokio::task::spawn_blocking(move || follow(&mut tests)).await??;
    let tested = begun.elapsed();
    drop(emulator);

    let replayed = replay::folder(&receipts)?;
    let documented = if fast { true } else { examples(project)? };
    term::line(&format!("\ntests     {}", said.unwrap_or_else(|| if passed { "passed" } else { "failed" }.to_owned())));
    term::line(&format!("receipts  {replayed}"));
    if !fast {
        term::line(&format!("examples  {}", if documented { "passed" } else { "failed" }));
    }
    term::line(&format!(
        "time      {:.0} s: {:.0} s to prepare, {:.0} s to build and run{}",
        begun.elapsed().as_secs_f64(),
        prepared.as_secs_f64(),
        tested.saturating_sub(prepared).as_secs_f64(),
        if fast { "; without emulator and browser" } else { "" },
    ));
    Ok(passed && documented && replayed.differing.is_empty())
}

fn tests(project: &Project, fast: bool) -> Command {
    let mut tests = process::cargo(project.root());
    if process::is_installed("cargo-nextest") {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        if fast {
            let slow: Vec<String> = SLOW.iter().map(|module| format!("test(/^{module}/)")).collect();
            tests.args(["-E", &format!("not ({})", slow.join(" | "))]);
        }
        if std::io::stderr().is_terminal() {
            tests.args(["--color", "always"]);
        }
    } else {
        tests.args(["test", "--workspace", "--no-fail-fast", "--all-targets"]);
        if fast {
            tests.arg("--").args(SLOW.iter().flat_map(|module| ["--skip", module]));
        }
    }
    tests
}

/// Runs the tests, hands on what they say, and remembers the summary.
fn follow(tests: &mut Command) -> Result<(bool, Option<String>)> {
    let mut running =
        tests.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).stderr(Stdio::piped()).spawn()?;
    let said = running.stderr.take().context("no pipe")?;
    let mut summary = None;
    for line in BufReader::new(said).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some((_, counts)) = line.split_once("tests run: ") {
            let total =
                line.split_once("] ").map_or("", |(_, rest)| rest).split("tests run").next().unwrap_or_default();
            summary = Some(plain(&format!("{}run: {counts}", total.trim_start())));
        }
        term::message(&line);
    }
    Ok((running.wait()?.success(), summary))
}

/// A text without the escapes of a terminal.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// The examples in the documentation.
fn examples(project: &Project) -> Result<bool> {
    let ran = process::cargo(project.root()).args(["test", "--workspace", "--doc", "--quiet"]).output()?;
    if !ran.status.success() {
        term::message(&String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
    }
    Ok(ran.status.success())
}

/// A browser of the Chromium family; installed where we may.
fn browser() -> Result<String> {
    let named = std::env::var(BROWSER_VARIABLE).ok().filter(|path| !path.is_empty());
    let find =
        || ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| process::is_installed(name));
    if let Some(found) = named.or_else(|| find().map(str::to_owned)) {
        return Ok(found);
    }
    install("chromium")?;
    match find() {
        Some(found) => Ok(found.to_owned()),
        None => bail!(
            "the browser tests need Chromium: install it (Debian: apt-get install chromium), name one in {BROWSER_VARIABLE}, \
             or run cargo xtask test --fast"
        ),
    }
}

/// Knot DNS, by its path. Debian keeps it where only root looks for programs.
pub fn name_server() -> Result<&'static str> {
    ["knotd", "/usr/sbin/knotd"].into_iter().find(|name| process::is_installed(name)).context(
        "the test of name servers needs Knot DNS: run cargo xtask test, which installs it where it may, install it (Debian: \
         apt-get install knot), or run cargo xtask test --fast",
    )
}

/// Installs a package of Debian, where we are root and there is such a thing.
fn install(package: &str) -> Result<()> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if !is_root || !process::is_installed("apt-get") {
        return Ok(());
    }
    term::progress(&format!("installing {package} (once)"));
    process::output(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::output(&mut install).map(drop)
}
