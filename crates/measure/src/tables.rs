//! DynamoDB as far as our adapters use it, which counts what each call consumes by the published rule and says so in
//! `ConsumedCapacity`. Items lie in memory.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    expression::{self, Placeholders},
    size::{self, Item},
};

/// The tables' names, as the functions get them in their environment.
pub const INCIDENTS: &str = "measured-incidents";
/// Cached outcomes and leases.
pub const VERDICTS: &str = "measured-verdicts";
/// What is left of limits.
pub const QUOTAS: &str = "measured-quotas";
/// The cache of the designs that ours is compared with.
pub const NAIVE: &str = "measured-naive";

/// The sparse indexes of the record: name, hash key, range key. All of an item is in them.
const INDEXES: [(&str, &str, &str); 2] = [("by_observable", "observable", "seen_at"), ("due", "due_kind", "due_at")];

/// What one table consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumed {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
    /// Calls.
    pub calls: u64,
}

/// One write, for the breakdown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// The table.
    pub table: String,
    /// `PutItem` …
    pub operation: String,
    /// The item's key.
    pub key: String,
    /// The larger size of before and after.
    pub bytes: usize,
    /// What it cost, indexes included.
    pub units: f64,
    /// Whether the condition failed: it costs as much.
    pub is_lost: bool,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Tables {
    items: BTreeMap<String, BTreeMap<(String, String), Item>>,
    /// By table.
    pub consumed: BTreeMap<String, Consumed>,
    /// Every write in order.
    pub written: Vec<Written>,
}

/// How a call ends: status and body.
pub type Answer = (u16, Value);

impl Tables {
    /// Puts an item without counting it.
    pub fn seed(&mut self, table: &str, item: Item) {
        let key = key_of(table, &item);
        self.items.entry(table.to_owned()).or_default().insert(key, item);
    }

    /// Removes every item of a table.
    pub fn clear(&mut self, table: &str) {
        self.items.remove(table);
    }

