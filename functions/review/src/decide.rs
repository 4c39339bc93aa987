//! The decision: every check in order, then one transaction. The vote that is enough writes the one decision of the round.

use http::{Request, Response, StatusCode};
use playbook::{
    Fault, Timestamp,
    audit::Event,
    decision::{Authority, OPEN, Outcome, Round, Vote},
    incident::{Incident, Run},
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::{Commit, Condition, Rows, Write},
    waking,
};
use serde_json::json;
use tracing::{error, info};

use crate::{
    World, answer,
    ballot::Ballot,
    code,
    form::Form,
    gate::{self, Session},
    page::{Draft, Page},
    person::{self, Person},
    visit::{Standing, Visit},
};

/// What goes on record where somebody decided on what is no longer so.
const CHANGED: &str = "what was shown has changed";
/// How often a vote is counted again because another came between; more people are not asked in a round.
const COUNTS_MAX: usize = 8;

/// Takes the decision that a person posted, or says what is missing.
pub async fn decide(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: Visit,
    request: &Request<Vec<u8>>,
    now: Timestamp,
) -> Result<Response<Vec<u8>>, Fault> {
    let Some(form) = Form::read(request) else { return answer::no_form(world.settings) };
    let session = match gate::admit(request.headers(), world.settings, &visit.digest, form.one("csrf")) {
        Ok(session) => session,
        Err(refused) => return answer::refused(world.settings, &visit, refused),
    };
    if !visit.may_decide() {
        return answer::not_yours(world.settings);
    }
    let identity = person::identity(request.headers(), world.settings, &visit, now);
    let page = Page { visit: &visit, session: &session, identity: identity.as_ref(), settings: world.settings, now };
    let draft = Draft::of(&form);
    let again = |status, problem: String| page.answer(status, &draft.clone().with_problem(problem));

    let ballot = match Ballot::of(&form, &visit) {
        Ok(ballot) => ballot,
        Err(problem) => return again(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let of = (&visit, &session, &form);
    let person = match Person::prove(world.rows, world.settings, of, request.headers(), now).await? {
        Ok(person) => person,
        Err(problem) => return again(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let from = code::caller(request);
    let known = (person.known_by(), person.identity());
    if form.one("shown_digest") != visit.shown_digest {
        person::record(world, &person::refused(&visit, known, &form, &from, CHANGED, now)).await;
        return page.answer(StatusCode::CONFLICT, &Draft::changed());
    }
    let vote = match ballot.vote(&visit, &person, &from, now) {
        Ok(vote) => vote,
        Err(problem) => {
            person::record(world, &person::refused(&visit, known, &form, &from, &problem, now)).await;
            return again(StatusCode::UNPROCESSABLE_ENTITY, problem);
        }
    };
    Box::pin(cast(world, visit, (&session, &person), &ballot, vote)).await
}

/// Casts the vote: counts it beside the others, again where another came between.
async fn cast(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: Visit,
    (session, person): (&Session, &Person),
    ballot: &Ballot,
    vote: Vote,
) -> Result<Response<Vec<u8>>, Fault> {
    let (mut visit, mut vote) = (visit, vote);
    for _ in 0..COUNTS_MAX {
        let authority = Authority { plan: &visit.assessment.plan, alone_max: visit.round.alone_max };
        let outcome = vote.tally(&visit.votes, &authority);
        let writes = writes(world.entropy, &visit, (session, person), &vote, &outcome)?;
        let committed = world.rows.commit(&writes).await;
        if committed == Ok(Commit::Done) {
            return done(world, &visit, &vote, &outcome).await;
        }
        // Somebody else won, the deadline passed, what is shown changed, or another vote came between. After a fault the
        // record knows what stands.
        let Some(seen) = Visit::find(world.evidence, world.rows, visit.secret.clone(), vote.at).await? else {
            return answer::unknown(world.settings);
        };
        let is_same = seen.shown_digest == visit.shown_digest && seen.round.votes != visit.round.votes;
        if committed == Ok(Commit::Conflict) && matches!(seen.standing(vote.at), Standing::Open) && is_same {
            match ballot.vote(&seen, person, &vote.from, vote.at) {
                Ok(counted) => (visit, vote) = (seen, counted),
                Err(_) => return lost(world, &seen, (session, person), &vote, None).await,
            }
            continue;
        }
        return lost(world, &seen, (session, person), &vote, committed.err()).await;
    }
    lost(world, &visit, (session, person), &vote, None).await
}

/// The vote is on record: people are woken if it decides.
async fn done(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    vote: &Vote,
    outcome: &Outcome,
) -> Result<Response<Vec<u8>>, Fault> {
    let (id, choice) = (&visit.link.incident_id, vote.choice.as_str());
    if matches!(outcome, Outcome::Stands(_)) {
        info!(stage = "review", incident.id = %id, choice, "voted; a second person has to");
        return answer::taken(world.settings, visit);
    }
    info!(stage = "review", incident.id = %id, choice, "decided");
    // The decision stands, whether or not the execution can be woken now: `sweep` wakes what nobody woke.
    if let Err(fault) = waking::wake(world.rows, world.machines, id, visit.link.run, visit.link.round, vote.at).await {
        error!(stage = "review", incident.id = %id, fault = fault.name(), "nobody could be woken yet: {fault}");
    }
    answer::taken(world.settings, visit)
}

/// The vote is not on record, or it cannot be told whether it is: says what stands instead.
async fn lost(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    seen: &Visit,
    (session, person): (&Session, &Person),
    vote: &Vote,
    fault: Option<Fault>,
) -> Result<Response<Vec<u8>>, Fault> {
    let standing = seen.standing(vote.at);
    // An answer that got lost is no defeat: what stands may be this very vote.
    let is_own = match &standing {
        _ if fault.is_none() => false,
        Standing::Decided(decision) => decision.votes.iter().any(|voter| voter.who == vote.who && voter.at == vote.at),
        _ => seen.votes.contains(vote),
    };
    let is_open_because = if fault.is_some() { "the record did not answer" } else { CHANGED };
    let why = standing.too_late().unwrap_or(is_open_because);
    if !is_own {
        person::record(world, &person::entry(seen, vote, person, Event::Refused, why)).await;
    }
    match (standing, fault) {
        (Standing::Open, _) if is_own => answer::taken(world.settings, seen),
        (Standing::Decided(stands), _) => answer::receipt(world.settings, seen, stands),
        (_, Some(fault)) => Err(fault),
        (Standing::Superseded, None) => answer::superseded(world.settings, seen),
        (Standing::Expired, None) => answer::expired(world.settings, seen),
        (Standing::Open, None) => {
            let identity = person.identity();
            let page = Page { visit: seen, session, identity, settings: world.settings, now: vote.at };
            page.answer(StatusCode::CONFLICT, &Draft::changed())
        }
    }
}

/// All or nothing: the vote, and what goes on record of it; the decision, once, where the vote is enough; the round, open
/// and in time, with the same votes as were counted; the proof, once; and all that was shown, unchanged.
fn writes(
    entropy: &impl Entropy,
    visit: &Visit,
    (session, person): (&Session, &Person),
    vote: &Vote,
    outcome: &Outcome,
) -> Result<Vec<Write>, Fault> {
    let (id, round, at) = (&visit.link.incident_id, &visit.round, vote.at);
    let mut writes = vec![vote.write(round)?];
    let audited = match outcome {
        Outcome::Decides(decision) => {
            writes.extend(decision.writes(round, at)?);
            let others: Vec<&str> = decision.votes.iter().map(|voter| voter.who.as_str()).collect();
            person::entry(visit, vote, person, Event::Decided, &format!("by the votes of {}", others.join(", ")))
        }
        Outcome::Stands(why) => {
            let votes = json!({ "votes": round.votes.unwrap_or_default().saturating_add(1) });
            let open = Write::set(Round::key(id, round.run, round.round), &votes)?
                .only_if(Condition::Is("state", OPEN.into()))
                .only_if(Condition::Is("shown_digest", round.shown_digest.as_str().into()));
            writes.push(open);
            person::entry(visit, vote, person, Event::Voted, &format!("a second person has to approve: {why}"))
        }
    };
    for write in writes.iter_mut().filter(|write| write.key.sk.starts_with("round#")) {
        write.conditions.push(Condition::After("deadline", at.to_string()));
        write.conditions.push(round.counted());
    }
    writes.push(audited.write(entropy)?);
    writes.extend(person.use_up(&visit.digest, session)?);
    writes.push(
        Write::check(Run::key(id, visit.link.run)).only_if(Condition::Is("assessment", visit.assessment_place.clone())),
    );
    writes.push(Write::check(Incident::key(id)).only_if(Condition::Is("run", visit.link.run.into())));
    Ok(writes)
}
