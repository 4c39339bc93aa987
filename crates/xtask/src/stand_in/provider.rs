//! The providers that the stand-in plays, and what each of them is able to say.

use ioc::ObservableType;

use super::Canned;

/// A provider that the stand-in plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// URLhaus by abuse.ch.
    Urlhaus,
    /// ThreatFox by abuse.ch.
    Threatfox,
    /// MalwareBazaar by abuse.ch.
    Malwarebazaar,
    /// AbuseIPDB.
    Abuseipdb,
    /// CIRCL hashlookup.
    Hashlookup,
    /// VirusTotal.
    Virustotal,
    /// `AlienVault` OTX.
    Otx,
    /// urlscan.io's search.
    Urlscan,
    /// The registry that IANA's bootstrap files name for everything that is reserved for documentation.
    Rdap,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Urlhaus,
        Self::Threatfox,
        Self::Malwarebazaar,
        Self::Abuseipdb,
        Self::Hashlookup,
        Self::Virustotal,
        Self::Otx,
        Self::Urlscan,
        Self::Rdap,
    ];

    /// Its id, as in `playbook/providers/<id>.yaml`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Urlhaus => "urlhaus",
            Self::Threatfox => "threatfox",
            Self::Malwarebazaar => "malwarebazaar",
            Self::Abuseipdb => "abuseipdb",
            Self::Hashlookup => "hashlookup",
            Self::Virustotal => "virustotal",
            Self::Otx => "otx",
            Self::Urlscan => "urlscan",
            Self::Rdap => "rdap",
        }
    }

    /// Its real host.
    #[must_use]
    pub const fn host(self) -> &'static str {
        match self {
            Self::Urlhaus => "urlhaus-api.abuse.ch",
            Self::Threatfox => "threatfox-api.abuse.ch",
            Self::Malwarebazaar => "mb-api.abuse.ch",
            Self::Abuseipdb => "api.abuseipdb.com",
            Self::Hashlookup => "hashlookup.circl.lu",
            Self::Virustotal => "www.virustotal.com",
            Self::Otx => "otx.alienvault.com",
            Self::Urlscan => "urlscan.io",
            Self::Rdap => "rdap.registry.example",
        }
    }

    /// The provider behind a host, with or without a port.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or_default();
        Self::ALL.into_iter().find(|provider| provider.host().eq_ignore_ascii_case(name))
    }

    /// The header that carries the key; `None` where no key is needed.
    #[must_use]
    pub const fn key_header(self) -> Option<&'static str> {
        match self {
            Self::Urlhaus | Self::Threatfox | Self::Malwarebazaar => Some("auth-key"),
            Self::Abuseipdb => Some("key"),
            Self::Hashlookup | Self::Rdap => None,
            Self::Virustotal => Some("x-apikey"),
            Self::Otx => Some("x-otx-api-key"),
            Self::Urlscan => Some("api-key"),
        }
    }

    /// Whether the provider has a way to say this of this type.
    #[must_use]
    pub fn can_say(self, canned: Canned, kind: ObservableType) -> bool {
        match (self, canned) {
            (Self::Urlhaus | Self::Threatfox | Self::Malwarebazaar | Self::Otx, Canned::Benign)
            // Sources of context have no opinion: benign means only that they know it.
            | (Self::Urlscan | Self::Rdap, Canned::Malicious | Canned::Suspicious)
            | (Self::Malwarebazaar | Self::Hashlookup, Canned::Suspicious) => false,
            // No engine calls a file harmless.
            (Self::Virustotal, Canned::Benign) => kind != ObservableType::File,
            _ => true,
        }
    }
}
