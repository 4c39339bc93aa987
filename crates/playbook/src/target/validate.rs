//! What must hold of a target's manifest before anything is written with it; every complaint names its line.

use ioc::{Observable, ObservableType};

use super::{
    Call, Calls, Effect, IpSetArns, Target, TargetKind,
    text::{Place, Text},
};
use crate::{
    authored::{self, Checked, Complaint, Wrong, complain, is_id, named_as},
    manifest::Method,
    mapping::{Expression, MappingError},
};

/// Headers that the request itself decides.
const OWN_HEADERS: [&str; 6] =
    ["connection", "content-length", "cookie", "host", "proxy-authorization", "transfer-encoding"];

pub(super) fn parse(yaml: &str, file: &str) -> Result<Target, Complaint> {
    let target: Target = authored::read(yaml, file)?;
    let checked = named_as(&target.id, file).and_then(|()| check(&target));
    checked.map_err(|wrong| wrong.within(yaml, file))?;
    Ok(target)
}

pub(super) fn faults(target: &Target) -> Vec<String> {
    check(target).err().map(|wrong| format!("{}: {}", wrong.key, wrong.message)).into_iter().collect()
}

fn check(target: &Target) -> Checked {
    head(target)?;
    types(target)?;
    match target.kind {
        TargetKind::Http => http(target),
        TargetKind::WafIpSet => waf(target),
        TargetKind::ServedList => listed(target),
    }
}

fn head(target: &Target) -> Checked {
    if target.schema != Target::SCHEMA {
        return complain("schema", "", format!("schema is {}, not {}", Target::SCHEMA, target.schema));
    }
    if !is_id(&target.id) {
        return complain("id", "", "id is lower-case letters, digits and hyphens, at most 40");
    }
    if target.name.is_empty() || target.name.len() > 80 {
        return complain("name", "", "name has 1 to 80 characters");
    }
    if target.secret.as_ref().is_some_and(|secret| !is_id(secret)) {
        return complain(
            "secret",
            "",
            "secret is an id of lower-case letters, digits and hyphens, never the secret itself",
        );
    }
    if target.terms.as_ref().is_some_and(|terms| terms.note.trim().is_empty()) {
        return complain("terms", "note", "terms without a note");
    }
    if !(100..=30_000).contains(&target.timeout_ms) {
        return complain("timeout_ms", "", "timeout_ms is 100 to 30000");
    }
    Ok(())
}

fn types(target: &Target) -> Checked {
    let takes_entries = matches!(target.effect, Effect::Records | Effect::Detects | Effect::Enforces);
    match (takes_entries, target.types.is_empty()) {
        (true, true) => complain("types", "", "a target of entries takes at least one type"),
        (false, false) => complain("types", "", "a target of tickets or notices takes incidents, not types"),
        _ => Ok(()),
    }
}

/// What only calls need must be absent elsewhere: nobody would read it.
fn without_calls(target: &Target) -> Checked {
    let parts = [
        ("calls", target.calls.is_some()),
        ("host", !target.host.is_empty()),
        ("secret", target.secret.is_some()),
        ("settings", !target.settings.is_empty()),
        ("dry_run", target.dry_run),
    ];
    match parts.into_iter().find(|(_, is_there)| *is_there) {
        Some((key, _)) => complain(key, "", format!("{key} is only for kind http")),
        None => Ok(()),
    }
}

fn listed(target: &Target) -> Checked {
    without_calls(target)?;
    if target.ip_sets.is_some() {
        return complain("ip_sets", "", "ip_sets is only for kind waf_ip_set");
    }
    if target.effect != Effect::Enforces {
        return complain("effect", "", "a served list enforces");
    }
    Ok(())
}

