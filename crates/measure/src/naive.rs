//! The designs that ours is compared with, as small programs against the same stand-ins: what they call, and in which order.
//!
//! Their cache is the obvious one: one item for each observable and provider, read before the call and written after it, which
//! holds the provider's answer as it came. Step Functions' own time is not in their time, nor is a Lambda's start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use egress::Https;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use ioc::Observable;
use playbook::{
    lookup::{Method, Request},
    manifest::Redirects,
    ports::{Destination, Egress as _},
};
use serde_json::{Value, json};
use url::Url;

use crate::{
    desk::{self, Desk},
    script::{self, Script},
    tables::{NAIVE, fields_of},
};

/// Iterations of an inline Map that run at once.
const MAP_CONCURRENCY: usize = 40;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// One invocation for each observable and provider.
    Pairs,
    /// One invocation for each observable, its providers at the same time.
    Observables,
    /// One invocation for each observable, its providers one after the other.
    Sequential,
    /// One program, one call after the other.
    Script,
}

impl Design {
    /// From the dearest on.
    pub const ALL: [Self; 4] = [Self::Pairs, Self::Observables, Self::Sequential, Self::Script];

    /// What a table calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pairs => "one invocation per indicator and provider",
            Self::Observables => "one invocation per indicator, providers in parallel",
            Self::Sequential => "one invocation per indicator, providers in sequence",
            Self::Script => "one script, one call after the other",
        }
    }

    /// Invocations and state transitions of one incident: a Map is one, and one for each iteration.
    #[must_use]
    pub const fn steps(self, observables: u64, providers: u64) -> (u64, u64) {
        match self {
            Self::Pairs => (observables * providers, 1 + observables * providers),
            Self::Observables | Self::Sequential => (observables, 1 + observables),
            Self::Script => (1, 1),
        }
    }

    /// Enriches one incident; how long that took, and how long its invocations took together.
    pub async fn run(self, desk: &Desk, client: &Https, observables: &[Observable]) -> Result<(Duration, Duration)> {
        let begun = Instant::now();
        let pairs: Vec<(&str, &str)> =
            observables.iter().flat_map(|observable| script::ids().map(|id| (desk::value(observable), id))).collect();
        let by = |size: usize| pairs.chunks(size).map(<[_]>::to_vec).collect::<Vec<_>>();
        let providers = script::ids().len();
        let billed = match self {
            Self::Pairs => map((desk, client), by(1), 1).await?,
            Self::Observables => map((desk, client), by(providers), providers).await?,
            Self::Sequential => map((desk, client), by(providers), 1).await?,
            Self::Script => map((desk, client), by(pairs.len()), 1).await?,
        };
        Ok((begun.elapsed(), billed))
    }
}

/// What is asked: an observable's value, and a provider's id.
type Pair<'a> = (&'a str, &'a str);

/// An inline Map over invocations, each with so many calls at once; how long they took together.
async fn map(world: (&Desk, &Https), invocations: Vec<Vec<Pair<'_>>>, calls: usize) -> Result<Duration> {
    let all = stream::iter(invocations).map(|pairs| invocation(world, pairs, calls)).buffer_unordered(MAP_CONCURRENCY);
    all.try_fold(Duration::ZERO, async |sum, one| Ok(sum + one)).await
}

async fn invocation((desk, client): (&Desk, &Https), pairs: Vec<Pair<'_>>, calls: usize) -> Result<Duration> {
    let begun = Instant::now();
    let all = stream::iter(pairs).map(|(value, id)| lookup(desk, client, value, id)).buffer_unordered(calls);
    all.try_collect::<Vec<()>>().await?;
    Ok(begun.elapsed())
}

/// Puts into the designs' cache what all providers say of these.
pub fn seed(desk: &Desk, script: Script, observables: &[Observable]) {
    let mut inside = desk.cloud.inside();
    for value in observables.iter().map(desk::value) {
        for id in script::ids() {
            inside.tables.seed(NAIVE, item(value, id, &script.answer(id, value).1));
        }
    }
}

fn item(value: &str, id: &str, answer: &str) -> crate::size::Item {
    let document = json!({ "pk": format!("{value}#{id}"), "answer": answer, "fetched_at": "2026-11-24T05:00:00.000Z", "ttl": 1_795_500_000 });
    document.as_object().map(fields_of).unwrap_or_default()
}

async fn lookup(desk: &Desk, client: &Https, value: &str, id: &str) -> Result<()> {
    let get = json!({ "TableName": NAIVE, "Key": { "pk": { "S": format!("{value}#{id}") } } });
    if dynamodb(desk, client, "GetItem", &get).await?.get("Item").is_some() {
        return Ok(());
    }
    let mut url = Url::parse(&format!("https://{}/v1/lookup", script::host(id)))?;
    url.query_pairs_mut().append_pair("q", value);
    let request = Request { method: Method::Get, url, headers: vec![], body: vec![] };
    let host = script::host(id);
    let to = Destination { host: &host, stand_in: Some(&desk.providers_url), private: &[], redirects: Redirects::None };
    let answer = client.call(&to, &request, TIMEOUT).await.map_err(|error| anyhow::anyhow!("{id}: {error}"))?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let put = json!({ "TableName": NAIVE, "Item": item(value, id, &text) });
    dynamodb(desk, client, "PutItem", &put).await?;
    Ok(())
}

async fn dynamodb(desk: &Desk, client: &Https, operation: &str, body: &Value) -> Result<Value> {
    let host = "dynamodb.cloud.example";
    let request = Request {
        method: Method::Post,
        url: Url::parse(&format!("https://{host}/"))?,
        headers: vec![("x-amz-target".to_owned(), format!("DynamoDB_20120810.{operation}"))],
        body: body.to_string().into_bytes(),
    };
    let to = Destination { host, stand_in: Some(&desk.cloud_url), private: &[], redirects: Redirects::None };
    let answer = client.call(&to, &request, TIMEOUT).await.map_err(|error| anyhow::anyhow!("{operation}: {error}"))?;
    if answer.status != 200 {
        bail!("{operation}: {}", String::from_utf8_lossy(&answer.body));
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{operation} answered no JSON"))
}
