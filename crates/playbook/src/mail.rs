//! The mails to people: asking, reminding, one-time codes, what was decided, what ran out, who cannot be reached. Text and
//! HTML say the same.
//!
//! Everything from outside is defanged; the one link of a mail is ours.

mod fit;
mod views;

use askama::Template;

use crate::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::{self, Brief, Surroundings, clip, hostile, moment},
    decision::{DECIDED, Decision, Round},
    ports::{About, Mail},
};
use fit::{Fitted, Parts};
use views::{
    CodeHtml, CodeText, CodeView, DecidedHtml, DecidedText, DecidedView, ExpiredHtml, ExpiredText, ReminderHtml,
    ReminderText, RequestHtml, RequestText, UndeliveredHtml, UndeliveredText,
};

/// Characters of a subject line.
const SUBJECT_MAX_CHARS: usize = 200;
/// Characters of the indicator in it, where there is room.
const SUBJECT_LEAD_MAX_CHARS: usize = 70;
/// Indicators named as approved.
const APPROVED_MAX: usize = 30;
/// Characters of each.
const APPROVED_MAX_CHARS: usize = 300;

/// The mail that asks one person. It alone is enough to decide by; the page takes the answer.
pub fn request(to: &str, brief: &Brief, link: &str, others: &[String]) -> Result<Mail, Fault> {
    let others = others.iter().map(|address| hostile(address, 254)).collect::<Vec<_>>();
    let others = brief::at_most(&others, 30).join(", ");
    let again = if brief.run > 1 { "looked at again: " } else { "" };
    let level = if brief.earlier.is_empty() { String::new() } else { format!(", {} before", brief.asked_because) };
    let head = format!("{again}{}", brief.headline);
    let subject = subject(&head, &brief.lead, &format!("{}{level}", asked(brief)));
    let parts = fit::fit(brief, |fitted: &Fitted| {
        let others = others.as_str();
        parts(&brief.incident_id, &RequestText { fitted, link, others }, &RequestHtml { fitted, link, others })
    })?;
    Ok(mail(to, &subject, about(brief, "question"), parts))
}

/// The mail that reminds one person who was asked and has not decided. It holds no link: that is in the mail that asked.
pub fn reminder(to: &str, brief: &Brief) -> Result<Mail, Fault> {
    let head = format!("reminder: {}", brief.headline);
    let subject = subject(&head, &brief.lead, &format!("{}, {}", asked(brief), brief.left));
    let parts = fit::fit(brief, |fitted: &Fitted| {
        parts(&brief.incident_id, &ReminderText { fitted }, &ReminderHtml { fitted })
    })?;
    Ok(mail(to, &subject, about(brief, "reminder"), parts))
}

/// A one-time code, and who asked for it.
#[derive(Clone, Debug)]
pub struct Code<'a> {
    /// The round of the link.
    pub round: u32,
    /// Six digits.
    pub code: &'a str,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Address and browser that asked; hostile text.
    pub asked_from: &'a str,
}

/// The mail with a one-time code. It needs no link: the page that asked is open.
pub fn code(to: &str, assessment: &Assessment, code: &Code<'_>) -> Result<Mail, Fault> {
    let incident_id = assessment.incident_id.as_str();
    let view = &CodeView {
        incident_id,
        severity: &assessment.severity.as_str().to_uppercase(),
        lead: &brief::lead(assessment),
        code: code.code,
        expires_at: &moment(code.expires_at),
        asked_from: &hostile(code.asked_from, 160),
    };
    let subject = format!("[IOC review] {} is your code ({incident_id})", code.code);
    let about =
        About { incident_id: incident_id.to_owned(), run: assessment.run, round: code.round, what: "code".to_owned() };
    Ok(mail(to, &subject, about, parts(incident_id, &CodeText { view }, &CodeHtml { view })?))
}

/// The mail that tells what was decided; `result` is one sentence of what became of it, such as `2 entries were written`;
/// empty when there is nothing to say.
pub fn decided(
    to: &str,
    assessment: &Assessment,
    round: u32,
    decision: &Decision,
    result: &str,
) -> Result<Mail, Fault> {
    let incident_id = assessment.incident_id.as_str();
    let shown = |indicator: &String| clip(indicator, APPROVED_MAX_CHARS);
    let approved: Vec<String> = brief::approved(assessment, &decision.indicators).iter().map(shown).collect();
    let undo = if approved.is_empty() { vec![] } else { brief::undo(assessment, round) };
    let view = &DecidedView {
        incident_id,
        severity: &brief::severity(assessment),
        lead: &brief::lead(assessment),
        choice: brief::decided_as(decision.choice),
        effect: brief::effect(decision.choice),
        by: &hostile(&decision.by, 254),
        authenticated_by: &hostile(&decision.authenticated_by, 40),
        at: &moment(decision.at),
        reason: &hostile(&decision.reason, 2_000),
        indicators: &brief::at_most(&approved, APPROVED_MAX),
        undo: &undo,
        result: &hostile(result, 500),
    };
    let subject = subject(view.severity, view.lead, &format!(" {} ({incident_id})", view.choice));
    let about = About { incident_id: incident_id.to_owned(), run: assessment.run, round, what: "decided".to_owned() };
    Ok(mail(to, &subject, about, parts(incident_id, &DecidedText { view }, &DecidedHtml { view })?))
}