fn waf(target: &Target) -> Checked {
    without_calls(target)?;
    if target.effect != Effect::Enforces {
        return complain("effect", "", "an IP set enforces");
    }
    let sets = target.ip_sets.clone().unwrap_or(IpSetArns { ipv4: None, ipv6: None });
    for (kind, arn) in [(ObservableType::Ipv4Addr, &sets.ipv4), (ObservableType::Ipv6Addr, &sets.ipv6)] {
        match (target.types.contains(&kind), arn) {
            (true, None) if target.enabled => {
                return complain("ip_sets", "", format!("{kind} is among the types, but no set is named for it"));
            }
            (false, Some(arn)) => {
                return complain("ip_sets", arn, format!("a set is named for {kind}, which is not among the types"));
            }
            (_, Some(arn)) if !is_ip_set(arn) => {
                return complain(
                    "ip_sets",
                    arn,
                    "an IP set's ARN is arn:aws:wafv2:<region>:<account>:regional|global/ipset/<name>/<id>, global only in \
                     us-east-1",
                );
            }
            _ => {}
        }
    }
    match target.types.iter().find(|kind| !matches!(kind, ObservableType::Ipv4Addr | ObservableType::Ipv6Addr)) {
        Some(kind) => complain("types", kind.as_str(), format!("an IP set takes addresses, not {kind}")),
        None => Ok(()),
    }
}

