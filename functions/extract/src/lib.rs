//! `Extract`: evidence to observables, with where each was found and what was left out.

mod admission;
mod alert;
mod attachment;
mod collect;
mod decode;
mod headers;
mod html;
mod limits;
mod links;
mod mail;
mod mime;
mod tags;
mod text;
mod uuencode;

use playbook::{
    Fault, IncidentId,
    bundle::Bundle,
    canonical,
    guard::Guard,
    incident::{EvidenceRef, Extraction, ForeignExecution, Incident, Kind, Run},
    ports::{Clock, Evidence},
    rows::{Commit, Rows, Write},
    severity::Severity,
};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::collect::Collector;

/// How many observables one `Enrich` takes.
pub const CHUNK: usize = 50;

/// The execution's input, from `admit`, or from a person or a machine that starts the playbook without it. Unknown
/// fields are ignored: executions outlive a deployment, and authors add fields of their own.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Input {
    /// The incident; absent when started without `admit`.
    #[serde(default)]
    pub incident_id: Option<IncidentId>,
    /// The run, from 1.
    #[serde(default)]
    pub run: Option<u32>,
    /// Where the content lies; absent: the incident's own.
    #[serde(default)]
    pub evidence: Option<EvidenceRef>,
    /// `mail` (when absent), `alert` or `feed`; anything else is read as text. Only without `admit`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Whose it is; `default` when absent. Only without `admit`, as all that follow.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Which door; `console` when absent.
    #[serde(default)]
    pub source: Option<String>,
    /// The source's own id; key and version of the evidence when absent.
    #[serde(default)]
    pub native_id: Option<String>,
    /// What the source says of the severity.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// When it came in, in RFC 3339; now when absent.
    #[serde(default)]
    pub received_at: Option<playbook::Timestamp>,
    /// The name of the execution, from the machine.
    #[serde(default)]
    pub execution: Option<String>,
    /// The machine's own name, `<stack>-<word>`, from the machine.
    #[serde(default)]
    pub machine: Option<String>,
}

/// What the deployment decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `CONFIG_DIGEST`: judges the incidents that are started without `admit`.
    pub config_digest: String,
    /// `STACK_NAME`: the machines are called after it.
    pub stack: String,
}

/// To `Enrich`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The incident.
    pub incident_id: IncidentId,
    /// The run.
    pub run: u32,
    /// How many observables are to be judged, the withheld ones included; 0 when complete evidence holds none, and at
    /// least 1 when the evidence was not read completely.
    pub observables: usize,
    /// Pieces of the extraction document's `observables` of at most [`CHUNK`] each; the withheld ones lie behind them all.
    pub chunks: Vec<Chunk>,
}

/// A piece of the extraction document's `observables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// Where it starts.
    pub offset: usize,
    /// How many it holds.
    pub count: usize,
}

/// Reads the evidence and notes every observable in it, those to be looked up first. Safe to run again.
///
/// Evidence that cannot be read as what it claims to be is read as far as it goes; what was left out is noted.
pub async fn run(
    evidence: &impl Evidence,
    rows: &impl Rows,
    clock: &impl Clock,
    settings: &Settings,
    account: &str,
    input: Input,
) -> Result<Output, Fault> {
    let (incident, run) = admission::find_or_admit(evidence, rows, clock, settings, &input).await?;
    let bundle = Bundle::load(evidence, &incident.config_digest, account).await?;
    let hosts = bundle.hosts();
    let mut collector = Collector::new(Guard::new(&bundle.policy, &hosts));

    let content = input.evidence.as_ref().unwrap_or(&incident.evidence);
    if content.size_bytes > limits::FETCHED_BYTES {
        collector.lose(
            "evidence",
            format!("not read: {} bytes, the limit is {}", content.size_bytes, limits::FETCHED_BYTES),
        );
    } else {
        read(incident.kind, &evidence.fetch(content).await?, &mut collector);
    }
    let extraction = collector.finish(&incident.incident_id);

    let document = canonical::to_json(&extraction)?;
    let digest = canonical::sha256_hex(&document);
    let key = format!("incidents/{}/r{run}/extract/{digest}.json", incident.incident_id);
    let stored = evidence.store(&key, "application/json", &document).await?;
    note(rows, &incident, run, stored, input.execution.as_deref()).await?;

    let asked = extraction.observables.iter().filter(|sighted| sighted.withheld.is_none()).count();
    let withheld = extraction.observables.len() - asked;
    info!(incident.id = %incident.incident_id, count = asked, withheld, omissions = extraction.omissions.len(), "extracted observables");
    // Evidence that was not read completely is judged even when nothing was found in it.
    let observables = extraction.observables.len().max(usize::from(extraction.incomplete));
    Ok(Output { incident_id: incident.incident_id, run, observables, chunks: chunks(asked) })
}

