//! `cargo xtask what-if`: tries another policy on what a deployment has recorded, and says what would have been otherwise.
//! Nothing is asked and nothing is written: the answers of then are judged again, at the time of then.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail};
use ioc::Observable;
use playbook::{
    IncidentId, Timestamp,
    assessment::Assessment,
    authored,
    bundle::Bundle,
    case::{self, Case},
    grades::Grades,
    policy::Policy,
    receipt::Receipt,
    verdict::Verdict,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    config,
    project::Project,
    recorded::{self, Place, Recorded},
    term,
};

/// Changes of one sort that are named one by one; the rest is counted.
const NAMED_MAX: usize = 50;

/// What is tried.
enum Change {
    /// A whole folder arranged like `playbook/`.
    Whole(Box<Bundle>),
    /// Another policy, everything else as it was.
    Policy(Box<Policy>),
    /// Other grades, everything else as it was.
    Grades(Grades),
}

/// What would be otherwise.
#[derive(Debug, Default, Serialize)]
pub struct Differences {
    /// Runs of incidents that were tried.
    pub runs: usize,
    /// Their receipts.
    pub receipts: usize,
    /// Receipts that do not reach their own verdict today: their differences are not the policy's.
    pub not_replayed: usize,
    /// Verdicts of an earlier release that the rule of this one reaches otherwise; they are compared as this one reaches them.
    pub by_rule: usize,
    /// Runs of which only the verdicts could be tried: their assessment is missing or of release 0.1.0.
    pub verdicts_only: usize,
    /// Verdicts that change.
    pub verdicts: Vec<Difference>,
    /// Severities of incidents.
    pub severities: Vec<Difference>,
    /// Ways that incidents go.
    pub routes: Vec<Difference>,
    /// Entries of plans: acts, lifetimes, refusals.
    pub writes: Vec<Difference>,
    /// Whether a ticket is opened.
    pub tickets: Vec<Difference>,
}

/// One thing that would be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its run.
    pub run: u32,
    /// An observable, or an observable at a target, defanged; empty for the incident itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// What was recorded.
    pub before: String,
    /// What it would have been.
    pub after: String,
}

/// Prints what would change.
pub fn run(project: &Project, policy: &Path, place: &Place, since: Option<&str>, json: bool) -> Result<()> {
    let since = since.map(recorded::moment).transpose()?;
    let differences = differences(project, policy, place, since)?;
    if json {
        term::line(&serde_json::to_string_pretty(&differences)?);
    } else {
        term::line(&differences.human(&policy.display().to_string(), since));
    }
    Ok(())
}

/// Tries a policy, grades or a whole folder on what was recorded.
pub fn differences(project: &Project, policy: &Path, place: &Place, since: Option<Timestamp>) -> Result<Differences> {
    let change = Change::read(project, policy)?;
    let record = recorded::read(project, place, since)?;
    let current = config::load(project, None)?;
    let mut differences = Differences::default();
    let mut made: BTreeMap<String, Bundle> = BTreeMap::new();
    for ((id, run), recorded) in &record.runs {
        let digest = digest(recorded);
        if !made.contains_key(&digest) {
            let base = record.bundles.get(&digest).unwrap_or(&current);
            made.insert(digest.clone(), change.on(base)?);
        }
        let Some(bundle) = made.get(&digest) else { continue };
        differences.try_on(bundle, (id, *run), recorded)?;
    }
    Ok(differences)
}

fn digest(recorded: &Recorded) -> String {
    let assessed = recorded.assessment.as_ref().map(|assessment| assessment.config_digest.clone());
    assessed.or_else(|| recorded.receipts.values().next().map(|r| r.config_digest.clone())).unwrap_or_default()
}

