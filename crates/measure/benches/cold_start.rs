//! What a cold start costs: processor time and time from starting a program to its first question for work, of `enrich` and of
//! the smallest Lambdas in Rust and Python, in one run.
//!
//! The processor's time is what counts: Lambda gives a share of it by memory, and a loaded machine does not change it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use measure::sandbox::{Program, Sandbox, Started};

const RUNS: usize = 30;
/// Milliseconds of processor time that `enrich` may take.
const GOAL_MS: f64 = 15.0;

/// As the template sets it; nobody listens there.
const VARIABLES: [(&str, &str); 7] = [
    ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ("EVIDENCE_BUCKET", "measured"),
    ("INCIDENTS_TABLE", "measured"),
    ("VERDICTS_TABLE", "measured"),
    ("QUOTAS_TABLE", "measured"),
    ("SECRETS_PREFIX", "/measured/providers"),
    ("FOLLOW_UP_QUEUE_URL", "http://127.0.0.1:9/000000000000/measured"),
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut bootstrap, mut hello) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bootstrap" => bootstrap = arguments.next().map(PathBuf::from),
            "--hello" => hello = arguments.next().map(PathBuf::from),
            // Cargo's own.
            _ => {}
        }
    }
    let Some((bootstrap, hello)) = bootstrap.zip(hello) else {
        // `cargo test --all-targets` comes here as well.
        println!(
            "nothing is measured without --bootstrap FILE and --hello FILE: run this as `cargo xtask bench cold-start`"
        );
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&bootstrap, &hello))
}

async fn run(bootstrap: &std::path::Path, hello: &std::path::Path) -> Result<()> {
    println!("Cold start: from exec to the first GET of /next, {RUNS} runs each\n");
    println!("{:<34} {:>26}   {:>26}", "", "processor ms", "wall ms");
    println!("{:<34} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}", "", "min", "median", "max", "min", "median", "max");
    let enrich = measured("enrich", || Program::bootstrap(bootstrap)).await?;
    let rust = measured("smallest Lambda in Rust", || Program::bootstrap(hello)).await?;
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello.py"));
    let python = if std::process::Command::new("python3").arg("--version").output().is_ok() {
        measured("smallest Lambda in Python", || Program::interpreted("python3", &script)).await?
    } else {
        println!("{:<34} python3 is not on this machine", "smallest Lambda in Python");
        None
    };
    let Some(enrich) = enrich else {
        println!("\nThis system does not tell the processor's time of another process.");
        return Ok(());
    };
    for (name, other) in [("Rust", rust), ("Python", python)] {
        if let Some(other) = other {
            println!("enrich takes {:.2} of the processor time of the smallest Lambda in {name}", enrich / other);
        }
    }
    let word = if enrich <= GOAL_MS { "met" } else { "missed" };
    println!("goal {word}: processor time of enrich, median {enrich:.1} ms of at most {GOAL_MS}");
    Ok(())
}

/// Starts it again and again; the median of the processor's time in milliseconds.
async fn measured(name: &str, program: impl Fn() -> Program) -> Result<Option<f64>> {
    let mut all: Vec<Started> = vec![];
    for _ in 0..RUNS {
        all.push(Sandbox::start(program().with(&VARIABLES))?.ready().await?);
    }
    let cpu: Option<Vec<Duration>> = all.iter().map(|started| started.cpu).collect();
    let (cpu, wall) = (cpu.map(spread), spread(all.iter().map(|started| started.wall).collect()));
    let cells = |[min, median, max]: [f64; 3]| format!("{min:>8.1} {median:>8.1} {max:>8.1}");
    println!("{name:<34} {}   {}", cpu.map_or_else(|| format!("{:>26}", "not told"), cells), cells(wall));
    Ok(cpu.map(|[_, median, _]| median))
}

/// The least, the median and the most, in milliseconds.
fn spread(mut all: Vec<Duration>) -> [f64; 3] {
    all.sort();
    let at = |place: usize| all.get(place).map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
}
