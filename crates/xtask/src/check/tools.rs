//! The checks that other programs do.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use super::Outcome;
use crate::{local::Venv, process, project::Project};

/// `cargo fmt`.
pub fn format(project: &Project) -> Outcome {
    match process::output(process::cargo(project.root()).args(["fmt", "--all", "--check", "--", "--files-with-diff"])) {
        Ok(_) => Outcome::Passed,
        Err(_) => Outcome::of(vec!["run cargo fmt --all".to_owned()]),
    }
}

/// Known weaknesses of dependencies, where cargo-deny is installed; the other rules are ours (`dependencies`).
pub fn advisories(project: &Project) -> Outcome {
    if !process::is_installed("cargo-deny") {
        return Outcome::skipped("cargo-deny is not installed (cargo install --locked cargo-deny)");
    }
    Outcome::of_run(process::output(process::cargo(project.root()).args(["deny", "check", "advisories"])))
}

/// Clippy, pedantic, on everything.
pub fn lints(project: &Project) -> Outcome {
    let words = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--message-format",
        "short",
        "--",
        "--deny",
        "warnings",
    ];
    Outcome::of_run(process::output(process::cargo(project.root()).args(words)))
}

/// The documentation of every crate.
pub fn docs(project: &Project) -> Outcome {
    let mut doc = process::cargo(project.root());
    doc.args(["doc", "--workspace", "--lib", "--no-deps", "--locked", "--quiet", "--message-format", "short"])
        .env("RUSTDOCFLAGS", "--deny warnings");
    Outcome::of_run(process::output(&mut doc))
}

/// cfn-lint on the template.
pub fn template(project: &Project) -> Outcome {
    with_venv(project, |venv| {
        let mut lint = Command::new(venv.program("cfn-lint"));
        Outcome::of_run(process::output(lint.arg("infra/template.yaml").current_dir(project.root())))
    })
}

/// asl-validator, which reads JSONata.
pub fn asl_validator(project: &Project) -> Outcome {
    match node_modules(project, "infra/local") {
        Ok(Some(modules)) => {
            let mut findings = vec![];
            for machine in machines(project) {
                let mut validate = Command::new(modules.join(".bin/asl-validator"));
                let run = process::output(validate.arg("--json-path").arg(&machine).current_dir(project.root()));
                if let Err(error) = run {
                    findings.extend(format!("{error:#}").lines().map(str::to_owned));
                }
            }
            Outcome::of(findings)
        }
        Ok(None) => Outcome::skipped("npm is not installed (Debian: apt-get install npm)"),
        Err(error) => Outcome::skipped(format!("npm ci failed: {}", first_line(&error))),
    }
}

/// Alarms of statelint that are none: placeholders that the deployment fills in, and what it does not know of JSONata.
const FALSE_ALARMS: [&str; 2] = ["URI", "is not a valid"];

/// statelint, which knows the fields of each state.
pub fn statelint(project: &Project) -> Outcome {
    with_venv(project, |venv| {
        let mut findings = vec![];
        for machine in machines(project) {
            let mut lint = Command::new(venv.program("statelint"));
            let run = lint.arg("--ignore=URI").arg(&machine).current_dir(project.root()).output();
            let Ok(run) = run else { return Outcome::skipped("statelint cannot be started") };
            if run.status.success() {
                continue;
            }
            let said = [run.stdout, run.stderr].concat();
            let lines = String::from_utf8_lossy(&said).into_owned();
            let own = lines
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.ends_with("errors:") && !line.ends_with("error:"));
            findings
                .extend(own.filter(|line| !FALSE_ALARMS.iter().any(|alarm| line.contains(alarm))).map(str::to_owned));
        }
        Outcome::of(findings)
    })
}

/// codespell, on what people read.
pub fn spelling(project: &Project) -> Outcome {
    with_venv(project, |venv| {
        let program = venv.program("codespell");
        if !program.is_file() {
            let mut install = Command::new(venv.program("python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CODESPELL]);
            if let Err(error) = process::output(&mut install) {
                return Outcome::skipped(format!("codespell cannot be installed: {}", first_line(&error)));
            }
        }
        let mut spell = Command::new(program);
        spell.args(["--ignore-words-list", KNOWN_WORDS, "--skip", NOT_READ]);
        for folder in [
            "crates",
            "functions",
            "playbook",
            "statemachine",
            "infra",
            "tests",
            "docs",
            ".ci",
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
        ] {
            if project.path(folder).exists() {
                spell.arg(folder);
            }
        }
        Outcome::of_run(process::output(spell.current_dir(project.root())))
    })
}

const CODESPELL: &str = "codespell==2.4.1";
/// Words of ours that codespell takes for slips, and slips that tests make on purpose.
const KNOWN_WORDS: &str =
    "crate,ser,te,nd,abl,fo,inout,implementor,statics,afterall,unparseable,ba,datas,crosssite,aadd,lenght,valeu,scroe";
const NOT_READ: &str = "*/fixtures/*,*/node_modules/*,*.lock,*-lock.json,*.svg,*.snap,*/__pycache__/*,*/target/*";

fn with_venv(project: &Project, check: impl FnOnce(&Venv) -> Outcome) -> Outcome {
    match Venv::check(project) {
        Ok(venv) => check(&venv),
        Err(error) => Outcome::skipped(first_line(&error)),
    }
}

/// Installs what a `package-lock.json` pins, where it has changed; `None` where there is no npm.
pub fn node_modules(project: &Project, folder: &str) -> Result<Option<PathBuf>> {
    let folder = project.path(folder);
    let modules = folder.join("node_modules");
    let lock = std::fs::read(folder.join("package-lock.json"))?;
    let digest = playbook::canonical::sha256_hex(&lock);
    let stamp = modules.join(".lock.sha256");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest) {
        return Ok(Some(modules));
    }
    if !process::is_installed("npm") {
        return Ok(None);
    }
    process::output(
        Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder),
    )?;
    std::fs::write(stamp, digest)?;
    Ok(Some(modules))
}

/// Every definition, the examples included; one that cannot be listed is found by the walk.
fn machines(project: &Project) -> Vec<PathBuf> {
    crate::definition::all(project).unwrap_or_default()
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}
