//! The person: how they are known, and what is on record of what they try.

use http::Request;
use playbook::{
    Fault, Timestamp,
    audit::{Entry, Event},
    decision::{MAILBOX, Vote},
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::{Rows, Write},
};
use tracing::error;

use crate::{
    World,
    code::{self, Proof},
    form::Form,
    gate::Session,
    settings::Settings,
    visit::Visit,
};

/// Somebody whom we know to be the approver of the link.
#[derive(Debug)]
pub enum Person {
    /// Typed the code that was mailed to the approver; its HMAC, for the condition under which it is used up.
    Mailbox(String),
}

impl Person {
    /// Who it is, by what was posted; in words what is missing.
    pub async fn prove(
        rows: &impl Rows,
        settings: &Settings,
        (visit, session, form): (&Visit, &Session, &Form),
        now: Timestamp,
    ) -> Result<Result<Self, String>, Fault> {
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
        }
    }

    /// The write that uses the proof up, where it is good only once.
    pub fn use_up(&self, link_digest: &str, session: &Session) -> Result<Option<Write>, Fault> {
        match self {
            Self::Mailbox(mac) => code::use_up(link_digest, session, mac).map(Some),
        }
    }
}

/// What goes on record of a vote.
pub fn entry(visit: &Visit, vote: &Vote, event: Event, detail: &str) -> Entry {
    Entry {
        who: vote.who.clone(),
        authenticated_by: vote.authenticated_by.clone(),
        from: vote.from.clone(),
        choice: vote.answer.clone().unwrap_or_else(|| vote.choice.as_str().to_owned()),
        reason: vote.reason.clone(),
        indicators: vote.indicators.clone(),
        shown_digest: vote.shown_digest.clone(),
        plan_digest: vote.plan_digest.clone(),
        detail: detail.to_owned(),
        ..Entry::of((&visit.link.incident_id, visit.link.run, visit.link.round), event, vote.at)
    }
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
    let is_known = code::was_right(world.rows, world.settings, visit, session, form.one("code")).await?;
    if !is_known {
        return Ok(());
    }
    let of = (&visit.link.incident_id, visit.link.run, visit.link.round);
    let entry = Entry {
        who: visit.link.approver.clone(),
        authenticated_by: MAILBOX.to_owned(),
        from: code::caller(request),
        choice: form.one("choice").chars().take(40).collect(),
        reason: form.one("reason").chars().take(2_000).collect(),
        shown_digest: form.one("shown_digest").chars().take(64).collect(),
        detail: why.to_owned(),
        ..Entry::of(of, Event::Refused, now)
    };
    record(world, &entry).await;
    Ok(())
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
