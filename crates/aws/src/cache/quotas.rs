//! Quotas by account, replaced under their version.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnConsumedCapacity::Total, ReturnValuesOnConditionCheckFailure::AllOld},
};
use playbook::{
    Fault,
    cache::{Quota, Quotas, Swapped},
};

use super::{
    Capacity,
    table::{Table, document, item},
};
use crate::{clock::now_ms, commit_id, faults::fault};

/// How long a quota that nobody uses is kept: longer than the longest window of a provider, a month.
const KEPT_SECONDS: i64 = 40 * 86_400;

/// The `Quotas` table.
#[derive(Clone, Debug)]
pub struct DynamoQuotas {
    table: Table,
}

impl DynamoQuotas {
    /// The table of this name; what it consumes goes to `capacity`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, capacity: Capacity) -> Self {
        Self { table: Table::new(config, table, capacity) }
    }
}

impl Quotas for DynamoQuotas {
    async fn load(&self, accounts: &[String]) -> Result<BTreeMap<String, Quota>, Fault> {
        let found = self.table.read(accounts.iter().cloned()).await?;
        Ok(found.into_iter().filter_map(|(account, item)| Some((account, document(item)?))).collect())
    }

    async fn swap(&self, account: &str, seen: u64, quota: &Quota) -> Result<Swapped, Fault> {
        // Two callers may compute the same quota, so that only an id of our own tells a lost answer from a lost race.
        let id = AttributeValue::S(commit_id::new()?);
        let mut written = item(account, quota, now_ms() / 1000 + KEPT_SECONDS)?;
        written.insert(commit_id::NAME.to_owned(), id.clone());
        let call = self.table.client.put_item().table_name(&self.table.name).set_item(Some(written));
        let call = if seen == 0 {
            call.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", "pk")
        } else {
            call.condition_expression("#version = :seen")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":seen", AttributeValue::N(seen.to_string()))
        };
        let call = call.return_values_on_condition_check_failure(AllOld).return_consumed_capacity(Total);
        match call.send().await {
            Ok(written) => {
                self.table.capacity.wrote(written.consumed_capacity());
                Ok(Swapped::Done)
            }
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    self.table.capacity.lost();
                    let there = failed.item.clone().unwrap_or_default();
                    if there.get(commit_id::NAME) == Some(&id) {
                        return Ok(Swapped::Done);
                    }
                    Ok(Swapped::Changed(document(there).unwrap_or_default()))
                }
                _ => Err(fault("dynamodb PutItem", &error)),
            },
        }
    }
}
