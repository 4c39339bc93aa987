//! Bytes of a part to content and text. Total and linear: what is invalid is skipped, as mail programs do.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

use crate::uuencode;

/// Decodes a transfer encoding; `None` where there is no such encoding.
pub fn transfer<'a>(encoding: Option<&str>, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match encoding.map(encoding_name).as_deref() {
        None | Some("" | "7bit" | "8bit" | "binary") => Some(Cow::Borrowed(body)),
        Some("base64") => Some(Cow::Owned(base64(body))),
        Some("quoted-printable") => Some(Cow::Owned(quoted_printable(body))),
        Some("x-uuencode" | "uuencode" | "x-uue" | "uue") => {
            let text = String::from_utf8_lossy(body);
            let (_, files) = uuencode::split(&text);
            (!files.is_empty()).then(|| Cow::Owned(files.into_iter().flat_map(|file| file.content).collect()))
        }
        Some(_) => None,
    }
}

/// Without the quotes and comments that some writers add: `"base64"`, `base64 (as ever)`.
fn encoding_name(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(text, |(_, rest)| rest);
    let name = text.split(['(', ';']).next().unwrap_or("");
    name.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).to_ascii_lowercase()
}

/// Undoes percent-encoding; what is none stays.
pub fn percent(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// Undoes the percent-encoding of text.
pub fn percent_text(text: &str) -> String {
    String::from_utf8_lossy(&percent(text)).into_owned()
}

/// Joins the folded lines of calendars and contacts and undoes their escapes (RFC 5545 §3.1 and §3.3.11, RFC 6350 §3).
pub fn unfolded(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        match line.strip_prefix([' ', '\t']) {
            Some(rest) if number > 0 => joined.push_str(rest.trim_end_matches('\r')),
            _ => joined.extend([if number > 0 { "\n" } else { "" }, line.trim_end_matches('\r')]),
        }
    }
    let mut plain = String::with_capacity(joined.len());
    let mut chars = joined.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some('n' | 'N')) => plain.push('\n'),
            ('\\', Some(escaped @ (',' | ';' | '\\'))) => plain.push(escaped),
            _ => {
                plain.push(c);
                continue;
            }
        }
        chars.next();
    }
    plain
}

/// Skips what is not of the alphabet; padding ends a group, not the content.
pub fn base64(body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(body.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in body {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            content.push(((bits >> count) & 0xff) as u8);
            bits &= (1 << count) - 1;
        }
    }
    content
}

/// RFC 2045 §6.7: soft line breaks go away, and so does white space at the end of a line.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let has_end = line.ends_with(b"\n");
        let line = line.trim_ascii_end();
        let (line, is_soft) = line.strip_suffix(b"=").map_or((line, false), |rest| (rest, true));
        let mut rest = line;
        while let Some(at) = memchr::memchr(b'=', rest) {
            content.extend_from_slice(&rest[..at]);
            let hex = (rest.get(at + 1).and_then(|b| nibble(*b)), rest.get(at + 2).and_then(|b| nibble(*b)));
            if let (Some(high), Some(low)) = hex {
                content.push(high << 4 | low);
                rest = &rest[at + 3..];
            } else {
                content.push(b'=');
                rest = &rest[at + 1..];
            }
        }
        content.extend_from_slice(rest);
        if has_end && !is_soft {
            content.push(b'\n');
        }
    }
    content
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes text; a byte order mark decides, then the charset that is named, then what the bytes look like.
pub fn text<'a>(bytes: &'a [u8], charset: Option<&str>) -> Cow<'a, str> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(rest);
    }
    let charset = charset.map(|name| name.trim().trim_matches(['"', '\'']).to_ascii_lowercase()).unwrap_or_default();
    for (mark, wide) in [(b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be")] {
        if let Some(rest) = bytes.strip_prefix(mark) {
            let text = named(wide, rest);
            // Browsers obey the mark, mail programs the charset: a mark alone must not hide what these show.
            return if charset.starts_with("utf-16") {
                text
            } else {
                Cow::Owned(format!("{text}\n{}", String::from_utf8_lossy(rest)))
            };
        }
    }
    match charset.as_str() {
        "" | "utf-8" | "utf8" | "us-ascii" | "ascii" | "iso-8859-1" | "windows-1252" | "latin1" => guessed(bytes),
        name => named(name, bytes),
    }
}

