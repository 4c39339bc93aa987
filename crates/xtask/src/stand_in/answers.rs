//! The file of answers: which provider says what of which observable.

use std::collections::BTreeMap;

use ioc::{Hashes, Observable, ObservableType};
use playbook::authored;
use serde::{Deserialize, Serialize};

use super::Provider;

/// Stands for every observable, or every provider.
const ANY: &str = "*";

/// An answer by its meaning; the stand-in gives it the provider's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canned {
    /// Known and harmful.
    Malicious,
    /// Known and possibly harmful.
    Suspicious,
    /// Explicitly harmless.
    Benign,
    /// Not known.
    NotFound,
    /// HTTP 500 in plain text.
    Error,
    /// HTTP 429 with `Retry-After`.
    Throttled,
    /// No answer at all.
    Hang,
    /// HTTP 200 with HTML or half of a JSON document.
    Garbage,
}

/// Why a file of answers was not taken, with file and line in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswersError(String);

impl std::fmt::Display for AnswersError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AnswersError {}

/// A provider's id, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Who(String);

impl TryFrom<String> for Who {
    type Error = String;

    fn try_from(id: String) -> Result<Self, String> {
        if id == ANY || Provider::ALL.iter().any(|provider| provider.id() == id) {
            return Ok(Self(id));
        }
        let known: Vec<&str> = Provider::ALL.iter().map(|provider| provider.id()).collect();
        Err(format!("no provider {id:?}: there are {} and \"*\"", known.join(", ")))
    }
}

type ByProvider = BTreeMap<Who, Canned>;

/// Answers by observable and provider. The exact observable goes before `*`, then the exact provider before `*`; what
/// nothing names is not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// By the key as it was written, and again by what it means.
    by_observable: BTreeMap<String, ByProvider>,
}

impl Answers {
    /// Reads `observable: {provider: answer}`. Observables may be defanged, in any case, with or without a trailing
    /// slash; `*` stands for all. Unknown answers and providers are errors with their line.
    pub fn parse(yaml: &str) -> Result<Self, AnswersError> {
        Self::parse_file(yaml, "ANSWERS")
    }

    /// The same; `file` is what messages call it.
    pub fn parse_file(yaml: &str, file: &str) -> Result<Self, AnswersError> {
        let read: Option<BTreeMap<String, Option<ByProvider>>> =
            authored::read(yaml, file).map_err(|complaint| AnswersError(complaint.to_string()))?;
        let mut by_observable: BTreeMap<String, ByProvider> = BTreeMap::new();
        for (written, answers) in read.unwrap_or_default() {
            let answers = answers.unwrap_or_default();
            let meant = meaning(&written);
            if meant != written {
                by_observable.entry(meant).or_default().extend(answers.clone());
            }
            by_observable.entry(written).or_default().extend(answers);
        }
        Ok(Self { by_observable })
    }

    /// No answers: nothing is found anywhere.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These digests are one file: an answer under any of them holds for all. A provider is asked for one digest
    /// only, so whoever knows the files of a mail says so here.
    pub fn one_file(&mut self, hashes: &Hashes) {
        let digests: Vec<&String> = [&hashes.sha256, &hashes.sha1, &hashes.md5].into_iter().flatten().collect();
        let known: Vec<ByProvider> =
            digests.iter().filter_map(|digest| self.by_observable.get(&meaning(digest)).cloned()).collect();
        for digest in digests {
            let own = self.by_observable.entry(meaning(digest)).or_default();
            for (who, canned) in known.iter().flatten() {
                own.entry(who.clone()).or_insert(*canned);
            }
        }
    }

    /// The answer of a provider about an observable, by its value in any spelling.
    #[must_use]
    pub fn get(&self, observable_value: &str, provider: &str) -> Canned {
        let of = |key: &str| {
            let answers = self.by_observable.get(key)?;
            let by = |id: &str| answers.get(&Who(id.to_owned())).copied();
            by(provider).or_else(|| by(ANY))
        };
        of(observable_value).or_else(|| of(&meaning(observable_value))).or_else(|| of(ANY)).unwrap_or(Canned::NotFound)
    }
}

