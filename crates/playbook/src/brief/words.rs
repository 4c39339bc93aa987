//! The words of a brief: times, verdicts and texts from outside, as a person reads them.

use crate::{
    Timestamp,
    assessment::Said,
    effort::Efforts,
    outcome::Judgement,
    verdict::{Reason, Verdict},
};

/// A text from outside: nothing to click, nothing hidden, at most so many characters of it.
#[must_use]
pub fn hostile(text: &str, max_chars: usize) -> String {
    ioc::defang_text(&cut(text, max_chars))
}

/// At most so many characters; says how many there are in all when it cuts.
pub fn cut(text: &str, max_chars: usize) -> String {
    match head(text, max_chars) {
        None => text.to_owned(),
        Some(head) => format!("{head}… ({} characters in all)", text.chars().count()),
    }
}

/// The beginning of a text that is longer; a cut never falls into what makes a text harmless, such as `[@]` or `\u{202e}`.
pub fn head(text: &str, max_chars: usize) -> Option<&str> {
    let (at, _) = text.char_indices().nth(max_chars)?;
    let head = text.get(..at)?;
    let is_open = |start: usize| {
        let rest = text.get(start..).unwrap_or_default();
        let length = if rest.starts_with("\\u{") { rest.find('}').map_or(0, |end| end + 1) } else { 0 };
        let brackets = ["[.]", "[@]", "[:]", "[\\]", "\\n", "\\r", "\\t"];
        let length = brackets.iter().find(|known| rest.starts_with(**known)).map_or(length, |known| known.len());
        start + length > at
    };
    // The longest escape is `\u{10ffff}`.
    let late = head.char_indices().rev().take(10).filter(|(_, c)| matches!(c, '[' | '\\')).map(|(start, _)| start);
    head.get(..late.filter(|start| is_open(*start)).min().unwrap_or(at))
}

/// At most so many characters, the mark of the cut included: where there is no room to say more.
#[must_use]
pub fn clip(text: &str, max_chars: usize) -> String {
    match head(text, max_chars) {
        None => text.to_owned(),
        Some(_) => format!("{}…", head(text, max_chars.saturating_sub(1)).unwrap_or_default()),
    }
}

/// `2026-11-24 14:30 UTC`.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or(""), text.get(11..16).unwrap_or(""))
}

/// `2026-11-24`.
pub fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// `14:30Z`, with the date in front when it is another day than `now`.
#[must_use]
pub fn short_moment(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_string();
    let time = text.get(11..16).unwrap_or("");
    match text.get(..10) {
        Some(day) if now.to_string().get(..10) != Some(day) => format!("{day} {time}Z"),
        _ => format!("{time}Z"),
    }
}

/// `3 days ago`; what lies ahead counts as just now.
#[must_use]
pub fn ago(millis: i64) -> String {
    let minutes = millis / 60_000;
    if minutes < 1 { "just now".to_owned() } else { format!("{} ago", span(minutes)) }
}

/// `in 43 minutes`, or `over since 2 hours`.
#[must_use]
pub fn ahead(millis: i64) -> String {
    if millis > 0 {
        // Rounded up: a minute that has begun is still there.
        format!("in {}", span((millis + 59_999) / 60_000))
    } else {
        format!("over since {}", span((-millis / 60_000).max(1)))
    }
}

