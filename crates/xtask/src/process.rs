//! Running other programs: cargo with a clean environment, and groups of processes that are ended together.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Variables that cargo sets for what it runs. Handed on to a second cargo they make build scripts run again.
fn is_set_by_cargo(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_EXE_")
        || name.starts_with("NEXTEST")
        || matches!(
            name,
            "CARGO_MANIFEST_DIR"
                | "CARGO_MANIFEST_PATH"
                | "CARGO_CRATE_NAME"
                | "CARGO_BIN_NAME"
                | "CARGO_PRIMARY_PACKAGE"
        )
}

/// Cargo in the project, as a person would have typed it.
#[must_use]
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo) {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}

/// Whether a program can be started at all.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Runs a program to its end and returns what it wrote; what it wrote is the error when it fails.
pub fn output(command: &mut Command) -> Result<Output> {
    let name = name_of(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be started"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).join("\n");
    bail!("{name} failed ({}):\n{}", output.status, tail(said.trim(), 200))
}

/// Runs a program to its end; its messages go where ours go, never to our standard output.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name_of(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    if status.success() { Ok(()) } else { bail!("{name} failed ({status})") }
}

/// The last lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> &str {
    let start = text.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    text.get(start..).unwrap_or(text)
}

/// Ends a group of processes: asks, waits for three seconds, then insists. `reap` collects the leader where it is our
/// child: an ended child that nobody collects still counts as a member of its group.
pub fn end_group(leader: u32, mut reap: impl FnMut()) {
    // The shell's own `kill` is there even where no such program is. No `--`: not every shell knows it here.
    let kill = |signal: &str| {
        let told = Command::new("sh").args(["-c", &format!("kill -{signal} -{leader}")]).stderr(Stdio::null()).status();
        told.is_ok_and(|status| status.success())
    };
    if !kill("TERM") {
        return;
    }
    for _ in 0..60 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        reap();
        if !kill("0") {
            return;
        }
    }
    kill("KILL");
    std::thread::sleep(std::time::Duration::from_millis(50));
    reap();
}

/// The command line of a running process; `None` when there is none.
#[must_use]
pub fn command_line(pid: u32) -> Option<String> {
    let output = if Path::new("/proc/self/cmdline").exists() {
        std::fs::read(format!("/proc/{pid}/cmdline")).ok()?
    } else {
        Command::new("ps")
            .args(["-o", "command=", "-p", &pid.to_string()])
            .output()
            .ok()
            .filter(|o| o.status.success())?
            .stdout
    };
    let words = String::from_utf8_lossy(&output).replace('\0', " ").trim().to_owned();
    (!words.is_empty()).then_some(words)
}

fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = command.get_args().take(3).map(|arg| arg.to_string_lossy().into_owned());
    [program].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_text_is_its_last_lines() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn a_group_ends_with_everything_in_it() {
        use std::os::unix::process::CommandExt;

        let mut leader = Command::new("sh").args(["-c", "sleep 60 & sleep 60"]).process_group(0).spawn().unwrap();
        end_group(leader.id(), || drop(leader.try_wait()));
        assert!(leader.try_wait().unwrap().is_some());
        assert_eq!(command_line(leader.id()), None);
    }

    #[test]
    fn what_cargo_sets_for_us_is_not_handed_on() {
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "NEXTEST_RUN_ID"] {
            assert!(is_set_by_cargo(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "PATH"] {
            assert!(!is_set_by_cargo(name), "{name}");
        }
    }
}
