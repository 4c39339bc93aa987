//! Canaries listen on loopback; nothing may ever reach them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

mod failures;
mod hops;
mod rebinding;
mod server;
mod spellings;

use playbook::ports::Reach;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Counts connections; answers the first request of each with `answer`, then waits.
struct Canary {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<tokio::sync::Mutex<Vec<u8>>>,
}

impl Canary {
    async fn listen(on: &str, answer: Vec<u8>) -> io::Result<Self> {
        let listener = TcpListener::bind(on).await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(tokio::sync::Mutex::new(vec![]));
        let (count, heard) = (Arc::clone(&connections), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (answer, heard) = (answer.clone(), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    heard.lock().await.extend_from_slice(&buffer[..length]);
                    let _ = stream.write_all(&answer).await;
                    tokio::time::sleep(Duration::from_secs(30)).await;
                });
            }
        });
        Ok(Self { address, connections, seen })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn heard(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().await).into_owned()
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn get(url: Url) -> Request {
    Request { method: Method::Get, url, headers: vec![("x-key".to_owned(), "s3cr3t".to_owned())], body: vec![] }
}

fn page(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Asks the stand-in at `base` for `https://api.example/v1/x?k=s3cr3t`.
async fn ask(base: &str, timeout: Duration) -> Result<Answer, CallError> {
    let request = get(Url::parse("https://api.example/v1/x?k=s3cr3t").unwrap());
    let to = Destination::of("api.example", played(base));
    Https::new().unwrap().call(&to, &request, timeout).await
}

/// By the stand-in at `base`.
fn played(base: &str) -> Reach<'_> {
    Reach { stand_in: Some(base), ..Reach::default() }
}

/// A public host.
fn public(host: &str) -> Destination<'_> {
    Destination::of(host, Reach::default())
}

/// Finds these addresses behind every name.
fn always(found: &[SocketAddr]) -> Lookup {
    let found = found.to_vec();
    Arc::new(move |_| Box::pin(std::future::ready(Ok(found.clone()))))
}

/// As shipped, with another resolver.
fn resolving(lookup: Lookup) -> Https {
    Https::made(tls().unwrap(), lookup, Rules::STRICT).unwrap()
}

/// Without the rules.
const OPEN: Rules = Rules { public: |_| true, private: |_, _, _| true };

#[tokio::test]
async fn the_canaries_hear_what_the_guard_lets_through() {
    let canary = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let unguarded = Https::made(tls().unwrap(), always(&[canary.address]), OPEN).unwrap();
    let request = get(Url::parse("https://api.example/").unwrap());
    let to = public("api.example");
    let _ = unguarded.call(&to, &request, Duration::from_millis(300)).await;
    assert_eq!(canary.connections(), 1, "the resolver alone keeps names away from loopback");

    let hello = canary.heard().await;
    assert!(
        hello.starts_with('\u{16}') && hello.contains("api.example") && hello.contains("\u{2}h2"),
        "TLS with our settings"
    );

    let literal = get(Url::parse(&format!("https://{}/", canary.address)).unwrap());
    let direct = build(&unguarded.public, &literal, literal.url.clone());
    let _ = tokio::time::timeout(Duration::from_millis(300), exchange(direct, BODY_MAX_BYTES)).await;
    assert_eq!(canary.connections(), 2, "the client asks no resolver about addresses");
}

