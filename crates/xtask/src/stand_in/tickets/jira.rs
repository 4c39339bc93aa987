//! Jira Cloud: issues of one project, with descriptions in the Atlassian Document Format.

use playbook::lookup::Answer;
use serde_json::{Value, json};

use super::{Asked, Issue, text_of};
use crate::stand_in::{document, text};

const PRIORITIES: [&str; 5] = ["Lowest", "Low", "Medium", "High", "Highest"];
/// Nodes that Jira knows; only those of a code block are dead.
const NODES: [&str; 14] = [
    "blockquote",
    "bulletList",
    "codeBlock",
    "doc",
    "emoji",
    "hardBreak",
    "heading",
    "inlineCard",
    "listItem",
    "media",
    "mediaSingle",
    "mention",
    "paragraph",
    "text",
];

pub fn answer(issues: &mut Vec<Issue>, asked: &Asked<'_>) -> Answer {
    let credentials = asked.header("authorization").strip_prefix("Basic ").unwrap_or_default();
    let credentials = data_encoding::BASE64.decode(credentials.as_bytes()).unwrap_or_default();
    if !String::from_utf8_lossy(&credentials)
        .split_once(':')
        .is_some_and(|(user, token)| !user.is_empty() && !token.is_empty())
    {
        return text(401, "Client must be authenticated to access this resource.");
    }
    let Some(body) = asked.json() else { return refused("body", "not JSON") };
    let segments: Vec<&str> = asked.path.split('/').skip(1).collect();
    match (asked.method, segments.as_slice()) {
        ("POST", ["rest", "api", "3", "search", "jql"]) => search(issues, &body),
        ("POST", ["rest", "api", "3", "issue"]) => create(issues, &body),
        ("PUT", ["rest", "api", "3", "issue", key]) => edit(issues, key, &body),
        ("POST", ["rest", "api", "3", "issue", key, "transitions"]) => transition(issues, key, &body),
        _ => text(404, "Not Found"),
    }
}

fn refused(field: &str, why: &str) -> Answer {
    document(400, &json!({ "errorMessages": [], "errors": { field: why } }))
}

/// `project = "SEC" AND labels = "…" ORDER BY created ASC`, and nothing else.
fn search(issues: &[Issue], body: &Value) -> Answer {
    let jql = text_of(body, "/jql");
    let label = jql
        .strip_prefix("project = \"SEC\" AND labels = \"")
        .and_then(|rest| rest.strip_suffix("\" ORDER BY created ASC"))
        .filter(|label| !label.contains(['"', '\\', ' ']));
    let Some(label) = label else {
        return document(400, &json!({ "errorMessages": ["Error in the JQL Query"], "errors": {} }));
    };
    let found = issues.iter().filter(|issue| issue.labels.iter().any(|known| known == label));
    let limit = usize::try_from(body["maxResults"].as_u64().unwrap_or(50)).unwrap_or(50);
    let found: Vec<Value> = found.take(limit).map(named).collect();
    document(200, &json!({ "issues": found, "isLast": true }))
}

fn named(issue: &Issue) -> Value {
    let id = 10_000 + issue.key.len();
    json!({
        "id": id.to_string(), "key": issue.key, "fields": { "labels": issue.labels },
        "self": format!("https://jira.corp.example/rest/api/3/issue/{id}"),
    })
}

fn create(issues: &mut Vec<Issue>, body: &Value) -> Answer {
    if text_of(body, "/fields/project/key") != "SEC" {
        return refused("project", "valid project is required");
    }
    if text_of(body, "/fields/issuetype/name").is_empty() {
        return refused("issuetype", "Specify an issue type");
    }
    let labels: Option<Vec<String>> = body["fields"]["labels"]
        .as_array()
        .and_then(|labels| labels.iter().map(|label| label.as_str().map(str::to_owned)).collect());
    let Some(labels) = labels else { return refused("labels", "data was not an array") };
    if labels.iter().any(|label| label.is_empty() || label.len() > 255 || label.contains(char::is_whitespace)) {
        return refused("labels", "The label can't contain spaces.");
    }
    let mut issue = Issue { key: format!("SEC-{}", issues.len() + 1), labels, ..Issue::default() };
    if let Err(answer) = set(&mut issue, &body["fields"]) {
        return answer;
    }
    issues.push(issue.clone());
    document(201, &named(&issue))
}

fn edit(issues: &mut [Issue], key: &str, body: &Value) -> Answer {
    let Some(issue) = issues.iter_mut().find(|issue| issue.key == key) else {
        return document(404, &json!({ "errorMessages": ["Issue does not exist"], "errors": {} }));
    };
    if let Err(answer) = set(issue, &body["fields"]) {
        return answer;
    }
    issue.edits += 1;
    text(204, "")
}

/// Summary, priority and description.
fn set(issue: &mut Issue, fields: &Value) -> Result<(), Answer> {
    let summary = text_of(fields, "/summary");
    if summary.is_empty() || summary.chars().count() > 255 || summary.contains(['\n', '\r']) {
        return Err(refused("summary", "The summary is invalid"));
    }
    let priority = text_of(fields, "/priority/name");
    if !PRIORITIES.contains(&priority) {
        return Err(refused("priority", "The priority selected is invalid."));
    }
    let description = &fields["description"];
    if description["type"] != "doc" || description["version"] != 1 {
        return Err(refused("description", "Operation value must be an Atlassian Document"));
    }
    let (mut told, mut live) = (String::new(), vec![]);
    if !read(description, &mut told, &mut live) || told.chars().count() > 32_767 {
        return Err(refused("description", "INVALID_INPUT"));
    }
    issue.text = told;
    issue.live = live;
    summary.clone_into(&mut issue.title);
    priority.clone_into(&mut issue.severity);
    Ok(())
}

/// Reads a node with everything in it; false where Jira would not take it.
fn read(node: &Value, told: &mut String, live: &mut Vec<String>) -> bool {
    let kind = text_of(node, "/type");
    if !NODES.contains(&kind) {
        return false;
    }
    if !matches!(kind, "doc" | "codeBlock" | "text") || node.get("marks").is_some() {
        live.push(kind.to_owned());
    }
    if kind == "text" {
        let text = text_of(node, "/text");
        told.push_str(text);
        return !text.is_empty();
    }
    let content = node["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    content.iter().all(|child| (kind != "codeBlock" || child["type"] == "text") && read(child, told, live))
}

fn transition(issues: &mut [Issue], key: &str, body: &Value) -> Answer {
    let Some(issue) = issues.iter_mut().find(|issue| issue.key == key) else {
        return document(404, &json!({ "errorMessages": ["Issue does not exist"], "errors": {} }));
    };
    let id = text_of(body, "/transition/id");
    if id != "31" || issue.closed.is_some() {
        return refused("transition", &format!("Transition id '{id}' is not valid for this issue."));
    }
    issue.closed = Some("Done".to_owned());
    text(204, "")
}
