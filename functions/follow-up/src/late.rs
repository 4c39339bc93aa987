//! A late answer: it is in the cache; what it means for the incident depends on where that stands.

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    case,
    incident::{Incident, IncidentStatus},
    outcome::{Judgement, Outcome},
    pending::PendingLookup,
    ports::{Evidence, Machines, Queue},
    receipt::Receipt,
    rows::{Commit, Condition, Row, Rows, Write},
    verdict::{Facts, PersonDecision, Verdict},
    waking,
};

use crate::{Followed, finish_opening, row};

/// So often late evidence opens an incident again; after that a person has to.
pub const REOPENED_MAX: u32 = 3;

/// While an incident is worked on, its late answers are looked at again after at least so long.
const OPEN_SECONDS: i64 = 300;

/// How long a lookup waits that lost a race for the incident.
const RACE_MS: i64 = 30_000;

/// Does with an outcome what the incident needs: nothing where the run is an older one or the verdict stays what it is; the
/// next run, once, where it changes. While a person is deciding, the answer waits on the row.
pub async fn arrived(
    rows: &impl Rows,
    evidence: &impl Evidence,
    machines: &impl Machines,
    queue: &impl Queue,
    (lookup, outcome): (&PendingLookup, &Outcome),
    account: &str,
    now: Timestamp,
) -> Result<Followed, Fault> {
    let incident = Incident::load(rows, &lookup.incident_id).await?;
    if incident.run > lookup.run {
        // The next run asks for itself, and finds the answer in the cache.
        let is_started = finish_opening(rows, machines, &incident, now).await?;
        let followed = row::end(rows, lookup, outcome, now).await?;
        return Ok(if is_started { Followed::Reopened(incident.run) } else { followed });
    }
    if !outcome.outcome.is_answered() {
        return row::end(rows, lookup, outcome, now).await;
    }
    match incident.status {
        IncidentStatus::Open | IncidentStatus::Waiting => {
            let mut next = lookup.clone();
            next.outcome = Some(outcome.clone());
            let try_at = now.plus_ms(row::patience_ms(lookup, OPEN_SECONDS, now));
            row::put_off(rows, queue, lookup, next, try_at, now).await
        }
        IncidentStatus::Attached => row::end(rows, lookup, outcome, now).await,
        IncidentStatus::Closed | IncidentStatus::Provisional | IncidentStatus::Failed => {
            if !changes_verdict(rows, evidence, (lookup, outcome), (&incident, account), now).await? {
                return row::end(rows, lookup, outcome, now).await;
            }
            reopen(rows, machines, queue, (lookup, outcome), &incident, now).await
        }
    }
}

/// Opens the next run. The commit holds only of the incident as it was read, so that five deliveries open one; the row goes
/// last, so that whoever is killed in between is followed by somebody who starts what was opened.
async fn reopen(
    rows: &impl Rows,
    machines: &impl Machines,
    queue: &impl Queue,
    (lookup, outcome): (&PendingLookup, &Outcome),
    incident: &Incident,
    now: Timestamp,
) -> Result<Followed, Fault> {
    let mut next = lookup.clone();
    next.outcome = Some(outcome.clone());
    if incident.reopened >= REOPENED_MAX {
        let why = format!("late answers have opened the incident {} times already", incident.reopened);
        return row::hold(rows, lookup, next, why).await;
    }
    let run = incident.run.saturating_add(1);
    let raised = waking::raising(incident, now)?
        .adding("reopened", 1)
        .only_if(Condition::Is("status", serde_json::json!(incident.status)));
    let mut writes = vec![raised];
    if let Some(late) = row::late(lookup, outcome, Some(run), now) {
        writes.push(Write::put(late.own_key(), &late)?);
    }
    if rows.commit(&writes).await? == Commit::Conflict {
        return row::put_off(rows, queue, lookup, next, now.plus_ms(RACE_MS), now).await;
    }
    let incident = Incident::load(rows, &lookup.incident_id).await?;
    finish_opening(rows, machines, &incident, now).await?;
    let _: Commit = rows.commit(&[Write::delete(lookup.own_key())]).await?;
    Ok(Followed::Reopened(run))
}

/// Whether the observable's verdict is another one with this outcome than without it. Both are reached now, by what people
/// have decided meanwhile: age alone, or a decision, opens nothing.
async fn changes_verdict(
    rows: &impl Rows,
    evidence: &impl Evidence,
    (lookup, outcome): (&PendingLookup, &Outcome),
    (incident, account): (&Incident, &str),
    now: Timestamp,
) -> Result<bool, Fault> {
    let Some(about) = &lookup.observable else { return Ok(false) };
    let Some(assessment) = Assessment::load(evidence, rows, &lookup.incident_id, lookup.run).await? else {
        return Ok(false);
    };
    let receipts = Receipt::parse(&evidence.fetch(&assessment.receipts).await?)?;
    let receipt = receipts.into_iter().find(|receipt| receipt.facts.observable.key() == about.key());
    let Some(Receipt { facts, .. }) = receipt else { return Ok(false) };
    let decision = rows.get(&PersonDecision::key(about)).await?;
    let before = Facts { decision: decision.as_ref().map(Row::read).transpose()?, ..facts };
    let mut after = before.clone();
    after.outcomes.retain(|known| known.provider != outcome.provider);
    after.outcomes.push(outcome.clone());
    // The receipt says how far those are trusted that had answered; the one that is late may not be among them.
    let bundle = Bundle::load(evidence, &incident.config_digest, account).await?;
    let [before, after] = [before, after].map(|facts| case::under(&bundle, &incident.source, facts));
    Ok(class(&before, now) != class(&after, now))
}

/// What an incident is routed by.
fn class(facts: &Facts, now: Timestamp) -> (Judgement, bool) {
    let verdict = Verdict::reach(facts, now);
    (verdict.verdict, verdict.is_contradiction())
}
