//! What one crafted mail can cost: time linear in the input, no panic, and nothing live in what is shown.

use std::time::{Duration, Instant};

use ioc::{Observable, ObservableType, defang_text, extract, visible};
use proptest::prelude::*;

const SIZE: usize = 300_000;

/// Pieces that, repeated, make naive scanners quadratic.
const REPEATED: &[&str] = &[
    "a",
    "A",
    ".",
    "1.",
    "a.",
    "a-",
    "-",
    "_",
    "(.) ",
    "[.]",
    "[",
    "]",
    "(",
    ")",
    "[[[[.",
    "a@",
    "@",
    "a@a.",
    ":",
    "a:",
    "1:",
    "::",
    "1::",
    "http:",
    "http:/",
    "http://",
    "hxxp://a.",
    "hxxp://a.example/(",
    "http://a.example/)",
    "http://a@",
    "http:/a.b:/",
    "http://a.b:99999/",
    "http://a.-/",
    "http://[::]:1/",
    "http://a.b%",
    "https:// ",
    "f",
    "0123456789abcdef ",
    "aHR0c",
    "aHR0cHM6 ",
    " -e ",
    " -enc a",
    "%3A%2F%2F",
    "http%3A%2F%2F",
    "a%3A%2F%2F.",
    " DOT ",
    "a DOT ",
    " AT ",
    "a AT b DOT ",
    "\u{3002}",
    "\u{200b}",
    "\u{fc}",
    "\u{4e2d}",
    "\u{4e2d}a.",
    "a\u{ff0e}",
    "&#46;",
    "&",
    "\\",
    "\\.",
    "a\\.",
    "\\u002e",
    "1.1.1.1-",
    "1.1.1.1.",
    "a.example",
    "a.example/",
    "a.example,",
    "xn--a.",
    "]).",
    "x].",
    "f(x).",
    "a.[b",
    "\u{202e}",
    "https://urldefense.com/v3/__",
    "__;",
    "**A",
    "https://urldefense.com/v2/url?u=https-3A__",
    "https://www.google.com/url?q=",
    "https://r.example/?url=",
    "https://r.example/?u=http%3A%2F%2F",
    "https://r.example/http:/",
    "/http://a/",
    "a.example/?https%3A%2F%2Fx",
    "http:%2F%2Fa.example/",
    "&u=https://evil.example/a",
    "http%253A%252F%252F",
    "http%3A//a.b/",
    "%68%74",
    "<http://a.b/|",
    "://0123456789abcdef0123456789abcdef-",
    "0123456789abcdef0123456789abcdef+",
    "a,b\n",
    "\r\n",
    " ",
    "\0",
];

#[test]
fn time_is_linear_on_hostile_text() {
    for piece in REPEATED {
        for end in ["", ".", "@", ".com", "]"] {
            let text = piece.repeat(SIZE / piece.len()) + end;
            let start = Instant::now();
            let found = extract(&text).len();
            let spent = start.elapsed();
            assert!(spent < Duration::from_secs(1), "{piece:?}…{end:?}: {spent:?}, {found} found");
        }
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(REPEATED).prop_map(str::to_owned),
        1 => proptest::sample::select(&[
            "evil", "com", "example", "192.0.2.7", "2001:db8::1", "hxxps", "://", "user@", "url?u=", "\n", "'", "\"", "<", ">", "=", "{", "}",
            "d41d8cd98f00b204e9800998ecf8427e", "\u{ff20}", "\u{2024}", "https", "/a?b#c",
        ][..]).prop_map(str::to_owned),
        2 => "\\PC{0,8}",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// True when a mail client could make a link of it.
fn is_live(shown: &str) -> bool {
    let chars: Vec<char> = shown.chars().collect();
    let is_label = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    shown.contains('@') && shown.replace("[@]", "").contains('@')
        || ["http://", "https://", "ftp://", "mailto:"].iter().any(|scheme| shown.to_lowercase().contains(scheme))
        || chars.windows(3).any(|three| matches!(three, [a, '.', b] if is_label(*a) && is_label(*b)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn extraction_never_panics_and_finds_canonical_values(text in hostile()) {
        for observable in extract(&text) {
            let again = Observable::parse(observable.kind(), observable.value());
            prop_assert_eq!(again, Ok(observable.clone()));
            prop_assert!(!is_live(&observable.defanged()), "{}", observable.defanged());
        }
    }

    #[test]
    fn extraction_is_sorted_without_duplicates(text in hostile()) {
        let found = extract(&text);
        prop_assert!(found.is_sorted());
        prop_assert!(found.windows(2).all(|two| two.first() != two.last()));
    }

    #[test]
    fn parsing_twice_changes_nothing(text in hostile()) {
        for kind in ObservableType::ALL {
            if let Ok(once) = Observable::parse(kind, &text) {
                prop_assert_eq!(Observable::parse(kind, once.value()), Ok(once.clone()));
                let json = serde_json::to_string(&once).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Observable>(&json).unwrap(), &once);
            }
        }
    }

    #[test]
    fn shown_text_is_neither_live_nor_hidden(text in hostile()) {
        let shown = defang_text(&text);
        prop_assert!(!is_live(&shown), "{shown}");
        for shown in [shown, visible(&text)] {
            prop_assert!(!shown.chars().any(is_hidden), "{}", shown);
        }
    }
}
