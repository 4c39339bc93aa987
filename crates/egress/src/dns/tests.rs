//! Name servers on loopback that answer late, wrongly, too much or not at all; a real one answers in `tests/it/dns.rs`.

use hickory_proto::rr::rdata::{A, CNAME, TXT};
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(3);

fn question(name: &str, record: RecordType) -> DnsQuestion {
    DnsQuestion { name: name.to_owned(), record }
}

fn asked(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

/// The answer to a query, with these records.
fn reply(query: &Message, records: Vec<RData>) -> Message {
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.add_queries(query.queries.clone());
    let name = query.queries.first().unwrap().name().clone();
    message.add_answers(records.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)));
    message
}

fn address(last: u8) -> RData {
    RData::A(A::new(10, 0, 0, last))
}

/// A name server whose n-th datagram is answered with these datagrams.
async fn serve(answers: impl Fn(usize, &Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        for count in 0.. {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in answers(count, &asked(&buffer[..length])) {
                socket.send_to(&datagram, from).await.unwrap();
            }
        }
    });
    at
}

async fn ask_at(server: SocketAddr, record: RecordType, timeout: Duration) -> Result<DnsAnswer, CallError> {
    let at = Nameserver { address: None, stand_in: Some(&server) };
    ask(&at, &question("evil.example", record), timeout).await
}

fn data(answer: &DnsAnswer) -> Vec<&str> {
    answer.records.iter().map(|record| record.data.as_str()).collect()
}

#[tokio::test]
async fn what_is_answered_is_data_private_addresses_too() {
    let server = serve(|_, query| {
        let alias = RData::CNAME(CNAME(Name::from_ascii("Other.example.").unwrap()));
        vec![reply(query, vec![alias, address(7)]).to_vec().unwrap()]
    })
    .await;
    let answer = ask_at(server, RecordType::A, TIMEOUT).await.unwrap();
    assert_eq!((answer.rcode.as_str(), data(&answer)), ("NOERROR", vec!["Other.example.", "10.0.0.7"]));
    let first = answer.records.first().unwrap();
    assert_eq!((first.record.as_str(), first.ttl_seconds), ("CNAME", 60));
}

#[tokio::test]
async fn only_the_answer_to_the_question_counts() {
    let server = serve(|_, query| {
        let mut other_id = reply(query, vec![address(1)]);
        other_id.metadata.id = query.metadata.id.wrapping_add(1);
        let mut other_name = reply(query, vec![address(2)]);
        other_name.queries = vec![Query::query(Name::from_ascii("other.example.").unwrap(), Type::A)];
        let mut other_type = reply(query, vec![address(3)]);
        other_type.queries = vec![Query::query(Name::from_ascii("evil.example.").unwrap(), Type::AAAA)];
        let mut no_question = reply(query, vec![address(4)]);
        no_question.queries = vec![];
        let right = reply(query, vec![address(7)]);
        let forged = [other_id, other_name, other_type, no_question].map(|message| message.to_vec().unwrap());
        let noise = [vec![], vec![0; 3], b"garbage, garbage, garbage".to_vec(), query.to_vec().unwrap()];
        [forged.to_vec(), noise.to_vec(), vec![right.to_vec().unwrap()]].concat()
    })
    .await;
    assert_eq!(data(&ask_at(server, RecordType::A, TIMEOUT).await.unwrap()), ["10.0.0.7"]);
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let answer =
        |count, query: &Message| if count == 0 { vec![] } else { vec![reply(query, vec![]).to_vec().unwrap()] };
    let server = serve(answer).await;
    assert_eq!(ask_at(server, RecordType::A, TIMEOUT).await.unwrap().records, []);
}

#[tokio::test]
async fn silence_is_a_time_out_and_nobody_there_is_unreachable() {
    let begun = Instant::now();
    let silent = serve(|_, _| vec![]).await;
    assert_eq!(ask_at(silent, RecordType::A, Duration::from_millis(200)).await, Err(CallError::Timeout));
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = ask_at(closed, RecordType::A, Duration::from_millis(200)).await;
    assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn every_rcode_is_an_answer() {
    let codes = [0_u8, 1, 2, 3, 4, 5, 9];
    let words = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "RCODE9"];
    for (code, word) in codes.into_iter().zip(words) {
        let server = serve(move |_, query| {
            let mut message = reply(query, vec![]);
            message.metadata.response_code = ResponseCode::from_low(code);
            vec![message.to_vec().unwrap()]
        })
        .await;
        assert_eq!(ask_at(server, RecordType::Txt, TIMEOUT).await.unwrap().rcode, word);
    }
}