fn read(kind: Kind, content: &[u8], collector: &mut Collector<'_>) {
    match kind {
        Kind::Mail => mail::read(content, collector),
        Kind::Alert | Kind::Feed => alert::read(content, collector),
        Kind::ExecutionEnded => text::read(content, collector),
    }
}

/// The first `limit` bytes; what is cut off is noted.
fn first<'a>(content: &'a [u8], limit: usize, place: &str, collector: &mut Collector<'_>) -> &'a [u8] {
    if content.len() > limit {
        collector.lose(place, format!("read the first {limit} of {} bytes", content.len()));
    }
    &content[..content.len().min(limit)]
}

/// Notes the document in the run's row; what later stages noted there stays.
///
/// An execution that somebody else than `admit` has started is noted by its name: when it ends badly, its incident is found.
async fn note(
    rows: &impl Rows,
    incident: &Incident,
    run: u32,
    document: EvidenceRef,
    execution: Option<&str>,
) -> Result<(), Fault> {
    let id = &incident.incident_id;
    let foreign = execution.filter(|name| *name != id.execution_name(run));
    let row = Run {
        schema: Run::SCHEMA.to_owned(),
        extraction: Some(document),
        execution: foreign.map(str::to_owned),
        ..Run::default()
    };
    let mut writes = vec![Write::set(Run::key(id, run), &row)?];
    if let Some(name) = foreign {
        let execution = ForeignExecution { schema: ForeignExecution::SCHEMA.to_owned(), incident_id: id.clone(), run };
        writes.push(Write::put(ForeignExecution::key(name), &execution)?);
    }
    match rows.commit(&writes).await? {
        Commit::Done => Ok(()),
        Commit::Conflict => {
            Err(Fault::Unavailable(format!("run {run} of {} could not be noted", incident.incident_id)))
        }
    }
}

fn chunks(count: usize) -> Vec<Chunk> {
    (0..count).step_by(CHUNK).map(|offset| Chunk { offset, count: CHUNK.min(count - offset) }).collect()
}

/// Reads a mail or another piece of evidence without any port: for tests and tools.
#[must_use]
pub fn extract(kind: Kind, content: &[u8], guard: Guard<'_>, incident_id: &IncidentId) -> Extraction {
    let mut collector = Collector::new(guard);
    read(kind, content, &mut collector);
    collector.finish(incident_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_once() {
        let check = |count: usize, expected: &[(usize, usize)]| {
            let found: Vec<(usize, usize)> = chunks(count).iter().map(|chunk| (chunk.offset, chunk.count)).collect();
            assert_eq!(found, expected, "{count}");
        };
        check(0, &[]);
        check(1, &[(0, 1)]);
        check(50, &[(0, 50)]);
        check(101, &[(0, 50), (50, 50), (100, 1)]);
    }

    #[test]
    fn an_evidence_reference_is_enough_to_start() {
        let input: Input =
            serde_json::from_str(r#"{"evidence":{"key":"mail/a"},"kind":"mail","comment":"by hand"}"#).unwrap();
        assert_eq!(input.evidence.unwrap().key, "mail/a");
        assert_eq!(input.run, None);
    }
}
