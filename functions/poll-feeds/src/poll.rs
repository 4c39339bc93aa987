//! One feed, from claim to its row: fetch, read, compile or tell, and only then move on.

use playbook::{
    Fault, Timestamp, canonical,
    incident::EvidenceRef,
    intake::{Becomes, FeedState, Format},
    lookup::Answer,
    mapping::Expression,
    ports::{Clock, Egress, Evidence, Queue, Secret, Secrets},
    rows::Rows,
};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    Source, World,
    claim::{self, Claimed},
    entries::{Entries, NATIVE_ID, VALID_UNTIL},
    fetch::{Failure, fetch},
    news,
    read::Reader,
    taxii,
};

/// Minutes after the first failure; twice as many after each one that follows.
const RETRY_MINUTES: i64 = 5;
/// The longest pause after failures, where the feed's own is not longer.
const RETRY_MAX_MINUTES: i64 = 60;
/// The longest validator of a conditional fetch that is kept, in bytes.
const VALIDATOR_MAX_BYTES: usize = 512;

/// What became of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Its time has not come, or another one has it.
    NotDue,
    /// It said nothing new.
    Unchanged,
    /// It failed; its row says why.
    Failed,
    /// It was read.
    Fetched {
        /// Incidents put on the intake queue.
        incidents: usize,
    },
}

/// What a fetch brought.
enum Got {
    Unchanged,
    /// Everything that the feed says.
    Whole {
        entries: Entries,
        left_out: usize,
        answer: Answer,
    },
    /// What a collection says that it had not said before.
    More(taxii::Visit),
}

/// Polls one feed if its time has come.
pub(crate) async fn poll(
    world: &World<'_, impl Rows, impl Evidence, impl Secrets, impl Queue, impl Clock, impl Egress>,
    source: Source<'_>,
    is_asked_for: bool,
    until: Instant,
) -> Result<Polled, Fault> {
    let now = world.clock.now();
    let Some(claimed) = claim::claim(world.rows, &source.manifest.id, now, is_asked_for).await? else {
        return Ok(Polled::NotDue);
    };
    let secret = match &source.feed.secret {
        Some(id) => world.secrets.secret(id).await?,
        None => None,
    };
    let known = what_still_holds(&claimed.state, source)?;
    let (state, polled) = match get(world.egress, source, secret.as_ref(), &known, (now, until)).await {
        Err(failure) => (failed(&claimed, source, failure, now), Polled::Failed),
        Ok(Got::Unchanged) => {
            (FeedState { fetched_at: Some(now), ..at_rest(claimed.state.clone(), source, now) }, Polled::Unchanged)
        }
        Ok(Got::Whole { entries, left_out, answer }) => {
            let validator = |name: &str| answer.header(name).filter(|text| text.len() <= VALIDATOR_MAX_BYTES);
            let known = FeedState {
                etag: validator("etag").map(ToOwned::to_owned),
                last_modified: validator("last-modified").map(ToOwned::to_owned),
                left_out,
                ..at_rest(known, source, now)
            };
            whole(world, source, known, entries, now).await?
        }
        Ok(Got::More(visit)) => match more(world, source, known, visit, now).await? {
            Ok(done) => done,
            Err(failure) => (failed(&claimed, source, failure, now), Polled::Failed),
        },
    };
    claim::settle(world.rows, &claimed, state).await?;
    Ok(polled)
}

/// What is known of a feed, as far as it means something for the manifest as it is now.
fn what_still_holds(state: &FeedState, source: Source<'_>) -> Result<FeedState, Fault> {
    let origin = source.feed.origin()?;
    let mapping_digest = canonical::sha256_hex(source.manifest.mapping.as_bytes());
    let same_origin = state.origin == origin;
    let same_mapping = same_origin && state.mapping_digest == mapping_digest;
    let mut known = FeedState { origin, mapping_digest, ..state.clone() };
    if !same_mapping {
        // What was read by another mapping is read again.
        (known.etag, known.last_modified) = (None, None);
    }
    if !same_origin || (!same_mapping && source.feed.becomes == Becomes::List && source.feed.format == Format::Taxii) {
        (known.watermark, known.next, known.list, known.entries) = (None, None, None, 0);
        (known.fetched_at, known.baseline_at) = (None, None);
    }
    Ok(known)
}

async fn get(
    egress: &impl Egress,
    source: Source<'_>,
    secret: Option<&Secret>,
    known: &FeedState,
    (now, until): (Timestamp, Instant),
) -> Result<Got, Failure> {
    let mapping = Expression::compile(&source.manifest.mapping);
    let mapping = &mapping.map_err(|error| Failure::new(format!("mapping: {error}")))?;
    let reader = Reader { mapping, entries_max: source.feed.entries_max, until };
    if source.feed.format == Format::Taxii {
        return Ok(Got::More(taxii::visit(egress, source, secret, known, reader, now).await?));
    }
    let mut headers = vec![];
    // Without a list there is nothing that could have stayed as it is.
    if known.list.is_some() {
        headers.extend(known.etag.as_deref().map(|etag| ("if-none-match", etag)));
        headers.extend(known.last_modified.as_deref().map(|time| ("if-modified-since", time)));
    }
    let answer = fetch(egress, source, secret, (&[], &headers), until).await?;
    if answer.status == 304 {
        return Ok(Got::Unchanged);
    }
    let reading = reader.document(source.feed.format, &answer.body)?;
    Ok(Got::Whole { entries: reading.entries, left_out: reading.left_out, answer })
}

