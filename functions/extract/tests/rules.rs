//! How the parts of mails are read, rule by rule: what must be found, what must not, and whether it counts as complete.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::extraction;
use playbook::incident::Extraction;

/// Reads a mail; every value of `found` must be in it, no value that contains one of `not` may be.
fn check(name: &str, mail: &str, found: &[&str], not: &[&str]) -> Extraction {
    let extraction = extraction(mail.as_bytes());
    let values: Vec<&str> = extraction.observables.iter().map(|sighted| sighted.observable.value()).collect();
    for expected in found {
        assert!(values.contains(expected), "{name}: {expected} is not among {values:?}");
    }
    for unwanted in not {
        assert!(!values.iter().any(|value| value.contains(unwanted)), "{name}: {unwanted} is among {values:?}");
    }
    extraction
}

fn html(name: &str, html: &str, found: &[&str], not: &[&str]) -> Extraction {
    check(name, &format!("Subject: x\nContent-Type: text/html\n\n{html}"), found, not)
}

#[test]
fn calendars_and_contacts_are_unfolded() {
    for kind in
        ["text/calendar", "text/vcard", "text/x-vcard", "application/octet-stream; name=a.ics", "a/b; name=a.vcf"]
    {
        check(
            kind,
            &format!(
                "Subject: x\nContent-Type: {kind}\n\nDESCRIPTION:Go to https://long.exam\r\n ple/a/\r\n\tb\\n\\nhttps://second.example/c\\, now\r\n"
            ),
            &["https://long.example/a/b", "https://second.example/c"],
            &["long.exam/", "\\n"],
        );
    }
}

