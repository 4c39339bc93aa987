//! What a STIX 2.1 object says is an indicator: patterns that compare values, and observables with a value of their own.

use ioc::ObservableType;
use serde_json::Value;

/// The longest pattern that is read, in bytes.
const PATTERN_MAX_BYTES: usize = 16_384;
/// Values of one object.
const VALUES_MAX: usize = 256;

/// A value with its type, as the object spells it.
pub(crate) type Named = (ObservableType, String);

/// The values of an object; none where it is no indicator, or one that we do not understand to its end: half of a pattern
/// would be another pattern.
pub(crate) fn values(object: &Value) -> Vec<Named> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let found = match text("type") {
        Some("indicator") if matches!(text("pattern_type"), None | Some("stix")) => text("pattern").and_then(pattern),
        Some("file") => Some(hashes(object)),
        Some(kind) => kind.parse().ok().and_then(|kind| Some(vec![(kind, text("value")?.to_owned())])),
        None => None,
    };
    found.filter(|values| values.len() <= VALUES_MAX).unwrap_or_default()
}

fn hashes(object: &Value) -> Vec<Named> {
    let hashes = object.get("hashes").and_then(Value::as_object);
    let known = hashes.into_iter().flatten().filter(|(name, _)| is_known_hash(name));
    known.filter_map(|(_, digest)| Some((ObservableType::File, digest.as_str()?.to_owned()))).collect()
}

fn is_known_hash(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "");
    matches!(name.as_str(), "MD5" | "SHA1" | "SHA256")
}

/// Reads `[path = 'value' OR path IN ('value', …)] OR […]`. Anything else, such as AND, NOT, LIKE or FOLLOWEDBY, is not
/// understood.
pub(crate) fn pattern(text: &str) -> Option<Vec<Named>> {
    if text.len() > PATTERN_MAX_BYTES {
        return None;
    }
    let mut rest = Rest(text);
    let mut values = vec![];
    loop {
        rest.symbol("[")?;
        loop {
            rest.comparison(&mut values)?;
            if !rest.word("OR") {
                break;
            }
        }
        rest.symbol("]")?;
        if !rest.word("OR") {
            break;
        }
    }
    rest.0.trim_start().is_empty().then_some(values)
}

