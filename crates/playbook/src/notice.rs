//! A notice: a mail that tells somebody what has happened, once per incident, run, round and person.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Fault, IncidentId, Timestamp, canonical,
    ports::{Entropy, Mail, Outbox},
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

/// Sends a notice unless it has been sent; true when it was sent now.
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
    let to = canonical::sha256_hex(mail.to.to_ascii_lowercase().as_bytes());
    let key = Key::new(format!("incident#{id}"), format!("effect#{run}#{round}#{what}#{to}"));
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
    let mail_id = outbox.send(mail).await?;
    let done = Write::set(key, &json!({"mail_id": mail_id}))?.only_if(Condition::Is("owner", owner.into()));
    // A conflict means that somebody took the notice over: that one completes it.
    let _: Commit = rows.commit(&[done]).await?;
    Ok(true)
}
