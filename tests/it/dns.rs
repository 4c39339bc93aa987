//! Questions to a real name server, Knot DNS, on loopback: the shipped provider of DNS records, and no fake of the network.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use egress::Https;
use ioc::Observable;
use playbook::{
    Timestamp,
    lookup::{CallError, dns_answer, interpret, questions},
    manifest::Manifest,
    outcome::{Outcome, Status},
    ports::{DnsAnswer, DnsQuestion, Egress, Nameserver, RecordType},
};
use tempfile::TempDir;
use xtask::{
    project::Project,
    stand_in::{Answers, StandIn, dns},
};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(100);

/// The long name's addresses: more than a datagram holds.
const LONG: u8 = 120;

const ZONE: &str = r#"$ORIGIN evil.example.
$TTL 300
@     SOA   ns1 hostmaster 1 7200 3600 1209600 300
@     NS    ns1
@     A     192.0.2.7
@     A     192.0.2.8
@     AAAA  2001:db8::7
@     MX    10 mx
@     TXT   "v=spf1 " "-all"
ns1   A     192.0.2.53
mx    A     192.0.2.25
www   CNAME evil.example.
deep.below A 192.0.2.9
"#;

/// A running server; ended when it is dropped.
struct Knot {
    child: Child,
    at: SocketAddr,
    _folder: TempDir,
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Knot {
    /// Two zones: one that is served, and one of which the file is missing, for which the server answers `SERVFAIL`.
    async fn start(egress: &Https) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let long = (1..=LONG).map(|last| format!("long A 192.0.2.{last}\n"));
        std::fs::write(folder.path().join("evil.example.zone"), long.fold(ZONE.to_owned(), |zone, line| zone + &line))
            .unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        std::fs::write(folder.path().join("knot.conf"), settings(at, folder.path())).unwrap();
        let program = xtask::test::name_server().unwrap_or_else(|error| panic!("{error:#}"));
        let child = Command::new(program)
            .args(["-c", "knot.conf"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("the name server cannot be started: {error}"));
        let knot = Self { child, at, _folder: folder };
        let begun = Instant::now();
        while !knot.ask(egress, "evil.example", RecordType::Soa).await.is_ok_and(|answer| answer.rcode == "NOERROR") {
            assert!(begun.elapsed() < PATIENCE, "the name server does not answer after {PATIENCE:?}");
            tokio::time::sleep(STEP).await;
        }
        knot
    }

    async fn ask(&self, egress: &Https, name: &str, record: RecordType) -> Result<DnsAnswer, CallError> {
        let at = Nameserver { address: None, stand_in: Some(&self.at) };
        egress.resolve(&at, &DnsQuestion { name: name.to_owned(), record }, TIMEOUT).await
    }
}

/// A port that is free for datagrams and for connections.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if UdpSocket::bind(tcp.local_addr().unwrap()).is_ok() {
            return tcp.local_addr().unwrap().port();
        }
    }
}

fn settings(at: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"server:
    rundir: "{folder}"
    listen: "127.0.0.1@{port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{folder}"
    journal-content: none
zone:
  - domain: evil.example
    file: evil.example.zone
  - domain: broken.example
    file: missing.zone
"#,
        port = at.port()
    )
}

fn data(answer: &DnsAnswer) -> Vec<&str> {
    let mut data: Vec<&str> = answer.records.iter().map(|record| record.data.as_str()).collect();
    data.sort_unstable();
    data
}

