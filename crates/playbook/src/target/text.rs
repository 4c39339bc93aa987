//! A text of a call with its placeholders, and which of them each place of a request may hold.

/// Where in a request a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One segment of the path.
    Path,
    /// A query parameter.
    Query,
    /// A header's value.
    Header,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Plain(String),
    /// The observable.
    Value,
    /// What the entry, ticket or message is called there.
    ExternalId,
    /// What the author filled in under this name.
    Setting(String),
    /// The target's secret.
    Secret,
    /// The secret in base64, as Basic authentication wants it (RFC 7617); the secret is `user:password`.
    SecretBasic,
}

/// A text split at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<Part>);

impl Text {
    /// Splits a text; says what is wrong with it.
    pub fn parse(text: &str, place: Place) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?} holds a control character"));
        }
        let mut parts = vec![];
        let mut rest = text;
        while let Some(start) = rest.find(['{', '}']) {
            let (before, tail) = rest.split_at(start);
            let Some(end) = tail.find('}').filter(|end| tail.starts_with('{') && *end > 0) else {
                return Err(format!("{text:?} has a brace that belongs to no placeholder"));
            };
            if !before.is_empty() {
                parts.push(Part::Plain(before.to_owned()));
            }
            parts.push(placeholder(tail.get(1..end).unwrap_or_default(), place)?);
            rest = tail.get(end + 1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Plain(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Whether the text holds the secret.
    #[must_use]
    pub fn names_the_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret | Part::SecretBasic))
    }

    /// Whether the text can be filled only when the name at the target is known.
    #[must_use]
    pub fn names_the_external_id(&self) -> bool {
        self.0.contains(&Part::ExternalId)
    }
}

fn placeholder(name: &str, place: Place) -> Result<Part, String> {
    let part = match name {
        "value" => Part::Value,
        "external_id" => Part::ExternalId,
        "secret" => Part::Secret,
        "secret|basic" => Part::SecretBasic,
        _ => match name.strip_prefix("settings.") {
            Some(setting) if !setting.is_empty() => Part::Setting(setting.to_owned()),
            _ => {
                return Err(format!(
                    "there is no placeholder {{{name}}}; there are {{value}}, {{external_id}}, {{settings.<name>}}, \
                     {{secret}} and {{secret|basic}}"
                ));
            }
        },
    };
    let is_secret = matches!(part, Part::Secret | Part::SecretBasic);
    match place {
        Place::Header if !is_secret => Err(format!("a header may not hold {{{name}}}")),
        Place::Path | Place::Query if is_secret => {
            Err(format!("an address may not hold {{{name}}}: addresses are logged on their way"))
        }
        _ => Ok(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_placeholders() {
        let check = |text: &str, place, expected: &[Part]| {
            assert_eq!(Text::parse(text, place).unwrap().0, expected, "{text}");
        };
        let plain = |text: &str| Part::Plain(text.to_owned());
        check("", Place::Path, &[]);
        check("add", Place::Path, &[plain("add")]);
        check("{settings.event}", Place::Path, &[Part::Setting("event".to_owned())]);
        check("é{value}-{external_id}", Place::Query, &[plain("é"), Part::Value, plain("-"), Part::ExternalId]);
        check("Bearer {secret}", Place::Header, &[plain("Bearer "), Part::Secret]);
        check("Basic {secret|basic}", Place::Header, &[plain("Basic "), Part::SecretBasic]);
    }

    #[test]
    fn a_wrong_placeholder_is_named() {
        let check = |text: &str, place, expected: &str| {
            let error = Text::parse(text, place).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("{valeu}", Place::Path, "there is no placeholder {valeu}");
        check("{settings.}", Place::Path, "there is no placeholder {settings.}");
        check("{value", Place::Path, "brace");
        check("}", Place::Path, "brace");
        check("{value}", Place::Header, "header may not hold {value}");
        check("{secret}", Place::Path, "address may not hold {secret}");
        check("{secret|basic}", Place::Query, "address may not hold");
        check("a\r\nb", Place::Header, "control");
    }
}
