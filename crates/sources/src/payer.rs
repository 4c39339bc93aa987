//! For whom providers are asked: what an incident may use of their quotas.

use playbook::{
    cache::{Claim, Share},
    incident::Incident,
    manifest::Limit,
    policy::Budget,
    severity::Severity,
};

/// The incident that lookups are made for.
#[derive(Clone, Debug)]
pub struct Payer<'a> {
    pub(crate) source: String,
    budget: &'a Budget,
    is_preferred: bool,
    /// Of the incident's observables, how many are asked about now.
    part: (usize, usize),
}

impl<'a> Payer<'a> {
    /// An incident, in this run; `part` observables of `all` are asked about at once.
    #[must_use]
    pub fn of(incident: &Incident, run: u32, budget: &'a Budget, (part, all): (usize, usize)) -> Self {
        Self {
            source: format!("{}#{}", incident.tenant, incident.source),
            budget,
            is_preferred: incident.severity == Severity::Critical || incident.asked_again == Some(run),
            part: (part, all.max(part).max(1)),
        }
    }

    /// What it may use of a provider's limits. The critical, and what a person asks for, have the reserve and are bound by no
    /// share.
    pub(crate) fn claim<'l>(&'l self, limits: &'l [Limit]) -> Claim<'l> {
        let Budget { reserve_percent, source_percent, .. } = *self.budget;
        let (source_percent, all_percent) =
            if self.is_preferred { (100, 100) } else { (source_percent, 100_u32.saturating_sub(reserve_percent)) };
        Claim { limits, share: Share { source: &self.source, source_percent, all_percent } }
    }

    /// The most lookups that it may make now at a provider with these limits: its chunk's part of what the incident may take.
    pub(crate) fn at_most(&self, limits: &[Limit]) -> usize {
        if self.is_preferred {
            return usize::MAX;
        }
        let Some(most) = self.claim(limits).at_most(self.budget.incident_percent) else { return usize::MAX };
        let (part, all) = self.part;
        let share = usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(part).div_ceil(all);
        share.max(1)
    }
}

#[cfg(test)]
mod tests {
    use playbook::manifest::LimitScope;
    use serde_json::json;

    use super::*;

    fn incident(severity: &str, asked_again: Option<u32>) -> Incident {
        serde_json::from_value(json!({
            "schema": Incident::SCHEMA, "incident_id": "inc-aaaaaaaaaaaaaaaaaaaaaaaaaa", "tenant": "default",
            "kind": "mail", "source": "mail", "native_id": "x", "severity": severity, "evidence": { "key": "mail/x" },
            "received_at": "2026-11-24T05:00:00Z", "config_digest": "", "status": "open", "run": 2,
            "asked_again": asked_again, "updated_at": "2026-11-24T05:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn an_incident_takes_its_part_and_a_chunk_the_part_of_that() {
        let limits = [Limit { limit: 500, window_seconds: 86_400, scope: LimitScope::Key }];
        let check = |severity, asked_again, part, percents, most| {
            let (incident, budget) = (incident(severity, asked_again), Budget::default());
            let payer = Payer::of(&incident, 2, &budget, part);
            let share = payer.claim(&limits).share;
            assert_eq!((share.source_percent, share.all_percent), percents, "{severity} {asked_again:?}");
            assert_eq!((share.source, payer.at_most(&limits)), ("default#mail", most), "{severity} {part:?}");
        };
        check("medium", None, (25, 25), (60, 80), 50);
        check("medium", None, (50, 500), (60, 80), 5);
        check("medium", None, (1, 500), (60, 80), 1);
        check("medium", Some(1), (25, 25), (60, 80), 50);
        check("critical", None, (25, 25), (100, 100), usize::MAX);
        check("medium", Some(2), (25, 25), (100, 100), usize::MAX);
    }
}
