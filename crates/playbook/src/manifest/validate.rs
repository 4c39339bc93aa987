//! What must hold of a manifest before anything is asked with it; every complaint names its line.

mod request;

use std::net::IpAddr;

use ioc::{Observable, ObservableType};

use super::{
    LimitHeaders, Manifest, OutcomeRule, PRICE_MAX_MICRODOLLARS, ProviderKind, Redirects, SCHEMA, SYSTEM_RESOLVER,
};
use crate::{
    authored::{self, Checked, Complaint, Wrong, complain, is_id, is_word, named_as},
    mapping::{Expression, MappingError},
    outcome::{PENDING_SUBMITTED, Status},
};

pub(super) fn parse(yaml: &str, file: &str) -> Result<Manifest, Complaint> {
    let manifest: Manifest = authored::read(yaml, file)?;
    check(&manifest, file).map_err(|wrong| wrong.within(yaml, file))?;
    Ok(manifest)
}

fn check(manifest: &Manifest, file: &str) -> Checked {
    head(manifest, file)?;
    belongs(manifest)?;
    match manifest.kind {
        ProviderKind::Http => http(manifest)?,
        ProviderKind::Dns => dns(manifest)?,
        ProviderKind::List => list(manifest)?,
    }
    types(manifest)?;
    for request in &manifest.requests {
        request::check(manifest, request)?;
    }
    numbers(manifest)?;
    if !manifest.outcome.iter().any(|rule| rule.outcome == Status::Found) {
        return complain("outcome", "", "no rule leads to found");
    }
    for rule in &manifest.outcome {
        self::rule(manifest, rule)?;
    }
    expression("mapping", &manifest.mapping)
}

fn head(manifest: &Manifest, file: &str) -> Checked {
    if manifest.schema != SCHEMA {
        return complain("schema", "", format!("schema is {SCHEMA}, not {}", manifest.schema));
    }
    if !is_id(&manifest.id) {
        return complain("id", "", "id is lower-case letters, digits and hyphens, at most 40");
    }
    named_as(&manifest.id, file)?;
    if manifest.name.is_empty() || manifest.name.len() > 80 {
        return complain("name", "", "name has 1 to 80 characters");
    }
    if !is_id(&manifest.family) || manifest.family == "self" {
        return complain("family", "", "family is lower-case letters, digits and hyphens, and not self");
    }
    if manifest.secret.as_ref().is_some_and(|secret| !is_id(secret)) {
        return complain(
            "secret",
            "",
            "secret is an id of lower-case letters, digits and hyphens, never the secret itself",
        );
    }
    if manifest.terms.as_ref().is_some_and(|terms| terms.note.trim().is_empty()) {
        return complain("terms", "note", "terms without a note");
    }
    Ok(())
}

/// Each field is for one kind only.
fn belongs(manifest: &Manifest) -> Checked {
    use ProviderKind::{Dns, Http, List};
    let fields = [
        ("host", !manifest.host.is_empty(), Http),
        ("hosts_from", manifest.hosts_from.is_some(), Http),
        ("redirects", manifest.redirects != Redirects::None, Http),
        ("resolver", manifest.resolver.is_some(), Dns),
        ("list", manifest.list.is_some(), List),
        ("list_max_age_minutes", manifest.list_max_age_minutes.is_some(), List),
    ];
    match fields.iter().find(|(_, is_set, kind)| *is_set && *kind != manifest.kind) {
        Some((key, _, kind)) => complain(key, "", format!("{key} is only for kind {}", kind.as_str())),
        None => Ok(()),
    }
}

fn http(manifest: &Manifest) -> Checked {
    use ObservableType::{DomainName, Ipv4Addr, Ipv6Addr};
    let is_rdap = manifest.redirects == Redirects::Rdap;
    if manifest.hosts_from.is_none() {
        return if is_rdap {
            complain("redirects", "", "redirects rdap goes with hosts_from: rdap_bootstrap")
        } else {
            host(manifest)
        };
    }
    let odd = manifest.types.iter().find(|kind| !matches!(kind, DomainName | Ipv4Addr | Ipv6Addr));
    if !manifest.host.is_empty() {
        complain("host", "", "the host is fixed here or comes from hosts_from, not both")
    } else if manifest.secret.is_some() {
        complain("secret", "", "a key is bound to one host; with hosts_from there is none")
    } else if let Some(kind) = odd {
        complain("types", kind.as_str(), format!("rdap_bootstrap knows names and addresses, not {kind}"))
    } else {
        Ok(())
    }
}

fn host(manifest: &Manifest) -> Checked {
    let host = manifest.host.as_str();
    match Observable::parse(ObservableType::DomainName, host) {
        Ok(name) if name.value() == host => Ok(()),
        _ => {
            complain("host", "", "host is a DNS name in lower case, without scheme, port or path, and never an address")
        }
    }
}

fn dns(manifest: &Manifest) -> Checked {
    match manifest.resolver.as_deref() {
        Some(SYSTEM_RESOLVER) => Ok(()),
        Some(address) => match address.parse::<IpAddr>() {
            Ok(address) if ioc::guard::reserved_address(address).is_none() => Ok(()),
            Ok(_) => complain("resolver", "", "resolver is not a public address"),
            Err(_) => complain("resolver", "", "resolver is system or an address, without a port"),
        },
        None => complain("kind", "", "kind dns has a resolver: system or an address"),
    }
}

