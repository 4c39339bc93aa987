//! An opinion from what a mapping gave: every field checked, clamped and capped, because answers are hostile.

use serde_json::{Map, Value};

use crate::{
    Timestamp,
    manifest::Manifest,
    outcome::{Grade, Judgement, Opinion},
};

const LIST_MAX: usize = 16;
/// A TLSH digest with its word fits.
const TAG_MAX_CHARS: usize = 80;
const EVIDENCE_MAX_CHARS: usize = 300;
const PERMALINK_MAX_BYTES: usize = 2_048;
const FIELDS: [&str; 9] =
    ["verdict", "score", "grade", "own", "upstreams", "tags", "evidence", "permalink", "last_seen"];

/// Reads the opinion; `None` where the mapping did not keep to the contract: an unknown field or word, or no score
/// for a harmful verdict. Values that come from the answer are dropped or cut instead.
pub(super) fn read(manifest: &Manifest, mapped: Value, now: Timestamp) -> Option<Opinion> {
    let Value::Object(mut fields) = mapped else { return None };
    fields.retain(|_, value| !value.is_null());
    if fields.keys().any(|name| !FIELDS.contains(&name.as_str())) {
        return None;
    }
    let said = judgement(&fields)?;
    let score = score(&fields, said)?;
    let grade = match fields.get("grade") {
        None => None,
        Some(word) => {
            let said: Grade = serde_json::from_value(word.clone()).ok()?;
            Some(manifest.grade.map_or(said, |ceiling| said.at_most(ceiling)))
        }
    };
    let own = match fields.get("own") {
        None => false,
        Some(flag) => flag.as_bool()?,
    };
    let (verdict, score) = if manifest.opines { (said, score) } else { (Judgement::Unknown, 0) };
    Some(Opinion {
        verdict,
        score,
        grade,
        own,
        upstreams: texts(fields.get("upstreams"), str::to_ascii_lowercase),
        tags: texts(fields.get("tags"), str::to_owned),
        evidence: fields.get("evidence").and_then(Value::as_str).and_then(|text| cut(text, EVIDENCE_MAX_CHARS)),
        permalink: fields.get("permalink").and_then(Value::as_str).and_then(permalink),
        last_seen: fields.get("last_seen").and_then(moment).map(|seen| seen.min(now)),
    })
}

fn judgement(fields: &Map<String, Value>) -> Option<Judgement> {
    serde_json::from_value(fields.get("verdict")?.clone()).ok()
}

/// 0–100, rounded; needed for a harmful verdict.
fn score(fields: &Map<String, Value>, verdict: Judgement) -> Option<u8> {
    match fields.get("score") {
        None if verdict < Judgement::Suspicious => Some(0),
        None => None,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 and 100")]
        Some(number) => number.as_f64().map(|score| score.round().clamp(0.0, 100.0) as u8),
    }
}

/// Trims; cuts after so many characters, marked by an ellipsis within them. `None` for nothing.
fn cut(text: &str, max_chars: usize) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.chars().count() <= max_chars {
        return Some(text.to_owned());
    }
    Some(text.chars().take(max_chars - 1).chain(['…']).collect())
}

/// A list of texts, or one text that JSONata has unwrapped; the rest is dropped.
fn texts(value: Option<&Value>, spell: impl Fn(&str) -> String) -> Vec<String> {
    let one = value.map(std::slice::from_ref).unwrap_or_default();
    let items = value.and_then(Value::as_array).map_or(one, Vec::as_slice);
    let mut kept: Vec<String> = Vec::new();
    for text in items.iter().filter_map(Value::as_str).filter_map(|text| cut(&spell(text), TAG_MAX_CHARS)) {
        if kept.len() < LIST_MAX && !kept.contains(&text) {
            kept.push(text);
        }
    }
    kept
}

fn permalink(text: &str) -> Option<String> {
    let is_short = text.len() <= PERMALINK_MAX_BYTES;
    let url = is_short.then(|| url::Url::parse(text).ok()).flatten()?;
    (url.scheme() == "https" && url.has_host() && url.username().is_empty()).then(|| url.to_string())
}

/// A moment as providers write it: RFC 3339, `2026-11-24 05:00:00` with or without ` UTC`, `2026-11-24`, or seconds
/// (beyond 10¹¹ milliseconds) since 1970. Anything else is no time.
fn moment(value: &Value) -> Option<Timestamp> {
    if let Some(number) = value.as_i64() {
        let millis = if number.abs() > 100_000_000_000 { number } else { number.saturating_mul(1000) };
        return (number > 0).then(|| Timestamp::from_millis(millis));
    }
    let text = value.as_str()?.trim();
    if let Ok(moment) = Timestamp::parse(text) {
        return Some(moment);
    }
    let plain = text.strip_suffix("UTC").unwrap_or(text).trim();
    let spelled =
        if plain.len() == 10 { format!("{plain}T00:00:00Z") } else { format!("{}Z", plain.replacen(' ', "T", 1)) };
    Timestamp::parse(&spelled).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_as_providers_write_them() {
        let check = |value: Value, expected: Option<&str>| {
            assert_eq!(moment(&value).map(|at| at.to_string()).as_deref(), expected, "{value}");
        };
        check(json!("2022-01-02 01:05:27 UTC"), Some("2022-01-02T01:05:27.000Z"));
        check(json!("2020-10-19 09:54:37"), Some("2020-10-19T09:54:37.000Z"));
        check(json!("2019-01-19"), Some("2019-01-19T00:00:00.000Z"));
        check(json!("2018-12-20T20:55:14+01:00"), Some("2018-12-20T19:55:14.000Z"));
        check(json!(1_646_407_171), Some("2022-03-04T15:19:31.000Z"));
        check(json!(1_646_407_171_000_i64), Some("2022-03-04T15:19:31.000Z"));
        check(json!("never"), None);
        check(json!(""), None);
        check(json!(0), None);
        check(json!(1.5), None);
        check(json!({}), None);
        check(json!("é2345678é"), None);
    }

    #[test]
    fn permalinks_are_https() {
        assert_eq!(permalink("https://ti.example/a b").as_deref(), Some("https://ti.example/a%20b"));
        for text in ["http://ti.example/", "javascript:alert(1)", "//ti.example", "https://u@ti.example/", "", "x"] {
            assert_eq!(permalink(text), None, "{text}");
        }
    }
}