    /// The items of a table, for reports.
    #[must_use]
    pub fn all(&self, table: &str) -> Vec<Item> {
        self.items.get(table).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Answers a call, `GetItem` for example.
    pub fn call(&mut self, operation: &str, request: &Value) -> Result<Answer> {
        match operation {
            "BatchGetItem" => self.batch_get(request),
            "GetItem" => self.get(request),
            "Query" => self.query(request),
            "PutItem" | "UpdateItem" | "DeleteItem" => self.write(operation, request),
            "TransactWriteItems" => self.transact(request),
            other => bail!("{other} is not known here"),
        }
    }

    fn find(&self, table: &str, key: &Item) -> Option<&Item> {
        self.items.get(table)?.get(&key_of(table, key))
    }

    fn consume(&mut self, table: &str, read: f64, write: f64) -> Value {
        let consumed = self.consumed.entry(table.to_owned()).or_default();
        *consumed = Consumed { read: consumed.read + read, write: consumed.write + write, calls: consumed.calls };
        json!({ "TableName": table, "CapacityUnits": read + write })
    }

    fn count(&mut self, table: &str) {
        self.consumed.entry(table.to_owned()).or_default().calls += 1;
    }

    fn batch_get(&mut self, request: &Value) -> Result<Answer> {
        let (mut responses, mut consumed) = (Map::new(), vec![]);
        for (table, wanted) in request["RequestItems"].as_object().into_iter().flatten() {
            let is_consistent = wanted["ConsistentRead"].as_bool().unwrap_or_default();
            let (mut found, mut units) = (vec![], 0.0);
            for key in wanted["Keys"].as_array().into_iter().flatten() {
                let item = self.find(table, item(key)?);
                units += size::read_units(item.map_or(0, size::item_bytes), is_consistent);
                found.extend(item.cloned().map(Value::Object));
            }
            self.count(table);
            consumed.push(self.consume(table, units, 0.0));
            responses.insert(table.clone(), found.into());
        }
        Ok((200, json!({ "Responses": responses, "UnprocessedKeys": {}, "ConsumedCapacity": consumed })))
    }

    fn get(&mut self, request: &Value) -> Result<Answer> {
        let table = text(request, "TableName")?;
        let found = self.find(table, item(&request["Key"])?).cloned();
        let is_consistent = request["ConsistentRead"].as_bool().unwrap_or_default();
        let units = size::read_units(found.as_ref().map_or(0, size::item_bytes), is_consistent);
        self.count(table);
        let consumed = self.consume(table, units, 0.0);
        let mut answer = json!({ "ConsumedCapacity": consumed });
        if let Some(found) = found {
            answer["Item"] = Value::Object(found);
        }
        Ok((200, answer))
    }

    fn query(&mut self, request: &Value) -> Result<Answer> {
        let table = text(request, "TableName")?;
        let (condition, of) = (text(request, "KeyConditionExpression")?, Placeholders::of(request));
        let index = request["IndexName"].as_str();
        let index = index.map(|name| INDEXES.iter().find(|(known, _, _)| *known == name).context("no such index"));
        let index = index.transpose()?;
        let mut found = vec![];
        for item in self.items.get(table).into_iter().flat_map(BTreeMap::values) {
            if index.is_none_or(|index| is_in(index, item)) && expression::holds(condition, of, item)? {
                found.push(item.clone());
            }
        }
        if let Some((_, _, range)) = index {
            found.sort_by_key(|item| attribute(item, range));
        }
        if request["ScanIndexForward"] == Value::Bool(false) {
            found.reverse();
        }
        found.truncate(request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
        let bytes = found.iter().map(size::item_bytes).sum();
        let units = size::read_units(bytes, request["ConsistentRead"].as_bool().unwrap_or_default());
        self.count(table);
        let consumed = self.consume(table, units, 0.0);
        Ok((200, json!({ "Count": found.len(), "Items": found, "ConsumedCapacity": consumed })))
    }

    /// What a write makes of an item, and whether its condition holds of the one before.
    fn outcome(&self, operation: &str, request: &Value) -> Result<Change> {
        let table = text(request, "TableName")?.to_owned();
        let of = Placeholders::of(request);
        let key = item(if operation == "PutItem" { &request["Item"] } else { &request["Key"] })?;
        let before = self.find(&table, key).cloned();
        let after = match operation {
            "PutItem" => Some(key.clone()),
            "UpdateItem" => {
                let start = before.clone().unwrap_or_else(|| key.clone());
                let update = request["UpdateExpression"].as_str();
                Some(update.map_or_else(|| Ok(start.clone()), |update| expression::updated(update, of, &start))?)
            }
            "DeleteItem" => None,
            _ => before.clone(),
        };
        let condition = request["ConditionExpression"].as_str();
        let holds = |condition| expression::holds(condition, of, before.as_ref().unwrap_or(&Item::new()));
        let is_lost = !condition.map_or(Ok(true), holds)?;
        let key = key_of(&table, key);
        let mut units = size::write_units(before.as_ref(), after.as_ref());
        if !is_lost && table == INCIDENTS {
            units += INDEXES.iter().map(|index| index_units(index, before.as_ref(), after.as_ref())).sum::<f64>();
        }
        Ok(Change { table, operation: operation.to_owned(), key, before, after, is_lost, units })
    }

    fn apply(&mut self, change: Change, units: f64) -> Value {
        let Change { table, operation, key, before, after, is_lost, .. } = change;
        let bytes = [before.as_ref(), after.as_ref()].into_iter().flatten().map(size::item_bytes).max();
        self.written.push(Written {
            table: table.clone(),
            operation,
            key: format!("{} {}", key.0, key.1).trim_end().to_owned(),
            bytes: bytes.unwrap_or_default(),
            units,
            is_lost,
        });
        let consumed = self.consume(&table, 0.0, units);
        if !is_lost {
            let items = self.items.entry(table).or_default();
            match after {
                Some(after) => items.insert(key, after),
                None => items.remove(&key),
            };
        }
        consumed
    }

    fn write(&mut self, operation: &str, request: &Value) -> Result<Answer> {
        let change = self.outcome(operation, request)?;
        let (is_lost, units, before) = (change.is_lost, change.units, change.before.clone());
        self.count(&change.table);
        let consumed = self.apply(change, units);
        let old = || before.map_or_else(|| json!({}), Value::Object);
        if is_lost {
            let mut error = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
                "message": "The conditional request failed",
            });
            if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" {
                error["Item"] = old();
            }
            return Ok((400, error));
        }
        let mut answer = json!({ "ConsumedCapacity": consumed });
        if request["ReturnValues"] == "ALL_OLD" {
            answer["Attributes"] = old();
        }
        Ok((200, answer))
    }

    fn transact(&mut self, request: &Value) -> Result<Answer> {
        let mut changes = vec![];
        for part in request["TransactItems"].as_array().into_iter().flatten() {
            let (verb, part) = part.as_object().and_then(|part| part.iter().next()).context("a part is empty")?;
            let operation = if verb == "ConditionCheck" { "ConditionCheck".to_owned() } else { format!("{verb}Item") };
            changes.push(self.outcome(&operation, part)?);
        }
        let is_cancelled = changes.iter().any(|change| change.is_lost);
        let code = |change: &Change| json!({ "Code": if change.is_lost { "ConditionalCheckFailed" } else { "None" } });
        let reasons: Vec<Value> = changes.iter().map(code).collect();
        let mut consumed = vec![];
        for change in changes {
            self.count(&change.table);
            // Each part is written twice: prepared and done.
            let units = change.units * 2.0;
            consumed.push(self.apply(Change { is_lost: is_cancelled, ..change }, units));
        }
        if is_cancelled {
            let error = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "message": "Transaction cancelled", "CancellationReasons": reasons,
            });
            return Ok((400, error));
        }
        Ok((200, json!({ "ConsumedCapacity": consumed })))
    }
}

