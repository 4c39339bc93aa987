//! Undoing what people do to indicators so that nobody can click them: `[.]`, `(dot)`, `[at]`, `[:]//`, full-width dots, and kin.

use std::borrow::Cow;

use crate::text::{
    byte, byte_before, char_at, char_before, has_word, is_label_byte, is_label_char, is_unspaced, piece, skip,
    skip_back,
};

/// How many brackets, spaces and backslashes may stand on one side of a defanged character.
const WRAPPING_MAX: usize = 16;
/// How far a bracket's partner is looked for, in bytes.
const PARTNER_MAX: usize = 80;

/// A text without defanging, and where it was.
#[derive(Debug)]
pub struct Refanged<'a> {
    text: Cow<'a, str>,
    /// Positions in `text` of characters that were defanged, ascending.
    marks: Vec<usize>,
    /// The text is a table with commas between its fields.
    is_table: bool,
}

impl<'a> Refanged<'a> {
    /// Undoes every defanging in `text`.
    pub fn new(text: &'a str) -> Self {
        let mut undoing = Undoing { text, copied: 0, out: String::new(), marks: Vec::new() };
        let mut at = 0;
        while let Some(step) = text.as_bytes().get(at..).and_then(|rest| rest.iter().position(|b| is_suspect(*b))) {
            at += step;
            at = undoing.step(at).max(at + 1);
        }
        let is_table = has_table_head(text);
        if undoing.copied == 0 {
            return Self { text: Cow::Borrowed(text), marks: undoing.marks, is_table };
        }
        undoing.out.push_str(piece(text, undoing.copied, text.len()));
        Self { text: Cow::Owned(undoing.out), marks: undoing.marks, is_table }
    }

    /// True when commas separate the fields of a table, and are no part of any value in it.
    pub fn is_table(&self) -> bool {
        self.is_table
    }

    /// The text as it was before it was defanged.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True when a character from `start` up to `end` was defanged: the author means an indicator.
    pub fn is_marked(&self, start: usize, end: usize) -> bool {
        let first = self.marks.partition_point(|mark| *mark < start);
        self.marks.get(first).is_some_and(|mark| *mark < end)
    }
}

const SUSPECTS: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    let ascii = b"[](){}<\\^&";
    while i < ascii.len() {
        table[ascii[i] as usize] = true;
        i += 1;
    }
    // First bytes of the hidden characters and foreign dots below.
    table[0xc2] = true;
    table[0xe2] = true;
    table[0xe3] = true;
    table[0xef] = true;
    table
};

fn is_suspect(b: u8) -> bool {
    SUSPECTS.get(usize::from(b)).copied().unwrap_or(false)
}

/// Escapes of JSON, JavaScript and shells, without their backslash.
const ESCAPES: [(&str, &str); 9] = [
    ("u002e", "."),
    ("u002f", "/"),
    ("u003a", ":"),
    ("u0040", "@"),
    ("u0026", "&"),
    ("u003d", "="),
    ("x2e", "."),
    ("x2f", "/"),
    ("x3a", ":"),
];

/// Entities of HTML, without their ampersand.
const ENTITIES: [(&str, &str); 12] = [
    ("#46;", "."),
    ("#x2e;", "."),
    ("period;", "."),
    ("#58;", ":"),
    ("#x3a;", ":"),
    ("colon;", ":"),
    ("#47;", "/"),
    ("#x2f;", "/"),
    ("sol;", "/"),
    ("#64;", "@"),
    ("#x40;", "@"),
    ("commat;", "@"),
];

/// What stands between the brackets.
#[derive(Clone, Copy)]
enum Core<'a> {
    Dot,
    At,
    Hyphen,
    /// Colons and slashes, of a scheme, a port, a path or an IPv6 address.
    Separator(&'a str),
}

/// A defanged character with everything around it.
struct Wrapped<'a> {
    core: Core<'a>,
    end: usize,
    /// Brackets on both sides.
    is_full: bool,
    is_word: bool,
}

struct Undoing<'a> {
    text: &'a str,
    /// Everything before is in `out` already.
    copied: usize,
    out: String,
    marks: Vec<usize>,
}

impl<'a> Undoing<'a> {
    /// Looks at the suspect at `at`; where to go on.
    fn step(&mut self, at: usize) -> usize {
        match byte(self.text, at) {
            0xc2 | 0xe2 | 0xe3 | 0xef => self.foreign(at),
            b'\\' | b'^' => self.escaped(at),
            b'&' => self.entity(at),
            _ => self.bracket(at),
        }
    }

    fn replace(&mut self, start: usize, end: usize, with: &str) -> usize {
        self.out.push_str(piece(self.text, self.copied, start));
        self.marks.push(self.out.len());
        self.out.push_str(with);
        self.copied = end;
        end
    }

