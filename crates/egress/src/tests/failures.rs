//! Why a call failed: each cause has its own word.

use super::{server::Server, *};

async fn reason(egress: &Https) -> (&'static str, String) {
    let request = get(Url::parse("https://api.example/v1/x?k=s3cr3t").unwrap());
    let error = egress.call(&public("api.example"), &request, Duration::from_millis(400)).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains("s3cr3t") && !told.contains("api.example"), "{told}");
    (error.reason(), error.to_string())
}

fn open(address: SocketAddr) -> Https {
    Https::made(tls().unwrap(), always(&[address]), OPEN).unwrap()
}

#[tokio::test]
async fn a_name_without_an_address_is_no_dns() {
    assert_eq!(reason(&resolving(always(&[]))).await.0, "dns");
    let broken: Lookup = Arc::new(|_| Box::pin(std::future::ready(Err(io::Error::other("api.example: no such host")))));
    assert_eq!(reason(&resolving(broken)).await, ("dns", "the name does not resolve".to_owned()));
}

#[tokio::test]
async fn an_address_inside_is_refused() {
    assert_eq!(reason(&resolving(always(&["10.0.0.1:0".parse().unwrap()]))).await.0, "refused");
}

#[tokio::test]
async fn whoever_does_not_listen_is_unreachable() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(reason(&open(closed)).await, ("unreachable", "unreachable: no connection".to_owned()));
}

#[tokio::test]
async fn whoever_is_silent_is_timed_out() {
    let silent = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    assert_eq!(reason(&open(silent.address)).await.0, "timeout");
}

#[tokio::test]
async fn no_handshake_and_no_certificate_are_no_tls() {
    let plain = Canary::listen("127.0.0.1:0", page("", b"{}")).await.unwrap();
    assert_eq!(reason(&open(plain.address)).await, ("tls", "no TLS: the handshake failed".to_owned()));

    let alert = Canary::listen("127.0.0.1:0", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()).await.unwrap();
    assert_eq!(reason(&open(alert.address)).await.0, "tls");

    let strange = Server::listen("127.0.0.1:0");
    assert_eq!(reason(&open(strange.address)).await, ("tls", "no TLS: the certificate is not good".to_owned()));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
        }
    });
    assert_eq!(reason(&open(rude)).await, ("tls", "no TLS: the handshake was cut off".to_owned()));
}
