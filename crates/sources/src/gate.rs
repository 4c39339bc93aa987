//! What may leave for a provider: sharing marks, and secrets that lie in addresses.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use ioc::{Observable, ObservableType};
use playbook::manifest::{Manifest, Pap, Tlp};
use url::{Url, form_urlencoded};

/// Of every incident: passive lookups at others are allowed, nothing more.
pub const INCIDENT_PAP: Pap = Pap::Amber;

/// Why marks forbid to ask this provider about what is marked so, if they do: `tlp` or `pap`.
#[must_use]
pub fn closed(manifest: &Manifest, tlp: Tlp) -> Option<&'static str> {
    if manifest.tlp_ceiling < tlp {
        Some("tlp")
    } else if manifest.pap_ceiling < INCIDENT_PAP {
        Some("pap")
    } else {
        None
    }
}

/// What leaves of an observable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// All of it.
    Whole,
    /// The address without user, query and fragment: one of them holds a secret.
    Reduced(Observable),
    /// Nothing: its path holds a secret.
    Nothing,
}

/// Parameters whose value lets somebody in or names somebody. Compared without case, `-` and `_`.
const SECRET_PARAMETERS: [&str; 46] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "auth",
    "authkey",
    "authorization",
    "authtoken",
    "awsaccesskeyid",
    "bearer",
    "code",
    "confirmationtoken",
    "credential",
    "credentials",
    "email",
    "emailaddress",
    "hmac",
    "idtoken",
    "invitation",
    "invite",
    "invitetoken",
    "jwt",
    "key",
    "login",
    "magic",
    "mail",
    "nonce",
    "oauthtoken",
    "otp",
    "pass",
    "passwd",
    "password",
    "pwd",
    "recipient",
    "refreshtoken",
    "reset",
    "resettoken",
    "resetpasswordtoken",
    "secret",
    "session",
    "sessionid",
    "sid",
    "sig",
    "signature",
    "ticket",
    "token",
];

/// Prefixes of signed links: Amazon S3, Google Cloud Storage.
const SIGNED_PREFIXES: [&str; 2] = ["xamz", "xgoog"];

/// Words of a path after which a long text is a one-time secret.
const SECRET_WORDS: [&str; 12] = [
    "reset",
    "verify",
    "confirm",
    "activate",
    "activation",
    "invite",
    "invitation",
    "magic",
    "unsubscribe",
    "token",
    "passwd",
    "password",
];

/// The shortest text that counts as a one-time secret.
const SECRET_MIN_CHARS: usize = 20;

/// What may leave of this observable. Only addresses of pages hold secrets; everything else leaves whole.
#[must_use]
pub fn outgoing(observable: &Observable) -> Outgoing {
    if observable.kind() != ObservableType::Url {
        return Outgoing::Whole;
    }
    let Ok(mut url) = Url::parse(observable.value()) else { return Outgoing::Nothing };
    if path_holds_a_secret(url.path()) {
        return Outgoing::Nothing;
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    let query_is_secret = url.query().is_some_and(holds_a_secret);
    let fragment_is_secret = url.fragment().is_some_and(holds_a_secret);
    if !has_user && !query_is_secret && !fragment_is_secret {
        return Outgoing::Whole;
    }
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Outgoing::Nothing;
    }
    url.set_query(None);
    url.set_fragment(None);
    Observable::parse(ObservableType::Url, url.as_str()).map_or(Outgoing::Nothing, Outgoing::Reduced)
}

/// Whether a query or a fragment holds one: by the parameter's name or by what its value looks like.
fn holds_a_secret(text: &str) -> bool {
    // A fragment may be a route with its own query: `#/reset?token=…`.
    text.split(['?', '#', '/', ';']).flat_map(|part| form_urlencoded::parse(part.as_bytes())).any(|(name, value)| {
        (is_secret_name(&name) && !value.is_empty()) || is_secret_value(&value) || is_secret_value(&name)
    })
}

fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    SECRET_PARAMETERS.contains(&plain.as_str()) || SIGNED_PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
}

fn is_secret_value(value: &str) -> bool {
    names_a_person(value) || holds_a_jwt(value) || decoded(value).is_some_and(|text| names_a_person(&text))
}

