//! What a bundle says in words: hostile text made harmless, and nothing that belongs to us.

use std::collections::BTreeSet;

use ioc::Observable;

use crate::{
    assessment::{Assessed, Assessment},
    brief::{
        hostile,
        words::{conclusion, coverage, cut},
    },
    decision::Decision,
    outcome::{Judgement, Outcome},
    receipt::Receipt,
    verdict::Verdict,
};

/// The longest name of an object, in characters.
const NAME_MAX_CHARS: usize = 200;
/// The longest line of a description, in characters.
const LINE_MAX_CHARS: usize = 300;
/// Lines of one sort; the rest is counted.
const LINES_MAX: usize = 20;
/// Tags of an indicator.
const TAGS_MAX: usize = 10;
/// The longest tag, in characters.
const TAG_MAX_CHARS: usize = 64;
/// What is shorter is no name that could be hidden without hiding half of a text.
const PRIVATE_MIN_BYTES: usize = 3;

/// What was left out of a bundle, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    /// Our own, reserved or infrastructure: never looked up.
    pub(super) withheld: usize,
    /// Beyond the most that a bundle holds.
    pub(super) beyond: usize,
    /// Judged bad, and yet no indicator: nothing of ours must be blocked by those who read this.
    pub(super) guarded: usize,
    /// STIX 2.1 has no form for them; as people read them.
    pub(super) unspelled: Vec<String>,
}

/// An observable as people read it.
pub(super) fn name(observable: &Observable) -> String {
    cut(&observable.defanged(), NAME_MAX_CHARS)
}

/// A text from outside in one line.
pub(super) fn line(text: &str) -> String {
    hostile(text, LINE_MAX_CHARS)
}

/// What an indicator says of itself.
pub(super) fn of_indicator(verdict: &Verdict) -> String {
    let by = |judgement: Judgement| {
        let counted = verdict.opinions.iter().filter(|o| o.counts && o.verdict == judgement);
        let said: Vec<String> = counted.take(LINES_MAX).map(|o| line(&o.provider)).collect();
        (!said.is_empty()).then(|| format!("{}: {}", judgement.as_str(), said.join(", ")))
    };
    let said = [Judgement::Malicious, Judgement::Suspicious, Judgement::Benign].into_iter().filter_map(by);
    let failed = verdict.failed.iter().take(LINES_MAX).map(|failed| format!("failed: {}", line(failed)));
    let head = format!("{}, {}; {}", verdict.verdict.as_str(), conclusion(verdict), coverage(verdict));
    [head].into_iter().chain(said).chain(failed).collect::<Vec<_>>().join("; ")
}

/// The words that an indicator is found by: its verdict, and the tags of those who speak against it.
pub(super) fn labels(verdict: &Verdict, receipt: Option<&Receipt>) -> Vec<String> {
    let mut labels = vec![format!("verdict:{}", verdict.verdict.as_str())];
    labels.extend(verdict.reason.map(|reason| format!("reason:{}", reason.as_str())));
    labels.extend(verdict.degraded.then(|| "degraded".to_owned()));
    let outcomes: &[Outcome] = receipt.map_or(&[], |receipt| &receipt.facts.outcomes);
    let opinions = outcomes.iter().filter(|outcome| !outcome.context).filter_map(|outcome| outcome.opinion.as_ref());
    let tags: BTreeSet<String> = opinions
        .filter(|opinion| matches!(opinion.verdict, Judgement::Malicious | Judgement::Suspicious))
        .flat_map(|opinion| &opinion.tags)
        .map(|tag| hostile(tag, TAG_MAX_CHARS))
        .collect();
    labels.extend(tags.into_iter().take(TAGS_MAX).map(|tag| format!("tag:{tag}")));
    labels
}

