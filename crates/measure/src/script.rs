//! Twelve providers on the loopback interface, which answer by a script: how long each answer takes and what it says follows
//! from provider, observable and seed alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use playbook::manifest::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::serve;

/// How long the slowest provider takes at most: no deadline is hit.
const LATENCY_MAX_MS: f64 = 3_000.0;
/// The 99th percentile of a normal distribution, in deviations.
const P99: f64 = 2.326;

/// One provider: named after a shipped one, whose limits, key and lifetimes it has, and how long it takes: median and 99th
/// percentile in milliseconds, log-normal. Nobody publishes latencies; the mixture is an assumption (docs/COSTS.md).
const PROVIDERS: [(&str, &str, f64, f64); 12] = [
    ("cymru-asn", include_str!("../../../playbook/providers/cymru-asn.yaml"), 40.0, 250.0),
    ("dns-records", include_str!("../../../playbook/providers/dns-records.yaml"), 40.0, 250.0),
    ("doh-blocking", include_str!("../../../playbook/providers/doh-blocking.yaml"), 40.0, 250.0),
    ("spamhaus-dqs", include_str!("../../../playbook/providers/spamhaus-dqs.yaml"), 40.0, 250.0),
    ("hashlookup", include_str!("../../../playbook/providers/hashlookup.yaml"), 40.0, 250.0),
    ("abuseipdb", include_str!("../../../playbook/providers/abuseipdb.yaml"), 220.0, 1_200.0),
    ("malwarebazaar", include_str!("../../../playbook/providers/malwarebazaar.yaml"), 220.0, 1_200.0),
    ("rdap", include_str!("../../../playbook/providers/rdap.yaml"), 220.0, 1_200.0),
    ("threatfox", include_str!("../../../playbook/providers/threatfox.yaml"), 220.0, 1_200.0),
    ("urlhaus", include_str!("../../../playbook/providers/urlhaus.yaml"), 220.0, 1_200.0),
    ("otx", include_str!("../../../playbook/providers/otx.yaml"), 450.0, 2_500.0),
    ("urlscan", include_str!("../../../playbook/providers/urlscan.yaml"), 450.0, 2_500.0),
];

/// The providers' ids.
#[must_use]
pub fn ids() -> [&'static str; PROVIDERS.len()] {
    PROVIDERS.map(|(id, ..)| id)
}

/// The host of a provider.
#[must_use]
pub fn host(id: &str) -> String {
    format!("{id}.provider.example")
}

/// The providers as `enrich` knows them: one request each, for every type.
pub fn manifests() -> Result<Vec<Manifest>> {
    PROVIDERS
        .iter()
        .map(|(id, shipped, ..)| manifest(id, shipped).with_context(|| format!("stand-in for {id}")))
        .collect()
}

fn manifest(id: &str, shipped: &str) -> Result<Manifest> {
    let read = |yaml: &str| Manifest::parse(yaml, id).map_err(|error| anyhow::anyhow!("{error}"));
    let shipped = read(shipped)?;
    let key = if shipped.secret.is_some() {
        (format!("secret: {id}\n"), "    headers: { key: \"{secret}\" }\n".to_owned())
    } else {
        Default::default()
    };
    let yaml = format!(
        "schema: provider/1\nid: {id}\nname: Stand-in for {id}\nkind: http\nverified: recorded\n{secret}\
         types: [ipv4-addr, ipv6-addr, domain-name, url]\nfamily: {id}\ngrade: B\ntlp_ceiling: AMBER\n\
         pap_ceiling: AMBER\ndiscloses: indicator\nlifetimes_minutes: {{ found: 360, not_found: 360, error: 5 }}\n\
         timeout_ms: 5000\nhost: {host}\nrequests:\n  - types: [ipv4-addr, ipv6-addr, domain-name, url]\n    \
         method: GET\n    path: /v1/lookup\n    query: {{ q: \"{{value}}\" }}\n{header}outcome:\n  \
         - {{ status: [404], outcome: not_found }}\n  - {{ when: \"body.found = true\", outcome: found }}\n\
         mapping: '{{\"verdict\": body.verdict, \"score\": body.score, \"tags\": body.tags, \"evidence\": body.evidence, \
         \"permalink\": body.link, \"last_seen\": body.seen}}'\n",
        host = host(id),
        secret = key.0,
        header = key.1,
    );
    let mut manifest = read(&yaml)?;
    manifest.limits = shipped.limits;
    manifest.lifetimes_minutes = shipped.lifetimes_minutes;
    Ok(manifest)
}

