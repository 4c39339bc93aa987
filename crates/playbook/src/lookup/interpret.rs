//! What an answer means: the outcome rules first, then the mapping; every answer becomes an outcome.

use ioc::Observable;
use serde_json::Value;

use super::{Answer, CallError, document, opinion};
use crate::{
    Timestamp,
    manifest::{Manifest, OutcomeRule, ResetIs},
    mapping::{Expression, Input},
    outcome::{Opinion, Outcome, PENDING_SUBMITTED, Status},
};

/// The longest wait that a provider may ask for; 31 days.
const RETRY_AFTER_MAX_SECONDS: u64 = 2_678_400;

/// The longest name of a task.
const TASK_MAX_CHARS: usize = 200;

/// What was read from an answer.
enum Reading {
    Found(Opinion),
    NotFound,
    RateLimited,
    Pending,
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
    outcome(manifest, reading, now)
}

/// What the first answer of a lookup in two steps says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstStep {
    /// The lookup ends here.
    Done(Box<Outcome>),
    /// The second step asks for this.
    Task(String),
}

/// Reads the first of two answers: what a rule calls `not_found`, `error` or `rate_limited` ends the lookup, as does trouble;
/// anything else must name the task, or it is `error(no_task)`.
#[must_use]
pub fn first_step(
    manifest: &Manifest,
    observable: &Observable,
    answer: Result<&Answer, &CallError>,
    now: Timestamp,
) -> FirstStep {
    let reading = match answer {
        Ok(answer) => named(manifest, observable, answer, now),
        Err(call) => Err(error(call.reason())),
    };
    reading.map_or_else(|reading| FirstStep::Done(Box::new(outcome(manifest, reading, now))), FirstStep::Task)
}

fn named(manifest: &Manifest, observable: &Observable, answer: &Answer, now: Timestamp) -> Result<String, Reading> {
    if answer.status == 429 {
        return Err(Reading::RateLimited);
    }
    let document = Document::of(observable, answer).ok_or_else(|| error("mapping"))?;
    match document.rule(manifest)? {
        Some(rule) if !matches!(rule.outcome, Status::Found | Status::Pending) => {
            return Err(document.decide(manifest, rule, now));
        }
        None if !document.is_success() => return Err(document.unmatched()),
        Some(_) | None if !document.is_json => return Err(error("garbage")),
        Some(_) | None => {}
    }
    let source = manifest.request_for(observable).and_then(|(template, _)| template.task.as_deref());
    let task = source.and_then(|source| Expression::compile(source).ok()?.evaluate_on(&document.input).ok());
    let task = match task {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return Err(error("no_task")),
    };
    let is_visible = (1..=TASK_MAX_CHARS).contains(&task.len()) && task.bytes().all(|b| b.is_ascii_graphic());
    if is_visible { Ok(task) } else { Err(error("no_task")) }
}

fn outcome(manifest: &Manifest, reading: Reading, now: Timestamp) -> Outcome {
    let lifetimes = &manifest.lifetimes_minutes;
    let (outcome, reason, opinion, minutes) = match reading {
        Reading::Found(opinion) => (Status::Found, None, Some(opinion), lifetimes.found),
        Reading::NotFound => (Status::NotFound, None, None, lifetimes.not_found),
        Reading::RateLimited => (Status::RateLimited, Some("http_429".to_owned()), None, lifetimes.error),
        Reading::Pending => (Status::Pending, Some(PENDING_SUBMITTED.to_owned()), None, lifetimes.error),
        Reading::Error(reason) => (Status::Error, Some(reason), None, lifetimes.error),
    };
    Outcome { reason, opinion, expires_at: now.plus_minutes(i64::from(minutes)), ..blank(manifest, outcome, now) }
}

/// The outcome of a lookup that was not made; it is never used again.
#[must_use]
pub fn skipped(manifest: &Manifest, reason: &str, now: Timestamp) -> Outcome {
    Outcome { reason: Some(reason.to_owned()), ..blank(manifest, Status::Skipped, now) }
}

/// The outcome of a lookup that failed for a reason of our own; it lives as long as any error of the provider.
#[must_use]
pub fn failed(manifest: &Manifest, reason: &str, now: Timestamp) -> Outcome {
    outcome(manifest, error(reason), now)
}

/// The outcome of a lookup whose answer is still to come; it is never used again.
#[must_use]
pub fn pending(manifest: &Manifest, reason: &str, now: Timestamp) -> Outcome {
    Outcome { outcome: Status::Pending, ..skipped(manifest, reason, now) }
}

