//! Scenarios of the doors that alerts and feeds come through.

use std::{process::Command, rc::Rc};

use playbook::{IncidentId, incident::IncidentStatus};
use serde_json::{Value, json};

use super::{Deployed, NIGHT_SHIFT, deployed::until};

/// Signs as `docs/OPERATIONS.md` shows and sends with curl: the way of somebody who writes an integration.
const SEND: &str = r#"
set -eu
sig=$(printf '%s.%s.%s' "$ID" "$AT" "$BODY" | openssl dgst -sha256 -hmac "$KEY" -binary | base64 -w0)
curl -sS -o - -w '\n%{http_code}' -H "webhook-id: $ID" -H "webhook-timestamp: $AT" -H "webhook-signature: v1,$sig" \
  -H 'content-type: application/json' --data-binary "$BODY" "$URL"
"#;

/// The secret that every door has in this stack.
fn key(door: &str) -> String {
    format!("robot:dummy-key-of-{door}")
}

/// What a sender does: one message.
struct Sender<'d> {
    deployed: &'d Deployed,
    source: &'static str,
    key: String,
    at: i64,
}

impl Sender<'_> {
    /// Status, and the answer's document.
    fn send(&self, id: &str, body: &str) -> (u16, Value) {
        let url = format!("{}/alerts/{}", self.deployed.stack.output("ApiUrl").unwrap(), self.source);
        let told = Command::new("bash")
            .args(["-c", SEND])
            .envs([("ID", id), ("KEY", &self.key), ("BODY", body), ("URL", &url), ("AT", &self.at.to_string())])
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let text = String::from_utf8(told.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }
}

fn now() -> i64 {
    use playbook::ports::Clock;
    aws::SystemClock.now().as_seconds()
}

async fn admitted(deployed: &Deployed, id: &IncidentId) -> Value {
    until(&format!("{id} is admitted"), async || {
        deployed.row(id, "meta").await.ok_or_else(|| "there is no incident".to_owned())
    })
    .await
}

pub async fn signed(deployed: Rc<Deployed>) {
    let sender = Sender { deployed: &deployed, source: "generic", key: key("generic"), at: now() };
    let body = json!({
        "id": "alert-1", "title": "Beacon to a known host", "severity": "high",
        "observables": [{"type": "domain-name", "value": "signed.example", "role": "destination"}],
        "assets": ["laptop-7"], "allowed": true, "link": "https://siem.corp.example/alert-1",
    })
    .to_string();
    let (status, answer) = sender.send("msg-good", &body);
    assert_eq!((status, &answer["status"]), (202, &json!("received")), "{answer}");

    // Refused, each with its reason; nothing of them becomes an incident.
    let check = |sender: &Sender<'_>, id: &str, body: &str, expected: (u16, &str)| {
        let (status, answer) = sender.send(id, body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(status == expected.0 && error.contains(expected.1), "{expected:?}: {status} {answer}");
    };
    let other = body.replace("alert-1", "alert-refused");
    check(&Sender { key: "not-the-shared-key-at-all".to_owned(), ..sender }, "msg-1", &other, (401, "signature"));
    let sender = Sender { deployed: &deployed, source: "generic", key: key("generic"), at: now() };
    check(&Sender { at: now() - 600, ..sender }, "msg-2", &other, (401, "300 s"));
    let sender = Sender { deployed: &deployed, source: "generic", key: key("generic"), at: now() };
    check(&sender, "msg-good", &body, (409, "replayed"));
    check(&sender, "msg-3", "{not json", (400, "JSON"));
    let stranger = Sender { deployed: &deployed, source: "nobody", key: key("generic"), at: now() };
    check(&stranger, "msg-4", &other, (404, "unknown source"));

    let id = IncidentId::of("default", "generic", "alert-1");
    let row = admitted(&deployed, &id).await;
    assert_eq!((&row["kind"], &row["severity"], &row["tenant"]), (&json!("alert"), &json!("high"), &json!("default")));
    deployed.asked(&id, 1, 1).await;
    let refused = IncidentId::of("default", "generic", "alert-refused");
    assert_eq!(deployed.row(&refused, "meta").await, None);
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.route.as_deref(), incident.result.as_deref()), (Some("review"), Some("false_positive")));
}

