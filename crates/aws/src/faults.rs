//! From an error of an AWS client to a fault: the one place that decides what may be tried again.

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use playbook::Fault;

/// An error as the clients return it.
pub type CallError<E> = SdkError<E, HttpResponse>;

/// Longest message that is taken over from a service.
const MESSAGE_CHARS: usize = 400;

/// Codes that ask for patience. The last ones are DynamoDB's: another transaction holds the row.
#[rustfmt::skip]
const THROTTLED: [&str; 15] = [
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "SlowDown",
    "ProvisionedThroughputExceededException", "ProvisionedThroughputExceeded", "ThrottlingError",
    "TransactionConflictException", "TransactionConflict", "TransactionInProgressException",
];

/// Codes that pass without anybody's doing.
const UNAVAILABLE: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "RequestTimeout", "RequestTimeoutException"];

/// Codes that a person has to do something about.
#[rustfmt::skip]
const MISCONFIGURED: [&str; 13] = [
    "AccessDenied", "AccessDeniedException", "KMSAccessDeniedException", "UnrecognizedClientException",
    "InvalidClientTokenId", "ResourceNotFoundException", "NoSuchBucket", "StateMachineDoesNotExist",
    "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "MailFromDomainNotVerifiedException",
    "SendingPausedException", "AccountSuspendedException",
];

/// The fault for an error that the caller did not expect. `call` names service and operation: `dynamodb PutItem`.
pub fn fault<E: ProvideErrorMetadata>(call: &str, error: &CallError<E>) -> Fault {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            // Of a success that cannot be read, and of a refusal without a reason: the service says neither.
            if service.err().code().is_none() && matches!(status, 200..=299 | 400) {
                return Fault::Unavailable(format!("{call}: the answer was cut off"));
            }
            let code = service.err().code().unwrap_or("unknown");
            let message = service.err().message().unwrap_or_default();
            by_code(code, status, format!("{call}: {}", clip(&format!("{code} {message}"))))
        }
        SdkError::ConstructionFailure(_) => Fault::Rejected(format!("{call}: the request cannot be built")),
        SdkError::TimeoutError(_) => Fault::Unavailable(format!("{call}: no answer in time")),
        SdkError::DispatchFailure(failure) => {
            let reason = failure.as_connector_error().map(|e| clip(&e.to_string())).unwrap_or_default();
            Fault::Unavailable(format!("{call}: not sent: {reason}"))
        }
        SdkError::ResponseError(_) => Fault::Unavailable(format!("{call}: the answer was cut off")),
        _ => Fault::Unavailable(format!("{call}: unknown error")),
    }
}

/// The fault for an error code of a service.
pub fn by_code(code: &str, status: u16, message: String) -> Fault {
    match status {
        _ if THROTTLED.contains(&code) => Fault::Throttled(message),
        _ if UNAVAILABLE.contains(&code) => Fault::Unavailable(message),
        _ if MISCONFIGURED.contains(&code) => Fault::Misconfigured(message),
        429 => Fault::Throttled(message),
        500.. => Fault::Unavailable(message),
        403 => Fault::Misconfigured(message),
        _ => Fault::Rejected(message),
    }
}

fn clip(text: &str) -> String {
    text.trim().chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_and_then_the_status() {
        let check = |code: &str, status: u16, expected: &str| {
            assert_eq!(by_code(code, status, String::new()).name(), expected, "{code} {status}");
        };
        check("ThrottlingException", 400, "Throttled");
        check("SlowDown", 503, "Throttled");
        check("ProvisionedThroughputExceededException", 400, "Throttled");
        check("TransactionConflictException", 400, "Throttled");
        check("whatever", 429, "Throttled");
        check("InternalServerError", 500, "Unavailable");
        check("ExpiredTokenException", 403, "Unavailable");
        check("AccessDeniedException", 400, "Misconfigured");
        check("ResourceNotFoundException", 400, "Misconfigured");
        check("unknown", 403, "Misconfigured");
        check("ValidationException", 400, "Rejected");
    }
}
