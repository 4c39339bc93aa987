//! One lookup at the real provider, shown step by step: the request without its key, the answer, and what is made of it.

use std::{
    io::Read as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ioc::Observable;
use playbook::{
    Timestamp,
    bundle::Bundle,
    cache::{MemoryQuotas, MemoryVerdicts},
    fakes::MemorySecrets,
    incident::Incident,
    lookup::{Answer, CallError, Request},
    manifest::{Manifest, Verified},
    ports::{Clock, Destination, DnsAnswer, DnsQuestion, Egress, Nameserver, Secret},
};
use serde_json::{Value, json};
use sources::{
    AskOne, Payer,
    list::{Lists, Looked},
    rdap::Registries,
};
use tokio::time::Instant;

use crate::{config, project::Project, publish, term};

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum Key {
    /// A file, or standard input for `-`. Never the command line: that is seen by everybody on the machine.
    File(String),
    /// The secret of this stack, decrypted by the person's own right.
    Stack(String),
    /// None is needed, or none is at hand.
    None,
}

/// How long a lookup may take here; the manifest's own time-out holds for each call.
const PATIENCE: Duration = Duration::from_mins(1);

/// The most of an answer that is shown.
const SHOWN_MAX_CHARS: usize = 4_000;

/// Asks. False when the provider did not answer the question. Nothing is kept, and nothing but the provider is called.
pub async fn try_it(project: &Project, id: &str, value: &str, key: &Key, json: bool) -> Result<bool> {
    let mut manifest = super::load(project, id)?;
    // What is off is tried all the same: that is how it comes to be on.
    (manifest.enabled, manifest.verified) = (true, Verified::Live);
    if let Some(terms) = &mut manifest.terms {
        terms.acknowledged = true;
    }
    let observable = Observable::parse_any(value).with_context(|| format!("{value:?} is no observable"))?;
    if !manifest.takes(&observable) {
        bail!("{id} does not take {}: {value}", observable.kind());
    }
    let policy = config::load(project, None)?.policy;
    let secret = read_key(project, &manifest, key)?;
    let asked = Asked::of(manifest, secret, policy);
    let outcome = asked.ask(&observable).await?;
    if json {
        term::line(&serde_json::to_string_pretty(&json!({ "steps": asked.egress.steps(), "outcome": outcome }))?);
    } else {
        for step in asked.egress.steps() {
            show(&step);
        }
        term::line(&term::bold("outcome"));
        term::line(&serde_json::to_string_pretty(&outcome)?);
    }
    Ok(matches!(outcome["outcome"].as_str(), Some("found" | "not_found")))
}

fn read_key(project: &Project, manifest: &Manifest, key: &Key) -> Result<Option<Secret>> {
    let Some(id) = &manifest.secret else { return Ok(None) };
    let text = match key {
        Key::None => bail!("{} needs a key: --key FILE, --key - (standard input) or --stack STACK", manifest.id),
        Key::File(file) if file == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the key cannot be read from standard input")?;
            text
        }
        Key::File(file) => {
            std::fs::read_to_string(PathBuf::from(file)).with_context(|| format!("{file} cannot be read"))?
        }
        Key::Stack(stack) => {
            let name = format!("/{stack}/providers/{id}");
            let told = publish::ask(project, &["ssm", "get-parameter", "--with-decryption", "--name", &name]);
            let told = told.map_err(|why| anyhow::anyhow!("the key of {id} cannot be read: {why}"))?;
            told["Parameter"]["Value"].as_str().unwrap_or_default().to_owned()
        }
    };
    Ok(Some(Secret::new(text.trim())))
}

/// One provider and everything that asking it takes; stores are in memory and forgotten.
struct Asked {
    bundle: Bundle,
    egress: Shown,
    secrets: MemorySecrets,
}

impl Asked {
    fn of(manifest: Manifest, secret: Option<Secret>, policy: playbook::policy::Policy) -> Self {
        let mut secrets = MemorySecrets::default();
        if let (Some(id), Some(secret)) = (&manifest.secret, &secret) {
            secrets.0.insert(id.clone(), secret.reveal().to_owned());
        }
        let egress = Shown { secret, steps: Mutex::default() };
        Self { bundle: Bundle::new(policy, vec![manifest], vec![]), egress, secrets }
    }

    async fn ask(&self, observable: &Observable) -> Result<Value> {
        let manifest = self.bundle.providers.values().next().context("no manifest")?;
        let incident: Incident = serde_json::from_value(json!({
            "schema": Incident::SCHEMA, "incident_id": "inc-aaaaaaaaaaaaaaaaaaaaaaaaaa", "tenant": "default", "kind": "alert",
            "source": "try", "native_id": "try", "severity": "critical", "evidence": { "key": "try" },
            "received_at": Today.now(), "config_digest": "", "status": "open", "run": 1, "updated_at": Today.now(),
        }))?;
        let world = sources::World {
            verdicts: &MemoryVerdicts::default(),
            quotas: &MemoryQuotas::default(),
            secrets: &self.secrets,
            clock: &Today,
            egress: &self.egress,
            lists: &NoLists,
            registries: &Registries::default(),
        };
        let ask = AskOne {
            bundle: &self.bundle,
            observable,
            provider: &manifest.id,
            task: None,
            owner: "try".to_owned(),
            deadline: Instant::now() + PATIENCE,
            payer: Payer::of(&incident, 1, &self.bundle.policy.enrich.budget, (1, 1)),
            is_last: false,
        };
        let asked = sources::ask_one(&world, ask).await.map_err(|fault| anyhow::anyhow!("{fault}"))?;
        Ok(serde_json::to_value(asked.context("the provider does not take it")?.outcome)?)
    }
}

