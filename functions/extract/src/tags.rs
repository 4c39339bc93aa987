//! HTML as a run of tags and texts (WHATWG HTML §13.2.5), without a tree.
//!
//! A tree costs quadratic time on hostile nesting, and so does every tokenizer that compares a tag's attributes with
//! each other. This one looks at each byte a constant number of times.

use memchr::{memchr, memmem};

/// Attributes of one tag that are kept.
const ATTRIBUTES: usize = 64;
/// Bytes of a quoted value whose quote never closes.
const UNCLOSED_BYTES: usize = 2048;

/// A piece of HTML. Entities are not decoded yet.
#[derive(Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Text between tags.
    Text(&'a str),
    /// A start tag with its attributes, in the order of the source.
    Open(&'a str, Vec<(&'a str, &'a str)>),
    /// An end tag.
    Close(&'a str),
    /// A comment's content.
    Comment(&'a str),
    /// What a script or a style sheet holds.
    Code(&'a str),
}

/// Splits HTML into tokens.
#[derive(Debug)]
pub struct Tokens<'a> {
    html: &'a str,
    at: usize,
    /// The element whose content is no HTML, right after its start tag.
    raw: Option<&'a str>,
    /// Tags whose attributes were not all kept.
    pub crowded: usize,
}

impl<'a> Tokens<'a> {
    /// From the start of `html`.
    pub const fn of(html: &'a str) -> Self {
        Self { html, at: 0, raw: None, crowded: 0 }
    }

    fn byte(&self, at: usize) -> u8 {
        self.html.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn piece(&self, start: usize, end: usize) -> &'a str {
        self.html.get(start..end).unwrap_or("")
    }

    fn seek(&self, byte: u8, from: usize) -> usize {
        let rest = self.html.as_bytes().get(from..).unwrap_or_default();
        memchr(byte, rest).map_or(self.html.len(), |step| from + step)
    }

    fn pass(&self, mut at: usize, accept: impl Fn(u8) -> bool) -> usize {
        while at < self.html.len() && accept(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// Everything up to the end tag of a raw element.
    fn raw_content(&mut self, name: &'a str) -> Token<'a> {
        let start = self.at;
        let mut end = start;
        loop {
            end = self.seek(b'<', end);
            let after = end + 2 + name.len();
            let is_end = self.byte(end + 1) == b'/'
                && self
                    .html
                    .as_bytes()
                    .get(end + 2..after)
                    .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
                && (after == self.html.len()
                    || matches!(self.byte(after), b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c'));
            if is_end || end >= self.html.len() {
                break;
            }
            end += 1;
        }
        self.at = end;
        let content = self.piece(start, end);
        if name.eq_ignore_ascii_case("script") || name.eq_ignore_ascii_case("style") {
            Token::Code(content)
        } else {
            Token::Text(content)
        }
    }

    /// A comment, a doctype, or what is treated as a comment.
    fn markup(&mut self, start: usize) -> Token<'a> {
        if self.piece(start, start + 4) != "<!--" {
            let end = self.seek(b'>', start);
            self.at = end + 1;
            return Token::Comment(self.piece(start + 2, end));
        }
        let rest = self.html.as_bytes().get(start + 2..).unwrap_or_default();
        // `<!-->` is a comment too: its dashes may be those that open it.
        let closed = memmem::find(rest, b"-->").map_or(self.html.len(), |step| start + 2 + step);
        let banged = memmem::find(&rest[..(closed - start - 2).min(rest.len())], b"--!>").map(|step| start + 2 + step);
        self.at = banged.map_or(closed + 3, |at| at + 4).min(self.html.len());
        Token::Comment(self.piece((start + 4).min(banged.unwrap_or(closed)), banged.unwrap_or(closed)))
    }

    fn tag(&mut self, start: usize) -> Token<'a> {
        let is_end = self.byte(start + 1) == b'/';
        let name_start = start + 1 + usize::from(is_end);
        let name_end = self.pass(name_start, |b| !is_space(b) && b != b'/' && b != b'>');
        let name = self.piece(name_start, name_end);
        let mut attributes = vec![];
        let mut at = name_end;
        let mut count = 0;
        loop {
            at = self.pass(at, |b| is_space(b) || b == b'/');
            if at >= self.html.len() || self.byte(at) == b'>' {
                break;
            }
            let (attribute, end) = self.attribute(at);
            at = end;
            count += 1;
            if count <= ATTRIBUTES && !is_end {
                attributes.push(attribute);
            }
        }
        self.at = (at + 1).min(self.html.len());
        if is_end {
            return Token::Close(name);
        }
        self.crowded += usize::from(count > ATTRIBUTES);
        self.raw = is_raw(name).then_some(name);
        Token::Open(name, attributes)
    }

    /// An attribute that starts at `start`, and where it ends.
    fn attribute(&self, start: usize) -> ((&'a str, &'a str), usize) {
        // An equals sign may start a name, but not end it there.
        let name_end = self.pass(start + 1, |b| !is_space(b) && !matches!(b, b'/' | b'>' | b'='));
        let name = self.piece(start, name_end);
        let sign = self.pass(name_end, is_space);
        if self.byte(sign) != b'=' {
            return ((name, ""), name_end);
        }
        let value_start = self.pass(sign + 1, is_space);
        let quote = self.byte(value_start);
        if quote == b'"' || quote == b'\'' {
            let end = self.seek(quote, value_start + 1);
            let value = self.piece(value_start + 1, end);
            if end < self.html.len() {
                return ((name, value), end + 1);
            }
            // Cut off in the middle: what comes before the next tag or word is still worth a look.
            let stop =
                value.find([' ', '\n', '<', '>']).unwrap_or(value.len()).min(value.floor_char_boundary(UNCLOSED_BYTES));
            return ((name, value.get(..stop).unwrap_or("")), end);
        }
        let end = self.pass(value_start, |b| !is_space(b) && b != b'>');
        ((name, self.piece(value_start, end)), end.max(value_start))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(name) = self.raw.take() {
            return Some(self.raw_content(name));
        }
        let start = self.at;
        if start >= self.html.len() {
            return None;
        }
        if self.byte(start) == b'<' {
            match self.byte(start + 1) {
                b'!' | b'?' => return Some(self.markup(start)),
                b'/' if self.byte(start + 2).is_ascii_alphabetic() => return Some(self.tag(start)),
                b'/' => {
                    let end = self.seek(b'>', start);
                    self.at = end + 1;
                    return Some(Token::Comment(self.piece(start + 2, end)));
                }
                byte if byte.is_ascii_alphabetic() => return Some(self.tag(start)),
                _ => {}
            }
        }
        let end = self.seek(b'<', start + 1);
        self.at = end;
        Some(Token::Text(self.piece(start, end)))
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

fn is_raw(name: &str) -> bool {
    ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"]
        .iter()
        .any(|raw| name.eq_ignore_ascii_case(raw))
}

/// Decodes entities: named with their semicolon, numeric with or without, and the four oldest without.
pub fn decode_entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        decoded.push_str(&rest[..at]);
        let entity = &rest[at..];
        let length = entity_length(entity);
        if length > 1 {
            let spelled = entity[..length].trim_end_matches(';');
            mail_parser::decoders::html::add_html_token(&mut decoded, format!("{spelled};").as_bytes(), false);
        } else {
            decoded.push('&');
        }
        rest = &entity[length..];
    }
    decoded.push_str(rest);
    decoded
}

/// How long the entity is that `text` begins with; 1 where it is only an ampersand.
fn entity_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    if byte(1) == b'#' {
        let is_hex = matches!(byte(2), b'x' | b'X');
        let start = if is_hex { 3 } else { 2 };
        let digits = bytes
            .iter()
            .skip(start)
            .take_while(|b| if is_hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() })
            .count();
        return if digits == 0 { 1 } else { start + digits + usize::from(byte(start + digits) == b';') };
    }
    let letters = bytes.iter().skip(1).take(32).take_while(|b| b.is_ascii_alphanumeric()).count();
    if letters > 0 && byte(1 + letters) == b';' {
        return letters + 2;
    }
    // `&lt` counts without its semicolon, but not in `?a=1&lt=2`.
    let old = ["amp", "lt", "gt", "quot"].into_iter().find(|name| letters == name.len() && text[1..].starts_with(name));
    old.filter(|name| byte(1 + name.len()) != b'=').map_or(1, |name| 1 + name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &[Token<'_>]) {
        assert_eq!(Tokens::of(html).collect::<Vec<_>>(), expected, "{html}");
    }

    #[test]
    fn html_falls_into_tags_and_texts() {
        use Token::{Close, Code, Comment, Open, Text};
        check("a<b>c</b>", &[Text("a"), Open("b", vec![]), Text("c"), Close("b")]);
        check("<A HREF=x y='>' z = \"1\"/>", &[Open("A", vec![("HREF", "x"), ("y", ">"), ("z", "1")])]);
        check("<a href=http://a.example/>x", &[Open("a", vec![("href", "http://a.example/")]), Text("x")]);
        check("1 < 2 <3", &[Text("1 "), Text("< 2 "), Text("<3")]);
        check(
            "<!-- a --><!--><!doctype html><?x?></ y>b",
            &[
                Comment(" a "),
                Comment(""),
                Comment("doctype html"),
                Comment("?x?".trim_start_matches('?')),
                Comment(" y"),
                Text("b"),
            ],
        );
        check(
            "<script>a<b>\"</scripty></SCRIPT >c",
            &[Open("script", vec![]), Code("a<b>\"</scripty>"), Close("SCRIPT"), Text("c")],
        );
        check("<style>a", &[Open("style", vec![]), Code("a")]);
        check("<a href=\"http://a.example/b c", &[Open("a", vec![("href", "http://a.example/b")])]);
        check("<a =x", &[Open("a", vec![("=x", "")])]);
        check("<", &[Text("<")]);
        check("<a", &[Open("a", vec![])]);
        check("", &[]);
    }

    #[test]
    fn entities_are_decoded() {
        let check = |text: &str, expected: &str| assert_eq!(decode_entities(text), expected, "{text}");
        check("a&amp;b&amp;amp;c", "a&b&amp;c");
        check("http&colon;&sol;&sol;a&period;example&#47&#x2f;&#x;", "http://a.example//&#x;");
        check("?a=1&lt=2&copy=3&unknown;&", "?a=1&lt=2&copy=3&unknown;&");
        check("&lt b &#0; &#xffffffff;", "< b \0 \u{fffd}");
        check("&", "&");
        check("&é;", "&é;");
    }
}
