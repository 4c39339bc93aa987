//! Correlation: where else the observables were seen, which incidents they tie to this one, and the campaign of them all.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    campaign::{self, Campaign, Member, TIE_FROM, Tie},
    guard::Guard,
    incident::Incident,
    infrastructure::{self, Link},
    outcome::Judgement,
    receipt::Receipt,
    rows::{Row, Rows},
    sighting::{self, Elsewhere, History, Related, Sighting},
};

use crate::AT_ONCE;

/// Related incidents that are kept.
const RELATED_MAX: usize = 10;
/// Related incidents that are looked at for those: of a storm, all but one may be our own.
const LOOKED_AT_MAX: usize = 60;

/// What the record knows of an incident's observables.
#[derive(Debug, Default)]
pub struct Correlation {
    /// Other incidents with the same observables, strongest first.
    pub related: Vec<Related>,
    /// By observable key.
    pub histories: BTreeMap<String, History>,
    /// The campaign that it belongs to.
    pub campaign: Option<Campaign>,
}

/// Looks up where else each observable was seen that is not withheld, notes that it was seen here, and finds or begins the
/// campaign. Safe to run again.
pub async fn correlate(
    rows: &impl Rows,
    bundle: &Bundle,
    incident: &Incident,
    receipts: &[Receipt],
    now: Timestamp,
) -> Result<Correlation, Fault> {
    let hosts = bundle.hosts();
    let guard = Guard::new(&bundle.policy, &hosts);
    let is_ours_to_name = |receipt: &Receipt| guard.check(&receipt.facts.observable).is_none();
    let seen: Vec<&Receipt> = receipts.iter().filter(|receipt| receipt.facts.withheld.is_none()).collect();
    let bad: Vec<&Receipt> =
        seen.iter().copied().filter(|receipt| receipt.verdict.is_bad() && is_ours_to_name(receipt)).collect();
    let links = infrastructure::links(bad.iter().map(|receipt| &receipt.facts));

    let own = &incident.incident_id;
    let elsewhere: Vec<Elsewhere> = stream::iter(&seen)
        .map(|receipt| Elsewhere::find(rows, receipt.facts.observable.key(), own))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let linked: Vec<Elsewhere> =
        stream::iter(&links).map(|link| Elsewhere::follow(rows, link, own)).buffered(AT_ONCE).try_collect().await?;
    // What is common gets no further rows: neither the index nor anybody's patience holds them.
    let telling = seen.iter().zip(&elsewhere).filter(|(_, elsewhere)| !elsewhere.is_common());
    let mut sightings: Vec<Sighting> = telling.map(|(receipt, _)| sighting(incident, receipt)).collect();
    let telling = links.iter().zip(&linked).filter(|(_, elsewhere)| !elsewhere.is_common());
    sightings.extend(telling.map(|(link, _)| link_sighting(incident, link)));
    sighting::record(rows, own, &sightings, now).await?;
    // Counted after our own are written, so that this incident is one of them.
    let all = sighting::incidents(rows).await?;

    let histories = elsewhere.iter().map(|e| (e.observable.clone(), e.history(incident.received_at))).collect();
    let telling: Vec<Elsewhere> = elsewhere.into_iter().chain(linked).collect();
    let candidates = sighting::related(&telling, all);
    let harmless: BTreeSet<String> =
        seen.iter().filter(|r| r.verdict.verdict == Judgement::Benign).map(|r| r.facts.observable.key()).collect();
    let population = all.max(sighting::POPULATION_MIN);
    let weights: BTreeMap<String, u32> =
        telling.iter().map(|e| (e.name(), sighting::scarcity(population, e.frequency()) * e.percent / 100)).collect();
    let weight = |key: &String| weights.get(key).copied().unwrap_or(0);
    let ties = ties(&candidates, &harmless, weight);
    let names: Vec<(String, u32)> = bad
        .iter()
        .filter(|receipt| names_a_campaign(receipt))
        .map(|receipt| receipt.facts.observable.key())
        .map(|key| (key.clone(), weight(&key)))
        .collect();
    let member = Member::new(own.clone(), incident.received_at);
    let campaign = campaign::join(rows, &member, &names, &ties, now).await?;
    let related = without_own_storm(rows, incident, candidates).await?;
    Ok(Correlation { related, histories, campaign })
}

/// Whether an observable that is bad names a campaign by itself. An address is too little: many share one.
fn names_a_campaign(receipt: &Receipt) -> bool {
    use ioc::ObservableType::{DomainName, EmailAddr, File, Ipv4Addr, Ipv6Addr, Url};
    match receipt.facts.observable.kind() {
        File | Url | DomainName | EmailAddr => true,
        Ipv4Addr | Ipv6Addr => false,
    }
}

/// Incidents that share so much that is rare and not harmless that they belong together, whatever was judged of it.
fn ties(related: &[Related], harmless: &BTreeSet<String>, weight: impl Fn(&String) -> u32) -> Vec<Tie> {
    let tie = |related: &Related| {
        let shared = related.observables.iter().filter(|key| !harmless.contains(*key));
        let shared: Vec<(String, u32)> = shared.map(|key| (key.clone(), weight(key))).collect();
        Tie { other: Member::new(related.incident_id.clone(), related.seen_at), shared }
    };
    let is_strong = |tie: &Tie| {
        let total: u32 = tie.shared.iter().map(|(_, weight)| weight).sum();
        // One rare thing alone is a coincidence: everybody links to something.
        tie.shared.len() > 1 && total >= TIE_FROM
    };
    related.iter().take(LOOKED_AT_MAX).map(tie).filter(is_strong).collect()
}

fn sighting(incident: &Incident, receipt: &Receipt) -> Sighting {
    Sighting {
        schema: Sighting::SCHEMA.to_owned(),
        observable: receipt.facts.observable.key(),
        digest: None,
        seen_at: incident.received_at,
        incident_id: incident.incident_id.clone(),
        kind: incident.kind,
        source: incident.source.clone(),
        verdict: receipt.verdict.verdict.as_str().to_owned(),
    }
}

/// What stands on a link is bad.
fn link_sighting(incident: &Incident, link: &Link) -> Sighting {
    Sighting {
        schema: Sighting::SCHEMA.to_owned(),
        observable: link.key.clone(),
        digest: link.digest.clone(),
        seen_at: incident.received_at,
        incident_id: incident.incident_id.clone(),
        kind: incident.kind,
        source: incident.source.clone(),
        verdict: Judgement::Suspicious.as_str().to_owned(),
    }
}

/// The strongest, but for those that are attached to this incident: they are the same thing, not another.
async fn without_own_storm(
    rows: &impl Rows,
    incident: &Incident,
    candidates: Vec<Related>,
) -> Result<Vec<Related>, Fault> {
    let mut related = vec![];
    for candidate in candidates.into_iter().take(LOOKED_AT_MAX) {
        if related.len() == RELATED_MAX {
            break;
        }
        let row = rows.get(&Incident::key(&candidate.incident_id)).await?;
        let other: Option<Incident> = row.as_ref().map(Row::read).transpose()?;
        let is_attached = other.is_some_and(|other| other.parent.as_ref() == Some(&incident.incident_id));
        if !is_attached {
            related.push(candidate);
        }
    }
    Ok(related)
}
