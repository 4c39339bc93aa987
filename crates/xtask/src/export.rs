//! `cargo xtask export`: an incident for other systems.

use anyhow::{Result, bail};
use playbook::{IncidentId, stix};

use crate::{
    project::Project,
    recorded::{self, Place, Recorded, Runs},
    term,
};

/// What is exported, and from where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The incident's id.
    pub incident: String,
    /// Its run; the latest when absent.
    pub run: Option<u32>,
    /// Where it was recorded.
    pub place: Place,
    /// What the deployment is called.
    pub identity: String,
}

/// Writes a run of an incident as a STIX 2.1 bundle to standard output.
pub fn stix(project: &Project, options: &Options) -> Result<()> {
    term::line(&serde_json::to_string_pretty(&read(project, options)?)?);
    Ok(())
}

/// A run of an incident as a STIX 2.1 bundle.
pub fn read(project: &Project, options: &Options) -> Result<stix::Bundle> {
    let id = IncidentId::try_from(options.incident.clone())?;
    let runs = recorded::read(project, &options.place, None)?.runs;
    bundle(find(&runs, &id, options.run)?, &options.identity)
}

/// The run that is asked for, or the latest of the incident that was concluded.
fn find<'a>(runs: &'a Runs, id: &IncidentId, run: Option<u32>) -> Result<&'a Recorded> {
    let known: Vec<(u32, &Recorded)> =
        runs.iter().filter(|((known, _), _)| known == id).map(|((_, run), recorded)| (*run, recorded)).collect();
    let Some((last, _)) = known.last() else {
        let mut ids: Vec<&IncidentId> = runs.keys().map(|(id, _)| id).collect();
        ids.dedup();
        let newest = newest(runs).map_or_else(String::new, |id| format!(", the newest {id}"));
        bail!("there is no incident {id} in the record: it holds {}{newest}", ids.len());
    };
    let found = match run {
        Some(run) => known.iter().find(|(known, _)| *known == run),
        None => known.iter().rfind(|(_, recorded)| recorded.assessment.is_some()).or(known.last()),
    };
    let Some((_, recorded)) = found else {
        bail!("{id} has no run {}: its last one is {last}", run.unwrap_or_default());
    };
    Ok(recorded)
}

/// The incident that was concluded last.
fn newest(runs: &Runs) -> Option<&IncidentId> {
    let assessed = |recorded: &Recorded| recorded.assessment.as_ref().map(|assessment| assessment.assessed_at);
    runs.iter().max_by_key(|(_, recorded)| assessed(recorded)).map(|((id, _), _)| id)
}

fn bundle(recorded: &Recorded, identity: &str) -> Result<stix::Bundle> {
    let Some(assessment) = &recorded.assessment else {
        bail!(
            "the run has receipts or decisions, but no assessment: copy the folder incidents/ of the evidence bucket, too"
        );
    };
    let Recorded { receipts, decisions, .. } = recorded;
    Ok(stix::bundle(&stix::Source { assessment, receipts, decisions, identity })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[u32]) -> Runs {
        let sample = playbook::brief::sample::assessment().unwrap();
        let run = |run: &u32| {
            let assessment = playbook::assessment::Assessment { run: *run, ..sample.clone() };
            ((sample.incident_id.clone(), *run), Recorded { assessment: Some(assessment), ..Recorded::default() })
        };
        numbers.iter().map(run).collect()
    }

    #[test]
    fn the_latest_run_is_exported_unless_another_is_named() {
        let runs = runs(&[1, 2, 10]);
        let id = runs.keys().next().unwrap().0.clone();
        let run = |number| find(&runs, &id, number).unwrap().assessment.as_ref().unwrap().run;
        assert_eq!((run(None), run(Some(2))), (10, 2));
        let none = find(&runs, &id, Some(3)).unwrap_err().to_string();
        assert_eq!(none, format!("{id} has no run 3: its last one is 10"));
    }

    #[test]
    fn a_run_that_was_not_concluded_is_passed_over_and_says_so_when_it_is_all_there_is() {
        let mut runs = runs(&[1, 2]);
        let id = runs.keys().next().unwrap().0.clone();
        runs.get_mut(&(id.clone(), 2)).unwrap().assessment = None;
        assert_eq!(find(&runs, &id, None).unwrap().assessment.as_ref().unwrap().run, 1);
        let unconcluded = bundle(find(&runs, &id, Some(2)).unwrap(), "Playbook").unwrap_err().to_string();
        assert!(unconcluded.contains("no assessment"), "{unconcluded}");
    }

    #[test]
    fn an_unknown_incident_is_an_error_that_says_what_is_there() {
        let runs = runs(&[1, 2]);
        let (known, unknown) = (&runs.keys().next().unwrap().0, IncidentId::of("default", "mail", "unknown"));
        let error = find(&runs, &unknown, None).unwrap_err().to_string();
        assert_eq!(error, format!("there is no incident {unknown} in the record: it holds 1, the newest {known}"));
    }
}
