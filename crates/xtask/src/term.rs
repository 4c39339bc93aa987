//! What goes where: data to standard output, messages to standard error, progress only where somebody watches.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};

/// Says how far we are; only on a terminal.
pub fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let dim = Style::new().dimmed();
        let _ = writeln!(anstream::stderr(), "{dim}{text}{dim:#}");
    }
}

/// Says something that a person must see, whatever the output goes into.
pub fn message(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes a line of data; styles are dropped where nobody sees them, and under `NO_COLOR`.
pub fn line(text: &str) {
    let mut out = anstream::stdout().lock();
    // A reader that has gone away, such as `head`, is no reason to fail.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A text in bold.
#[must_use]
pub fn bold(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// A text that steps back.
#[must_use]
pub fn dim(text: &str) -> String {
    let style = Style::new().dimmed();
    format!("{style}{text}{style:#}")
}

/// A text in a colour.
#[must_use]
pub fn coloured(text: &str, colour: AnsiColor) -> String {
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// A table with aligned columns; the first row is its head. Cells hold no styles.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = vec![];
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let text = cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
        lines.push(format!("  {}", if number == 0 { bold(&text) } else { text }));
    }
    lines.join("\n")
}

/// A number of bytes as people read it.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
