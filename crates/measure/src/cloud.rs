//! AWS as far as `enrich` uses it: DynamoDB, which counts, objects, parameters and a queue, on one address of the loopback
//! interface. Every service takes as long as it is told to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    serve,
    tables::{Consumed, Tables},
};

const BODY_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The bucket's name.
pub const BUCKET: &str = "measured-evidence";

/// How long a call takes at each service, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// DynamoDB, one item.
    pub item_ms: u64,
    /// DynamoDB, a batch.
    pub batch_ms: u64,
    /// S3.
    pub object_ms: u64,
    /// Everything else.
    pub other_ms: u64,
}

/// Assumed of AWS within a region: single digits for DynamoDB, some tens for S3.
pub const USUAL: Delays = Delays { item_ms: 4, batch_ms: 8, object_ms: 20, other_ms: 10 };

/// What was asked of AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// By table.
    pub tables: BTreeMap<String, Consumed>,
    /// Calls by name, such as `dynamodb PutItem`.
    pub calls: BTreeMap<String, u64>,
    /// What went to AWS, heads included.
    pub bytes_out: u64,
    /// What came back.
    pub bytes_in: u64,
}

impl Asked {
    /// Read units of all tables.
    #[must_use]
    pub fn read_units(&self) -> f64 {
        self.tables.values().fold(0.0, |sum, consumed| sum + consumed.read)
    }

    /// Write units of all tables.
    #[must_use]
    pub fn write_units(&self) -> f64 {
        self.tables.values().fold(0.0, |sum, consumed| sum + consumed.write)
    }

    /// How often these were called.
    #[must_use]
    pub fn count(&self, call: &str) -> u64 {
        self.calls.get(call).copied().unwrap_or_default()
    }
}

/// What lies there.
#[derive(Debug, Default)]
pub struct Inside {
    /// DynamoDB.
    pub tables: Tables,
    /// S3, by key.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// How long calls take.
    pub delays: Delays,
    /// Messages and executions, as they were sent.
    pub sent: Vec<Value>,
    asked: Asked,
}

/// The endpoint.
#[derive(Clone, Debug, Default)]
pub struct Cloud(Arc<Mutex<Inside>>);

impl Cloud {
    /// Starts it; where it listens.
    pub fn start(&self) -> Result<String> {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Ok(format!("http://127.0.0.1:{}", serve::on_a_thread(router)?))
    }

    /// What lies there.
    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last time; the count starts anew.
    #[must_use]
    pub fn take(&self) -> Asked {
        let mut inside = self.inside();
        let mut asked = std::mem::take(&mut inside.asked);
        asked.tables = std::mem::take(&mut inside.tables.consumed);
        inside.tables.written.clear();
        asked
    }
}

async fn answer(State(cloud): State<Cloud>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let called = match &target {
        Some(target) => name(target),
        None => format!("s3 {}", if head.method == Method::PUT { "PutObject" } else { "GetObject" }),
    };
    let delays = cloud.inside().delays;
    let delay_ms = match called.split(' ').next() {
        Some("dynamodb") if called.contains("Batch") || called.contains("Transact") => delays.batch_ms,
        Some("dynamodb") => delays.item_ms,
        Some("s3") => delays.object_ms,
        _ => delays.other_ms,
    };
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    let mut inside = cloud.inside();
    let first_line = head.method.as_str().len() + head.uri.path_and_query().map_or(1, |path| path.as_str().len()) + 10;
    inside.asked.bytes_out += serve::head_bytes(first_line, &head.headers) + body.len() as u64;
    let (response, length) = match &target {
        Some(target) => documents(&mut inside, target, &body),
        None => objects(&mut inside, &head, &body),
    };
    inside.asked.bytes_in += serve::head_bytes("HTTP/1.1 200 OK".len(), response.headers()) + length as u64;
    *inside.asked.calls.entry(called).or_default() += 1;
    response
}

/// `DynamoDB_20120810.PutItem` as `dynamodb PutItem`.
fn name(target: &str) -> String {
    let (service, operation) = target.rsplit_once('.').unwrap_or(("", target));
    let service = match service {
        "DynamoDB_20120810" => "dynamodb",
        "AmazonSSM" => "ssm",
        "AmazonSQS" => "sqs",
        "AWSStepFunctions" => "states",
        other => other,
    };
    format!("{service} {operation}")
}

fn documents(inside: &mut Inside, target: &str, body: &Bytes) -> (Response, usize) {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let (status, body) = match name(target).split(' ').next() {
        Some("dynamodb") => inside
            .tables
            .call(operation, &request)
            .unwrap_or_else(|error| (400, json!({ "__type": "ValidationException", "message": format!("{error:#}") }))),
        Some("ssm") => {
            let parameter =
                json!({ "Name": request["Name"], "Value": "0123456789abcdef0123456789abcdef", "Type": "SecureString" });
            (200, json!({ "Parameter": parameter }))
        }
        Some("sqs") => {
            inside.sent.push(request);
            (200, json!({ "MessageId": "measured" }))
        }
        Some("states") => {
            inside.sent.push(request);
            (
                200,
                json!({ "executionArn": "arn:aws:states:us-east-1:000000000000:execution:measured:1", "startDate": 1_795_500_000 }),
            )
        }
        _ => (400, json!({ "__type": "UnknownOperationException" })),
    };
    let body = body.to_string();
    let length = body.len();
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    (response.body(Body::from(body)).unwrap_or_default(), length)
}

fn objects(inside: &mut Inside, head: &Parts, body: &Bytes) -> (Response, usize) {
    let key = head.uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).to_owned();
    let response = Response::builder().header("etag", "\"measured\"");
    if head.method == Method::PUT {
        inside.objects.insert(key, body.to_vec());
        return (response.body(Body::empty()).unwrap_or_default(), 0);
    }
    if let Some(object) = inside.objects.get(&key) {
        return (response.body(Body::from(object.clone())).unwrap_or_default(), object.len());
    }
    let text = "<Error><Code>NoSuchKey</Code><Message>nothing lies there</Message></Error>";
    let response = Response::builder().status(404).header("content-type", "application/xml");
    (response.body(Body::from(text)).unwrap_or_default(), text.len())
}
