//! What `cargo xtask export --stix` writes, read by the validator of OASIS.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use ioc::Observable;
use playbook::{
    IncidentId,
    assessment::{Assessed, Assessment, Said},
    brief::sample,
    ids::CampaignId,
    ports::Evidence,
    stix::Bundle,
};
use serde_json::{Value, json};
use xtask::{
    export::{self, Options},
    local::Venv,
    project::Project,
    recorded::Place,
};

use crate::world::{World, fixture};

/// Recommendations that we do not follow: 103 wants random ids, ours are the same in every export; 302 wants digests of the
/// pages that we link to, and nobody has fetched them.
const NOT_FOLLOWED: &str = "103,302";

/// What the validator says of each bundle. Strict: what is only recommended counts, too.
fn validated(project: &Project, bundles: &[Value]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut validator = Command::new(Venv::stix_validator(project).unwrap().program("stix2_validator"));
    validator.args(["--version", "2.1", "--strict", "--disable", NOT_FOLLOWED, "--enforce-refs", "--no-cache"]);
    for (number, bundle) in bundles.iter().enumerate() {
        let file = folder.path().join(format!("{number}.json"));
        std::fs::write(&file, bundle.to_string()).unwrap();
        validator.arg(file);
    }
    let output = validator.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let results: Vec<String> = said.split("Results for:").skip(1).map(str::to_owned).collect();
    assert_eq!(results.len(), bundles.len(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), results.iter().all(|result| is_valid(result)), "{said}");
    results
}

fn is_valid(result: &str) -> bool {
    result.contains("[+] STIX JSON: Valid") && !result.contains("[X]") && !result.contains("[!]")
}

fn valid(project: &Project, bundle: &Bundle) -> Value {
    let bundle = serde_json::to_value(bundle).unwrap();
    let results = validated(project, std::slice::from_ref(&bundle));
    assert!(is_valid(&results[0]), "{}", results[0]);
    bundle
}

/// Exports what was recorded in a folder.
fn exported(project: &Project, folder: &Path, incident: &IncidentId) -> Bundle {
    let options = Options {
        incident: incident.to_string(),
        run: None,
        place: Place::Folder(folder.to_owned()),
        identity: "IOC Enrichment Playbook".to_owned(),
    };
    export::read(project, &options).unwrap()
}

fn exported_alone(project: &Project, assessment: &Assessment) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("assessment.json"), serde_json::to_vec(assessment).unwrap()).unwrap();
    exported(project, folder.path(), &assessment.incident_id)
}

/// How many objects of each type there are.
fn count(bundle: &Value, kind: &str) -> usize {
    bundle["objects"].as_array().unwrap().iter().filter(|object| object["type"] == kind).count()
}

/// Takes a mail to its assessment, and copies what was recorded of it into a folder, with these members beside.
async fn recorded(answers: &str, mail: &str, members: &Value, folder: &Path) -> IncidentId {
    let world = World::with(answers).await;
    let extracted = world.extract(&world.admit(&world.receive_mail(&fixture(mail)).await).await).await;
    let id = extracted.incident_id.clone();
    world.enrich(&extracted).await;
    world.assess(&id).await;
    let assessment = world.assessment(&id).await;
    let receipts = world.evidence.fetch(&assessment.receipts).await.unwrap();
    std::fs::write(folder.join("receipts.jsonl"), receipts).unwrap();
    let mut document = serde_json::to_value(&assessment).unwrap();
    document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    std::fs::write(folder.join("assessment.json"), document.to_string()).unwrap();
    id
}

fn campaign() -> Value {
    json!({
        "campaign_id": CampaignId::of("domain-name#secure-parcel.example"), "members": 3,
        "named_by": ["domain-name#secure-parcel.example"],
        "first_seen": "2026-11-20T09:30:00.000Z", "last_seen": "2026-11-24T05:00:00.000Z",
    })
}

#[tokio::test]
async fn an_incident_with_a_campaign_is_a_valid_bundle_of_all_sorts_of_objects() {
    let project = Project::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let answers = "\"https://secure-parcel.example/track/pay?id=4471&lang=en\": {urlhaus: malicious, threatfox: malicious}\n\
                   secure-parcel.example: {threatfox: malicious}\n\
                   203.0.113.77: {threatfox: malicious, abuseipdb: malicious}\n";
    let id = recorded(answers, "phish.eml", &json!({ "campaign": campaign() }), folder.path()).await;
    let bundle = valid(&project, &exported(&project, folder.path(), &id));
    let sorts = [
        "identity",
        "marking-definition",
        "campaign",
        "ipv4-addr",
        "domain-name",
        "url",
        "email-addr",
        "file",
        "observed-data",
        "indicator",
        "relationship",
        "sighting",
        "report",
    ];
    for sort in sorts {
        assert!(count(&bundle, sort) > 0, "{sort}");
    }
    assert_eq!(count(&bundle, "sighting"), count(&bundle, "indicator"));
    let basis = bundle["objects"].as_array().unwrap().iter().find(|object| object["type"] == "observed-data").unwrap();
    assert_eq!(basis["first_observed"], "2026-11-24T05:00:00.000Z", "when the mail came in");
}

#[tokio::test]
async fn an_incident_of_which_nothing_is_known_is_a_valid_bundle_without_an_indicator() {
    let project = Project::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let id = recorded("{}", "phish.eml", &json!({}), folder.path()).await;
    let bundle = valid(&project, &exported(&project, folder.path(), &id));
    assert_eq!((count(&bundle, "indicator"), count(&bundle, "sighting"), count(&bundle, "relationship")), (0, 0, 0));
    assert!(count(&bundle, "observed-data") == 1 && count(&bundle, "url") > 0);
}

