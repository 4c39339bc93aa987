//! The stand-in on a port of the loopback interface, for functions that run in processes of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Reply, StandIn};

/// The header in which `enrich` names the host it would have called.
pub const HOST_HEADER: &str = "x-playbook-host";
/// Where the server tells what it has done.
pub const REPORT_PATH: &str = "/_stand_in/report";

const BODY_MAX_BYTES: usize = 1024 * 1024;
const HANG: Duration = Duration::from_mins(1);

/// Takes a port on 127.0.0.1; 0 takes a free one.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, stand_in: Arc<StandIn>) -> std::io::Result<()> {
    let router = Router::new().route(REPORT_PATH, get(report)).fallback(play).with_state(stand_in);
    axum::serve(listener, router).await
}

async fn report(State(stand_in): State<Arc<StandIn>>) -> Response {
    let report = json!({
        "served_as": stand_in.served_as(), "calls": stand_in.calls(), "tickets": stand_in.tickets.all(),
        "misp": stand_in.misp(), "watchlist": stand_in.watchlist(),
    });
    Json(report).into_response()
}

async fn play(State(stand_in): State<Arc<StandIn>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let named = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let host = named(HOST_HEADER).or_else(|| named("host")).unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    match stand_in.answer(host, head.method.as_str(), path, &headers, &body) {
        Reply::Answer(answer) => {
            let built = answer
                .headers
                .iter()
                .fold(Response::builder().status(answer.status), |built, (name, value)| built.header(name, value));
            built.body(Body::from(answer.body)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Reply::Hang => {
            tokio::time::sleep(HANG).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use playbook::Timestamp;

    use super::*;
    use crate::stand_in::Answers;

    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn the_server_plays_the_host_in_the_header_and_reports() {
        let answers = Answers::parse("evil.example: { urlhaus: malicious, threatfox: benign }").unwrap();
        let stand_in = Arc::new(StandIn::new(answers, || Timestamp::from_millis(1_795_500_000_000)));
        let listener = listen(0).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, stand_in));
        let post = |host: &str, path: &str, body: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nx-playbook-host: {host}\r\nauth-key: k\r\n");
            format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let found = post("urlhaus-api.abuse.ch", "/v1/host/", "host=evil.example");
        let absent =
            post("threatfox-api.abuse.ch", "/api/v1/", r#"{"query":"search_ioc","search_term":"evil.example"}"#);
        let report = format!("GET {REPORT_PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let requests = [found, absent, report];
        let told = tokio::task::spawn_blocking(move || requests.map(|request| exchange(address, &request))).await;
        let [found, absent, report] = told.unwrap();
        assert!(found.starts_with("HTTP/1.1 200 OK") && found.contains(r#""url_status":"online""#), "{found}");
        assert!(absent.contains(r#""query_status":"no_result""#), "{absent}");
        let body: serde_json::Value = serde_json::from_str(report.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let call = |provider| json!({ "provider": provider, "observable": "evil.example" });
        assert_eq!(body["calls"], json!([call("urlhaus"), call("threatfox")]));
        let served =
            json!({ "observable": "evil.example", "provider": "threatfox", "asked": "benign", "served": "not_found" });
        assert_eq!(body["served_as"], json!([served]));
    }
}
