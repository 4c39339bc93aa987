//! `close`: records how it ended, closes the incident and tells everybody who was asked.

use std::collections::BTreeSet;

use playbook::{
    Fault, IncidentId, Timestamp,
    assessment::{Assessment, Route},
    decision::{Choice, Decision, Round},
    incident::{Incident, IncidentStatus, Run},
    mail, notice,
    outcome::Judgement,
    ports::{Clock, Entropy, Evidence, Machines, Outbox},
    rows::{Commit, Condition, Rows, Write},
    verdict::PersonDecision,
    waking,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, info};

/// From any branch of the machine. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
}

/// How it ended.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Output {
    /// `closed` or `provisional`; `open` when the next run was started.
    pub status: IncidentStatus,
    /// One word, as in the incident's row.
    pub result: &'static str,
}

/// Closes the incident by its decision row, or by its route when nobody was asked. Safe to run again.
pub async fn run(
    evidence: &impl Evidence,
    rows: &impl Rows,
    machines: &impl Machines,
    outbox: &impl Outbox,
    (clock, entropy): (&impl Clock, &impl Entropy),
    input: Input,
) -> Result<Output, Fault> {
    let now = clock.now();
    let incident = Incident::load(rows, &input.incident_id).await?;
    let assessment = Assessment::load(evidence, rows, &input.incident_id, input.run).await?;
    let rounds = rounds(rows, &input).await?;
    let decision = match rounds.last() {
        Some(round) => Decision::load(rows, &input.incident_id, input.run, round.round).await?,
        None => None,
    };
    let (status, result) = ending(incident.route.as_deref(), assessment.as_ref(), decision.as_ref());
    let refused = Run::load(rows, &input.incident_id, input.run).await?.refused.len();
    if let (Some(assessment), Some(decision)) = (&assessment, &decision) {
        remember(rows, assessment, decision).await?;
        tell(rows, outbox, entropy, (&rounds, assessment, decision, refused), now).await;
    }
    if result == "look_again" {
        look_again(rows, machines, &incident, input.run, now).await?;
        return Ok(Output { status, result });
    }
    let ended = json!({"status": status, "result": result, "updated_at": now});
    let write = Write::set(Incident::key(&incident.incident_id), &ended)?
        .only_if(Condition::Is("run", input.run.into()))
        .removing(&["failure"]);
    if rows.commit(&[write]).await? == Commit::Conflict {
        return Err(Fault::Rejected(format!(
            "run {} is no longer the current run of {}",
            input.run, input.incident_id
        )));
    }
    info!(incident.id = %input.incident_id, result, "closed");
    Ok(Output { status, result })
}

/// How an incident ends, in a word.
fn ending(
    route: Option<&str>,
    assessment: Option<&Assessment>,
    decision: Option<&Decision>,
) -> (IncidentStatus, &'static str) {
    match decision.map(|decision| decision.choice) {
        Some(Choice::Approved) => return (IncidentStatus::Closed, "enforced"),
        Some(Choice::Rejected) => return (IncidentStatus::Closed, "false_positive"),
        Some(Choice::Acknowledged) => return (IncidentStatus::Closed, "acknowledged"),
        Some(Choice::LookAgain) => return (IncidentStatus::Open, "look_again"),
        Some(Choice::TimedOut) => return (IncidentStatus::Closed, "timed_out"),
        None => {}
    }
    match (route, assessment) {
        (_, None) => (IncidentStatus::Closed, "no_observables"),
        (Some(word), _) if word == Route::Provisional.as_str() => (IncidentStatus::Provisional, "provisional"),
        (Some(word), _) if word == Route::Watch.as_str() => (IncidentStatus::Closed, "watched"),
        // The backstop of the await: a person was to decide, and nobody has.
        (Some(word), _) if word == Route::Review.as_str() || word == Route::NeedsData.as_str() => {
            (IncidentStatus::Closed, "timed_out")
        }
        _ => (IncidentStatus::Closed, "not_malicious"),
    }
}

/// What a person decided rules for 90 days: approved indicators as malicious, a false positive's bad ones as benign.
async fn remember(rows: &impl Rows, assessment: &Assessment, decision: &Decision) -> Result<(), Fault> {
    let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
    for assessed in &assessment.observables {
        let observable = &assessed.sighted.observable;
        let verdict = match decision.choice {
            Choice::Approved if approved.contains(observable.key().as_str()) => Judgement::Malicious,
            Choice::Rejected if assessed.conclusion.is_bad() => Judgement::Benign,
            _ => continue,
        };
        let remembered = PersonDecision {
            verdict,
            by: decision.by.clone(),
            at: decision.at,
            expires_at: decision.at.plus_hours(24 * PersonDecision::DAYS),
        };
        let _: Commit = rows.commit(&[Write::put(PersonDecision::key(observable), &remembered)?]).await?;
    }
    Ok(())
}

