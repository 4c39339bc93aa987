//! The sample incident as a bundle.

use serde_json::{Value, json};

use super::*;
use crate::{IncidentId, brief::sample, ids::CampaignId, verdict::Facts};

const RECEIVED_AT: &str = "2026-11-24T04:30:00.000Z";

/// The sample with a campaign, a mark and the time at which it came in.
fn assessment() -> Assessment {
    let mut document = serde_json::to_value(sample::assessment().unwrap()).unwrap();
    document["basis"] = json!({
        "tenant": "default", "kind": "mail", "source": "mail", "severity": "low", "incomplete": false,
        "received_at": RECEIVED_AT, "tlp": "GREEN",
        "pinned": { "schema": "pinned/1", "severity": "high", "by": "ana@soc.example", "at": RECEIVED_AT, "reason": "" },
    });
    document["campaign"] = json!({
        "campaign_id": CampaignId::of("url#https://evil.example/login?next=invoice"),
        "named_by": ["url#https://evil.example/login?next=invoice", "network#192.0.2.0/24"], "members": 3,
        "first_seen": "2026-11-20T09:30:00.000Z", "last_seen": RECEIVED_AT,
    });
    serde_json::from_value(document).unwrap()
}

fn exported(assessment: &Assessment, receipts: &[Receipt], decisions: &[Decision]) -> Value {
    let receipts = receipts.iter().map(|r| (r.facts.observable.key(), r.clone())).collect();
    let source = Source { assessment, receipts: &receipts, decisions, identity: "IOC Enrichment Playbook" };
    serde_json::to_value(bundle(&source).unwrap()).unwrap()
}

fn of_type<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    bundle["objects"].as_array().unwrap().iter().filter(|object| object["type"] == kind).collect()
}

fn texts<'a>(objects: &[&'a Value], member: &str) -> Vec<&'a str> {
    objects.iter().map(|object| object[member].as_str().unwrap()).collect()
}

fn decision(choice: &str) -> Decision {
    serde_json::from_value(json!({
        "schema": "decision/1", "choice": choice, "by": "ana@soc.example", "authenticated_by": "mailbox",
        "at": "2026-11-24T05:20:00.000Z", "reason": "", "shown_digest": "", "plan_digest": "", "indicators": [],
    }))
    .unwrap()
}

#[test]
fn what_is_bad_is_an_indicator_and_everything_else_was_seen() {
    let bundle = exported(&assessment(), &[], &[]);
    let indicators = of_type(&bundle, "indicator");
    let expected =
        ["[url:value = 'https://evil.example/login?next=invoice']", "[domain-name:value = 'cdn.evil.example']"];
    assert_eq!(texts(&indicators, "pattern"), expected);
    assert_eq!(indicators[0]["indicator_types"], json!(["malicious-activity"]));
    assert_eq!(indicators[1]["indicator_types"], json!(["anomalous-activity"]));
    assert_eq!(indicators[0]["name"], "hxxps://evil[.]example/login?next=invoice");
    assert_eq!((&indicators[0]["confidence"], &indicators[0]["valid_from"]), (&json!(92), &json!(sample::ASSESSED_AT)));
    assert_eq!(indicators[0]["valid_until"], "2026-12-08T05:00:00.000Z", "336 hours, as the plan says");
    assert_eq!(indicators[0]["labels"], json!(["verdict:malicious", "degraded"]));
    assert_eq!(indicators[1]["labels"], json!(["verdict:suspicious", "reason:contradiction"]));
    let links = indicators[0]["external_references"].as_array().unwrap();
    assert_eq!(links[0], json!({ "source_name": "threatfox", "url": "https://threatfox.example/lookup/4711" }));
    assert_eq!(
        indicators[0]["description"],
        "malicious, confidence 92 of 100; 2 of 3 required sources answered; malicious: threatfox, urlhaus; \
         failed: virustotal: timeout"
    );

    // Guarded, unknown and benign: seen.
    let observed = of_type(&bundle, "observed-data");
    assert_eq!(observed.len(), 3);
    assert_eq!(observed[2]["object_refs"].as_array().unwrap().len(), 3);
    assert_eq!(observed[2]["first_observed"], RECEIVED_AT);
    assert_eq!(texts(&of_type(&bundle, "ipv4-addr"), "value"), ["192.0.2.7"]);
    assert_eq!(of_type(&bundle, "file")[0]["hashes"], json!({ "SHA-256": "ab".repeat(32) }));
}

