//! The condition, key and update expressions that our adapters send: comparisons, `attribute_exists`, `begins_with`, `AND`, `OR`,
//! `NOT`; `SET`, `REMOVE`, `ADD`.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::size::Item;

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Placeholders<'a> {
    names: Option<&'a Map<String, Value>>,
    values: Option<&'a Map<String, Value>>,
}

impl<'a> Placeholders<'a> {
    /// Those of a request.
    #[must_use]
    pub fn of(request: &'a Value) -> Self {
        let part = |name: &str| request.get(name).and_then(Value::as_object);
        Self { names: part("ExpressionAttributeNames"), values: part("ExpressionAttributeValues") }
    }

    fn name(&self, word: &str) -> Result<&'a str> {
        let known = self.names.and_then(|names| names.get(word)).and_then(Value::as_str);
        known.with_context(|| format!("{word} stands for nothing"))
    }

    fn value(&self, word: &str) -> Result<&'a Value> {
        self.values.and_then(|values| values.get(word)).with_context(|| format!("{word} stands for nothing"))
    }
}

/// Whether a condition holds of an item; an absent item is an empty one.
pub fn holds(condition: &str, of: Placeholders<'_>, item: &Item) -> Result<bool> {
    let words = words(condition);
    let mut reader = Reader { words: &words, at: 0, of, item };
    let is_so = reader.alternatives()?;
    match reader.peek() {
        "" => Ok(is_so),
        more => bail!("{condition:?}: {more:?} was not expected"),
    }
}

/// The item after an update.
pub fn updated(update: &str, of: Placeholders<'_>, item: &Item) -> Result<Item> {
    let mut item = item.clone();
    let mut clause = "";
    let words = words(update);
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        match word {
            "SET" | "REMOVE" | "ADD" => clause = word,
            "," => {}
            name => match clause {
                "SET" => {
                    let equals = words.next();
                    let value = words.next().filter(|_| equals == Some("="));
                    let value = value.with_context(|| format!("{update:?}: {name} is set to nothing"))?;
                    item.insert(of.name(name)?.to_owned(), of.value(value)?.clone());
                }
                "REMOVE" => {
                    item.remove(of.name(name)?);
                }
                "ADD" => {
                    let summand = words.next().with_context(|| format!("{update:?}: nothing is added"))?;
                    let known = item.get(of.name(name)?).map_or(0, number);
                    let sum = known.saturating_add(number(of.value(summand)?));
                    item.insert(of.name(name)?.to_owned(), json!({ "N": sum.to_string() }));
                }
                _ => bail!("{update:?}: {name:?} was not expected"),
            },
        }
    }
    Ok(item)
}

