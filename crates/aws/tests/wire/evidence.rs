//! Documents that are missing, changed or contended for.

use aws::S3Evidence;
use playbook::{incident::EvidenceRef, ports::Evidence};
use serde_json::{Value, json};

use crate::{Wire, fault};

async fn evidence<const N: usize>(answers: [(u16, Value); N]) -> S3Evidence {
    S3Evidence::new(&Wire::of(answers).config().await, "evidence".to_owned())
}

fn error(code: &str) -> Value {
    json!(format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as recorded</Message></Error>"))
}

fn reference(sha256: &str) -> EvidenceRef {
    EvidenceRef { key: "mail/a".to_owned(), version_id: None, sha256: sha256.to_owned(), size_bytes: 0 }
}

#[tokio::test]
async fn a_document_is_what_its_reference_says_or_rejected() {
    let sha256 = playbook::canonical::sha256_hex(b"content");
    assert_eq!(evidence([(200, json!("content"))]).await.fetch(&reference(&sha256)).await.unwrap(), b"content");
    assert_eq!(evidence([(200, json!("content"))]).await.fetch(&reference("")).await.unwrap(), b"content");
    assert_eq!(fault(evidence([(200, json!("other"))]).await.fetch(&reference(&sha256)).await), "Rejected");
    assert_eq!(fault(evidence([(404, error("NoSuchKey"))]).await.fetch(&reference("")).await), "Rejected");
}

#[tokio::test]
async fn a_missing_document_is_none_and_a_forbidden_one_a_fault() {
    assert_eq!(evidence([(404, error("NoSuchKey"))]).await.find("a").await, Ok(None));
    assert_eq!(fault(evidence([(403, error("AccessDenied"))]).await.find("a").await), "Misconfigured");
    assert_eq!(fault(evidence([(404, error("NoSuchBucket"))]).await.find("a").await), "Misconfigured");
    let slow = (503, error("SlowDown"));
    assert_eq!(fault(evidence([slow.clone(), slow]).await.find("a").await), "Throttled");
}

#[tokio::test]
async fn who_comes_second_replaces_nothing() {
    let check = async |answer: (u16, Value), expected: bool| {
        let replaced = evidence([answer]).await.replace("lists/url.txt", "text/plain", b"x", Some("\"etag\"")).await;
        assert_eq!(replaced, Ok(expected));
    };
    check((200, json!("")), true).await;
    check((412, error("PreconditionFailed")), false).await;
    check((409, error("ConditionalRequestConflict")), false).await;
    check((404, error("NoSuchKey")), false).await;
}
