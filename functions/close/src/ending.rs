//! How an incident ends: its status, a word, and what becomes of its tickets.

use playbook::{
    assessment::{Assessment, Route},
    decision::{Choice, Decision},
    incident::IncidentStatus,
};
use targets::ticket::Aim;

/// How an incident ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Where it stands then.
    pub status: IncidentStatus,
    /// One word, as in the incident's row.
    pub result: &'static str,
    /// What its tickets shall come to. Where no person has decided that it is over, they stay open.
    pub aim: Aim,
}

impl Ending {
    /// The decision comes before the route.
    pub fn of(route: Option<&str>, assessment: Option<&Assessment>, decision: Option<&Decision>) -> Self {
        match decision.map(|decision| decision.choice) {
            Some(Choice::Approved) => return Self::closed("enforced", Aim::Close),
            Some(Choice::Rejected) => return Self::closed("false_positive", Aim::Close),
            Some(Choice::Acknowledged) => return Self::closed("acknowledged", Aim::Close),
            Some(Choice::LookAgain) => {
                return Self { status: IncidentStatus::Open, ..Self::closed("look_again", Aim::Note) };
            }
            // The last level was asked to decide, and nobody did.
            Some(Choice::TimedOut | Choice::Escalated) => return Self::closed("timed_out", Aim::Note),
            Some(Choice::Answered) | None => {}
        }
        match (route, assessment) {
            (_, None) => Self::closed("no_observables", Aim::Close),
            (Some(word), _) if word == Route::Provisional.as_str() => {
                Self { status: IncidentStatus::Provisional, ..Self::closed("provisional", Aim::Note) }
            }
            (Some(word), _) if word == Route::Watch.as_str() => Self::closed("watched", Aim::Note),
            // The backstop of the await: a person was to decide, and nobody has.
            (Some(word), _) if word == Route::Review.as_str() || word == Route::NeedsData.as_str() => {
                Self::closed("timed_out", Aim::Note)
            }
            _ => Self::closed("not_malicious", Aim::Close),
        }
    }

    const fn closed(result: &'static str, aim: Aim) -> Self {
        Self { status: IncidentStatus::Closed, result, aim }
    }

    /// What it came to without a decision, in a sentence; none where the route says it already.
    pub fn sentence(self) -> Option<&'static str> {
        match self.result {
            "timed_out" => {
                Some("nobody decided; nothing more is enforced, and what was written runs to its own expiry")
            }
            "not_malicious" => Some("closed: nothing harmful is known"),
            "no_observables" => Some("closed: nothing was found that could be looked up"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use playbook::Timestamp;

    use super::*;

    fn check(route: &str, choice: Option<Choice>, expected: (IncidentStatus, &'static str, Aim)) {
        let assessment: Assessment = playbook::brief::sample::assessment().unwrap();
        let decision = choice.map(|choice| Decision {
            choice,
            last: true,
            by: "ana@soc.example".to_owned(),
            authenticated_by: "mailbox".to_owned(),
            ..Decision::at(Timestamp::from_millis(0))
        });
        let (status, result, aim) = expected;
        let ending = Ending::of(Some(route), Some(&assessment), decision.as_ref());
        assert_eq!(ending, Ending { status, result, aim }, "{route} {choice:?}");
    }

    #[test]
    fn how_it_ended_is_one_word_and_the_decision_comes_before_the_route() {
        use IncidentStatus::{Closed, Open, Provisional};
        check("benign", None, (Closed, "not_malicious", Aim::Close));
        check("watch", None, (Closed, "watched", Aim::Note));
        check("review", None, (Closed, "timed_out", Aim::Note));
        check("provisional", None, (Provisional, "provisional", Aim::Note));
        check("review", Some(Choice::Approved), (Closed, "enforced", Aim::Close));
        check("review", Some(Choice::Rejected), (Closed, "false_positive", Aim::Close));
        check("review", Some(Choice::TimedOut), (Closed, "timed_out", Aim::Note));
        check("needs-data", Some(Choice::Acknowledged), (Closed, "acknowledged", Aim::Close));
        check("needs-data", Some(Choice::LookAgain), (Open, "look_again", Aim::Note));
        assert_eq!(Ending::of(None, None, None).result, "no_observables");
    }
}
