//! Conflict or own write, and what may be tried again.

use aws::DynamoRows;
use playbook::{
    Fault, Timestamp,
    rows::{Commit, Condition, Key, Rows, Write},
};
use serde_json::{Value, json};

use crate::{ID, Wire, error, fault};

fn key() -> Key {
    Key::new("incident#a", "meta")
}

fn put() -> Write {
    Write::put(key(), &json!({"schema": "incident/1", "run": 1})).unwrap().only_if(Condition::Absent)
}

fn set() -> Write {
    Write::set(key(), &json!({"state": "decided"})).unwrap().only_if(Condition::Is("state", json!("open")))
}

/// A failed condition that shows this item.
fn failed(item: &Value) -> Value {
    json!({ "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no", "Item": item })
}

async fn commit<const N: usize>(answers: [(u16, Value); N], writes: &[Write]) -> (Result<Commit, Fault>, Wire) {
    let wire = Wire::of(answers);
    let rows = DynamoRows::new(&wire.config().await, "incidents".to_owned());
    (rows.commit(writes).await, wire)
}

#[tokio::test]
async fn another_ones_row_is_a_conflict_even_when_it_says_the_same() {
    let item = |run: &str| json!({"pk": {"S": "incident#a"}, "sk": {"S": "meta"}, "schema": {"S": "incident/1"}, "run": {"N": run}});
    let (result, wire) = commit([(400, failed(&item("2")))], &[put()]).await;
    assert_eq!(result, Ok(Commit::Conflict));
    assert_eq!(wire.requests()[0]["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    let (result, _) = commit([(400, failed(&item("1")))], &[put()]).await;
    assert_eq!(result, Ok(Commit::Conflict));
}

/// The first attempt gets through and its answer is lost; the second fails on the row that the first left.
#[tokio::test]
async fn a_lost_answer_is_not_a_lost_race() {
    let row =
        |id: &str| json!({"pk": {"S": "incident#a"}, "sk": {"S": "meta"}, "run": {"N": "9"}, "commit_id": {"S": id}});
    let tries = Write::set(key(), &json!({})).unwrap().adding("tries", 1);
    for write in [put(), set(), tries, set().adding("tries", 1)] {
        let lost = (500, error("InternalServerError"));
        let (result, wire) = commit([lost.clone(), (400, failed(&row(ID)))], std::slice::from_ref(&write)).await;
        assert_eq!((result, wire.requests().len()), (Ok(Commit::Done), 2), "{write:?}");
        let (result, _) = commit([lost, (400, failed(&row("theirs")))], &[write]).await;
        assert_eq!(result, Ok(Commit::Conflict));
    }
}

#[tokio::test]
async fn what_can_be_repeated_as_it_is_carries_no_id() {
    let put = Write::put(key(), &json!({"run": 1})).unwrap();
    let set = Write::set(key(), &json!({"run": 1})).unwrap();
    for write in [put, set, Write::delete(key())] {
        let (result, wire) = commit([(200, json!({}))], &[write]).await;
        assert_eq!(result, Ok(Commit::Done));
        assert!(!wire.requests()[0].to_string().contains("commit_id"));
    }
}

#[tokio::test]
async fn a_set_of_nothing_is_an_update_even_in_a_transaction() {
    let touch = Write::set(Key::new("a", "b"), &json!({})).unwrap();
    let (result, wire) = commit([(200, json!({}))], &[touch, put()]).await;
    assert_eq!(result, Ok(Commit::Done));
    assert_eq!(wire.requests()[0]["TransactItems"][0]["Update"]["UpdateExpression"], "SET #n0 = :v0");
}

#[tokio::test]
async fn a_cancelled_transaction_says_why() {
    let check = async |reasons: Value, expected: Result<Commit, &str>| {
        let cancelled =
            json!({"__type": "x#TransactionCanceledException", "message": "no", "CancellationReasons": reasons});
        let other = Write::set(Key::new("incident#a", "round#1#1"), &json!({"state": "decided"})).unwrap();
        let other = other.only_if(Condition::Is("state", json!("open")));
        let (result, wire) = commit([(400, cancelled)], &[put(), other]).await;
        assert_eq!(result.as_ref().copied().map_err(Fault::name), expected, "{reasons}");
        assert!(wire.requests()[0]["ClientRequestToken"].is_string());
    };
    let none = json!({"Code": "None"});
    let same = json!({"Code": "ConditionalCheckFailed", "Item": {
        "pk": {"S": "incident#a"}, "sk": {"S": "meta"}, "schema": {"S": "incident/1"}, "run": {"N": "1"}}});
    let theirs = json!({"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "incident#a"}, "sk": {"S": "meta"}, "run": {"N": "7"}}});
    let round = |state: &str| {
        json!({"Code": "ConditionalCheckFailed", "Item": {
            "pk": {"S": "incident#a"}, "sk": {"S": "round#1#1"}, "state": {"S": state}}})
    };
    check(json!([theirs, none]), Ok(Commit::Conflict)).await;
    check(json!([same, none]), Ok(Commit::Conflict)).await;
    check(json!([same, round("decided")]), Ok(Commit::Conflict)).await;
    check(json!([none, round("decided")]), Ok(Commit::Conflict)).await;
    check(json!([none, {"Code": "TransactionConflict"}]), Err("Throttled")).await;
    check(json!([{"Code": "ThrottlingError"}, none]), Err("Throttled")).await;
    check(json!([{"Code": "ValidationError", "Message": "x"}, none]), Err("Rejected")).await;
}

#[tokio::test]
async fn errors_become_the_fault_that_says_what_helps() {
    let check = async |status: u16, code: &str, expected: &str| {
        let (result, _) = commit([(status, error(code)), (status, error(code))], &[put()]).await;
        assert_eq!(fault(result), expected, "{code}");
    };
    check(400, "ProvisionedThroughputExceededException", "Throttled").await;
    check(400, "ThrottlingException", "Throttled").await;
    check(400, "TransactionConflictException", "Throttled").await;
    check(500, "InternalServerError", "Unavailable").await;
    check(400, "ValidationException", "Rejected").await;
    check(400, "AccessDeniedException", "Misconfigured").await;
    check(400, "ResourceNotFoundException", "Misconfigured").await;
}

#[tokio::test]
async fn a_list_goes_through_all_pages_and_hides_the_id() {
    let item = |sk: &str| json!({"pk": {"S": "a"}, "sk": {"S": sk}, "commit_id": {"S": "x"}, "n": {"N": "1"}});
    let next = json!({"pk": {"S": "a"}, "sk": {"S": "b#1"}});
    let wire = Wire::of([
        (200, json!({"Items": [item("b#1")], "LastEvaluatedKey": next})),
        (200, json!({"Items": [item("b#2")]})),
    ]);
    let rows = DynamoRows::new(&wire.config().await, "incidents".to_owned());
    let found = rows.list("a", "b#").await.unwrap();
    assert_eq!(found.iter().map(|row| row.key.sk.as_str()).collect::<Vec<_>>(), ["b#1", "b#2"]);
    assert_eq!(Value::Object(found[0].attributes.clone()), json!({"n": 1}));
    assert_eq!(wire.requests()[1]["ExclusiveStartKey"], next);
    assert_eq!(wire.requests()[0]["ConsistentRead"], true);
}

#[tokio::test]
async fn what_is_due_stops_at_the_limit() {
    let item = json!({"pk": {"S": "a"}, "sk": {"S": "b"}});
    let page = json!({"Items": [item, item], "LastEvaluatedKey": item});
    let wire = Wire::of([(200, page)]);
    let rows = DynamoRows::new(&wire.config().await, "incidents".to_owned());
    assert_eq!(rows.due("round-deadline", Timestamp::from_millis(0), 1).await.unwrap().len(), 1);
    assert_eq!(wire.requests()[0]["IndexName"], "due");
}

/// The write may well be done; it is for the state machine to try again, as after any lost answer.
#[tokio::test]
async fn an_answer_that_ends_in_the_middle_may_be_tried_again() {
    for (status, half) in [(200, "{\"Attri"), (400, "{\"__type\": \"com.amazonaws.dyn")] {
        let (result, _) = commit([(status, json!(half))], &[put()]).await;
        assert_eq!(fault(result), "Unavailable", "{status}");
        let wire = Wire::of([(status, json!(half))]);
        let rows = DynamoRows::new(&wire.config().await, "incidents".to_owned());
        assert_eq!(fault(rows.get(&key()).await), "Unavailable", "{status}");
    }
}
