//! The stand-in: plays the providers for the demo and the tests, in their own shapes, from a file of answers.
//!
//! It knows nothing of manifests: it decodes each request as the provider would, so that a wrong request is answered
//! wrongly, as the provider would answer it.

mod abuse_ch;
mod answers;
mod context;
mod decode;
pub mod dns;
mod feeds;
mod others;
mod provider;
mod sandboxes;
pub mod server;
pub mod targets;
pub mod tickets;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use ioc::Observable;
use playbook::{Timestamp, lookup::Answer};
use serde::Serialize;
use serde_json::{Value, json};

pub use answers::{Answers, AnswersError, Canned};
pub use provider::{Key, Provider};

/// What the stand-in does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It answers.
    Answer(Answer),
    /// It never answers.
    Hang,
}

/// An answer that a provider cannot give, and what was served instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedAs {
    /// The observable, as the provider was asked for it.
    pub observable: String,
    /// The provider's id.
    pub provider: String,
    /// The answer that was wanted.
    pub asked: Canned,
    /// The answer that was given.
    pub served: Canned,
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The provider's id.
    pub provider: String,
    /// The observable, as the provider was asked for it.
    pub observable: String,
}

/// The providers' understudy. Usable in process; [`server`] puts it on a port.
#[derive(Debug)]
pub struct StandIn {
    answers: Answers,
    now: fn() -> Timestamp,
    seen: Mutex<Seen>,
    /// Jira, GitHub and Slack.
    pub tickets: tickets::Tickets,
    targets: Mutex<targets::Targets>,
}

#[derive(Debug, Default)]
struct Seen {
    calls: Vec<Call>,
    served_as: Vec<ServedAs>,
    anew: BTreeMap<(String, String), Canned>,
}

impl StandIn {
    /// A stand-in with these answers; evidence in them is dated by the clock.
    #[must_use]
    pub fn new(answers: Answers, now: fn() -> Timestamp) -> Self {
        Self { answers, now, seen: Mutex::default(), tickets: tickets::Tickets::default(), targets: Mutex::default() }
    }

    /// Answers one request. `host` is the provider's real host name, header names in any case.
    #[must_use]
    pub fn answer(
        &self,
        host: &str,
        method: &str,
        path_and_query: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Reply {
        if let Some(answer) = self.tickets.answer(host, method, path_and_query, headers, body) {
            return Reply::Answer(answer);
        }
        if let Some(answer) = feeds::answer(host, method, path_and_query, headers) {
            return Reply::Answer(answer);
        }
        if let Some(answer) = context::bootstrap(host, path_and_query) {
            return Reply::Answer(answer);
        }
        if let Some(answer) = self.targets(|targets| targets.answer(host, method, path_and_query, headers, body)) {
            return Reply::Answer(answer);
        }
        let Some(provider) = Provider::of_host(host) else {
            return Reply::Answer(text(404, "the stand-in plays no provider of this name"));
        };
        let has_key = match provider.key() {
            None => true,
            Some(Key::Header(name)) => {
                headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && !v.trim().is_empty())
            }
            Some(Key::Query(name)) => decode::has_parameter(path_and_query, name),
        };
        if !has_key {
            return Reply::Answer(unauthorised(provider));
        }
        let is_second_step = decode::is_second_step(provider, path_and_query);
        match decode::observable(provider, method, path_and_query, body) {
            Ok(observable) => self.play(provider, &observable, is_second_step),
            Err(decode::Misread::Endpoint) => Reply::Answer(text(404, "Not Found")),
            Err(decode::Misread::Input) => Reply::Answer(bad_input(provider, path_and_query)),
        }
    }

    /// From now on a provider answers this about an observable, whatever the file of answers says.
    pub fn answer_anew(&self, observable: &str, provider: Provider, canned: Canned) {
        self.seen(|seen| seen.anew.insert((observable.to_owned(), provider.id().to_owned()), canned));
    }

