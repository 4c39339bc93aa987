//! Outgoing mail through SES.

use aws_config::SdkConfig;
use aws_sdk_sesv2::{
    Client,
    primitives::Blob,
    types::{Destination, EmailContent, MessageTag, RawMessage},
};
use mail_builder::{
    MessageBuilder,
    headers::{message_id::MessageId, text::Text},
};
use playbook::{
    Fault, canonical,
    ports::{About, Mail, Outbox},
};

use crate::{Error, faults::fault};

/// Mail from one sender.
#[derive(Clone, Debug)]
pub struct SesOutbox {
    client: Client,
    sender: String,
    /// The configuration set, which reports what could not be delivered.
    events: Option<String>,
    /// What stands behind the `@` in the message ids of this region.
    id_domain: String,
}

impl SesOutbox {
    /// Mail from this address, whose identity SES has verified, by this configuration set.
    pub fn new(config: &SdkConfig, sender: String, events: Option<String>) -> Result<Self, Error> {
        if !is_one_address(&sender) {
            return Err(Error::Start("SENDER_ADDRESS is not a mail address".to_owned()));
        }
        let id_domain = id_domain(config.region().map_or("", |region| region.as_ref()));
        Ok(Self { client: Client::new(config), sender, events, id_domain })
    }
}

impl Outbox for SesOutbox {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        let message = compose(&self.sender, &self.id_domain, mail)?;
        let unbuilt = |error| Fault::Rejected(format!("mail cannot be built: {error}"));
        let raw = RawMessage::builder().data(Blob::new(message)).build().map_err(unbuilt)?;
        let call = self.client.send_email().from_email_address(&self.sender);
        // The envelope, so that no header decides who gets the mail.
        let call = call.destination(Destination::builder().to_addresses(&mail.to).build());
        let mut call = call.set_configuration_set_name(self.events.clone());
        for (name, value) in tags(&mail.about) {
            call = call.email_tags(MessageTag::builder().name(name).value(value).build().map_err(unbuilt)?);
        }
        let sent = call.content(EmailContent::builder().raw(raw).build()).send().await;
        let sent = sent.map_err(|error| fault("ses SendEmail", &error))?;
        Ok(sent.message_id.unwrap_or_default())
    }
}

/// The domain that SES gives its message ids: of the first region it is a name of its own.
fn id_domain(region: &str) -> String {
    match region {
        "us-east-1" => "email.amazonses.com".to_owned(),
        region => format!("{region}.amazonses.com"),
    }
}

/// What SES says again in its events about a mail. Its tags take letters, digits, `_` and `-`; none may be empty.
fn tags(about: &About) -> Vec<(&'static str, String)> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let tags = [
        ("incident_id", about.incident_id.clone()),
        ("run", about.run.to_string()),
        ("round", about.round.to_string()),
        ("what", about.what.clone()),
    ];
    let known = tags.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name, value.chars().map(plain).take(256).collect())).collect()
}

/// The mail as it goes over the wire: text and HTML as alternatives, marked as written by a machine (RFC 3834).
///
/// SES replaces the Message-ID. A mail therefore refers to the incident, and to what SES called the mail that it follows.
pub fn compose(sender: &str, id_domain: &str, mail: &Mail) -> Result<Vec<u8>, Fault> {
    if !is_one_address(&mail.to) {
        return Err(Fault::Rejected("the recipient is not one mail address".to_owned()));
    }
    let thread: String = one_line(&mail.thread).chars().filter(|c| !"<> ".contains(*c)).collect();
    let mut message = MessageBuilder::new()
        .from(sender)
        .to(mail.to.as_str())
        .subject(one_line(&mail.subject))
        .header("Auto-Submitted", Text::new("auto-generated"))
        .header("X-Auto-Response-Suppress", Text::new("All"))
        .text_body(mail.text.as_str())
        .html_body(mail.html.as_str());
    if !thread.is_empty() {
        let is_plain = |id: &&String| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let follows = mail.follows.as_ref().filter(|id| !id.is_empty()).filter(is_plain);
        let follows = follows.map(|id| format!("{id}@{id_domain}"));
        let references: Vec<String> = [Some(thread.clone()), follows].into_iter().flatten().collect();
        let answered = references.last().unwrap_or(&thread).clone();
        message = message
            .message_id(own_id(mail, &thread))
            .header("In-Reply-To", MessageId::new(answered))
            .header("References", MessageId::new_list(references.into_iter()));
    }
    message.write_to_vec().map_err(|error| Fault::Rejected(format!("mail cannot be built: {error}")))
}

/// The same for the same mail to the same person, however often it is sent.
fn own_id(mail: &Mail, thread: &str) -> String {
    let to: String = canonical::sha256_hex(mail.to.to_ascii_lowercase().as_bytes()).chars().take(12).collect();
    let about: Vec<String> = tags(&mail.about).into_iter().skip(1).map(|(_, value)| value).collect();
    format!("{}.{to}.{thread}", about.join("."))
}

