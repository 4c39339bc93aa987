//! What a target's answer means, by the conditions of its call.

use playbook::{
    Fault,
    lookup::Answer,
    mapping::{Expression, Input},
    ports::Secret,
    target::{Call, Target},
};
use serde_json::Value;
use url::Url;

use super::Reply;

/// How much of an answer is quoted when it is refused, in characters.
const EXCERPT_CHARS: usize = 160;
/// The longest name that a target may give to what was written, in bytes.
const EXTERNAL_ID_MAX_BYTES: usize = 512;
const PERMALINK_MAX_BYTES: usize = 2_048;

/// Reads the answer. A condition that holds is believed before the status; silence is never "not found".
pub fn read(
    target: &Target,
    call: &Call,
    document: &Value,
    answer: &Answer,
    secret: Option<&Secret>,
) -> Result<Reply, Fault> {
    let reading = Reading { target, call, input: input(document, answer) };
    if reading.holds("duplicate_when", call.duplicate_when.as_ref())? == Some(true) {
        return Ok(Reply::Duplicate { external_id: reading.external_id()? });
    }
    let is_success = match reading.holds("success_when", call.success_when.as_ref())? {
        Some(holds) => holds,
        None => (200..300).contains(&answer.status),
    };
    if !is_success {
        return Err(refusal(target, answer, secret));
    }
    let (external_id, permalink) = (reading.external_id()?, reading.permalink()?);
    Ok(match reading.holds("found_when", call.found_when.as_ref())? {
        None => Reply::Done { external_id, permalink },
        Some(false) => Reply::NotFound,
        Some(true) => {
            let is_ours = reading.holds("ours_when", call.ours_when.as_ref())? == Some(true);
            Reply::Found { external_id, permalink, is_ours }
        }
    })
}

/// The call's document with the answer in it.
fn input(document: &Value, answer: &Answer) -> Input {
    let mut document = document.clone();
    let body = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
    if let Some(members) = document.as_object_mut() {
        members.insert("status".to_owned(), answer.status.into());
        members.insert("body".to_owned(), body);
    }
    Input::new(document)
}

struct Reading<'a> {
    target: &'a Target,
    call: &'a Call,
    input: Input,
}

impl Reading<'_> {
    fn value(&self, name: &str, source: &str) -> Result<Value, Fault> {
        let id = &self.target.id;
        let expression =
            Expression::compile(source).map_err(|e| Fault::Misconfigured(format!("target {id}: {name}: {e}")))?;
        let value = expression.evaluate_on(&self.input);
        value.map_err(|error| Fault::Rejected(format!("target {id}: {name} cannot read the answer: {error}")))
    }

    fn holds(&self, name: &str, source: Option<&String>) -> Result<Option<bool>, Fault> {
        source.map(|source| Ok(self.value(name, source)? == Value::Bool(true))).transpose()
    }

    /// A text or a whole number; `None` where the answer has none that could be used.
    fn external_id(&self) -> Result<Option<String>, Fault> {
        let Some(source) = &self.call.external_id else { return Ok(None) };
        let id = match self.value("external_id", source)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return Ok(None),
        };
        let is_usable = !id.is_empty() && id.len() <= EXTERNAL_ID_MAX_BYTES && !id.chars().any(char::is_control);
        Ok(is_usable.then_some(id))
    }

    /// An https address for people.
    fn permalink(&self) -> Result<Option<String>, Fault> {
        let Some(source) = &self.call.permalink else { return Ok(None) };
        let Value::String(text) = self.value("permalink", source)? else { return Ok(None) };
        let url = Url::parse(&text).ok().filter(|url| url.scheme() == "https" && url.username().is_empty());
        Ok(url.map(String::from).filter(|url| url.len() <= PERMALINK_MAX_BYTES))
    }
}

/// The fault for an answer that is not what the call wanted.
fn refusal(target: &Target, answer: &Answer, secret: Option<&Secret>) -> Fault {
    let (id, status) = (&target.id, answer.status);
    // Some services say 403 where others say 429.
    let asks_for_patience =
        answer.header("retry-after").is_some() || answer.header("x-ratelimit-remaining") == Some("0");
    match status {
        429 => Fault::Throttled(format!("target {id}: status 429")),
        403 | 503 if asks_for_patience => Fault::Throttled(format!("target {id}: status {status}")),
        401 | 403 => Fault::Misconfigured(format!("target {id}: status {status}: it does not take the secret")),
        408 | 500.. => Fault::Unavailable(format!("target {id}: status {status}")),
        _ => Fault::Rejected(format!("target {id}: status {status}: {}", excerpt(&answer.body, secret))),
    }
}

/// The beginning of an answer for people: nothing to click, nothing hidden, no secret.
fn excerpt(body: &[u8], secret: Option<&Secret>) -> String {
    let mut text = String::from_utf8_lossy(body.get(..4_096).unwrap_or(body)).into_owned();
    if let Some(secret) = secret {
        text = text.replace(secret.reveal(), "***");
    }
    let clipped: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EXCERPT_CHARS).collect();
    ioc::defang_text(&clipped)
}
