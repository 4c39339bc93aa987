//! An incident as a STIX 2.1 bundle (OASIS Standard of 10 June 2021): what was seen, what it was judged, where it belongs.
//!
//! Pure, and the same incident always gives the same bytes. What is unknown is seen and nothing more: only what is malicious or
//! suspicious, and not guarded, becomes an indicator.

mod id;
mod object;
mod observable;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use crate::{
    Fault, Timestamp,
    assessment::{Assessed, Assessment},
    campaign::Campaign,
    decision::{Choice, Decision},
    manifest::Tlp,
    outcome::Judgement,
    receipt::Receipt,
};
pub use object::Bundle;
use object::{Details, ExternalReference, Object, TlpExtension};
use text::LeftOut;

/// Observables of a bundle; the least of more are counted in the report and left out.
pub const OBSERVABLES_MAX: usize = 2_000;
/// Links of one indicator to what sources say.
const REFERENCES_MAX: usize = 10;
/// STIX 2.1, 4.14: no sighting counts more.
const SIGHTED_MAX: u32 = 999_999_999;
/// What our own ids are under in references.
const SOURCE_NAME: &str = "ioc-enrichment-playbook";
/// The extension that says TLP 2.0. Published by OASIS in `cti-stix-common-objects`, as the marks
/// are.
const TLP_EXTENSION: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d";
/// When OASIS made its marks, 2022-10-01.
const TLP_CREATED_SECONDS: i64 = 1_664_582_400;
/// When our identity was made, 2026-11-24: an object that never changes has a date that never does.
const IDENTITY_CREATED_SECONDS: i64 = 1_795_478_400;

/// What a bundle is made from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What was concluded.
    pub assessment: &'a Assessment,
    /// Receipts by `Observable::key`; of those that are missing, the tags are.
    pub receipts: &'a BTreeMap<String, Receipt>,
    /// What was decided in this run, in order.
    pub decisions: &'a [Decision],
    /// What the deployment is called.
    pub identity: &'a str,
}

/// The whole incident. Fails only where a value cannot be written as JSON.
pub fn bundle(source: &Source<'_>) -> Result<Bundle, Fault> {
    let Source { assessment, identity, .. } = source;
    let basis = assessment.basis.as_ref();
    let modified = assessment.assessed_at;
    let tenant = ioc::visible(basis.map_or("", |basis| &basis.tenant));
    let mut draft = Draft {
        source,
        // The same in every run: a later run is another version of the same objects.
        created: basis.and_then(|basis| basis.received_at).map_or(modified, |at| at.min(modified)),
        modified,
        identity: id::of("identity", &[&tenant, &ioc::visible(identity)]),
        marking: mark(basis.map_or(Tlp::default(), |basis| basis.tlp)),
        hours: hours(assessment),
        is_revoked: Decision::last_word(source.decisions).is_some_and(|decision| decision.choice == Choice::Rejected),
        objects: vec![],
        ids: BTreeSet::new(),
        left_out: LeftOut::default(),
    };
    draft.identity();
    draft.objects.push(mark_object(draft.marking));
    let campaign = assessment.campaign.as_ref().map(|campaign| draft.campaign(campaign));
    draft.observables(campaign.as_deref())?;
    draft.report(campaign.is_some());
    let id = id::of("bundle", &[assessment.incident_id.as_str(), &assessment.run.to_string(), &modified.to_string()]);
    Ok(Bundle { kind: "bundle", id, objects: draft.objects })
}

/// A mark of TLP 2.0 as OASIS publishes it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    id: &'static str,
    name: &'static str,
    tlp_2_0: &'static str,
}

const fn mark(tlp: Tlp) -> Mark {
    let (id, name, tlp_2_0) = match tlp {
        Tlp::Clear => ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", "TLP:CLEAR", "clear"),
        Tlp::Green => ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "TLP:GREEN", "green"),
        Tlp::Amber => ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", "TLP:AMBER", "amber"),
        Tlp::AmberStrict => {
            ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", "TLP:AMBER+STRICT", "amber+strict")
        }
        Tlp::Red => ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", "TLP:RED", "red"),
    };
    Mark { id, name, tlp_2_0 }
}

fn mark_object(mark: Mark) -> Object {
    let extension = TlpExtension { extension_type: "property-extension", tlp_2_0: mark.tlp_2_0 };
    let details = Details::Marking { name: mark.name, extensions: [(TLP_EXTENSION, extension)].into() };
    Object {
        created: Some(Timestamp::from_millis(TLP_CREATED_SECONDS * 1_000)),
        ..bare("marking-definition", mark.id.to_owned(), details)
    }
}

/// The longest that the plan would keep each observable somewhere. Of what has no place in it nobody knows.
fn hours(assessment: &Assessment) -> BTreeMap<String, u32> {
    let mut hours = BTreeMap::new();
    for entry in &assessment.plan.entries {
        let longest: &mut u32 = hours.entry(entry.observable.key()).or_default();
        *longest = entry.lifetime_hours.max(*longest);
    }
    hours
}

