//! The page behind the link: shows, records the decision, wakes the execution.
//!
//! GET, HEAD and OPTIONS write nothing. Deciding takes a POST from our own page, and proof of the person.

mod settings;

use http::{Request, Response};
use playbook::{
    ports::{Clock, Entropy, Evidence, Machines, Outbox},
    rows::Rows,
};

pub use settings::Settings;

/// Where the request came from, as the gateway saw it: an extension of the request, set by `main`.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// What the page works with.
#[derive(Debug)]
pub struct World<'a, E, R, O, M, C, N> {
    /// Assessments.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The way one-time codes go out.
    pub outbox: &'a O,
    /// The state machine.
    pub machines: &'a M,
    /// The time.
    pub clock: &'a C,
    /// Randomness for sessions and codes.
    pub entropy: &'a N,
    /// What was read at start.
    pub settings: &'a Settings,
}

/// Answers a request. Total: a fault is a page that says that nothing was decided.
pub async fn handle(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy>,
    request: Request<Vec<u8>>,
) -> Response<Vec<u8>> {
    let _ = (world, request);
    Response::new(vec![])
}
