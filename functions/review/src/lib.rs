//! The page behind the link: shows, records the decision, wakes the execution.
//!
//! GET, HEAD and OPTIONS write nothing. Deciding takes a POST from our own page, and proof of the person.

mod answer;
mod ballot;
mod code;
mod decide;
mod form;
mod gate;
pub mod oidc;
mod page;
mod person;
mod settings;
mod visit;

use http::{Method, Request, Response, StatusCode};
use playbook::{
    Fault, Timestamp,
    decision::LinkSecret,
    ports::{Clock, Egress, Entropy, Evidence, Machines, Outbox},
    rows::Rows,
};
use tracing::error;

pub use settings::Settings;

use crate::{
    form::Form,
    gate::Session,
    page::Draft,
    visit::{Standing, Visit},
};

/// Where the request came from, as the gateway saw it: an extension of the request, set by `main`.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// What the page works with.
#[derive(Debug)]
pub struct World<'a, E, R, O, M, C, N, G> {
    /// Assessments.
    pub evidence: &'a E,
    /// The record.
    pub rows: &'a R,
    /// The way one-time codes go out.
    pub outbox: &'a O,
    /// The state machine.
    pub machines: &'a M,
    /// The time.
    pub clock: &'a C,
    /// Randomness for sessions and codes.
    pub entropy: &'a N,
    /// The way to whoever says who somebody is.
    pub egress: &'a G,
    /// What was read at start.
    pub settings: &'a Settings,
}

/// What a request asks for.
enum Route<'a> {
    Style,
    Show(&'a str),
    SignIn(&'a str),
    SignedIn,
    Options,
    Code(&'a str),
    Decide(&'a str),
    Unknown,
}

impl<'a> Route<'a> {
    fn of(method: &Method, path: &'a str) -> Self {
        let is_read = method == Method::GET || method == Method::HEAD;
        if path == "/page.css" && is_read {
            return Self::Style;
        }
        if path == "/signed-in" && method == Method::GET {
            return Self::SignedIn;
        }
        let Some(rest) = path.strip_prefix("/r/") else { return Self::Unknown };
        match rest.split_once('/') {
            None if is_read => Self::Show(rest),
            None if method == Method::OPTIONS => Self::Options,
            // Only a person who follows it begins a sign-in: HEAD would be answered for nobody.
            Some((secret, "sign-in")) if method == Method::GET => Self::SignIn(secret),
            Some((secret, "code")) if method == Method::POST => Self::Code(secret),
            Some((secret, "decide")) if method == Method::POST => Self::Decide(secret),
            _ => Self::Unknown,
        }
    }
}

/// Answers a request. Total: a fault is a page that says that nothing was decided.
pub async fn handle(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    request: Request<Vec<u8>>,
) -> Response<Vec<u8>> {
    let mut response = answer(world, &request).await.unwrap_or_else(|fault| {
        error!(stage = "review", fault = fault.name(), "{fault}");
        answer::unavailable(world.settings)
    });
    if request.method() == Method::HEAD {
        response.body_mut().clear();
    }
    response
}

async fn answer(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Fault> {
    let route = Route::of(request.method(), world.settings.below(request.uri().path()));
    let now = world.clock.now();
    let secret = match route {
        Route::Style => return Ok(answer::style()),
        Route::Options => return Ok(answer::options()),
        Route::Unknown => return answer::unknown(world.settings),
        Route::SignedIn => return oidc::finish(world, request, now).await,
        Route::Show(secret) | Route::SignIn(secret) | Route::Code(secret) | Route::Decide(secret) => secret,
    };
    let Some(secret) = LinkSecret::parse(secret) else { return answer::unknown(world.settings) };
    let Some(visit) = Visit::find(world.evidence, world.rows, secret, now).await? else {
        return answer::unknown(world.settings);
    };
    if let (Route::Decide(_), Some(why)) = (&route, visit.standing(now).too_late()) {
        late(world, &visit, request, why, now).await?;
    }
    match visit.standing(now) {
        Standing::Decided(decision) => return answer::receipt(world.settings, &visit, decision),
        Standing::Superseded => return answer::superseded(world.settings, &visit),
        Standing::Expired => return answer::expired(world.settings, &visit),
        Standing::Open if !visit.may_decide() => return answer::not_yours(world.settings),
        Standing::Open => {}
    }
    match route {
        Route::Code(_) => code::ask(world, &visit, request, now).await,
        Route::SignIn(_) => oidc::begin(world, &visit, request, now).await,
        Route::Decide(_) => Box::pin(decide::decide(world, visit, request, now)).await,
        _ => {
            let session = Session::of(request.headers(), world.settings);
            let session = session.map_or_else(|| Session::fresh(world.entropy), Ok)?;
            let identity = person::identity(request.headers(), world.settings, &visit, now);
            let page = page::Page {
                visit: &visit,
                session: &session,
                identity: identity.as_ref(),
                settings: world.settings,
                now,
            };
            page.answer(StatusCode::OK, &Draft::default())
        }
    }
}

/// Puts on record that a person whom we know came too late to decide.
async fn late(
    world: &World<'_, impl Evidence, impl Rows, impl Outbox, impl Machines, impl Clock, impl Entropy, impl Egress>,
    visit: &Visit,
    request: &Request<Vec<u8>>,
    why: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(form) = Form::read(request) else { return Ok(()) };
    match gate::admit(request.headers(), world.settings, &visit.digest, form.one("csrf")) {
        Ok(session) => person::record_late(world, (visit, &session, &form), request, why, now).await,
        Err(_) => Ok(()),
    }
}
