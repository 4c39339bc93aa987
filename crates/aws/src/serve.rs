//! The loop of a function: JSON in, JSON out, faults under the names that the state machine knows.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, Runtime, service_fn};
use playbook::{Fault, IncidentId};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{error, info};

use crate::{Error, clock, logs};

/// What is known of one invocation beside its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Lambda's id of the request.
    pub request_id: String,
    /// The account that the function runs in, from its own ARN; `000000000000` on the local stack.
    pub account: String,
    /// When Lambda ends the invocation, in milliseconds since 1970.
    pub deadline_ms: i64,
    /// The address that a request came from, as the gateway saw it; only behind an HTTP API.
    pub source_ip: Option<String>,
}

impl Invocation {
    /// The time that is left; nothing when the deadline has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.deadline_ms.saturating_sub(clock::now_ms())).unwrap_or_default())
    }
}

impl From<&Context> for Invocation {
    fn from(context: &Context) -> Self {
        Self {
            request_id: context.request_id.clone(),
            // arn:aws:lambda:<region>:<account>:function:<name>
            account: context.invoked_function_arn.split(':').nth(4).unwrap_or_default().to_owned(),
            deadline_ms: i64::try_from(context.deadline).unwrap_or(i64::MAX),
            source_ip: None,
        }
    }
}

/// Serves invocations until the sandbox ends. Input that does not fit is `Rejected`; a fault leaves under its own name
/// and is logged here, once; a panic leaves as `Panicked`, and the sandbox lives on.
pub async fn serve<I, O>(handler: impl AsyncFn(I, Invocation) -> Result<O, Fault>) -> Result<(), Error>
where
    I: DeserializeOwned,
    O: Serialize,
{
    let handler = &handler;
    let service = service_fn(move |event: LambdaEvent<Value>| invoke(handler, event));
    Runtime::new(service).run().await.map_err(|error| Error::Runtime(error.to_string()))
}

pub(crate) async fn invoke<I, O>(
    handler: &impl AsyncFn(I, Invocation) -> Result<O, Fault>,
    event: LambdaEvent<Value>,
) -> Result<Value, Failure>
where
    I: DeserializeOwned,
    O: Serialize,
{
    let invocation = Invocation::from(&event.context);
    let incident = incident_id(&event.payload);
    logs::begin(&event.context, incident.as_ref());
    let work = async {
        let input = serde_json::from_value(event.payload)
            .map_err(|error| Fault::Rejected(format!("the input cannot be read: {error}")))?;
        // In a box: the compiler computes the layout of a stage's future apart from that of the runtime's.
        let output = Box::pin(handler(input, invocation)).await?;
        serde_json::to_value(output).map_err(|error| Fault::Rejected(format!("the output cannot be written: {error}")))
    };
    let result = AssertUnwindSafe(work).catch_unwind().await;
    let failure = match result {
        Ok(Ok(output)) => return Ok(output),
        Ok(Err(fault)) => Failure::Fault(fault),
        Err(panic) => Failure::Panicked(panic_text(panic.as_ref())),
    };
    report(&failure, incident.as_ref());
    Err(failure)
}

/// Why an invocation brought no result.
#[derive(Debug)]
pub(crate) enum Failure {
    Fault(Fault),
    Panicked(String),
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let (error_type, text) = match failure {
            Failure::Fault(fault) => (fault.name(), fault.to_string()),
            Failure::Panicked(text) => ("Panicked", text),
        };
        // It ends in the mail of `MarkFailed`, and may quote what came from outside.
        Self { error_type: error_type.to_owned(), error_message: ioc::defang_text(&text) }
    }
}

/// The incident that a stage's input names.
fn incident_id(input: &Value) -> Option<IncidentId> {
    IncidentId::try_from(input.get("incident_id")?.as_str()?.to_owned()).ok()
}

pub(crate) fn report(failure: &Failure, incident: Option<&IncidentId>) {
    let incident = incident.map(IncidentId::as_str);
    match failure {
        // A wait is planned: the state machine comes back.
        Failure::Fault(fault @ Fault::Pending(_)) => info!(incident.id = incident, fault = fault.name(), "{fault}"),
        Failure::Fault(fault) => error!(incident.id = incident, fault = fault.name(), "{fault}"),
        Failure::Panicked(text) => error!(incident.id = incident, fault = "Panicked", "{text}"),
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the stage panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Deserialize)]
    struct Input {
        number: u32,
    }

    async fn half(input: Input, _: Invocation) -> Result<Value, Fault> {
        match input.number {
            0 => Err(Fault::Pending("not yet".to_owned())),
            n if n % 2 == 0 => Ok(json!({ "half": n / 2 })),
            n => panic!("{n} is odd"),
        }
    }

    async fn check(input: Value, expected: Result<Value, &str>) {
        let mut context = Context::default();
        context.invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:x".to_owned();
        let result = invoke(&half, LambdaEvent { payload: input, context }).await;
        let result = result.map_err(|failure| Diagnostic::from(failure).error_type);
        assert_eq!(result, expected.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn a_fault_leaves_under_its_own_name() {
        check(json!({"number": 4, "unknown": true}), Ok(json!({"half": 2}))).await;
        check(json!({"number": 0}), Err("Pending")).await;
        check(json!({"number": "four"}), Err("Rejected")).await;
        check(json!({"number": 3}), Err("Panicked")).await;
    }

    #[test]
    fn what_a_failure_quotes_is_neither_live_nor_hidden() {
        let fault = Fault::Rejected("no field \u{202e}\nhttps://evil.example".to_owned());
        let told = Diagnostic::from(Failure::Fault(fault)).error_message;
        assert_eq!(told, "rejected: no field \\u{202e}\\nhxxps://evil[.]example");
    }

    #[test]
    fn the_account_comes_from_the_arn_and_time_left_never_is_negative() {
        let mut context = Context::default();
        context.invoked_function_arn = "arn:aws:lambda:us-east-1:111111111111:function:x".to_owned();
        let invocation = Invocation::from(&context);
        assert_eq!(invocation.account, "111111111111");
        assert_eq!(invocation.remaining(), Duration::ZERO);
    }
}
