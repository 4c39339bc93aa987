//! An observable in STIX 2.1: as a cyber observable, and as the pattern of an indicator.

use std::{collections::BTreeMap, fmt::Write, net::Ipv6Addr};

use ioc::{Hashes, Observable, ObservableType};
use serde_json::{Value, json};

use super::{id, object::Details};
use crate::{Fault, canonical};

/// Scripts in which names are registered. Stricter than RFC 5892, whose tables are too much to carry for this: emoji, historic
/// scripts and what Unicode has added of late are no letters of a name.
const LETTERS: [(char, char); 17] = [
    ('\u{df}', '\u{f6}'),     // Latin
    ('\u{f8}', '\u{24f}'),    // Latin
    ('\u{370}', '\u{52f}'),   // Greek, Cyrillic
    ('\u{561}', '\u{586}'),   // Armenian
    ('\u{5d0}', '\u{5ea}'),   // Hebrew
    ('\u{620}', '\u{63f}'),   // Arabic
    ('\u{641}', '\u{64a}'),   // Arabic
    ('\u{671}', '\u{6d3}'),   // Arabic
    ('\u{904}', '\u{bff}'),   // Devanagari to Tamil
    ('\u{c00}', '\u{c59}'),   // Telugu
    ('\u{c85}', '\u{cd6}'),   // Kannada
    ('\u{d00}', '\u{e4d}'),   // Malayalam to Thai
    ('\u{10d0}', '\u{10fa}'), // Georgian
    ('\u{3041}', '\u{3096}'), // Hiragana
    ('\u{30a1}', '\u{30fa}'), // Katakana
    ('\u{4e00}', '\u{9fa5}'), // Han
    ('\u{ac00}', '\u{d7a3}'), // Hangul
];

/// The object with its id; `None` where STIX 2.1, or OASIS's own validator of it, has no form for the value.
pub(super) fn object(observable: &Observable) -> Result<Option<(String, Details)>, Fault> {
    let Some((details, contributing)) = form(observable) else { return Ok(None) };
    let id = id::of_observable(observable.kind().as_str(), &canonical::to_json(&contributing)?);
    Ok(Some((id, details)))
}

/// What it looks like, and what its id is made from.
fn form(observable: &Observable) -> Option<(Details, Value)> {
    let value = observable.value();
    let value = match observable.kind() {
        ObservableType::Ipv4Addr => value.to_owned(),
        ObservableType::Ipv6Addr => groups(value),
        ObservableType::DomainName => value.split('.').all(is_registrable_label).then(|| value.to_owned())?,
        ObservableType::Url => uri(value),
        ObservableType::EmailAddr => is_plain_address(value).then(|| value.to_owned())?,
        ObservableType::File => {
            let hashes = named(observable.hashes());
            // One digest makes the id, the first of this order (STIX 2.1, 2.9).
            let first = hashes.first_key_value().map(|(name, digest)| json!({ "hashes": { *name: digest } }))?;
            return Some((Details::File { hashes }, first));
        }
    };
    let contributing = json!({ "value": value });
    Some((Details::Value { value }, contributing))
}

/// Digests by their names in STIX.
fn named(hashes: &Hashes) -> BTreeMap<&'static str, String> {
    let known = [("MD5", &hashes.md5), ("SHA-1", &hashes.sha1), ("SHA-256", &hashes.sha256)];
    known.into_iter().filter_map(|(name, digest)| Some((name, digest.clone()?))).collect()
}

/// An address that ends in dotted decimal, as hexadecimal groups: the validator's expression knows no other.
fn groups(value: &str) -> String {
    match value.parse::<Ipv6Addr>() {
        Ok(address) if value.contains('.') => {
            let [.., high, low] = address.segments();
            let front = value.rsplit_once(':').map_or("", |(front, _)| front);
            format!("{front}:{high:x}:{low:x}")
        }
        _ => value.to_owned(),
    }
}

/// RFC 5890: letters, digits and hyphens; hyphens in the third and fourth place only in what decodes to letters.
fn is_registrable_label(label: &str) -> bool {
    if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return false;
    }
    if !has_odd_hyphens(label) {
        return true;
    }
    let (shown, read) = idna::domain_to_unicode(label);
    let is_listed = |c: char| c.is_alphabetic() && LETTERS.iter().any(|(first, last)| (*first..=*last).contains(&c));
    label.starts_with("xn--")
        && read.is_ok()
        && shown != label
        && !has_odd_hyphens(&shown)
        && shown.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || is_listed(c))
}

/// Hyphens at the beginning, at the end, or in both the third and the fourth place.
fn has_odd_hyphens(label: &str) -> bool {
    label.starts_with('-') || label.ends_with('-') || label.chars().skip(2).take(2).eq("--".chars())
}

/// What the validator takes for an address; RFC 5322 knows more.
fn is_plain_address(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else { return false };
    let is_plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    is_plain(local, "_.+-") && is_plain(domain, ".-")
}

/// A URL as RFC 3986 spells it: what browsers take as it is and the RFC does not know is percent-encoded.
pub(super) fn uri(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let authority_end = url.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| start + at);
    let mut spelled = String::with_capacity(url.len());
    let mut has_fragment = false;
    for (at, c) in url.char_indices() {
        let is_allowed = match c {
            '#' => !std::mem::replace(&mut has_fragment, true),
            '[' | ']' => at < authority_end,
            '%' => url.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())),
            _ => c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(c),
        };
        if is_allowed {
            spelled.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String cannot fail.
            let _ = write!(spelled, "%{byte:02X}");
        }
    }
    spelled
}

