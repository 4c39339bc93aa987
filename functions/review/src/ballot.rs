//! The ballot: what a person filled in, read strictly, as a vote.

use std::collections::{BTreeMap, BTreeSet};

use playbook::{
    Timestamp,
    brief::{Brief, tick},
    decision::{Authority, Choice, OIDC, Question, Vote},
};

use crate::{form::Form, person::Person, visit::Visit};

const REASON_MAX_CHARS: usize = 2_000;

/// What the person wants.
#[derive(Debug)]
pub struct Ballot {
    choice: Choice,
    answer: Option<String>,
    reason: String,
    ticks: BTreeSet<String>,
    /// Hours by tick.
    lifetimes: BTreeMap<String, u32>,
    never_again: bool,
}

impl Ballot {
    /// Reads the form; in words what is missing or wrong.
    pub fn of(form: &Form, visit: &Visit) -> Result<Self, String> {
        let chosen = form.one("choice");
        let missing = || "Choose one of the answers. None is chosen beforehand.".to_owned();
        let (choice, answer) = if visit.round.question == Question::Manual {
            let asks = visit.round.asks.as_ref().ok_or_else(missing)?;
            let offered = asks.offered(chosen).ok_or_else(missing)?;
            (Choice::Answered, Some(offered.value.clone()))
        } else {
            let choice = visit.round.choices().into_iter().find(|choice| choice.as_str() == chosen);
            (choice.ok_or_else(missing)?, None)
        };
        let reason = form.one("reason").split_whitespace().collect::<Vec<_>>().join(" ");
        match reason.chars().count() {
            0 => return Err("Give a reason: it is what your colleagues will read.".to_owned()),
            1..=REASON_MAX_CHARS => {}
            long => return Err(format!("The reason has {long} characters, at most {REASON_MAX_CHARS} are kept.")),
        }
        Ok(Self {
            choice,
            answer,
            reason,
            ticks: form.all("indicators").map(str::to_owned).collect(),
            lifetimes: lifetimes(form)?,
            never_again: choice == Choice::Rejected && form.one("never_again") == "yes",
        })
    }

    /// The person's vote on what is shown now; in words why there can be none. Only what the plan may write and this person
    /// may approve is taken, whatever the form says.
    pub fn vote(&self, visit: &Visit, person: &Person, from: &str, now: Timestamp) -> Result<Vote, String> {
        let brief = Brief::of(&visit.assessment, &visit.round, &visit.around, now);
        let is_asked = matches!(self.choice, Choice::Approved | Choice::Answered);
        let open = brief.offers.iter().filter(|offer| offer.barred.is_none());
        let known: BTreeSet<&str> = open.map(|offer| offer.tick.as_str()).collect();
        let is_known = |tick: &String| known.contains(tick.as_str());
        if is_asked && !self.ticks.iter().all(is_known) {
            return Err("The form ticks an indicator that may not be approved. Nothing was decided.".to_owned());
        }
        let mut seen = BTreeSet::new();
        let mut keys = visit.assessment.plan.open().map(|entry| entry.observable.key()).collect::<Vec<_>>();
        keys.extend(visit.assessment.observables.iter().map(|assessed| assessed.sighted.observable.key()));
        keys.retain(|key| is_asked && self.ticks.contains(&tick(key)) && seen.insert(key.clone()));
        let authority = Authority { plan: &visit.assessment.plan, alone_max: visit.round.alone_max };
        if self.choice == Choice::Approved && person.known_by() != OIDC && authority.is_over(&keys) {
            let max = visit.round.alone_max;
            return Err(format!(
                "More than {max} entries take two people who sign in, and here nobody can. Untick some."
            ));
        }
        Ok(Vote {
            schema: Vote::SCHEMA.to_owned(),
            choice: self.choice,
            answer: self.answer.clone(),
            who: visit.link.approver.clone(),
            authenticated_by: person.known_by().to_owned(),
            at: now,
            from: from.to_owned(),
            reason: self.reason.clone(),
            shown_digest: visit.shown_digest.clone(),
            plan_digest: visit.assessment.plan_digest.clone(),
            lifetime_hours: self.lifetime_hours(&keys, &brief),
            indicators: keys,
            never_again: self.never_again,
        })
    }

    /// Hours by key, of what is ticked and where the page offers them.
    fn lifetime_hours(&self, keys: &[String], brief: &Brief) -> BTreeMap<String, u32> {
        let of = |key: &String| {
            let tick = tick(key);
            let hours = self.lifetimes.get(&tick)?;
            let offer = brief.offers.iter().find(|offer| offer.tick == tick)?;
            offer.shorter.iter().any(|(known, _)| known == hours).then(|| (key.clone(), *hours))
        };
        keys.iter().filter_map(of).collect()
    }
}

/// The chosen lifetimes: fields `lifetime-<tick>`, empty for the plan's.
fn lifetimes(form: &Form) -> Result<BTreeMap<String, u32>, String> {
    let mut lifetimes = BTreeMap::new();
    for (name, value) in form.starting("lifetime-").filter(|(_, value)| !value.is_empty()) {
        let hours =
            value.parse().map_err(|_| "A lifetime is not a number of hours. Nothing was decided.".to_owned())?;
        lifetimes.insert(name.to_owned(), hours);
    }
    Ok(lifetimes)
}
