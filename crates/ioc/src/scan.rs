//! Finding observables: one pass over a refanged text, from anchor to anchor (`.`, `:`, `@`), each parsed where it stands.

use std::ops::Range;

use memchr::memchr3;

use crate::observable::{Observable, ObservableType};
use crate::refang::Refanged;
use crate::spelled::bracket_words;
use crate::text::byte;
use crate::{digest, encoded, host, link, mail, redirect, wrapped};

/// How many links are followed into each other: two that were rewritten, a redirector, and its target.
const UNWRAP_MAX: usize = 4;

/// Every observable in a plain text: sorted, without duplicates.
///
/// Defanged spellings count; the host of a URL, the domain of an e-mail address, and the link inside a rewritten link (`SafeLinks`,
/// URL Defense, …) or behind a redirector (`?url=https://…`) are observables of their own. Reserved names and addresses are found like all others: the guard judges them.
#[must_use]
pub fn extract(text: &str) -> Vec<Observable> {
    let mut found = Found::default();
    digest::scan(text, &mut found);
    let spelled = bracket_words(text);
    let refanged = Refanged::new(&spelled);
    let links = Scan::new(&refanged, &mut found).run();
    for inner in encoded::decoded(refanged.text(), &links) {
        digest::scan(&inner, &mut found);
        Scan::new(&Refanged::new(&inner), &mut found).run();
    }
    found.sorted()
}

