//! The headers of a mail or a part, as far as they matter.

use std::borrow::Cow;

use mail_parser::{ContentType, GetHeader, HeaderName, HeaderValue, Message, MessageParser};

/// Reads headers; made once per mail.
#[derive(Debug)]
pub struct Reader(MessageParser);

impl Reader {
    /// Reads the headers that matter and skips all others.
    pub fn new() -> Self {
        Self(
            MessageParser::new()
                .with_mime_headers()
                .with_address_headers()
                .header_text(HeaderName::Subject)
                .header_address(HeaderName::ReturnPath)
                .header_address(HeaderName::DeliveredTo)
                .header_address("X-Original-To")
                .default_header_ignore(),
        )
    }

    /// Reads header lines, with or without the blank line at their end.
    pub fn read<'a>(&self, lines: &'a [u8]) -> Headers<'a> {
        if lines.ends_with(b"\n\n") || lines.ends_with(b"\n\r\n") {
            return Headers(self.0.parse_headers(lines));
        }
        self.read_owned(lines)
    }

    /// Reads header lines that need not end, and keeps no hold of them.
    pub fn read_owned(&self, lines: &[u8]) -> Headers<'static> {
        // The reader takes no header that does not end.
        let ended = [lines, b"\r\n\r\n"].concat();
        Headers(self.0.parse_headers(&ended).map(Message::into_owned))
    }
}

/// The headers of a mail or a part.
#[derive(Debug)]
pub struct Headers<'a>(Option<Message<'a>>);

impl Headers<'_> {
    /// The media type in lower case, `text/html`; `None` where there is none.
    pub fn media_type(&self) -> Option<String> {
        let content_type = self.content_type()?;
        Some(format!("{}/{}", content_type.ctype(), content_type.subtype().unwrap_or("")).to_ascii_lowercase())
    }

    /// A parameter of the media type: `boundary`, `charset`, `format`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.content_type()?.attribute(name)
    }

    /// The name under which a person would save the part.
    pub fn file_name(&self) -> Option<&str> {
        let disposition = self.value(&HeaderName::ContentDisposition).and_then(HeaderValue::as_content_type);
        let name = disposition.and_then(|value| value.attribute("filename")).or_else(|| self.parameter("name"));
        name.map(str::trim).filter(|name| !name.is_empty())
    }

    /// True when the sender wants it shown as an attachment.
    pub fn is_attachment(&self) -> bool {
        let disposition = self.value(&HeaderName::ContentDisposition).and_then(HeaderValue::as_content_type);
        disposition.is_some_and(ContentType::is_attachment)
    }

    /// Content-ID without its brackets.
    pub fn content_id(&self) -> Option<&str> {
        self.value(&HeaderName::ContentId)?.as_text().map(|id| id.trim().trim_matches(['<', '>']))
    }

    /// Content-Transfer-Encoding.
    pub fn transfer_encoding(&self) -> Option<&str> {
        self.value(&HeaderName::ContentTransferEncoding)?.as_text()
    }

    /// The decoded subject.
    pub fn subject(&self) -> Option<&str> {
        self.value(&HeaderName::Subject)?.as_text()
    }

    /// Every address of every header of this name.
    pub fn addresses(&self, name: &HeaderName<'static>) -> Vec<String> {
        let Some(part) = self.0.as_ref().and_then(|message| message.parts.first()) else { return vec![] };
        let mut addresses = vec![];
        for header in part.headers.iter().filter(|header| header.name == *name) {
            let Some(found) = header.value.as_address() else { continue };
            for one in found.iter() {
                // A lone word is taken for a name; it may be an address all the same.
                let text = one.address.as_ref().or(one.name.as_ref()).map(Cow::as_ref);
                addresses.extend(text.filter(|text| text.contains('@')).map(str::to_owned));
            }
        }
        addresses
    }

    /// The names that people give themselves beside their address.
    pub fn names(&self, name: &HeaderName<'static>) -> Vec<String> {
        let Some(part) = self.0.as_ref().and_then(|message| message.parts.first()) else { return vec![] };
        let found = part.headers.iter().filter(|header| header.name == *name).filter_map(|h| h.value.as_address());
        found
            .flat_map(|found| found.iter())
            .filter(|one| one.address.is_some())
            .filter_map(|one| one.name.as_ref().map(|name| name.clone().into_owned()))
            .collect()
    }

    fn content_type(&self) -> Option<&ContentType<'_>> {
        self.value(&HeaderName::ContentType)?.as_content_type()
    }

    fn value(&self, name: &HeaderName<'static>) -> Option<&HeaderValue<'_>> {
        self.0.as_ref()?.parts.first()?.headers.header_value(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_every_spelling() {
        let check = |line: &str, expected: &[&str]| {
            let found = Reader::new().read(line.as_bytes()).addresses(&HeaderName::From);
            assert_eq!(found, expected, "{line}");
        };
        check("From: a@one.example", &["a@one.example"]);
        check(
            "From: \"Support <help@bank.example>\" <a@one.example>, b@two.example\r\n",
            &["a@one.example", "b@two.example"],
        );
        check("from : =?utf-8?q?J=C3=BCrgen?= <a@one.example>\n\n", &["a@one.example"]);
        check("From: group: a@one.example, b@two.example;", &["a@one.example", "b@two.example"]);
        check("From: nobody", &[]);
        check("From: ((((((", &[]);
        check("", &[]);
    }
}
