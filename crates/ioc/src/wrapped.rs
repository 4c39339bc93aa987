//! Links that a mail gateway or a site put around another link.

use crate::encoded::base64;
use crate::observable::{Observable, ObservableType};
use crate::parse;

/// How the inner link is kept.
enum Wrapping {
    /// Percent-encoded in one of these query parameters.
    Query(&'static [&'static str]),
    /// Base64 in a query parameter.
    Base64Query(&'static str),
    /// Behind two characters, base64 in the query parameter `u`.
    Bing,
    /// Proofpoint URL Defense v2: `-` for `%`, `_` for `/`.
    ProofpointV2,
    /// Proofpoint URL Defense v3: `__…__`, replaced characters as base64 behind it.
    ProofpointV3,
    /// Percent-encoded in the path from its scheme on.
    Path,
    /// Everything behind the question mark.
    WholeQuery,
    /// Between `___` and `___`.
    Underscores,
}

/// Who wraps, by host (a leading dot stands for any name below) and start of the path.
///
/// From the vendors' documentation of their link rewriting, and from links seen.
const WRAPPERS: &[(&str, &str, Wrapping)] = &[
    (".safelinks.protection.outlook.com", "/", Wrapping::Query(&["url"])),
    (".safelinks.protection.office365.us", "/", Wrapping::Query(&["url"])),
    ("statics.teams.cdn.office.net", "/evergreen-assets/safelinks/", Wrapping::Query(&["url"])),
    ("urldefense.proofpoint.com", "/v1/", Wrapping::Query(&["u"])),
    ("urldefense.proofpoint.com", "/v2/", Wrapping::ProofpointV2),
    ("urldefense.proofpoint.com", "/v3/", Wrapping::ProofpointV3),
    ("urldefense.com", "/v1/", Wrapping::Query(&["u"])),
    ("urldefense.com", "/v2/", Wrapping::ProofpointV2),
    ("urldefense.com", "/v3/", Wrapping::ProofpointV3),
    ("urldefense.us", "/v3/", Wrapping::ProofpointV3),
    (".fireeye.com", "/", Wrapping::Query(&["u"])),
    ("secure-web.cisco.com", "/", Wrapping::Path),
    ("linkprotect.cudasvc.com", "/url", Wrapping::Query(&["a"])),
    (".protection.sophos.com", "/", Wrapping::Base64Query("u")),
    (".trendmicro.com", "/wis/clicktime/", Wrapping::Query(&["url"])),
    ("clicktime.symantec.com", "/", Wrapping::Query(&["u"])),
    ("url.avanan.click", "/v2/", Wrapping::Underscores),
    ("protect.checkpoint.com", "/v2/", Wrapping::Underscores),
    (".mimecastprotect.com", "/", Wrapping::Query(&["url"])),
    ("google.com", "/url", Wrapping::Query(&["q", "url"])),
    ("www.google.com", "/url", Wrapping::Query(&["q", "url"])),
    ("www.bing.com", "/ck/a", Wrapping::Bing),
    ("adservice.google.com", "/ddm/", Wrapping::Path),
    ("www.youtube.com", "/redirect", Wrapping::Query(&["q"])),
    ("www.linkedin.com", "/redir/", Wrapping::Query(&["url"])),
    ("www.linkedin.com", "/safety/", Wrapping::Query(&["url"])),
    ("l.facebook.com", "/l.php", Wrapping::Query(&["u"])),
    ("lm.facebook.com", "/l.php", Wrapping::Query(&["u"])),
    ("l.instagram.com", "/", Wrapping::Query(&["u"])),
    ("slack-redir.net", "/link", Wrapping::Query(&["url"])),
    ("duckduckgo.com", "/l/", Wrapping::Query(&["uddg"])),
    ("vk.com", "/away.php", Wrapping::Query(&["to"])),
    ("steamcommunity.com", "/linkfilter", Wrapping::Query(&["url", "u"])),
    ("t.umblr.com", "/redirect", Wrapping::Query(&["z"])),
    ("exit.sc", "/", Wrapping::Query(&["url"])),
    ("href.li", "/", Wrapping::WholeQuery),
    ("anon.to", "/", Wrapping::WholeQuery),
    ("nullrefer.com", "/", Wrapping::WholeQuery),
];

/// The link inside `url` (canonical), when its real host is one that wraps links.
pub fn unwrap(url: &str) -> Option<Observable> {
    let (host, path) = host_and_path(url)?;
    let wrapping = WRAPPERS
        .iter()
        .find(|(wrapper, start, _)| is_host(host, wrapper) && path.starts_with(start))
        .map(|(_, _, wrapping)| wrapping)?;
    let inner = match wrapping {
        Wrapping::Query(names) => names.iter().find_map(|name| query_value(path, name)).map(percent_decode)?,
        Wrapping::Base64Query(name) => base64_text(&percent_decode(query_value(path, name)?))?,
        Wrapping::Bing => base64_text(query_value(path, "u")?.get(2..)?)?,
        Wrapping::ProofpointV2 => percent_decode(&query_value(path, "u")?.replace('-', "%").replace('_', "/")),
        Wrapping::ProofpointV3 => proofpoint_v3(path)?,
        Wrapping::Path => {
            let decoded = percent_decode(path);
            let start = decoded.find("https://").or_else(|| decoded.find("http://"))?;
            decoded.get(start..)?.to_owned()
        }
        Wrapping::WholeQuery => percent_decode(path.split_once('?')?.1),
        Wrapping::Underscores => path.split("___").nth(1)?.to_owned(),
    };
    Observable::parse(ObservableType::Url, &inner).ok()
}