/// What a campaign is called: what its incidents share.
pub(super) fn of_campaign(named_by: &[String]) -> Option<String> {
    let value = |key: &String| hostile(key.split_once('#').map_or(key, |(_, value)| value), NAME_MAX_CHARS);
    (!named_by.is_empty()).then(|| named_by.iter().take(LINES_MAX).map(value).collect::<Vec<_>>().join(" and "))
}

/// Names that are nobody's business: people and assets of the incident, who set its severity, what was withheld.
#[derive(Clone, Debug)]
pub(super) struct Private<'a>(Vec<&'a str>);

impl<'a> Private<'a> {
    pub(super) fn of(assessment: &'a Assessment) -> Self {
        let withheld = |assessed: &&Assessed| assessed.sighted.withheld.is_some();
        let observables = assessment.observables.iter().filter(withheld).map(|a| a.sighted.observable.value());
        let pinned = assessment.basis.iter().filter_map(|basis| basis.pinned.as_ref()).map(|pinned| pinned.by.as_str());
        let names = assessment.participants.iter().map(String::as_str).chain(observables).chain(pinned);
        let mut names: Vec<&str> = names.filter(|name| name.len() >= PRIVATE_MIN_BYTES).collect();
        // The longer ones first: a name may hold another.
        names.sort_by_key(|name| (std::cmp::Reverse(name.len()), *name));
        Self(names)
    }

    /// A text from outside in one line, without these names.
    fn line(&self, text: &str) -> String {
        let hide = |text: String, name: &&str| text.replace(*name, "(withheld)");
        line(&self.0.iter().fold(cut(text, 10 * LINE_MAX_CHARS), hide))
    }

    /// At most so many lines under a word; how many more there are is said.
    fn lines(&self, lines: &mut Vec<String>, word: &str, of: impl ExactSizeIterator<Item = String>) {
        let beyond = of.len().saturating_sub(LINES_MAX);
        lines.extend(of.take(LINES_MAX).map(|text| format!("{word}: {}", self.line(&text))));
        if beyond > 0 {
            lines.push(format!("{word}: {beyond} more"));
        }
    }
}

/// The incident in a line.
pub(super) fn title(assessment: &Assessment) -> String {
    let subject = Private::of(assessment).line(&assessment.subject);
    let name = format!("incident {}: {}", assessment.incident_id, subject.trim());
    cut(name.trim_end_matches([':', ' ']), NAME_MAX_CHARS)
}

/// The incident in words: what it is, how much it matters and why, and what is not said.
pub(super) fn of_report(assessment: &Assessment, decision: Option<&Decision>, left_out: &LeftOut) -> String {
    let private = Private::of(assessment);
    let mut lines = vec![
        format!("subject: {}", private.line(&assessment.subject)),
        format!("severity: {}", assessment.severity.as_str()),
    ];
    private.lines(&mut lines, "severity term", assessment.severity_terms.iter().cloned());
    lines.push(format!("route: {}", assessment.route.as_str()));
    lines.extend(decision.map(|decision| format!("decided: {} at {}", decision.choice.as_str(), decision.at)));
    private.lines(&mut lines, "source that failed", assessment.failed.iter().cloned());
    let omitted = assessment.omissions.iter().map(|omission| format!("{}: {}", omission.place, omission.reason));
    private.lines(&mut lines, "not read", omitted);
    let LeftOut { withheld, beyond, guarded, unspelled } = left_out;
    let counted = [
        (withheld, "withheld: our own, reserved, or infrastructure that everybody uses; not in this bundle"),
        (guarded, "judged bad and guarded: nothing that others should block, so no indicator"),
        (beyond, "beyond the most that a bundle holds, the least of them; not in this bundle"),
    ];
    lines.extend(counted.into_iter().filter(|(count, _)| **count > 0).map(|(count, why)| format!("{count} {why}")));
    private.lines(&mut lines, "no form in STIX 2.1", unspelled.iter().cloned());
    lines.push("what is here without an indicator was seen; nobody says by that that it is harmless".to_owned());
    lines.join("\n")
}