/// How many providers know an observable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// None of them.
    Nobody,
    /// Four of twelve, different ones for each observable.
    #[default]
    Third,
    /// All of them.
    Everybody,
}

/// What the stand-ins do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    /// Another seed gives other latencies.
    pub seed: u64,
    /// Whether answers take their time; at once otherwise.
    pub takes_time: bool,
    /// How many know an observable.
    pub known: Known,
}

impl Script {
    /// How long a provider takes to answer about an observable.
    #[must_use]
    pub fn latency(&self, provider: &str, value: &str) -> Duration {
        let found = PROVIDERS.iter().find(|(id, ..)| *id == provider).filter(|_| self.takes_time);
        let Some((_, _, median, p99)) = found else { return Duration::ZERO };
        let hash = self.hash(provider, value);
        // Two numbers that are evenly distributed make one that is normally distributed (Box and Muller).
        let even = |bits: u64| (f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(0)) + 1.0) / 4_294_967_297.0;
        let normal = (-2.0 * even(hash).ln()).sqrt() * (std::f64::consts::TAU * even(hash >> 32)).cos();
        let deviation = (p99 / median).ln() / P99;
        Duration::from_secs_f64((median * (deviation * normal).exp()).min(LATENCY_MAX_MS) / 1_000.0)
    }

    /// The slowest answer to any of these.
    #[must_use]
    pub fn slowest<'a>(&self, values: impl Iterator<Item = &'a str>) -> Duration {
        let all = values.flat_map(|value| ids().map(|id| self.latency(id, value)));
        all.max().unwrap_or_default()
    }

    /// Status and body of the answer.
    #[must_use]
    pub fn answer(&self, provider: &str, value: &str) -> (u16, String) {
        let place = PROVIDERS.iter().position(|(id, ..)| *id == provider).unwrap_or_default() as u64;
        let knows = match self.known {
            Known::Nobody => false,
            Known::Third => (place + self.hash("", value)).is_multiple_of(3),
            Known::Everybody => true,
        };
        if !knows {
            return (404, json!({ "found": false, "query": value }).to_string());
        }
        (200, found(provider, value).to_string())
    }

    /// FNV-1a, finished so that neighbours are far apart.
    fn hash(&self, provider: &str, value: &str) -> u64 {
        let text = self.seed.to_le_bytes().into_iter().chain(provider.bytes()).chain([0]).chain(value.bytes());
        let hash = text
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// As long as recorded answers are: some 1.3 KB, of which the mapping takes a fifth.
fn found(provider: &str, value: &str) -> Value {
    let report = |number: u32| {
        json!({
            "id": 9_900_000 + number, "reported_at": "2026-11-22T08:15:00Z", "reporter": "sample-reporter", "confidence": 90,
            "comment": "seen as a distribution site in a campaign of samples",
        })
    };
    json!({
        "found": true, "query": value, "verdict": "malicious", "score": 90,
        "tags": ["botnet_cc", "SampleLoader", "phishing"],
        "evidence": format!("{provider}: distribution site of SampleLoader, confidence 90"),
        "link": format!("https://{}/indicator/9900001/", host(provider)), "seen": "2026-11-22T08:15:00Z",
        "reports": (1..=5).map(report).collect::<Vec<_>>(),
    })
}

/// What was asked of the providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// By provider.
    pub by_provider: BTreeMap<String, u64>,
    /// What went to them, heads included.
    pub bytes_out: u64,
    /// What came back.
    pub bytes_in: u64,
}

