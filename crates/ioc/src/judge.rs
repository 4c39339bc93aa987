//! Whether a value that has the shape of an observable is meant as one, or is a version, a file name or a piece of code.
//!
//! What was defanged needs no judgement: somebody took the trouble because it is an indicator.

use std::net::Ipv4Addr;

use crate::guard;
use crate::refang::Refanged;
use crate::text::{byte, byte_before, has_word, is_label_byte, piece, skip, skip_back};

/// A domain name and where it stands.
#[derive(Debug)]
pub struct Name<'a> {
    pub spelled: &'a str,
    pub canonical: &'a str,
    pub start: usize,
    pub end: usize,
}

/// Words in front of four numbers that make them a version.
const VERSION_WORDS: [&str; 38] = [
    "version", "versions", "ver", "v", "build", "release", "firmware", "revision", "update", "chrome", "chromium",
    "firefox", "safari", "edge", "opera", "edg", "opr", "windows", "android", "ios", "java", "flash", "acrobat",
    "reader", "office", "exchange", "tomcat", "kernel", "driver", "oid", "section", "assembly", "chapter", "table",
    "figure", "clause", "appendix", "openssl",
];

/// Words in front of a slash and an address: a protocol or a role, and no product with its version.
const ADDRESS_PREFIXES: [&str; 10] = ["ip", "ipv4", "tcp", "udp", "host", "src", "dst", "addr", "address", "or"];

/// Words in front of a name that make it a file.
const FILE_WORDS: [&str; 34] = [
    "file",
    "files",
    "filename",
    "named",
    "name",
    "called",
    "writes",
    "wrote",
    "write",
    "drops",
    "dropped",
    "drop",
    "executes",
    "executed",
    "execute",
    "runs",
    "run",
    "opens",
    "opened",
    "open",
    "saves",
    "saved",
    "attachment",
    "script",
    "document",
    "archive",
    "dropper",
    "creates",
    "created",
    "loads",
    "reads",
    "python",
    "perl",
    "bash",
];

/// Words in front of a name that make it a host, whatever it ends in.
const HOST_WORDS: [&str; 14] = [
    "domain", "domains", "host", "hosts", "hostname", "site", "website", "server", "servers", "c2", "dns", "fqdn",
    "resolves", "visit",
];

/// Words in front of a name that make it code.
const CODE_WORDS: [&str; 20] = [
    "calls",
    "call",
    "calling",
    "function",
    "functions",
    "method",
    "methods",
    "class",
    "object",
    "objects",
    "module",
    "package",
    "namespace",
    "property",
    "variable",
    "import",
    "imports",
    "library",
    "field",
    "attribute",
];

/// Top-level domains that are at least as often the extension of a file.
const FILE_TLDS: [&str; 15] =
    ["zip", "mov", "md", "py", "rs", "sh", "ps", "pm", "so", "cab", "tf", "ax", "bz", "mk", "pub"];

/// Top-level domains that are the extension of a file in the company of a word that says so.
const LIKELY_FILE_TLDS: [&str; 24] = [
    "ml",
    "dm",
    "sv",
    "map",
    "sc",
    "link",
    "pl",
    "cc",
    "app",
    "ai",
    "in",
    "st",
    "la",
    "vi",
    "ms",
    "as",
    "do",
    "cat",
    "win",
    "mo",
    "gz",
    "inc",
    "properties",
    "download",
];

/// First names of things in code, whose parts look like names under some top-level domain.
const CODE_NAMES: [&str; 62] = [
    "self",
    "this",
    "console",
    "document",
    "window",
    "array",
    "object",
    "os",
    "sys",
    "string",
    "math",
    "json",
    "request",
    "response",
    "req",
    "res",
    "event",
    "args",
    "module",
    "system",
    "process",
    "node",
    "list",
    "dict",
    "data",
    "config",
    "item",
    "user",
    "obj",
    "cls",
    "ctx",
    "app",
    "el",
    "elem",
    "input",
    "output",
    "file",
    "path",
    "wscript",
    "shell",
    "java",
    "javax",
    "np",
    "pd",
    "df",
    "tf",
    "socket",
    "location",
    "navigator",
    "screen",
    "form",
    "params",
    "session",
    "root",
    "std",
    "base",
    "super",
    "e",
    "i",
    "asp",
    "re",
    "requests",
];

/// First labels of names written in reverse, as packages are: `com.example.app`.
const REVERSED: [&str; 8] = ["com", "org", "net", "io", "edu", "gov", "android", "androidx"];

/// Top-level domains that no piece of code ends in.
const PLAIN_TLDS: [&str; 9] = ["com", "org", "net", "edu", "gov", "mil", "onion", "biz", "example"];

