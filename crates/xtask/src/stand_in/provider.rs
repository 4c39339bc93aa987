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
    /// Shodan.
    Shodan,
    /// Hybrid Analysis, the search by digest.
    HybridAnalysis,
    /// Triage: the search by digest, and the overview of what it found.
    Triage,
}

/// Where a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// In this header.
    Header(&'static str),
    /// In this parameter of the query.
    Query(&'static str),
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Urlhaus,
        Self::Threatfox,
        Self::Malwarebazaar,
        Self::Abuseipdb,
        Self::Hashlookup,
        Self::Virustotal,
        Self::Otx,
        Self::Urlscan,
        Self::Rdap,
        Self::Shodan,
        Self::HybridAnalysis,
        Self::Triage,
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
            Self::Shodan => "shodan",
            Self::HybridAnalysis => "hybrid-analysis",
            Self::Triage => "triage",
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
            Self::Shodan => "api.shodan.io",
            Self::HybridAnalysis => "hybrid-analysis.com",
            Self::Triage => "tria.ge",
        }
    }

    /// The provider behind a host, with or without a port.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or_default();
        Self::ALL.into_iter().find(|provider| provider.host().eq_ignore_ascii_case(name))
    }

    /// Where it wants its key; `None` where no key is needed.
    #[must_use]
    pub const fn key(self) -> Option<Key> {
        let header = match self {
            Self::Shodan => return Some(Key::Query("key")),
            Self::Hashlookup | Self::Rdap => return None,
            Self::Urlhaus | Self::Threatfox | Self::Malwarebazaar => "auth-key",
            Self::Abuseipdb => "key",
            Self::Virustotal => "x-apikey",
            Self::Otx => "x-otx-api-key",
            Self::Urlscan | Self::HybridAnalysis => "api-key",
            Self::Triage => "authorization",
        };
        Some(Key::Header(header))
    }

    /// Whether the provider has a way to say this of this type.
    #[must_use]
    pub fn can_say(self, canned: Canned, kind: ObservableType) -> bool {
        match (self, canned) {
            (Self::Urlhaus | Self::Threatfox | Self::Malwarebazaar | Self::Otx | Self::Triage, Canned::Benign)
            // Sources of context have no opinion: benign means only that they know it.
            | (Self::Urlscan | Self::Rdap | Self::Shodan, Canned::Malicious | Canned::Suspicious)
            | (Self::Malwarebazaar | Self::Hashlookup, Canned::Suspicious) => false,
            // No engine calls a file harmless.
            (Self::Virustotal, Canned::Benign) => kind != ObservableType::File,
            _ => true,
        }
    }
}
