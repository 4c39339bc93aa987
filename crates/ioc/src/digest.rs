//! Digests of files in running text.

use crate::observable::{HashAlgorithm, Observable, ObservableType};
use crate::scan::Found;
use crate::text::{byte, byte_before, piece, skip, skip_back};

/// The shortest digest: every one of them covers a multiple of this many bytes.
const SHORTEST: usize = 32;

/// Words in front of a hexadecimal number that is as long as a file's digest and is none.
const OTHER_DIGESTS: [&str; 13] = [
    "imphash",
    "authentihash",
    "import hash",
    "vhash",
    "telfhash",
    "richhash",
    "rich header hash",
    "dhash",
    "ja3",
    "ja3s",
    "thumbprint",
    "serial number",
    "icon hash",
];

/// Adds every run of exactly 32, 40 or 64 hexadecimal digits that stands by itself.
pub fn scan(text: &str, found: &mut Found) {
    let mut floor = 0;
    let mut at = SHORTEST - 1;
    while at < text.len() {
        if !byte(text, at).is_ascii_hexdigit() {
            at += SHORTEST;
            continue;
        }
        let start = skip_back(text, at, floor, |b| b.is_ascii_hexdigit());
        let end = skip(text, at, text.len(), |b| b.is_ascii_hexdigit());
        floor = end;
        at = end + SHORTEST - 1;
        let hex = piece(text, start, end);
        if HashAlgorithm::of_hex(hex).is_some()
            && stands_alone(text, start, end)
            && !is_other_digest(text, start)
            && let Ok(file) = Observable::parse(ObservableType::File, hex)
        {
            found.add(file);
        }
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_prefixed = matches!(byte_before(text, start), b'x' | b'X')
        && piece(text, start.saturating_sub(2), start.saturating_sub(1)) == "0"
        && !byte_before(text, start.saturating_sub(2)).is_ascii_alphanumeric();
    (is_prefixed || !byte_before(text, start).is_ascii_alphanumeric()) && !byte(text, end).is_ascii_alphanumeric()
}

fn is_other_digest(text: &str, start: usize) -> bool {
    let low = start.saturating_sub(6);
    let label_end =
        skip_back(text, start, low, |b| matches!(b, b' ' | b'\t' | b':' | b'=' | b'-' | b'"' | b'\'' | b'(' | b'|'));
    OTHER_DIGESTS.iter().any(|word| {
        label_end
            .checked_sub(word.len())
            .and_then(|from| text.as_bytes().get(from..label_end))
            .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = crate::extract(text).iter().map(crate::Observable::key).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn digests_stand_by_themselves() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let expected = "file#md5:0123456789abcdef0123456789abcdef";
        for text in [
            md5.to_owned(),
            md5.to_uppercase(),
            format!("md5={md5}!"),
            format!("0x{md5}"),
            format!("{md5}.bin"),
            format!("x_{md5}_x"),
        ] {
            check(&text, &[expected]);
        }
        for text in [
            format!("x{md5}"),
            format!("{md5}x"),
            format!("{md5}0"),
            format!("imphash: {md5}"),
            format!("ja3 {md5}"),
            format!("10x{md5}"),
        ] {
            check(&text, &[]);
        }
        check(
            &format!("{md5}01234567 {md5}{md5} {md5}{md5}{md5}{md5}"),
            &[
                "file#sha1:0123456789abcdef0123456789abcdef01234567",
                "file#sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ],
        );
    }
}
