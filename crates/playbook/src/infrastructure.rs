//! Infrastructure: what bad observables of different incidents stand on, though the observables themselves differ.
//!
//! Links are written beside the sightings of observables and found through the same index: the registrable domain, the /24 (of
//! IPv6 the /48), the autonomous system, the certificate, and pieces of a file's TLSH digest.

use std::collections::{BTreeMap, BTreeSet};

use ioc::{Observable, ObservableType};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tlsh2::Tlsh128_1;

use crate::{outcome::Grade, verdict::Facts};

/// Links of one sort that an incident has at most, so that none crowds out the others; a file has sixteen pieces.
const LINKS_MAX: usize = 32;
/// Two files are alike up to this distance. Oliver et al., "TLSH: a locality sensitive hash" (2013): at 40 fewer than one in
/// 5,000 pairs of different files.
const ALIKE_MAX: i32 = 40;
/// Hexadecimal digits of a TLSH digest without its version and header: 128 buckets of two bits.
const TLSH_BODY: usize = 64;
/// Digits of a piece. Of 16 pieces at least one is nearly always the same in files that are alike.
const TLSH_PIECE: usize = 4;

/// What an observable stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// The same certificate.
    Certificate,
    /// Files that are alike.
    Tlsh,
    /// The domain that somebody has registered.
    RegistrableDomain,
    /// /24 or /48.
    Network,
    /// The autonomous system.
    Asn,
}

impl Sort {
    /// The word in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Tlsh => "tlsh",
            Self::RegistrableDomain => "registrable-domain",
            Self::Network => "network",
            Self::Asn => "asn",
        }
    }

    /// How much of an observable's weight such a link has: neighbours share a network, and thousands a provider.
    #[must_use]
    pub const fn percent(self) -> u32 {
        match self {
            Self::Certificate | Self::Tlsh => 80,
            Self::RegistrableDomain => 50,
            Self::Network => 40,
            Self::Asn => 20,
        }
    }
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of which sort.
    pub sort: Sort,
    /// What the index finds it by, such as `network#192.0.2.0/24`.
    pub key: String,
    /// For TLSH: the whole digest, by which it is decided whether two files are alike.
    pub digest: Option<String>,
    /// Keys of the observables that stand on it.
    pub of: BTreeSet<String>,
}

/// The links of these facts, each once, the strongest first.
#[must_use]
pub fn links<'a>(bad: impl Iterator<Item = &'a Facts>) -> Vec<Link> {
    let mut links: BTreeMap<(Sort, String), Link> = BTreeMap::new();
    for facts in bad {
        let observable = facts.observable.key();
        for (sort, value, digest) in stands_on(facts) {
            let key = format!("{}#{value}", sort.as_str());
            let link = links.entry((sort, key.clone())).or_insert(Link { sort, key, digest, of: BTreeSet::new() });
            link.of.insert(observable.clone());
        }
    }
    let mut counts: BTreeMap<Sort, usize> = BTreeMap::new();
    let mut is_kept = |link: &Link| {
        let count = counts.entry(link.sort).or_default();
        *count += 1;
        *count <= LINKS_MAX
    };
    links.into_values().filter(|link| is_kept(link)).collect()
}

fn stands_on(facts: &Facts) -> Vec<(Sort, String, Option<String>)> {
    let observable = &facts.observable;
    let host = observable.host().unwrap_or_else(|| observable.clone());
    let mut found: Vec<(Sort, String, Option<String>)> = vec![];
    if host.kind() == ObservableType::DomainName {
        let domain = ioc::guard::registrable_domain(host.value());
        found.extend(domain.map(|domain| (Sort::RegistrableDomain, domain.to_owned(), None)));
    }
    found.extend(network(&host).map(|network| (Sort::Network, network, None)));
    for outcome in &facts.outcomes {
        let Some(opinion) = &outcome.opinion else { continue };
        let words = || opinion.tags.iter().filter_map(|tag| tag.split_once(':'));
        // Only what sources of context say of it: the others pass on the words of whoever reports to them.
        for (name, value) in words().filter(|_| outcome.context) {
            found.extend(link(name, value));
        }
        let is_trusted = matches!(facts.grade(outcome, opinion), Grade::A | Grade::B);
        if observable.kind() == ObservableType::File && !outcome.context && is_trusted {
            // The mapping's own comes first.
            let digest = words().next().filter(|(name, _)| *name == "tlsh");
            found.extend(digest.into_iter().flat_map(|(_, digest)| pieces(digest)));
        }
    }
    found
}

/// The link that a word of context stands for, such as `asn:64500`.
fn link(name: &str, value: &str) -> Option<(Sort, String, Option<String>)> {
    match name {
        "points-to" => {
            let address = Observable::parse_any(value).ok()?;
            Some((Sort::Network, network(&address)?, None))
        }
        "asn" => {
            let number: u32 = value.trim_start_matches("AS").parse().ok()?;
            Some((Sort::Asn, number.to_string(), None))
        }
        "certificate" if is_plain(value) => Some((Sort::Certificate, value.to_ascii_lowercase(), None)),
        _ => None,
    }
}

fn network(address: &Observable) -> Option<String> {
    let network: IpNet = match address.kind() {
        ObservableType::Ipv4Addr => Ipv4Net::new(address.value().parse().ok()?, 24).ok()?.trunc().into(),
        ObservableType::Ipv6Addr => Ipv6Net::new(address.value().parse().ok()?, 48).ok()?.trunc().into(),
        _ => return None,
    };
    Some(network.to_string())
}

