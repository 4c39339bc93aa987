//! Who sends: a signature over the message, or a secret at the end of the address. Compared in constant time.

use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use playbook::{Fault, Timestamp, ports::Secret};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// How far a message's time may be off, in seconds (Standard Webhooks).
pub const TOLERANCE_SECONDS: i64 = 300;

/// Shorter keys can be guessed.
const KEY_MIN_BYTES: usize = 16;
/// Keys at once, while one replaces the other.
const KEYS_MAX: usize = 4;
/// Signatures of one message that are looked at.
const SIGNATURES_MAX: usize = 8;
const ID_MAX_BYTES: usize = 128;
const ENCODED_KEY: &str = "whsec_";

/// Why a message is not the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTheirs {
    /// A header is missing or is none, or the signature is not made with a key of the source.
    #[error("signature does not match")]
    Signature,
    /// It is too old.
    #[error("timestamp is older than 300 s")]
    Old,
    /// The sender's clock is ahead.
    #[error("timestamp is more than 300 s ahead")]
    Ahead,
}

/// The keys of a source: the lines of its secret.
fn lines(secret: &Secret) -> impl Iterator<Item = &str> {
    secret.reveal().lines().map(str::trim).filter(|line| !line.is_empty()).take(KEYS_MAX)
}

/// Keys that sign: `whsec_` and base64, or the text itself.
fn keys(id: &str, secret: &Secret) -> Result<Vec<Vec<u8>>, Fault> {
    let bad = |what: &str| Fault::Misconfigured(format!("secret {id}: {what}"));
    let mut keys = vec![];
    for line in lines(secret) {
        let key = match line.strip_prefix(ENCODED_KEY) {
            Some(encoded) => BASE64_NOPAD
                .decode(encoded.trim_end_matches('=').as_bytes())
                .map_err(|_| bad("what follows whsec_ is not base64"))?,
            None => line.as_bytes().to_vec(),
        };
        if key.len() < KEY_MIN_BYTES {
            return Err(bad("a key has less than 16 bytes"));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(bad("empty")) } else { Ok(keys) }
}

/// The id of a message that a key of the source has signed, by the rules of Standard Webhooks.
///
/// The signature is checked before the time: a stranger learns nothing but that it does not match.
pub fn signed(
    (id, secret): (&str, &Secret),
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Result<String, NotTheirs>, Fault> {
    let keys = keys(id, secret)?;
    Ok(check(&keys, headers, body, now))
}

fn check(keys: &[Vec<u8>], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, NotTheirs> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(NotTheirs::Signature);
    let (message, time, signatures) = (text("webhook-id")?, text("webhook-timestamp")?, text("webhook-signature")?);
    // A dot in the id could move the border between id, time and body under the same signature.
    let is_id =
        (1..=ID_MAX_BYTES).contains(&message.len()) && message.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    let is_time = (1..=12).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = time.parse().map_err(|_| NotTheirs::Signature)?;
    if !is_id || !is_time {
        return Err(NotTheirs::Signature);
    }
    let given: Vec<Vec<u8>> = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| BASE64.decode(signature.strip_prefix("v1,")?.as_bytes()).ok())
        .take(SIGNATURES_MAX)
        .collect();
    let mut is_theirs = Choice::from(0);
    for key in keys {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Err(NotTheirs::Signature) };
        for part in [message.as_bytes(), b".", time.as_bytes(), b".", body] {
            mac.update(part);
        }
        let own = mac.finalize().into_bytes();
        for signature in &given {
            is_theirs |= own.as_slice().ct_eq(signature);
        }
    }
    if !bool::from(is_theirs) {
        return Err(NotTheirs::Signature);
    }
    match now.as_seconds().saturating_sub(seconds) {
        age if age > TOLERANCE_SECONDS => Err(NotTheirs::Old),
        age if age < -TOLERANCE_SECONDS => Err(NotTheirs::Ahead),
        _ => Ok(message.to_owned()),
    }
}