/// The mail that tells people that nobody decided a round, and what follows.
pub fn expired(to: &str, assessment: &Assessment, round: &Round, around: &Surroundings) -> Result<Mail, Fault> {
    // As of the deadline: the mail says the same whenever it goes out, and nobody can decide in this round any more.
    let ended = Round { state: DECIDED.to_owned(), ..round.clone() };
    let brief = &Brief::of(assessment, &ended, around, round.deadline);
    let until = &around.automatic_until().map(moment).unwrap_or_default();
    let (is_last, has_ticket, is_unreached) = (round.last, around.has_open_ticket(), round.is_unreached());
    let what = match (is_last, is_unreached) {
        (true, _) => "stays undecided",
        (false, true) => "reached nobody, the next level is asked",
        (false, false) => "not decided in time, the next level is asked",
    };
    let subject = subject(&brief.headline, &brief.lead, &format!(" {what} ({})", brief.incident_id));
    let parts = fit::fit(brief, |fitted: &Fitted| {
        let text = ExpiredText { fitted, is_last, is_unreached, until, has_ticket };
        parts(&brief.incident_id, &text, &ExpiredHtml { fitted, is_last, is_unreached, until, has_ticket })
    })?;
    Ok(mail(to, &subject, about(brief, "expired"), parts))
}

/// Somebody who was asked and whom a mail did not reach.
#[derive(Clone, Copy, Debug)]
pub struct Unreached<'a> {
    /// Who.
    pub address: &'a str,
    /// What the mail service says, in a few words such as `bounced for good`.
    pub why: &'a str,
    /// Whether it stays so: otherwise the mail may still come.
    pub is_final: bool,
}

/// The mail that tells the others of a round that somebody cannot be reached. It holds no link.
pub fn undelivered(to: &str, brief: &Brief, unreached: &Unreached<'_>) -> Result<Mail, Fault> {
    let (address, is_final) = (&hostile(unreached.address, 254), unreached.is_final);
    let why = &hostile(unreached.why, 120);
    let what = if is_final { "is not reached" } else { "is reached late, or not" };
    let named = clip(address, 60);
    let tail = format!(": {named} {what} ({}) by {}", brief.incident_id, brief.deadline_short);
    let subject = subject(&brief.headline, &brief.lead, &tail);
    let parts = fit::fit(brief, |fitted: &Fitted| {
        let text = UndeliveredText { fitted, address, why, is_final };
        parts(&brief.incident_id, &text, &UndeliveredHtml { fitted, address, why, is_final })
    })?;
    Ok(mail(to, &subject, about(brief, "undelivered"), parts))
}

/// What every mail of an incident refers to, so that they thread.
#[must_use]
pub fn thread(incident_id: &str) -> String {
    format!("<{incident_id}@ioc-enrichment-playbook.invalid>")
}

/// What is asked and by when, for a subject line.
fn asked(brief: &Brief) -> String {
    let more = match brief.offers.iter().filter(|offer| offer.is_ticked).count() {
        0 | 1 => String::new(),
        ticked => format!(" and {} more", ticked - 1),
    };
    format!("{more} → {} ({}) by {}", brief.asks, brief.incident_id, brief.deadline_short)
}

/// A subject line in which only the indicator is cut: what follows it never is.
fn subject(head: &str, lead: &str, tail: &str) -> String {
    let head = format!("[IOC review] {head} ");
    let room = SUBJECT_MAX_CHARS.saturating_sub(head.chars().count() + tail.chars().count());
    format!("{head}{}{tail}", clip(&ioc::visible(lead), room.min(SUBJECT_LEAD_MAX_CHARS)))
}

fn about(brief: &Brief, what: &str) -> About {
    About { incident_id: brief.incident_id.clone(), run: brief.run, round: brief.round, what: what.to_owned() }
}

fn parts(incident_id: &str, text: &impl Template, html: &impl Template) -> Result<Parts, Fault> {
    let fault = |error: askama::Error| Fault::Rejected(format!("mail of {incident_id} cannot be written: {error}"));
    Ok(Parts { text: text.render().map_err(fault)?, html: html.render().map_err(fault)? })
}

fn mail(to: &str, subject: &str, about: About, parts: Parts) -> Mail {
    Mail {
        to: to.to_owned(),
        // One line whatever comes from outside: no header can follow it.
        subject: clip(&ioc::visible(subject), SUBJECT_MAX_CHARS),
        text: parts.text,
        html: parts.html,
        thread: thread(&about.incident_id),
        follows: None,
        about,
    }
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests;