#[test]
fn an_incident_in_which_nothing_was_seen_is_a_valid_bundle() {
    let project = Project::find().unwrap();
    let mut assessment = sample::assessment().unwrap();
    assessment.observables.clear();
    let bundle = valid(&project, &exported_alone(&project, &assessment));
    assert_eq!((count(&bundle, "observed-data"), count(&bundle, "report")), (0, 1));
}

/// Values that quote, escape, or are spelled as few others.
const HOSTILE: [&str; 22] = [
    "http://evil.example/'",
    r"http://evil.example/#'\' OR url:value = '",
    "http://evil.example/?q=' OR [1]={2}|3^`4`",
    "http://evil.example/%00%zz%\u{202e}\u{7f}#a#b",
    "http://user:p'w@evil.example:8080/",
    "http://[2001:db8::1]/",
    "http://xn--zzzzzz9999.evil.example/",
    "tcp://192.0.2.7:4444",
    "_dmarc.evil.example",
    "xn--bcher-kva.example",
    "xn--ls8h.example",
    "xn--zzzzzz9999.example",
    "ab--c.evil.example",
    "xn--4dbrk0ce.example",
    "\u{0431}\u{0430}\u{043d}\u{043a}.example",
    "o'hara@evil.example",
    "bounce=me@evil.example",
    "\u{fc}@evil.example",
    "user@[192.0.2.7]",
    "2001:db8::ffff:ffff",
    "0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef01234567",
];

#[test]
fn hostile_values_and_texts_are_in_a_valid_bundle() {
    let project = Project::find().unwrap();
    let mut assessment = sample::assessment().unwrap();
    let template = assessment.observables[0].clone();
    let hostile = "'\"\\\r\n\u{0}\u{1b}[31m\u{9b}\u{202e}</script>\u{feff}{{7*7}}";
    let said = template.evidence[0].clone();
    let assessed = |observable: Observable, template: &Assessed| {
        let mut assessed = template.clone();
        assessed.sighted.observable = observable;
        assessed.conclusion.failed = vec![hostile.to_owned()];
        for link in
            ["https://ti.example/{a}|[b]'%", "https://ti.example/a b", "https://x:y:z@[", "http://ti.example/", hostile]
        {
            assessed.evidence.push(Said { permalink: Some(link.to_owned()), ..said.clone() });
        }
        assessed.evidence.push(Said { provider: "cve".to_owned(), ..said.clone() });
        assessed
    };
    let parsed = HOSTILE.map(|text| Observable::parse_any(text).unwrap());
    let mapped = Observable::parse(ioc::ObservableType::Ipv6Addr, "::ffff:192.0.2.7").unwrap();
    let long = Observable::parse_any(&format!("http://evil.example/{}", "a'".repeat(4_000))).unwrap();
    let seen = assessment.observables[4].clone();
    assessment.observables = parsed.iter().cloned().chain([mapped, long]).map(|o| assessed(o, &template)).collect();
    // Unknown ones, of which two are spelled alike in STIX.
    for text in ["http://evil.example/%7B", "http://evil.example/?{", "http://evil.example/?%7B"] {
        assessment.observables.push(assessed(Observable::parse_any(text).unwrap(), &seen));
    }
    hostile.clone_into(&mut assessment.subject);
    assessment.severity_terms = vec![hostile.repeat(1_000); 1_000];
    assessment.participants = vec![String::new(), "'".to_owned(), hostile.to_owned()];
    let mut document = serde_json::to_value(&assessment).unwrap();
    document["campaign"] = campaign();
    document["campaign"]["named_by"] = json!([hostile]);
    let assessment: Assessment = serde_json::from_value(document).unwrap();

    let bundle = valid(&project, &exported_alone(&project, &assessment));
    assert_eq!(count(&bundle, "indicator"), HOSTILE.len() + 2);
    assert_eq!(count(&bundle, "url"), 8 + 1 + 2, "two URLs are spelled alike");
    let text = bundle.to_string();
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{feff}');
    assert_eq!(text.chars().find(|c| is_hidden(*c)), None);
    assert!(!text.contains("\\u00"), "escaped by JSON alone");
    assert!(text.len() < 300_000, "{}", text.len());
}

#[test]
fn the_validator_refuses_what_is_broken() {
    let project = Project::find().unwrap();
    let sound = serde_json::to_value(exported_alone(&project, &sample::assessment().unwrap())).unwrap();
    let at = |kind: &str| sound["objects"].as_array().unwrap().iter().position(|o| o["type"] == kind).unwrap();
    let valid_from = sound["objects"][at("indicator")]["valid_from"].clone();
    let unknown = json!("observed-data--00000000-0000-4000-8000-000000000000");
    let cases = [
        ("indicator", "pattern", json!("[url:value = 'http://evil.example/'']"), "Pattern failed to validate"),
        ("indicator", "valid_until", valid_from, "must be later than 'valid_from'"),
        ("url", "value", json!("http://evil.example/{"), "is not a 'uri'"),
        ("report", "report_types", json!(["nonsense"]), "report-type-ov"),
        ("relationship", "target_ref", unknown, "not found in current bundle"),
        ("sighting", "count", json!(-1), "less than the minimum"),
    ];
    let broken = cases.iter().map(|(kind, member, value, _)| {
        let mut broken = sound.clone();
        broken["objects"][at(kind)][*member] = value.clone();
        broken
    });
    let bundles: Vec<Value> = [sound.clone()].into_iter().chain(broken).collect();
    let results = validated(&project, &bundles);
    assert!(is_valid(&results[0]), "{}", results[0]);
    for ((kind, member, _, expected), result) in cases.iter().zip(&results[1..]) {
        assert!(!is_valid(result) && result.contains(expected), "{kind} {member}: {result}");
    }
}
