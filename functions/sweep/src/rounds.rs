//! Review rounds: people are reminded at half time, a round ends at its deadline, and whoever waits for it is woken.

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    brief::{Brief, Surroundings},
    decision::{self, Choice, Decision, OPEN, Round},
    incident::{Incident, IncidentStatus},
    mail,
    notice::{self, Asked},
    ports::{Entropy, Evidence, Machines, Mail, Outbox},
    rows::{Commit, Condition, Row, Rows, Write},
    waking::{self, Waking},
};
use serde_json::json;
use tracing::error;

use crate::Done;

/// Minutes after which a reminder that did not go out is tried again; the deadline never waits for it.
const RETRY_MINUTES: i64 = 5;

/// What it takes to tell people.
#[derive(Debug)]
pub struct Post<'a, E, R, O, N> {
    pub evidence: &'a E,
    pub rows: &'a R,
    pub outbox: &'a O,
    pub entropy: &'a N,
}

impl<E: Evidence, R: Rows, O: Outbox, N: Entropy> Post<'_, E, R, O, N> {
    /// Reminds the people of an open round, or ends it: nothing is enforced by that. A deadline is honoured even where
    /// nobody was reminded. The index may be late: the row decides.
    pub async fn pass(&self, row: &Row, now: Timestamp) -> Result<Done, Fault> {
        let Some(row) = self.rows.get(&row.key).await? else { return Ok(Done::Nothing) };
        let round: Round = row.read()?;
        if round.state != OPEN || round.due_at.is_none_or(|at| at > now) {
            Ok(Done::Nothing)
        } else if round.deadline <= now {
            self.end(&round, now).await
        } else {
            self.remind(&round, now).await
        }
    }

    async fn remind(&self, round: &Round, now: Timestamp) -> Result<Done, Fault> {
        let key = || Round::key(&round.incident_id, round.run, round.round);
        let later = now.plus_minutes(RETRY_MINUTES).min(round.deadline);
        // Two sweeps may meet here: one goes on, and where it dies the round is due again by itself.
        let ours = Write::set(key(), &json!({ "due_at": later }))?
            .only_if(Condition::Is("state", OPEN.into()))
            .only_if(Condition::Is("due_at", json!(round.due_at)));
        if self.rows.commit(&[ours]).await? == Commit::Conflict {
            return Ok(Done::Nothing);
        }
        let told = if round.reminded { Ok(()) } else { self.tell_again(round, now).await };
        let (reminded, due_at) = match &told {
            Ok(()) => (true, round.deadline),
            Err(_) => (false, later),
        };
        let next = Write::set(key(), &json!({"reminded": reminded, "due_at": due_at}))?
            .only_if(Condition::Is("state", OPEN.into()));
        // A conflict means that somebody has decided meanwhile.
        let _: Commit = self.rows.commit(&[next]).await?;
        told.map(|()| Done::Reminded)
    }

    /// Mails everybody who was asked: while a round is open, none of them has decided.
    async fn tell_again(&self, round: &Round, now: Timestamp) -> Result<(), Fault> {
        let incident = Incident::load(self.rows, &round.incident_id).await?;
        if incident.run != round.run || is_over(&incident) {
            return Ok(());
        }
        let Some((assessment, around)) = self.shown(round).await? else { return Ok(()) };
        let brief = Brief::of(&assessment, round, &around, now);
        self.tell(round, "reminder", &reached(round), now, |address| mail::reminder(address, &brief)).await
    }

    /// What the others of an open round are told when a mail did not reach one of them, and who they are.
    pub async fn told(
        &self,
        round: &Round,
        address: &str,
        now: Timestamp,
    ) -> Result<Option<(Brief, Vec<String>)>, Fault> {
        let incident = Incident::load(self.rows, &round.incident_id).await?;
        if incident.run != round.run || is_over(&incident) {
            return Ok(None);
        }
        let Some((assessment, around)) = self.shown(round).await? else { return Ok(None) };
        let mut others = vec![];
        for other in reached(round).into_iter().filter(|other| !other.eq_ignore_ascii_case(address)) {
            // Who has not been asked yet reads it in the mail that asks.
            let asked = Asked::load(self.rows, &round.incident_id, round.run, round.round, &other).await?;
            others.extend(asked.and_then(|asked| asked.mail_id).map(|_| other));
        }
        Ok(Some((Brief::of(&assessment, round, &around, now), others)))
    }

    /// Ends a round that nobody has decided in time. A conflict means that somebody decided in the last moment.
    async fn end(&self, round: &Round, now: Timestamp) -> Result<Done, Fault> {
        let ended = decision::end(self.rows, self.entropy, round, now).await?;
        Ok(if ended == Commit::Done { Done::Ended } else { Done::Nothing })
    }

    /// Wakes an execution that nobody has woken. Of a round that timed out people are told first.
    pub async fn wake(&self, machines: &impl Machines, row: &Row, now: Timestamp) -> Result<Done, Fault> {
        let round: Round = row.read()?;
        let (id, run) = (&round.incident_id, round.run);
        let decision = Decision::load(self.rows, id, run, round.round).await?;
        if decision.is_some_and(|decision| decision.choice == Choice::TimedOut)
            && let Err(fault) = self.tell_expired(&round, now).await
        {
            error!(incident.id = %id, fault = fault.name(), "end of the round not told: {fault}");
        }
        let waking = waking::wake(self.rows, machines, id, run, round.round, now).await?;
        Ok(if waking == Waking::NotYet { Done::Nothing } else { Done::Woken })
    }

    /// Tells the people of a round that nobody decided in time; after the last level, the people of all levels.
    async fn tell_expired(&self, round: &Round, now: Timestamp) -> Result<(), Fault> {
        let incident = Incident::load(self.rows, &round.incident_id).await?;
        if incident.run != round.run {
            return Ok(());
        }
        let Some((assessment, around)) = self.shown(round).await? else { return Ok(()) };
        // Nobody asks the next level of an incident that has ended otherwise.
        let round = &Round { last: round.last || is_over(&incident), ..round.clone() };
        let mut addresses = reached(round);
        if round.last {
            addresses.extend(around.earlier.iter().flat_map(reached));
        }
        self.tell(round, "expired", &addresses, now, |address| mail::expired(address, &assessment, round, &around))
            .await
    }

    async fn shown(&self, round: &Round) -> Result<Option<(Assessment, Surroundings)>, Fault> {
        let assessment = Assessment::load(self.evidence, self.rows, &round.incident_id, round.run).await?;
        let Some(assessment) = assessment else { return Ok(None) };
        let around = Surroundings::load(self.rows, &assessment, round.round).await?;
        Ok(Some((assessment, around)))
    }

    /// Sends each address its mail, once. An address that is refused for good keeps nobody else from being told.
    pub async fn tell(
        &self,
        round: &Round,
        what: &str,
        addresses: &[String],
        now: Timestamp,
        mail: impl Fn(&str) -> Result<Mail, Fault>,
    ) -> Result<(), Fault> {
        let of = (&round.incident_id, round.run, round.round, what);
        let mut failed = Ok(());
        for address in addresses {
            let mail = mail(address)?;
            match notice::send_once(self.rows, self.outbox, self.entropy, of, &mail, now).await {
                Ok(_) => {}
                Err(fault @ Fault::Rejected(_)) => {
                    error!(incident.id = %round.incident_id, fault = fault.name(), "{what} refused for good: {fault}");
                }
                Err(fault) => failed = Err(fault),
            }
        }
        failed
    }
}

/// Whether no execution works on the incident, nor will by itself.
fn is_over(incident: &Incident) -> bool {
    !matches!(incident.status, IncidentStatus::Open | IncidentStatus::Waiting)
}

/// Those of a round to whom a mail gets: whose mail came back for good is not written to again.
fn reached(round: &Round) -> Vec<String> {
    round.asked.iter().filter(|address| !round.is_undelivered(address)).cloned().collect()
}
