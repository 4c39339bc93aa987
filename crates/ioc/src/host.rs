//! Hosts in running text: names, IPv4 and IPv6 addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::judge::{self, Name};
use crate::observable::{Observable, ObservableType};
use crate::parse;
use crate::refang::Refanged;
use crate::text::{byte, byte_before, char_at, char_before, is_label_char, is_unspaced, piece, skip, skip_back};

/// The longest spelling of an IPv6 address, zone left out, with some room for leading zeros.
const IPV6_MAX_BYTES: usize = 64;

/// A stretch of label characters and dots.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub start: usize,
    pub end: usize,
}

/// A name or an IPv4 address, and where it stands.
#[derive(Debug)]
pub struct HostFound {
    pub observable: Observable,
    pub start: usize,
    pub end: usize,
}

fn is_run_char(c: char) -> bool {
    c == '.' || is_label_char(c)
}

/// The run that holds the dot at `at`, not before `floor`.
pub fn run_around(text: &str, at: usize, floor: usize) -> Run {
    let mut start = at;
    while start > floor
        && let Some(c) = char_before(text, start).filter(|c| is_run_char(*c))
    {
        start -= c.len_utf8();
    }
    Run { start, end: run_end(text, at) }
}

/// The end of the run that starts at `at`.
pub fn run_end(text: &str, mut at: usize) -> usize {
    while let Some(c) = char_at(text, at).filter(|c| is_run_char(*c)) {
        at += c.len_utf8();
    }
    at
}

/// The hosts of a run: usually one or none; two for a range of addresses, more around ellipses.
pub fn find(refanged: &Refanged<'_>, run: &Run) -> Vec<HostFound> {
    let text = refanged.text();
    let mut found = Vec::new();
    let mut start = run.start;
    // `%2Fevil.example`: the digits belong to the escape.
    if byte_before(text, start) == b'%' && piece(text, start, start + 2).bytes().all(|b| b.is_ascii_hexdigit()) {
        start += 2;
    }
    for segment in piece(text, start, run.end).split("..") {
        let mut name_start = start + (segment.len() - segment.trim_start_matches('.').len());
        let mut name = segment.trim_matches('.');
        start += segment.len() + 2;
        if !name.is_ascii() {
            let cut = cut_unspaced(name);
            name_start += cut;
            name = name.get(cut..).unwrap_or("");
            name = name.get(..end_unspaced(name)).unwrap_or("");
        }
        if name.len() < 4 || !name.contains('.') {
            continue;
        }
        if name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
            addresses(refanged, name, name_start, &mut found);
        } else {
            found.extend(name_at(refanged, name, name_start));
        }
    }
    found
}

/// One IPv4 address, or the two ends of a range.
fn addresses(refanged: &Refanged<'_>, spelled: &str, start: usize, found: &mut Vec<HostFound>) {
    let Some(octets) = spelled.split('-').map(lenient_ipv4).collect::<Option<Vec<_>>>() else { return };
    let mut start = start;
    for (address, spelled) in octets.into_iter().zip(spelled.split('-')) {
        let end = start + spelled.len();
        if judge::is_address(refanged, address, start, end) {
            found.push(HostFound { observable: Observable::address(address.into()), start, end });
        }
        start = end + 1;
    }
}

/// Four decimal octets of at most three digits: people pad with zeros, and mean decimal.
pub fn lenient_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut labels = text.split('.');
    for octet in &mut octets {
        let label = labels.next().filter(|label| label.len() <= 3 && label.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = label.parse().ok()?;
    }
    labels.next().is_none().then(|| octets.into())
}

/// A domain name, if it is meant as one.
fn name_at(refanged: &Refanged<'_>, spelled: &str, start: usize) -> Option<HostFound> {
    let bare = spelled.trim_start_matches('-');
    let start = start + (spelled.len() - bare.len());
    let bare = unglued(bare.trim_end_matches(['-', '_', '.']));
    let (_, tld) = bare.rsplit_once('.')?;
    if tld.is_ascii() && !tld.bytes().all(|b| b.is_ascii_alphabetic()) && !judge::is_punycode(tld) {
        return None;
    }
    let canonical = parse::domain(bare).ok()?;
    let end = start + bare.len();
    let name = Name { spelled: bare, canonical: &canonical, start, end };
    judge::is_domain(refanged, &name).then(|| HostFound {
        observable: Observable::canonical(ObservableType::DomainName, canonical),
        start,
        end,
    })
}