    fn delete(&mut self, start: usize, end: usize) -> usize {
        self.out.push_str(piece(self.text, self.copied, start));
        self.copied = end;
        end
    }

    /// Hidden characters vanish, as they do in IDNA; full-width and ideographic dots, colons, slashes and at signs become ASCII.
    fn foreign(&mut self, at: usize) -> usize {
        let Some(c) = char_at(self.text, at) else { return at + 1 };
        let end = at + c.len_utf8();
        let before = self.before(at);
        let after = char_at(self.text, end);
        match c {
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => self.delete(at, end),
            '\u{2024}' | '\u{ff0e}' | '\u{ff61}'
                if before.is_some_and(is_name_end) && after.is_some_and(is_label_char) =>
            {
                self.replace(at, end, ".")
            }
            // Also the full stop of Chinese and Japanese: a dot only where no such sentence can start.
            '\u{3002}'
                if before.is_some_and(is_name_end) && after.is_some_and(|c| is_label_char(c) && !is_unspaced(c)) =>
            {
                self.replace(at, end, ".")
            }
            '\u{ff1a}' => self.replace(at, end, ":"),
            '\u{ff0f}' => self.replace(at, end, "/"),
            '\u{ff20}' => self.replace(at, end, "@"),
            _ => end,
        }
    }

    /// `evil\.example`, `evil^.example`, `evil\[.\]example`.
    fn escaped(&mut self, at: usize) -> usize {
        match byte(self.text, at + 1) {
            b'.' if self.is_after_label(at) && self.is_label_at(at + 2) => self.replace(at, at + 2, "."),
            b'[' | b'(' | b'{' | b'<' | b']' | b')' | b'}' if byte(self.text, at) == b'\\' => self.bracket(at),
            b'u' | b'x' if byte(self.text, at) == b'\\' => ESCAPES
                .into_iter()
                .find(|(escape, _)| has_word(self.text, at + 1, escape))
                .map_or(at + 1, |(escape, with)| self.replace(at, at + 1 + escape.len(), with)),
            _ => at + 1,
        }
    }

    /// `evil&#46;example`.
    fn entity(&mut self, at: usize) -> usize {
        ENTITIES
            .into_iter()
            .find(|(entity, _)| has_word(self.text, at + 1, entity))
            .map_or(at + 1, |(entity, with)| self.replace(at, at + 1 + entity.len(), with))
    }

    fn is_after_label(&self, at: usize) -> bool {
        self.before(at).is_some_and(is_label_char)
    }

    /// The character before `at`, as it stands undone.
    fn before(&self, at: usize) -> Option<char> {
        if self.copied == at && at > 0 { self.out.chars().next_back() } else { char_before(self.text, at) }
    }

    fn is_label_at(&self, at: usize) -> bool {
        char_at(self.text, at).is_some_and(is_label_char)
    }

    /// A run of brackets that starts at `at`.
    fn bracket(&mut self, at: usize) -> usize {
        let text = self.text;
        if let Some(end) = bracketed_www(text, at) {
            let inner = self.delete(at, at + 1);
            self.delete(inner + 3, end);
            return end;
        }
        let lead_end = skip(text, at, WRAPPING_MAX, is_wrapping);
        if let Some(wrapped) = wrapped_at(text, at, lead_end) {
            return self.unwrap(at, &wrapped).unwrap_or(at + 1);
        }
        // `evil.]example`: the dot is plain, the bracket behind it is not.
        let after = char_at(text, lead_end);
        if byte_before(text, at) == b'.'
            && !piece(text, at, lead_end).contains(['<', '>'])
            && self.copied < at
            && self.is_after_label(at - 1)
            && byte_before(text, lead_end) != b' '
            && after.is_some_and(is_label_char)
            && !is_closed_after(text, lead_end)
        {
            return self.replace(at - 1, lead_end, ".");
        }
        at + 1
    }

    /// Replaces what is wrapped, if what stands around it is a name, an address or a scheme.
    fn unwrap(&mut self, at: usize, wrapped: &Wrapped<'a>) -> Option<usize> {
        let text = self.text;
        let start = skip_back(text, at, self.copied.max(at.saturating_sub(WRAPPING_MAX)), |b| b == b' ');
        let before = self.before(start);
        let trimmed_end = skip(text, wrapped.end, WRAPPING_MAX, |b| b == b' ');
        let after = char_at(text, trimmed_end);
        match wrapped.core {
            Core::Dot | Core::At => {
                if !before.is_some_and(is_name_end) || !after.is_some_and(|c| is_label_char(c) || c == '[') {
                    return None;
                }
                let is_dot = matches!(wrapped.core, Core::Dot);
                if !wrapped.is_full {
                    let is_spaced = start < at || wrapped.end < trimmed_end;
                    if wrapped.is_word
                        || !is_dot
                        || (is_spaced && !self.continues(start))
                        || is_closed_after(text, trimmed_end)
                    {
                        return None;
                    }
                }
                if is_opened_before(text, at) {
                    return None;
                }
                Some(self.replace(start, trimmed_end, if is_dot { "." } else { "@" }))
            }
            Core::Hyphen => {
                let is_inside = wrapped.is_full && start == at && wrapped.end == trimmed_end;
                (is_inside && before.is_some_and(is_label_char) && after.is_some_and(is_label_char))
                    .then(|| self.replace(at, wrapped.end, "-"))
            }
            Core::Separator(separator) => {
                let is_wanted = before.is_some_and(|c| is_label_char(c) || ":/\\])>*".contains(c))
                    && start == at
                    && char_at(text, wrapped.end).is_some_and(|c| is_label_char(c) || ":/\\[(<%".contains(c))
                    && (wrapped.is_full || separator == "://");
                is_wanted.then(|| self.replace(at, wrapped.end, separator))
            }
        }
    }

