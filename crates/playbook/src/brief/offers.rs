//! Offers: what approval would enforce, what that blocks, and what is asked about it.

use std::collections::BTreeMap;

use ioc::ObservableType;

use super::{
    Answer, TEXT_MAX_CHARS, around, bounded, clip, effect,
    findings::FINDINGS_MAX,
    hostile, moment, spell,
    words::{self, hours},
};
use crate::{
    assessment::{Assessed, Assessment},
    canonical,
    decision::{Authority, Choice, MAILBOX, OIDC, Offered, Question, Round},
    outcome::Judgement,
};

/// Hours that a person may choose instead of the plan's, where they are less.
const SHORTER_HOURS: [u32; 4] = [12, 24, 72, 168];
/// Context sources quoted on what hangs on an indicator.
const CONTEXT_MAX: usize = 3;

/// An indicator that approval may enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The value in the form, see [`tick`].
    pub tick: String,
    /// Spelled defanged.
    pub indicator: String,
    /// What would be done where and for how long, such as `block on served-list for 168 h, until …`.
    pub acts: Vec<String>,
    /// What that blocks, how often it was seen here, and what speaks for others needing it; only what is known.
    pub impact: Vec<String>,
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

/// How sure the playbook is of what it asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// 0 to 100.
    pub value: u32,
    /// Of which verdict it is the confidence, and where that comes from.
    pub basis: String,
}

/// The value of an indicator's check box: a digest, so that the page holds no live indicator at all.
#[must_use]
pub fn tick(observable_key: &str) -> String {
    let mut digest = canonical::sha256_hex(observable_key.as_bytes());
    digest.truncate(32);
    digest
}

pub(super) fn offers(assessment: &Assessment, round: &Round) -> Vec<Offer> {
    let known_by = if round.sign_in { OIDC } else { MAILBOX };
    let assessed: BTreeMap<String, &Assessed> =
        assessment.observables.iter().map(|assessed| (assessed.sighted.observable.key(), assessed)).collect();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut offers: Vec<Offer> = vec![];
    for entry in assessment.plan.open() {
        let key = entry.observable.key();
        // What is enforced already leaves within hours; approval gives it its full time.
        let (verb, until) = if entry.automatic {
            ("keep blocking", assessment.assessed_at.plus_hours(i64::from(entry.lifetime_hours)))
        } else {
            ("block", entry.expires_at)
        };
        let (target, hours) = (hostile(&entry.target, 80), hours(entry.lifetime_hours));
        let act = format!("{verb} on {target} for {hours}, until {}", moment(until));
        let spelled = |why: String| hostile(&why, TEXT_MAX_CHARS);
        let barred = Authority::bars(entry, known_by).map(spelled);
        let shorter = SHORTER_HOURS.into_iter().filter(|hours| *hours < entry.lifetime_hours);
        let shorter: Vec<(u32, String)> = shorter.map(|hours| (hours, words::hours(hours))).collect();
        let place = *places.entry(key.clone()).or_insert(offers.len());
        match offers.get_mut(place) {
            Some(offer) => {
                offer.acts.push(act);
                offer.is_ticked = (offer.is_ticked || entry.ticked) && barred.is_none() && offer.barred.is_none();
                offer.is_automatic &= entry.automatic;
                offer.barred = offer.barred.take().or(barred);
                if shorter.len() > offer.shorter.len() {
                    offer.shorter = shorter;
                }
            }
            None => offers.push(Offer {
                tick: tick(&key),
                indicator: spell(&entry.observable),
                acts: vec![act],
                impact: impact(entry.observable.kind(), assessed.get(&key).copied()),
                is_ticked: entry.ticked && barred.is_none(),
                is_automatic: entry.automatic,
                second: entry.second.clone().map(spelled),
                barred,
                shorter,
            }),
        }
    }
    offers
}

