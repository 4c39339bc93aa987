//! The issuer over the network: what it says of itself, its keys, and the exchange of a code for a token.

use std::time::Duration;

use http::Method;
use openidconnect::{
    AccessToken, AdditionalClaims, AdditionalProviderMetadata, AuthType, AuthUrl, AuthorizationCode, ClientId,
    ClientSecret, DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    JsonWebKeySet, OAuth2TokenResponse as _, PkceCodeVerifier, ProviderMetadata, RedirectUrl, RequestTokenError,
    SubjectIdentifier, TokenResponse as _, TokenUrl, UserInfoClaims, UserInfoError,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreErrorResponseType,
        CoreGenderClaim, CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJsonWebKeySet,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
};
use playbook::{
    Timestamp,
    lookup::{self, CallError},
    ports::{Destination, Egress, Reach},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::{
    provider::Provider,
    trouble::{self, Trouble},
};

/// A person waits: five calls at most, within the function's fifteen seconds.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Far more than any document of an issuer.
const BODY_MAX_BYTES: usize = 256 * 1024;
const KNOWN_FOR_MS: i64 = 10 * 60_000;
/// Keys that are not known are asked for at most this often, so that forged tokens make no load for the issuer.
const KEYS_PAUSE_MS: i64 = 60_000;

/// What we read of the discovery document beyond the standard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct More {
    /// RFC 9207: answers say who gives them.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    prompt_values_supported: Option<Vec<String>>,
}

impl AdditionalProviderMetadata for More {}

/// Claims beyond the standard ones.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Others(Map<String, Value>);

impl AdditionalClaims for Others {}

/// What a code stands for.
pub struct Granted {
    /// The proof.
    pub token: CoreIdToken,
    /// What opens the userinfo endpoint.
    access: AccessToken,
}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type OurClient =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// What an issuer has said of itself.
#[derive(Clone, Debug)]
pub struct Known {
    metadata: Metadata,
    at: Timestamp,
    /// When a key was missing last.
    keys_at: Option<Timestamp>,
}

impl Known {
    /// Where people are sent to sign in.
    pub fn authorization_endpoint(&self) -> &AuthUrl {
        self.metadata.authorization_endpoint()
    }

    /// The keys that sign its tokens.
    pub fn keys(&self) -> &CoreJsonWebKeySet {
        self.metadata.jwks()
    }

    /// Whether its answers always say who gives them (RFC 9207).
    pub fn names_itself(&self) -> bool {
        self.metadata.additional_metadata().authorization_response_iss_parameter_supported
    }

    /// Whether it says that it knows this `prompt`. Only `none` and `login` have to be known (OpenID Connect Core 1.0,
    /// section 15.1).
    pub fn knows_prompt(&self, prompt: &str) -> bool {
        let known = self.metadata.additional_metadata().prompt_values_supported.as_ref();
        known.is_some_and(|known| known.iter().any(|value| value == prompt))
    }

    /// How we say who we are: by Basic authentication, which every issuer takes, unless it says otherwise.
    fn auth_type(&self) -> AuthType {
        let methods = self.metadata.token_endpoint_auth_methods_supported();
        let takes = |method| methods.is_none_or(|methods| methods.contains(&method));
        let by_body = !takes(CoreClientAuthMethod::ClientSecretBasic) && takes(CoreClientAuthMethod::ClientSecretPost);
        if by_body { AuthType::RequestBody } else { AuthType::BasicAuth }
    }
}

/// The issuer at this moment.
pub struct Issuer<'a, G> {
    /// Who it is, and who we are there.
    pub provider: &'a Provider,
    /// The way to it.
    pub egress: &'a G,
    /// The moment.
    pub now: Timestamp,
}