/// The text without control characters, so that it stays the one header that it is.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// One bare `local@domain`: no name, no list, no comment, no blank, and nothing that a reader does not see.
fn is_one_address(text: &str) -> bool {
    let is_plain = |c: char| !ioc::is_hidden(c) && !c.is_whitespace() && !"<>,;:()[]\"\\".contains(c);
    text.len() <= 254
        && text.chars().all(is_plain)
        // Not the beginning of an encoded word (RFC 2047), which readers decode even here.
        && !text.contains("=?")
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(to: &str, subject: &str, thread: &str) -> Mail {
        let (text, html) = ("Please decide.\n".to_owned(), "<p>Please decide.</p>".to_owned());
        let about = About { incident_id: "inc-1".to_owned(), run: 1, round: 2, what: "question".to_owned() };
        let (to, subject, thread) = (to.to_owned(), subject.to_owned(), thread.to_owned());
        Mail { to, subject, text, html, thread, follows: None, about }
    }

    fn composed(to: &str, subject: &str, thread: &str) -> Result<String, Fault> {
        composed_of(&mail(to, subject, thread))
    }

    fn composed_of(mail: &Mail) -> Result<String, Fault> {
        compose("playbook@soc.example", &id_domain("eu-west-1"), mail).map(|m| String::from_utf8(m).unwrap())
    }

    fn header_names(message: &str) -> Vec<&str> {
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        head.split("\r\n").filter(|l| !l.starts_with([' ', '\t'])).map(|l| l.split_once(':').unwrap().0).collect()
    }

    #[test]
    fn a_mail_has_both_bodies_and_says_that_a_machine_wrote_it() {
        let message = composed("ana@soc.example", "Décision: inc-1", "inc-1@soc.example").unwrap();
        let expected = [
            "From",
            "To",
            "Subject",
            "Auto-Submitted",
            "X-Auto-Response-Suppress",
            "Message-ID",
            "In-Reply-To",
            "References",
            "Date",
            "MIME-Version",
            "Content-Type",
        ];
        assert_eq!(header_names(&message), expected);
        for part in ["multipart/alternative", "text/plain", "text/html", "References: <inc-1@soc.example>\r\n"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn hostile_text_stays_inside_its_header() {
        let plain = composed("ana@soc.example", "x", "t@soc.example").unwrap();
        let subject = "x\r\nBcc: eve@evil.example\r\n\r\n<script>\u{0}\u{85}";
        let message = composed("ana@soc.example", subject, "t@soc.example\r\nBcc: eve@evil.example").unwrap();
        assert_eq!(header_names(&message), header_names(&plain));
    }

    #[test]
    fn a_mail_refers_to_its_incident_and_to_the_mail_that_it_follows() {
        let check = |region: &str, follows: Option<&str>, references: &str, answers: &str| {
            let follows = follows.map(str::to_owned);
            let mail = Mail { follows, ..mail("ana@soc.example", "x", "<inc-1@soc.invalid>") };
            let message = compose("playbook@soc.example", &id_domain(region), &mail).unwrap();
            // Long headers are folded.
            let message = String::from_utf8(message).unwrap().replace("\r\n\t", " ").replace("\r\n ", " ");
            let header = |name: &str| {
                let line = message.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            assert_eq!((header("References:").as_str(), header("In-Reply-To:").as_str()), (references, answers));
        };
        let (thread, id) = ("<inc-1@soc.invalid>", "0100018f-4bd6-000000");
        check("us-east-1", None, thread, thread);
        let first = format!("<{id}@email.amazonses.com>");
        check("us-east-1", Some(id), &format!("{thread} {first}"), &first);
        let other = format!("<{id}@eu-west-1.amazonses.com>");
        check("eu-west-1", Some(id), &format!("{thread} {other}"), &other);
        check("eu-west-1", Some("0100>\r\nBcc: eve@evil.example"), thread, thread);
    }

    #[test]
    fn a_mail_that_is_sent_twice_has_one_id_and_two_mails_have_two() {
        let id = |mail: &Mail| {
            let message = composed_of(mail).unwrap();
            let (_, rest) = message.split_once("Message-ID: ").unwrap();
            rest.split("\r\n").next().unwrap().to_owned()
        };
        let question = mail("ana@soc.example", "x", "inc-1@soc.invalid");
        assert_eq!(id(&question), id(&Mail { subject: "again".to_owned(), ..question.clone() }));
        let to_ben = Mail { to: "ben@soc.example".to_owned(), ..question.clone() };
        let about = About { what: "reminder".to_owned(), ..question.about.clone() };
        for other in [to_ben, Mail { about, ..question.clone() }] {
            assert_ne!(id(&question), id(&other));
        }
    }

    #[test]
    fn tags_hold_only_what_the_mail_service_takes() {
        let about = About { incident_id: "inc-1".to_owned(), run: 1, round: 2, what: "a b@c\r\né".to_owned() };
        let expected = [("incident_id", "inc-1"), ("run", "1"), ("round", "2"), ("what", "a-b-c---")];
        assert_eq!(tags(&about), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(tags(&About::default()), [("run", "0".to_owned()), ("round", "0".to_owned())]);
    }

    #[test]
    fn there_is_exactly_one_recipient() {
        for to in [
            "",
            "ana",
            "@soc.example",
            "ana@",
            "ana@soc.example, eve@evil.example",
            "ana@soc.example;eve@evil.example",
            "Ana <ana@soc.example>",
            "ana@soc.example\r\nBcc: eve@evil.example",
            "ana@eve@evil.example",
            "=?utf-8?Q?ana?=@soc.example",
            "\u{202e}ana@soc.example",
            "a\u{200b}na@soc.example",
        ] {
            assert_eq!(composed(to, "x", "t").unwrap_err().name(), "Rejected", "{to:?}");
        }
    }
}
