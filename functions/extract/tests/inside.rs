//! Names and addresses of somebody's own network: whatever holds them, nobody outside is asked about it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::extraction;

/// Everything that is found of this mail is withheld.
fn check(host: &str) -> usize {
    let mail = format!(
        "Subject: x\n\nsee http://{host}/wiki?id=7 and https://{host}:8443/, write to mia@{host}\n\nhost: {host}\n\
         hxxp://{host}/refanged and ftp://{host}/f\n"
    );
    let found = extraction(mail.as_bytes()).observables;
    for sighted in &found {
        assert!(sighted.withheld.is_some(), "{host}: {:?}", sighted.observable);
    }
    found.len()
}

#[test]
fn no_name_inside_leaves() {
    // One label is no name that anybody could look up; where it is found at all, it stays here.
    for host in ["intranet", "wiki", "localhost", "srv-db-01"] {
        check(host);
    }
    for zone in
        ["local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "localhost"]
    {
        assert!(check(&format!("wiki.{zone}")) > 0, "{zone}");
        assert!(check(&format!("a.b-c.Wiki.{}", zone.to_uppercase())) > 0, "{zone}");
    }
    // Under a suffix that nobody has given out.
    for host in ["files.dmz", "dc01.ad.domain", "print.workgroup"] {
        check(host);
    }
    // Reverse zones of private networks.
    for host in [
        "7.1.168.192.in-addr.arpa",
        "10.in-addr.arpa",
        "1.0.0.127.in-addr.arpa",
        "16.172.in-addr.arpa",
        "8.b.d.0.d.f.ip6.arpa",
    ] {
        assert!(check(host) > 0, "{host}");
    }
    for host in ["10.1.2.3", "192.168.1.7", "172.20.0.1", "100.64.0.1", "169.254.169.254", "[fd00::7]", "[fe80::1]"] {
        assert!(check(host) > 0, "{host}");
    }
}