/// What a key means: the canonical value, a URL without its last slash; the key itself where it is no observable.
fn meaning(written: &str) -> String {
    let plain =
        ["[.]", "(.)", "{.}", "[dot]", "(dot)"].iter().fold(written.trim().to_owned(), |t, dot| t.replace(dot, "."));
    let plain = plain.replace("[://]", "://").replace("[:]", ":").replace("[@]", "@").replace("[at]", "@");
    let scheme = plain.split("://").next().unwrap_or_default().to_ascii_lowercase();
    let plain = match scheme.as_str() {
        "hxxp" | "hxxps" if plain.contains("://") => {
            format!("{}{}", scheme.replace("hxxp", "http"), plain.get(scheme.len()..).unwrap_or_default())
        }
        _ => plain,
    };
    let plain = ["sha256:", "sha1:", "md5:"].iter().find_map(|name| plain.strip_prefix(name)).unwrap_or(&plain);
    match Observable::parse_any(plain) {
        Ok(url) if url.kind() == ObservableType::Url => url.value().trim_end_matches('/').to_owned(),
        Ok(observable) => observable.value().to_owned(),
        Err(_) => written.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_every_spelling() {
        let answers = Answers::parse(
            "hxxps://EVIL[.]example:\n  urlhaus: malicious\n\
             Evil[.]Example: { threatfox: malicious }\n\
             192[.]0[.]2[.]7: { abuseipdb: suspicious }\n\
             2001:DB8:0:0::7: { abuseipdb: benign }\n\
             '2001[:]db8[:][:]8': { abuseipdb: error }\n\
             AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: { malwarebazaar: malicious }\n\
             '00000000000000000000000000000007': { malwarebazaar: hang }\n\
             00000000000000000000000000000008: { malwarebazaar: garbage }\n\
             http://evil.example/a/: { urlhaus: throttled }\n",
        )
        .unwrap();
        let check =
            |value: &str, provider: &str, expected| assert_eq!(answers.get(value, provider), expected, "{value}");
        check("https://evil.example/", "urlhaus", Canned::Malicious);
        check("https://evil.example", "urlhaus", Canned::Malicious);
        check("http://evil.example/", "urlhaus", Canned::NotFound);
        check("evil.example", "threatfox", Canned::Malicious);
        check("evil.example", "urlhaus", Canned::NotFound);
        check("192.0.2.7", "abuseipdb", Canned::Suspicious);
        check("2001:db8::7", "abuseipdb", Canned::Benign);
        check("2001:db8::8", "abuseipdb", Canned::Error);
        check(&"a".repeat(32), "malwarebazaar", Canned::Malicious);
        check("00000000000000000000000000000007", "malwarebazaar", Canned::Hang);
        check("00000000000000000000000000000008", "malwarebazaar", Canned::Garbage);
        check("http://evil.example/a", "urlhaus", Canned::Throttled);
        check("http://evil.example/a/", "urlhaus", Canned::Throttled);
        check("http://evil.example/b", "urlhaus", Canned::NotFound);
    }

    #[test]
    fn the_exact_one_goes_before_the_star() {
        let answers = Answers::parse(
            "'*': { '*': error, abuseipdb: hang }\nevil.example: { '*': malicious, threatfox: benign }\n192.0.2.7: { urlhaus: suspicious }\n",
        )
        .unwrap();
        let check =
            |value: &str, provider: &str, expected| assert_eq!(answers.get(value, provider), expected, "{value}");
        check("evil.example", "threatfox", Canned::Benign);
        check("evil.example", "urlhaus", Canned::Malicious);
        check("192.0.2.7", "urlhaus", Canned::Suspicious);
        check("192.0.2.7", "threatfox", Canned::Error);
        check("192.0.2.7", "abuseipdb", Canned::Hang);
        check("other.example", "urlhaus", Canned::Error);
        assert_eq!(Answers::none().get("evil.example", "urlhaus"), Canned::NotFound);
        assert_eq!(Answers::parse("").unwrap(), Answers::none());
    }

    #[test]
    fn a_file_answers_under_each_of_its_digests() {
        let mut answers = Answers::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: { malwarebazaar: malicious }").unwrap();
        let (md5, sha256) = ("a".repeat(32), "b".repeat(64));
        answers.one_file(&Hashes { md5: Some(md5.clone()), sha1: None, sha256: Some(sha256.clone()) });
        assert_eq!(answers.get(&sha256, "malwarebazaar"), Canned::Malicious);
        assert_eq!(answers.get(&md5, "malwarebazaar"), Canned::Malicious);
        assert_eq!(answers.get(&sha256, "urlhaus"), Canned::NotFound);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let check = |yaml: &str, line: u64, expected: &str| {
            let error = Answers::parse_file(yaml, "answers.yaml").expect_err(yaml).to_string();
            assert!(error.starts_with(&format!("answers.yaml:{line}: ")) && error.contains(expected), "{error}");
        };
        check("evil.example:\n  urlhaus: evil\n", 2, "evil");
        check("evil.example:\n  threatfox: malicious\n  urlhouse: malicious\n", 3, "no provider \"urlhouse\"");
        check("evil.example: malicious\n", 1, "");
        check("- evil.example\n", 1, "");
        check("evil.example: { urlhaus: malicious }\nevil.example: { urlhaus: benign }\n", 2, "evil.example");
    }
}