#[tokio::test]
async fn only_public_addresses_are_left_of_a_name() {
    let found: Vec<SocketAddr> = [
        "127.0.0.1:0",
        "[::1]:0",
        "[::]:0",
        "0.0.0.0:0",
        "10.1.2.3:0",
        "172.16.0.1:0",
        "192.168.1.1:0",
        "100.64.0.1:0",
        "169.254.169.254:0",
        "[fd00:ec2::254]:0",
        "[fe80::1]:0",
        "[::ffff:127.0.0.1]:0",
        "[::ffff:10.0.0.1]:0",
        "[64:ff9b::7f00:1]:0",
        "[64:ff9b::808:808]:0",
        "[2002:7f00:1::]:0",
        "224.0.0.1:0",
        "255.255.255.255:0",
        "[ff02::1]:0",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let name = || "api.example".parse().unwrap();
    let resolve = |found: &[SocketAddr]| {
        let vetted = Vetted::public(always(found), Rules::STRICT);
        async move { reqwest::dns::Resolve::resolve(&vetted, name()).await.map(Iterator::collect::<Vec<_>>) }
    };
    let error = resolve(&found).await.unwrap_err();
    assert!(error.is::<resolver::NotAdmitted>(), "{error}");
    let public: SocketAddr = "1.1.1.1:0".parse().unwrap();
    assert_eq!(resolve(&[found.as_slice(), &[public]].concat()).await.unwrap(), [public]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let canary = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("HTTP/1.1 {status}\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", canary.base());
        let server = Canary::listen("127.0.0.1:0", location.into_bytes()).await.unwrap();
        let answer = ask(&server.base(), TIMEOUT).await.unwrap();
        assert_eq!(answer.status.to_string(), status[..3]);
        assert!(answer.header("location").is_some());
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn the_stand_in_hears_the_request_and_the_real_host() {
    let server = Canary::listen("127.0.0.1:0", page("x-a: b\r\n", b"{}")).await.unwrap();
    let request = Request {
        method: Method::Post,
        url: Url::parse("https://api.example/v1/a%2Fb?q=1%202").unwrap(),
        headers: vec![("auth-key".to_owned(), "dummy".to_owned())],
        body: b"host=evil.example".to_vec(),
    };
    let base = server.base();
    let to = Destination::of("api.example", played(&base));
    let answer = Https::new().unwrap().call(&to, &request, TIMEOUT).await.unwrap();
    assert_eq!((answer.status, answer.header("x-a"), answer.body.as_slice()), (200, Some("b"), b"{}".as_slice()));
    let heard = server.heard().await;
    assert!(heard.starts_with("POST /v1/a%2Fb?q=1%202 HTTP/1.1\r\n"), "{heard}");
    for line in [
        "x-playbook-host: api.example\r\n",
        "auth-key: dummy\r\n",
        "user-agent: ioc-enrichment-playbook/",
        "\r\n\r\nhost=evil.example",
    ] {
        assert!(heard.contains(line), "{heard}");
    }
    assert!(!heard.contains("referer"), "{heard}");
}

#[tokio::test]
async fn the_stand_in_is_on_loopback_only() {
    for base in [
        "https://127.0.0.1:1",
        "http://127.0.0.1",
        "http://127.0.0.2:1",
        "http://localhost:1",
        "http://[::1]:1",
        "http://10.0.0.1:1",
        "ftp://127.0.0.1:1",
        "http://127.0.0.1:1@evil.example:80",
        "nonsense",
        "",
    ] {
        assert!(matches!(ask(base, TIMEOUT).await, Err(CallError::Refused(_))), "{base}");
    }
}

#[tokio::test]
async fn a_request_for_anything_but_the_manifests_host_is_refused() {
    for url in [
        "http://api.example/",
        "https://api.example:8443/",
        "https://user@api.example/",
        "https://:pw@api.example/",
        "https://other.example/",
        "https://api.example.evil.example/",
        "https://api.example./",
        "ftp://api.example/",
        "data:text/plain,x",
    ] {
        let to = public("api.example");
        let answer = Https::new().unwrap().call(&to, &get(Url::parse(url).unwrap()), TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{url}: {answer:?}");
    }
}

#[tokio::test]
async fn no_more_than_two_mebibytes_are_read() {
    let check = async |answer: Vec<u8>, expected: Result<usize, CallError>| {
        let server = Canary::listen("127.0.0.1:0", answer).await.unwrap();
        assert_eq!(ask(&server.base(), TIMEOUT).await.map(|answer| answer.body.len()), expected);
    };
    check(page("", &vec![b'x'; BODY_MAX_BYTES]), Ok(BODY_MAX_BYTES)).await;
    check(page("", &vec![b'x'; BODY_MAX_BYTES + 1]), Err(CallError::TooLarge)).await;
    // Three mebibytes of zeros in three kilobytes.
    check(page("content-encoding: gzip\r\n", include_bytes!("zeros.gz")), Err(CallError::TooLarge)).await;
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..4096 {
        endless.extend_from_slice(b"400\r\n");
        endless.extend_from_slice(&[b'x'; 1024]);
        endless.extend_from_slice(b"\r\n");
    }
    check(endless, Err(CallError::TooLarge)).await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_a_time_out() {
    let soon = Duration::from_millis(150);
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"] {
        let server = Canary::listen("127.0.0.1:0", answer.as_bytes().to_vec()).await.unwrap();
        assert_eq!(ask(&server.base(), soon).await, Err(CallError::Timeout), "{answer}");
    }
}

#[tokio::test]
async fn errors_repeat_neither_the_address_nor_the_key() {
    let closed = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let garbage = Canary::listen("127.0.0.1:0", b"\0\x01garbage\r\n\r\n".to_vec()).await.unwrap();
    let broken = Canary::listen("127.0.0.1:0", page("content-encoding: gzip\r\n", b"not gzip")).await.unwrap();
    for base in [format!("http://{closed}"), garbage.base(), broken.base()] {
        let error = ask(&base, TIMEOUT).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("s3cr3t"), "{error:?}");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_refused() {
    let mut request = get(Url::parse("https://api.example/").unwrap());
    request.headers.push(("x-evil".to_owned(), "a\r\nhost: evil.example".to_owned()));
    let to = public("api.example");
    let answer = Https::new().unwrap().call(&to, &request, TIMEOUT).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn a_download_names_its_own_bound() {
    let check = async |length: usize, most: usize, expected: Result<usize, CallError>| {
        let canary = Canary::listen("127.0.0.1:0", page("", &vec![b'x'; length])).await.unwrap();
        let request = get(Url::parse("https://api.example/feed").unwrap());
        let base = canary.base();
        let to = Destination::of("api.example", played(&base));
        let answer = Https::new().unwrap().download(&to, &request, TIMEOUT, most).await;
        assert_eq!(answer.map(|answer| answer.body.len()), expected);
    };
    check(BODY_MAX_BYTES + 1, BODY_MAX_BYTES + 1, Ok(BODY_MAX_BYTES + 1)).await;
    check(11, 10, Err(CallError::TooLarge)).await;
}
