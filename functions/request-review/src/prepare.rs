//! The prepare: opens the round once, and mails everybody who is asked.

use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessment, Route},
    audit::{Entry, Event},
    brief::{Brief, Surroundings},
    bundle::Bundle,
    canonical,
    decision::{
        self, Asking, Asks, Audience, Choice, DECIDED, DUE_DEADLINE, DUE_WAKE, Decision, OPEN, Question, Round,
    },
    incident::{Incident, IncidentStatus, Run},
    mail, notice,
    ports::{Clock, Entropy, Evidence, Machines, Outbox},
    rows::{Commit, Condition, Row, Rows, Write},
};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::{Output, World, effect};

pub async fn prepare(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    id: IncidentId,
    run: u32,
    round: u32,
    asks: Option<Value>,
) -> Result<Output, Fault> {
    let now = world.clock.now();
    let asks = asks.map(read).transpose()?;
    let shown = Shown::load(world.evidence, world.rows, &id, run).await?;
    let row = match Round::load(world.rows, &id, run, round).await? {
        Some(row) => row,
        None => open(world, &shown, (&id, run, round), asks, now).await?,
    };
    tell_escalated(world, &shown.assessment, round, now).await?;
    let mut sent = 0;
    if row.state == OPEN {
        sent = ask(world, &shown.assessment, &row, now).await?;
    }
    let asked = row.asked.len();
    info!(stage = "request-review", incident.id = %id, run, round, state = row.state, asked, sent, "asked for a decision");
    Ok(Output::Asked { round, asked })
}

/// What an author has drawn; he is told what is wrong with it, and where.
fn read(asks: Value) -> Result<Asks, Fault> {
    let asks: Asks = serde_json::from_value(asks)
        .map_err(|error| Fault::Rejected(format!("the question of PrepareReview cannot be read: {error}")))?;
    asks.check()?;
    Ok(asks)
}

/// What the round shows.
struct Shown {
    assessment: Assessment,
    sha256: String,
}

impl Shown {
    async fn load(evidence: &impl Evidence, rows: &impl Rows, id: &IncidentId, run: u32) -> Result<Self, Fault> {
        let document = Run::load(rows, id, run).await?.assessment;
        let document = document.ok_or_else(|| Fault::Rejected(format!("run {run} of {id} has no assessment")))?;
        let bytes = evidence.fetch(&document).await?;
        let assessment = serde_json::from_slice(&bytes)
            .map_err(|error| Fault::Rejected(format!("assessment of {id} cannot be read: {error}")))?;
        Ok(Self { assessment, sha256: canonical::sha256_hex(&bytes) })
    }

    fn question(&self, asks: Option<&Asks>) -> Question {
        match self.assessment.route {
            _ if asks.is_some_and(Asks::is_manual) => Question::Manual,
            Route::Review => Question::ApprovePlan,
            _ => Question::NeedsData,
        }
    }

    /// Who is asked by policy, or by the author.
    fn audience(
        &self,
        bundle: &Bundle,
        asks: Option<&Asks>,
        (round, signs_in): (u32, bool),
        now: Timestamp,
    ) -> Audience {
        let plan = &self.assessment.plan;
        let mut targets: Vec<&str> = plan.open().map(|entry| entry.target.as_str()).collect();
        targets.dedup();
        let is_many = plan.open().filter(|entry| entry.ticked).count() > bundle.policy.review.alone_max;
        let asking = Asking {
            participants: &self.assessment.participants,
            severity: self.assessment.severity,
            // Two mailboxes are no two people.
            takes_two: signs_in && (is_many || plan.open().any(|entry| entry.second.is_some())),
            targets,
            wanted: asks.and_then(|asks| asks.audience.as_ref()),
            now,
        };
        decision::audience(&bundle.policy, &asking, round)
    }
}