/// True for a top-level domain after which something else may be glued to a name.
pub fn is_plain_tld(label: &str) -> bool {
    PLAIN_TLDS.contains(&label)
}

/// Names of one's own network, and names that cannot exist: nobody's indicator unless written as one.
const LOCAL_TLDS: [&str; 11] =
    ["local", "localhost", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "invalid", "arpa"];

/// Two-letter top-level domains that are also units and abbreviations: `8.30.am`, `5.in`.
const UNIT_TLDS: [&str; 16] =
    ["am", "pm", "in", "cm", "km", "kg", "st", "mg", "ml", "mm", "gs", "pt", "th", "id", "no", "pg"];

/// Top-level domains that are also abbreviations in capital letters: `CO.LTD`, `P.O.BOX`.
const BUSINESS_TLDS: [&str; 7] = ["no", "ltd", "kg", "box", "inc", "llc", "mr"];
/// The longest label of such an abbreviation.
const ABBREVIATION_MAX_BYTES: usize = 5;
/// What has a number in business letters: `inv.no`.
const NUMBERED: [&str; 13] = ["s", "sr", "inv", "po", "ref", "reg", "tel", "mob", "vat", "acc", "flat", "bldg", "flt"];

/// True for a label in the ASCII form of an international name.
pub fn is_punycode(label: &str) -> bool {
    label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
}

/// The word before `at` on the same line, without what separates it.
fn word_before(text: &str, at: usize) -> &str {
    let low = at.saturating_sub(24);
    let end = skip_back(text, at, low, |b| matches!(b, b' ' | b':' | b'"' | b'\'' | b'(' | b'`' | b'='));
    let start = skip_back(text, end, low, |b| b.is_ascii_alphanumeric());
    piece(text, start, end)
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// True when four numbers are an address.
pub fn is_address(refanged: &Refanged<'_>, address: Ipv4Addr, start: usize, end: usize) -> bool {
    let text = refanged.text();
    if is_network(text, 32, u128::from(address.to_bits()) << 96, end) {
        return false;
    }
    if refanged.is_marked(start, end) {
        return true;
    }
    match byte_before(text, start) {
        // `.1.1.1.1` is the rest of something longer; an ellipsis is not.
        b'.' if byte_before(text, start - 1) != b'.' => return false,
        b'/' if byte_before(text, start - 1).is_ascii_alphabetic() => {
            return is_one_of(word_before(text, start - 1), &ADDRESS_PREFIXES);
        }
        b'%' | b'$' => return false,
        _ => {}
    }
    let word = word_before(text, start);
    !is_one_of(word, &VERSION_WORDS) && !ends_with_version(word) && !is_software_id(text, start)
}

/// `Microsoft SMTP Server id 15.1.118.40`, in a header.
fn is_software_id(text: &str, start: usize) -> bool {
    start.checked_sub("id ".len()).is_some_and(|id| has_word(text, id, "id ") && !is_label_byte(byte_before(text, id)))
}

/// `FileVersion`, `ProductVersion`.
fn ends_with_version(word: &str) -> bool {
    word.len()
        .checked_sub("version".len())
        .and_then(|at| word.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case("version"))
}

/// `192.0.2.0/24` names a network: its first address is nobody. `192.0.2.7/24` and `192.0.2.7/32` name a host.
///
/// `bits` are those of the address, from the left; `width` is how many there are.
pub fn is_network(text: &str, width: u32, bits: u128, end: usize) -> bool {
    if byte(text, end) != b'/' {
        return false;
    }
    let digits_end = skip(text, end + 1, 4, |b| b.is_ascii_digit());
    let Ok(length) = piece(text, end + 1, digits_end).parse::<u32>() else { return false };
    length < width && !is_label_byte(byte(text, digits_end)) && bits.checked_shl(length).unwrap_or(0) == 0
}

/// True when what parses as an IPv6 address is one, and no part of a program, a fingerprint or a time.
pub fn is_ipv6(spelled: &str, is_marked: bool) -> bool {
    if is_marked {
        return true;
    }
    let groups = || spelled.split(':').filter(|group| !group.is_empty());
    if !spelled.contains("::") {
        // Eight pairs of digits are an EUI-64 or a piece of a fingerprint.
        return !groups().all(|group| group.len() == 2);
    }
    // `std::sync`, `a::b`: an address without a single digit, or of one short group and nothing else, is code.
    let has_digit = spelled.bytes().any(|b| b.is_ascii_digit());
    has_digit && (!spelled.ends_with("::") || groups().any(|group| group.len() >= 3))
}

/// True when what parses as a domain name is meant as one.
pub fn is_domain(refanged: &Refanged<'_>, name: &Name<'_>) -> bool {
    if refanged.is_marked(name.start, name.end) {
        return true;
    }
    let tld = name.canonical.rsplit('.').next().unwrap_or("");
    if LOCAL_TLDS.contains(&tld) || is_masked(refanged.text(), name.start) || is_abbreviation(name) {
        return false;
    }
    is_registrable(name.canonical) && !is_code(refanged.text(), name, tld) && !is_file(refanged.text(), name, tld)
}

/// Business letters: `P.O.BOX`, `CO.LTD`, `INV.NO`, `Dr.med.`, `B.Com`.
fn is_abbreviation(name: &Name<'_>) -> bool {
    let Some((rest, last)) = name.spelled.rsplit_once('.') else { return false };
    let is_shouted = !name.spelled.bytes().any(|b| b.is_ascii_lowercase())
        && is_one_of(last, &BUSINESS_TLDS)
        && rest.split('.').all(|label| label.len() <= ABBREVIATION_MAX_BYTES);
    let is_number = last.eq_ignore_ascii_case("no") && is_one_of(rest, &NUMBERED);
    let is_doctor = name.canonical == "dr.med" || name.canonical.ends_with(".dr.med");
    let is_degree = last == "Com" && rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_uppercase());
    is_shouted || is_number || is_doctor || is_degree
}

