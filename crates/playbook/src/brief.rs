//! A brief: what a person is shown of an assessment, in mail and on the page. Every text in it is harmless and bounded.

mod around;
mod offer;
#[cfg(feature = "fakes")]
pub mod sample;
pub(crate) mod words;

use std::collections::BTreeSet;

use ioc::Observable;

pub use around::{Surroundings, Written};
use words::cut;
pub use words::{ago, ahead, hostile, moment, short_moment};

use crate::{
    Timestamp,
    assessment::{Assessed, Assessment, Said},
    canonical,
    decision::{Choice, Decision, OPEN, Question, Round, Shows},
    incident::Withheld,
    outcome::Judgement,
};

/// Findings shown besides those of the plan; the rest is counted.
const FINDINGS_MAX: usize = 60;
/// Lines of any other list; the rest is counted.
const LINES_MAX: usize = 50;
/// Characters of an indicator; whoever approves one sees nearly always all of it.
const INDICATOR_MAX_CHARS: usize = 2_048;
/// Characters of any other text from outside.
const TEXT_MAX_CHARS: usize = 300;

/// What a person is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The incident.
    pub incident_id: String,
    /// Its run; above 1 the incident is looked at again.
    pub run: u32,
    /// The mail's subject.
    pub subject: String,
    /// The question in plain words.
    pub question: String,
    /// The answers to choose from.
    pub answers: Vec<Answer>,
    /// `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`.
    pub severity: String,
    /// How the severity came about.
    pub severity_terms: Vec<String>,
    /// The indicator that matters most.
    pub lead: String,
    /// When the round ends.
    pub deadline: String,
    /// When the round ends, in few characters for a subject line.
    pub deadline_short: String,
    /// `in 43 minutes`.
    pub left: String,
    /// When people were asked; empty where that is not known.
    pub asked_at: String,
    /// What happens when nobody decides.
    pub if_nobody: String,
    /// Who was asked before and did not answer, a round a line.
    pub earlier: Vec<String>,
    /// What people decided in earlier runs.
    pub decided: Vec<String>,
    /// What was written without asking.
    pub done: Vec<Done>,
    /// Where people look the incident up in their own systems.
    pub tickets: Vec<String>,
    /// Other incidents with the same observables, strongest first.
    pub related: Vec<String>,
    /// What approval may enforce.
    pub offers: Vec<Offer>,
    /// What is not enforced whatever is approved.
    pub refused: Vec<String>,
    /// Verdict and evidence, worst first.
    pub findings: Vec<Finding>,
    /// How many further observables are not shown.
    pub findings_left_out: usize,
    /// Required sources that failed.
    pub failed: Vec<String>,
    /// Sources that are off, with the reason, in one line; empty when there are none.
    pub off: String,
    /// What was not looked up, and why.
    pub withheld: Vec<String>,
    /// What the extraction left out, and why.
    pub omissions: Vec<String>,
    /// Who was not asked because the mailbox is part of the incident.
    pub skipped: Vec<String>,
    /// Who was not asked because they are away.
    pub away: Vec<String>,
    /// Whether people have to sign in to decide.
    pub sign_in: bool,
    /// Whether verdicts and evidence are shown.
    pub shows_evidence: bool,
    /// What a person should know of how it was handled.
    pub warning: String,
}

/// One answer to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The value in the form.
    pub value: String,
    /// What it is called.
    pub label: String,
    /// What follows.
    pub effect: String,
}

/// An indicator that approval may enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The value in the form, see [`tick`].
    pub tick: String,
    /// Spelled defanged.
    pub indicator: String,
    /// What would be done where and for how long, such as `block on served-list for 168 h, until …`.
    pub acts: Vec<String>,
    /// Whether it is ticked before anybody chose.
    pub is_ticked: bool,
    /// Whether it is enforced already, for some hours, because policy says so.
    pub is_automatic: bool,
    /// Why one person cannot approve it alone.
    pub second: Option<String>,
    /// Why it cannot be ticked at all.
    pub barred: Option<String>,
    /// Shorter lives that a person may choose: hours and their name.
    pub shorter: Vec<(u32, String)>,
}

/// What was done with an indicator before anybody was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Spelled defanged.
    pub indicator: String,
    /// Where it stands, such as `already recorded in misp until …`.
    pub lines: Vec<String>,
}

/// One observable with its verdict and evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Spelled defanged.
    pub indicator: String,
    /// Its type.
    pub kind: &'static str,
    /// `malicious`, `suspicious`, `benign` or `unknown`; also the style.
    pub verdict: &'static str,
    /// Why the verdict is what it is.
    pub conclusion: String,
    /// `4 of 6 sources answered`.
    pub coverage: String,
    /// Families that say what the verdict says.
    pub agree: String,
    /// Families that say otherwise.
    pub disagree: String,
    /// Where in the evidence it was found.
    pub places: String,
    /// How often it was seen here; empty where that is not known.
    pub history: String,
    /// Why it is never written.
    pub guarded: Option<String>,
    /// One line per provider.
    pub lines: Vec<Line>,
}