/// Whether the text is one of the source's secrets. Digests are compared, so that not even the length shows.
pub fn is_secret((id, secret): (&str, &Secret), given: &[u8]) -> Result<bool, Fault> {
    let given = Sha256::digest(given);
    let mut is_theirs = Choice::from(0);
    let mut count = 0_usize;
    for line in lines(secret) {
        if line.len() < KEY_MIN_BYTES {
            return Err(Fault::Misconfigured(format!("secret {id}: shorter than 16 characters")));
        }
        is_theirs |= Sha256::digest(line.as_bytes()).as_slice().ct_eq(given.as_slice());
        count += 1;
    }
    if count == 0 { Err(Fault::Misconfigured(format!("secret {id}: empty"))) } else { Ok(is_theirs.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a-key-of-the-siem";

    fn sign(key: &[u8], signed: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(signed.as_bytes());
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }

    fn headers(id: &str, time: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_999)
    }

    fn asked(secret: &str, headers: &HeaderMap, body: &str) -> Result<String, NotTheirs> {
        signed(("siem", &Secret::new(secret)), headers, body.as_bytes(), now()).unwrap()
    }

    #[test]
    fn a_signature_of_standard_webhooks_is_taken() {
        // The example that the reference implementations of Standard Webhooks share.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let headers =
            headers("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let now = Timestamp::from_millis(1_614_265_330_000);
        let id = signed(("siem", &secret), &headers, br#"{"test": 2432232314}"#, now).unwrap();
        assert_eq!(id.as_deref(), Ok("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    }

    #[test]
    fn only_the_key_the_time_and_the_body_together_are_taken() {
        let good = sign(KEY.as_bytes(), "m1.1800000000.{}");
        let check = |id: &str, time: &str, signature: &str, body: &str, expected: Result<&str, NotTheirs>| {
            let told = asked(KEY, &headers(id, time, signature), body);
            assert_eq!(told.as_deref().map_err(|why| *why), expected, "{id} {time} {signature} {body}");
        };
        check("m1", "1800000000", &good, "{}", Ok("m1"));
        check("m1", "1800000000", &format!("v1a,x v1,AAAA {good}"), "{}", Ok("m1"));
        for (id, time, signature, body) in [
            ("m2", "1800000000", good.as_str(), "{}"),
            ("m1", "1800000001", good.as_str(), "{}"),
            ("m1", "1800000000", good.as_str(), "{ }"),
            ("m1", "1800000000", "", "{}"),
            ("m1", "1800000000", "v1,", "{}"),
            ("m1", "1800000000", good.trim_start_matches("v1,"), "{}"),
            ("m1", "+1800000000", good.as_str(), "{}"),
            ("m1", "99999999999999999999", good.as_str(), "{}"),
            ("", "1800000000", good.as_str(), "{}"),
        ] {
            check(id, time, signature, body, Err(NotTheirs::Signature));
        }
        let moved = sign(KEY.as_bytes(), "m1.5.1800000000.{}");
        check("m1.5", "1800000000", &moved, "{}", Err(NotTheirs::Signature));
        check("m1", "1799999700", &sign(KEY.as_bytes(), "m1.1799999700."), "", Ok("m1"));
        check("m1", "1799999699", &sign(KEY.as_bytes(), "m1.1799999699."), "", Err(NotTheirs::Old));
        check("m1", "1800000301", &sign(KEY.as_bytes(), "m1.1800000301."), "", Err(NotTheirs::Ahead));
        assert_eq!(asked(KEY, &HeaderMap::new(), ""), Err(NotTheirs::Signature));
    }

    #[test]
    fn of_ten_thousand_forgeries_none_is_taken() {
        let body = br#"{"id": "case-17", "title": "Beacon", "severity": "high"}"#;
        let whole = ["m1.1800000000.".as_bytes(), body].concat();
        let good = sign(KEY.as_bytes(), std::str::from_utf8(&whole).unwrap());
        let raw = BASE64.decode(good.trim_start_matches("v1,").as_bytes()).unwrap();
        let keys = vec![KEY.as_bytes().to_vec()];
        for number in 0..10_000_usize {
            let (mut body, mut signature, mut id, mut time) =
                (body.to_vec(), raw.clone(), "m1".to_owned(), 1_800_000_000);
            let bit = 1_u8 << (number / 4 % 8);
            match number % 4 {
                0 => body[number / 32 % 56] ^= bit,
                1 => signature[number / 32 % 32] ^= bit,
                2 => id = format!("m{}", number + 2),
                _ => time += i64::try_from(number % 299).unwrap() - 299,
            }
            let headers = headers(&id, &time.to_string(), &format!("v1,{}", BASE64.encode(&signature)));
            assert_eq!(check(&keys, &headers, &body, now()), Err(NotTheirs::Signature), "{number}");
        }
        let untouched = headers("m1", "1800000000", &good);
        assert_eq!(check(&keys, &untouched, body, now()).as_deref(), Ok("m1"));
    }

    #[test]
    fn while_keys_are_changed_both_are_taken() {
        let both = format!("{KEY}\r\n\nwhsec_{}\n", BASE64.encode(b"another key of the same siem"));
        for key in [KEY.as_bytes(), b"another key of the same siem"] {
            let headers = headers("m1", "1800000000", &sign(key, "m1.1800000000.{}"));
            assert_eq!(asked(&both, &headers, "{}").as_deref(), Ok("m1"));
        }
        assert!(is_secret(("siem", &Secret::new(&both)), KEY.as_bytes()).unwrap());
        assert!(!is_secret(("siem", &Secret::new(&both)), b"").unwrap());
    }

    #[test]
    fn a_key_that_can_be_guessed_is_none() {
        for secret in ["", "\n \n", "short", "whsec_AAAA", "whsec_***************************"] {
            let told = signed(("siem", &Secret::new(secret)), &HeaderMap::new(), b"", now());
            let fault = told.expect_err(secret);
            assert_eq!(fault.name(), "Misconfigured");
            assert!(secret.trim().is_empty() || !fault.to_string().contains(secret), "{fault}");
        }
        assert!(is_secret(("siem", &Secret::new("short")), b"short").is_err());
        assert!(is_secret(("siem", &Secret::new("")), b"").is_err());
    }
}
