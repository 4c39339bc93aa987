//! Sign-in at an issuer (OpenID Connect, authorization code with PKCE): proof of the person, where a team has an issuer.
//!
//! Nothing of it is stored: a sign-in that is under way and one that has succeeded live in signed cookies of the browser, so
//! that a scanner that follows the link costs no write and disturbs nobody (docs/adr/0020).

mod cookies;
mod issuer;
mod provider;
mod token;
mod trouble;

use std::time::Duration;

use askama::Template;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use openidconnect::{
    AuthenticationFlow, ClientId, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    core::{CoreAuthPrompt, CoreClient, CoreResponseType},
};
use playbook::{
    Fault, Timestamp,
    brief::hostile,
    decision::LinkSecret,
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::Rows,
};
use tracing::{error, info};
use url::Url;

pub use cookies::{Identity, end, identity};
pub use provider::Provider;

use crate::{
    World, answer,
    settings::Settings,
    visit::{Standing, Visit},
};
use cookies::{Running, add};
use issuer::{Issuer, Known};
use token::{AUTH_MAX_AGE_SECONDS, Expected, Lack, Person, Refusal};
use trouble::Trouble;

/// Codes are short; what is longer is none.
const CODE_MAX_CHARS: usize = 4_096;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInHtml<'a> {
    base: &'a str,
    title: &'a str,
    text: &'a str,
    /// Empty where nobody knows which link it was.
    secret: &'a str,
    /// Whether the issuer shall ask who it is.
    again: bool,
}

/// Sends the browser to the issuer. Writes nothing, and remembers nothing but in a cookie of this browser.
pub async fn begin(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    request: &Request<Vec<u8>>,
    now: Timestamp,
) -> Result<Response<Vec<u8>>, Fault> {
    let Some(provider) = world.settings.oidc() else { return answer::unknown(world.settings) };
    let known = match (Issuer { provider, egress: world.egress, now }).known().await {
        Ok(known) => known,
        Err(trouble) => return failed(world.settings, &trouble, Some(&visit.secret)),
    };
    let running = Running::fresh(world.entropy, &visit.secret, now)?;
    let again = request.uri().query() == Some("again");
    let mut response = leave(authorization(world.settings, provider, &known, &running, again)?.as_str())?;
    add(&mut response, &running.cookie(world.settings))?;
    Ok(response)
}

/// Where the browser goes. It says nothing of whose link it is: whoever has the link does not learn it here either.
fn authorization(
    settings: &Settings,
    provider: &Provider,
    known: &Known,
    running: &Running,
    again: bool,
) -> Result<Url, Fault> {
    let verifier = PkceCodeVerifier::new(running.verifier(settings));
    let (state, nonce) = (CsrfToken::new(running.state.clone()), Nonce::new(running.nonce(settings)));
    let client = CoreClient::new(
        ClientId::new(provider.client_id().to_owned()),
        provider.issuer_url().clone(),
        known.keys().clone(),
    )
    .set_auth_uri(known.authorization_endpoint().clone())
    .set_redirect_uri(redirect_uri(settings)?);
    let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
    let mut request = client
        .authorize_url(flow, move || state, move || nonce)
        .add_scopes(["email", "profile"].map(|scope| Scope::new(scope.to_owned())))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .set_max_age(Duration::from_secs(AUTH_MAX_AGE_SECONDS.into()));
    if again {
        let can_select = known.knows_prompt("select_account");
        request = request.add_prompt(if can_select { CoreAuthPrompt::SelectAccount } else { CoreAuthPrompt::Login });
    }
    Ok(request.url().0)
}

/// Where the issuer sends the browser back to: one address for all links, with no secret in it.
fn redirect_uri(settings: &Settings) -> Result<RedirectUrl, Fault> {
    RedirectUrl::new(format!("{}/signed-in", settings.base()))
        .map_err(|_| Fault::Misconfigured("the page has no address to come back to".to_owned()))
}

/// Takes what the browser brings back from the issuer. Writes nothing and decides nothing: it leaves a cookie that says
/// who has signed in, for the one link that the sign-in was begun from.
pub async fn finish(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    request: &Request<Vec<u8>>,
    now: Timestamp,
) -> Result<Response<Vec<u8>>, Fault> {
    let Some(provider) = world.settings.oidc() else { return answer::unknown(world.settings) };
    let brought = Brought::read(request);
    let running = brought.one("state").and_then(|state| Running::of(request.headers(), world.settings, state));
    let Some(running) = running else { return not_begun_here(world.settings) };
    let issuer = Issuer { provider, egress: world.egress, now };
    let mut response = match Visit::find(world.evidence, world.rows, running.secret.clone(), now).await? {
        None => answer::unknown(world.settings)?,
        // The page says what stands.
        Some(visit) if !matches!(visit.standing(now), Standing::Open) || !visit.may_decide() => {
            leave(&page(world.settings, &running.secret))?
        }
        Some(visit) => match prove(&issuer, world.settings, &running, &brought).await {
            Ok(identity) => welcome(world.settings, &visit, &identity)?,
            Err(trouble) => failed(world.settings, &trouble, Some(&running.secret))?,
        },
    };
    // Whatever came of it: an answer is taken once.
    add(&mut response, &running.end())?;
    Ok(response)
}

