//! `cargo xtask scorecards`: how often each source was right by what people decided, the letter that this suggests, and what a
//! useful hit costs. It reads, and changes nothing.

use anyhow::Result;
use playbook::{
    Timestamp,
    bundle::Bundle,
    outcome::Grade,
    scorecard::{DECIDED_MIN, Ground, Judged, Scorecard, Scorecards, Tally},
};
use serde::Serialize;

use crate::{
    config,
    extract_command::word,
    project::Project,
    recorded::{self, Place, Runs},
    term,
};

/// A scorecard with what follows from it. Shares are in basis points: hundredths of a per cent, 0–10,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was counted.
    #[serde(flatten)]
    pub card: Scorecard,
    /// How many of its decided bad opinions were right.
    pub precision_basis_points: Option<u32>,
    /// The Wilson lower bound of it at 95 per cent.
    pub precision_at_least_basis_points: Option<u32>,
    /// How many of the truly bad observables it called bad.
    pub coverage_basis_points: Option<u32>,
    /// How many of its lookups were answered.
    pub answered_basis_points: Option<u32>,
    /// Calls for one useful hit, in hundredths.
    pub calls_per_useful_hit_hundredths: Option<u64>,
    /// What a useful hit costs, in millionths of a US dollar, where the manifest says what a call costs.
    pub microdollars_per_useful_hit: Option<u64>,
    /// The letter in force for the type; none of a provider that `playbook/` does not have.
    pub grade: Option<Grade>,
    /// The letter that the precision suggests; none below [`DECIDED_MIN`] decided opinions.
    pub suggested: Option<Grade>,
    /// Whether the two are there and differ.
    pub differs: bool,
}

impl Line {
    fn new(card: Scorecard, bundle: &Bundle) -> Self {
        let provider = bundle.providers.get(&card.provider);
        let grade = provider.and_then(|provider| bundle.grades.of(provider, card.kind));
        let suggested = card.suggested();
        let price = provider.and_then(|provider| provider.price_microdollars);
        Self {
            precision_basis_points: card.precision(),
            precision_at_least_basis_points: card.precision_at_least(),
            coverage_basis_points: card.coverage(),
            answered_basis_points: card.availability(),
            calls_per_useful_hit_hundredths: card.calls_per_useful_hit_hundredths(),
            microdollars_per_useful_hit: price.and_then(|price| card.microdollars_per_useful_hit(price)),
            grade,
            suggested,
            differs: suggested.zip(grade).is_some_and(|(suggested, grade)| suggested != grade),
            card,
        }
    }
}

/// Everything that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// What was read.
    #[serde(flatten)]
    pub ground: Ground,
    /// One for each provider and type.
    pub scorecards: Vec<Line>,
}

/// Tells the scorecards of what was recorded.
pub fn run(project: &Project, place: &Place, since: Option<&str>, json: bool) -> Result<()> {
    let since = since.map(recorded::moment).transpose()?;
    let told = read(project, place, since)?;
    term::line(&if json { serde_json::to_string_pretty(&told)? } else { human(&told) });
    Ok(())
}

/// The scorecards of what was recorded since a moment, against the letters in `playbook/`.
pub fn read(project: &Project, place: &Place, since: Option<Timestamp>) -> Result<Told> {
    let bundle = config::load(project, None)?;
    let runs = recorded::read(project, place, since)?.runs;
    Ok(told(&runs, &bundle))
}

fn told(runs: &Runs, bundle: &Bundle) -> Told {
    let judged = runs.iter().map(|((incident_id, run), recorded)| Judged {
        incident_id,
        run: *run,
        receipts: recorded.receipts.values().collect(),
        decisions: &recorded.decisions,
    });
    let Scorecards { ground, scorecards } = Scorecards::of(&judged.collect::<Vec<_>>());
    // The first release did not write of a silent source that it gives context only.
    let opines = |card: &Scorecard| bundle.providers.get(&card.provider).is_none_or(|provider| provider.opines);
    Told { ground, scorecards: scorecards.into_iter().filter(opines).map(|card| Line::new(card, bundle)).collect() }
}

const HEAD: [&str; 17] = [
    "PROVIDER",
    "TYPE",
    "ASKED",
    "ANSWERED",
    "FOUND",
    "FAILED",
    "SKIPPED",
    "SAID BAD",
    "SAID BENIGN",
    "PRECISION",
    "COVERAGE",
    "HITS",
    "CALLS",
    "CALLS A HIT",
    "COST A HIT",
    "GRADE",
    "SUGGESTED",
];

