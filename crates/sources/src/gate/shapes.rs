//! What secrets and people look like, whatever they are called.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

/// Keys that their makers begin in a way of their own, and how many characters follow at least.
const KEYS: [(&str, usize); 58] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ATATT3", 20),
    ("EAAB", 30),
    ("EAAC", 30),
    ("PMAK-", 20),
    ("SG.", 20),
    ("cs_live_", 10),
    ("cs_test_", 10),
    ("dapi", 32),
    ("dckr_pat_", 20),
    ("dop_v1_", 40),
    ("figd_", 20),
    ("gho_", 30),
    ("ghp_", 30),
    ("ghr_", 30),
    ("ghs_", 30),
    ("ghu_", 30),
    ("github_pat_", 22),
    ("gldt-", 18),
    ("glpat-", 18),
    ("glptt-", 18),
    ("glrt-", 18),
    ("glsa_", 20),
    ("hf_", 30),
    ("hvs.", 20),
    ("key-", 32),
    ("lin_api_", 20),
    ("live_YWN", 12),
    ("npm_", 30),
    ("pk_live_", 10),
    ("pypi-", 40),
    ("rk_live_", 10),
    ("rk_test_", 10),
    ("rubygems_", 30),
    ("secret_", 30),
    ("shpat_", 30),
    ("shpca_", 30),
    ("shpss_", 30),
    ("sk-", 40),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("sq0atp-", 20),
    ("sq0csp-", 20),
    ("test_YWN", 12),
    ("v2.local.", 20),
    ("v4.local.", 20),
    ("whsec_", 20),
    ("xapp-", 10),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("ya29.", 20),
];

/// What ends the name of a file and no domain: `logo@2x.png` is nobody.
const FILE_ENDINGS: [&str; 24] = [
    "css", "dll", "exe", "gif", "gz", "htm", "html", "ico", "jpeg", "jpg", "js", "json", "map", "mjs", "mp3", "mp4",
    "pdf", "php", "png", "svg", "ttf", "txt", "webp", "xml",
];

/// Whether a text holds an e-mail address.
pub(super) fn names_a_person(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let has_name = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-+.'".contains(c));
        let domain: String = after.chars().take_while(|c| c.is_alphanumeric() || "-.".contains(*c)).collect();
        let suffix = domain.trim_matches('.').rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
        let is_domain = |suffix: &String| {
            suffix.chars().count() >= 2
                && (suffix.chars().all(char::is_alphabetic) || suffix.starts_with("xn--"))
                && !FILE_ENDINGS.contains(&suffix.as_str())
        };
        has_name && suffix.as_ref().is_some_and(is_domain)
    })
}

/// Whether a text holds a JSON Web Token: base64url texts, of which the first begins as JSON does.
pub(super) fn holds_a_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(start, _)| {
        let token = text.get(start..).unwrap_or_default();
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(token.len());
        let mut parts = token.get(..end).unwrap_or_default().split('.');
        parts.next().is_some_and(|head| head.len() >= 10) && parts.next().is_some_and(|body| body.len() >= 4)
    })
}

/// Whether a text holds a key whose maker is known by its beginning, or the one of a Telegram bot.
pub(super) fn holds_a_key(text: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.+/=".contains(c);
    let begins = |at: usize| {
        !text.get(..at).unwrap_or_default().ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let tail = |from: usize| text.get(from..).unwrap_or_default().chars().take_while(|c| is_key(*c)).count();
    let is_known = KEYS.iter().any(|(start, length)| {
        text.match_indices(start).any(|(at, _)| begins(at) && tail(at + start.len()) >= *length)
    });
    let is_bot = || {
        text.match_indices(':').any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default();
            let id = before.chars().rev().take_while(char::is_ascii_digit).count();
            let secret = text.get(at + 1..).unwrap_or_default();
            let length = secret.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).count();
            (8..=12).contains(&id) && (30..=50).contains(&length)
        })
    };
    is_known || text.contains("-----BEGIN ") || text.contains("hmac=") || is_bot()
}

/// The texts behind base64 and hex, where a text is one.
pub(super) fn decoded(text: &str) -> Vec<String> {
    let bare = text.trim().trim_end_matches('=');
    if bare.len() < 8 {
        return vec![];
    }
    let bytes = bare.as_bytes();
    let readings = [BASE64URL_NOPAD.decode(bytes), BASE64_NOPAD.decode(bytes), HEXLOWER_PERMISSIVE.decode(bytes)];
    let mut texts: Vec<String> =
        readings.into_iter().flatten().filter_map(|bytes| String::from_utf8(bytes).ok()).collect();
    texts.dedup();
    texts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
}

impl Class {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'a'..=b'z' => Some(Self::Lower),
            b'A'..=b'Z' => Some(Self::Upper),
            b'0'..=b'9' => Some(Self::Digit),
            _ => None,
        }
    }
}

