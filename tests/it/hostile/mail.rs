//! Every kind of mail: its text, its HTML, and the message that goes over the wire, read by a MIME parser.

use std::{borrow::Cow, collections::BTreeSet};

use ioc::{Observable, ObservableType};
use mail_parser::{MessageParser, MimeHeaders};
use playbook::{
    Timestamp,
    brief::{Brief, sample},
    decision::{Choice, Decision, Round},
    mail,
    ports::Mail,
};

use super::{
    check_dead, each, payloads,
    places::{Scene, Scenes},
    readers,
};

const LINK: &str = "https://review.soc.example/r/secret";
const SENDER: &str = "playbook@soc.example";
const ID_DOMAIN: &str = "email.amazonses.com";

fn now() -> Timestamp {
    Timestamp::parse(sample::ASSESSED_AT).unwrap()
}

/// Every kind of mail there is, by name.
fn mails(scene: &Scene, payload: &str) -> Vec<(&'static str, Mail)> {
    let Scene { assessment, round, decision, around, .. } = scene;
    let brief = |run: u32| {
        let assessment = playbook::assessment::Assessment { run, ..assessment.clone() };
        Brief::of(&assessment, round, around, now())
    };
    let code = mail::Code { round: 1, code: "123456", expires_at: now(), asked_from: payload };
    let rejected = Decision { choice: Choice::Rejected, ..decision.clone() };
    let others = [payload.to_owned(), sample::OTHER_APPROVER.to_owned()];
    let next = Round { last: false, ..round.clone() };
    let mails = [
        ("request", mail::request(sample::APPROVER, &brief(1), LINK, &others)),
        ("request of a later run", mail::request(sample::APPROVER, &brief(2), LINK, &[])),
        ("reminder", mail::reminder(sample::APPROVER, &brief(1))),
        ("code", mail::code(sample::APPROVER, assessment, &code)),
        ("approved", mail::decided(sample::APPROVER, assessment, 1, decision, payload)),
        ("rejected", mail::decided(sample::APPROVER, assessment, 1, &rejected, payload)),
        ("expired", mail::expired(sample::APPROVER, assessment, &next, around)),
        ("expired for good", mail::expired(sample::APPROVER, assessment, round, around)),
    ];
    mails.map(|(kind, mail)| (kind, mail.unwrap())).to_vec()
}

#[test]
fn no_subject_and_no_text_of_a_mail_is_live() {
    let scenes = Scenes::new();
    each("subject and text of 8 mails", scenes.count(), |payload| {
        for (kind, mail) in mails(&scenes.with(payload), payload) {
            check_dead(kind, payload, &mail.subject);
            assert!(!mail.subject.contains('\n'), "{kind}: {payload:?}");
            let ours = usize::from(kind.starts_with("request"));
            assert_eq!(mail.text.matches(LINK).count(), ours, "{kind}: {payload:?}");
            check_dead(kind, payload, &mail.text.replace(LINK, ""));
        }
    });
}

#[test]
fn the_html_of_a_mail_is_its_template() {
    let scenes = Scenes::new();
    let plain = mails(&scenes.with("plain"), "plain");
    let shapes: Vec<readers::Read> = plain.iter().map(|(_, mail)| readers::html(&mail.html)).collect();
    each("HTML of 8 mails", scenes.count(), |payload| {
        for ((kind, mail), plain) in mails(&scenes.with(payload), payload).iter().zip(&shapes) {
            let read = readers::html(&mail.html);
            assert_eq!(read.shape, plain.shape, "{kind}: {payload:?}");
            let ours: BTreeSet<String> = kind.starts_with("request").then(|| LINK.to_owned()).into_iter().collect();
            assert_eq!(read.targets, ours, "{kind}: {payload:?}");
            for text in &read.texts {
                check_dead(kind, payload, &text.replace(LINK, ""));
            }
        }
    });
}

/// Names of the headers, in order.
fn headers(message: &mail_parser::Message<'_>) -> Vec<String> {
    message.headers().iter().map(|header| header.name().to_owned()).collect()
}

#[test]
fn a_message_has_our_headers_one_subject_one_recipient_and_two_bodies() {
    let scenes = Scenes::new();
    let composed = |mail: &Mail| aws::outbox::compose(SENDER, ID_DOMAIN, mail).unwrap();
    let plain = composed(&mails(&scenes.with("plain"), "plain")[0].1);
    let plain = headers(&MessageParser::new().parse(&plain).unwrap());
    each("8 messages", scenes.count(), |payload| {
        for (kind, mail) in mails(&scenes.with(payload), payload) {
            assert_eq!(foreign(&composed(&mail), &mail, &plain), None, "{kind}: {payload:?}");
        }
    });
}