    /// Answers that could not be given as wanted, each once.
    #[must_use]
    pub fn served_as(&self) -> Vec<ServedAs> {
        self.seen(|seen| seen.served_as.clone())
    }

    /// Every request that was understood, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.seen(|seen| seen.calls.clone())
    }

    /// MISP's attributes, oldest first.
    #[must_use]
    pub fn misp(&self) -> Vec<targets::MispAttribute> {
        self.targets(|targets| targets.attributes())
    }

    /// Puts an attribute into MISP that somebody else has made.
    pub fn put_into_misp(&self, kind: &str, value: &str) {
        self.targets(|targets| targets.put(kind, value));
    }

    /// What is on the watchlist, sorted.
    #[must_use]
    pub fn watchlist(&self) -> Vec<targets::Watched> {
        self.targets(|targets| targets.watched())
    }

    fn targets<T>(&self, look: impl FnOnce(&mut targets::Targets) -> T) -> T {
        look(&mut self.targets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn play(&self, provider: Provider, observable: &Observable, is_second_step: bool) -> Reply {
        let (id, value) = (provider.id().to_owned(), observable.value().to_owned());
        let anew = self.seen(|seen| seen.anew.get(&(value.clone(), id.clone())).copied());
        let asked = anew.unwrap_or_else(|| self.answers.get(observable.value(), provider.id()));
        let served = if provider.can_say(asked, observable.kind()) { asked } else { Canned::NotFound };
        self.seen(|seen| {
            seen.calls.push(Call { provider: id.clone(), observable: value.clone() });
            let entry = ServedAs { observable: value, provider: id, asked, served };
            if asked != served && !seen.served_as.contains(&entry) {
                seen.served_as.push(entry);
            }
        });
        match served {
            Canned::Hang => Reply::Hang,
            Canned::Error => Reply::Answer(text(500, "Internal Server Error")),
            Canned::Throttled => Reply::Answer(throttled(provider)),
            Canned::Garbage => Reply::Answer(garbage(provider, observable, (self.now)())),
            canned if is_second_step => Reply::Answer(second_step(observable, canned, (self.now)())),
            canned => Reply::Answer(opinion(provider, observable, canned, (self.now)())),
        }
    }
}

/// The provider's own answer for `malicious`, `suspicious`, `benign`; for everything else it does not know.
fn opinion(provider: Provider, observable: &Observable, canned: Canned, now: Timestamp) -> Answer {
    let body = match provider {
        Provider::Urlhaus => abuse_ch::urlhaus(observable, canned, now),
        Provider::Threatfox => abuse_ch::threatfox(observable, canned, now),
        Provider::Malwarebazaar => abuse_ch::malwarebazaar(observable, canned, now),
        Provider::Abuseipdb => others::abuseipdb(observable, canned, now),
        Provider::Hashlookup => others::hashlookup(observable, canned),
        Provider::Virustotal => others::virustotal(observable, canned, now),
        Provider::Otx => context::otx(observable, canned, now),
        Provider::Urlscan => context::urlscan(observable, canned, now),
        Provider::Rdap => context::rdap(observable, canned, now),
        Provider::Shodan => context::shodan(observable, canned, now),
        Provider::HybridAnalysis => sandboxes::hybrid_analysis(observable, canned),
        Provider::Triage => sandboxes::triage_search(observable, canned, now),
    };
    // Only these say with a status that they do not know.
    let is_absent = !matches!(canned, Canned::Malicious | Canned::Suspicious | Canned::Benign);
    let says_404 = matches!(
        provider,
        Provider::Hashlookup | Provider::Virustotal | Provider::Rdap | Provider::Shodan | Provider::HybridAnalysis
    );
    document(if is_absent && says_404 { 404 } else { 200 }, &body)
}

/// What Triage, which alone is asked twice, says of the sample that its search has named.
fn second_step(observable: &Observable, canned: Canned, now: Timestamp) -> Answer {
    let is_known = matches!(canned, Canned::Malicious | Canned::Suspicious);
    document(if is_known { 200 } else { 404 }, &sandboxes::triage_overview(observable, canned, now))
}

/// What a broken gateway or a cut connection leaves: HTML, or half of the real answer.
fn garbage(provider: Provider, observable: &Observable, now: Timestamp) -> Answer {
    if matches!(provider, Provider::Urlhaus | Provider::Malwarebazaar | Provider::Abuseipdb) {
        let mut page = text(200, "<!doctype html><html><head><title>Just a moment…</title></head><body></body></html>");
        page.headers = vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())];
        return page;
    }
    let mut half = opinion(provider, observable, Canned::Malicious, now);
    half.body.truncate(half.body.len() / 2);
    half
}

