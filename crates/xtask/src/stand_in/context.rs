//! What OTX, urlscan.io's search, Shodan and a registry's RDAP server answer, in their own shapes.

use ioc::{Observable, ObservableType};
use playbook::{Timestamp, lookup::Answer};
use serde_json::{Value, json};

use super::{Canned, Provider, document};

/// IANA's bootstrap files (RFC 9224): one registry for the names and addresses that are reserved for documentation.
pub fn bootstrap(host: &str, path: &str) -> Option<Answer> {
    if host.split(':').next() != Some("data.iana.org") {
        return None;
    }
    let keys: &[&str] = match path {
        "/rdap/dns.json" => &["example"],
        "/rdap/ipv4.json" => &["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"],
        "/rdap/ipv6.json" => &["2001:db8::/32"],
        _ => return Some(document(404, &json!({}))),
    };
    let registry = format!("https://{}/", Provider::Rdap.host());
    Some(document(
        200,
        &json!({ "version": "1.0", "publication": "2026-11-01T00:00:00Z", "services": [[keys, [registry]]] }),
    ))
}

/// Three pulses for malicious, one for suspicious, none otherwise.
pub fn otx(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let count = match canned {
        Canned::Malicious => 3,
        Canned::Suspicious => 1,
        _ => 0,
    };
    let pulse = |number: usize| {
        json!({
            "id": format!("pulse-{number}"), "name": format!("Parcel lures {number}"), "tags": ["phishing"],
            "modified": now.plus_minutes(-10), "created": now.plus_minutes(-120),
            "author": { "username": "researcher" }, "malware_families": [],
        })
    };
    let pulses: Vec<Value> = (1..=count).map(pulse).collect();
    json!({
        "indicator": observable.value(), "sections": ["general"], "validation": [], "false_positive": [],
        "pulse_info": { "count": count, "pulses": pulses, "references": [] },
    })
}

/// One scan for what it knows.
pub fn urlscan(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    if canned != Canned::Benign {
        return json!({ "results": [], "total": 0, "took": 2, "has_more": false });
    }
    json!({
        "total": 1, "took": 3, "has_more": false,
        "results": [{
            "_id": "11111111-2222-4333-8444-555555555555",
            "task": { "time": now.plus_minutes(-10), "visibility": "public", "method": "api" },
            "page": { "domain": observable.value(), "country": "NL", "asn": "AS64500", "server": "nginx", "title": "Track your parcel" },
            "stats": { "requests": 12 },
        }],
    })
}

/// A host with two open ports for what it knows.
pub fn shodan(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    if canned != Canned::Benign {
        return json!({ "error": "No information available for that IP." });
    }
    // Its times are in UTC and do not say so.
    let seen = now.plus_minutes(-10).to_string().trim_end_matches('Z').to_owned();
    let banner = |port: u16| {
        json!({
            "ip_str": observable.value(), "port": port, "transport": "tcp", "timestamp": seen, "asn": "AS64500",
            "org": "Example Hosting", "isp": "Example Hosting", "hostnames": [], "domains": [], "data": "",
        })
    };
    json!({
        "ip_str": observable.value(), "ports": [443, 80], "tags": [], "hostnames": [], "domains": [], "os": null,
        "asn": "AS64500", "org": "Example Hosting", "isp": "Example Hosting",
        "country_code": "NL", "country_name": "Netherlands", "city": null,
        "last_update": seen, "data": [banner(80), banner(443)],
    })
}

/// A domain registered four days ago, or the network that an address is in.
pub fn rdap(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    if canned != Canned::Benign {
        return json!({ "errorCode": 404, "title": "Not Found", "description": ["The server has no record of the object."] });
    }
    let registered = json!({ "eventAction": "registration", "eventDate": now.plus_hours(-96) });
    let entity = |role: &str, name: &str| {
        let card = json!(["vcard", [["version", {}, "text", "4.0"], ["fn", {}, "text", name]]]);
        json!({ "objectClassName": "entity", "roles": [role], "vcardArray": card })
    };
    if observable.kind() == ObservableType::DomainName {
        return json!({
            "objectClassName": "domain", "ldhName": observable.value(), "status": ["active"], "events": [registered],
            "entities": [entity("registrar", "Example Registrar")], "rdapConformance": ["rdap_level_0"],
        });
    }
    json!({
        "objectClassName": "ip network", "name": "EXAMPLE-NET", "handle": "NET-EXAMPLE", "country": "NL",
        "events": [registered], "entities": [entity("registrant", "Example Hosting")], "rdapConformance": ["rdap_level_0"],
    })
}
