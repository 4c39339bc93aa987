//! Outgoing mail through SES.

use aws_config::SdkConfig;
use aws_sdk_sesv2::{
    Client,
    primitives::Blob,
    types::{Destination, EmailContent, RawMessage},
};
use mail_builder::{
    MessageBuilder,
    headers::{message_id::MessageId, text::Text},
};
use playbook::{
    Fault,
    ports::{Mail, Outbox},
};

use crate::{Error, faults::fault};

/// Mail from one sender.
#[derive(Clone, Debug)]
pub struct SesOutbox {
    client: Client,
    sender: String,
}

impl SesOutbox {
    /// Mail from this address, whose identity SES has verified.
    pub fn new(config: &SdkConfig, sender: String) -> Result<Self, Error> {
        if !is_one_address(&sender) {
            return Err(Error::Start("SENDER_ADDRESS is not a mail address".to_owned()));
        }
        Ok(Self { client: Client::new(config), sender })
    }
}

impl Outbox for SesOutbox {
    async fn send(&self, mail: &Mail) -> Result<String, Fault> {
        let message = compose(&self.sender, mail)?;
        let raw = RawMessage::builder().data(Blob::new(message)).build();
        let raw = raw.map_err(|error| Fault::Rejected(format!("mail cannot be built: {error}")))?;
        let call = self.client.send_email().from_email_address(&self.sender);
        // The envelope, so that no header decides who gets the mail.
        let call = call.destination(Destination::builder().to_addresses(&mail.to).build());
        let sent = call.content(EmailContent::builder().raw(raw).build()).send().await;
        let sent = sent.map_err(|error| fault("ses SendEmail", &error))?;
        Ok(sent.message_id.unwrap_or_default())
    }
}

/// The mail as it goes over the wire: text and HTML as alternatives, marked as written by a machine (RFC 3834).
pub fn compose(sender: &str, mail: &Mail) -> Result<Vec<u8>, Fault> {
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
        message =
            message.header("In-Reply-To", MessageId::new(thread.clone())).header("References", MessageId::new(thread));
    }
    message.write_to_vec().map_err(|error| Fault::Rejected(format!("mail cannot be built: {error}")))
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
        Mail { to: to.to_owned(), subject: subject.to_owned(), text, html, thread: thread.to_owned() }
    }

    fn composed(to: &str, subject: &str, thread: &str) -> Result<String, Fault> {
        compose("playbook@soc.example", &mail(to, subject, thread)).map(|m| String::from_utf8(m).unwrap())
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
            "In-Reply-To",
            "References",
            "Message-ID",
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
