//! Where the links of HTML lead, as mail programs and browsers follow them.

use std::borrow::Cow;

use url::Url;

use crate::decode;

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// A place on the net.
    Url(String),
    /// Addresses, and the text of the mail that a click begins.
    Mailbox(String, String),
    /// Another part of the mail.
    Part(String),
    /// A whole page inside the link.
    Page(Data),
    /// No URL as it stands; may hold one, such as `hxxp://…` or `javascript:open('…')`.
    Unclear,
    /// Nowhere that matters.
    Nothing,
}

/// What a `data:` link holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// In lower case.
    pub media_type: String,
    /// As it is named.
    pub charset: Option<String>,
    /// Decoded.
    pub content: Vec<u8>,
}

/// Where `target` leads from a page with this base.
pub fn resolve(target: &str, base: Option<&Url>) -> Target {
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
        "mailto" => mailbox(&url),
        "cid" => Target::Part(decode::percent_text(url.path())),
        "data" => data(&url),
        "about" | "tel" | "sms" | "mid" | "blob" => Target::Nothing,
        _ => Target::Unclear,
    }
}

/// RFC 6068: recipients stand in the path and in `to`, `cc` and `bcc`.
fn mailbox(url: &Url) -> Target {
    let mut addresses = decode::percent_text(url.path());
    let mut body = String::new();
    for (name, value) in url.query().unwrap_or("").split('&').filter_map(|field| field.split_once('=')) {
        let value = decode::percent_text(value);
        match name.to_ascii_lowercase().as_str() {
            "to" | "cc" | "bcc" => addresses.extend([", ", &value]),
            "body" => body.extend([value.as_str(), "\n"]),
            _ => {}
        }
    }
    Target::Mailbox(addresses, body)
}

/// RFC 2397. What stands behind a `#` is kept: writers of `data:` links forget to encode it.
fn data(url: &Url) -> Target {
    let rest = url.as_str().split_once(':').map_or("", |(_, rest)| rest);
    let (kind, content) = rest.split_once(',').unwrap_or((rest, ""));
    let kind = kind.to_ascii_lowercase();
    let mut fields = kind.split(';').map(str::trim);
    let media_type = fields.next().filter(|name| !name.is_empty()).unwrap_or("text/plain").to_owned();
    if media_type.starts_with("image/") && media_type != "image/svg+xml" {
        return Target::Nothing;
    }
    let (mut charset, mut is_base64) = (None, false);
    for field in fields {
        is_base64 |= field == "base64";
        charset = field.strip_prefix("charset=").map(str::to_owned).or(charset);
    }
    let content = decode::percent(content);
    let content = if is_base64 { decode::base64(&content) } else { content };
    Target::Page(Data { media_type, charset, content })
}

/// Templates that nobody filled in: a link that begins with a placeholder, or has one for a host, leads nowhere, and
/// `{{unsubscribe.link}}` is no domain. What remains of such a link; as it stands where there is nothing to take out.
pub fn without_placeholders(target: &str) -> Cow<'_, str> {
    let trimmed = target.trim();
    if trimmed.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Cow::Borrowed(target);
    }
    let start = trimmed.find("://").map_or(0, |at| at + 3);
    let host = trimmed[start..].split(['/', '?', '#']).next().unwrap_or("");
    let is_bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|name| name.contains(|c: char| c.is_alphabetic()) && !name.contains([':', '[', ']', '@']));
    if is_bracketed {
        return Cow::Owned(trimmed[start + host.len()..].to_owned());
    }
    if !["{{", "[[", "%%"].iter().any(|open| trimmed[..start + host.len()].contains(open)) {
        return Cow::Borrowed(target);
    }
    let mut kept = trimmed.to_owned();
    for (open, close) in [("{{", "}}"), ("[[", "]]"), ("%%", "%%")] {
        kept = without(&kept, open, close);
    }
    if kept == trimmed { Cow::Borrowed(target) } else { Cow::Owned(kept) }
}

