//! A mail, part by part: which parts are read, which are only hashed, and under which place each is noted.

use std::{borrow::Cow, collections::HashSet};

use ioc::{Observable, ObservableType};
use mail_parser::HeaderName;

use crate::{
    attachment::{self, Form},
    collect::Collector,
    decode,
    headers::{Headers, Reader},
    html, limits,
    mime::{Entity, Piece, Pieces},
    text, uuencode,
};

/// Reads a raw mail.
pub fn read(raw: &[u8], collector: &mut Collector<'_>) {
    let raw = crate::first(raw, limits::READ_BYTES, "mail", collector);
    if raw.trim_ascii().is_empty() {
        collector.omit("mail", "empty");
        return;
    }
    let mut walk = Walk { collector, reader: Reader::new(), parts: 0, parts_left_out: 0, header_bytes: 0 };
    walk.mail(raw, 0, "");
    if walk.parts_left_out > 0 {
        let reason = format!("at least {} parts were not read, the limit is {}", walk.parts_left_out, limits::PARTS);
        walk.collector.lose("mail", reason);
    }
}

struct Walk<'c, 'g> {
    collector: &'c mut Collector<'g>,
    reader: Reader,
    parts: usize,
    parts_left_out: usize,
    header_bytes: usize,
}

/// The mail that a part belongs to.
struct Level {
    /// Before every place: empty, or `message/1/`.
    prefix: String,
    /// Mails directly inside this one.
    mails: usize,
    /// Content-IDs that its HTML shows.
    shown: HashSet<String>,
    /// Images that its HTML shows.
    images: usize,
}

impl Level {
    fn place(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Walk<'_, '_> {
    fn mail(&mut self, raw: &[u8], depth: usize, prefix: &str) {
        let entity = Entity::of_mail(raw);
        let mut level = Level { prefix: prefix.to_owned(), mails: 0, shown: HashSet::new(), images: 0 };
        let Some(headers) = self.headers(&entity, &level) else { return };
        self.sender_and_subject(&headers, &level);
        for line in entity.stray_lines() {
            self.collector.add_text(&decode::text(line, None), &level.place("header"));
        }
        self.part(&entity, &headers, &mut level, depth, "text/plain");
        if level.images > 0 {
            let reason = format!("images that the HTML shows are not hashed: {}", level.images);
            self.collector.omit(&level.place("html"), reason);
        }
    }

    /// Reads the headers of a part; `None` when there have been too many parts.
    fn headers<'a>(&mut self, entity: &Entity<'a>, level: &Level) -> Option<Headers<'a>> {
        self.parts += 1;
        if self.parts > limits::PARTS {
            self.parts_left_out += 1;
            return None;
        }
        let limit = limits::HEADER_BYTES.min(limits::ALL_HEADER_BYTES.saturating_sub(self.header_bytes));
        if entity.headers.len() <= limit {
            self.header_bytes += entity.headers.len();
            return Some(self.reader.read(entity.headers));
        }
        let relevant = entity.relevant_headers();
        let lines = crate::first(&relevant, limit, &level.place("header"), self.collector);
        self.header_bytes += lines.len();
        Some(self.reader.read_owned(lines))
    }

    /// Relays (`Received`) are no indicators: they are the recipient's own or a mail service's, and the sender can invent
    /// the rest. Neither is `List-Unsubscribe`: one-click links name the recipient.
    fn sender_and_subject(&mut self, headers: &Headers<'_>, level: &Level) {
        let senders = [
            (HeaderName::From, "header:from"),
            (HeaderName::ReplyTo, "header:reply-to"),
            (HeaderName::Sender, "header:sender"),
            (HeaderName::ReturnPath, "header:return-path"),
        ];
        for (name, place) in senders {
            for address in headers.addresses(&name) {
                if let Ok(address) = Observable::parse(ObservableType::EmailAddr, address.trim()) {
                    self.collector.add_with_host(address, &level.place(place));
                } else {
                    self.collector.add_text(&address, &level.place(place));
                }
            }
        }
        for name in headers.names(&HeaderName::From) {
            text::add(&name, &level.place("header:from-name"), self.collector);
        }
        let involved = [
            HeaderName::DeliveredTo,
            HeaderName::Other(Cow::Borrowed("X-Original-To")),
            HeaderName::From,
            HeaderName::ReplyTo,
            HeaderName::Sender,
            HeaderName::ReturnPath,
            HeaderName::To,
            HeaderName::Cc,
        ];
        for name in involved {
            for address in headers.addresses(&name) {
                self.collector.add_participant(&address);
            }
        }
        let subject = headers.subject().unwrap_or("");
        if level.prefix.is_empty() {
            self.collector.set_subject(subject);
        }
        self.collector.add_text(subject, &level.place("header:subject"));
    }