/// What blocking it blocks, and what is known of who meets it.
fn impact(kind: ObservableType, assessed: Option<&Assessed>) -> Vec<String> {
    let blocks = match kind {
        ObservableType::Ipv4Addr | ObservableType::Ipv6Addr => {
            "blocks every site and service at this address, those of others too"
        }
        ObservableType::DomainName => "blocks this name and every name below it",
        ObservableType::Url => "blocks this one URL; the rest of the site stays reachable",
        ObservableType::EmailAddr => "blocks mail of this one address",
        ObservableType::File => "blocks this one file by its digest; a changed copy is another file",
    };
    let mut lines = vec![blocks.to_owned()];
    let Some(assessed) = assessed else { return lines };
    lines.push(match &assessed.history {
        Some(history) => around::history(history),
        None => "how often it was seen here is not known".to_owned(),
    });
    let says = |word: Judgement| assessed.evidence.iter().filter(move |s| s.verdict.as_deref() == Some(word.as_str()));
    let harmless: Vec<String> = says(Judgement::Benign).map(|said| hostile(&said.provider, 60)).collect();
    if !harmless.is_empty() {
        lines.push(format!("called harmless by {}: somebody may need it", harmless.join(", ")));
    }
    let context = assessed.evidence.iter().filter(|said| {
        let has_opinion = said.verdict.as_deref().is_some_and(|verdict| verdict != Judgement::Unknown.as_str());
        said.outcome == "found" && !has_opinion
    });
    let quoted = context.filter_map(|said| {
        let text = said.text.as_deref().filter(|text| !text.trim().is_empty())?;
        Some(format!("{}: {}", hostile(&said.provider, 60), hostile(text, TEXT_MAX_CHARS)))
    });
    lines.extend(quoted.take(CONTEXT_MAX));
    lines
}

/// The highest confidence in a verdict on what is ticked; else on what may be ticked; else on what is malicious or suspicious.
pub(super) fn score(assessment: &Assessment) -> Option<Score> {
    let open = |is_ticked: bool| -> Vec<String> {
        let entries = assessment.plan.open().filter(|entry| entry.ticked || !is_ticked);
        entries.map(|entry| entry.observable.key()).collect()
    };
    let bad = || {
        let bad = assessment.observables.iter().filter(|assessed| assessed.conclusion.is_bad());
        bad.map(|assessed| assessed.sighted.observable.key()).collect()
    };
    let among = [
        ("what approval blocks", open(true)),
        ("what can be ticked", open(false)),
        ("what is malicious or suspicious", bad()),
    ];
    let (among, keys) = among.into_iter().find(|(_, keys)| !keys.is_empty())?;
    let candidates = assessment.observables.iter().filter(|assessed| keys.contains(&assessed.sighted.observable.key()));
    // Of equals the first: the worst comes first.
    let best = candidates.rev().max_by_key(|assessed| assessed.conclusion.confidence)?;
    let verdict = &best.conclusion;
    let from = match verdict.rule {
        1 => "a person decided so earlier",
        2 => "the sources contradict each other",
        _ => {
            "the sum of how far each source that says so is trusted, less what it has faded since it saw it; 100 at most"
        }
    };
    Some(Score {
        value: verdict.confidence.min(100),
        basis: format!(
            "confidence in the verdict {} on {}, the highest of {among}: {from}",
            verdict.verdict.as_str(),
            words::cut(&best.sighted.observable.defanged(), 120),
        ),
    })
}

