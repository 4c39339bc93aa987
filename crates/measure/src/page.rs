//! `docs/COSTS.md`: the bill, from the counts of the last measurement that was kept (`counters.json`) and the prices.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    cost::{self, PRICES, Usage},
    scenario::{Counts, Shared},
};

/// Memory of `enrich` in the template.
pub const MEMORY_MB: f64 = 512.0;

/// Dollars for a thousand incidents that `enrich` may take.
pub const GOAL_ENRICH: f64 = 0.10;
/// And all of an incident that needs no person.
pub const GOAL_ALL: f64 = 0.60;

/// What was measured and is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One incident.
    pub enrich: Counts,
    /// Write units where no provider knows any of the new observables.
    pub write_units_nobody: f64,
    /// Write units where all know all.
    pub write_units_everybody: f64,
    /// The same new observables in many incidents at once.
    pub shared: Shared,
    /// Mean time of the stage in seconds.
    pub seconds: f64,
    /// The stage's time over the slowest answer: half of the incidents, 95 of a hundred, all.
    pub ratios: [f64; 3],
    /// The other designs.
    pub others: Vec<Other>,
    /// The rest of the way of an incident that needs no person.
    pub rest: Usage,
}

/// Another design.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// What it is.
    pub name: String,
    /// Memory of each invocation.
    pub memory_mb: f64,
    /// Counts of one incident.
    pub counts: Counts,
    /// Mean time of its invocations together, in seconds.
    pub seconds: f64,
    /// As ours.
    pub ratios: [f64; 3],
}

/// Bytes of the three lines that Lambda adds to a log: START, END and REPORT.
pub const LAMBDA_LOG_BYTES: f64 = 350.0;
/// Bytes that a small function logs for each invocation, where that was not measured: its own line and Lambda's three.
const LOG_BYTES: f64 = 600.0;

/// What the stage uses of what is paid for.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of one incident")]
pub fn usage(counts: &Counts, memory_mb: f64, seconds: f64) -> Usage {
    let log_bytes = match counts.log_bytes {
        0 => counts.invocations as f64 * LOG_BYTES,
        bytes => bytes as f64 + LAMBDA_LOG_BYTES,
    };
    Usage {
        transitions: counts.transitions as f64,
        invocations: counts.invocations as f64,
        gb_seconds: cost::gb_seconds(memory_mb, seconds),
        read_units: counts.read_units,
        write_units: counts.write_units,
        puts: counts.puts as f64,
        gets: counts.gets as f64,
        log_bytes,
        ..Usage::default()
    }
}

impl Measured {
    /// What `enrich` uses.
    #[must_use]
    pub fn usage(&self) -> Usage {
        usage(&self.enrich, MEMORY_MB, self.seconds)
    }

    /// Everything of an incident that needs no person.
    #[must_use]
    pub fn all_in(&self) -> Usage {
        self.usage().plus(&self.rest)
    }

    /// What another design would take instead of `enrich`.
    #[must_use]
    pub fn usage_of(other: &Other) -> Usage {
        usage(&other.counts, other.memory_mb, other.seconds)
    }
}

