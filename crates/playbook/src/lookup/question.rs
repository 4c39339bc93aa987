//! The questions to a name server about one observable, and its answers as the document that rules and mapping read.

use std::{fmt, net::IpAddr};

use ioc::Observable;
use serde_json::{Value, json};

use super::{
    Answer, CallError, Refusal,
    request::{key, sendable},
};
use crate::{
    manifest::{Manifest, Part, Place, ProviderKind, Template},
    ports::{DnsAnswer, DnsQuestion, Secret},
};

/// RFC 1035, 2.3.4: a name without its final dot.
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

/// Stands for the key wherever a name is shown.
const HIDDEN: &str = "***";

/// A question, and how it may be shown: a key in its name is hidden, in `Debug` too.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub asked: DnsQuestion,
    /// The name without the key.
    pub shown: String,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Question").field(&self.shown).field(&self.asked.record).finish()
    }
}

/// Whether a text is a name that can be asked for: labels of 1 to 63 letters, digits, hyphens and underscores, 253 bytes in all.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_MAX_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= NAME_MAX_BYTES && text.split('.').all(is_label)
}

/// The labels of an IPv4 address or the nibbles of an IPv6 address backwards, as RFC 5782 asks for them.
#[must_use]
pub fn reversed(address: IpAddr) -> String {
    let labels: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    labels.join(".")
}

/// Makes the questions. Whatever the observable: each name is one that can be asked for and ends as its template does.
pub fn questions(
    manifest: &Manifest,
    observable: &Observable,
    secret: Option<&Secret>,
) -> Result<Vec<Question>, Refusal> {
    if manifest.kind != ProviderKind::Dns {
        return Err(Refusal::Manifest);
    }
    let (template, value) = manifest.request_for(observable).ok_or(Refusal::Type)?;
    sendable(value)?;
    let secret = key(manifest, secret)?;
    // A dot in it would be a label of its own, and anything else no name.
    if manifest.secret.is_some() && (secret.contains('.') || !is_name(secret)) {
        return Err(Refusal::BadKey);
    }
    let mut made = Vec::new();
    for question in &template.questions {
        let name = fill(&question.name, value, secret)?;
        let shown = fill(&question.name, value, HIDDEN)?;
        if !is_name(&name) {
            return Err(Refusal::Unencodable);
        }
        made.extend(question.records.iter().map(|record| Question {
            asked: DnsQuestion { name: name.clone(), record: *record },
            shown: shown.clone(),
        }));
    }
    if made.is_empty() { Err(Refusal::Manifest) } else { Ok(made) }
}

fn fill(name: &str, value: &str, secret: &str) -> Result<String, Refusal> {
    let template = Template::parse(name, Place::Name).map_err(|_| Refusal::Manifest)?;
    let filled = template.0.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text),
        Part::Value => Ok(value.to_owned()),
        Part::Reversed => value.parse().map(reversed).map_err(|_| Refusal::Unencodable),
        Part::Secret => Ok(secret.to_owned()),
        Part::ValueBase64Url | Part::Algorithm | Part::Task => Err(Refusal::Manifest),
    });
    filled.collect()
}

/// The answers as one: `{answers: [{name, record, rcode, records}]}`, with the questions' order and the key hidden. A question
/// without an answer has `rcode` null and `error`; when no question was answered, the error is the word in an outcome:
/// `servfail`, or that of the call.
pub fn dns_answer(
    questions: &[Question],
    answers: &[Result<DnsAnswer, CallError>],
    secret: Option<&Secret>,
) -> Result<Answer, &'static str> {
    let is_failed = |answer: &Result<DnsAnswer, CallError>| answer.as_ref().map_or(true, |a| a.rcode == "SERVFAIL");
    if answers.iter().all(is_failed) {
        let silence = answers.iter().find_map(|answer| answer.as_ref().err()).map(CallError::reason);
        return Err(if answers.iter().any(Result::is_ok) { "servfail" } else { silence.unwrap_or("no_question") });
    }
    let answers: Vec<Value> =
        questions.iter().zip(answers).map(|(question, answer)| shown(question, answer, secret)).collect();
    Ok(Answer { status: 200, headers: vec![], body: json!({ "answers": answers }).to_string().into_bytes() })
}