pub async fn findings(deployed: Rc<Deployed>) {
    // As EventBridge hands them on. The emulator's bus takes no events of AWS itself.
    let guardduty = json!({
        "id": "6a1f3c1e-0000-4000-8000-000000000009", "source": "aws.guardduty", "detail-type": "GuardDuty Finding",
        "account": "000000000000", "region": "us-east-1", "time": "2026-11-24T04:59:00Z",
        "detail": {
            "id": "d0d0d0d0", "region": "us-east-1", "severity": 8, "title": "A host asks for a known command server.",
            "updatedAt": "2026-11-24T04:58:12.408Z",
            "service": {"action": {"actionType": "DNS_REQUEST", "dnsRequestAction": {"domain": "guardduty-door.example"}}},
        },
    });
    let securityhub = json!({
        "id": "6a1f3c1e-0000-4000-8000-000000000010", "source": "aws.securityhub",
        "detail-type": "Security Hub Findings - Imported", "account": "000000000000", "region": "us-east-1",
        "time": "2026-11-24T04:59:00Z",
        "detail": {"findings": [{
            "Id": "arn:aws:securityhub:us-east-1:000000000000:finding/1", "ProductArn": "arn:aws:securityhub:::product/x/y",
            "Title": "Threat intelligence match", "Severity": {"Label": "MEDIUM"}, "RecordState": "ACTIVE",
            "Workflow": {"Status": "NEW"}, "UpdatedAt": "2026-11-24T04:58:12.408Z", "Types": ["TTPs/Command and Control"],
            "ThreatIntelIndicators": [{"Type": "DOMAIN", "Value": "securityhub-door.example"}],
        }]},
    });
    for (source, event, severity) in [("guardduty", guardduty, "high"), ("security-hub", securityhub, "medium")] {
        // Delivered twice: one incident.
        for _ in 0..2 {
            let told = deployed.invoke("ReceiveAlertFunction", &event).await;
            assert_eq!(told["received"], 1, "{source}: {told}");
        }
        let incident = until(&format!("{source} becomes an incident"), async || {
            let incidents = deployed.stack.incidents().await.unwrap();
            let mut of_source = incidents.into_iter().filter(|row| row["source"] == source);
            match (of_source.next(), of_source.next()) {
                (Some(one), None) => Ok(one),
                (None, _) => Err("there is none".to_owned()),
                (Some(one), Some(other)) => panic!("two incidents of {source}: {one} {other}"),
            }
        })
        .await;
        assert_eq!(incident["severity"], severity, "{incident}");
        let id = serde_json::from_value(incident["incident_id"].clone()).unwrap();
        deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    }
}

pub async fn listed(deployed: Rc<Deployed>) {
    // The list that the feed gives was compiled when the stack was set up: its provider is of grade A and decides alone.
    let state: Value = deployed.stack.rows("feed#feodo", "state").await.unwrap().remove(0);
    assert!(state["entries"].as_u64().unwrap() > 0 && state["failure"].is_null(), "{state}");
    let again = deployed.invoke("PollFeedsFunction", &json!({"feed": "feodo"})).await;
    assert_eq!((&again["unchanged"], &again["failed"]), (&json!(1), &json!(0)), "{again}");

    let document = include_str!("../../fixtures/feeds/feodo/document.json");
    let document: Value = serde_json::from_str(document).unwrap();
    let address = document[0]["ip_address"].as_str().unwrap();
    let sender = Sender { deployed: &deployed, source: "generic", key: key("generic"), at: now() };
    let body = json!({"id": "listed-1", "title": "Connection", "severity": "low", "observables": [{"value": address}]});
    assert_eq!(sender.send("msg-listed", &body.to_string()).0, 202);
    let id = IncidentId::of("default", "generic", "listed-1");
    admitted(&deployed, &id).await;
    deployed.asked(&id, 1, 1).await;
    let question = &deployed.questions(&id, NIGHT_SHIFT).await[0].0;
    assert!(question.body_text.contains("feodo"), "{}", question.body_text);
    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
}
