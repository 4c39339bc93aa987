//! The decision: every check in order, then one transaction that only one person can win.

use std::collections::BTreeSet;

use http::{Request, Response, StatusCode};
use playbook::{
    Fault, Timestamp,
    brief::tick,
    decision::{Choice, Decision},
    incident::{Incident, Run},
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::{Commit, Condition, Rows, Write},
    waking,
};
use tracing::{error, info};

use crate::{
    World, answer,
    code::{self, Proof},
    form::Form,
    gate::{self, Session},
    page::{Draft, Page},
    visit::{Standing, Visit},
};

const REASON_MAX_CHARS: usize = 2_000;

/// Takes the decision that a person posted, or says what is missing.
pub async fn decide(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    request: &Request<Vec<u8>>,
    now: Timestamp,
) -> Result<Response<Vec<u8>>, Fault> {
    let Some(form) = Form::read(request) else { return answer::no_form(world.settings) };
    let session = match gate::admit(request.headers(), world.settings, &visit.digest, form.one("csrf")) {
        Ok(session) => session,
        Err(refused) => return answer::refused(world.settings, visit, refused),
    };
    if !visit.may_decide() {
        return answer::not_yours(world.settings);
    }
    let page = Page { visit, session: &session, settings: world.settings, now };
    let draft = Draft::of(&form);
    let again = |status, problem: String| page.answer(status, &draft.clone().with_problem(problem));

    let wish = match Wish::of(&form, visit) {
        Ok(wish) => wish,
        Err(problem) => return again(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let proof = code::prove(world.rows, world.settings, visit, &session, form.one("code"), now).await?;
    let mac = match proof {
        Proof::Right(mac) => mac,
        other => return again(StatusCode::UNPROCESSABLE_ENTITY, what_is_wrong(&other)),
    };
    if form.one("shown_digest") != visit.shown_digest {
        return page.answer(StatusCode::CONFLICT, &Draft::changed());
    }
    let indicators = match wish.indicators(visit) {
        Ok(indicators) => indicators,
        Err(problem) => return again(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let decision = Decision {
        choice: wish.choice,
        by: visit.link.approver.clone(),
        authenticated_by: "mailbox".to_owned(),
        from: code::caller(request),
        reason: wish.reason,
        shown_digest: visit.shown_digest.clone(),
        plan_digest: visit.assessment.plan_digest.clone(),
        indicators,
        ..Decision::at(now)
    };
    take(world, visit, &session, &mac, &decision, now).await
}

async fn take(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    session: &Session,
    mac: &str,
    decision: &Decision,
    now: Timestamp,
) -> Result<Response<Vec<u8>>, Fault> {
    let committed = world.rows.commit(&writes(visit, session, mac, decision, now)?).await;
    let id = &visit.link.incident_id;
    if committed != Ok(Commit::Done) {
        // Somebody else won, the deadline passed, or what is shown changed. After a fault the record knows what stands.
        let fault = committed.err();
        return match Visit::find(world.evidence, world.rows, visit.secret.clone(), now).await? {
            Some(seen) => match (seen.standing(now), fault) {
                (Standing::Decided(stands), _) => answer::receipt(world.settings, &seen, stands),
                (_, Some(fault)) => Err(fault),
                (Standing::Superseded, None) => answer::superseded(world.settings, &seen),
                (Standing::Expired, None) => answer::expired(world.settings, &seen),
                (Standing::Open, None) => {
                    let page = Page { visit: &seen, session, settings: world.settings, now };
                    page.answer(StatusCode::CONFLICT, &Draft::changed())
                }
            },
            None => answer::unknown(world.settings),
        };
    }
    info!(stage = "review", incident.id = %id, choice = decision.choice.as_str(), "decided");
    // The decision stands, whether or not the execution can be woken now: `sweep` wakes what nobody woke.
    if let Err(fault) = waking::wake(world.rows, world.machines, id, visit.link.run, visit.link.round, now).await {
        error!(stage = "review", incident.id = %id, fault = fault.name(), "nobody could be woken yet: {fault}");
    }
    answer::decided(world.settings, visit)
}

/// All or nothing: the decision, once; the round, open and in time; the code, once; and all that was shown, unchanged.
fn writes(
    visit: &Visit,
    session: &Session,
    mac: &str,
    decision: &Decision,
    now: Timestamp,
) -> Result<Vec<Write>, Fault> {
    let id = &visit.link.incident_id;
    let mut writes = decision.writes(&visit.round, now)?;
    for write in writes.iter_mut().filter(|write| write.key.sk.starts_with("round#")) {
        write.conditions.push(Condition::After("deadline", now.to_string()));
    }
    writes.push(code::use_up(&visit.digest, session, mac)?);
    writes.push(
        Write::check(Run::key(id, visit.link.run)).only_if(Condition::Is("assessment", visit.assessment_place.clone())),
    );
    writes.push(Write::check(Incident::key(id)).only_if(Condition::Is("run", visit.link.run.into())));
    Ok(writes)
}

/// What the person wants.
struct Wish {
    choice: Choice,
    reason: String,
    ticks: BTreeSet<String>,
}

impl Wish {
    fn of(form: &Form, visit: &Visit) -> Result<Self, String> {
        let chosen = form.one("choice");
        let choice = visit.round.question.choices().iter().find(|choice| choice.as_str() == chosen);
        let choice = *choice.ok_or("Choose one of the answers. None is chosen beforehand.")?;
        let reason = form.one("reason").split_whitespace().collect::<Vec<_>>().join(" ");
        match reason.chars().count() {
            0 => return Err("Give a reason: it is what your colleagues will read.".to_owned()),
            1..=REASON_MAX_CHARS => {}
            long => return Err(format!("The reason has {long} characters, at most {REASON_MAX_CHARS} are kept.")),
        }
        Ok(Self { choice, reason, ticks: form.all("indicators").map(str::to_owned).collect() })
    }

    /// The keys of what is approved: only what the plan may write and what leaves by itself, whatever the form says.
    fn indicators(&self, visit: &Visit) -> Result<Vec<String>, String> {
        if self.choice != Choice::Approved {
            return Ok(vec![]);
        }
        let open = visit.assessment.plan.open().filter(|entry| entry.lifetime_hours > 0);
        let mut offered: Vec<String> = open.map(|entry| entry.observable.key()).collect();
        offered.dedup();
        let known: BTreeSet<String> = offered.iter().map(|key| tick(key)).collect();
        if !self.ticks.is_subset(&known) {
            return Err("The form ticks an indicator that may not be approved. Nothing was decided.".to_owned());
        }
        let mut seen = BTreeSet::new();
        offered.retain(|key| self.ticks.contains(&tick(key)) && seen.insert(key.clone()));
        Ok(offered)
    }
}

fn what_is_wrong(proof: &Proof) -> String {
    match proof {
        Proof::Right(_) | Proof::Busy => "Another try came at the same moment. Try again.".to_owned(),
        Proof::NotAsked => {
            "Ask for a one-time code first. A code is good only in the browser that asked for it.".to_owned()
        }
        Proof::Expired => "The code is older than ten minutes. Ask for a new one.".to_owned(),
        Proof::UsedUp => "The code is wrong, and all tries are used up. Ask for a new code.".to_owned(),
        Proof::Wrong(1) => "The code is wrong. One try is left.".to_owned(),
        Proof::Wrong(left) => format!("The code is wrong. {left} tries are left."),
    }
}
