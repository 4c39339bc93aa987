//! Spelling of hostile text for people: nothing to click, nothing hidden.

use std::fmt::Write;

/// Hostile text for display: control, bidi and zero-width characters become escapes such as `\u{202e}`; newline and tab too.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut shown, c);
    }
    shown
}

fn push_visible(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        _ if is_hidden(c) => {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
        _ => shown.push(c),
    }
}

/// Characters that steer the display or show nothing (Unicode categories Cc, Cf, Zl, Zp, blank fillers, variation selectors, tags).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Any text, with everything that a mail client could turn into a link spelled so that it does not: `http` and `ftp` schemes
/// become `hxxp` and `fxp`, `:` after any other scheme, `@`, and dots between label characters are bracketed; as [`visible`].
#[must_use]
pub fn defang_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let after = rest.as_str();
        match c {
            '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}'
                if after.starts_with(is_label_char) && !shown.ends_with(is_gap) && !shown.is_empty() =>
            {
                shown.push_str("[.]");
            }
            '@' if shown.ends_with('[') && after.starts_with(']') => shown.push('@'),
            '@' | '\u{ff20}' => shown.push_str("[@]"),
            ':' if after.starts_with("//") || after.starts_with("\\\\") => defang_scheme(&mut shown),
            ':' if ends_with_word(&shown, "mailto") => shown.push_str("[:]"),
            _ => push_visible(&mut shown, c),
        }
    }
    shown
}

fn is_label_char(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

/// What a name cannot go on after.
fn is_gap(c: char) -> bool {
    c.is_whitespace() || c == '.'
}

fn ends_with_word(shown: &str, word: &str) -> bool {
    shown
        .len()
        .checked_sub(word.len())
        .and_then(|at| shown.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(word))
}

/// Live schemes and their dead spelling, the longer ones first.
const SCHEMES: [(&str, &str); 5] =
    [("https", "hxxps"), ("http", "hxxp"), ("ftps", "fxps"), ("sftp", "sfxp"), ("ftp", "fxp")];

/// Re-spells the scheme at the end of `shown` and adds its colon.
fn defang_scheme(shown: &mut String) {
    if let Some((live, dead)) = SCHEMES.into_iter().find(|(live, _)| ends_with_word(shown, live)) {
        shown.truncate(shown.len() - live.len());
        shown.push_str(dead);
        shown.push(':');
    } else if SCHEMES.iter().any(|(_, dead)| ends_with_word(shown, dead)) {
        shown.push(':');
    } else {
        shown.push_str("[:]");
    }
}

#[cfg(test)]
mod tests {
    use super::{defang_text, visible};

    fn check(text: &str, expected: &str) {
        assert_eq!(defang_text(text), expected, "{text:?}");
    }

    #[test]
    fn what_a_mail_client_could_link_is_defanged() {
        check("see http://evil.example/a", "see hxxp://evil[.]example/a");
        check("HTTPS://evil.example", "hxxps://evil[.]example");
        check("ftp://evil.example", "fxp://evil[.]example");
        check("file://evil.example/x", "file[:]//evil[.]example/x");
        check("http:\\\\evil.example", "hxxp:\\\\evil[.]example");
        check("mailto:a@evil.example", "mailto[:]a[@]evil[.]example");
        check("www.evil.example, again", "www[.]evil[.]example, again");
        check("evil\u{3002}example", "evil[.]example");
        check("b\u{fc}cher.example", "b\u{fc}cher[.]example");
    }

    #[test]
    fn plain_sentences_stay_as_they_are() {
        check("End of a sentence. Next: one...", "End of a sentence. Next: one...");
        check("12:30 o'clock", "12:30 o'clock");
        check("Version .5 of .net", "Version .5 of .net");
        check("", "");
    }

    #[test]
    fn what_is_defanged_stays_as_it_is() {
        let defanged = "hxxps://evil[.]example/a, user[@]evil[.]example, file[:]//evil[.]example";
        check(defanged, defanged);
    }

    #[test]
    fn nothing_stays_hidden() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\nd\te\u{0}"), "a\\u{202e}b\\u{200b}c\\nd\\te\\u{0}");
        assert_eq!(visible("\u{e0041}"), "\\u{e0041}");
        assert_eq!(visible("plain \u{e9}"), "plain \u{e9}");
    }
}
