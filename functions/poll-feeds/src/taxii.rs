//! A collection of TAXII 2.1, read on from where it was left.
//!
//! The watermark moves only when everything behind it was read to its end. Where there is more than one visit reads, the
//! server's own word for the next page is kept: objects that were added at one moment share a date, and a date alone would
//! lose some of them.

use std::collections::BTreeMap;

use playbook::{Timestamp, intake::FeedState, lookup::Answer, ports::Egress, ports::Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Source,
    entries::{Entries, NATIVE_ID, VALID_UNTIL},
    fetch::{Failure, fetch},
    read::{Reader, Reading},
    stix,
};

/// The most pages that one visit reads; the next one goes on.
pub const PAGES_MAX: usize = 50;

const MEDIA_TYPE: &str = "application/taxii+json;version=2.1";
/// Objects a page, where the manifest does not say.
const LIMIT: &str = "1000";
/// The longest date or token of a server that is kept, in bytes.
const WORD_MAX_BYTES: usize = 1_024;

/// What one visit brought.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Indicators that hold.
    pub entries: Entries,
    /// STIX ids of the objects that were read, with the keys of their entries: what an older version said holds no more.
    pub read: BTreeMap<String, Vec<String>>,
    /// Objects that are no indicators, or patterns that we do not understand.
    pub left_out: usize,
    /// Where the next visit begins.
    pub watermark: Option<String>,
    /// The page that the next visit goes on with; `None` when everything was read.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    more: bool,
    #[serde(default)]
    next: Option<String>,
    /// An empty answer is `{}`.
    #[serde(default)]
    objects: Vec<Value>,
}

/// Reads what was added after the watermark.
pub(crate) async fn visit(
    egress: &impl Egress,
    source: Source<'_>,
    secret: Option<&Secret>,
    state: &FeedState,
    reader: Reader<'_>,
    now: Timestamp,
) -> Result<Visit, Failure> {
    let mut visit = Visit { watermark: state.watermark.clone(), next: state.next.clone(), ..Visit::default() };
    // Dates of pages that were read since; they become the watermark at the end.
    let mut last = None;
    for page in 0..PAGES_MAX {
        let answer = match ask(egress, source, secret, &visit, reader.until).await {
            // Servers forget their tokens: from the watermark again, where nothing is lost.
            Err(failure) if page == 0 && visit.next.is_some() && failure.retry_after_seconds.is_none() => {
                visit.next = None;
                ask(egress, source, secret, &visit, reader.until).await
            }
            result => result,
        }?;
        let envelope = read(&answer)?;
        for object in envelope.objects {
            take(&mut visit, &object, reader, now)?;
        }
        last = answer.header("x-taxii-date-added-last").and_then(word).or(last);
        match (envelope.more, envelope.next.as_deref()) {
            (false, _) => {
                visit.watermark = last.or(visit.watermark);
                visit.next = None;
                return Ok(visit);
            }
            (true, Some(next)) => {
                visit.next =
                    Some(word(next).ok_or_else(|| Failure::new("the server's word for the next page is too long"))?);
            }
            (true, None) => return Err(Failure::new("the server has more and does not say where")),
        }
    }
    Ok(visit)
}

async fn ask(
    egress: &impl Egress,
    source: Source<'_>,
    secret: Option<&Secret>,
    visit: &Visit,
    until: Instant,
) -> Result<Answer, Failure> {
    let mut query = vec![];
    if !source.feed.query.contains_key("limit") {
        query.push(("limit", LIMIT));
    }
    if let Some(watermark) = &visit.watermark {
        query.push(("added_after", watermark));
    }
    if let Some(next) = &visit.next {
        query.push(("next", next));
    }
    fetch(egress, source, secret, (&query, &[("accept", MEDIA_TYPE)]), until).await
}

fn read(answer: &Answer) -> Result<Envelope, Failure> {
    let media_type = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if !media_type.starts_with("application/taxii+json") {
        return Err(Failure::new("the answer is not of TAXII 2.1"));
    }
    // As a map first: a list would pass for an envelope whose members are all left out.
    let members: Option<Map<String, Value>> = serde_json::from_slice(&answer.body).ok();
    let envelope = members.and_then(|members| serde_json::from_value(Value::Object(members)).ok());
    envelope.ok_or_else(|| Failure::new("the answer is no envelope of TAXII"))
}

/// A date or a token as a header or a body spells it.
fn word(text: &str) -> Option<String> {
    let is_word = (1..=WORD_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    is_word.then(|| text.to_owned())
}

fn take(visit: &mut Visit, object: &Value, reader: Reader<'_>, now: Timestamp) -> Result<(), Failure> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let id = text("id").filter(|id| id.len() <= WORD_MAX_BYTES).map(ToOwned::to_owned);
    let valid_until = text("valid_until").and_then(|time| Timestamp::parse(time).ok());
    let is_over = valid_until.is_some_and(|until| until <= now) || object.get("revoked") == Some(&Value::Bool(true));
    if let Some(id) = &id {
        // A newer version says what holds now, also where it has other values.
        for key in visit.read.insert(id.clone(), vec![]).unwrap_or_default() {
            visit.entries.withdraw(&key, id);
        }
    }
    if is_over {
        return Ok(());
    }
    let values = stix::values(object);
    if values.is_empty() {
        visit.left_out += 1;
        return Ok(());
    }
    let mut also = Map::new();
    if let Some(id) = &id {
        also.insert(NATIVE_ID.to_owned(), id.as_str().into());
    }
    if let Some(until) = valid_until {
        also.insert(VALID_UNTIL.to_owned(), until.to_string().into());
    }
    let indicators: Vec<Value> =
        values.into_iter().map(|(kind, value)| json!({ "type": kind.as_str(), "value": value })).collect();
    let mut reading = Reading::default();
    reader.map(&mut reading, json!({ "object": object, "indicators": indicators }), &also)?;
    visit.left_out += reading.left_out;
    if let Some(id) = id {
        visit.read.insert(id, reading.entries.keys());
    }
    visit.entries.overlay(reading.entries);
    if visit.entries.len() > reader.entries_max {
        return Err(Failure::new(format!("more than {} entries", reader.entries_max)));
    }
    Ok(())
}
