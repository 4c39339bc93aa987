//! What must hold of a manifest before anything is asked with it; every complaint names its line.

use ioc::{Observable, ObservableType};
use serde_json::Value;

use super::{Manifest, ManifestError, Method, OutcomeRule, Place, RequestTemplate, SCHEMA, Template};
use crate::{
    mapping::{Expression, MappingError},
    outcome::Status,
};

/// Headers that the request itself decides.
const OWN_HEADERS: [&str; 7] =
    ["connection", "content-length", "content-type", "cookie", "host", "proxy-authorization", "transfer-encoding"];

/// A complaint: the top-level key it is about, a text in that key's part of the file, and the message.
struct Complaint {
    key: &'static str,
    near: String,
    message: String,
}

type Checked = Result<(), Complaint>;

pub(super) fn parse(yaml: &str, file: &str) -> Result<Manifest, ManifestError> {
    let manifest: Manifest = serde_saphyr::from_str(yaml).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        // The reader repeats the place, and an excerpt of the file: the first words say it all.
        let whole = error.without_snippet().to_string();
        let message =
            whole.split(" at line ").next().and_then(|text| text.lines().next()).unwrap_or_default().to_owned();
        ManifestError { file: file.to_owned(), line, message }
    })?;
    check(&manifest, file).map_err(|complaint| {
        let line = line_of(yaml, complaint.key, &complaint.near);
        ManifestError { file: file.to_owned(), line, message: complaint.message }
    })?;
    Ok(manifest)
}

/// The first line that holds `near` in the part of the file that belongs to the top-level key, or the key's own line.
fn line_of(yaml: &str, key: &str, near: &str) -> u64 {
    let near = near.lines().next().unwrap_or_default().trim();
    let mut own = 1;
    let mut inside = false;
    for (number, line) in (1_u64..).zip(yaml.lines()) {
        let starts_key = line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
        if starts_key {
            (own, inside) = (number, true);
        } else if !line.starts_with([' ', '-', '#']) && !line.is_empty() {
            inside = false;
        }
        if inside && !near.is_empty() && line.contains(near) {
            return number;
        }
    }
    own
}

fn complain(key: &'static str, near: impl Into<String>, message: impl Into<String>) -> Checked {
    Err(Complaint { key, near: near.into(), message: message.into() })
}

fn is_word(text: &str, also: char) -> bool {
    (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == also)
}

fn check(manifest: &Manifest, file: &str) -> Checked {
    head(manifest, file)?;
    host(manifest)?;
    types(manifest)?;
    for request in &manifest.requests {
        self::request(manifest, request)?;
    }
    numbers(manifest)?;
    if !manifest.outcome.iter().any(|rule| rule.outcome == Status::Found) {
        return complain("outcome", "", "no rule leads to found");
    }
    for rule in &manifest.outcome {
        self::rule(rule)?;
    }
    expression("mapping", &manifest.mapping)
}

fn head(manifest: &Manifest, file: &str) -> Checked {
    if manifest.schema != SCHEMA {
        return complain("schema", "", format!("schema is {SCHEMA}, not {}", manifest.schema));
    }
    if !is_word(&manifest.id, '-') {
        return complain("id", "", "id is lower-case letters, digits and hyphens, at most 40");
    }
    let stem = file.rsplit(['/', '\\']).next().unwrap_or_default().split('.').next().unwrap_or_default();
    if !stem.is_empty() && stem != manifest.id {
        return complain("id", "", format!("id {} and file name {stem} differ", manifest.id));
    }
    if manifest.name.is_empty() || manifest.name.len() > 80 {
        return complain("name", "", "name has 1 to 80 characters");
    }
    if !is_word(&manifest.family, '-') || manifest.family == "self" {
        return complain("family", "", "family is lower-case letters, digits and hyphens, and not self");
    }
    if manifest.secret.as_ref().is_some_and(|secret| !is_word(secret, '-')) {
        return complain(
            "secret",
            "",
            "secret is an id of lower-case letters, digits and hyphens, never the secret itself",
        );
    }
    if manifest.terms.as_ref().is_some_and(|terms| terms.note.trim().is_empty()) {
        return complain("terms", "note", "terms without a note");
    }
    Ok(())
}

fn host(manifest: &Manifest) -> Checked {
    let host = manifest.host.as_str();
    match Observable::parse(ObservableType::DomainName, host) {
        Ok(name) if name.value() == host => Ok(()),
        _ => {
            complain("host", "", "host is a DNS name in lower case, without scheme, port or path, and never an address")
        }
    }
}

