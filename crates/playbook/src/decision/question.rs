//! Questions: the two that the playbook asks by itself, and those that an author draws.

use std::collections::BTreeSet;

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// May the plan be enforced?
    ApprovePlan,
    /// Sources failed; what shall become of the incident?
    NeedsData,
    /// A question of the playbook's author, with choices of its own; it approves nothing of the plan.
    Manual,
}

impl Question {
    /// The answers that a person may choose from; none is chosen beforehand. Of a manual question see [`Asks`].
    #[must_use]
    pub const fn choices(self) -> &'static [Choice] {
        match self {
            Self::ApprovePlan => &[Choice::Approved, Choice::Rejected],
            Self::NeedsData => &[Choice::Acknowledged, Choice::Rejected, Choice::LookAgain],
            Self::Manual => &[],
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Enforce what is ticked.
    Approved,
    /// False positive: release everything, and never again.
    Rejected,
    /// Seen; close as unknown.
    Acknowledged,
    /// Ask the sources again.
    LookAgain,
    /// The next level shall decide.
    Escalated,
    /// A manual question was answered; the answer says what.
    Answered,
    /// Nobody decided in time.
    TimedOut,
}

impl Choice {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Acknowledged => "acknowledged",
            Self::LookAgain => "look_again",
            Self::Escalated => "escalated",
            Self::Answered => "answered",
            Self::TimedOut => "timed_out",
        }
    }

    /// Whether it says what becomes of the incident: silence, a question handed on and an author's question do not.
    #[must_use]
    pub const fn settles(self) -> bool {
        matches!(self, Self::Approved | Self::Rejected | Self::Acknowledged | Self::LookAgain)
    }

    /// Whether the next level is asked after it, where there is one.
    #[must_use]
    pub const fn asks_on(self) -> bool {
        matches!(self, Self::Escalated | Self::TimedOut)
    }
}

/// A question as an author draws it, in the payload of `PrepareReview`. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asks {
    /// The question in plain words, at most 300 characters. Absent: the playbook's own question for the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The answers to choose from, 1 to 8; only with a question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Offered>,
    /// Who is asked. Absent: the level of the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Asked>,
    /// Minutes that people have, 1 to 8,640. Absent: by policy and severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_minutes: Option<u32>,
    /// What is shown beside the question.
    #[serde(default)]
    pub evidence: Shows,
    /// Whether indicators can be ticked with the answer; only with a question.
    #[serde(default)]
    pub indicators: bool,
}

/// An answer that an author offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// What the machine reads: a lower-case word of at most 32 letters, digits and `_`.
    pub value: String,
    /// What it is called, at most 60 characters.
    pub label: String,
    /// What follows, at most 200 characters.
    #[serde(default)]
    pub effect: String,
}

/// Who is asked; one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// These people, by address.
    Approvers(Vec<String>),
    /// A level of the policy, from 1.
    Level(u32),
    /// The people whom the policy names as owners of a target.
    OwnersOf(String),
}

/// What is shown beside a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// Verdicts and evidence.
    #[default]
    Assessment,
    /// The incident's name and severity only.
    Nothing,
}

/// The most answers that are offered.
const CHOICES_MAX: usize = 8;

impl Asks {
    /// Whether it is a question of its own.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        self.question.is_some()
    }

    /// `Rejected` with the place and the reason when it cannot be asked.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong = |what: String| Err(Fault::Rejected(format!("the question of PrepareReview: {what}")));
        let is_long = |text: &str, max: usize| text.trim().is_empty() || text.chars().count() > max;
        match &self.question {
            None if !self.choices.is_empty() || self.indicators => {
                return wrong("choices and indicators belong to a question, and there is none".to_owned());
            }
            Some(question) if is_long(question, 300) => return wrong("question: 1 to 300 characters".to_owned()),
            Some(_) if self.choices.is_empty() || self.choices.len() > CHOICES_MAX => {
                return wrong(format!("choices: {} are offered, 1 to {CHOICES_MAX} can be", self.choices.len()));
            }
            _ => {}
        }
        let mut values = BTreeSet::new();
        for (number, choice) in self.choices.iter().enumerate() {
            let Offered { value, label, effect } = choice;
            let is_word = value.starts_with(|c: char| c.is_ascii_lowercase())
                && value.len() <= 32
                && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !is_word {
                return wrong(format!("choices[{number}].value: {value:?} is not a word of a-z, 0-9 and _"));
            }
            if !values.insert(value) {
                return wrong(format!("choices[{number}].value: {value:?} is offered twice"));
            }
            if is_long(label, 60) || effect.chars().count() > 200 {
                return wrong(format!("choices[{number}]: label 1 to 60 characters, effect at most 200"));
            }
        }
        if let Some(minutes) = self.deadline_minutes
            && !(1..=8_640).contains(&minutes)
        {
            return wrong(format!("deadline_minutes: {minutes} is not within 1 and 8640"));
        }
        match &self.audience {
            Some(Asked::Approvers(approvers)) => match approvers.iter().find(|address| !is_address(address)) {
                Some(address) => wrong(format!("audience.approvers: {address:?} is not one person's address")),
                None if approvers.is_empty() => wrong("audience.approvers: nobody is named".to_owned()),
                None => Ok(()),
            },
            Some(Asked::Level(0)) => wrong("audience.level: levels count from 1".to_owned()),
            _ => Ok(()),
        }
    }

    /// The answer of this value.
    #[must_use]
    pub fn offered(&self, value: &str) -> Option<&Offered> {
        self.choices.iter().find(|choice| choice.value == value)
    }
}

fn is_address(text: &str) -> bool {
    Observable::parse(ObservableType::EmailAddr, text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "values are made where they are passed")]
    fn check(document: serde_json::Value, expected: Option<&str>) {
        let asks: Asks = serde_json::from_value(document.clone()).unwrap();
        let said = asks.check().err().map(|fault| fault.to_string());
        match expected {
            None => assert_eq!(said, None, "{document}"),
            Some(words) => assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{document}: {said:?}"),
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_place() {
        let choice = json!({"value": "isolate", "label": "Isolate it"});
        check(json!({}), None);
        check(json!({"deadline_minutes": 5, "audience": {"level": 2}}), None);
        check(
            json!({"question": "Isolate dc01?", "choices": [choice], "indicators": true, "evidence": "nothing"}),
            None,
        );
        check(json!({"choices": [choice]}), Some("belong to a question"));
        check(json!({"question": "Isolate?", "choices": []}), Some("choices: 0 are offered"));
        check(json!({"question": " ", "choices": [choice]}), Some("question: 1 to 300"));
        check(
            json!({"question": "?", "choices": [choice, choice]}),
            Some("choices[1].value: \"isolate\" is offered twice"),
        );
        check(json!({"question": "?", "choices": [{"value": "Yes!", "label": "Yes"}]}), Some("choices[0].value"));
        check(json!({"question": "?", "choices": [{"value": "yes", "label": ""}]}), Some("label 1 to 60"));
        check(json!({"deadline_minutes": 0}), Some("deadline_minutes"));
        check(json!({"audience": {"approvers": []}}), Some("nobody is named"));
        check(json!({"audience": {"approvers": ["everybody"]}}), Some("not one person's address"));
        check(json!({"audience": {"level": 0}}), Some("from 1"));
    }

    #[test]
    fn unknown_keys_are_errors() {
        for document in [json!({"choice": []}), json!({"choices": [{"value": "a", "label": "A", "colour": "red"}]})] {
            assert!(serde_json::from_value::<Asks>(document).is_err());
        }
    }
}
