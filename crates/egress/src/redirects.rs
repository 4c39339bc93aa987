//! Which redirects are followed, and what is left of a request on the way: nothing that was meant for the first host.

use playbook::{
    lookup::{Answer, Method, Request},
    manifest::Redirects,
};
use url::Url;

/// How many are followed.
pub const HOPS_MAX: usize = 3;

/// The next request and its host; `None` where the answer is the last: it redirects nowhere, or nowhere that is allowed.
pub fn next(allowed: Redirects, request: &Request, answer: &Answer) -> Option<(String, Request)> {
    if request.method != Method::Get || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let mut url: Url = request.url.join(answer.header("location")?.trim()).ok()?;
    url.set_fragment(None);
    let host = url.host_str()?.to_owned();
    let is_allowed = match allowed {
        Redirects::None => false,
        Redirects::SameHost => request.url.host_str() == Some(&host),
        Redirects::Rdap => true,
    };
    // As a first request would have to be.
    if !is_allowed || crate::admit(&host, &url).is_err() {
        return None;
    }
    // A header may hold the key, whatever its name.
    let headers = request.headers.iter().filter(|(name, _)| name == "accept").cloned().collect();
    Some((host, Request { method: Method::Get, url, headers, body: vec![] }))
}
