//! What a mapping can do at its worst: it is stopped, in time and in memory, and the lookup is an error with a reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use allocation_counter::measure;
use ioc::{Observable, ObservableType};
use playbook::{
    Timestamp,
    lookup::{Answer, interpret},
    manifest::Manifest,
    mapping::{Expression, MappingError},
    outcome::{Outcome, Status},
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Of the thread's processor: other tests and other programs do not count.
const CPU_MAX_MS: i64 = 250;
/// Of reading long answers; the parser of JSON is some times as slow where nothing is optimised.
const READING_MAX_MS: i64 = if cfg!(debug_assertions) { 4 * CPU_MAX_MS } else { CPU_MAX_MS };
const MEMORY_MAX_BYTES: u64 = 64 * 1024 * 1024;

fn cpu_ms() -> i64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec * 1_000 + spent.tv_nsec / 1_000_000
}

/// What `work` gives, within the limits.
fn within_limits<T>(what: &str, work: impl FnOnce() -> T) -> T {
    within(CPU_MAX_MS, what, work)
}

fn within<T>(cpu_max_ms: i64, what: &str, work: impl FnOnce() -> T) -> T {
    let mut made = None;
    let before = cpu_ms();
    let used = measure(|| made = Some(work()));
    let spent = cpu_ms() - before;
    println!("{spent:>4} ms {:>9} KiB  {what}", used.bytes_max / 1024);
    assert!(spent <= cpu_max_ms, "{what}: {spent} ms");
    assert!(used.bytes_max <= MEMORY_MAX_BYTES, "{what}: {} bytes", used.bytes_max);
    made.unwrap()
}

fn manifest(mapping: &str) -> Manifest {
    let manifest = json!({
        "schema": "provider/1", "id": "greedy", "name": "Greedy", "kind": "http", "verified": "live",
        "types": ["domain-name"], "family": "greedy", "grade": "B", "tlp_ceiling": "AMBER", "pap_ceiling": "AMBER",
        "discloses": "indicator", "lifetimes_minutes": { "found": 60, "not_found": 60, "error": 5 }, "timeout_ms": 5000,
        "host": "api.greedy.example", "requests": [{ "types": ["domain-name"], "path": "/{value}" }],
        "outcome": [{ "status": [200], "outcome": "found" }], "mapping": mapping,
    });
    serde_json::from_value(manifest).unwrap()
}

fn ask(manifest: &Manifest, body: Vec<u8>) -> Outcome {
    let observable = Observable::parse(ObservableType::DomainName, "evil.example").unwrap();
    let answer = Answer { status: 200, headers: vec![], body };
    interpret(manifest, &observable, Ok(&answer), Timestamp::from_millis(1_795_500_000_000))
}

/// An answer with long lists and texts.
fn wide(rows: u32) -> Vec<u8> {
    let rows: Vec<Value> = (0..rows).map(|n| json!({ "n": n, "t": format!("row {n}") })).collect();
    json!({ "a": rows, "n": (0..9_000).collect::<Vec<u32>>(), "t": "x".repeat(10_000), "long": "y".repeat(200_000) })
        .to_string()
        .into_bytes()
}

/// Repeats a step, each of which may name the one before: `$v0`, `$v1` …
fn chain(first: &str, step: &str, length: usize) -> String {
    let steps: Vec<String> = (1..=length)
        .map(|number| format!("$v{number} := {}", step.replace('@', &format!("$v{}", number - 1))))
        .collect();
    format!("($v0 := {first}; {}; $v{length})", steps.join("; "))
}

