//! How many read and write units the cache has consumed, as DynamoDB itself says.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::types::ConsumedCapacity;
use tracing::debug;

/// A counter that all adapters of a sandbox share.
#[derive(Clone, Debug, Default)]
pub struct Capacity(Arc<Mutex<(f64, f64)>>);

impl Capacity {
    /// Read and write units since the last time; the counter starts anew.
    #[must_use]
    pub fn take(&self) -> (f64, f64) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the units since the last time to the log, at `debug`.
    pub fn log(&self) {
        let (read_units, write_units) = self.take();
        debug!(read_units, write_units, "capacity consumed");
    }

    pub(super) fn read(&self, consumed: &[ConsumedCapacity]) {
        self.add(units(consumed), 0.0);
    }

    pub(super) fn wrote(&self, consumed: Option<&ConsumedCapacity>) {
        self.add(0.0, consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or_default());
    }

    /// A write whose condition failed costs as well, at least one unit; the answer does not say how much.
    pub(super) fn lost(&self) {
        self.add(0.0, 1.0);
    }

    fn add(&self, read: f64, write: f64) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        units.0 += read;
        units.1 += write;
    }
}

fn units(consumed: &[ConsumedCapacity]) -> f64 {
    consumed.iter().filter_map(ConsumedCapacity::capacity_units).sum()
}
