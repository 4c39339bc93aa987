//! A text with placeholders, and which of them each place of a request may hold.

/// Where in a request a text stands; decides how it is encoded and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One segment of the path.
    Path,
    /// A query parameter, or a form or JSON text.
    Field,
    /// A header's value.
    Header,
    /// One segment of the path that fetches a task's result.
    PollPath,
    /// A query parameter of the same.
    PollField,
    /// A name that a name server is asked for.
    Name,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands.
    Text(String),
    /// The observable, or the digest chosen for a file.
    Value,
    /// The same in base64url without padding.
    ValueBase64Url,
    /// `md5`, `sha1` or `sha256`.
    Algorithm,
    /// The provider's key.
    Secret,
    /// The labels of an IPv4 address, or the nibbles of an IPv6 address, backwards.
    Reversed,
    /// What the first answer named.
    Task,
}

/// A text split at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Part>);

impl Template {
    /// Splits a text; says what is wrong with it.
    pub(crate) fn parse(text: &str, place: Place) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?} holds a control character"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(['{', '}']) {
            let (before, tail) = rest.split_at(start);
            let end = tail.find('}').filter(|end| tail.starts_with('{') && *end > 0);
            let Some(end) = end else {
                return Err(format!("{text:?} has a brace that belongs to no placeholder"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Self::placeholder(tail.get(1..end).unwrap_or_default(), place)?);
            rest = tail.get(end + 1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    fn placeholder(name: &str, place: Place) -> Result<Part, String> {
        let part = match name {
            "value" => Part::Value,
            "value|base64url" => Part::ValueBase64Url,
            "algorithm" => Part::Algorithm,
            "secret" => Part::Secret,
            "reversed" => Part::Reversed,
            "task" => Part::Task,
            _ => {
                return Err(format!(
                    "there is no placeholder {{{name}}}; there are {{value}}, {{value|base64url}}, {{algorithm}}, {{secret}}, \
                     {{reversed}} in names and {{task}} in poll"
                ));
            }
        };
        match (place, &part) {
            (Place::Name, Part::Value | Part::Reversed | Part::Secret) | (Place::Header, Part::Secret) => Ok(part),
            (Place::Name, _) => Err(format!("a name may not hold {{{name}}}")),
            (Place::Header, _) => Err(format!("a header may not hold {{{name}}}")),
            (_, Part::Reversed) => Err("only the name of a question may hold {reversed}".to_owned()),
            (Place::Path | Place::Field, Part::Task) => Err("only poll may hold {task}".to_owned()),
            (Place::Path | Place::PollPath, Part::Secret) => {
                Err("a path may not hold {secret}: paths are logged".to_owned())
            }
            (Place::Path | Place::Field | Place::PollPath | Place::PollField, _) => Ok(part),
        }
    }

    /// Whether the text depends on the observable.
    pub(crate) fn names_the_value(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value | Part::ValueBase64Url | Part::Reversed))
    }

    /// Whether the text holds what the first answer named.
    pub(crate) fn names_the_task(&self) -> bool {
        self.0.contains(&Part::Task)
    }

    /// Whether the text holds the key.
    pub(crate) fn names_the_secret(&self) -> bool {
        self.0.contains(&Part::Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_placeholders() {
        let check = |text: &str, expected: &[Part]| {
            assert_eq!(Template::parse(text, Place::Field).unwrap().0, expected, "{text}");
        };
        let text = |text: &str| Part::Text(text.to_owned());
        check("", &[]);
        check("plain", &[text("plain")]);
        check("{value}", &[Part::Value]);
        check("a{value|base64url}b{algorithm}", &[text("a"), Part::ValueBase64Url, text("b"), Part::Algorithm]);
        check("é{secret}é", &[text("é"), Part::Secret, text("é")]);
    }

    #[test]
    fn a_wrong_placeholder_is_named() {
        let check = |text: &str, place, expected: &str| {
            let error = Template::parse(text, place).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("{valeu}", Place::Field, "there is no placeholder {valeu}");
        check("{value", Place::Field, "brace");
        check("value}", Place::Field, "brace");
        check("{}", Place::Field, "there is no placeholder {}");
        check("{value}", Place::Header, "header may not hold {value}");
        check("{secret}", Place::Path, "path may not hold {secret}");
        check("a\r\nb", Place::Header, "control");
        check("{task}", Place::Path, "only poll may hold {task}");
        check("{task}", Place::Field, "only poll may hold {task}");
        check("{task}", Place::Header, "header may not hold {task}");
        check("{secret}", Place::PollPath, "path may not hold {secret}");
        check("{reversed}", Place::Field, "only the name of a question may hold {reversed}");
        check("{reversed}", Place::PollField, "only the name of a question");
        check("{task}", Place::Name, "a name may not hold {task}");
        check("{value|base64url}", Place::Name, "a name may not hold");
    }
}
