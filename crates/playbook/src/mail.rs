//! The mails to people: asking, one-time codes, what was decided, what ran out. Text and HTML say the same.
//!
//! Everything from outside is defanged; the one link of a mail is ours.

use askama::Template;

use crate::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::{self, Brief, hostile, moment},
    decision::{Decision, Round},
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
    let asks = if brief.offers.is_empty() { "what now?" } else { "block?" };
    let subject = format!(
        "[IOC review] {} {} → {asks} ({}) by {}",
        brief.severity,
        shorter(&brief.lead, 70),
        brief.incident_id,
        brief.deadline_short
    );
    let text = RequestText { brief, findings, left_out, link, others: &others };
    let html = RequestHtml { brief, findings, left_out, link, others: &others };
    mail(to, &subject, &brief.incident_id, &text, &html)
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

/// The mail that tells the people of a round that nobody decided in time.
pub fn expired(to: &str, assessment: &Assessment, round: &Round) -> Result<Mail, Fault> {
    let view = ExpiredView {
        incident_id: assessment.incident_id.as_str(),
        lead: &brief::lead(assessment),
        deadline: &moment(round.deadline),
        follows: if round.last {
            "No level follows: the incident stays undecided."
        } else {
            "The next level is asked now."
        },
    };
    let subject = format!("[IOC review] {} was not decided in time ({})", shorter(view.lead, 70), view.incident_id);
    mail(to, &subject, view.incident_id, &ExpiredText { view: &view }, &ExpiredHtml { view: &view })
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
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or("")),
    }
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

struct ExpiredView<'a> {
    incident_id: &'a str,
    lead: &'a str,
    deadline: &'a str,
    follows: &'a str,
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
mod tests {
    use super::*;
    use crate::{
        brief::sample,
        decision::{Choice, Question},
    };

    fn decision(reason: &str) -> Decision {
        Decision {
            schema: Decision::SCHEMA.to_owned(),
            choice: Choice::Approved,
            last: false,
            by: sample::APPROVER.to_owned(),
            authenticated_by: "mailbox".to_owned(),
            at: Timestamp::from_millis(1_800_000_000_000),
            from: String::new(),
            reason: reason.to_owned(),
            shown_digest: String::new(),
            plan_digest: String::new(),
            indicators: vec![
                "url#https://evil.example/login?next=invoice".to_owned(),
                "url#https://gone.example/".to_owned(),
            ],
        }
    }

    fn check_dead(mail: &Mail) {
        for part in [&mail.text, &mail.html, &mail.subject] {
            for live in ["https://", "http://", "evil.example", "gone.example", "@soc", "\u{202e}"] {
                assert!(!part.contains(live), "{live:?} is live in {part}");
            }
        }
        assert!(!mail.html.contains("href") && !mail.html.contains("<script"));
    }

    #[test]
    fn everybody_is_told_what_was_decided_by_whom_and_why() {
        let assessment = sample::assessment().unwrap();
        let hostile = "see https://evil.example <script>alert(1)</script> \u{202e}";
        let mail = decided("ben@soc.example", &assessment, &decision(hostile), "1 entry was written").unwrap();
        check_dead(&mail);
        for part in ["approved by ana[@]soc[.]example at 2027-01-15 08:00 UTC", "1 entry was written", "gone[.]example"]
        {
            assert!(mail.text.contains(part), "{part} is not in {}", mail.text);
        }
        assert_eq!(mail.thread, thread(assessment.incident_id.as_str()));
    }

    #[test]
    fn everybody_is_told_that_nobody_decided_and_what_follows() {
        let assessment = sample::assessment().unwrap();
        let mut round = sample::round(&assessment, Question::ApprovePlan).unwrap();
        let mail = expired("ben@soc.example", &assessment, &round).unwrap();
        check_dead(&mail);
        assert!(mail.text.contains("The next level is asked now"));
        round.last = true;
        assert!(expired("ben@soc.example", &assessment, &round).unwrap().html.contains("No level follows"));
    }

    #[test]
    fn a_subject_is_one_short_line_whatever_the_indicator_is() {
        let mut assessment = sample::assessment().unwrap();
        let long = format!("https://evil.example/{}", "a".repeat(4_000));
        let long = ioc::Observable::parse(ioc::ObservableType::Url, &long).unwrap();
        assessment.plan.entries[0].observable = long;
        let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
        let brief = Brief::of(&assessment, &round, round.deadline.plus_minutes(-15));
        let mail = request("ben@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
        assert!(mail.subject.chars().count() <= SUBJECT_MAX_CHARS + 1);
        assert!(mail.subject.ends_with(&format!("({}) by 06:00Z", assessment.incident_id)), "{}", mail.subject);
        assert!(mail.text.contains("Nobody else is asked now."));
    }
}
