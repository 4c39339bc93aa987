//! HTML: its links, its visible text, and the URLs in its scripts and style sheets.

use std::collections::HashSet;

use ioc::{Observable, ObservableType};
use url::Url;

use crate::{
    collect::Collector,
    limits,
    tags::{Token, Tokens, decode_entities},
    text,
};

/// Reads HTML under a place such as `html`; returns the Content-IDs that it shows.
pub fn read(html: &str, place: &str, collector: &mut Collector<'_>) -> HashSet<String> {
    let cut = html.floor_char_boundary(limits::HTML_BYTES);
    if cut < html.len() {
        collector.lose(place, format!("read the first {cut} of {} bytes", html.len()));
    }
    let mut page = Page::default();
    page.read(&html[..cut], true);
    page.report(place, collector)
}

/// What a page holds, before its links are resolved: the base may come late.
#[derive(Debug, Default)]
struct Page {
    base: Option<String>,
    links: Vec<(&'static str, String)>,
    known: HashSet<String>,
    links_left_out: usize,
    crowded: usize,
    text: String,
    code: String,
}

impl Page {
    fn read(&mut self, html: &str, is_outermost: bool) {
        let mut tokens = Tokens::of(html);
        for token in tokens.by_ref() {
            match token {
                Token::Text(text) => {
                    let text = decode_entities(text);
                    self.text.extend(text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }));
                }
                Token::Open(name, attributes) => self.open(name, &attributes),
                Token::Close(name) => self.text.push_str(gap(name)),
                Token::Code(code) => {
                    self.code.push_str(code);
                    self.code.push('\n');
                }
                // Outlook shows what stands in conditional comments.
                Token::Comment(comment) if is_outermost && comment.trim_start().starts_with("[if") => {
                    let inner = comment.split_once('>').map_or("", |(_, rest)| rest);
                    self.read(inner, false);
                }
                Token::Comment(_) => {}
            }
        }
        self.crowded += tokens.crowded;
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.text.push_str(gap(name));
        let value = |wanted: &str| {
            attributes
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| decode_entities(value))
        };
        if name.eq_ignore_ascii_case("base") {
            self.base = self.base.take().or_else(|| value("href"));
        }
        if name.eq_ignore_ascii_case("meta")
            && value("http-equiv").is_some_and(|header| header.trim().eq_ignore_ascii_case("refresh"))
            && let Some(target) = value("content").as_deref().and_then(refresh_target)
        {
            self.link("refresh", target.to_owned());
        }
        for (name, value) in attributes {
            match name.to_ascii_lowercase().as_str() {
                "href" | "xlink:href" => self.link("href", decode_entities(value)),
                "src" | "background" | "poster" | "data" | "lowsrc" | "dynsrc" => {
                    self.link("src", decode_entities(value));
                }
                "action" | "formaction" => self.link("action", decode_entities(value)),
                "srcset" => {
                    for candidate in decode_entities(value).split(", ") {
                        self.link(
                            "src",
                            candidate.split_whitespace().next().unwrap_or("").trim_end_matches(',').to_owned(),
                        );
                    }
                }
                "alt" | "title" => {
                    let text = decode_entities(value);
                    self.text.extend([" ", &text, " "]);
                }
                name if name == "style" || name.starts_with("on") => {
                    let code = decode_entities(value);
                    self.code.extend([&code, "\n"]);
                }
                _ => {}
            }
        }
    }

    fn link(&mut self, kind: &'static str, target: String) {
        if target.trim().is_empty() || target.starts_with('#') || self.known.contains(&target) {
            return;
        }
        if self.links.len() < limits::LINKS {
            self.known.insert(target.clone());
            self.links.push((kind, target));
        } else {
            self.links_left_out += 1;
        }
    }

    fn report(self, place: &str, collector: &mut Collector<'_>) -> HashSet<String> {
        let base = self.base.as_deref().and_then(|base| Url::parse(base.trim()).ok());
        let mut shown = HashSet::new();
        for (kind, target) in &self.links {
            let place = format!("{place}:{kind}");
            match resolve(target, base.as_ref()) {
                Target::Url(url) => add_url(&url, &place, collector),
                Target::Mailbox(text) => {
                    for observable in
                        ioc::extract(&text).into_iter().filter(|found| found.kind() == ObservableType::EmailAddr)
                    {
                        collector.add_with_host(observable, &place);
                    }
                }
                Target::Part(id) => {
                    shown.insert(id);
                }
                Target::Page => collector.lose(&place, "a page inside a data: link was not opened"),
                Target::Unclear => collector.add_text(target, &place),
                Target::Nothing => {}
            }
        }
        if self.links_left_out > 0 {
            collector.lose(place, format!("{} more links, the limit is {}", self.links_left_out, limits::LINKS));
        }
        if self.crowded > 0 {
            collector.lose(place, format!("{} tags have more attributes than are read", self.crowded));
        }
        text::add(&self.text, &format!("{place}:text"), collector);
        add_code(&self.code, &format!("{place}:code"), collector);
        shown
    }
}

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Url(String),
    Mailbox(String),
    Part(String),
    /// A whole page inside the link.
    Page,
    /// No URL as it stands; may hold one, such as `hxxp://…` or `javascript:open('…')`.
    Unclear,
    Nothing,
}

