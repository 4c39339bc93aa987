//! Slack: messages of one channel. Errors are status 200 with `ok: false`.

use playbook::lookup::Answer;
use serde_json::{Value, json};

use super::{Asked, Issue, text_of};
use crate::stand_in::{document, text};

const CHANNEL: &str = "C0000000000";

pub fn answer(messages: &mut Vec<Issue>, asked: &Asked<'_>) -> Answer {
    if asked.bearer().is_none() {
        return failed("not_authed");
    }
    match (asked.method, asked.path) {
        ("GET", "/api/conversations.history") => history(messages, asked),
        ("POST", "/api/chat.postMessage") => post(messages, asked),
        ("POST", "/api/chat.update") => update(messages, asked),
        _ => text(404, "Not Found"),
    }
}

fn failed(error: &str) -> Answer {
    document(200, &json!({ "ok": false, "error": error }))
}

/// Newest first; metadata only where it is asked for.
fn history(messages: &[Issue], asked: &Asked<'_>) -> Answer {
    if asked.parameter("channel").as_deref() != Some(CHANNEL) {
        return failed("channel_not_found");
    }
    let has_metadata = asked.parameter("include_all_metadata").as_deref() == Some("true");
    let limit = asked.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let shown = messages.iter().rev().take(limit).map(|message| {
        let mut shown = json!({ "type": "message", "ts": message.key, "text": message.title });
        if let (true, [incident, marker]) = (has_metadata, message.labels.as_slice()) {
            let payload = json!({ "incident_id": incident, "marker": marker });
            shown["metadata"] = json!({ "event_type": "ioc_incident", "event_payload": payload });
        }
        shown
    });
    document(200, &json!({ "ok": true, "messages": shown.collect::<Vec<_>>(), "has_more": false }))
}

fn post(messages: &mut Vec<Issue>, asked: &Asked<'_>) -> Answer {
    let ts = format!("{}.000100", 1_700_000_000 + messages.len());
    let mut message = Issue { key: ts.clone(), ..Issue::default() };
    if let Err(error) = set(&mut message, asked) {
        return failed(error);
    }
    messages.push(message);
    document(200, &json!({ "ok": true, "channel": CHANNEL, "ts": ts }))
}

fn update(messages: &mut [Issue], asked: &Asked<'_>) -> Answer {
    let ts = asked.json().map(|body| text_of(&body, "/ts").to_owned()).unwrap_or_default();
    let Some(message) = messages.iter_mut().find(|message| message.key == ts) else {
        return failed("message_not_found");
    };
    if let Err(error) = set(message, asked) {
        return failed(error);
    }
    message.edits += 1;
    document(200, &json!({ "ok": true, "channel": CHANNEL, "ts": ts }))
}

fn set(message: &mut Issue, asked: &Asked<'_>) -> Result<(), &'static str> {
    let body = asked.json().ok_or("invalid_json")?;
    if text_of(&body, "/channel") != CHANNEL {
        return Err("channel_not_found");
    }
    let mut live = vec![];
    let title = text_of(&body, "/text");
    if title.is_empty() {
        return Err("no_text");
    }
    // The text is mrkdwn: <!channel>, <@U…>, <https://…|…>, and what link_names would make a mention.
    if title.contains(['<', '>', '@', '*', '`', '_']) || title.contains("://") || body["link_names"] == true {
        live.push(title.to_owned());
    }
    let blocks = body["blocks"].as_array().filter(|blocks| blocks.len() <= 50).ok_or("invalid_blocks")?;
    let mut told = vec![];
    for block in blocks {
        told.push(read(block, &mut live)?);
    }
    message.text = told.join("\n");
    message.live = live;
    title.clone_into(&mut message.title);
    let metadata = &body["metadata"];
    if !text_of(metadata, "/event_type").is_empty() {
        let part = |pointer: &str| text_of(metadata, pointer).to_owned();
        message.labels = vec![part("/event_payload/incident_id"), part("/event_payload/marker")];
    }
    Ok(())
}

/// A section with its text: 1 to 3,000 characters.
fn read(block: &Value, live: &mut Vec<String>) -> Result<String, &'static str> {
    let told = text_of(block, "/text/text");
    if block["type"] != "section" || told.is_empty() || told.encode_utf16().count() > 3_000 {
        return Err("invalid_blocks");
    }
    match text_of(block, "/text/type") {
        "plain_text" if block["text"]["emoji"] == false => {}
        "plain_text" | "mrkdwn" => live.push(told.to_owned()),
        _ => return Err("invalid_blocks"),
    }
    Ok(told.to_owned())
}
