//! Which state machine works on what: the first rule of the policy that fits.

use playbook::{incident::Intake, policy::RouteRule};

/// The machine that the first fitting rule names; `None`: the one that works on everything.
pub fn machine(rules: &[RouteRule], intake: &Intake) -> Option<String> {
    let fits = |rule: &&RouteRule| {
        rule.kind.is_none_or(|kind| kind == intake.kind)
            && rule.source.as_ref().is_none_or(|source| *source == intake.source)
            && rule.severity_from.is_none_or(|severity| intake.severity >= severity)
    };
    rules.iter().find(fits).map(|rule| rule.machine.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_first_rule_that_fits_names_the_machine() {
        let rules: Vec<RouteRule> = serde_json::from_value(json!([
            { "kind": "alert", "source": "splunk", "severity_from": "high", "machine": "splunk-urgent" },
            { "source": "splunk", "machine": "splunk" },
            { "kind": "feed", "machine": "enrich-only" },
            { "severity_from": "critical", "machine": "urgent" }
        ]))
        .unwrap();
        let check = |kind: &str, source: &str, severity: &str, expected: Option<&str>| {
            let intake: Value = json!({
                "schema": "intake/1", "kind": kind, "tenant": "default", "source": source, "native_id": "x",
                "severity": severity, "received_at": "2026-11-24T05:00:00Z"
            });
            let intake: Intake = serde_json::from_value(intake).unwrap();
            assert_eq!(machine(&rules, &intake).as_deref(), expected, "{kind} {source} {severity}");
        };
        check("alert", "splunk", "critical", Some("splunk-urgent"));
        check("alert", "splunk", "medium", Some("splunk"));
        check("feed", "urlhaus-recent", "critical", Some("enrich-only"));
        check("mail", "mail", "critical", Some("urgent"));
        check("mail", "mail", "low", None);
    }
}