fn blank(manifest: &Manifest, outcome: Status, now: Timestamp) -> Outcome {
    Outcome {
        provider: manifest.id.clone(),
        family: manifest.family.clone(),
        context: !manifest.opines,
        outcome,
        reason: None,
        opinion: None,
        fetched_at: now,
        expires_at: now,
        manifest_digest: manifest.digest().unwrap_or_default(),
        cached: false,
        task: None,
        stale: None,
    }
}

fn read(manifest: &Manifest, observable: &Observable, answer: &Answer, now: Timestamp) -> Reading {
    if answer.status == 429 {
        return Reading::RateLimited;
    }
    let Some(document) = Document::of(observable, answer) else { return error("mapping") };
    match document.rule(manifest) {
        Ok(Some(rule)) => document.decide(manifest, rule, now),
        Ok(None) => document.unmatched(),
        Err(reading) => reading,
    }
}

/// What rules and mapping see.
struct Document {
    input: Input,
    is_json: bool,
    status: u16,
}

impl Document {
    fn of(observable: &Observable, answer: &Answer) -> Option<Self> {
        let body = document::read(&answer.body);
        let is_json = body.is_some();
        let observable = serde_json::to_value(observable).ok()?;
        let document =
            [("status", Value::from(answer.status)), ("body", body.unwrap_or_default()), ("observable", observable)];
        let input = Input::new(document.map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
        Some(Self { input, is_json, status: answer.status })
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first rule that fits; a condition that fails is an error.
    fn rule<'m>(&self, manifest: &'m Manifest) -> Result<Option<&'m OutcomeRule>, Reading> {
        for (rule, when) in manifest.rules() {
            let status_fits =
                if rule.status.is_empty() { self.is_success() } else { rule.status.contains(&self.status) };
            if !status_fits {
                continue;
            }
            let fits = match when.map_err(|_| error("mapping"))? {
                None => true,
                Some(_) if !self.is_json => false,
                Some(condition) => condition.holds(&self.input).map_err(|_| error("mapping"))?,
            };
            if fits {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    fn decide(&self, manifest: &Manifest, rule: &OutcomeRule, now: Timestamp) -> Reading {
        match rule.outcome {
            Status::Found if !self.is_json => error("garbage"),
            Status::Found => map(manifest, &self.input, now),
            Status::NotFound => Reading::NotFound,
            Status::RateLimited => Reading::RateLimited,
            Status::Pending => Reading::Pending,
            Status::Error | Status::Skipped => error(rule.reason.as_deref().unwrap_or("unexpected")),
        }
    }

    /// What an answer is that fits no rule.
    fn unmatched(&self) -> Reading {
        match self.status {
            401 | 403 => error("auth"),
            _ if self.is_success() && self.is_json => error("unexpected"),
            _ if self.is_success() => error("garbage"),
            status => error(&format!("http_{status}")),
        }
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
    let seconds = if let Ok(seconds) = asked.parse::<u64>() {
        seconds
    } else {
        let until = jiff::fmt::rfc2822::parse(asked).ok()?.timestamp().as_second();
        let from = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?.timestamp().as_second();
        u64::try_from(until.saturating_sub(from)).unwrap_or(0)
    };
    Some(seconds.min(RETRY_AFTER_MAX_SECONDS))
}

/// How long until the provider counts anew, where the headers that the manifest names say that no call is left.
#[must_use]
pub fn used_up_seconds(manifest: &Manifest, answer: &Answer, now: Timestamp) -> Option<u64> {
    let headers = manifest.limit_headers.as_ref()?;
    let number = |name: &str| answer.header(&name.to_ascii_lowercase())?.trim().parse::<u64>().ok();
    let left = number(&headers.remaining)?;
    if left > 0 {
        return None;
    }
    let reset = number(&headers.reset)?;
    let seconds = match headers.reset_is {
        ResetIs::Seconds => reset,
        ResetIs::EpochSeconds => reset.saturating_sub(u64::try_from(now.as_seconds()).unwrap_or(0)),
    };
    Some(seconds.min(RETRY_AFTER_MAX_SECONDS))
}

#[cfg(test)]
mod tests {
    use ioc::ObservableType;
    use serde_json::json;

    use super::*;
    use crate::outcome::{Grade, Judgement};

    /// A provider whose answer is the mapping's result.
    fn manifest(opines: bool) -> Manifest {
        let yaml = format!(
            r#"
schema: provider/1
id: sample
name: Sample
kind: http
verified: live
types: [domain-name]
family: sample
grade: B
opines: {opines}
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: {{ found: 60, not_found: 30, error: 5 }}
timeout_ms: 5000
host: api.sample.example
requests:
  - {{ types: [domain-name], method: GET, path: "/{{value}}" }}
outcome:
  - status: [404]
    outcome: not_found
  - when: body.score > 1000
    outcome: error
    reason: absurd
  - status: [200]
    outcome: found
mapping: body
"#
        );
        Manifest::parse(&yaml, "sample.yaml").unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_500_000_000)
    }

    fn ask(opines: bool, status: u16, body: &str) -> Outcome {
        let observable = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
        let answer = Answer { status, headers: vec![], body: body.as_bytes().to_vec() };
        interpret(&manifest(opines), &observable, Ok(&answer), now())
    }

    #[test]
    fn an_opinion_that_breaks_the_contract_is_an_error() {
        let check = |body: Value| {
            let outcome = ask(true, 200, &body.to_string());
            assert_eq!((outcome.outcome, outcome.reason.as_deref()), (Status::Error, Some("mapping")), "{body}");
            assert_eq!(outcome.opinion, None);
        };
        check(json!({}));
        check(json!([]));
        check(json!("malicious"));
        check(json!({ "verdict": "evil", "score": 1 }));
        check(json!({ "verdict": "Malicious", "score": 1 }));
        check(json!({ "verdict": "malicious" }));
        check(json!({ "verdict": "malicious", "score": "high" }));
        check(json!({ "verdict": "malicious", "score": 1, "grade": "Z" }));
        check(json!({ "verdict": "malicious", "score": 1, "scroe": 2 }));
        check(json!({ "verdict": "unknown", "score": "not a number" }));
    }

    #[test]
    fn what_the_answer_says_is_clamped_and_cut() {
        let tags: Vec<String> = (0..100).map(|n| format!("{n}{}", "t".repeat(100))).collect();
        let body = json!({
            "verdict": "malicious", "score": 250.4, "grade": "A", "tags": tags, "upstreams": "URLhaus",
            "evidence": "é".repeat(1_000), "permalink": "javascript:alert(1)", "last_seen": "2999-01-01T00:00:00Z",
        });
        let outcome = ask(true, 200, &body.to_string());
        let opinion = outcome.opinion.unwrap();
        assert_eq!((opinion.verdict, opinion.score, opinion.grade), (Judgement::Malicious, 100, Some(Grade::B)));
        assert_eq!(opinion.tags.len(), 16);
        assert!(opinion.tags.iter().all(|tag| tag.chars().count() == 80 && tag.ends_with('…')));
        assert_eq!(opinion.upstreams, ["urlhaus"]);
        assert_eq!(opinion.evidence.unwrap().chars().count(), 300);
        assert_eq!((opinion.permalink, opinion.last_seen), (None, Some(now())));

        let body = json!({
            "verdict": "suspicious", "score": -3, "grade": "D", "tags": ["a", 1, null, " a ", "", {"b": 1}, "c"],
            "evidence": 7, "last_seen": "never",
        });
        let opinion = ask(true, 200, &body.to_string()).opinion.unwrap();
        assert_eq!((opinion.score, opinion.grade), (0, Some(Grade::D)));
        assert_eq!(opinion.tags, ["a", "c"]);
        assert_eq!((opinion.evidence, opinion.last_seen), (None, None));
    }

    #[test]
    fn a_source_of_context_has_tags_but_no_verdict() {
        let body = json!({ "verdict": "malicious", "score": 90, "tags": ["asn"] });
        let opinion = ask(false, 200, &body.to_string()).opinion.unwrap();
        assert_eq!((opinion.verdict, opinion.score), (Judgement::Unknown, 0));
        assert_eq!(opinion.tags, ["asn"]);
    }

    #[test]
    fn rules_go_before_the_mapping_and_a_rule_that_fails_is_an_error() {
        let reason = |status, body: &str| ask(true, status, body).reason;
        assert_eq!(reason(200, r#"{"score": 1001}"#).as_deref(), Some("absurd"));
        assert_eq!(reason(200, r#"{"score": "text"}"#).as_deref(), Some("mapping"));
        assert_eq!(ask(true, 404, "not even JSON").outcome, Status::NotFound);
        assert_eq!(reason(200, "not even JSON").as_deref(), Some("garbage"));
    }

    #[test]
    fn outcomes_live_as_long_as_the_manifest_says() {
        let minutes = |outcome: Outcome| outcome.expires_at.ms_since(outcome.fetched_at) / 60_000;
        assert_eq!(minutes(ask(true, 200, r#"{"verdict": "unknown"}"#)), 60);
        assert_eq!(minutes(ask(true, 404, "")), 30);
        assert_eq!(minutes(ask(true, 500, "")), 5);
        assert_eq!(minutes(ask(true, 429, "")), 5);
        let outcome = skipped(&manifest(true), "no_key", now());
        assert_eq!((outcome.outcome, outcome.reason.as_deref()), (Status::Skipped, Some("no_key")));
        assert_eq!(outcome.manifest_digest, manifest(true).digest().unwrap());
        assert_eq!(minutes(outcome), 0);
    }

    #[test]
    fn the_first_of_two_answers_names_the_task_or_ends_the_lookup() {
        let yaml = serde_json::to_string(&manifest(true)).unwrap();
        let mut polled: Value = serde_json::from_str(&yaml).unwrap();
        let request = polled.pointer_mut("/requests/0").unwrap().as_object_mut().unwrap();
        request.insert("task".to_owned(), json!("body.id"));
        request.insert("poll".to_owned(), json!({ "path": "/{task}", "every_seconds": 0 }));
        let manifest: Manifest = serde_json::from_value(polled).unwrap();
        let observable = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
        let check = |status, body: &str, expected: Result<&str, (Status, Option<&str>)>| {
            let answer = Answer { status, headers: vec![], body: body.as_bytes().to_vec() };
            match (first_step(&manifest, &observable, Ok(&answer), now()), expected) {
                (FirstStep::Task(task), Ok(expected)) => assert_eq!(task, expected, "{body}"),
                (FirstStep::Done(outcome), Err(expected)) => {
                    assert_eq!((outcome.outcome, outcome.reason.as_deref()), expected, "{body}");
                }
                (got, expected) => panic!("{body}: {got:?} and not {expected:?}"),
            }
        };
        let error = |reason| Err((Status::Error, Some(reason)));
        check(200, r#"{"id": 7}"#, Ok("7"));
        check(201, r#"{"id": "a-b/c"}"#, Ok("a-b/c"));
        check(200, &format!(r#"{{"id": "{}"}}"#, "a".repeat(200)), Ok(&"a".repeat(200)));
        check(200, &format!(r#"{{"id": "{}"}}"#, "a".repeat(201)), error("no_task"));
        for odd in [r#""""#, r#""a b""#, r#""a\nb""#, r#""é""#, "null", "true", "[7, 8]", "{}", "1.5"] {
            check(200, &format!(r#"{{"id": {odd}}}"#), error("no_task"));
        }
        check(200, "{}", error("no_task"));
        check(200, "<html>", error("garbage"));
        check(200, r#"{"id": 7, "score": 1001}"#, error("absurd"));
        check(200, r#"{"id": 7, "score": "text"}"#, error("mapping"));
        check(404, "{}", Err((Status::NotFound, None)));
        check(500, r#"{"id": 7}"#, error("http_500"));
        check(403, r#"{"id": 7}"#, error("auth"));
        check(429, r#"{"id": 7}"#, Err((Status::RateLimited, Some("http_429"))));
        let late = first_step(&manifest, &observable, Err(&CallError::Timeout), now());
        assert_eq!(late, FirstStep::Done(Box::new(failed(&manifest, "timeout", now()))));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let check = |retry_after: &str, expected: Option<u64>| {
            let headers = [("date", "Tue, 24 Nov 2026 06:00:00 GMT"), ("retry-after", retry_after)];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            assert_eq!(retry_after_seconds(&Answer { status: 429, headers, body: vec![] }), expected, "{retry_after}");
        };
        check("60", Some(60));
        check(" 60 ", Some(60));
        check("Tue, 24 Nov 2026 06:01:00 GMT", Some(60));
        check("Tue, 24 Nov 2026 05:00:00 GMT", Some(0));
        check("99999999999", Some(RETRY_AFTER_MAX_SECONDS));
        check("soon", None);
        check("-1", None);
        assert_eq!(retry_after_seconds(&Answer { status: 429, headers: vec![], body: vec![] }), None);
    }
}
