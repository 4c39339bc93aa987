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
    /// Not at all: only its digests are known.
    Opaque,
}

/// How a part can be read, by its media type, else by the ending of its name: `application/octet-stream` says nothing.
pub fn form(media_type: &str, name: &str) -> Form {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.trim().to_ascii_lowercase()).unwrap_or_default();
    match media_type {
        "message/rfc822" | "message/global" | "message/news" | "text/rfc822-headers" => return Form::Mail,
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => return Form::Html,
        _ => {}
    }
    match ending.as_str() {
        "eml" | "mht" | "mhtml" => Form::Mail,
        "html" | "htm" | "shtml" | "xhtml" | "svg" => Form::Html,
        "txt" | "csv" | "tsv" | "ics" | "vcf" | "log" | "json" | "xml" | "md" | "js" | "vbs" | "ps1" | "bat"
        | "cmd" | "url" | "ini" => Form::Text,
        _ if media_type.starts_with("text/") || media_type.starts_with("message/") => Form::Text,
        _ if matches!(
            media_type,
            "application/json" | "application/xml" | "application/javascript" | "application/ics"
        ) =>
        {
            Form::Text
        }
        _ => Form::Opaque,
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
            assert_eq!(form(media_type, name), expected, "{media_type} {name}");
        };
        check("message/rfc822", "", Form::Mail);
        check("application/octet-stream", "Fwd.EML", Form::Mail);
        check("application/octet-stream", "invoice.html", Form::Html);
        check("image/svg+xml", "logo.svg", Form::Html);
        check("text/calendar", "", Form::Text);
        check("application/pdf", "invoice.pdf", Form::Opaque);
        check("message/delivery-status", "", Form::Text);
        check("application/zip", "a.txt.zip", Form::Opaque);
    }

    #[test]
    fn digests_are_those_of_the_content() {
        let hashes = hashes(b"abc");
        assert_eq!(hashes.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(hashes.sha1.as_deref(), Some("a9993e364706816aba3e25717850c26c9cd0d89d"));
        assert_eq!(hashes.sha256.as_deref(), Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }
}
