//! Mails made to hurt: each is read in linear time, without a panic, and says what was left out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "a test need not be fast")]

mod common;

use std::time::{Duration, Instant};

use common::extraction;
use playbook::incident::Extraction;

/// Far above what a slow machine needs for linear work without optimisation, far below anything quadratic.
const LIMIT: Duration = Duration::from_secs(30);

fn check(name: &str, raw: &[u8], omitted: &[&str]) -> Extraction {
    let start = Instant::now();
    let found = extraction(raw);
    let took = start.elapsed();
    println!("{name}: {} bytes, {} ms, {} observables", raw.len(), took.as_millis(), found.observables.len());
    assert!(took < LIMIT, "{name} took {took:?}");
    for expected in omitted {
        let is_told = found
            .omissions
            .iter()
            .any(|omission| format!("{}: {}", omission.place, omission.reason).contains(expected));
        assert!(is_told, "{name}: {expected:?} is not among {:?}", found.omissions);
    }
    found
}

fn values(found: &Extraction) -> Vec<&str> {
    found.observables.iter().map(|sighted| sighted.observable.value()).collect()
}

#[test]
fn large_mails_are_read_up_to_the_limit() {
    let mut mail = b"Subject: large\n\nhttp://first.example/a\n".to_vec();
    mail.resize(11 * 1024 * 1024, b'x');
    mail.extend(b" http://last.example/z");
    let found = check("one long word", &mail, &["mail: read the first 10485760 of"]);
    assert_eq!(values(&found), ["first.example", "http://first.example/a"]);

    let mut mail = b"Subject: links\n\n".to_vec();
    for number in 0..200_000 {
        mail.extend(format!("http://host{number}.example/path/{number}\n").bytes());
    }
    let found = check("200,000 links", &mail, &["observables: ", "the limit is 500"]);
    assert_eq!(found.observables.len(), 500);

    let mut mail = b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n".to_vec();
    mail.resize(10 * 1024 * 1024, b'A');
    check("base64", &mail, &[]);
}

#[test]
fn the_last_of_many_places_is_not_crowded_out() {
    let mut mail = "From: a@sender.example\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\n".to_owned();
    for number in 0..5_000 {
        mail += &format!("http://decoy{number}.example/\n");
    }
    mail += "--B\nContent-Type: application/zip; name=a.zip\n\nPK\n--B--\n";
    let found = check("decoys", mail.as_bytes(), &["observables: "]);
    assert!(found.observables.iter().any(|sighted| sighted.places == ["attachment:a.zip"]));
    assert!(values(&found).contains(&"a@sender.example"));
}

#[test]
fn many_parts_are_counted_and_left_out() {
    let mut mail = b"Content-Type: multipart/mixed; boundary=B\n\n".to_vec();
    for number in 0..10_000 {
        mail.extend(format!("--B\n\nhttp://part{number}.example/\n").bytes());
    }
    check("10,000 parts", &mail, &["parts were not read, the limit is 1000", "observables: "]);

    // Each part promises a boundary that never comes: a scan of the rest per part would be quadratic.
    let mut mail = b"Content-Type: multipart/mixed; boundary=B\n\n".to_vec();
    for number in 0..100_000 {
        mail.extend(format!("--B\nContent-Type: multipart/mixed; boundary=never{number}\n\nx\n").bytes());
    }
    check("boundaries that never come", &mail, &["the limit is 1000"]);

    let mail = [b"Content-Type: multipart/mixed; boundary=B\n\n".to_vec(), b"--B\n".repeat(2_000_000)].concat();
    check("nothing but boundaries", &mail, &["the limit is 1000"]);
}

#[test]
fn deep_nesting_ends_at_the_limit() {
    let mut mail = String::new();
    for level in 0..10_000 {
        mail += &format!("Content-Type: multipart/mixed; boundary=B{level}\n\n--B{level}\n");
    }
    check("10,000 multiparts", mail.as_bytes(), &["beyond the limit of 20"]);

    let mail = "Subject: in a mail\nContent-Type: message/rfc822\n\n".repeat(200_000);
    check("200,000 mails", mail.as_bytes(), &["beyond the limit of 20"]);

    let mail = format!(
        "Content-Type: multipart/mixed; boundary=B\n\n{}",
        "--B\nContent-Type: multipart/mixed; boundary=B\n\n".repeat(100_000)
    );
    check("the same boundary again and again", mail.as_bytes(), &[]);
}

