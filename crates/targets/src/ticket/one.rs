//! One incident at one target: claimed before anything is sent, looked for where nobody knows, completed after.

use data_encoding::HEXLOWER;
use playbook::{
    Fault, Timestamp,
    ports::{Clock, Egress, Entropy, Reach, Secrets},
    rows::{Commit, Condition, Row, Rows, Write},
    target::{Call, Calls, Effect, Target},
    ticket::{Text, Ticket},
};
use serde_json::Value;
use tracing::{debug, info};

use super::{Aim, World};
use crate::http::{self, Reply, Wire};

/// The most calls that one claim makes: it looks, it updates, it closes.
const CALLS_MAX: i64 = 3;
/// What rows and scheduling may take beside the calls, in milliseconds.
const MARGIN_MS: i64 = 5_000;

/// One incident at one target.
pub(super) struct One<'a, R, C, G, S, N> {
    pub world: &'a World<'a, R, C, G, S, N>,
    pub reach: Reach<'a>,
    pub target: &'a Target,
    pub text: &'a Text,
    pub digest: &'a str,
}

/// A claimed row with what it was before.
struct Claimed {
    ticket: Ticket,
    /// Whether somebody has begun to close it before.
    may_be_closed: bool,
    /// Whether an update opens it again.
    reopens: bool,
}

