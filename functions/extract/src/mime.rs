//! The structure of a mail: where headers end, and where the parts of a multipart lie. Linear, without copies.
//!
//! Ours, because a parser that builds the whole tree first cannot be told when to stop.

use memchr::{memchr, memmem};

use crate::limits;

/// Headers of which every mail has at least one.
const KNOWN: [&str; 17] = [
    "from",
    "to",
    "cc",
    "reply-to",
    "subject",
    "date",
    "received",
    "return-path",
    "delivered-to",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "sender",
    "x-original-to",
];

/// Headers and body of a mail or a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entity<'a> {
    /// The header lines, with the blank line; empty where there are none.
    pub headers: &'a [u8],
    /// Everything after the blank line.
    pub body: &'a [u8],
}

impl<'a> Entity<'a> {
    /// Splits a part. What does not begin with a header is all body.
    pub fn of(raw: &'a [u8]) -> Self {
        let (mut at, mut junk) = (0, None);
        while at < raw.len() {
            let end = line_end(raw, at);
            let line = &raw[at..end];
            if line.trim_ascii().is_empty() && !(line.len() > 2 && is_header(&raw[end..])) {
                return Self { headers: &raw[..end], body: &raw[end..] };
            }
            let is_continued = at > 0 && (line[0] == b' ' || line[0] == b'\t');
            if !is_continued && !is_header(line) {
                if at == 0 {
                    break;
                }
                junk.get_or_insert(at);
            }
            at = end;
        }
        // No blank line ends the headers: the first line that is none begins the body.
        let end = junk.unwrap_or(at);
        Self { headers: &raw[..end], body: &raw[end..] }
    }

    /// Splits a whole mail: blank lines, a byte order mark or an mbox `From ` line may stand before it. Without any header
    /// that mails have, such as `Subject`, it is a plain text, whatever colons its lines hold.
    pub fn of_mail(raw: &'a [u8]) -> Self {
        let mut raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw).trim_ascii_start();
        if raw.starts_with(b"From ") || raw.starts_with(b">From ") {
            raw = &raw[line_end(raw, 0)..];
        }
        let entity = Self::of(raw);
        if entity.headers.split(|byte| *byte == b'\n').any(is_known) {
            entity
        } else {
            Self { headers: &[], body: raw }
        }
    }

    /// Lines among the first headers that are none: mail programs differ on whether they are shown.
    pub fn stray_lines(&self) -> impl Iterator<Item = &'a [u8]> {
        let first = &self.headers[..self.headers.len().min(limits::HEADER_BYTES)];
        first
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty() && !matches!(line[0], b' ' | b'\t' | b'\r') && !is_header(line))
    }

    /// The fields that matter, those on the content first, so that no heap of other fields hides them.
    pub fn relevant_headers(&self) -> Vec<u8> {
        let mut fields: Vec<&[u8]> = vec![];
        let mut at = 0;
        while at < self.headers.len() {
            let start = at;
            at = line_end(self.headers, at);
            while matches!(self.headers.get(at), Some(b' ' | b'\t')) {
                at = line_end(self.headers, at);
            }
            if is_known(&self.headers[start..at]) {
                fields.push(&self.headers[start..at]);
            }
        }
        fields.sort_by_key(|field| !field[..field.len().min(8)].eq_ignore_ascii_case(b"content-"));
        fields.concat()
    }
}