impl Calls {
    /// Of all providers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.by_provider.values().sum()
    }
}

/// The stand-ins.
#[derive(Clone, Debug, Default)]
pub struct Providers(Arc<Mutex<(Script, Calls)>>);

impl Providers {
    /// Starts them; where they listen. The header that names the host says who is meant.
    pub fn start(&self) -> Result<String> {
        let router = Router::new().fallback(play).with_state(self.clone());
        Ok(format!("http://127.0.0.1:{}", serve::on_a_thread(router)?))
    }

    /// Another script from now on.
    pub fn play(&self, script: Script) {
        self.lock().0 = script;
    }

    /// What was asked since the last time; the count starts anew.
    #[must_use]
    pub fn take(&self) -> Calls {
        std::mem::take(&mut self.lock().1)
    }

    fn lock(&self) -> MutexGuard<'_, (Script, Calls)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn play(State(providers): State<Providers>, request: Request) -> Response {
    let header = request.headers().get(egress::STAND_IN_HEADER).and_then(|value| value.to_str().ok());
    let provider = header.and_then(|host| host.split('.').next()).unwrap_or_default().to_owned();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let value = form_urlencoded::parse(query).find(|(name, _)| name == "q").map(|(_, value)| value.into_owned());
    let value = value.unwrap_or_default();
    let path = request.uri().path_and_query().map_or(1, |path| path.as_str().len());
    let asked = serve::head_bytes(path + "GET  HTTP/1.1".len(), request.headers());
    let script = {
        let (script, calls) = &mut *providers.lock();
        *calls.by_provider.entry(provider.clone()).or_default() += 1;
        calls.bytes_out += asked;
        *script
    };
    let latency = script.latency(&provider, &value);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let (status, body) = script.answer(&provider, &value);
    let length = body.len() as u64;
    let built = Response::builder().status(status).header("content-type", "application/json");
    let response = built.body(Body::from(body)).unwrap_or_default();
    providers.lock().1.bytes_in += serve::head_bytes("HTTP/1.1 200 OK".len(), response.headers()) + length;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_what_the_table_says_and_the_same_every_time() {
        let script = Script { seed: 7, takes_time: true, known: Known::Third };
        for (id, _, median, p99) in PROVIDERS {
            let mut all: Vec<f64> =
                (0..4_000).map(|n| script.latency(id, &format!("host-{n}")).as_secs_f64() * 1_000.0).collect();
            all.sort_by(f64::total_cmp);
            assert!((all[2_000] / median - 1.0).abs() < 0.1, "{id}: median {}", all[2_000]);
            assert!((all[3_960] / p99 - 1.0).abs() < 0.25, "{id}: p99 {}", all[3_960]);
            assert!(all[3_999] <= LATENCY_MAX_MS);
        }
        assert_eq!(script.latency("rdap", "a"), script.latency("rdap", "a"));
        assert_ne!(script.latency("rdap", "a"), Script { seed: 8, ..script }.latency("rdap", "a"));
        assert_eq!(Script::default().latency("rdap", "a"), Duration::ZERO);
    }

    #[test]
    fn a_third_of_the_providers_know_each_observable() {
        let script = Script::default();
        for value in ["a", "b", "c", "d"] {
            assert_eq!(ids().into_iter().filter(|id| script.answer(id, value).0 == 200).count(), 4);
        }
    }

    #[test]
    fn the_stand_ins_have_the_limits_of_the_shipped_ones() {
        let manifests = manifests().unwrap();
        assert_eq!(manifests.len(), 12);
        assert!(manifests.iter().all(|manifest| !manifest.limits.is_empty() && manifest.off_reason().is_none()));
        let keys = manifests.iter().filter(|manifest| manifest.secret.is_some()).count();
        assert_eq!(keys, 7);
    }
}