fn is_ip_set(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [prefix, partition, "wafv2", region, account, resource] = parts[..] else { return false };
    let is_plain = |text: &str| {
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let resource: Vec<&str> = resource.split('/').collect();
    let [scope, "ipset", name, id] = resource[..] else { return false };
    prefix == "arn"
        && partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && [partition, region, name, id].into_iter().all(is_plain)
        && (scope == "regional" || (scope == "global" && region == "us-east-1"))
}

fn http(target: &Target) -> Checked {
    match Observable::parse(ObservableType::DomainName, &target.host) {
        Ok(name) if name.value() == target.host => {}
        _ => {
            return complain(
                "host",
                "",
                "host is a DNS name in lower case, without scheme, port or path, and never an address",
            );
        }
    }
    if target.ip_sets.is_some() {
        return complain("ip_sets", "", "ip_sets is only for kind waf_ip_set");
    }
    let Some(calls) = &target.calls else { return complain("kind", "", "kind http needs calls") };
    complete(target.effect, calls)?;
    let mut sends_secret = false;
    for (name, call) in each(calls) {
        self::call(target, name, call)?;
        sends_secret |= call.headers.values().any(|text| text.contains("{secret"));
    }
    match (&target.secret, sends_secret) {
        (Some(_), false) => complain("secret", "", "the target has a secret, but no call sends it"),
        (None, true) => complain("calls", "{secret", "a call sends a secret, but the target has none"),
        _ => Ok(()),
    }
}

fn each(calls: &Calls) -> Vec<(&'static str, &Call)> {
    let optional = [
        ("precheck", &calls.precheck),
        ("read_back", &calls.read_back),
        ("update", &calls.update),
        ("undo", &calls.undo),
        ("close", &calls.close),
    ];
    let present = optional.into_iter().filter_map(|(name, call)| call.as_ref().map(|call| (name, call)));
    std::iter::once(("write", &calls.write)).chain(present).collect()
}

/// An entry can be undone, and is told apart from what was there before; a ticket is found again and brought up to date.
fn complete(effect: Effect, calls: &Calls) -> Checked {
    let is_entry = matches!(effect, Effect::Records | Effect::Detects | Effect::Enforces);
    let needed: &[(&str, bool)] = match effect {
        Effect::Records | Effect::Detects | Effect::Enforces => &[("undo", calls.undo.is_some())],
        Effect::Tickets => &[("precheck", calls.precheck.is_some()), ("update", calls.update.is_some())],
        Effect::Notifies => &[],
    };
    if let Some((name, _)) = needed.iter().find(|(_, is_there)| !is_there) {
        return complain("calls", "", format!("calls.{name} is missing"));
    }
    if is_entry && (calls.update.is_some() || calls.close.is_some()) {
        return complain("calls", "", "update and close are for tickets and notices");
    }
    if !is_entry && calls.undo.is_some() {
        return complain("calls", "undo:", "undo is for entries");
    }
    match &calls.precheck {
        Some(precheck) if is_entry && precheck.ours_when.is_none() => {
            complain("calls", "precheck:", "precheck needs ours_when: what was there before us is never removed")
        }
        _ => Ok(()),
    }
}

fn call(target: &Target, name: &'static str, call: &Call) -> Checked {
    let looks = matches!(name, "precheck" | "read_back");
    if looks != call.found_when.is_some() {
        let message = if looks { "needs found_when" } else { "changes something and has no found_when" };
        return complain("calls", format!("{name}:"), format!("calls.{name} {message}"));
    }
    if call.ours_when.is_some() && name != "precheck" {
        return complain("calls", "ours_when", format!("calls.{name} has no ours_when: it is for precheck"));
    }
    path(target, &call.path)?;
    for (parameter, text) in &call.query {
        self::text(target, text, Place::Query, &format!("{parameter}:"))?;
    }
    for (header, text) in &call.headers {
        let is_token = !header.is_empty() && header.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_token || OWN_HEADERS.contains(&header.to_ascii_lowercase().as_str()) {
            return complain("calls", format!("{header}:"), format!("header {header:?} cannot be set"));
        }
        self::text(target, text, Place::Header, &format!("{header}:"))?;
    }
    if call.body.is_some() && call.method == Method::Get {
        return complain("calls", format!("{name}:"), format!("calls.{name}: GET has no body"));
    }
    let expressions = [
        &call.body,
        &call.success_when,
        &call.duplicate_when,
        &call.found_when,
        &call.ours_when,
        &call.external_id,
        &call.permalink,
    ];
    expressions.into_iter().flatten().try_for_each(|source| expression(name, source))
}

fn path(target: &Target, path: &str) -> Checked {
    let Some(below) = path.strip_prefix('/') else { return complain("calls", path, "path starts with /") };
    if path.contains(['?', '#', '%', '\\', ' ']) {
        return complain("calls", path, "path holds plain segments; parameters go into query, encoding is ours");
    }
    let count = below.split('/').count();
    for (index, segment) in below.split('/').enumerate() {
        if segment == "." || segment == ".." || (segment.is_empty() && index + 1 < count) {
            return complain("calls", path, "path has an empty or relative segment");
        }
        text(target, segment, Place::Path, path)?;
    }
    Ok(())
}

fn text(target: &Target, text: &str, place: Place, near: &str) -> Checked {
    let parsed = Text::parse(text, place).map_err(|message| Wrong { key: "calls", near: near.to_owned(), message })?;
    let missing = parsed.0.iter().find_map(|part| match part {
        super::text::Part::Setting(name) if !target.settings.contains_key(name) => Some(name),
        _ => None,
    });
    match missing {
        Some(name) => complain("calls", near, format!("there is no settings.{name}")),
        None => Ok(()),
    }
}

fn expression(call: &str, source: &str) -> Checked {
    Expression::compile(source).map(|_| ()).map_err(|error| {
        let near = match &error {
            MappingError::Unknown(name) => format!("${name}"),
            MappingError::Refused(what) => what.split_whitespace().last().unwrap_or_default().to_owned(),
            _ => source.to_owned(),
        };
        Wrong { key: "calls", near, message: format!("calls.{call}: {error}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISP: &str = include_str!("../../../../playbook/targets/misp.yaml");
    const WAF: &str = include_str!("../../../../playbook/targets/waf-ip-set.yaml");
    const LIST: &str = include_str!("../../../../playbook/targets/served-list.yaml");

    /// The line and the complaint when one text of a good manifest is replaced.
    fn check(good: &str, id: &str, (from, to): (&str, &str), expected: &str) {
        let yaml = good.replacen(from, to, 1);
        assert_ne!(yaml, good, "{from} is not in {id}");
        let file = format!("playbook/targets/{id}.yaml");
        let error = Target::parse(&yaml, &file).expect_err(to);
        assert!(error.message.contains(expected), "{from} → {to}: {error}");
        let line = usize::try_from(error.line).unwrap();
        assert!(error.to_string().starts_with(&format!("{file}:{line}: ")), "{error}");
        assert!((1..=yaml.lines().count()).contains(&line), "{error}");
    }

    #[test]
    fn the_shipped_manifests_are_good() {
        for (id, yaml) in [("misp", MISP), ("waf-ip-set", WAF), ("served-list", LIST)] {
            let target = Target::parse(yaml, &format!("playbook/targets/{id}.yaml")).unwrap();
            assert_eq!(target.faults(), Vec::<String>::new());
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let misp = |change: (&str, &str), expected: &str| check(MISP, "misp", change, expected);
        misp(("target/1", "target/2"), "schema is target/1");
        misp(("id: misp", "id: mips"), "the file is called misp.yaml");
        misp(("name: MISP", "name: MISP\ncolour: red"), "colour");
        misp(("name: MISP", "name: \"\""), "1 to 80 characters");
        misp(("effect: records", "effect: tickets"), "not types");
        misp(("types: [ipv4-addr, ipv6-addr, domain-name, url, email-addr, file]", "types: []"), "at least one type");
        misp(("host: misp.corp.example", "host: 192.0.2.7"), "never an address");
        misp(("host: misp.corp.example", "host: misp.corp.example:8443"), "DNS name");
        misp(("timeout_ms: 8000", "timeout_ms: 60000"), "timeout_ms");
        misp(("secret: misp", "secret: \"k3y VALUE\""), "never the secret itself");
        misp(("secret: misp", "# none"), "the target has none");
        misp(("add/{settings.event}", "add/{settings.evnt}"), "no settings.evnt");
        misp(("/attributes/restSearch", "attributes/restSearch"), "starts with /");
        misp(("/attributes/restSearch", "/attributes/../restSearch"), "relative");
        misp(("/attributes/restSearch", "/attributes?x={value}"), "parameters go into query");
        misp(("/attributes/restSearch", "/attributes/{secret}"), "may not hold {secret}");
        misp(("accept: application/json", "host: evil.example"), "cannot be set");
        misp(("accept: application/json", "accept: \"{value}\""), "header may not hold");
        misp(("    found_when: $count", "    not_found_when: $count"), "not_found_when");
        misp(("$string(body.Attribute.id)", "$strng(body.Attribute.id)"), "$strng");
        misp(("to_ids\": true", "to_ids\": $now()"), "$now may not be used");
        misp(("  undo:", "  close:"), "calls.undo is missing");
        misp(("kind: http", "kind: served_list"), "only for kind http");
    }

    #[test]
    fn a_precheck_tells_ours_from_theirs() {
        let yaml = MISP.replace("ours_when: >-", "permalink: >-");
        let error = Target::parse(&yaml, "misp.yaml").unwrap_err();
        assert!(error.message.contains("precheck needs ours_when"), "{error}");
        let found_by_a_write = MISP.replace("    duplicate_when:", "    found_when: \"true\"\n    duplicate_when:");
        let error = Target::parse(&found_by_a_write, "misp.yaml").unwrap_err();
        assert!(error.message.contains("calls.write changes something"), "{error}");
    }

    #[test]
    fn ip_sets_are_named_for_the_types_that_are_on() {
        let on = WAF.replace("enabled: false", "enabled: true");
        let arn = |arn: &str| format!("{on}ip_sets:\n  ipv4: {arn}\n  ipv6: {arn}\n");
        let good = "arn:aws:wafv2:eu-west-1:111111111111:regional/ipset/blocked/1a2b-3c";
        assert!(Target::parse(&arn(good), "waf-ip-set.yaml").is_ok());
        for wrong in [
            "blocked",
            "arn:aws:wafv2:eu-west-1:111111111111:regional/webacl/blocked/1a2b",
            "arn:aws:wafv2:eu-west-1:111111111111:global/ipset/blocked/1a2b",
            "arn:aws:wafv2:eu-west-1:1111:regional/ipset/blocked/1a2b",
            "arn:aws:wafv2:eu-west-1:111111111111:regional/ipset/../1a2b",
        ] {
            let error = Target::parse(&arn(wrong), "waf-ip-set.yaml").expect_err(wrong);
            assert!(error.message.contains("an IP set's ARN is"), "{error}");
        }
        let error = Target::parse(&on, "waf-ip-set.yaml").unwrap_err();
        assert!(error.message.contains("no set is named for it"), "{error}");
        check(WAF, "waf-ip-set", ("[ipv4-addr, ipv6-addr]", "[ipv4-addr, url]"), "takes addresses, not url");
        check(WAF, "waf-ip-set", ("effect: enforces", "effect: detects"), "an IP set enforces");
        check(LIST, "served-list", ("effect: enforces", "effect: records"), "a served list enforces");
    }
}