/// A write that was worked out.
#[derive(Debug)]
struct Change {
    table: String,
    operation: String,
    key: (String, String),
    before: Option<Item>,
    after: Option<Item>,
    is_lost: bool,
    units: f64,
}

/// Units that a write costs one index: an entry that stays as it is costs nothing, one whose key changes is written twice.
fn index_units(index: &(&str, &str, &str), before: Option<&Item>, after: Option<&Item>) -> f64 {
    let entry = |item: Option<&Item>| item.filter(|item| is_in(index, item)).cloned();
    match (entry(before), entry(after)) {
        (None, None) => 0.0,
        (Some(before), Some(after)) if before == after => 0.0,
        (Some(before), Some(after)) if [index.1, index.2].iter().any(|name| before.get(*name) != after.get(*name)) => {
            size::write_units(Some(&before), None) + size::write_units(None, Some(&after))
        }
        (before, after) => size::write_units(before.as_ref(), after.as_ref()),
    }
}

fn is_in(index: &(&str, &str, &str), item: &Item) -> bool {
    item.contains_key(index.1) && item.contains_key(index.2)
}

fn key_of(table: &str, item: &Item) -> (String, String) {
    (attribute(item, "pk"), if table == INCIDENTS { attribute(item, "sk") } else { String::new() })
}

fn attribute(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.get("S")).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn item(value: &Value) -> Result<&Item> {
    value.as_object().context("not an item")
}

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str> {
    request[name].as_str().with_context(|| format!("{name} is missing"))
}