fn named<'a>(charset: &str, bytes: &'a [u8]) -> Cow<'a, str> {
    match charset_decoder(charset.as_bytes()) {
        Some(decode) if !charset.is_empty() => Cow::Owned(decode(bytes)),
        _ => guessed(bytes),
    }
}

/// UTF-8 where it is valid, UTF-16 where every second byte is zero, else Windows-1252.
fn guessed(bytes: &[u8]) -> Cow<'_, str> {
    let zeros = |first: usize| bytes.iter().skip(first).step_by(2).take(256).filter(|byte| **byte == 0).count();
    let most = bytes.len().min(512) / 2 * 3 / 4;
    if most >= 4 && zeros(1) >= most {
        return named("utf-16le", bytes);
    }
    if most >= 4 && zeros(0) >= most {
        return named("utf-16be", bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    match charset_decoder(b"windows-1252") {
        Some(decode) => Cow::Owned(decode(bytes)),
        None => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_encodings_are_undone_and_garbage_is_skipped() {
        let check = |encoding: &str, body: &str, expected: &str| {
            assert_eq!(
                String::from_utf8_lossy(&transfer(Some(encoding), body.as_bytes()).unwrap()),
                expected,
                "{body}"
            );
        };
        check("base64", "aHR0cDov\r\nL2V2aWwu!!ZXhhbXBsZQ==", "http://evil.example");
        check("BASE64", "YQ==YQ==", "aa");
        check("base64", "YWJj\nZA", "abcd");
        check("quoted-printable", "http://ev=\r\nil.example/?a=3D1 \r\nend", "http://evil.example/?a=1\nend");
        check("quoted-printable", "a=zz=4", "a=zz=4");
        check("quoted-printable", "a=  \r\nb", "ab");
        check("\"base64\"", "YQ==", "a");
        check("base64 (as ever)", "YQ==", "a");
        check("(as ever) Base64;", "YQ==", "a");
        check("x-uuencode", "begin 644 a\n#0V%T\n`\nend\n", "Cat");
        assert_eq!(transfer(Some("x-uuencode"), b"begin"), None);
        assert_eq!(transfer(Some("x-unheard-of"), b""), None);
    }

    #[test]
    fn percents_are_undone() {
        let check = |text: &str, expected: &str| assert_eq!(percent_text(text), expected, "{text}");
        check("a%40b%C3%A9", "a@bé");
        check("100%%4%zz%", "100%%4%zz%");
        check("%ff", "\u{fffd}");
        check("", "");
    }

    #[test]
    fn calendar_lines_are_unfolded() {
        let check = |text: &str, expected: &str| assert_eq!(unfolded(text), expected, "{text:?}");
        check("A:http://ev\r\n il.example\r\nB:c", "A:http://evil.example\nB:c");
        check("A:b\n\tc\n  d", "A:bc d");
        check("A:one\\ntwo\\, three\\; \\\\n\\x\\", "A:one\ntwo, three; \\n\\x\\");
        check(" a", " a");
        check("", "");
    }

    #[test]
    fn text_is_read_in_its_charset() {
        let check = |bytes: &[u8], charset: Option<&str>, expected: &str| assert_eq!(text(bytes, charset), expected);
        check(b"\xff\xfea\0b\0", Some("UTF-16"), "ab");
        check(b"\xff\xfea\0", None, "a\na\0");
        check(b"a\0b\0c\0d\0e\0f\0g\0h\0i\0j\0k\0l\0", Some("utf-8"), "abcdefghijkl");
        check(b"Gr\xfc\xdfe", Some("iso-8859-1"), "Grüße");
        check("Grüße".as_bytes(), Some("iso-8859-1"), "Grüße");
        check(b"\xcf\xf0", Some("windows-1251"), "Пр");
        check(b"ok \xff", Some("no-such-charset"), "ok ÿ");
        check(b"", Some(""), "");
    }
}
