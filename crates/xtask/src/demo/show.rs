//! The demo's story for a person: what came in, what the sources said, what is planned, who is asked, what was enforced.

use anstyle::AnsiColor;
use playbook::bundle::Bundle;

use super::record::{ObservableRecord, Record};
use crate::{local::SentMail, term};

/// Before the mail is dropped.
pub fn opening(name: &str, set_up: f64, bundle: &Bundle) {
    let on: Vec<&str> =
        bundle.providers.values().filter(|m| m.off_reason().is_none()).map(|m| m.name.as_str()).collect();
    term::line(&term::bold(&format!("One mail, all the way: {name}")));
    term::line(&format!("The stack of infra/template.yaml is up on the local emulator, set up in {set_up:.0} s."));
    term::line(&format!("The answers of {} are recorded ones, served by a stand-in on this", on.join(", ")));
    term::line("machine. Nothing here asks the real services, and nothing leaves this machine.\n");
}

/// When a person is asked.
pub fn question(record: &Record, mail: &SentMail, link: &str) {
    findings(record);
    let to = mail.to.join(", ");
    term::line(&format!("\n{} to {to}: {}", term::bold("The mail"), ioc::visible(&mail.subject)));
    for line in mail.body_text.lines() {
        term::line(&format!("  │ {}", ioc::visible(line)));
    }
    term::line(&format!("\n{}  {link}\n", term::bold("The review page")));
}

/// While a person is awaited.
pub fn waiting() {
    term::line(
        "Open the link in a browser and decide. The page mails a one-time code to the address that the mail went to;",
    );
    term::line("every mail that comes in is shown here. Waiting for the decision; Ctrl-C leaves the stack up.\n");
}

/// When the sources were asked again, and a person too.
pub fn asked_again(link: &str) {
    term::line(&format!("\n{}  {link}\n", term::bold("Asked again")));
}

/// A mail that came in while a person is awaited.
pub fn new_mail(mail: &SentMail) {
    let to = mail.to.join(", ");
    term::line(&format!("  {}  to {to}: {}", term::bold("mail"), term::bold(&ioc::visible(&mail.subject))));
}

/// When the incident has ended.
pub fn ending(record: &Record, was_asked: bool) {
    if !was_asked {
        findings(record);
    }
    term::line("");
    let decision = match (&record.decision, &record.decided_by) {
        (Some(choice), Some(by)) => format!("{choice} by {by}"),
        (Some(choice), None) => choice.clone(),
        (None, _) => "nobody had to decide".to_owned(),
    };
    let result = record.result.as_deref().map(|result| format!(", {}", result.replace('_', " "))).unwrap_or_default();
    term::line(&format!("{}  {}{result}", term::bold("Incident"), record.status));
    term::line(&format!("{}  {decision}", term::bold("Decision")));
    let entries: usize = record.lists.values().map(Vec::len).sum();
    if entries == 0 {
        term::line(&format!("{}  nothing: the served block lists are empty", term::bold("Enforced")));
    } else {
        term::line(&format!("{}  {entries} entries in the served block lists", term::bold("Enforced")));
        for (kind, list) in &record.lists {
            for entry in list {
                term::line(&format!("  {kind:12}  {}", ioc::defang_text(entry)));
            }
        }
    }
    written(record);
    mails(record);
    served_as(record);
    term::line(&format!(
        "\nDone {:.1} s after the mail came in. The sources' answers were recorded ones.",
        record.seconds
    ));
    if let Some(file) = &record.receipts_file {
        term::line(&format!("How each verdict was reached: cargo xtask replay {file} --explain"));
    }
}

fn findings(record: &Record) {
    let route = record.route.as_deref().unwrap_or("none");
    let severity = record.severity.as_deref().unwrap_or("none");
    term::line(&format!("\n{}  {}   route {route}   severity {severity}", term::bold("Incident"), record.incident_id));
    verdicts(record);
    plan(record);
    for failed in &record.failed {
        term::line(&format!("  {} {}", term::coloured("source failed:", AnsiColor::Yellow), ioc::visible(failed)));
    }
    for omission in &record.omissions {
        term::line(&format!("  left out: {}", ioc::visible(omission)));
    }
}

fn verdicts(record: &Record) {
    if record.observables.is_empty() {
        term::line("  no indicator was found in the mail");
        return;
    }
    let mut rows = vec![["VERDICT", "SURE", "COVERAGE", "TYPE", "OBSERVABLE", "WHY"].map(str::to_owned).to_vec()];
    for one in &record.observables {
        rows.push(vec![
            one.verdict.clone(),
            one.confidence.to_string(),
            format!("{} of {}", one.coverage.answered, one.coverage.required),
            one.r#type.clone(),
            shortened(&ioc::defang_text(&one.value), 56),
            why(one),
        ]);
    }
    for (number, line) in term::table(&rows).lines().enumerate() {
        let verdict = number.checked_sub(1).and_then(|row| record.observables.get(row)).map(|one| one.verdict.as_str());
        term::line(&match verdict {
            Some("malicious") => term::coloured(line, AnsiColor::Red),
            Some("suspicious") => term::coloured(line, AnsiColor::Yellow),
            Some("benign") => term::coloured(line, AnsiColor::Green),
            _ => line.to_owned(),
        });
    }
}