fn list(manifest: &Manifest) -> Checked {
    if !manifest.list.as_ref().is_some_and(|id| is_id(id)) {
        return complain(
            if manifest.list.is_some() { "list" } else { "kind" },
            "",
            "kind list names its list: the id of a feed, of lower-case letters, digits and hyphens",
        );
    }
    if manifest.list_max_age_minutes.is_some_and(|minutes| !(1..=525_600).contains(&minutes)) {
        return complain("list_max_age_minutes", "", "list_max_age_minutes is 1 to 525600");
    }
    if manifest.secret.is_some() {
        return complain("secret", "", "a list is looked into here: it needs no secret");
    }
    if !manifest.limits.is_empty() {
        return complain("limits", "", "a list is looked into here: it has no limits");
    }
    Ok(())
}

fn types(manifest: &Manifest) -> Checked {
    if manifest.types.is_empty() {
        return complain("types", "", "a provider takes at least one type");
    }
    for kind in manifest.types.iter().filter(|_| manifest.kind != ProviderKind::List) {
        let asking = manifest.requests.iter().filter(|request| request.types.contains(kind)).count();
        if asking == 0 {
            return complain("types", kind.as_str(), format!("no request asks for {kind}"));
        }
        if asking > 1 && *kind != ObservableType::File {
            return complain("requests", kind.as_str(), format!("two requests ask for {kind}"));
        }
    }
    for request in &manifest.requests {
        if let Some(kind) = request.types.iter().find(|kind| !manifest.types.contains(kind)) {
            return complain("requests", kind.as_str(), format!("{kind} is not among the provider's types"));
        }
        let is_file = request.types.contains(&ObservableType::File);
        if is_file && (request.types.len() > 1 || request.hashes.is_empty()) {
            return complain("requests", "file", "a request for file stands alone and says which hashes it takes");
        }
        if !is_file && !request.hashes.is_empty() {
            return complain("requests", "hashes", "only a request for file takes hashes");
        }
    }
    Ok(())
}

fn numbers(manifest: &Manifest) -> Checked {
    if !(100..=30_000).contains(&manifest.timeout_ms) {
        return complain("timeout_ms", "", "timeout_ms is 100 to 30000");
    }
    if manifest.price_microdollars.is_some_and(|price| price > PRICE_MAX_MICRODOLLARS) {
        return complain(
            "price_microdollars",
            "",
            "price_microdollars is 0 to 100000000, in millionths of a US dollar a call",
        );
    }
    if manifest.limits.iter().any(|limit| limit.limit == 0 || !(1..=2_678_400).contains(&limit.window_seconds)) {
        return complain("limits", "", "a limit allows at least one call in 1 to 2678400 seconds");
    }
    if let Some(LimitHeaders { remaining, reset, .. }) = &manifest.limit_headers {
        if manifest.kind != ProviderKind::Http {
            return complain("limit_headers", "", "only a provider of kind http has headers");
        }
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(name) = [remaining, reset].into_iter().find(|name| !is_name(name)) {
            return complain(
                "limit_headers",
                name,
                format!("{name:?} is no header's name: letters, digits and hyphens"),
            );
        }
    }
    let lifetimes = &manifest.lifetimes_minutes;
    let all = [lifetimes.found, lifetimes.not_found, lifetimes.error];
    if all.iter().any(|minutes| !(1..=43_200).contains(minutes)) || lifetimes.error > 60 {
        return complain("lifetimes_minutes", "", "lifetimes are 1 to 43200 minutes, that of an error at most 60");
    }
    Ok(())
}

fn rule(manifest: &Manifest, rule: &OutcomeRule) -> Checked {
    let near = rule.when.clone().unwrap_or_else(|| format!("outcome: {}", rule.outcome.as_str()));
    if let Some(source) = &rule.when {
        expression("outcome", source)?;
    }
    if rule.outcome == Status::Skipped {
        return complain("outcome", rule.outcome.as_str(), "an answer is found, not_found, error or rate_limited");
    }
    if rule.outcome == Status::Pending && manifest.requests.iter().all(|request| request.poll.is_none()) {
        return complain("outcome", rule.outcome.as_str(), "an answer is pending only where a request polls");
    }
    if rule.status.iter().any(|status| !(200..=599).contains(status)) {
        return complain("outcome", near, "a final status is 200 to 599");
    }
    if rule.status.is_empty() && rule.when.is_none() && rule.outcome != Status::Error {
        return complain(
            "outcome",
            near,
            "only an error may need neither status nor condition: not every answer is an answer",
        );
    }
    match (rule.outcome, &rule.reason) {
        (Status::Error, None) => complain("outcome", near, "an error has a reason"),
        (Status::Error, Some(reason)) if is_word(reason, '_') => Ok(()),
        (Status::Error, Some(reason)) => {
            complain("outcome", reason, "reason is a word of lower-case letters, digits and underscores")
        }
        (Status::Pending, Some(reason)) if reason == PENDING_SUBMITTED => Ok(()),
        (Status::Pending, Some(reason)) => complain("outcome", reason, "an answer that is pending was submitted"),
        (_, Some(reason)) => complain("outcome", reason, "only an error has a reason"),
        (_, None) => Ok(()),
    }
}

fn expression(key: &'static str, source: &str) -> Checked {
    Expression::compile(source).map(|_| ()).map_err(|error| {
        let near = match &error {
            MappingError::Unknown(name) => format!("${name}"),
            MappingError::Refused(what) => what.split_whitespace().last().unwrap_or_default().to_owned(),
            _ => source.to_owned(),
        };
        Wrong { key, near, message: error.to_string() }
    })
}

#[cfg(test)]
mod tests;
