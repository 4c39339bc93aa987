//! An issuer's keys, made when the tests run, and tokens that are signed with them.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rsa::{
    RsaPrivateKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
    rand_core::OsRng,
    traits::PublicKeyParts as _,
};
use serde_json::{Value, json};
use sha2::Sha256;

/// A key pair under its name.
pub struct Key {
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Es256(Box<EcdsaKeyPair>),
    Rs256(Box<RsaPrivateKey>, Box<RsaKeyPair>),
}

impl Key {
    /// Quickly made.
    pub fn es256(kid: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Es256(Box::new(pair)) }
    }

    /// What most issuers have.
    pub fn rs256(kid: &str) -> Self {
        let private = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        let pair = RsaKeyPair::from_pkcs8(private.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Rs256(Box::new(private), Box::new(pair)) }
    }

    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Rs256(..) => "RS256",
        }
    }

    /// As the issuer publishes it.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "use": "sig", "alg": "ES256", "kid": self.kid, "crv": "P-256", "x": text(x), "y": text(y)})
            }
            Pair::Rs256(private, _) => {
                let (n, e) = (private.n().to_bytes_be(), private.e().to_bytes_be());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": text(&n), "e": text(&e)})
            }
        }
    }

    /// A token in the form that everybody reads.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Rs256(_, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    /// What everybody may know of an RSA key, in the form that the oldest forgery takes for a shared secret.
    pub fn public_pem(&self) -> Option<String> {
        match &self.pair {
            Pair::Es256(_) => None,
            Pair::Rs256(private, _) => private.to_public_key().to_public_key_pem(LineEnding::LF).ok(),
        }
    }
}

/// A token that is signed with a secret.
pub fn hs256(secret: &[u8], kid: &str, claims: &Value) -> String {
    let signed = unsigned(&json!({"alg": "HS256", "typ": "JWT", "kid": kid}), claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// Header and claims, as they are signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let text = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", text(header), text(claims))
}
