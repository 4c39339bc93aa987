//! The request that asks a provider about one observable: every text is encoded for the place it stands in.

use ioc::{HashAlgorithm, Observable};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::Request;
use crate::{
    manifest::{Manifest, Method, Part, Place, RequestTemplate, Template},
    ports::Secret,
};

/// The longest observable that is sent, in bytes.
const VALUE_MAX_BYTES: usize = 4_096;

/// Why no request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The provider does not take this type, or none of the file's digests.
    #[error("the provider does not take this observable")]
    Type,
    /// The provider needs a key and there is none.
    #[error("the provider has no key")]
    NoKey,
    /// The key cannot be a header's value.
    #[error("the key holds characters that no key has")]
    BadKey,
    /// The observable cannot stand where the request wants it.
    #[error("the observable cannot be sent to this provider")]
    Unencodable,
    /// The manifest's template is wrong.
    #[error("the manifest's request is wrong")]
    Manifest,
}

impl Refusal {
    /// The word in an outcome: `type`, `no_key`, `bad_key`, `unencodable`, `manifest`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::NoKey => "no_key",
            Self::BadKey => "bad_key",
            Self::Unencodable => "unencodable",
            Self::Manifest => "manifest",
        }
    }
}

/// Makes the request. Whatever the observable: the host is the manifest's, the path has as many segments as the
/// template, and nothing but a whole parameter, form field or JSON text is made of it.
pub fn prepare(manifest: &Manifest, observable: &Observable, secret: Option<&Secret>) -> Result<Request, Refusal> {
    let (template, value) = manifest.request_for(observable).ok_or(Refusal::Type)?;
    if value.is_empty() || value.len() > VALUE_MAX_BYTES || value.chars().any(char::is_control) {
        return Err(Refusal::Unencodable);
    }
    let secret = match (&manifest.secret, secret) {
        (None, _) => "",
        (Some(_), None) => return Err(Refusal::NoKey),
        (Some(_), Some(secret)) => secret.reveal(),
    };
    let is_key = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if manifest.secret.is_some() && !is_key(secret) {
        return Err(Refusal::BadKey);
    }
    let filler = Filler { value, algorithm: HashAlgorithm::of_hex(value).map_or("", HashAlgorithm::as_str), secret };

    let url = filler.url(&manifest.host, template)?;
    let mut headers = filler.headers(template)?;
    let mut body = Vec::new();
    if let Some(form) = &template.form {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        for (name, text) in form {
            encoded.append_pair(name, &filler.text(text, Place::Field)?);
        }
        body = encoded.finish().into_bytes();
        headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
    }
    if let Some(json) = &template.json {
        body = serde_json::to_vec(&filler.json(json)?).map_err(|_| Refusal::Manifest)?;
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    if template.method == Method::Get && !body.is_empty() {
        return Err(Refusal::Manifest);
    }
    Ok(Request { method: template.method, url, headers, body })
}

/// What the placeholders stand for.
struct Filler<'a> {
    value: &'a str,
    algorithm: &'a str,
    secret: &'a str,
}

impl Filler<'_> {
    fn text(&self, text: &str, place: Place) -> Result<String, Refusal> {
        let template = Template::parse(text, place).map_err(|_| Refusal::Manifest)?;
        let filled = template.0.into_iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Value => self.value.to_owned(),
            Part::ValueBase64Url => data_encoding::BASE64URL_NOPAD.encode(self.value.as_bytes()),
            Part::Algorithm => self.algorithm.to_owned(),
            Part::Secret => self.secret.to_owned(),
        });
        Ok(filled.collect())
    }

    fn url(&self, host: &str, template: &RequestTemplate) -> Result<Url, Refusal> {
        let mut url = Url::parse(&format!("https://{host}/")).map_err(|_| Refusal::Manifest)?;
        let below = template.path.strip_prefix('/').ok_or(Refusal::Manifest)?;
        let segments = below.split('/').map(|segment| self.text(segment, Place::Path));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            // The URL standard resolves them, which would shorten the path.
            return Err(Refusal::Unencodable);
        }
        url.path_segments_mut().map_err(|()| Refusal::Manifest)?.clear().extend(&segments);
        if !template.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, text) in &template.query {
                pairs.append_pair(name, &self.text(text, Place::Field)?);
            }
        }
        let is_ours = url.scheme() == "https"
            && url.host_str() == Some(host)
            && url.port().is_none()
            && url.username().is_empty()
            && url.fragment().is_none()
            && url.path_segments().map(Iterator::count) == Some(segments.len());
        if is_ours { Ok(url) } else { Err(Refusal::Unencodable) }
    }

    fn headers(&self, template: &RequestTemplate) -> Result<Vec<(String, String)>, Refusal> {
        let fill = |(name, text): (&String, &String)| Ok((name.to_ascii_lowercase(), self.text(text, Place::Header)?));
        template.headers.iter().map(fill).collect()
    }

    fn json(&self, value: &Value) -> Result<Value, Refusal> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, Place::Field)?),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?,
            Value::Object(members) => members
                .iter()
                .map(|(name, member)| Ok((name.clone(), self.json(member)?)))
                .collect::<Result<_, Refusal>>()?,
            plain => plain.clone(),
        })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
