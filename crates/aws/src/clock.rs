//! The real time and the real randomness.

use jiff::Timestamp as Moment;
use playbook::{
    Fault, Timestamp,
    ports::{Clock, Entropy},
};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(now_ms())
    }
}

/// Milliseconds since 1970. The wall clock, because the monotonic one may stand still while the sandbox is frozen.
pub(crate) fn now_ms() -> i64 {
    Moment::now().as_millisecond()
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault> {
        getrandom::fill(bytes).map_err(|error| Fault::Unavailable(format!("no randomness: {error}")))
    }
}
