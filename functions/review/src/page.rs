//! The page that asks: what is shown, and the two forms.

use askama::Template;
use http::{Response, StatusCode};
use playbook::{
    Fault, Timestamp,
    brief::{self, Brief, Offer, clip, hostile, moment},
    decision::Vote,
};

use crate::{answer, form::Form, gate::Session, oidc::Identity, person, settings::Settings, visit::Visit};

/// What the page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// What lies behind the link.
    pub visit: &'a Visit,
    /// Whom it is shown to.
    pub session: &'a Session,
    /// Who has signed in.
    pub identity: Option<&'a Identity>,
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
    lifetimes: Vec<(String, String)>,
    never_again: bool,
}

impl Draft {
    /// What was posted, to be shown again.
    pub fn of(form: &Form) -> Self {
        Self {
            choice: form.one("choice").to_owned(),
            reason: form.one("reason").chars().take(4_000).collect(),
            ticks: Some(form.all("indicators").map(str::to_owned).collect()),
            lifetimes: form.starting("lifetime-").map(|(tick, hours)| (tick.to_owned(), hours.to_owned())).collect(),
            never_again: form.one("never_again") == "yes",
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
    /// What people said so far, a vote a line.
    votes: &'a [String],
    /// Whether people sign in; otherwise codes are mailed.
    signs_in: bool,
    /// Whether there is an issuer to sign in at.
    can_sign_in: bool,
    /// Who is signed in, and until when; empty when nobody is.
    identity: &'a str,
    identity_until: &'a str,
}

impl ReviewHtml<'_> {
    /// Contradictions come unticked; what a person has chosen before stays.
    fn is_ticked(&self, offer: &Offer) -> bool {
        self.draft.ticks.as_ref().map_or(offer.is_ticked, |ticks| ticks.contains(&offer.tick))
    }

    fn can_tick(&self) -> bool {
        self.brief.offers.iter().any(|offer| offer.barred.is_none())
    }

    /// Whether a lifetime was chosen before.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand on references")]
    fn is_lifetime(&self, offer: &Offer, hours: &u32) -> bool {
        self.draft.lifetimes.iter().any(|(tick, chosen)| *tick == offer.tick && *chosen == hours.to_string())
    }

    fn has_lifetime(&self, offer: &Offer) -> bool {
        offer.shorter.iter().any(|(hours, _)| self.is_lifetime(offer, hours))
    }

    /// The indicator in few characters, to say what a lifetime is of.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn short(&self, offer: &Offer) -> String {
        clip(&offer.indicator, 60)
    }
}

impl Page<'_> {
    /// The page with a status, and the session's cookie.
    pub fn answer(&self, status: StatusCode, draft: &Draft) -> Result<Response<Vec<u8>>, Fault> {
        let Self { visit, session, identity, settings, now } = self;
        let until = identity.map_or_else(String::new, |identity| moment(identity.until()));
        let brief = Brief::of(&visit.assessment, &visit.round, &visit.around, *now);
        let html = ReviewHtml {
            base: settings.base(),
            secret: visit.secret.reveal(),
            brief: &brief,
            draft,
            form_token: &session.form_token(settings, &visit.digest),
            shown_digest: &visit.shown_digest,
            votes: &votes(visit),
            signs_in: person::must_sign_in(settings, visit),
            can_sign_in: settings.oidc().is_some(),
            identity: &identity.map_or_else(String::new, |identity| hostile(&identity.address, 254)),
            identity_until: &until,
        };
        let mut response = answer::html(status, &html)?;
        answer::set(&mut response, http::header::SET_COOKIE, &session.cookie(settings))?;
        Ok(response)
    }
}

/// What people said so far, a vote a line; one on something else than is shown now says that it no longer counts.
fn votes(visit: &Visit) -> Vec<String> {
    let line = |vote: &Vote| {
        let (who, at) = (hostile(&vote.who, 254), moment(vote.at));
        let reason = hostile(&vote.reason, 300);
        let did = brief::decided_as(vote.choice);
        if !vote.stands(&visit.shown_digest, &visit.assessment.plan_digest) {
            return format!("{who} at {at}, on what was shown before it changed: it no longer counts. {did}: {reason}");
        }
        let indicators = brief::approved(&visit.assessment, &vote.indicators).join(", ");
        format!("{who} at {at} {did} {indicators}: {reason}. A second person has to approve the same.")
    };
    visit.votes.iter().map(line).collect()
}
