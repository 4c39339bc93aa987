//! A server of TLS whose certificate is none, and a client that takes any: for what happens behind the handshake.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::AtomicBool,
    thread,
};

use rustls::{
    DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::*;

/// Answers every request with `{}`, and counts.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
    /// Whether a connection ends with its answer.
    pub closes: Arc<AtomicBool>,
}

impl Server {
    pub fn listen(on: &str) -> Self {
        let listener = TcpListener::bind(on).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
            closes: Arc::default(),
        };
        let (connections, requests) = (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let (closes, config) = (Arc::clone(&server.closes), Arc::new(config()));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, closes, config) = (Arc::clone(&requests), Arc::clone(&closes), Arc::clone(&config));
                thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    let _ = answer(&mut StreamOwned::new(tls, stream), &requests, &closes);
                });
            }
        });
        server
    }

    pub fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

fn answer(stream: &mut (impl Read + Write), requests: &AtomicUsize, closes: &AtomicBool) -> io::Result<()> {
    let (mut heard, mut buffer) = (vec![], [0; 4_096]);
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        heard.extend_from_slice(&buffer[..length]);
        if heard.ends_with(b"\r\n\r\n") {
            heard.clear();
            requests.fetch_add(1, Ordering::SeqCst);
            let is_last = closes.load(Ordering::SeqCst);
            stream.write_all(&page(if is_last { "connection: close\r\n" } else { "" }, b"{}"))?;
            stream.flush()?;
            if is_last {
                return Ok(());
            }
        }
    }
}

fn config() -> ServerConfig {
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let key = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.as_ref().to_vec()));
    let certified = CertifiedKey::new(vec![CertificateDer::from(b"none".to_vec())], any_ecdsa_type(&key).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The client's settings, but it takes any certificate.
pub fn trusting() -> rustls::ClientConfig {
    let mut tls = tls().unwrap();
    tls.dangerous().set_certificate_verifier(Arc::new(Anybody));
    tls
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
