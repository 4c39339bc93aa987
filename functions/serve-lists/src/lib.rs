//! `serve-lists`: block lists for firewalls: text per type, with Basic auth per consumer and an `ETag`.

use data_encoding::BASE64;
use http::{Method, Request, Response, StatusCode, header};
use ioc::ObservableType;
use playbook::{
    Fault,
    ports::{Evidence, Secrets},
    served,
};
use subtle::ConstantTimeEq;
use tracing::{error, info};

/// Answers `GET /lists/{type}`; every failure has a status with which a firewall keeps what it fetched before.
///
/// `200` the list, a value a line · `304` unchanged · `401` no or wrong credentials · `404` no such type, or nothing
/// was ever enforced of it · `405` not GET or HEAD · `503` something we need did not answer.
pub async fn handle(evidence: &impl Evidence, secrets: &impl Secrets, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
    match answer(evidence, secrets, &request).await {
        Ok(response) => response,
        Err(fault) => {
            error!(fault = fault.name(), "list not served: {fault}");
            plain(StatusCode::SERVICE_UNAVAILABLE, "the list cannot be read now; keep the one you have\n")
        }
    }
}

async fn answer(
    evidence: &impl Evidence,
    secrets: &impl Secrets,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Fault> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    if !is_consumer(secrets, request).await? {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a consumer's name and secret are needed\n");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"lists\""));
        return Ok(response);
    }
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Ok(kind) = name.parse::<ObservableType>() else {
        return Ok(plain(StatusCode::NOT_FOUND, "there is no list of this type\n"));
    };
    let Some(list) = evidence.find(&served::location(kind)).await? else {
        return Ok(plain(StatusCode::NOT_FOUND, "nothing was ever enforced of this type\n"));
    };
    let etag = format!("\"{}\"", list.etag.trim_matches('"'));
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let mut response = if is_known { plain(StatusCode::NOT_MODIFIED, "") } else { plain(StatusCode::OK, "") };
    if let Ok(value) = etag.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    if !is_known && request.method() == Method::GET {
        *response.body_mut() = list.bytes;
    }
    info!(list = kind.as_str(), status = response.status().as_u16(), "served a list");
    Ok(response)
}

/// Whether the request carries the name and the secret of a consumer.
async fn is_consumer(secrets: &impl Secrets, request: &Request<Vec<u8>>) -> Result<bool, Fault> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(encoded) = given.and_then(|value| value.strip_prefix("Basic ")) else { return Ok(false) };
    let decoded = BASE64.decode(encoded.trim().as_bytes()).unwrap_or_default();
    let text = String::from_utf8(decoded).unwrap_or_default();
    let Some((name, password)) = text.split_once(':') else { return Ok(false) };
    let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name {
        return Ok(false);
    }
    let secret = secrets.secret(name).await?;
    Ok(secret.is_some_and(|secret| secret.reveal().as_bytes().ct_eq(password.as_bytes()).into()))
}

fn plain(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(text.as_bytes().to_vec());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use playbook::fakes::{MemoryEvidence, MemorySecrets};

    use super::*;

    async fn get(path: &str, credentials: Option<&str>, etag: Option<&str>) -> Response<Vec<u8>> {
        let evidence = MemoryEvidence::default();
        evidence.store("lists/domain-name.txt", "text/plain", b"evil.example\n").await.unwrap();
        let secrets = MemorySecrets([("fw-1".to_owned(), "s3cret".to_owned())].into());
        let mut request = Request::get(path);
        if let Some(credentials) = credentials {
            request = request.header("authorization", format!("Basic {}", BASE64.encode(credentials.as_bytes())));
        }
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        handle(&evidence, &secrets, request.body(vec![]).unwrap()).await
    }

    #[tokio::test]
    async fn a_consumer_gets_the_list_and_then_only_its_etag() {
        let response = get("/lists/domain-name", Some("fw-1:s3cret"), None).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.body(), b"evil.example\n");
        let etag = response.headers()["etag"].to_str().unwrap();
        let again = get("/lists/domain-name", Some("fw-1:s3cret"), Some(etag)).await;
        assert_eq!((again.status().as_u16(), again.body().len()), (304, 0));
    }

    #[tokio::test]
    async fn nobody_else_gets_anything() {
        for credentials in [None, Some("fw-1:wrong"), Some("fw-2:s3cret"), Some(":"), Some("../x:s3cret"), Some("fw-1")]
        {
            let response = get("/lists/domain-name", credentials, None).await;
            assert_eq!(response.status(), 401, "{credentials:?}");
        }
    }

    #[tokio::test]
    async fn an_unknown_list_is_not_an_empty_one() {
        assert_eq!(get("/lists/url", Some("fw-1:s3cret"), None).await.status(), 404);
        assert_eq!(get("/lists/passwords", Some("fw-1:s3cret"), None).await.status(), 404);
    }
}
