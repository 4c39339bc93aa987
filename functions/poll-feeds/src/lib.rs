//! Fetches threat feeds: compiles the lists that providers look into, and puts what is new on the intake queue.
//!
//! A feed that fails keeps its old list, its age stays honest, and its row says what was wrong.

mod claim;
mod entries;
mod fetch;
mod news;
mod poll;
mod read;
mod stix;
mod taxii;

use std::time::Duration;

use playbook::{
    Fault,
    bundle::Bundle,
    intake::{Feed, IntakeSource},
    ports::{Clock, Egress, Evidence, Queue, Reach, Secrets},
    rows::Rows,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, info};

pub use fetch::BODY_MAX_BYTES;
pub use news::OBSERVABLES_MAX;
use poll::Polled;
pub use taxii::PAGES_MAX;

/// A feed is begun only while this is left, so that what is fetched is also stored.
pub const RESERVE: Duration = Duration::from_secs(20);
/// The longest that one feed may take, reading included.
pub const FEED_TIME: Duration = Duration::from_mins(2);

/// From the schedule, whose event holds nothing we read, or from a person.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Input {
    /// Only this feed, though its time has not come.
    #[serde(default)]
    pub feed: Option<String>,
}

/// For the log and for the person who asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Feeds that were fetched and read.
    pub fetched: usize,
    /// Feeds that had nothing new to fetch.
    pub unchanged: usize,
    /// Feeds that failed; the row `feed#<id>` / `state` says why.
    pub failed: usize,
    /// Feeds that were not looked at for lack of time: the next tick begins with them.
    pub waiting: usize,
    /// Incidents put on the intake queue.
    pub incidents: usize,
}

impl Output {
    fn count(&mut self, polled: Polled) {
        match polled {
            Polled::NotDue => {}
            Polled::Unchanged => self.unchanged += 1,
            Polled::Failed => self.failed += 1,
            Polled::Fetched { incidents } => {
                self.fetched += 1;
                self.incidents += incidents;
            }
        }
    }
}

/// The ports that the stage uses.
#[derive(Debug)]
pub struct World<'a, R, E, S, Q, C, G> {
    /// The record.
    pub rows: &'a R,
    /// The evidence bucket.
    pub evidence: &'a E,
    /// The feeds' secrets.
    pub secrets: &'a S,
    /// The intake queue.
    pub queue: &'a Q,
    /// The time.
    pub clock: &'a C,
    /// The way out.
    pub egress: &'a G,
}

/// A feed of the bundle that is fetched.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    manifest: &'a IntakeSource,
    feed: &'a Feed,
    reach: Reach<'a>,
}

/// Polls every feed of the bundle whose time has come. `config` is the bundle's digest and the account the function runs
/// in, `remaining` the time the invocation has left.
///
/// Of two at once one fetches a feed. Killed anywhere, it fetches again and says the same: incidents have the same native
/// id for the same content. A failing feed is no fault; of several faults the first is returned after every feed had its turn.
pub async fn run(
    world: &World<'_, impl Rows, impl Evidence, impl Secrets, impl Queue, impl Clock, impl Egress>,
    config: (&str, &str),
    remaining: Duration,
    input: Input,
) -> Result<Output, Fault> {
    let ends_at = Instant::now() + remaining.saturating_sub(RESERVE);
    let (digest, account) = config;
    let bundle = Bundle::load(world.evidence, digest, account).await?;
    let reach = bundle.policy.reach();
    let mut output = Output::default();
    let mut first_fault = None;
    for manifest in bundle.intake.values().filter(|source| source.off_reason().is_none()) {
        let Some(feed) = &manifest.feed else { continue };
        let is_asked_for = input.feed.as_deref() == Some(manifest.id.as_str());
        if input.feed.is_some() && !is_asked_for {
            continue;
        }
        if Instant::now() >= ends_at {
            output.waiting += 1;
            continue;
        }
        let source = Source { manifest, feed, reach };
        match poll::poll(world, source, is_asked_for, ends_at.min(Instant::now() + FEED_TIME)).await {
            Ok(polled) => output.count(polled),
            Err(fault) => {
                debug!(feed.id = %manifest.id, fault = fault.name(), "feed was not polled: {fault}");
                first_fault.get_or_insert(fault);
            }
        }
    }
    if let Some(fault) = first_fault {
        return Err(fault);
    }
    let Output { fetched, unchanged, failed, waiting, incidents } = output;
    info!(fetched, unchanged, failed, waiting, incidents, "polled feeds");
    Ok(output)
}

#[cfg(test)]
mod tests;
