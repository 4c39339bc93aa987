//! The mails to people: asking, reminding, one-time codes, what was decided, what ran out. Text and HTML say the same.
//!
//! Everything from outside is defanged; the one link of a mail is ours.

use askama::Template;

use crate::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::{self, Brief, Surroundings, hostile, moment},
    decision::{DECIDED, Decision, Round},
    ports::Mail,
};

/// Findings with evidence in a mail; the page shows all.
const FINDINGS_MAX: usize = 12;
/// Characters of a subject line.
const SUBJECT_MAX_CHARS: usize = 200;

/// The mail that asks one person.
pub fn request(to: &str, brief: &Brief, link: &str, others: &[String]) -> Result<Mail, Fault> {
    let others = others.iter().map(|address| hostile(address, 254)).collect::<Vec<_>>().join(", ");
    let findings = brief.findings.get(..FINDINGS_MAX.min(brief.findings.len())).unwrap_or(&[]);
    let left_out = brief.findings.len() - findings.len() + brief.findings_left_out;
    let again = if brief.run > 1 { "looked at again: " } else { "" };
    let level = if brief.earlier.is_empty() { "" } else { ", nobody answered before" };
    let subject = format!("[IOC review] {again}{}{level}", about(brief));
    let text = RequestText { brief, findings, left_out, link, others: &others };
    let html = RequestHtml { brief, findings, left_out, link, others: &others };
    mail(to, &subject, &brief.incident_id, &text, &html)
}

/// The mail that reminds one person who was asked and has not decided. It holds no link: that is in the mail that asked.
pub fn reminder(to: &str, brief: &Brief) -> Result<Mail, Fault> {
    let subject = format!("[IOC review] reminder: {}, {}", about(brief), brief.left);
    mail(to, &subject, &brief.incident_id, &ReminderText { brief }, &ReminderHtml { brief })
}

/// What is asked, of what, and by when, for a subject line.
fn about(brief: &Brief) -> String {
    let asks = if brief.offers.is_empty() { "what now?" } else { "block?" };
    let (severity, lead) = (&brief.severity, shorter(&brief.lead, 70));
    format!("{severity} {lead} → {asks} ({}) by {}", brief.incident_id, brief.deadline_short)
}

/// A one-time code, and who asked for it.
#[derive(Clone, Debug)]
pub struct Code<'a> {
    /// Six digits.
    pub code: &'a str,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Address and browser that asked; hostile text.
    pub asked_from: &'a str,
}

/// The mail with a one-time code. It needs no link: the page that asked is open.
pub fn code(to: &str, assessment: &Assessment, code: &Code<'_>) -> Result<Mail, Fault> {
    let subject = format!("[IOC review] {} is your code ({})", code.code, assessment.incident_id);
    let view = CodeView {
        incident_id: assessment.incident_id.as_str(),
        lead: &brief::lead(assessment),
        code: code.code,
        expires_at: &moment(code.expires_at),
        asked_from: &hostile(code.asked_from, 160),
    };
    mail(to, &subject, assessment.incident_id.as_str(), &CodeText { view: &view }, &CodeHtml { view: &view })
}

/// The mail that tells what was decided; `result` is one sentence of what became of it, such as `2 entries were written`;
/// empty when there is nothing to say.
pub fn decided(to: &str, assessment: &Assessment, decision: &Decision, result: &str) -> Result<Mail, Fault> {
    let view = DecidedView {
        incident_id: assessment.incident_id.as_str(),
        lead: &brief::lead(assessment),
        choice: brief::decided_as(decision.choice),
        effect: brief::effect(decision.choice),
        by: &hostile(&decision.by, 254),
        authenticated_by: &hostile(&decision.authenticated_by, 40),
        at: &moment(decision.at),
        reason: &hostile(&decision.reason, 2_000),
        indicators: &brief::approved(assessment, decision),
        result: &hostile(result, 500),
    };
    let subject = format!("[IOC review] {} {} ({})", shorter(view.lead, 70), view.choice, view.incident_id);
    mail(to, &subject, view.incident_id, &DecidedText { view: &view }, &DecidedHtml { view: &view })
}

