//! The page that asks: what is shown, and the two forms.

use askama::Template;
use http::{Response, StatusCode};
use playbook::{Fault, Timestamp, brief::Brief};

use crate::{answer, form::Form, gate::Session, settings::Settings, visit::Visit};

/// What the page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// What lies behind the link.
    pub visit: &'a Visit,
    /// Whom it is shown to.
    pub session: &'a Session,
    /// Where the forms go.
    pub settings: &'a Settings,
    /// The moment.
    pub now: Timestamp,
}

/// What a person has filled in before, and what to say of it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    problem: String,
    notice: String,
    choice: String,
    reason: String,
    ticks: Option<Vec<String>>,
}

impl Draft {
    /// What was posted, to be shown again.
    pub fn of(form: &Form) -> Self {
        Self {
            choice: form.one("choice").to_owned(),
            reason: form.one("reason").chars().take(4_000).collect(),
            ticks: Some(form.all("indicators").map(str::to_owned).collect()),
            ..Self::default()
        }
    }

    /// An empty form with something good to say.
    pub fn notice(notice: String) -> Self {
        Self { notice, ..Self::default() }
    }

    /// An empty form with something that went wrong.
    pub fn problem(problem: String) -> Self {
        Self { problem, ..Self::default() }
    }

    /// The same with something that went wrong.
    pub fn with_problem(self, problem: String) -> Self {
        Self { problem, ..self }
    }

    /// An empty form, because what was shown before is no longer what stands.
    pub fn changed() -> Self {
        Self::problem("This has changed meanwhile. Nothing was decided: look again, then decide.".to_owned())
    }
}

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewHtml<'a> {
    base: &'a str,
    secret: &'a str,
    brief: &'a Brief,
    draft: &'a Draft,
    form_token: &'a str,
    shown_digest: &'a str,
}

impl ReviewHtml<'_> {
    /// Contradictions come unticked; what a person has chosen before stays.
    fn is_ticked(&self, offer: &playbook::brief::Offer) -> bool {
        self.draft.ticks.as_ref().map_or(offer.is_ticked, |ticks| ticks.contains(&offer.tick))
    }
}

impl Page<'_> {
    /// The page with a status, and the session's cookie.
    pub fn answer(&self, status: StatusCode, draft: &Draft) -> Result<Response<Vec<u8>>, Fault> {
        let Self { visit, session, settings, now } = self;
        let brief = Brief::of(&visit.assessment, &visit.round, &visit.around, *now);
        let html = ReviewHtml {
            base: settings.base(),
            secret: visit.secret.reveal(),
            brief: &brief,
            draft,
            form_token: &session.form_token(settings, &visit.digest),
            shown_digest: &visit.shown_digest,
        };
        let mut response = answer::html(status, &html)?;
        answer::set(&mut response, http::header::SET_COOKIE, &session.cookie(settings))?;
        Ok(response)
    }
}
