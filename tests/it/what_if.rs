//! Another policy is tried on what a whole incident has left in the evidence bucket.

use std::path::Path;

use playbook::Timestamp;
use tempfile::TempDir;
use xtask::{
    project::Project,
    recorded::Place,
    what_if::{Difference, Differences, differences},
};

use crate::world::{World, fixture};

/// The link is known to two sources, an address to one that is trusted little.
const ANSWERS: &str = "\"https://secure-parcel.example/track/pay?id=4471&lang=en\": {urlhaus: malicious, threatfox: malicious}\n\
                       203.0.113.77: {abuseipdb: malicious}\n";

/// A copy of the evidence bucket after a phish was assessed.
async fn copied() -> TempDir {
    let world = World::with(ANSWERS).await;
    let input = world.admit(&world.receive_mail(&fixture("phish.eml")).await).await;
    let extracted = world.extract(&input).await;
    world.enrich(&extracted).await;
    world.assess(&extracted.incident_id).await;
    let folder = tempfile::tempdir().unwrap();
    for (key, bytes) in world.evidence.all() {
        let wanted = ["receipts/", "config/"].iter().any(|prefix| key.starts_with(prefix)) || key.contains("/assess/");
        if wanted {
            let path = folder.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    folder
}

fn try_on(folder: &Path, name: &str, text: &str) -> Differences {
    let project = Project::find().unwrap();
    let change = tempfile::tempdir().unwrap();
    let file = change.path().join(name);
    std::fs::write(&file, text).unwrap();
    differences(&project, &file, &Place::Folder(folder.to_owned()), None).unwrap()
}

fn shipped(name: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(Project::find().unwrap().path("playbook").join(name)).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn steps(list: &[Difference]) -> Vec<(&str, &str, &str)> {
    let mut steps: Vec<_> = list.iter().map(|d| (d.what.as_str(), d.before.as_str(), d.after.as_str())).collect();
    steps.sort_unstable();
    steps
}

#[tokio::test]
async fn grades_and_policies_are_tried_on_the_record_and_every_change_is_named() {
    let folder = copied().await;
    let folder = folder.path();

    // The same again: nothing changes, and everything was tried.
    let same = try_on(folder, "grades.yaml", &shipped("grades.yaml", "schema", "schema"));
    assert_eq!((same.runs, same.not_replayed, same.verdicts_only), (1, 0, 0));
    assert!(same.receipts > 5, "{}", same.receipts);
    assert!(same.verdicts.is_empty() && same.writes.is_empty() && same.routes.is_empty(), "{same:?}");

    // Nobody trusts the two sources any more.
    let distrusted =
        shipped("grades.yaml", "  threatfox: A", "  threatfox: D").replacen("  urlhaus: A", "  urlhaus: D", 1);
    let distrusted = try_on(folder, "grades.yaml", &distrusted);
    let url = "hxxps://secure-parcel[.]example/track/pay?id=4471&lang=en";
    assert_eq!(steps(&distrusted.verdicts), [(url, "malicious", "suspicious")]);
    assert_eq!(steps(&distrusted.routes), [("", "review", "watch")]);
    assert_eq!(steps(&distrusted.severities), [("", "high", "medium")]);
    assert_eq!(steps(&distrusted.tickets), [("", "a ticket", "no ticket")]);
    let writes = steps(&distrusted.writes);
    assert!(
        writes.iter().any(|(what, _, after)| what.ends_with("at served-list") && *after == "not written"),
        "{writes:?}"
    );

    // One source is trusted more than it was.
    let trusted = try_on(folder, "grades.yaml", &shipped("grades.yaml", "  abuseipdb: C", "  abuseipdb: A"));
    assert_eq!(steps(&trusted.verdicts), [("203[.]0[.]113[.]77", "suspicious", "malicious")]);

    // A policy without a severity for critical people, and with one: the mail's recipient is one of them. It is tried on the
    // configuration of then, whose guard lets names of documentation be written.
    let open = "guard: {documentation_ranges: as_public}\nstorm:";
    let policy = shipped("policy.yaml", "users: []", "users: [\"*@corp.example\"]").replacen("storm:", open, 1);
    let critical = try_on(folder, "policy.yaml", &policy);
    assert_eq!(steps(&critical.verdicts), []);
    assert_eq!(steps(&critical.severities), [("", "high", "critical")]);
}

#[tokio::test]
async fn what_cannot_be_tried_is_said() {
    let folder = copied().await;
    let project = Project::find().unwrap();
    let tried = |name: &str, text: &str, since: Option<&str>| {
        let change = tempfile::tempdir().unwrap();
        std::fs::write(change.path().join(name), text).unwrap();
        let since = since.map(|since| Timestamp::parse(since).unwrap());
        let place = Place::Folder(folder.path().to_owned());
        differences(&project, &change.path().join(name), &place, since).map_err(|error| format!("{error:#}"))
    };
    let grades = shipped("grades.yaml", "schema", "schema");
    let check = |name: &str, text: &str, since: Option<&str>, expected: &str| {
        let error = tried(name, text, since).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("grades.yaml", &grades, Some("2026-11-25T00:00:00Z"), "holds no receipts");
    check("grades.yaml", &grades.replace("  urlhaus: A", ""), None, "urlhaus is missing");
    check("x.yaml", "schema: target/1\n", None, "is neither a policy");
    check("policy.yaml", "schema: policy/1\nsurprise: 1\n", None, "surprise");
}