fn types(manifest: &Manifest) -> Checked {
    if manifest.types.is_empty() {
        return complain("types", "", "a provider takes at least one type");
    }
    for kind in &manifest.types {
        let asking = manifest.requests.iter().filter(|request| request.types.contains(kind)).count();
        if asking == 0 {
            return complain("types", kind.as_str(), format!("no request asks for {kind}"));
        }
        if asking > 1 && *kind != ObservableType::File {
            return complain("requests", kind.as_str(), format!("two requests ask for {kind}"));
        }
    }
    for request in &manifest.requests {
        if let Some(kind) = request.types.iter().find(|kind| !manifest.types.contains(kind)) {
            return complain("requests", kind.as_str(), format!("{kind} is not among the provider's types"));
        }
        let is_file = request.types.contains(&ObservableType::File);
        if is_file && (request.types.len() > 1 || request.hashes.is_empty()) {
            return complain("requests", "file", "a request for file stands alone and says which hashes it takes");
        }
        if !is_file && !request.hashes.is_empty() {
            return complain("requests", "hashes", "only a request for file takes hashes");
        }
    }
    Ok(())
}

fn request(manifest: &Manifest, request: &RequestTemplate) -> Checked {
    let near = request.path.clone();
    let mut texts = path(&request.path)?;
    for (name, text) in &request.headers {
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_token || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return complain("requests", format!("{name}:"), format!("header {name:?} cannot be set"));
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
        return complain("requests", near, "GET has no body, POST a form or JSON");
    }
    if !texts.iter().any(Template::names_the_value) {
        return complain("requests", near, "the request names no {value}");
    }
    match (&manifest.secret, texts.iter().any(Template::names_the_secret)) {
        (Some(_), false) => complain("requests", near, "the provider has a secret, but the request sends none"),
        (None, true) => complain("requests", "{secret}", "the request sends a {secret}, but the provider has none"),
        _ => Ok(()),
    }
}

fn template(text: &str, place: Place, near: &str) -> Result<Template, Complaint> {
    Template::parse(text, place).map_err(|message| Complaint { key: "requests", near: near.to_owned(), message })
}

