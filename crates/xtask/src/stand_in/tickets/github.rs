//! GitHub issues of one repository; bodies are Markdown.

use playbook::lookup::Answer;
use serde_json::{Value, json};

use super::{Asked, Issue, text_of};
use crate::stand_in::document;

pub fn answer(issues: &mut Vec<Issue>, asked: &Asked<'_>) -> Answer {
    if asked.bearer().is_none() {
        return document(401, &json!({ "message": "Requires authentication" }));
    }
    let Some(body) = asked.json() else {
        return document(400, &json!({ "message": "Problems parsing JSON" }));
    };
    let segments: Vec<&str> = asked.path.split('/').skip(1).collect();
    match (asked.method, segments.as_slice()) {
        ("POST", ["graphql"]) => search(issues, &body),
        ("POST", ["repos", "corp-example", "incidents", "issues"]) => create(issues, &body),
        ("PATCH", ["repos", "corp-example", "incidents", "issues", number]) => edit(issues, number, &body),
        _ => document(404, &json!({ "message": "Not Found" })),
    }
}

fn unprocessable(field: &str) -> Answer {
    let errors = json!([{ "resource": "Issue", "field": field, "code": "invalid" }]);
    document(422, &json!({ "message": "Validation Failed", "errors": errors }))
}

/// The newest hundred issues that carry a label, oldest first.
fn search(issues: &[Issue], body: &Value) -> Answer {
    let query = text_of(body, "/query");
    let is_known = query.contains("repository(owner: $owner, name: $name)")
        && query.contains("issues(last: 100, labels: [$label]) { nodes { number title url } }");
    if !is_known {
        return document(200, &json!({ "errors": [{ "message": "Field doesn't exist" }] }));
    }
    if text_of(body, "/variables/owner") != "corp-example" || text_of(body, "/variables/name") != "incidents" {
        return document(200, &json!({ "data": { "repository": null }, "errors": [{ "type": "NOT_FOUND" }] }));
    }
    let label = text_of(body, "/variables/label");
    let found: Vec<Value> = issues
        .iter()
        .filter(|issue| issue.labels.iter().any(|known| known == label))
        .map(|issue| json!({ "number": number(issue), "title": issue.title, "url": url(issue) }))
        .collect();
    let newest = found.get(found.len().saturating_sub(100)..).unwrap_or_default();
    document(200, &json!({ "data": { "repository": { "issues": { "nodes": newest } } } }))
}

fn number(issue: &Issue) -> u64 {
    issue.key.parse().unwrap_or_default()
}

fn url(issue: &Issue) -> String {
    format!("https://github.com/corp-example/incidents/issues/{}", issue.key)
}

fn whole(issue: &Issue) -> Value {
    json!({
        "number": number(issue), "title": issue.title, "html_url": url(issue),
        "state": if issue.closed.is_some() { "closed" } else { "open" },
        "labels": issue.labels.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
    })
}

fn create(issues: &mut Vec<Issue>, body: &Value) -> Answer {
    let mut issue = Issue { key: (issues.len() + 1).to_string(), ..Issue::default() };
    if text_of(body, "/title").is_empty() {
        return unprocessable("title");
    }
    if let Err(answer) = set(&mut issue, body) {
        return answer;
    }
    issues.push(issue.clone());
    document(201, &whole(&issue))
}

fn edit(issues: &mut [Issue], number: &str, body: &Value) -> Answer {
    let Some(issue) = issues.iter_mut().find(|issue| issue.key == number) else {
        return document(404, &json!({ "message": "Not Found" }));
    };
    if let Err(answer) = set(issue, body) {
        return answer;
    }
    if body.get("body").is_some() {
        issue.edits += 1;
    }
    match (text_of(body, "/state"), text_of(body, "/state_reason")) {
        ("closed", reason @ ("completed" | "not_planned")) => issue.closed = Some(reason.to_owned()),
        ("open", "") => issue.closed = None,
        ("", "") => {}
        _ => return unprocessable("state"),
    }
    document(200, &whole(issue))
}

/// What the request names; the rest stays.
fn set(issue: &mut Issue, body: &Value) -> Result<(), Answer> {
    if let Some(title) = body.get("title") {
        let title =
            title.as_str().filter(|title| title.chars().count() <= 256).ok_or_else(|| unprocessable("title"))?;
        title.clone_into(&mut issue.title);
    }
    if let Some(markdown) = body.get("body") {
        let markdown = markdown.as_str().filter(|text| text.chars().count() <= 65_536);
        let markdown = markdown.ok_or_else(|| unprocessable("body"))?;
        (issue.text, issue.live) = read(markdown);
    }
    if let Some(labels) = body.get("labels") {
        let labels = labels.as_array().and_then(|labels| {
            labels
                .iter()
                .map(|label| label.as_str().filter(|l| (1..=50).contains(&l.len())).map(str::to_owned))
                .collect()
        });
        issue.labels = labels.ok_or_else(|| unprocessable("labels"))?;
        let severity = issue.labels.iter().find_map(|label| label.strip_prefix("severity: "));
        issue.severity = severity.unwrap_or_default().to_owned();
    }
    Ok(())
}

/// What stands in fenced code blocks (`CommonMark` 4.5), and every line outside of them: those are read as Markdown.
fn read(markdown: &str) -> (String, Vec<String>) {
    let (mut told, mut live) = (vec![], vec![]);
    let mut fence: Option<usize> = None;
    for line in markdown.lines() {
        let marks = backticks(line);
        let after = line.trim_start_matches(' ').trim_start_matches('`');
        match fence {
            Some(length) if marks >= length && after.trim().is_empty() => fence = None,
            Some(_) => told.push(line),
            None if marks >= 3 && !after.contains('`') => fence = Some(marks),
            None if line.trim().is_empty() => {}
            None => live.push(line.to_owned()),
        }
    }
    (told.join("\n"), live)
}

/// Backticks at the beginning of a line that may be a fence: at most three spaces before it.
fn backticks(line: &str) -> usize {
    let rest = line.trim_start_matches(' ');
    if line.len() - rest.len() > 3 { 0 } else { rest.len() - rest.trim_start_matches('`').len() }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn only_a_fence_that_is_long_enough_ends_a_block() {
        let check = |markdown: &str, told: &str, live: &[&str]| {
            assert_eq!(read(markdown), (told.to_owned(), live.iter().map(ToString::to_string).collect()), "{markdown}");
        };
        check("```\na\n```", "a", &[]);
        check("```\na\n```\n@all", "a", &["@all"]);
        check("````\na\n```\n@all\n````", "a\n```\n@all", &[]);
        check("````\na\n   `````\n@all", "a", &["@all"]);
        check("````\n    ````\n````", "    ````", &[]);
        check("plain", "", &["plain"]);
    }
}