impl<R: Rows, C: Clock, G: Egress, S: Secrets, N: Entropy> One<'_, R, C, G, S, N> {
    /// Brings the ticket to what is aimed at; whether there is one afterwards.
    pub async fn reach(&self, aim: Aim) -> Result<bool, Fault> {
        let calls = self.target.calls.as_ref().ok_or_else(|| self.misconfigured("has no calls"))?;
        let key = Ticket::key(&self.text.incident_id, &self.target.id);
        let known: Option<Ticket> = self.world.rows.get(&key).await?.as_ref().map(Row::read).transpose()?;
        if !self.is_due(known.as_ref(), calls, aim) {
            return Ok(known.is_some_and(|ticket| ticket.is_opened()));
        }
        let mut claimed = self.claim(known, aim).await?;
        let result = self.act(&mut claimed, calls, aim).await;
        let ticket = claimed.ticket;
        self.complete(&ticket).await?;
        result?;
        let (id, updates) = (&self.text.incident_id, ticket.updates);
        info!(incident.id = %id, target.id = %self.target.id, updates, is_closed = ticket.is_closed, "ticket written");
        Ok(ticket.is_opened())
    }

    fn is_due(&self, known: Option<&Ticket>, calls: &Calls, aim: Aim) -> bool {
        match known {
            None => aim == Aim::Open,
            Some(ticket) if !ticket.is_opened() => true,
            Some(ticket) => {
                self.wants_update(ticket, calls)
                    || wants_closing(ticket, calls, aim)
                    || self.wants_another(ticket, calls, aim)
            }
        }
    }

    fn wants_update(&self, ticket: &Ticket, calls: &Calls) -> bool {
        let is_new = ticket.written.as_deref() != Some(self.digest);
        // People read a channel as it goes by: its message is edited once a run at most.
        let has_turn = !self.is_channel() || ticket.updates == 0 || ticket.run != self.text.run;
        calls.update.is_some() && ticket.external_id.is_some() && is_new && has_turn
    }

    /// A channel whose messages cannot be edited is told anew in each run.
    fn wants_another(&self, ticket: &Ticket, calls: &Calls, aim: Aim) -> bool {
        let can_be_edited = calls.update.is_some() && ticket.external_id.is_some();
        aim == Aim::Open && self.is_channel() && !can_be_edited && ticket.run != self.text.run
    }

    /// Takes the row, or `Throttled` while somebody else has it. Whoever has died on it has it until the lease is over.
    async fn claim(&self, known: Option<Ticket>, aim: Aim) -> Result<Claimed, Fault> {
        let now = self.world.clock.now();
        if known.as_ref().is_some_and(|ticket| ticket.is_busy && now.ms_since(ticket.claimed_at) < self.lease_ms()) {
            return Err(self.taken());
        }
        let mut random = [0; 16];
        self.world.entropy.fill(&mut random)?;
        let owner = HEXLOWER.encode(&random);
        let unchanged = known.as_ref().map_or(Condition::Absent, |t| Condition::Is("owner", t.owner.as_str().into()));
        let may_be_closed = known.as_ref().is_some_and(|ticket| ticket.was_closing);
        let reopens = aim == Aim::Open && known.as_ref().is_some_and(|ticket| ticket.is_closed);
        let before = known.unwrap_or_else(|| self.fresh(now));
        let was_closing = before.was_closing || aim == Aim::Close;
        let ticket = Ticket { owner, claimed_at: now, is_busy: true, was_closing, ..before };
        let key = Ticket::key(&self.text.incident_id, &self.target.id);
        match self.world.rows.commit(&[Write::put(key, &ticket)?.only_if(unchanged)]).await? {
            Commit::Done => Ok(Claimed { ticket, may_be_closed, reopens }),
            Commit::Conflict => Err(self.taken()),
        }
    }

    fn fresh(&self, now: Timestamp) -> Ticket {
        Ticket {
            schema: Ticket::SCHEMA.to_owned(),
            target: self.target.id.clone(),
            owner: String::new(),
            claimed_at: now,
            external_id: None,
            permalink: None,
            written: None,
            updates: 0,
            is_closed: false,
            is_busy: true,
            run: 0,
            was_closing: false,
        }
    }

    /// Notes in the row what has come of each call, so that a later failure loses nothing.
    async fn act(&self, claimed: &mut Claimed, calls: &Calls, aim: Aim) -> Result<(), Fault> {
        let is_told_again = claimed.ticket.is_opened() && self.wants_another(&claimed.ticket, calls, aim);
        if !claimed.ticket.is_opened() {
            self.look(claimed, calls).await?;
        }
        if (aim == Aim::Open && !claimed.ticket.is_opened()) || is_told_again {
            let reply = self.call(claimed, &calls.write).await?;
            claimed.ticket.external_id = None;
            self.note(&mut claimed.ticket, reply);
        }
        let closes = wants_closing(&claimed.ticket, calls, aim);
        // The call that closes a channel's message carries the text itself.
        let wants_update = self.wants_update(&claimed.ticket, calls) && !(closes && self.is_channel());
        if let Some(update) = calls.update.as_ref().filter(|_| wants_update) {
            let reply = self.call(claimed, update).await?;
            claimed.ticket.updates = claimed.ticket.updates.saturating_add(1);
            claimed.ticket.is_closed &= !claimed.reopens;
            self.note(&mut claimed.ticket, reply);
        }
        if let Some(close) = calls.close.as_ref().filter(|_| closes) {
            let reply = self.call(claimed, close).await?;
            claimed.ticket.is_closed = true;
            if self.is_channel() {
                self.note(&mut claimed.ticket, reply);
            }
        }
        Ok(())
    }

    /// Whoever had the row before may have opened it without being able to say so: what is there is taken over.
    async fn look(&self, claimed: &mut Claimed, calls: &Calls) -> Result<(), Fault> {
        let Some(precheck) = &calls.precheck else { return Ok(()) };
        if let Reply::Found { external_id: Some(external_id), permalink, .. } = self.call(claimed, precheck).await? {
            info!(incident.id = %self.text.incident_id, target.id = %self.target.id, "found the ticket that is there");
            claimed.ticket.external_id = Some(external_id);
            claimed.ticket.permalink = permalink;
            if calls.update.is_none() {
                // It cannot be made to say anything else.
                claimed.ticket.written = Some(self.digest.to_owned());
                claimed.ticket.run = self.text.run;
            }
        }
        Ok(())
    }

    /// The content is there.
    fn note(&self, ticket: &mut Ticket, reply: Reply) {
        let (external_id, permalink) = match reply {
            Reply::Done { external_id, permalink } | Reply::Found { external_id, permalink, .. } => {
                (external_id, permalink)
            }
            Reply::Duplicate { external_id } => (external_id, None),
            Reply::NotFound => (None, None),
        };
        ticket.external_id = external_id.or_else(|| ticket.external_id.take());
        ticket.permalink = permalink.or_else(|| ticket.permalink.take());
        ticket.written = Some(self.digest.to_owned());
        ticket.run = self.text.run;
    }

    async fn call(&self, claimed: &Claimed, call: &Call) -> Result<Reply, Fault> {
        let now = self.world.clock.now();
        let ends = now.plus_ms(i64::from(self.target.timeout_ms));
        if ends.ms_since(claimed.ticket.claimed_at) > self.lease_ms() {
            // A sandbox that was frozen: somebody else may have the row by now.
            return Err(self.taken());
        }
        let secret = match &self.target.secret {
            Some(id) => self.world.secrets.secret(id).await?,
            None => None,
        };
        let wire = Wire { egress: self.world.egress, reach: self.reach, secret: secret.as_ref() };
        let reply = http::call(&wire, self.target, call, &self.document(claimed, now)).await?;
        debug!(incident.id = %self.text.incident_id, target.id = %self.target.id, ?reply, "called");
        Ok(reply)
    }

    fn document(&self, claimed: &Claimed, now: Timestamp) -> Value {
        let mut document = self.text.document();
        document["now"] = now.to_string().into();
        document["ticket"]["may_be_closed"] = claimed.may_be_closed.into();
        document["ticket"]["reopens"] = claimed.reopens.into();
        if let Some(external_id) = &claimed.ticket.external_id {
            document["external_id"] = external_id.as_str().into();
        }
        document
    }

    async fn complete(&self, ticket: &Ticket) -> Result<(), Fault> {
        let key = Ticket::key(&self.text.incident_id, &self.target.id);
        let done = Ticket { is_busy: false, ..ticket.clone() };
        let owner = Condition::Is("owner", ticket.owner.as_str().into());
        match self.world.rows.commit(&[Write::put(key, &done)?.only_if(owner)]).await? {
            Commit::Done => Ok(()),
            Commit::Conflict => Err(self.taken()),
        }
    }

    fn is_channel(&self) -> bool {
        self.target.effect == Effect::Notifies
    }

    fn lease_ms(&self) -> i64 {
        CALLS_MAX * i64::from(self.target.timeout_ms) + MARGIN_MS
    }

    fn taken(&self) -> Fault {
        let (target, id) = (&self.target.id, &self.text.incident_id);
        Fault::Throttled(format!("target {target}: somebody else is writing the ticket of {id}"))
    }

    fn misconfigured(&self, why: &str) -> Fault {
        Fault::Misconfigured(format!("target {}: {why}", self.target.id))
    }
}

fn wants_closing(ticket: &Ticket, calls: &Calls, aim: Aim) -> bool {
    aim == Aim::Close && !ticket.is_closed && calls.close.is_some() && ticket.external_id.is_some()
}