/// The pattern that finds the observable, its value as we have it; of a file, any of its digests will do.
pub(super) fn pattern(observable: &Observable) -> String {
    let kind = observable.kind();
    if kind != ObservableType::File {
        return format!("[{kind}:value = {}]", literal(observable.value()));
    }
    let hashes = named(observable.hashes());
    let compared = hashes.iter().map(|(name, digest)| format!("file:hashes.{} = {}", literal(name), literal(digest)));
    format!("[{}]", compared.collect::<Vec<_>>().join(" OR "))
}

/// A text in single quotes. STIX patterns know two escapes, `\'` and `\\`; everything else stands for itself.
fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Observable {
        Observable::parse_any(text).unwrap()
    }

    /// The only string literal of a pattern, read back.
    fn unescaped(pattern: &str) -> Option<String> {
        let inside = pattern.split_once(" = '")?.1.strip_suffix("']")?;
        let mut value = String::new();
        let mut characters = inside.chars();
        while let Some(c) = characters.next() {
            value.push(match c {
                '\'' => return None,
                '\\' => characters.next().filter(|c| matches!(c, '\'' | '\\'))?,
                c => c,
            });
        }
        Some(value)
    }

    #[test]
    fn a_pattern_compares_the_value_as_we_have_it() {
        let check = |text: &str, expected: &str| assert_eq!(pattern(&parsed(text)), expected);
        check("192.0.2.7", "[ipv4-addr:value = '192.0.2.7']");
        check("http://a.example/'\\?x='", r"[url:value = 'http://a.example/\'/?x=%27']");
        check("http://a.example/#'\\", r"[url:value = 'http://a.example/#\'\\']");
        let hashes = Hashes { md5: Some("cd".repeat(16)), sha1: None, sha256: Some("ab".repeat(32)) };
        let expected =
            format!("[file:hashes.'MD5' = '{}' OR file:hashes.'SHA-256' = '{}']", "cd".repeat(16), "ab".repeat(32));
        assert_eq!(pattern(&Observable::file(hashes).unwrap()), expected);
    }

    #[test]
    fn what_stix_has_no_form_for_has_no_object() {
        let check = |text: &str, expected: Option<&str>| {
            let value = form(&parsed(text)).map(|(details, _)| match details {
                Details::Value { value } => value,
                other => format!("{other:?}"),
            });
            assert_eq!(value.as_deref(), expected, "{text}");
        };
        check("evil.example", Some("evil.example"));
        check("xn--bcher-kva.example", Some("xn--bcher-kva.example"));
        check("_dmarc.evil.example", None);
        check("ab--c.evil.example", None);
        check("xn--zzzzzz9999.example", None);
        check("xn--ls8h.example", None);
        check("user.name+tag@evil.example", Some("user.name+tag@evil.example"));
        check("o'hara@evil.example", None);
        check("user@[192.0.2.7]", None);
        check("2001:db8::1", Some("2001:db8::1"));
        check("http://a.example/[1]?q={2}|%#a#b", Some("http://a.example/%5B1%5D?q=%7B2%7D%7C%25#a%23b"));
        check("http://[2001:db8::1]:8080/", Some("http://[2001:db8::1]:8080/"));
        let mapped = Observable::parse(ObservableType::Ipv6Addr, "::ffff:192.0.2.7").unwrap();
        let expected = Details::Value { value: "::ffff:c000:207".to_owned() };
        assert_eq!(form(&mapped).unwrap().0, expected);
    }

    #[test]
    fn of_several_digests_the_first_makes_the_id() {
        let id = |hashes: Hashes| object(&Observable::file(hashes).unwrap()).unwrap().unwrap().0;
        let sha256 = Hashes { sha256: Some("ab".repeat(32)), ..Hashes::default() };
        assert_eq!(id(sha256.clone()), "file--20432b06-75d2-54b6-80ef-6d923b5d925d");
        let both = Hashes { md5: Some("cd".repeat(16)), ..sha256 };
        assert_eq!(id(both), "file--e1b61ebe-defc-5391-9b89-828af67277f3");
    }

    proptest! {
        #[test]
        fn whatever_a_literal_holds_it_can_be_read_back(text in any::<String>()) {
            prop_assert_eq!(unescaped(&format!("[url:value = {}]", literal(&text))), Some(text));
        }

        #[test]
        fn whatever_an_observable_is_its_pattern_holds_its_value(tail in any::<String>()) {
            for text in [format!("http://evil.example/{tail}"), format!("{tail}@evil.example"), tail] {
                if let Ok(observable) = Observable::parse_any(&text) {
                    let pattern = pattern(&observable);
                    prop_assert_eq!(unescaped(&pattern), Some(observable.value().to_owned()), "{}", pattern);
                }
            }
        }

        #[test]
        fn a_url_is_spelled_without_what_rfc_3986_does_not_know(tail in any::<String>()) {
            if let Ok(url) = Observable::parse_any(&format!("http://evil.example/{tail}")) {
                let spelled = uri(url.value());
                prop_assert_eq!(uri(&spelled), spelled.clone());
                let is_known = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}[]".contains(&b);
                let all_known = spelled.bytes().all(is_known);
                prop_assert!(all_known, "{}", spelled);
            }
        }
    }
}
