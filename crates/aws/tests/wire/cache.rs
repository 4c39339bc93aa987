//! Older outcomes never win, a lease is held by one, and a quota is swapped once.

use aws::{Capacity, DynamoQuotas, DynamoVerdicts};
use playbook::{
    Timestamp,
    cache::{Lease, Leases, Quota, Quotas, Swapped, Taken, Verdicts},
    outcome::{Outcome, Status},
};
use serde_json::{Value, json};

use crate::{ID, Wire, error, fault};

const CONSUMED: &str = "ConsumedCapacity";

fn outcome(provider: &str, minute: i64) -> Outcome {
    let fetched_at = Timestamp::from_millis(1_800_000_000_000).plus_minutes(minute);
    Outcome {
        provider: provider.to_owned(),
        family: provider.to_owned(),
        context: false,
        outcome: Status::NotFound,
        reason: None,
        opinion: None,
        fetched_at,
        expires_at: fetched_at.plus_hours(1),
        manifest_digest: "d".to_owned(),
        cached: false,
        task: None,
        stale: None,
    }
}

fn failed(item: &Value) -> Value {
    json!({"__type": "x#ConditionalCheckFailedException", "message": "no", "Item": item})
}

/// An outcome as DynamoDB holds it.
fn stored(outcome: &Outcome) -> Value {
    let Value::Object(fields) = serde_json::to_value(outcome).unwrap() else { panic!("not an object") };
    let attribute = |value: Value| match value {
        Value::Bool(b) => json!({ "BOOL": b }),
        other => json!({ "S": other }),
    };
    json!({ "M": fields.into_iter().map(|(name, value)| (name, attribute(value))).collect::<serde_json::Map<_, _>>() })
}

#[tokio::test]
async fn what_is_older_than_what_lies_there_is_left_out_once() {
    let there = json!({"pk": {"S": "k"}, "outcomes.urlhaus": stored(&outcome("urlhaus", 9)), "ttl": {"N": "1"}});
    let wire = Wire::of([(400, failed(&there)), (200, json!({CONSUMED: {"TableName": "v", "CapacityUnits": 2.0}}))]);
    let capacity = Capacity::default();
    let verdicts = DynamoVerdicts::new(&wire.config().await, "v".to_owned(), capacity.clone());
    verdicts.save("k", &[outcome("urlhaus", 1), outcome("otx", 1)]).await.unwrap();
    let requests = wire.requests();
    assert_eq!(requests[0]["UpdateExpression"], "SET #ttl = :ttl, #p0 = :p0, #p1 = :p1");
    assert_eq!(requests[1]["ExpressionAttributeNames"]["#p0"], "outcomes.otx");
    assert_eq!(requests[1]["ConditionExpression"], "(attribute_not_exists(#p0) OR #p0.#fetched_at <= :f0)");
    assert_eq!(capacity.take(), (0.0, 3.0));
    assert_eq!(capacity.take(), (0.0, 0.0));
}

#[tokio::test]
async fn keys_that_were_left_unread_are_asked_for_again() {
    let item =
        |pk: &str| json!({"pk": {"S": pk}, "outcomes.otx": stored(&outcome("otx", 1)), "outcomes.bad": {"S": "?"}});
    let wire = Wire::of([
        (200, json!({"Responses": {"v": [item("a")]}, "UnprocessedKeys": {"v": {"Keys": [{"pk": {"S": "b"}}]}}})),
        (200, json!({"Responses": {"v": [item("b")]}, "UnprocessedKeys": {}})),
    ]);
    let verdicts = DynamoVerdicts::new(&wire.config().await, "v".to_owned(), Capacity::default());
    let found = verdicts.recall(&["a".to_owned(), "b".to_owned(), "c".to_owned()]).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found["b"].values().collect::<Vec<_>>(), [&outcome("otx", 1)]);
    assert_eq!(wire.requests()[1]["RequestItems"]["v"]["ConsistentRead"], true);
}

#[tokio::test]
async fn a_lease_is_taken_by_one() {
    let lease = Lease { owner: "us".to_owned(), until: Timestamp::from_millis(1), left: vec![] };
    let check = async |answer: (u16, Value), expected: Taken| {
        let wire = Wire::of([answer]);
        let verdicts = DynamoVerdicts::new(&wire.config().await, "v".to_owned(), Capacity::default());
        assert_eq!(verdicts.take("k", &lease, Timestamp::from_millis(0)).await, Ok(expected));
        assert_eq!(wire.requests()[0]["Item"]["pk"]["S"], "lease#k");
    };
    check((200, json!({})), Taken::First).await;
    check((200, json!({"Attributes": {"pk": {"S": "lease#k"}}})), Taken::After).await;
    check((400, failed(&json!({}))), Taken::Held).await;
}

#[tokio::test]
async fn a_quota_that_looks_like_ours_is_not_ours() {
    let quota = Quota { version: 6, ..Quota::default() };
    let item = |id: &str| {
        let empty = json!({"M": {}});
        json!({"pk": {"S": "a"}, "version": {"N": "6"}, "arrival": empty, "used": empty, "commit_id": {"S": id}})
    };
    let wire = Wire::of([(400, failed(&item("theirs"))), (400, failed(&item(ID)))]);
    let quotas = DynamoQuotas::new(&wire.config().await, "q".to_owned(), Capacity::default());
    assert_eq!(quotas.swap("a", 5, &quota).await, Ok(Swapped::Changed(quota.clone())));
    assert_eq!(quotas.swap("a", 5, &quota).await, Ok(Swapped::Done));
    let throttled = (400, error("ProvisionedThroughputExceededException"));
    let wire = Wire::of([throttled.clone(), throttled]);
    let quotas = DynamoQuotas::new(&wire.config().await, "q".to_owned(), Capacity::default());
    assert_eq!(fault(quotas.load(&["a".to_owned()]).await), "Throttled");
}
