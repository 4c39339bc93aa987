//! E-mail addresses in running text.

use crate::host::run_end;
use crate::observable::{Observable, ObservableType};
use crate::refang::Refanged;
use crate::text::{byte, byte_before, char_before, is_label_byte, is_label_char, piece, skip, skip_back};

/// RFC 5321: the longest local part in bytes.
const LOCAL_PART_MAX_BYTES: usize = 64;
/// How many spaces may stand on either side of the at sign.
const SPACES_MAX: usize = 3;

/// What local parts are made of in practice; RFC 5321 allows more, and running text abuses it.
fn is_local_byte(b: u8) -> bool {
    is_label_byte(b) || matches!(b, b'.' | b'+' | b'%' | b'\'')
}

/// The at sign that ends a local part which goes on at `at`.
pub fn at_sign_after(text: &str, at: usize) -> Option<usize> {
    let end = skip(text, at, LOCAL_PART_MAX_BYTES, is_local_byte);
    let end = skip(text, end, SPACES_MAX, |b| b == b' ');
    (byte(text, end) == b'@').then_some(end)
}

/// The address around the at sign at `at`, and where it ends.
pub fn parse(refanged: &Refanged<'_>, at: usize, floor: usize) -> Option<(Observable, usize)> {
    let text = refanged.text();
    let local_end = skip_back(text, at, floor.max(at.saturating_sub(SPACES_MAX)), |b| b == b' ');
    let local = local_part(text, local_end, floor)?;
    let domain_start = skip(text, at + 1, SPACES_MAX, |b| b == b' ');
    let (domain, end) = domain(text, domain_start)?;
    let address = Observable::parse(ObservableType::EmailAddr, &format!("{local}@{domain}")).ok()?;
    // A known suffix is proof; so is that somebody took the trouble to defang it.
    let is_meant =
        address.host().is_some() || (refanged.is_marked(at, end) && local_end == at && domain_start == at + 1);
    is_meant.then_some((address, end))
}

/// The local part that ends at `end`.
fn local_part(text: &str, end: usize, floor: usize) -> Option<&str> {
    let low = floor.max(end.saturating_sub(LOCAL_PART_MAX_BYTES));
    let mut start = end;
    while start > low
        && let Some(c) =
            char_before(text, start).filter(|c| is_label_char(*c) || (c.is_ascii() && is_local_byte(*c as u8)))
    {
        start -= c.len_utf8();
    }
    let local = piece(text, start, end);
    let local = local.rsplit("..").next()?;
    let local = local.trim_start_matches(['.', '\'', '-', '%']);
    // `%40`-style escapes: what follows the last one that can only be a separator.
    let local = ["%3A", "%3a", "%22", "%3C", "%3c", "%20", "%3D", "%3d"]
        .into_iter()
        .fold(local, |local, escape| local.rsplit(escape).next().unwrap_or(local));
    (!local.is_empty() && !local.ends_with('.')).then_some(local)
}

/// The domain that starts at `start`: a name, an IPv4 address, or an address in brackets, as spelled, and where it ends.
fn domain(text: &str, start: usize) -> Option<(&str, usize)> {
    if byte(text, start) == b'[' {
        let end = skip(text, start, 64, |b| b != b']');
        return (byte(text, end) == b']').then(|| (piece(text, start, end + 1), end + 1));
    }
    let end = run_end(text, start);
    let run = piece(text, start, end);
    let run = run.split("..").next().unwrap_or(run);
    let run = run.trim_end_matches(['.', '-', '_']);
    (run.contains('.') && byte_before(text, start) != b'.').then(|| (run, start + run.len()))
}

#[cfg(test)]
mod tests {
    use crate::observable::ObservableType;

    fn check(text: &str, expected: &[&str]) {
        let found = crate::extract(text);
        let mails: Vec<&str> = found
            .iter()
            .filter(|found| found.kind() == ObservableType::EmailAddr)
            .map(crate::Observable::value)
            .collect();
        assert_eq!(mails, expected, "{text:?}");
    }

    #[test]
    fn addresses_stand_between_other_text() {
        for text in [
            "a.b+c@evil.example",
            "<a.b+c@evil.example>",
            "mailto:a.b+c@EVIL.example",
            "smtp.mailfrom=a.b+c@evil.example;",
            "'a.b+c@evil.example'",
            "a.b+c@evil.example.",
            "a.b+c @ evil.example",
            "a.b+c[at]evil[dot]example",
            "..a.b+c@evil.example",
        ] {
            check(text, &["a.b+c@evil.example"]);
        }
    }

    #[test]
    fn an_address_may_have_a_number_for_a_domain() {
        check("a@192.0.2.7", &["a@192.0.2.7"]);
        check("a@[192.0.2.7]x", &["a@[192.0.2.7]"]);
        check("a@[IPv6:2001:db8::1]", &["a@[IPv6:2001:db8::1]"]);
    }

    #[test]
    fn at_signs_alone_make_no_address() {
        for text in [
            "image@2x.png",
            "a@",
            "@evil",
            "@",
            "a@b",
            "a @ words. Sentence",
            "pkg@1.2.3",
            "a@-evil.example",
            "a.@evil.example",
            "a@.example",
        ] {
            check(text, &[]);
        }
    }
}