fn without(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let Some((name, after)) = after.split_once(close) else { break };
        // A script in braces is no placeholder.
        let is_name = !name.contains(['/', '\\', '(', '=', ';', '\'', '"']);
        kept.extend(if is_name { [before, " ", "", ""] } else { [before, open, name, close] });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The link that Gmail had repeated in an attribute of its own when the mail was shown there: no other link.
pub fn behind_google(link: &str) -> Option<String> {
    let query = link.trim().strip_prefix("https://www.google.com/url?")?;
    query.split('&').find_map(|field| field.strip_prefix("q=")).map(decode::percent_text)
}

/// The URLs of a `srcset` (WHATWG HTML §4.8.4.2.1): a URL ends at white space, its descriptors at a comma.
pub fn sources(srcset: &str) -> Vec<String> {
    let mut urls = vec![];
    let mut is_url = true;
    for word in srcset.split_ascii_whitespace() {
        let mut rest = word;
        if !is_url {
            let Some((_, next)) = rest.split_once(',') else { continue };
            is_url = true;
            rest = next;
        }
        let url = rest.trim_matches(',');
        if !url.is_empty() {
            is_url = rest.ends_with(',');
            urls.push(url.to_owned());
        }
    }
    urls
}

/// `5; url='https://…'`, as WHATWG HTML §4.2.5.3 reads it.
pub fn refresh_target(content: &str) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_a_browser_would_go() {
        let base = Url::parse("https://a.example/b/").unwrap();
        let check = |target: &str, expected: Target| assert_eq!(resolve(target, Some(&base)), expected, "{target}");
        let url = |text: &str| Target::Url(text.to_owned());
        let mailbox = |addresses: &str, body: &str| Target::Mailbox(addresses.to_owned(), body.to_owned());
        let page = |media_type: &str, content: &str| {
            Target::Page(Data { media_type: media_type.to_owned(), charset: None, content: content.into() })
        };
        check(" https://x.example/\n", url("https://x.example/"));
        check("ht\ntps:\\\\x.example\\y", url("https://x.example/y"));
        check("../c?d", url("https://a.example/c?d"));
        check("//x.example/y", url("https://x.example/y"));
        check("mailto:a%40x.example?subject=b", mailbox("a@x.example", ""));
        check("mailto:%61@x.example?CC=b%40x.example&body=c%20d", mailbox("a@x.example, b@x.example", "c d\n"));
        check("cid:logo@1", Target::Part("logo@1".to_owned()));
        check("cid:logo%401", Target::Part("logo@1".to_owned()));
        check("data:image/png;base64,AAAA", Target::Nothing);
        check("data:text/html,<a href=x?y#z>", page("text/html", "<a href=x?y#z>"));
        check("data:Text/HTML;base64,PGI+", page("text/html", "<b>"));
        check("data:,a%20b", page("text/plain", "a b"));
        check("javascript:open('http://x.example')", Target::Unclear);
        assert_eq!(resolve("//x.example/y", None), url("https://x.example/y"));
        assert_eq!(resolve("www.x.example/y", None), Target::Unclear);
    }

    #[test]
    fn placeholders_are_no_links() {
        let check = |target: &str, expected: &str| assert_eq!(without_placeholders(target), expected, "{target}");
        check("{{unsubscribe.link}}", " ");
        check("http://[[host.link]]/x", "http:// /x");
        check("%%unsubscribe.link%%", " ");
        check("[unsubscribe.link]", "");
        check("https://[unsubscribe.link]/", "/");
        check("https://a.example/{{id}}?%%x%%", "https://a.example/{{id}}?%%x%%");
        check("https://[2001:db8::1]/", "https://[2001:db8::1]/");
        check("hxxp://evil[.]example", "hxxp://evil[.]example");
        check("{{a", "{{a");
        check(" javascript:{{go('//a.example')}}", " javascript:{{go('//a.example')}}");
        check("data:,{{a}}", "data:,{{a}}");
    }

    #[test]
    fn a_srcset_falls_into_urls() {
        let check = |srcset: &str, expected: &[&str]| assert_eq!(sources(srcset), expected, "{srcset}");
        check("a.png, b.png 2x", &["a.png", "b.png"]);
        check("a.png 1x,b.png 2x,c.png", &["a.png", "b.png", "c.png"]);
        check("a,b.png 1x , c.png", &["a,b.png", "c.png"]);
        check(" , ", &[]);
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
