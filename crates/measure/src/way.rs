//! The rest of the way: what the other stages of an incident use that needs no person, from the mail to closed.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    cloud::{Asked, BUCKET, USUAL},
    cost::{Usage, gb_seconds},
    desk::{Desk, OBSERVABLES},
    page::LAMBDA_LOG_BYTES,
    script::{Known, Script},
};

/// What one stage used.
#[derive(Debug)]
pub struct Used {
    /// Its name.
    pub stage: &'static str,
    /// What AWS was asked.
    pub asked: Asked,
    /// What that is to be paid for, its state included where it is one.
    pub usage: Usage,
}

/// The stages before and after `enrich`: name, memory in the template, states that it stands for.
const STAGES: [(&str, f64, f64); 5] = [
    ("receive-mail", 256.0, 0.0),
    ("admit", 256.0, 0.0),
    ("extract", 1_024.0, 1.0),
    ("assess", 256.0, 1.0),
    ("close", 256.0, 1.0),
];

/// States beside those that call functions, and beside Map and `Enrich`: `AnyObservables` and `Route`.
const CHOICES: f64 = 2.0;

/// Brings a mail from the bucket to closed with the bootstraps of this folder; what each stage but `enrich` used, and how many
/// observables the mail had.
pub async fn rest(bootstraps: &Path) -> Result<(Vec<Used>, usize)> {
    let desk = Desk::new(|_| ())?;
    desk.providers.play(Script { known: Known::Nobody, ..Script::default() });
    desk.cloud.inside().objects.insert("mail/1".to_owned(), mail()?.into_bytes());
    desk.cloud.inside().delays = USUAL;
    let mut all = vec![];
    let object =
        json!({ "bucket": { "name": BUCKET }, "object": { "key": "mail/1", "versionId": "1", "size": 2_000 } });
    let record = json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": "2026-11-24T05:00:00.000Z",
        "eventName": "ObjectCreated:Put", "userIdentity": {}, "requestParameters": {}, "responseElements": {}, "s3": object,
    });
    stage(&desk, bootstraps, 0, &json!({ "Records": [record] }), &mut all).await?;
    let message = sent(&desk, "MessageBody")?;
    stage(&desk, bootstraps, 1, &json!({ "Records": [{ "messageId": "1", "body": message }] }), &mut all).await?;
    let mut input: Value = serde_json::from_str(&sent(&desk, "input")?)?;
    input["execution"] = sent(&desk, "name")?.into();
    input["machine"] = "measured-playbook".into();
    let extracted = stage(&desk, bootstraps, 2, &input, &mut all).await?;
    let of_incident = |more: Value| {
        let mut input = json!({ "incident_id": extracted["incident_id"], "run": extracted["run"] });
        for (name, value) in more.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        input
    };
    let mut enrich = desk.sandbox(&bootstraps.join("enrich"))?;
    enrich.ready().await?;
    for chunk in extracted["chunks"].as_array().into_iter().flatten() {
        let ended = enrich.invoke(&of_incident(chunk.clone())).await?;
        ended.result.map_err(|error| anyhow::anyhow!("enrich failed: {error}"))?;
    }
    let _ = desk.cloud.take();
    let assessed = stage(&desk, bootstraps, 3, &of_incident(json!({})), &mut all).await?;
    if assessed["route"] != "benign" {
        bail!("the mail needs somebody: {assessed}");
    }
    stage(&desk, bootstraps, 4, &of_incident(json!({ "round": 1, "route": "benign" })), &mut all).await?;
    let observables =
        extracted["observables"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    Ok((all, observables))
}

/// The bill of all of them, and of what lies between.
#[must_use]
pub fn sum(all: &[Used]) -> Usage {
    // SQS takes a message, Lambda fetches it and deletes it; one trace goes through everything.
    let between = Usage { transitions: CHOICES, messages: 3.0, traces: 1.0, ..Usage::default() };
    all.iter().fold(between, |sum, used| sum.plus(&used.usage))
}

#[expect(clippy::cast_precision_loss, reason = "counts of one invocation")]
async fn stage(desk: &Desk, bootstraps: &Path, number: usize, input: &Value, all: &mut Vec<Used>) -> Result<Value> {
    let (stage, memory_mb, states) = *STAGES.get(number).context("no such stage")?;
    let mut sandbox = desk.sandbox(&bootstraps.join(stage))?;
    sandbox.ready().await?;
    let _ = desk.cloud.take();
    let ended = sandbox.invoke(input).await?;
    let result = ended.result.map_err(|error| anyhow::anyhow!("{stage} failed: {error}\n{}", sandbox.log()))?;
    if result["batchItemFailures"].as_array().is_some_and(|failures| !failures.is_empty()) {
        bail!("{stage} left its message in the queue:\n{}", sandbox.log());
    }
    let asked = desk.cloud.take();
    let usage = Usage {
        transitions: states,
        invocations: 1.0,
        gb_seconds: gb_seconds(memory_mb, ended.took.as_secs_f64()),
        read_units: asked.read_units(),
        write_units: asked.write_units(),
        puts: asked.count("s3 PutObject") as f64,
        gets: asked.count("s3 GetObject") as f64,
        log_bytes: sandbox.log().len() as f64 + LAMBDA_LOG_BYTES,
        ..Usage::default()
    };
    all.push(Used { stage, asked, usage });
    Ok(result)
}

/// A part of the last thing that was sent to a queue or a machine.
fn sent(desk: &Desk, part: &str) -> Result<String> {
    let inside = desk.cloud.inside();
    let text = inside.sent.last().and_then(|sent| sent[part].as_str()).map(str::to_owned);
    text.with_context(|| format!("nothing was sent with {part}"))
}

/// A newsletter that somebody reported: addresses of pages at as many hosts, some 25 observables together.
fn mail() -> Result<String> {
    let mut mail = "From: Shop <news@shop.example>\r\nTo: Mia <mia.berg@corp.example>\r\nSubject: This week\r\n\
                    Message-ID: <1@shop.example>\r\nDate: Tue, 24 Nov 2026 05:00:00 +0000\r\nContent-Type: text/plain\r\n\r\n"
        .to_owned();
    for n in 0..(OBSERVABLES - 3) / 2 {
        write!(mail, "Offer {n}: https://shop-{n}.offers.example/week/48?item={n}\r\n")?;
    }
    Ok(mail)
}
