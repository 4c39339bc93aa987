//! Reads a document of a feed: lines, columns or JSON through the mapping to entries.

use std::collections::BTreeSet;

use playbook::{
    intake::Format,
    mapping::{Expression, Input},
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    entries::{Entries, Entry},
    fetch::Failure,
};

/// The longest line or field, in bytes.
const LINE_MAX_BYTES: usize = 8_192;
const COLUMNS_MAX: usize = 64;

/// What was read of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The indicators.
    pub entries: Entries,
    /// Lines, rows and objects that were none.
    pub left_out: usize,
    /// Those among them that the mapping passed over on purpose: it gave nothing.
    passed_over: usize,
}

/// How a document is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// What makes entries of it.
    pub mapping: &'a Expression,
    /// More entries are a failure.
    pub entries_max: usize,
    /// Later it is a failure.
    pub until: Instant,
}

impl Reader<'_> {
    /// Reads a whole document. One that holds lines but no indicator is not in the feed's format: a failure, never an empty
    /// list.
    pub fn document(self, format: Format, body: &[u8]) -> Result<Reading, Failure> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let reading = match format {
            Format::Text => self.text(body),
            Format::Csv => self.csv(body),
            Format::Json => self.json(body),
            Format::Taxii => Err(Failure::new("a collection of TAXII is no document")),
        }?;
        if reading.entries.len() == 0 && reading.left_out > reading.passed_over {
            return Err(Failure::new(format!("none of {} entries is an indicator", reading.left_out)));
        }
        Ok(reading)
    }

    fn text(self, body: &[u8]) -> Result<Reading, Failure> {
        let mut reading = Reading::default();
        for line in body.split(|byte| *byte == b'\n') {
            match std::str::from_utf8(line).map(uncommented) {
                Ok("") => {}
                Ok(line) if line.len() <= LINE_MAX_BYTES => self.one(&mut reading, json!({ "line": line }))?,
                _ => reading.left_out += 1,
            }
        }
        Ok(reading)
    }

    fn csv(self, body: &[u8]) -> Result<Reading, Failure> {
        let mut rows =
            csv::ReaderBuilder::new().has_headers(false).comment(Some(b'#')).flexible(true).from_reader(body);
        let mut record = csv::ByteRecord::new();
        let mut next = |record: &mut csv::ByteRecord| {
            let is_row = rows.read_byte_record(record).map_err(|_| Failure::new("the document is not csv"))?;
            if record.iter().any(|field| field.len() > LINE_MAX_BYTES) {
                return Err(Failure::new("a field of the csv is too long: a quote is not closed"));
            }
            let lines = rows.position().line() - record.position().map_or(0, csv::Position::line);
            Ok(is_row.then_some(lines))
        };
        let mut reading = Reading::default();
        let mut columns = commented_columns(body);
        while let Some(lines) = next(&mut record)? {
            let fields = record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
            match (&columns, fields) {
                (Some(columns), Ok(fields)) if columns.len() == fields.len() => {
                    let row: Map<String, Value> =
                        columns.iter().cloned().zip(fields.into_iter().map(Value::from)).collect();
                    self.one(&mut reading, json!({ "row": row }))?;
                }
                // An open quote swallows the lines after it: half a list must not pass for a whole one.
                (Some(_), _) if lines > 1 => return Err(Failure::new("a quote of the csv is not closed")),
                (Some(_), _) => reading.left_out += 1,
                (None, Ok(fields)) => columns = Some(names(&fields)?),
                (None, Err(_)) => return Err(Failure::new("the csv's header is not text")),
            }
        }
        if columns.is_none() { Err(Failure::new("the csv has no header")) } else { Ok(reading) }
    }

    fn json(self, body: &[u8]) -> Result<Reading, Failure> {
        let body: Value = serde_json::from_slice(body).map_err(|_| Failure::new("the document is not json"))?;
        let mapped = self.mapping.evaluate_on(&Input::new(json!({ "body": body })));
        let mapped = mapped.map_err(|error| Failure::new(format!("mapping: {error}")))?;
        let mut reading = Reading::default();
        if mapped.is_null() {
            return Err(Failure::new("the document has not the shape that the mapping expects"));
        }
        for mapped in listed(mapped) {
            self.take(&mut reading, mapped, &Map::new())?;
        }
        Ok(reading)
    }

    /// Maps one line or row.
    fn one(self, reading: &mut Reading, input: Value) -> Result<(), Failure> {
        self.map(reading, input, &Map::new())
    }

    /// Maps one input to entries, each of which also says `also`.
    pub fn map(self, reading: &mut Reading, input: Value, also: &Map<String, Value>) -> Result<(), Failure> {
        if Instant::now() >= self.until {
            return Err(Failure::new("reading took too long"));
        }
        match self.mapping.evaluate_on(&Input::new(input)) {
            Ok(Value::Null) => {
                reading.left_out += 1;
                reading.passed_over += 1;
            }
            Ok(mapped) => {
                for mapped in listed(mapped) {
                    self.take(reading, mapped, also)?;
                }
            }
            Err(_) => reading.left_out += 1,
        }
        Ok(())
    }

    fn take(self, reading: &mut Reading, mapped: Value, also: &Map<String, Value>) -> Result<(), Failure> {
        match Entry::read(mapped, also) {
            Some(entry) => reading.entries.add(entry),
            None => reading.left_out += 1,
        }
        if reading.entries.len() > self.entries_max {
            return Err(Failure::new(format!("more than {} entries", self.entries_max)));
        }
        Ok(())
    }
}

/// JSONata unwraps lists of one.
fn listed(mapped: Value) -> Vec<Value> {
    match mapped {
        Value::Array(items) => items,
        one => vec![one],
    }
}

/// A line without its comment: `#` or `;` at its start or after white space, so that fragments of addresses stay.
fn uncommented(line: &str) -> &str {
    let line = line.trim();
    let is_mark = |text: &str| text.starts_with(['#', ';']);
    if is_mark(line) {
        return "";
    }
    let comment =
        line.char_indices().find(|(at, c)| c.is_whitespace() && line.get(at + c.len_utf8()..).is_some_and(is_mark));
    comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default().trim_end())
}

/// The header where it stands in the last comment before the first row, as abuse.ch writes it: words with commas between.
fn commented_columns(body: &[u8]) -> Option<Vec<String>> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let comment =
        lines.take_while(|line| line.is_empty() || line.starts_with(b"#")).filter(|line| !line.is_empty()).last()?;
    let comment = std::str::from_utf8(comment).ok()?.trim_start_matches('#').trim();
    let columns: Vec<&str> = comment.split(',').map(str::trim).collect();
    let is_word = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if columns.iter().all(is_word) { names(&columns).ok() } else { None }
}

/// Columns by name: at least two, each once.
fn names(fields: &[&str]) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = fields.iter().map(|name| name.trim().to_owned()).collect();
    let different: BTreeSet<&String> = names.iter().filter(|name| !name.is_empty()).collect();
    if different.len() == names.len() && (2..=COLUMNS_MAX).contains(&names.len()) {
        Ok(names)
    } else {
        Err(Failure::new("the csv's first line names no columns"))
    }
}