/// How letters and digits follow one another.
#[derive(Default)]
struct Makeup {
    length: usize,
    digits: usize,
    capitals: usize,
    vowels: usize,
    /// Where one class follows another, but for a capital in front of small letters.
    changes: usize,
    /// Stretches of small letters, and those of at most two.
    stretches: usize,
    short: usize,
    longest: usize,
}

impl Makeup {
    fn of(text: &str) -> Self {
        let mut makeup = Self::default();
        let mut before = None;
        let mut run = 0_usize;
        let mut unbroken = 0;
        for byte in text.bytes().chain([b' ']) {
            let class = Class::of(byte);
            unbroken = if class.is_some() { unbroken + 1 } else { 0 };
            makeup.longest = makeup.longest.max(unbroken);
            if class == before && class.is_some() {
                run += 1;
            } else {
                if before == Some(Class::Lower) {
                    makeup.stretches += 1;
                    makeup.short += usize::from(run <= 2);
                }
                let is_word = before == Some(Class::Upper) && class == Some(Class::Lower) && run == 1;
                makeup.changes += usize::from(before.is_some() && class.is_some() && !is_word);
                run = 1;
            }
            makeup.length += usize::from(class.is_some());
            makeup.digits += usize::from(class == Some(Class::Digit));
            makeup.capitals += usize::from(class == Some(Class::Upper));
            makeup.vowels += usize::from(b"aeiouyAEIOUY".contains(&byte));
            before = class;
        }
        makeup
    }
}

/// Whether nobody would write such a text: at least `min` letters and digits that form no words, or a UUID.
pub(super) fn is_random(text: &str, min: usize) -> bool {
    let text = text.trim_matches('=');
    if is_uuid(text) {
        return true;
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=!*:,$|@".contains(&b)) {
        return false;
    }
    let makeup = Makeup::of(text);
    let letters = makeup.length - makeup.digits;
    if makeup.length < min || letters == 0 {
        return false;
    }
    if makeup.digits > 0 {
        let is_hex = makeup.longest >= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let is_long = makeup.longest >= 20 && makeup.digits >= 4 && letters >= 4;
        return is_hex
            || is_long
            || (makeup.changes >= makeup.length.div_ceil(6).max(3) && letters * 6 >= makeup.length);
    }
    let least = if makeup.length >= 16 { 2 } else { 3 };
    let is_mixed = makeup.capitals >= 3 && makeup.short >= least && makeup.short * 2 >= makeup.stretches;
    let is_unspeakable = makeup.longest >= 20 && makeup.vowels * 4 < makeup.length;
    (makeup.length >= min.max(10) && is_mixed) || is_unspeakable
}

/// Whether a text has letters and digits, and is no word.
pub(super) fn has_both(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// `8-4-4-4-12` digits of hex.
fn is_uuid(text: &str) -> bool {
    let text = text.trim_start_matches('{').trim_end_matches('}');
    let mut groups = text.split('-');
    let fits = [8, 4, 4, 4, 12].into_iter().all(|length| {
        groups.next().is_some_and(|group| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    fits && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_would_write_is_random() {
        for text in [
            "3f9a8b7c6d5e4f3a2b1c0d9e",
            "9f86d081884c7d659a2feaa0c55ad015",
            "aB3xY9zQ1kLm",
            "Q0RFRkdISUpLTE1OT1A",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "zt-1abc2def3-XyZaBcDeFgHiJ",
            "pQrStUvWxYzAbCdEfGhI",
            "cx7-0a1b2c3d4e5f6a7b8c9d",
            "xkqzjvwbnmtrplgfdshc",
        ] {
            assert!(is_random(text, 12), "{text}");
        }
        for text in [
            "how-to-reset-your-password-2024",
            "confirmYourEmailAddressNow",
            "resetPasswordFormForNewUsers",
            "iphone-15-pro-256gb",
            "20241124T100000Z",
            "8274652839472659",
            "Rechnung_2026_11",
            "index.php",
            "v1.2.3-rc1",
            "internationalization",
            "account123456",
            "",
        ] {
            assert!(!is_random(text, 8), "{text}");
        }
    }

    #[test]
    fn people_have_domains_and_files_have_endings() {
        for text in
            ["a@b.example", "x=Victim.Name+tag@corp.example&y", "o'hara@corp.example", "a@xn--bcher-kva.example"]
        {
            assert!(names_a_person(text), "{text}");
        }
        for text in ["logo@2x.png", "jquery@3.6.0", "/@user/post", "user@host", "@48.85,2.35,15z", "meeting@thread.v2"]
        {
            assert!(!names_a_person(text), "{text}");
        }
    }
}
