//! Whatever comes from outside, in whatever place: no reader is given a link, a tag, a mention, a formula, a header or a line
//! that is not ours, nor a character that nobody sees.
//!
//! The payloads are data (`tests/fixtures/hostile/`); the places are found by walking the documents; what the sinks write is
//! read by parsers. One file a sink.

mod corpus;
mod log;
mod mail;
mod page;
mod places;
mod readers;
mod table;
mod ticket;

use corpus::payloads;

/// Shows every payload to a sink, in every place at once, and says how many there were.
fn each(sink: &str, places: usize, mut show: impl FnMut(&str)) {
    let payloads = payloads();
    for payload in &payloads {
        show(&payload.text);
    }
    println!("{sink}: {} payloads × {places} places", payloads.len());
}

/// What every sink must not hold, whatever it is.
fn check_dead(sink: &str, payload: &str, text: &str) {
    let hidden = readers::hidden(text);
    assert!(hidden.is_empty(), "{payload:?} hides {hidden:?} in {sink}: {text}");
    let live = readers::live(text);
    assert!(live.is_empty(), "{payload:?} is live in {sink}: {live:?}");
}
