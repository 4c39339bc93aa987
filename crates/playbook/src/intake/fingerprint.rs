//! The fingerprint of what comes in: alike things have the same, so that a storm of them is seen as one.

use std::collections::BTreeSet;

use ioc::{Observable, ObservableType};

use super::{Alert, Named};
use crate::canonical;

/// Bytes of a mail's body that count.
const BODY_BYTES: usize = 64 * 1024;

/// Lower case, digits removed, white space collapsed: what is left of a text when counters, times and serial numbers
/// do not count.
#[must_use]
pub fn normalised(text: &str) -> String {
    let mut words: Vec<String> = vec![];
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_numeric()).flat_map(char::to_lowercase).collect();
        if !word.is_empty() {
            words.push(word);
        }
    }
    words.join(" ")
}

fn digest(parts: &[&str]) -> String {
    // The length goes before each part, so that no two lists are the same bytes.
    let lengths = parts.iter().map(|part| part.len().to_string());
    let framed: Vec<String> = lengths.zip(parts).map(|(length, part)| [&length, ":", part].concat()).collect();
    canonical::sha256_hex(framed.concat().as_bytes())
}

impl Alert {
    /// Digest over source, normalised title and the sorted keys of what the mapping named.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let observables = self.observables.iter().filter_map(Named::observable);
        let keys: BTreeSet<String> = observables.map(|observable| observable.key()).collect();
        let title = normalised(&self.title);
        let mut parts = vec!["alert", self.source.as_str(), title.as_str()];
        parts.extend(keys.iter().map(String::as_str));
        digest(&parts)
    }
}

/// The fingerprint of something that no mapping could read: digest over source and normalised text.
#[must_use]
pub fn of_text(source: &str, text: &str) -> String {
    digest(&["text", source, &normalised(text)])
}

/// The fingerprint of a raw mail: what follows the first blank line, without the lines that part its pieces, normalised,
/// and the hosts in it, because digits count there. `None` when there is no body.
#[must_use]
pub fn of_mail(raw: &[u8]) -> Option<String> {
    let body = body(raw)?;
    let text = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES)]);
    let lines = text.lines().filter(|line| !line.starts_with("--") && !line.contains("boundary="));
    let kept: String = lines.flat_map(|line| [line, "\n"]).collect();
    let words = normalised(&kept);
    if words.is_empty() {
        return None;
    }
    let hosts: BTreeSet<String> =
        ioc::extract(&kept).iter().filter(|found| is_host(found)).map(Observable::key).collect();
    let mut parts = vec!["mail", words.as_str()];
    parts.extend(hosts.iter().map(String::as_str));
    Some(digest(&parts))
}

fn is_host(observable: &Observable) -> bool {
    matches!(observable.kind(), ObservableType::Ipv4Addr | ObservableType::Ipv6Addr | ObservableType::DomainName)
}

/// What follows the first blank line, whatever its line breaks.
fn body(raw: &[u8]) -> Option<&[u8]> {
    let mut rest = raw;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() || line == b"\r" {
            return Some(rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_spaces_do_not_count() {
        assert_eq!(normalised("  Beacon #17 from\tHost4 \n at 05:00 "), "beacon # from host at :");
        assert_eq!(normalised("2026 11 24"), "");
        assert_eq!(normalised("ÄRGER"), "ärger");
    }

    #[test]
    fn mails_that_differ_in_numbers_are_alike() {
        let mail = |id: u32, host: &str| {
            let raw = format!(
                "Message-ID: <{id}@x.example>\r\nSubject: invoice {id}\r\n\r\n--b{id}-{host}\r\n\r\nInvoice {id}: http://{host}/pay?id={id}\r\n--b{id}-{host}--\r\n"
            );
            of_mail(raw.as_bytes()).unwrap()
        };
        assert_eq!(mail(1, "evil.example"), mail(22, "evil.example"));
        assert_ne!(mail(1, "evil.example"), mail(1, "other.example"));
        assert_ne!(mail(1, "192.0.2.7"), mail(1, "192.0.2.8"), "the digits of an address count");
    }

    #[test]
    fn what_has_no_body_has_no_fingerprint() {
        for raw in [&b""[..], b"Subject: x", b"Subject: x\r\n\r\n", b"Subject: x\n\n 123 \n"] {
            assert_eq!(of_mail(raw), None, "{}", String::from_utf8_lossy(raw));
        }
        assert!(of_mail(b"\nbody").is_some());
        assert!(of_mail(&[b"a: b\n\n".as_slice(), &vec![0xff; 1_000_000]].concat()).is_some());
    }
}