/// The segments of a path, as templates.
fn path(path: &str) -> Result<Vec<Template>, Complaint> {
    let wrong = |message: &str| Complaint { key: "requests", near: path.to_owned(), message: message.to_owned() };
    let below = path.strip_prefix('/').ok_or_else(|| wrong("path starts with /"))?;
    if path.contains(['?', '#', '%', '\\', ' ']) {
        return Err(wrong("path holds plain segments; parameters go into query, encoding is ours"));
    }
    let count = below.split('/').count();
    let segments = below.split('/').enumerate().map(|(index, segment)| {
        if segment == "." || segment == ".." || (segment.is_empty() && index + 1 < count) {
            return Err(wrong("path has an empty or relative segment"));
        }
        template(segment, Place::Path, path)
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

fn numbers(manifest: &Manifest) -> Checked {
    if !(100..=30_000).contains(&manifest.timeout_ms) {
        return complain("timeout_ms", "", "timeout_ms is 100 to 30000");
    }
    if manifest.limits.iter().any(|limit| limit.limit == 0 || !(1..=2_678_400).contains(&limit.window_seconds)) {
        return complain("limits", "", "a limit allows at least one call in 1 to 2678400 seconds");
    }
    let lifetimes = &manifest.lifetimes_minutes;
    let all = [lifetimes.found, lifetimes.not_found, lifetimes.error];
    if all.iter().any(|minutes| !(1..=43_200).contains(minutes)) || lifetimes.error > 60 {
        return complain("lifetimes_minutes", "", "lifetimes are 1 to 43200 minutes, that of an error at most 60");
    }
    Ok(())
}

fn rule(rule: &OutcomeRule) -> Checked {
    let near = rule.when.clone().unwrap_or_else(|| format!("outcome: {}", rule.outcome.as_str()));
    if let Some(source) = &rule.when {
        expression("outcome", source)?;
    }
    if matches!(rule.outcome, Status::Pending | Status::Skipped) {
        return complain("outcome", rule.outcome.as_str(), "an answer is found, not_found, error or rate_limited");
    }
    if rule.status.iter().any(|status| !(200..=599).contains(status)) {
        return complain("outcome", near, "a final status is 200 to 599");
    }
    if rule.status.is_empty() && rule.when.is_none() && rule.outcome != Status::Error {
        return complain(
            "outcome",
            near,
            "only an error may need neither status nor condition: not every answer is an answer",
        );
    }
    match (rule.outcome, &rule.reason) {
        (Status::Error, None) => complain("outcome", near, "an error has a reason"),
        (Status::Error, Some(reason)) if is_word(reason, '_') => Ok(()),
        (Status::Error, Some(reason)) => {
            complain("outcome", reason, "reason is a word of lower-case letters, digits and underscores")
        }
        (_, Some(reason)) => complain("outcome", reason, "only an error has a reason"),
        (_, None) => Ok(()),
    }
}

fn expression(key: &'static str, source: &str) -> Checked {
    Expression::compile(source).map(|_| ()).map_err(|error| {
        let near = match &error {
            MappingError::Unknown(name) => format!("${name}"),
            MappingError::Refused(what) => what.split_whitespace().last().unwrap_or_default().to_owned(),
            _ => source.to_owned(),
        };
        Complaint { key, near, message: error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"schema: provider/1
id: sample
name: Sample
kind: http
verified: live
secret: sample
types: [ipv4-addr, file]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
limits:
  - { limit: 4, window_seconds: 60, scope: key }
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
host: api.sample.example
requests:
  - types: [ipv4-addr]
    method: GET
    path: /v1/ip/{value}
    headers: { x-key: "{secret}" }
  - types: [file]
    hashes: [sha256, md5]
    method: POST
    path: /v1/files/
    form: { hash: "{value}", key: "{secret}" }
outcome:
  - status: [404]
    outcome: not_found
  - when: body.ok = true
    outcome: found
mapping: |
  {
    "verdict": "unknown"
  }
"#;

    #[test]
    fn a_good_manifest_is_taken_and_survives_the_bundle() {
        let manifest = Manifest::parse(GOOD, "playbook/providers/sample.yaml").unwrap();
        assert_eq!(manifest.off_reason(), None);
        let stored = serde_json::to_string(&manifest).unwrap();
        let again: Manifest = serde_json::from_str(&stored).unwrap();
        assert_eq!(manifest, again);
        assert_eq!(manifest.digest().unwrap(), again.digest().unwrap());
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let check = |from: &str, to: &str, line: u64, expected: &str| {
            let yaml = GOOD.replacen(from, to, 1);
            assert_ne!(yaml, GOOD, "{from} is not in the sample");
            let error = Manifest::parse(&yaml, "providers/sample.yaml").expect_err(to);
            assert!(error.message.contains(expected), "{from} → {to}: {error}");
            assert_eq!(error.line, line, "{from} → {to}: {error}");
            assert!(error.to_string().starts_with(&format!("providers/sample.yaml:{line}: ")));
        };
        check("provider/1", "provider/2", 1, "schema is provider/1");
        check("id: sample", "id: other", 2, "differ");
        check("kind: http", "kind: http\ncolour: red", 5, "colour");
        check("kind: http", "kind: gopher", 4, "gopher");
        check("grade: B", "grade: Z", 9, "Z");
        check("{ limit: 4,", "{ limit: 4, size: 1,", 14, "size");
        check("limit: 4", "limit: 0", 13, "at least one call");
        check("error: 5", "error: 500", 15, "at most 60");
        check("timeout_ms: 5000", "timeout_ms: 60000", 16, "timeout_ms");
        check("api.sample.example", "192.0.2.7", 17, "never an address");
        check("api.sample.example", "https://api.sample.example", 17, "DNS name");
        check("api.sample.example", "localhost", 17, "DNS name");
        check("/v1/ip/{value}", "v1/ip/{value}", 21, "starts with /");
        check("/v1/ip/{value}", "/v1/../{value}", 21, "relative");
        check("/v1/ip/{value}", "/v1/ip?q={value}", 21, "parameters go into query");
        check("/v1/ip/{value}", "/v1/ip/{secret}", 21, "path may not hold");
        check("/v1/ip/{value}", "/v1/ip/x", 21, "names no {value}");
        check(r#"x-key: "{secret}""#, r#"x-key: "{value}""#, 22, "header may not hold");
        check(r#"x-key: "{secret}""#, r#"host: "{secret}""#, 22, "cannot be set");
        check(r#"x-key: "{secret}""#, "x-key: dummy", 21, "sends none");
        check("secret: sample\n", "", 21, "the provider has none");
        check("hashes: [sha256, md5]", "hashes: []", 23, "which hashes");
        check("types: [ipv4-addr, file]", "types: [ipv4-addr, url, file]", 7, "no request asks for url");
        check("method: GET", "method: GET\n    form: {}", 22, "GET has no body");
        check("body.ok = true", "$eval(body.ok)", 31, "$eval may not be used");
        check("status: [404]\n    outcome: not_found", "outcome: not_found", 29, "neither status nor condition");
        check("    outcome: found", "    outcome: not_found", 28, "no rule leads to found");
        check("outcome: not_found", "outcome: error", 30, "an error has a reason");
        check(r#""verdict": "unknown""#, r#""verdict": $lower(body.v)"#, 35, "$lower is neither");
        check(r#""verdict": "unknown""#, r#""verdict": ("#, 34, "cannot be read");
        check("  - { limit: 4", "  - { limit: 4.5", 14, "invalid u32");
    }
}
