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

/// Characters that steer the display or show nothing (Unicode categories Cc, Cf, Zl, Zp, blank fillers, variation selectors,
/// tags, and what is no character at all).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Any text, with everything that a mail client could turn into a link spelled so that it does not: `http` and `ftp` schemes
/// become `hxxp` and `fxp`; `:` after any other scheme, `@`, dots between label characters, and the second of two
/// backslashes are bracketed; as [`visible`].
#[must_use]
pub fn defang_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let after = rest.as_str();
        match c {
            '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}'
                if after.starts_with(is_label_char) && !shown.ends_with(is_gap) && !shown.is_empty() =>
            {
                shown.push_str("[.]");
            }
            '@' if shown.ends_with('[') && after.starts_with(']') => shown.push('@'),
            '@' | '\u{ff20}' | '\u{fe6b}' => shown.push_str("[@]"),
            ':' if after.starts_with("//") || after.starts_with("\\\\") => defang_scheme(&mut shown),
            ':' if !after.starts_with(char::is_whitespace) && ends_with_scheme(&shown, after) => shown.push_str("[:]"),
            _ => push_dead(&mut shown, c),
        }
    }
    shown
}

/// Outlook makes a link of `\\\\host\\share`, whether the backslashes were there or begin an escape.
fn push_dead(shown: &mut String, c: char) {
    let at = shown.len();
    push_visible(shown, c);
    if shown.get(..at).is_some_and(|before| before.ends_with('\\'))
        && shown.get(at..).is_some_and(|new| new.starts_with('\\'))
    {
        shown.replace_range(at..=at, "[\\]");
    }
}

/// Words that stand before a colon in our own texts and that no system opens anything for.
const OURS: [&str; 8] = ["alert", "attachment", "header", "html", "md5", "sha1", "sha256", "srcdoc"];
/// Schemes whose address is a number.
const DIALLED: [&str; 7] = ["callto", "mms", "sip", "sips", "sms", "smsto", "tel"];

/// Whether a colon here would end a scheme (RFC 3986, 3.1) that some system opens, such as `javascript:` or `tel:`. The colon
/// before the port of a name ends none, nor does that of a time or a drive.
fn ends_with_scheme(shown: &str, after: &str) -> bool {
    let run = shown.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let (run, before) = (shown.get(run.len()..).unwrap_or_default(), run);
    // Whoever looks for words finds one behind a hyphen, too.
    let last = run.rsplit(['+', '-', '.']).next().unwrap_or_default();
    let is_scheme = [run, last].iter().any(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let is = |known: &[&str]| known.iter().any(|known| last.eq_ignore_ascii_case(known));
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_number =
        (1..=5).contains(&(after.len() - rest.len())) && !rest.starts_with(|c: char| c == ',' || is_label_char(c));
    let ends_name = before.ends_with("[.]") && is_number && !is(&DIALLED);
    is_scheme && run.len() > 1 && !ends_name && !is(&OURS) && !is_group(before, run, after)
}

/// Whether a colon here stands between two groups of an IPv6 address.
fn is_group(before: &str, run: &str, after: &str) -> bool {
    let is_hex = |text: &str| text.len() <= 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let goes_on = after.split_once(':').is_some_and(|(next, _)| is_hex(next));
    is_hex(run) && !run.eq_ignore_ascii_case("feed") && (before.ends_with(':') || goes_on)
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
        check("http:\\\\evil.example", "hxxp:\\[\\]evil[.]example");
        check("mailto:a@evil.example", "mailto[:]a[@]evil[.]example");
        check("www.evil.example, again", "www[.]evil[.]example, again");
        check("evil\u{3002}example", "evil[.]example");
        check("b\u{fc}cher.example", "b\u{fc}cher[.]example");
    }

    #[test]
    fn a_scheme_needs_no_slashes_to_be_opened() {
        check("javascript:alert(1)", "javascript[:]alert(1)");
        check("JavaScript:alert(1)", "JavaScript[:]alert(1)");
        check("x.tel:110 tel:+1-555-0100", "x[.]tel[:]110 tel[:]+1-555-0100");
        check("ms-msdt:/id x", "ms-msdt[:]/id x");
        check("http:evil.example", "http[:]evil[.]example");
        check("<URL:evil>", "<URL[:]evil>");
        check("data:", "data[:]");
        check(
            "2001:db8::1, fe80::1, fe80:1:2::f, [::ffff:192.0.2.7]",
            "2001:db8::1, fe80::1, fe80:1:2::f, [::ffff:192[.]0[.]2[.]7]",
        );
        check("feed::a, cafe:x", "feed[:]:a, cafe[:]x");
        check("2026-11-24T05:00:00.000Z", "2026-11-24T05:00:00[.]000Z");
        check("x-tel:110 geo:0,0 x.geo:0,0 bitcoin:1x", "x-tel[:]110 geo[:]0,0 x[.]geo[:]0,0 bitcoin[:]1x");
        check("1x:y", "1x:y");
        check("evil.example:8080/x 12:30 C:\\x", "evil[.]example:8080/x 12:30 C:\\x");
        check("attachment:page.html:text, html:srcdoc:text", "attachment:page[.]html:text, html:srcdoc:text");
        check("virustotal: timeout, key:\tvalue", "virustotal: timeout, key:\\tvalue");
    }

    #[test]
    fn a_share_is_no_link() {
        check("\\\\fileserver\\x", "\\[\\]fileserver\\x");
        check("\\\nhost\\x", "\\[\\]nhost\\x");
        check("C:\\\\x", "C[:]\\[\\]x");
    }

    #[test]
    fn foreign_dots_and_ats_are_dots_and_ats() {
        check("evil\u{fe52}example", "evil[.]example");
        check("eve\u{fe6b}evil\u{2024}example", "eve[@]evil[.]example");
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
        let defanged =
            "hxxps://evil[.]example/a, user[@]evil[.]example, file[:]//evil[.]example, tel[:]110, \\[\\]host";
        check(defanged, defanged);
    }

    #[test]
    fn nothing_stays_hidden() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\nd\te\u{0}"), "a\\u{202e}b\\u{200b}c\\nd\\te\\u{0}");
        assert_eq!(visible("\u{e0041}"), "\\u{e0041}");
        assert_eq!(visible("\u{891}\u{13430}\u{ffff}\u{1fffe}"), "\\u{891}\\u{13430}\\u{ffff}\\u{1fffe}");
        assert_eq!(visible("plain \u{e9}"), "plain \u{e9}");
    }
}