/// A name server that says over UDP that its answer is too long, and gives it over TCP.
async fn long(answer: impl Fn(&Message) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let at = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
        let mut short = reply(&asked(&buffer[..length]), vec![]);
        short.metadata.truncation = true;
        udp.send_to(&short.to_vec().unwrap(), from).await.unwrap();
        let (mut stream, _) = tcp.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        stream.read_exact(&mut buffer[..usize::from(length)]).await.unwrap();
        let bytes = answer(&asked(&buffer[..usize::from(length)]));
        stream.write_all(&bytes).await.unwrap();
    });
    at
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), &bytes].concat()
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp_and_is_cut() {
    let server = long(|query| framed(&reply(query, (0..=255).map(address).collect()))).await;
    let answer = ask_at(server, RecordType::A, TIMEOUT).await.unwrap();
    assert_eq!((answer.records.len(), data(&answer).last().copied()), (RECORDS_MAX, Some("10.0.0.99")));

    let text = RData::TXT(TXT::from_bytes(vec!["é".repeat(127).as_bytes(); 100]));
    let server = long(move |query| framed(&reply(query, vec![text.clone()]))).await;
    let answer = ask_at(server, RecordType::Txt, TIMEOUT).await.unwrap();
    assert_eq!(data(&answer), ["é".repeat(DATA_MAX_BYTES / 2)]);
}

#[tokio::test]
async fn a_broken_long_answer_is_no_answer() {
    let whole = |query: &Message| framed(&reply(query, vec![address(7)]));
    let server = long(move |query| whole(query).split_at(20).0.to_vec()).await;
    let answer = ask_at(server, RecordType::A, TIMEOUT).await;
    assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
    let server = long(|_| b"\x00\x05hello".to_vec()).await;
    let answer = ask_at(server, RecordType::A, TIMEOUT).await;
    assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
}

#[tokio::test]
async fn only_public_name_servers_are_asked() {
    for address in [
        "127.0.0.1",
        "::1",
        "10.0.0.2",
        "192.168.1.1",
        "169.254.169.253",
        "fd00:ec2::253",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "224.0.0.251",
        "0.0.0.0",
        "192.0.2.1",
    ] {
        let at = Nameserver { address: Some(address.parse().unwrap()), stand_in: None };
        let answer = ask(&at, &question("evil.example", RecordType::A), TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{address}: {answer:?}");
    }
    for stand_in in ["127.0.0.1:0", "127.0.0.2:53", "[::1]:53", "10.0.0.1:53", "192.0.2.1:53"] {
        let stand_in = stand_in.parse().unwrap();
        // Not even where it stands in for a public one.
        let at = Nameserver { address: Some("1.1.1.1".parse().unwrap()), stand_in: Some(&stand_in) };
        let answer = ask(&at, &question("evil.example", RecordType::A), TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{stand_in}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_name_is_not_asked() {
    let server = serve(|_, query| vec![reply(query, vec![]).to_vec().unwrap()]).await;
    let long = format!("{}.example", "a".repeat(64));
    for name in
        ["", ".", "a..example", "evil.example.", "a b.example", "a\0.example", "é.example", "a\\.b.example", &long]
    {
        let at = Nameserver { address: None, stand_in: Some(&server) };
        let answer = ask(&at, &question(name, RecordType::A), TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{name:?}: {answer:?}");
    }
}

#[test]
fn the_systems_servers_are_read() {
    let check = |file: &str, expected: &[&str]| {
        let servers: Vec<String> = system(file).iter().map(ToString::to_string).collect();
        assert_eq!(servers, expected, "{file}");
    };
    check(
        "# comment\nsearch example\nnameserver 10.0.0.2\nnameserver fd00::2 \noptions edns0\n",
        &["10.0.0.2:53", "[fd00::2]:53"],
    );
    check("nameserver\nnameserver nonsense\nnameservers 10.0.0.2\n", &["127.0.0.1:53"]);
    check("", &["127.0.0.1:53"]);
    let many = "nameserver 10.0.0.2\n".repeat(9);
    check(&many, &["10.0.0.2:53"; SYSTEM_SERVERS_MAX]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a datagram holds: it is read within limits or not at all.
    #[test]
    fn any_bytes_are_an_answer_within_limits_or_none(
        noise in proptest::collection::vec(any::<u8>(), 0..600), flips in proptest::collection::vec(any::<(usize, u8)>(), 0..6)
    ) {
        let query = query(&Name::from_ascii("evil.example.").unwrap(), RecordType::A).unwrap();
        let mut real = reply(&query, (0..40).map(address).collect()).to_vec().unwrap();
        for (at, byte) in flips {
            let length = real.len();
            real[at % length] ^= byte;
        }
        for bytes in [noise, real] {
            if let Ok(message) = Message::from_vec(&bytes) {
                let answer = answer(&message);
                prop_assert!(answer.records.len() <= RECORDS_MAX);
                prop_assert!(answer.records.iter().all(|record| record.data.len() <= DATA_MAX_BYTES));
            }
        }
    }
}
