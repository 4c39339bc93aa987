//! Names and words that say that what stands beside them lets somebody in, or names somebody.

/// Parameters whose value is a secret or a person whatever it looks like. Names are compared in lower case, letters and
/// digits only.
const SECRET_NAMES: [&str; 68] = [
    "accesscode",
    "activationcode",
    "assertion",
    "auth",
    "authcode",
    "authorization",
    "awsaccesskeyid",
    "bearer",
    "contrasena",
    "cred",
    "credential",
    "credentials",
    "devicecode",
    "email",
    "emailaddress",
    "googleaccessid",
    "hdnea",
    "hdntl",
    "hdnts",
    "hmac",
    "invitationcode",
    "invitecode",
    "kennwort",
    "keypairid",
    "loginhint",
    "mceid",
    "motdepasse",
    "onetimecode",
    "oobcode",
    "ossaccesskeyid",
    "otp",
    "otpcode",
    "pass",
    "passcode",
    "passphrase",
    "passwd",
    "passwort",
    "phpsessid",
    "pw",
    "pwd",
    "recipient",
    "relaystate",
    "resetcode",
    "resourcekey",
    "rlkey",
    "securitycode",
    "senha",
    "sess",
    "sessid",
    "session",
    "sessionstate",
    "sharekey",
    "sig",
    "smscode",
    "sso",
    "tfacode",
    "tkn",
    "tok",
    "totp",
    "upn",
    "usercode",
    "useremail",
    "username",
    "userpass",
    "verificationcode",
    "wresult",
    "wsessionid",
    "xsrf",
];

/// How such names end.
const SECRET_ENDINGS: [&str; 22] = [
    "accesskey",
    "accesskeyid",
    "apikey",
    "authkey",
    "credential",
    "encryptionkey",
    "feedkey",
    "functionkey",
    "jwt",
    "mailaddress",
    "password",
    "privatekey",
    "rsskey",
    "secret",
    "secretkey",
    "sessid",
    "sessionid",
    "sessionkey",
    "signature",
    "signingkey",
    "subscriptionkey",
    "token",
];

/// How such names begin: signed links of Amazon, Google, Tencent; SAML; sessions of ASP.
const SECRET_STARTS: [&str; 7] = ["xamz", "xgoog", "xoss", "qsign", "saml", "aspsessionid", "aspnetsession"];

/// What is said of a token without the token.
const TOKEN_FACTS: [&str; 8] = ["type", "exp", "expires", "expiresin", "expiry", "expiration", "lifetime", "count"];

/// Names beside which a random value is a secret.
const HINTS: [&str; 13] =
    ["access", "challenge", "code", "cookie", "key", "login", "mail", "nonce", "share", "sid", "sign", "ticket", "tk"];

/// How such names end.
const HINT_ENDINGS: [&str; 7] = ["auth", "code", "key", "nonce", "sid", "sign", "tok"];

/// Codes and keys of things that are for sale, of places, languages, errors and campaigns are nobody's.
const HARMLESS: [&str; 34] = [
    "affiliate",
    "area",
    "article",
    "bar",
    "brand",
    "campaign",
    "category",
    "color",
    "country",
    "coupon",
    "currency",
    "discount",
    "error",
    "flight",
    "gift",
    "http",
    "item",
    "lang",
    "locale",
    "model",
    "order",
    "part",
    "post",
    "product",
    "promo",
    "ref",
    "serial",
    "sku",
    "source",
    "status",
    "store",
    "track",
    "voucher",
    "zip",
];

/// Counters of visits, by name or beginning: random, and nobody's secret.
const TRACKING: [&str; 22] = [
    "utm",
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "msclkid",
    "yclid",
    "ttclid",
    "twclid",
    "igshid",
    "igsh",
    "liclid",
    "gadsource",
    "hsenc",
    "hsmi",
    "mccid",
    "clickid",
    "ga",
    "gl",
    "si",
    "scid",
];

/// What says when a link ends: then something beside it proves who made it.
const EXPIRY: [&str; 12] = [
    "ex",
    "exp",
    "expire",
    "expires",
    "expiresat",
    "expiresin",
    "expiry",
    "expiration",
    "se",
    "validto",
    "validuntil",
    "deadline",
];

/// Parts of words after which a random text is for one person, in the languages that we know them in.
const STEMS: [&str; 33] = [
    "abbestell",
    "abmeld",
    "activat",
    "activar",
    "aktivier",
    "bestaetig",
    "bestätig",
    "confirm",
    "contrasen",
    "contraseñ",
    "desabonn",
    "désabonn",
    "desinscri",
    "désinscri",
    "einlad",
    "forgot",
    "freischalt",
    "invit",
    "magiclink",
    "onetime",
    "passw",
    "recover",
    "recuper",
    "reinitialis",
    "réinitialis",
    "restablec",
    "unsubscri",
    "verif",
    "vérif",
    "webhook",
    "zuruecksetz",
    "zurücksetz",
    "guestaccess",
];

