//! Telling: everyone who was asked by mail, everyone else by the incident's tickets.

use std::collections::BTreeSet;

use playbook::{
    Fault, Timestamp,
    assessment::Assessment,
    bundle::Bundle,
    decision::{Choice, Decision},
    incident::Refused,
    mail, notice,
    plan::Entry,
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox, Secrets},
    rows::Rows,
    ticket::{Story, Text},
};
use targets::ticket;
use tracing::error;

use crate::{Closing, World};

/// Everyone who was asked in any round of the run is told what was decided, once. A mail that cannot be sent does not keep
/// the incident open.
pub async fn by_mail(
    rows: &impl Rows,
    outbox: &impl Outbox,
    entropy: &impl Entropy,
    closing: &Closing,
    now: Timestamp,
) {
    let (Some(assessment), Some(decision)) = (&closing.assessment, &closing.decision) else { return };
    if decision.choice == Choice::TimedOut {
        // `sweep` has told everybody when the round ended.
        return;
    }
    // Whose mail came back for good is not written to again.
    let reached = closing.rounds.iter().flat_map(|round| round.asked.iter().filter(|to| !round.is_undelivered(to)));
    let asked: BTreeSet<&str> = reached.map(String::as_str).collect();
    let last = closing.rounds.last().map_or(1, |round| round.round);
    let result = result(assessment, decision, &closing.refused);
    for address in asked {
        let of = (&assessment.incident_id, assessment.run, last, "decided");
        let sent = match mail::decided(address, assessment, last, decision, &result) {
            Ok(mail) => notice::send_once(rows, outbox, entropy, of, &mail, now).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            error!(incident.id = %assessment.incident_id, fault = fault.name(), "decision not told: {fault}");
        }
    }
}

/// The incident's tickets say how it ended, and are closed where it is over.
pub async fn by_ticket(
    world: &World<
        '_,
        impl Evidence,
        impl Rows,
        impl Machines,
        impl Outbox,
        impl Clock,
        impl Entropy,
        impl Secrets,
        impl Egress,
    >,
    bundle: &Bundle,
    closing: &Closing,
) -> Result<(), Fault> {
    let decided = match (&closing.assessment, &closing.decision) {
        (Some(assessment), Some(decision)) => Some(result(assessment, decision, &closing.refused)),
        _ => None,
    };
    let parents = ticket::parents(world.rows, &closing.incident).await?;
    let text = Text::of(&Story {
        incident: &closing.incident,
        assessment: closing.assessment.as_ref(),
        decision: closing.decision.as_ref(),
        result: decided.as_deref().or(closing.ending.sentence()),
        failure: None,
        parents: &parents,
    });
    let World { rows, secrets, clock, entropy, egress, .. } = *world;
    let world = ticket::World { rows, clock, egress, secrets, entropy };
    ticket::reach(&world, bundle, &text, closing.ending.aim).await?;
    Ok(())
}

/// What became of the decision, in a sentence.
fn result(assessment: &Assessment, decision: &Decision, refused: &[Refused]) -> String {
    match decision.choice {
        Choice::Approved => {
            let approved: BTreeSet<&str> = decision.indicators.iter().map(String::as_str).collect();
            let asked: Vec<&Entry> = assessment.plan.entries.iter().filter(|entry| entry.asks()).collect();
            // The run also keeps what was to be recorded and was refused; nobody has approved that.
            let is_refused = |entry: &&&Entry| {
                let key = entry.observable.key();
                entry.refused.is_some() || refused.iter().any(|r| r.observable == key && r.target == entry.target)
            };
            let is_approved = |entry: &&&Entry| approved.contains(entry.observable.key().as_str());
            let (refused, written): (Vec<&&Entry>, Vec<&&Entry>) =
                asked.iter().filter(is_approved).partition(is_refused);
            let rest = if refused.is_empty() {
                String::new()
            } else {
                format!(
                    "; {} approved ones were refused: by a cap, the guard or their target, or because one person is not enough",
                    refused.len()
                )
            };
            format!("{} of {} entries were enforced; each expires by itself{rest}", written.len(), asked.len())
        }
        Choice::Rejected => "nothing is enforced, and what this incident wrote has been released".to_owned(),
        Choice::Acknowledged => "the incident is closed as unknown; nothing is enforced".to_owned(),
        Choice::LookAgain => "the sources are asked again".to_owned(),
        Choice::Escalated | Choice::Answered => String::new(),
        Choice::TimedOut => "nothing more is enforced, and what was written runs to its own expiry".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use playbook::{brief::sample, decision::Question};

    use super::*;

    #[test]
    fn what_was_enforced_counts_the_approved_entries_that_their_targets_took() {
        let assessment = sample::assessment().unwrap();
        let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
        let entry = &assessment.plan.entries[0];
        let mut decision: Decision = serde_json::from_value(serde_json::json!({
            "schema": Decision::SCHEMA, "choice": "approved", "last": true, "by": sample::APPROVER,
            "authenticated_by": "mailbox", "at": sample::ASSESSED_AT, "from": "", "reason": "", "shown_digest": "",
            "plan_digest": round.plan_digest, "indicators": [entry.observable.key()],
        }))
        .unwrap();
        let refused = |target: &str| {
            [Refused { observable: entry.observable.key(), target: target.to_owned(), reason: "full".to_owned() }]
        };
        let check = |decision: &Decision, refused: &[Refused], expected: &str| {
            assert_eq!(result(&assessment, decision, refused), expected);
        };
        check(&decision, &[], "1 of 3 entries were enforced; each expires by itself");
        // What was to be recorded and was refused is no block that is missing.
        check(&decision, &refused("misp"), "1 of 3 entries were enforced; each expires by itself");
        let rest =
            "; 1 approved ones were refused: by a cap, the guard or their target, or because one person is not enough";
        let expected = format!("0 of 3 entries were enforced; each expires by itself{rest}");
        check(&decision, &refused(&entry.target), &expected);
        // A guarded entry is refused by the plan already.
        decision.indicators.push(assessment.plan.entries[2].observable.key());
        let expected = format!("1 of 3 entries were enforced; each expires by itself{rest}");
        check(&decision, &[], &expected);
    }
}
