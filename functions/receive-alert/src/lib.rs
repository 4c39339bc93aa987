//! `receive-alert`: alerts of SIEMs and findings of AWS become intake messages.

mod auth;
mod door;
mod replay;
mod take;
#[cfg(test)]
mod tests;

use http::{Request, Response};
use playbook::{
    Fault,
    bundle::Bundle,
    canonical,
    intake::IntakeSource,
    ports::{Clock, Evidence, Queue, Secrets},
    rows::Rows,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;

/// What is read once, at start, and what a sandbox keeps.
#[derive(Debug)]
pub struct Settings {
    /// `CONFIG_DIGEST`: names the manifests of the sources.
    pub config_digest: String,
    bundle: OnceCell<Bundle>,
}

impl Settings {
    /// Settings of a sandbox that has loaded nothing yet.
    #[must_use]
    pub fn new(config_digest: String) -> Self {
        Self { config_digest, bundle: OnceCell::new() }
    }
}

/// What the stage works with.
#[derive(Debug)]
pub struct World<'a, E, R, Q, S, C> {
    /// Bundles, and the alerts as documents.
    pub evidence: &'a E,
    /// The record: what was seen before.
    pub rows: &'a R,
    /// The intake queue.
    pub queue: &'a Q,
    /// What the senders and we share.
    pub secrets: &'a S,
    /// The time.
    pub clock: &'a C,
    /// What was read at start.
    pub settings: &'a Settings,
    /// The account of this function, from its ARN: the bundle's doors depend on it.
    pub account: &'a str,
}

impl<E: Evidence, R, Q, S, C> World<'_, E, R, Q, S, C> {
    /// The configuration, loaded once a sandbox.
    async fn bundle(&self) -> Result<&Bundle, Fault> {
        let load = async || Bundle::load(self.evidence, &self.settings.config_digest, self.account).await;
        self.settings.bundle.get_or_try_init(load).await
    }
}

/// For the log only: `EventBridge` does not read the answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Messages put on the intake queue.
    pub received: usize,
}

/// Answers `POST /alerts/{source}`, which is signed, and `POST /alerts/{source}/{secret}`; always JSON.
///
/// `202 {"status": "received", "incidents": […]}`, with `error` when the mapping failed: then what came in was taken
/// whole, as one incident · `400` not JSON · `401` not signed with the source's key, or not now · `404` no such source,
/// or not its secret · `405` not POST · `409` the message was taken before · `413` more than 256 KiB · `503` something we
/// need did not answer, or is not set: the sender has to send it again. Safe to send again: what was not taken to its end
/// is taken, and what was taken is one incident.
pub async fn handle(
    world: &World<'_, impl Evidence, impl Rows, impl Queue, impl Secrets, impl Clock>,
    request: Request<Vec<u8>>,
) -> Response<Vec<u8>> {
    door::handle(world, &request).await
}

/// Takes an event of `EventBridge`: the source is found by `source` and `detail-type`. An event that no manifest takes is
/// `Rejected`. Safe to run again: the native id tells what was taken before.
pub async fn run(
    world: &World<'_, impl Evidence, impl Rows, impl Queue, impl Secrets, impl Clock>,
    event: Value,
) -> Result<Output, Fault> {
    let source = of_event(world.bundle().await?, &event)?;
    let id = match event.get("id").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => canonical::sha256_hex(event.to_string().as_bytes()),
    };
    let taken = take::take(world, source, &event, world.clock.now(), &id).await?;
    Ok(Output { received: taken.incidents.len() })
}

fn of_event<'a>(bundle: &'a Bundle, event: &Value) -> Result<&'a IntakeSource, Fault> {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let (source, detail_type) = (text("source"), text("detail-type"));
    let is_it = |manifest: &&IntakeSource| {
        manifest.off_reason().is_none()
            && manifest.event.as_ref().is_some_and(|door| door.source == source && door.detail_type == detail_type)
    };
    bundle.intake.values().find(is_it).ok_or_else(|| {
        let clip = |text: &str| text.chars().take(80).collect::<String>();
        Fault::Rejected(format!("no source takes events {:?} of {:?}", clip(detail_type), clip(source)))
    })
}
