//! Addresses with secrets, and addresses without: what leaves of each.

use super::*;

fn url(text: &str) -> Observable {
    Observable::parse(ObservableType::Url, text).unwrap()
}

/// Nothing of these may leave: the secret is in the path.
const NOTHING: &[&str] = &[
    // One-time links.
    "https://evil.example/reset/3f9a8b7c6d5e4f3a2b1c0d9e",
    "https://evil.example/password-reset/u/3f9a8b7c6d5e4f3a2b1c0d9e",
    "https://app.example/accounts/reset/MQ/cx7-0a1b2c3d4e5f6a7b8c9d/",
    "https://app.example/email/verify/1234/da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "https://app.example/verifyEmail/f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "https://app.example/magic-link/pQrStUvWxYzAbCdEfGhI",
    "https://app.example/activate-8d7f6e5c4b3a29180716",
    "https://app.example/einladung/annehmen/8d7f6e5c4b3a29180716",
    "https://app.example/mot-de-passe/8d7f6e5c4b3a29180716",
    "https://app.example/r%C3%A9initialiser/8d7f6e5c4b3a29180716",
    "https://app.example/users/confirmation/token=8d7f6e5c4b",
    "https://lists.example/unsubscribe/8d7f6e5c4b3a2918",
    "https://lists.example/email-preferences/8d7f6e5c4b3a2918.html",
    // People.
    "https://evil.example/unsubscribe/victim@corp.example",
    "https://evil.example/unsubscribe/victim%40corp.example?x=1",
    "https://evil.example/x/victim%2540corp.example",
    "https://evil.example/u/mail=victim@corp.example",
    "https://evil.example/u/dmljdGltQGNvcnAuZXhhbXBsZQ/x",
    "https://evil.example/u/dmljdGltQGNvcnAuZXhhbXBsZQ==",
    "https://evil.example/u/76696374696d40636f72702e6578616d706c65",
    "https://corp-my.sharepoint.com/personal/victim_corp_example/_layouts/15/onedrive.aspx",
    // Keys and tokens.
    "https://evil.example/s/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "https://app.example/view;jsessionid=1A530637289A03B07199A44E8D531427",
    "https://app.example/(S(token:lit3py55t21z5v55vlm25s55))/x;PHPSESSID=8d7f6e5c4b3a2918",
    "https://evil.example/leak/AKIAIOSFODNN7EXAMPLE/x",
    "https://evil.example/x/ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0/sendMessage",
    "https://calendar.google.com/calendar/ical/team/private-8d7f6e5c4b3a29180716/basic.ics",
    // Addresses that let in whoever has them.
    "https://corp.sharepoint.com/:w:/s/Finance/EaBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789?e=aBc123",
    "https://corp-my.sharepoint.com/:x:/g/EaBcDeF",
    "https://1drv.ms/w/s!AqB1cD2eF3gH4iJ5",
    "https://docs.google.com/document/d/1aB2cD3eF4gH5iJ6kL7mN8oP9qR0sT1uV2wX3yZ4aB5c/edit?usp=sharing",
    "https://docs.google.com/spreadsheets/d/1aB2cD3eF4gH5iJ6kL7mN8oP9qR0/edit?resourcekey=0-aBcDeF",
    "https://drive.google.com/file/d/1aB2cD3eF4gH5iJ6kL7mN8oP9qR0/view",
    "https://app.box.com/s/a1b2c3d4e5f6g7h8i9j0",
    "https://corp.box.com/shared/static/a1b2c3d4e5f6g7h8i9j0.pdf",
    "https://www.dropbox.com/s/a1b2c3d4e5f6g7h/report.pdf?dl=0",
    "https://we.tl/t-AbC1dEf2Gh",
    "https://wetransfer.com/downloads/0123456789abcdef0123456789abcdef20261124/4f5e6d",
    "https://hooks.slack.com/services/T00000000/B00000000/aB1cD2eF3gH4iJ5kL6mN7oP8",
    "https://join.slack.com/t/corp/shared_invite/zt-1a2b3c4d5-AbCdEfGhIjKlMnOp",
    "https://discord.com/api/webhooks/123456789012345678/aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0",
    "https://corp.webhook.office.com/webhookb2/f47ac10b-58cc-4372-a567-0e02b2c3d479@f47ac10b-58cc-4372-a567-0e02b2c3d479/IncomingWebhook/0a1b2c3d4e5f60718293a4b5c6d7e8f9/f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "https://hook.eu1.make.com/a1b2c3d4e5f6g7h8i9j0k1l2",
    "https://maker.ifttt.com/trigger/door/with/key/a1B2c3D4e5F6g7H8",
    "https://calendly.com/d/cmd4-pz2-7xk/intro",
    "https://calendly.com/cancellations/f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "https://checkout.stripe.com/c/pay/cs_live_a1B2c3D4e5F6g7H8i9J0#fidkdWxOYHwnPyd1",
    "https://billing.stripe.com/p/session/live_YWNjdF8xTkxhSDcyZVp2S1lsbzJD",
    "https://teams.microsoft.com/l/meetup-join/19%3ameeting_NjA4ZDc4YjktZmE5Zi00%40thread.v2/0",
    "https://app.docusign.com/documents/details/f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "https://zoom.us/rec/share/aB1cD2eF3gH4iJ5kL6mN",
];

