//! Questions to a name server: over UDP, and over TCP where the answer is longer than a datagram.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType as Type},
};
use playbook::{
    lookup::{CallError, is_name},
    ports::{DnsAnswer, DnsQuestion, DnsRecord, Nameserver, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

/// Records that are read of an answer.
pub const RECORDS_MAX: usize = 100;
/// Bytes that are read of a record's data.
pub const DATA_MAX_BYTES: usize = 4_096;

/// What fits through every network in one piece (DNS flag day 2020).
const DATAGRAM_MAX_BYTES: u16 = 1_232;

/// Datagrams get lost: the question is sent again after this, then after twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_secs(1);

const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// resolv.conf(5) reads no more.
const SYSTEM_SERVERS_MAX: usize = 3;
const PORT: u16 = 53;

/// Asks until somebody answers or the time is over.
pub async fn ask(at: &Nameserver<'_>, question: &DnsQuestion, timeout: Duration) -> Result<DnsAnswer, CallError> {
    let servers = servers(at)?;
    let name = name(question)?;
    let until = Instant::now() + timeout;
    let mut wait = FIRST_WAIT;
    let mut failure = CallError::Timeout;
    for server in servers.iter().cycle() {
        let now = Instant::now();
        if now >= until {
            break;
        }
        match timeout_at(until.min(now + wait), over_udp(*server, &name, question)).await {
            Ok(Ok(message)) if message.metadata.truncation => {
                return match timeout_at(until, over_tcp(*server, &name, question)).await {
                    Ok(Ok(message)) => Ok(answer(&message)),
                    Ok(Err(_)) => Err(unreachable()),
                    Err(_) => Err(CallError::Timeout),
                };
            }
            Ok(Ok(message)) => return Ok(answer(&message)),
            // Nobody listens there now: somebody may later, and another server may do so already.
            Ok(Err(_)) => {
                failure = unreachable();
                tokio::time::sleep_until(until.min(now + wait.min(FIRST_WAIT / 4))).await;
            }
            Err(_) => failure = CallError::Timeout,
        }
        wait *= 2;
    }
    Err(failure)
}

fn unreachable() -> CallError {
    CallError::Unreachable("no name server".to_owned())
}

/// Who is asked: a public address, the system's own servers, or the stand-in on loopback.
fn servers(at: &Nameserver<'_>) -> Result<Vec<SocketAddr>, CallError> {
    let refused = |why: &str| Err(CallError::Refused(why.to_owned()));
    match (at.stand_in, at.address) {
        (Some(stand_in), _) if stand_in.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && stand_in.port() != 0 => {
            Ok(vec![*stand_in])
        }
        (Some(_), _) => refused("the stand-in is not on 127.0.0.1"),
        (None, Some(address)) if ioc::guard::reserved_address(address).is_none() => {
            Ok(vec![SocketAddr::new(address, PORT)])
        }
        (None, Some(_)) => refused("the name server has no public address"),
        (None, None) => Ok(system(&std::fs::read_to_string(SYSTEM_FILE).unwrap_or_default())),
    }
}

/// The name servers of a `resolv.conf`; the machine itself where it names none.
fn system(file: &str) -> Vec<SocketAddr> {
    let named = file.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    });
    let mut servers: Vec<SocketAddr> = named.take(SYSTEM_SERVERS_MAX).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    servers
}

fn name(question: &DnsQuestion) -> Result<Name, CallError> {
    let refused = || CallError::Refused("not a name that can be asked for".to_owned());
    if !is_name(&question.name) {
        return Err(refused());
    }
    let mut name = Name::from_ascii(&question.name).map_err(|_| refused())?;
    name.set_fqdn(true);
    Ok(name)
}

/// A question that nobody can answer who has not seen it.
fn query(name: &Name, record: RecordType) -> io::Result<Message> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut message = Message::new(u16::from_ne_bytes(id), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), wire(record)));
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_MAX_BYTES);
    message.set_edns(edns);
    Ok(message)
}

fn is_answer_to(answer: &Message, query: &Message) -> bool {
    answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query
        && answer.queries == query.queries
}

async fn over_udp(server: SocketAddr, name: &Name, question: &DnsQuestion) -> io::Result<Message> {
    let query = query(name, question.record)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Only datagrams from this server are received.
    socket.connect(server).await?;
    socket.send(&query.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = [0; DATAGRAM_MAX_BYTES as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
        // Anything else is not for us: somebody guesses, or an answer is late.
        if let Some(message) = message.filter(|message| is_answer_to(message, &query)) {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, name: &Name, question: &DnsQuestion) -> io::Result<Message> {
    let query = query(name, question.record)?;
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[length.to_be_bytes().as_slice(), &bytes].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).await?;
    let message = Message::from_vec(&bytes).map_err(io::Error::other)?;
    if is_answer_to(&message, &query) { Ok(message) } else { Err(io::Error::other("an answer to another question")) }
}

const fn wire(record: RecordType) -> Type {
    match record {
        RecordType::A => Type::A,
        RecordType::Aaaa => Type::AAAA,
        RecordType::Cname => Type::CNAME,
        RecordType::Mx => Type::MX,
        RecordType::Ns => Type::NS,
        RecordType::Ptr => Type::PTR,
        RecordType::Soa => Type::SOA,
        RecordType::Txt => Type::TXT,
    }
}

fn answer(message: &Message) -> DnsAnswer {
    let of_internet = message.answers.iter().filter(|record| record.dns_class == DNSClass::IN);
    DnsAnswer {
        rcode: rcode(message.metadata.response_code),
        records: of_internet.take(RECORDS_MAX).map(record).collect(),
    }
}

/// The word of RFC 1035, or the number.
fn rcode(code: ResponseCode) -> String {
    let word = match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        other => return format!("RCODE{}", u16::from(other)),
    };
    word.to_owned()
}

fn record(record: &Record) -> DnsRecord {
    let mut data = match &record.data {
        RData::TXT(text) => String::from_utf8_lossy(&text.txt_data.concat()).into_owned(),
        RData::CNAME(name) => name.0.to_ascii(),
        RData::NS(name) => name.0.to_ascii(),
        RData::PTR(name) => name.0.to_ascii(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange.to_ascii()),
        other => other.to_string(),
    };
    data.truncate(data.floor_char_boundary(DATA_MAX_BYTES));
    DnsRecord { record: record.record_type().to_string(), data, ttl_seconds: record.ttl }
}

#[cfg(test)]
mod tests;
