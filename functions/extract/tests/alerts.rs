//! How alerts and batches of feeds are read: what the mapping named first, then their texts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::policy;
use playbook::{
    IncidentId,
    guard::Guard,
    incident::{Extraction, Kind, Withheld},
    manifest::Tlp,
};
use serde_json::{Value, json};

fn read(content: &[u8]) -> Extraction {
    extract::extract(Kind::Alert, content, Guard::new(&policy(), &[]), &IncidentId::of("default", "siem", "test"))
}

fn alert(change: &Value) -> Extraction {
    let mut alert = json!({
        "schema": "alert/1", "source": "siem", "native_id": "7", "title": "Beacon", "severity": "high",
        "occurred_at": "2026-11-24T05:00:00Z", "raw": { "url": "http://only-in-raw.example/" }
    });
    alert.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    read(&serde_json::to_vec(&alert).unwrap())
}

fn places<'a>(found: &'a Extraction, value: &str) -> Vec<&'a str> {
    let sighted = found.observables.iter().find(|sighted| sighted.observable.value() == value);
    sighted.map(|sighted| sighted.places.iter().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn what_the_mapping_names_comes_before_its_texts() {
    let found = alert(&json!({
        "title": "Beacon to hxxp://title[.]example/a",
        "observables": [
            { "type": "url", "value": "https://c2.alert.example/gate", "role": "destination" },
            { "type": "ipv4-addr", "value": "203.0.113.9" }
        ],
        "texts": ["see 203.0.113.9", "and drop.alert.example"]
    }));
    assert_eq!(found.subject, "Beacon to hxxp://title[.]example/a");
    assert_eq!(places(&found, "https://c2.alert.example/gate"), ["alert:destination"]);
    assert_eq!(places(&found, "c2.alert.example"), ["alert:destination"]);
    assert_eq!(places(&found, "203.0.113.9"), ["alert:ipv4-addr", "alert:text/1"]);
    assert_eq!(places(&found, "drop.alert.example"), ["alert:text/2"]);
    assert_eq!(places(&found, "http://title.example/a"), ["alert:title"]);
    assert!(places(&found, "only-in-raw.example").is_empty(), "what was mapped is not searched again");
    assert!(!found.incomplete && found.omissions.is_empty(), "{:?}", found.omissions);
}

#[test]
fn the_mark_of_an_alert_stays_with_what_is_found_in_it() {
    assert_eq!(alert(&json!({})).tlp, Tlp::Amber, "what nobody has marked");
    assert_eq!(alert(&json!({ "tlp": "GREEN" })).tlp, Tlp::Green);
    assert_eq!(alert(&json!({ "tlp": "RED" })).tlp, Tlp::Red);
    assert_eq!(read(br#"{"tlp": "CLEAR", "note": "no alert of ours"}"#).tlp, Tlp::Amber);
}

#[test]
fn a_value_that_is_not_what_it_is_called_is_read_as_text_and_noted() {
    let found = alert(&json!({
        "observables": [{ "type": "domain-name", "value": "hxxps://evil[.]example/x", "role": "a\nb <script>" }]
    }));
    assert_eq!(places(&found, "https://evil.example/x"), ["alert:a b script"]);
    assert_eq!(found.omissions[0].place, "alert:a b script");
    assert!(!found.incomplete, "all of it was read");
}

#[test]
fn assets_are_shown_only_where_nobody_is_asked_about_them() {
    let found = alert(&json!({
        "assets": ["Anna.Weber@corp.example", "pc7.corp.example", "192.0.2.7", "vpn.partner.example", "i-00000001", "jdoe"]
    }));
    assert_eq!(found.participants, ["anna.weber@corp.example"]);
    let values: Vec<(&str, Option<Withheld>)> =
        found.observables.iter().map(|sighted| (sighted.observable.value(), sighted.withheld)).collect();
    assert_eq!(
        values,
        [
            ("192.0.2.7", Some(Withheld::Own)),
            ("pc7.corp.example", Some(Withheld::Own)),
            ("Anna.Weber@corp.example", Some(Withheld::Own))
        ]
    );
}

#[test]
fn garbage_is_visible_and_nobody_says_that_there_was_nothing() {
    let check = |content: &[u8], reason: &str, is_incomplete: bool| {
        let found = read(content);
        let reasons: Vec<&str> = found.omissions.iter().map(|omission| omission.reason.as_str()).collect();
        let name = String::from_utf8_lossy(content);
        assert_eq!(found.incomplete, is_incomplete, "{name}: {reasons:?}");
        assert!(reason.is_empty() || reasons.iter().any(|text| text.contains(reason)), "{name}: {reasons:?}");
        found
    };
    let found = check(br#"{"schema": "alert/1", "url": "http://evil.example/a"}"#, "not what its schema says", true);
    assert_eq!(places(&found, "http://evil.example/a"), ["text"]);
    let found = check(br#"{"url": "http://evil.example/a"#, "neither JSON nor text", true);
    assert_eq!(places(&found, "http://evil.example/a"), ["text"]);
    check(b"\x00\x01\x02\x03", "neither JSON nor text", true);
    check(b" \n", "empty", true);
    check(br#"{"url": "http://evil.example/a"}"#, "", false);
    check(b"plain words and evil.example", "", false);
}

#[test]
fn many_observables_are_cut_visibly() {
    let named: Vec<Value> =
        (0..2_000).map(|n| json!({ "type": "domain-name", "value": format!("h{n}.evil.example") })).collect();
    let found = alert(&json!({ "observables": named }));
    assert_eq!((found.observables.len(), found.incomplete), (500, true));
    assert!(found.omissions.iter().any(|omission| omission.reason.contains("1500 more")), "{:?}", found.omissions);
}