/// The secret of these stands beside the path: it goes, the path stays.
const REDUCED: &[(&str, &str)] = &[
    // People.
    ("https://user:pw@evil.example/login", "https://evil.example/login"),
    ("https://user@evil.example/login?id=1", "https://evil.example/login"),
    ("https://evil.example/login?email=victim%40corp.example", "https://evil.example/login"),
    ("https://evil.example/login?u=victim@corp.example&id=1", "https://evil.example/login"),
    ("https://evil.example/login?id=1#victim@corp.example", "https://evil.example/login"),
    ("https://evil.example/login?u=victim%2540corp.example", "https://evil.example/login"),
    ("https://evil.example/login?dmljdGltQGNvcnAuZXhhbXBsZQ", "https://evil.example/login"),
    ("https://evil.example/login#dmljdGltQGNvcnAuZXhhbXBsZQ==", "https://evil.example/login"),
    ("https://evil.example/login?x=76696374696D40636F72702E6578616D706C65", "https://evil.example/login"),
    ("https://evil.example/login?x=eyJlbWFpbCI6InZpY3RpbUBjb3JwLmV4YW1wbGUifQ", "https://evil.example/login"),
    ("https://evil.example/login?login_hint=victim", "https://evil.example/login"),
    // Resets and other one-time links.
    ("https://evil.example/login?reset_token=abc", "https://evil.example/login"),
    ("https://evil.example/login?Reset-Password-Token=abc", "https://evil.example/login"),
    (
        "https://app.example/wp-login.php?action=rp&key=8d7f6e5c4b3a29180716&login=mia",
        "https://app.example/wp-login.php",
    ),
    ("https://app.example/verify?d=3f9a8b7c6d5e4f3a2b1c0d9e", "https://app.example/verify"),
    ("https://app.example/go?do=confirmEmail&x=3f9a8b7c6d5e", "https://app.example/go"),
    ("https://app.example/#/magic?x=3f9a8b7c6d5e4f", "https://app.example/"),
    ("https://app.example/login?otp=483920", "https://app.example/login"),
    (
        "https://app.example/__/auth/action?mode=resetPassword&oobCode=aB1cD2eF&apiKey=AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "https://app.example/__/auth/action",
    ),
    (
        "https://x.us1.list-manage.com/unsubscribe?u=0a1b2c3d4e5f60718293a4b5c&id=1a2b3c4d5e&e=5f6a7b8c9d",
        "https://x.us1.list-manage.com/unsubscribe",
    ),
    ("https://u123.ct.sendgrid.net/ls/click?upn=u001.aBcDeFgHiJkLmNoP-2FqR", "https://u123.ct.sendgrid.net/ls/click"),
    // Sign-in.
    ("https://app.example/cb?code=4/0AX4XfWhb1C2d3E4f5&scope=email", "https://app.example/cb"),
    ("https://app.example/cb?code=Xy12Zw&state=1", "https://app.example/cb"),
    ("https://evil.example/login#access_token=abc&expires_in=1", "https://evil.example/login"),
    ("https://evil.example/login#/route?access_token=abc", "https://evil.example/login"),
    ("https://app.example/cb#id_token=abc&state=1", "https://app.example/cb"),
    ("https://app.example/acs?SAMLResponse=PHNhbWxwOlJlc3BvbnNl&RelayState=x", "https://app.example/acs"),
    ("https://app.example/sso?SAMLRequest=fZFNa8Mw", "https://app.example/sso"),
    ("https://cas.example/x?ticket=ST-1856339-aA5Yuvrxzpv8Tau1cYQ7", "https://cas.example/x"),
    ("https://evil.example/login?next=1&x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "https://evil.example/login"),
    ("https://app.example/x?PHPSESSID=8d7f6e5c4b3a2918", "https://app.example/x"),
    ("https://app.example/x?ASP.NET_SessionId=lit3py55t21z5v55", "https://app.example/x"),
    // Signed links.
    ("https://evil.example/login?X-Amz-Date=20261124T000000Z&X-Amz-Signature=0a", "https://evil.example/login"),
    (
        "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=abc%3D&Expires=1",
        "https://b.s3.amazonaws.com/k",
    ),
    (
        "https://storage.googleapis.com/b/o?X-Goog-Algorithm=GOOG4&X-Goog-Signature=0a",
        "https://storage.googleapis.com/b/o",
    ),
    (
        "https://storage.googleapis.com/b/o?GoogleAccessId=x%40y.example&Signature=abc",
        "https://storage.googleapis.com/b/o",
    ),
    ("https://a.blob.core.windows.net/c/f?sv=2024&se=2026&sr=b&sp=r&sig=0a%3D", "https://a.blob.core.windows.net/c/f"),
    (
        "https://d1.cloudfront.net/f?Policy=eyJTdGF0&Signature=abc&Key-Pair-Id=APKAEXAMPLE",
        "https://d1.cloudfront.net/f",
    ),
    (
        "https://cdn.example/f?ex=66f1a2b3&is=66f05133&hm=0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "https://cdn.example/f",
    ),
    ("https://cdn.example/f?hdnts=exp=1~acl=/*~hmac=0a1b", "https://cdn.example/f"),
    (
        "https://prod-00.westus.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sp=%2F&sig=abc",
        "https://prod-00.westus.logic.azure.com/workflows/x/triggers/manual/paths/invoke",
    ),
    // Keys of links that the path only names.
    (
        "https://www.dropbox.com/scl/fi/a1b2c3d4e5f6g7h8i9j0/report.pdf?rlkey=k1l2m3n4o5p6&dl=0",
        "https://www.dropbox.com/scl/fi/a1b2c3d4e5f6g7h8i9j0/report.pdf",
    ),
    ("https://onedrive.live.com/redir?resid=A1B2C3D4E5F6A7B8!123&authkey=!AbCdEf", "https://onedrive.live.com/redir"),
    (
        "https://corp.sharepoint.com/sites/a/_layouts/15/guestaccess.aspx?docid=1&share=EaBcDeFg1H2i3J4k",
        "https://corp.sharepoint.com/sites/a/_layouts/15/guestaccess.aspx",
    ),
    ("https://us02web.zoom.us/j/81234567890?pwd=aBcD", "https://us02web.zoom.us/j/81234567890"),
    (
        "https://na3.docusign.net/Signing/EmailStart.aspx?a=f47ac10b-58cc-4372-a567-0e02b2c3d479&etti=24",
        "https://na3.docusign.net/Signing/EmailStart.aspx",
    ),
    ("https://www.paypal.com/checkoutnow?token=EC-8AB12345CD678901E", "https://www.paypal.com/checkoutnow"),
    ("https://send.example/#aB1cD2eF3gH4iJ5kL6mN", "https://send.example/"),
    // Keys of programs.
    (
        "https://raw.githubusercontent.com/o/r/main/f?token=GHSAT0AAAAAAB1",
        "https://raw.githubusercontent.com/o/r/main/f",
    ),
    ("https://gitlab.example/api/v4/user?private_token=abc", "https://gitlab.example/api/v4/user"),
    ("https://jira.example/secure/x?atl_token=B1", "https://jira.example/secure/x"),
    ("https://jira.example/x?os_username=mia&os_password=x", "https://jira.example/x"),
    ("https://api.example/v1?key=AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q", "https://api.example/v1"),
    ("https://api.example/v1?x=sk_live_a1B2c3D4e5F6g7H8", "https://api.example/v1"),
    ("https://api.example/v1?x=xoxb-123456789012-abcdef", "https://api.example/v1"),
    ("https://api.example/v1?Ocp-Apim-Subscription-Key=abc", "https://api.example/v1"),
    (
        "https://chat.googleapis.com/v1/spaces/x/messages?key=abc&token=def",
        "https://chat.googleapis.com/v1/spaces/x/messages",
    ),
    // Addresses in addresses, and names from inside.
    ("https://go.example/?url=https%3A%2F%2Fapp.example%2Freset%2F3f9a8b7c6d5e4f3a2b1c0d9e", "https://go.example/"),
    ("https://go.example/?url=https%253A%252F%252Fapp.example%252Fx%253Ftoken%253Dabc", "https://go.example/"),
    ("https://go.example/?u=aHR0cHM6Ly9hcHAuZXhhbXBsZS94P3Rva2VuPWFiYw", "https://go.example/"),
    ("https://go.example/?next=https://wiki.corp.internal/x", "https://go.example/"),
    ("https://go.example/?next=http://intranet/x", "https://go.example/"),
];

/// Ordinary addresses.
const WHOLE: &[&str] = &[
    "https://evil.example/",
    "https://evil.example/a/b.php?id=7&page=2#top",
    "https://evil.example/wp-content/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "https://evil.example/@user/post",
    "https://evil.example/?q=aGVsbG8gd29ybGQ",
    "https://evil.example/reset/",
    "https://evil.example/?token=",
    "https://evil.example/?token=1&session=true",
    "http://192.0.2.7:8080/x.exe?v=1.2",
    // Phishing.
    "https://evil.example/microsoft/login.php?cmd=login_submit&id=8d7f6e5c4b3a29180716253443526170",
    "https://evil.example/verify/account/index.html",
    "https://evil.example/secure/confirm-your-password/step2.php?lang=en",
    "https://evil.example/reset-password/form.php?id=83742",
    "https://evil.example/verify/account123456/login",
    "https://evil.example/login/office365/0ffice/index.php",
    "https://evil.example/unsubscribe/newsletter-november-2026",
    "https://evil.example/x?client_id=8d7f6e5c4b3a29180716&lc=1033",
    "https://evil.example/track/pay?id=4471&lang=en",
    "https://evil.example/invite/team/",
    "https://docs.google.com/forms/d/e/1FAIpQLSdA1b2C3d4E5f6G7h8I9j0/viewform",
    // Visits that are counted.
    "https://shop.example/?utm_source=mail&utm_medium=x&utm_campaign=spring2026&utm_id=a1b2c3d4e5f6",
    "https://shop.example/?gclid=Cj0KCQiA1b2C3d4E5f6G7h8I9j0K1l2M3n4",
    "https://shop.example/join?fbclid=IwAR0a1B2c3D4e5F6g7H8i9J0",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&si=a1B2c3D4e5F6g7H8",
    "https://youtu.be/dQw4w9WgXcQ",
    // Goods, places, languages, errors.
    "https://shop.example/p?productCode=AB12-CD34-EF56-7890",
    "https://shop.example/p?sku=A1B2C3D4E5F6G7&couponCode=A1B2C3D4E5F6",
    "https://shop.example/iphone-15-pro-256gb-a2848/dp/B0CHX1W1XY",
    "https://shop.example/error?code=404&errorcode=0x80070005",
    "https://shop.example/search?key=value&keyword=private+session",
    "https://shop.example/?code=SPRING2026",
    // Malware and code.
    "http://192.0.2.7/bins/9f86d081884c7d659a2feaa0c55ad015/mirai.arm7",
    "https://files.example/download/0a1b2c3d4e5f60718293a4b5c6d7e8f9/setup.exe",
    "https://cdn.example/npm/jquery@3.6.0/dist/jquery.min.js",
    "https://cdn.example/img/logo@2x.png",
    "https://github.com/o/r/commit/0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d",
    "https://github.com/o/r/releases/download/v1.2.3-rc1/tool-x86_64.zip",
    "https://pastebin.com/raw/aB1cD2eF",
    "https://bit.ly/3aB4cD5",
    "http://192.0.2.7/boaform/admin/formLogin?psd=adm",
    "https://evil.example/x?d=20261124T100000Z&hash=9f86d081884c7d659a2feaa0c55ad015",
    "https://evil.example/maps/@48.85,2.35,15z",
    "https://go.example/?url=https%3A%2F%2Fevil.example%2Flogin.php",
    "https://evil.example/#section-2",
    "https://evil.example/#/products/42",
    "https://t.me/some_channel_name",
    "https://calendly.com/jane-doe/30min",
];

#[test]
fn what_holds_a_secret_leaves_without_it_or_not_at_all() {
    for text in NOTHING {
        assert_eq!(outgoing(&url(text)), Outgoing::Nothing, "{text}");
    }
    for (text, rest) in REDUCED {
        assert_eq!(outgoing(&url(text)), Outgoing::Reduced(url(rest)), "{text}");
    }
    let shapes = NOTHING.len() + REDUCED.len();
    println!("{shapes} shapes of secrets, {} addresses without", WHOLE.len());
    assert!(shapes >= 60 && WHOLE.len() >= 30, "{shapes} and {}", WHOLE.len());
}

#[test]
fn an_address_without_a_secret_leaves_whole() {
    for text in WHOLE {
        assert_eq!(outgoing(&url(text)), Outgoing::Whole, "{text}");
    }
    let domain = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
    assert_eq!(outgoing(&domain), Outgoing::Whole);
}

/// What is left is looked at like anything else, and holds nothing any more.
#[test]
fn what_is_left_needs_no_second_look() {
    for (text, _) in REDUCED {
        let Outgoing::Reduced(rest) = outgoing(&url(text)) else { panic!("{text}") };
        assert_eq!(outgoing(&rest), Outgoing::Whole, "{text}");
    }
}

#[test]
fn an_address_of_addresses_ends() {
    let mut text = "https://app.example/?token=abc".to_owned();
    for _ in 0..6 {
        let inner: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        text = format!("https://go.example/?url={inner}");
    }
    // Deeper than we look; what stands there stays, and nothing breaks.
    let _ = outgoing(&url(&text));
    let long = format!("https://evil.example/{}", "eyJ@http://".repeat(300));
    let _ = outgoing(&url(&long));
}
