//! The loop of a function behind an HTTP API (payload format 2.0).

use std::panic::AssertUnwindSafe;

use aws_lambda_events::{
    apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    encodings::Body,
};
use data_encoding::BASE64;
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use playbook::Fault;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Error, Invocation, logs,
    serve::{Failure, invoke, panic_text, report},
};

/// Serves requests until the sandbox ends.
///
/// The handler turns its own faults into pages. What is left is answered here: what cannot be read as a request with
/// 400, a panic with 500; both without a body that tells anything.
pub async fn serve_http(handler: impl AsyncFn(Request<Vec<u8>>, Invocation) -> Response<Vec<u8>>) -> Result<(), Error> {
    let handler = &handler;
    let service = service_fn(move |event: LambdaEvent<Value>| answer(handler, event));
    Runtime::new(service).run().await.map_err(|error| Error::Runtime(error.to_string()))
}

/// Serves what comes through an HTTP API with one handler and every other event, such as those of `EventBridge`, with the
/// other. Requests are answered as [`serve_http`] does, events as [`crate::serve()`] does.
pub async fn serve_either<O: Serialize>(
    on_request: impl AsyncFn(Request<Vec<u8>>, Invocation) -> Response<Vec<u8>>,
    on_event: impl AsyncFn(Value, Invocation) -> Result<O, Fault>,
) -> Result<(), Error> {
    let (on_request, on_event) = (&on_request, &on_event);
    let service = service_fn(move |event: LambdaEvent<Value>| either(on_request, on_event, event));
    Runtime::new(service).run().await.map_err(|error| Error::Runtime(error.to_string()))
}

async fn either<O: Serialize>(
    on_request: &impl AsyncFn(Request<Vec<u8>>, Invocation) -> Response<Vec<u8>>,
    on_event: &impl AsyncFn(Value, Invocation) -> Result<O, Fault>,
    event: LambdaEvent<Value>,
) -> Result<Value, Diagnostic> {
    if event.payload.pointer("/requestContext/http").is_none() {
        return invoke(on_event, event).await.map_err(Diagnostic::from);
    }
    let answered = answer(on_request, event).await?;
    serde_json::to_value(answered)
        .map_err(|error| Failure::Fault(Fault::Rejected(format!("the answer cannot be written: {error}"))).into())
}

async fn answer(
    handler: &impl AsyncFn(Request<Vec<u8>>, Invocation) -> Response<Vec<u8>>,
    event: LambdaEvent<Value>,
) -> Result<ApiGatewayV2httpResponse, Diagnostic> {
    let mut invocation = Invocation::from(&event.context);
    invocation.source_ip =
        event.payload.pointer("/requestContext/http/sourceIp").and_then(Value::as_str).map(str::to_owned);
    logs::begin(&event.context, None);
    let request = match read(event.payload) {
        Ok(request) => request,
        Err(fault) => {
            report(&Failure::Fault(fault), None);
            return Ok(write(plain(StatusCode::BAD_REQUEST)));
        }
    };
    // In a box: the compiler computes the layout of the page's future apart from that of the runtime's.
    let result = AssertUnwindSafe(Box::pin(handler(request, invocation))).catch_unwind().await;
    Ok(write(result.unwrap_or_else(|panic| {
        report(&Failure::Panicked(panic_text(panic.as_ref())), None);
        plain(StatusCode::INTERNAL_SERVER_ERROR)
    })))
}

/// The event as a request. Cookies are one `Cookie` header again.
fn read(event: Value) -> Result<Request<Vec<u8>>, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::Rejected(format!("the event is not an HTTP request: {error}"));
    let event: ApiGatewayV2httpRequest = serde_json::from_value(event).map_err(|error| bad(&error))?;
    let path = event.raw_path.filter(|path| path.starts_with('/')).unwrap_or_else(|| "/".to_owned());
    let uri = match event.raw_query_string.filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded {
        BASE64.decode(body.as_bytes()).map_err(|error| bad(&error))?
    } else {
        body.into_bytes()
    };
    let request = Request::builder().method(event.request_context.http.method).uri(uri);
    let mut request = request.body(body).map_err(|error| bad(&error))?;
    *request.headers_mut() = event.headers;
    if let Some(cookies) = event.cookies.filter(|cookies| !cookies.is_empty()) {
        let cookies = HeaderValue::from_str(&cookies.join("; ")).map_err(|error| bad(&error))?;
        request.headers_mut().insert(header::COOKIE, cookies);
    }
    Ok(request)
}

