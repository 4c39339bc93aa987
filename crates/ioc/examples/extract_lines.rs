//! Reads `{"id", "text"}` as JSON lines, writes `{"id", "found": {type: [values]}}`, with the type names of the extraction cases.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use ioc::{HashAlgorithm, Observable, ObservableType};

fn type_name(observable: &Observable) -> &'static str {
    match observable.kind() {
        ObservableType::Ipv4Addr => "ipv4",
        ObservableType::Ipv6Addr => "ipv6",
        ObservableType::DomainName => "domain",
        ObservableType::Url => "url",
        ObservableType::EmailAddr => "email",
        ObservableType::File => HashAlgorithm::of_hex(observable.value()).map_or("file", HashAlgorithm::as_str),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in io::stdin().lock().lines() {
        let case: serde_json::Value = serde_json::from_str(&line?)?;
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for observable in ioc::extract(case["text"].as_str().unwrap_or_default()) {
            found.entry(type_name(&observable)).or_default().push(observable.value().to_owned());
        }
        println!("{}", serde_json::json!({ "id": case["id"], "found": found }));
    }
    Ok(())
}
