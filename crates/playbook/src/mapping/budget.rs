//! What an evaluation may hold: how many bytes its values take, and how large a value is when it is written out.
//!
//! Values share their parts, so that a small expression can mean a huge document. Every list, object and text that an
//! expression makes is weighed here, its shared parts once for the bytes and every time for the size.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use jsonata_core::{evaluator::EvaluatorError, value::JValue};
use serde_json::{Map, Number, Value};

use super::refused;

/// Bytes that the values of one evaluation may take, about.
pub(super) const BYTES_MAX: usize = 24 * 1024 * 1024;
/// The longest list that is kept.
pub(super) const LIST_MAX: usize = 10_000;
/// Values in a value, those of shared parts each time.
const SIZE_MAX: u64 = 500_000;
/// The same of what an expression gives, and how deep it is.
const RESULT_MAX: usize = 200_000;
const RESULT_DEPTH: usize = 100;
const RESULT_TEXT_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Lists and objects that are compared with one another.
const COMPARED_MAX: usize = 200;
/// Deeper than any document that is read.
const DEPTH: usize = 300;

const TEXT_BYTES: usize = 40;
const LIST_BYTES: usize = 64;
const ITEM_BYTES: usize = 64;
const OBJECT_BYTES: usize = 128;
const MEMBER_BYTES: usize = 80;

/// The account of one evaluation.
#[derive(Debug, Default)]
pub(super) struct Budget(RefCell<Account>);

#[derive(Debug, Default)]
struct Account {
    /// Bytes and size of what was weighed, by its place in memory.
    weighed: HashMap<usize, (usize, u64)>,
    bytes: usize,
}

impl Budget {
    /// Adds a value to the account and gives it back; an error when it is too much.
    pub(super) fn keep(&self, value: &JValue) -> Result<JValue, EvaluatorError> {
        if value.as_array().is_some_and(|items| items.len() > LIST_MAX) {
            return Err(refused("D2015: list is too long"));
        }
        self.0.borrow_mut().weigh(value, 0)?;
        Ok(value.clone())
    }
}

impl Account {
    /// The size of a value, written out.
    fn weigh(&mut self, value: &JValue, depth: usize) -> Result<u64, EvaluatorError> {
        if depth > DEPTH {
            return Err(refused("D1011: a value is nested too deeply"));
        }
        let Some(place) = place(value) else { return Ok(1) };
        let (bytes, size) = if let Some(items) = value.as_array() {
            (LIST_BYTES + items.len() * ITEM_BYTES, self.all(items.iter(), depth)?)
        } else if let Some(members) = value.as_object() {
            let names: usize = members.keys().map(String::len).sum();
            (OBJECT_BYTES + members.len() * MEMBER_BYTES + names, self.all(members.values(), depth)?)
        } else {
            (TEXT_BYTES + value.as_str().map_or(0, str::len), 1)
        };
        self.note(place, bytes, size)
    }

    fn all<'v>(&mut self, parts: impl Iterator<Item = &'v JValue>, depth: usize) -> Result<u64, EvaluatorError> {
        let mut size = 1_u64;
        for part in parts {
            size = size.saturating_add(match self.known(part) {
                Some(known) => known,
                None => self.weigh(part, depth + 1)?,
            });
        }
        Ok(size)
    }

    /// The size of a list or an object that was weighed before.
    fn known(&self, value: &JValue) -> Option<u64> {
        let place = place(value).filter(|_| !value.is_string())?;
        self.weighed.get(&place).map(|(_, size)| *size)
    }

    fn note(&mut self, place: usize, bytes: usize, size: u64) -> Result<u64, EvaluatorError> {
        let known = self.weighed.entry(place).or_default();
        // What lay here before is gone, or is this.
        self.bytes += bytes.saturating_sub(known.0);
        *known = (known.0.max(bytes), size);
        if self.bytes > BYTES_MAX {
            return Err(refused("D2015: values take too much memory"));
        }
        if size > SIZE_MAX {
            return Err(refused("D2015: a value is too large"));
        }
        Ok(size)
    }
}

/// A list without its repetitions, the first of each. Scalars are looked up, and only the few lists and objects compared.
pub(super) fn distinct(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    let [value] = arguments else { return Err(refused("T0410: $distinct takes one argument")) };
    let JValue::Array(list) = value else { return Ok(value.clone()) };
    let (mut scalars, mut others, mut kept) = (HashSet::new(), Vec::<&JValue>::new(), vec![]);
    for item in list {
        let is_new = match item {
            JValue::Array(_) | JValue::Object(_) => {
                let is_new = !others.contains(&item);
                if is_new && others.len() >= COMPARED_MAX {
                    return Err(refused("D2015: too many lists and objects are compared"));
                }
                others.extend(is_new.then_some(item));
                is_new
            }
            JValue::String(text) => scalars.insert(Scalar::Text(text)),
            JValue::Number(number) => scalars.insert(Scalar::Number((number + 0.0).to_bits())),
            JValue::Bool(is_true) => scalars.insert(Scalar::Truth(*is_true)),
            JValue::Null => scalars.insert(Scalar::Null),
            _ => true,
        };
        kept.extend(is_new.then(|| item.clone()));
    }
    Ok(JValue::Array(list.with_items(kept)))
}

#[derive(PartialEq, Eq, Hash)]
enum Scalar<'a> {
    Text(&'a str),
    Number(u64),
    Truth(bool),
    Null,
}

/// Where a value lies in memory, if it takes any of its own.
fn place(value: &JValue) -> Option<usize> {
    let list = value.as_array().map(|items| std::ptr::from_ref(items).addr());
    let object = || value.as_object().map(|members| std::ptr::from_ref(members).addr());
    list.or_else(object).or_else(|| value.as_str().map(|text| text.as_ptr().addr()))
}

/// A value as a document, where it is not larger than a document may be. Numbers are integers wherever they are whole.
pub(super) fn written_out(value: &JValue) -> Result<Value, EvaluatorError> {
    let mut writer = Writer { values: 0, text_bytes: 0 };
    writer.write(value, 0)
}

struct Writer {
    values: usize,
    text_bytes: usize,
}

impl Writer {
    fn write(&mut self, value: &JValue, depth: usize) -> Result<Value, EvaluatorError> {
        self.values += 1;
        if self.values > RESULT_MAX || self.text_bytes > RESULT_TEXT_MAX_BYTES || depth > RESULT_DEPTH {
            return Err(refused("D2015: the result is too large"));
        }
        Ok(match value {
            JValue::Bool(is_true) => Value::Bool(*is_true),
            JValue::Number(number) => whole(*number),
            JValue::String(text) => {
                self.text_bytes += text.len();
                Value::String(text.to_string())
            }
            JValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.write(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            JValue::Object(members) => {
                let mut written = Map::new();
                for (name, member) in members.iter() {
                    self.text_bytes += name.len();
                    written.insert(name.clone(), self.write(member, depth + 1)?);
                }
                Value::Object(written)
            }
            _ => Value::from(value),
        })
    }
}

/// JSONata counts in floating point; documents hold integers wherever the number is one.
fn whole(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "guarded: whole and within 53 bits")]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        Value::from(number as i64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}
