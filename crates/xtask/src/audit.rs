//! `cargo xtask audit`: who tried what on decisions, as data or as a table.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use playbook::{IncidentId, audit::Entry};
use serde_json::Value;

use crate::{
    project::Project,
    recorded::{self, Place},
    term,
};

/// How the audit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document a line, exact.
    Json,
    /// A table for people, RFC 4180.
    Csv,
}

/// The table's columns: the members of an entry, in the order in which a person reads them.
pub const COLUMNS: [&str; 14] = [
    "at",
    "incident_id",
    "run",
    "round",
    "event",
    "who",
    "authenticated_by",
    "from",
    "choice",
    "reason",
    "indicators",
    "detail",
    "shown_digest",
    "plan_digest",
];

/// Writes the audit of one incident, or of all, to standard output.
pub fn run(project: &Project, place: &Place, incident: Option<&str>, format: Format) -> Result<()> {
    let entries = read(project, place, incident)?;
    let text = match format {
        Format::Json => json_lines(&entries)?,
        Format::Csv => csv(&entries)?,
    };
    term::line(text.strip_suffix('\n').unwrap_or(&text));
    Ok(())
}

/// The entries of one incident, or of all, oldest first.
pub fn read(project: &Project, place: &Place, incident: Option<&str>) -> Result<Vec<Entry>> {
    let incident = incident.map(|id| IncidentId::try_from(id.to_owned())).transpose()?;
    of(recorded::audit(project, place)?, incident.as_ref())
}

fn of(mut entries: Vec<Entry>, incident: Option<&IncidentId>) -> Result<Vec<Entry>> {
    let Some(id) = incident else { return Ok(entries) };
    let mut known: Vec<IncidentId> = entries.iter().map(|entry| entry.incident_id.clone()).collect();
    entries.retain(|entry| entry.incident_id == *id);
    if entries.is_empty() {
        let newest = known.last().cloned();
        known.sort();
        known.dedup();
        let newest = newest.map_or_else(String::new, |id| format!(", the newest of {id}"));
        bail!("there is no entry of incident {id} in the audit: it has entries of {} others{newest}", known.len());
    }
    Ok(entries)
}

/// The entries as JSON, one a line. What a terminal obeys or does not show is escaped; a reader gets it back as it was.
pub fn json_lines(entries: &[Entry]) -> Result<String> {
    let mut lines = String::new();
    for entry in entries {
        for c in serde_json::to_string(entry)?.chars() {
            if ioc::is_hidden(c) {
                let mut units = [0; 2];
                lines.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                lines.push(c);
            }
        }
        lines.push('\n');
    }
    Ok(lines)
}

/// The entries as a table with a header. Texts from outside are defanged, and no cell is a formula, whatever separates cells.
pub fn csv(entries: &[Entry]) -> Result<String> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(vec![]);
    table.write_record(COLUMNS)?;
    for entry in entries {
        let entry = serde_json::to_value(entry)?;
        table.write_record(COLUMNS.map(|column| cell(column, &entry[column])))?;
    }
    let bytes = table.into_inner().map_err(|error| anyhow::anyhow!("the table cannot be written: {error}"))?;
    String::from_utf8(bytes).context("the table is no text")
}

fn cell(column: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    match column {
        "at" | "incident_id" | "run" | "round" | "event" => text,
        // As policy spells it, so that people can look for it.
        "who" => inert(&ioc::visible(&text)),
        _ => inert(&ioc::defang_text(&text)),
    }
}

/// Puts an apostrophe before whatever would begin a formula, at the beginning and after what separates cells somewhere: a
/// table with commas is opened with semicolons in half of Europe.
fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        if begins && is_operator(c) {
            shown.push('\'');
        }
        begins = matches!(c, ',' | ';' | '|' | '"') || begins && c.is_whitespace();
        shown.push(c);
    }
    shown
}

/// What begins a formula (OWASP, "CSV Injection"), in every width; tabs and line breaks are escapes by now.
const fn is_operator(c: char) -> bool {
    matches!(
        c,
        '=' | '+'
            | '-'
            | '@'
            | '\u{2212}'
            | '\u{fe62}'
            | '\u{fe63}'
            | '\u{fe66}'
            | '\u{fe6b}'
            | '\u{ff0b}'
            | '\u{ff0d}'
            | '\u{ff1d}'
            | '\u{ff20}'
    )
}

#[cfg(test)]
mod tests {
    use playbook::{Timestamp, audit::Event};

    use super::*;