/// Who leaves nothing of a link but the name of its host, in the parameter `domain`.
const NAMERS: &[(&str, &str)] = &[(".mimecast.com", "/s/"), (".mimecastprotect.com", "/s/"), (".inky.com", "/link")];

/// The domain that `url` (canonical) names as the one it leads to.
pub fn named_domain(url: &str) -> Option<Observable> {
    let (host, path) = host_and_path(url)?;
    NAMERS.iter().find(|(namer, start)| is_host(host, namer) && path.starts_with(start))?;
    let name = percent_decode(query_value(path, "domain")?);
    Observable::parse(ObservableType::DomainName, &name).ok()
}

fn host_and_path(url: &str) -> Option<(&str, &str)> {
    let host = parse::url_host(url)?;
    let after_scheme = url.get(url.find("://")? + 3..)?;
    let path = after_scheme.get(after_scheme.find(['/', '?', '#'])?..)?;
    Some((host, path))
}

fn is_host(host: &str, wrapper: &str) -> bool {
    match wrapper.strip_prefix('.') {
        Some(zone) => crate::guard::is_within(host, zone) && host.len() > zone.len(),
        None => host == wrapper,
    }
}

fn query_value<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    let query = query.split('#').next()?;
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

/// Percent escapes decoded once; what is no UTF-8 then becomes U+FFFD.
pub fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escape = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => decoded.push(*first),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn base64_text(text: &str) -> Option<String> {
    String::from_utf8(base64(text)?).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `/v3/__https://evil.example/a*b__;Iw!!…`: each `*` is the next byte of the base64 text behind the semicolon, `**X` a run of them.
fn proofpoint_v3(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/v3/__")?;
    let end = rest.rfind("__;")?;
    let (inner, rest) = (rest.get(..end)?, rest.get(end + 3..)?);
    let replaced = base64_text(rest.split('!').next()?).unwrap_or_default();
    let mut replaced = replaced.chars();
    let mut url = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '*' {
            url.push(c);
        } else if chars.peek() == Some(&'*') {
            chars.next();
            let length = chars.next().and_then(run_length)?;
            url.extend(replaced.by_ref().take(length));
        } else {
            url.push(replaced.next().unwrap_or('*'));
        }
    }
    // The first slash of the scheme was lost in some mail clients: `https:/evil.example`.
    if !url.contains("://") {
        url = url.replacen(":/", "://", 1);
    }
    Some(url)
}

/// The length that a letter of the base64url alphabet stands for: `A` is two.
fn run_length(letter: char) -> Option<usize> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    ALPHABET.find(letter).map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::unwrap;

    fn check(url: &str, expected: Option<&str>) {
        let inner = unwrap(url);
        assert_eq!(inner.as_ref().map(crate::Observable::value), expected, "{url}");
    }

    #[test]
    fn rewritten_links_are_undone() {
        for url in [
            "https://nam12.safelinks.protection.outlook.com/?url=http%3A%2F%2Fevil.example%2Fa&data=05",
            "https://urldefense.proofpoint.com/v1/url?u=http://evil.example/a&k=x",
            "https://urldefense.proofpoint.com/v2/url?u=http-3A__evil.example_a&d=DwIF",
            "https://urldefense.com/v3/__http://evil.example/a__;!!Abc!def$",
            "https://urldefense.com/v3/__http:/evil.example/a__;!!Abc!def$",
            "https://protect2.fireeye.com/v1/url?k=0&q=1&u=http%3A%2F%2Fevil.example%2Fa",
            "https://secure-web.cisco.com/1abcDEF/http%3A%2F%2Fevil.example%2Fa",
            "https://linkprotect.cudasvc.com/url?a=http%3a%2f%2fevil.example%2fa&c=E",
            "https://eu-central-1.protection.sophos.com/?d=evil.example&u=aHR0cDovL2V2aWwuZXhhbXBsZS9h&i=x",
            "https://url.avanan.click/v2/___http://evil.example/a___.YXAz",
            "https://www.google.com/url?q=http://evil.example/a&sa=D",
            "https://www.bing.com/ck/a?!&p=x&u=a1aHR0cDovL2V2aWwuZXhhbXBsZS9h&ntb=1",
            "https://l.facebook.com/l.php?u=http%3A%2F%2Fevil.example%2Fa&h=x",
            "https://href.li/?http://evil.example/a",
        ] {
            check(url, Some("http://evil.example/a"));
        }
    }

    #[test]
    fn proofpoint_puts_replaced_characters_behind_the_link() {
        check("https://urldefense.com/v3/__https://evil.example/a*b*c__;Iy8!!A!d$", Some("https://evil.example/a#b/c"));
        check("https://urldefense.com/v3/__https://evil.example/a**Ab__;Lys!!A!d$", Some("https://evil.example/a/+b"));
    }

    #[test]
    fn only_the_real_host_wraps() {
        for url in [
            "https://evil.example/?next=https://nam12.safelinks.protection.outlook.com/?url=http%3A%2F%2Fgood.example",
            "https://safelinks.protection.outlook.com.evil.example/?url=http%3A%2F%2Fgood.example",
            "https://notsafelinks.protection.outlook.com/?url=http%3A%2F%2Fgood.example",
            "https://www.google.com/search?q=http://good.example",
            "https://www.google.com/url?q=nothing",
        ] {
            check(url, None);
        }
    }
}
