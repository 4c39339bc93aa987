//! The audit as a table, read by a CSV parser, and as a spreadsheet that splits cells elsewhere reads it.

use playbook::{
    Timestamp,
    audit::{Entry, Event},
    brief::sample,
};
use xtask::audit::{COLUMNS, csv, json_lines};

use super::{
    check_dead, each,
    places::Places,
    readers::{self},
};

fn entry() -> Entry {
    let id = sample::assessment().unwrap().incident_id;
    Entry {
        who: sample::APPROVER.to_owned(),
        indicators: vec!["domain-name#evil.example".to_owned(), "url#https://evil.example/".to_owned()],
        ..Entry::of((&id, 1, 1), Event::Decided, Timestamp::parse(sample::ASSESSED_AT).unwrap())
    }
}

/// Rows of a table, the header among them.
fn read(table: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(table.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// Whether a spreadsheet would calculate it.
fn is_formula(cell: &str) -> bool {
    let first = cell.trim_start_matches(|c: char| c.is_whitespace() || c == '"').chars().next();
    first
        .is_some_and(|c| "=+-@\t\r\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}\u{2212}\u{fe62}\u{fe63}\u{fe66}\u{fe6b}".contains(c))
}

#[test]
fn no_cell_is_a_formula_a_link_or_two_cells() {
    let places = Places::of(&entry());
    each("table of the audit", places.pointers.len(), |payload| {
        let table = csv(&[places.with(payload), entry()]).unwrap();
        let rows = read(&table);
        assert_eq!(rows.len(), 3, "{payload:?}: {table}");
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()), "{payload:?}: {table}");
        assert_eq!(rows[0], COLUMNS);
        for (column, cell) in COLUMNS.iter().zip(&rows[1]) {
            assert!(!is_formula(cell), "{payload:?} is calculated in {column}: {cell}");
            assert!(readers::hidden(cell).is_empty(), "{payload:?} hides in {column}: {cell}");
            // Who decided is an address that policy names; it stays one.
            if *column != "who" {
                check_dead(column, payload, cell);
            }
        }
        for part in table.split([',', ';', '\t', '|', '\n', '\r']) {
            assert!(!is_formula(part), "{payload:?} is calculated where cells are split elsewhere: {part}");
        }
    });
}

#[test]
fn a_line_of_data_is_one_document_that_hides_nothing() {
    let places = Places::of(&entry());
    each("lines of the audit", places.pointers.len(), |payload| {
        let written = [places.with(payload), entry()];
        let lines = json_lines(&written).unwrap();
        let read: Vec<Entry> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, written, "{payload:?}");
        assert!(readers::hidden(&lines).is_empty(), "{payload:?}: {lines}");
    });
}

#[test]
fn a_formula_is_found() {
    assert!(["=1", " +1", "\"-1", "\u{ff1d}1"].iter().all(|cell| is_formula(cell)));
    assert!(!["'=1", "a=1", "", "1-1"].iter().any(|cell| is_formula(cell)));
}