/// Writes the round, once: whoever comes second keeps what is there, with its deadline and its decision.
async fn open(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    shown: &Shown,
    (id, run, round): (&IncidentId, u32, u32),
    asks: Option<Asks>,
    now: Timestamp,
) -> Result<Round, Fault> {
    let incident = Incident::load(world.rows, id).await?;
    let bundle = Bundle::load(world.evidence, &incident.config_digest, world.account).await?;
    let question = shown.question(asks.as_ref());
    let assessment = &shown.assessment;
    let inherited = match question {
        Question::Manual => None,
        _ => inherit(world.rows, id, run, question, &assessment.plan_digest).await?,
    };
    let audience = shown.audience(&bundle, asks.as_ref(), (round, world.settings.signs_in), now);
    let by_policy = bundle.policy.deadline_minutes(assessment.severity);
    let minutes = i64::from(asks.as_ref().and_then(|asks| asks.deadline_minutes).unwrap_or(by_policy));
    let (remind_at, deadline) = (now.plus_ms(minutes * 30_000), now.plus_minutes(minutes));
    let mut row = Round {
        schema: Round::SCHEMA.to_owned(),
        incident_id: id.clone(),
        run,
        round,
        question,
        severity: assessment.severity,
        state: OPEN.to_owned(),
        opened_at: Some(now),
        remind_at: Some(remind_at),
        reminded: false,
        deadline,
        asked: audience.asked,
        skipped: audience.skipped,
        away: audience.away,
        undelivered: vec![],
        last: audience.last,
        asks,
        sign_in: world.settings.signs_in,
        alone_max: bundle.policy.review.alone_max,
        votes: Some(0),
        shown_digest: String::new(),
        plan_digest: assessment.plan_digest.clone(),
        task_token: None,
        due_kind: Some(DUE_DEADLINE.to_owned()),
        // The row has one time at which `sweep` looks: half time comes first.
        due_at: Some(remind_at),
    };
    row.shown_digest = decision::shown_digest(id, run, &row, &shown.sha256)?;
    if row.asked.is_empty() && inherited.is_none() {
        // Waiting for nobody would end in silence: the machine fails on it, and the alarm topic is told.
        let why = match (&row.asks, round) {
            (Some(asks), _) if asks.audience.is_some() => "the audience of the question names nobody who may",
            (_, 1) => "every approver's mailbox is part of the incident",
            _ => "the policy has no further level in which somebody may",
        };
        return Err(Fault::Rejected(format!("nobody is left who may decide round {round}: {why}")));
    }

    let mut writes = vec![];
    let mut audited = Entry {
        shown_digest: row.shown_digest.clone(),
        plan_digest: row.plan_digest.clone(),
        ..Entry::of((id, run, round), Event::Asked, now)
    };
    if let Some(earlier) = inherited {
        DECIDED.clone_into(&mut row.state);
        row.asked = vec![];
        row.due_kind = Some(DUE_WAKE.to_owned());
        row.due_at = Some(now);
        let decision = Decision { shown_digest: row.shown_digest.clone(), ..earlier };
        audited.event = Event::Decided;
        audited.who.clone_from(&decision.by);
        audited.authenticated_by.clone_from(&decision.authenticated_by);
        decision.choice.as_str().clone_into(&mut audited.choice);
        audited.indicators.clone_from(&decision.indicators);
        writes.push(Write::put(Decision::key(id, run, round), &decision)?.only_if(Condition::Absent));
    } else {
        audited.detail = asked(&row);
        let waiting = json!({ "status": IncidentStatus::Waiting, "updated_at": now });
        writes.push(Write::set(Incident::key(id), &waiting)?.only_if(Condition::Is("run", run.into())));
    }
    writes.push(Write::put(Round::key(id, run, round), &row)?.only_if(Condition::Absent));
    writes.push(audited.write(world.entropy)?);
    match world.rows.commit(&writes).await? {
        Commit::Done => Ok(row),
        Commit::Conflict => Round::load(world.rows, id, run, round)
            .await?
            .ok_or_else(|| Fault::Rejected(format!("run {run} of {id} is not the current one"))),
    }
}

/// Who was asked and who was not, for the audit.
fn asked(round: &Round) -> String {
    let parts = [("asked", &round.asked), ("part of the incident", &round.skipped), ("away", &round.away)];
    let named = parts.into_iter().filter(|(_, people)| !people.is_empty());
    named.map(|(what, people)| format!("{what}: {}", people.join(" "))).collect::<Vec<_>>().join("; ")
}

