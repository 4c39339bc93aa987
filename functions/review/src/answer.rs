//! Answers: every page that does not ask, and the headers that every page carries.

use askama::Template;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use playbook::{
    Fault,
    brief::{self, hostile, moment},
    decision::{Choice, Decision, Voter},
};

use crate::{gate::Refused, oidc, settings::Settings, visit::Visit};

/// No script, nothing from elsewhere, no frame. Without `sandbox`: it would drop the cookie.
const CSP: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CSP),
    // With `no-referrer` browsers would send `Origin: null` on our own POST.
    (header::REFERRER_POLICY, "same-origin"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

#[derive(Template)]
#[template(path = "message.html")]
struct MessageHtml<'a> {
    base: &'a str,
    title: &'a str,
    text: &'a str,
    /// A link back to the page, where that helps.
    secret: &'a str,
}

#[derive(Template)]
#[template(path = "receipt.html")]
struct ReceiptHtml<'a> {
    base: &'a str,
    incident_id: &'a str,
    title: &'a str,
    lead: &'a str,
    at: &'a str,
    by: &'a str,
    authenticated_by: &'a str,
    reason: &'a str,
    effect: &'a str,
    indicators: &'a [String],
    is_approval: bool,
    /// Everybody whose vote stands behind it, where that is more than one.
    voters: &'a [String],
    /// The answer to an author's question; empty where it is none.
    answer: &'a str,
    undo: &'a str,
}

/// A page with every header.
pub fn html(status: StatusCode, template: &impl Template) -> Result<Response<Vec<u8>>, Fault> {
    let html = template.render().map_err(|error| Fault::Rejected(format!("page cannot be written: {error}")))?;
    Ok(respond(status, "text/html; charset=utf-8", html.into_bytes()))
}

