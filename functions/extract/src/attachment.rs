//! Attached files: their digests, and which of them can be read as text.

use data_encoding::HEXLOWER;
use ioc::Hashes;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

/// All digests of a file.
pub fn hashes(content: &[u8]) -> Hashes {
    Hashes {
        md5: Some(HEXLOWER.encode(&Md5::digest(content))),
        sha1: Some(HEXLOWER.encode(&Sha1::digest(content))),
        sha256: Some(HEXLOWER.encode(&Sha256::digest(content))),
    }
}

/// How a part can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A mail inside the mail, or a web page saved as one.
    Mail,
    /// HTML, or SVG, whose links work alike.
    Html,
    /// Plain text of any sort.
    Text,
    /// Scripts and style sheets, in which only URLs are what they seem.
    Code,
    /// Not at all: only its digests are known.
    Opaque,
}

/// How a part can be read, by its media type, else by the ending of its name, else by how it begins:
/// `application/octet-stream` says nothing.
pub fn form(media_type: &str, name: &str, content: &[u8]) -> Form {
    match media_type {
        "message/rfc822" | "message/global" | "message/news" | "text/rfc822-headers" => return Form::Mail,
        "text/html" | "application/xhtml+xml" | "image/svg+xml" | "application/hta" => return Form::Html,
        _ => {}
    }
    match ending(name).as_str() {
        "eml" | "mht" | "mhtml" => Form::Mail,
        "html" | "htm" | "shtml" | "xhtml" | "xht" | "svg" | "hta" | "wsf" | "sct" => Form::Html,
        "js" | "jse" | "css" => Form::Code,
        "txt" | "csv" | "tsv" | "ics" | "vcf" | "log" | "json" | "xml" | "md" | "vbs" | "ps1" | "bat" | "cmd"
        | "url" | "ini" | "rdp" | "iqy" | "slk" | "reg" | "library-ms" | "searchconnector-ms" | "website" | "jnlp"
        | "application" | "desktop" | "sh" | "py" | "rtf" => Form::Text,
        _ if matches!(
            media_type,
            "application/javascript"
                | "application/x-javascript"
                | "application/ecmascript"
                | "text/javascript"
                | "text/ecmascript"
                | "text/css"
        ) =>
        {
            Form::Code
        }
        _ if media_type.starts_with("text/") || media_type.starts_with("message/") => Form::Text,
        _ if matches!(media_type, "application/json" | "application/xml" | "application/ics" | "application/rtf") => {
            Form::Text
        }
        _ if begins_as_html(content) => Form::Html,
        _ => Form::Opaque,
    }
}

/// What stands behind the last dot, in lower case. Windows drops dots and spaces at the end of a name.
fn ending(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace() || c.is_control());
    name.rsplit_once('.').map(|(_, ending)| ending.trim().to_ascii_lowercase()).unwrap_or_default()
}

/// In any case and any Unicode encoding, after byte order marks and white space.
fn begins_as_html(content: &[u8]) -> bool {
    let is_skipped = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0xef | 0xbb | 0xbf | 0xff | 0xfe);
    let start: Vec<u8> = content
        .iter()
        .skip_while(|byte| is_skipped(byte))
        .filter(|byte| **byte != 0)
        .take(16)
        .map(u8::to_ascii_lowercase)
        .collect();
    ["<!doctype html", "<html", "<script", "<svg"].iter().any(|tag| start.starts_with(tag.as_bytes()))
}

/// Folded lines and escapes of their own: calendars and contacts.
pub fn is_folded(media_type: &str, name: &str) -> bool {
    media_type == "text/calendar"
        || media_type == "application/ics"
        || media_type == "text/directory"
        || (media_type.starts_with("text/") && media_type.ends_with("vcard"))
        || matches!(ending(name).as_str(), "ics" | "vcf")
}

/// Holds the mail itself, or a mail of its own, in a form that is not read here.
pub fn is_sealed(media_type: &str, name: &str, smime_type: &str, content: &[u8]) -> bool {
    let ending = ending(name);
    match media_type {
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => !smime_type.eq_ignore_ascii_case("certs-only"),
        "application/ms-tnef" | "application/vnd.ms-tnef" | "application/vnd.ms-outlook" => true,
        _ => {
            matches!(ending.as_str(), "p7m" | "msg")
                || name.trim().eq_ignore_ascii_case("winmail.dat")
                || content.trim_ascii_start().starts_with(b"-----BEGIN PGP MESSAGE-----")
        }
    }
}