/// An object with nothing but what it cannot be without.
fn bare(kind: &'static str, id: String, details: Details) -> Object {
    Object {
        kind,
        spec_version: "2.1",
        id,
        created_by_ref: None,
        created: None,
        modified: None,
        revoked: false,
        confidence: None,
        labels: vec![],
        external_references: vec![],
        object_marking_refs: vec![],
        details,
    }
}

/// A bundle in the making.
struct Draft<'a> {
    source: &'a Source<'a>,
    created: Timestamp,
    modified: Timestamp,
    identity: String,
    marking: Mark,
    /// How long the plan would keep each observable, by its key.
    hours: BTreeMap<String, u32>,
    is_revoked: bool,
    objects: Vec<Object>,
    /// Cyber observables that are there already: two URLs may be spelled alike in STIX.
    ids: BTreeSet<String>,
    left_out: LeftOut,
}

impl Draft<'_> {
    fn identity(&mut self) {
        let name = text::line(self.source.identity);
        let details = Details::Identity { name, identity_class: "system" };
        let at = Some(Timestamp::from_millis(IDENTITY_CREATED_SECONDS * 1_000));
        self.objects.push(Object { created: at, modified: at, ..bare("identity", self.identity.clone(), details) });
    }

    /// An object of ours, dated and marked.
    fn own(&self, kind: &'static str, id: String, details: Details) -> Object {
        Object {
            created_by_ref: Some(self.identity.clone()),
            created: Some(self.created),
            modified: Some(self.modified),
            object_marking_refs: vec![self.marking.id.to_owned()],
            ..bare(kind, id, details)
        }
    }

    /// An id of something that is of this incident alone.
    fn id(&self, kind: &str, key: &str) -> String {
        id::of(kind, &[self.source.assessment.incident_id.as_str(), key])
    }

    /// The campaign, which is the same object in the bundles of all its incidents.
    fn campaign(&mut self, campaign: &Campaign) -> String {
        let id = id::of("campaign", &[campaign.campaign_id.as_str()]);
        let last_seen = campaign.last_seen.max(campaign.first_seen);
        let details = Details::Campaign {
            name: text::of_campaign(&campaign.named_by).unwrap_or_else(|| campaign.campaign_id.to_string()),
            description: format!("{} incidents that share what few others have", campaign.members),
            first_seen: campaign.first_seen,
            last_seen,
        };
        let object = Object {
            created: Some(campaign.first_seen.min(self.modified)),
            external_references: vec![reference(campaign.campaign_id.as_str())],
            ..self.own("campaign", id.clone(), details)
        };
        self.objects.push(object);
        id
    }

    /// Everything that was seen, worst first, with an indicator for what is bad.
    fn observables(&mut self, campaign: Option<&str>) -> Result<(), Fault> {
        let assessment = self.source.assessment;
        let (withheld, shown): (Vec<_>, Vec<_>) =
            assessment.observables.iter().partition(|assessed| assessed.sighted.withheld.is_some());
        self.left_out.withheld = withheld.len();
        self.left_out.beyond = shown.len().saturating_sub(OBSERVABLES_MAX);
        let mut rest = BTreeSet::new();
        for assessed in shown.into_iter().take(OBSERVABLES_MAX) {
            let seen = self.observable(assessed)?;
            let is_bad = assessed.conclusion.is_bad();
            if is_bad && assessed.guarded.is_none() {
                self.indicator(assessed, seen, campaign);
                continue;
            }
            self.left_out.guarded += usize::from(is_bad);
            rest.extend(seen);
        }
        if !rest.is_empty() {
            self.observed("rest", rest.into_iter().collect());
        }
        Ok(())
    }

    /// The cyber observable; `None` where STIX has no form for it.
    fn observable(&mut self, assessed: &Assessed) -> Result<Option<String>, Fault> {
        let observable = &assessed.sighted.observable;
        let Some((id, details)) = observable::object(observable)? else {
            self.left_out.unspelled.push(text::name(observable));
            return Ok(None);
        };
        if self.ids.insert(id.clone()) {
            let object_marking_refs = vec![self.marking.id.to_owned()];
            let object = bare(observable.kind().as_str(), id.clone(), details);
            self.objects.push(Object { object_marking_refs, ..object });
        }
        Ok(Some(id))
    }

    /// That these were seen in the incident.
    fn observed(&mut self, key: &str, object_refs: Vec<String>) -> String {
        let id = self.id("observed-data", key);
        let details = Details::ObservedData {
            first_observed: self.created,
            last_observed: self.created,
            number_observed: 1,
            object_refs,
        };
        self.objects.push(self.own("observed-data", id.clone(), details));
        id
    }

    /// The indicator with what it is based on, what it indicates, and where it was seen.
    fn indicator(&mut self, assessed: &Assessed, seen: Option<String>, campaign: Option<&str>) {
        let observable = &assessed.sighted.observable;
        let (key, verdict) = (observable.key(), &assessed.conclusion);
        let is_malicious = verdict.verdict == Judgement::Malicious;
        let until = self.hours.get(&key).map(|hours| self.modified.plus_hours(i64::from(*hours)));
        let observed = seen.map(|seen| self.observed(&key, vec![seen]));
        let id = self.id("indicator", &key);
        let details = Details::Indicator {
            name: text::name(observable),
            description: text::of_indicator(verdict),
            indicator_types: [if is_malicious { "malicious-activity" } else { "anomalous-activity" }],
            pattern: observable::pattern(observable),
            pattern_type: "stix",
            valid_from: self.modified,
            valid_until: until.filter(|until| *until > self.modified),
        };
        let object = Object {
            revoked: self.is_revoked,
            confidence: Some(verdict.confidence.min(100)),
            labels: text::labels(verdict, self.source.receipts.get(&key)),
            external_references: references(assessed),
            ..self.own("indicator", id.clone(), details)
        };
        self.objects.push(object);
        if let Some(observed) = &observed {
            self.relationship(&key, "based-on", &id, observed);
        }
        if let Some(campaign) = campaign {
            self.relationship(&key, "indicates", &id, campaign);
        }
        self.sighting(assessed, &key, id, observed);
    }

    fn relationship(&mut self, key: &str, relationship_type: &'static str, from: &str, to: &str) {
        let id = id::of("relationship", &[self.source.assessment.incident_id.as_str(), relationship_type, key]);
        let details =
            Details::Relationship { relationship_type, source_ref: from.to_owned(), target_ref: to.to_owned() };
        self.objects.push(self.own("relationship", id, details));
    }

    fn sighting(&mut self, assessed: &Assessed, key: &str, indicator: String, observed: Option<String>) {
        let history = assessed.history;
        let incidents = history.map_or(1, |history| history.incidents.max(1));
        let details = Details::Sighting {
            first_seen: history.map_or(self.created, |history| history.first_seen.min(self.created)),
            last_seen: self.created,
            count: u32::try_from(incidents).unwrap_or(SIGHTED_MAX).min(SIGHTED_MAX),
            sighting_of_ref: indicator,
            observed_data_refs: observed.into_iter().collect(),
            where_sighted_refs: vec![self.identity.clone()],
        };
        self.objects.push(self.own("sighting", self.id("sighting", key), details));
    }

    /// What holds all of it together. Comes last: it names everything before it.
    fn report(&mut self, has_campaign: bool) {
        let assessment = self.source.assessment;
        let decision = Decision::last_word(self.source.decisions);
        let has_indicator = self.objects.iter().any(|object| object.kind == "indicator");
        let types = [(true, "observed-data"), (has_indicator, "indicator"), (has_campaign, "campaign")];
        let named = self.objects.iter().filter(|object| object.kind != "marking-definition");
        let details = Details::Report {
            name: text::title(assessment),
            description: text::of_report(assessment, decision, &self.left_out),
            report_types: types.into_iter().filter_map(|(is_there, word)| is_there.then_some(word)).collect(),
            published: self.modified,
            object_refs: named.map(|object| object.id.clone()).collect(),
        };
        let mut labels =
            vec![format!("severity:{}", assessment.severity.as_str()), format!("route:{}", assessment.route.as_str())];
        labels.extend(decision.map(|decision| format!("decision:{}", decision.choice.as_str())));
        let incidents = assessment.related.iter().map(|related| related.incident_id.as_str());
        let object = Object {
            labels,
            external_references: [assessment.incident_id.as_str()]
                .into_iter()
                .chain(incidents)
                .map(reference)
                .collect(),
            ..self.own("report", self.id("report", ""), details)
        };
        self.objects.push(object);
    }
}

/// An id of ours.
fn reference(id: &str) -> ExternalReference {
    ExternalReference { source_name: SOURCE_NAME.to_owned(), external_id: Some(id.to_owned()), url: None }
}

/// Where a person can look up what the sources say; https only, each once.
fn references(assessed: &Assessed) -> Vec<ExternalReference> {
    let mut links = BTreeSet::new();
    let mut found = vec![];
    for said in &assessed.evidence {
        let Some(link) = said.permalink.as_deref().and_then(|link| Url::parse(link).ok()) else { continue };
        // STIX 2.1 reserves these two names for numbers of their own.
        let is_reserved = matches!(said.provider.as_str(), "cve" | "capec");
        let url = observable::uri(link.as_str());
        let is_wanted = link.scheme() == "https" && !is_reserved && found.len() < REFERENCES_MAX;
        if is_wanted && links.insert(url.clone()) {
            found.push(ExternalReference { source_name: said.provider.clone(), external_id: None, url: Some(url) });
        }
    }
    found
}
