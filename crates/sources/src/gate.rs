//! What may leave for a provider: sharing marks, and secrets that lie in addresses.
//!
//! Names inside (one label, `.local`, `.internal`, reverse zones …) need no rule here: the guard withholds them when they are
//! extracted, and what is withheld is never asked about. Here it is only seen to that no address carries one along.

mod links;
mod shapes;
mod words;

use ioc::{Observable, ObservableType};
use playbook::manifest::{Manifest, Pap, Tlp};
use url::Url;

use links::Place;

/// Of every incident: passive lookups at others are allowed, nothing more.
pub const INCIDENT_PAP: Pap = Pap::Amber;

/// Why marks forbid to ask this provider about what is marked so, if they do: `tlp` or `pap`.
#[must_use]
pub fn closed(manifest: &Manifest, tlp: Tlp) -> Option<&'static str> {
    if manifest.tlp_ceiling < tlp {
        Some("tlp")
    } else if manifest.pap_ceiling < INCIDENT_PAP {
        Some("pap")
    } else {
        None
    }
}

/// What leaves of an observable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// All of it.
    Whole,
    /// The address without user, query and fragment: one of them holds a secret.
    Reduced(Observable),
    /// Nothing: its path holds a secret.
    Nothing,
}

/// What may leave of this observable. Only addresses of pages hold secrets; everything else leaves whole.
#[must_use]
pub fn outgoing(observable: &Observable) -> Outgoing {
    if observable.kind() != ObservableType::Url {
        return Outgoing::Whole;
    }
    let Ok(url) = Url::parse(observable.value()) else { return Outgoing::Nothing };
    match links::secret(&url) {
        None => Outgoing::Whole,
        Some(Place::Beside) => reduced(url).map_or(Outgoing::Nothing, Outgoing::Reduced),
        Some(Place::Path) => Outgoing::Nothing,
    }
}

fn reduced(mut url: Url) -> Option<Observable> {
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Observable::parse(ObservableType::Url, url.as_str()).ok()
}

#[cfg(test)]
mod tests;
