//! A table whose key is `pk` alone.

use std::{collections::HashMap, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity::Total},
};
use playbook::{Fault, cache::KEYS_MAX};
use serde::{Serialize, de::DeserializeOwned};

use super::Capacity;
use crate::faults::fault;

/// An item as the client has it.
pub type Item = HashMap<String, AttributeValue>;

/// How often keys that DynamoDB left unread are asked for.
const READS_MAX: u32 = 5;
/// The wait before the second read; it doubles.
const WAIT: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct Table {
    pub client: Client,
    pub name: String,
    pub capacity: Capacity,
}

impl Table {
    pub fn new(config: &SdkConfig, name: String, capacity: Capacity) -> Self {
        Self { client: Client::new(config), name, capacity }
    }

    /// The items of these keys, consistently read.
    pub async fn read(&self, keys: impl Iterator<Item = String>) -> Result<Vec<(String, Item)>, Fault> {
        let keys: Vec<Item> = keys.map(|pk| HashMap::from([("pk".to_owned(), AttributeValue::S(pk))])).collect();
        if keys.len() > KEYS_MAX {
            return Err(Fault::Rejected(format!("a read has at most {KEYS_MAX} keys, not {}", keys.len())));
        }
        let mut found = Vec::new();
        let mut left = keys;
        for attempt in 0..READS_MAX {
            if left.is_empty() {
                return Ok(found);
            }
            if attempt > 0 {
                tokio::time::sleep(WAIT * 2_u32.pow(attempt - 1)).await;
            }
            let wanted = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(left)).build();
            let wanted = wanted.map_err(|error| Fault::Rejected(format!("dynamodb BatchGetItem: {error}")))?;
            let call = self.client.batch_get_item().request_items(&self.name, wanted).return_consumed_capacity(Total);
            let read = call.send().await.map_err(|error| fault("dynamodb BatchGetItem", &error))?;
            self.capacity.read(read.consumed_capacity());
            for mut item in read.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some(AttributeValue::S(pk)) = item.remove("pk") {
                    found.push((pk, item));
                }
            }
            left = read.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
        }
        if left.is_empty() {
            Ok(found)
        } else {
            Err(Fault::Throttled("dynamodb BatchGetItem: keys were left unread".to_owned()))
        }
    }
}

/// A document as an item under this key, which DynamoDB may forget after `ttl`, in seconds since 1970.
pub fn item(pk: &str, document: &impl Serialize, ttl: i64) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(document)
        .map_err(|error| Fault::Rejected(format!("item {pk} cannot be written: {error}")))?;
    item.insert("pk".to_owned(), AttributeValue::S(pk.to_owned()));
    item.insert("ttl".to_owned(), AttributeValue::N(ttl.to_string()));
    Ok(item)
}

/// An item as a document; `None` where it cannot be read.
pub fn document<T: DeserializeOwned>(item: Item) -> Option<T> {
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item).ok()
}

pub fn value(document: &impl Serialize) -> Result<AttributeValue, Fault> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(document)
        .map_err(|error| Fault::Rejected(format!("attribute cannot be written: {error}")))
}
