//! Rows as DynamoDB items. Numbers stay numbers, nested JSON stays nested.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use playbook::{
    Fault,
    rows::{Attributes, Key, Row},
};
use serde_json::Value;

use crate::commit_id;

/// An item as the client has it.
pub type Item = HashMap<String, AttributeValue>;

pub fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub fn key(key: &Key) -> Item {
    HashMap::from([("pk".to_owned(), text(&key.pk)), ("sk".to_owned(), text(&key.sk))])
}

pub fn item(at: &Key, attributes: &Attributes, id: Option<&str>) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(attributes)
        .map_err(|error| Fault::Rejected(format!("row {} / {} cannot be written: {error}", at.pk, at.sk)))?;
    item.extend(key(at));
    item.extend(id.map(|id| (commit_id::NAME.to_owned(), text(id))));
    Ok(item)
}

pub fn value(value: &Value) -> Result<AttributeValue, Fault> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(value)
        .map_err(|error| Fault::Rejected(format!("attribute cannot be written: {error}")))
}

pub fn row(mut item: Item) -> Result<Row, Fault> {
    let mut part = |name: &str| match item.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(Fault::Rejected(format!("a row has no {name}"))),
    };
    let key = Key { pk: part("pk")?, sk: part("sk")? };
    item.remove(commit_id::NAME);
    let attributes = serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|error| Fault::Rejected(format!("row {} / {} cannot be read: {error}", key.pk, key.sk)))?;
    Ok(Row { key, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let Value::Object(attributes) = json!({
            "schema": "x/1", "run": 1, "negative": -3, "big": 9_007_199_254_740_993_u64, "share": 0.25, "last": false,
            "empty": "", "asked": ["a", 1, null, {"b": [true]}], "deep": {"a": {"b": {}}}, "none": [],
        }) else {
            panic!("not an object");
        };
        let at = Key::new("incident#x", "meta");
        let stored = item(&at, &attributes, Some("mine")).unwrap();
        assert_eq!(stored["run"], AttributeValue::N("1".to_owned()));
        assert_eq!(row(stored).unwrap(), Row { key: at, attributes });
    }
}