/// What a client finds in a message that was not written into it. It decodes: nothing of ours may have been an encoded word.
fn foreign(raw: &[u8], mail: &Mail, plain: &[String]) -> Option<String> {
    let message = MessageParser::new().parse(raw).unwrap();
    let headers = headers(&message);
    if headers != plain {
        return Some(format!("headers {headers:?}"));
    }
    if message.subject() != Some(mail.subject.as_str()) {
        return Some(format!("subject {:?}", message.subject()));
    }
    let to: Vec<_> = message.to().unwrap().iter().map(|to| (to.name(), to.address())).collect();
    if to != [(None, Some(mail.to.as_str()))] {
        return Some(format!("recipients {to:?}"));
    }
    let parts = (message.text_body_count(), message.html_body_count(), message.attachment_count());
    if parts != (1, 1, 0) || message.parts.iter().any(|part| part.attachment_name().is_some()) {
        return Some(format!("parts {parts:?}"));
    }
    let is = |read: Option<Cow<'_, str>>, written: &str| {
        read.is_some_and(|read| read.replace("\r\n", "\n").trim_end() == written.trim_end())
    };
    let is_same = is(message.body_text(0), &mail.text) && is(message.body_html(0), &mail.html);
    (!is_same).then(|| "another body".to_owned())
}

#[test]
fn a_message_that_holds_more_than_was_written_is_found() {
    let mail = mails(&Scenes::new().with("plain"), "plain").remove(0).1;
    let raw = String::from_utf8(aws::outbox::compose(SENDER, ID_DOMAIN, &mail).unwrap()).unwrap();
    let plain = headers(&MessageParser::new().parse(raw.as_bytes()).unwrap());
    let found = |raw: &str| foreign(raw.as_bytes(), &mail, &plain).unwrap_or_default();
    assert_eq!(found(&raw), "");
    assert!(found(&raw.replacen("Subject:", "Bcc: eve@evil.example\r\nSubject:", 1)).starts_with("headers"));
    assert!(found(&raw.replacen("To: <", "To: <eve@evil.example>, <", 1)).starts_with("recipients"));
    assert!(found(&raw.replacen("Subject: ", "Subject: =?utf-8?Q?x?= ", 1)).starts_with("subject"));
    let other = Mail { html: mail.html.replacen("hxxps", "https", 1), ..mail.clone() };
    assert_eq!(foreign(raw.as_bytes(), &other, &plain).unwrap_or_default(), "another body");
}

/// Policy takes as an approver whatever is an address; the way out takes one bare address.
#[test]
fn an_address_is_one_recipient_or_none() {
    let (mut taken, mut refused) = (0, 0);
    for payload in payloads() {
        let spelled = [format!("{}@soc.example", payload.text), format!("ana@{}", payload.text), payload.text];
        for to in spelled {
            let mail = Mail {
                to: to.clone(),
                subject: "x".to_owned(),
                text: "x".to_owned(),
                html: "<p>x</p>".to_owned(),
                thread: to.clone(),
                follows: Some(to.clone()),
                about: playbook::ports::About::default(),
            };
            let Ok(raw) = aws::outbox::compose(SENDER, ID_DOMAIN, &mail) else {
                refused += 1;
                continue;
            };
            let is_policy = Observable::parse(ObservableType::EmailAddr, &to).is_ok();
            taken += usize::from(is_policy);
            let message = MessageParser::new().parse(&raw).unwrap();
            let read: Vec<_> = message.to().unwrap().iter().map(|to| (to.name(), to.address())).collect();
            assert_eq!(read, [(None, Some(to.as_str()))], "{to:?}");
            assert!(message.cc().is_none() && message.bcc().is_none() && message.reply_to().is_none(), "{to:?}");
            let raw = String::from_utf8_lossy(&raw).into_owned();
            let (head, _) = raw.split_once("\r\n\r\n").unwrap();
            assert!(readers::hidden(&head.replace("\r\n", "\n").replace('\t', " ")).is_empty(), "{to:?}: {head}");
        }
    }
    println!("recipients: {taken} taken, {refused} refused");
    assert!(taken > 10 && refused > 100);
}
