//! Cached outcomes, and leases on observables being asked about.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnConsumedCapacity::Total, ReturnValue, ReturnValuesOnConditionCheckFailure::AllOld},
};
use playbook::{
    Fault, Timestamp,
    cache::{Lease, Leases, Outcomes, Taken, Verdicts},
    outcome::Outcome,
};

use super::{
    Capacity,
    table::{Item, Table, document, item, value},
};
use crate::faults::fault;

/// Attributes that hold an outcome start so; the rest of the name is the provider.
const OUTCOMES: &str = "outcomes.";
const DAY_SECONDS: i64 = 86_400;
const HOUR_SECONDS: i64 = 3_600;

/// The `Verdicts` table.
#[derive(Clone, Debug)]
pub struct DynamoVerdicts {
    table: Table,
}

impl DynamoVerdicts {
    /// The table of this name; what it consumes goes to `capacity`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, capacity: Capacity) -> Self {
        Self { table: Table::new(config, table, capacity) }
    }

    /// Writes the outcomes unless a newer one lies there; then the item that lies there.
    async fn write(&self, key: &str, outcomes: &[&Outcome]) -> Result<Option<Item>, Fault> {
        let call = self.table.client.update_item().table_name(&self.table.name);
        let mut call = call.key("pk", text(key)).return_consumed_capacity(Total);
        let (mut sets, mut conditions) = (vec!["#ttl = :ttl".to_owned()], Vec::new());
        for (n, outcome) in outcomes.iter().enumerate() {
            sets.push(format!("#p{n} = :p{n}"));
            conditions.push(format!("(attribute_not_exists(#p{n}) OR #p{n}.#fetched_at <= :f{n})"));
            call = call
                .expression_attribute_names(format!("#p{n}"), format!("{OUTCOMES}{}", outcome.provider))
                .expression_attribute_values(format!(":p{n}"), value(outcome)?)
                .expression_attribute_values(format!(":f{n}"), text(&outcome.fetched_at.to_string()));
        }
        let ttl =
            outcomes.iter().map(|outcome| outcome.expires_at.as_seconds()).max().unwrap_or_default() + DAY_SECONDS;
        let call = call
            .expression_attribute_names("#fetched_at", "fetched_at")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", AttributeValue::N(ttl.to_string()))
            .update_expression(format!("SET {}", sets.join(", ")))
            .condition_expression(conditions.join(" AND "))
            .return_values_on_condition_check_failure(AllOld);
        match call.send().await {
            Ok(written) => {
                self.table.capacity.wrote(written.consumed_capacity());
                Ok(None)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    self.table.capacity.lost();
                    Ok(Some(failed.item.clone().unwrap_or_default()))
                }
                _ => Err(fault("dynamodb UpdateItem", &error)),
            },
        }
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn lease_key(key: &str) -> String {
    format!("lease#{key}")
}

/// Outcomes that cannot be read are left out: they are asked for again.
fn outcomes(item: Item) -> Outcomes {
    let outcome = |(name, value): (String, AttributeValue)| {
        let provider = name.strip_prefix(OUTCOMES)?.to_owned();
        let outcome = serde_dynamo::aws_sdk_dynamodb_1::from_attribute_value(value).ok()?;
        Some((provider, outcome))
    };
    item.into_iter().filter_map(outcome).collect()
}

impl Verdicts for DynamoVerdicts {
    async fn recall(&self, keys: &[String]) -> Result<BTreeMap<String, Outcomes>, Fault> {
        let found = self.table.read(keys.iter().cloned()).await?;
        Ok(found.into_iter().map(|(key, item)| (key, outcomes(item))).filter(|(_, o)| !o.is_empty()).collect())
    }

    async fn save(&self, key: &str, outcomes: &[Outcome]) -> Result<(), Fault> {
        let mut fresh: Vec<&Outcome> = outcomes.iter().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let Some(there) = self.write(key, &fresh).await? else { return Ok(()) };
        let there = self::outcomes(there);
        fresh.retain(|outcome| there.get(&outcome.provider).is_none_or(|kept| kept.fetched_at <= outcome.fetched_at));
        if !fresh.is_empty() && fresh.len() < outcomes.len() {
            // Whoever was faster this time as well knows something newer.
            let _newer = self.write(key, &fresh).await?;
        }
        Ok(())
    }
}

impl Leases for DynamoVerdicts {
    async fn take(&self, key: &str, lease: &Lease, now: Timestamp) -> Result<Taken, Fault> {
        let lease_item = item(&lease_key(key), lease, lease.until.as_seconds() + HOUR_SECONDS)?;
        let call = self.table.client.put_item().table_name(&self.table.name).set_item(Some(lease_item));
        let call = call
            .condition_expression("attribute_not_exists(#pk) OR #until <= :now OR #owner = :owner")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#until", "until")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":now", text(&now.to_string()))
            .expression_attribute_values(":owner", text(&lease.owner))
            .return_values(ReturnValue::AllOld)
            .return_consumed_capacity(Total);
        match call.send().await {
            Ok(taken) => {
                self.table.capacity.wrote(taken.consumed_capacity());
                let is_first = taken.attributes.is_none_or(|old| old.is_empty());
                Ok(if is_first { Taken::First } else { Taken::After })
            }
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => {
                    self.table.capacity.lost();
                    Ok(Taken::Held)
                }
                _ => Err(fault("dynamodb PutItem", &error)),
            },
        }
    }

    async fn look(&self, keys: &[String]) -> Result<BTreeMap<String, Lease>, Fault> {
        let found = self.table.read(keys.iter().map(|key| lease_key(key))).await?;
        let lease = |(pk, item): (String, Item)| Some((pk.strip_prefix("lease#")?.to_owned(), document(item)?));
        Ok(found.into_iter().filter_map(lease).collect())
    }

    async fn finish(&self, key: &str, owner: &str, now: Timestamp, left: &[Outcome]) -> Result<(), Fault> {
        let call = self.table.client.update_item().table_name(&self.table.name).key("pk", text(&lease_key(key)));
        let call = call
            .update_expression("SET #until = :now, #left = :left")
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#until", "until")
            .expression_attribute_names("#left", "left")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":now", text(&now.to_string()))
            .expression_attribute_values(":left", value(&left)?)
            .expression_attribute_values(":owner", text(owner))
            .return_consumed_capacity(Total);
        match call.send().await {
            Ok(ended) => {
                self.table.capacity.wrote(ended.consumed_capacity());
                Ok(())
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    self.table.capacity.lost();
                    Ok(())
                }
                _ => Err(fault("dynamodb UpdateItem", &error)),
            },
        }
    }
}
