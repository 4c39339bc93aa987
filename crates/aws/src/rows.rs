//! The record in DynamoDB.
//!
//! A lost answer is told from a lost race: a write that cannot be repeated as it is carries a `commit_id`, and the row
//! that a failed condition shows is compared with it.

mod expression;
mod item;
mod own;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, query::builders::QueryFluentBuilder,
        transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
    types::{
        ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure::AllOld, TransactWriteItem, Update,
        error::ConditionalCheckFailedException,
    },
};
use playbook::{
    Fault, Timestamp,
    rows::{Change, Commit, Key, Row, Rows, Write},
};

use crate::{
    commit_id,
    faults::{CallError, fault},
};
use expression::Expression;
use item::Item;

/// Most writes of one commit.
const MAX_WRITES: usize = 100;

/// The rows of one table.
#[derive(Clone, Debug)]
pub struct DynamoRows {
    client: Client,
    table: String,
}

impl DynamoRows {
    /// The rows of this table.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    async fn pages(&self, query: QueryFluentBuilder, limit: usize) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::new();
        let mut start = None;
        loop {
            let page = query.clone().table_name(&self.table).set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| fault("dynamodb Query", &error))?;
            for found in page.items.unwrap_or_default() {
                rows.push(item::row(found)?);
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() || rows.len() >= limit {
                rows.truncate(limit);
                return Ok(rows);
            }
        }
    }

    async fn commit_one(&self, write: &Write) -> Result<Commit, Fault> {
        let id = needs_id(write).then(commit_id::new).transpose()?;
        let expression = Expression::of(write, id.as_deref())?;
        let (names, values) = (expression.names, expression.values);
        let old = match &write.change {
            Change::Put(attributes) => {
                let call = self.client.put_item().table_name(&self.table);
                let call = call.set_item(Some(item::item(&write.key, attributes, id.as_deref())?));
                let call = call.set_condition_expression(expression.condition);
                let call = call.set_expression_attribute_names(names).set_expression_attribute_values(values);
                match call.return_values_on_condition_check_failure(AllOld).send().await {
                    Ok(_) => return Ok(Commit::Done),
                    Err(error) => failed("dynamodb PutItem", &error, |e| match e {
                        PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
                        _ => None,
                    })?,
                }
            }
            Change::Set { .. } => {
                let call = self.client.update_item().table_name(&self.table).set_key(Some(item::key(&write.key)));
                let call = call.set_update_expression(expression.update);
                let call = call.set_condition_expression(expression.condition);
                let call = call.set_expression_attribute_names(names).set_expression_attribute_values(values);
                match call.return_values_on_condition_check_failure(AllOld).send().await {
                    Ok(_) => return Ok(Commit::Done),
                    Err(error) => failed("dynamodb UpdateItem", &error, |e| match e {
                        UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed),
                        _ => None,
                    })?,
                }
            }
            Change::Delete | Change::Check => {
                let call = self.client.delete_item().table_name(&self.table).set_key(Some(item::key(&write.key)));
                let call = call.set_condition_expression(expression.condition);
                let call = call.set_expression_attribute_names(names).set_expression_attribute_values(values);
                match call.return_values_on_condition_check_failure(AllOld).send().await {
                    Ok(_) => return Ok(Commit::Done),
                    Err(error) => failed("dynamodb DeleteItem", &error, |e| match e {
                        DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed),
                        _ => None,
                    })?,
                }
            }
        };
        Ok(own::judge_one(old.as_ref(), id.as_deref()))
    }

    async fn commit_all(&self, writes: &[Write]) -> Result<Commit, Fault> {
        let items = writes.iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, Fault>>()?;
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        // The service itself knows the repeated call by its token, for ten minutes.
        match call.client_request_token(commit_id::new()?).send().await {
            Ok(_) => Ok(Commit::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    own::judge_all(cancelled.cancellation_reasons())
                }
                _ => Err(fault("dynamodb TransactWriteItems", &error)),
            },
        }
    }

    fn transact_item(&self, write: &Write) -> Result<TransactWriteItem, Fault> {
        // A transaction refuses an update of nothing; the id alone is something.
        let id = is_empty_set(write).then(commit_id::new).transpose()?;
        let Expression { names, values, condition, update } = Expression::of(write, id.as_deref())?;
        let item = TransactWriteItem::builder();
        let item = match &write.change {
            Change::Put(attributes) => item.put(
                Put::builder()
                    .table_name(&self.table)
                    .set_item(Some(item::item(&write.key, attributes, None)?))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()
                    .map_err(unbuilt)?,
            ),
            Change::Set { .. } => item.update(
                Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key(&write.key)))
                    .update_expression(update.unwrap_or_default())
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()
                    .map_err(unbuilt)?,
            ),
            Change::Delete => item.delete(
                Delete::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key(&write.key)))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()
                    .map_err(unbuilt)?,
            ),
            Change::Check => item.condition_check(
                ConditionCheck::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key(&write.key)))
                    .condition_expression(condition.unwrap_or_default())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()
                    .map_err(unbuilt)?,
            ),
        };
        Ok(item.build())
    }
}

