//! The form as it was posted.

use http::{Request, header};

/// More than any form of ours: some thousand check boxes and a reason of 2,000 characters.
const MAX_BYTES: usize = 256 * 1024;

/// The fields, in the order in which they came.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form; `None` when it is none, or too long to be ours.
    pub fn read(request: &Request<Vec<u8>>) -> Option<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
        let is_form = kind.split(';').next()?.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let body = request.body();
        (is_form && body.len() <= MAX_BYTES).then(|| Self(url::form_urlencoded::parse(body).into_owned().collect()))
    }

    /// A field that comes once; empty when it does not come, or comes twice.
    pub fn one(&self, name: &str) -> &str {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            _ => "",
        }
    }

    /// The fields whose name begins so, by what follows in it.
    pub fn starting<'f>(&'f self, prefix: &str) -> impl Iterator<Item = (&'f str, &'f str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// Every value of a field.
    pub fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