#[test]
fn where_it_was_seen_and_where_it_belongs() {
    let bundle = exported(&assessment(), &[], &[]);
    let sighting = of_type(&bundle, "sighting")[0];
    assert_eq!((&sighting["count"], &sighting["last_seen"]), (&json!(4), &json!(RECEIVED_AT)));
    assert_eq!(sighting["first_seen"], "2026-11-20T09:30:00.000Z");
    assert_eq!(sighting["where_sighted_refs"], json!([of_type(&bundle, "identity")[0]["id"]]));
    let campaign = of_type(&bundle, "campaign")[0];
    assert_eq!(campaign["name"], "hxxps://evil[.]example/login?next=invoice and 192[.]0[.]2[.]0/24");
    let relationships = of_type(&bundle, "relationship");
    assert_eq!(texts(&relationships, "relationship_type"), ["based-on", "indicates", "based-on", "indicates"]);
    assert_eq!(relationships[1]["target_ref"], campaign["id"]);
    let report = of_type(&bundle, "report")[0];
    assert_eq!(report["report_types"], json!(["observed-data", "indicator", "campaign"]));
    assert_eq!(report["labels"], json!(["severity:high", "route:review"]));
    assert_eq!(report["external_references"].as_array().unwrap().len(), 3, "itself and two related incidents");
}

