//! What lookups leave behind, in DynamoDB: the `Verdicts` and `Quotas` tables.

mod capacity;
mod quotas;
mod table;
mod verdicts;

pub use capacity::Capacity;
pub use quotas::DynamoQuotas;
pub use verdicts::DynamoVerdicts;