/// A document says everything: it is the list, and what the last one had not is news.
async fn whole(
    world: &World<'_, impl Rows, impl Evidence, impl Secrets, impl Queue, impl Clock, impl Egress>,
    source: Source<'_>,
    known: FeedState,
    entries: Entries,
    now: Timestamp,
) -> Result<(FeedState, Polled), Fault> {
    let mut state = FeedState { fetched_at: Some(now), ..known };
    let mut incidents = 0;
    if source.feed.becomes == Becomes::Incidents {
        match &state.list {
            // All of a feed at once would be an incident that nobody can read.
            None => state.baseline_at = Some(now),
            Some(list) => {
                let told = Entries::from_ndjson(&world.evidence.fetch(list).await?)?;
                let news = entries.without(&told);
                incidents = news::tell((world.evidence, world.queue), source, news, now).await?;
            }
        }
    }
    state.list = Some(store(world.evidence, source, &state, &entries).await?);
    state.entries = entries.len();
    Ok((state, Polled::Fetched { incidents }))
}

/// A collection says what is new: it changes the list, or it is the news.
async fn more(
    world: &World<'_, impl Rows, impl Evidence, impl Secrets, impl Queue, impl Clock, impl Egress>,
    source: Source<'_>,
    known: FeedState,
    visit: taxii::Visit,
    now: Timestamp,
) -> Result<Result<(FeedState, Polled), Failure>, Fault> {
    let taxii::Visit { entries, read, left_out, watermark, next } = visit;
    let is_complete = next.is_none();
    let mut state = FeedState { watermark, next, left_out, ..at_rest(known, source, now) };
    if is_complete {
        state.fetched_at = Some(now);
    } else {
        // The rest of it is not in yet: the next tick goes on.
        state.next_at = Some(now);
    }
    if source.feed.becomes == Becomes::Incidents {
        state.entries = entries.len();
        let incidents = news::tell((world.evidence, world.queue), source, entries, now).await?;
        return Ok(Ok((state, Polled::Fetched { incidents })));
    }
    let mut list = match &state.list {
        Some(list) => Entries::from_ndjson(&world.evidence.fetch(list).await?)?,
        None => Entries::default(),
    };
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    list.retain(|entry| {
        let is_over =
            text(entry, VALID_UNTIL).and_then(|time| Timestamp::parse(&time).ok()).is_some_and(|time| time <= now);
        !is_over && text(entry, NATIVE_ID).is_none_or(|id| !read.contains_key(&id))
    });
    list.overlay(entries);
    if list.len() > source.feed.entries_max {
        return Ok(Err(Failure::new(format!("more than {} entries", source.feed.entries_max))));
    }
    state.list = Some(store(world.evidence, source, &state, &list).await?);
    state.entries = list.len();
    Ok(Ok((state, Polled::Fetched { incidents: 0 })))
}

/// Stores the list under its digest, where it is another one than before.
async fn store(
    evidence: &impl Evidence,
    source: Source<'_>,
    before: &FeedState,
    entries: &Entries,
) -> Result<EvidenceRef, Fault> {
    let id = &source.manifest.id;
    if before.entries > 0 && entries.len() == 0 {
        warn!(feed.id = %id, before = before.entries, "a list that had entries is empty now");
    }
    let ndjson = entries.to_ndjson();
    let digest = canonical::sha256_hex(&ndjson);
    match &before.list {
        Some(list) if list.sha256 == digest => Ok(list.clone()),
        _ => evidence.store(&format!("providers/{id}/{digest}"), "application/x-ndjson", &ndjson).await,
    }
}

/// A feed that has worked, until its time comes again.
fn at_rest(state: FeedState, source: Source<'_>, now: Timestamp) -> FeedState {
    let next_at = Some(now.plus_minutes(i64::from(source.feed.every_minutes)));
    FeedState { next_at, failure: None, failures: 0, ..state }
}

/// A feed that has failed: what it said before stays, with its age.
fn failed(claimed: &Claimed, source: Source<'_>, failure: Failure, now: Timestamp) -> FeedState {
    let failures = claimed.state.failures.saturating_add(1);
    let most = RETRY_MAX_MINUTES.max(i64::from(source.feed.every_minutes));
    let pause = RETRY_MINUTES.saturating_mul(1 << (failures - 1).min(16)).min(most);
    let asked = failure.retry_after_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let next_at =
        asked.map_or_else(|| now.plus_minutes(pause), |seconds| now.plus_ms(seconds.max(60).saturating_mul(1_000)));
    warn!(feed.id = %claimed.id, failures, failure = failure.reason, "feed was not read");
    debug!(feed.id = %claimed.id, next_at = %next_at, "feed waits");
    FeedState { next_at: Some(next_at), failure: Some(failure.reason), failures, ..claimed.state.clone() }
}
