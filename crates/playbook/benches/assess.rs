//! What an assessment costs: verdicts, receipts, severity, plan and document of so many observables with twenty opinions each.
//!
//! Everything but the reads and writes of `Assess`. The processor's time of this process is counted, not the clock's; what matters
//! is the growth from one size to the next, of the same run.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot be made")]

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use ioc::Observable;
use playbook::{
    IncidentId, Timestamp,
    assessment::{Assessment, Basis},
    bundle::Bundle,
    case::{self, Case, SaidBefore},
    grades::Grades,
    incident::{EvidenceRef, Kind, Sighted},
    infrastructure,
    manifest::{Manifest, Tlp},
    outcome::{Grade, Judgement, Opinion, Outcome, Status},
    policy::Policy,
    receipt::Receipt,
    severity::Severity,
    target::Target,
    verdict::Verdict,
};
use rustix::time::{ClockId, clock_gettime};

const SIZES: [usize; 5] = [125, 250, 500, 1_000, 2_000];
const OPINIONS: usize = 20;
/// Each size is measured so often; the least counts, because everything else is noise.
const ROUNDS: usize = 7;

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
}

/// The shipped policy and a target that blocks, with twenty providers of every grade.
fn bundle() -> Bundle {
    let policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
    let target: Target = serde_saphyr::from_str(include_str!("../../../playbook/targets/served-list.yaml")).unwrap();
    let shipped = include_str!("../../../playbook/providers/threatfox.yaml");
    let providers = (0..OPINIONS).map(|number| {
        let mut provider = Manifest::parse(shipped, "threatfox.yaml").unwrap();
        (provider.id, provider.family) = (format!("provider-{number}"), format!("family-{number}"));
        provider
    });
    let letters = [Grade::A, Grade::B, Grade::C, Grade::D];
    let grades = (0..OPINIONS).map(|number| (format!("provider-{number}"), letters[number % 4])).collect();
    Bundle::new(policy, providers.collect(), vec![target]).with_grades(Grades { grades, ..Grades::default() })
}

fn outcomes(at: usize) -> Vec<Outcome> {
    let verdicts = [Judgement::Malicious, Judgement::Suspicious, Judgement::Benign, Judgement::Unknown];
    let outcome = |number: usize| Outcome {
        provider: format!("provider-{number}"),
        family: format!("family-{number}"),
        context: false,
        outcome: Status::Found,
        reason: None,
        opinion: Some(Opinion {
            verdict: verdicts[(at + number) % 4],
            score: 80,
            grade: None,
            own: false,
            upstreams: if number.is_multiple_of(5) {
                vec![format!("family-{}", (number + 1) % OPINIONS)]
            } else {
                vec![]
            },
            tags: vec!["malware".to_owned(), "asn:64500".to_owned()],
            evidence: Some("listed as a distribution site, seen on three days".to_owned()),
            permalink: Some("https://provider.example/indicator/1".to_owned()),
            last_seen: Some(now().plus_hours(-i64::try_from(number * 10).unwrap())),
        }),
        fetched_at: now(),
        expires_at: now().plus_hours(1),
        manifest_digest: "0".repeat(64),
        cached: false,
        task: None,
        stale: None,
    };
    (0..OPINIONS).map(outcome).collect()
}

type Evidence = Vec<(Sighted, Vec<Outcome>)>;

fn evidence(size: usize) -> Evidence {
    let one = |at: usize| {
        let value = match at % 4 {
            0 => format!("https://host-{at}.evil.test.invalid-zone.com/path/{at}"),
            1 => format!("host-{at}.evil-zone.com"),
            2 => format!("45.{}.{}.7", at / 250, at % 250),
            _ => format!("{at:064x}"),
        };
        let observable = Observable::parse_any(&value).unwrap();
        (Sighted { observable, places: vec!["text".to_owned()], withheld: None }, outcomes(at))
    };
    (0..size).map(one).collect()
}