fn resolve(target: &str, base: Option<&Url>) -> Target {
    let target = target.trim();
    let parsed = match Url::parse(target) {
        Err(url::ParseError::RelativeUrlWithoutBase) => match base {
            Some(base) => base.join(target),
            // A mail has no scheme of its own; clients that open these take https.
            None if target.starts_with("//") => Url::parse(&format!("https:{target}")),
            None => return Target::Unclear,
        },
        parsed => parsed,
    };
    let Ok(url) = parsed else { return Target::Unclear };
    match url.scheme() {
        "http" | "https" | "ftp" | "ftps" | "sftp" => Target::Url(url.into()),
        "mailto" => Target::Mailbox(url.path().replace("%40", "@").replace("%20", " ").replace("%2C", ",")),
        "cid" => Target::Part(url.path().to_owned()),
        "data" if !url.path().starts_with("image/") => Target::Page,
        "data" | "about" | "tel" | "sms" | "mid" | "blob" => Target::Nothing,
        _ => Target::Unclear,
    }
}

/// Notes a URL, its host, and the URLs that it wraps.
fn add_url(url: &str, place: &str, collector: &mut Collector<'_>) {
    let Ok(whole) = Observable::parse(ObservableType::Url, url) else {
        collector.add_text(url, place);
        return;
    };
    for inner in ioc::extract(whole.value()) {
        // The text's rules may end the same URL earlier, at a bracket or a comma: that is no other URL.
        if inner.kind() == ObservableType::Url && !whole.value().starts_with(inner.value().trim_end_matches('/')) {
            collector.add_with_host(inner, place);
        }
    }
    collector.add_with_host(whole, place);
}

/// Notes the URLs of scripts and style sheets. Only URLs: `location.name` is no domain there.
fn add_code(code: &str, place: &str, collector: &mut Collector<'_>) {
    if code.trim().is_empty() {
        return;
    }
    for observable in ioc::extract(&code.replace("\\/", "/")) {
        if observable.kind() == ObservableType::Url {
            collector.add_with_host(observable, place);
        }
    }
}

/// `5; url='https://…'`, as WHATWG HTML §4.2.5.3 reads it.
fn refresh_target(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once([';', ','])?;
    let rest = rest.trim();
    let rest = match rest.get(..3) {
        Some(word) if word.eq_ignore_ascii_case("url") => rest[3..].trim_start().strip_prefix('=').unwrap_or(rest),
        _ => rest,
    };
    let rest = rest.trim();
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next(),
        _ => Some(rest),
    }
}

/// What a tag puts between the texts around it. Inline tags put nothing: `evil<b>.</b>example` is one name.
fn gap(name: &str) -> &'static str {
    match name.to_ascii_lowercase().as_str() {
        "b" | "i" | "u" | "s" | "em" | "strong" | "span" | "font" | "wbr" | "small" | "big" | "code" | "tt"
        | "mark" | "abbr" | "sub" | "sup" | "bdo" | "bdi" | "o:p" => "",
        "a" | "img" => " ",
        _ => "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_a_browser_would_go() {
        let base = Url::parse("https://a.example/b/").unwrap();
        let check = |target: &str, expected: Target| assert_eq!(resolve(target, Some(&base)), expected, "{target}");
        let url = |text: &str| Target::Url(text.to_owned());
        check(" https://x.example/\n", url("https://x.example/"));
        check("ht\ntps:\\\\x.example\\y", url("https://x.example/y"));
        check("../c?d", url("https://a.example/c?d"));
        check("//x.example/y", url("https://x.example/y"));
        check("mailto:a%40x.example?subject=b", Target::Mailbox("a@x.example".to_owned()));
        check("cid:logo@1", Target::Part("logo@1".to_owned()));
        check("data:image/png;base64,AAAA", Target::Nothing);
        check("data:text/html,<a href=x>", Target::Page);
        check("javascript:open('http://x.example')", Target::Unclear);
        assert_eq!(resolve("//x.example/y", None), url("https://x.example/y"));
        assert_eq!(resolve("www.x.example/y", None), Target::Unclear);
    }

    #[test]
    fn a_refresh_names_its_target() {
        let check = |content: &str, expected: Option<&str>| assert_eq!(refresh_target(content), expected, "{content}");
        check("0;url=https://a.example/", Some("https://a.example/"));
        check("5 ; URL = 'https://a.example/' x", Some("https://a.example/"));
        check("0, https://a.example/", Some("https://a.example/"));
        check("5", None);
        check("5;é", Some("é"));
    }
}