/// True for a field of which every mail has one, or that is read.
fn is_known(line: &[u8]) -> bool {
    let name = line[..memchr(b':', line).unwrap_or(0)].trim_ascii_end();
    KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// A field name, a colon: RFC 5322 §2.2, and white space before the colon (§4.5). A URL is none.
fn is_header(line: &[u8]) -> bool {
    let Some(colon) = memchr(b':', &line[..line.len().min(200)]) else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && !line[colon..].starts_with(b"://") && name.iter().all(|byte| (33..=126).contains(byte))
}

fn line_end(raw: &[u8], at: usize) -> usize {
    memchr(b'\n', &raw[at..]).map_or(raw.len(), |step| at + step + 1)
}

/// A piece of a multipart body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Before the first or after the last boundary: mail programs do not show it.
    Outside(&'a [u8]),
    /// A part.
    Part(&'a [u8]),
}

/// The pieces of a multipart body (RFC 2046 §5.1.1), one after the other; a missing last boundary ends with the body.
#[derive(Debug)]
pub struct Pieces<'a> {
    body: &'a [u8],
    delimiter: memmem::Finder<'static>,
    at: usize,
    is_inside: bool,
    is_done: bool,
}

impl<'a> Pieces<'a> {
    /// `None` where the boundary does not occur.
    pub fn of(body: &'a [u8], boundary: &str) -> Option<Self> {
        let delimiter = memmem::Finder::new(format!("--{}", boundary.trim_end()).as_bytes()).into_owned();
        let pieces = Self { body, delimiter, at: 0, is_inside: false, is_done: boundary.is_empty() };
        (!pieces.is_done && pieces.next_delimiter(0).is_some()).then_some(pieces)
    }

    /// Start of the delimiter, end of its line, and whether it is the last.
    fn next_delimiter(&self, from: usize) -> Option<(usize, usize, bool)> {
        let mut from = from;
        loop {
            let start = from + self.delimiter.find(&self.body[from..])?;
            let after = start + self.delimiter.needle().len();
            let end = line_end(self.body, after);
            let rest = &self.body[after..end];
            let is_last = rest.starts_with(b"--");
            let starts_line = start == 0 || self.body[start - 1] == b'\n';
            if starts_line && (is_last || rest.trim_ascii().is_empty()) {
                return Some((start, end, is_last));
            }
            from = after;
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.is_done {
            return None;
        }
        let start = self.at;
        let was_inside = self.is_inside;
        let end = if let Some((found, end, is_last)) = self.next_delimiter(start) {
            self.at = end;
            self.is_inside = !is_last;
            // The line break before a delimiter belongs to it.
            let end = found.saturating_sub(1).max(start);
            if end > start && self.body[end - 1] == b'\r' { end - 1 } else { end }
        } else {
            self.is_done = true;
            self.body.len()
        };
        let piece = &self.body[start..end];
        Some(if was_inside { Piece::Part(piece) } else { Piece::Outside(piece) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_at_the_first_blank_line() {
        let check = |raw: &str, headers: &str, body: &str| {
            let entity = Entity::of_mail(raw.as_bytes());
            assert_eq!((entity.headers, entity.body), (headers.as_bytes(), body.as_bytes()), "{raw:?}");
        };
        check("To: b\r\n c\r\n\r\nbody\r\n", "To: b\r\n c\r\n\r\n", "body\r\n");
        check("\n\nTo: b\n\nbody", "To: b\n\n", "body");
        check("From x Mon\nTo: b\n\nbody", "To: b\n\n", "body");
        check("just text http://a.example\n\nmore", "", "just text http://a.example\n\nmore");
        check("To: b\nno colon here\n", "To: b\n", "no colon here\n");
        check("To: b\nno colon here\n\nbody", "To: b\nno colon here\n\n", "body");
        check("To: b\n   \nB: c\n\nbody", "To: b\n   \nB: c\n\n", "body");
        check("To: b", "To: b", "");
        check("http://a.example/\nTo: b\n\nbody", "", "http://a.example/\nTo: b\n\nbody");
        check("Note: b\n\nbody", "", "Note: b\n\nbody");
        check("", "", "");
    }

    #[test]
    fn the_fields_on_the_content_come_first() {
        let entity = Entity::of(b"X: 1\nTo: a,\n b\nX: 2\n y\nCONTENT-Type: c\nno header\n\nbody");
        assert_eq!(String::from_utf8_lossy(&entity.relevant_headers()), "CONTENT-Type: c\nTo: a,\n b\n");
    }

    #[test]
    fn a_multipart_falls_into_its_parts() {
        let check = |body: &str, expected: &[Piece<'_>]| {
            let found: Vec<Piece<'_>> = Pieces::of(body.as_bytes(), "B").into_iter().flatten().collect();
            assert_eq!(found, expected, "{body:?}");
        };
        let (part, outside) =
            (|text: &'static str| Piece::Part(text.as_bytes()), |text: &'static str| Piece::Outside(text.as_bytes()));
        check(
            "pre\r\n--B\r\none\r\n--B \r\n\r\ntwo\r\n--B--\r\npost",
            &[outside("pre"), part("one"), part("\r\ntwo"), outside("post")],
        );
        check("--B\none", &[outside(""), part("one")]);
        check("--B\n--B\n--B--", &[outside(""), part(""), part(""), outside("")]);
        check("x --B\n--BC\n", &[]);
        check("", &[]);
    }
}
