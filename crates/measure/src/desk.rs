//! Incidents as `extract` leaves them: rows, extraction and configuration, ready for `enrich`.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use ioc::{Observable, ObservableType};
use playbook::{
    IncidentId,
    bundle::Bundle,
    canonical,
    incident::{Extraction, Incident, Run, Sighted},
    manifest::Tlp,
    policy::{DocumentationRanges, Policy},
    rows::Key,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cloud::{BUCKET, Cloud},
    sandbox::{self, Sandbox},
    script::{self, Providers},
    tables::{self, INCIDENTS, QUOTAS, VERDICTS},
};

/// Observables of an incident.
pub const OBSERVABLES: usize = 25;
/// Those of them that are new; the others are known to all providers.
pub const NEW: usize = 10;

/// The world of `enrich`.
#[derive(Debug)]
pub struct Desk {
    /// AWS.
    pub cloud: Cloud,
    /// The providers.
    pub providers: Providers,
    /// Where AWS listens.
    pub cloud_url: String,
    /// Where the providers listen.
    pub providers_url: String,
    digest: String,
    incidents: AtomicU64,
}

impl Desk {
    /// With the shipped policy, as `change` leaves it, and twelve providers.
    pub fn new(change: impl FnOnce(&mut Policy)) -> Result<Self> {
        let (cloud, providers) = (Cloud::default(), Providers::default());
        let (cloud_url, providers_url) = (cloud.start()?, providers.start()?);
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml"))?;
        policy.required.values_mut().for_each(Vec::clear);
        policy.enforce.targets.clear();
        policy.egress.stand_in = Some(providers_url.clone());
        policy.guard.documentation_ranges = DocumentationRanges::AsPublic;
        change(&mut policy);
        let bundle = Bundle::new(policy, script::manifests()?, vec![]);
        let digest = bundle.digest()?;
        cloud.inside().objects.insert(Bundle::location(&digest), canonical::to_json(&bundle)?);
        Ok(Self { cloud, providers, cloud_url, providers_url, digest, incidents: AtomicU64::new(0) })
    }

    /// A sandbox of a function, from this file, with the environment of the template.
    pub fn sandbox(&self, bootstrap: &std::path::Path) -> Result<Sandbox> {
        let variables = [
            ("AWS_ENDPOINT_URL", self.cloud_url.as_str()),
            ("CONFIG_DIGEST", self.digest.as_str()),
            ("INTAKE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/000000000000/measured-intake"),
            ("PLAYBOOK_ARN", "arn:aws:states:us-east-1:000000000000:stateMachine:measured-playbook"),
            ("SENDER_ADDRESS", "playbook@soc.example"),
            ("EVIDENCE_BUCKET", BUCKET),
            ("INCIDENTS_TABLE", INCIDENTS),
            ("VERDICTS_TABLE", VERDICTS),
            ("QUOTAS_TABLE", QUOTAS),
            ("SECRETS_PREFIX", "/measured/providers"),
            ("FOLLOW_UP_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/000000000000/measured"),
        ];
        Sandbox::start(sandbox::Program::bootstrap(bootstrap).with(&variables))
    }

    /// An incident with these observables; what its first chunk is called with.
    pub fn admit(&self, observables: &[Observable]) -> Result<Value> {
        let number = self.incidents.fetch_add(1, Ordering::Relaxed);
        let id = IncidentId::of("default", "mail", &format!("measured-{number}"));
        let incident = json!({
            "schema": Incident::SCHEMA, "incident_id": id, "tenant": "default", "kind": "mail", "source": "mail",
            "native_id": format!("measured-evidence/mail/{number}"), "severity": "low", "evidence": { "key": format!("mail/{number}") },
            "received_at": "2026-11-24T05:00:00.000Z", "config_digest": self.digest, "status": "open", "run": 1,
            "started_at": "2026-11-24T05:00:01.000Z", "updated_at": "2026-11-24T05:00:01.000Z",
        });
        let sighted = |observable: &Observable| Sighted {
            observable: observable.clone(),
            places: vec!["text".to_owned()],
            withheld: None,
        };
        let extraction = Extraction {
            schema: Extraction::SCHEMA.to_owned(),
            incident_id: id.clone(),
            subject: "Your parcel".to_owned(),
            participants: vec!["reporter@corp.example".to_owned()],
            tlp: Tlp::default(),
            was_allowed: None,
            observables: observables.iter().map(sighted).collect(),
            omissions: vec![],
            incomplete: false,
        };
        let bytes = canonical::to_json(&extraction)?;
        let sha256 = canonical::sha256_hex(&bytes);
        let key = format!("incidents/{id}/r1/extract/{sha256}.json");
        let run = json!({
            "schema": Run::SCHEMA,
            "extraction": { "key": key, "sha256": sha256, "size_bytes": bytes.len() },
        });
        let mut inside = self.cloud.inside();
        inside.objects.insert(key, bytes);
        for (at, row) in [(Incident::key(&id), &incident), (Run::key(&id, 1), &run)] {
            inside.tables.seed(INCIDENTS, row_of(&at, row)?);
        }
        Ok(json!({ "incident_id": id, "run": 1, "offset": 0, "count": 50 }))
    }

    /// Forgets what was used of limits: incidents that are measured one after the other do not wait for each other.
    pub fn forget_quotas(&self) {
        self.cloud.inside().tables.clear(QUOTAS);
    }

    /// Forgets what the providers said.
    pub fn forget_verdicts(&self) {
        self.cloud.inside().tables.clear(VERDICTS);
    }
}

fn row_of(key: &Key, document: &impl Serialize) -> Result<crate::size::Item> {
    let document = serde_json::to_value(document)?;
    let mut row = tables::fields_of(document.as_object().context("a row is an object")?);
    row.insert("pk".to_owned(), json!({ "S": key.pk }));
    row.insert("sk".to_owned(), json!({ "S": key.sk }));
    Ok(row)
}

/// The observables that every incident shares: all but the new ones.
pub fn known() -> Result<Vec<Observable>> {
    observables("known", OBSERVABLES - NEW)
}

/// The observables of an incident: those that are known, and new ones of this number.
pub fn incident(number: u64) -> Result<(Vec<Observable>, Vec<Observable>)> {
    let new = observables(&format!("new-{number}"), NEW)?;
    Ok((known()?.into_iter().chain(new.iter().cloned()).collect(), new))
}

/// So many of a mail's kinds: names, addresses of pages, addresses of machines.
pub fn observables(group: &str, count: usize) -> Result<Vec<Observable>> {
    let one = |n: usize| {
        let digest = canonical::sha256_hex(format!("{group} {n}").as_bytes());
        let short = digest.get(..4).unwrap_or_default();
        let (kind, value) = match n % 10 {
            0 | 3 | 5 | 8 => (ObservableType::DomainName, format!("host-{n}.{group}.example")),
            1 | 4 | 7 | 9 => (ObservableType::Url, format!("https://host-{n}.{group}.example/track/{short}/pay.html")),
            _ => (ObservableType::Ipv6Addr, format!("2001:db8:{short}:{n:x}::7")),
        };
        Observable::parse(kind, &value).with_context(|| format!("{value} is no observable"))
    };
    (0..count).map(one).collect()
}

/// What the script calls an observable: what the request names it by.
#[must_use]
pub fn value(observable: &Observable) -> &str {
    observable.value()
}
