//! Mails that did not arrive: everybody else in the round is told, and a round that reaches nobody ends at once.

use playbook::{
    Fault, IncidentId, Timestamp,
    audit::{self, Event},
    brief::moment,
    canonical,
    decision::{self, DECIDED, DUE_WAKE, OPEN, Round},
    mail::{self, Unreached},
    notice::{self, Asked},
    ports::{Entropy, Evidence, Machines, Outbox},
    rows::{Change, Commit, Condition, Key, Rows, Write},
};
use serde::Deserialize;
use serde_json::json;
use tracing::{info, warn};

use crate::{Done, rounds::Post};

/// How often a row that others write too is read again.
const TRIES: usize = 5;
/// Recipients of one mail that are looked at; ours have one.
const RECIPIENTS_MAX: usize = 10;
/// Why a round ends that reached nobody.
const NOBODY: &str = "the mail could be delivered to nobody who was asked";

/// What the mail service reports of a mail of ours, handed on by a rule. A tag of a mail is the list of its values.
/// Hostile: it names addresses, and only those count that a mail of ours went to.
#[derive(Debug, Deserialize)]
pub struct Undelivered {
    /// The incident that the mail was about.
    pub incident_id: Vec<String>,
    /// The run, in digits.
    pub run: Vec<String>,
    /// The round, in digits.
    pub round: Vec<String>,
    /// What the mail was, such as `question`.
    pub what: Vec<String>,
    /// What the mail service called it.
    #[serde(default)]
    pub mail_id: String,
    /// Where it went to.
    pub recipients: Vec<String>,
    /// `Bounce`, `Complaint`, `Reject` or `DeliveryDelay`.
    pub kind: String,
    /// `Permanent`, `Transient` or `Undetermined`, of a bounce.
    #[serde(default)]
    pub subtype: String,
    /// When, as the mail service says.
    pub at: Timestamp,
}

/// What was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Reports that were not known yet.
    pub new: usize,
    /// Of these, questions that will reach nobody behind their address.
    pub unreached: usize,
    /// Rounds that ended.
    pub ended: usize,
    /// Executions that were woken for that.
    pub woken: usize,
}

/// Why a mail did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Bounced,
    BouncedForNow,
    Complained,
    Refused,
    Delayed,
}

impl Why {
    fn of(kind: &str, subtype: &str) -> Option<Self> {
        Some(match (kind, subtype) {
            ("Bounce", "Permanent") => Self::Bounced,
            // Nobody knows whether an undetermined one will stay so.
            ("Bounce", _) => Self::BouncedForNow,
            ("Complaint", _) => Self::Complained,
            ("Reject", _) => Self::Refused,
            ("DeliveryDelay", _) => Self::Delayed,
            _ => return None,
        })
    }

    /// The word in keys of rows.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bounced => "bounce",
            Self::BouncedForNow => "soft-bounce",
            Self::Complained => "complaint",
            Self::Refused => "reject",
            Self::Delayed => "delay",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Bounced => "it bounced for good",
            Self::BouncedForNow => "it bounced, and may be taken later",
            Self::Complained => "it was marked as spam, so that nothing more is sent there",
            Self::Refused => "the mail service refused to send it",
            Self::Delayed => "the other side does not take it at the moment",
        }
    }

    const fn is_final(self) -> bool {
        matches!(self, Self::Bounced | Self::Complained | Self::Refused)
    }
}

/// A report that can be one of a mail of ours.
#[derive(Debug)]
struct Report {
    id: IncidentId,
    run: u32,
    round: u32,
    what: String,
    mail_id: String,
    why: Why,
    at: Timestamp,
}

impl Report {
    /// `None` unless everything in it is as we write it.
    fn of(told: &Undelivered) -> Option<Self> {
        let [id] = told.incident_id.as_slice() else { return None };
        let ([run], [round], [what]) = (told.run.as_slice(), told.round.as_slice(), told.what.as_slice()) else {
            return None;
        };
        let is_word = |text: &str| {
            text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let mail_id = told.mail_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(100).collect();
        Some(Self {
            id: IncidentId::try_from(id.clone()).ok()?,
            run: run.parse().ok()?,
            round: round.parse().ok()?,
            what: Some(what).filter(|what| !what.is_empty() && is_word(what))?.clone(),
            mail_id,
            why: Why::of(&told.kind, &told.subtype)?,
            at: told.at,
        })
    }

    fn is_question(&self) -> bool {
        self.what == "question"
    }

    async fn load(&self, rows: &impl Rows) -> Result<Option<Round>, Fault> {
        Round::load(rows, &self.id, self.run, self.round).await
    }

    /// That this was noted: once for each sort of mail and of failure, however often it is told.
    fn key(&self, address: &str) -> Key {
        let what = format!("noted-{}-{}", self.why.as_str(), self.what);
        notice::effect_key(&self.id, self.run, self.round, &what, address)
    }

    /// The address as policy spells it, if a mail of this sort went to it.
    async fn sent_to(&self, rows: &impl Rows, round: &Round, recipient: &str) -> Result<Option<String>, Fault> {
        let asked = round.asked.iter().find(|asked| asked.eq_ignore_ascii_case(recipient));
        match (self.what.as_str(), asked) {
            ("question", Some(asked)) => {
                let sent = Asked::load(rows, &self.id, self.run, self.round, asked).await?;
                Ok(sent.map(|_| asked.clone()))
            }
            ("question", None) => Ok(None),
            ("code", asked) => Ok(asked.cloned()),
            // What is told may go to people of earlier rounds, too.
            (what, _) => {
                let sent = rows.get(&notice::effect_key(&self.id, self.run, self.round, what, recipient)).await?;
                Ok(sent.map(|_| asked.map_or_else(|| recipient.to_owned(), Clone::clone)))
            }
        }
    }

    fn entry(&self, address: &str, now: Timestamp) -> audit::Entry {
        let at = moment(self.at);
        audit::Entry {
            who: address.to_owned(),
            detail: format!("{} {}: {}, at {at}", self.what, self.mail_id, self.why.words()),
            ..audit::Entry::of((&self.id, self.run, self.round), Event::Undelivered, now)
        }
    }
}

impl<E: Evidence, R: Rows, O: Outbox, N: Entropy> Post<'_, E, R, O, N> {
    /// Notes a report and does what follows from it. A report that is told again changes nothing, and finishes what the
    /// first time may have left undone.
    pub async fn note(&self, machines: &impl Machines, told: &Undelivered, now: Timestamp) -> Result<Noted, Fault> {
        let mut noted = Noted::default();
        let Some(report) = Report::of(told) else {
            warn!("a report of the mail service names no mail of ours");
            return Ok(noted);
        };
        for recipient in told.recipients.iter().take(RECIPIENTS_MAX) {
            let Some(round) = report.load(self.rows).await? else { break };
            let Some(address) = report.sent_to(self.rows, &round, recipient).await? else {
                warn!(incident.id = %report.id, "a report of the mail service names somebody whom nobody has written to");
                continue;
            };
            let is_new = self.write(&report, &address, now).await?;
            noted.new += usize::from(is_new);
            noted.unreached += usize::from(is_new && report.is_question() && report.why.is_final());
            if report.is_question() {
                self.follow(machines, &report, &address, &mut noted, now).await?;
            }
            info!(incident.id = %report.id, what = report.what, why = report.why.as_str(), is_new, "a mail did not arrive");
        }
        Ok(noted)
    }