#[tokio::test]
async fn a_real_name_server_is_understood() {
    let egress = Https::new().unwrap();
    let knot = Knot::start(&egress).await;
    let check = async |name: &str, record: RecordType, rcode: &str, expected: &[&str]| {
        let answer = knot.ask(&egress, name, record).await.unwrap();
        assert_eq!((answer.rcode.as_str(), data(&answer)), (rcode, expected.to_vec()), "{name} {record:?}");
        answer
    };
    check("evil.example", RecordType::A, "NOERROR", &["192.0.2.7", "192.0.2.8"]).await;
    check("EVIL.example", RecordType::A, "NOERROR", &["192.0.2.7", "192.0.2.8"]).await;
    check("evil.example", RecordType::Aaaa, "NOERROR", &["2001:db8::7"]).await;
    check("evil.example", RecordType::Mx, "NOERROR", &["10 mx.evil.example."]).await;
    check("evil.example", RecordType::Ns, "NOERROR", &["ns1.evil.example."]).await;
    check("evil.example", RecordType::Txt, "NOERROR", &["v=spf1 -all"]).await;
    let soa = "ns1.evil.example. hostmaster.evil.example. 1 7200 3600 1209600 300";
    let answer = check("evil.example", RecordType::Soa, "NOERROR", &[soa]).await;
    assert_eq!(answer.records.first().map(|record| (record.record.as_str(), record.ttl_seconds)), Some(("SOA", 300)));
    check("www.evil.example", RecordType::A, "NOERROR", &["192.0.2.7", "192.0.2.8", "evil.example."]).await;
    // A name that is there without such a record, one that is not there, one nobody here knows, and a zone that is broken.
    check("below.evil.example", RecordType::A, "NOERROR", &[]).await;
    check("nothing.evil.example", RecordType::A, "NXDOMAIN", &[]).await;
    check("other.example", RecordType::A, "REFUSED", &[]).await;
    check("broken.example", RecordType::A, "SERVFAIL", &[]).await;

    // More than a datagram holds comes over TCP, and no more than is read of any answer.
    let long = knot.ask(&egress, "long.evil.example", RecordType::A).await.unwrap();
    assert_eq!((long.rcode.as_str(), long.records.len()), ("NOERROR", egress::dns::RECORDS_MAX));

    shipped(&egress, &knot).await;
    silent(&egress, knot).await;
}

/// What the shipped provider makes of it.
async fn shipped(egress: &Https, knot: &Knot) {
    let path = Project::find().unwrap().path("playbook/providers/dns-records.yaml");
    let manifest = Manifest::parse(&std::fs::read_to_string(path).unwrap(), "dns-records.yaml").unwrap();
    let ask = async |value: &str| -> Result<Outcome, &'static str> {
        let observable = Observable::parse_any(value).unwrap();
        let questions = questions(&manifest, &observable, None).unwrap();
        let mut answers = vec![];
        for question in &questions {
            answers.push(knot.ask(egress, &question.asked.name, question.asked.record).await);
        }
        let answer = dns_answer(&questions, &answers, None)?;
        let now = Timestamp::parse("2026-11-24T05:00:00Z").unwrap();
        Ok(interpret(&manifest, &observable, Ok(&answer), now))
    };
    let found = ask("evil.example").await.unwrap();
    let opinion = found.opinion.unwrap_or_else(|| panic!("{:?} {:?}", found.outcome, found.reason));
    let places = ["points-to:192.0.2.7", "points-to:192.0.2.8", "points-to:2001:db8::7"];
    let mut tags = opinion.tags;
    tags.sort_unstable();
    assert_eq!(tags, [&["mx:10 mx.evil.example.", "ns:ns1.evil.example."], &places[..]].concat());
    let evidence = opinion.evidence.unwrap();
    for address in ["192.0.2.7", "192.0.2.8", "2001:db8::7"] {
        assert!(evidence.contains(address), "{evidence}");
    }
    assert_eq!(ask("nothing.evil.example").await.unwrap().outcome, Status::NotFound);
    assert_eq!(ask("broken.example").await, Err("servfail"));
}

/// Once it is ended nobody is there, and who listens without answering is waited for no longer than allowed.
async fn silent(egress: &Https, knot: Knot) {
    let at = knot.at;
    drop(knot);
    let question = DnsQuestion { name: "evil.example".to_owned(), record: RecordType::A };
    let server = Nameserver { address: None, stand_in: Some(&at) };
    let answer = egress.resolve(&server, &question, Duration::from_millis(300)).await;
    assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
    let _deaf = UdpSocket::bind(at).unwrap();
    let begun = Instant::now();
    let answer = egress.resolve(&server, &question, Duration::from_millis(300)).await;
    assert_eq!(answer, Err(CallError::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_stand_in_is_asked_where_it_plays_the_name_servers() {
    let now = || Timestamp::from_millis(1_795_500_000_000);
    let stand_in = StandIn::new(Answers::parse("evil.example: { urlhaus: malicious }").unwrap(), now);
    let socket = dns::listen(0).await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(dns::serve(socket, Arc::new(stand_in)));
    // Whoever the manifest names.
    let server = Nameserver { address: Some("1.1.1.1".parse().unwrap()), stand_in: Some(&at) };
    let question = DnsQuestion { name: "nobody.example".to_owned(), record: RecordType::A };
    let answer = Https::new().unwrap().resolve(&server, &question, TIMEOUT).await.unwrap();
    assert_eq!((answer.rcode.as_str(), answer.records.len()), ("NXDOMAIN", 0));
}
