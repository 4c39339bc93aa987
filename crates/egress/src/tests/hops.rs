//! Hops of redirects: where they may lead, and what they carry.

use playbook::manifest::Redirects;

use super::*;

pub(super) fn redirect(status: u16, location: &str) -> Answer {
    Answer { status, headers: vec![("location".to_owned(), location.to_owned())], body: vec![] }
}

fn first() -> Request {
    let mut request = get(Url::parse("https://rdap.example/v1/domain/evil.example?key=s3cr3t").unwrap());
    request.headers.push(("accept".to_owned(), "application/rdap+json".to_owned()));
    request
}

#[test]
fn only_an_allowed_redirect_is_followed() {
    let check = |allowed, location: &str, expected: Option<&str>| {
        let next = redirects::next(allowed, &first(), &redirect(302, location));
        assert_eq!(next.map(|(_, request)| request.url.to_string()).as_deref(), expected, "{allowed:?} {location}");
    };
    check(Redirects::None, "https://rdap.example/other", None);
    check(Redirects::SameHost, "https://rdap.example/other", Some("https://rdap.example/other"));
    check(Redirects::SameHost, "/other?a=b#c", Some("https://rdap.example/other?a=b"));
    check(Redirects::SameHost, "https://other.example/", None);
    check(Redirects::SameHost, "//other.example/", None);
    check(Redirects::Rdap, "https://other.example/rdap/domain/x", Some("https://other.example/rdap/domain/x"));
    check(Redirects::Rdap, "https://other.example:443/", Some("https://other.example/"));
    for location in [
        "http://other.example/",
        "https://other.example:8443/",
        "https://user@other.example/",
        "https://:pw@other.example/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://192.0.2.7/",
        "ftp://other.example/",
        "data:text/plain,x",
        "https://",
        "",
    ] {
        // What is empty leads to itself, and is followed no further than anything else.
        if !location.is_empty() {
            check(Redirects::Rdap, location, None);
        }
        assert!(redirects::next(Redirects::None, &first(), &redirect(301, location)).is_none());
    }
}

#[test]
fn only_a_get_is_repeated_and_only_a_redirect_is_one() {
    let to = "https://rdap.example/other";
    for status in [301, 302, 303, 307, 308] {
        assert!(redirects::next(Redirects::SameHost, &first(), &redirect(status, to)).is_some(), "{status}");
    }
    for status in [200, 201, 300, 304, 305, 404] {
        assert!(redirects::next(Redirects::SameHost, &first(), &redirect(status, to)).is_none(), "{status}");
    }
    let post = Request { method: Method::Post, body: b"key=s3cr3t".to_vec(), ..first() };
    assert!(redirects::next(Redirects::SameHost, &post, &redirect(307, to)).is_none());
    let nowhere = Answer { status: 302, headers: vec![], body: vec![] };
    assert!(redirects::next(Redirects::Rdap, &first(), &nowhere).is_none());
}

#[tokio::test]
async fn three_hops_are_made_and_none_carries_the_key() {
    let head = "HTTP/1.1 302 Found\r\nconnection: close\r\ncontent-length: 0\r\n";
    let elsewhere = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let location = format!("{head}location: https://other.example/rdap/x?to={}\r\n\r\n", elsewhere.address);
    let server = Canary::listen("127.0.0.1:0", location.into_bytes()).await.unwrap();
    let base = server.base();
    let to = Destination { redirects: Redirects::Rdap, ..Destination::of("rdap.example", played(&base)) };
    let answer = Https::new().unwrap().call(&to, &first(), TIMEOUT).await.unwrap();
    assert_eq!((answer.status, server.connections(), elsewhere.connections()), (302, 4, 0));
    let told = server.heard().await;
    let count = |text: &str| told.matches(text).count();
    assert_eq!((count("x-playbook-host: rdap.example\r\n"), count("x-playbook-host: other.example\r\n")), (1, 3));
    assert_eq!((count("GET /rdap/x?to="), count("accept: application/rdap+json\r\n")), (3, 4));
    // Once in the header and once in the address of the first request.
    assert_eq!((count("s3cr3t"), count("x-key")), (2, 1));
}