/// The answer as an event: text as text, anything else in base64, `Set-Cookie` where HTTP APIs want it.
fn write(response: Response<Vec<u8>>) -> ApiGatewayV2httpResponse {
    let (mut parts, bytes) = response.into_parts();
    let cookies = parts.headers.get_all(header::SET_COOKIE).iter();
    let cookies = cookies.filter_map(|cookie| cookie.to_str().ok()).map(str::to_owned).collect();
    parts.headers.remove(header::SET_COOKIE);
    let mut event = ApiGatewayV2httpResponse::default();
    event.status_code = i64::from(parts.status.as_u16());
    event.headers = parts.headers;
    event.cookies = cookies;
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => event.body = Some(Body::Text(text)),
        Err(binary) => {
            event.body = Some(Body::Binary(binary.into_bytes()));
            event.is_base64_encoded = true;
        }
    }
    event
}

fn plain(status: StatusCode) -> Response<Vec<u8>> {
    let mut response = Response::new(format!("{status}\n").into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_runtime::Context;
    use serde_json::json;

    fn event(body: &str, is_base64: bool) -> Value {
        json!({
            "version": "2.0", "routeKey": "POST /r/{secret}/decide", "rawPath": "/r/abc/decide", "rawQueryString": "a=1&b=%20",
            "cookies": ["one=1", "__Host-two=2"], "headers": {"sec-fetch-site": "same-origin"},
            "requestContext": {"http": {"method": "POST", "path": "/r/abc/decide", "sourceIp": "192.0.2.7"}},
            "body": body, "isBase64Encoded": is_base64,
        })
    }

    #[test]
    fn an_event_becomes_the_request_that_the_browser_sent() {
        let request = read(event("Y2hvaWNlPWFwcHJvdmVk", true)).unwrap();
        assert_eq!(request.uri(), "/r/abc/decide?a=1&b=%20");
        assert_eq!(request.method(), "POST");
        assert_eq!(request.headers()["cookie"], "one=1; __Host-two=2");
        assert_eq!(request.headers()["sec-fetch-site"], "same-origin");
        assert_eq!(request.body(), b"choice=approved");
        assert!(read(event("%%%", true)).is_err());
        assert!(read(json!({"Records": []})).is_err());
    }

    #[test]
    fn text_stays_text_and_cookies_go_where_http_apis_want_them() {
        let response = Response::builder().header("Set-Cookie", "a=1").header("Set-Cookie", "b=2");
        let event = write(response.body("höchst".into()).unwrap());
        assert_eq!((event.status_code, event.is_base64_encoded, event.cookies.len()), (200, false, 2));
        assert_eq!(event.body, Some(Body::Text("höchst".to_owned())));
        assert!(write(Response::new(vec![0xff])).is_base64_encoded);
    }

    #[tokio::test]
    async fn a_request_and_an_event_reach_their_own_handler() {
        let on_request = async |request: Request<Vec<u8>>, _: Invocation| Response::new(request.into_body());
        let on_event = async |event: Value, _: Invocation| match event.get("detail") {
            Some(detail) => Ok(detail.clone()),
            None => Err(Fault::Rejected("no such event".to_owned())),
        };
        let send = async |payload: Value| {
            either(&on_request, &on_event, LambdaEvent { payload, context: Context::default() }).await
        };
        let answered = send(event("hello", false)).await.unwrap();
        assert_eq!((&answered["statusCode"], &answered["body"]), (&json!(200), &json!("hello")));
        assert_eq!(send(json!({"detail": {"a": 1}})).await.unwrap(), json!({"a": 1}));
        assert_eq!(send(json!({"detail-type": "x"})).await.unwrap_err().error_type, "Rejected");
    }

    #[tokio::test]
    async fn a_panic_is_a_plain_page() {
        let handler = async |_: Request<Vec<u8>>, _: Invocation| -> Response<Vec<u8>> { panic!("no") };
        let answered = answer(&handler, LambdaEvent { payload: event("", false), context: Context::default() }).await;
        let answered = answered.unwrap();
        assert_eq!(
            (answered.status_code, answered.body),
            (500, Some(Body::Text("500 Internal Server Error\n".to_owned())))
        );
    }
}
