//! Where in an address a secret lies, if one does.

use percent_encoding::percent_decode_str;
use url::{Host, Url, form_urlencoded};

use super::{
    shapes::{decoded, has_both, holds_a_jwt, holds_a_key, is_random, names_a_person},
    words,
};

/// Addresses in addresses, and encodings in encodings, are looked into so deep.
const DEPTH: u8 = 4;

/// The shortest text that counts as random: after a word that says so, on a host whose links let in whoever has them, beside
/// a name that hints at it, and where nothing says anything.
const AFTER_WORD: usize = 10;
const AS_CAPABILITY: usize = 8;
const AFTER_HINT: usize = 10;
const ALONE: usize = 16;
/// The shortest proof of a link that ends.
const PROOF: usize = 20;

/// Where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the path: nothing is left without it.
    Path,
    /// In user, query or fragment.
    Beside,
}

/// Where the secret of an address lies; the path comes first.
pub(super) fn secret(url: &Url) -> Option<Place> {
    within(url, DEPTH)
}

fn within(url: &Url, depth: u8) -> Option<Place> {
    let link = Link::of(url, depth);
    if link.path_holds_one() {
        return Some(Place::Path);
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    (has_user || link.query_holds_one() || link.fragment_holds_one()).then_some(Place::Beside)
}

/// An address, taken apart.
struct Link {
    segments: Vec<String>,
    query: Vec<(String, String)>,
    fragment: Option<String>,
    /// Whether its host's links let in whoever has them.
    is_capability: bool,
    /// Whether it is for one person, by its host, its path or what is to be done.
    is_personal: bool,
    is_hook: bool,
    depth: u8,
}

impl Link {
    fn of(url: &Url, depth: u8) -> Self {
        let host = url.host_str().unwrap_or_default();
        let segments: Vec<String> = url.path().split('/').map(plain).collect();
        let query: Vec<(String, String)> = url.query().map(pairs).unwrap_or_default();
        let fragment = url.fragment().map(plain);
        let is_published = segments.iter().any(|segment| words::is_published(segment));
        let speaks = |text: &str| !is_random(text, AFTER_WORD) && words::speaks_of_one_person(text);
        let route = fragment.as_deref().unwrap_or_default().split(['?', '&', '#', '/', '=']);
        let is_personal = segments.iter().any(|segment| speaks(segment))
            || query.iter().any(|(_, value)| value.len() <= 40 && speaks(value))
            || route.into_iter().any(speaks);
        Self {
            is_capability: words::is_capability_host(host) && !is_published,
            is_personal,
            is_hook: words::is_hook_host(host),
            segments,
            query,
            fragment,
            depth,
        }
    }

    fn path_holds_one(&self) -> bool {
        let is_key = self.is_capability && !self.segments.iter().any(|segment| words::only_names(segment));
        let mut is_after_word = self.is_hook;
        let mut before = "";
        for (number, segment) in self.segments.iter().enumerate() {
            if holds(segment, self.depth) || segment.split([',', ';', '!', '|']).any(|part| self.is_pair(part)) {
                return true;
            }
            let name = without_ending(segment);
            let (is_last, speaks) = (number + 1 == self.segments.len(), words::speaks_of_one_person(segment));
            // `/:w:/s/…` and `/personal/somebody_corp_example/` of SharePoint.
            let is_share = segment.len() == 3 && segment.starts_with(':') && segment.ends_with(':') && !is_last;
            let is_drive = before.eq_ignore_ascii_case("personal") && segment.matches('_').count() >= 2;
            let min = if is_key { AS_CAPABILITY } else { AFTER_WORD };
            let is_one_time = (is_after_word || is_key) && is_random(name, min);
            // What takes anything from anybody keeps its address short.
            let is_hook = self.is_hook && name.len() >= 6 && has_both(name);
            // `reset-3f9a…`, `private-3f9a…`, `token:3f9a…`
            let is_both = speaks && name.split(['-', '_', '.', ':', '=', '~']).any(|part| is_random(part, AFTER_WORD));
            if is_share || is_drive || is_one_time || is_hook || is_both {
                return true;
            }
            is_after_word |= speaks;
            before = segment;
        }
        false
    }

    fn query_holds_one(&self) -> bool {
        self.pairs_hold_one(&self.query)
    }

    /// A fragment may be a route with its own query, `#/reset?token=…`, pairs, or the key itself, which is never sent.
    fn fragment_holds_one(&self) -> bool {
        let Some(fragment) = &self.fragment else { return false };
        holds(fragment, self.depth)
            || is_random(fragment.trim_start_matches(['!', '/']), ALONE)
            || fragment.split(['?', '#', '/', ';', '!']).any(|part| self.pairs_hold_one(&pairs(part)))
    }

    fn pairs_hold_one(&self, pairs: &[(String, String)]) -> bool {
        let ends = pairs.iter().any(|(name, value)| words::is_expiry(name) && !value.is_empty());
        let has_state = pairs.iter().any(|(name, value)| name.eq_ignore_ascii_case("state") && !value.is_empty());
        pairs.iter().any(|(name, value)| {
            // `?3f9a…` is a value without a name.
            let (name, value) = if value.is_empty() { ("", name.as_str()) } else { (name.as_str(), value.as_str()) };
            let is_code = has_state && name.eq_ignore_ascii_case("code") && value.len() >= 6;
            if holds(value, self.depth) || holds(name, self.depth) || is_code || is_secret(name, value) {
                return true;
            }
            if words::is_tracking(name) || words::is_expiry(name) || words::is_known_to_all(name) {
                return false;
            }
            (words::is_hint(name) && is_random(value, AFTER_HINT))
                || (self.is_personal
                    && words::is_hint(name)
                    && value.len() >= 4
                    && value.contains(|c: char| c.is_ascii_digit()))
                || ((self.is_personal || self.is_capability || self.is_hook) && holds_something_random(value))
                || (ends && is_random(value, PROOF))
        })
    }

    /// A part of a segment that is a name with its value: `jsessionid=…`, `token:…`.
    fn is_pair(&self, part: &str) -> bool {
        part.split_once(['=', ':']).is_some_and(|(name, value)| {
            is_secret(name, value) || (words::is_hint(name) && is_random(value, AFTER_HINT)) || holds(value, self.depth)
        })
    }
}

/// Whether a value, or a text in a document that is one, is random.
fn holds_something_random(value: &str) -> bool {
    value.split(['{', '}', '"', '[', ']', '(', ')', ' ', '&']).any(|part| is_random(part, AS_CAPABILITY))
}

fn is_secret(name: &str, value: &str) -> bool {
    let is_nothing = value.chars().all(|c| c.is_ascii_digit()) && value.len() <= 2;
    let says_nothing = ["true", "false", "yes", "no", "on", "off", "null", "none", "undefined"];
    words::is_secret_name(name) && !is_nothing && !says_nothing.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether a text holds a person or a key, plain or encoded, or an address that does.
fn holds(text: &str, depth: u8) -> bool {
    if names_a_person(text) || holds_a_jwt(text) || holds_a_key(text) {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else { return false };
    let more = plain(text);
    (more != text && holds(&more, depth))
        || decoded(text).iter().any(|behind| holds(behind, depth))
        || addresses(text).any(|url| is_inside(&url) || within(&url, depth).is_some())
}

/// The address that a text holds.
fn addresses(text: &str) -> impl Iterator<Item = Url> {
    // The first few: whoever writes more wants us to be busy.
    text.match_indices("://").take(2).filter_map(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let scheme = ["https", "http"].into_iter().find(|scheme| before.to_ascii_lowercase().ends_with(scheme))?;
        Url::parse(text.get(at - scheme.len()..)?).ok()
    })
}

/// Whether an address lies in somebody's own network: it says what is called how there.
fn is_inside(url: &Url) -> bool {
    let Some(Host::Domain(name)) = url.host() else { return false };
    let name = name.trim_end_matches('.');
    let outside = ["localhost", "onion", "alt", "arpa"];
    match ioc::guard::special_use_name(name) {
        Some(special) => !special.is_documentation() && !outside.contains(&special.name()),
        None => !name.contains('.'),
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split(';')
        .flat_map(|part| form_urlencoded::parse(part.as_bytes()))
        .map(|(n, v)| (plain(&n), plain(&v)))
        .collect()
}

/// A text without its percent-encodings, those of encodings too.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for _ in 0..3 {
        let decoded = percent_decode_str(&plain).decode_utf8_lossy().into_owned();
        if decoded == plain {
            break;
        }
        plain = decoded;
    }
    plain
}

/// The name of a file without its ending.
fn without_ending(segment: &str) -> &str {
    match segment.rsplit_once('.') {
        Some((name, ending)) if !name.is_empty() && ending.len() <= 5 => name,
        _ => segment,
    }
}
