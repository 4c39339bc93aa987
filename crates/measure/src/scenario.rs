//! What is measured of `enrich`: one incident's counts, the stage's time over the slowest answer, the same observables in many
//! incidents at once, and the other designs.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use egress::Https;
use futures::{
    future::try_join_all,
    stream::{self, StreamExt as _, TryStreamExt as _},
};
use playbook::policy::Policy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cloud::{self, Asked, Delays},
    desk::{self, Desk, OBSERVABLES},
    naive::{self, Design},
    sandbox::{Ended, Sandbox},
    script::{self, Calls, Known, Script},
    tables::{VERDICTS, Written},
};

/// The seed of everything.
const SEED: u64 = 20_261_124;
/// Incidents of one of the other designs at the same time: they mostly wait.
const AT_ONCE: usize = 4;

/// Counts of one incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls of providers.
    pub calls: u64,
    /// Functions called.
    pub invocations: u64,
    /// States entered.
    pub transitions: u64,
    /// DynamoDB, all tables.
    pub read_units: f64,
    /// DynamoDB, all tables.
    pub write_units: f64,
    /// S3.
    pub gets: u64,
    /// S3.
    pub puts: u64,
    /// To providers and AWS.
    pub bytes_out: u64,
    /// From providers and AWS.
    pub bytes_in: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
}

impl Counts {
    fn of(asked: &Asked, calls: &Calls) -> Self {
        Self {
            calls: calls.count(),
            invocations: 0,
            transitions: 0,
            read_units: asked.read_units(),
            write_units: asked.write_units(),
            gets: asked.count("s3 GetObject"),
            puts: asked.count("s3 PutObject"),
            bytes_out: asked.bytes_out + calls.bytes_out,
            bytes_in: asked.bytes_in + calls.bytes_in,
            log_bytes: 0,
        }
    }
}

/// One incident: 25 observables, 10 of them new, at twelve providers.
#[derive(Debug)]
pub struct One {
    /// In short.
    pub counts: Counts,
    /// What AWS was asked.
    pub asked: Asked,
    /// Every write.
    pub written: Vec<Written>,
    /// An item of the cache that it wrote.
    pub item: Option<crate::size::Item>,
}

async fn invoked(sandbox: &Sandbox, input: &Value) -> Result<Ended> {
    let ended = sandbox.invoke(input).await?;
    if let Err(error) = &ended.result {
        bail!("enrich failed: {error}\n{}", sandbox.log());
    }
    Ok(ended)
}

/// Puts what all providers say of the known observables into the cache, as `enrich` itself would.
async fn warm(desk: &Desk, sandbox: &mut Sandbox, script: Script) -> Result<()> {
    sandbox.ready().await?;
    desk.providers.play(Script { takes_time: false, ..script });
    invoked(sandbox, &desk.admit(&desk::known()?)?).await?;
    Ok(())
}

/// The counts of one incident.
pub async fn one(bootstrap: &Path, known: Known) -> Result<One> {
    let desk = Desk::new(|_| ())?;
    let mut sandbox = desk.sandbox(bootstrap)?;
    let script = Script { seed: SEED, takes_time: false, known };
    warm(&desk, &mut sandbox, script).await?;
    let (observables, new) = desk::incident(0)?;
    let (_, _, log) = (desk.cloud.take(), desk.providers.take(), sandbox.log().len());
    invoked(&sandbox, &desk.admit(&observables)?).await?;
    let written = desk.cloud.inside().tables.written.clone();
    let key = new.first().map(ioc::Observable::key).unwrap_or_default();
    let is_new = |item: &crate::size::Item| item.get("pk").and_then(|pk| pk["S"].as_str()) == Some(key.as_str());
    let item = desk.cloud.inside().tables.all(VERDICTS).into_iter().find(is_new);
    let (asked, calls) = (desk.cloud.take(), desk.providers.take());
    let counts = Counts {
        invocations: 1,
        // The Map and its one iteration.
        transitions: 2,
        log_bytes: (sandbox.log().len() - log) as u64,
        ..Counts::of(&asked, &calls)
    };
    Ok(One { counts, asked, written, item })
}

/// Times of one incident.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// What whoever waits for the stage waits.
    pub took: Duration,
    /// What its invocations took together.
    pub billed: Duration,
    /// The slowest answer of its script.
    pub slowest: Duration,
}

impl Timed {
    /// The stage's time over the slowest answer.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.slowest.as_secs_f64().max(f64::EPSILON)
    }
}

fn script_of(number: u64) -> Script {
    Script { seed: SEED + number, takes_time: true, known: Known::Third }
}