/// What one provider said or failed to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The provider.
    pub provider: String,
    /// `malicious`, `does not know it`, `failed: timeout` …
    pub says: String,
    /// Its sentence.
    pub text: String,
    /// Where to look it up: text, not a link.
    pub permalink: String,
    /// `3 days ago`.
    pub age: String,
    /// Whether it failed to answer.
    pub is_failure: bool,
}

/// The value of an indicator's check box: a digest, so that the page holds no live indicator at all.
#[must_use]
pub fn tick(observable_key: &str) -> String {
    let mut digest = canonical::sha256_hex(observable_key.as_bytes());
    digest.truncate(32);
    digest
}

impl Brief {
    /// The brief of a round at a moment.
    #[must_use]
    pub fn of(assessment: &Assessment, round: &Round, around: &Surroundings, now: Timestamp) -> Self {
        // Only where approval is a choice, or an author asks for it, can anything be ticked.
        let offers = match round.question {
            Question::ApprovePlan => offer::of_plan(assessment, round),
            Question::Manual if round.asks.as_ref().is_some_and(|asks| asks.indicators) => {
                offer::of_findings(assessment)
            }
            Question::Manual | Question::NeedsData => vec![],
        };
        let (findings, findings_left_out) = findings(assessment, now);
        Self {
            incident_id: assessment.incident_id.to_string(),
            run: assessment.run,
            subject: hostile(&assessment.subject, TEXT_MAX_CHARS),
            question: offer::question(round, &offers),
            answers: offer::answers(round),
            severity: assessment.severity.as_str().to_uppercase(),
            severity_terms: lines(&assessment.severity_terms),
            lead: lead(assessment),
            deadline: moment(round.deadline),
            deadline_short: short_moment(round.deadline, now),
            left: ahead(round.deadline.ms_since(now)),
            asked_at: round.opened_at.map_or_else(String::new, moment),
            if_nobody: if_nobody(round.last, around),
            earlier: around.earlier(),
            decided: around.decided(),
            done: around.done(round.state == OPEN),
            tickets: around.tickets(),
            related: around::related(assessment, now),
            refused: refused(assessment),
            findings,
            findings_left_out,
            failed: lines(&assessment.failed),
            off: lines(&assessment.off).join(", "),
            withheld: withheld(assessment),
            omissions: bounded(
                assessment
                    .omissions
                    .iter()
                    .map(|o| format!("{}: {}", hostile(&o.place, TEXT_MAX_CHARS), hostile(&o.reason, TEXT_MAX_CHARS))),
            ),
            skipped: lines(&round.skipped),
            away: lines(&round.away),
            sign_in: round.sign_in,
            shows_evidence: round.asks.as_ref().is_none_or(|asks| asks.evidence == Shows::Assessment),
            warning: around.warning.as_ref().map_or_else(String::new, |text| hostile(text, TEXT_MAX_CHARS)),
            offers,
        }
    }
}

/// What happens when nobody decides in a round.
fn if_nobody(is_last: bool, around: &Surroundings) -> String {
    let until = around.automatic_until().map(moment);
    let more = if until.is_some() { "nothing more" } else { "nothing" };
    if !is_last {
        return format!("{more} is enforced, and the next level is asked.");
    }
    let runs_out = until.map(|until| format!("what was blocked at once runs to its own expiry at {until}"));
    let stays = around.has_open_ticket().then(|| "the ticket stays open".to_owned());
    let parts = [Some(format!("{more} is enforced")), runs_out, Some("nobody else is asked".to_owned()), stays];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.split_last() {
        Some((last, others)) => format!("{}, and {last}.", others.join(", ")),
        None => String::new(),
    }
}

/// The indicator that matters most, defanged: the first that may be enforced, else the worst.
#[must_use]
pub fn lead(assessment: &Assessment) -> String {
    let first = assessment.plan.open().next().map(|entry| &entry.observable);
    let lead = first.or_else(|| assessment.observables.first().map(|assessed| &assessed.sighted.observable));
    lead.map_or_else(|| "no indicator".to_owned(), |observable| cut(&observable.defanged(), 120))
}

/// The indicators that a decision approved, defanged.
#[must_use]
pub fn approved(assessment: &Assessment, decision: &Decision) -> Vec<String> {
    let mut spelled = vec![];
    for key in &decision.indicators {
        let known = assessment.plan.entries.iter().map(|e| &e.observable).find(|observable| observable.key() == *key);
        spelled.push(known.map_or_else(|| hostile(key, INDICATOR_MAX_CHARS), spell));
    }
    spelled
}

/// What a choice is called in a sentence: `approved`, `called a false positive` …
#[must_use]
pub const fn decided_as(choice: Choice) -> &'static str {
    match choice {
        Choice::Approved => "approved",
        Choice::Rejected => "called a false positive",
        Choice::Acknowledged => "acknowledged and closed as unknown",
        Choice::LookAgain => "sent back to be looked at again",
        Choice::Escalated => "handed to the next level",
        Choice::Answered => "answered",
        Choice::TimedOut => "not decided in time",
    }
}

