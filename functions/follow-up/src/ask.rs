//! A lookup is tried again: asked, or asked for its result.

use std::time::Duration;

use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    cache::{Leases, Quotas, Verdicts},
    incident::Incident,
    outcome::PENDING_SUBMITTED,
    pending::PendingLookup,
    ports::{Clock, Egress, Evidence, Machines, Queue, Secrets},
    rows::{Commit, Rows, Write},
};
use sources::{AskOne, AskedOne, Payer, list::Lists};
use tokio::time::Instant;
use tracing::info;

use crate::{Call, Followed, World, late, row};

/// A provider that fails is left alone for at least so long.
const FAILED_SECONDS: i64 = 300;

/// A provider that asked us to wait, or about which somebody else is asking, at least so long.
const ASKED_SECONDS: i64 = 30;

impl<R, E, V, Q, S, C, G, L, U, M> World<'_, R, E, V, Q, S, C, G, L, U, M>
where
    R: Rows,
    E: Evidence,
    V: Verdicts + Leases,
    Q: Quotas,
    S: Secrets,
    C: Clock,
    G: Egress,
    L: Lists,
    U: Queue,
    M: Machines,
{
    /// Asks, and does with the answer what the incident needs; without one the lookup is put off or given up.
    pub(crate) async fn try_again(
        &self,
        call: Call<'_>,
        deadline: Instant,
        message_id: &str,
        lookup: &PendingLookup,
    ) -> Result<Followed, Fault> {
        if let Some(outcome) = &lookup.outcome {
            let now = self.sources.clock.now();
            return late::arrived(
                self.rows,
                self.evidence,
                self.machines,
                self.queue,
                (lookup, outcome),
                call.account,
                now,
            )
            .await;
        }
        let asked = self.ask(call, deadline, message_id, lookup).await?;
        let now = self.sources.clock.now();
        let Some(AskedOne { outcome, postponed }) = asked else {
            // The provider is not of the incident's configuration: nobody to ask.
            let _: Commit = self.rows.commit(&[Write::delete(lookup.own_key())]).await?;
            return Ok(Followed::Over);
        };
        let mut next = lookup.clone();
        let try_at = match postponed {
            Some(postponed) => {
                next.reason = postponed.reason;
                next.task = postponed.task;
                let named_exactly = matches!(next.reason.as_str(), "quota" | PENDING_SUBMITTED);
                let patience = if named_exactly { 0 } else { row::patience_ms(lookup, ASKED_SECONDS, now) };
                postponed.try_at.max(now.plus_ms(patience))
            }
            None if sources::may_pass(&outcome) && lookup.give_up_at > now => {
                now.plus_ms(row::patience_ms(lookup, FAILED_SECONDS, now))
            }
            None => {
                info!(
                    incident.id = %lookup.incident_id,
                    provider.id = %lookup.provider,
                    outcome = outcome.outcome.as_str(),
                    reason = outcome.reason.as_deref(),
                    "a lookup that was put off has ended"
                );
                return late::arrived(
                    self.rows,
                    self.evidence,
                    self.machines,
                    self.queue,
                    (lookup, &outcome),
                    call.account,
                    now,
                )
                .await;
            }
        };
        // The last try is at the very end.
        let try_at = if lookup.give_up_at > now { try_at.min(lookup.give_up_at) } else { try_at };
        row::put_off(self.rows, self.queue, lookup, next, try_at, now).await
    }

    async fn ask(
        &self,
        call: Call<'_>,
        deadline: Instant,
        message_id: &str,
        lookup: &PendingLookup,
    ) -> Result<Option<AskedOne>, Fault> {
        let Some(observable) = &lookup.observable else {
            return Err(Fault::Rejected(format!("the lookup at {} names no observable", lookup.provider)));
        };
        let incident = Incident::load(self.rows, &lookup.incident_id).await?;
        let bundle = Bundle::load(self.evidence, &incident.config_digest, call.account).await?;
        let deadline = deadline.min(Instant::now() + Duration::from_millis(bundle.policy.enrich.deadline_ms));
        let ask = AskOne {
            bundle: &bundle,
            observable,
            provider: &lookup.provider,
            task: lookup.task.as_deref(),
            owner: format!("{}-{message_id}", call.request_id),
            deadline,
            payer: Payer::of(&incident, lookup.run, &bundle.policy.enrich.budget, (1, 1)),
            is_last: is_last(lookup, self.sources.clock.now()),
        };
        sources::ask_one(&self.sources, ask).await
    }
}

fn is_last(lookup: &PendingLookup, now: Timestamp) -> bool {
    now >= lookup.give_up_at
}