impl Change {
    /// A folder, or a file that says by its `schema` what it is.
    fn read(project: &Project, path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Whole(Box::new(config::load_from(project, path, None)?)));
        }
        let file = project.name_of(path);
        let yaml = std::fs::read_to_string(path).with_context(|| format!("{file} cannot be read"))?;
        let document: Value = authored::read(&yaml, &file)?;
        match document["schema"].as_str().unwrap_or_default().split('/').next() {
            Some("policy") => Ok(Self::Policy(Box::new(authored::read(&yaml, &file)?))),
            Some("grades") => Ok(Self::Grades(authored::read(&yaml, &file)?)),
            _ => bail!("{file} is neither a policy (schema: policy/1) nor grades (schema: grades/1)"),
        }
    }

    /// The configuration of then with the change.
    fn on(&self, base: &Bundle) -> Result<Bundle> {
        let changed = match self {
            Self::Whole(bundle) => return Ok((**bundle).clone()),
            Self::Policy(policy) => Bundle { policy: (**policy).clone(), ..base.clone() },
            Self::Grades(grades) => Bundle { grades: grades.clone(), ..base.clone() },
        };
        match changed.faults().first() {
            None => Ok(changed),
            Some(fault) => bail!("the change does not fit the configuration it is tried on: {fault}"),
        }
    }
}

impl Differences {
    fn try_on(&mut self, bundle: &Bundle, (id, run): (&IncidentId, u32), recorded: &Recorded) -> Result<()> {
        if recorded.receipts.is_empty() {
            return Ok(());
        }
        self.runs += 1;
        self.receipts += recorded.receipts.len();
        let source = recorded.assessment.as_ref().and_then(|a| a.basis.as_ref()).map(|basis| basis.source.clone());
        let mut again: BTreeMap<String, Receipt> = BTreeMap::new();
        for (key, receipt) in &recorded.receipts {
            self.not_replayed += usize::from(!receipt.replay().1.is_empty());
            let facts = case::under(bundle, source.as_deref().unwrap_or_default(), receipt.facts.clone());
            let verdict = Verdict::reach(&facts, receipt.now);
            // By the same edition of the rule: what an earlier release concluded otherwise is not the policy's doing.
            let before = if receipt.is_current() {
                receipt.verdict.clone()
            } else {
                Verdict::reach(&receipt.facts, receipt.now)
            };
            self.by_rule += usize::from(spelled(&before) != spelled(&receipt.verdict));
            if spelled(&verdict) != spelled(&before) {
                let what = spell(&receipt.facts.observable);
                self.verdicts.push(difference(id, run, what, spelled(&before), spelled(&verdict)));
            }
            let schema = Receipt::SCHEMA.to_owned();
            again.insert(key.clone(), Receipt { schema, facts, verdict, ..receipt.clone() });
        }
        let Some(before) = &recorded.assessment else {
            self.verdicts_only += 1;
            return Ok(());
        };
        let Some(after) = concluded(bundle, before, &again)? else {
            self.verdicts_only += 1;
            return Ok(());
        };
        let mut compare = |list: fn(&mut Self) -> &mut Vec<Difference>, before: String, after: String| {
            if before != after {
                list(self).push(difference(id, run, String::new(), before, after));
            }
        };
        compare(|all| &mut all.severities, before.severity.as_str().to_owned(), after.severity.as_str().to_owned());
        compare(|all| &mut all.routes, before.route.as_str().to_owned(), after.route.as_str().to_owned());
        let ticket = |opens: bool| if opens { "a ticket" } else { "no ticket" }.to_owned();
        compare(|all| &mut all.tickets, ticket(before.opens_ticket), ticket(after.opens_ticket));
        self.compare_writes((id, run), before, &after);
        Ok(())
    }

    fn compare_writes(&mut self, (id, run): (&IncidentId, u32), before: &Assessment, after: &Assessment) {
        let writes = |assessment: &Assessment| -> BTreeMap<(String, String), String> {
            let entry = |entry: &playbook::plan::Entry| {
                let when = if entry.automatic { "at once, " } else { "" };
                let says = match &entry.refused {
                    Some(reason) => format!("refused: {reason}"),
                    None => format!("{} {when}for {} h", entry.act, entry.lifetime_hours),
                };
                ((entry.target.clone(), spell(&entry.observable)), says)
            };
            assessment.plan.entries.iter().map(entry).collect()
        };
        let (before, after) = (writes(before), writes(after));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let nothing = || "not written".to_owned();
        for key in keys {
            let (was, will) = (before.get(key).cloned(), after.get(key).cloned());
            if was != will {
                let what = format!("{} at {}", key.1, key.0);
                let (was, will) = (was.unwrap_or_else(nothing), will.unwrap_or_else(nothing));
                self.writes.push(difference(id, run, what, was, will));
            }
        }
    }