/// Adds a header whose value is made at run time.
pub fn set(response: &mut Response<Vec<u8>>, name: HeaderName, value: &str) -> Result<(), Fault> {
    let value =
        HeaderValue::from_str(value).map_err(|_| Fault::Misconfigured(format!("header {name} cannot be written")))?;
    response.headers_mut().insert(name, value);
    Ok(())
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The one stylesheet.
pub fn style() -> Response<Vec<u8>> {
    let mut response =
        respond(StatusCode::OK, "text/css; charset=utf-8", include_bytes!("../templates/page.css").to_vec());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// What may be asked; the same for every link, known or not.
pub fn options() -> Response<Vec<u8>> {
    let mut response = respond(StatusCode::NO_CONTENT, "text/plain", vec![]);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

fn message(
    settings: &Settings,
    status: StatusCode,
    title: &str,
    text: &str,
    secret: &str,
) -> Result<Response<Vec<u8>>, Fault> {
    html(status, &MessageHtml { base: settings.base(), title, text, secret })
}

/// No such page or link; does not say which.
pub fn unknown(settings: &Settings) -> Result<Response<Vec<u8>>, Fault> {
    message(
        settings,
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "The link is incomplete or no longer known. Open it from the mail again, all of it.",
        "",
    )
}

/// Something that we need did not answer. Total, because it is the last resort.
pub fn unavailable(settings: &Settings) -> Response<Vec<u8>> {
    let text = "Something that this page needs did not answer, so the decision was not taken, as far as we can tell. \
                Open the link again in a minute: it shows what stands.";
    message(settings, StatusCode::SERVICE_UNAVAILABLE, "Try again in a minute", text, "")
        .unwrap_or_else(|_| respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text.as_bytes().to_vec()))
}

/// What was posted is no form of ours.
pub fn no_form(settings: &Settings) -> Result<Response<Vec<u8>>, Fault> {
    let text = "This is not a form of this page. Nothing was decided. Open the link from the mail again.";
    message(settings, StatusCode::UNPROCESSABLE_ENTITY, "This could not be read", text, "")
}

/// The gate stays shut.
pub fn refused(settings: &Settings, visit: &Visit, refused: Refused) -> Result<Response<Vec<u8>>, Fault> {
    let text = match refused {
        Refused::CrossSite => {
            "The request did not come from this page, or the browser does not say where it came from. Nothing was \
             decided. Open the page again and use its own buttons."
        }
        Refused::NoSession => {
            "The browser did not send this page's cookie, or the page is too old. Nothing was decided. Open the page \
             again, in one browser, with cookies allowed."
        }
    };
    message(settings, StatusCode::FORBIDDEN, "This was refused", text, visit.secret.reveal())
}

/// The person of the link may not decide.
pub fn not_yours(settings: &Settings) -> Result<Response<Vec<u8>>, Fault> {
    let text = "The mailbox of this link was not asked, or is itself part of the incident, so that it cannot decide. \
                Nothing was decided. Somebody else who was asked has to.";
    message(settings, StatusCode::FORBIDDEN, "This mailbox cannot decide", text, "")
}

/// A later run asks anew.
pub fn superseded(settings: &Settings, visit: &Visit) -> Result<Response<Vec<u8>>, Fault> {
    let text = format!(
        "Incident {} is being looked at again, so this link can no longer decide. Whoever is asked gets a new mail.",
        visit.link.incident_id
    );
    message(settings, StatusCode::GONE, "A newer look is under way", &text, "")
}

/// The deadline is over.
pub fn expired(settings: &Settings, visit: &Visit) -> Result<Response<Vec<u8>>, Fault> {
    let until = visit.around.automatic_until().map(moment);
    let more = until.as_ref().map_or_else(
        || "Nothing was enforced.".to_owned(),
        |until| format!("Nothing more was enforced; what was blocked at once runs to its own expiry at {until}."),
    );
    let follows = match (visit.round.last, visit.around.has_open_ticket()) {
        (false, _) => "The next level is asked by mail.",
        (true, true) => "No level follows: the incident stays undecided, and its ticket stays open.",
        (true, false) => "No level follows: the incident stays undecided.",
    };
    let text = format!(
        "Nobody decided on incident {} by {}. {more} {follows}",
        visit.link.incident_id,
        moment(visit.round.deadline)
    );
    message(settings, StatusCode::GONE, "The time to decide is over", &text, "")
}

/// What was decided: by whom, when, and how it can be undone.
pub fn receipt(settings: &Settings, visit: &Visit, decision: &Decision) -> Result<Response<Vec<u8>>, Fault> {
    if decision.choice == Choice::TimedOut {
        return expired(settings, visit);
    }
    let at = moment(decision.at);
    let by = hostile(&decision.by, 254);
    let mut voters = vec![];
    if decision.votes.len() > 1 {
        let voter = |voter: &Voter| {
            let (who, how) = (hostile(&voter.who, 254), hostile(&voter.authenticated_by, 40));
            format!("{who} at {} (authenticated by: {how})", moment(voter.at))
        };
        voters = decision.votes.iter().map(voter).collect();
    }
    let offered = decision.answer.as_ref().zip(visit.round.asks.as_ref());
    let answer = offered.and_then(|(value, asks)| asks.offered(value)).map(|offered| hostile(&offered.label, 60));
    let undo = match decision.choice {
        Choice::Approved => {
            "Every entry leaves its list by itself when its time is over. Whoever runs the playbook can release all \
             entries of this incident earlier, by its id: see \u{201c}Taking something back\u{201d} in the README."
        }
        Choice::Rejected => {
            "What was released can be written again by a new report of the same indicators. Until the time of this \
             decision is over it says that they are harmless, unless a source of the best grade says something new."
        }
        Choice::Escalated => "Nothing was written. Whoever is asked now decides.",
        _ => "Nothing was written. A new report of the same indicators is looked at again.",
    };
    let title = match decision.choice {
        Choice::Approved => "Approved",
        Choice::Rejected => "Called a false positive",
        Choice::Acknowledged => "Acknowledged",
        Choice::LookAgain => "Looked at again",
        Choice::Escalated => "Handed to the next level",
        Choice::Answered => "Answered",
        Choice::TimedOut => "Not decided",
    };
    html(
        StatusCode::OK,
        &ReceiptHtml {
            base: settings.base(),
            incident_id: visit.link.incident_id.as_str(),
            title,
            lead: &brief::lead(&visit.assessment),
            at: &at,
            by: &by,
            authenticated_by: &hostile(&decision.authenticated_by, 40),
            reason: &hostile(&decision.reason, 2_000),
            effect: brief::effect(decision.choice),
            indicators: &brief::approved(&visit.assessment, &decision.indicators),
            is_approval: decision.choice == Choice::Approved,
            voters: &voters,
            answer: answer.as_deref().unwrap_or_default(),
            undo,
        },
    )
}

/// The browser goes on to this address.
pub fn see_other(to: &str) -> Result<Response<Vec<u8>>, Fault> {
    let mut response = respond(StatusCode::SEE_OTHER, "text/plain", vec![]);
    set(&mut response, header::LOCATION, to)?;
    Ok(response)
}

/// Taken: the browser goes on to the receipt, or to the page where a second person has to approve, so that reloading posts
/// nothing again. A sign-in is good for one vote.
pub fn taken(settings: &Settings, visit: &Visit) -> Result<Response<Vec<u8>>, Fault> {
    let mut response = see_other(&format!("{}/r/{}", settings.base(), visit.secret.reveal()))?;
    if settings.oidc().is_some() {
        oidc::end(&mut response, &visit.digest)?;
    }
    Ok(response)
}