fn span(minutes: i64) -> String {
    let (number, unit) = match minutes {
        ..120 => (minutes, "minute"),
        120..2_880 => (minutes / 60, "hour"),
        2_880.. => (minutes / 1_440, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// `7 days` or `12 hours`.
pub fn hours(hours: u32) -> String {
    span(i64::from(hours) * 60)
}

/// `4 of 6 required sources answered`.
pub fn coverage(verdict: &Verdict) -> String {
    match verdict.coverage.required {
        0 => "no source is required for this type".to_owned(),
        1 => format!("{} of 1 required source answered", verdict.coverage.answered),
        required => format!("{} of {required} required sources answered", verdict.coverage.answered),
    }
}

/// Why the verdict is what it is.
pub fn conclusion(verdict: &Verdict) -> String {
    let reason = match verdict.reason {
        Some(Reason::Contradiction) => "the sources contradict each other".to_owned(),
        Some(Reason::Degraded) => "a required source failed".to_owned(),
        Some(Reason::LowCoverage) => "a required source was not asked".to_owned(),
        Some(Reason::WeakEvidence) => "what was said weighs too little".to_owned(),
        Some(Reason::Expired) => "everything that was said is too old".to_owned(),
        Some(Reason::NoOpinion) => "nobody has an opinion".to_owned(),
        Some(Reason::NotFound) => "no source knows it".to_owned(),
        None if verdict.rule == 1 => "a person decided so earlier".to_owned(),
        None => format!("confidence {} of 100", verdict.confidence),
    };
    let caution = match verdict.verdict {
        Judgement::Malicious | Judgement::Unknown => "",
        _ if verdict.degraded => "; a required source failed, so it may be worse",
        _ => "",
    };
    format!("{reason}{caution}")
}

/// What a provider said or failed to say.
pub fn says(said: &Said) -> String {
    let is_reduced = said.reason.as_deref() == Some("reduced");
    let asked = if is_reduced { ", asked without user, query and fragment" } else { "" };
    let reason = said.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", hostile(reason, 120)));
    let now = match said.outcome.as_str() {
        "found" => match &said.verdict {
            Some(verdict) => format!("says {}{asked}", hostile(verdict, 40)),
            None => format!("knows it, has no opinion{asked}"),
        },
        "not_found" => format!("does not know it{asked}"),
        "error" => format!("failed{reason}"),
        "rate_limited" => format!("over its limit{reason}"),
        "skipped" => format!("not asked{reason}"),
        "pending" => format!("answer still to come{reason}"),
        other => format!("{}{reason}", hostile(other, 40)),
    };
    match &said.verdict {
        Some(verdict) if said.outcome != "found" => format!("{now}; it said {} before", hostile(verdict, 40)),
        _ => now,
    }
}

/// What the lookups took: `36 lookups: 12 known already, 24 calls (25 planned), 2 put off; the calls cost $0.12`.
pub fn effort(efforts: &Efforts) -> String {
    let Efforts { planned, made } = efforts;
    if made.lookups == 0 {
        return String::new();
    }
    let planned = if planned.calls == made.calls { String::new() } else { format!(" ({} planned)", planned.calls) };
    let first = format!("{} lookups: {} known already, {} calls{planned}", made.lookups, made.cached, made.calls);
    let counted = [(made.put_off, "put off"), (made.left_out, "left out")].into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = std::iter::once(first).chain(counted.map(|(n, what)| format!("{n} {what}"))).collect();
    let line = parts.join(", ");
    if made.microdollars == 0 {
        return line;
    }
    // Rounded up to the cent: nobody is told that something was free.
    let cents = made.microdollars.div_ceil(10_000);
    format!("{line}; the calls cost ${}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::Effort;

    #[test]
    fn a_span_is_said_in_the_unit_that_a_person_thinks_in() {
        let check = |millis: i64, expected: &str| assert_eq!(ahead(millis), expected);
        check(43 * 60_000 - 1, "in 43 minutes");
        check(1, "in 1 minute");
        check(720 * 60_000, "in 12 hours");
        check(3 * 86_400_000, "in 3 days");
        check(0, "over since 1 minute");
        check(-7_200_000, "over since 2 hours");
        assert_eq!(ago(-5), "just now");
        assert_eq!(ago(86_400_000 * 2), "2 days ago");
    }

    #[test]
    fn what_lookups_took_is_one_line() {
        let check = |efforts: Efforts, expected: &str| assert_eq!(effort(&efforts), expected);
        check(Efforts::default(), "");
        let made = Effort { lookups: 36, cached: 12, calls: 24, ..Effort::default() };
        check(Efforts { planned: made, made }, "36 lookups: 12 known already, 24 calls");
        let planned = Effort { calls: 25, ..made };
        let made = Effort { put_off: 2, left_out: 1, microdollars: 120_001, ..made };
        let told = "36 lookups: 12 known already, 24 calls (25 planned), 2 put off, 1 left out; the calls cost $0.13";
        check(Efforts { planned, made }, told);
    }

    #[test]
    fn another_day_is_named() {
        let now = Timestamp::parse("2026-11-24T05:00:00Z").unwrap();
        assert_eq!(short_moment(now.plus_minutes(15), now), "05:15Z");
        assert_eq!(short_moment(now.plus_hours(24), now), "2026-11-25 05:00Z");
        assert_eq!(moment(now), "2026-11-24 05:00 UTC");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(hostile("abc", 3), "abc");
        assert_eq!(hostile("http://evil.example/aaaa", 20), "hxxp://evil[.]example/… (24 characters in all)");
        assert_eq!(cut("ééé", 2), "éé… (3 characters in all)");
        assert_eq!((clip("ééé", 3).as_str(), clip("éééé", 3).as_str()), ("ééé", "éé…"));
    }

    #[test]
    fn a_cut_never_falls_into_what_makes_a_text_harmless() {
        let check = |text: &str, expected: [&str; 4]| {
            let heads: Vec<&str> = (0..4).map(|chars| head(text, chars).unwrap()).collect();
            assert_eq!(heads, expected, "{text}");
        };
        check("a[@]b", ["", "a", "a", "a"]);
        check("\\u{202e}b", ["", "", "", ""]);
        check("a\\nbc", ["", "a", "a", "a\\n"]);
        check("[ab]c", ["", "[", "[a", "[ab"]);
        check("\\abcd", ["", "\\", "\\a", "\\ab"]);
        assert_eq!(head("[@]", 3), None);
    }
}
