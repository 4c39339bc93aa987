//! What an answer means: the outcome rules first, then the mapping; every answer becomes an outcome.

use ioc::Observable;
use serde_json::{Value, json};

use super::{Answer, CallError, opinion};
use crate::{
    Timestamp,
    manifest::Manifest,
    mapping::Input,
    outcome::{Opinion, Outcome, Status},
};

/// The longest wait that a provider may ask for; 31 days.
const RETRY_AFTER_MAX_SECONDS: u64 = 2_678_400;

/// What was read from an answer.
enum Reading {
    Found(Opinion),
    NotFound,
    RateLimited,
    Error(String),
}

fn error(reason: &str) -> Reading {
    Reading::Error(reason.to_owned())
}

/// Turns an answer, or its absence, into an outcome. Total: 429 is `rate_limited`, no answer in time is
/// `error(timeout)`, what cannot be read is `error(garbage)`, what fits no rule `error(unexpected)` or
/// `error(http_<status>)`, and a mapping that fails or says unknown words is `error(mapping)`.
#[must_use]
pub fn interpret(
    manifest: &Manifest,
    observable: &Observable,
    answer: Result<&Answer, &CallError>,
    now: Timestamp,
) -> Outcome {
    let reading = match answer {
        Ok(answer) => read(manifest, observable, answer, now),
        Err(call) => error(call.reason()),
    };
    let lifetimes = &manifest.lifetimes_minutes;
    let (outcome, reason, opinion, minutes) = match reading {
        Reading::Found(opinion) => (Status::Found, None, Some(opinion), lifetimes.found),
        Reading::NotFound => (Status::NotFound, None, None, lifetimes.not_found),
        Reading::RateLimited => (Status::RateLimited, Some("http_429".to_owned()), None, lifetimes.error),
        Reading::Error(reason) => (Status::Error, Some(reason), None, lifetimes.error),
    };
    Outcome { reason, opinion, expires_at: now.plus_minutes(i64::from(minutes)), ..blank(manifest, outcome, now) }
}

/// The outcome of a lookup that was not made; it is never used again.
#[must_use]
pub fn skipped(manifest: &Manifest, reason: &str, now: Timestamp) -> Outcome {
    Outcome { reason: Some(reason.to_owned()), ..blank(manifest, Status::Skipped, now) }
}

fn blank(manifest: &Manifest, outcome: Status, now: Timestamp) -> Outcome {
    Outcome {
        provider: manifest.id.clone(),
        family: manifest.family.clone(),
        outcome,
        reason: None,
        opinion: None,
        fetched_at: now,
        expires_at: now,
        manifest_digest: manifest.digest().unwrap_or_default(),
        cached: false,
    }
}

fn read(manifest: &Manifest, observable: &Observable, answer: &Answer, now: Timestamp) -> Reading {
    if answer.status == 429 {
        return Reading::RateLimited;
    }
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let is_json = body.is_some();
    let input = Input::new(json!({ "status": answer.status, "body": body, "observable": observable }));
    let is_success = (200..300).contains(&answer.status);

    for (rule, when) in manifest.rules() {
        let status_fits = if rule.status.is_empty() { is_success } else { rule.status.contains(&answer.status) };
        if !status_fits {
            continue;
        }
        let fits = match when {
            Ok(None) => true,
            Ok(Some(_)) if !is_json => false,
            Ok(Some(condition)) => match condition.holds(&input) {
                Ok(fits) => fits,
                Err(_) => return error("mapping"),
            },
            Err(_) => return error("mapping"),
        };
        if !fits {
            continue;
        }
        return match rule.outcome {
            Status::Found if !is_json => error("garbage"),
            Status::Found => map(manifest, &input, now),
            Status::NotFound => Reading::NotFound,
            Status::RateLimited => Reading::RateLimited,
            Status::Error | Status::Skipped | Status::Pending => {
                error(rule.reason.as_deref().unwrap_or("unexpected"))
            }
        };
    }
    match answer.status {
        401 | 403 => error("auth"),
        _ if is_success && is_json => error("unexpected"),
        _ if is_success => error("garbage"),
        status => error(&format!("http_{status}")),
    }
}

fn map(manifest: &Manifest, input: &Input, now: Timestamp) -> Reading {
    let mapped = manifest.mapping().ok().and_then(|mapping| mapping.evaluate_on(input).ok());
    let opinion = mapped.and_then(|value| opinion::read(manifest, value, now));
    opinion.map_or_else(|| error("mapping"), Reading::Found)
}

/// How long the provider asks us to wait: `Retry-After` as seconds, or as a date against the answer's own `Date`.
#[must_use]
pub fn retry_after_seconds(answer: &Answer) -> Option<u64> {
    let asked = answer.header("retry-after")?.trim();
    let seconds = match asked.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(asked).ok()?.timestamp().as_second();
            let from = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?.timestamp().as_second();
            u64::try_from(until.saturating_sub(from)).unwrap_or(0)
        }
    };
    Some(seconds.min(RETRY_AFTER_MAX_SECONDS))
}

#[cfg(test)]
#[path = "interpret_tests.rs"]
mod tests;
