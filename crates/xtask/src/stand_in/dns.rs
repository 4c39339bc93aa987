//! The stand-in as a name server, on a port of the loopback interface.

use std::{io, net::Ipv4Addr, sync::Arc};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType as Type,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT},
    },
};
use playbook::ports::{DnsAnswer, DnsQuestion, DnsRecord, RecordType};
use tokio::net::UdpSocket;

use super::StandIn;

/// What the stand-in does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// It answers.
    Answer(DnsAnswer),
    /// It never answers.
    Hang,
}

/// Plays the names of one provider, without their final dot and in lower case; `None` for a name that is not its own.
pub type Zone = fn(&StandIn, name: &str, record: RecordType) -> Option<Named>;

/// Every zone that is played.
const ZONES: &[Zone] = &[];

/// Longer answers are cut, as a real server would.
const DATAGRAM_MAX_BYTES: usize = 1_232;

impl StandIn {
    /// Answers one question; a name that nobody plays does not exist.
    #[must_use]
    pub fn resolve(&self, question: &DnsQuestion) -> Named {
        let name = question.name.trim_end_matches('.').to_ascii_lowercase();
        let played = ZONES.iter().find_map(|zone| zone(self, &name, question.record));
        played.unwrap_or_else(|| Named::Answer(DnsAnswer { rcode: "NXDOMAIN".to_owned(), records: vec![] }))
    }
}

/// Takes a port on 127.0.0.1; 0 takes a free one.
pub async fn listen(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until it is dropped. What is no question is not answered.
pub async fn serve(socket: UdpSocket, stand_in: Arc<StandIn>) -> io::Result<()> {
    let mut buffer = [0; 4_096];
    loop {
        // A client that went away before its answer came is told to the next receive; it ends nothing.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = buffer.get(..length).and_then(|bytes| answer(&stand_in, bytes));
        if let Some(bytes) = answer {
            let _ = socket.send_to(&bytes, from).await;
        }
    }
}

fn answer(stand_in: &StandIn, bytes: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(bytes).ok()?;
    let [asked] = query.queries.as_slice() else { return None };
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.add_query(asked.clone());
    let Some(record) = known(asked.query_type()) else {
        message.metadata.response_code = ResponseCode::NotImp;
        return message.to_vec().ok();
    };
    let name = asked.name().to_ascii().trim_end_matches('.').to_owned();
    let Named::Answer(answer) = stand_in.resolve(&DnsQuestion { name, record }) else { return None };
    message.metadata.response_code = code(&answer.rcode);
    message.add_answers(answer.records.iter().filter_map(|record| encode(asked.name(), record)));
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= DATAGRAM_MAX_BYTES {
        return Some(bytes);
    }
    message.answers.clear();
    message.metadata.truncation = true;
    message.to_vec().ok()
}

const fn known(record: Type) -> Option<RecordType> {
    Some(match record {
        Type::A => RecordType::A,
        Type::AAAA => RecordType::Aaaa,
        Type::CNAME => RecordType::Cname,
        Type::MX => RecordType::Mx,
        Type::NS => RecordType::Ns,
        Type::PTR => RecordType::Ptr,
        Type::SOA => RecordType::Soa,
        Type::TXT => RecordType::Txt,
        _ => return None,
    })
}

fn code(rcode: &str) -> ResponseCode {
    match rcode {
        "NOERROR" => ResponseCode::NoError,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "REFUSED" => ResponseCode::Refused,
        "NOTIMP" => ResponseCode::NotImp,
        "FORMERR" => ResponseCode::FormErr,
        _ => ResponseCode::ServFail,
    }
}

/// A record of which the data is spelled as in a zone file; `None` where it is not.
fn encode(owner: &Name, record: &DnsRecord) -> Option<Record> {
    let data = record.data.as_str();
    let mut words = data.split_ascii_whitespace();
    let data = match record.record.as_str() {
        "A" => RData::A(A(data.parse().ok()?)),
        "AAAA" => RData::AAAA(AAAA(data.parse().ok()?)),
        "TXT" => RData::TXT(TXT::from_bytes(data.as_bytes().chunks(255).collect())),
        "CNAME" => RData::CNAME(CNAME(full(data)?)),
        "NS" => RData::NS(NS(full(data)?)),
        "PTR" => RData::PTR(PTR(full(data)?)),
        "MX" => RData::MX(MX::new(words.next()?.parse().ok()?, full(words.next()?)?)),
        "SOA" => RData::SOA(SOA::new(
            full(words.next()?)?,
            full(words.next()?)?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
        )),
        _ => return None,
    };
    Some(Record::from_rdata(owner.clone(), record.ttl_seconds, data))
}

fn full(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use playbook::Timestamp;

    use super::*;
    use crate::stand_in::Answers;

    fn stand_in() -> StandIn {
        StandIn::new(Answers::parse("evil.example: { urlhaus: malicious }").unwrap(), || {
            Timestamp::from_millis(1_795_500_000_000)
        })
    }

    fn query(name: &str, record: Type) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(full(name).unwrap(), record));
        message
    }

    #[tokio::test]
    async fn a_name_that_nobody_plays_does_not_exist() {
        let socket = listen(0).await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(serve(socket, Arc::new(stand_in())));
        let client = listen(0).await.unwrap();
        let mut buffer = [0; 512];
        client.send_to(b"no question", at).await.unwrap();
        client.send_to(&query("nobody.example", Type::A).to_vec().unwrap(), at).await.unwrap();
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, ResponseCode::NXDomain));
        assert_eq!(answer.queries, query("nobody.example", Type::A).queries);
        client.send_to(&query("nobody.example", Type::CAA).to_vec().unwrap(), at).await.unwrap();
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.response_code, ResponseCode::NotImp);
    }

    #[test]
    fn records_are_encoded_as_a_zone_file_spells_them() {
        let owner = full("evil.example").unwrap();
        let check = |record: &str, data: &str, expected: Option<&str>| {
            let made = DnsRecord { record: record.to_owned(), data: data.to_owned(), ttl_seconds: 60 };
            let encoded = encode(&owner, &made).map(|record| record.data.to_string());
            assert_eq!(encoded.as_deref(), expected, "{record} {data}");
        };
        check("A", "192.0.2.7", Some("192.0.2.7"));
        check("A", "2001:db8::7", None);
        check("AAAA", "2001:db8::7", Some("2001:db8::7"));
        check("MX", "10 mx.evil.example.", Some("10 mx.evil.example."));
        check("MX", "mx.evil.example.", None);
        check("NS", "ns1.evil.example", Some("ns1.evil.example."));
        check("TXT", "64500 | 192.0.2.0/24", Some("64500 | 192.0.2.0/24"));
        let soa = "ns1.evil.example. hostmaster.evil.example. 1 7200 3600 1209600 300";
        check("SOA", soa, Some(soa));
        check("SOA", "ns1.evil.example.", None);
        check("WKS", "x", None);
    }
}