fn shown(question: &Question, answer: &Result<DnsAnswer, CallError>, secret: Option<&Secret>) -> Value {
    let (name, record) = (&question.shown, question.asked.record);
    match answer {
        Err(error) => json!({ "name": name, "record": record, "rcode": null, "error": error.reason(), "records": [] }),
        Ok(answer) => {
            let mut records = answer.records.clone();
            if let Some(secret) = secret {
                for record in &mut records {
                    record.data = record.data.replace(secret.reveal(), HIDDEN);
                }
            }
            json!({ "name": name, "record": record, "rcode": answer.rcode, "records": records })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use ioc::ObservableType;
    use proptest::prelude::*;

    use super::*;
    use crate::ports::{DnsRecord, RecordType};

    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
        let yaml = r#"
schema: provider/1
id: sample
name: Sample
kind: dns
verified: live
secret: sample
types: [ipv4-addr, ipv6-addr, domain-name]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 3000
resolver: system
requests:
  - types: [ipv4-addr, ipv6-addr]
    questions:
      - { name: "{reversed}.{secret}.zen.sample.example", records: [A, TXT] }
  - types: [domain-name]
    questions:
      - { name: "{value}.{secret}.dbl.sample.example", records: [A] }
outcome:
  - when: body.answers[0].rcode = "NOERROR"
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;
        Manifest::parse(yaml, "sample.yaml").unwrap()
    });

    fn ask(kind: ObservableType, value: &str, secret: Option<&str>) -> Result<Vec<Question>, Refusal> {
        let observable = Observable::parse(kind, value).unwrap();
        questions(&MANIFEST, &observable, secret.map(Secret::new).as_ref())
    }

    #[test]
    fn names_are_made_of_their_templates() {
        let check = |kind, value: &str, expected: &str| {
            let made = ask(kind, value, Some("k3y")).unwrap();
            assert_eq!(made.first().unwrap().asked.name, expected);
            assert!(!format!("{made:?}").contains("k3y"), "{made:?}");
            made.iter().map(|question| question.asked.record).collect::<Vec<_>>()
        };
        let both = check(ObservableType::Ipv4Addr, "192.0.2.7", "7.2.0.192.k3y.zen.sample.example");
        assert_eq!(both, [RecordType::A, RecordType::Txt]);
        check(
            ObservableType::Ipv6Addr,
            "2001:db8::1f",
            "f.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.k3y.zen.sample.example",
        );
        check(ObservableType::DomainName, "evil.example", "evil.example.k3y.dbl.sample.example");
        check(ObservableType::DomainName, "Bücher.example", "xn--bcher-kva.example.k3y.dbl.sample.example");
    }

    #[test]
    fn refusals_have_reasons() {
        let check = |value: &str, secret: Option<&str>, expected: Refusal| {
            assert_eq!(ask(ObservableType::DomainName, value, secret), Err(expected), "{value} {secret:?}");
        };
        check("evil.example", None, Refusal::NoKey);
        check("evil.example", Some(""), Refusal::BadKey);
        check("evil.example", Some("a.b"), Refusal::BadKey);
        check("evil.example", Some("a b"), Refusal::BadKey);
        check("evil.example", Some("a\0"), Refusal::BadKey);
        let long = format!("{}example", "a23456789.".repeat(23));
        check(&long, Some("k3y"), Refusal::Unencodable);
        let url = ask(ObservableType::Url, "http://evil.example/", Some("k3y"));
        assert_eq!(url, Err(Refusal::Type));
    }

    #[test]
    fn what_was_answered_is_of_use_and_what_was_not_is_marked() {
        let asked = ask(ObservableType::Ipv4Addr, "192.0.2.7", Some("k3y")).unwrap();
        let secret = Secret::new("k3y");
        let answered = |rcode: &str| {
            let record = DnsRecord { record: "A".to_owned(), data: "127.0.0.2 k3y".to_owned(), ttl_seconds: 60 };
            Ok(DnsAnswer { rcode: rcode.to_owned(), records: vec![record] })
        };
        let answer = dns_answer(&asked, &[answered("NOERROR"), Err(CallError::Timeout)], Some(&secret)).unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let name = "7.2.0.192.***.zen.sample.example";
        let records = json!([{ "record": "A", "data": "127.0.0.2 ***", "ttl_seconds": 60 }]);
        let expected = json!({ "answers": [
            { "name": name, "record": "A", "rcode": "NOERROR", "records": records },
            { "name": name, "record": "TXT", "rcode": null, "error": "timeout", "records": [] },
        ] });
        assert_eq!((answer.status, body), (200, expected));

        let check = |answers: [Result<DnsAnswer, CallError>; 2], expected: Option<&str>| {
            assert_eq!(dns_answer(&asked, &answers, Some(&secret)).err(), expected, "{answers:?}");
        };
        let unreachable = || Err(CallError::Unreachable("no connection".to_owned()));
        check([Err(CallError::Timeout), unreachable()], Some("timeout"));
        check([unreachable(), Err(CallError::Timeout)], Some("unreachable"));
        check([Err(CallError::Timeout), answered("SERVFAIL")], Some("servfail"));
        check([answered("SERVFAIL"), answered("NXDOMAIN")], None);
        check([answered("REFUSED"), answered("SERVFAIL")], None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// Texts that no `Observable` had to approve.
        #[test]
        fn any_text_becomes_a_name_below_its_zone_or_none(value in "(\\PC|[.\\-_*\\\\@ \r\n\0]|[a-z0-9]{1,70}){0,12}") {
            let name = fill("{value}.{secret}.dbl.sample.example", &value, "k3y").unwrap();
            if is_name(&name) {
                prop_assert!(name.ends_with(".k3y.dbl.sample.example"));
                prop_assert!(name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len())));
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            }
            prop_assert!(is_name(&value) || !is_name(&name), "{:?} passed", value);
        }

        #[test]
        fn any_domain_becomes_a_name_below_its_zone_or_none(value in "[a-zA-Z0-9\\-_.ü。]{1,80}") {
            let Ok(asked) = Observable::parse(ObservableType::DomainName, &format!("{value}.example")) else {
                return Ok(());
            };
            match questions(&MANIFEST, &asked, Some(&Secret::new("k3y"))) {
                Ok(made) => prop_assert_eq!(
                    &made.first().unwrap().asked.name, &format!("{}.k3y.dbl.sample.example", asked.value())
                ),
                Err(refusal) => prop_assert_eq!(refusal, Refusal::Unencodable),
            }
        }

        #[test]
        fn an_address_reversed_twice_is_itself(four: [u8; 4], six: [u8; 16]) {
            let name = reversed(IpAddr::from(four));
            let back: Vec<u8> = name.rsplit('.').map(|label| label.parse().unwrap()).collect();
            prop_assert_eq!(back, four);
            let name = reversed(IpAddr::from(six));
            let digits: String = name.rsplit('.').collect();
            prop_assert_eq!(digits, data_encoding::HEXLOWER.encode(&six));
            prop_assert_eq!(name.len(), 63);
        }
    }
}
