//! Looking around in a text by byte position, without ever leaving it.

/// The byte at `at`; 0 outside the text.
pub fn byte(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).copied().unwrap_or(0)
}

/// The byte before `at`; 0 at the start.
pub fn byte_before(text: &str, at: usize) -> u8 {
    at.checked_sub(1).map_or(0, |at| byte(text, at))
}

/// The piece of `text` from `start` to `end`; empty where that is no piece.
pub fn piece(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or("")
}

/// The character that starts at `at`.
pub fn char_at(text: &str, at: usize) -> Option<char> {
    match byte(text, at) {
        0 => None,
        b if b.is_ascii() => Some(char::from(b)),
        _ => text.get(at..)?.chars().next(),
    }
}

/// The character that ends just before `at`.
pub fn char_before(text: &str, at: usize) -> Option<char> {
    match byte_before(text, at) {
        0 => None,
        b if b.is_ascii() => Some(char::from(b)),
        _ => text.get(..at)?.chars().next_back(),
    }
}

/// A character that labels of host names are made of.
pub fn is_label_char(c: char) -> bool {
    if c.is_ascii() { is_label_byte(c as u8) } else { c.is_alphanumeric() }
}

/// An ASCII character that labels of host names are made of.
pub fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

/// A letter of a script that is written without spaces, where a name may start or end in mid-word.
pub fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Skips what `accept` takes, from `at` forwards, at most `limit` bytes.
pub fn skip(text: &str, mut at: usize, limit: usize, accept: impl Fn(u8) -> bool) -> usize {
    let end = at.saturating_add(limit);
    while at < end && at < text.len() && accept(byte(text, at)) {
        at += 1;
    }
    at
}

/// Skips what `accept` takes, from `at` backwards, at most down to `floor`.
pub fn skip_back(text: &str, mut at: usize, floor: usize, accept: impl Fn(u8) -> bool) -> usize {
    while at > floor && accept(byte_before(text, at)) {
        at -= 1;
    }
    at
}

/// True when `text` has `word` at `at`, whatever its case.
pub fn has_word(text: &str, at: usize, word: &str) -> bool {
    text.as_bytes().get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}