#[test]
fn every_reference_leads_to_an_object_of_the_bundle() {
    let bundle = exported(&assessment(), &[], &[]);
    let objects = bundle["objects"].as_array().unwrap();
    let ids: BTreeSet<&str> = objects.iter().map(|object| object["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), objects.len(), "each id once");
    let mut references = 0;
    for (name, value) in objects.iter().flat_map(|object| object.as_object().unwrap()) {
        if name.ends_with("_ref") || name.ends_with("_refs") {
            for id in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                assert!(ids.contains(id.as_str().unwrap()), "{name}: {id}");
                references += 1;
            }
        }
    }
    assert!(references > 50, "{references}");
}

#[test]
fn what_is_ours_is_nowhere() {
    let mut assessment = assessment();
    "Re: carl@corp.example about intranet.corp.example".clone_into(&mut assessment.subject);
    assessment.severity_terms = vec!["pinned to high by ana@soc.example; it would be low".to_owned()];
    let bundle = exported(&assessment, &[], &[]);
    let text = bundle.to_string();
    for name in ["intranet", "carl", "ana@", "ana[@]", "carl[@]"] {
        assert!(!text.contains(name), "{name}");
    }
    let description = of_type(&bundle, "report")[0]["description"].as_str().unwrap().to_owned();
    let expected = [
        "subject: Re: (withheld) about (withheld)",
        "severity: high",
        "severity term: pinned to high by (withheld); it would be low",
        "route: review",
        "source that failed: virustotal: timeout (1)",
        "source that failed: malwarebazaar: http_500 (1)",
        "not read: attachment:report[.]zip: encrypted, not opened",
        "1 withheld: our own, reserved, or infrastructure that everybody uses; not in this bundle",
        "1 judged bad and guarded: nothing that others should block, so no indicator",
        "what is here without an indicator was seen; nobody says by that that it is harmless",
    ];
    assert_eq!(description.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_same_incident_is_the_same_bytes_and_a_later_run_another_version_of_it() {
    let first = assessment();
    assert_eq!(exported(&first, &[], &[]).to_string(), exported(&first, &[], &[]).to_string());
    let later = Assessment { run: 2, assessed_at: first.assessed_at.plus_hours(12), ..first.clone() };
    let (first, later) = (exported(&first, &[], &[]), exported(&later, &[], &[]));
    assert_ne!(first["id"], later["id"]);
    for (one, other) in first["objects"].as_array().unwrap().iter().zip(later["objects"].as_array().unwrap()) {
        assert_eq!((&one["id"], &one["created"]), (&other["id"], &other["created"]));
        let is_dated = !matches!(one["type"].as_str(), Some("identity")) && one["modified"].is_string();
        assert_eq!(one["modified"] != other["modified"], is_dated, "{one}");
    }
    let other_incident = Assessment { incident_id: IncidentId::of("default", "mail", "other"), ..assessment() };
    let other_incident = exported(&other_incident, &[], &[]);
    let id = |bundle: &Value, kind: &str| of_type(bundle, kind)[0]["id"].clone();
    for kind in ["url", "identity", "campaign", "marking-definition"] {
        assert_eq!(id(&first, kind), id(&other_incident, kind), "{kind}");
    }
    for kind in ["indicator", "observed-data", "sighting", "relationship", "report"] {
        assert_ne!(id(&first, kind), id(&other_incident, kind), "{kind}");
    }
}

#[test]
fn a_mark_is_the_one_that_oasis_has_published_and_everything_of_the_incident_has_it() {
    let check = |tlp: Option<Tlp>, id: &str, name: &str, word: &str| {
        let mut assessment = assessment();
        assessment.basis = assessment.basis.zip(tlp).map(|(basis, tlp)| crate::assessment::Basis { tlp, ..basis });
        let bundle = exported(&assessment, &[], &[]);
        let id = format!("marking-definition--{id}");
        let expected = json!({
            "type": "marking-definition", "spec_version": "2.1", "id": id, "created": "2022-10-01T00:00:00.000Z",
            "name": name, "extensions": {
                "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": {
                    "extension_type": "property-extension", "tlp_2_0": word } },
        });
        assert_eq!(of_type(&bundle, "marking-definition"), [&expected]);
        for object in bundle["objects"].as_array().unwrap() {
            let is_general = matches!(object["type"].as_str(), Some("identity" | "marking-definition"));
            assert_eq!(object["object_marking_refs"] == json!([id]), !is_general, "{object}");
        }
    };
    check(Some(Tlp::Clear), "94868c89-83c2-464b-929b-a1a8aa3c8487", "TLP:CLEAR", "clear");
    check(Some(Tlp::Green), "bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "TLP:GREEN", "green");
    check(Some(Tlp::Amber), "55d920b0-5e8b-4f79-9ee9-91f868d9b421", "TLP:AMBER", "amber");
    check(Some(Tlp::AmberStrict), "939a9414-2ddd-4d32-a0cd-375ea402b003", "TLP:AMBER+STRICT", "amber+strict");
    check(Some(Tlp::Red), "e828b379-4e03-4974-9ac4-e53a884c97c1", "TLP:RED", "red");
    // What nobody has marked.
    check(None, "55d920b0-5e8b-4f79-9ee9-91f868d9b421", "TLP:AMBER", "amber");
}

#[test]
fn what_a_person_called_a_false_positive_is_revoked() {
    let revoked = |choices: &[&str]| {
        let decisions: Vec<Decision> = choices.iter().map(|choice| decision(choice)).collect();
        let bundle = exported(&assessment(), &[], &decisions);
        let label = of_type(&bundle, "report")[0]["labels"][2].as_str().map(str::to_owned);
        (of_type(&bundle, "indicator").iter().all(|indicator| indicator["revoked"] == true), label)
    };
    assert_eq!(revoked(&["timed_out", "rejected"]), (true, Some("decision:rejected".to_owned())));
    assert_eq!(revoked(&["approved"]), (false, Some("decision:approved".to_owned())));
    assert_eq!(revoked(&[]), (false, None));
}

#[test]
fn tags_of_those_who_speak_against_it_are_labels_and_hostile_ones_are_harmless() {
    let assessment = assessment();
    let worst = &assessment.observables[0];
    let outcome = |provider: &str, context: bool, verdict: &str, tags: &[&str]| {
        serde_json::from_value(json!({
            "provider": provider, "family": provider, "context": context, "outcome": "found", "cached": false,
            "fetched_at": RECEIVED_AT, "expires_at": RECEIVED_AT, "manifest_digest": "", "opinion": {
                "verdict": verdict, "score": 90, "own": false, "upstreams": [], "tags": tags },
        }))
        .unwrap()
    };
    let outcomes = vec![
        outcome("a", false, "malicious", &["phishing", "x\u{202e}\ny"]),
        outcome("b", false, "benign", &["cdn"]),
        outcome("c", true, "malicious", &["asn:64500"]),
    ];
    let receipt = Receipt {
        schema: Receipt::SCHEMA.to_owned(),
        incident_id: assessment.incident_id.clone(),
        run: 1,
        config_digest: String::new(),
        now: assessment.assessed_at,
        facts: Facts { outcomes, ..Facts::bare(worst.sighted.observable.clone()) },
        verdict: worst.conclusion.clone(),
    };
    let bundle = exported(&assessment, &[receipt], &[]);
    let expected = json!(["verdict:malicious", "degraded", "tag:phishing", "tag:x\\u{202e}\\ny"]);
    assert_eq!(of_type(&bundle, "indicator")[0]["labels"], expected);
}

#[test]
fn more_than_a_bundle_holds_is_counted_and_the_worst_are_kept() {
    let mut assessment = assessment();
    let template = assessment.observables.pop().unwrap();
    for n in 0..OBSERVABLES_MAX {
        let mut assessed = template.clone();
        assessed.sighted.observable = ioc::Observable::parse_any(&format!("n{n}.example")).unwrap();
        assessment.observables.push(assessed);
    }
    let bundle = exported(&assessment, &[], &[]);
    assert_eq!(of_type(&bundle, "indicator").len(), 2);
    let description = of_type(&bundle, "report")[0]["description"].as_str().unwrap().to_owned();
    // Four of the sample are seen, too.
    assert!(description.contains("\n4 beyond the most that a bundle holds"), "{description}");
}

#[test]
fn a_value_without_a_form_in_stix_is_named_and_still_an_indicator() {
    let mut assessment = assessment();
    assessment.observables[1].sighted.observable = ioc::Observable::parse_any("_x.evil.example").unwrap();
    let bundle = exported(&assessment, &[], &[]);
    let indicator = of_type(&bundle, "indicator")[1];
    assert_eq!(indicator["pattern"], "[domain-name:value = '_x.evil.example']");
    let sighting = of_type(&bundle, "sighting")[1];
    assert_eq!((&sighting["sighting_of_ref"], &sighting["observed_data_refs"]), (&indicator["id"], &Value::Null));
    let report = of_type(&bundle, "report")[0];
    assert!(report["description"].as_str().unwrap().contains("\nno form in STIX 2.1: _x[.]evil[.]example"), "{report}");
}
