//! Ids: UUIDs of version 5, so that the same thing has the same id in every bundle.

use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid, uuid};

/// The namespace of cyber observables (STIX 2.1, 2.9): everybody who sees the same value gives it the same id.
const OBSERVABLES: Uuid = uuid!("00abedb4-aa42-466c-9c01-fed23315a9b7");
/// Our own namespace, for everything else; STIX 2.1 forbids the other one there.
const OURS: Uuid = uuid!("7e8e324d-35df-43eb-a96a-d7aa71704eaa");

/// The id of a cyber observable, from the canonical JSON (RFC 8785) of the properties that make it what it is.
pub(super) fn of_observable(kind: &str, contributing: &[u8]) -> String {
    format!("{kind}--{}", version_5(OBSERVABLES, contributing))
}

/// The id of any other object, from what names it. Only the last part may hold line breaks.
pub(super) fn of(kind: &str, parts: &[&str]) -> String {
    let name = format!("{kind}\n{}", parts.join("\n"));
    format!("{kind}--{}", version_5(OURS, name.as_bytes()))
}

/// RFC 9562, 5.5.
fn version_5(namespace: Uuid, name: &[u8]) -> Uuid {
    let digest = Sha1::new().chain_update(namespace.as_bytes()).chain_update(name).finalize();
    let mut bytes = [0; 16];
    for (byte, digested) in bytes.iter_mut().zip(digest) {
        *byte = digested;
    }
    Builder::from_sha1_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observable_has_the_id_that_everybody_gives_it() {
        // RFC 9562, A.4, with its own namespace.
        let dns = uuid!("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
        assert_eq!(version_5(dns, b"www.example.com").to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        // As the library `stix2` by OASIS makes it.
        let check = |kind: &str, contributing: &str, expected: &str| {
            assert_eq!(of_observable(kind, contributing.as_bytes()), format!("{kind}--{expected}"));
        };
        check("ipv4-addr", r#"{"value":"192.0.2.7"}"#, "fe609036-dbde-52d8-a120-35d115a7d338");
        check("domain-name", r#"{"value":"evil.example"}"#, "69228563-c8d2-54ae-aeca-5f4134cb59aa");
        check("url", r#"{"value":"http://a.example/\"\\é"}"#, "9ae92ef9-532f-56cd-b089-e796be62dd98");
    }

    #[test]
    fn other_names_are_other_objects() {
        assert_eq!(of("indicator", &["inc-a", "url#b"]), of("indicator", &["inc-a", "url#b"]));
        assert_ne!(of("indicator", &["inc-a", "url#b"]), of("indicator", &["inc-aurl", "#b"]));
        assert_ne!(of("indicator", &["a"]).split_once("--"), of("sighting", &["a"]).split_once("--"));
    }
}
