//! Somebody who opens links: one browser session over HTTP, without a screen. A person, or a scanner.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use scraper::{ElementRef, Html, Selector};
use url::Url;
use xtask::local::Gateway;

/// One session.
pub struct Visitor {
    gateway: Gateway,
    /// By hand: the prefix `__Host-` is for https, and the emulator has none.
    cookies: BTreeMap<String, String>,
}

/// What came back.
pub struct Answer {
    pub url: Url,
    pub status: StatusCode,
    /// Where it leads.
    pub to: Option<Url>,
    pub body: String,
}

/// A form of a page, as it would be sent without touching it.
#[derive(Clone)]
pub struct Form {
    pub action: Url,
    /// Hidden fields, ticked boxes and prefilled texts.
    pub fields: Vec<(String, String)>,
    /// Fields that somebody has to fill in.
    pub texts: Vec<String>,
    /// Fields of which one value has to be chosen.
    pub choices: BTreeMap<String, Vec<String>>,
}

impl Visitor {
    pub fn new(gateway: &Gateway) -> Self {
        Self { gateway: gateway.clone(), cookies: BTreeMap::new() }
    }

    /// Opens an address as a click does, and follows where it leads.
    pub async fn open(&mut self, url: &str) -> Answer {
        let answer = self.send(Method::GET, &Url::parse(url).unwrap(), None, &[]).await;
        self.follow(answer).await
    }

    /// Presses a button of our own page, and follows where it leads.
    pub async fn press(&mut self, form: &Form) -> Answer {
        let answer = self.post(form, &[("sec-fetch-site", "same-origin")]).await;
        self.follow(answer).await
    }

    /// Sends a form with exactly these headers.
    pub async fn post(&mut self, form: &Form, headers: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
        self.send(Method::POST, &form.action, Some(body), headers).await
    }

    async fn follow(&mut self, answer: Answer) -> Answer {
        match &answer.to {
            Some(to) => self.send(Method::GET, to, None, &[]).await,
            None => answer,
        }
    }

    /// Any request, as it is.
    pub async fn send(&mut self, method: Method, url: &Url, body: Option<String>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.gateway.http().request(method, url.clone()).timeout(super::deployed::CALL);
        if !self.cookies.is_empty() {
            let sent: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", sent.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{url} does not answer: {error}"));
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        let to = answer.headers().get("location").map(|to| url.join(to.to_str().unwrap()).unwrap());
        Answer { url: url.clone(), status: answer.status(), to, body: answer.text().await.unwrap() }
    }
}

impl Answer {
    /// What a person reads.
    pub fn text(&self) -> String {
        let page = Html::parse_document(&self.body);
        let text: Vec<&str> = page.select(&Selector::parse("body").unwrap()).flat_map(|body| body.text()).collect();
        text.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Every address that the page names, but no form's.
    pub fn links(&self) -> Vec<Url> {
        let page = Html::parse_document(&self.body);
        let elements = Selector::parse("[href], [src]").unwrap();
        let named = page.select(&elements).filter_map(|element| element.attr("href").or(element.attr("src")));
        named.map(|link| self.url.join(link).unwrap()).collect()
    }

    pub fn forms(&self) -> Vec<Form> {
        let page = Html::parse_document(&self.body);
        page.select(&Selector::parse("form").unwrap()).map(|form| read(form, &self.url)).collect()
    }

    /// The form whose address ends so.
    pub fn form(&self, ending: &str) -> Form {
        let found = self.forms().into_iter().find(|form| form.action.path().ends_with(ending));
        found.unwrap_or_else(|| panic!("{} has no form {ending}: {} {}", self.url.path(), self.status, self.text()))
    }
}

impl Form {
    /// Fills in a field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }
}

fn read(element: ElementRef<'_>, page: &Url) -> Form {
    let action = page.join(element.attr("action").unwrap_or_default()).unwrap();
    let mut form = Form { action, fields: vec![], texts: vec![], choices: BTreeMap::new() };
    for field in element.select(&Selector::parse("input[name], textarea[name]").unwrap()) {
        let name = field.attr("name").unwrap().to_owned();
        let value = field.attr("value").unwrap_or_default().to_owned();
        match field.attr("type").unwrap_or("text") {
            "radio" => form.choices.entry(name).or_default().push(value),
            "checkbox" if field.attr("checked").is_none() => {}
            "hidden" | "checkbox" => form.fields.push((name, value)),
            _ => form.texts.push(name),
        }
    }
    form
}
