//! The objects of a STIX 2.1 bundle, as far as we write them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Timestamp;

/// A bundle: one JSON document with all objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bundle {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) objects: Vec<Object>,
}

/// One object: what all have in common (STIX 2.1, 3.2), and what only its type has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "object_marking_refs is the name that STIX gives it")]
pub(super) struct Object {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) spec_version: &'static str,
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_by_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<Timestamp>,
    #[serde(skip_serializing_if = "crate::canonical::is_false")]
    pub(super) revoked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confidence: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) object_marking_refs: Vec<String>,
    #[serde(flatten)]
    pub(super) details: Details,
}

/// Where else something is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExternalReference {
    pub(super) source_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

/// The extension that says TLP 2.0, which STIX 2.1 is too old to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TlpExtension {
    pub(super) extension_type: &'static str,
    pub(super) tlp_2_0: &'static str,
}

/// What only one type has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Details {
    /// `identity`.
    Identity { name: String, identity_class: &'static str },
    /// `marking-definition`.
    Marking { name: &'static str, extensions: BTreeMap<&'static str, TlpExtension> },
    /// `ipv4-addr`, `ipv6-addr`, `domain-name`, `url`, `email-addr`.
    Value { value: String },
    /// `file`.
    File { hashes: BTreeMap<&'static str, String> },
    /// `observed-data`.
    ObservedData { first_observed: Timestamp, last_observed: Timestamp, number_observed: u32, object_refs: Vec<String> },
    /// `indicator`.
    Indicator {
        name: String,
        description: String,
        indicator_types: [&'static str; 1],
        pattern: String,
        pattern_type: &'static str,
        valid_from: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_until: Option<Timestamp>,
    },
    /// `campaign`.
    Campaign { name: String, description: String, first_seen: Timestamp, last_seen: Timestamp },
    /// `relationship`.
    Relationship { relationship_type: &'static str, source_ref: String, target_ref: String },
    /// `sighting`.
    Sighting {
        first_seen: Timestamp,
        last_seen: Timestamp,
        count: u32,
        sighting_of_ref: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        observed_data_refs: Vec<String>,
        where_sighted_refs: Vec<String>,
    },
    /// `report`.
    Report {
        name: String,
        description: String,
        report_types: Vec<&'static str>,
        published: Timestamp,
        object_refs: Vec<String>,
    },
}
