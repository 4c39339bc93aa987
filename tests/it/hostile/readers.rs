//! What readers make of a text: mail clients, chats and spreadsheets, each as the parsers that they are built on see it.

use std::collections::BTreeSet;

use icu_properties::{CodePointMapData, CodePointSetData, props};
use linkify::LinkFinder;
use scraper::{ElementRef, Html};

/// Schemes that some system opens, with or without slashes.
const SCHEMES: [&str; 52] = [
    "about",
    "bitcoin",
    "blob",
    "callto",
    "cid",
    "data",
    "facetime",
    "feed",
    "file",
    "ftp",
    "ftps",
    "geo",
    "git+ssh",
    "gopher",
    "http",
    "https",
    "intent",
    "irc",
    "javascript",
    "ldap",
    "magnet",
    "mailto",
    "maps",
    "market",
    "mid",
    "mms",
    "ms-msdt",
    "ms-settings",
    "ms-word",
    "news",
    "nntp",
    "onenote",
    "outlook",
    "search",
    "search-ms",
    "sftp",
    "sip",
    "sips",
    "skype",
    "slack",
    "sms",
    "smb",
    "smsto",
    "tel",
    "telnet",
    "url",
    "urn",
    "vbscript",
    "view-source",
    "ws",
    "xmpp",
    "zoommtg",
];

/// Schemes that nothing opens.
const DEAD: [&str; 5] = ["hxxp://", "hxxps://", "fxp://", "fxps://", "sfxp://"];

/// What a client would make a link or a mention of.
pub fn live(text: &str) -> Vec<String> {
    let mut finder = LinkFinder::new();
    finder.url_must_have_scheme(false);
    let links = finder.links(text).map(|link| link.as_str().to_owned());
    let is_dead = |link: &String| DEAD.iter().any(|scheme| link.starts_with(scheme));
    let mut found: Vec<String> = links.filter(|link| !is_dead(link)).collect();
    found.extend(schemes(text));
    found.extend(shares(text));
    // A mention, wherever it would be read as one.
    let bare = text.replace("[@]", "");
    found.extend(bare.match_indices(['@', '\u{ff20}', '\u{fe6b}']).map(|(at, _)| around(&bare, at)));
    found
}

fn around(text: &str, at: usize) -> String {
    text.get(at..).unwrap().chars().take(12).collect()
}

/// `javascript:…`: a scheme that is opened, and something to open.
fn schemes(text: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, _) in text.match_indices(':') {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
        let scheme = &before[before.trim_end_matches(is_part).len()..];
        if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) && after.starts_with(|c: char| !c.is_whitespace()) {
            found.push(format!("{scheme}:{}", around(after, 0)));
        }
    }
    found
}

/// `\\host\share`, which Outlook links.
fn shares(text: &str) -> Vec<String> {
    let is_host = |rest: &&str| {
        let host = rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@'));
        host.len() < rest.len() && host.starts_with('\\')
    };
    text.match_indices("\\\\").map(|(at, _)| &text[at + 2..]).filter(is_host).map(|host| around(host, 0)).collect()
}

/// Characters that steer a reader or show nothing, line breaks excepted: by Unicode's own data.
pub fn hidden(text: &str) -> Vec<char> {
    text.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect()
}

fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let categories = CodePointMapData::<props::GeneralCategory>::new();
    let steers = matches!(
        categories.get(c),
        props::GeneralCategory::Control
            | props::GeneralCategory::Format
            | props::GeneralCategory::LineSeparator
            | props::GeneralCategory::ParagraphSeparator
    );
    steers
        || CodePointSetData::new::<props::DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<props::NoncharacterCodePoint>().contains(c)
}

/// A page as a browser reads it.
pub struct Read {
    /// Tags with their attributes' names.
    pub shape: BTreeSet<String>,
    /// What attributes name that load or lead somewhere.
    pub targets: BTreeSet<String>,
    /// Texts that are shown, one a node; not what a person has typed.
    pub texts: Vec<String>,
}

/// Reads a page.
pub fn html(page: &str) -> Read {
    let document = Html::parse_document(page);
    let mut read = Read { shape: BTreeSet::new(), targets: BTreeSet::new(), texts: vec![] };
    for node in document.root_element().descendants() {
        if let Some(element) = ElementRef::wrap(node) {
            let names: BTreeSet<&str> = element.value().attrs().map(|(name, _)| name).collect();
            read.shape.insert(format!("{} {names:?}", element.value().name()));
            let leads = ["href", "src", "srcset", "srcdoc", "action", "formaction", "data", "background", "poster"];
            read.targets.extend(leads.iter().filter_map(|name| element.attr(name)).map(str::to_owned));
        } else if let Some(text) = node.value().as_text() {
            match node.parent().and_then(ElementRef::wrap).map(|parent| parent.value().name()) {
                Some("textarea") => {}
                // A style sheet is not shown: it has to be the template's, to the letter.
                Some("style") => drop(read.shape.insert(format!("style {}", &**text))),
                _ => read.texts.push(text.to_string()),
            }
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_finds_what_is_live() {
        for text in [
            "https://evil.example",
            "see evil.example now",
            "www.evil.example",
            "eve@evil.example",
            "ftp://evil.example/x",
            "javascript:alert(1)",
            "x JavaScript:alert(1)",
            "(tel:+1-555-0100)",
            "mailto:eve",
            "\\\\evil\\share",
            "\\\\evil@SSL\\x",
            "cc @octocat",
            "\u{ff20}channel",
            "URL:x",
            "b\u{fc}cher.example",
        ] {
            assert!(!live(text).is_empty(), "{text}");
        }
        for text in [
            "hxxps://evil[.]example/x",
            "eve[@]evil[.]example",
            "javascript[:]alert(1)",
            "\\[\\]evil\\share",
            "End. Next: one",
            "attachment:invoice[.]pdf",
            "virustotal: timeout",
            "evil[.]example:8080",
            "\\u{202e}",
        ] {
            assert!(live(text).is_empty(), "{text}: {:?}", live(text));
        }
    }

    #[test]
    fn a_reader_sees_what_is_hidden() {
        assert_eq!(hidden("a\u{202e}b\u{200b}\u{1b}\u{9b}\u{ad}\r\n").len(), 6);
        assert!(hidden("a\\u{202e} \u{e9} \u{1f41f}\n").is_empty());
    }

    /// By Unicode's data, not by our list.
    #[test]
    fn everything_that_is_hidden_is_shown_as_an_escape() {
        let missed: Vec<String> = ('\0'..=char::MAX)
            .filter(|c| is_hidden(*c) && ioc::visible(&c.to_string()) == c.to_string())
            .map(|c| format!("{:x}", u32::from(c)))
            .collect();
        assert_eq!(missed, [""; 0]);
    }

    #[test]
    fn a_page_is_read_as_a_browser_reads_it() {
        let read = html("<p class=x>one<script>two</script><a href=//evil.example>three</a><textarea>four</textarea>");
        assert!(read.shape.contains("script {}") && read.shape.contains("p {\"class\"}"), "{:?}", read.shape);
        assert!(read.targets.contains("//evil.example"));
        assert_eq!(read.texts, ["one", "two", "three"]);
    }
}
