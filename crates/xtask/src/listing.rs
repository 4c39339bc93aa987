//! `cargo xtask providers` and `cargo xtask targets`: what is on, what is off, and why.

use std::collections::BTreeSet;

use anyhow::Result;
use playbook::{bundle::Bundle, intake::IntakeSource, manifest::Manifest, outcome::Grade, policy::Act, target::Target};
use serde_json::{Value, json};

use crate::{config, extract_command::word, project::Project, publish, term};

/// Which secrets of a deployment are set; `None` where no deployment was named.
pub type Secrets = Option<BTreeSet<String>>;

/// Lists the providers. With a stack, also which keys are set there.
pub fn providers(project: &Project, stack: Option<&str>, json: bool) -> Result<()> {
    let bundle = config::load(project, None)?;
    let secrets = stack.map(|stack| publish::secrets(project, stack, "providers")).transpose()?;
    if json {
        let told: Vec<Value> =
            bundle.providers.values().map(|provider| document(&bundle, provider, &secrets)).collect();
        term::line(&serde_json::to_string_pretty(&told)?);
        return Ok(());
    }
    term::line(&provider_table(&bundle, &secrets));
    let on = bundle.providers.values().filter(|provider| off(provider, &secrets).is_none()).count();
    term::line(&format!("\n{on} of {} are on. {}", bundle.providers.len(), hint(stack)));
    Ok(())
}

/// One line per provider.
pub fn provider_table(bundle: &Bundle, secrets: &Secrets) -> String {
    let head = ["PROVIDER", "KIND", "TYPES", "FAMILY", "GRADE", "LIMITS", "DISCLOSES", "KEY", "STATE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(bundle.providers.values().map(|provider| {
        vec![
            provider.id.clone(),
            word(&provider.kind),
            provider.types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" "),
            provider.family.clone(),
            grades(bundle, provider),
            limits(provider),
            word(&provider.discloses),
            key(provider.secret.as_deref(), secrets),
            state(off(provider, secrets).as_deref()),
        ]
    }));
    term::table(&rows)
}

/// Lists the targets, and what comes in.
pub fn targets(project: &Project, stack: Option<&str>, json: bool) -> Result<()> {
    let bundle = config::load(project, None)?;
    let secrets = stack.map(|stack| publish::secrets(project, stack, "targets")).transpose()?;
    let act = |target: &Target| match bundle.policy.enforce.targets.get(&target.id) {
        Some(Act::AutomaticallyIf(condition)) => format!("automatically if {condition}"),
        Some(act) => word(act),
        None if target.effect == playbook::target::Effect::Enforces => "never: policy does not name it".to_owned(),
        None => "at once".to_owned(),
    };
    if json {
        let told = bundle.targets.values().map(|target| {
            let off = target_off(target, &bundle, &secrets);
            json!({ "id": target.id, "kind": target.kind, "effect": target.effect, "types": target.types,
                "act": act(target), "dry_run": target.dry_run, "on": off.is_none(), "off": off })
        });
        term::line(&serde_json::to_string_pretty(&told.collect::<Vec<Value>>())?);
        return Ok(());
    }
    let mut rows = vec![["TARGET", "KIND", "EFFECT", "TYPES", "ACTS", "KEY", "STATE"].map(str::to_owned).to_vec()];
    rows.extend(bundle.targets.values().map(|target| {
        let off = target_off(target, &bundle, &secrets);
        let state = if off.is_none() && target.dry_run { "dry run".to_owned() } else { state(off.as_deref()) };
        vec![
            target.id.clone(),
            word(&target.kind),
            word(&target.effect),
            target.types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" "),
            act(target),
            key(target.secret.as_deref(), &secrets),
            state,
        ]
    }));
    term::line(&term::table(&rows));
    let mut doors = vec![["COMES IN", "HOW", "TENANT", "STATE"].map(str::to_owned).to_vec()];
    doors.extend(
        bundle
            .intake
            .values()
            .map(|source| vec![source.id.clone(), how(source), source.tenant.clone(), state(source.off_reason())]),
    );
    term::line(&format!("\n{}\n\n{}", term::table(&doors), hint(stack)));
    Ok(())
}

