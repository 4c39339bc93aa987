//! Evidence that is no mail: alerts, feeds and whatever else, read as text.

use ioc::ObservableType;
use serde_json::Value;

use crate::{collect::Collector, decode, limits};

/// Bytes of text that are read at once, so that memory does not grow with what one text holds.
const SLICE_BYTES: usize = 1024 * 1024;

/// Reads JSON by its strings, everything else as it stands.
pub fn read(content: &[u8], collector: &mut Collector<'_>) {
    let content = crate::first(content, limits::READ_BYTES, "text", collector);
    let text = decode::text(content, None);
    if text.trim().is_empty() {
        collector.omit("text", "empty");
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => {
            let mut strings = String::new();
            join(&value, &mut strings);
            add(&strings, "text", collector);
        }
        Err(_) => add(&text, "text", collector),
    }
}

/// Every string of a JSON document, a line each, with its escapes undone. The reader of the JSON bounds its depth.
fn join(value: &Value, strings: &mut String) {
    match value {
        Value::String(text) => {
            strings.push_str(text);
            strings.push('\n');
        }
        Value::Array(values) => values.iter().for_each(|value| join(value, strings)),
        Value::Object(values) => values.iter().for_each(|(key, value)| {
            strings.push_str(key);
            strings.push('\n');
            join(value, strings);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Notes everything that a text of any length holds.
pub fn add(text: &str, place: &str, collector: &mut Collector<'_>) {
    for slice in Slices(text) {
        collector.add_text(slice, place);
    }
}

/// Notes the URLs of scripts and style sheets. Only URLs: `location.name` is no domain there.
pub fn add_code(code: &str, place: &str, collector: &mut Collector<'_>) {
    for slice in Slices(code) {
        for observable in ioc::extract(&slice.replace("\\/", "/")) {
            if observable.kind() == ObservableType::Url {
                collector.add_with_host(observable, place);
            }
        }
    }
}

/// A text in pieces, cut where no observable lies.
struct Slices<'a>(&'a str);

impl<'a> Iterator for Slices<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let cut = if self.0.len() > SLICE_BYTES {
            let window = &self.0.as_bytes()[..SLICE_BYTES];
            memchr::memrchr2(b'\n', b' ', window).map_or_else(|| self.0.floor_char_boundary(SLICE_BYTES), |at| at + 1)
        } else {
            self.0.len()
        };
        let (slice, rest) = self.0.split_at(cut);
        self.0 = rest;
        (!slice.is_empty()).then_some(slice)
    }
}