    fn part(&mut self, entity: &Entity<'_>, headers: &Headers<'_>, level: &mut Level, depth: usize, untyped: &str) {
        let media_type = headers.media_type().unwrap_or_else(|| untyped.to_owned());
        if media_type == "multipart/encrypted" {
            self.collector.lose(&level.place("part"), "encrypted, its content cannot be read");
        }
        if media_type.starts_with("multipart/") {
            let boundary = headers.parameter("boundary").unwrap_or("");
            if let Some(pieces) = Pieces::of(entity.body, boundary) {
                self.parts(pieces, &media_type, level, depth);
            } else {
                self.collector.omit(&level.place("text"), "a multipart without its boundary was read as text");
                let content =
                    decode::transfer(headers.transfer_encoding(), entity.body).unwrap_or(Cow::Borrowed(entity.body));
                text::add(&decode::text(&content, None), &level.place("text"), self.collector);
            }
            return;
        }
        let content = decode::transfer(headers.transfer_encoding(), entity.body).unwrap_or_else(|| {
            self.collector.lose(&level.place("part"), "unknown transfer encoding, read as it stands");
            Cow::Borrowed(entity.body)
        });
        self.leaf(&content, &media_type, headers, level, depth);
    }

    fn parts(&mut self, pieces: Pieces<'_>, media_type: &str, level: &mut Level, depth: usize) {
        if depth >= limits::DEPTH {
            self.collector.lose(
                &level.place("part"),
                format!("parts in parts beyond the limit of {} were not read", limits::DEPTH),
            );
            return;
        }
        let untyped = if media_type == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        for piece in pieces {
            match piece {
                // No mail program shows this, but a broken boundary puts a whole part here.
                Piece::Outside(outside) => {
                    text::add(&decode::text(outside, None), &level.place("outside-parts"), self.collector);
                }
                Piece::Part(raw) => {
                    let entity = Entity::of(raw);
                    let Some(headers) = self.headers(&entity, level) else { return };
                    self.part(&entity, &headers, level, depth + 1, untyped);
                }
            }
        }
    }

