//! What the playbook costs: calls, capacity units, time and dollars, measured on this machine.
//!
//! `enrich` runs as its release bootstrap in processes of its own, as Lambda would run it, against stand-ins on the loopback
//! interface: providers that answer by a script, and AWS as far as the stage uses it. What they are asked is counted there, so
//! that nothing of the stage has to be known. Times of this machine are never those of AWS: ratios of one run, and counts, are.

pub mod cloud;
pub mod cost;
pub mod desk;
pub mod expression;
pub mod naive;
pub mod page;
pub mod sandbox;
pub mod scenario;
pub mod script;
pub mod serve;
pub mod size;
pub mod tables;
pub mod way;
