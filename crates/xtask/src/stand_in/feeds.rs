//! The hosts of feeds, played from the documents in `tests/fixtures/feeds`; they know what a client has already.

use playbook::{canonical::sha256_hex, lookup::Answer};

use super::text;

/// A feed: host, path, media type and document.
const FEEDS: [(&str, &str, &str, &str); 3] = [
    (
        "feodotracker.abuse.ch",
        "/downloads/ipblocklist.json",
        "application/json",
        include_str!("../../../../tests/fixtures/feeds/feodo/document.json"),
    ),
    (
        "raw.githubusercontent.com",
        "/openphish/public_feed/refs/heads/main/feed.txt",
        "text/plain; charset=utf-8",
        include_str!("../../../../tests/fixtures/feeds/openphish/document.txt"),
    ),
    (
        "urlhaus.abuse.ch",
        "/downloads/csv_recent/",
        "text/csv",
        include_str!("../../../../tests/fixtures/feeds/urlhaus-recent/document.csv"),
    ),
];

/// The answer of a feed's host; `None` where the host is none.
pub(super) fn answer(host: &str, method: &str, path_and_query: &str, headers: &[(String, String)]) -> Option<Answer> {
    let name = host.split(':').next().unwrap_or_default();
    let mut of_host = FEEDS.iter().filter(|(known, ..)| known.eq_ignore_ascii_case(name)).peekable();
    of_host.peek()?;
    let path = path_and_query.split('?').next().unwrap_or_default();
    let Some((_, _, media_type, document)) = of_host.find(|(_, known, ..)| *known == path && method == "GET") else {
        return Some(text(404, "Not Found"));
    };
    let etag = format!("\"{}\"", &sha256_hex(document.as_bytes())[..16]);
    let is_known = headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("if-none-match") && *value == etag);
    let mut answer = if is_known { text(304, "") } else { text(200, document) };
    answer.headers = vec![("content-type".to_owned(), (*media_type).to_owned()), ("etag".to_owned(), etag)];
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_sent_once_to_those_who_keep_it() {
        let check = |host: &str, path: &str, etag: &str, status: Option<u16>| {
            let headers = [("If-None-Match".to_owned(), etag.to_owned())];
            let answer = answer(host, "GET", path, &headers);
            assert_eq!(answer.as_ref().map(|answer| answer.status), status, "{host}{path}");
            answer.and_then(|answer| answer.header("etag").map(ToOwned::to_owned)).unwrap_or_default()
        };
        let etag = check("feodotracker.abuse.ch", "/downloads/ipblocklist.json", "", Some(200));
        check("feodotracker.abuse.ch:443", "/downloads/ipblocklist.json", &etag, Some(304));
        check("feodotracker.abuse.ch", "/downloads/other.json", &etag, Some(404));
        check("feeds.example", "/downloads/ipblocklist.json", &etag, None);
    }
}