/// A signature of the mail: another one in every mail. One that is named as something else is a file.
pub fn is_signature(media_type: &str, name: &str) -> bool {
    let is_declared = matches!(
        media_type,
        "application/pgp-signature" | "application/pkcs7-signature" | "application/x-pkcs7-signature"
    );
    match ending(name).as_str() {
        "asc" | "p7s" => true,
        "" | "sig" => is_declared,
        _ => false,
    }
}

/// True when the content begins as an image does: the declared type is only the sender's word.
pub fn is_image(content: &[u8]) -> bool {
    let starts: [&[u8]; 6] = [b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff", b"BM", b"\0\0\x01\0"];
    starts.iter().any(|start| content.starts_with(start))
        || (content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_by_its_type_or_its_name() {
        let check = |media_type: &str, name: &str, expected: Form| {
            assert_eq!(form(media_type, name, b""), expected, "{media_type} {name}");
        };
        check("message/rfc822", "", Form::Mail);
        check("application/octet-stream", "Fwd.EML", Form::Mail);
        check("application/octet-stream", "invoice.html", Form::Html);
        check("application/octet-stream", "invoice.html. .", Form::Html);
        check("application/octet-stream", "invoice.hta", Form::Html);
        check("application/octet-stream", "invoice.rdp", Form::Text);
        check("application/octet-stream", "invoice.library-ms", Form::Text);
        check("application/octet-stream", "invoice.JS", Form::Code);
        check("text/javascript", "", Form::Code);
        check("text/plain", "run.ps1", Form::Text);
        check("image/svg+xml", "logo.svg", Form::Html);
        check("text/calendar", "", Form::Text);
        check("application/pdf", "invoice.pdf", Form::Opaque);
        check("message/delivery-status", "", Form::Text);
        check("application/zip", "a.txt.zip", Form::Opaque);
    }

    #[test]
    fn html_is_known_by_how_it_begins() {
        let check = |content: &[u8], expected: Form| {
            assert_eq!(form("application/octet-stream", "invoice.dat", content), expected, "{content:?}");
        };
        check(b"\xef\xbb\xbf \r\n<!DOCTYPE HTML>", Form::Html);
        check(b"<Html lang=de>", Form::Html);
        check(b"<script>", Form::Html);
        check(b"\xff\xfe\n\0<\0s\0v\0g\0", Form::Html);
        check(b"a <html>", Form::Opaque);
        check(b"PK\x03\x04", Form::Opaque);
        check(b"", Form::Opaque);
    }

    #[test]
    fn some_files_hold_mails_and_some_sign_them() {
        let check = |media_type: &str, name: &str, smime_type: &str, expected: (bool, bool)| {
            let found = (is_sealed(media_type, name, smime_type, b""), is_signature(media_type, name));
            assert_eq!(found, expected, "{media_type} {name} {smime_type}");
        };
        check("application/pkcs7-mime", "smime.p7m", "enveloped-data", (true, false));
        check("application/x-pkcs7-mime", "", "", (true, false));
        check("application/pkcs7-mime", "smime.p7c", "certs-only", (false, false));
        check("application/ms-tnef", "a", "", (true, false));
        check("application/octet-stream", "WinMail.dat", "", (true, false));
        check("application/octet-stream", "Fwd.MSG ", "", (true, false));
        check("application/pgp-signature", "", "", (false, true));
        check("application/pkcs7-signature", "smime.p7s", "", (false, true));
        check("application/pgp-signature", "invoice.exe", "", (false, false));
        check("application/zip", "a.zip", "", (false, false));
        assert!(is_sealed("application/octet-stream", "encrypted.asc", "", b"-----BEGIN PGP MESSAGE-----\n"));
    }

    #[test]
    fn digests_are_those_of_the_content() {
        let hashes = hashes(b"abc");
        assert_eq!(hashes.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(hashes.sha1.as_deref(), Some("a9993e364706816aba3e25717850c26c9cd0d89d"));
        assert_eq!(hashes.sha256.as_deref(), Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }
}