/// What comes with a URL: its host, the links that it wraps or redirects to, and theirs; sorted, without duplicates.
#[must_use]
pub fn inside(url: &Observable) -> Vec<Observable> {
    let mut found = Found::default();
    if url.kind() == ObservableType::Url {
        found.add_url(url.clone());
    }
    found.observables.retain(|observable| observable != url);
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

    /// Adds a URL with its host and whatever it wraps or redirects to.
    pub fn add_url(&mut self, url: Observable) {
        let mut urls = vec![url];
        for _ in 0..UNWRAP_MAX {
            let mut inner = Vec::new();
            for url in urls {
                match wrapped::unwrap(url.value()) {
                    Some(wrapped) => inner.push(wrapped),
                    None => inner.extend(redirect::targets(url.value())),
                }
                self.observables.extend(wrapped::named_domain(url.value()));
                self.add(url);
            }
            urls = inner;
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
    /// Where URLs stand, ascending.
    links: Vec<Range<usize>>,
}

impl<'a, 'b> Scan<'a, 'b> {
    fn new(refanged: &'a Refanged<'a>, found: &'b mut Found) -> Self {
        Self { refanged, found, links: Vec::new() }
    }

    /// Adds all that is found; where the URLs stand.
    fn run(mut self) -> Vec<Range<usize>> {
        let text = self.refanged.text();
        // Nothing before `floor` is looked at again; anchors are looked for from `at`.
        let (mut floor, mut at) = (0, 0);
        while let Some(step) = text.as_bytes().get(at..).and_then(|rest| memchr3(b'.', b':', b'@', rest)) {
            let anchor = at + step;
            let end = match byte(text, anchor) {
                b'.' => Some(self.dot(anchor, floor)),
                b':' => self.colon(anchor, floor),
                _ => self.at_sign(anchor, floor),
            };
            at = anchor + 1;
            if let Some(end) = end {
                at = at.max(end);
                floor = at;
            }
        }
        self.links
    }

    fn add_link(&mut self, link: link::Link) -> usize {
        self.found.add_url(link.url);
        self.links.push(link.start..link.end);
        link.end
    }

    /// A URL, or an IPv6 address.
    fn colon(&mut self, at: usize, floor: usize) -> Option<usize> {
        if let Some(link) = link::parse(self.refanged, at, floor) {
            return Some(self.add_link(link));
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
    fn dot(&mut self, at: usize, floor: usize) -> usize {
        let text = self.refanged.text();
        let run = host::run_around(text, at, floor);
        if let Some(sign) = mail::at_sign_after(text, run.end)
            && let Some(end) = self.at_sign(sign, floor)
        {
            return end;
        }
        if let Some(link) = link::underscored(self.refanged, &run) {
            return self.add_link(link);
        }
        for host in host::find(self.refanged, &run) {
            if let Some(link) = link::schemeless(self.refanged, &host, floor) {
                return self.add_link(link);
            }
            self.found.add(host.observable);
        }
        run.end.max(at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::extract;
    use crate::{Observable, ObservableType};

    /// Keys, without the type where there is only a name or an address.
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = extract(text).iter().map(Observable::key).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn everything_in_a_report_is_found_once() {
        check(
            "C2 hxxps://evil[.]example/a.php and 192.0.2[.]7:443 (2001:db8::1), again 192.0.2.7;\r\nmail <User@Evil.example>, \
             file D41D8CD98F00B204E9800998ECF8427E.",
            &[
                "ipv4-addr#192.0.2.7",
                "ipv6-addr#2001:db8::1",
                "domain-name#evil.example",
                "url#https://evil.example/a.php",
                "email-addr#User@evil.example",
                "file#md5:d41d8cd98f00b204e9800998ecf8427e",
            ],
        );
        check("nothing here", &[]);
        check("", &[]);
    }

    #[test]
    fn names_stand_between_other_text() {
        check("see evil.example.", &["domain-name#evil.example"]);
        check("(evil.example)", &["domain-name#evil.example"]);
        check("id=evil.example+EVIL.Example", &["domain-name#evil.example"]);
        check("*.evil.example", &["domain-name#evil.example"]);
        check("an evil.example-based kit", &["domain-name#evil.example"]);
        check("at evil.org.example.Then", &["domain-name#evil.org.example"]);
        check("_dmarc.evil.example", &["domain-name#_dmarc.evil.example"]);
        check("wait...evil.example", &["domain-name#evil.example"]);
        check("b\u{fc}cher.example", &["domain-name#xn--bcher-kva.example"]);
        check("%2Fevil.example%2F", &["domain-name#evil.example"]);
        check("\u{57df}\u{540d}evil.example\u{ff0c}", &["domain-name#evil.example"]);
        check("\u{57df}\u{540d}192.0.2.7\u{3002}", &["ipv4-addr#192.0.2.7"]);
    }

    #[test]
    fn abbreviations_are_no_names() {
        for text in [
            "P.O.BOX 1234",
            "SHENZHEN TRADING CO.LTD",
            "PVT.LTD",
            "GMBH & CO.KG",
            "S.NO",
            "SR.NO",
            "INV.NO: 1",
            "inv.no",
            "Ref.No",
            "PO.NO",
            "REG.NO",
            "VAT.NO",
            "TEL.NO",
            "A/C.NO",
            "ATTN.MR",
            "Dr.med.",
            "Prof.Dr.med. Evil",
            "B.Com",
        ] {
            check(text, &[]);
        }
        check("evil.no", &["domain-name#evil.no"]);
        check("EVILEVIL.LTD", &["domain-name#evilevil.ltd"]);
        check("co[.]ltd", &["domain-name#co.ltd"]);
        check("https://INV.NO/a", &["domain-name#inv.no", "url#https://inv.no/a"]);
        check("b.com", &["domain-name#b.com"]);
    }

    #[test]
    fn files_and_code_are_no_names() {
        for text in [
            "writes invoice.zip to disk",
            "main.py",
            "lib.rs",
            "/usr/lib/libssl.so",
            "C:\\x\\setup.name",
            "kernel32.dll",
            "report.2023.zip",
            "document.write",
            "WScript.Shell",
            "com.android.vending",
            "app.com.android",
            "the code calls user.info",
            "self.id",
            "SELECT a.id, b.name",
            "i.e. e.g.",
            "ASP.NET",
            "Korplug.TD",
            "it ends.In short",
            "8.30.am",
            "host.local",
            "evil.invalid",
            "-hi-.com",
            "my_file.com",
            "ev***l.example",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn what_is_defanged_is_meant() {
        check("login[.]zip", &["domain-name#login.zip"]);
        check("host[.]local", &["domain-name#host.local"]);
        check("Chrome/192.0.2[.]7", &["ipv4-addr#192.0.2.7"]);
        check("user@evil[.]nope", &["email-addr#user@evil.nope"]);
        check("user@evil.nope", &[]);
    }

    #[test]
    fn addresses_are_no_versions() {
        for text in [
            "192.0.2.7.1",
            ".192.0.2.7",
            "192.0.2.256",
            "1192.0.2.7",
            "0192.0.2.7",
            "192.0.2.7b",
            "v192.0.2.7",
            "version 192.0.2.7",
            "Firefox 192.0.2.7",
            "FileVersion: 192.0.2.7",
            "Chrome/192.0.2.7",
            "lib-192.0.2.7",
            "192.0.2.0/24",
            "192[.]0[.]2[.]0/24",
            "with SMTP Server id 192.0.2.7",
            "192.0.2",
        ] {
            check(text, &[]);
        }
        for text in [
            "192.0.2.7.",
            "192.000.002.007",
            "ip4:192.0.2.7",
            "192.0.2.7/32",
            "192.0.2.7/24",
            "tcp/192.0.2.7",
            "?id=192.0.2.7",
            "192.0.2.7:80",
        ] {
            check(text, &["ipv4-addr#192.0.2.7"]);
        }
        check("192.0.2.7-192.0.2.9", &["ipv4-addr#192.0.2.7", "ipv4-addr#192.0.2.9"]);
    }

    #[test]
    fn ipv6_is_told_from_times_and_code() {
        for text in [
            "2001:DB8:0:0::1",
            "IPv6:2001:db8::1",
            "[2001:db8::1]:443",
            "2001:db8::1%eth0",
            "ip:2001:db8::1.",
            "2001:db8::1/64",
        ] {
            check(text, &["ipv6-addr#2001:db8::1"]);
        }
        for text in [
            "11:04:10",
            "a::b",
            "std::string",
            "::",
            "1::2::3",
            "0f:e9:73:75:20:22:a6:06",
            "1:2:3:4:5:6:7:8:9",
            "12345::1",
            "2001:db8::/32",
        ] {
            check(text, &[]);
        }
        check("::ffff:192.0.2.7", &["ipv4-addr#192.0.2.7", "ipv6-addr#::ffff:192.0.2.7"]);
        check("12:30:15.evil.example", &["domain-name#15.evil.example"]);
    }

    #[test]
    fn a_wrapped_link_brings_what_it_wraps() {
        check(
            "https://nam12.safelinks.protection.outlook.com/?url=http%3A%2F%2Fevil.example%2Fa%3Fb%3D1&amp;data=05",
            &[
                "domain-name#evil.example",
                "domain-name#nam12.safelinks.protection.outlook.com",
                "url#http://evil.example/a?b=1",
                "url#https://nam12.safelinks.protection.outlook.com/?url=http%3A%2F%2Fevil.example%2Fa%3Fb%3D1&data=05",
            ],
        );
    }

    #[test]
    fn a_redirector_brings_its_target() {
        check(
            "see https://r.example/?url=https%3A%2F%2Fevil.example%2Fp!*'(1)q&x=1 now",
            &[
                "domain-name#evil.example",
                "domain-name#r.example",
                "url#https://evil.example/p!*'(1)q",
                "url#https://r.example/?url=https%3A%2F%2Fevil.example%2Fp!*%27(1)q&x=1",
            ],
        );
        check(
            "https://nam12.safelinks.protection.outlook.com/?url=https%3A%2F%2Fr.example%2F%3Furl%3Dhttps%3A%2F%2Fevil.example%2Fp&d=1",
            &[
                "domain-name#evil.example",
                "domain-name#nam12.safelinks.protection.outlook.com",
                "domain-name#r.example",
                "url#https://evil.example/p",
                "url#https://nam12.safelinks.protection.outlook.com/?url=https%3A%2F%2Fr.example%2F%3Furl%3Dhttps%3A%2F%2Fevil.example%2Fp&d=1",
                "url#https://r.example/?url=https://evil.example/p",
            ],
        );
        check(
            "https://protect-us.mimecast.com/s/X?domain=evil.example",
            &[
                "domain-name#evil.example",
                "domain-name#protect-us.mimecast.com",
                "url#https://protect-us.mimecast.com/s/X?domain=evil.example",
            ],
        );
        let url = Observable::parse(ObservableType::Url, "https://r.example/?url=https://evil.example/p").unwrap();
        let inside: Vec<String> = super::inside(&url).iter().map(Observable::key).collect();
        assert_eq!(inside, ["domain-name#evil.example", "domain-name#r.example", "url#https://evil.example/p"]);
    }

    #[test]
    fn encoded_text_is_searched_too() {
        check(
            "powershell -enc aAB0AHQAcAA6AC8ALwBlAHYAaQBsAC4AZQB4AGEAbQBwAGwAZQAvAHMA",
            &["domain-name#evil.example", "url#http://evil.example/s"],
        );
        check("x=aHR0cDovL2V2aWwuZXhhbXBsZS9h", &["domain-name#evil.example", "url#http://evil.example/a"]);
    }
}