/// Whole words of the same sort.
const WORDS: [&str; 58] = [
    "accept",
    "apikey",
    "autologin",
    "credential",
    "credentials",
    "enrol",
    "enroll",
    "enrollment",
    "envelope",
    "envelopes",
    "esign",
    "guest",
    "hook",
    "hooks",
    "integration",
    "integrations",
    "jetons",
    "jeton",
    "join",
    "joinchat",
    "key",
    "keys",
    "kennwort",
    "magic",
    "oauth",
    "optout",
    "otp",
    "passe",
    "preference",
    "preferences",
    "private",
    "pwdreset",
    "pwreset",
    "redeem",
    "reset",
    "resets",
    "resetpw",
    "rp",
    "rsvp",
    "secret",
    "secrets",
    "session",
    "sessions",
    "share",
    "shared",
    "sharelink",
    "shares",
    "sharing",
    "signing",
    "sso",
    "token",
    "tokens",
    "transfers",
    "unsub",
    "validate",
    "validation",
    "passwordless",
    "singleuse",
];

/// Services whose links let in whoever has them: files, papers to sign, meetings, calendars, lists of recipients.
const CAPABILITY_HOSTS: [&str; 55] = [
    "1drv.ms",
    "adobesign.com",
    "airtable.com",
    "bitwarden.com",
    "box.com",
    "calendar.google.com",
    "calendly.com",
    "canva.com",
    "chat.whatsapp.com",
    "discord.gg",
    "docs.google.com",
    "docusign.com",
    "docusign.net",
    "documents.adobe.com",
    "drive.google.com",
    "dropbox.com",
    "dropboxsign.com",
    "echosign.com",
    "egnyte.com",
    "figma.com",
    "filemail.com",
    "hellosign.com",
    "hightail.com",
    "icloud.com",
    "list-manage.com",
    "loom.com",
    "mega.nz",
    "miro.com",
    "onedrive.com",
    "onedrive.live.com",
    "onetimesecret.com",
    "pandadoc.com",
    "paypal.com",
    "pcloud.link",
    "photos.app.goo.gl",
    "privatebin.net",
    "proton.me",
    "pwpush.com",
    "sendgrid.net",
    "sharefile.com",
    "sharefile.eu",
    "sharepoint.com",
    "sharepoint.us",
    "signnow.com",
    "slack.com",
    "stripe.com",
    "t.me",
    "teams.live.com",
    "teams.microsoft.com",
    "tresorit.com",
    "trello.com",
    "we.tl",
    "webex.com",
    "wetransfer.com",
    "zoom.us",
];

/// What such services show to everybody.
const PUBLISHED: [&str; 5] = ["viewform", "formresponse", "pub", "pubhtml", "embed"];

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether the value of this parameter is a secret, or somebody.
pub(super) fn is_secret_name(name: &str) -> bool {
    let plain = plain(name);
    SECRET_NAMES.contains(&plain.as_str())
        || SECRET_ENDINGS.iter().any(|ending| plain.ends_with(ending))
        || SECRET_STARTS.iter().any(|start| plain.starts_with(start))
        || plain.contains("password")
        || (plain.contains("token") && !TOKEN_FACTS.iter().any(|fact| plain.ends_with(fact)))
}

/// Whether a random value of this parameter is a secret.
pub(super) fn is_hint(name: &str) -> bool {
    let plain = plain(name);
    let is_named = HINTS.contains(&plain.as_str()) || HINT_ENDINGS.iter().any(|ending| plain.ends_with(ending));
    (is_named && !HARMLESS.iter().any(|word| plain.contains(word))) || speaks_of_one_person(name)
}

/// Whether the parameter counts visits.
pub(super) fn is_tracking(name: &str) -> bool {
    let plain = plain(name);
    plain.starts_with("utm") || TRACKING.contains(&plain.as_str())
}

/// Whether the parameter names a program or a customer of the service, which everybody may know.
pub(super) fn is_known_to_all(name: &str) -> bool {
    matches!(plain(name).as_str(), "appid" | "clientid" | "tenant" | "tenantid")
}

/// Whether the parameter says when the link ends.
pub(super) fn is_expiry(name: &str) -> bool {
    EXPIRY.contains(&plain(name).as_str())
}

/// Whether a path with this segment only names what a key beside it opens, as Dropbox has it.
pub(super) fn only_names(segment: &str) -> bool {
    segment == "scl"
}

/// Whether a text has a word after which a random text is for one person: `reset`, `verifyEmail`, `shared_invite`.
pub(super) fn speaks_of_one_person(text: &str) -> bool {
    let words = words(text);
    words.iter().any(|word| WORDS.contains(&word.as_str()) || STEMS.iter().any(|stem| word.contains(stem)))
        || words.windows(2).any(|pair| matches!(pair, [a, b] if is_pair(a, b)))
}

/// Words that say it only together.
fn is_pair(a: &str, b: &str) -> bool {
    matches!((a, b), ("opt", "out") | ("one", "time") | ("single", "use"))
}

/// The words of a text in lower case, split also where small letters turn to capitals.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        let is_new = !c.is_alphabetic() || (before.is_lowercase() && c.is_uppercase());
        if is_new && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

/// Whether links of this host let in whoever has them.
pub(super) fn is_capability_host(host: &str) -> bool {
    CAPABILITY_HOSTS.iter().any(|service| ioc::guard::is_within(host, service))
}

/// Whether the host itself takes what it is told by whoever knows its address.
pub(super) fn is_hook_host(host: &str) -> bool {
    host.split('.').any(|label| matches!(label, "hook" | "hooks" | "webhook" | "webhooks"))
}

/// Whether a segment says that everybody may see the page.
pub(super) fn is_published(segment: &str) -> bool {
    PUBLISHED.contains(&segment.to_ascii_lowercase().as_str())
}