fn human(told: &Told) -> String {
    let Ground { runs, receipts, decisions, decided_runs, truly_bad, truly_harmless, from, until } = &told.ground;
    let time = from.zip(*until).map_or_else(String::new, |(from, until)| format!(", judged from {from} to {until}"));
    let mut lines = vec![
        format!("Read: runs {runs}, receipts {receipts}, decisions {decisions}{time}."),
        format!(
            "People approved or rejected in {decided_runs} of the runs: truly bad {truly_bad}, truly harmless {truly_harmless}."
        ),
    ];
    if told.scorecards.is_empty() {
        lines.push("No receipt says that a source was asked: there is nothing to score.".to_owned());
        return lines.join("\n");
    }
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(told.scorecards.iter().map(cells));
    lines.extend([String::new(), term::table(&rows), String::new()]);
    if *decided_runs == 0 {
        lines.push(
            "Nobody has approved or rejected anything here yet: no source can be called right or wrong.".to_owned(),
        );
    }
    lines.push("SAID: + people decided the same, - the opposite, ? nobody decided. HITS: bad, right, and weighed in the verdict.".to_owned());
    lines.push(format!(
        "PRECISION: + of + and -, and its lower bound at 95 % (Wilson), from which the letter is suggested, given {DECIDED_MIN} decisions."
    ));
    let differing = told.scorecards.iter().filter(|line| line.differs).count();
    if differing > 0 {
        lines.push(format!(
            "Suggested otherwise than in force: {differing}. It is for you to decide, in playbook/grades.yaml."
        ));
    }
    lines.join("\n")
}

fn cells(line: &Line) -> Vec<String> {
    let card = &line.card;
    let none = || "-".to_owned();
    let precision = line.precision_basis_points.zip(line.precision_at_least_basis_points);
    let suggested = match line.suggested {
        None => format!("too few decisions ({})", card.bad.decided()),
        Some(grade) if line.differs => format!("{} differs", word(&grade)),
        Some(grade) => word(&grade),
    };
    vec![
        card.provider.clone(),
        card.kind.to_string(),
        card.asked.to_string(),
        card.answered.to_string(),
        card.found.to_string(),
        card.failed.to_string(),
        card.skipped.to_string(),
        tally(card.bad),
        tally(card.benign),
        precision.map_or_else(none, |(is, at_least)| format!("{}, at least {}", percent(is), percent(at_least))),
        line.coverage_basis_points.map_or_else(none, percent),
        card.useful_hits.to_string(),
        card.calls.to_string(),
        line.calls_per_useful_hit_hundredths.map_or_else(none, |h| format!("{}.{:02}", h / 100, h % 100)),
        line.microdollars_per_useful_hit.map_or_else(none, dollars),
        line.grade.map_or_else(none, |grade| word(&grade)),
        suggested,
    ]
}

fn tally(tally: Tally) -> String {
    if tally == Tally::default() {
        return "-".to_owned();
    }
    format!("+{} -{} ?{}", tally.confirmed, tally.refuted, tally.undecided)
}

/// With one decimal, rounded down, so that nothing looks better than it is.
fn percent(basis_points: u32) -> String {
    format!("{}.{} %", basis_points / 100, basis_points % 100 / 10)
}

/// To the hundredth of a cent, rounded up.
fn dollars(microdollars: u64) -> String {
    let parts = microdollars.div_ceil(100);
    format!("${}.{:04}", parts / 10_000, parts % 10_000)
}

#[cfg(test)]
mod tests {
    use playbook::{
        IncidentId,
        decision::{Choice, Decision},
        outcome::{Judgement, Opinion, Outcome, Status},
        receipt::Receipt,
        verdict::{Facts, Verdict},
    };
    use serde_json::Value;

