//! The text of a ticket: the whole story of an incident as plain lines. Every text in it is harmless and bounded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Ticket;
use crate::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessed, Assessment, Route},
    brief::{
        self, hostile, moment,
        words::{cut, hours},
    },
    canonical,
    decision::{Choice, Decision},
    incident::{Incident, Kind},
    outcome::Judgement,
    severity::Severity,
    sighting::{Persistence, Related},
};

/// Characters of the whole text.
const TEXT_MAX_CHARS: usize = 30_000;
/// Bytes of the whole text as JSON spells it: what no ticket system's limit, nor ours for a body, is below.
const JSON_MAX_BYTES: usize = 48_000;
/// Characters of the short text: what one block of a channel's message takes.
const SHORT_MAX_CHARS: usize = 2_800;
/// Characters of a title.
const TITLE_MAX_CHARS: usize = 200;
/// Characters of any text from outside.
const HOSTILE_MAX_CHARS: usize = 300;
/// Observables with their evidence; the others are counted.
const FINDINGS_MAX: usize = 60;
/// Lines of any other list; the rest is counted.
const LINES_MAX: usize = 40;

/// What a ticket is written from.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// What was concluded; absent when the incident never came so far.
    pub assessment: Option<&'a Assessment>,
    /// What a person decided, or that nobody did.
    pub decision: Option<&'a Decision>,
    /// What became of it, in a sentence.
    pub result: Option<&'a str>,
    /// Why the machine failed on it.
    pub failure: Option<&'a str>,
    /// The tickets of the incident that it is attached to.
    pub parents: &'a [Ticket],
}

/// A ticket's text. The same story gives the same text: it holds no age and no reading of a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// How much it matters.
    pub severity: Severity,
    /// `malicious`, `suspicious`, `benign` or `unknown`.
    pub verdict: &'static str,
    /// Which way it went; empty when it never came so far.
    pub route: &'static str,
    /// How a person decided, in the word of documents; empty when nobody has.
    pub decision: &'static str,
    /// `[HIGH] evil[.]example and 3 more: malicious (inc-…)`; one line.
    pub title: String,
    /// The text, line by line; no line holds a line break.
    pub lines: Vec<String>,
}

impl Text {
    /// Tells the story of an incident.
    #[must_use]
    pub fn of(story: &Story<'_>) -> Self {
        let Story { incident, assessment, decision, .. } = *story;
        let severity = assessment.map_or(incident.severity, |assessment| assessment.severity);
        let verdict = worst(assessment);
        let mut page = Page::default();
        head(&mut page, story);
        if let Some(assessment) = assessment {
            verdicts(&mut page, assessment);
            section(&mut page, "Sources that failed", assessment.failed.iter().map(|text| plain(text)));
            plan(&mut page, assessment);
            section(&mut page, "Related incidents", assessment.related.iter().map(related));
            let left_out = assessment.omissions.iter().map(|o| format!("{}: {}", plain(&o.place), plain(&o.reason)));
            section(&mut page, "Not looked into", left_out);
        }
        Self {
            incident_id: incident.incident_id.clone(),
            run: incident.run,
            severity,
            verdict,
            route: assessment.map_or("", |assessment| assessment.route.as_str()),
            decision: decision.map_or("", |decision| decision.choice.as_str()),
            title: title(story, severity, verdict),
            lines: page.finish(),
        }
    }

    /// What names the content: the same is not written twice.
    pub fn digest(&self) -> Result<String, Fault> {
        canonical::digest(&json!({ "title": self.title, "lines": self.lines, "severity": self.severity }))
    }

    /// The members `incident` and `ticket` of a call's document.
    ///
    /// `ticket.fenced` is the text as one Markdown code block that nothing in it can end; `ticket.short` is its beginning.
    #[must_use]
    pub fn document(&self) -> Value {
        let text = self.lines.join("\n");
        json!({
            "incident": { "incident_id": self.incident_id, "run": self.run, "severity": self.severity },
            "ticket": {
                "title": self.title, "lines": self.lines, "text": text, "fenced": fenced(&text), "short": self.short(),
                "severity": self.severity, "verdict": self.verdict, "route": self.route, "decision": self.decision,
            },
        })
    }

