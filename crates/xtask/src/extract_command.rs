//! `cargo xtask extract`: every observable in a text or a mail, without AWS.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{BufRead, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use ioc::{HashAlgorithm, Observable, ObservableType};
use playbook::{
    IncidentId,
    bundle::Bundle,
    guard::Guard,
    incident::{Extraction, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{config, project::Project, term};

/// A line of `extract --jsonl`.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// What is answered to it.
#[derive(Serialize)]
struct Answered<'a> {
    id: &'a str,
    found: BTreeMap<&'static str, Vec<&'a str>>,
}

/// The word for a type outside of STIX: `ipv4`, `domain`, `sha256`.
#[must_use]
pub fn short_type(observable: &Observable) -> &'static str {
    match observable.kind() {
        ObservableType::Ipv4Addr => "ipv4",
        ObservableType::Ipv6Addr => "ipv6",
        ObservableType::DomainName => "domain",
        ObservableType::Url => "url",
        ObservableType::EmailAddr => "email",
        ObservableType::File => HashAlgorithm::of_hex(observable.value()).map_or("file", HashAlgorithm::as_str),
    }
}

/// Answers line by line: `{"id","text"}` in, `{"id","found":{type:[values]}}` out. Blank lines are skipped.
pub fn lines(mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_line(&mut line).with_context(|| format!("line {number} cannot be read"))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let asked: Asked<'_> =
            serde_json::from_str(&line).with_context(|| format!("line {number} is not {{\"id\", \"text\"}}"))?;
        let observables = ioc::extract(&asked.text);
        let mut found: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for observable in &observables {
            found.entry(short_type(observable)).or_default().push(observable.value());
        }
        serde_json::to_writer(&mut output, &Answered { id: &asked.id, found })?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(())
}

/// Reads a file, or standard input for `-`, and says what is in it. A mail is read as the stage reads it.
pub fn file(project: &Project, path: &str, json: bool) -> Result<()> {
    let bytes = if path == "-" {
        let mut bytes = vec![];
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
        bytes
    } else {
        std::fs::read(path).with_context(|| format!("{path} cannot be read"))?
    };
    let is_mail = Path::new(path).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("eml"));
    let extraction = read(project, &bytes, if is_mail { Kind::Mail } else { Kind::Feed })?;
    if json {
        term::line(&serde_json::to_string_pretty(&extraction)?);
        return Ok(());
    }
    let mut rows = vec![["TYPE", "VALUE", "FOUND IN", "NOTE"].map(str::to_owned).to_vec()];
    for sighted in &extraction.observables {
        let note = sighted.withheld.map(|why| format!("withheld: {}", word(&why))).unwrap_or_default();
        rows.push(vec![
            sighted.observable.kind().to_string(),
            sighted.observable.defanged(),
            sighted.places.join(", "),
            note,
        ]);
    }
    if rows.len() == 1 {
        term::line("nothing found");
    } else {
        term::line(&term::table(&rows));
    }
    for omission in &extraction.omissions {
        term::line(&format!("  left out: {}: {}", ioc::visible(&omission.place), ioc::visible(&omission.reason)));
    }
    Ok(())
}

fn read(project: &Project, bytes: &[u8], kind: Kind) -> Result<Extraction> {
    let bundle: Bundle = match config::load(project, None) {
        Ok(bundle) => bundle,
        Err(complaints) => bail!("the policy says what is our own, and it cannot be read:\n{complaints}"),
    };
    let hosts = bundle.hosts();
    let id = IncidentId::of("default", "console", "extract");
    Ok(extract::extract(kind, bytes, Guard::new(&bundle.policy, &hosts), &id))
}

/// The word that a value of an enum has in documents.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_answered_under_its_own_id() {
        let asked = concat!(
            r#"{"id":"a","text":"see http://evil.example/x and 192.0.2.7"}"#,
            "\n\n",
            r#"{"id":"b\u0041","text":"44d88612fea8a8f36de82e1278abb02f","more":1}"#
        );
        let mut answered = vec![];
        lines(asked.as_bytes(), &mut answered).unwrap();
        let answers: Vec<serde_json::Value> =
            String::from_utf8(answered).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers[0]["id"], "a");
        assert_eq!(answers[0]["found"]["ipv4"][0], "192.0.2.7");
        assert_eq!(answers[0]["found"]["url"][0], "http://evil.example/x");
        assert_eq!(answers[1]["id"], "bA");
        assert_eq!(answers[1]["found"]["md5"][0], "44d88612fea8a8f36de82e1278abb02f");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = lines(&b"{\"id\":\"a\",\"text\":\"\"}\nnonsense\n"[..], vec![]).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
