//! Links that a redirector carries in its own address: as the value of a parameter, or as the rest of the path.

use memchr::memchr2;

use crate::link;
use crate::observable::Observable;
use crate::refang::Refanged;
use crate::text::{byte, has_word, piece};
use crate::wrapped::percent_decode;

/// How often a link may be escaped.
const ESCAPED_MAX: usize = 3;
/// How many starts of a link are tried in vain: each may cost as much as the whole address.
const FAILURES_MAX: usize = 8;

/// The links behind the host of `url` (canonical), each in full; links inside them are left to the next call.
pub fn targets(url: &str) -> Vec<Observable> {
    let mut targets = Vec::new();
    let Some(tail) = Tail::of(url) else { return targets };
    let (mut at, mut failures) = (0, 0);
    while failures < FAILURES_MAX
        && let Some(step) = tail.text.as_bytes().get(at..).and_then(|rest| memchr2(b'h', b'H', rest))
    {
        let start = at + step;
        at = start + 1;
        let Some(separator) = separator(tail.text, start) else { continue };
        let end = tail.value_end(start, &separator);
        match target(piece(tail.text, start, end), start < tail.query) {
            Some(target) => {
                targets.push(target);
                at = at.max(end);
            }
            None => failures += 1,
        }
    }
    targets
}

/// Path, query and fragment.
struct Tail<'a> {
    text: &'a str,
    /// Where the path ends.
    query: usize,
    /// Where the query ends.
    fragment: usize,
}

impl<'a> Tail<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let after_scheme = url.get(url.find("://")? + 3..)?;
        let text = after_scheme.get(after_scheme.find(['/', '?', '#'])?..)?;
        let fragment = text.find('#').unwrap_or(text.len());
        let query = text.find('?').unwrap_or(text.len()).min(fragment);
        Some(Self { text, query, fragment })
    }

    /// Where the value ends that starts at `start`.
    fn value_end(&self, start: usize, separator: &Separator) -> usize {
        let is_in_path = start < self.query;
        if is_in_path && !separator.has_escaped_slash {
            return self.text.len();
        }
        let ends = |at: usize| match byte(self.text, at) {
            // Escaped, it is one segment of the path: `/L0/https:%2F%2Fevil.example%2Fa/1/…`.
            b'/' | b'?' => is_in_path,
            b'#' => start < self.fragment,
            b'&' => !is_in_path,
            b',' | b';' | b'|' => self::separator(self.text, at + 1).is_some(),
            _ => false,
        };
        (separator.end..self.text.len()).find(|at| ends(*at)).unwrap_or(self.text.len())
    }
}

/// What stands between a scheme and a host.
struct Separator {
    end: usize,
    is_escaped: bool,
    has_escaped_slash: bool,
}

/// The separator of the web scheme at `start`: `://`, `%3A//`, `:%2F%2F`, `%253A%252F%252F`, …
fn separator(text: &str, start: usize) -> Option<Separator> {
    let four = start + 4;
    if !["http", "hxxp"].into_iter().any(|scheme| has_word(text, start, scheme)) {
        return None;
    }
    let colon = if matches!(byte(text, four), b's' | b'S') { four + 1 } else { four };
    let slash = after(text, colon, b':', "3A")?;
    let end = after(text, slash, b'/', "2F")?;
    let has_escaped_slash = end > slash + 1;
    Some(Separator { end, is_escaped: has_escaped_slash || slash > colon + 1, has_escaped_slash })
}

/// Where `literal` ends that stands at `at`, itself or escaped.
fn after(text: &str, at: usize, literal: u8, digits: &str) -> Option<usize> {
    if byte(text, at) == literal {
        return Some(at + 1);
    }
    let mut digits_start = Some(at + 1).filter(|_| byte(text, at) == b'%')?;
    for _ in 1..ESCAPED_MAX {
        digits_start += if piece(text, digits_start, digits_start + 2) == "25" { 2 } else { 0 };
    }
    has_word(text, digits_start, digits).then_some(digits_start + digits.len())
}

/// The link that `value` spells.
fn target(value: &str, is_in_path: bool) -> Option<Observable> {
    let mut spelled = value.to_owned();
    if separator(value, 0)?.is_escaped {
        for _ in 0..ESCAPED_MAX {
            spelled = percent_decode(&spelled);
            if !separator(&spelled, 0)?.is_escaped {
                break;
            }
        }
    } else if !is_in_path {
        // Spelled out but for its separators: `https://evil.example/a%3Fb=1%26c=2`. An escaped space stays one.
        let decoded = percent_decode(value);
        if !decoded.contains(|c: char| c.is_whitespace() || c.is_control()) {
            spelled = decoded;
        }
    }
    let refanged = Refanged::new(&spelled);
    let colon = refanged.text().find(':')?;
    link::parse(&refanged, colon, 0).map(|link| link.url)
}

#[cfg(test)]
mod tests {
    use super::targets;

    fn check(url: &str, expected: &[&str]) {
        let targets = targets(url);
        let found: Vec<&str> = targets.iter().map(crate::Observable::value).collect();
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn a_target_is_found_however_far_it_is_escaped() {
        for url in [
            "https://r.example/?url=https://evil.example/p",
            "https://r.example/?url=https%3A//evil.example/p",
            "https://r.example/?url=https:%2F%2Fevil.example%2Fp",
            "https://r.example/?url=https%3A%2F%2Fevil.example/p",
            "https://r.example/?url=https%3a%2f%2fevil.example%2fp&x=1",
            "https://r.example/?url=https%253A%252F%252Fevil.example%252Fp",
            "https://r.example/?url=https%25253A%25252F%25252Fevil.example%25252Fp",
            "https://r.example/?a=b&url=hxxps://evil.example/p&x=1#y",
            "https://r.example/#/go?to=https://evil.example/p",
            "https://www.google.de/url?q=https://evil.example/p&sa=D",
            "https://r.example/web/2024/https://evil.example/p",
            "https://r.example/web/2024/https:/evil.example/p",
            "https://r.example/L0/https:%2F%2Fevil.example%2Fp/1/0100-000",
        ] {
            check(url, &["https://evil.example/p"]);
        }
    }

    #[test]
    fn a_target_reaches_to_the_end_of_its_value() {
        check("https://r.example/?u=https%3A%2F%2Fevil.example/p/q", &["https://evil.example/p/q"]);
        check("https://r.example/?u=https://evil.example/p?a=1&b=2", &["https://evil.example/p?a=1"]);
        check("https://r.example/web/https://evil.example/p?a=1&b=2", &["https://evil.example/p?a=1&b=2"]);
        check("https://r.example/?u=https://evil.example/p%3Fa=1%26b=2", &["https://evil.example/p?a=1&b=2"]);
        check("https://r.example/?u=https://evil.example/p%20q", &["https://evil.example/p%20q"]);
        check("https://r.example/?u=https%3A%2F%2Fevil.example%2Fp!*'(1)q", &["https://evil.example/p!*'(1)q"]);
        check(
            "https://r.example/?u=http://a.example/p&v=http%3A%2F%2Fb.example%2Fp,http%3A%2F%2Fc.example%2Fp",
            &["http://a.example/p", "http://b.example/p", "http://c.example/p"],
        );
    }

    #[test]
    fn other_values_are_no_targets() {
        for url in [
            "https://r.example/",
            "https://r.example",
            "https://r.example/?url=evil",
            "https://r.example/http/https",
            "https://r.example/?url=https%3Aevil",
            "https://r.example/?url=http://intranet/",
        ] {
            check(url, &[]);
        }
    }
}
