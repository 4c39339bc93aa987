//! HTML: its links, its visible text, and the URLs in its scripts and style sheets.

use std::collections::HashSet;

use ioc::{Observable, ObservableType};
use url::Url;

use crate::{
    attachment::{self, Form},
    collect::Collector,
    decode, limits,
    links::{self, Data, Target},
    tags::{Token, Tokens, decode_entities},
    text,
};

/// How deep pages inside pages are read: `srcdoc` and `data:` links.
const DEPTH: usize = 2;

/// Reads HTML under a place such as `html`; returns the Content-IDs that it shows.
pub fn read(html: &str, place: &str, collector: &mut Collector<'_>) -> HashSet<String> {
    let cut = html.floor_char_boundary(limits::HTML_BYTES);
    if cut < html.len() {
        collector.lose(place, format!("read the first {cut} of {} bytes", html.len()));
    }
    let mut page = Page::default();
    page.read(&html[..cut], true);
    page.report(place, 0, collector)
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
    /// Pages that stand in an attribute.
    inner: Vec<String>,
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
            && let Some(target) = value("content").as_deref().and_then(links::refresh_target)
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
                "srcset" | "imagesrcset" => {
                    for source in links::sources(&decode_entities(value)) {
                        self.link("src", source);
                    }
                }
                "srcdoc" => self.inner.push(decode_entities(value)),
                "alt" | "title" => {
                    let text = decode_entities(value);
                    self.text.extend([" ", &text, " "]);
                }
                name if name == "style" || name.starts_with("on") => {
                    let code = decode_entities(value);
                    self.code.extend([&code, "\n"]);
                }
                name if names_a_vocabulary(name) => {}
                "data-saferedirecturl" => {
                    let code = decode_entities(value);
                    let code = links::behind_google(&code).unwrap_or(code);
                    self.code.extend([&code, "\n"]);
                }
                name => {
                    let value = decode_entities(value);
                    if !value.contains("://") {
                        continue;
                    }
                    // What scripts, and mail programs that rewrite links, keep the real link in.
                    if matches!(name, "originalsrc" | "data-url" | "data-href" | "o:href") {
                        self.link("href", value);
                    } else {
                        self.code.extend([&value, "\n"]);
                    }
                }
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

    fn report(self, place: &str, depth: usize, collector: &mut Collector<'_>) -> HashSet<String> {
        let base = self.base.as_deref().and_then(|base| Url::parse(base.trim()).ok());
        let mut shown = HashSet::new();
        for (kind, target) in &self.links {
            let place = format!("{place}:{kind}");
            let filled = links::without_placeholders(target);
            if *filled != **target {
                collector.add_text(&filled, &place);
                continue;
            }
            match links::resolve(target, base.as_ref()) {
                Target::Url(url) => add_url(&url, &place, collector),
                Target::Mailbox(addresses, body) => {
                    for observable in
                        ioc::extract(&addresses).into_iter().filter(|found| found.kind() == ObservableType::EmailAddr)
                    {
                        collector.add_with_host(observable, &place);
                    }
                    text::add(&body, &place, collector);
                }
                Target::Part(id) => {
                    shown.insert(id);
                }
                Target::Page(data) => shown.extend(read_data(&data, &place, depth, collector)),
                Target::Unclear => collector.add_text(target, &place),
                Target::Nothing => {}
            }
        }
        for html in &self.inner {
            let inner = Self { base: self.base.clone(), ..Self::default() };
            shown.extend(inner.read_inside(html, &format!("{place}:srcdoc"), depth, collector));
        }
        if self.links_left_out > 0 {
            collector.lose(place, format!("{} more links, the limit is {}", self.links_left_out, limits::LINKS));
        }
        if self.crowded > 0 {
            collector.lose(place, format!("{} tags have more attributes than are read", self.crowded));
        }
        text::add(&self.text, &format!("{place}:text"), collector);
        text::add_code(&self.code, &format!("{place}:code"), collector);
        shown
    }

    /// Reads a page inside a page; the sum of all of them is no longer than the page around them.
    fn read_inside(mut self, html: &str, place: &str, depth: usize, collector: &mut Collector<'_>) -> HashSet<String> {
        if depth >= DEPTH {
            collector.lose(place, format!("a page in pages beyond the limit of {DEPTH} was not read"));
            return HashSet::new();
        }
        self.read(html, true);
        self.report(place, depth + 1, collector)
    }
}

fn read_data(data: &Data, place: &str, depth: usize, collector: &mut Collector<'_>) -> HashSet<String> {
    let text = decode::text(&data.content, data.charset.as_deref());
    match attachment::form(&data.media_type, "", &data.content) {
        Form::Html => return Page::default().read_inside(&text, &format!("{place}:data"), depth, collector),
        Form::Text => text::add(&text, place, collector),
        Form::Code => text::add_code(&text, place, collector),
        Form::Mail | Form::Opaque => collector.lose(place, "a page inside a data: link was not opened"),
    }
    HashSet::new()
}

/// Attributes whose URLs are names, which nobody follows.
fn names_a_vocabulary(attribute: &str) -> bool {
    matches!(attribute, "xmlns" | "property" | "itemtype" | "vocab") || attribute.starts_with("xmlns:")
}

/// Notes a URL, its host, and the URLs that it wraps.
fn add_url(url: &str, place: &str, collector: &mut Collector<'_>) {
    let Ok(whole) = Observable::parse(ObservableType::Url, url) else {
        collector.add_text(url, place);
        return;
    };
    for inner in ioc::inside(&whole) {
        collector.add(inner, place);
    }
    // Image proxies keep the real link behind a `#`.
    for inner in ioc::extract(whole.value()) {
        // The text's rules may end the same URL earlier, at a bracket or a comma: that is no other URL.
        if inner.kind() == ObservableType::Url && !whole.value().starts_with(inner.value().trim_end_matches('/')) {
            collector.add_with_host(inner, place);
        }
    }
    collector.add_with_host(whole, place);
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
