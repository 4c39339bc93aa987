//! The mapping language of manifests: a bounded subset of JSONata, and the only module that names `jsonata-core`.
//!
//! An expression is pure: it sees its input and nothing else. `$eval`, the clock, randomness, `$pad`, `$replace` and
//! everything that is not on the list of [`BUILT_INS`] is refused when it is compiled, texts cannot grow without
//! bound, and time, memory, depth and lengths are limited when it is evaluated.

mod budget;
mod check;

use std::rc::Rc;

use jsonata_core::{
    ast::AstNode,
    evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions},
    parser,
    value::JValue,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use budget::Budget;
pub use check::BUILT_INS;

/// The longest expression, in bytes.
pub const SOURCE_MAX_BYTES: usize = 16_384;
/// The longest text that `&`, `$join` or `$string` may make, in bytes.
pub const TEXT_MAX_BYTES: usize = 16_384;

/// The longest text that `$split` and `$match` take apart, in bytes.
pub const APART_MAX_BYTES: usize = 65_536;

/// Reading an answer and writing out what was made of it take some of the quarter of a second that there is.
const TIME_LIMIT_MS: u64 = 110;
const EVALUATION_DEPTH: usize = 200;
/// What the evaluator says when its time is over.
const TIMED_OUT: &str = "D1012";
/// An evaluation that has had less of the processor than this, in all its tries, is begun again, so often in all.
const SPENT_MS: i64 = 25;
const TRIES: u32 = 5;

/// Why an expression was not compiled or gave no value. Messages never repeat the input it was evaluated on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The expression is longer than [`SOURCE_MAX_BYTES`].
    #[error("expression of {0} bytes; at most {SOURCE_MAX_BYTES} are taken")]
    TooLong(usize),
    /// The expression nests too deeply.
    #[error("expression is nested too deeply")]
    TooDeep,
    /// It is not JSONata.
    #[error("expression cannot be read: {0}")]
    Syntax(String),
    /// It uses something that mappings may not use.
    #[error("{0} may not be used in a mapping")]
    Refused(String),
    /// It names a function or variable that does not exist.
    #[error("${0} is neither built in nor bound in the expression")]
    Unknown(String),
    /// It failed on its input, or a limit stopped it.
    #[error("expression failed: {0}")]
    Failed(String),
}

/// A compiled expression: made once, evaluated on many answers.
#[derive(Clone, Debug)]
pub struct Expression {
    tree: AstNode,
}

/// An input made ready, so that several expressions can look at it.
#[derive(Clone, Debug)]
pub struct Input(JValue);

impl Input {
    /// Takes the document over.
    #[must_use]
    pub fn new(document: Value) -> Self {
        Self(JValue::from(document))
    }
}

impl Expression {
    /// Reads and checks an expression.
    pub fn compile(source: &str) -> Result<Self, MappingError> {
        if source.len() > SOURCE_MAX_BYTES {
            return Err(MappingError::TooLong(source.len()));
        }
        let tree = parser::parse(source).map_err(|error| MappingError::Syntax(error.to_string()))?;
        Ok(Self { tree: check::harden(tree)? })
    }

    /// The value on this input. What is missing in the input is missing in the value; no value at all is null.
    pub fn evaluate(&self, input: &Value) -> Result<Value, MappingError> {
        self.evaluate_on(&Input::new(input.clone()))
    }

    /// The same on an input made ready.
    pub fn evaluate_on(&self, input: &Input) -> Result<Value, MappingError> {
        let before = spent_ms();
        for _ in 1..TRIES {
            match self.evaluate_once(input) {
                // The evaluator looks at the clock. Where others had the processor, that says nothing of the expression.
                Err(MappingError::Failed(code)) if code == TIMED_OUT && spent_ms() - before < SPENT_MS => {}
                done => return done,
            }
        }
        self.evaluate_once(input)
    }

