//! The door for senders: finds the source, checks who sends, takes the message, answers in JSON.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use playbook::{
    Fault, canonical,
    intake::{Auth, IntakeSource},
    ports::{Clock, Evidence, Queue, Secret, Secrets},
    rows::Rows,
};
use serde_json::{Value, json};
use tracing::{error, info};

use crate::{
    World,
    auth::{self, NotTheirs},
    replay,
    take::{self, Taken},
};

/// The longest body, in bytes.
const BODY_MAX_BYTES: usize = 256 * 1024;

/// Why nothing was taken. The words are the answer's `error`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only POST")]
    Method,
    /// No such source, one that is off, or the wrong sort of address.
    #[error("unknown source")]
    Unknown,
    /// Answered like an unknown source, so that nobody can tell which addresses are worth guessing at.
    #[error("unknown source")]
    WrongSecret,
    #[error("{0}")]
    NotTheirs(#[from] NotTheirs),
    #[error("replayed")]
    Replayed,
    #[error("body is larger than 256 KiB")]
    TooLarge,
    #[error("body is not JSON")]
    NotJson,
    #[error("not taken; send it again later")]
    Fault(#[from] Fault),
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown | Self::WrongSecret => StatusCode::NOT_FOUND,
            Self::NotTheirs(_) => StatusCode::UNAUTHORIZED,
            Self::Replayed => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::BAD_REQUEST,
            Self::Fault(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The address: `alerts/<source>` or `alerts/<source>/<secret>`, whatever stands before it. Never printed.
struct Address<'a> {
    source: &'a str,
    secret: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let mut words = path.split('/').skip_while(|word| *word != "alerts").skip(1);
        let (source, secret, more) = (words.next()?, words.next(), words.next());
        more.is_none().then_some(Self { source, secret })
    }
}

pub(crate) async fn handle(
    world: &World<'_, impl Evidence, impl Rows, impl Queue, impl Secrets, impl Clock>,
    request: &Request<Vec<u8>>,
) -> Response<Vec<u8>> {
    let address = Address::of(request.uri().path());
    match answer(world, request, address.as_ref()).await {
        Ok(Taken { incidents, unmapped }) => {
            let mut told = json!({ "status": "received", "incidents": incidents });
            if let Some(why) = unmapped {
                told["error"] = format!("mapping: {why}").into();
            }
            respond(StatusCode::ACCEPTED, &told)
        }
        Err(refusal) => {
            // What a stranger calls himself is not written down.
            let known = world.settings.bundle.get().and_then(|bundle| bundle.intake.get(address?.source));
            let source = known.map_or("unknown", |source| source.id.as_str());
            match &refusal {
                Refusal::Fault(fault) => error!(source.id = source, fault = fault.name(), "alert not taken: {fault}"),
                Refusal::WrongSecret => info!(source.id = source, "alert refused: secret does not match"),
                refusal => info!(source.id = source, "alert refused: {refusal}"),
            }
            respond(refusal.status(), &json!({ "error": refusal.to_string() }))
        }
    }
}

async fn answer(
    world: &World<'_, impl Evidence, impl Rows, impl Queue, impl Secrets, impl Clock>,
    request: &Request<Vec<u8>>,
    address: Option<&Address<'_>>,
) -> Result<Taken, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let bundle = world.bundle().await?;
    let address = address.ok_or(Refusal::Unknown)?;
    let source = bundle.intake.get(address.source).filter(|source| source.off_reason().is_none());
    let source = source.ok_or(Refusal::Unknown)?;
    let webhook = source.webhook.as_ref().ok_or(Refusal::Unknown)?;
    if request.body().len() > BODY_MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    match (webhook.auth, address.secret) {
        (Auth::Hmac, None) => signed(world, source, &webhook.secret, request).await,
        (Auth::PathSecret, Some(given)) => {
            let secret = secret(world.secrets, &webhook.secret).await?;
            let given: Vec<u8> = percent_encoding::percent_decode_str(given).collect();
            if !auth::is_secret((&webhook.secret, &secret), &given)? {
                return Err(Refusal::WrongSecret);
            }
            let digest = canonical::sha256_hex(request.body());
            // Nothing tells a replay: the alert's own id makes one incident of it, however often it comes.
            Ok(take::take(world, source, &read(request.body())?, world.clock.now(), &digest).await?)
        }
        _ => Err(Refusal::Unknown),
    }
}

async fn signed(
    world: &World<'_, impl Evidence, impl Rows, impl Queue, impl Secrets, impl Clock>,
    source: &IntakeSource,
    secret_id: &str,
    request: &Request<Vec<u8>>,
) -> Result<Taken, Refusal> {
    let secret = secret(world.secrets, secret_id).await?;
    let now = world.clock.now();
    let message = auth::signed((secret_id, &secret), request.headers(), request.body(), now)??;
    let body = read(request.body())?;
    let claim = replay::claim(world.rows, &source.id, &message, request.body(), now).await?;
    let claim = claim.ok_or(Refusal::Replayed)?;
    let taken = take::take(world, source, &body, claim.received_at, &message).await?;
    replay::finish(world.rows, claim).await?;
    Ok(taken)
}

async fn secret(secrets: &impl Secrets, id: &str) -> Result<Secret, Fault> {
    let secret = secrets.secret(id).await?;
    secret.ok_or_else(|| Fault::Misconfigured(format!("secret {id} is not set: cargo xtask secret set {id}")))
}

fn read(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::NotJson)
}

fn respond(status: StatusCode, told: &Value) -> Response<Vec<u8>> {
    let mut response = Response::new(told.to_string().into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
