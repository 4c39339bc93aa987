//! One mail to one person of a round: claimed before it is sent, completed after, so that a redelivery sends none twice.

use data_encoding::HEXLOWER;
use playbook::{
    Fault, Timestamp,
    decision::{Link, LinkSecret, Round},
    notice,
    ports::Entropy,
    rows::{Commit, Condition, Key, Row, Rows, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long a link finds its round after the deadline, for the receipt behind it.
const LINK_KEPT_HOURS: i64 = 30 * 24;

/// A mail as an effect (`effect/1`): `incident#<id>` / `effect#<run>#<round>#mail#<sha256 of the address>`.
#[derive(Debug, Serialize, Deserialize)]
struct Effect {
    schema: String,
    /// Who is sending.
    owner: String,
    /// How often it was claimed; above 1, a mail may have gone out unconfirmed.
    attempts: u32,
    claimed_at: Timestamp,
    /// What the mail service called it; absent until it has taken the mail.
    #[serde(default)]
    mail_id: Option<String>,
    /// Why the mail service refused it for good.
    #[serde(default)]
    refused: Option<String>,
}

/// The right to send one mail, with the link that goes into it.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    owner: String,
    /// The link's secret.
    pub secret: LinkSecret,
    /// How often this mail was claimed, this time included.
    pub attempts: u32,
}

/// Claims the mail to an approver and stores its link; `None` when the mail is done or somebody else is sending it.
///
/// A mail that was claimed and not completed cannot be looked up at the mail service: it is sent again, and counted.
pub async fn claim(
    rows: &impl Rows,
    entropy: &impl Entropy,
    round: &Round,
    approver: &str,
    now: Timestamp,
) -> Result<Option<Claim>, Fault> {
    let key = notice::effect_key(&round.incident_id, round.run, round.round, notice::QUESTION, approver);
    let known: Option<Effect> = rows.get(&key).await?.as_ref().map(Row::read).transpose()?;
    let attempts = match &known {
        Some(effect) if effect.mail_id.is_some() || effect.refused.is_some() => return Ok(None),
        Some(effect) => effect.attempts.saturating_add(1),
        None => 1,
    };

    let mut random = [0; 48];
    entropy.fill(&mut random)?;
    let [secret @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = &random;
    let secret = LinkSecret::new(secret);
    let owner = HEXLOWER.encode(random.get(32..).unwrap_or(&[]));

    let effect = Effect {
        schema: "effect/1".to_owned(),
        owner: owner.clone(),
        attempts,
        claimed_at: now,
        mail_id: None,
        refused: None,
    };
    let mut writes = vec![Write::put(key.clone(), &effect)?, link(round, approver, &secret)?];
    if let Some(claim) = writes.first_mut() {
        claim.conditions = match known {
            Some(before) => vec![Condition::Is("owner", before.owner.into()), Condition::Lacks("mail_id")],
            None => vec![Condition::Absent],
        };
    }
    match rows.commit(&writes).await? {
        Commit::Done => Ok(Some(Claim { key, owner, secret, attempts })),
        Commit::Conflict => Ok(None),
    }
}

fn link(round: &Round, approver: &str, secret: &LinkSecret) -> Result<Write, Fault> {
    let link = Link {
        schema: Link::SCHEMA.to_owned(),
        incident_id: round.incident_id.clone(),
        run: round.run,
        round: round.round,
        approver: approver.to_owned(),
        codes_sent: vec![],
        revision: 0,
        ttl: round.deadline.plus_hours(LINK_KEPT_HOURS).as_seconds(),
    };
    Ok(Write::put(Link::key(&secret.digest()), &link)?.only_if(Condition::Absent))
}

/// The mail is out.
pub async fn complete(rows: &impl Rows, claim: &Claim, mail_id: &str) -> Result<(), Fault> {
    finish(rows, claim, &json!({ "mail_id": mail_id })).await
}

/// The mail service will never take this mail.
pub async fn refuse(rows: &impl Rows, claim: &Claim, reason: &str) -> Result<(), Fault> {
    finish(rows, claim, &json!({ "refused": reason })).await
}

async fn finish(rows: &impl Rows, claim: &Claim, how: &serde_json::Value) -> Result<(), Fault> {
    let owner = Condition::Is("owner", claim.owner.as_str().into());
    // A conflict means that somebody took the claim over: that one completes it.
    let _ = rows.commit(&[Write::set(claim.key.clone(), how)?.only_if(owner)]).await?;
    Ok(())
}
