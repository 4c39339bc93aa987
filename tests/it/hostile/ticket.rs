//! Jira, GitHub and Slack: what the shipped manifests send, read as each of them reads it.

use std::{cell::RefCell, time::Duration};

use playbook::{
    bundle::Bundle,
    fakes::{CountingEntropy, MemoryRows, MemorySecrets, StoppedClock},
    lookup::{Answer, CallError, Request},
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Nameserver},
    target::Target,
    ticket::{Story, Text},
};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;
use targets::ticket::{Aim, World, reach};
use xtask::{project::Project, stand_in::tickets::Tickets};

use super::{
    check_dead, payloads,
    places::{Scene, Scenes},
};

const SYSTEMS: [&str; 3] = ["github", "jira", "slack"];

/// Answers as the systems do, and keeps what they are sent.
#[derive(Default)]
struct Kept {
    systems: Tickets,
    bodies: RefCell<Vec<(String, Value)>>,
}

impl Egress for Kept {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", request.url.path());
        if let Ok(body) = serde_json::from_slice(&request.body) {
            self.bodies.borrow_mut().push((to.host.to_owned(), body));
        }
        let answer = self.systems.answer(to.host, request.method.as_str(), &path, &request.headers, &request.body);
        answer.ok_or_else(|| CallError::Unreachable("no such host".to_owned()))
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}

fn bundle(project: &Project) -> Bundle {
    let mut bundle = xtask::config::load(project, None).unwrap();
    bundle.targets.retain(|id, _| SYSTEMS.contains(&id.as_str()));
    bundle.targets.values_mut().for_each(|target: &mut Target| target.enabled = true);
    bundle.policy.enforce.targets.clear();
    bundle
}

/// Opens the three tickets, and closes them with another text; what was sent.
async fn sent(bundle: &Bundle, scene: &Scene, payload: &str) -> Vec<(String, Value)> {
    let Scene { incident, assessment, decision, around, .. } = scene;
    let kept = Kept::default();
    let secrets = SYSTEMS.map(|id| (id.to_owned(), "robot:secret".to_owned()));
    let (rows, entropy, secrets) = (MemoryRows::default(), CountingEntropy::default(), MemorySecrets(secrets.into()));
    let clock = StoppedClock::at(assessment.assessed_at);
    let world = World { rows: &rows, clock: &clock, egress: &kept, secrets: &secrets, entropy: &entropy };
    let story = |is_decided: bool| {
        Text::of(&Story {
            incident,
            assessment: Some(assessment),
            decision: is_decided.then_some(decision),
            result: Some(payload),
            failure: Some(payload),
            parents: &around.tickets,
        })
    };
    let told = reach(&world, bundle, &story(false), Aim::Open).await;
    told.unwrap_or_else(|fault| panic!("{payload:?}: {fault}"));
    let told = reach(&world, bundle, &story(true), Aim::Close).await;
    told.unwrap_or_else(|fault| panic!("{payload:?}: {fault}"));
    kept.bodies.into_inner()
}

#[tokio::test]
async fn no_ticket_holds_a_link_a_mention_or_markup() {
    let (scenes, bundle) = (Scenes::new(), bundle(&Project::find().unwrap()));
    let payloads = payloads();
    for payload in &payloads {
        let payload = payload.text.as_str();
        let mut written = [0; 3];
        for (host, body) in sent(&bundle, &scenes.with(payload), payload).await {
            let read = match host.as_str() {
                "api.github.com" if body.get("body").is_some() => (0, github(&body)),
                "jira.corp.example" if body.pointer("/fields/description").is_some() => (1, jira(&body)),
                "slack.com" => (2, slack(&body)),
                // Queries and transitions hold ids and words of ours.
                _ => continue,
            };
            let (system, texts) = read;
            written[system] += 1;
            for text in texts.unwrap_or_else(|found| panic!("{payload:?} in {host}: {found}")) {
                check_dead(&host, payload, &text);
            }
        }
        assert!(written.iter().all(|count| *count > 0), "{payload:?}: {written:?}");
    }
    println!("tickets of 3 systems: {} payloads × {} places", payloads.len(), scenes.count());
}

/// A title's and a body's text, if GitHub reads nothing in the title and one block of code in the body.
fn github(body: &Value) -> Result<Vec<String>, String> {
    let (title, markdown) = (text(body, "/title"), text(body, "/body"));
    bare_title(&title)?;
    Ok(vec![title, one_code_block(&markdown)?])
}