/// A number as people read it.
#[must_use]
pub fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 || value.fract().abs() < 1e-9 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The page.
pub fn page(measured: &Measured, template: &str) -> Result<String> {
    let mut page = String::new();
    let (enrich, all) = (measured.usage(), measured.all_in());
    writeln!(
        page,
        "# What it costs\n\nMade by `cargo xtask bench enrich --write` from what was measured and from list prices ({}, {}, no free tier); a \
         test holds page and numbers together. It is computed, not a bill.\n\n\
         **An incident that needs no person costs ${:.2} per 1,000**, of which enriching takes ${:.3}. Providers are paid apart: an \
         incident makes {} calls.\n\n\
         The incident: 25 indicators at 12 providers that all take them; 15 indicators are in the cache, 10 are new, and 4 of 12 \
         providers know each of them.\n",
        cost::REGION,
        cost::PRICED_ON,
        all.per_thousand(),
        enrich.per_thousand(),
        measured.enrich.calls,
    )?;
    writeln!(
        page,
        "## Per 1,000 incidents that need no person\n\n| | enrich | $ | all in | $ |\n|---|---|---|---|---|"
    )?;
    let parts = enrich.bill();
    for (what, count, dollars) in all.bill() {
        let part = parts.iter().find(|(name, ..)| *name == what);
        let (of_enrich, its) = part.map_or(("–".to_owned(), "–".to_owned()), |(_, count, dollars)| {
            (figure(*count), format!("{dollars:.4}"))
        });
        writeln!(page, "| {what} | {of_enrich} | {its} | {} | {dollars:.4} |", figure(count))?;
    }
    writeln!(page, "| together | | **{:.3}** | | **{:.3}** |\n", enrich.per_thousand(), all.per_thousand())?;
    writeln!(
        page,
        "Quantities are those of one incident. Read and write units are counted by DynamoDB's published rule from the very requests that \
         the functions send: sizes of names and values, by the kilobyte written and by four read, the larger of before and after, \
         failed conditions included; leases and limits are in. Where no provider knows any of the new indicators, enriching writes {} \
         units, where all know all, {}.\n",
        figure(measured.write_units_nobody),
        figure(measured.write_units_everybody),
    )?;
    others(&mut page, measured)?;
    writeln!(page, "## Per month, when nothing comes in\n\n| | $ |\n|---|---|")?;
    let fixed = cost::fixed(template);
    for (what, dollars) in &fixed {
        writeln!(page, "| {what} | {dollars:.2} |")?;
    }
    writeln!(
        page,
        "| together | **{:.2}** |\n\n\
         Beside it, by what is kept: point-in-time recovery $0.20 per GB of the record, logs $0.03 per GB for 30 days, S3 $0.023 and \
         DynamoDB $0.25 per GB. A dashboard is $3 where the account has three already. The metrics that stages write cost up to $7 \
         where incidents come in at every hour. A canary every hour is 720 incidents and two alarms.\n",
        fixed.iter().map(|(_, dollars)| dollars).sum::<f64>(),
    )?;
    writeln!(page, "## Prices\n\n| | $ | per | source |\n|---|---|---|---|")?;
    for price in PRICES {
        let per = if price.per > 1.0 { format!("{:.0} {}", price.per, price.unit) } else { price.unit.to_owned() };
        writeln!(page, "| {} | {} | {per} | {} |", price.what, price.dollars, price.source)?;
    }
    Ok(page)
}

fn others(page: &mut String, measured: &Measured) -> Result<()> {
    writeln!(
        page,
        "## Other ways to do it\n\nThe same incident against the same stand-ins, as small programs with the obvious cache: an item for each \
         indicator and provider. Time is the stage's over the slowest answer that it needs, 95 of 100 incidents; Step Functions' own \
         time and cold starts come on top.\n\n\
         | | calls | invocations | transitions | read units | write units | time | enrich $ | all in $ |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    let mut row = |name: &str, counts: &Counts, p95: f64, usage: &Usage| {
        writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} | {p95:.2} | {:.2} | {:.2} |",
            counts.calls,
            counts.invocations,
            counts.transitions,
            figure(counts.read_units),
            figure(counts.write_units),
            usage.per_thousand(),
            usage.plus(&measured.rest).per_thousand(),
        )
    };
    row("this playbook", &measured.enrich, measured.ratios[1], &measured.usage())?;
    for other in &measured.others {
        row(&other.name, &other.counts, other.ratios[1], &Measured::usage_of(other))?;
    }
    writeln!(
        page,
        "\nThe same 25 new indicators in {} incidents at once: {} calls, where each on its own would make {}.\n",
        measured.shared.incidents,
        measured.shared.calls,
        measured.shared.incidents * 300,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_was_measured() {
        let measured: Measured = serde_json::from_str(include_str!("../counters.json")).unwrap();
        let made = page(&measured, include_str!("../../../infra/template.yaml")).unwrap();
        let stored = include_str!("../../../docs/COSTS.md");
        assert!(made == stored, "docs/COSTS.md says something else: cargo bench -p measure --bench enrich -- --page");
    }

    #[test]
    fn figures_are_short() {
        let check = |value, expected: &str| assert_eq!(figure(value), expected);
        check(7.0, "7");
        check(0.994, "0.99");
        check(61.25, "61.2");
        check(1_234.5, "1234");
    }
}
