//! A browser without a screen: pages, forms and cookies, as much as the review page needs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use scraper::{ElementRef, Html, Selector};
use url::Url;

/// One person's browser.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    /// By hand: a cookie with the prefix `__Host-` is for https, and the local stack has none.
    cookies: BTreeMap<String, String>,
}

/// A page as it was received.
#[derive(Debug)]
pub struct Page {
    url: Url,
    status: u16,
    body: String,
}

/// A form with what it would send as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    action: Url,
    /// Name and value: hidden fields, ticked boxes, prefilled texts.
    pub fields: Vec<(String, String)>,
    /// Names of fields that a person fills in.
    pub open: Vec<String>,
    /// Choices of which a person picks one: field and values.
    pub choices: BTreeMap<String, Vec<String>>,
}

impl Browser {
    /// A browser that nobody has used yet.
    #[must_use]
    pub const fn new(http: reqwest::Client) -> Self {
        Self { http, cookies: BTreeMap::new() }
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) -> Result<Page> {
        self.request(reqwest::Method::GET, Url::parse(url)?, None).await
    }

    /// Sends a form, as a press on its button does, and follows to the page that answers.
    pub async fn send(&mut self, form: &Form) -> Result<Page> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
        self.request(reqwest::Method::POST, form.action.clone(), Some(body)).await
    }

    async fn request(&mut self, method: reqwest::Method, url: Url, body: Option<String>) -> Result<Page> {
        let (mut method, mut url, mut body) = (method, url, body);
        for _ in 0..5 {
            let mut request = self.http.request(method, url.clone()).header("sec-fetch-site", "same-origin");
            if !self.cookies.is_empty() {
                let sent: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                request = request.header(COOKIE, sent.join("; "));
            }
            if let Some(body) = body.take() {
                request = request
                    .header("origin", url.origin().ascii_serialization())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body);
            }
            let answer = request.send().await.with_context(|| format!("{url} does not answer"))?;
            for cookie in answer.headers().get_all(SET_COOKIE) {
                let pair = cookie.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
                if let Some((name, value)) = pair.split_once('=') {
                    self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
                }
            }
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
            match to.filter(|_| answer.status().is_redirection()) {
                Some(to) => (method, url) = (reqwest::Method::GET, url.join(&to)?),
                None => return Ok(Page { url, status: answer.status().as_u16(), body: answer.text().await? }),
            }
        }
        bail!("{url} leads from one address to the next")
    }
}

impl Page {
    /// The page, where it was answered with 200.
    pub fn ok(self) -> Result<Self> {
        if self.status == 200 {
            Ok(self)
        } else {
            bail!("{} answered {}: {}", self.url.path(), self.status, self.text())
        }
    }

    /// What a person reads, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let page = Html::parse_document(&self.body);
        let Ok(body) = Selector::parse("main, body") else { return String::new() };
        let text: String =
            page.select(&body).next().into_iter().flat_map(|body| body.text()).collect::<Vec<_>>().join(" ");
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
    }

    /// The first form whose address ends so.
    pub fn form(&self, ending: &str) -> Result<Option<Form>> {
        let page = Html::parse_document(&self.body);
        let forms = Selector::parse("form").map_err(|error| anyhow::anyhow!("{error}"))?;
        for form in page.select(&forms) {
            let action = self.url.join(form.attr("action").unwrap_or_default())?;
            if action.path().ends_with(ending) {
                return Ok(Some(read(form, action)?));
            }
        }
        Ok(None)
    }
}

fn read(element: ElementRef<'_>, action: Url) -> Result<Form> {
    let mut form = Form { action, fields: vec![], open: vec![], choices: BTreeMap::new() };
    let fields = Selector::parse("input, textarea, button, select").map_err(|error| anyhow::anyhow!("{error}"))?;
    for field in element.select(&fields) {
        let Some(name) = field.attr("name").map(str::to_owned) else { continue };
        if field.attr("disabled").is_some() {
            continue;
        }
        let value = field.attr("value").unwrap_or_default().to_owned();
        match (field.value().name(), field.attr("type").unwrap_or("text")) {
            ("input", "hidden") => form.fields.push((name, value)),
            ("input", "checkbox") => {
                if field.attr("checked").is_some() {
                    form.fields.push((name, if value.is_empty() { "on".to_owned() } else { value }));
                }
            }
            ("input", "radio") => form.choices.entry(name).or_default().push(value),
            ("button", _) | ("input", "submit") => {
                if !value.is_empty() {
                    form.choices.entry(name).or_default().push(value);
                }
            }
            ("select", _) => {}
            _ => {
                let text = if field.value().name() == "textarea" { field.text().collect() } else { value };
                if !text.is_empty() {
                    form.fields.push((name.clone(), text));
                }
                form.open.push(name);
            }
        }
    }
    Ok(form)
}

impl Form {
    /// Sets a field, whatever it held.
    pub fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// The open field whose name holds this word.
    pub fn field(&self, word: &str) -> Result<String> {
        let found = self.open.iter().find(|name| name.contains(word));
        found.cloned().with_context(|| format!("the form has no field for the {word}, only {}", self.open.join(", ")))
    }

    /// Picks a value of the one choice that offers it.
    pub fn choose(&mut self, value: &str) -> Result<()> {
        let found = self.choices.iter().find(|(_, values)| values.iter().any(|offered| offered == value));
        let Some(name) = found.map(|(name, _)| name.clone()) else {
            bail!("the page does not offer {value:?}, only {:?}", self.choices);
        };
        self.set(&name, value);
        Ok(())
    }

    /// Whether a value is offered.
    #[must_use]
    pub fn offers(&self, value: &str) -> bool {
        self.choices.values().flatten().any(|offered| offered == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Page {
        Page { url: Url::parse("http://127.0.0.1:1/_aws/x/r/secret").unwrap(), status: 200, body: body.to_owned() }
    }

    #[test]
    fn a_form_sends_what_is_shown_and_no_choice() {
        let page = page(
            r#"<form action="other/code"></form><form method="post" action="secret/decide">
            <input type="hidden" name="csrf" value="x"><input type="checkbox" name="indicator" value="a" checked>
            <input type="checkbox" name="indicator" value="b"><input type="radio" name="choice" value="approved">
            <input type="radio" name="choice" value="rejected"><textarea name="reason"></textarea><input name="code">
            <button>Send</button></form>"#,
        );
        let mut form = page.form("/decide").unwrap().unwrap();
        assert_eq!(form.action.path(), "/_aws/x/r/secret/decide");
        assert_eq!(form.fields, [("csrf".into(), "x".into()), ("indicator".into(), "a".into())]);
        assert_eq!(form.open, ["reason", "code"]);
        assert!(form.offers("rejected") && !form.offers("look_again"));
        form.choose("approved").unwrap();
        assert!(form.fields.contains(&("choice".into(), "approved".into())));
        assert!(form.choose("maybe").is_err());
        assert!(page.form("/nothing").unwrap().is_none());
    }
}
