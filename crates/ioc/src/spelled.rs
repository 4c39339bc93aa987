//! Dots and at signs that are spelled out between spaces: `name AT evil DOT example`.

use std::borrow::Cow;

use memchr::memmem;

use crate::text::{byte, byte_before, is_label_byte, piece, skip, skip_back};

/// How many spaces may stand on one side of a word.
const SPACES_MAX: usize = 16;

/// The text with such words in brackets, so that refanging undoes them.
///
/// `DOT` counts only after an at sign or beside another one, `AT` only before a dotted name: a shouted sentence has both words.
pub fn bracket_words(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let words: Vec<(usize, bool)> = memmem::find_iter(bytes, " DOT ")
        .map(|at| (at, true))
        .chain(memmem::find_iter(bytes, " AT ").map(|at| (at, false)))
        .chain(memmem::find_iter(bytes, " At ").map(|at| (at, false)))
        .collect();
    if words.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut words = words;
    words.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (index, (at, is_dot)) in words.iter().copied().enumerate() {
        let word_end = at + if is_dot { 4 } else { 3 };
        let before = skip_back(text, at, copied, |b| b == b' ');
        let after = skip(text, word_end, SPACES_MAX, |b| b == b' ');
        let label_end = skip(text, after, 64, is_label_byte);
        let next_is_dot = words
            .get(index + 1)
            .is_some_and(|(next, is_dot)| *is_dot && label_end == skip_back(text, *next, copied, |b| b == b' '));
        let is_meant = if is_dot {
            let word_start = skip_back(text, before, copied, |b| is_label_byte(b) || b == b'.' || b == b'@');
            next_is_dot || piece(text, word_start, before).contains('@') || (out.ends_with(']') && copied == word_start)
        } else {
            let name_start = skip_back(text, before, copied, is_label_byte);
            let is_shouted = !piece(text, name_start, before).bytes().any(|b| b.is_ascii_lowercase());
            let is_dotted = byte(text, label_end) == b'.' && is_label_byte(byte(text, label_end + 1));
            next_is_dot || (is_dotted && !is_shouted && piece(text, at, word_end) == " AT")
        };
        if is_meant && before > copied && label_end > after && is_label_byte(byte_before(text, before)) {
            out.push_str(piece(text, copied, before));
            out.push_str(if is_dot { "[.]" } else { "[@]" });
            copied = after;
        }
    }
    out.push_str(piece(text, copied, text.len()));
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::bracket_words;

    fn check(text: &str, expected: &str) {
        assert_eq!(bracket_words(text), expected, "{text:?}");
    }

    #[test]
    fn words_count_only_where_a_name_is_meant() {
        check("user AT evil DOT example", "user[@]evil[.]example");
        check("user@evil DOT example", "user@evil[.]example");
        check("user At mail DOT evil DOT example", "user[@]mail[.]evil[.]example");
        check("user AT evil.example", "user[@]evil.example");
        check("MEET AT NOON. CALL", "MEET AT NOON. CALL");
        check("the DOT com boom", "the DOT com boom");
    }
}