    use super::*;
    use crate::recorded::Decided;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
    }

    fn found(provider: &str, verdict: Judgement) -> Outcome {
        let opinion = Opinion {
            verdict,
            score: 90,
            grade: Some(Grade::A),
            own: false,
            upstreams: vec![],
            tags: vec![],
            evidence: None,
            permalink: None,
            last_seen: None,
        };
        Outcome {
            provider: provider.to_owned(),
            family: provider.to_owned(),
            context: false,
            outcome: Status::Found,
            reason: None,
            opinion: Some(opinion),
            fetched_at: now(),
            expires_at: now().plus_hours(1),
            manifest_digest: "d".to_owned(),
            cached: false,
            task: None,
            stale: None,
        }
    }

    /// What a run with one domain leaves behind: its receipts as they are stored, and the decision where there is one.
    fn record(folder: &std::path::Path, number: u32, outcomes: Vec<Outcome>, choice: Option<Choice>) {
        let incident_id = IncidentId::of("default", "mail", &number.to_string());
        let observable = ioc::Observable::parse_any(&format!("evil{number}.example")).unwrap();
        let key = observable.key();
        let facts = Facts { outcomes, ..Facts::bare(observable) };
        let receipt = Receipt {
            schema: Receipt::SCHEMA.to_owned(),
            incident_id: incident_id.clone(),
            run: 1,
            config_digest: String::new(),
            now: now().plus_hours(i64::from(number)),
            verdict: Verdict::reach(&facts, now()),
            facts,
        };
        std::fs::write(folder.join(format!("{number}.jsonl")), Receipt::to_lines(&[receipt]).unwrap()).unwrap();
        let Some(choice) = choice else { return };
        let decision = Decision {
            choice,
            last: true,
            by: "ana@soc.example".to_owned(),
            authenticated_by: "mailbox".to_owned(),
            indicators: if choice == Choice::Approved { vec![key] } else { vec![] },
            ..Decision::at(now())
        };
        let decided = serde_json::to_string(&Decided { incident_id, run: 1, decision }).unwrap();
        std::fs::write(folder.join(format!("decision-{number}.json")), decided).unwrap();
    }

    fn tell(folder: &std::path::Path, since: Option<Timestamp>) -> Told {
        read(&Project::find().unwrap(), &Place::Folder(folder.to_owned()), since).unwrap()
    }

    #[test]
    fn documents_of_a_folder_become_scorecards_with_the_letters_in_force() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..22 {
            let outcomes = vec![found("urlhaus", Judgement::Malicious), found("gone", Judgement::Benign)];
            record(folder.path(), number, outcomes, Some(Choice::Approved));
        }
        let context = Outcome { outcome: Status::NotFound, opinion: None, ..found("rdap", Judgement::Unknown) };
        record(folder.path(), 22, vec![found("otx", Judgement::Malicious), context], Some(Choice::Rejected));
        let told = tell(folder.path(), None);
        assert_eq!(
            (told.ground.runs, told.ground.receipts, told.ground.decisions, told.ground.decided_runs),
            (23, 23, 23, 23)
        );
        assert_eq!((told.ground.truly_bad, told.ground.truly_harmless), (22, 1));
        assert_eq!(told.scorecards.len(), 3);
        let told_of = |provider: &str| told.scorecards.iter().find(|line| line.card.provider == provider).unwrap();
        let urlhaus = told_of("urlhaus");
        assert_eq!((urlhaus.grade, urlhaus.suggested, urlhaus.differs), (Some(Grade::A), Some(Grade::B), true));
        let otx = told_of("otx");
        assert_eq!((otx.grade, otx.suggested, otx.differs), (Some(Grade::C), None, false));
        assert_eq!((told_of("gone").grade, told_of("gone").card.benign.refuted), (None, 22));

        let text = human(&told);
        for said in [
            "Read: runs 23, receipts 23, decisions 23, judged from 2026-11-24T05:00:00.000Z to 2026-11-25T03:00:00.000Z.",
            "approved or rejected in 23 of the runs: truly bad 22, truly harmless 1.",
            "+22 -0 ?0",
            "100.0 %, at least 85.1 %",
            "B differs",
            "too few decisions (1)",
            "Suggested otherwise than in force: 1.",
        ] {
            assert!(text.contains(said), "{said} is not in\n{text}");
        }
        let json: Value = serde_json::to_value(&told).unwrap();
        assert_eq!(json["scorecards"][2]["provider"], "urlhaus");
        assert_eq!(json["scorecards"][2]["type"], "domain-name");
        assert_eq!(json["scorecards"][2]["calls_per_useful_hit_hundredths"], 100);
        assert_eq!(tell(folder.path(), Some(now().plus_hours(20))).ground.runs, 3);
    }

    #[test]
    fn where_nobody_has_decided_it_says_so_and_still_counts_the_lookups() {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path(), 1, vec![found("urlhaus", Judgement::Malicious)], None);
        record(folder.path(), 2, vec![found("urlhaus", Judgement::Malicious)], Some(Choice::TimedOut));
        let told = tell(folder.path(), None);
        assert_eq!((told.ground.decisions, told.ground.decided_runs, told.scorecards[0].card.asked), (1, 0, 2));
        let text = human(&told);
        assert!(text.contains("Nobody has approved or rejected anything here yet"), "{text}");
        assert!(text.contains("too few decisions (0)"), "{text}");
    }

    #[test]
    fn where_no_source_was_asked_there_is_nothing_to_score() {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path(), 1, vec![], Some(Choice::Approved));
        let text = human(&tell(folder.path(), None));
        assert!(text.contains("there is nothing to score"), "{text}");
    }

    #[test]
    fn a_price_in_the_manifest_makes_a_cost() {
        let mut bundle = config::load(&Project::find().unwrap(), None).unwrap();
        let kind = ioc::ObservableType::DomainName;
        let told = told(&Runs::new(), &bundle);
        assert_eq!(told.scorecards, []);
        let document = serde_json::json!({
            "provider": "otx", "type": kind, "asked": 9, "answered": 9, "found": 9, "failed": 0, "skipped": 0,
            "bad": Tally::default(), "benign": Tally::default(), "useful_hits": 4, "truly_bad": 0, "called_bad": 0, "calls": 9,
        });
        let card: Scorecard = serde_json::from_value(document).unwrap();
        assert_eq!(Line::new(card.clone(), &bundle).microdollars_per_useful_hit, None);
        bundle.providers.get_mut("otx").unwrap().price_microdollars = Some(5_000);
        let line = Line::new(card, &bundle);
        assert_eq!(line.microdollars_per_useful_hit, Some(11_250));
        assert!(cells(&line).contains(&"$0.0113".to_owned()), "{:?}", cells(&line));
    }

    #[test]
    fn numbers_are_spelled_for_people() {
        assert_eq!([0, 9_999, 10_000].map(percent), ["0.0 %", "99.9 %", "100.0 %"]);
        assert_eq!([0, 1, 12_345_600].map(dollars), ["$0.0000", "$0.0001", "$12.3456"]);
    }
}
