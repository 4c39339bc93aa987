//! A brief: what a person is shown of an assessment, in mail and on the page. Every text in it is harmless and bounded.

mod around;
mod findings;
mod offers;
#[cfg(feature = "fakes")]
pub mod sample;
pub(crate) mod words;

use ioc::Observable;

pub use around::{Surroundings, Written};
pub(crate) use findings::finding;
pub use findings::{Finding, Line};
pub(crate) use offers::undo;
pub use offers::{Offer, Score, tick};
use words::cut;
pub use words::{ago, ahead, clip, hostile, moment, short_moment};

use crate::{
    Timestamp,
    assessment::Assessment,
    decision::{Choice, OPEN, Question, Round, Shows},
};

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
    /// The round of asking, from 1.
    pub round: u32,
    /// The mail's subject.
    pub subject: String,
    /// The question in plain words.
    pub question: String,
    /// The answers to choose from.
    pub answers: Vec<Answer>,
    /// `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`.
    pub severity: String,
    /// The severity with the score, such as `HIGH 87/100`; the severity alone where there is none.
    pub headline: String,
    /// How the severity came about.
    pub severity_terms: Vec<String>,
    /// How sure the playbook is of what it asks about; `None` where nothing is malicious or suspicious.
    pub score: Option<Score>,
    /// The indicator that matters most.
    pub lead: String,
    /// What is asked of it, in few words for a subject line, such as `block on served-list`.
    pub asks: String,
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
    /// Who was asked before and did not answer or could not be reached, a round a line.
    pub earlier: Vec<String>,
    /// Why a further level is asked, such as `nobody answered`.
    pub asked_because: &'static str,
    /// Who is asked now and cannot be reached by mail.
    pub unreachable: Vec<String>,
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
    /// How everything that approval enforces is taken back; the last line is a command.
    pub undo: Vec<String>,
    /// What is not enforced whatever is approved.
    pub refused: Vec<String>,
    /// Verdict and evidence, worst first.
    pub findings: Vec<Finding>,
    /// How many further observables are not shown.
    pub findings_left_out: usize,
    /// Required sources that failed.
    pub failed: Vec<String>,
    /// What the lookups took, in one line; empty where nobody noted it.
    pub effort: String,
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
    /// Whether it is a question of the playbook's author: it approves nothing.
    pub is_manual: bool,
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

/// What was done with an indicator before anybody was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Spelled defanged.
    pub indicator: String,
    /// Where it stands, such as `already recorded in misp until …`.
    pub lines: Vec<String>,
}

impl Brief {
    /// The brief of a round at a moment.
    #[must_use]
    pub fn of(assessment: &Assessment, round: &Round, around: &Surroundings, now: Timestamp) -> Self {
        // Only where approval is a choice, or an author asks for it, can anything be ticked.
        let offers = match round.question {
            Question::ApprovePlan => offers::offers(assessment, round),
            Question::Manual if round.asks.as_ref().is_some_and(|asks| asks.indicators) => {
                offers::of_findings(assessment)
            }
            Question::Manual | Question::NeedsData => vec![],
        };
        let score = offers::score(assessment);
        let (findings, findings_left_out) = findings::findings(assessment, now);
        Self {
            incident_id: assessment.incident_id.to_string(),
            run: assessment.run,
            round: round.round,
            subject: hostile(&assessment.subject, TEXT_MAX_CHARS),
            question: offers::question(round, &offers),
            answers: offers::answers(round),
            severity: assessment.severity.as_str().to_uppercase(),
            severity_terms: lines(&assessment.severity_terms),
            lead: lead(assessment),
            asks: offers::asks(assessment, round.question),
            deadline: moment(round.deadline),
            deadline_short: short_moment(round.deadline, now),
            left: ahead(round.deadline.ms_since(now)),
            asked_at: round.opened_at.map_or_else(String::new, moment),
            if_nobody: around.if_nobody(round.last),
            earlier: around.earlier(),
            asked_because: match around {
                _ if !around.handed_on.is_empty() => "somebody handed it on",
                _ if around.is_unreached() => "nobody was reached",
                _ => "nobody answered",
            },
            unreachable: lines(&round.undelivered),
            decided: around.decided(),
            done: around.done(round.state == OPEN),
            tickets: around.tickets(),
            related: around::related(assessment, now),
            headline: with_score(&assessment.severity.as_str().to_uppercase(), score.as_ref()),
            score,
            undo: if offers.is_empty() { vec![] } else { undo(assessment, round.round) },
            refused: offers::refused(assessment),
            findings,
            findings_left_out,
            failed: lines(&assessment.failed),
            effort: words::effort(&assessment.efforts),
            off: lines(&assessment.off).join(", "),
            withheld: findings::withheld(assessment),
            omissions: bounded(
                assessment
                    .omissions
                    .iter()
                    .map(|o| format!("{}: {}", hostile(&o.place, TEXT_MAX_CHARS), hostile(&o.reason, TEXT_MAX_CHARS))),
            ),
            skipped: lines(&round.skipped),
            away: lines(&round.away),
            sign_in: round.sign_in,
            is_manual: round.question == Question::Manual,
            shows_evidence: round.asks.as_ref().is_none_or(|asks| asks.evidence == Shows::Assessment),
            warning: around.warning.as_ref().map_or_else(String::new, |text| hostile(text, TEXT_MAX_CHARS)),
            offers,
        }
    }
}

/// The indicator that matters most, defanged: the first that may be enforced, else the worst.
#[must_use]
pub fn lead(assessment: &Assessment) -> String {
    let first = assessment.plan.open().next().map(|entry| &entry.observable);
    let lead = first.or_else(|| assessment.observables.first().map(|assessed| &assessed.sighted.observable));
    lead.map_or_else(|| "no indicator".to_owned(), |observable| cut(&observable.defanged(), 120))
}

/// The severity, and how sure the playbook is of what it asks about: `HIGH 87/100`.
#[must_use]
pub fn severity(assessment: &Assessment) -> String {
    with_score(&assessment.severity.as_str().to_uppercase(), offers::score(assessment).as_ref())
}

fn with_score(severity: &str, score: Option<&Score>) -> String {
    score.map_or_else(|| severity.to_owned(), |score| format!("{severity} {}/100", score.value))
}

/// The indicators of these keys, defanged.
#[must_use]
pub fn approved(assessment: &Assessment, indicators: &[String]) -> Vec<String> {
    let mut spelled = vec![];
    for key in indicators {
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

/// The first so many lines of a list that may have been bounded before; the last line counts what is left out.
pub(crate) fn at_most(lines: &[String], max: usize) -> Vec<String> {
    // A list that was bounded is one line longer than that, and the line counts the rest.
    let counting = lines.last().filter(|_| lines.len() == LINES_MAX + 1).and_then(|line| {
        let number = line.strip_prefix("and ")?.strip_suffix(" more")?;
        number.parse::<usize>().ok()
    });
    let lines = lines.get(..lines.len() - usize::from(counting.is_some())).unwrap_or(&[]);
    let counted = counting.unwrap_or(0);
    let left_out = lines.len().saturating_sub(max) + counted;
    let mut kept: Vec<String> = lines.iter().take(max).cloned().collect();
    if left_out > 0 {
        kept.push(format!("and {left_out} more"));
    }
    kept
}

#[cfg(feature = "fakes")]
#[cfg(test)]
mod tests;