    /// Title and first lines, as many as a channel takes.
    fn short(&self) -> String {
        let mut short = self.title.clone();
        let mut units = short.encode_utf16().count();
        for line in &self.lines {
            units += line.encode_utf16().count() + 1;
            if units > SHORT_MAX_CHARS {
                short.push_str("\n… and more: the record and the ticket have it all");
                break;
            }
            short.push('\n');
            short.push_str(line);
        }
        short
    }
}

/// A code block whose fence is longer than any run of backticks in the text.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{text}\n{fence}")
}

/// Lines within a budget: what does not fit any more is counted.
#[derive(Default)]
struct Page {
    lines: Vec<String>,
    chars: usize,
    bytes: usize,
    left_out: usize,
}

impl Page {
    fn push(&mut self, line: impl Into<String>) {
        // Whatever it is made from, a line is one line.
        let line = ioc::visible(&line.into());
        let chars = line.chars().count() + 1;
        let bytes: usize = line.chars().map(|c| if matches!(c, '"' | '\\') { 2 } else { c.len_utf8() }).sum();
        // Some room is kept for the last line.
        let fits = self.chars + chars <= TEXT_MAX_CHARS - 100 && self.bytes + bytes + 2 <= JSON_MAX_BYTES - 100;
        if self.left_out > 0 || !fits {
            self.left_out += 1;
            return;
        }
        self.chars += chars;
        self.bytes += bytes + 2;
        self.lines.push(line);
    }

    fn finish(mut self) -> Vec<String> {
        if self.left_out > 0 {
            self.lines.push(format!("… {} lines more are in the record", self.left_out));
        }
        self.lines
    }
}

fn plain(text: &str) -> String {
    hostile(text, HOSTILE_MAX_CHARS)
}

/// A heading with its lines, if there are any.
fn section(page: &mut Page, heading: &str, lines: impl Iterator<Item = String>) {
    let mut count = 0_usize;
    for line in lines {
        if count == 0 {
            page.push("");
            page.push(heading);
        }
        count += 1;
        if count <= LINES_MAX {
            page.push(format!("- {line}"));
        }
    }
    if count > LINES_MAX {
        page.push(format!("- and {} more", count - LINES_MAX));
    }
}

fn title(story: &Story<'_>, severity: Severity, verdict: &str) -> String {
    let (severity, id) = (severity.as_str().to_uppercase(), &story.incident.incident_id);
    let failed = if story.failure.is_some() { ", the playbook failed" } else { "" };
    let Some(assessment) = story.assessment else {
        return format!("[{severity}] not assessed{failed} ({id})");
    };
    let lead = bare(&cut(&brief::lead(assessment), 90));
    let is_shown = |assessed: &&Assessed| assessed.sighted.withheld.is_none() || assessed.conclusion.is_bad();
    let bad = assessment.observables.iter().filter(|assessed| assessed.conclusion.is_bad()).count();
    let all = assessment.observables.iter().filter(is_shown).count();
    let more = match if bad > 0 { bad } else { all } {
        0 | 1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    let title = format!("[{severity}] {lead}{more}: {verdict}{failed} ({id})");
    cut(&ioc::visible(&title), TITLE_MAX_CHARS)
}

/// Without what GitHub reads in a title: code, and emoji by their names.
fn bare(lead: &str) -> String {
    let mut bare = String::with_capacity(lead.len());
    for (at, c) in lead.char_indices() {
        match c {
            '`' => bare.push_str("\\u{60}"),
            ':' if !bare.ends_with('[') && !lead.get(at + 1..).is_some_and(|after| after.starts_with("//")) => {
                bare.push_str("[:]");
            }
            _ => bare.push(c),
        }
    }
    bare
}

fn worst(assessment: Option<&Assessment>) -> &'static str {
    let worst = assessment.and_then(|assessment| assessment.observables.first());
    worst.map_or(Judgement::Unknown, |assessed| assessed.conclusion.verdict).as_str()
}