    fn leaf(&mut self, content: &[u8], media_type: &str, headers: &Headers<'_>, level: &mut Level, depth: usize) {
        let file_name = headers.file_name();
        let form = attachment::form(media_type, file_name.unwrap_or(""), content);
        let smime_type = headers.parameter("smime-type").unwrap_or("");
        if attachment::is_sealed(media_type, file_name.unwrap_or(""), smime_type, content) {
            self.collector.lose(&level.place(&attachment_place(file_name)), "holds a mail in a form that is not read");
        }
        if form == Form::Mail {
            // The digest of a forwarded mail is nobody's indicator; that of a saved page, which a browser opens, may be.
            if let Some(name) = file_name
                .filter(|name| !media_type.starts_with("message/") && !name.to_ascii_lowercase().ends_with(".eml"))
            {
                self.file(content, media_type, form, &level.place(&attachment_place(Some(name))));
            }
            level.mails += 1;
            let prefix = level.place(&format!("message/{}/", level.mails));
            if depth >= limits::DEPTH {
                let reason = format!("a mail in parts beyond the limit of {} was not read", limits::DEPTH);
                self.collector.lose(&prefix, reason);
            } else {
                self.mail(content, depth + 1, &prefix);
            }
            return;
        }
        let is_shown = media_type.starts_with("text/") || media_type.starts_with("message/");
        let is_body = form != Form::Opaque && is_shown && !headers.is_attachment() && file_name.is_none();
        let place = level.place(&match form {
            Form::Html if is_body => "html".to_owned(),
            _ if is_body => "text".to_owned(),
            _ => attachment_place(file_name),
        });
        if !is_body {
            if is_shown_image(content, media_type, headers, level) {
                level.images += 1;
                return;
            }
            if attachment::is_signature(media_type, file_name.unwrap_or("")) {
                self.collector.omit(&place, "a signature is not hashed");
            } else {
                self.file(content, media_type, form, &place);
            }
        }
        let text = match form {
            Form::Mail | Form::Opaque => return,
            Form::Html | Form::Text | Form::Code => decode::text(content, headers.parameter("charset")),
        };
        match form {
            Form::Html => level.shown.extend(html::read(&text, &place, self.collector)),
            Form::Code => text::add_code(&text, &place, self.collector),
            _ if attachment::is_folded(media_type, file_name.unwrap_or("")) => {
                text::add(&decode::unfolded(&text), &place, self.collector);
            }
            _ => self.text(&unflowed(&text, headers), &place, level),
        }
    }

    /// Text, and the files that stand in it.
    fn text(&mut self, text: &str, place: &str, level: &Level) {
        if !text.contains("begin ") {
            text::add(text, place, self.collector);
            return;
        }
        let (text, files) = uuencode::split(text);
        text::add(&text, place, self.collector);
        for file in files {
            self.parts += 1;
            if self.parts > limits::PARTS {
                self.parts_left_out += 1;
                continue;
            }
            let place = level.place(&attachment_place(Some(file.name)));
            let form = attachment::form("application/octet-stream", file.name, &file.content);
            self.file(&file.content, "application/octet-stream", form, &place);
            let text = decode::text(&file.content, None);
            match form {
                Form::Html => drop(html::read(&text, &place, self.collector)),
                Form::Text => text::add(&text, &place, self.collector),
                Form::Code => text::add_code(&text, &place, self.collector),
                Form::Mail => self.collector.lose(&place, "a mail that stands in a text was not read"),
                Form::Opaque if attachment::is_sealed("", file.name, "", &file.content) => {
                    self.collector.lose(&place, "holds a mail in a form that is not read");
                }
                Form::Opaque => {}
            }
        }
    }

    fn file(&mut self, content: &[u8], media_type: &str, form: Form, place: &str) {
        if content.is_empty() {
            self.collector.omit(place, "an empty file");
            return;
        }
        self.collector.add_attachment(&attachment::hashes(content), place);
        if form == Form::Opaque {
            let reason = format!("{} bytes of {}, hashed and not opened", content.len(), ioc::visible(media_type));
            self.collector.omit(place, reason);
        }
    }
}

/// Images that the HTML shows by their Content-ID are logos and separators, the same in a thousand mails.
fn is_shown_image(content: &[u8], media_type: &str, headers: &Headers<'_>, level: &Level) -> bool {
    media_type.starts_with("image/")
        && !headers.is_attachment()
        && headers.content_id().is_some_and(|id| level.shown.contains(id))
        && attachment::is_image(content)
}

fn attachment_place(name: Option<&str>) -> String {
    format!("attachment:{}", shown_name(name))
}

fn shown_name(name: Option<&str>) -> String {
    let name: String = name.unwrap_or("unnamed").chars().take(limits::NAME_CHARS).collect();
    ioc::visible(&name)
}

/// RFC 3676: with `delsp`, the space before a soft line break is no part of the text.
fn unflowed<'a>(text: &'a str, headers: &Headers<'_>) -> Cow<'a, str> {
    let is = |name: &str, value: &str| headers.parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    if is("format", "flowed") && is("delsp", "yes") {
        Cow::Owned(text.replace(" \r\n", "").replace(" \n", ""))
    } else {
        Cow::Borrowed(text)
    }
}
