//! The one way to write a definition: two spaces, keys in our order, states as they are reached, numbers in one form.
//! What an editor re-ordered and nobody changed gives no difference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::leads_to;

/// Where in a definition an object stands; that decides the order of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Machine,
    States,
    State,
    Processor,
    Config,
    Choice,
    Retry,
    Catch,
    /// Payloads, variables, outputs: keys of the author's.
    Free,
}

const MACHINE: &[&str] = &["Comment", "QueryLanguage", "StartAt", "States"];
const STATE: &[&str] = &[
    "Type",
    "Comment",
    "Resource",
    "Arguments",
    "Items",
    "ItemSelector",
    "MaxConcurrency",
    "ItemProcessor",
    "Choices",
    "Seconds",
    "Timestamp",
    "Error",
    "Cause",
    "TimeoutSeconds",
    "Retry",
    "Catch",
    "Assign",
    "Output",
    "Default",
    "Next",
    "End",
];
const PROCESSOR: &[&str] = &["ProcessorConfig", "StartAt", "States"];
const CONFIG: &[&str] = &["Mode"];
const CHOICE: &[&str] = &["Comment", "Condition", "Assign", "Output", "Next"];
const RETRY: &[&str] =
    &["Comment", "ErrorEquals", "IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds", "JitterStrategy"];
const CATCH: &[&str] = &["Comment", "ErrorEquals", "Assign", "Output", "Next"];
/// What a payload begins with; the others follow by the alphabet.
const FREE: &[&str] = &["act", "incident_id", "run", "round", "offset", "count"];

impl Place {
    /// The keys that belong here, in their order; a free object may have others.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Machine => MACHINE,
            Self::State => STATE,
            Self::Processor => PROCESSOR,
            Self::Config => CONFIG,
            Self::Choice => CHOICE,
            Self::Retry => RETRY,
            Self::Catch => CATCH,
            Self::Free => FREE,
            Self::States => &[],
        }
    }

    /// Where the value under a key stands.
    pub(super) fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Machine | Self::Processor, "States") => Self::States,
            (Self::States, _) => Self::State,
            (Self::State, "ItemProcessor") => Self::Processor,
            (Self::Processor, "ProcessorConfig") => Self::Config,
            (Self::State, "Choices") => Self::Choice,
            (Self::State, "Retry") => Self::Retry,
            (Self::State, "Catch") => Self::Catch,
            _ => Self::Free,
        }
    }
}

/// The definition as our files hold it.
#[must_use]
pub fn canonical(definition: &Value) -> String {
    let mut text = String::new();
    let start = definition["StartAt"].as_str().unwrap_or_default();
    write(&mut text, definition, Place::Machine, start, 0);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, place: Place, start: &str, depth: usize) {
    match value {
        Value::Object(map) if map.is_empty() => text.push_str("{}"),
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Object(map) => {
            let start = map.get("StartAt").and_then(Value::as_str).unwrap_or(start);
            text.push('{');
            for (number, key) in ordered(map, place, start).into_iter().enumerate() {
                begin(text, number, depth + 1);
                text.push_str(&Value::from(key).to_string());
                text.push_str(": ");
                match &map[key] {
                    Value::Number(number) if place == Place::Retry && key == "BackoffRate" => {
                        text.push_str(&rate(number));
                    }
                    value => write(text, value, place.below(key), start, depth + 1),
                }
            }
            end(text, '}', depth);
        }
        Value::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                begin(text, number, depth + 1);
                write(text, item, place, start, depth + 1);
            }
            end(text, ']', depth);
        }
        Value::Number(number) => text.push_str(&plain(number)),
        other => text.push_str(&other.to_string()),
    }
}

fn begin(text: &mut String, number: usize, depth: usize) {
    text.push_str(if number == 0 { "\n" } else { ",\n" });
    text.push_str(&"  ".repeat(depth));
}

fn end(text: &mut String, bracket: char, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(bracket);
}

/// `2.0` and `2` are one number.
fn plain(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 1e15 => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}

/// The one number that the language wants as a decimal fraction.
fn rate(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.1}"),
        _ => number.to_string(),
    }
}

fn ordered<'a>(map: &'a Map<String, Value>, place: Place, start: &str) -> Vec<&'a str> {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
    keys.sort_unstable();
    if place == Place::States {
        let reached = reached(map, start);
        keys.sort_by_key(|key| reached.iter().position(|name| name == key).unwrap_or(usize::MAX));
    } else {
        let known = place.keys();
        keys.sort_by_key(|key| known.iter().position(|name| name == key).unwrap_or(known.len()));
    }
    keys
}

/// The states in the order in which an incident passes them: each behind all that lead to it, loops apart, and behind
/// each choice what its first branch leads to first.
fn reached<'a>(states: &'a Map<String, Value>, start: &str) -> Vec<&'a str> {
    let Some((start, _)) = states.get_key_value(start) else { return vec![] };
    let (mut seen, mut left) = (BTreeSet::from([start.as_str()]), vec![]);
    // Without recursion: each state with what it leads to and nobody has looked at yet; the last drawn is looked at first.
    let mut path = vec![(start.as_str(), leads_to(&states[start]))];
    while let Some((name, open)) = path.last_mut() {
        let Some(next) = open.pop() else {
            left.push(*name);
            path.pop();
            continue;
        };
        if let Some((next, body)) = states.get_key_value(next)
            && seen.insert(next)
        {
            path.push((next, leads_to(body)));
        }
    }
    left.reverse();
    left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(definition: &Value, expected: &str) {
        assert_eq!(canonical(definition), expected);
    }

    #[test]
    fn keys_stand_in_our_order_and_numbers_in_one_form() {
        check(
            &json!({"States": {"A": {"End": true, "Retry": [{"BackoffRate": 2, "MaxAttempts": 3.0}], "Type": "Task",
                "Assign": {"b": 1.5, "a": [], "run": {}}}}, "StartAt": "A"}),
            r#"{
  "StartAt": "A",
  "States": {
    "A": {
      "Type": "Task",
      "Retry": [
        {
          "BackoffRate": 2.0,
          "MaxAttempts": 3
        }
      ],
      "Assign": {
        "run": {},
        "a": [],
        "b": 1.5
      },
      "End": true
    }
  }
}
"#,
        );
    }

    #[test]
    fn states_stand_where_an_incident_passes_them() {
        let machine = json!({"StartAt": "Look", "States": {
            "Ask": {"Next": "Look", "Catch": [{"Next": "Fail"}]},
            "Close": {"End": true},
            "Fail": {},
            "Look": {"Choices": [{"Next": "Work"}, {"Next": "Ask"}], "Default": "Close", "Catch": [{"Next": "Fail"}]},
            "Lost": {},
            "Work": {"Next": "Close"},
        }});
        let states = machine["States"].as_object().unwrap();
        assert_eq!(ordered(states, Place::States, "Look"), ["Look", "Work", "Ask", "Close", "Fail", "Lost"]);
    }
}
