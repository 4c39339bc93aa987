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

mod hops;

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
    let to = Destination { host: "api.example", stand_in: Some(base), redirects: playbook::manifest::Redirects::None };
    Https::new().unwrap().call(&to, &request, timeout).await
}

/// A resolver that finds these addresses behind every name.
fn always(found: &[SocketAddr]) -> impl Fn(String) -> std::future::Ready<io::Result<Vec<SocketAddr>>> + use<> {
    let found = found.to_vec();
    move |_| std::future::ready(Ok(found.clone()))
}

#[tokio::test]
async fn no_spelling_of_loopback_is_connected_to() {
    let v4 = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let v6 = Canary::listen("[::1]:0", vec![]).await;
    let (four, six) = (v4.address, v6.as_ref().map_or(v4.address, |canary| canary.address));
    let egress = Https::resolving(Vetted::new(always(&[four, six]))).unwrap();

    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.127.127.127",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0.0.0x1",
        "0177.0.0.1",
        "0177.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "0x0",
        "00.0.0.0",
        "127.0.0.01",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "10.0.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1.nip.example",
        "metadata.google.internal",
        "ⓛocalhost",
        "loc\u{ad}alhost",
        "api.example",
    ];
    for host in hosts {
        for port in [String::new(), format!(":{}", four.port()), format!(":{}", six.port())] {
            for scheme in ["https", "http"] {
                let text = format!("{scheme}://{host}{port}/latest/meta-data");
                // What is no address at all cannot be called.
                let Ok(url) = Url::parse(&text) else { continue };
                // Even a manifest that names this very host does not get there.
                let own = url.host_str().unwrap_or_default().to_owned();
                let answer = egress
                    .call(
                        &Destination { host: &own, stand_in: None, redirects: playbook::manifest::Redirects::None },
                        &get(url.clone()),
                        TIMEOUT,
                    )
                    .await;
                assert!(matches!(answer, Err(CallError::Refused(_))), "{text}: {answer:?}");
                // Nor does a request that was made for another host.
                let answer = egress
                    .call(
                        &Destination {
                            host: "api.example",
                            stand_in: None,
                            redirects: playbook::manifest::Redirects::None,
                        },
                        &get(url),
                        TIMEOUT,
                    )
                    .await;
                assert!(matches!(answer, Err(CallError::Refused(_))), "{text}: {answer:?}");
            }
        }
    }
    assert_eq!(v4.connections(), 0);
    assert_eq!(v6.map_or(0, |canary| canary.connections()), 0);
}

#[tokio::test]
async fn the_canaries_hear_what_the_guard_lets_through() {
    let canary = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let unguarded = Https::resolving(Unvetted(vec![canary.address])).unwrap();
    let request = get(Url::parse("https://api.example/").unwrap());
    let to = Destination { host: "api.example", stand_in: None, redirects: playbook::manifest::Redirects::None };
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

/// A resolver without the guard.
struct Unvetted(Vec<SocketAddr>);

impl reqwest::dns::Resolve for Unvetted {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let found = self.0.clone();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs) })
    }
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
        let vetted = Vetted::new(always(found));
        async move { reqwest::dns::Resolve::resolve(&vetted, name()).await.map(Iterator::collect::<Vec<_>>) }
    };
    let error = resolve(&found).await.unwrap_err();
    assert!(error.is::<NotPublic>(), "{error}");
    let public: SocketAddr = "1.1.1.1:0".parse().unwrap();
    assert_eq!(resolve(&[found.as_slice(), &[public]].concat()).await.unwrap(), [public]);
}

#[tokio::test]
async fn a_name_is_checked_at_every_connection() {
    let canary = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let loopback = canary.address;
    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let rebinding = move |_: String| {
        times.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(vec![loopback]))
    };
    let egress = Https::resolving(Vetted::new(rebinding)).unwrap();
    for _ in 0..3 {
        let to = Destination { host: "api.example", stand_in: None, redirects: playbook::manifest::Redirects::None };
        let request = get(Url::parse("https://api.example/").unwrap());
        let answer = egress.call(&to, &request, TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    }
    // Nothing is remembered that could be rebound between the check and the connection.
    assert_eq!((asked.load(Ordering::SeqCst), canary.connections()), (3, 0));
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
    let to = Destination {
        host: "api.example",
        stand_in: Some(&server.base()),
        redirects: playbook::manifest::Redirects::None,
    };
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
        let to = Destination { host: "api.example", stand_in: None, redirects: playbook::manifest::Redirects::None };
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
    let to = Destination { host: "api.example", stand_in: None, redirects: playbook::manifest::Redirects::None };
    let answer = Https::new().unwrap().call(&to, &request, TIMEOUT).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn a_download_names_its_own_bound() {
    let check = async |length: usize, most: usize, expected: Result<usize, CallError>| {
        let canary = Canary::listen("127.0.0.1:0", page("", &vec![b'x'; length])).await.unwrap();
        let request = get(Url::parse("https://api.example/feed").unwrap());
        let base = canary.base();
        let to =
            Destination { host: "api.example", stand_in: Some(&base), redirects: playbook::manifest::Redirects::None };
        let answer = Https::new().unwrap().download(&to, &request, TIMEOUT, most).await;
        assert_eq!(answer.map(|answer| answer.body.len()), expected);
    };
    check(BODY_MAX_BYTES + 1, BODY_MAX_BYTES + 1, Ok(BODY_MAX_BYTES + 1)).await;
    check(11, 10, Err(CallError::TooLarge)).await;
}