/// What follows from a choice.
#[must_use]
pub const fn effect(choice: Choice) -> &'static str {
    match choice {
        Choice::Approved => "what is ticked is enforced; every entry expires by itself and can be released earlier",
        Choice::Rejected => {
            "nothing is enforced, everything this incident wrote is released, and it is remembered for 90 days"
        }
        Choice::Acknowledged => "the incident is closed as unknown; nothing is enforced",
        Choice::LookAgain => "the sources are asked again in a new run; nothing is enforced",
        Choice::Escalated => "the next level is asked now; until it decides, nothing is enforced",
        Choice::Answered => "the playbook goes on with this answer",
        Choice::TimedOut => "nothing is enforced",
    }
}

fn refused(assessment: &Assessment) -> Vec<String> {
    bounded(assessment.plan.entries.iter().filter_map(|entry| {
        let reason = hostile(entry.refused.as_deref()?, TEXT_MAX_CHARS);
        Some(format!("{} is not written to {}: {reason}", spell(&entry.observable), hostile(&entry.target, 80)))
    }))
}

fn withheld(assessment: &Assessment) -> Vec<String> {
    bounded(assessment.observables.iter().filter_map(|assessed| {
        let why = match assessed.sighted.withheld? {
            Withheld::Own => "one of our own",
            Withheld::Reserved => "private or reserved",
            Withheld::Infrastructure => "shared infrastructure",
        };
        Some(format!("{}: {why}", spell(&assessed.sighted.observable)))
    }))
}

fn findings(assessment: &Assessment, now: Timestamp) -> (Vec<Finding>, usize) {
    let planned: BTreeSet<String> = assessment.plan.open().map(|entry| entry.observable.key()).collect();
    let (of_plan, others): (Vec<&Assessed>, Vec<&Assessed>) = assessment
        .observables
        .iter()
        .filter(|assessed| assessed.sighted.withheld.is_none() || assessed.conclusion.is_bad())
        .partition(|assessed| planned.contains(&assessed.sighted.observable.key()));
    let left_out = others.len().saturating_sub(FINDINGS_MAX);
    let shown = of_plan.into_iter().chain(others.into_iter().take(FINDINGS_MAX));
    (shown.map(|assessed| finding(assessed, now)).collect(), left_out)
}

pub(crate) fn finding(assessed: &Assessed, now: Timestamp) -> Finding {
    let verdict = &assessed.conclusion;
    let families = |agrees: bool| {
        let matching = verdict.opinions.iter().filter(|opinion| {
            let is_opinion = opinion.counts && opinion.verdict != Judgement::Unknown;
            is_opinion && (opinion.verdict == verdict.verdict) == agrees
        });
        let names: BTreeSet<String> = matching
            .map(|opinion| {
                let family = hostile(&opinion.family, 60);
                if agrees { family } else { format!("{family} says {}", opinion.verdict.as_str()) }
            })
            .collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    Finding {
        indicator: spell(&assessed.sighted.observable),
        kind: assessed.sighted.observable.kind().as_str(),
        verdict: verdict.verdict.as_str(),
        conclusion: words::conclusion(verdict),
        coverage: words::coverage(verdict),
        agree: families(true),
        disagree: families(false),
        places: assessed.sighted.places.iter().take(8).map(|p| hostile(p, 120)).collect::<Vec<_>>().join(", "),
        history: assessed.history.as_ref().map_or_else(String::new, around::history),
        guarded: assessed.guarded.as_ref().map(|reason| hostile(reason, TEXT_MAX_CHARS)),
        lines: assessed.evidence.iter().take(LINES_MAX).map(|said| line(said, now)).collect(),
    }
}

fn line(said: &Said, now: Timestamp) -> Line {
    Line {
        provider: hostile(&said.provider, 60),
        says: words::says(said),
        text: said.text.as_ref().map_or_else(String::new, |text| hostile(text, TEXT_MAX_CHARS)),
        permalink: said.permalink.as_ref().map_or_else(String::new, |link| hostile(link, TEXT_MAX_CHARS)),
        age: ago(now.ms_since(said.seen)),
        is_failure: matches!(said.outcome.as_str(), "error" | "rate_limited" | "pending"),
    }
}

fn spell(observable: &Observable) -> String {
    cut(&observable.defanged(), INDICATOR_MAX_CHARS)
}

fn lines(texts: &[String]) -> Vec<String> {
    bounded(texts.iter().map(|text| hostile(text, TEXT_MAX_CHARS)))
}

fn bounded(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = vec![];
    let mut left_out = 0_usize;
    for text in texts {
        if kept.len() < LINES_MAX {
            kept.push(text);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        kept.push(format!("and {left_out} more"));
    }
    kept
}
