//! A receipt: all that is needed to reach the same verdict again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Fault, IncidentId, Timestamp,
    verdict::{Edition, Facts, Verdict},
};

/// One verdict with everything it was reached from (`receipt/2`; `receipt/1` is read, too). Holds no floats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `receipt/2`, or `receipt/1` of an earlier release.
    pub schema: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// The configuration that judged.
    pub config_digest: String,
    /// The time that ages were counted from.
    pub now: Timestamp,
    /// What the verdict was reached from.
    pub facts: Facts,
    /// The verdict with its arithmetic.
    pub verdict: Verdict,
}

impl Receipt {
    /// The name of the document's schema.
    pub const SCHEMA: &str = "receipt/2";
    /// What the previous release wrote; it is replayed by the rule of that release.
    const FIRST: &str = "receipt/1";

    /// Reads a document of receipts: one, or one a line, as `Assess` stores them.
    pub fn parse(document: &[u8]) -> Result<Vec<Self>, Fault> {
        let mut receipts = vec![];
        for receipt in serde_json::Deserializer::from_slice(document).into_iter::<Self>() {
            let number = receipts.len() + 1;
            let receipt = receipt.map_err(|e| Fault::Rejected(format!("receipt {number} cannot be read: {e}")))?;
            if ![Self::SCHEMA, Self::FIRST].contains(&receipt.schema.as_str()) {
                let schema = &receipt.schema;
                return Err(Fault::Rejected(format!(
                    "receipt {number}: schema is {schema:?}, this version reads {:?} and {:?}",
                    Self::SCHEMA,
                    Self::FIRST
                )));
            }
            receipts.push(receipt);
        }
        if receipts.is_empty() {
            Err(Fault::Rejected("the document holds no receipt".to_owned()))
        } else {
            Ok(receipts)
        }
    }

    /// Whether it was written by the current edition of the rule.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.schema == Self::SCHEMA
    }

    /// One receipt a line.
    pub fn to_lines<'a>(receipts: impl IntoIterator<Item = &'a Self>) -> Result<Vec<u8>, Fault> {
        let mut lines = vec![];
        for receipt in receipts {
            lines.extend(crate::canonical::to_json(receipt)?);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Reaches the verdict again and says what differs, a line per term, such as `opinions.urlhaus.weight_hundredths: the receipt
    /// says 9859, the rule gives 9900`; empty when it is the same.
    #[must_use]
    pub fn replay(&self) -> (Verdict, Vec<String>) {
        let edition = if self.schema == Self::FIRST { Edition::First } else { Edition::Second };
        let again = Verdict::reach_by(edition, &self.facts, self.now);
        let mut differences = vec![];
        match (serde_json::to_value(&self.verdict), serde_json::to_value(&again)) {
            (Ok(then), Ok(now)) => compare("", &then, &now, &mut differences),
            _ => differences.push("the verdict cannot be compared".to_owned()),
        }
        (again, differences)
    }
}

/// Names every term that differs. Opinions are named by their provider, everything else by its place.
fn compare(at: &str, then: &Value, now: &Value, differences: &mut Vec<String>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            for name in names {
                let [then, now] = [then, now].map(|side| side.get(name).unwrap_or(&Value::Null));
                compare(&below(name), then, now, differences);
            }
        }
        (Value::Array(then), Value::Array(now)) => {
            for number in 0..then.len().max(now.len()) {
                let [then, now] = [then, now].map(|side| side.get(number).unwrap_or(&Value::Null));
                let provider = then.get("provider").or_else(|| now.get("provider")).and_then(Value::as_str);
                compare(&below(provider.unwrap_or(&number.to_string())), then, now, differences);
            }
        }
        (then, now) if then == now => {}
        (then, now) => differences.push(format!("{at}: the receipt says {then}, the rule gives {now}")),
    }
}