/// Tells whoever was asked before that somebody handed the question on; whoever did knows.
async fn tell_escalated(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    assessment: &Assessment,
    round: u32,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(before) = round.checked_sub(1).filter(|before| *before > 0) else { return Ok(()) };
    let (id, run) = (&assessment.incident_id, assessment.run);
    let Some(earlier) = Round::load(world.rows, id, run, before).await? else { return Ok(()) };
    let Some(decision) = Decision::load(world.rows, id, run, before).await? else { return Ok(()) };
    if decision.choice != Choice::Escalated {
        return Ok(());
    }
    for address in earlier.asked.iter().filter(|address| !address.eq_ignore_ascii_case(&decision.by)) {
        let mail = mail::decided(address, assessment, before, &decision, "")?;
        let told =
            notice::send_once(world.rows, world.outbox, world.entropy, (id, run, before, "escalated"), &mail, now);
        match told.await {
            Ok(_) => {}
            // Who cannot be told keeps nobody from being asked.
            Err(fault) => {
                error!(stage = "request-review", incident.id = %id, fault = fault.name(), "not told: {fault}");
            }
        }
    }
    Ok(())
}

/// The decision of an earlier run on the same question and an equal plan.
async fn inherit(
    rows: &impl Rows,
    id: &IncidentId,
    run: u32,
    question: Question,
    plan_digest: &str,
) -> Result<Option<Decision>, Fault> {
    let mut latest: Option<(Decision, u32, u32)> = None;
    for row in rows.list(&format!("incident#{id}"), "decision#").await? {
        let mut numbers = row.key.sk.split('#').skip(1).map(str::parse::<u32>);
        let (Some(Ok(in_run)), Some(Ok(in_round))) = (numbers.next(), numbers.next()) else { continue };
        let decision: Decision = Row::read(&row)?;
        let is_of_a_person = decision.choice.settles();
        if in_run < run && is_of_a_person && latest.as_ref().is_none_or(|(known, ..)| known.at <= decision.at) {
            latest = Some((decision, in_run, in_round));
        }
    }
    let Some((decision, in_run, in_round)) = latest else { return Ok(None) };
    let asked = Round::load(rows, id, in_run, in_round).await?.map(|round| round.question);
    let is_lasting = matches!(decision.choice, Choice::Approved | Choice::Rejected);
    let is_same = asked == Some(question) && decision.plan_digest == plan_digest;
    Ok((is_lasting && is_same).then(|| Decision { authenticated_by: "inherited".to_owned(), ..decision }))
}

/// Mails everybody who has not been mailed yet; says how many mails went out.
async fn ask(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    assessment: &Assessment,
    round: &Round,
    now: Timestamp,
) -> Result<usize, Fault> {
    let around = Surroundings::load(world.rows, assessment, round.round).await?;
    let brief = Brief::of(assessment, round, &around, now);
    let base = world.settings.public_base_url.trim_end_matches('/');
    let id = &round.incident_id;
    let mut sent = 0;
    let mut refused = 0;
    let mut failed = None;
    for approver in &round.asked {
        let Some(claim) = effect::claim(world.rows, world.entropy, round, approver, now).await? else { continue };
        if claim.attempts > 1 {
            let attempts = claim.attempts;
            warn!(stage = "request-review", incident.id = %id, attempts, "a mail was not confirmed and is sent again");
        }
        let others: Vec<String> = round.asked.iter().filter(|other| *other != approver).cloned().collect();
        let link = format!("{base}/r/{}", claim.secret.reveal());
        match world.outbox.send(&mail::request(approver, &brief, &link, &others)?).await {
            Ok(mail_id) => {
                effect::complete(world.rows, &claim, &mail_id).await?;
                sent += 1;
            }
            Err(fault @ Fault::Rejected(_)) => {
                refused += 1;
                effect::refuse(world.rows, &claim, &fault.to_string()).await?;
                error!(stage = "request-review", incident.id = %id, fault = fault.name(), "a mail was refused for good");
            }
            // The stage fails, but the others are asked first.
            Err(fault) => failed = Some(fault),
        }
    }
    if refused > 0 && refused == round.asked.len() {
        return Err(Fault::Rejected("the mail service refuses everybody who could decide".to_owned()));
    }
    failed.map_or(Ok(sent), Err)
}
