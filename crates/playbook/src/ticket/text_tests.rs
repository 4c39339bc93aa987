use super::*;
use crate::{
    brief::sample,
    incident::{EvidenceRef, IncidentStatus},
    sighting::History,
};

fn incident(assessment: &Assessment) -> Incident {
    Incident {
        schema: Incident::SCHEMA.to_owned(),
        incident_id: assessment.incident_id.clone(),
        tenant: "default".to_owned(),
        kind: Kind::Mail,
        source: "mail".to_owned(),
        native_id: "sample".to_owned(),
        severity: Severity::Low,
        evidence: EvidenceRef { key: "mail/1".to_owned(), version_id: None, sha256: String::new(), size_bytes: 0 },
        received_at: assessment.assessed_at,
        config_digest: String::new(),
        status: IncidentStatus::Open,
        run: 1,
        started_at: None,
        route: None,
        result: None,
        failure: None,
        warning: None,
        machine: None,
        fingerprint: None,
        parent: None,
        attached: None,
        reopened: 0,
        asked_again: None,
        due_kind: None,
        due_at: None,
        updated_at: assessment.assessed_at,
    }
}

fn story<'a>(incident: &'a Incident, assessment: &'a Assessment) -> Story<'a> {
    Story { incident, assessment: Some(assessment), decision: None, result: None, failure: None, parents: &[] }
}

fn decision(choice: Choice, reason: &str) -> Decision {
    Decision {
        choice,
        last: true,
        by: sample::APPROVER.to_owned(),
        authenticated_by: "mailbox".to_owned(),
        reason: reason.to_owned(),
        indicators: vec!["url#https://evil.example/login?next=invoice".to_owned()],
        ..Decision::at(Timestamp::parse(sample::ASSESSED_AT).unwrap().plus_minutes(5))
    }
}

fn check_contains(text: &Text, parts: &[&str]) {
    let whole = text.lines.join("\n");
    for part in parts {
        assert!(whole.contains(part), "{part:?} is not in\n{whole}");
    }
}

#[test]
fn the_whole_story_is_told() {
    let mut assessment = sample::assessment().unwrap();
    assessment.observables[0].history = Some(History {
        persistence: Persistence::Persistent,
        incidents: 3,
        days: 1,
        assets: 0,
        first_seen: assessment.assessed_at,
        reputation: crate::sighting::Reputation::default(),
    });
    assessment.related = vec![Related {
        incident_id: IncidentId::of("default", "mail", "other"),
        seen_at: assessment.assessed_at,
        observables: vec!["domain-name#evil.example".to_owned()],
        weight: 1_205,
    }];
    let mut database = assessment.plan.entries[0].clone();
    database.act = "record".to_owned();
    database.target = "misp".to_owned();
    assessment.plan.entries.push(database);
    let incident = incident(&assessment);
    let decision = decision(Choice::Approved, "seen in two mailboxes");
    let told = Story {
        decision: Some(&decision),
        result: Some("1 of 3 entries were enforced"),
        ..story(&incident, &assessment)
    };
    let text = Text::of(&told);
    assert_eq!(
        text.title,
        format!("[HIGH] hxxps://evil[.]example/login?next=invoice and 2 more: malicious ({})", incident.incident_id)
    );
    check_contains(
        &text,
        &[
            "run 1: a reported mail from mail, received 2026-11-24 05:00 UTC",
            "Subject: Overdue invoice 4711, see hxxps://evil[.]example/login",
            "Severity HIGH: high: a malicious indicator",
            "MALICIOUS hxxps://evil[.]example/login?next=invoice (url): confidence 92 of 100; 2 of 3 required sources answered",
            "  agree: threatfox, urlhaus",
            "  disagree: hashlookup says benign",
            "  failed: virustotal: timeout",
            "  persistent: in 3 incidents on 1 day here, first 2026-11-24 05:00 UTC",
            "  threatfox says malicious, payload delivery, confidence 100",
            "Sources that failed\n- virustotal: timeout (1)",
            "Written at once\n- hxxps://evil[.]example/login?next=invoice: record on misp for 14 days",
            "To be enforced\n- hxxps://evil[.]example/login?next=invoice: block on served-list for 14 days, after approval",
            "Never written\n- portal[.]corp[.]example: not on served-list: own domain",
            "weight 12.05: shares evil[.]example",
            "Not looked into\n- attachment:report[.]zip: encrypted, not opened",
            "Decision: approved by ana[@]soc[.]example at 2026-11-24 05:05 UTC (mailbox): seen in two mailboxes",
            "Result: 1 of 3 entries were enforced",
        ],
    );
}

