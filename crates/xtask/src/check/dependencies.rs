//! The dependency policy: licences, sources, one TLS stack, and arrows that point one way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Outcome;
use crate::{process, project::Project};

const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// File-level copyleft: fine for us as long as we do not change them; each by name, all of the HTML parser.
const MPL: [&str; 5] = ["cssparser", "cssparser-macros", "dtoa-short", "selectors", "option-ext"];

/// A second TLS stack, or a C library where Rust does.
const BANNED: [(&str, &str); 6] = [
    ("aws-lc-rs", "TLS is rustls with ring (docs/adr)"),
    ("aws-lc-sys", "TLS is rustls with ring (docs/adr)"),
    ("native-tls", "TLS is rustls with ring (docs/adr)"),
    ("openssl", "TLS is rustls with ring (docs/adr)"),
    ("openssl-sys", "TLS is rustls with ring (docs/adr)"),
    ("serde_yaml", "YAML is read by serde-saphyr"),
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Looks at every package that the lock file names.
pub fn check(project: &Project) -> Outcome {
    match findings(project) {
        Ok(findings) => Outcome::of(findings),
        Err(error) => Outcome::of(vec![format!("{error:#}")]),
    }
}

fn findings(project: &Project) -> Result<Vec<String>> {
    let asked = process::output(process::cargo(project.root()).args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&asked.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut findings = vec![];
    let mut rustls = vec![];
    let idents: BTreeMap<&str, String> = packages.iter().filter_map(ident).collect();
    for package in packages {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!("{name} {version} is not wanted: {why}"));
        }
        if name == "rustls" {
            rustls.push(version);
        }
        match package["source"].as_str() {
            None => findings.extend(of_ours(project, package, &idents)),
            Some(REGISTRY) => findings.extend(licence(name, version, text("license"))),
            Some(other) => findings.push(format!("{name} {version} comes from {other}: only the registry is allowed")),
        }
    }
    if rustls.len() > 1 {
        findings.push(format!("rustls is there {} times ({}): one TLS stack", rustls.len(), rustls.join(", ")));
    }
    Ok(findings)
}

fn licence(name: &str, version: &str, expression: &str) -> Option<String> {
    let is_allowed = is_allowed(expression) || (expression.contains("MPL-2.0") && MPL.contains(&name));
    (!is_allowed).then(|| format!("{name} {version}: licence {expression:?} is not on the list"))
}

/// Whether one alternative of an SPDX expression is allowed in all its parts. Parentheses are resolved the strict way.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    let parts =
        |separator: &str, text: &str| text.split(separator).map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    let known = |part: &String| LICENCES.contains(&part.as_str());
    if expression.contains('(') {
        // `(A OR B) AND C`: every part of AND must offer something allowed.
        return parts(" AND ", &flat).iter().all(|part| parts(" OR ", part).iter().any(known));
    }
    parts(" OR ", &flat).iter().any(|part| parts(" AND ", part).iter().all(known))
}

/// Where a package of ours stands; arrows go from higher to lower.
fn layer(folder: &str) -> u8 {
    match folder {
        "crates/ioc" => 0,
        "crates/playbook" => 1,
        "crates/aws" | "crates/egress" | "crates/sources" | "crates/targets" => 2,
        _ if folder.starts_with("functions/") => 3,
        _ => 4,
    }
}

fn of_ours(project: &Project, package: &Value, idents: &BTreeMap<&str, String>) -> Vec<String> {
    let folder_of = |path: &str| {
        let folder = Path::new(path);
        project.name_of(if folder.ends_with("Cargo.toml") { folder.parent().unwrap_or(folder) } else { folder })
    };
    let folder = folder_of(package["manifest_path"].as_str().unwrap_or_default());
    let mut findings = vec![];
    let mut used = String::new();
    for path in super::sources::files(project) {
        let name = project.name_of(&path);
        if name.starts_with(&format!("{folder}/"))
            && Path::new(&name).extension().is_some_and(|e| e == "rs" || e == "html")
        {
            used.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default();
        if (name.starts_with("aws-sdk-") || name == "aws-config") && folder != "crates/aws" {
            findings.push(format!("{folder} names {name}: only crates/aws may"));
        }
        let ident = dependency["rename"]
            .as_str()
            .or_else(|| idents.get(name).map(String::as_str))
            .unwrap_or(name)
            .replace('-', "_");
        if named.insert(name) && !mentions(&used, &ident) {
            findings.push(format!("{folder} depends on {name} and does not use it"));
        }
        let is_for_tests = dependency["kind"] == "dev";
        if let Some(to) = dependency["path"].as_str().map(folder_of) {
            let points_down = layer(&to) < layer(&folder) || layer(&folder) == 4;
            if !(points_down || is_for_tests && layer(&to) <= 1) {
                findings.push(format!(
                    "{folder} depends on {to}: arrows go functions → aws, egress, sources, targets → playbook → ioc"
                ));
            }
        }
    }
    findings
}

/// What code calls a package: the name of its library, which need not be the package's.
fn ident(package: &Value) -> Option<(&str, String)> {
    let is_library = |target: &&Value| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "lib" || k == "proc-macro"))
    };
    let library = package["targets"].as_array()?.iter().find(is_library)?;
    Some((package["name"].as_str()?, library["name"].as_str()?.to_owned()))
}

/// Whether the code names a crate, as a path or in an attribute.
fn mentions(code: &str, ident: &str) -> bool {
    code.match_indices(ident).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + ident.len()..).and_then(|text| text.chars().next());
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && !is_part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_needs_one_alternative_that_is_allowed_in_all_its_parts() {
        let check = |expression: &str, allowed: bool| assert_eq!(is_allowed(expression), allowed, "{expression}");
        check("MIT", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0 OR MIT", true);
        check("Apache-2.0 AND ISC", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR GPL-3.0) AND GPL-3.0", false);
        check("GPL-3.0", false);
        check("MIT AND GPL-3.0", false);
        check("", false);
    }

    #[test]
    fn arrows_point_one_way() {
        assert!(layer("functions/extract") > layer("crates/aws"));
        assert!(layer("crates/aws") > layer("crates/playbook"));
        assert!(layer("crates/playbook") > layer("crates/ioc"));
        assert_eq!(layer("tests"), 4);
    }

    #[test]
    fn a_crate_is_named_as_a_whole_word() {
        assert!(mentions("use serde_json::Value;", "serde_json"));
        assert!(!mentions("use serde_json::Value;", "serde"));
    }
}