fn head(page: &mut Page, story: &Story<'_>) {
    let incident = story.incident;
    let kind = match incident.kind {
        Kind::Mail => "a reported mail",
        Kind::Alert => "an alert",
        Kind::Feed => "a batch of a feed",
        Kind::ExecutionEnded => "an execution that ended",
    };
    let source = hostile(&incident.source, 80);
    page.push(format!(
        "Incident {}, run {}: {kind} from {source}, received {}",
        incident.incident_id,
        incident.run,
        moment(incident.received_at)
    ));
    if let Some(failure) = story.failure {
        page.push(format!("The playbook FAILED on this incident: {}", plain(failure)));
        page.push("Nothing goes on by itself: a person must look.");
    }
    if let Some(decision) = story.decision {
        decided(page, story.assessment, decision);
    }
    if let Some(result) = story.result {
        page.push(format!("Result: {}", plain(result)));
    }
    if let Some(assessment) = story.assessment {
        page.push(format!("Subject: {}", plain(&assessment.subject)));
        let terms: Vec<String> = assessment.severity_terms.iter().take(10).map(|term| plain(term)).collect();
        let severity = assessment.severity.as_str().to_uppercase();
        page.push(format!("Severity {severity}: {}", terms.join("; ")));
        page.push(format!("Assessed {}: {}", moment(assessment.assessed_at), follows(assessment)));
    }
    if let Some(attached) = incident.attached.filter(|attached| *attached > 0) {
        page.push(format!("{attached} more of the same kind came in at once and are attached to this one"));
    }
    if let Some(parent) = &incident.parent {
        page.push(format!("Attached to {parent}, one of many alike"));
        for ticket in story.parents {
            let place = ticket.permalink.as_deref().or(ticket.external_id.as_deref()).unwrap_or("not opened yet");
            page.push(format!("- its ticket in {}: {}", hostile(&ticket.target, 40), plain(place)));
        }
    }
}

/// What the playbook does with it.
fn follows(assessment: &Assessment) -> &'static str {
    match assessment.route {
        Route::Review => "a person is asked to decide",
        Route::NeedsData => "sources failed, so nobody knows whether this is harmful; a person is asked",
        Route::Watch => "watched: it only alerts, and is looked at again when evidence arrives",
        Route::Provisional => "closed for now for want of answers, and looked at again",
        Route::Benign => "nothing harmful is known",
    }
}

fn decided(page: &mut Page, assessment: Option<&Assessment>, decision: &Decision) {
    let at = moment(decision.at);
    if decision.choice == Choice::TimedOut {
        page.push(format!("Decision: not decided in time, {at}. Nothing more is enforced, and this stays open."));
        return;
    }
    let by = hostile(&decision.by, 254);
    let proof = hostile(&decision.authenticated_by, 40);
    let reason = hostile(&decision.reason, 2_000);
    page.push(format!("Decision: {} by {by} at {at} ({proof}): {reason}", brief::decided_as(decision.choice)));
    let approved = assessment.map(|assessment| brief::approved(assessment, &decision.indicators)).unwrap_or_default();
    for indicator in approved.iter().take(LINES_MAX) {
        page.push(format!("- {indicator}"));
    }
    if approved.len() > LINES_MAX {
        page.push(format!("- and {} more", approved.len() - LINES_MAX));
    }
}

fn verdicts(page: &mut Page, assessment: &Assessment) {
    let is_shown = |assessed: &&Assessed| assessed.sighted.withheld.is_none() || assessed.conclusion.is_bad();
    let shown: Vec<&Assessed> = assessment.observables.iter().filter(is_shown).collect();
    page.push("");
    page.push(format!("Verdicts, worst first ({} observables)", assessment.observables.len()));
    for assessed in shown.iter().take(FINDINGS_MAX) {
        verdict(page, assessed, assessment.assessed_at);
    }
    let mut rest: BTreeMap<&str, usize> = BTreeMap::new();
    for assessed in shown.iter().skip(FINDINGS_MAX) {
        *rest.entry(assessed.conclusion.verdict.as_str()).or_default() += 1;
    }
    for (word, count) in rest {
        page.push(format!("- and {count} more that are {word}"));
    }
    let withheld = assessment.observables.len() - shown.len();
    if withheld > 0 {
        page.push(format!("- {withheld} of our own, private or of shared infrastructure were not looked up"));
    }
}

