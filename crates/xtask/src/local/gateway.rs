//! The emulator's doors, asked directly: its AWS APIs and its own, without the cost of a command line for each call.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::recorded;

/// The emulator as seen by one account.
#[derive(Clone, Debug)]
pub struct Gateway {
    http: reqwest::Client,
    url: String,
    access_key: String,
}

/// A mail that the emulator's SES took.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SentMail {
    /// The id that SES gave.
    pub message_id: String,
    /// The recipients.
    pub to: Vec<String>,
    /// The subject.
    #[serde(default)]
    pub subject: String,
    /// The text part.
    #[serde(default)]
    pub body_text: String,
    /// The HTML part.
    #[serde(default)]
    pub body_html: Option<String>,
    /// When it was taken.
    #[serde(default)]
    pub timestamp: Value,
}

impl Gateway {
    /// `access_key`: `test` for account 000000000000, else a 12-digit account.
    pub fn new(url: &str, access_key: &str) -> Result<Self> {
        // The client asks for a provider when it is built, although nothing here uses TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(1))
            .build()?;
        Ok(Self { http, url: url.to_owned(), access_key: access_key.to_owned() })
    }

    /// Where the emulator listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The plain client, for pages and lists.
    #[must_use]
    pub const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The access key of the account.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The account's number.
    #[must_use]
    pub fn account(&self) -> &str {
        if self.access_key == "test" { playbook::policy::DEMO_ACCOUNT } else { &self.access_key }
    }

    /// Calls an API of the JSON kind, such as `ssm`, `AmazonSSM.PutParameter`.
    pub async fn call(&self, service: &str, operation: &str, input: &Value) -> Result<Value> {
        let response = self
            .request(Method::POST, service, &self.url)
            .header("x-amz-target", operation)
            .header("content-type", "application/x-amz-json-1.1")
            .body(input.to_string())
            .send()
            .await
            .with_context(|| format!("{operation}: the emulator does not answer"))?;
        let status = response.status();
        let body = response.text().await?;
        if !status.is_success() {
            bail!("{operation} failed: {body}");
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_str(&body)? })
    }

    /// Calls an API of the older kind: a form in, XML out. Names and values hold no characters that a form escapes.
    pub async fn query(&self, service: &str, form: &[(&str, &str)]) -> Result<String> {
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let sent =
            self.request(Method::POST, service, &self.url).header("content-type", "application/x-www-form-urlencoded");
        Ok(checked(sent.body(body).send().await?, service).await?.text().await?)
    }

    /// Puts an object into a bucket.
    pub async fn put_object(&self, bucket: &str, key: &str, content_type: &str, bytes: Vec<u8>) -> Result<()> {
        let url = self.object(bucket, key);
        let sent =
            self.request(Method::PUT, "s3", &url).header("content-type", content_type).body(bytes).send().await?;
        checked(sent, key).await.map(|_| ())
    }

    /// Makes a bucket; an existing one is kept.
    pub async fn make_bucket(&self, bucket: &str) -> Result<()> {
        let sent = self.request(Method::PUT, "s3", &format!("{}/{bucket}", self.url)).send().await?;
        if sent.status().as_u16() == 409 { Ok(()) } else { checked(sent, bucket).await.map(|_| ()) }
    }

    /// Reads an object.
    pub async fn object_bytes(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let sent = self.request(Method::GET, "s3", &self.object(bucket, key)).send().await?;
        Ok(checked(sent, key).await?.bytes().await?.to_vec())
    }

    /// Keys of the objects in a bucket that begin so; at most 1,000 of them, which is what one answer holds.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let url = format!("{}/{bucket}?list-type=2&max-keys=1000&prefix={prefix}", self.url);
        let sent = checked(self.request(Method::GET, "s3", &url).send().await?, bucket).await?;
        let xml = sent.text().await?;
        let keys = xml.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        Ok(keys.map(|(key, _)| key.to_owned()).collect())
    }

    /// Every mail that this account has sent, oldest first.
    pub async fn mails(&self) -> Result<Vec<SentMail>> {
        let url = format!("{}/_ministack/ses/messages?account={}", self.url, self.account());
        let text = checked(self.http.get(&url).send().await?, "mails").await?.text().await?;
        let answer: Value = serde_json::from_str(&text)?;
        match answer.pointer(&format!("/messages/{}", self.account())) {
            Some(mails) => Ok(Vec::deserialize(mails)?),
            None => Ok(vec![]),
        }
    }

    /// Every row of a partition whose sort key starts so, in order, as plain JSON with `pk` and `sk`.
    pub async fn rows(&self, table: &str, pk: &str, sk_prefix: &str) -> Result<Vec<Value>> {
        let mut input = json!({
            "TableName": table,
            "ConsistentRead": true,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
        });
        if !sk_prefix.is_empty() {
            input["KeyConditionExpression"] = json!("pk = :pk AND begins_with(sk, :sk)");
            input["ExpressionAttributeValues"][":sk"] = json!({ "S": sk_prefix });
        }
        self.pages("DynamoDB_20120810.Query", input).await
    }

    /// Every row of a table with this sort key; for a local stack, whose tables are small.
    pub async fn scan(&self, table: &str, sk: &str) -> Result<Vec<Value>> {
        let input = json!({
            "TableName": table,
            "ConsistentRead": true,
            "FilterExpression": "sk = :sk",
            "ExpressionAttributeValues": { ":sk": { "S": sk } },
        });
        self.pages("DynamoDB_20120810.Scan", input).await
    }

    async fn pages(&self, operation: &str, mut input: Value) -> Result<Vec<Value>> {
        let mut rows = vec![];
        loop {
            let page = self.call("dynamodb", operation, &input).await?;
            let items = page.get("Items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            rows.extend(items.iter().map(recorded::plain));
            match page.get("LastEvaluatedKey") {
                Some(last) if !last.is_null() => input["ExclusiveStartKey"] = last.clone(),
                _ => return Ok(rows),
            }
        }
    }

    fn object(&self, bucket: &str, key: &str) -> String {
        let escaped: String = key
            .bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(b).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("{}/{bucket}/{escaped}", self.url)
    }

    /// The emulator tells accounts and services apart by the credential scope and does not check signatures.
    fn request(&self, method: Method, service: &str, url: &str) -> reqwest::RequestBuilder {
        let scope = format!("{}/20260101/us-east-1/{service}/aws4_request", self.access_key);
        let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=local");
        self.http.request(method, url).header("authorization", signature)
    }
}

async fn checked(response: Response, what: &str) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    bail!("{what}: the emulator answered {status}: {body}")
}

/// A header for Basic auth.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_and_the_account_follows_the_access_key() {
        let gateway = Gateway::new("http://127.0.0.1:1", "test").unwrap();
        assert_eq!(gateway.object("b", "mail/a b+é.eml"), "http://127.0.0.1:1/b/mail/a%20b%2B%C3%A9.eml");
        assert_eq!(gateway.account(), "000000000000");
        assert_eq!(Gateway::new("http://127.0.0.1:1", "111111111111").unwrap().account(), "111111111111");
    }
}