/// `ev***l.example`: the rest of a name of which somebody blotted out a part.
fn is_masked(text: &str, start: usize) -> bool {
    let masked_from = skip_back(text, start, start.saturating_sub(32), |b| b == b'*');
    masked_from < start && is_label_byte(byte_before(text, masked_from))
}

/// Registries sell no name with an underscore; below one, anything goes.
fn is_registrable(canonical: &str) -> bool {
    guard::registrable_domain(canonical).is_none_or(|registrable| !registrable.contains('_'))
}

fn is_code(text: &str, name: &Name<'_>, tld: &str) -> bool {
    let mut labels = name.spelled.split('.');
    let (first, last) = (labels.next().unwrap_or(""), labels.next_back().unwrap_or(""));
    let is_pair = labels.next().is_none();
    if last.eq_ignore_ascii_case("net") && is_pair && is_one_of(first, &["asp", "ado", "vb", "system"]) {
        return true;
    }
    if PLAIN_TLDS.contains(&tld) {
        return false;
    }
    // Names are written in one case; classes and sentences that run into each other are not: `WScript.Shell`, `end.In`.
    // Neither are the names of malware: `Korplug.TD`.
    let is_mixed = last.bytes().next().is_some_and(|b| b.is_ascii_uppercase())
        && name.spelled.bytes().any(|b| b.is_ascii_lowercase());
    is_mixed
        || tld == "android"
        || byte(text, name.end) == b'('
        || byte_before(text, name.start) == b'$'
        || (is_pair && is_one_of(first, &CODE_NAMES))
        // The columns of `SELECT a.id, b.name`; those who own `x.com` and `t.me` are in short zones.
        || (is_pair && first.len() == 1 && (tld.len() > 2 || tld == "id"))
        || (!is_pair && tld.len() > 2 && is_one_of(first, &REVERSED))
        || (UNIT_TLDS.contains(&tld)
            && name.spelled.bytes().take(name.spelled.len() - last.len()).all(|b| b.is_ascii_digit() || b == b'.'))
        || is_one_of(word_before(text, name.start), &CODE_WORDS)
}

fn is_file(text: &str, name: &Name<'_>, tld: &str) -> bool {
    let before = byte_before(text, name.start);
    let is_in_path = before == b'\\' && byte_before(text, name.start - 1) != b'\\' || before == b'~';
    if is_in_path && !PLAIN_TLDS.contains(&tld) {
        return true;
    }
    let is_file_tld = FILE_TLDS.contains(&tld);
    if !is_file_tld && !LIKELY_FILE_TLDS.contains(&tld) {
        return false;
    }
    let word = word_before(text, name.start);
    if is_one_of(word, &HOST_WORDS) {
        return false;
    }
    let is_named_so = is_one_of(word, &FILE_WORDS);
    let is_below = before == b'/' && byte_before(text, name.start - 1) != b'/';
    let labels = name.canonical.split('.').count();
    // With three labels it takes more than an extension: `report.2023.zip` is a file, `login.bank.zip` is a site.
    let is_odd = name.canonical.contains('_')
        || (tld != "sh" && name.canonical.split('.').any(|label| label.bytes().all(|b| b.is_ascii_digit())));
    is_named_so
        || is_below
        || (is_file_tld && (labels == 2 || is_odd || name.spelled.bytes().any(|b| b.is_ascii_uppercase())))
}
