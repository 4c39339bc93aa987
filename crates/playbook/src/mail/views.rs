//! What the templates in `templates/mail/` are given.

use askama::Template;

use super::fit::Fitted;

#[derive(Template)]
#[template(path = "mail/request.txt")]
pub struct RequestText<'a> {
    pub fitted: &'a Fitted,
    pub link: &'a str,
    pub others: &'a str,
}

#[derive(Template)]
#[template(path = "mail/request.html")]
pub struct RequestHtml<'a> {
    pub fitted: &'a Fitted,
    pub link: &'a str,
    pub others: &'a str,
}

#[derive(Template)]
#[template(path = "mail/reminder.txt")]
pub struct ReminderText<'a> {
    pub fitted: &'a Fitted,
}

#[derive(Template)]
#[template(path = "mail/reminder.html")]
pub struct ReminderHtml<'a> {
    pub fitted: &'a Fitted,
}

pub struct CodeView<'a> {
    pub incident_id: &'a str,
    pub severity: &'a str,
    pub lead: &'a str,
    pub code: &'a str,
    pub expires_at: &'a str,
    pub asked_from: &'a str,
}

#[derive(Template)]
#[template(path = "mail/code.txt")]
pub struct CodeText<'a> {
    pub view: &'a CodeView<'a>,
}

#[derive(Template)]
#[template(path = "mail/code.html")]
pub struct CodeHtml<'a> {
    pub view: &'a CodeView<'a>,
}

pub struct DecidedView<'a> {
    pub incident_id: &'a str,
    /// With the score.
    pub severity: &'a str,
    pub lead: &'a str,
    pub choice: &'a str,
    pub effect: &'a str,
    pub by: &'a str,
    pub authenticated_by: &'a str,
    pub at: &'a str,
    pub reason: &'a str,
    pub indicators: &'a [String],
    /// Empty where nothing was approved.
    pub undo: &'a [String],
    pub result: &'a str,
}

#[derive(Template)]
#[template(path = "mail/decided.txt")]
pub struct DecidedText<'a> {
    pub view: &'a DecidedView<'a>,
}

#[derive(Template)]
#[template(path = "mail/decided.html")]
pub struct DecidedHtml<'a> {
    pub view: &'a DecidedView<'a>,
}

#[derive(Template)]
#[template(path = "mail/expired.txt")]
pub struct ExpiredText<'a> {
    pub fitted: &'a Fitted,
    pub is_last: bool,
    pub is_unreached: bool,
    /// When what was enforced at once leaves; empty when nothing was.
    pub until: &'a str,
    pub has_ticket: bool,
}

#[derive(Template)]
#[template(path = "mail/expired.html")]
pub struct ExpiredHtml<'a> {
    pub fitted: &'a Fitted,
    pub is_last: bool,
    pub is_unreached: bool,
    pub until: &'a str,
    pub has_ticket: bool,
}

#[derive(Template)]
#[template(path = "mail/undelivered.txt")]
pub struct UndeliveredText<'a> {
    pub fitted: &'a Fitted,
    pub address: &'a str,
    pub why: &'a str,
    pub is_final: bool,
}

#[derive(Template)]
#[template(path = "mail/undelivered.html")]
pub struct UndeliveredHtml<'a> {
    pub fitted: &'a Fitted,
    pub address: &'a str,
    pub why: &'a str,
    pub is_final: bool,
}
