//! What must hold of one request of a manifest, by the kind of its provider.

use ioc::ObservableType;
use serde_json::Value;

use super::expression;
use crate::{
    authored::{Checked, Wrong, complain},
    lookup::is_name,
    manifest::{
        Manifest, Method, Part, Place, PollTemplate, ProviderKind, QuestionTemplate, RequestTemplate, Template,
    },
};

/// Headers that the request itself decides.
const OWN_HEADERS: [&str; 7] =
    ["connection", "content-length", "content-type", "cookie", "host", "proxy-authorization", "transfer-encoding"];

/// Questions of one request, counted by record.
const QUESTIONS_MAX: usize = 16;

/// Seconds between two tries for a result.
const EVERY_SECONDS: std::ops::RangeInclusive<u32> = 5..=900;

/// A result that is not there after a day does not come.
const FOR_SECONDS_MAX: u32 = 86_400;

pub(super) fn check(manifest: &Manifest, request: &RequestTemplate) -> Checked {
    let (texts, near) = match manifest.kind {
        ProviderKind::Http => (http(request)?, request.path.clone()),
        ProviderKind::Dns => (dns(request)?, request.questions.first().map(|q| q.name.clone()).unwrap_or_default()),
        ProviderKind::List => {
            return complain("requests", "", "a list is looked into, never asked: it has no requests");
        }
    };
    if !texts.iter().any(Template::names_the_value) {
        return complain("requests", near, "the request names no {value}");
    }
    match (&manifest.secret, texts.iter().any(Template::names_the_secret)) {
        (Some(_), false) => complain("requests", near, "the provider has a secret, but the request sends none"),
        (None, true) => complain("requests", "{secret}", "the request sends a {secret}, but the provider has none"),
        _ => poll(manifest, request),
    }
}

fn http(request: &RequestTemplate) -> Result<Vec<Template>, Wrong> {
    let wrong = |near: &str, message: &str| Err(Wrong::new("requests", near, message));
    if !request.questions.is_empty() {
        return wrong("questions:", "questions are for kind dns");
    }
    if !matches!(request.method, Method::Get | Method::Post) {
        return wrong(request.method.as_str(), "a provider is asked with GET or POST");
    }
    let mut texts = path(&request.path, Place::Path)?;
    for (name, text) in &request.headers {
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_token || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return wrong(&format!("{name}:"), &format!("header {name:?} cannot be set"));
        }
        texts.push(template(text, Place::Header, &format!("{name}:"))?);
    }
    for (name, text) in request.query.iter().chain(request.form.iter().flatten()) {
        texts.push(template(text, Place::Field, &format!("{name}:"))?);
    }
    if let Some(json) = &request.json {
        json_texts(json, &mut texts)?;
    }
    let bodies = usize::from(request.form.is_some()) + usize::from(request.json.is_some());
    if bodies > usize::from(request.method == Method::Post) {
        return wrong(&request.path, "GET has no body, POST a form or JSON");
    }
    Ok(texts)
}

fn dns(request: &RequestTemplate) -> Result<Vec<Template>, Wrong> {
    use ObservableType::{DomainName, Ipv4Addr, Ipv6Addr};
    let wrong = |near: &str, message: &str| Err(Wrong::new("requests", near, message));
    let first = request.questions.first().map(|question| question.name.clone()).unwrap_or_default();
    let is_http = !request.path.is_empty()
        || !request.query.is_empty()
        || !request.headers.is_empty()
        || request.form.is_some()
        || request.json.is_some()
        || request.task.is_some()
        || request.poll.is_some()
        || request.method != Method::Get;
    if is_http {
        return wrong(&first, "kind dns has questions, and nothing of http");
    }
    if let Some(kind) = request.types.iter().find(|kind| !matches!(kind, DomainName | Ipv4Addr | Ipv6Addr)) {
        return wrong(kind.as_str(), &format!("a name server is asked about names and addresses, not about {kind}"));
    }
    let asked: usize = request.questions.iter().map(|question| question.records.len()).sum();
    if request.questions.iter().any(|question| question.records.is_empty()) || !(1..=QUESTIONS_MAX).contains(&asked) {
        return wrong(&first, "a request of kind dns asks for 1 to 16 records, each name for one at least");
    }
    request.questions.iter().map(|asked| question(asked, &request.types)).collect()
}