/// Without what an author glued to a name: `evil.com-hosted`, `evil.com.Then`.
fn unglued(name: &str) -> &str {
    let Some((rest, last)) = name.rsplit_once('.') else { return name };
    if let Some((tld, glued)) = last.split_once('-')
        && judge::is_plain_tld(tld)
        && !judge::is_punycode(last)
    {
        return name.get(..name.len() - glued.len() - 1).unwrap_or(name);
    }
    let is_sentence =
        last.starts_with(|c: char| c.is_ascii_uppercase()) && last.contains(|c: char| c.is_ascii_lowercase());
    let is_name = rest.rsplit_once('.').is_some_and(|(_, tld)| judge::is_plain_tld(tld));
    if is_sentence && is_name { rest } else { name }
}

/// Where a name starts whose first label is glued to text of a script without spaces.
fn cut_unspaced(name: &str) -> usize {
    let label = name.split('.').next().unwrap_or(name);
    let Some(last) = label.char_indices().rfind(|(_, c)| is_unspaced(*c)) else { return 0 };
    let cut = last.0 + last.1.len_utf8();
    if cut < label.len() { cut } else { 0 }
}

/// Where a name ends whose last label is glued to text of a script without spaces.
fn end_unspaced(name: &str) -> usize {
    let label_start = name.rfind('.').map_or(0, |dot| dot + 1);
    let label = name.get(label_start..).unwrap_or("");
    match label.find(is_unspaced) {
        Some(at) if at > 0 => label_start + at,
        _ => name.len(),
    }
}

fn is_ipv6_byte(b: u8) -> bool {
    b.is_ascii_hexdigit() || b == b':' || b == b'.'
}

/// The stretch around the colon at `at` that looks like an IPv6 address, and the address if it is one.
pub fn ipv6(refanged: &Refanged<'_>, at: usize, floor: usize) -> Option<(Option<Ipv6Addr>, usize)> {
    let text = refanged.text();
    let after = byte(text, at + 1);
    if !is_ipv6_byte(after) {
        return None;
    }
    let low = floor.max(at.saturating_sub(IPV6_MAX_BYTES));
    let mut start = skip_back(text, at, low, is_ipv6_byte);
    let mut end = skip(text, at, text.len(), is_ipv6_byte);
    let stretch_end = end;
    if piece(text, start, end).bytes().filter(|b| *b == b':').count() < 2 {
        return None;
    }
    // `IPv6:2001:db8::1`: what is glued to a word on its left starts after the first colon.
    if char_before(text, start).is_some_and(is_label_char) {
        start = skip(text, start, stretch_end - start, |b| b != b':');
    }
    if piece(text, start, start + 2) != "::" && byte(text, start) == b':' {
        start += 1;
    }
    while end > start
        && matches!(byte_before(text, end), b'.' | b':')
        && piece(text, end.saturating_sub(2), end) != "::"
    {
        end -= 1;
    }
    let spelled = piece(text, start, end);
    let is_whole = spelled.len() <= IPV6_MAX_BYTES && !char_at(text, stretch_end).is_some_and(is_label_char);
    match parse::ipv6(spelled) {
        Ok(address) if is_whole && judge::is_ipv6(spelled, refanged.is_marked(start, end)) => {
            let is_network = judge::is_network(text, 128, address.to_bits(), end);
            Some((Some(address).filter(|_| !is_network), stretch_end))
        }
        // What follows the last colon may be something else: `12:30:15.evil.example`.
        _ => Some((None, at + 1 + piece(text, at + 1, stretch_end).rfind(':').map_or(0, |colon| colon + 1))),
    }
}
