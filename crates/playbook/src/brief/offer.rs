//! What a person can answer and tick, in the words of the page and the mail.

use super::{Answer, FINDINGS_MAX, Offer, effect, hostile, moment, spell, tick, words};
use crate::{
    assessment::Assessment,
    decision::{Authority, Choice, MAILBOX, OIDC, Question, Round},
};

/// Hours that a person may choose instead of the plan's, where they are less.
const SHORTER_HOURS: [u32; 4] = [12, 24, 72, 168];

/// The answers of a round, in the order in which they are shown; none is chosen beforehand.
pub fn answers(round: &Round) -> Vec<Answer> {
    if let Some(asks) = round.asks.as_ref().filter(|asks| asks.is_manual()) {
        let answer = |offered: &crate::decision::Offered| Answer {
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
pub fn question(round: &Round, offers: &[Offer]) -> String {
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

/// What approval may enforce.
pub fn of_plan(assessment: &Assessment, round: &Round) -> Vec<Offer> {
    let known_by = if round.sign_in { OIDC } else { MAILBOX };
    let mut offers: Vec<Offer> = vec![];
    for entry in assessment.plan.open() {
        let tick = tick(&entry.observable.key());
        // What is enforced already leaves within hours; approval gives it its full time.
        let (verb, until) = if entry.automatic {
            ("keep blocking", assessment.assessed_at.plus_hours(i64::from(entry.lifetime_hours)))
        } else {
            ("block", entry.expires_at)
        };
        let (target, hours) = (hostile(&entry.target, 80), words::hours(entry.lifetime_hours));
        let act = format!("{verb} on {target} for {hours}, until {}", moment(until));
        let barred = Authority::bars(entry, known_by);
        let shorter = SHORTER_HOURS.into_iter().filter(|hours| *hours < entry.lifetime_hours);
        match offers.iter_mut().find(|offer| offer.tick == tick) {
            Some(offer) => {
                offer.acts.push(act);
                offer.is_ticked = (offer.is_ticked || entry.ticked) && barred.is_none();
                offer.is_automatic &= entry.automatic;
                offer.barred = offer.barred.take().or(barred);
                if offer.shorter.len() < SHORTER_HOURS.len() {
                    offer.shorter = shorter.map(|hours| (hours, words::hours(hours))).collect();
                }
            }
            None => offers.push(Offer {
                tick,
                indicator: spell(&entry.observable),
                acts: vec![act],
                is_ticked: entry.ticked && barred.is_none(),
                is_automatic: entry.automatic,
                second: entry.second.clone(),
                barred,
                shorter: shorter.map(|hours| (hours, words::hours(hours))).collect(),
            }),
        }
    }
    offers
}

/// What an author lets a person tick with an answer: everything that was looked up, worst first.
pub fn of_findings(assessment: &Assessment) -> Vec<Offer> {
    let looked_up = assessment.observables.iter().filter(|assessed| assessed.sighted.withheld.is_none());
    let offer = |assessed: &crate::assessment::Assessed| Offer {
        tick: tick(&assessed.sighted.observable.key()),
        indicator: spell(&assessed.sighted.observable),
        acts: vec![format!("{}: {}", assessed.conclusion.verdict.as_str(), words::conclusion(&assessed.conclusion))],
        is_ticked: false,
        is_automatic: false,
        second: None,
        barred: None,
        shorter: vec![],
    };
    looked_up.take(FINDINGS_MAX).map(offer).collect()
}