    fn evaluate_once(&self, input: &Input) -> Result<Value, MappingError> {
        let options = EvaluatorOptions {
            timeout_ms: Some(TIME_LIMIT_MS),
            max_stack_depth: Some(EVALUATION_DEPTH),
            max_sequence_length: Some(budget::LIST_MAX),
            cancel: None,
        };
        let mut evaluator = Evaluator::with_options(Context::new(), options);
        let budget = Rc::new(Budget::default());
        for (name, function) in TEXTS {
            let budget = Rc::clone(&budget);
            let weighed = move |arguments: &[JValue]| budget.keep(&function(arguments)?);
            evaluator.register_fn(name, weighed).map_err(failed)?;
        }
        evaluator.register_fn(check::DISTINCT, budget::distinct).map_err(failed)?;
        evaluator.register_fn(check::SHORT, short).map_err(failed)?;
        let keep = move |arguments: &[JValue]| match arguments {
            [value] => budget.keep(value),
            _ => Err(refused("T0410: one value is kept")),
        };
        evaluator.register_fn(check::KEEP, keep).map_err(failed)?;
        let value = evaluator.evaluate(&self.tree, &input.0).map_err(failed)?;
        budget::written_out(&value).map_err(failed)
    }

    /// Whether the value on this input is exactly `true`.
    pub fn holds(&self, input: &Input) -> Result<bool, MappingError> {
        Ok(self.evaluate_on(input)? == Value::Bool(true))
    }
}

/// How long this thread has had the processor, in milliseconds.
fn spent_ms() -> i64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec.saturating_mul(1_000).saturating_add(spent.tv_nsec / 1_000_000)
}

/// What makes a text of others.
type Texts = fn(&[JValue]) -> Result<JValue, EvaluatorError>;
const TEXTS: [(&str, Texts); 3] = [(check::CONCATENATE, concatenate), (check::JOIN, join), (check::STRING, string)];

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(error: EvaluatorError) -> MappingError {
    // The evaluator quotes values of the input in some messages; its code alone says what happened without them.
    let told = error.code().map_or_else(|| "type or reference error".to_owned(), ToOwned::to_owned);
    MappingError::Failed(told)
}

fn refused(message: &str) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.to_owned())
}

/// A scalar as text, as JSONata's `&` sees it.
fn text(value: &JValue) -> Result<String, EvaluatorError> {
    match value {
        JValue::Undefined => Ok(String::new()),
        JValue::String(text) => Ok(text.to_string()),
        JValue::Number(_) | JValue::Bool(_) | JValue::Null => {
            value.to_json_string().map_err(|_| refused("D3001: a number has no text"))
        }
        _ => Err(refused("T2001: lists and objects have no text here")),
    }
}

fn capped(text: String) -> Result<JValue, EvaluatorError> {
    if text.len() > TEXT_MAX_BYTES { Err(refused("D2015: text is too long")) } else { Ok(JValue::from(text)) }
}

fn concatenate(parts: &[JValue]) -> Result<JValue, EvaluatorError> {
    let mut whole = String::new();
    for part in parts {
        whole.push_str(&text(part)?);
    }
    capped(whole)
}

fn string(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    match arguments {
        [JValue::Undefined] => Ok(JValue::Undefined),
        [value] => capped(text(value)?),
        _ => Err(refused("T0410: $string takes one argument")),
    }
}

fn join(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    let (list, separator) = match arguments {
        [list] => (list, ""),
        [list, JValue::String(separator)] => (list, separator.as_ref()),
        _ => return Err(refused("T0410: $join takes a list and a text")),
    };
    let Some(items) = list.as_array() else {
        return if list.is_undefined() { Ok(JValue::Undefined) } else { capped(text(list)?) };
    };
    let mut whole = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            whole.push_str(separator);
        }
        whole.push_str(&text(item)?);
        if whole.len() > TEXT_MAX_BYTES {
            return Err(refused("D2015: text is too long"));
        }
    }
    Ok(JValue::from(whole))
}