/// The text of a document that is one code block and nothing else.
fn one_code_block(markdown: &str) -> Result<String, String> {
    let mut code = String::new();
    let mut is_open = None;
    for event in Parser::new_ext(markdown, Options::all()) {
        match (event, is_open) {
            (Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))), None) if info.is_empty() => {
                is_open = Some(true);
            }
            (Event::Text(text), Some(true)) => code.push_str(&text),
            (Event::End(TagEnd::CodeBlock), Some(true)) => is_open = Some(false),
            (other, _) => return Err(format!("{other:?}")),
        }
    }
    if is_open == Some(false) { Ok(code) } else { Err("no block".to_owned()) }
}

/// In titles GitHub reads code and names of emoji, and resolves no reference.
fn bare_title(title: &str) -> Result<(), String> {
    let has_code = Parser::new(title).any(|event| matches!(event, Event::Code(_)));
    let between: Vec<&str> = title.split(':').skip(1).collect();
    let names = between.split_last().map_or(&[][..], |(_, names)| names);
    let has_emoji = names.iter().any(|name| emojis::get_by_shortcode(name).is_some());
    if has_code || has_emoji { Err(format!("markup in the title: {title}")) } else { Ok(()) }
}

/// Summary and description, if the description is one code block of bare text.
fn jira(body: &Value) -> Result<Vec<String>, String> {
    let description = &body["fields"]["description"];
    let code = one_child(description, "doc")?;
    let bare = one_child(code, "codeBlock")?;
    if bare["type"] != "text" || bare.as_object().is_none_or(|members| members.len() != 2) {
        return Err(format!("no bare text: {bare}"));
    }
    Ok(vec![text(body, "/fields/summary"), text(bare, "/text")])
}

fn one_child<'a>(node: &'a Value, kind: &str) -> Result<&'a Value, String> {
    match node["content"].as_array().map(Vec::as_slice) {
        Some([child]) if node["type"] == kind => Ok(child),
        _ => Err(format!("no {kind} with one child: {node}")),
    }
}

/// The text of each block, if all of it is plain; the text for notifications holds words of ours.
fn slack(body: &Value) -> Result<Vec<String>, String> {
    let notified = text(body, "/text");
    let is_ours = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | ':' | '-');
    if !notified.chars().all(is_ours) || body["link_names"] == true || body.get("attachments").is_some() {
        return Err(format!("what is notified can be read as mrkdwn: {notified}"));
    }
    let mut texts = vec![notified];
    for block in body["blocks"].as_array().into_iter().flatten() {
        let is_plain = block["type"] == "section" && block["text"]["type"] == "plain_text";
        if !is_plain || block["text"]["emoji"] != false || block.as_object().is_none_or(|block| block.len() != 2) {
            return Err(format!("no plain text: {block}"));
        }
        texts.push(text(block, "/text/text"));
    }
    Ok(texts)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn markdown_that_leaves_its_block_is_found() {
        assert_eq!(one_code_block("````\n```\n@octocat #1\n````"), Ok("```\n@octocat #1\n".to_owned()));
        for markdown in
            ["@octocat", "```\nx\n```\n![](https://evil.example/x)", "```js\nx\n```", "> ```\n> x\n> ```", "```x"]
        {
            assert!(one_code_block(markdown).is_err(), "{markdown}");
        }
        let issue = |title: &str| json!({ "title": title, "body": "```\nx\n```" });
        assert!(github(&issue("[HIGH] hxxps://evil[.]example/: malicious (inc-1)")).is_ok());
        assert!(github(&issue("a `b` c")).is_err() && github(&issue("x :skull: y")).is_err());
    }

    #[test]
    fn a_node_that_is_no_bare_text_is_found() {
        let issue = |node: Value| {
            let block = json!({ "type": "codeBlock", "content": [node] });
            json!({ "fields": { "summary": "x", "description": { "type": "doc", "version": 1, "content": [block] } } })
        };
        assert!(jira(&issue(json!({ "type": "text", "text": "x" }))).is_ok());
        assert!(jira(&issue(json!({ "type": "text", "text": "x", "marks": [{ "type": "link" }] }))).is_err());
        assert!(jira(&issue(json!({ "type": "mention", "attrs": { "id": "5b10" } }))).is_err());
    }

    #[test]
    fn a_block_that_is_not_plain_is_found() {
        let message = |text: &str, kind: &str, emoji: bool| json!({ "text": text, "blocks": [{ "type": "section", "text": { "type": kind, "text": "x", "emoji": emoji } }] });
        assert!(slack(&message("HIGH: inc-1 is malicious", "plain_text", false)).is_ok());
        assert!(slack(&message("HIGH: inc-1 is malicious", "mrkdwn", false)).is_err());
        assert!(slack(&message("HIGH: inc-1 is malicious", "plain_text", true)).is_err());
        assert!(slack(&message("<!channel>", "plain_text", false)).is_err());
    }
}