/// A serial number or digest as providers write it.
fn is_plain(value: &str) -> bool {
    (8..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digest in pieces: files that are alike have at least one in common.
fn pieces(digest: &str) -> Vec<(Sort, String, Option<String>)> {
    let digest = digest.to_ascii_uppercase();
    let whole = if digest.starts_with("T1") { digest } else { format!("T1{digest}") };
    if whole.parse::<Tlsh128_1>().is_err() {
        return vec![];
    }
    let body = whole.get(whole.len().saturating_sub(TLSH_BODY)..).unwrap_or_default().as_bytes();
    let spelled = |(number, piece): (usize, &[u8])| {
        let piece = String::from_utf8_lossy(piece).into_owned();
        (Sort::Tlsh, format!("{number}.{piece}"), Some(whole.clone()))
    };
    body.chunks(TLSH_PIECE).enumerate().map(spelled).collect()
}

/// Whether two files are alike by their TLSH digests; false for what is no digest.
#[must_use]
pub fn are_alike(one: &str, other: &str) -> bool {
    match (one.parse::<Tlsh128_1>(), other.parse::<Tlsh128_1>()) {
        (Ok(one), Ok(other)) => one.diff(&other, true) <= ALIKE_MAX,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        outcome::{Judgement, Opinion, Outcome, Status},
    };

    fn facts(value: &str, tags: &[&str]) -> Facts {
        let at = Timestamp::from_millis(0);
        let opinion = Opinion {
            verdict: Judgement::Unknown,
            score: 0,
            grade: None,
            own: false,
            upstreams: vec![],
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            evidence: None,
            permalink: None,
            last_seen: None,
        };
        let outcome = Outcome {
            provider: "cymru-asn".to_owned(),
            family: "cymru".to_owned(),
            context: true,
            outcome: Status::Found,
            reason: None,
            opinion: Some(opinion),
            fetched_at: at,
            expires_at: at,
            manifest_digest: String::new(),
            cached: false,
            task: None,
            stale: None,
        };
        Facts { outcomes: vec![outcome], ..Facts::bare(Observable::parse_any(value).unwrap()) }
    }

    fn check(value: &str, tags: &[&str], expected: &[&str]) {
        let found = links([facts(value, tags)].iter());
        let keys: Vec<&str> = found.iter().map(|link| link.key.as_str()).collect();
        assert_eq!(keys, expected, "{value} {tags:?}");
    }

    #[test]
    fn every_observable_stands_on_what_its_host_and_the_context_say() {
        check("a.b.evil.example", &[], &["registrable-domain#evil.example"]);
        check(
            "https://a.evil.example/x",
            &["points-to:192.0.2.7"],
            &["registrable-domain#evil.example", "network#192.0.2.0/24"],
        );
        check("http://192.0.2.99/x", &["asn:64500"], &["network#192.0.2.0/24", "asn#64500"]);
        check("192.0.2.99", &["asn:AS64500", "asn:64500"], &["network#192.0.2.0/24", "asn#64500"]);
        check("2001:db8:1:2::7", &[], &["network#2001:db8:1::/48"]);
        check(
            "evil.example",
            &["certificate:03AbCd0123"],
            &["certificate#03abcd0123", "registrable-domain#evil.example"],
        );
        // Hostile words are no links.
        check(
            "192.0.2.1",
            &["asn:x", "asn:", "certificate:../..", "tlsh:nonsense", "points-to:nobody"],
            &["network#192.0.2.0/24"],
        );
    }

    /// Nine tenths of one text and the rest of another.
    fn file(seed: u64, tail: u64) -> Vec<u8> {
        let mut state = seed;
        let word = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33).to_le_bytes()
        };
        let mut bytes: Vec<u8> = (0..900).flat_map(|_| word(&mut state)).collect();
        state = tail;
        bytes.extend((0..20).flat_map(|_| word(&mut state)));
        bytes
    }

    fn digest(bytes: &[u8]) -> String {
        let tlsh = tlsh2::TlshDefaultBuilder::build_from(bytes).unwrap();
        String::from_utf8(tlsh.hash().to_vec()).unwrap()
    }

    #[test]
    fn files_that_are_alike_have_a_piece_in_common_and_others_are_told_apart() {
        let one = digest(&file(1, 7));
        let mut alike = 0;
        for tail in 8..40 {
            let other = digest(&file(1, tail));
            if are_alike(&one, &other) {
                alike += 1;
                let of = |digest: &str| pieces(digest).into_iter().map(|(_, key, _)| key).collect::<BTreeSet<_>>();
                assert!(!of(&one).is_disjoint(&of(&other)), "{one} {other}");
            }
        }
        assert!(alike > 20, "{alike}");
        assert!((100..140).all(|seed| !are_alike(&one, &digest(&file(seed, 7)))));
        assert!(!are_alike(&one, "nonsense"));
    }

    #[test]
    fn a_link_is_there_once_with_all_that_stand_on_it() {
        let found = links([facts("a.evil.example", &[]), facts("b.evil.example", &[])].iter());
        assert_eq!((found.len(), found[0].of.len()), (1, 2));
        let many: Vec<Facts> = (0..100).map(|n| facts(&format!("evil-{n}.example"), &[])).collect();
        assert_eq!(links(many.iter()).len(), LINKS_MAX);
    }
}
