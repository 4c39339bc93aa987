//! What AbuseIPDB, CIRCL hashlookup and VirusTotal answer, in their own shapes.

use ioc::{HashAlgorithm, Observable, ObservableType};
use playbook::Timestamp;
use serde_json::{Value, json};

use super::Canned;

/// Confidence 100 for malicious, 50 for suspicious, the allow list for benign, no reports for not found.
pub fn abuseipdb(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let (score, reports, is_allowed) = match canned {
        Canned::Malicious => (100, 47, Some(false)),
        Canned::Suspicious => (50, 12, Some(false)),
        Canned::Benign => (0, 0, Some(true)),
        _ => (0, 0, None),
    };
    json!({
        "data": {
            "ipAddress": observable.value(),
            "isPublic": true,
            "ipVersion": if observable.kind() == ObservableType::Ipv6Addr { 6 } else { 4 },
            "isWhitelisted": is_allowed,
            "abuseConfidenceScore": score,
            "countryCode": "US",
            "usageType": "Data Center/Web Hosting/Transit",
            "isp": "Example Hosting",
            "domain": "hosting.example",
            "hostnames": [],
            "isTor": false,
            "totalReports": reports,
            "numDistinctUsers": reports / 2,
            "lastReportedAt": (reports > 0).then(|| now.plus_minutes(-10)),
        }
    })
}

/// `KnownMalicious` for malicious, trust 100 for benign.
pub fn hashlookup(observable: &Observable, canned: Canned) -> Value {
    let value = observable.value();
    let algorithm = match HashAlgorithm::of_hex(value) {
        Some(HashAlgorithm::Md5) => "MD5",
        Some(HashAlgorithm::Sha1) => "SHA-1",
        _ => "SHA-256",
    };
    let mut body = json!({ "FileName": "setup.exe", "FileSize": "7279" });
    match canned {
        Canned::Malicious => {
            body["KnownMalicious"] = json!("malware-collection.example");
            body["source"] = json!("malware-collection.example");
            body["hashlookup:trust"] = json!(10);
        }
        Canned::Benign => {
            body["ProductCode"] = json!({ "ProductName": "Example Linux", "ApplicationType": "Operating System" });
            body["source"] = json!("NSRL");
            body["hashlookup:trust"] = json!(100);
        }
        _ => return json!({ "message": format!("Non existing {algorithm}"), "query": value }),
    }
    body[algorithm] = json!(value.to_ascii_uppercase());
    body
}

/// Twelve engines for malicious, three doubtful ones for suspicious, eighty content ones for benign.
pub fn virustotal(observable: &Observable, canned: Canned, now: Timestamp) -> Value {
    let value = observable.value();
    let is_file = observable.kind() == ObservableType::File;
    let (bad, odd, good) = match canned {
        Canned::Malicious => (12, 0, 60),
        Canned::Suspicious => (0, 3, 60),
        Canned::Benign => (0, 0, 80),
        _ => {
            let message = format!("{} {value:?} not found", observable.kind());
            return json!({ "error": { "code": "NotFoundError", "message": message } });
        }
    };
    let good = if is_file { 0 } else { good };
    let mut attributes = json!({
        "last_analysis_stats": { "malicious": bad, "suspicious": odd, "harmless": good, "undetected": 10, "timeout": 0 },
        "last_analysis_results": {},
        "last_analysis_date": now.plus_minutes(-10).as_seconds(),
        "reputation": 0,
        "tags": [],
        "total_votes": { "harmless": 0, "malicious": 0 },
    });
    let (kind, id) = match observable.kind() {
        ObservableType::Ipv4Addr | ObservableType::Ipv6Addr => ("ip_address", value.to_owned()),
        ObservableType::Url => {
            attributes["url"] = json!(value);
            ("url", playbook::canonical::sha256_hex(value.as_bytes()))
        }
        ObservableType::File => {
            let hashes = observable.hashes();
            attributes["md5"] = json!(hashes.md5);
            attributes["sha1"] = json!(hashes.sha1);
            attributes["sha256"] = json!(hashes.sha256);
            ("file", value.to_owned())
        }
        ObservableType::DomainName | ObservableType::EmailAddr => ("domain", value.to_owned()),
    };
    json!({ "data": { "type": kind, "id": id, "attributes": attributes } })
}
