//! The person: how they are known, and what is on record of what they try.

use http::{HeaderMap, Request};
use playbook::{
    Fault, Timestamp,
    audit::{Entry, Event},
    decision::{MAILBOX, OIDC, Vote},
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::{Rows, Write},
};
use tracing::error;

use crate::{
    World,
    code::{self, Proof},
    form::Form,
    gate::Session,
    oidc::{self, Identity},
    settings::Settings,
    visit::Visit,
};

/// Somebody whom we know to be the approver of the link.
#[derive(Debug)]
pub enum Person {
    /// Typed the code that was mailed to the approver; its HMAC, for the condition under which it is used up.
    Mailbox(String),
    /// Signed in at the issuer.
    SignedIn(Identity),
}

impl Person {
    /// Who it is, by what was posted; in words what is missing.
    pub async fn prove(
        rows: &impl Rows,
        settings: &Settings,
        (visit, session, form): (&Visit, &Session, &Form),
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Result<Self, String>, Fault> {
        if must_sign_in(settings, visit) {
            let missing = "Sign in first: a sign-in is good for thirty minutes and one answer.";
            return Ok(identity(headers, settings, visit, now).map(Self::SignedIn).ok_or_else(|| missing.to_owned()));
        }
        let proof = code::prove(rows, settings, visit, session, form.one("code"), now).await?;
        Ok(match proof {
            Proof::Right(mac) => Ok(Self::Mailbox(mac)),
            other => Err(what_is_wrong(&other)),
        })
    }

    /// How, in documents.
    pub const fn known_by(&self) -> &'static str {
        match self {
            Self::Mailbox(_) => MAILBOX,
            Self::SignedIn(_) => OIDC,
        }
    }

    /// Who signed in, where somebody did.
    pub const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Mailbox(_) => None,
            Self::SignedIn(identity) => Some(identity),
        }
    }

    /// The write that uses the proof up, where it is good only once.
    pub fn use_up(&self, link_digest: &str, session: &Session) -> Result<Option<Write>, Fault> {
        match self {
            Self::Mailbox(mac) => code::use_up(link_digest, session, mac).map(Some),
            Self::SignedIn(_) => Ok(None),
        }
    }
}

/// Whether only a sign-in proves the person: where there is an issuer, and where there was one when people were asked.
pub fn must_sign_in(settings: &Settings, visit: &Visit) -> bool {
    visit.round.sign_in || settings.oidc().is_some()
}

/// Who has signed in, if it is the approver of the link.
pub fn identity(headers: &HeaderMap, settings: &Settings, visit: &Visit, now: Timestamp) -> Option<Identity> {
    oidc::identity(headers, settings, &visit.digest, now).filter(|identity| identity.is(&visit.link.approver))
}

/// What goes on record of a vote.
pub fn entry(visit: &Visit, vote: &Vote, person: &Person, event: Event, detail: &str) -> Entry {
    Entry {
        who: vote.who.clone(),
        authenticated_by: vote.authenticated_by.clone(),
        from: vote.from.clone(),
        choice: vote.answer.clone().unwrap_or_else(|| vote.choice.as_str().to_owned()),
        reason: vote.reason.clone(),
        indicators: vote.indicators.clone(),
        shown_digest: vote.shown_digest.clone(),
        plan_digest: vote.plan_digest.clone(),
        detail: with_sign_in(detail, person.identity()),
        ..Entry::of((&visit.link.incident_id, visit.link.run, visit.link.round), event, vote.at)
    }
}

fn with_sign_in(detail: &str, identity: Option<&Identity>) -> String {
    identity.map_or_else(|| detail.to_owned(), |identity| format!("{detail}; {}", identity.detail()))
}

/// Puts on record that a known person tried and was not taken. What stands does not depend on it.
pub async fn record(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    entry: &Entry,
) {
    if let Err(fault) = entry.add(world.rows, world.entropy).await {
        error!(stage = "review", incident.id = %entry.incident_id, fault = fault.name(), "not on record: {fault}");
    }
}

/// Puts an attempt on record that came too late, if it is one of a known person: everybody else writes nothing.
pub async fn record_late(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    (visit, session, form): (&Visit, &Session, &Form),
    request: &Request<Vec<u8>>,
    why: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    let identity = identity(request.headers(), world.settings, visit, now);
    let typed = form.one("code");
    if identity.is_none() && !code::was_right(world.rows, world.settings, visit, session, typed).await? {
        return Ok(());
    }
    let known = (if identity.is_some() { OIDC } else { MAILBOX }, identity.as_ref());
    record(world, &refused(visit, known, form, &code::caller(request), why, now)).await;
    Ok(())
}

/// What goes on record of an attempt of a known person that came to no vote, as it was posted.
pub fn refused(
    visit: &Visit,
    (known_by, identity): (&str, Option<&Identity>),
    form: &Form,
    from: &str,
    why: &str,
    now: Timestamp,
) -> Entry {
    let posted = |name: &str, max: usize| form.one(name).chars().take(max).collect();
    Entry {
        who: visit.link.approver.clone(),
        authenticated_by: known_by.to_owned(),
        from: from.to_owned(),
        choice: posted("choice", 40),
        reason: posted("reason", 2_000),
        shown_digest: posted("shown_digest", 64),
        detail: with_sign_in(why, identity),
        ..Entry::of((&visit.link.incident_id, visit.link.run, visit.link.round), Event::Refused, now)
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
