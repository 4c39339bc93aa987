//! One-time codes: mailed to the approver on request, good in the browser session that asked.

use http::{Request, Response, StatusCode};
use playbook::{
    Fault, Timestamp,
    audit::{Entry, Event},
    decision::Link,
    mail, notice,
    ports::{Clock, Egress, Entropy, Evidence, Machines, Mail, Outbox},
    rows::{Commit, Condition, Key, Row, Rows, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::info;

use crate::{
    Caller, World, answer,
    form::Form,
    gate::{self, Session},
    page::{Draft, Page},
    person,
    settings::Settings,
    visit::Visit,
};

const GOOD_FOR_MINUTES: i64 = 10;
const TRIES: u32 = 5;
const PAUSE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const CODES_AN_HOUR: usize = 5;

/// A one-time code (`code/1`): `link#<sha256>` / `code#<session digest>`. Only its HMAC is stored.
#[derive(Debug, Serialize, Deserialize)]
struct OneTimeCode {
    schema: String,
    mac: String,
    expires_at: Timestamp,
    tries: u32,
    ttl: i64,
}

/// What became of a code that a person typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is right; its HMAC, for the condition under which it is used up.
    Right(String),
    /// This session has asked for none.
    NotAsked,
    /// It is older than ten minutes.
    Expired,
    /// All tries of this session are used up.
    UsedUp,
    /// It is wrong; so many tries are left.
    Wrong(u32),
    /// Another try of the same session came at the same moment.
    Busy,
}

fn key(link_digest: &str, session: &Session) -> Key {
    Key::new(format!("link#{link_digest}"), format!("code#{}", session.digest()))
}

/// The write that uses a right code up. The row stays until its `ttl`, so that the page needs no right to delete.
pub fn use_up(link_digest: &str, session: &Session, mac: &str) -> Result<Write, Fault> {
    let used_up = Write::set(key(link_digest, session), &json!({ "tries": TRIES }))?;
    Ok(used_up.only_if(Condition::Is("mac", mac.into())))
}

/// Mails a code to the approver, if the person names the approver's address. The answer is the same if not, so that
/// neither a scanner nor a guess learns or uses up anything.
pub async fn ask(
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
    let identity = person::identity(request.headers(), world.settings, visit, now);
    let page = Page { visit, session: &session, identity: identity.as_ref(), settings: world.settings, now };
    if person::must_sign_in(world.settings, visit) {
        let problem = "Here people sign in: no code is mailed.".to_owned();
        return page.answer(StatusCode::UNPROCESSABLE_ENTITY, &Draft::problem(problem));
    }
    if let Some(seconds) = pause(&visit.link.codes_sent, now) {
        return page.answer(StatusCode::TOO_MANY_REQUESTS, &Draft::problem(limit(seconds)));
    }
    let is_approver = form.one("address").trim().eq_ignore_ascii_case(&visit.link.approver);
    if is_approver && !send(world, visit, &session, &caller(request), now).await? {
        return page.answer(StatusCode::TOO_MANY_REQUESTS, &Draft::problem(limit(PAUSE_MS / 1000)));
    }
    page.answer(
        StatusCode::OK,
        &Draft::notice(format!(
            "If this is the address that the link was sent to, a code is on its way. It is good for {GOOD_FOR_MINUTES} \
             minutes, in this browser only."
        )),
    )
}

fn limit(seconds: i64) -> String {
    format!(
        "A code is mailed at most once a minute and {CODES_AN_HOUR} times an hour. The next one can be asked for in \
         {seconds} seconds."
    )
}

/// Seconds until the next code may be mailed; `None` when it may be now.
fn pause(sent: &[Timestamp], now: Timestamp) -> Option<i64> {
    let recent: Vec<i64> = sent.iter().map(|at| now.ms_since(*at)).filter(|ago| *ago < HOUR_MS).collect();
    let since_last = recent.iter().copied().min();
    let of_the_minute = since_last.map_or(0, |ago| PAUSE_MS - ago);
    let of_the_hour = match recent.len() {
        ..CODES_AN_HOUR => 0,
        _ => recent.iter().copied().max().map_or(0, |ago| HOUR_MS - ago),
    };
    let wait_ms = of_the_minute.max(of_the_hour);
    (wait_ms > 0).then_some((wait_ms + 999) / 1000)
}

/// Stores and mails a code. False when another request was faster.
async fn send(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    session: &Session,
    asked_from: &str,
    now: Timestamp,
) -> Result<bool, Fault> {
    let code = six_digits(world.entropy)?;
    let expires_at = now.plus_minutes(GOOD_FOR_MINUTES);
    let row = OneTimeCode {
        schema: "code/1".to_owned(),
        mac: session.code_mac(world.settings, &visit.digest, &code),
        expires_at,
        tries: 0,
        ttl: expires_at.plus_hours(1).as_seconds(),
    };
    let mut sent: Vec<Timestamp> =
        visit.link.codes_sent.iter().copied().filter(|at| now.ms_since(*at) < HOUR_MS).collect();
    sent.push(now);
    let counted = json!({ "codes_sent": sent, "revision": visit.link.revision + 1 });
    let of = (&visit.link.incident_id, visit.link.run, visit.link.round);
    let audited = Entry {
        who: visit.link.approver.clone(),
        authenticated_by: "nobody".to_owned(),
        from: asked_from.to_owned(),
        ..Entry::of(of, Event::CodeMailed, now)
    };
    let writes = [
        Write::set(Link::key(&visit.digest), &counted)?.only_if(Condition::Is("revision", visit.link.revision.into())),
        Write::put(key(&visit.digest, session), &row)?,
        audited.write(world.entropy)?,
    ];
    if world.rows.commit(&writes).await? == Commit::Conflict {
        return Ok(false);
    }
    let Link { incident_id, run, round, approver, .. } = &visit.link;
    let follows = notice::followed(world.rows, incident_id, *run, *round, approver).await?;
    let code = mail::Code { round: *round, code: &code, expires_at, asked_from };
    world.outbox.send(&Mail { follows, ..mail::code(approver, &visit.assessment, &code)? }).await?;
    info!(stage = "review", incident.id = %visit.link.incident_id, "mailed a one-time code");
    Ok(true)
}

/// Compares what a person typed with the session's code. Every comparison costs a try first, so that tries at the same
/// moment do not share one.
pub async fn prove(
    rows: &impl Rows,
    settings: &Settings,
    visit: &Visit,
    session: &Session,
    typed: &str,
    now: Timestamp,
) -> Result<Proof, Fault> {
    let key = key(&visit.digest, session);
    let Some(row) = rows.get(&key).await? else { return Ok(Proof::NotAsked) };
    let code: OneTimeCode = Row::read(&row)?;
    if code.tries >= TRIES {
        return Ok(Proof::UsedUp);
    }
    if code.expires_at <= now {
        return Ok(Proof::Expired);
    }
    let spend = Write::set(key, &json!({ "tries": code.tries + 1 }))?
        .only_if(Condition::Is("mac", code.mac.as_str().into()))
        .only_if(Condition::Is("tries", code.tries.into()));
    if rows.commit(&[spend]).await? == Commit::Conflict {
        return Ok(Proof::Busy);
    }
    if gate::is_same(&code.mac, &session.code_mac(settings, &visit.digest, &plain(typed))) {
        return Ok(Proof::Right(code.mac));
    }
    match TRIES - code.tries - 1 {
        0 => Ok(Proof::UsedUp),
        left => Ok(Proof::Wrong(left)),
    }
}

/// Whether what was typed is this session's code, be it used up: for the record only, after there is nothing to decide.
pub async fn was_right(
    rows: &impl Rows,
    settings: &Settings,
    visit: &Visit,
    session: &Session,
    typed: &str,
) -> Result<bool, Fault> {
    let Some(row) = rows.get(&key(&visit.digest, session)).await? else { return Ok(false) };
    let code: OneTimeCode = Row::read(&row)?;
    Ok(gate::is_same(&code.mac, &session.code_mac(settings, &visit.digest, &plain(typed))))
}

/// A code as it is meant: without blanks.
fn plain(typed: &str) -> String {
    typed.chars().filter(|c| !c.is_whitespace()).take(16).collect()
}

/// Six digits, each code as likely as every other.
fn six_digits(entropy: &impl Entropy) -> Result<String, Fault> {
    // The largest multiple of a million in 32 bits: what lies above would make low codes likelier.
    const FAIR: u32 = 4_294_000_000;
    let mut random = [0; 64];
    entropy.fill(&mut random)?;
    let numbers = random.chunks_exact(4).filter_map(|four| four.try_into().ok().map(u32::from_be_bytes));
    let fair = numbers.into_iter().find(|number| *number < FAIR);
    let fair = fair.ok_or_else(|| Fault::Unavailable("randomness gave no fair code".to_owned()))?;
    Ok(format!("{:06}", fair % 1_000_000))
}

/// Address and browser of a request, for the audit; hostile text.
pub fn caller(request: &Request<Vec<u8>>) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let address = request.extensions().get::<Caller>().map_or("unknown address", |caller| caller.0.as_str());
    let browser: String = header("user-agent").chars().take(200).collect();
    if browser.is_empty() { address.to_owned() } else { format!("{address}, {browser}") }
}

#[cfg(test)]
mod tests {
    use playbook::fakes::CountingEntropy;

    use super::*;

    #[test]
    fn a_code_is_mailed_once_a_minute_and_five_times_an_hour() {
        let now = Timestamp::parse("2026-11-24T05:00:00Z").unwrap();
        let check = |seconds_ago: &[i64], expected| {
            let sent: Vec<_> = seconds_ago.iter().map(|ago| now.plus_ms(-ago * 1000)).collect();
            assert_eq!(pause(&sent, now), expected, "{seconds_ago:?}");
        };
        check(&[], None);
        check(&[0], Some(60));
        check(&[300, 23], Some(37));
        check(&[300, 60], None);
        check(&[3000, 2000, 1000, 500, 100], Some(600));
        check(&[3599, 2000, 1000, 500, 10], Some(50));
        check(&[3600, 2000, 1000, 500, 100], None);
    }

    #[test]
    fn codes_are_six_digits_and_differ() {
        let entropy = CountingEntropy::default();
        let codes: std::collections::BTreeSet<String> = (0..200).map(|_| six_digits(&entropy).unwrap()).collect();
        assert!(codes.len() > 195);
        assert!(codes.iter().all(|code| code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())));
    }
}
