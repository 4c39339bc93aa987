//! A notice: a mail that tells somebody what has happened, once per incident, run, round and person; and where the mail
//! lies that asked the person.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Fault, IncidentId, Timestamp, canonical,
    ports::{About, Entropy, Mail, Outbox},
    rows::{Commit, Condition, Key, Row, Rows, Write},
};

/// A notice as an effect (`effect/1`): `incident#<id>` / `effect#<run>#<round>#<what>#<sha256 of the address>`.
#[derive(Debug, Serialize, Deserialize)]
struct Effect {
    schema: String,
    /// Who is sending: of two at once only one goes on.
    owner: String,
    claimed_at: Timestamp,
    #[serde(default)]
    mail_id: Option<String>,
}

/// Where the effect lies of a mail of this sort to this address.
#[must_use]
pub fn effect_key(id: &IncidentId, run: u32, round: u32, what: &str, address: &str) -> Key {
    let to = canonical::sha256_hex(address.to_ascii_lowercase().as_bytes());
    Key::new(format!("incident#{id}"), format!("effect#{run}#{round}#{what}#{to}"))
}

/// The sort of the mails that ask, in the keys of their effects.
pub const QUESTION: &str = "mail";

/// The mail that asked a person, as the record has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// What the mail service called it; absent until it has taken it.
    #[serde(default)]
    pub mail_id: Option<String>,
    /// Why the mail service refused it for good.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Asked {
    /// Reads it; `None` where nobody has begun to mail.
    pub async fn load(
        rows: &impl Rows,
        id: &IncidentId,
        run: u32,
        round: u32,
        address: &str,
    ) -> Result<Option<Self>, Fault> {
        rows.get(&effect_key(id, run, round, QUESTION, address)).await?.as_ref().map(Row::read).transpose()
    }
}

/// What the mail service called the mail that asked this person at last, up to this round of the run.
pub async fn followed(
    rows: &impl Rows,
    id: &IncidentId,
    run: u32,
    round: u32,
    address: &str,
) -> Result<Option<String>, Fault> {
    for round in (1..=round).rev() {
        if let Some(mail_id) = Asked::load(rows, id, run, round, address).await?.and_then(|asked| asked.mail_id) {
            return Ok(Some(mail_id));
        }
    }
    Ok(None)
}

/// Sends a notice unless it has been sent; true when it was sent now. It follows the mail that asked the person.
///
/// A notice that was claimed and not completed is sent again: the mail service cannot be asked whether it went out.
pub async fn send_once(
    rows: &impl Rows,
    outbox: &impl Outbox,
    entropy: &impl Entropy,
    of: (&IncidentId, u32, u32, &str),
    mail: &Mail,
    now: Timestamp,
) -> Result<bool, Fault> {
    let (id, run, round, what) = of;
    let key = effect_key(id, run, round, what, &mail.to);
    let known: Option<Effect> = rows.get(&key).await?.as_ref().map(Row::read).transpose()?;
    if known.as_ref().is_some_and(|effect| effect.mail_id.is_some()) {
        return Ok(false);
    }
    let mut random = [0; 16];
    entropy.fill(&mut random)?;
    let owner = HEXLOWER.encode(&random);
    let unchanged = known.map_or(Condition::Absent, |effect| Condition::Is("owner", effect.owner.into()));
    let effect = Effect { schema: "effect/1".to_owned(), owner: owner.clone(), claimed_at: now, mail_id: None };
    if rows.commit(&[Write::put(key.clone(), &effect)?.only_if(unchanged)]).await? == Commit::Conflict {
        return Ok(false);
    }
    let about = About { incident_id: id.to_string(), run, round, what: what.to_owned() };
    let follows = followed(rows, id, run, round, &mail.to).await?;
    let mail_id = outbox.send(&Mail { follows, about, ..mail.clone() }).await?;
    let done = Write::set(key, &json!({"mail_id": mail_id}))?.only_if(Condition::Is("owner", owner.into()));
    // A conflict means that somebody took the notice over: that one completes it.
    let _: Commit = rows.commit(&[done]).await?;
    Ok(true)
}