#[test]
fn the_same_story_has_the_same_digest_and_a_decision_changes_it() {
    let assessment = sample::assessment().unwrap();
    let incident = incident(&assessment);
    let digest = |story: &Story<'_>| Text::of(story).digest().unwrap();
    let plain = story(&incident, &assessment);
    assert_eq!(digest(&plain), digest(&plain));
    let decision = decision(Choice::Rejected, "our own newsletter");
    assert_ne!(digest(&plain), digest(&Story { decision: Some(&decision), ..plain }));
    assert_ne!(digest(&plain), digest(&Story { failure: Some("Assess failed"), ..plain }));
}

#[test]
fn what_never_came_as_far_as_a_verdict_is_told_too() {
    let assessment = sample::assessment().unwrap();
    let incident = incident(&assessment);
    let failed = Story { assessment: None, failure: Some("execution ABORTED"), ..story(&incident, &assessment) };
    let text = Text::of(&failed);
    assert_eq!(text.title, format!("[LOW] not assessed, the playbook failed ({})", incident.incident_id));
    check_contains(&text, &["The playbook FAILED on this incident: execution ABORTED"]);
}

#[test]
fn an_attached_incident_names_the_tickets_of_its_parent() {
    let assessment = sample::assessment().unwrap();
    let parent = IncidentId::of("default", "mail", "parent");
    let incident = Incident { parent: Some(parent.clone()), attached: Some(7), ..incident(&assessment) };
    let ticket = Ticket {
        schema: Ticket::SCHEMA.to_owned(),
        target: "jira".to_owned(),
        owner: String::new(),
        claimed_at: assessment.assessed_at,
        external_id: Some("SEC-7".to_owned()),
        permalink: Some("https://jira.corp.example/browse/SEC-7".to_owned()),
        written: None,
        updates: 0,
        is_closed: false,
        is_busy: false,
        run: 1,
        was_closing: false,
    };
    let text = Text::of(&Story { parents: &[ticket], ..story(&incident, &assessment) });
    let parent = format!("Attached to {parent}");
    check_contains(&text, &[&parent, "jira: hxxps://jira[.]corp[.]example/browse/SEC-7", "7 more of the same kind"]);
}

/// However much there is: whole lines, counted, within what every ticket system takes.
#[test]
fn a_text_is_bounded_whatever_comes() {
    for filler in
        ["\u{1f41f}".repeat(280), "\\\"".repeat(140), "\u{202e}".repeat(280), "`".repeat(280), "a".repeat(280)]
    {
        let mut assessment = sample::assessment().unwrap();
        assessment.subject.clone_from(&filler);
        let mut one = assessment.observables[0].clone();
        for said in &mut one.evidence {
            said.text = Some(filler.clone());
        }
        assessment.observables.extend(vec![one; 500]);
        assessment.failed = vec![filler.clone(); 500];
        let incident = incident(&assessment);
        let text = Text::of(&story(&incident, &assessment));
        let document = text.document();
        let ticket = &document["ticket"];
        let chars = |name: &str| ticket[name].as_str().unwrap().chars().count();
        assert!(chars("text") <= 30_000 && chars("short") <= 2_900 && chars("title") <= 255, "{filler}");
        assert!(ticket["fenced"].to_string().len() < 60_000, "{filler}");
        assert!(text.lines.last().unwrap().contains("lines more are in the record"), "{filler}");
    }
}

#[test]
fn nothing_in_a_text_is_live_or_hidden_or_breaks_a_line() {
    let mut assessment = sample::assessment().unwrap();
    let hostile = "a\nb\u{202e} https://evil.example @everyone ``` ```` <!channel> user@evil.example";
    assessment.subject = hostile.to_owned();
    assessment.failed = vec![hostile.to_owned()];
    assessment.severity_terms = vec![hostile.to_owned()];
    let incident = Incident { source: hostile.to_owned(), ..incident(&assessment) };
    let decision = decision(Choice::Rejected, hostile);
    let told = Story { decision: Some(&decision), result: Some(hostile), ..story(&incident, &assessment) };
    let text = Text::of(&told);
    for line in text.lines.iter().chain([&text.title]) {
        for live in ["https://", "evil.example", "\u{202e}", "\n", " @every", "user@"] {
            assert!(!line.contains(live), "{live:?} is live in {line}");
        }
    }
    let fenced = text.document()["ticket"]["fenced"].as_str().unwrap().to_owned();
    assert!(fenced.starts_with("`````\n") && fenced.ends_with("\n`````"), "{fenced}");
}
