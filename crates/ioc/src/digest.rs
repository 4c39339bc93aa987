//! Digests of files in running text.

use crate::observable::{HashAlgorithm, Observable, ObservableType};
use crate::scan::Found;
use crate::text::{byte, byte_before, has_word, is_label_byte, piece, skip, skip_back};

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

/// Names of path segments and parameters that hold the digest of a file.
const FILE_SEGMENTS: [&str; 6] = ["file", "files", "sample", "hash", "md5", "sha1"];

/// What programs that are named after their digest end in.
const PROGRAMS: [&str; 6] = [".exe", ".dll", ".bin", ".apk", ".msi", ".elf"];

/// How the separator of a scheme is spelled, defanged or escaped.
const SEPARATORS: [&str; 6] = ["://", "[:]", ":\\/\\/", ":[/", "%3A%2F%2F", "%3a%2f%2f"];

/// RFC 5321: the longest local part in bytes.
const LOCAL_PART_MAX_BYTES: usize = 64;

/// Adds every run of exactly 32, 40 or 64 hexadecimal digits that stands by itself.
///
/// In a URL or an e-mail address, 32 and 40 digits are mostly the number of a recipient: there, only what is named a file counts.
pub fn scan(text: &str, found: &mut Found) {
    let mut word = Word::default();
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
            && (hex.len() == 64
                || is_named_file(text, start, end)
                || !(word.is_link(text, start) || is_in_address(text, start, end)))
            && let Ok(file) = Observable::parse(ObservableType::File, hex)
        {
            found.add(file);
        }
    }
}

/// The word that is read, so that each is looked at once.
#[derive(Default)]
struct Word {
    read: usize,
    is_link: bool,
}

impl Word {
    /// True when a scheme stands before `at` in the same word; `at` only ever grows.
    fn is_link(&mut self, text: &str, at: usize) -> bool {
        let piece = text.get(self.read..at).unwrap_or("");
        let word_start = piece
            .rfind(|c: char| !c.is_ascii() || c.is_ascii_whitespace() || "\"'<>`,;|".contains(c))
            .and_then(|end| piece.get(end..).map(|rest| end + rest.chars().next().map_or(1, char::len_utf8)));
        let rest = match word_start {
            Some(start) => {
                self.is_link = false;
                piece.get(start..).unwrap_or("")
            }
            None => piece,
        };
        self.is_link |= SEPARATORS.iter().any(|separator| rest.contains(separator));
        self.read = at;
        self.is_link
    }
}

/// `/file/…`, `?md5=…`, `….exe`.
fn is_named_file(text: &str, start: usize, end: usize) -> bool {
    let name_end = start.saturating_sub(1);
    let name_start = skip_back(text, name_end, name_end.saturating_sub(8), |b| b.is_ascii_alphanumeric());
    let is_below = matches!(byte_before(text, start), b'/' | b'=' | b':')
        && FILE_SEGMENTS.iter().any(|name| name.eq_ignore_ascii_case(piece(text, name_start, name_end)));
    let is_program = PROGRAMS
        .into_iter()
        .any(|extension| has_word(text, end, extension) && !byte(text, end + extension.len()).is_ascii_alphanumeric());
    is_below || is_program
}

/// `bounce+…@mail.example`, `…@mail.example`.
fn is_in_address(text: &str, start: usize, end: usize) -> bool {
    let local_end = skip(text, end, LOCAL_PART_MAX_BYTES, |b| is_label_byte(b) || matches!(b, b'.' | b'+' | b'='));
    let has_at = |at: usize| byte(text, at) == b'@';
    byte_before(text, start) == b'@' || has_at(local_end) || (byte(text, local_end) == b'[' && has_at(local_end + 1))
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

    /// The files alone.
    fn check_files(text: &str, expected: &[&str]) {
        let found = crate::extract(text);
        let files: Vec<&str> = found
            .iter()
            .filter(|found| found.kind() == crate::ObservableType::File)
            .map(crate::Observable::value)
            .collect();
        assert_eq!(files, expected, "{text:?}");
    }

    #[test]
    fn numbers_of_recipients_are_no_files() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for text in [
            format!("https://click.news.example/t/{md5}/open"),
            format!("hxxps[:]//click.news[.]example/t/{md5}"),
            format!("hxxps[://]click.news[.]example/t/{md5}"),
            format!("{{\"u\":\"https:\\/\\/news.example\\/{md5}\"}}"),
            format!("https://news.example/?m={sha1}"),
            format!("https://news.example/{md5}/{sha1}-{md5}"),
            format!("bounce+{md5}@mail.example"),
            format!("bounce-{md5}=user=evil.example@mail.example"),
            format!("{md5}@mail.example"),
            format!("{md5}[@]mail[.]example"),
            format!("<a@{md5}.mail.example>"),
        ] {
            check_files(&text, &[]);
        }
        for text in [
            format!("https://news.example/file/{md5}/detection"),
            format!("https://news.example/?a=b&md5={md5}"),
            format!("https://news.example/x/{md5}.exe"),
            format!("https://news.example/ {md5}"),
            format!("https://news.example/a,{md5}"),
            format!("https://news.example/a\u{a0}{md5}"),
            format!("news.example/t/{md5}"),
            format!("https://news.example/a\n{md5} @user"),
        ] {
            check_files(&text, &[md5]);
        }
        check_files(&format!("https://news.example/t/{sha256}/open"), &[sha256]);
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
