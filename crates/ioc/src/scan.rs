//! Finding observables: one pass over a refanged text, from anchor to anchor (`.`, `:`, `@`), each parsed where it stands.

use memchr::memchr3;

use crate::observable::{Observable, ObservableType};
use crate::refang::Refanged;
use crate::spelled::bracket_words;
use crate::text::byte;
use crate::{digest, encoded, host, link, mail, wrapped};

/// How deep links are unwrapped: a rewritten link in a rewritten link, and one more.
const UNWRAP_MAX: usize = 3;

/// Every observable in a plain text: sorted, without duplicates.
///
/// Defanged spellings count; the host of a URL, the domain of an e-mail address, and the link inside a rewritten link (`SafeLinks`,
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
    fn dot(&mut self, at: usize, floor: usize) -> usize {
        let text = self.refanged.text();
        let run = host::run_around(text, at, floor);
        if let Some(sign) = mail::at_sign_after(text, run.end)
            && let Some(end) = self.at_sign(sign, floor)
        {
            return end;
        }
        if let Some(link) = link::underscored(self.refanged, &run) {
            self.found.add_url(link.url);
            return link.end;
        }
        for host in host::find(self.refanged, &run) {
            if let Some(link) = link::schemeless(self.refanged, &host) {
                self.found.add_url(link.url);
                return link.end;
            }
            self.found.add(host.observable);
        }
        run.end.max(at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::extract;

    /// Keys, without the type where there is only a name or an address.
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = extract(text).iter().map(crate::Observable::key).collect();
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
    fn encoded_text_is_searched_too() {
        check(
            "powershell -enc aAB0AHQAcAA6AC8ALwBlAHYAaQBsAC4AZQB4AGEAbQBwAGwAZQAvAHMA",
            &["domain-name#evil.example", "url#http://evil.example/s"],
        );
        check("x=aHR0cDovL2V2aWwuZXhhbXBsZS9h", &["domain-name#evil.example", "url#http://evil.example/a"]);
    }
}