/// The reason in documents' words, and who said what.
fn why(one: &ObservableRecord) -> String {
    if let Some(withheld) = &one.withheld {
        return format!("not looked up: {withheld}");
    }
    let mut parts: Vec<String> = one.reason.iter().map(|reason| reason.replace('_', " ")).collect();
    if one.degraded && one.reason.as_deref() != Some("degraded") {
        parts.push("degraded".to_owned());
    }
    let said = |word: &str| -> Vec<&str> {
        one.outcomes.iter().filter(|o| o.verdict.as_deref() == Some(word)).map(|o| o.provider.as_str()).collect()
    };
    for word in ["malicious", "suspicious", "benign"] {
        let by = said(word);
        if !by.is_empty() {
            parts.push(format!("{word}: {}", by.join(" ")));
        }
    }
    let failed: Vec<String> = one
        .outcomes
        .iter()
        .filter(|o| matches!(o.outcome.as_str(), "error" | "rate_limited" | "pending"))
        .map(|o| format!("{} {}", o.provider, o.reason.as_deref().unwrap_or(&o.outcome)))
        .collect();
    if !failed.is_empty() {
        parts.push(format!("failed: {}", failed.join(", ")));
    }
    if let Some(guarded) = &one.guarded {
        parts.push(format!("guarded: {guarded}"));
    }
    parts.join("; ")
}

fn plan(record: &Record) {
    if record.plan.is_empty() {
        term::line("\nPlan: nothing is to be written");
        return;
    }
    let (at_once, asked): (Vec<_>, Vec<_>) =
        record.plan.iter().partition(|entry| entry.act == "record" || entry.act == "detect");
    if !at_once.is_empty() {
        term::line(&format!("\n{}", term::bold("Written at once, because it blocks nothing")));
    }
    for entry in at_once {
        let what = format!("{} {} at {}", entry.r#type, shortened(&ioc::defang_text(&entry.value), 72), entry.target);
        match &entry.refused {
            Some(reason) => term::line(&format!("  ✗ {} {what}: refused, {}", entry.act, ioc::visible(reason))),
            None => term::line(&format!("  ● {} {what} until {}", entry.act, minute(&entry.expires_at))),
        }
    }
    if !asked.is_empty() {
        term::line(&format!("\n{}", term::bold("Plan, if a person approves")));
    }
    for entry in asked {
        let value = shortened(&ioc::defang_text(&entry.value), 72);
        let what = format!("{} {} {value} at {}", entry.act, entry.r#type, entry.target);
        match &entry.refused {
            Some(reason) => term::line(&format!("  ✗ {what}: refused, {}", ioc::visible(reason))),
            None if entry.ticked => term::line(&format!("  ☑ {what} until {}", minute(&entry.expires_at))),
            None => term::line(&format!("  ☐ {what} until {}, only if ticked", minute(&entry.expires_at))),
        }
    }
}

/// What is in threat database, watchlist and ticket systems now.
fn written(record: &Record) {
    let entries = |count: usize| if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    term::line(&format!(
        "{}  {} in the threat database, {} on the watchlist",
        term::bold("Recorded"),
        entries(record.recorded.len()),
        entries(record.watchlist.len())
    ));
    for (system, issues) in &record.tickets {
        for issue in issues {
            let state = issue.closed.as_deref().map_or_else(|| "open".to_owned(), |how| format!("closed ({how})"));
            let title = shortened(&ioc::visible(&issue.title), 90);
            term::line(&format!("  {system:8}  {} {state}: {title}", issue.key));
        }
    }
}

fn mails(record: &Record) {
    if record.mails.is_empty() {
        term::line(&format!("{}  none was sent to anybody", term::bold("Mails")));
        return;
    }
    term::line(&term::bold("Mails"));
    for mail in &record.mails {
        term::line(&format!("  to {}: {}", mail.to, ioc::visible(&mail.subject)));
    }
}

fn served_as(record: &Record) {
    for one in &record.served_as {
        let (asked, served) = (crate::extract_command::word(&one.asked), crate::extract_command::word(&one.served));
        let what = ioc::defang_text(&one.observable);
        term::line(&format!("  note: {} cannot answer {asked} for {what}; it answered {served}", one.provider));
    }
}

fn minute(time: &str) -> String {
    format!("{} UTC", time.get(..16).unwrap_or(time).replace('T', " "))
}

fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit { text.to_owned() } else { text.chars().take(limit - 1).chain(['…']).collect() }
}
