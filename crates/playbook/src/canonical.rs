//! Canonical JSON and its digest: the same document has the same SHA-256 everywhere.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Fault;

/// RFC 8785 canonical JSON. Documents that are digested hold no floats.
pub fn to_json<T: Serialize>(document: &T) -> Result<Vec<u8>, Fault> {
    serde_json_canonicalizer::to_vec(document)
        .map_err(|error| Fault::Rejected(format!("document has no canonical form: {error}")))
}

/// Lower-case hex SHA-256 over the canonical JSON.
pub fn digest<T: Serialize>(document: &T) -> Result<String, Fault> {
    Ok(sha256_hex(&to_json(document)?))
}

/// Lower-case hex SHA-256 of bytes.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// For serde: a flag is left out where it is not set, so that documents without it keep their digest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_change_the_digest() {
        let one = json!({"b": 1, "a": [true, null, "é"]});
        let other: serde_json::Value = serde_json::from_str(r#"{"a":[true,null,"\u00e9"],"b":1}"#).unwrap();
        assert_eq!(digest(&one).unwrap(), digest(&other).unwrap());
    }
}
