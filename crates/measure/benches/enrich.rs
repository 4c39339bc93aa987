//! What `enrich` costs: time over the slowest answer, calls, capacity units, dollars; beside it other designs, all in one run.
//!
//! `cargo xtask bench enrich` builds the bootstraps and names the folder. `--write` keeps the counts and makes `docs/COSTS.md` of
//! them; `--page` makes the page of what is kept, and measures nothing.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use measure::{
    cloud::{Delays, USUAL},
    naive::Design,
    page::{self, GOAL_ALL, GOAL_ENRICH, Measured, Other},
    scenario::{self, One, Timed},
    script::Known,
    size,
    way::{self, Used},
};
use playbook::policy::Policy;

/// Where counts are kept.
const COUNTERS: &str = "crates/measure/counters.json";
/// What is made of them.
const PAGE: &str = "docs/COSTS.md";

/// Incidents whose time is measured.
const INCIDENTS: u64 = 30;
/// And of each other design.
const OTHER_INCIDENTS: u64 = 20;
/// Of the one that takes half a minute for each.
const SCRIPTS: u64 = 4;
/// Incidents at the same moment.
const CONCURRENT: u64 = 100;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut bootstraps, mut writes, mut is_page_only) = (None, false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bootstraps" => bootstraps = arguments.next().map(PathBuf::from),
            "--write" => writes = true,
            "--page" => is_page_only = true,
            // Cargo's own.
            _ => {}
        }
    }
    if is_page_only {
        return write_page(&serde_json::from_str(&std::fs::read_to_string(root().join(COUNTERS))?)?);
    }
    let Some(bootstraps) = bootstraps else {
        // `cargo test --all-targets` comes here as well.
        println!("nothing is measured without --bootstraps FOLDER: run this as `cargo xtask bench enrich`");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(run(&bootstraps))?;
    if writes {
        std::fs::write(root().join(COUNTERS), format!("{}\n", serde_json::to_string_pretty(&measured)?))?;
        write_page(&measured)?;
        println!("\n{COUNTERS} and {PAGE} are as measured");
    }
    Ok(())
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn write_page(measured: &Measured) -> Result<()> {
    let template = std::fs::read_to_string(root().join("infra/template.yaml"))?;
    Ok(std::fs::write(root().join(PAGE), page::page(measured, &template)?)?)
}

async fn run(bootstraps: &std::path::Path) -> Result<Measured> {
    let bootstrap = &bootstraps.join("enrich");
    println!(
        "enrich: 25 observables at 12 providers, 15 of them cached, 10 new; bootstrap in a process of its own, providers and AWS \
         on the loopback interface\n(no TLS, AWS calls delayed by {} ms, batches {} ms, S3 {} ms; never times of AWS)\n",
        USUAL.item_ms, USUAL.batch_ms, USUAL.object_ms
    );
    let one = scenario::one(bootstrap, Known::Third).await?;
    let nobody = scenario::one(bootstrap, Known::Nobody).await?;
    let everybody = scenario::one(bootstrap, Known::Everybody).await?;
    counts(&one, &nobody, &everybody);

    println!("\nTime over the slowest answer of the script, {INCIDENTS} incidents (goal: p95 at most 1.10)\n");
    println!("{:<54} {:>6} {:>6} {:>6} {:>9}", "", "p50", "p95", "max", "p95 ms");
    let ours = scenario::timed(bootstrap, INCIDENTS, USUAL, |_| ()).await?;
    let ratios = told("this playbook", &ours);
    let more: fn(&mut Policy) = |policy| policy.enrich.calls_per_provider = 16;
    let at_once = Delays::default();
    told("  were AWS to answer at once", &scenario::timed(bootstrap, INCIDENTS, at_once, |_| ()).await?);
    told("  with 16 calls at a time at each provider", &scenario::timed(bootstrap, INCIDENTS, USUAL, more).await?);
    told("  both", &scenario::timed(bootstrap, INCIDENTS, at_once, more).await?);
    let mut others = vec![];
    for design in Design::ALL {
        let incidents = if design == Design::Script { SCRIPTS } else { OTHER_INCIDENTS };
        let (counts, times) = scenario::by(design, incidents, USUAL).await?;
        let ratios = told(design.name(), &times);
        let memory_mb = if design == Design::Pairs { 128.0 } else { 256.0 };
        let seconds = scenario::mean_billed(&times)?;
        others.push(Other { name: design.name().to_owned(), memory_mb, counts, seconds, ratios });
    }
    verdict("p95 of the ratio", ratios[1], 1.10, "1.00");

    let shared = scenario::shared(bootstrap, CONCURRENT).await?;
    println!(
        "\nThe same 25 new observables in {CONCURRENT} incidents at the same moment: {} calls, {:.0} read and {:.0} write units, \
         {} incidents incomplete",
        shared.calls, shared.read_units, shared.write_units, shared.incomplete
    );
    verdict("calls", as_f64(shared.calls), 306.0, "300");

    let (rest, observables) = way::rest(bootstraps).await?;
    println!("\nThe rest of the way of a mail with {observables} observables that needs no person\n");
    println!("{:<14} {:>8} {:>8} {:>5} {:>5} {:>9}", "stage", "read", "write", "GET", "PUT", "MB-s");
    for Used { stage, usage, .. } in &rest {
        let (read, write, gets, puts) = (usage.read_units, usage.write_units, usage.gets, usage.puts);
        println!("{stage:<14} {read:>8} {write:>8} {gets:>5} {puts:>5} {:>9.1}", usage.gb_seconds * 1_024.0);
    }

    let measured = Measured {
        enrich: one.counts,
        write_units_nobody: nobody.counts.write_units,
        write_units_everybody: everybody.counts.write_units,
        shared,
        seconds: scenario::mean_billed(&ours)?,
        ratios,
        others,
        rest: way::sum(&rest),
    };
    dollars(&measured);
    Ok(measured)
}

fn counts(one: &One, nobody: &One, everybody: &One) {
    let counts = &one.counts;
    println!("Counts of one incident (units by DynamoDB's published rule, from the requests as they are sent)\n");
    println!("{:<28} {:>8} {:>8} {:>8}", "table", "calls", "read", "write");
    for (table, consumed) in &one.asked.tables {
        println!("{table:<28} {:>8} {:>8} {:>8}", consumed.calls, consumed.read, consumed.write);
    }
    println!("{:<28} {:>8} {:>8} {:>8}", "together", "", counts.read_units, counts.write_units);
    println!(
        "\nAWS calls: {}",
        one.asked.calls.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    );
    println!("bytes out {}, in {}; log {} bytes", counts.bytes_out, counts.bytes_in, counts.log_bytes);
    println!("\nWrites by kind");
    let kinds = ["lease#", "new items", "limits", "rows"];
    for kind in kinds {
        let is_of = |written: &&measure::tables::Written| match kind {
            "lease#" => written.key.starts_with(kind),
            "limits" => written.table == measure::tables::QUOTAS,
            "rows" => written.table == measure::tables::INCIDENTS,
            _ => written.table == measure::tables::VERDICTS && !written.key.starts_with("lease#"),
        };
        let all: Vec<_> = one.written.iter().filter(is_of).collect();
        let (units, most) = (all.iter().map(|w| w.units).sum::<f64>(), all.iter().map(|w| w.bytes).max());
        println!("  {kind:<12} {:>4} writes {units:>6} units, largest {} bytes", all.len(), most.unwrap_or_default());
    }
    if let Some(item) = &one.item {
        let sizes = item.iter().map(|(name, value)| (name.len() + size::value_bytes(value), name));
        let mut sizes: Vec<_> = sizes.collect();
        sizes.sort();
        let sizes: Vec<String> = sizes.into_iter().map(|(bytes, name)| format!("{name} {bytes}")).collect();
        println!("  one item, {} bytes: {}", size::item_bytes(item), sizes.join(", "));
    }
    println!(
        "  where no provider knows a new observable: {} write units; where all know all: {}\n",
        nobody.counts.write_units, everybody.counts.write_units
    );
    verdict("provider calls", as_f64(counts.calls), 120.0, "120");
    verdict("write units, leases and limits included", counts.write_units, 75.0, "-");
}

fn dollars(measured: &Measured) {
    let (enrich, all) = (measured.usage(), measured.all_in());
    println!("\nDollars per 1,000 incidents\n");
    for (what, count, dollars) in enrich.bill() {
        println!("  {what:<28} {:>10} {dollars:>9.4}", page::figure(count));
    }
    println!("  {:<28} {:>10} {:>9.4}", "enrich", "", enrich.per_thousand());
    println!("  {:<28} {:>10} {:>9.4}", "all in, no person", "", all.per_thousand());
    for other in &measured.others {
        let usage = Measured::usage_of(other);
        println!(
            "  {:<54} {:>4} calls {:>4} invocations {:>4} transitions {:>6.1} read {:>5} write  ${:.3}, all in ${:.3}",
            other.name,
            other.counts.calls,
            other.counts.invocations,
            other.counts.transitions,
            other.counts.read_units,
            other.counts.write_units,
            usage.per_thousand(),
            usage.plus(&measured.rest).per_thousand()
        );
    }
    verdict("dollars, enrich", enrich.per_thousand(), GOAL_ENRICH, "-");
    verdict("dollars, all in", all.per_thousand(), GOAL_ALL, "-");
}

fn told(name: &str, all: &[Timed]) -> [f64; 3] {
    let ratios = scenario::ratios(all);
    let [p50, p95, max] = [50, 95, 100].map(|percent| scenario::percentile(&ratios, percent));
    let mut took: Vec<Duration> = all.iter().map(|timed| timed.took).collect();
    took.sort();
    let took: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1_000.0).collect();
    println!("{name:<54} {p50:>6.2} {p95:>6.2} {max:>6.2} {:>9.0}", scenario::percentile(&took, 95));
    [p50, p95, max]
}

fn verdict(what: &str, value: f64, goal: f64, floor: &str) {
    let word = if value <= goal { "met" } else { "missed" };
    println!("goal {word}: {what} {} of at most {} (floor {floor})", short(value), short(goal));
}

fn short(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