async fn prove<G: Egress>(
    issuer: &Issuer<'_, G>,
    settings: &Settings,
    running: &Running,
    brought: &Brought,
) -> Result<Identity, Trouble> {
    if running.is_late(issuer.now) {
        return Err(Trouble::Late);
    }
    let mut known = issuer.known().await?;
    match brought.one("iss") {
        Some(iss) if iss != issuer.provider.issuer() => return Err(Trouble::AnotherIssuer),
        None if known.names_itself() || brought.has("iss") => return Err(Trouble::AnotherIssuer),
        _ => {}
    }
    if brought.has("error") {
        return Err(Trouble::Ended(trouble::word(brought.one("error").unwrap_or_default())));
    }
    let code = brought.one("code").filter(|code| code.len() <= CODE_MAX_CHARS).ok_or(Trouble::CodeRefused)?;
    let back = redirect_uri(settings).map_err(|fault| Trouble::Garbled(fault.to_string()))?;
    let granted = issuer.exchange(&known, back, code, running.verifier(settings)).await?;
    let nonce = running.nonce(settings);
    let expected = Expected { provider: issuer.provider, nonce, since: running.since(), now: issuer.now };
    let mut checked = expected.check(&granted.token, known.keys());
    if matches!(checked, Err(Refusal::UnknownKey))
        && let Some(newer) = issuer.newer_keys(&known).await?
    {
        known = newer;
        checked = expected.check(&granted.token, known.keys());
    }
    let Person { subject, said } = checked.map_err(|refusal| match refusal {
        Refusal::UnknownKey => Trouble::Token("it is signed by a key that is not the issuer's"),
        Refusal::Not(trouble) => trouble,
    })?;
    let mut address = token::address(issuer.provider, &said);
    // Many issuers keep addresses out of the token (OpenID Connect Core 1.0, section 5.4).
    if matches!(address, Err(Lack::Unsaid(_)))
        && let Some(said) = issuer.userinfo(&known, &granted, &subject).await?
    {
        address = token::address(issuer.provider, &said);
    }
    let address = address.map_err(|(Lack::Unsaid(why) | Lack::Denied(why))| Trouble::Token(why))?;
    Ok(Identity { issuer: issuer.provider.issuer().to_owned(), subject, address, signed_in_at: issuer.now })
}

/// The person whom the link asks goes on to the page; anybody else is told so.
fn welcome(settings: &Settings, visit: &Visit, identity: &Identity) -> Result<Response<Vec<u8>>, Fault> {
    let id = &visit.link.incident_id;
    let subject = trouble::unless_address(&identity.subject);
    if !identity.is(&visit.link.approver) {
        info!(stage = "review", incident.id = %id, oidc.issuer = %identity.issuer, oidc.subject = %subject, "somebody else signed in");
        return somebody_else(settings, identity, &visit.secret);
    }
    info!(stage = "review", incident.id = %id, oidc.issuer = %identity.issuer, oidc.subject = %subject, "signed in");
    let mut response = leave(&page(settings, &visit.secret))?;
    add(&mut response, &identity.cookie(settings, &visit.digest)?)?;
    Ok(response)
}

fn page(settings: &Settings, secret: &LinkSecret) -> String {
    format!("{}/r/{}", settings.base(), secret.reveal())
}

fn failed(settings: &Settings, trouble: &Trouble, secret: Option<&LinkSecret>) -> Result<Response<Vec<u8>>, Fault> {
    if trouble.is_the_operators() {
        error!(stage = "review", fault = "Unavailable", "nobody can sign in: {trouble}");
    } else {
        info!(stage = "review", "a sign-in came to nothing: {trouble}");
    }
    let text = format!("{} Nothing was decided.", trouble.text());
    told(settings, trouble.status(), "You are not signed in", &text, secret, false)
}

fn not_begun_here(settings: &Settings) -> Result<Response<Vec<u8>>, Fault> {
    let text = "This browser has not begun this sign-in, or not in the last ten minutes, or it does not keep this page's \
                cookies. Nothing was decided. Open the link from the mail again, and sign in from there.";
    told(settings, StatusCode::FORBIDDEN, "You are not signed in", text, None, false)
}

fn somebody_else(settings: &Settings, who: &Identity, secret: &LinkSecret) -> Result<Response<Vec<u8>>, Fault> {
    let text = format!(
        "You have signed in as {}. This link belongs to somebody else, who was asked by mail. Nothing was decided.",
        hostile(&who.address, 254)
    );
    told(settings, StatusCode::FORBIDDEN, "This link is not for this account", &text, Some(secret), true)
}

fn told(
    settings: &Settings,
    status: StatusCode,
    title: &str,
    text: &str,
    secret: Option<&LinkSecret>,
    again: bool,
) -> Result<Response<Vec<u8>>, Fault> {
    let secret = secret.map_or("", LinkSecret::reveal);
    let mut response = answer::html(status, &SignInHtml { base: settings.base(), title, text, secret, again })?;
    hide_address(response.headers_mut());
    Ok(response)
}

/// The browser goes on.
fn leave(to: &str) -> Result<Response<Vec<u8>>, Fault> {
    let mut response = answer::see_other(to)?;
    hide_address(response.headers_mut());
    Ok(response)
}

/// Addresses on the way hold the link's secret, or a code: nobody is told of them, not even ourselves.
fn hide_address(headers: &mut HeaderMap) {
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// What the browser brought back, in the query.
struct Brought(Vec<(String, String)>);

impl Brought {
    fn read(request: &Request<Vec<u8>>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A value that comes once.
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}
