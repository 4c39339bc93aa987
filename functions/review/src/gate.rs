//! The gate: a POST counts only when it comes from our own page in the browser session that the page was shown to.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use playbook::{Fault, canonical, ports::Entropy};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::settings::Settings;

/// `__Host-`: only from this host over TLS, for every path, never set by a subdomain.
const COOKIE: &str = "__Host-session";
/// A session outlives the longest one-time code by far, and a working day.
const COOKIE_SECONDS: u32 = 43_200;

/// Why a POST is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It comes from another site, or does not say where it comes from.
    CrossSite,
    /// It does not come from the session that the page was shown to.
    NoSession,
}

/// A browser session: a random id in a signed cookie. Nothing is stored.
#[derive(Clone, Debug)]
pub struct Session {
    id: String,
}

impl Session {
    /// A new session.
    pub fn fresh(entropy: &impl Entropy) -> Result<Self, Fault> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        Ok(Self { id: BASE64URL_NOPAD.encode(&random) })
    }

    /// The session of a request, if its cookie carries our signature.
    pub fn of(headers: &HeaderMap, settings: &Settings) -> Option<Self> {
        let cookies = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .find_map(|value| {
                let (id, signature) = value.split_once('.')?;
                let session = Self { id: id.to_owned() };
                is_same(&session.signature(settings), signature).then_some(session)
            })
    }

    /// The cookie that carries the session.
    pub fn cookie(&self, settings: &Settings) -> String {
        let Self { id } = self;
        let signature = self.signature(settings);
        format!("{COOKIE}={id}.{signature}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}")
    }

    /// The form token: of this session and this link only.
    pub fn form_token(&self, settings: &Settings, link_digest: &str) -> String {
        sign(settings, &["form", &self.id, link_digest])
    }

    /// The signature of a one-time code: of this session and this link only.
    pub fn code_mac(&self, settings: &Settings, link_digest: &str, code: &str) -> String {
        sign(settings, &["code", &self.id, link_digest, code])
    }

    /// The name of the session in the record: nobody can make a cookie of it.
    pub fn digest(&self) -> String {
        canonical::sha256_hex(self.id.as_bytes())
    }

    fn signature(&self, settings: &Settings) -> String {
        sign(settings, &["session", &self.id])
    }
}

/// Lets a POST through when `Sec-Fetch-Site` is `same-origin` (where absent: when Origin is ours; `null` never is), and
/// the form token fits the session's cookie.
pub fn admit(headers: &HeaderMap, settings: &Settings, link_digest: &str, token: &str) -> Result<Session, Refused> {
    if !is_same_origin(headers, settings) {
        return Err(Refused::CrossSite);
    }
    let session = Session::of(headers, settings).ok_or(Refused::NoSession)?;
    if is_same(&session.form_token(settings, link_digest), token) { Ok(session) } else { Err(Refused::NoSession) }
}

fn is_same_origin(headers: &HeaderMap, settings: &Settings) -> bool {
    let all = |name: &str, expected: &str| {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek().is_some().then(|| values.all(|value| value.as_bytes() == expected.as_bytes()))
    };
    match (all("sec-fetch-site", "same-origin"), all("origin", settings.origin())) {
        (Some(fetched), origin) => fetched && origin != Some(false),
        (None, origin) => origin == Some(true),
    }
}

/// Compares in constant time.
pub fn is_same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// Signs these parts, each with its length, so that none can be moved into another; the first says what is signed.
pub fn sign(settings: &Settings, parts: &[&str]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(settings.page_key()) else { return String::new() };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use playbook::{fakes::CountingEntropy, ports::Secret};

    use super::*;

    fn settings(base: &str) -> Settings {
        Settings::new(base, Secret::new("0123456789abcdef0123456789abcdef")).unwrap()
    }

    fn check(headers: &[(&'static str, &str)], expected: bool) {
        let map: HeaderMap =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        assert_eq!(is_same_origin(&map, &settings("https://review.soc.example/base")), expected, "{headers:?}");
    }

    #[test]
    fn only_our_own_origin_is_let_through() {
        let ours = "https://review.soc.example";
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "same-origin"), ("origin", ours)], true);
        check(&[("origin", ours)], true);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "null")], false);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], false);
        check(&[("sec-fetch-site", "cross-site"), ("origin", ours)], false);
        check(&[("sec-fetch-site", "same-site"), ("origin", ours)], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "https://review.soc.example.evil.example")], false);
        check(&[("origin", "http://review.soc.example")], false);
        check(&[("origin", "https://review.soc.example/base")], false);
        check(&[], false);
    }

    #[test]
    fn a_session_is_one_that_we_signed() {
        let settings = settings("https://review.soc.example");
        let session = Session::fresh(&CountingEntropy::default()).unwrap();
        let cookie = session.cookie(&settings);
        let value = cookie.split(';').next().unwrap();
        let of = |line: String| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", line.parse().unwrap());
            Session::of(&headers, &settings).map(|s| s.id)
        };
        assert_eq!(of(value.to_owned()), Some(session.id.clone()));
        assert_eq!(of(format!("a=b; __Host-session=forged.00; {value}")), Some(session.id.clone()));
        assert_eq!(of(format!("{COOKIE}={}.{}", session.id, "0".repeat(64))), None);
        assert_eq!(of(value.replacen('=', "=x", 1)), None);
        assert_eq!(of(format!("x{value}")), None);
    }
}
