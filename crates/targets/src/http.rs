//! One call to a target over https: the request, and what the answer means.

mod answer;
mod request;

use std::time::Duration;

use playbook::{
    Fault,
    lookup::CallError,
    ports::{Destination, Egress, Reach, Secret},
    target::{Call, Target},
};
use serde_json::{Value, json};
use tracing::info;

use request::Refusal;

/// The way to a target.
#[derive(Debug)]
pub struct Wire<'a, G> {
    /// The way out.
    pub egress: &'a G,
    /// Where calls may go by the policy.
    pub reach: Reach<'a>,
    /// The target's secret.
    pub secret: Option<&'a Secret>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done; or only noted, where the target is in `dry_run`.
    Done {
        /// What it is called there.
        external_id: Option<String>,
        /// Where people look at it; https.
        permalink: Option<String>,
    },
    /// It was there already.
    Duplicate {
        /// What it is called there.
        external_id: Option<String>,
    },
    /// It is there. Only of calls that look, which have `found_when`.
    Found {
        /// What it is called there.
        external_id: Option<String>,
        /// Where people look at it; https.
        permalink: Option<String>,
        /// Whether it carries our marker.
        is_ours: bool,
    },
    /// It is not there. Only of calls that look.
    NotFound,
}

/// Makes one call. The document is what the expressions see; `settings` and `marker` are put into it here.
///
/// `Unavailable`: no answer or a broken one; `Throttled`: the target asks for patience; `Misconfigured`: the secret or the
/// manifest is wrong; `Rejected`: the target does not take this one, with status and the beginning of its answer.
pub async fn call(
    wire: &Wire<'_, impl Egress>,
    target: &Target,
    call: &Call,
    document: &Value,
) -> Result<Reply, Fault> {
    let document = completed(target, document)?;
    let request = request::prepare(target, call, &document, wire.secret).map_err(|refusal| match refusal {
        Refusal::Deployment(why) => Fault::Misconfigured(format!("target {}: {why}", target.id)),
        Refusal::Document(why) => Fault::Rejected(format!("target {}: {why}", target.id)),
    })?;
    if target.dry_run && call.changes() {
        info!(target.id = %target.id, method = call.method.as_str(), path = %call.path, "not sent: dry run");
        return Ok(Reply::Done { external_id: None, permalink: None });
    }
    let to = Destination::of(&target.host, wire.reach);
    let timeout = Duration::from_millis(u64::from(target.timeout_ms));
    let answer = wire.egress.call(&to, &request, timeout).await.map_err(|error| missing(target, &error))?;
    answer::read(target, call, &document, &answer, wire.secret)
}

/// The document with what the manifest knows.
fn completed(target: &Target, document: &Value) -> Result<Value, Fault> {
    let Value::Object(members) = document else {
        return Err(Fault::Rejected(format!("target {}: the call's document is not an object", target.id)));
    };
    let mut members = members.clone();
    members.insert("settings".to_owned(), json!(target.settings));
    members.insert("marker".to_owned(), Target::marker().into());
    Ok(Value::Object(members))
}

fn missing(target: &Target, error: &CallError) -> Fault {
    let message = format!("target {}: {error}", target.id);
    match error {
        CallError::Refused(_) => Fault::Misconfigured(message),
        CallError::TooLarge => Fault::Rejected(message),
        CallError::Timeout | CallError::Dns | CallError::Tls(_) | CallError::Unreachable(_) => {
            Fault::Unavailable(message)
        }
    }
}