    fn human(&self, name: &str, since: Option<Timestamp>) -> String {
        let since = since.map_or_else(String::new, |since| format!(" since {since}"));
        let mut lines = vec![format!("{name} on {} runs with {} receipts{since}:", self.runs, self.receipts)];
        for (title, list) in [
            ("verdicts", &self.verdicts),
            ("severities", &self.severities),
            ("routes", &self.routes),
            ("writes", &self.writes),
            ("tickets", &self.tickets),
        ] {
            lines.push(String::new());
            lines.push(term::bold(&format!("{title}: {}", changed(list.len()))));
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for one in list {
                *counts.entry(format!("{} → {}", word(&one.before), word(&one.after))).or_default() += 1;
            }
            lines.extend(counts.into_iter().map(|(step, count)| format!("  {count} × {step}")));
            for one in list.iter().take(NAMED_MAX) {
                let what = if one.what.is_empty() { String::new() } else { format!("  {}", one.what) };
                lines.push(format!("    {} r{}{what}  {} → {}", one.incident_id, one.run, one.before, one.after));
            }
            if list.len() > NAMED_MAX {
                lines.push(format!("    and {} more: --json names them all", list.len() - NAMED_MAX));
            }
        }
        if self.verdicts_only > 0 {
            lines.push(format!(
                "\nOf {} runs only the verdicts could be tried: their assessment is missing, or of release 0.1.0.",
                self.verdicts_only
            ));
        }
        if self.by_rule > 0 {
            lines.push(format!(
                "\n{} verdicts of an earlier release would be others today whatever the policy: they are compared as today's rule reaches them.",
                self.by_rule
            ));
        }
        if self.not_replayed > 0 {
            lines.push(format!(
                "\n{} receipts do not reach their own verdict today (cargo xtask replay): what differs there is not the policy's.",
                self.not_replayed
            ));
        }
        lines.join("\n")
    }
}

fn difference(id: &IncidentId, run: u32, what: String, before: String, after: String) -> Difference {
    Difference { incident_id: id.clone(), run, what, before, after }
}

fn changed(count: usize) -> String {
    if count == 0 { "nothing changes".to_owned() } else { format!("{count} would change") }
}

/// The first word: what is counted together.
fn word(text: &str) -> &str {
    text.split([':', ',']).next().unwrap_or(text)
}

fn spell(observable: &Observable) -> String {
    observable.defanged()
}

fn spelled(verdict: &Verdict) -> String {
    let reason = verdict.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    format!("{}{reason}", verdict.verdict.as_str())
}

/// The assessment of then with other receipts; `None` where it does not say what it came from.
fn concluded(bundle: &Bundle, before: &Assessment, receipts: &BTreeMap<String, Receipt>) -> Result<Option<Assessment>> {
    let Some(basis) = before.basis.clone() else { return Ok(None) };
    let mut judged = vec![];
    for assessed in &before.observables {
        let key = assessed.sighted.observable.key();
        let Some(receipt) = receipts.get(&key) else { return Ok(None) };
        judged.push((assessed.sighted.clone(), receipt.clone()));
    }
    Case::worst_first(&mut judged);
    let histories = before.observables.iter().filter_map(|a| Some((a.sighted.observable.key(), a.history?))).collect();
    let case = Case {
        incident_id: before.incident_id.clone(),
        run: before.run,
        config_digest: before.config_digest.clone(),
        basis,
        subject: before.subject.clone(),
        participants: before.participants.clone(),
        omissions: before.omissions.clone(),
        judged,
        histories,
        related: before.related.clone(),
        campaign: before.campaign.clone(),
    };
    Ok(Some(case.conclude(bundle, before.receipts.clone(), before.assessed_at)?))
}
