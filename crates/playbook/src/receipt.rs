//! A receipt: all that is needed to reach the same verdict again.

use serde::{Deserialize, Serialize};

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

    /// One receipt a line.
    pub fn to_lines(receipts: &[Self]) -> Result<Vec<u8>, Fault> {
        let mut lines = vec![];
        for receipt in receipts {
            lines.extend(crate::canonical::to_json(receipt)?);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Reaches the verdict again and says what differs, a line per term; empty when it is the same.
    #[must_use]
    pub fn replay(&self) -> (Verdict, Vec<String>) {
        let edition = if self.schema == Self::FIRST { Edition::First } else { Edition::Second };
        let again = Verdict::reach_by(edition, &self.facts, self.now);
        let differences = match (serde_json::to_value(&self.verdict), serde_json::to_value(&again)) {
            (Ok(serde_json::Value::Object(then)), Ok(serde_json::Value::Object(now))) => then
                .iter()
                .filter(|(term, value)| now.get(*term) != Some(value))
                .map(|(term, value)| {
                    let other = now.get(term).unwrap_or(&serde_json::Value::Null);
                    format!("{term}: the receipt says {value}, the rule gives {other}")
                })
                .collect(),
            _ => vec!["the verdict cannot be compared".to_owned()],
        };
        (again, differences)
    }
}
