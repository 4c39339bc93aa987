//! Correlation: where else the observables were seen, which incidents they tie to this one, and the campaign of them all.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use playbook::{
    Fault, Timestamp,
    bundle::Bundle,
    campaign::{self, Campaign, Member, TIE_FROM, Tie},
    guard::Guard,
    incident::{Incident, Kind},
    infrastructure,
    outcome::Judgement,
    receipt::Receipt,
    rows::{Row, Rows},
    sighting::{self, ASSETS_MAX, Elsewhere, History, Related, Sighting},
};

use crate::AT_ONCE;

/// Related incidents that are kept.
const RELATED_MAX: usize = 10;
/// Related incidents that are looked at for those: of a storm, all but one may be our own.
const LOOKED_AT_MAX: usize = 60;

/// Bad observables that name a campaign; an incident with more of them is a report or a list.
const NAMES_MAX: usize = 20;

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
    (incident, participants): (&Incident, &[String]),
    receipts: &[&Receipt],
    now: Timestamp,
) -> Result<Correlation, Fault> {
    let hosts = bundle.hosts();
    let guard = Guard::new(&bundle.policy, &hosts);
    let is_ours_to_name = |receipt: &Receipt| guard.check(&receipt.facts.observable).is_none();
    let seen: Vec<&Receipt> = receipts.iter().copied().filter(|receipt| receipt.facts.withheld.is_none()).collect();
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
    let assets = assets(bundle, participants);
    let mut sightings: Vec<Sighting> = telling
        .map(|(receipt, _)| Sighting {
            assets: assets.clone(),
            ..sighting(incident, receipt.facts.observable.key(), receipt.verdict.verdict)
        })
        .collect();
    let telling = links.iter().zip(&linked).filter(|(_, elsewhere)| !elsewhere.is_common());
    // What stands on a link is bad.
    sightings.extend(telling.map(|(link, _)| Sighting {
        digest: link.digest.clone(),
        ..sighting(incident, link.key.clone(), Judgement::Suspicious)
    }));
    sighting::record(rows, own, &sightings, now).await?;
    // Counted after our own are written, so that this incident is one of them.
    let all = sighting::incidents(rows).await?;

    let histories =
        elsewhere.iter().map(|e| (e.observable.clone(), e.history(incident.received_at, &assets))).collect();
    let telling: Vec<Elsewhere> = elsewhere.into_iter().chain(linked).collect();
    let candidates = sighting::related(&telling, all);
    // What somebody calls bad, and what that stands on, by name; of everything else two incidents may have something in common.
    let bad_keys: BTreeSet<String> = bad.iter().map(|receipt| receipt.facts.observable.key()).collect();
    let is_bad = |e: &&Elsewhere| !e.of.is_empty() || bad_keys.contains(&e.observable);
    let mut weights: BTreeMap<String, u32> = BTreeMap::new();
    for shared in telling.iter().filter(is_bad) {
        let weight = weights.entry(shared.name()).or_default();
        *weight = shared.weight(all).max(*weight);
    }
    let names = names(&bad);
    let campaign = if incident.kind == Kind::Feed || names.len() > NAMES_MAX {
        // A list of what is bad is no part of any wave: it would tie together all that it lists.
        None
    } else {
        let weighed = |key: String| {
            let weight = weights.get(&key).copied().unwrap_or(0);
            (key, weight)
        };
        let names: Vec<(String, u32)> = names.into_iter().map(weighed).collect();
        let member = Member::new(own.clone(), incident.received_at);
        campaign::join(rows, &member, &names, &ties(&candidates, &weights), now).await?
    };
    let related = without_own_storm(rows, incident, candidates).await?;
    Ok(Correlation { related, histories, campaign })
}

/// Keys of the bad observables that name a campaign, each by itself. An address is too little: many share one. A host is none
/// beside a bad URL or mail address on it: thousands share that of a hosting service.
fn names(bad: &[&Receipt]) -> Vec<String> {
    use ioc::ObservableType::{DomainName, EmailAddr, File, Ipv4Addr, Ipv6Addr, Url};
    let hosts: BTreeSet<String> =
        bad.iter().filter_map(|receipt| receipt.facts.observable.host()).map(|host| host.key()).collect();
    let is_name = |receipt: &&&Receipt| match receipt.facts.observable.kind() {
        File | Url | EmailAddr => true,
        DomainName => !hosts.contains(&receipt.facts.observable.key()),
        Ipv4Addr | Ipv6Addr => false,
    };
    bad.iter().filter(is_name).map(|receipt| receipt.facts.observable.key()).collect()
}

/// Digests of the assets and people of ours that are part of the incident: names without a domain, and those of our own.
fn assets(bundle: &Bundle, participants: &[String]) -> Vec<String> {
    let is_ours = |name: &&String| {
        let domain = name.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        domain.is_none_or(|domain| bundle.policy.own.domains.iter().any(|own| ioc::guard::is_within(&domain, own)))
    };
    participants.iter().filter(is_ours).take(ASSETS_MAX).map(|name| sighting::asset(name)).collect()
}

/// Incidents that share so much of what is bad and rare that they belong together, though none of it names a campaign.
fn ties(related: &[Related], weights: &BTreeMap<String, u32>) -> Vec<Tie> {
    let tie = |related: &Related| {
        let weighed = |key: &String| Some((key.clone(), *weights.get(key)?));
        let shared: Vec<(String, u32)> = related.observables.iter().filter_map(weighed).collect();
        Tie { other: Member::new(related.incident_id.clone(), related.seen_at), shared }
    };
    let is_strong = |tie: &Tie| {
        let total: u32 = tie.shared.iter().map(|(_, weight)| weight).sum();
        // One thing alone may be a coincidence.
        tie.shared.len() > 1 && total >= TIE_FROM
    };
    related.iter().take(LOOKED_AT_MAX).map(tie).filter(is_strong).collect()
}

fn sighting(incident: &Incident, observable: String, verdict: Judgement) -> Sighting {
    Sighting {
        schema: Sighting::SCHEMA.to_owned(),
        observable,
        digest: None,
        seen_at: incident.received_at,
        incident_id: incident.incident_id.clone(),
        kind: incident.kind,
        source: incident.source.clone(),
        verdict: verdict.as_str().to_owned(),
        assets: vec![],
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
