//! How much of a brief goes into one mail: all of it where it fits, else less, and what is left out is counted.

use crate::brief::{Brief, Finding, Offer, at_most, words};

/// Bytes of each part: Gmail shows 102 KB of a mail and hides the rest behind a link.
pub const PART_MAX_BYTES: usize = 100_000;

/// How much is shown of each list, and of each text.
#[derive(Clone, Copy, Debug)]
struct Measure {
    findings: usize,
    answers: usize,
    items: usize,
    chars: usize,
}

/// From everything that a mail may show to what fits whatever the texts are.
const MEASURES: [Measure; 5] = [
    Measure { findings: 12, answers: 50, items: 50, chars: usize::MAX },
    Measure { findings: 12, answers: 20, items: 30, chars: 400 },
    Measure { findings: 8, answers: 12, items: 15, chars: 200 },
    Measure { findings: 5, answers: 8, items: 8, chars: 120 },
    Measure { findings: 3, answers: 4, items: 4, chars: 60 },
];

/// A brief that was cut to a measure.
#[derive(Debug)]
pub struct Fitted {
    /// What is left of it.
    pub brief: Brief,
    /// Indicators that approval may enforce and that are not shown.
    pub offers_left_out: usize,
    /// What is missing, a sort a line; empty where nothing is.
    pub left_out: Vec<String>,
}

/// Both parts of a mail.
#[derive(Debug)]
pub struct Parts {
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
}

/// Writes a mail with as much of the brief as fits.
pub fn fit<E>(brief: &Brief, write: impl Fn(&Fitted) -> Result<Parts, E>) -> Result<Parts, E> {
    let [generous @ .., least] = &MEASURES;
    for measure in generous {
        let parts = write(&Fitted::of(brief, *measure))?;
        if parts.text.len().max(parts.html.len()) <= PART_MAX_BYTES {
            return Ok(parts);
        }
    }
    write(&Fitted::of(brief, *least))
}

impl Fitted {
    fn of(brief: &Brief, measure: Measure) -> Self {
        let mut brief = brief.clone();
        let observables = brief.findings.len() + brief.findings_left_out;
        let findings_left_out = cut(&mut brief.findings, measure.findings) + brief.findings_left_out;
        let offers = brief.offers.len();
        let offers_left_out = cut(&mut brief.offers, measure.items);

        let mut shortened = 0;
        let mut answers_left_out = 0;
        for finding in &mut brief.findings {
            answers_left_out += fewer_answers(finding, measure.answers) + finding.lines_left_out;
            finding.texts().for_each(|text| shortened += shorten(text, measure.chars));
        }
        for offer in &mut brief.offers {
            offer.texts(measure.items).for_each(|text| shortened += shorten(text, measure.chars));
        }
        for done in &mut brief.done {
            done.lines = at_most(&done.lines, measure.items);
            let texts = std::iter::once(&mut done.indicator).chain(&mut done.lines);
            texts.for_each(|text| shortened += shorten(text, measure.chars));
        }
        let done_left_out = cut(&mut brief.done, measure.items);
        for list in brief.lists() {
            *list = at_most(list, measure.items);
            for text in list.iter_mut() {
                shortened += shorten(text, measure.chars);
            }
        }
        brief.texts().for_each(|text| shortened += shorten(text, measure.chars));

        let counts = [
            (findings_left_out, format!("{findings_left_out} of {observables} observables with what the sources say")),
            (
                answers_left_out,
                format!("{answers_left_out} answers of sources; those that failed or disagree are shown first"),
            ),
            (offers_left_out, format!("{offers_left_out} of {offers} indicators that approval may block")),
            (done_left_out, format!("{done_left_out} indicators with which something was done already")),
            (shortened, format!("the rest of {shortened} long texts, each marked by …")),
        ];
        let left_out = counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, line)| line).collect();
        Self { brief, offers_left_out, left_out }
    }
}

fn cut<T>(list: &mut Vec<T>, max: usize) -> usize {
    let left_out = list.len().saturating_sub(max);
    list.truncate(max);
    left_out
}

/// Keeps those that failed or disagree before all others, in their order; how many are gone.
fn fewer_answers(finding: &mut Finding, max: usize) -> usize {
    let lines = std::mem::take(&mut finding.lines);
    let left_out = lines.len().saturating_sub(max);
    let is_telling = |line: &crate::brief::Line| line.is_failure || line.disagrees;
    let telling = lines.iter().filter(|line| is_telling(line)).count();
    let mut room = (max.min(telling), max.saturating_sub(telling));
    for line in lines {
        let left = if is_telling(&line) { &mut room.0 } else { &mut room.1 };
        if *left > 0 {
            *left -= 1;
            finding.lines.push(line);
        }
    }
    left_out
}

/// Cuts a text; 1 when it did.
fn shorten(text: &mut String, max_chars: usize) -> usize {
    let Some(at) = words::head(text, max_chars).map(str::len) else { return 0 };
    text.truncate(at);
    text.push('…');
    1
}

impl Finding {
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let own = [
            &mut self.indicator,
            &mut self.conclusion,
            &mut self.coverage,
            &mut self.agree,
            &mut self.disagree,
            &mut self.places,
            &mut self.history,
        ];
        let lines = self
            .lines
            .iter_mut()
            .flat_map(|line| [&mut line.provider, &mut line.says, &mut line.text, &mut line.permalink]);
        own.into_iter().chain(&mut self.guarded).chain(lines)
    }
}

impl Offer {
    fn texts(&mut self, items: usize) -> impl Iterator<Item = &mut String> {
        self.acts = at_most(&self.acts, items);
        self.impact = at_most(&self.impact, items);
        std::iter::once(&mut self.indicator).chain(&mut self.acts).chain(&mut self.impact)
    }
}

impl Brief {
    fn lists(&mut self) -> [&mut Vec<String>; 11] {
        [
            &mut self.severity_terms,
            &mut self.earlier,
            &mut self.unreachable,
            &mut self.decided,
            &mut self.tickets,
            &mut self.related,
            &mut self.refused,
            &mut self.failed,
            &mut self.withheld,
            &mut self.omissions,
            &mut self.skipped,
        ]
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let basis = self.score.iter_mut().map(|score| &mut score.basis);
        [&mut self.subject, &mut self.lead, &mut self.off].into_iter().chain(basis)
    }
}