    /// True when the label that ends at `at` comes right after a defanged dot.
    fn continues(&self, at: usize) -> bool {
        let label = piece(self.text, self.copied, at);
        self.marks.last().is_some_and(|mark| mark + 1 == self.out.len())
            && !label.is_empty()
            && label.bytes().all(|b| is_label_byte(b) || b == b'.')
    }
}

fn is_name_end(c: char) -> bool {
    is_label_char(c) || c == ']'
}

fn is_bracket(b: u8) -> bool {
    matches!(b, b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'<' | b'>')
}

fn is_wrapping(b: u8) -> bool {
    is_bracket(b) || b == b' ' || b == b'\\'
}

/// `[www].evil.example`.
fn bracketed_www(text: &str, at: usize) -> Option<usize> {
    (has_word(text, at + 1, "www") && matches!(byte(text, at + 4), b']' | b')' | b'}') && byte(text, at + 5) == b'.')
        .then_some(at + 5)
}

/// The words people write for a dot and for an at sign, in brackets.
const DOT_WORDS: [&str; 5] = ["dot", "punto", "punkt", "ponto", "point"];
const AT_WORDS: [&str; 3] = ["at", "arroba", "chez"];

/// The character that is wrapped by the brackets from `at` to `lead_end` and by those behind it.
fn wrapped_at(text: &str, at: usize, lead_end: usize) -> Option<Wrapped<'_>> {
    let lead = piece(text, at, lead_end);
    let mut is_word = false;
    let (core, core_end) = match char_at(text, lead_end)? {
        '.' | '\u{2024}' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => {
            (Core::Dot, lead_end + char_at(text, lead_end).map_or(1, char::len_utf8))
        }
        '@' => (Core::At, lead_end + 1),
        '-' => (Core::Hyphen, lead_end + 1),
        ':' | '/' => {
            let end = skip(text, lead_end, 3, |b| b == b':' || b == b'/');
            (Core::Separator(piece(text, lead_end, end)), end)
        }
        c if c.is_ascii_alphabetic() => {
            is_word = true;
            let word = |words: &[&str]| {
                words.iter().find(|word| has_word(text, lead_end, word)).map(|word| lead_end + word.len())
            };
            let (core, end) =
                word(&DOT_WORDS).map(|end| (Core::Dot, end)).or_else(|| word(&AT_WORDS).map(|end| (Core::At, end)))?;
            if byte(text, end).is_ascii_alphanumeric() {
                return None;
            }
            (core, end)
        }
        _ => return None,
    };
    let trail_end = skip(text, core_end, WRAPPING_MAX, is_wrapping);
    let trail = piece(text, core_end, trail_end);
    // Angle brackets are tags, unless they hold nothing else: `evil<.>example`.
    let is_angled = lead.contains('<') || trail.contains('>') || lead.contains('>') || trail.contains('<');
    if is_angled && !(lead.ends_with('<') && trail.starts_with('>')) {
        return None;
    }
    let (end, is_full) = match trail.bytes().rposition(is_bracket) {
        Some(last) if !matches!(core, Core::Separator(_)) => (core_end + last + 1, true),
        // `[:][/][/]`: the brackets behind the first pair belong to the next one.
        Some(_) => {
            let own = skip(text, core_end, WRAPPING_MAX, |b| matches!(b, b']' | b')' | b'}' | b'>'));
            (own, own > core_end)
        }
        None => (core_end, false),
    };
    Some(Wrapped { core, end, is_full, is_word })
}

/// True when the label that starts at `at` is followed by a closing bracket: `x.(string)`, `f(.5)`, code and not a name.
fn is_closed_after(text: &str, at: usize) -> bool {
    let end = skip(text, at, PARTNER_MAX, is_label_byte);
    matches!(byte(text, end), b']' | b')' | b'}')
}