fn verdict(page: &mut Page, assessed: &Assessed, now: Timestamp) {
    let finding = brief::finding(assessed, now);
    page.push(format!(
        "{} {} ({}): {}; {}",
        finding.verdict.to_uppercase(),
        finding.indicator,
        finding.kind,
        finding.conclusion,
        finding.coverage
    ));
    for (what, families) in [("agree", &finding.agree), ("disagree", &finding.disagree)] {
        if !families.is_empty() {
            page.push(format!("  {what}: {families}"));
        }
    }
    if !assessed.conclusion.failed.is_empty() {
        let failed: Vec<String> = assessed.conclusion.failed.iter().take(LINES_MAX).map(|text| plain(text)).collect();
        page.push(format!("  failed: {}", failed.join(", ")));
    }
    if let Some(history) = &assessed.history {
        let persistence = match history.persistence {
            Persistence::Isolated => "isolated",
            Persistence::Persistent => "persistent",
        };
        let (incidents, days) = (counted(history.incidents, "incident"), counted(history.days, "day"));
        page.push(format!("  {persistence}: in {incidents} on {days} here, first {}", moment(history.first_seen)));
    }
    if let Some(guarded) = &finding.guarded {
        page.push(format!("  never written: {guarded}"));
    }
    if !finding.places.is_empty() {
        page.push(format!("  found in: {}", finding.places));
    }
    for (line, said) in finding.lines.iter().zip(&assessed.evidence) {
        let says = format!("{} {}", line.provider, line.says);
        let parts = [&says, &line.text, &line.permalink].map(String::as_str);
        let told: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        page.push(format!("  {} ({})", told.join(", "), moment(said.seen)));
    }
}

fn counted(number: usize, unit: &str) -> String {
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn plan(page: &mut Page, assessment: &Assessment) {
    let entries = &assessment.plan.entries;
    let line = |entry: &crate::plan::Entry| {
        let indicator = cut(&entry.observable.defanged(), HOSTILE_MAX_CHARS);
        (indicator, hostile(&entry.target, 80), hours(entry.lifetime_hours))
    };
    let written = assessment.plan.at_once().map(|entry| {
        let (indicator, target, lifetime) = line(entry);
        format!("{indicator}: {} on {target} for {lifetime}", hostile(&entry.act, 40))
    });
    section(page, "Written at once", written);
    let asked = assessment.plan.open().map(|entry| {
        let (indicator, target, lifetime) = line(entry);
        let how = match (entry.automatic, entry.act.as_str()) {
            (true, _) => "at once, for twelve hours unless a person confirms it",
            (false, "offer") => "only when a person ticks it: the sources contradict each other",
            _ => "after approval",
        };
        format!("{indicator}: block on {target} for {lifetime}, {how}")
    });
    section(page, "To be enforced", asked);
    let refused = entries.iter().filter_map(|entry| {
        let (indicator, target, _) = line(entry);
        Some(format!("{indicator}: not on {target}: {}", plain(entry.refused.as_deref()?)))
    });
    section(page, "Never written", refused);
}

fn related(related: &Related) -> String {
    let shared: Vec<String> = related
        .observables
        .iter()
        .take(10)
        .map(|key| hostile(key.split_once('#').map_or(key, |(_, value)| value), 120))
        .collect();
    format!(
        "{}, received {}, weight {}.{:02}: shares {}",
        related.incident_id,
        moment(related.seen_at),
        related.weight / 100,
        related.weight % 100,
        shared.join(", ")
    )
}

#[cfg(feature = "fakes")]
#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
