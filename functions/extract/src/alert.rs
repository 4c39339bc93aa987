//! An alert or a batch of a feed: what the mapping has named, and then the free texts.

use ioc::Observable;
use playbook::intake::{Alert, Named};
use serde_json::Value;

use crate::{collect::Collector, limits, text};

/// Characters of a place that the source's own words may fill.
const ROLE_CHARS: usize = 40;

/// Reads an `alert/1` document. Anything else is read as text: JSON by its strings; what is broken is noted, and then
/// nobody may say that there was nothing.
pub fn read(content: &[u8], collector: &mut Collector<'_>) {
    let content = crate::first(content, limits::READ_BYTES, "alert", collector);
    if content.trim_ascii().is_empty() {
        collector.lose("alert", "empty");
        return;
    }
    match serde_json::from_slice::<Value>(content) {
        Ok(document) if document.get("schema").and_then(Value::as_str) == Some(Alert::SCHEMA) => {
            match serde_json::from_value::<Alert>(document) {
                Ok(alert) => return named_and_texts(&alert, collector),
                Err(_) => collector.lose("alert", "not what its schema says; read as text"),
            }
        }
        Err(_) if is_garbage(content) => collector.lose("alert", "neither JSON nor text; read as text"),
        Ok(_) | Err(_) => {}
    }
    text::read(content, collector);
}

/// Whether it was meant to be JSON, or is no text at all.
fn is_garbage(content: &[u8]) -> bool {
    let is_utf16 = content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]);
    content.trim_ascii_start().starts_with(b"{") || (content.contains(&0) && !is_utf16)
}

fn named_and_texts(alert: &Alert, collector: &mut Collector<'_>) {
    collector.set_subject(&alert.title);
    collector.set_tlp(alert.tlp);
    collector.set_was_allowed(alert.was_allowed);
    for named in &alert.observables {
        let place = place(named);
        if let Some(observable) = named.observable() {
            collector.add_with_host(observable, &place);
        } else {
            // It may be written so that nobody can click it.
            text::add(&named.value, &place, collector);
            collector.omit(&place, format!("a value that is no {}; read as text", named.kind));
        }
    }
    text::add(&alert.title, "alert:title", collector);
    for (number, free) in (1..).zip(&alert.texts) {
        text::add(free, &format!("alert:text/{number}"), collector);
    }
    for asset in &alert.assets {
        collector.add_participant(asset);
        // What belongs to us is shown, and nobody is asked about an asset.
        if let Ok(observable) = Observable::parse_any(asset.trim()) {
            collector.add_if_withheld(observable, "alert:asset");
        }
    }
}

/// `alert:<role>`, or `alert:<type>` where the source says no more.
fn place(named: &Named) -> String {
    let spelled: String = named
        .role
        .as_deref()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { ' ' })
        .take(ROLE_CHARS)
        .collect();
    let words: Vec<&str> = spelled.split_whitespace().collect();
    let role = words.join(" ");
    if role.is_empty() { format!("alert:{}", named.kind) } else { format!("alert:{role}") }
}