/// True when the bracket at `at` closes one that was opened in the same word: `f(x).name`, `list[0].id`.
fn is_opened_before(text: &str, at: usize) -> bool {
    let (open, close) = match byte(text, at) {
        b']' => (b'[', b']'),
        b')' => (b'(', b')'),
        b'}' => (b'{', b'}'),
        _ => return false,
    };
    let mut depth = 0_usize;
    let start = at.saturating_sub(PARTNER_MAX);
    for b in text.as_bytes().get(start..at).unwrap_or_default().iter().rev() {
        match *b {
            b if b.is_ascii_whitespace() => return false,
            b if b == close => depth += 1,
            b if b == open && depth == 0 => return true,
            b if b == open => depth -= 1,
            _ => {}
        }
    }
    false
}

/// True when the first line names the columns of a table, and the second has as many.
fn has_table_head(text: &str) -> bool {
    let mut lines =
        text.lines().map(|line| line.get(..line.len().min(512)).unwrap_or("")).filter(|line| !line.trim().is_empty());
    let (Some(head), Some(row)) = (lines.next(), lines.next()) else { return false };
    let columns = |line: &str| line.matches(',').count();
    let is_head = head.chars().all(|c| c.is_alphanumeric() || ",_- \"()/\u{feff}\r".contains(c));
    is_head && columns(head) > 0 && columns(row) >= columns(head)
}

#[cfg(test)]
mod tests {
    use super::Refanged;

    fn check(text: &str, expected: &str) {
        assert_eq!(Refanged::new(text).text(), expected, "{text:?}");
    }

    #[test]
    fn brackets_of_any_kind_are_undone() {
        for text in [
            "evil[.]example",
            "evil(.)example",
            "evil{.}example",
            "evil<.>example",
            "evil[[.]]example",
            "evil [.] example",
            "evil\\[.\\]example",
            "evil].[example",
            "evil{.{example",
            "evil[dot]example",
            "evil (DOT) example",
            "evil[punto]example",
            "evil  [[[[ [ [ [ dot )]) example",
        ] {
            check(text, "evil.example");
        }
    }

    #[test]
    fn half_brackets_are_undone() {
        for text in ["evil[.example", "evil.]example", "evil.[example", "evil}.example", "evil.)example"] {
            check(text, "evil.example");
        }
        check("192[.0.]2[.7", "192.0.2.7");
        check("a[.]b [.example", "a.b.example");
    }

    #[test]
    fn other_dots_and_escapes_are_undone() {
        for text in [
            "evil\\.example",
            "evil^.example",
            "evil\u{2024}example",
            "evil\u{3002}example",
            "evil\u{ff0e}example",
            "evil\u{ff61}example",
            "evil\u{200b}.example",
            "ev\u{ad}il[.]example",
            "evil&#46;example",
            "evil&period;example",
            "evil\\u002eexample",
            "evil\\x2Eexample",
        ] {
            check(text, "evil.example");
        }
    }

    #[test]
    fn separators_and_at_signs_are_undone() {
        check("https[:]//evil.example[:]8443[/]a", "https://evil.example:8443/a");
        check("https[://]evil.example", "https://evil.example");
        check("https[://evil.example", "https://evil.example");
        check("https:[//]evil.example", "https://evil.example");
        check("https[:][/][/]evil.example", "https://evil.example");
        check("https<:>//evil.example", "https://evil.example");
        check("2001[:]db8[::]1", "2001:db8::1");
        check("2001[:]db8[:][:]1", "2001:db8::1");
        check("user[@]evil.example", "user@evil.example");
        check("user (at) evil.example", "user@evil.example");
        check("user<at>evil.example", "user@evil.example");
        check("dash[-]ed.example", "dash-ed.example");
        check("[www].evil.example", "www.evil.example");
    }

    #[test]
    fn code_and_prose_stay_as_they_are() {
        for text in [
            "f(x).name",
            "list[0].id",
            "x.(string)",
            "[dbo].[table]",
            "[text](.evil)",
            "see evil.example). Then",
            "a[:]",
            "<b>.</b>",
            "(.net)",
            "https://[2001:db8::5]:8080/x",
            "cdn.<removed>.example",
            "a[i].b",
            "http://evil.example/a]b",
            "\u{4f8b}\u{3002}\u{4f8b}",
            "a\\b",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn what_was_defanged_is_marked() {
        let refanged = Refanged::new("good.example evil[.]example");
        assert!(!refanged.is_marked(0, 12));
        assert!(refanged.is_marked(13, 25));
    }

    #[test]
    fn a_table_is_told_by_its_first_line() {
        assert!(Refanged::new("value,type\nhttp://evil.example/a,url\n").is_table());
        assert!(!Refanged::new("http://evil.example/a,b\nhttp://evil.example/c,d\n").is_table());
        assert!(!Refanged::new("Hello, you\nthere").is_table());
    }
}