#[test]
fn whatever_an_expression_does_it_is_stopped() {
    let twice = chain("{\"x\": 1}", "{\"a\": @, \"b\": @}", 60);
    let expressions = [
        // Without an end.
        ("recursion", "($f := function($x) { 1 + $f($x + 1) }; $f(0))".to_owned()),
        ("recursion of two", "($f := function($x) { 1 + $g($x) }; $g := function($x) { 1 + $f($x) }; $f(0))".to_owned()),
        ("tail loop", "($f := function($x) { $f($x + 1) }; $f(0))".to_owned()),
        ("tail loop with a list", "($f := function($x) { $f([$x, 1, 2, 3]) }; $f([]))".to_owned()),
        ("tail loop that nests", "($f := function($x) { $f({\"x\": $x}) }; $f({}))".to_owned()),
        ("tail loop that nests lists", "($f := function($x) { $f([[$x]]) }; $f([]))".to_owned()),
        ("tail loop with a text", "($f := function($x, $l) { $f($x & 'x', $append($l, $x)) }; $f('x', []))".to_owned()),
        // Long.
        ("range", "[1..10000000]".to_owned()),
        ("range of ranges", "$map([1..9999], function($x) { [1..9999] })".to_owned()),
        ("steps of ranges", "[1..9999].{\"a\": [1..9999]}".to_owned()),
        ("steps of lists", "[1..9999].[$$.body.n]".to_owned()),
        ("nested maps", "$map([1..9999], function($x) { $map([1..9999], function($y) { $x * $y }) })".to_owned()),
        ("four nested maps", "$map(body.n, function($a) { $map($$.body.n, function($b) { $map($$.body.n, function($c) { $a + $b + $c }) }) })".to_owned()),
        ("maps of reversed lists", "$map(body.n, function($x) { $reverse($$.body.n) })".to_owned()),
        ("maps of sorted lists", "$map(body.n, function($x) { $sort($$.body.n, function($l, $r) { $l < $r }) })".to_owned()),
        ("filters in filters", "body.a[$count($$.body.a[n > 1][t != 'x']) > n]".to_owned()),
        ("sum over everything twice", "$sum(body.n.($x := $; $sum($$.body.n.($x * $))))".to_owned()),
        ("distinct of distinct", "$map(body.n, function($x) { $distinct($$.body.a) })".to_owned()),
        ("groups of groups", "$map(body.n, function($x) { $$.body.a{$string(n): t} })".to_owned()),
        ("merged objects", "$map(body.n, function($x) { $merge($$.body.a.{$string(n): t}) })".to_owned()),
        ("spread objects", "$map(body.n, function($x) { $spread($$.body.a) })".to_owned()),
        ("keys", "$map(body.n, function($x) { $keys($$.body.a) })".to_owned()),
        ("zip", "$map(body.n, function($x) { $zip($$.body.n, $$.body.n, $$.body.n) })".to_owned()),
        // Growing.
        ("appended lists", chain("[1..9]", "$append(@, @)", 40)),
        ("lists of lists", chain("[1, 2]", "[@, @]", 60)),
        ("wide lists of lists", chain("[1, 2]", &format!("[{}]", ["@"; 90].join(", ")), 20)),
        ("objects of objects", twice.clone()),
        ("two that are alike", format!("(($a := {twice}; $b := {twice}; $a = $b))")),
        ("texts", chain("'xx'", "@ & @", 60)),
        ("texts of a function", "($f := function($x, $n) { $n = 0 ? $x : $f($x & $x, $n - 1) }; $f('x', 60))".to_owned()),
        ("joined texts", "$join($map([1..100], function($x) { $$.body.t }))".to_owned()),
        ("many texts", "$map([1..9999], function($x) { $$.body.t & $x })".to_owned()),
        ("many copies", "$map([1..9999], function($x) { $uppercase($$.body.t) })".to_owned()),
        ("many copies of a long text", "$map([1..9999], function($x) { $uppercase($$.body.long) })".to_owned()),
        ("parts", "$map([1..9999], function($x) { $substring($$.body.long, 1) })".to_owned()),
        ("a long text taken apart", "$split(body.long, '')".to_owned()),
        ("a text taken apart many times", "$map([1..9999], function($x) { $split($$.body.t, '') })".to_owned()),
        ("a text matched many times", "$map([1..9999], function($x) { $match($$.body.t, /x/) })".to_owned()),
        ("a long text matched", "$match(body.long, /y/)".to_owned()),
        ("many objects", format!("[1..9999].{{{}}}", (0..200).map(|n| format!("\"m{n}\": 1")).collect::<Vec<_>>().join(", "))),
        ("everything many times", "$map([1..9999], function($x) { {\"all\": $$.body, \"again\": $$.body.a} })".to_owned()),
    ];
    let body = wide(6_000);
    for (what, source) in &expressions {
        let manifest = manifest(source);
        // Compiled before: what is not an expression is no proof.
        Expression::compile(source).unwrap_or_else(|error| panic!("{what}: {error}"));
        let outcome = within_limits(what, || ask(&manifest, body.clone()));
        assert_eq!((outcome.outcome, outcome.reason.as_deref()), (Status::Error, Some("mapping")), "{what}");
        assert_eq!(outcome.provider, "greedy", "{what}");
    }
}