/// So many incidents one after the other in one sandbox, under a policy that `change` has changed.
pub async fn timed(
    bootstrap: &Path,
    incidents: u64,
    delays: Delays,
    change: impl FnOnce(&mut Policy),
) -> Result<Vec<Timed>> {
    let desk = Desk::new(change)?;
    let mut sandbox = desk.sandbox(bootstrap)?;
    warm(&desk, &mut sandbox, script_of(0)).await?;
    desk.cloud.inside().delays = delays;
    let mut all = vec![];
    for number in 1..=incidents {
        let (observables, new) = desk::incident(number)?;
        let script = script_of(number);
        desk.providers.play(script);
        desk.forget_quotas();
        let _ = desk.providers.take();
        let ended = invoked(&sandbox, &desk.admit(&observables)?).await?;
        let (calls, expected) = (desk.providers.take().count(), (new.len() * script::ids().len()) as u64);
        if calls != expected {
            bail!("incident {number} took {calls} calls instead of {expected}: {:?}\n{}", ended.result, sandbox.log());
        }
        all.push(Timed { took: ended.took, billed: ended.took, slowest: script.slowest(new.iter().map(desk::value)) });
    }
    Ok(all)
}

/// The same incidents by another design: counts of one, times of all.
pub async fn by(design: Design, incidents: u64, delays: Delays) -> Result<(Counts, Vec<Timed>)> {
    let desk = Desk::new(|_| ())?;
    let client = Https::new().map_err(|fault| anyhow::anyhow!("{fault}"))?;
    naive::seed(&desk, script_of(0), &desk::known()?);
    desk.cloud.inside().delays = delays;
    let script = script_of(1);
    desk.providers.play(script);
    let run = |number: u64| {
        let (desk, client) = (&desk, &client);
        async move {
            let (observables, new) = desk::incident(number)?;
            let (took, billed) = design.run(desk, client, &observables).await?;
            Ok::<_, anyhow::Error>(Timed { took, billed, slowest: script.slowest(new.iter().map(desk::value)) })
        }
    };
    let first = run(1).await?;
    let mut counts = Counts::of(&desk.cloud.take(), &desk.providers.take());
    (counts.invocations, counts.transitions) = design.steps(OBSERVABLES as u64, script::ids().len() as u64);
    let more = stream::iter(2..=incidents).map(run).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok((counts, std::iter::once(first).chain(more).collect()))
}

/// What so many incidents with the same new observables asked for together, all at the same moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// Incidents.
    pub incidents: u64,
    /// Calls of providers.
    pub calls: u64,
    /// DynamoDB.
    pub read_units: f64,
    /// DynamoDB.
    pub write_units: f64,
    /// Incidents that did not get every answer within their deadline.
    pub incomplete: u64,
}

/// Runs them, each in a sandbox of its own.
pub async fn shared(bootstrap: &Path, incidents: u64) -> Result<Shared> {
    let desk = Desk::new(|_| ())?;
    let observables = desk::observables("shared", OBSERVABLES)?;
    let mut sandboxes = vec![];
    for _ in 0..incidents {
        sandboxes.push(desk.sandbox(bootstrap)?);
    }
    for sandbox in &mut sandboxes {
        sandbox.ready().await?;
    }
    desk.providers.play(script_of(1));
    desk.cloud.inside().delays = cloud::USUAL;
    let inputs = (0..incidents).map(|_| desk.admit(&observables)).collect::<Result<Vec<_>>>()?;
    let (_, _) = (desk.cloud.take(), desk.providers.take());
    let all = try_join_all(sandboxes.iter().zip(&inputs).map(|(sandbox, input)| sandbox.invoke(input))).await?;
    let is_complete = |ended: &&Ended| ended.result.as_ref().is_ok_and(|output| output["degraded"] == 0);
    let complete = all.iter().filter(is_complete).count() as u64;
    let asked = desk.cloud.take();
    Ok(Shared {
        incidents,
        calls: desk.providers.take().count(),
        read_units: asked.read_units(),
        write_units: asked.write_units(),
        incomplete: incidents - complete,
    })
}

/// The share of a sorted list below which so many of a hundred lie.
#[must_use]
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// Ratios in order.
#[must_use]
pub fn ratios(all: &[Timed]) -> Vec<f64> {
    let mut ratios: Vec<f64> = all.iter().map(Timed::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// The mean of what was billed, in seconds.
#[expect(clippy::cast_precision_loss, reason = "some hundred incidents")]
pub fn mean_billed(all: &[Timed]) -> Result<f64> {
    let count = Some(all.len()).filter(|count| *count > 0).context("nothing was measured")?;
    Ok(all.iter().map(|timed| timed.billed.as_secs_f64()).sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_one_that_was_measured() {
        let sorted: Vec<f64> = (1..=20_u32).map(f64::from).collect();
        let check = |percent, expected: f64| assert!((percentile(&sorted, percent) - expected).abs() < f64::EPSILON);
        check(50, 10.0);
        check(95, 19.0);
        check(100, 20.0);
        assert!(percentile(&[], 50).abs() < f64::EPSILON);
    }
}