    fn entry(native_id: &str, at: &str) -> Entry {
        let id = IncidentId::of("default", "mail", native_id);
        let at = Timestamp::parse(at).unwrap();
        Entry { who: "ana@soc.example".to_owned(), ..Entry::of((&id, 1, 1), Event::Decided, at) }
    }

    fn folder(entries: &[Entry]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        std::fs::write(folder.path().join("rows.jsonl"), lines.join("\n")).unwrap();
        std::fs::write(folder.path().join("other.json"), "{\"schema\": \"receipt/9\"}").unwrap();
        folder
    }

    fn read_from(folder: &tempfile::TempDir, incident: Option<&str>) -> Result<Vec<Entry>> {
        read(&Project::find().unwrap(), &Place::Folder(folder.path().to_owned()), incident)
    }

    #[test]
    fn the_oldest_comes_first_and_one_incident_can_be_asked_for() {
        let (late, early) = (entry("a", "2026-11-24T06:00:00Z"), entry("b", "2026-11-24T05:00:00Z"));
        let folder = folder(&[late.clone(), early.clone()]);
        assert_eq!(read_from(&folder, None).unwrap(), [early, late.clone()]);
        assert_eq!(read_from(&folder, Some(late.incident_id.as_str())).unwrap(), [late]);
    }

    #[test]
    fn an_unknown_incident_and_an_empty_record_are_errors_that_say_what_is_there() {
        let (known, unknown) = (entry("a", "2026-11-24T06:00:00Z"), IncidentId::of("default", "mail", "unknown"));
        let error = read_from(&folder(std::slice::from_ref(&known)), Some(unknown.as_str())).unwrap_err().to_string();
        let expected = format!(
            "there is no entry of incident {unknown} in the audit: it has entries of 1 others, the newest of {}",
            known.incident_id
        );
        assert_eq!(error, expected);
        let error = read_from(&folder(&[]), None).unwrap_err().to_string();
        assert!(error.ends_with("holds no audit: its documents have the schema audit/1"), "{error}");
        assert!(read_from(&folder(&[known]), Some("inc-short")).is_err());
    }

    #[test]
    fn data_is_exact_and_hides_nothing() {
        let mut hostile = entry("a", "2026-11-24T06:00:00Z");
        hostile.reason = "\u{202e}\u{9b}31m\u{e0041}\n\"é\"".to_owned();
        let lines = json_lines(&[hostile.clone(), hostile.clone()]).unwrap();
        assert!(
            !lines.contains(['\u{202e}', '\u{9b}', '\u{e0041}']) && lines.contains("\\u202e") && lines.contains('é')
        );
        let read: Vec<Entry> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [hostile.clone(), hostile]);
    }

    #[test]
    fn every_member_of_an_entry_has_a_column() {
        let document = serde_json::to_value(entry("a", "2026-11-24T06:00:00Z")).unwrap();
        let mut members: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        members.retain(|member| *member != "schema");
        members.sort_unstable();
        let mut columns = COLUMNS.to_vec();
        columns.sort_unstable();
        assert_eq!(columns, members);
    }

    #[test]
    fn a_formula_is_a_text_wherever_a_cell_may_begin() {
        let check = |text: &str, expected: &str| assert_eq!(inert(text), expected);
        check("=1+1", "'=1+1");
        check("  =1+1", "  '=1+1");
        check("x;=1,+2|-3", "x;'=1,'+2|'-3");
        check("\"=1\"", "\"'=1\"");
        check("\u{ff1d}1", "'\u{ff1d}1");
        check("a=b - c", "a=b - c");
        check("", "");
    }

    #[test]
    fn the_table_has_a_header_and_says_who_in_clear() {
        let mut hostile = entry("a", "2026-11-24T06:00:00Z");
        hostile.reason = "=1, \"see\" https://evil.example\r\nx".to_owned();
        hostile.indicators = vec!["url#https://evil.example/".to_owned(), "domain-name#evil.example".to_owned()];
        let text = csv(std::slice::from_ref(&hostile)).unwrap();
        let id = hostile.incident_id;
        let expected = format!(
            "{}\r\n2026-11-24T06:00:00.000Z,{id},1,1,decided,ana@soc.example,,,,\
             \"'=1, \"\"see\"\" hxxps://evil[.]example\\r\\nx\",\
             url#hxxps://evil[.]example/ domain-name#evil[.]example,,,\r\n",
            COLUMNS.join(",")
        );
        assert_eq!(text, expected);
    }
}