#[test]
fn what_grows_without_a_loop_is_not_even_compiled() {
    let many = |one: &str, times: usize| vec![one; times].join(", ");
    for (source, expected) in [
        ("$pad('x', 1000000000)".to_owned(), "$pad"),
        ("$replace(a, '', b)".to_owned(), "$replace"),
        ("$formatNumber(1, b)".to_owned(), "$formatNumber"),
        ("$formatBase(1, 2)".to_owned(), "$formatBase"),
        ("$base64encode(a)".to_owned(), "$base64encode"),
        ("$encodeUrl(a)".to_owned(), "$encodeUrl"),
        ("$eval('[1..9]')".to_owned(), "$eval"),
        ("$reduce(a, $append)".to_owned(), "$reduce"),
        ("$map(a, $uppercase)".to_owned(), "$uppercase as a value"),
        ("$map(a, $append)".to_owned(), "$append as a value"),
        ("a ~> $append(b)".to_owned(), "~>"),
        ("a.**".to_owned(), "**"),
        (format!("[{}]", many("a", 101)), "a list of more than 100 expressions"),
        (format!("$zip({})", many("a", 21)), "$zip with more than 20 arguments"),
    ] {
        let error = Expression::compile(&source).expect_err(&source);
        assert!(matches!(error, MappingError::Refused(_)), "{source}: {error}");
        assert!(error.to_string().contains(expected), "{source}: {error}");
        // Whoever publishes it reads whose mapping it is.
        let yaml = serde_json::to_string(&manifest(&source)).unwrap();
        let complaint = Manifest::parse(&yaml, "playbook/providers/greedy.yaml").unwrap_err().to_string();
        assert!(complaint.contains("greedy") && complaint.contains("mapping"), "{complaint}");
    }
}

#[test]
fn whatever_an_answer_holds_it_is_read_within_limits_or_not_at_all() {
    let size = 2 * 1024 * 1024;
    let full = |one: &str| format!("[{}{one}]", format!("{one},").repeat(size / (one.len() + 1) - 2)).into_bytes();
    let mapping = manifest(
        r#"{"verdict": "unknown", "tags": body.a.t[[0..3]], "evidence": $string($count(body.a[n > 5])) & body.long}"#,
    );
    let mapped = manifest("$map(body, function($x) { {\"x\": $x, \"y\": [$x]} })");
    for (what, body) in [
        ("numbers", full("0")),
        ("empty lists", full("[]")),
        ("empty objects", full("{}")),
        ("small objects", full(r#"{"a":1,"b":2,"c":3}"#)),
        ("objects with lists", full(r#"{"a":[],"b":[{}]}"#)),
        ("texts", full(r#""""#)),
        ("long texts", full(&format!("\"{}\"", "x".repeat(1_000)))),
        ("one text", format!("\"{}\"", "x".repeat(size - 2)).into_bytes()),
        ("escapes", format!("\"{}\"", "\\u0000".repeat(size / 6 - 2)).into_bytes()),
        ("deep lists", ["[".repeat(100_000), "]".repeat(100_000)].concat().into_bytes()),
        ("deep lists that do not end", "[".repeat(size).into_bytes()),
        ("deep objects", ["{\"a\":".repeat(100_000), "1".to_owned(), "}".repeat(100_000)].concat().into_bytes()),
        (
            "one object",
            format!("{{{}\"z\":1}}", (0..90_000).map(|n| format!("\"k{n}\":1,")).collect::<Vec<_>>().concat())
                .into_bytes(),
        ),
        ("one name many times", format!("{{{}\"a\":1}}", "\"a\":1,".repeat(size / 6 - 3)).into_bytes()),
        ("digits", "9".repeat(size).into_bytes()),
        ("zeros", vec![0; size]),
    ] {
        for manifest in [&mapping, &mapped] {
            let outcome = within(READING_MAX_MS, what, || ask(manifest, body.clone()));
            let is_read = outcome.outcome == Status::Found;
            let is_told = matches!(outcome.reason.as_deref(), Some("mapping" | "garbage"));
            assert!(is_read || (outcome.outcome == Status::Error && is_told), "{what}: {outcome:?}");
        }
    }
}

#[test]
fn an_honest_mapping_of_a_long_answer_is_read() {
    let mapping = manifest(
        r#"(
        $bad := body.a[n > 1500];
        $names := $distinct($bad.t);
        {
            "verdict": $count($bad) > 10 ? "malicious" : "unknown",
            "score": $max(body.n) > 100 ? 90 : 10,
            "tags": $names[[0..5]],
            "evidence": $join($names[[0..9]], ", ") & " and " & ($count($names) - 10) & " more",
            "last_seen": "2026-11-24"
        })"#,
    );
    let body = wide(2_000);
    let outcome = within(READING_MAX_MS, "honest", || ask(&mapping, body));
    assert_eq!(outcome.outcome, Status::Found, "{outcome:?}");
    assert_eq!(outcome.opinion.unwrap().score, 90);
}
