//! Text inside text: percent-encoded links, base64 of a link, and the commands that PowerShell takes as base64.

use std::ops::Range;

use data_encoding::{BASE64_NOPAD, Encoding};
use memchr::memmem;

use crate::link;
use crate::text::{byte_before, has_word, piece, skip};
use crate::wrapped::percent_decode;

/// The longest encoded piece that is looked into.
const ENCODED_MAX_BYTES: usize = 64 * 1024;
/// Base64 of `http`, cut where all of its spellings still agree.
const BASE64_HTTP: &str = "aHR0c";

/// Every encoded piece of `text`, decoded; pieces never overlap within their kind, so the sum is linear in the text.
///
/// Links inside one of `links` (ascending) are left out: they are found with the link around them.
pub fn decoded(text: &str, links: &[Range<usize>]) -> Vec<String> {
    let mut pieces = Vec::new();
    for needle in ["%3A%2F%2F", "%3a%2f%2f"] {
        each(text, needle, |at, floor| {
            let start = link::encoded_start(text, at, floor);
            let scheme = piece(text, start, at).to_ascii_lowercase();
            if (scheme.ends_with("http") || scheme.ends_with("https")) && is_within(links, at) {
                return None;
            }
            let end = link::encoded_end(text, start, at);
            pieces.push(percent_decode(piece(text, start, end)));
            Some(start..end)
        });
    }
    each(text, BASE64_HTTP, |at, _| Some(base64_at(text, at, &mut pieces)));
    for needle in ["-e", "-E", "/e", "/E"] {
        each(text, needle, |at, _| Some(base64_at(text, encoded_command(text, at)?, &mut pieces)));
    }
    pieces
}

fn is_within(links: &[Range<usize>], at: usize) -> bool {
    let next = links.partition_point(|link| link.end <= at);
    links.get(next).is_some_and(|link| link.contains(&at))
}

/// Calls `take` on every find, except within what it took before.
fn each(text: &str, needle: &str, mut take: impl FnMut(usize, usize) -> Option<Range<usize>>) {
    let mut floor = 0;
    for at in memmem::find_iter(text.as_bytes(), needle) {
        if at >= floor
            && let Some(taken) = take(at, floor)
        {
            floor = taken.end;
        }
    }
}

/// Where the argument of PowerShell's `-EncodedCommand` starts, however it is shortened, when `at` is that switch.
fn encoded_command(text: &str, at: usize) -> Option<usize> {
    let is_switch = matches!(byte_before(text, at), b' ' | b'\t' | b'"' | b'\'');
    let name_end = skip(text, at + 1, 15, |b| b.is_ascii_alphabetic());
    let name = piece(text, at + 1, name_end);
    let is_encoded = has_word("encodedcommand", 0, name) || name.eq_ignore_ascii_case("ec");
    let start = skip(text, name_end, 8, |b| matches!(b, b' ' | b'"' | b'\'' | b'\\'));
    (is_switch && is_encoded && start > name_end).then_some(start)
}

/// Decodes the base64 that starts at `start`, when it holds text; where it stood, in any case.
fn base64_at(text: &str, start: usize, pieces: &mut Vec<String>) -> Range<usize> {
    let end =
        skip(text, start, ENCODED_MAX_BYTES, |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'));
    pieces.extend(base64(piece(text, start, end)).and_then(|bytes| text_of(&bytes)).filter(|text| !text.is_empty()));
    start..end
}

/// Base64 or base64url, padded or not; a rest of one character is left off.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let whole = if text.len() % 4 == 1 { text.get(..text.len() - 1)? } else { text };
    let plain: Vec<u8> = whole
        .bytes()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            _ => b,
        })
        .collect();
    // The last bits of a text that was cut off are not zero.
    decode_lenient(&BASE64_NOPAD, &plain)
}

fn decode_lenient(encoding: &Encoding, text: &[u8]) -> Option<Vec<u8>> {
    encoding.decode(text).ok().or_else(|| encoding.decode(text.get(..text.len() / 4 * 4)?).ok())
}

/// UTF-16LE when every second byte is zero, as PowerShell has it; else UTF-8.
fn text_of(bytes: &[u8]) -> Option<String> {
    let pairs = || bytes.chunks_exact(2);
    let wide = pairs().filter(|pair| pair.last() == Some(&0)).count();
    if wide > 0 && wide * 2 > pairs().len() {
        let units = pairs().map(|pair| pair.iter().rev().fold(0_u16, |unit, b| unit << 8 | u16::from(*b)));
        return Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect());
    }
    // A text that was cut in the middle of a character is still a text.
    match str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(error) => {
            str::from_utf8(bytes.get(..error.valid_up_to())?).ok().filter(|text| text.len() >= 12).map(str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(decoded(text, &[]), expected, "{text:?}");
    }

    #[test]
    fn encoded_text_is_looked_into() {
        check("target=\"http%3A%2F%2Fevil%2Eexample%2Fa\"", &["http://evil.example/a"]);
        check("%68%74%74%70%73%3A%2F%2Fevil.example%2Fa", &["https://evil.example/a"]);
        check("x=http%3A%2F%2Fevil.example%2Fa!*'(1)b", &["http://evil.example/a!*'(1)b"]);
        check("('http%3A%2F%2Fevil.example%2Fa')", &["http://evil.example/a"]);
        check("x aHR0cDovL2V2aWwuZXhhbXBsZS9h y", &["http://evil.example/a"]);
        check("powershell -nop -enc aQBlAHgAIAAxAA==", &["iex 1"]);
        check("powershell -EncodedCommand \"aQBlAHgAIAAxAA==\"", &["iex 1"]);
    }

    #[test]
    fn other_switches_are_left_alone() {
        check("pre-encoded aQBlAHgAIAAxAA==", &[]);
        check("find -exec aQBlAHgAIAAxAA==", &[]);
        check(" -e !", &[]);
    }
}