/// A text that may be taken apart; anything else is the function's own business.
fn short(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    match arguments {
        [JValue::String(text)] if text.len() > APART_MAX_BYTES => Err(refused("D2015: text is too long")),
        [value] => Ok(value.clone()),
        _ => Err(refused("T0410: one text is taken apart")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_give_what_jsonata_gives() {
        let input = json!({"body": {"a": [1, 2, 3], "t": "x", "n": null, "hashlookup:trust": 60}});
        let check = |source: &str, expected: Value| {
            assert_eq!(Expression::compile(source).unwrap().evaluate(&input).unwrap(), expected, "{source}");
        };
        check("$sum(body.a)", json!(6));
        check("body.missing", Value::Null);
        check(
            r#"{"verdict": body.a[0] = 1 ? "malicious" : "unknown", "score": 5 / 2}"#,
            json!({"verdict": "malicious", "score": 2.5}),
        );
        check(r#"body.t & "/" & body.a[1] & body.missing & body.n"#, json!("x/2null"));
        check(r#"$join(body.a.$string($), ", ")"#, json!("1, 2, 3"));
        check("body.`hashlookup:trust` > 50", json!(true));
        check("($most := function($x) { $max($x) }; $most(body.a))", json!(3));
        check("$map(body.a, function($n) { $n & '!' })", json!(["1!", "2!", "3!"]));
        check("$count(body.a[$ > 1])", json!(2));
        check("$$.body.t", json!("x"));
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_when_compiled() {
        let check = |source: &str, expected: &str| {
            let error = Expression::compile(source).expect_err(source).to_string();
            assert!(error.contains(expected), "{source}: {error}");
        };
        check("$eval('1')", "$eval may not be used");
        check("($e := $eval; $e('1'))", "$eval may not be used");
        check("a.b[$eval(c)]", "$eval may not be used");
        check("$pad('x', 1000000000)", "$pad may not be used");
        check("$replace(a, 'a', b)", "$replace may not be used");
        check("$now()", "$now may not be used");
        check("$millis()", "$millis may not be used");
        check("$random()", "$random may not be used");
        check("a ~> $join", "~> may not be used");
        check("($j := $join; $j(a))", "$join as a value may not be used");
        check("($string := function($x) { $x }; $string(1))", "binding $string may not be used");
        check("|a|{'b': 1}|", "|…|…| may not be used");
        check("$playbook_concatenate(1, 2)", "neither built in nor bound");
        check("$lenght(a)", "neither built in nor bound");
        check("$typo.a", "neither built in nor bound");
        check("a[", "cannot be read");
        check(&"a".repeat(SOURCE_MAX_BYTES + 1), "at most");
        check(&format!("{}a{}", "(".repeat(150), ")".repeat(150)), "too deeply");
    }

    #[test]
    fn texts_lists_and_time_are_bounded() {
        let check = |source: &str| {
            let started = std::time::Instant::now();
            let wide = json!({"a": (0..200_000).collect::<Vec<u32>>(), "t": "x".repeat(10_000)});
            let error = Expression::compile(source).unwrap().evaluate(&wide).expect_err(source);
            assert!(matches!(error, MappingError::Failed(_)), "{source}: {error}");
            assert!(started.elapsed().as_secs() < 5, "{source} took {:?}", started.elapsed());
        };
        check("($f := function($x, $n) { $n = 0 ? $x : $f($x & $x, $n - 1) }; $f('x', 60))");
        check("($a := t & t; $b := $a & $a; $b & $b)");
        check("$join($map([1..100], function($x) { $$.t }))");
        check("[1..1000000]");
        check("$map(a, function($x) { $x + 1 })");
        check("($f := function($x) { $f($x + 1) }; $f(0))");
        check("($f := function($x) { 1 + $f($x + 1) }; $f(0))");
    }

    proptest! {
        #[test]
        fn no_expression_panics(
            source in r#"(\$(sum|map|string|join|eval|x)?|[a-z]|[0-9]|[\[\](){}.,:;?=<>&|@#%^~*/+'"` \\-]|:=|~>|function|and|in|\\PC){0,24}"#
        ) {
            if let Ok(expression) = Expression::compile(&source) {
                let _ = expression.evaluate(&json!({ "a": [1, "x", null, { "b": [[2]] }], "x": { "a": -1 } }));
            }
        }
    }

    #[test]
    fn errors_do_not_repeat_the_input() {
        let error = Expression::compile("body.secret * 2").unwrap().evaluate(&json!({"body": {"secret": "s3cr3t"}}));
        assert!(!error.unwrap_err().to_string().contains("s3cr3t"));
    }
}