/// Everyone who was asked is told what was decided. A mail that cannot be sent does not keep the incident open.
async fn tell(
    rows: &impl Rows,
    outbox: &impl Outbox,
    entropy: &impl Entropy,
    (rounds, assessment, decision, refused): (&[Round], &Assessment, &Decision, usize),
    now: Timestamp,
) {
    if decision.choice == Choice::TimedOut {
        // `sweep` has told everybody when the round ended.
        return;
    }
    let asked: BTreeSet<&str> = rounds.iter().flat_map(|round| round.asked.iter().map(String::as_str)).collect();
    let last = rounds.last().map_or(1, |round| round.round);
    for address in asked {
        let of = (&assessment.incident_id, assessment.run, last, "decided");
        let sent = match mail::decided(address, assessment, decision, &result(assessment, decision, refused)) {
            Ok(mail) => notice::send_once(rows, outbox, entropy, of, &mail, now).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            error!(incident.id = %assessment.incident_id, fault = fault.name(), "decision not told: {fault}");
        }
    }
}

fn result(assessment: &Assessment, decision: &Decision, refused: usize) -> String {
    match decision.choice {
        Choice::Approved => {
            let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
            let written = assessment.plan.open().filter(|entry| approved.contains(entry.observable.key().as_str()));
            let written = written.count().saturating_sub(refused);
            let planned = assessment.plan.entries.len();
            let rest = if refused > 0 {
                format!("; {refused} approved ones were refused by a cap or the guard")
            } else {
                String::new()
            };
            format!("{written} of {planned} entries were enforced; each expires by itself{rest}")
        }
        Choice::Rejected => "nothing is enforced, and what this incident wrote has been released".to_owned(),
        Choice::Acknowledged => "the incident is closed as unknown; nothing is enforced".to_owned(),
        Choice::LookAgain => "the sources are asked again".to_owned(),
        Choice::TimedOut => "nothing more is enforced".to_owned(),
    }
}

/// Opens and starts the next run. A second call finds the run raised already and only makes sure that it is started.
async fn look_again(
    rows: &impl Rows,
    machines: &impl Machines,
    incident: &Incident,
    run: u32,
    now: Timestamp,
) -> Result<(), Fault> {
    if incident.run == run {
        let _: Option<u32> = waking::raise_run(rows, incident, now).await?;
    }
    let incident = Incident::load(rows, &incident.incident_id).await?;
    if incident.started_at.is_none() {
        waking::start_run(rows, machines, &incident, now).await?;
    }
    info!(incident.id = %incident.incident_id, run = incident.run, "looks again");
    Ok(())
}

/// The rounds of this run, in order.
async fn rounds(rows: &impl Rows, input: &Input) -> Result<Vec<Round>, Fault> {
    let rows = rows.list(&format!("incident#{}", input.incident_id), &format!("round#{}#", input.run)).await?;
    let mut rounds = rows.iter().map(playbook::rows::Row::read).collect::<Result<Vec<Round>, Fault>>()?;
    rounds.sort_by_key(|round| round.round);
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(route: &str, choice: Option<Choice>, expected: (IncidentStatus, &str)) {
        let assessment: Assessment = playbook::brief::sample::assessment().unwrap();
        let decision = choice.map(|choice| Decision {
            schema: Decision::SCHEMA.to_owned(),
            choice,
            last: true,
            by: "ana@soc.example".to_owned(),
            authenticated_by: "mailbox".to_owned(),
            at: Timestamp::from_millis(0),
            from: String::new(),
            reason: String::new(),
            shown_digest: String::new(),
            plan_digest: String::new(),
            indicators: vec![],
        });
        assert_eq!(ending(Some(route), Some(&assessment), decision.as_ref()), expected, "{route} {choice:?}");
    }

    #[test]
    fn how_it_ended_is_one_word_and_the_decision_comes_before_the_route() {
        use IncidentStatus::{Closed, Open, Provisional};
        check("benign", None, (Closed, "not_malicious"));
        check("watch", None, (Closed, "watched"));
        check("review", None, (Closed, "timed_out"));
        check("provisional", None, (Provisional, "provisional"));
        check("review", Some(Choice::Approved), (Closed, "enforced"));
        check("review", Some(Choice::Rejected), (Closed, "false_positive"));
        check("review", Some(Choice::TimedOut), (Closed, "timed_out"));
        check("needs-data", Some(Choice::Acknowledged), (Closed, "acknowledged"));
        check("needs-data", Some(Choice::LookAgain), (Open, "look_again"));
        assert_eq!(ending(None, None, None), (Closed, "no_observables"));
    }
}