/// How far a provider is trusted, and for which types otherwise, such as `B (ipv4-addr C)`.
fn grades(bundle: &Bundle, provider: &Manifest) -> String {
    if !provider.opines {
        return "context".to_owned();
    }
    let all: Vec<(&str, Option<Grade>)> =
        provider.types.iter().map(|kind| (kind.as_str(), bundle.grades.of(provider, *kind))).collect();
    let usual = bundle.grades.grades.get(&provider.id).copied().or(provider.grade);
    let others = all.iter().filter(|(_, grade)| *grade != usual);
    let others: Vec<String> = others.map(|(kind, grade)| format!("{kind} {}", word(grade))).collect();
    if others.is_empty() { word(&usual) } else { format!("{} ({})", word(&usual), others.join(", ")) }
}

fn document(bundle: &Bundle, provider: &Manifest, secrets: &Secrets) -> Value {
    let off = off(provider, secrets);
    json!({
        "id": provider.id, "name": provider.name, "kind": provider.kind, "types": provider.types, "family": provider.family,
        "grade": grades(bundle, provider), "opines": provider.opines, "limits": provider.limits, "discloses": provider.discloses,
        "verified": provider.verified, "secret": provider.secret, "on": off.is_none(), "off": off,
    })
}

fn off(provider: &Manifest, secrets: &Secrets) -> Option<String> {
    provider.off_reason().map(str::to_owned).or_else(|| missing(provider.secret.as_deref(), secrets))
}

fn target_off(target: &Target, bundle: &Bundle, secrets: &Secrets) -> Option<String> {
    let never = bundle.policy.enforce.targets.get(&target.id) == Some(&Act::Never);
    let by_policy = never.then(|| "policy says never".to_owned());
    target.off_reason().map(str::to_owned).or(by_policy).or_else(|| missing(target.secret.as_deref(), secrets))
}

fn missing(secret: Option<&str>, secrets: &Secrets) -> Option<String> {
    let is_missing = secrets.as_ref().zip(secret).is_some_and(|(set, id)| !set.contains(id));
    is_missing.then(|| "no key is set".to_owned())
}

fn key(secret: Option<&str>, secrets: &Secrets) -> String {
    match (secret, secrets) {
        (None, _) => "none needed".to_owned(),
        (Some(id), None) => id.to_owned(),
        (Some(id), Some(set)) if set.contains(id) => format!("{id}: set"),
        (Some(id), Some(_)) => format!("{id}: missing"),
    }
}

fn state(off: Option<&str>) -> String {
    off.map_or_else(|| "on".to_owned(), |why| format!("off: {why}"))
}

fn limits(provider: &Manifest) -> String {
    let window = |seconds: u64| match seconds {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3_600 => "h".to_owned(),
        86_400 => "day".to_owned(),
        604_800 => "week".to_owned(),
        other => format!("{other} s"),
    };
    let each = provider.limits.iter().map(|limit| format!("{}/{}", limit.limit, window(limit.window_seconds)));
    each.collect::<Vec<_>>().join(" ")
}

fn how(source: &IntakeSource) -> String {
    if let Some(webhook) = &source.webhook {
        return format!("POST /alerts/{} ({})", source.id, word(&webhook.auth));
    }
    if let Some(event) = &source.event {
        return format!("event of {}: {}", event.source, event.detail_type);
    }
    source.feed.as_ref().map_or_else(String::new, |feed| {
        format!("feed every {} min, becomes {}: {}", feed.every_minutes, word(&feed.becomes), feed.host)
    })
}

fn hint(stack: Option<&str>) -> &'static str {
    if stack.is_some() {
        "A key is set with: cargo xtask secret set ID --stack STACK"
    } else {
        "With --stack NAME it also says which keys are set there."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_off_says_why() {
        let project = Project::find().unwrap();
        let bundle = config::load(&project, None).unwrap();
        let some: Secrets = Some(BTreeSet::from(["urlhaus".to_owned()]));
        let check = |id: &str, secrets: &Secrets, expected: Option<&str>| {
            assert_eq!(off(&bundle.providers[id], secrets).as_deref(), expected, "{id}");
        };
        check("urlhaus", &None, None);
        check("urlhaus", &some, None);
        check("threatfox", &some, Some("no key is set"));
        check("hashlookup", &some, None);
        check("virustotal", &some, Some("disabled"));
        check("greynoise", &None, Some("documented"));
        check("surbl", &None, Some("terms"));
        assert_eq!(key(Some("threatfox"), &some), "threatfox: missing");
        assert_eq!(limits(&bundle.providers["urlscan"]), "120/min 1000/day");
    }
}