fn unbuilt(error: impl std::fmt::Display) -> Fault {
    Fault::Rejected(format!("dynamodb TransactWriteItems: the request cannot be built: {error}"))
}

/// The row on which the condition failed, or the fault for any other error.
fn failed<E: ProvideErrorMetadata>(
    call: &str,
    error: &CallError<E>,
    pick: impl FnOnce(&E) -> Option<&ConditionalCheckFailedException>,
) -> Result<Option<Item>, Fault> {
    match error.as_service_error().and_then(pick) {
        Some(failed) => Ok(failed.item.clone()),
        None => Err(fault(call, error)),
    }
}

/// Whether repeating the write by itself would not do the same again.
fn needs_id(write: &Write) -> bool {
    match &write.change {
        Change::Put(_) => !write.conditions.is_empty(),
        Change::Set { add, .. } => !write.conditions.is_empty() || !add.is_empty(),
        Change::Delete | Change::Check => false,
    }
}

fn is_empty_set(write: &Write) -> bool {
    matches!(&write.change, Change::Set { set, remove, add } if set.is_empty() && remove.is_empty() && add.is_empty())
}

impl Rows for DynamoRows {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Fault> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(item::key(key))).consistent_read(true);
        let found = call.send().await.map_err(|error| fault("dynamodb GetItem", &error))?;
        found.item.map(item::row).transpose()
    }

    async fn list(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, Fault> {
        let query = self.client.query().consistent_read(true).expression_attribute_names("#pk", "pk");
        let query = query.expression_attribute_values(":pk", item::text(pk));
        if sk_prefix.is_empty() {
            return self.pages(query.key_condition_expression("#pk = :pk"), usize::MAX).await;
        }
        let query =
            query.expression_attribute_names("#sk", "sk").expression_attribute_values(":sk", item::text(sk_prefix));
        self.pages(query.key_condition_expression("#pk = :pk AND begins_with(#sk, :sk)"), usize::MAX).await
    }

    /// From the index: a row may be a moment old or gone.
    async fn due(&self, kind: &str, until: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
        let query = self.client.query().index_name("due").limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let query = query.key_condition_expression("#kind = :kind AND #at <= :at");
        let query = query.expression_attribute_names("#kind", "due_kind").expression_attribute_names("#at", "due_at");
        let query = query.expression_attribute_values(":kind", item::text(kind));
        self.pages(query.expression_attribute_values(":at", item::text(&until.to_string())), limit).await
    }

    /// From the index: a row may be a moment old or gone.
    async fn by_observable(&self, observable: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        let query = self.client.query().index_name("by_observable").limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let query = query.key_condition_expression("#observable = :observable").scan_index_forward(false);
        let query = query.expression_attribute_names("#observable", "observable");
        self.pages(query.expression_attribute_values(":observable", item::text(observable)), limit).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Commit, Fault> {
        if writes.is_empty() || writes.len() > MAX_WRITES {
            return Err(Fault::Rejected(format!("a commit has 1 to {MAX_WRITES} writes, not {}", writes.len())));
        }
        let mut keys: Vec<&Key> = writes.iter().map(|write| &write.key).collect();
        keys.sort();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Fault::Rejected("a commit writes each row once".to_owned()));
        }
        match writes {
            [write] if write.change != Change::Check => self.commit_one(write).await,
            _ => self.commit_all(writes).await,
        }
    }
}