/// A document as DynamoDB holds it.
#[must_use]
pub fn stored(document: &Value) -> Value {
    match document {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(is_so) => json!({ "BOOL": is_so }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(values) => json!({ "L": values.iter().map(stored).collect::<Vec<_>>() }),
        Value::Object(fields) => json!({ "M": fields_of(fields) }),
    }
}

/// A document's fields as attributes.
#[must_use]
pub fn fields_of(fields: &Map<String, Value>) -> Item {
    fields.iter().map(|(name, value)| (name.clone(), stored(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &str, item: &Value, condition: &str) -> Value {
        let mut request = json!({ "TableName": table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD" });
        if !condition.is_empty() {
            request["ConditionExpression"] = condition.into();
            request["ExpressionAttributeNames"] = json!({ "#pk": "pk" });
        }
        request
    }

    #[test]
    fn a_condition_that_fails_costs_as_much_and_changes_nothing() {
        let mut tables = Tables::default();
        let large = json!({ "pk": { "S": "a" }, "text": { "S": "x".repeat(2_500) } });
        let small = json!({ "pk": { "S": "a" } });
        assert_eq!(tables.call("PutItem", &put(QUOTAS, &large, "attribute_not_exists(#pk)")).unwrap().0, 200);
        let (status, lost) = tables.call("PutItem", &put(QUOTAS, &small, "attribute_not_exists(#pk)")).unwrap();
        assert_eq!((status, &lost["Item"]), (400, &large));
        assert!((tables.consumed[QUOTAS].write - 6.0).abs() < f64::EPSILON);
        assert_eq!(tables.written.iter().map(|written| written.is_lost).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn what_is_read_is_charged_item_by_item_in_a_batch_and_together_in_a_query() {
        let mut tables = Tables::default();
        for sk in ["a", "b", "c"] {
            let item = json!({ "pk": { "S": "p" }, "sk": { "S": sk }, "text": { "S": "x".repeat(1_500) } });
            tables.call("PutItem", &put(INCIDENTS, &item, "")).unwrap();
        }
        let key = |sk: &str| json!({ "pk": { "S": "p" }, "sk": { "S": sk } });
        let keys = json!({ "RequestItems": { INCIDENTS: { "Keys": [key("a"), key("b"), key("d")], "ConsistentRead": true } } });
        let (_, read) = tables.call("BatchGetItem", &keys).unwrap();
        assert_eq!(read["ConsumedCapacity"][0]["CapacityUnits"], 3.0);
        assert_eq!(read["Responses"][INCIDENTS].as_array().map(Vec::len), Some(2));
        let query = json!({
            "TableName": INCIDENTS, "KeyConditionExpression": "#pk = :pk", "ExpressionAttributeNames": { "#pk": "pk" },
            "ExpressionAttributeValues": { ":pk": { "S": "p" } }, "ConsistentRead": true,
        });
        let (_, found) = tables.call("Query", &query).unwrap();
        assert_eq!(
            (found["Count"].as_u64(), found["ConsumedCapacity"]["CapacityUnits"].as_f64()),
            (Some(3), Some(2.0))
        );
    }

    #[test]
    fn an_index_costs_where_its_entry_changes() {
        let row = |due: Option<&str>| {
            let mut row = json!({ "pk": { "S": "p" }, "sk": { "S": "s" }, "due_kind": { "S": "lookup" } });
            if let Some(due) = due {
                row["due_at"] = json!({ "S": due });
            }
            row
        };
        let mut tables = Tables::default();
        let mut cost = |due| {
            let before = tables.consumed.get(INCIDENTS).map_or(0.0, |consumed| consumed.write);
            tables.call("PutItem", &put(INCIDENTS, &row(due), "")).unwrap();
            tables.consumed[INCIDENTS].write - before
        };
        let costs = [cost(None), cost(Some("1")), cost(Some("1")), cost(Some("2")), cost(None)];
        assert!(
            costs.iter().zip([1.0, 2.0, 1.0, 3.0, 2.0]).all(|(cost, expected)| (cost - expected).abs() < 0.01),
            "{costs:?}"
        );
    }

    #[test]
    fn a_transaction_is_done_whole_and_costs_twice() {
        let mut tables = Tables::default();
        let part = |pk: &str, condition: &str| json!({ "Put": put(QUOTAS, &json!({ "pk": { "S": pk } }), condition) });
        let both = |pk: &str| json!({ "TransactItems": [part("a", "attribute_not_exists(#pk)"), part(pk, "")] });
        assert_eq!(tables.call("TransactWriteItems", &both("b")).unwrap().0, 200);
        let (status, error) = tables.call("TransactWriteItems", &both("c")).unwrap();
        assert_eq!((status, &error["CancellationReasons"][0]["Code"]), (400, &json!("ConditionalCheckFailed")));
        assert!((tables.consumed[QUOTAS].write - 8.0).abs() < f64::EPSILON);
        assert_eq!(tables.all(QUOTAS).len(), 2);
    }
}