fn assess(bundle: &Bundle, evidence: &Evidence) -> (Assessment, usize) {
    let basis = Basis {
        tenant: "default".to_owned(),
        kind: Kind::Mail,
        source: "mail".to_owned(),
        severity: Severity::Low,
        was_allowed: None,
        incomplete: false,
        pinned: None,
        tlp: Tlp::default(),
        received_at: None,
    };
    let id = IncidentId::of("default", "mail", "bench");
    let judge = |(sighted, outcomes): &(Sighted, Vec<Outcome>)| {
        let outcomes = Some(outcomes.clone());
        let facts = case::facts(bundle, &basis, sighted, outcomes, SaidBefore::default(), now());
        let receipt = Receipt {
            schema: Receipt::SCHEMA.to_owned(),
            incident_id: id.clone(),
            run: 1,
            config_digest: "0".repeat(64),
            now: now(),
            verdict: Verdict::reach(&facts, now()),
            facts,
        };
        (sighted.clone(), receipt)
    };
    let mut judged: Vec<(Sighted, Receipt)> = evidence.iter().map(judge).collect();
    Case::worst_first(&mut judged);
    let receipts = || judged.iter().map(|(_, receipt)| receipt);
    let lines = Receipt::to_lines(receipts()).unwrap();
    let neighbours = infrastructure::links(receipts().filter(|r| r.verdict.is_bad()).map(|r| &r.facts));
    let case = Case {
        incident_id: id,
        run: 1,
        config_digest: "0".repeat(64),
        basis: basis.clone(),
        subject: "bench".to_owned(),
        participants: vec![],
        omissions: vec![],
        judged,
        histories: BTreeMap::new(),
        related: vec![],
        campaign: None,
    };
    let stored = EvidenceRef { key: "k".to_owned(), version_id: None, sha256: String::new(), size_bytes: 0 };
    let assessment = case.conclude(bundle, stored, now()).unwrap();
    let document = serde_json::to_vec(&assessment).unwrap();
    (assessment, lines.len() + neighbours.len() + document.len())
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

struct Measured {
    size: usize,
    time: Duration,
    allocations: u64,
    bytes: u64,
}

fn measure(bundle: &Bundle, size: usize) -> Measured {
    let evidence = evidence(size);
    let mut time = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = processor_time();
        black_box(assess(bundle, black_box(&evidence)));
        time = time.min(processor_time().saturating_sub(begun));
    }
    let counted = allocation_counter::measure(|| {
        black_box(assess(bundle, black_box(&evidence)));
    });
    Measured { size, time, allocations: counted.count_total, bytes: counted.bytes_max }
}

#[expect(clippy::cast_precision_loss, reason = "a growth of two sizes needs no 53 bits")]
fn growth(small: u64, large: u64, sizes: (usize, usize)) -> f64 {
    (large as f64 / small.max(1) as f64).ln() / (sizes.1 as f64 / sizes.0 as f64).ln()
}

fn main() {
    let bundle = bundle();
    black_box(assess(&bundle, &evidence(SIZES[0])));
    println!("assess, {OPINIONS} opinions an observable (growth 1.00 is linear)\n");
    println!(
        "{:>11}  {:>8}  {:>14}  {:>7}  {:>12}  {:>14}  {:>7}  {:>9}",
        "observables", "CPU ms", "µs/observable", "growth", "allocations", "per observable", "growth", "peak MB"
    );
    let mut before: Option<Measured> = None;
    for size in SIZES {
        let now = measure(&bundle, size);
        let (of_time, of_count) = before.as_ref().map_or((String::new(), String::new()), |before| {
            let sizes = (before.size, now.size);
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            (
                format!("{:.2}", growth(micros(before.time), micros(now.time), sizes)),
                format!("{:.2}", growth(before.allocations, now.allocations, sizes)),
            )
        });
        println!(
            "{:>11}  {:>8.1}  {:>14.1}  {:>7}  {:>12}  {:>14}  {:>7}  {:>9.1}",
            now.size,
            now.time.as_secs_f64() * 1_000.0,
            now.time.as_secs_f64() * 1_000_000.0 / f64::from(u32::try_from(now.size).unwrap_or(1)),
            of_time,
            now.allocations,
            now.allocations / u64::try_from(now.size).unwrap_or(1),
            of_count,
            f64::from(u32::try_from(now.bytes / 1_000).unwrap_or(u32::MAX)) / 1_000.0,
        );
        before = Some(now);
    }
}
