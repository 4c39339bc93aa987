//! What URLhaus, ThreatFox and MalwareBazaar answer, in their own shapes; the names in it are reserved ones.

use ioc::{HashAlgorithm, Observable, ObservableType};
use playbook::Timestamp;
use serde_json::{Value, json};

use super::Canned;

/// `2026-11-24 05:00:00`, as abuse.ch writes times.
pub fn plain_time(moment: Timestamp) -> String {
    let text = moment.to_string();
    format!("{} {}", text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default())
}

fn utc(moment: Timestamp) -> String {
    format!("{} UTC", plain_time(moment))
}

/// The digest where the file is known by this algorithm; a digest of zeroes where it is not, as the answer needs one.
fn digest(observable: &Observable, algorithm: HashAlgorithm) -> String {
    let hashes = observable.hashes();
    let (known, length) = match algorithm {
        HashAlgorithm::Md5 => (&hashes.md5, 32),
        HashAlgorithm::Sha1 => (&hashes.sha1, 40),
        HashAlgorithm::Sha256 => (&hashes.sha256, 64),
    };
    known.clone().unwrap_or_else(|| "0".repeat(length))
}

/// Online for malicious, offline for suspicious.
pub fn urlhaus(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let state = match canned {
        Canned::Malicious => "online",
        Canned::Suspicious => "offline",
        _ => return json!({ "query_status": "no_results" }),
    };
    let added = utc(now.plus_minutes(-30));
    let last_online = utc(now.plus_minutes(-10));
    let blacklists = json!({ "spamhaus_dbl": "not listed", "surbl": "not listed" });
    let value = observable.value();
    match observable.kind() {
        ObservableType::Url => json!({
            "query_status": "ok",
            "id": "3500001",
            "urlhaus_reference": "https://urlhaus.abuse.ch/url/3500001/",
            "url": value,
            "url_status": state,
            "host": observable.host().map(|host| host.value().to_owned()),
            "date_added": added,
            "last_online": (canned == Canned::Suspicious).then_some(last_online),
            "threat": "malware_download",
            "blacklists": blacklists,
            "reporter": "stand_in",
            "larted": "true",
            "takedown_time_seconds": null,
            "tags": ["exe"],
            "payloads": [],
        }),
        ObservableType::File => json!({
            "query_status": "ok",
            "md5_hash": digest(observable, HashAlgorithm::Md5),
            "sha256_hash": digest(observable, HashAlgorithm::Sha256),
            "file_type": "exe",
            "file_size": "241664",
            "signature": "Gozi",
            "firstseen": plain_time(now.plus_minutes(-30)),
            "lastseen": plain_time(now.plus_minutes(-10)),
            "url_count": "1",
            "virustotal": null,
            "urls": [{
                "url_id": "3500001",
                "url": "http://malware.example/a.exe",
                "url_status": state,
                "urlhaus_reference": "https://urlhaus.abuse.ch/url/3500001/",
                "filename": "a.exe",
                "firstseen": added.get(..10),
                "lastseen": null,
            }],
        }),
        _ => json!({
            "query_status": "ok",
            "urlhaus_reference": format!("https://urlhaus.abuse.ch/host/{value}/"),
            "host": value,
            "firstseen": added,
            "url_count": "1",
            "blacklists": blacklists,
            "urls": [{
                "id": "3500001",
                "urlhaus_reference": "https://urlhaus.abuse.ch/url/3500001/",
                "url": format!("http://{value}/a.exe"),
                "url_status": state,
                "date_added": added,
                "threat": "malware_download",
                "reporter": "stand_in",
                "larted": "true",
                "takedown_time_seconds": null,
                "tags": ["exe"],
            }],
        }),
    }
}

/// Confidence 100 for malicious, 50 for suspicious. As in reality a neighbour comes along, for the search is a wildcard.
pub fn threatfox(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let confidence = match canned {
        Canned::Malicious => 100,
        Canned::Suspicious => 50,
        _ => return json!({ "query_status": "no_result", "data": "Your search did not yield any results" }),
    };
    let value = observable.value();
    let (ioc, kind) = match observable.kind() {
        ObservableType::Ipv4Addr => (format!("{value}:443"), "ip:port"),
        ObservableType::Ipv6Addr => (format!("[{value}]:443"), "ip:port"),
        ObservableType::DomainName | ObservableType::EmailAddr => (value.to_owned(), "domain"),
        ObservableType::Url => (value.to_owned(), "url"),
        ObservableType::File => (
            value.to_owned(),
            match HashAlgorithm::of_hex(value) {
                Some(HashAlgorithm::Md5) => "md5_hash",
                Some(HashAlgorithm::Sha1) => "sha1_hash",
                _ => "sha256_hash",
            },
        ),
    };
    let is_file = observable.kind() == ObservableType::File;
    let entry = |id: &str, ioc: &str, confidence: u32| {
        json!({
            "id": id,
            "ioc": ioc,
            "threat_type": if is_file { "payload" } else { "botnet_cc" },
            "threat_type_desc": "",
            "ioc_type": kind,
            "ioc_type_desc": "",
            "malware": "win.cobalt_strike",
            "malware_printable": "Cobalt Strike",
            "malware_alias": "Agentemis,BEACON,CobaltStrike",
            "malware_malpedia": "https://malpedia.caad.fkie.fraunhofer.de/details/win.cobalt_strike",
            "confidence_level": confidence,
            "first_seen": utc(now.plus_minutes(-30)),
            "last_seen": utc(now.plus_minutes(-10)),
            "reference": null,
            "reporter": "stand_in",
            "tags": ["CobaltStrike"],
        })
    };
    let mut data = vec![entry("1700001", &ioc, confidence)];
    if observable.kind() == ObservableType::DomainName {
        data.insert(0, entry("1700002", &format!("neighbour-{ioc}"), 100));
    }
    json!({ "query_status": "ok", "data": data })
}

/// Presence is malicious; there is nothing else to say.
pub fn malwarebazaar(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    if canned != Canned::Malicious {
        return json!({ "query_status": "hash_not_found" });
    }
    json!({
        "query_status": "ok",
        "data": [{
            "sha256_hash": digest(observable, HashAlgorithm::Sha256),
            "sha1_hash": digest(observable, HashAlgorithm::Sha1),
            "md5_hash": digest(observable, HashAlgorithm::Md5),
            "first_seen": plain_time(now.plus_minutes(-30)),
            "last_seen": null,
            "file_name": "invoice.exe",
            "file_size": 903_680,
            "file_type_mime": "application/x-dosexec",
            "file_type": "exe",
            "reporter": "stand_in",
            "signature": "AgentTesla",
            "tags": ["exe"],
            "intelligence": { "clamav": null, "downloads": "0", "uploads": "1", "mail": null },
            "vendor_intel": { "ReversingLabs": { "status": "MALICIOUS", "scanner_percent": "82.14" } },
        }],
    })
}