#[test]
fn hostile_headers_are_cut() {
    let parentheses = "(".repeat(1024 * 1024);
    for name in ["From", "To", "Subject", "Content-Type", "Content-Disposition", "Content-ID", "Return-Path"] {
        let mail = format!("{name}: {parentheses}\n\nhttp://body.example/\n");
        let found = check(name, mail.as_bytes(), &["header: read the first 65536 of"]);
        assert!(values(&found).contains(&"http://body.example/"), "{name}");
    }
    for (name, piece) in [
        ("encoded words", "=?utf-8?q?"),
        ("charsets", "=?"),
        ("quotes", "\""),
        ("escapes", "\\"),
        ("groups", "a:b;"),
        ("addresses", "a@b.example,"),
        ("brackets", "<"),
        ("parameters", ";a*1=x"),
        ("folding", "\n x"),
        ("stars", "a*0*=%41;"),
    ] {
        for header in ["From", "Subject", "Content-Type: text/plain; x"] {
            let mail = format!("{header}: {}\n\nend", piece.repeat(64 * 1024 / piece.len()));
            check(name, mail.as_bytes(), &[]);
        }
    }
    let mut mail = "Content-Type: multipart/mixed; boundary=B\n\n".to_owned();
    for _ in 0..150 {
        mail += &format!("--B\nFrom: {}\n\n", "((\"=?".repeat(13_000));
    }
    check("headers in every part", mail.as_bytes(), &["header: read the first"]);
    let heap = "X: y\n".repeat(2_000_000);
    let mail = format!(
        "Subject: many\n{heap}Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naHR0cDovL2hpZGRlbi5leGFtcGxlLw=="
    );
    let found = check("two million headers", mail.as_bytes(), &[]);
    assert!(values(&found).contains(&"http://hidden.example/"));
    check(
        "a million lines that are no headers",
        format!("Subject: x\n{}\nend", "no header\n".repeat(1_000_000)).as_bytes(),
        &[],
    );
}

#[test]
fn a_flood_of_recipients_does_not_hide_our_own() {
    let decoys: String = (0..3_000).map(|number| format!("x{number}@d.example,")).collect();
    let mail = format!("From: a@evil.example\nTo: {decoys} anna.weber@corp.example\nSubject: x\n\n");
    let found = check("recipients", mail.as_bytes(), &["participants: ", "the limit is 200"]);
    assert_eq!(found.participants.len(), 200);
    assert!(found.participants.contains(&"anna.weber@corp.example".to_owned()));
}

#[test]
fn hostile_html_is_read_once() {
    let html = |body: &str, name: &str, omitted: &[&str]| {
        check(name, format!("Content-Type: text/html\n\n{body}").as_bytes(), omitted)
    };
    html(&"<div>".repeat(300_000), "deep tags", &["html: read the first 1048576 of"]);
    html(&"<a href='".repeat(100_000), "quotes", &[]);
    html(&"<!--".repeat(200_000), "comments", &[]);
    html(&"<!--[if mso]>".repeat(80_000), "conditional comments", &[]);
    html(&"<script>".repeat(100_000), "scripts", &[]);
    html(&"</".repeat(400_000), "half tags", &[]);
    html(&"&".repeat(1_000_000), "ampersands", &[]);
    let attributes: String = (0..150_000).map(|number| format!(" a{number}")).collect();
    html(&format!("<p{attributes}>"), "attributes", &["html: 1 tags have more attributes"]);
    let links: String = (0..20_000).map(|number| format!("<a href=http://l{number}.example/>")).collect();
    let found = html(&links, "links", &["html: 19500 more links, the limit is 500"]);
    assert_eq!(found.observables.len(), 500);
    let long = format!("<a href='http://long.example/{}'>", "a".repeat(100_000));
    let found = html(&long, "a long link", &["html:href: a url of 100020 bytes"]);
    assert_eq!(values(&found), ["long.example"]);
}

#[test]
fn noise_is_never_a_panic() {
    // Pieces of mails in every order: a small generator with a fixed seed stands in for a fuzzer.
    let pieces: [&[u8]; 32] = [
        b"\n",
        b"\r\n",
        b"\n\n",
        b"--B",
        b"--B--",
        b"--",
        b"Content-Type: ",
        b"multipart/mixed; boundary=B",
        b"message/rfc822",
        b"text/html",
        b"; charset=utf-16",
        b"; name*0*=utf-8''%ff%",
        b"Content-Transfer-Encoding: base64",
        b"quoted-printable",
        b"From: ",
        b"<a@b.example>",
        b"=?utf-8?b?",
        b"?=",
        b"<a href=",
        b"\"",
        b"'",
        b"&#x",
        b"<!--",
        b"\xff\xfe",
        b"\xe9",
        b"(",
        b"http://x.example/",
        b"\0",
        b"; charset=utf-7",
        b"; charset=iso-2022-jp",
        b"; charset=hz-gb-2312",
        b"+AG",
    ];
    let mut state = 0x2026_1124_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..4_000 {
        let mut mail = b"Subject: noise\n".to_vec();
        for _ in 0..next() % 60 {
            mail.extend(pieces[next() % pieces.len()]);
        }
        let _ = extraction(&mail);
    }
}