fn number(value: &Value) -> i64 {
    value.get("N").and_then(Value::as_str).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Names, words and signs; a path is one word.
fn words(text: &str) -> Vec<String> {
    let is_of_word = |c: char| c.is_alphanumeric() || "#:_.".contains(c);
    let mut words: Vec<String> = vec![];
    let mut is_open = false;
    for c in text.chars() {
        let continues = words.last().is_some_and(|last| {
            is_open
                && (is_of_word(c) && last.chars().all(is_of_word)
                    || matches!((last.as_str(), c), ("<", '=' | '>') | (">", '=')))
        });
        match words.last_mut() {
            Some(last) if continues => last.push(c),
            _ if c.is_whitespace() => {}
            _ => words.push(c.to_string()),
        }
        is_open = !c.is_whitespace();
    }
    words
}

struct Reader<'a> {
    words: &'a [String],
    at: usize,
    of: Placeholders<'a>,
    item: &'a Item,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.words.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.at += 1;
        word
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        match self.next() {
            word if word == sign => Ok(()),
            word => bail!("{word:?} instead of {sign:?}"),
        }
    }

    fn alternatives(&mut self) -> Result<bool> {
        let mut is_so = self.all()?;
        while self.peek() == "OR" {
            self.next();
            is_so |= self.all()?;
        }
        Ok(is_so)
    }

    fn all(&mut self) -> Result<bool> {
        let mut is_so = self.one()?;
        while self.peek() == "AND" {
            self.next();
            is_so &= self.one()?;
        }
        Ok(is_so)
    }

    fn one(&mut self) -> Result<bool> {
        match self.peek() {
            "(" => {
                self.next();
                let is_so = self.alternatives()?;
                self.expect(")")?;
                Ok(is_so)
            }
            "NOT" => {
                self.next();
                Ok(!self.one()?)
            }
            "attribute_exists" | "attribute_not_exists" => {
                let wanted = self.next() == "attribute_exists";
                self.expect("(")?;
                let is_there = self.operand()?.is_some();
                self.expect(")")?;
                Ok(is_there == wanted)
            }
            "begins_with" => {
                self.next();
                self.expect("(")?;
                let text = self.operand()?;
                self.expect(",")?;
                let start = self.operand()?;
                self.expect(")")?;
                let text_of =
                    |value: Option<&Value>| value.and_then(|v| v.get("S")).and_then(Value::as_str).map(str::to_owned);
                Ok(text_of(text).zip(text_of(start)).is_some_and(|(text, start)| text.starts_with(&start)))
            }
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<bool> {
        let left = self.operand()?;
        let sign = self.next();
        let right = self.operand()?;
        // Without an attribute only "not equal" holds.
        let Some((left, right)) = left.zip(right) else { return Ok(sign == "<>") };
        let ordering = order(left, right);
        Ok(match sign {
            "=" => left == right,
            "<>" => left != right,
            "<" => ordering.is_some_and(std::cmp::Ordering::is_lt),
            "<=" => ordering.is_some_and(std::cmp::Ordering::is_le),
            ">" => ordering.is_some_and(std::cmp::Ordering::is_gt),
            ">=" => ordering.is_some_and(std::cmp::Ordering::is_ge),
            other => bail!("{other:?} compares nothing"),
        })
    }

    fn operand(&mut self) -> Result<Option<&'a Value>> {
        let word = self.next();
        if word.starts_with(':') {
            return self.of.value(word).map(Some);
        }
        let mut steps = word.split('.');
        let first = self.of.name(steps.next().unwrap_or_default())?;
        let mut there = self.item.get(first);
        for step in steps {
            let name = self.of.name(step)?;
            there = there.and_then(|value| value.get("M")).and_then(|map| map.get(name));
        }
        Ok(there)
    }
}

/// How two values of one kind sort; those of different kinds do not.
fn order(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    let text = |value: &Value| value.get("S").and_then(Value::as_str).map(str::to_owned);
    match (text(left), text(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ if left.get("N").is_some() && right.get("N").is_some() => Some(number(left).cmp(&number(right))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Value {
        json!({
            "ExpressionAttributeNames": {"#pk": "pk", "#until": "until", "#p0": "outcomes.otx", "#f": "fetched_at", "#n": "tries"},
            "ExpressionAttributeValues": {":now": {"S": "2026-11-24"}, ":f0": {"S": "2026-11-23"}, ":one": {"N": "1"}, ":in": {"S": "inc"}},
        })
    }

    fn item() -> Item {
        let Value::Object(item) = json!({
            "pk": {"S": "incident#1"}, "until": {"S": "2026-11-25"}, "tries": {"N": "2"},
            "outcomes.otx": {"M": {"fetched_at": {"S": "2026-11-22"}}},
        }) else {
            panic!("not an item")
        };
        item
    }

    #[test]
    fn conditions_of_our_adapters_hold_where_they_do() {
        let check = |condition: &str, expected: bool| {
            assert_eq!(holds(condition, Placeholders::of(&request()), &item()).unwrap(), expected, "{condition}");
        };
        check("attribute_not_exists(#pk)", false);
        check("attribute_not_exists(#pk) OR #until <= :now", false);
        check("attribute_not_exists(#pk) OR #until > :now", true);
        check("(attribute_not_exists(#p0) OR #p0.#f <= :f0) AND attribute_exists(#pk)", true);
        check("#n = :one", false);
        check("#n >= :one AND NOT #n < :one", true);
        check("begins_with(#pk, :in)", true);
        check("#f <> :now", true);
        check("#f = :now", false);
        assert!(holds("#nobody = :now", Placeholders::of(&request()), &item()).is_err());
    }

    #[test]
    fn an_update_sets_removes_and_adds() {
        let after =
            updated("SET #until = :now, #f = :f0 REMOVE #pk ADD #n :one", Placeholders::of(&request()), &item());
        let after = after.unwrap();
        assert_eq!(after["until"], json!({"S": "2026-11-24"}));
        assert_eq!(after["fetched_at"], json!({"S": "2026-11-23"}));
        assert_eq!(after["tries"], json!({"N": "3"}));
        assert!(!after.contains_key("pk"));
    }
}