/// What is left of a pattern.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn comparison(&mut self, values: &mut Vec<Named>) -> Option<()> {
        let kind = self.path()?;
        if self.word("IN") {
            self.symbol("(")?;
            loop {
                values.push((kind, self.literal()?));
                if self.symbol(",").is_none() {
                    break;
                }
            }
            return self.symbol(")");
        }
        self.symbol("=")?;
        // STIX 2.0 wrote it twice, and so do some.
        let _ = self.symbol("=");
        values.push((kind, self.literal()?));
        Some(())
    }

    /// `ipv4-addr:value` or `file:hashes.'SHA-256'`.
    fn path(&mut self) -> Option<ObservableType> {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        let kind: ObservableType = name.parse().ok()?;
        self.0 = rest.strip_prefix(':')?;
        if kind != ObservableType::File {
            return self.word("value").then_some(kind);
        }
        self.0 = self.0.strip_prefix("hashes.")?;
        let name = if self.0.starts_with('\'') { self.literal()? } else { self.bare().to_owned() };
        is_known_hash(&name).then_some(kind)
    }

    fn bare(&mut self) -> &'a str {
        let end = self.0.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn symbol(&mut self, symbol: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(symbol)?;
        Some(())
    }

    /// Whether this word comes next, and not only its beginning; then it is read.
    fn word(&mut self, word: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(word);
        let rest = rest.filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c)));
        if let Some(rest) = rest {
            self.0 = rest;
        }
        rest.is_some()
    }

    /// A text in single quotes, in which `\` takes the next character as it is.
    fn literal(&mut self) -> Option<String> {
        let inside = self.0.trim_start().strip_prefix('\'')?;
        let mut value = String::new();
        let mut characters = inside.char_indices();
        loop {
            match characters.next()? {
                (at, '\'') => {
                    self.0 = inside.get(at + 1..)?;
                    return Some(value);
                }
                (_, '\\') => match characters.next()? {
                    (_, c @ ('\'' | '\\')) => value.push(c),
                    _ => return None,
                },
                (_, c) => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spelled(values: &[Named]) -> String {
        values.iter().map(|(kind, value)| format!("{kind} {value}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn patterns_that_compare_values_are_understood() {
        let check = |text: &str, expected: &str| {
            assert_eq!(pattern(text).map(|values| spelled(&values)).as_deref(), Some(expected), "{text}");
        };
        check("[ipv4-addr:value = '192.0.2.1']", "ipv4-addr 192.0.2.1");
        check("  [ ipv6-addr:value='2001:db8::1' ]  ", "ipv6-addr 2001:db8::1");
        check("[domain-name:value == 'a.example']", "domain-name a.example");
        check(
            "[domain-name:value = 'a.example' OR url:value = 'http://b.example/?x=[1] OR']",
            "domain-name a.example, url http://b.example/?x=[1] OR",
        );
        check(
            "[ipv4-addr:value = '192.0.2.1']OR[ipv4-addr:value = '192.0.2.2']",
            "ipv4-addr 192.0.2.1, ipv4-addr 192.0.2.2",
        );
        check("[ipv4-addr:value IN ('192.0.2.1','192.0.2.2')]", "ipv4-addr 192.0.2.1, ipv4-addr 192.0.2.2");
        check(
            "[file:hashes.'SHA-256' = 'aa' OR file:hashes.MD5 = 'bb' OR file:hashes.SHA-1 = 'cc']",
            "file aa, file bb, file cc",
        );
        check(r"[url:value = 'http://a.example/\'\\']", r"url http://a.example/'\");
    }

    #[test]
    fn half_of_a_pattern_is_never_taken_for_the_whole() {
        let check = |text: &str| assert_eq!(pattern(text), None, "{text}");
        check("");
        check("[]");
        check("[ipv4-addr:value = '192.0.2.1'");
        check("[ipv4-addr:value = '192.0.2.1] ");
        check("[ipv4-addr:value = \"192.0.2.1\"]");
        check("[ipv4-addr:value != '192.0.2.1']");
        check("[ipv4-addr:value LIKE '192.0.2.%']");
        check("[NOT ipv4-addr:value = '192.0.2.1']");
        check("[ipv4-addr:value = '192.0.2.1' AND domain-name:value = 'a.example']");
        check("[ipv4-addr:value = '192.0.2.1'] AND [domain-name:value = 'a.example']");
        check("[ipv4-addr:value = '192.0.2.1'] FOLLOWEDBY [domain-name:value = 'a.example']");
        check("[ipv4-addr:value = '192.0.2.1'] WITHIN 5 SECONDS");
        check("[ipv4-addr:value = '192.0.2.1' OR network-traffic:dst_port = 80]");
        check("[ipv4-addr:values = '192.0.2.1']");
        check("[file:name = 'a.exe']");
        check("[file:hashes.SSDEEP = 'a']");
        check(r"[url:value = 'a\n']");
        check(r"[url:value = 'a\");
        check(&format!("[url:value = '{}']", "a".repeat(PATTERN_MAX_BYTES)));
    }

    #[test]
    fn objects_with_a_value_are_indicators_too() {
        let check = |object: Value, expected: &str| assert_eq!(spelled(&values(&object)), expected, "{object}");
        check(json!({ "type": "domain-name", "value": "a.example" }), "domain-name a.example");
        check(json!({ "type": "file", "hashes": { "MD5": "aa", "SSDEEP": "bb", "SHA-256": 7 } }), "file aa");
        check(
            json!({ "type": "indicator", "pattern_type": "stix", "pattern": "[url:value = 'http://a.example/']" }),
            "url http://a.example/",
        );
        check(
            json!({ "type": "indicator", "pattern_type": "yara", "pattern": "[url:value = 'http://a.example/']" }),
            "",
        );
        check(json!({ "type": "malware", "name": "a", "value": "a.example" }), "");
        check(json!({ "type": "url", "value": ["a"] }), "");
        check(json!({ "type": 7 }), "");
        check(json!(["a"]), "");
        let many: Vec<String> = (0..300).map(|n| format!("'{n}'")).collect();
        check(json!({ "type": "indicator", "pattern": format!("[url:value IN ({})]", many.join(",")) }), "");
    }
}