/// The time of the machine.
struct Today;

impl Clock for Today {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Lists are fetched by a deployment; here there is none.
struct NoLists;

impl Lists for NoLists {
    async fn look(&self, _: &Manifest, _: &Observable, _: Timestamp) -> Result<Looked, &'static str> {
        Err("no_list")
    }
}

/// The way out, with everything that goes and comes noted.
struct Shown {
    secret: Option<Secret>,
    steps: Mutex<Vec<Value>>,
}

impl Shown {
    fn steps(&self) -> Vec<Value> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, step: &Value) {
        // Wherever the key stands, in the address, a header, the body or the answer: nobody sees it.
        let mut text = step.to_string();
        if let Some(secret) = self.secret.as_ref().map(Secret::reveal).filter(|secret| !secret.is_empty()) {
            let quoted = Value::from(secret).to_string();
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for spelling in [quoted.trim_matches('"'), encoded.as_str()] {
                text = text.replace(spelling, "***");
            }
        }
        let step = serde_json::from_str(&text).unwrap_or_else(|_| json!("a step that cannot be shown without the key"));
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }
}

fn answered(answer: &Result<Answer, CallError>) -> Value {
    match answer {
        Err(error) => json!({ "error": error.reason(), "told": error.to_string() }),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body);
            let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.into_owned()));
            let headers: serde_json::Map<String, Value> =
                answer.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            json!({ "status": answer.status, "headers": headers, "body": body })
        }
    }
}

impl Egress for Shown {
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        let out = egress::Https::new().map_err(|fault| CallError::Unreachable(fault.to_string()))?;
        let answer = out.call(to, request, timeout).await;
        let headers: serde_json::Map<String, Value> =
            request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let asked = json!({ "method": request.method.as_str(), "url": request.url.as_str(), "headers": headers,
            "body": String::from_utf8_lossy(&request.body) });
        self.note(&json!({ "request": asked, "answer": answered(&answer) }));
        answer
    }

    async fn resolve(
        &self,
        at: &Nameserver<'_>,
        question: &DnsQuestion,
        timeout: Duration,
    ) -> Result<DnsAnswer, CallError> {
        let out = egress::Https::new().map_err(|fault| CallError::Unreachable(fault.to_string()))?;
        let answer = out.resolve(at, question, timeout).await;
        let told = match &answer {
            Ok(answer) => json!(answer),
            Err(error) => json!({ "error": error.reason(), "told": error.to_string() }),
        };
        self.note(&json!({ "question": { "name": question.name, "record": question.record }, "answer": told }));
        answer
    }
}

/// One step for people: everything from outside on lines of its own, with control characters spelled out.
fn show(step: &Value) {
    let asked = if step["request"].is_object() { &step["request"] } else { &step["question"] };
    term::line(&term::bold("request"));
    term::line(&serde_json::to_string_pretty(asked).unwrap_or_default());
    term::line(&term::bold("answer"));
    let answer = serde_json::to_string_pretty(&step["answer"]).unwrap_or_default();
    let shown: String = answer.chars().take(SHOWN_MAX_CHARS).collect();
    for line in shown.lines() {
        term::line(&ioc::visible(line));
    }
    let rest = answer.chars().count().saturating_sub(SHOWN_MAX_CHARS);
    if rest > 0 {
        term::line(&term::dim(&format!("… {rest} characters more: --json shows all")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let yaml = super::super::skeleton::manifest("sample", playbook::manifest::ProviderKind::Http);
        Manifest::parse(&yaml, "sample.yaml").unwrap()
    }

    #[test]
    fn the_key_is_seen_nowhere() {
        let shown = Shown { secret: Some(Secret::new("s3cr3t/\"+k")), steps: Mutex::default() };
        shown.note(&json!({ "url": "https://api.example/?key=s3cr3t%2F%22%2Bk", "h": "Bearer s3cr3t/\"+k", "body": { "echo": "s3cr3t/\"+k" } }));
        let told = shown.steps()[0].to_string();
        assert!(!told.contains("s3cr3t"), "{told}");
        assert_eq!(told.matches("***").count(), 3, "{told}");
    }

    #[tokio::test]
    async fn a_provider_that_cannot_be_reached_is_told_with_its_request() {
        let policy = config::load(&Project::find().unwrap(), None).unwrap().policy;
        let mut asked = Asked::of(manifest(), Some(Secret::new("k3y")), policy);
        asked.bundle.providers.values_mut().for_each(|m| (m.enabled, m.verified) = (true, Verified::Live));
        let outcome = asked.ask(&Observable::parse_any("evil.example").unwrap()).await.unwrap();
        assert_eq!(outcome["outcome"], "error", "{outcome}");
        let steps = asked.egress.steps();
        assert_eq!(steps[0]["request"]["url"], "https://api.sample.example/v1/domain/evil.example");
        assert_eq!(steps[0]["request"]["headers"]["x-api-key"], "***");
    }
}