impl<G: Egress> Issuer<'_, G> {
    /// What it says of itself, at most ten minutes ago.
    pub async fn known(&self) -> Result<Known, Trouble> {
        let known = self.provider.known().filter(|known| is_within(self.now, known.at, KNOWN_FOR_MS));
        if let Some(known) = known {
            return Ok(known);
        }
        let client = |request: HttpRequest| self.call(request);
        let metadata = Metadata::discover_async(self.provider.issuer_url().clone(), &client).await.map_err(said)?;
        let named = [
            Some(metadata.authorization_endpoint().url()),
            metadata.token_endpoint().map(TokenUrl::url),
            Some(metadata.jwks_uri().url()),
        ];
        if !named.iter().all(|url| url.is_some_and(|url| self.provider.may_name(url))) {
            return Err(Trouble::Garbled("it names no servers that can be asked".to_owned()));
        }
        let known = Known { metadata, at: self.now, keys_at: None };
        self.provider.remember(&known);
        Ok(known)
    }

    /// Its keys, asked for anew because one is missing; `None` when that was done less than a minute ago.
    pub async fn newer_keys(&self, known: &Known) -> Result<Option<Known>, Trouble> {
        if known.keys_at.is_some_and(|at| is_within(self.now, at, KEYS_PAUSE_MS)) {
            return Ok(None);
        }
        let client = |request: HttpRequest| self.call(request);
        let keys = JsonWebKeySet::fetch_async(known.metadata.jwks_uri(), &client).await.map_err(said)?;
        let metadata = known.metadata.clone().set_jwks(keys);
        let known = Known { metadata, at: known.at, keys_at: Some(self.now) };
        self.provider.remember(&known);
        Ok(Some(known))
    }

    /// The token that a code stands for. The code is used up, whatever becomes of it.
    pub async fn exchange(
        &self,
        known: &Known,
        redirect_uri: RedirectUrl,
        code: &str,
        verifier: String,
    ) -> Result<Granted, Trouble> {
        let ours = self.ours(known).set_redirect_uri(redirect_uri);
        let exchange = ours.exchange_code(AuthorizationCode::new(code.to_owned()));
        let exchange = exchange.map_err(|_| Trouble::Garbled("it names no token endpoint".to_owned()))?;
        let client = |request: HttpRequest| self.call(request);
        let answer = exchange.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&client).await;
        match answer {
            Ok(answer) => {
                let token = answer.id_token().cloned().ok_or(Trouble::Token("the issuer sent none"))?;
                Ok(Granted { token, access: answer.access_token().clone() })
            }
            Err(RequestTokenError::Request(error)) => Err(Trouble::Silent(error)),
            Err(RequestTokenError::ServerResponse(error)) => Err(match error.error() {
                CoreErrorResponseType::InvalidGrant => Trouble::CodeRefused,
                other => Trouble::ClientRefused(trouble::word(other.as_ref())),
            }),
            Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
                Err(Trouble::Garbled("its answer to the code is no token".to_owned()))
            }
        }
    }

    /// What the issuer says of a person beside the token, where it has a place for that.
    pub async fn userinfo(&self, known: &Known, granted: &Granted, subject: &str) -> Result<Option<Value>, Trouble> {
        let ours = self.ours(known);
        let subject = SubjectIdentifier::new(subject.to_owned());
        let Ok(request) = ours.user_info(granted.access.clone(), Some(subject)) else { return Ok(None) };
        // The library would panic on a token that no header can carry.
        if http::HeaderValue::from_str(granted.access.secret()).is_err() {
            return Err(Trouble::Garbled("its access token cannot be sent".to_owned()));
        }
        let client = |request: HttpRequest| self.call(request);
        let claims: UserInfoClaims<Others, CoreGenderClaim> =
            request.request_async(&client).await.map_err(|error| match error {
                UserInfoError::Request(error) => Trouble::Silent(error),
                UserInfoError::ClaimsVerification(_) => Trouble::Token("the issuer speaks of two different people"),
                _ => Trouble::Garbled("what it says of a person cannot be read".to_owned()),
            })?;
        Ok(serde_json::to_value(claims).ok())
    }

    /// We, as the issuer knows us.
    fn ours(&self, known: &Known) -> OurClient {
        let secret = self.provider.client_secret().map(|secret| ClientSecret::new(secret.reveal().to_owned()));
        let client_id = ClientId::new(self.provider.client_id().to_owned());
        CoreClient::from_provider_metadata(known.metadata.clone(), client_id, secret).set_auth_type(known.auth_type())
    }

    /// By our own way out: names that mean public addresses, https on port 443, one time-out and one bound.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, CallError> {
        let refused = |why: &str| CallError::Refused(why.to_owned());
        let method = match *request.method() {
            Method::GET => lookup::Method::Get,
            Method::POST => lookup::Method::Post,
            _ => return Err(refused("neither GET nor POST")),
        };
        let url = Url::parse(&request.uri().to_string()).map_err(|_| refused("no address"))?;
        if !self.provider.may_name(&url) {
            return Err(refused("not a server of the issuer"));
        }
        let stand_in = self.provider.stand_in();
        let url = if stand_in.is_some() { played(&url).ok_or_else(|| refused("no address"))? } else { url };
        let host = url.host_str().unwrap_or_default().to_owned();
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers = request.headers().iter().filter_map(text).collect();
        let request = lookup::Request { method, url, headers, body: request.into_body() };
        // The issuer comes from the stack, not from a policy: it has a public address.
        let reach = Reach { stand_in: stand_in.as_deref(), ..Reach::default() };
        let to = Destination::of(&host, reach);
        let answer = self.egress.download(&to, &request, CALL_TIMEOUT, BODY_MAX_BYTES).await?;
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response.body(answer.body).map_err(|_| CallError::Unreachable("not an answer".to_owned()))
    }
}

/// How the way out spells a server that is played on loopback.
fn played(url: &Url) -> Option<Url> {
    let mut played = Url::parse("https://localhost/").ok()?;
    played.set_path(url.path());
    played.set_query(url.query());
    Some(played)
}

fn is_within(now: Timestamp, at: Timestamp, ms: i64) -> bool {
    (0..ms).contains(&now.ms_since(at))
}

/// What went wrong while it was asked, without what it said: that is hostile until it is read.
fn said(error: DiscoveryError<CallError>) -> Trouble {
    match error {
        DiscoveryError::Request(error) => Trouble::Silent(error),
        DiscoveryError::Response(status, ..) => {
            Trouble::Garbled(format!("it answered with status {}", status.as_u16()))
        }
        DiscoveryError::Validation(_) => Trouble::Garbled("it calls itself by another name".to_owned()),
        _ => Trouble::Garbled("what it says of itself cannot be read".to_owned()),
    }
}
