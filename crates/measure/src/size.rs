//! How large an item is and what reading and writing it costs, by the rules that DynamoDB publishes.
//!
//! Sizes: Developer Guide, "DynamoDB item sizes and formats". Units: "DynamoDB read and write operations", on-demand mode.
//! Items are in the spelling of the wire: `{"S": "…"}`, `{"N": "1"}`, `{"M": {…}}`.

use serde_json::{Map, Value};

/// An item of the wire.
pub type Item = Map<String, Value>;

/// What is written is charged by the kilobyte.
const WRITE_BYTES: usize = 1_024;
/// What is read is charged by four.
const READ_BYTES: usize = 4_096;

/// The size of an item: names and values.
#[must_use]
pub fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// The size of a value; 0 of what is none.
#[must_use]
pub fn value_bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        ("N", Value::String(number)) => number_bytes(number),
        ("B", Value::String(base64)) => base64.trim_end_matches('=').len() * 3 / 4,
        ("BOOL" | "NULL", _) => 1,
        ("SS", Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::len).sum(),
        ("NS", Value::Array(numbers)) => numbers.iter().filter_map(Value::as_str).map(number_bytes).sum(),
        // Three bytes for the collection, one for each element.
        ("L", Value::Array(values)) => 3 + values.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        ("M", Value::Object(values)) => {
            3 + values.iter().map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>()
        }
        _ => 0,
    }
}

/// One byte, and one for each two significant digits; one more of a negative number.
fn number_bytes(number: &str) -> usize {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    1 + significant.div_ceil(2) + usize::from(number.starts_with('-'))
}

/// Units of one write: of what lay there and what lies there then, the larger one counts; also where a condition fails.
#[must_use]
pub fn write_units(before: Option<&Item>, after: Option<&Item>) -> f64 {
    let bytes = before.map_or(0, item_bytes).max(after.map_or(0, item_bytes));
    units(bytes, WRITE_BYTES)
}

/// Units of reading so many bytes at once: one item of `GetItem` and of `BatchGetItem`, all items of a `Query` together.
/// What is not there costs as much as the smallest item.
#[must_use]
pub fn read_units(bytes: usize, is_consistent: bool) -> f64 {
    units(bytes, READ_BYTES) * if is_consistent { 1.0 } else { 0.5 }
}

#[expect(clippy::cast_precision_loss, reason = "an item has at most 400 KB")]
fn units(bytes: usize, step: usize) -> f64 {
    bytes.div_ceil(step).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(item: Value) -> Item {
        let Value::Object(item) = item else { panic!("not an item") };
        item
    }

    #[track_caller]
    fn check(value: &Value, expected: usize) {
        assert_eq!(value_bytes(value), expected, "{value}");
    }

    #[test]
    fn values_are_as_large_as_the_guide_says() {
        check(&json!({"S": "Bücher"}), 7);
        check(&json!({"BOOL": true}), 1);
        check(&json!({"NULL": true}), 1);
        check(&json!({"N": "27"}), 2);
        check(&json!({"N": "-27"}), 3);
        check(&json!({"N": "1764000000"}), 3);
        check(&json!({"N": "0.0123"}), 3);
        check(&json!({"N": "0"}), 1);
        check(&json!({"B": "aGVsbG8="}), 5);
        check(&json!({"SS": ["ab", "c"]}), 3);
        check(&json!({"L": []}), 3);
        check(&json!({"L": [{"S": "ab"}, {"N": "1"}]}), 3 + 1 + 2 + 1 + 2);
        check(&json!({"M": {"name": {"S": "x"}}}), 3 + 1 + 4 + 1);
    }

    #[test]
    fn an_item_is_its_names_and_values() {
        // The guide's own: the attribute "shirt-color" with the value "R" is 12 bytes.
        assert_eq!(item_bytes(&of(json!({"shirt-color": {"S": "R"}}))), 12);
    }

    #[test]
    fn units_are_as_the_guide_counts_them() {
        let item = |bytes: usize| of(json!({"a": {"S": "x".repeat(bytes - 1)}}));
        // "If your item size is 2 KB, you require 2 write request units": and 3 KB for 3; a unit is up to 1 KB.
        assert!((write_units(None, Some(&item(1_024))) - 1.0).abs() < f64::EPSILON);
        assert!((write_units(None, Some(&item(2_048))) - 2.0).abs() < f64::EPSILON);
        assert!((write_units(None, Some(&item(2_049))) - 3.0).abs() < f64::EPSILON);
        // "Even if you update just a subset of the item's attributes, UpdateItem consumes the larger of before and after."
        assert!((write_units(Some(&item(5_000)), Some(&item(100))) - 5.0).abs() < f64::EPSILON);
        assert!((write_units(Some(&item(5_000)), None) - 5.0).abs() < f64::EPSILON);
        // "An item of 8 KB takes 2 strongly consistent units, 1 eventually consistent."
        assert!((read_units(8_192, true) - 2.0).abs() < f64::EPSILON);
        assert!((read_units(8_192, false) - 1.0).abs() < f64::EPSILON);
        // BatchGetItem of 1.5 KB and 6.5 KB is 4 KB + 8 KB.
        assert!((read_units(1_536, true) + read_units(6_656, true) - 3.0).abs() < f64::EPSILON);
        // GetItem of what is not there.
        assert!((read_units(0, true) - 1.0).abs() < f64::EPSILON);
    }
}
