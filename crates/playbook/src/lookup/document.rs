//! The document of an answer, where it is one that can be held in memory.

use serde_json::Value;

/// The most values that are read; a value takes many times the bytes that it is written with.
pub(super) const VALUES_MAX: usize = 100_000;

/// Reads JSON; `None` where it is none, is nested deeper than 128, or holds too many values.
pub(super) fn read(body: &[u8]) -> Option<Value> {
    if values(body) > VALUES_MAX { None } else { serde_json::from_slice(body).ok() }
}

/// How many values a document has at most: one behind every comma, colon and opening bracket.
fn values(body: &[u8]) -> usize {
    let (mut values, mut is_text, mut is_escaped) = (1_usize, false, false);
    for byte in body {
        match (byte, is_text) {
            (_, true) if is_escaped => is_escaped = false,
            (b'\\', true) => is_escaped = true,
            (b'"', _) => is_text = !is_text,
            (b',' | b'[' | b'{', false) => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_not_read() {
        let list = |length: usize| format!("[{}]", vec!["0"; length].join(",")).into_bytes();
        assert!(read(&list(VALUES_MAX - 2)).is_some());
        assert!(read(&list(VALUES_MAX + 1)).is_none());
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
        assert!(read(&deep(100)).is_some());
        assert!(read(&deep(100_000)).is_none());
        assert_eq!(values(br#"{"a": "[,\"{,\\", "b": [1, 2]}"#), 5);
        assert!(read(format!("\"{}\"", "[,".repeat(VALUES_MAX)).as_bytes()).is_some(), "a text is one value");
    }
}
