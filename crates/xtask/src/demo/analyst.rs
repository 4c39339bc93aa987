//! The analyst, played over HTTP through the real page: opens the link, asks for the code, reads the mail, decides.

use anyhow::{Context, Result, bail};

use super::browser::{Browser, Page};
use crate::local::{SentMail, Stack};

/// What the analyst shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Decide {
    /// Approves what is ticked; where sources failed, acknowledges.
    Approve,
    /// Says that it is a false positive.
    Reject,
}

/// The link in a mail; `None` where there is none.
#[must_use]
pub fn link(mail: &SentMail, base: &str) -> Option<String> {
    let start = format!("{base}/r/");
    let rest = mail.body_text.split(&start).nth(1)?;
    let secret: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    (secret.len() == 43).then(|| format!("{start}{secret}"))
}

/// Decides through the page behind the link, and returns the word that was chosen.
pub async fn decide(stack: &Stack, approver: &str, link: &str, decide: Decide) -> Result<String> {
    let mut browser = Browser::new(stack.gateway().http().clone());
    let page = browser.open(link).await?.ok().context("the review page does not open")?;

    let mut asks = page.form("/code")?.context("the review page has no form that asks for a code")?;
    if let Some(field) = asks.open.first().cloned() {
        asks.set(&field, approver);
    }
    let known = codes(stack, approver).await?.len();
    let answered = browser.send(&asks).await?.ok().context("the page gives no code")?;
    let code = Stack::wait_for(30, || async { Ok(codes(stack, approver).await?.into_iter().nth(known)) }).await?;
    let code =
        code.with_context(|| format!("no code came by mail to {approver}; the page says: {}", answered.text()))?;

    let fresh = browser.open(link).await?.ok()?;
    let (page, mut form) = match (answered.form("/decide")?, fresh.form("/decide")?) {
        (Some(form), _) => (answered, form),
        (None, Some(form)) => (fresh, form),
        (None, None) => bail!("the review page has no form that decides; it says: {}", fresh.text()),
    };
    let choice = match decide {
        Decide::Reject if form.offers("false_positive") => "false_positive",
        Decide::Reject => "rejected",
        Decide::Approve if form.offers("approved") => "approved",
        Decide::Approve => "acknowledged",
    };
    form.choose(choice)?;
    form.set(&form.field("code")?, &code);
    form.set(&form.field("reason")?, "Decided by cargo xtask demo, which plays the analyst.");
    drop(page);
    let shown: Page = browser.send(&form).await?;
    shown.ok().context("the page did not take the decision")?;
    Ok(choice.to_owned())
}

/// Every code that was mailed to the person, oldest first.
async fn codes(stack: &Stack, approver: &str) -> Result<Vec<String>> {
    let mails = stack.gateway().mails().await?;
    let own = mails.into_iter().filter(|mail| mail.to.iter().any(|to| to.contains(approver)));
    Ok(own.filter_map(|mail| code(&mail.body_text)).collect())
}

/// The first number of exactly six digits that stands alone in a line.
fn code(text: &str) -> Option<String> {
    let plain = text.lines().map(str::trim).find(|line| is_code(line));
    let in_words = || text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| is_code(word));
    let is_about_a_code = text.to_lowercase().contains("code");
    plain.or_else(in_words).filter(|_| is_about_a_code).map(str::to_owned)
}

fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_and_nothing_else_is() {
        assert_eq!(code("Your code for inc-1:\n\n  048213\n\nIt lasts 10 minutes."), Some("048213".to_owned()));
        assert_eq!(code("Your code is 048213."), Some("048213".to_owned()));
        assert_eq!(code("Review by 2026-11-24 12:00, incident 123456"), None);
        assert_eq!(code("code: 1234567"), None);
    }

    #[test]
    fn the_link_is_found_whatever_follows_it() {
        let secret = "A".repeat(43);
        let mail = |text: String| SentMail {
            message_id: String::new(),
            to: vec![],
            subject: String::new(),
            body_text: text,
            body_html: None,
            timestamp: serde_json::Value::Null,
        };
        let base = "http://127.0.0.1:1/_aws/execute-api/a/$default";
        assert_eq!(link(&mail(format!("see {base}/r/{secret}\nbye")), base), Some(format!("{base}/r/{secret}")));
        assert_eq!(link(&mail(format!("see {base}/r/short\nbye")), base), None);
    }
}
