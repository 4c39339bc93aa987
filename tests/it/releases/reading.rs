//! Every document and every message of an earlier release, read as what it is today.

use playbook::{
    assessment::Assessment,
    bundle::Bundle,
    canonical,
    decision::{Decision, Link, Round},
    incident::{Enrichment, Extraction, ForeignExecution, Incident, Intake, Pointer, Run},
    intake::Alert,
    ledger::{Claim, LedgerEntry},
    pending::PendingLookup,
    receipt::Receipt,
    rows::Row,
    sighting::Sighting,
    ticket::Ticket,
    verdict::PersonDecision,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::recording::all;
use crate::world::ACCOUNT;

/// Reads a message as the input of the stage.
fn read_input(stage: &str, input: Value) -> Result<(), serde_json::Error> {
    fn read<T: DeserializeOwned>(input: Value) -> Result<(), serde_json::Error> {
        serde_json::from_value::<T>(input).map(drop)
    }
    match stage {
        "admit" => read::<admit::Input>(input),
        "extract" => read::<extract::Input>(input),
        "enrich" => read::<enrich::Input>(input),
        "assess" => read::<assess::Input>(input),
        "open-ticket" => read::<open_ticket::Input>(input),
        "request-review" => read::<request_review::Input>(input),
        "update-databases" => read::<update_databases::Input>(input),
        "close" => read::<close::Input>(input),
        "follow-up" => read::<follow_up::Input>(input),
        "poll-feeds" => read::<poll_feeds::Input>(input),
        "sweep" => read::<sweep::Input>(input),
        other => panic!("no function is called {other:?}"),
    }
}

/// Reads a row as what its schema, or else its key, says it is.
///
/// Rows that only one function knows have no type here; the incidents that are brought to their end go through them.
fn read_row(row: &Row) {
    fn read<T: DeserializeOwned>(row: &Row) {
        row.read::<T>().unwrap_or_else(|fault| panic!("{fault}"));
    }
    let schema = row.attributes.get("schema").and_then(Value::as_str).unwrap_or_default();
    let starts = |pk: &str, sk: &str| row.key.pk.starts_with(pk) && row.key.sk.starts_with(sk);
    match schema {
        "incident/1" => read::<Incident>(row),
        "run/1" => read::<Run>(row),
        "execution/1" => read::<ForeignExecution>(row),
        "round/1" => read::<Round>(row),
        "decision/1" => read::<Decision>(row),
        "link/1" => read::<Link>(row),
        "ledger/1" => read::<LedgerEntry>(row),
        "pending/1" => read::<PendingLookup>(row),
        "sighting/1" => read::<Sighting>(row),
        "ticket/1" => read::<Ticket>(row),
        "effect/1" | "code/1" | "counted/1" | "feed/1" => {}
        "" if starts("incident#", "enrichment#") => read::<Pointer>(row),
        "" if starts("ledger#", "claim#") => read::<Claim>(row),
        "" if starts("observable#", "decision") => read::<PersonDecision>(row),
        "" if starts("caps#", "count") || starts("stats", "") => {}
        _ => panic!("nothing reads the row {} / {} with schema {schema:?}", row.key.pk, row.key.sk),
    }
}

/// Reads a document as what its place in the bucket says it is.
fn read_document(key: &str, bytes: &[u8]) {
    fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) {
        serde_json::from_slice::<T>(bytes).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    match key.split('/').collect::<Vec<_>>()[..] {
        ["incidents", _, _, "extract", _] => read::<Extraction>(key, bytes),
        ["incidents", _, _, "enrich", _] => read::<Enrichment>(key, bytes),
        ["incidents", _, _, "assess", _] => read::<Assessment>(key, bytes),
        ["receipts", _, _, _] => check_receipts(key, bytes),
        ["incidents", _, _, "receive-alert", _] => read::<Alert>(key, bytes),
        // The configuration has a test of its own; mails and served lists are read as they are.
        ["config" | "mail" | "lists" | "providers", ..] => {}
        _ => panic!("nothing reads the document {key}"),
    }
}

/// Every receipt reaches its verdict again.
fn check_receipts(key: &str, bytes: &[u8]) {
    let receipts = Receipt::parse(bytes).unwrap_or_else(|fault| panic!("{key}: {fault}"));
    assert!(!receipts.is_empty(), "{key}");
    for receipt in receipts {
        let (_, differences) = receipt.replay();
        assert!(differences.is_empty(), "{key}: {differences:?}");
    }
}

#[test]
fn every_stage_understands_what_the_machine_of_the_release_before_sends() {
    let mut read = 0;
    for recording in all() {
        let executions = recording.executions().iter().map(|input| ("extract", input));
        let calls = recording.calls().iter().map(|call| (call.stage.as_str(), &call.input));
        for (stage, input) in executions.chain(calls) {
            read_input(stage, input.clone()).unwrap_or_else(|error| panic!("{}: {stage}: {error}", recording.name));
            read += 1;
        }
        for message in recording.messages() {
            serde_json::from_str::<Intake>(message).unwrap_or_else(|error| panic!("{}: {error}", recording.name));
        }
    }
    assert!(read > 0);
}

#[test]
fn every_row_and_document_of_the_release_before_is_read() {
    for recording in all() {
        recording.rows().iter().for_each(read_row);
        recording.documents().iter().for_each(|(key, bytes)| read_document(key, bytes));
    }
}

#[tokio::test]
async fn the_configuration_that_an_incident_is_pinned_to_still_loads() {
    for recording in all() {
        let world = recording.world().await;
        for row in recording.rows().iter().filter(|row| row.key.pk.starts_with("incident#") && row.key.sk == "meta") {
            let digest = row.read::<Incident>().unwrap().config_digest;
            let bundle = Bundle::load(&world.evidence, &digest, ACCOUNT).await;
            let bundle = bundle.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
            assert!(bundle.faults().is_empty(), "{}", recording.name);
            assert_eq!(canonical::sha256_hex(&recording.documents()[&Bundle::location(&digest)]), digest);
        }
    }
}
