//! Finding observables: one pass over a refanged text, from anchor to anchor (`.`, `:`, `@`), each parsed where it stands.

use memchr::memchr3;

use crate::observable::{Observable, ObservableType};
use crate::refang::{Refanged, bracket_words};
use crate::text::byte;
use crate::{digest, encoded, host, link, mail, wrapped};

/// How deep links are unwrapped: a rewritten link in a rewritten link, and one more.
const UNWRAP_MAX: usize = 3;

/// Every observable in a plain text: sorted, without duplicates.
///
/// Defanged spellings count; the host of a URL, the domain of an e-mail address, and the link inside a rewritten link (SafeLinks,
/// URL Defense, …) are observables of their own. Reserved names and addresses are found like all others: the guard judges them.
#[must_use]
pub fn extract(text: &str) -> Vec<Observable> {
    let mut found = Found::default();
    digest::scan(text, &mut found);
    let spelled = bracket_words(text);
    Scan { refanged: &Refanged::new(&spelled), found: &mut found }.run();
    for inner in encoded::decoded(&spelled) {
        digest::scan(&inner, &mut found);
        Scan { refanged: &Refanged::new(&inner), found: &mut found }.run();
    }
    found.sorted()
}

/// Observables as they come in.
#[derive(Debug, Default)]
pub struct Found {
    observables: Vec<Observable>,
}

impl Found {
    /// Adds an observable and, if it has one, its host.
    pub fn add(&mut self, observable: Observable) {
        self.observables.extend(observable.host());
        self.observables.push(observable);
    }

    /// Adds a URL with its host and whatever it wraps.
    pub fn add_url(&mut self, url: Observable) {
        let mut url = url;
        for _ in 0..UNWRAP_MAX {
            let inner = wrapped::unwrap(url.value());
            self.add(url);
            match inner {
                Some(inner) => url = inner,
                None => return,
            }
        }
    }

    fn sorted(mut self) -> Vec<Observable> {
        self.observables.sort_unstable();
        self.observables.dedup();
        self.observables
    }
}

struct Scan<'a, 'b> {
    refanged: &'a Refanged<'a>,
    found: &'b mut Found,
}

impl Scan<'_, '_> {
    fn run(&mut self) {
        let text = self.refanged.text();
        // Nothing before `floor` is looked at again; anchors are looked for from `at`.
        let (mut floor, mut at) = (0, 0);
        while let Some(step) = text.as_bytes().get(at..).and_then(|rest| memchr3(b'.', b':', b'@', rest)) {
            let anchor = at + step;
            let end = match byte(text, anchor) {
                b'.' => self.dot(anchor, floor),
                b':' => self.colon(anchor, floor),
                _ => self.at_sign(anchor, floor),
            };
            at = anchor + 1;
            if let Some(end) = end {
                at = at.max(end);
                floor = at;
            }
        }
    }

    /// A URL, or an IPv6 address.
    fn colon(&mut self, at: usize, floor: usize) -> Option<usize> {
        if let Some(link) = link::parse(self.refanged, at, floor) {
            self.found.add_url(link.url);
            return Some(link.end);
        }
        let (address, end) = host::ipv6(self.refanged, at, floor)?;
        if let Some(address) = address {
            if let Some(mapped) = address.to_ipv4_mapped() {
                self.found.add(Observable::address(mapped.into()));
            }
            self.found.add(Observable::canonical(ObservableType::Ipv6Addr, address.to_string()));
        }
        Some(end)
    }

    fn at_sign(&mut self, at: usize, floor: usize) -> Option<usize> {
        let (email, end) = mail::parse(self.refanged, at, floor)?;
        self.found.add(email);
        Some(end)
    }

    /// A name, an IPv4 address, the local part of an e-mail address, or a URL without its scheme.
    fn dot(&mut self, at: usize, floor: usize) -> Option<usize> {
        let text = self.refanged.text();
        let run = host::run_around(text, at, floor);
        if let Some(sign) = mail::at_sign_after(text, run.end)
            && let Some(end) = self.at_sign(sign, floor)
        {
            return Some(end);
        }
        if let Some(link) = link::underscored(self.refanged, &run) {
            self.found.add_url(link.url);
            return Some(link.end);
        }
        for host in host::find(self.refanged, &run) {
            if let Some(link) = link::schemeless(self.refanged, &host) {
                self.found.add_url(link.url);
                return Some(link.end);
            }
            self.found.add(host.observable);
        }
        Some(run.end.max(at + 1))
    }
}
