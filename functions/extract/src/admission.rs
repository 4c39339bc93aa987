//! The incident that the evidence belongs to: found, or made when nobody admitted it.

use playbook::{
    Fault, IncidentId, canonical,
    incident::{self, EvidenceRef, Incident, IncidentStatus, Kind},
    ports::{Clock, Evidence},
    rows::{Commit, Condition, Rows, Write},
};
use serde_json::json;

use crate::{Input, Settings, limits};

/// The incident and the run to work on.
///
/// Started without `admit`, the incident is made; one that has ended is opened again under the next run.
pub async fn find_or_admit(
    evidence: &impl Evidence,
    rows: &impl Rows,
    clock: &impl Clock,
    settings: &Settings,
    input: &Input,
) -> Result<(Incident, u32), Fault> {
    let id = id_of(input)?;
    if let Some(row) = rows.get(&Incident::key(&id)).await? {
        let incident: Incident = row.read()?;
        return match input.run {
            Some(run) => Ok((incident, run)),
            None => reopen(rows, clock, settings, input, incident).await,
        };
    }
    let incident = incident_of(evidence, clock, settings, input, id).await?;
    let run = incident.run;
    let write = Write::put(Incident::key(&incident.incident_id), &incident)?.only_if(Condition::Absent);
    let write = incident::watch(write, clock.now());
    match rows.commit(&[write]).await? {
        Commit::Done => Ok((incident, run)),
        // Somebody made it between our look and our write; theirs is as good.
        Commit::Conflict => Ok((Incident::load(rows, &incident.incident_id).await?, run)),
    }
}

fn id_of(input: &Input) -> Result<IncidentId, Fault> {
    if let Some(id) = &input.incident_id {
        return Ok(id.clone());
    }
    let evidence = reference(input)?;
    let native_id = input.native_id.clone().unwrap_or_else(|| match &evidence.version_id {
        Some(version) => format!("{}/{version}", evidence.key),
        None => evidence.key.clone(),
    });
    Ok(IncidentId::of(tenant(input), source(input), &native_id))
}

fn tenant(input: &Input) -> &str {
    input.tenant.as_deref().unwrap_or("default")
}

fn source(input: &Input) -> &str {
    input.source.as_deref().unwrap_or("console")
}

fn reference(input: &Input) -> Result<&EvidenceRef, Fault> {
    input
        .evidence
        .as_ref()
        .ok_or_else(|| Fault::Rejected("the input names neither an incident nor evidence".to_owned()))
}

async fn incident_of(
    evidence: &impl Evidence,
    clock: &impl Clock,
    settings: &Settings,
    input: &Input,
    incident_id: IncidentId,
) -> Result<Incident, Fault> {
    let mut content = reference(input)?.clone();
    if content.sha256.is_empty() && content.size_bytes <= limits::FETCHED_BYTES {
        let bytes = evidence.fetch(&content).await?;
        content.sha256 = canonical::sha256_hex(&bytes);
        content.size_bytes = bytes.len() as u64;
    }
    let now = clock.now();
    Ok(Incident {
        schema: Incident::SCHEMA.to_owned(),
        tenant: tenant(input).to_owned(),
        kind: kind_of(input.kind.as_deref()),
        source: source(input).to_owned(),
        native_id: input.native_id.clone().unwrap_or_else(|| content.key.clone()),
        severity: input.severity.unwrap_or_default(),
        evidence: content,
        received_at: input.received_at.unwrap_or(now),
        config_digest: settings.config_digest.clone(),
        status: IncidentStatus::Open,
        run: input.run.unwrap_or(1),
        started_at: Some(now),
        route: None,
        result: None,
        failure: None,
        warning: None,
        machine: word(input.machine.as_deref(), &settings.stack),
        fingerprint: None,
        parent: None,
        attached: None,
        reopened: 0,
        asked_again: None,
        due_kind: None,
        due_at: None,
        updated_at: now,
        incident_id,
    })
}

/// The word by which the record knows a machine; `None` for the playbook, and for a machine of another stack.
fn word(machine: Option<&str>, stack: &str) -> Option<String> {
    let word = machine?.strip_prefix(stack)?.strip_prefix('-')?;
    (word != Incident::MACHINE).then(|| word.to_owned())
}

/// What is no mail is read as text, whatever it is called.
fn kind_of(name: Option<&str>) -> Kind {
    match name {
        None | Some("mail") => Kind::Mail,
        Some("feed") => Kind::Feed,
        Some(_) => Kind::Alert,
    }
}

/// A person has started an ended incident again: the next run, so that the decisions of the last one do not count.
async fn reopen(
    rows: &impl Rows,
    clock: &impl Clock,
    settings: &Settings,
    input: &Input,
    incident: Incident,
) -> Result<(Incident, u32), Fault> {
    if matches!(incident.status, IncidentStatus::Open | IncidentStatus::Waiting) {
        let run = incident.run;
        return Ok((incident, run));
    }
    let now = clock.now();
    let run = incident.run.saturating_add(1);
    // The run belongs to the machine that it was started on, whichever worked on the incident before.
    let machine = word(input.machine.as_deref(), &settings.stack);
    let gone: &[&str] = if machine.is_none() && input.machine.is_some() { &["machine"] } else { &[] };
    let change = json!({
        "status": IncidentStatus::Open, "run": run, "started_at": now, "updated_at": now, "machine": machine,
    });
    let write = Write::set(Incident::key(&incident.incident_id), &change)?
        .removing(&["route", "result", "failure"])
        .removing(gone)
        .only_if(Condition::Is("run", incident.run.into()))
        .only_if(Condition::Is("status", json!(incident.status)));
    let write = incident::watch(write, now);
    // After a conflict somebody else has opened it again, and theirs is the run.
    let (Commit::Done | Commit::Conflict) = rows.commit(&[write]).await?;
    let incident = Incident::load(rows, &incident.incident_id).await?;
    let run = incident.run;
    Ok((incident, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_the_word_behind_the_stack() {
        let check = |machine: Option<&str>, expected: Option<&str>| {
            assert_eq!(word(machine, "ioc-prod").as_deref(), expected, "{machine:?}");
        };
        check(Some("ioc-prod-enrich-only"), Some("enrich-only"));
        check(Some("ioc-prod-playbook"), None);
        check(Some("ioc-playbook"), None);
        check(Some("ioc-prod"), None);
        check(None, None);
    }
}