fn throttled(provider: Provider) -> Answer {
    let mut answer = match provider {
        Provider::Abuseipdb => {
            let detail = "Daily rate limit of 1000 requests exceeded for this endpoint.";
            document(429, &json!({ "errors": [{ "detail": detail, "status": 429 }] }))
        }
        Provider::Virustotal => {
            document(429, &json!({ "error": { "code": "QuotaExceededError", "message": "Quota exceeded" } }))
        }
        _ => text(429, "Too Many Requests"),
    };
    // A second: other observables are asked after it, so that what is in the answers file is what is seen.
    answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
    answer
}

fn unauthorised(provider: Provider) -> Answer {
    let body = match provider {
        Provider::Abuseipdb => {
            let detail = "Authentication failed. Your API key is either missing, incorrect, or revoked.";
            json!({ "errors": [{ "detail": detail, "status": 401 }] })
        }
        Provider::Virustotal => {
            json!({ "error": { "code": "AuthenticationRequiredError", "message": "X-Apikey header is missing" } })
        }
        Provider::HybridAnalysis => json!({ "message": "The provided API key is incorrect" }),
        Provider::Triage => json!({ "error": "UNAUTHORIZED", "message": "Invalid access token" }),
        _ => json!({ "error": "Unauthorized" }),
    };
    document(401, &body)
}

fn bad_input(provider: Provider, path_and_query: &str) -> Answer {
    let word = |word: &str| document(200, &json!({ "query_status": word }));
    match provider {
        Provider::Urlhaus => word(if path_and_query.contains("/url/") { "invalid_url" } else { "invalid_host" }),
        Provider::Threatfox => word("illegal_search_term"),
        Provider::Malwarebazaar => word("illegal_hash"),
        Provider::Abuseipdb => {
            let detail = "The ip address must be a valid IPv4 or IPv6 address.";
            let source = json!({ "parameter": "ipAddress" });
            document(422, &json!({ "errors": [{ "detail": detail, "status": 422, "source": source }] }))
        }
        Provider::Hashlookup => document(400, &json!({ "message": "value incorrect, expecting a hash" })),
        Provider::Otx => document(400, &json!({ "detail": "invalid indicator" })),
        Provider::Urlscan => document(400, &json!({ "message": "Query error", "status": 400 })),
        Provider::Rdap => document(400, &json!({ "errorCode": 400, "title": "Bad Request" })),
        Provider::Shodan => document(400, &json!({ "error": "Invalid IP" })),
        Provider::HybridAnalysis => document(400, &json!({ "message": "Invalid hash", "validation_errors": [] })),
        Provider::Triage => document(400, &json!({ "error": "INVALID_QUERY", "message": "invalid query" })),
        Provider::Virustotal => {
            document(400, &json!({ "error": { "code": "InvalidArgumentError", "message": "invalid argument" } }))
        }
    }
}

fn document(status: u16, body: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: body.to_string().into_bytes() }
}

fn text(status: u16, body: &str) -> Answer {
    let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
    Answer { status, headers, body: body.as_bytes().to_vec() }
}

#[cfg(test)]
mod tests;