/// The name as a template; with samples in its placeholders it is a name that can be asked for.
fn question(question: &QuestionTemplate, types: &[ObservableType]) -> Result<Template, Wrong> {
    let name = question.name.as_str();
    let wrong = |message: &str| Err(Wrong::new("requests", name, message));
    let filled = template(name, Place::Name, name)?;
    let is_address = |kind: &ObservableType| *kind != ObservableType::DomainName;
    let holds = |part: &Part| filled.0.contains(part);
    if holds(&Part::Value) && types.iter().any(is_address) {
        return wrong("the name for an address holds {reversed}");
    }
    if holds(&Part::Reversed) && !types.iter().all(is_address) {
        return wrong("only an address is {reversed}; the name for a domain holds {value}");
    }
    let sample = filled.0.iter().map(|part| if let Part::Text(text) = part { text } else { "x" });
    if !is_name(&sample.collect::<String>()) {
        return wrong("name is labels of letters, digits, hyphens and underscores with dots between them");
    }
    Ok(filled)
}

/// The second step.
fn poll(manifest: &Manifest, request: &RequestTemplate) -> Checked {
    let (task, poll) = match (&request.task, &request.poll) {
        (None, None) => return Ok(()),
        (Some(task), Some(poll)) => (task, poll),
        (Some(_), None) => return complain("requests", "task:", "task without poll: nobody asks for the result"),
        (None, Some(_)) => return complain("requests", "poll:", "poll without task: nothing names the result"),
    };
    if manifest.hosts_from.is_some() {
        return complain("requests", "task:", "a request whose host depends on the observable has one step");
    }
    expression("requests", task)?;
    let mut texts = path(&poll.path, Place::PollPath)?;
    for (name, text) in &poll.query {
        texts.push(template(text, Place::PollField, &format!("{name}:"))?);
    }
    if !texts.iter().any(Template::names_the_task) {
        return complain("requests", poll.path.clone(), "poll names no {task}");
    }
    if manifest.secret.is_none() && texts.iter().any(Template::names_the_secret) {
        return complain("requests", "{secret}", "the request sends a {secret}, but the provider has none");
    }
    times(poll)
}

fn times(poll: &PollTemplate) -> Checked {
    match (poll.every_seconds, poll.for_seconds) {
        (0, 0) => Ok(()),
        (0, _) => complain("requests", "for_seconds:", "every_seconds 0 asks once; for_seconds has no meaning then"),
        (every, _) if !EVERY_SECONDS.contains(&every) => {
            complain("requests", "every_seconds:", "every_seconds is 0, or 5 to 900")
        }
        (every, last) if last < every || last > FOR_SECONDS_MAX => {
            complain("requests", "for_seconds:", "for_seconds is every_seconds to 86400")
        }
        _ => Ok(()),
    }
}

fn template(text: &str, place: Place, near: &str) -> Result<Template, Wrong> {
    Template::parse(text, place).map_err(|message| Wrong::new("requests", near, message))
}

/// The segments of a path, as templates.
fn path(path: &str, place: Place) -> Result<Vec<Template>, Wrong> {
    let wrong = |message: &str| Wrong::new("requests", path, message);
    let below = path.strip_prefix('/').ok_or_else(|| wrong("path starts with /"))?;
    if path.contains(['?', '#', '%', '\\', ' ']) {
        return Err(wrong("path holds plain segments; parameters go into query, encoding is ours"));
    }
    let count = below.split('/').count();
    let segments = below.split('/').enumerate().map(|(index, segment)| {
        if segment == "." || segment == ".." || (segment.is_empty() && index + 1 < count) {
            return Err(wrong("path has an empty or relative segment"));
        }
        template(segment, place, path)
    });
    segments.collect()
}

fn json_texts(value: &Value, texts: &mut Vec<Template>) -> Checked {
    match value {
        Value::String(text) => texts.push(template(text, Place::Field, text)?),
        Value::Array(items) => items.iter().try_for_each(|item| json_texts(item, texts))?,
        Value::Object(members) => members.values().try_for_each(|member| json_texts(member, texts))?,
        Value::Number(number) if number.is_f64() => {
            return complain("requests", number.to_string(), "numbers in json are whole");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}