    /// Writes what was reported; false when that was written before.
    async fn write(&self, report: &Report, address: &str, now: Timestamp) -> Result<bool, Fault> {
        let key = report.key(address);
        for _ in 0..TRIES {
            if self.rows.get(&key).await?.is_some() {
                return Ok(false);
            }
            let marker = json!({"schema": "effect/1", "claimed_at": now, "mail_id": report.mail_id});
            let mut writes = vec![
                Write::put(key.clone(), &marker)?.only_if(Condition::Absent),
                report.entry(address, now).write(self.entropy)?,
            ];
            let round = report.load(self.rows).await?.filter(|round| round.state == OPEN);
            if let Some(round) = round.filter(|_| report.is_question() && report.why.is_final()) {
                writes.extend(self.lose(&round, address, now).await?);
            }
            // A conflict: the same was told twice at once, somebody decided, or another mail came back. What holds now?
            if self.rows.commit(&writes).await? == Commit::Done {
                return Ok(true);
            }
        }
        Err(Fault::Throttled(format!("round {} of {} keeps changing", report.round, report.id)))
    }

    /// The writes by which an open round has one person less; without anybody left it ends.
    async fn lose(&self, round: &Round, address: &str, now: Timestamp) -> Result<Vec<Write>, Fault> {
        let mut lost = round.clone();
        if !round.is_undelivered(address) {
            lost.undelivered.push(address.to_owned());
        }
        let mut left = 0;
        for asked in round.asked.iter().filter(|asked| !lost.is_undelivered(asked)) {
            // Whose mail is still to go out may decide.
            let sent = Asked::load(self.rows, &round.incident_id, round.run, round.round, asked).await?;
            left += usize::from(sent.is_none_or(|sent| sent.refused.is_none()));
        }
        let unchanged = match round.undelivered.as_slice() {
            [] => Condition::Lacks("undelivered"),
            known => Condition::Is("undelivered", json!(known)),
        };
        let key = Round::key(&round.incident_id, round.run, round.round);
        if left > 0 {
            let write = Write::set(key, &json!({"undelivered": lost.undelivered}))?;
            return Ok(vec![write.only_if(Condition::Is("state", OPEN.into())).only_if(unchanged)]);
        }
        let mut writes = decision::silence(round, self.entropy, NOBODY, now)?;
        for write in writes.iter_mut().filter(|write| write.key == key) {
            if let Change::Set { set, .. } = &mut write.change {
                set.insert("undelivered".to_owned(), json!(round.asked));
            }
            write.conditions.push(unchanged.clone());
        }
        Ok(writes)
    }

    /// Tells the others while the round is open; where it reached nobody, wakes the execution, which asks the next level.
    async fn follow(
        &self,
        machines: &impl Machines,
        report: &Report,
        address: &str,
        noted: &mut Noted,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let Some(round) = report.load(self.rows).await? else { return Ok(()) };
        if round.state == OPEN {
            return self.tell_unreached(&round, report.why, address, now).await;
        }
        let is_due = round.state == DECIDED && round.due_kind.as_deref() == Some(DUE_WAKE);
        if is_due && round.is_unreached() {
            noted.ended += 1;
            // What fails from here on is done by the next sweep.
            let key = Round::key(&round.incident_id, round.run, round.round);
            if let Some(row) = self.rows.get(&key).await? {
                noted.woken += usize::from(self.wake(machines, &row, now).await? == Done::Woken);
            }
        }
        Ok(())
    }

    async fn tell_unreached(&self, round: &Round, why: Why, address: &str, now: Timestamp) -> Result<(), Fault> {
        let Some((brief, others)) = self.told(round, address, now).await? else { return Ok(()) };
        let unreached = Unreached { address, why: why.words(), is_final: why.is_final() };
        let who: String = canonical::sha256_hex(address.to_ascii_lowercase().as_bytes()).chars().take(12).collect();
        let what = format!("undelivered-{}-{who}", why.as_str());
        self.tell(round, &what, &others, now, |to| mail::undelivered(to, &brief, &unreached)).await
    }
}
