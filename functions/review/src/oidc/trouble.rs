//! What can go wrong with a sign-in, in words for the person and for the log.

use http::StatusCode;
use playbook::lookup::CallError;

/// Why a sign-in came to nothing. Nothing of it repeats a code, a token, a key or what the issuer wrote.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The issuer did not answer.
    #[error("the issuer did not answer: {0}")]
    Silent(CallError),
    /// The issuer answered something that cannot be used.
    #[error("the issuer's answer cannot be used: {0}")]
    Garbled(String),
    /// The issuer does not know us, or not as we say.
    #[error("the issuer does not take this page as its client: {0}")]
    ClientRefused(String),
    /// The issuer does not take the code: it was used, is too old, or belongs to another sign-in.
    #[error("the issuer does not take the code")]
    CodeRefused,
    /// The token does not prove anything.
    #[error("the token does not count: {0}")]
    Token(&'static str),
    /// The issuer says that nobody signed in.
    #[error("the issuer ended the sign-in: {0}")]
    Ended(String),
    /// The answer says that another issuer gives it (RFC 9207), or does not say so though it should.
    #[error("the answer does not say that it is the issuer's")]
    AnotherIssuer,
    /// It took longer than the sign-in is good for.
    #[error("the sign-in took too long")]
    Late,
}

impl Trouble {
    /// Whether it is for the operator: nobody can sign in before it is put right.
    pub const fn is_the_operators(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Garbled(_) | Self::ClientRefused(_))
    }

    /// The status of the page.
    pub const fn status(&self) -> StatusCode {
        if self.is_the_operators() { StatusCode::BAD_GATEWAY } else { StatusCode::FORBIDDEN }
    }

    /// What the person reads.
    pub fn text(&self) -> String {
        match self {
            Self::Silent(_) => "The issuer that you sign in at did not answer. Try again in a minute.".to_owned(),
            Self::Garbled(_) => {
                "The issuer that you sign in at answered something that cannot be used. Try again in a minute; if it \
                 stays so, tell whoever runs this page."
                    .to_owned()
            }
            Self::ClientRefused(_) => {
                "The issuer does not take this page as one that may ask it. Tell whoever runs this page: its \
                 registration at the issuer is wrong."
                    .to_owned()
            }
            Self::CodeRefused => {
                "The issuer did not take the answer that your browser brought back: it was used before, or is too old."
                    .to_owned()
            }
            Self::Token(why) => format!("What the issuer sent does not prove who you are: {why}."),
            Self::Ended(error) => format!("The issuer ended the sign-in. It calls the reason {error}."),
            Self::AnotherIssuer => "The answer that your browser brought back is not the issuer's.".to_owned(),
            Self::Late => "The sign-in took longer than ten minutes.".to_owned(),
        }
    }
}

/// An error code as OAuth spells them; what is none was not written by an issuer.
pub fn word(text: &str) -> String {
    let is_word = (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_word { text.to_owned() } else { "unknown".to_owned() }
}

/// For the log: issuers should name people by ids, but some do it by addresses.
pub fn unless_address(subject: &str) -> String {
    if subject.contains('@') { "***".to_owned() } else { ioc::defang_text(subject) }
}