/// The mail that tells people that nobody decided a round in time, and what follows.
pub fn expired(to: &str, assessment: &Assessment, round: &Round, around: &Surroundings) -> Result<Mail, Fault> {
    // As of the deadline: the mail says the same whenever it goes out, and nobody can decide in this round any more.
    let ended = Round { state: DECIDED.to_owned(), ..round.clone() };
    let brief = Brief::of(assessment, &ended, around, round.deadline);
    let until = around.automatic_until().map(moment).unwrap_or_default();
    let lead = shorter(&brief.lead, 70);
    let what = if round.last { "stays undecided" } else { "not decided in time, the next level is asked" };
    let subject = format!("[IOC review] {} {lead} {what} ({})", brief.severity, brief.incident_id);
    let view = ExpiredView { brief: &brief, is_last: round.last, until: &until, has_ticket: around.has_open_ticket() };
    mail(to, &subject, &brief.incident_id, &ExpiredText { view: &view }, &ExpiredHtml { view: &view })
}

/// What every mail of an incident refers to, so that they thread.
#[must_use]
pub fn thread(incident_id: &str) -> String {
    format!("<{incident_id}@ioc-enrichment-playbook.invalid>")
}

fn mail(to: &str, subject: &str, incident_id: &str, text: &impl Template, html: &impl Template) -> Result<Mail, Fault> {
    let render = |error: askama::Error| Fault::Rejected(format!("mail of {incident_id} cannot be written: {error}"));
    Ok(Mail {
        to: to.to_owned(),
        // One line whatever comes from outside: no header can follow it.
        subject: ioc::visible(&shorter(subject, SUBJECT_MAX_CHARS)),
        text: text.render().map_err(render)?,
        html: html.render().map_err(render)?,
        thread: thread(incident_id),
    })
}

fn shorter(text: &str, max_chars: usize) -> String {
    brief::words::head(text, max_chars).map_or_else(|| text.to_owned(), |head| format!("{head}…"))
}

#[derive(Template)]
#[template(path = "mail/request.txt")]
struct RequestText<'a> {
    brief: &'a Brief,
    findings: &'a [brief::Finding],
    left_out: usize,
    link: &'a str,
    others: &'a str,
}

#[derive(Template)]
#[template(path = "mail/request.html")]
struct RequestHtml<'a> {
    brief: &'a Brief,
    findings: &'a [brief::Finding],
    left_out: usize,
    link: &'a str,
    others: &'a str,
}

struct CodeView<'a> {
    incident_id: &'a str,
    lead: &'a str,
    code: &'a str,
    expires_at: &'a str,
    asked_from: &'a str,
}

#[derive(Template)]
#[template(path = "mail/code.txt")]
struct CodeText<'a> {
    view: &'a CodeView<'a>,
}

#[derive(Template)]
#[template(path = "mail/code.html")]
struct CodeHtml<'a> {
    view: &'a CodeView<'a>,
}

struct DecidedView<'a> {
    incident_id: &'a str,
    lead: &'a str,
    choice: &'a str,
    effect: &'a str,
    by: &'a str,
    authenticated_by: &'a str,
    at: &'a str,
    reason: &'a str,
    indicators: &'a [String],
    result: &'a str,
}

#[derive(Template)]
#[template(path = "mail/decided.txt")]
struct DecidedText<'a> {
    view: &'a DecidedView<'a>,
}

#[derive(Template)]
#[template(path = "mail/decided.html")]
struct DecidedHtml<'a> {
    view: &'a DecidedView<'a>,
}

#[derive(Template)]
#[template(path = "mail/reminder.txt")]
struct ReminderText<'a> {
    brief: &'a Brief,
}

#[derive(Template)]
#[template(path = "mail/reminder.html")]
struct ReminderHtml<'a> {
    brief: &'a Brief,
}

struct ExpiredView<'a> {
    brief: &'a Brief,
    is_last: bool,
    /// When what was enforced at once leaves; empty when nothing was.
    until: &'a str,
    has_ticket: bool,
}

#[derive(Template)]
#[template(path = "mail/expired.txt")]
struct ExpiredText<'a> {
    view: &'a ExpiredView<'a>,
}

#[derive(Template)]
#[template(path = "mail/expired.html")]
struct ExpiredHtml<'a> {
    view: &'a ExpiredView<'a>,
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests;