/// What the block is called in a subject line, such as `block on served-list`.
pub(super) fn asks(assessment: &Assessment, question: Question) -> String {
    match question {
        Question::NeedsData => return "what now?".to_owned(),
        Question::Manual => return "a question for you".to_owned(),
        Question::ApprovePlan => {}
    }
    let ticked: Vec<_> = assessment.plan.open().filter(|entry| entry.ticked).collect();
    if ticked.is_empty() {
        let is_torn = assessment.plan.open().next().is_some();
        return if is_torn { "block? sources disagree" } else { "malicious or not?" }.to_owned();
    }
    let mut targets: Vec<&str> = ticked.iter().map(|entry| entry.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let place = match targets.as_slice() {
        [one] => clip(&hostile(one, 80), 24),
        [one, other] => format!("{} and {}", clip(&hostile(one, 80), 18), clip(&hostile(other, 80), 18)),
        many => format!("{} targets", many.len()),
    };
    let verb = if ticked.iter().all(|entry| entry.automatic) { "keep blocking" } else { "block" };
    format!("{verb} on {place}")
}

/// How everything that approval enforces is taken back; the last line is the command.
pub(crate) fn undo(assessment: &Assessment, round: u32) -> Vec<String> {
    let (id, run) = (&assessment.incident_id, assessment.run);
    let payload = format!(r#"{{"act": "release", "incident_id": "{id}", "run": {run}, "round": {round}}}"#);
    vec![
        "Every entry expires by itself. What was in a target before us is never removed.".to_owned(),
        "Earlier, with the name of the stack's function UpdateDatabases (README, \"Taking something back\"):"
            .to_owned(),
        format!(
            "aws lambda invoke --function-name NAME --cli-binary-format raw-in-base64-out --payload '{payload}' /dev/stdout"
        ),
    ]
}

pub(super) fn refused(assessment: &Assessment) -> Vec<String> {
    bounded(assessment.plan.entries.iter().filter_map(|entry| {
        let reason = hostile(entry.refused.as_deref()?, TEXT_MAX_CHARS);
        Some(format!("{} is not written to {}: {reason}", spell(&entry.observable), hostile(&entry.target, 80)))
    }))
}

/// The answers of a round, in the order in which they are shown; none is chosen beforehand.
pub(super) fn answers(round: &Round) -> Vec<Answer> {
    if let Some(asks) = round.asks.as_ref().filter(|asks| asks.is_manual()) {
        let answer = |offered: &Offered| Answer {
            value: offered.value.clone(),
            label: hostile(&offered.label, 60),
            effect: if offered.effect.is_empty() {
                effect(Choice::Answered).to_owned()
            } else {
                hostile(&offered.effect, 200)
            },
        };
        return asks.choices.iter().map(answer).collect();
    }
    let label = |choice| match choice {
        Choice::Approved => "Approve",
        Choice::Rejected => "False positive",
        Choice::Acknowledged => "Acknowledge",
        Choice::LookAgain => "Look again",
        Choice::Escalated => "Escalate",
        Choice::Answered => "Answer",
        Choice::TimedOut => "Nobody decided",
    };
    let answer = |choice: Choice| Answer {
        value: choice.as_str().to_owned(),
        label: label(choice).to_owned(),
        effect: effect(choice).to_owned(),
    };
    round.choices().into_iter().map(answer).collect()
}

/// The question in plain words.
pub(super) fn question(round: &Round, offers: &[Offer]) -> String {
    if let Some(question) = round.asks.as_ref().and_then(|asks| asks.question.as_ref()) {
        return hostile(question, 300);
    }
    let ticked = offers.iter().filter(|offer| offer.is_ticked).count();
    let is_blocked = offers.iter().filter(|offer| offer.is_ticked).all(|offer| offer.is_automatic);
    let be = if is_blocked { "stay" } else { "be" };
    let torn = offers.len() - ticked;
    let these = |number: usize| match number {
        1 => "this indicator".to_owned(),
        _ => format!("these {number} indicators"),
    };
    let (why, on) = if offers.iter().any(|offer| offer.barred.is_some()) {
        ("A mailbox is not enough", "for")
    } else {
        ("The sources contradict each other", "on")
    };
    match (round.question, ticked, torn) {
        (Question::NeedsData, ..) => {
            "Required sources failed, so nobody knows whether this is harmful. What now?".to_owned()
        }
        (_, 0, 0) => "Nothing may be blocked here, see why below. Is this malicious, or a false positive?".to_owned(),
        (_, 0, _) => format!("{why}. Shall {} be blocked?", these(torn)),
        (_, _, 0) => format!("Shall {} {be} blocked?", these(ticked)),
        _ => format!("Shall {} {be} blocked? {why} {on} {torn} more.", these(ticked)),
    }
}

/// What an author lets a person tick with an answer: everything that was looked up, worst first.
pub(super) fn of_findings(assessment: &Assessment) -> Vec<Offer> {
    let looked_up = assessment.observables.iter().filter(|assessed| assessed.sighted.withheld.is_none());
    let offer = |assessed: &Assessed| Offer {
        tick: tick(&assessed.sighted.observable.key()),
        indicator: spell(&assessed.sighted.observable),
        acts: vec![format!("{}: {}", assessed.conclusion.verdict.as_str(), words::conclusion(&assessed.conclusion))],
        impact: vec![],
        is_ticked: false,
        is_automatic: false,
        second: None,
        barred: None,
        shorter: vec![],
    };
    looked_up.take(FINDINGS_MAX).map(offer).collect()
}