#[test]
fn a_mail_that_cannot_be_opened_is_incomplete() {
    let check = |kind: &str, body: &str, is_incomplete: bool| {
        let found = extraction(format!("Subject: x\nContent-Type: {kind}\n\n{body}\n").as_bytes());
        assert_eq!(found.incomplete, is_incomplete, "{kind}: {:?}", found.omissions);
    };
    check("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "MIAG", true);
    check("application/x-pkcs7-mime; smime-type=signed-data", "MIAG", true);
    check("application/pkcs7-mime; smime-type=certs-only", "MIAG", false);
    check("application/ms-tnef; name=winmail.dat", "x", true);
    check("application/octet-stream; name=WINMAIL.DAT", "x", true);
    check("application/octet-stream; name=\"offer.msg \"", "x", true);
    check("application/vnd.ms-outlook", "x", true);
    check("application/pkcs7-mime; name=a.eml", "MIAG", true);
    check("text/plain", "-----BEGIN PGP MESSAGE-----\n\nhQ", true);
    check("multipart/encrypted; boundary=B", "--B\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--B--", true);
    check("application/zip; name=a.zip", "PK", false);
    check("application/pdf; name=a.pdf", "%PDF", false);
    check("application/octet-stream; name=a.docx", "PK", false);
}

#[test]
fn attachments_are_read_by_what_they_are() {
    let attached = |name: &str, body: &str, found: &[&str], not: &[&str]| {
        let mail = format!("Subject: x\nContent-Type: application/octet-stream; name=\"{name}\"\n\n{body}");
        check(name, &mail, found, not)
    };
    let page = "<a href='&#104;ttps://link.example/a'>x</a>";
    for name in ["a.html. ", "a.hta", "a.xht", "a.wsf", "a.sct"] {
        attached(name, page, &["https://link.example/a"], &[]);
    }
    for name in ["a.rdp", "a.iqy", "a.library-ms", "a.website", "a.jnlp", "a.desktop", "a.sh", "a.rtf", "a.ps1"] {
        attached(name, "target=host.link.example", &["host.link.example"], &[]);
    }
    attached("a.dat", &format!("\u{feff}\n <!DocType html>{page}"), &["https://link.example/a"], &[]);
    attached("a.dat", page, &[], &["link.example"]);
    for name in ["a.js", "a.jse", "a.css"] {
        attached(
            name,
            "window.name = location.link; go('https:\\/\\/link.example\\/a')",
            &["https://link.example/a"],
            &["window.name", "location.link"],
        );
    }
}

#[test]
fn every_attribute_with_a_url_is_read() {
    html(
        "attributes",
        "<a originalsrc='https://original.example/a b' data-url=https://data.example/ o:href=https://office.example/x>\
         <input type=hidden value='https://hidden.example/v'><param value='x=https&#58;//param.example/p'>\
         <html xmlns='https://namespace.example/' xmlns:v='https://namespace.example/v' property='https://namespace.example/p'>\
         <p itemtype='https://namespace.example/EmailMessage' class=not.example>",
        &[
            "https://original.example/a%20b",
            "https://data.example/",
            "https://office.example/x",
            "https://hidden.example/v",
            "https://param.example/p",
        ],
        &["namespace", "not.example"],
    );
    html(
        "what Gmail adds",
        "<a data-saferedirecturl='https://www.google.com/url?hl=de&amp;q=https%3A%2F%2Fone.example%2Fa&amp;source=gmail'>\
         <a data-saferedirecturl='https://two.example/b'>\
         <img src='https://proxy.example/x#https://three.example/c.png'>",
        &["https://one.example/a", "https://two.example/b", "https://three.example/c.png"],
        &["google"],
    );
    html(
        "srcset",
        "<img srcset='https://one.example/1.png 1x,https://two.example/2.png 2x, https://three.example/3.png'>",
        &["https://one.example/1.png", "https://two.example/2.png", "https://three.example/3.png"],
        &["1x", "2x"],
    );
    html(
        "a wrapped link",
        "<a href='https://www.google.com/url?q=https%3A%2F%2Fwrapped.example%2Fa'>",
        &["https://wrapped.example/a", "wrapped.example"],
        &[],
    );
}

#[test]
fn pages_inside_pages_are_read() {
    let found = html(
        "srcdoc",
        "<iframe srcdoc=\"<form action='https://doc.example/a'><iframe srcdoc=&quot;<a href=https://deep.example/>&quot;>\">",
        &["https://doc.example/a", "https://deep.example/"],
        &[],
    );
    assert!(!found.incomplete);
    for link in [
        "data:text/html,%3Ca%20href=%22https://data.example/a%22%3E",
        "data:text/html;charset=utf-8;base64,PGEgaHJlZj0iaHR0cHM6Ly9kYXRhLmV4YW1wbGUvYSI+",
        "data:image/svg+xml,%3Csvg xmlns=%22https://namespace.example/%22%3E%3Ca href=%22https://data.example/a%22%3E",
        "data:,https://data.example/a",
    ] {
        let found = html(link, &format!("<a href='{link}'>"), &["https://data.example/a"], &["namespace"]);
        assert!(!found.incomplete, "{link}");
    }
    let found = html("a file", "<a href='data:application/zip;base64,UEsD'>", &[], &[]);
    assert!(found.incomplete);
    let deep = (0..4).fold("<a href=x>".to_owned(), |page, _| {
        format!("<iframe srcdoc=\"{}\">", page.replace('&', "&amp;").replace('"', "&quot;"))
    });
    assert!(html("deep", &deep, &[], &[]).incomplete);
}

#[test]
fn links_to_mailboxes_are_read_whole() {
    html(
        "mailto",
        "<a href='mailto:%61nna%40one.example?cc=b@two.example&amp;BCC=c%40three.example&body=see%20https%3A%2F%2Fbody.example%2Fx'>",
        &["anna@one.example", "b@two.example", "c@three.example", "https://body.example/x"],
        &[],
    );
}

#[test]
fn templates_are_no_domains() {
    for target in ["{{unsubscribe.link}}", "[[unsubscribe.link]]", "%%unsubscribe.link%%", "[unsubscribe.link]"] {
        html(target, &format!("<a href='{target}'><a href='https://{target}/x'>"), &[], &["unsubscribe.link"]);
    }
    let filled = "https://real.example/{{id.link}}";
    html(filled, &format!("<a href='{filled}'>"), &["real.example"], &[]);
    html("a broken link", "<a href='{{x.link}}https://real.example/a'>", &["https://real.example/a"], &["x.link"]);
}

#[test]
fn the_name_of_the_sender_is_read() {
    let found = check(
        "names",
        "From: =?utf-8?q?Pay_https://name.example/a_or_help=40bank.example?= <a@sender.example>\nSubject: x\n\ny",
        &["https://name.example/a", "help@bank.example", "a@sender.example"],
        &[],
    );
    let named = found.observables.iter().find(|s| s.observable.value() == "https://name.example/a").unwrap();
    assert_eq!(named.places, ["header:from-name"]);
}

#[test]
fn reports_are_read_and_signatures_are_not_hashed() {
    let found = check(
        "report",
        "Subject: x\nContent-Type: multipart/report; boundary=B\n\n--B\n\nfailed\n--B\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@gone.example\n--B--\n",
        &["a@gone.example"],
        &[],
    );
    assert!(found.observables.iter().all(|sighted| sighted.places == ["text"]), "{:?}", found.observables);
    for kind in ["application/pgp-signature", "application/pkcs7-signature; name=smime.p7s", "text/plain; name=a.asc"] {
        let found = check(kind, &format!("Subject: x\nContent-Type: {kind}\n\nMIAG\n"), &[], &[]);
        assert!(found.observables.is_empty() && !found.incomplete, "{kind}");
        assert!(found.omissions.iter().any(|omission| omission.reason == "a signature is not hashed"), "{kind}");
    }
    let found = check("a program", "Subject: x\nContent-Type: application/pgp-signature; name=a.exe\n\nMZ", &[], &[]);
    assert_eq!(found.observables.len(), 1);
}

#[test]
fn encodings_are_undone_however_they_are_spelled() {
    for encoding in ["\"base64\"", "base64 (as ever)", "BASE64;"] {
        let found = check(
            encoding,
            &format!("Subject: x\nContent-Transfer-Encoding: {encoding}\n\naHR0cHM6Ly9jb2RlZC5leGFtcGxlL2E="),
            &["https://coded.example/a"],
            &[],
        );
        assert!(!found.incomplete, "{encoding}");
    }
    // https://uu.example/a
    let block = "begin 644 a.txt\n4:'1T<',Z+R]U=2YE>&%M<&QE+V$`\n`\nend\n";
    for mail in [
        format!("Subject: x\n\nsee\n{block}bye https://after.example/"),
        format!("Subject: x\nContent-Transfer-Encoding: x-uuencode\n\n{block}"),
    ] {
        assert!(!check("uuencode", &mail, &["https://uu.example/a"], &[]).incomplete);
    }
    let mail = format!("Subject: x\n\nsee\n{block}bye https://after.example/");
    check("after a file", &mail, &["https://after.example/"], &[]);
}

#[test]
fn images_are_shown_by_their_encoded_id() {
    let found = check(
        "cid",
        "Subject: x\nContent-Type: multipart/related; boundary=B\n\n--B\nContent-Type: text/html\n\n<img src='cid:logo%401'>\n--B\nContent-Type: image/gif\nContent-ID: <logo@1>\n\nGIF89a\n--B--\n",
        &[],
        &[],
    );
    assert!(found.observables.is_empty(), "{:?}", found.observables);
}

#[test]
fn hostile_spellings_stay_linear() {
    let start = std::time::Instant::now();
    for (kind, piece) in [
        ("text/plain", "begin 644 a\n"),
        ("text/plain", "begin 644 a\n!0```\n"),
        ("text/calendar", "\r\n \\"),
        ("text/html", "<a href='{{'>"),
        ("text/html", "<iframe srcdoc='<iframe srcdoc=x>'>"),
        ("text/html", "<a href='data:text/html,<a>'>"),
        ("text/html", "<a href='mailto:%40?to=&to='>"),
        ("text/html", "<img srcset=',,,, ,, x,x '>"),
        ("application/octet-stream", "\0\n"),
    ] {
        let _ = extraction(format!("Subject: x\nContent-Type: {kind}\n\n{}", piece.repeat(60_000)).as_bytes());
    }
    for (before, piece) in [
        ("<a href='", "{{"),
        ("<a href='", "[["),
        ("<a href='%%", "a%%%"),
        ("<iframe srcdoc=\"", "<iframe srcdoc='"),
        ("<iframe srcdoc=\"", "&amp;"),
        ("<a href='data:text/html,", "<a href=data:text/html,"),
        ("<a href='mailto:a?", "to=a@b.example&"),
        ("<img srcset='", "a,"),
        ("<p x='", "://"),
    ] {
        let page = format!("{before}{}'\">", piece.repeat(60_000));
        let _ = extraction(format!("Subject: x\nContent-Type: text/html\n\n{page}").as_bytes());
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
}