fn path_holds_a_secret(path: &str) -> bool {
    let mut is_after_word = false;
    for segment in path.split('/') {
        let text: String = form_urlencoded::parse(segment.replace('+', "%2B").as_bytes())
            .map(|(name, value)| if value.is_empty() { name.into_owned() } else { format!("{name}={value}") })
            .collect();
        if is_secret_value(&text) || text.split(['=', ':', ',', ';']).any(is_secret_value) {
            return true;
        }
        let is_long = text.len() >= SECRET_MIN_CHARS && text.bytes().any(|b| b.is_ascii_digit());
        if is_after_word && is_long && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.~".contains(&b)) {
            return true;
        }
        let lower = text.to_ascii_lowercase();
        is_after_word |= lower.split(['-', '_', '.']).any(|word| SECRET_WORDS.contains(&word));
    }
    false
}

/// Whether a text holds an e-mail address.
fn names_a_person(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let has_name = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-+.".contains(c));
        let domain: String = after.chars().take_while(|c| c.is_alphanumeric() || "-.".contains(*c)).collect();
        has_name && domain.trim_matches('.').contains('.')
    })
}

/// Whether a text holds a JSON Web Token: three base64url texts, of which the first begins as JSON does.
fn holds_a_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(start, _)| {
        let token = text.get(start..).unwrap_or_default();
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(token.len());
        let mut parts = token.get(..end).unwrap_or_default().split('.');
        parts.next().is_some_and(|head| head.len() >= 10) && parts.next().is_some_and(|body| body.len() >= 4)
    })
}

/// The text behind base64, where a value is one.
fn decoded(value: &str) -> Option<String> {
    let bare = value.trim_end_matches('=');
    if bare.len() < 8 {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(bare.as_bytes()).or_else(|_| BASE64_NOPAD.decode(bare.as_bytes())).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Observable {
        Observable::parse(ObservableType::Url, text).unwrap()
    }

    #[test]
    fn an_address_without_a_secret_leaves_whole() {
        for text in [
            "https://evil.example/",
            "https://evil.example/a/b.php?id=7&page=2#top",
            "https://evil.example/wp-content/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "https://evil.example/@user/post",
            "https://evil.example/?q=aGVsbG8gd29ybGQ",
            "https://evil.example/reset/",
            "https://evil.example/?token=",
            "http://192.0.2.7:8080/x.exe?v=1.2",
        ] {
            assert_eq!(outgoing(&url(text)), Outgoing::Whole, "{text}");
        }
        let domain = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
        assert_eq!(outgoing(&domain), Outgoing::Whole);
    }

    #[test]
    fn user_query_and_fragment_go_when_one_of_them_holds_a_secret() {
        for text in [
            "https://user:pw@evil.example/login",
            "https://user@evil.example/login?id=1",
            "https://evil.example/login?email=victim%40corp.example",
            "https://evil.example/login?u=victim@corp.example&id=1",
            "https://evil.example/login?id=1#victim@corp.example",
            "https://evil.example/login?dmljdGltQGNvcnAuZXhhbXBsZQ",
            "https://evil.example/login#dmljdGltQGNvcnAuZXhhbXBsZQ==",
            "https://evil.example/login?reset_token=abc",
            "https://evil.example/login?Reset-Password-Token=abc",
            "https://evil.example/login?X-Amz-Date=20261124T000000Z&X-Amz-Signature=0a",
            "https://evil.example/login?sv=2024&sig=0a%3D",
            "https://evil.example/login?next=1&x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            "https://evil.example/login#/route?access_token=abc",
            "https://evil.example/login#access_token=abc&expires_in=1",
        ] {
            assert_eq!(outgoing(&url(text)), Outgoing::Reduced(url("https://evil.example/login")), "{text}");
        }
    }

    #[test]
    fn a_secret_in_the_path_keeps_everything_here() {
        for text in [
            "https://evil.example/reset/3f9a8b7c6d5e4f3a2b1c0d9e",
            "https://evil.example/password-reset/u/3f9a8b7c6d5e4f3a2b1c0d9e",
            "https://evil.example/unsubscribe/victim@corp.example",
            "https://evil.example/unsubscribe/victim%40corp.example?x=1",
            "https://evil.example/s/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            "https://evil.example/u/dmljdGltQGNvcnAuZXhhbXBsZQ/x",
            "https://evil.example/u/mail=victim@corp.example",
        ] {
            assert_eq!(outgoing(&url(text)), Outgoing::Nothing, "{text}");
        }
    }
}
