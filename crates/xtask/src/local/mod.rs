//! The local stack: the emulator, the same template as on AWS, and what the demo and the tests ask of them.

mod emulator;
mod faults;
mod gateway;
mod stack;
mod venv;

pub use emulator::{EMULATOR_VARIABLE, Emulator, Purpose, end_all};
pub use faults::FaultInjector;
pub use gateway::{Gateway, SentMail, basic};
pub use stack::{Deployment, Execution, Stack, logical_id};
pub use venv::{Venv, lock};
