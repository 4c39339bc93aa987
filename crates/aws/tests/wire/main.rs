//! The adapters against answers as AWS writes them: what a conflict is, what may be tried again, what nobody waits for.
#![cfg(all(
    feature = "dynamodb",
    feature = "s3",
    feature = "ses",
    feature = "sfn",
    feature = "sqs",
    feature = "ssm",
    feature = "wafv2"
))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "an answer that was not expected ends the test"
)]

mod cache;
mod evidence;
mod ip_sets;
mod machines;
mod outbox;
mod rows;
mod secrets;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

/// Stands in an answer for the `commit_id` of the request.
const ID: &str = "$ID";

/// Recorded answers, given in order, and the requests that asked for them.
#[derive(Clone, Debug, Default)]
struct Wire {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Wire {
    /// Status and body of each answer, in order.
    fn of<const N: usize>(answers: [(u16, Value); N]) -> Self {
        let text = |body: Value| body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let answers = answers.into_iter().map(|(status, body)| (status, text(body))).collect();
        Self { answers: Arc::new(Mutex::new(answers)), requests: Arc::default() }
    }

    /// The bodies of the requests so far; those that are not JSON as text.
    fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    /// A configuration with two attempts: what the first leaves behind, the second finds.
    async fn config(&self) -> SdkConfig {
        let wire = SharedHttpConnector::new(self.clone());
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .test_credentials()
            .http_client(http_client_fn(move |_, _| wire.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1)))
            .load()
            .await
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let request = serde_json::from_str(&body).unwrap_or(Value::String(body));
        let (status, body) = self.answers.lock().unwrap().pop_front().expect("no more answers are recorded");
        let body = body.replace(ID, &commit_id(&request).unwrap_or_default());
        self.requests.lock().unwrap().push(request);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))))
    }
}

/// The id that a request carries, in its item or among its values: 32 hex characters.
fn commit_id(request: &Value) -> Option<String> {
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let values = request["ExpressionAttributeValues"].as_object().into_iter().flat_map(|values| values.values());
    let texts = values.chain([&request["Item"]["commit_id"]]).filter_map(|value| value["S"].as_str());
    texts.filter(|text| is_id(text)).map(str::to_owned).next()
}

/// An error as the JSON protocols write it.
fn error(code: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.example#{code}"), "message": "as recorded" })
}

/// The name of the fault of a result that is one.
fn fault<T: std::fmt::Debug>(result: Result<T, playbook::Fault>) -> &'static str {
    result.unwrap_err().name()
}
