//! `cargo xtask verdicts`: the situations of `tests/fixtures/verdicts` with what is concluded of each and how; `docs/VERDICTS.md`
//! is this page.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result, bail};
use ioc::Observable;
use playbook::{
    Timestamp,
    assessment::Assessed,
    authored, case,
    incident::{Kind, Sighted, Withheld},
    outcome::{Grade, Judgement, Opinion, Outcome, Status},
    severity::{self, Circumstances, Severity},
    verdict::{Facts, Merge, PersonDecision, Precedent, Verdict, words},
};
use serde::Deserialize;

use crate::{project::Project, term};

const FOLDER: &str = "tests/fixtures/verdicts";
const PAGE: &str = "docs/VERDICTS.md";
/// The moment of every situation.
const NOW: &str = "2026-11-24T05:00:00Z";

/// A file of situations. Unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    topic: String,
    situations: Vec<Situation>,
}

/// What the sources said of one observable, and what follows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Situation {
    #[serde(rename = "situation")]
    name: String,
    why: String,
    observable: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    said: Vec<String>,
    #[serde(default)]
    merge: Merge,
    #[serde(default)]
    decision: Option<Decided>,
    #[serde(default)]
    precedent: Option<Before>,
    #[serde(default)]
    guarded: Option<String>,
    #[serde(default)]
    withheld: Option<Withheld>,
    #[serde(default = "mail")]
    kind: Kind,
    #[serde(default)]
    source_severity: Severity,
    expect: String,
}

const fn mail() -> Kind {
    Kind::Mail
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    verdict: Judgement,
    days_ago: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    false_positives: u32,
    days_ago: i64,
}

/// Prints the page, or writes it.
pub fn run(project: &Project, write: bool) -> Result<()> {
    let page = page(&topics(project)?)?;
    if !write {
        term::line(page.trim_end());
        return Ok(());
    }
    std::fs::write(project.path(PAGE), page).with_context(|| format!("{PAGE} cannot be written"))?;
    term::message(&format!("{PAGE} shows the situations as they are"));
    Ok(())
}

/// Everything that is wrong: situations that are concluded otherwise, and a page that shows something else.
pub fn faults(project: &Project) -> Result<Vec<String>> {
    let topics = topics(project)?;
    let mut faults = vec![];
    for (file, topic) in &topics {
        for situation in &topic.situations {
            let got = situation.concluded()?.summary;
            if got != situation.expect {
                faults.push(format!("{file}: {}\n  expected  {}\n  got       {got}", situation.name, situation.expect));
            }
        }
    }
    let stored = std::fs::read_to_string(project.path(PAGE)).unwrap_or_default();
    if stored != page(&topics)? {
        faults.push(format!("{PAGE} does not show the situations as they are: cargo xtask verdicts --write"));
    }
    Ok(faults)
}

/// Every file of the folder, in the order of their names.
fn topics(project: &Project) -> Result<Vec<(String, Topic)>> {
    let folder = project.path(FOLDER);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{FOLDER} cannot be read"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    let mut topics = vec![];
    for path in paths {
        let file = project.name_of(&path);
        let yaml = std::fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
        topics.push((file.clone(), authored::read::<Topic>(&yaml, &file)?));
    }
    Ok(topics)
}

/// What was concluded of a situation.
struct Concluded {
    verdict: Verdict,
    route: &'static str,
    /// As situations spell their expectation.
    summary: String,
}

impl Situation {
    fn concluded(&self) -> Result<Concluded> {
        let at = || format!("situation {:?}", self.name);
        let facts = self.facts().with_context(at)?;
        let verdict = Verdict::reach(&facts, now()?);
        let sighted = Sighted { observable: facts.observable, places: vec![], withheld: self.withheld };
        let circumstances = Circumstances { source: self.source_severity, ..Circumstances::default() };
        let (severity, _) = severity::reach([&verdict].into_iter(), &circumstances);
        let assessed = Assessed {
            sighted,
            conclusion: verdict.clone(),
            evidence: vec![],
            guarded: self.guarded.clone(),
            history: None,
        };
        let route = case::route(self.kind, severity, &[assessed], false);
        let summary = format!(
            "{}{}; {}coverage {}/{}; rule {}; route {}; confidence {}",
            verdict.verdict.as_str(),
            verdict.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default(),
            if verdict.degraded { "degraded; " } else { "" },
            verdict.coverage.answered,
            verdict.coverage.required,
            verdict.rule,
            route.as_str(),
            verdict.confidence,
        );
        Ok(Concluded { verdict, route: route.as_str(), summary })
    }

    fn facts(&self) -> Result<Facts> {
        let now = now()?;
        let outcomes = self.said.iter().map(|line| said(line, now)).collect::<Result<Vec<Outcome>>>()?;
        let ago = |days: i64| now.plus_hours(-24 * days);
        Ok(Facts {
            required: self.required.clone(),
            outcomes,
            merge: self.merge,
            withheld: self.withheld,
            decision: self.decision.as_ref().map(|decided| PersonDecision {
                verdict: decided.verdict,
                by: "ana@soc.example".to_owned(),
                at: ago(decided.days_ago),
                expires_at: ago(decided.days_ago - PersonDecision::DAYS),
            }),
            precedent: self
                .precedent
                .as_ref()
                .map(|before| Precedent { false_positives: before.false_positives, last_at: ago(before.days_ago) }),
            ..Facts::bare(Observable::parse_any(&self.observable)?)
        })
    }
}

fn now() -> Result<Timestamp> {
    Timestamp::parse(NOW).context("the moment of the situations")
}

/// What became of one lookup: `<provider> <outcome>[:<reason>]` or `<provider> <grade> <verdict> <age>`, then further words.
fn said(line: &str, now: Timestamp) -> Result<Outcome> {
    let mut words = line.split_whitespace();
    let mut word = |what: &str| words.next().with_context(|| format!("{line:?} has no {what}"));
    let (provider, first) = (word("provider")?, word("outcome or grade")?);
    let (status, reason) = first.split_once(':').map_or((first, None), |(status, reason)| (status, Some(reason)));
    let (outcome, opinion) = if let Ok(status) = serde_json::from_value::<Status>(status.into()) {
        (status, None)
    } else {
        let grade: Grade = serde_json::from_value(first.into()).with_context(|| format!("{line:?}: {first:?}"))?;
        let verdict: Judgement = serde_json::from_value(word("verdict")?.into()).with_context(|| line.to_owned())?;
        let seen = now.plus_hours(-hours(word("age")?)?);
        (Status::Found, Some(opinion(grade, verdict, seen)))
    };
    let mut said = Outcome {
        provider: provider.to_owned(),
        family: provider.to_owned(),
        context: false,
        outcome,
        reason: reason.map(str::to_owned),
        opinion,
        fetched_at: now,
        expires_at: now,
        manifest_digest: String::new(),
        cached: false,
        task: None,
        stale: None,
    };
    for word in words {
        match (word.split_once('='), &mut said.opinion) {
            (Some(("family", family)), _) => family.clone_into(&mut said.family),
            (Some(("upstreams", families)), Some(opinion)) => {
                opinion.upstreams = families.split(',').map(str::to_owned).collect();
            }
            (None, _) if word == "context" => said.context = true,
            (None, Some(opinion)) if word == "own" => opinion.own = true,
            _ => bail!("{line:?}: {word:?} means nothing here"),
        }
    }
    Ok(said)
}

const fn opinion(grade: Grade, verdict: Judgement, seen: Timestamp) -> Opinion {
    Opinion {
        verdict,
        score: 0,
        grade: Some(grade),
        own: false,
        upstreams: vec![],
        tags: vec![],
        evidence: None,
        permalink: None,
        last_seen: Some(seen),
    }
}

/// An age such as `0h`, `2d` or `3y`; a year is 365 days.
fn hours(age: &str) -> Result<i64> {
    let unit = age.chars().last().with_context(|| format!("{age:?} is no age"))?;
    let number: i64 = age.trim_end_matches(unit).parse().with_context(|| format!("{age:?} is no age"))?;
    match unit {
        'h' => Ok(number),
        'd' => Ok(number * 24),
        'y' => Ok(number * 24 * 365),
        _ => bail!("{age:?}: an age ends in h, d or y"),
    }
}

/// The page.
fn page(topics: &[(String, Topic)]) -> Result<String> {
    let count: usize = topics.iter().map(|(_, topic)| topic.situations.len()).sum();
    let mut page = String::new();
    page.push_str(HEAD);
    writeln!(page, "\n{count} situations. Every one of them is a test.\n")?;
    for (_, topic) in topics {
        writeln!(page, "- [{}](#{})", topic.topic, anchor(&topic.topic))?;
    }
    for (file, topic) in topics {
        writeln!(page, "\n## {}\n\n[{file}](../{file})\n", topic.topic)?;
        page.push_str("| situation | what the sources said | verdict | arithmetic |\n| --- | --- | --- | --- |\n");
        for situation in &topic.situations {
            let Concluded { verdict, route, .. } = situation.concluded()?;
            let said = if situation.said.is_empty() { vec!["nothing".to_owned()] } else { situation.said.clone() };
            let arithmetic = words::arithmetic(&verdict, now()?);
            writeln!(
                page,
                "| **{}**<br>{}{} | {} | {} | {} |",
                cell(&situation.name),
                cell(&situation.why),
                circumstances(situation),
                said.iter().map(|line| format!("`{}`", cell(line))).collect::<Vec<_>>().join("<br>"),
                conclusion(&verdict, route),
                arithmetic.iter().map(|line| cell(line)).collect::<Vec<_>>().join("<br>"),
            )?;
        }
    }
    Ok(page)
}

/// What is special about a situation, in further lines of its cell.
fn circumstances(situation: &Situation) -> String {
    let mut special = vec![format!("`{}`", cell(&ioc::defang_text(&situation.observable)))];
    if !situation.required.is_empty() {
        special.push(format!("required: {}", situation.required.join(", ")));
    }
    if situation.merge == Merge::Xsoar {
        special.push("merge: xsoar".to_owned());
    }
    if let Some(Decided { verdict, days_ago }) = &situation.decision {
        special.push(format!("a person decided {} {days_ago} days ago", verdict.as_str()));
    }
    if let Some(Before { false_positives, days_ago }) = &situation.precedent {
        special.push(format!("called a false positive {false_positives} times, last {days_ago} days ago"));
    }
    if let Some(guarded) = &situation.guarded {
        special.push(format!("guarded: {guarded}"));
    }
    if situation.withheld.is_some() {
        special.push("withheld: it was not looked up".to_owned());
    }
    if situation.kind != Kind::Mail || situation.source_severity != Severity::Low {
        special.push(format!("{:?}, severity {}", situation.kind, situation.source_severity.as_str()).to_lowercase());
    }
    [String::new()].into_iter().chain(special).collect::<Vec<_>>().join("<br>")
}

fn conclusion(verdict: &Verdict, route: &str) -> String {
    let reason = verdict.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    let degraded = if verdict.degraded { "<br>degraded" } else { "" };
    format!(
        "**{}**{reason}{degraded}<br>confidence {}, coverage {}/{}<br>rule {}, route {route}",
        verdict.verdict.as_str(),
        verdict.confidence,
        verdict.coverage.answered,
        verdict.coverage.required,
        verdict.rule,
    )
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' => Some(c),
            _ => None,
        })
        .collect()
}

const HEAD: &str = "# Verdicts

<!-- Written by cargo xtask verdicts --write from tests/fixtures/verdicts. -->

How the playbook concludes from what the sources say, by example: situation, verdict, reason, arithmetic.

A fresh opinion weighs what its source's grade says (A 100, B 75, C 50, D and F 25, E 0; `playbook/grades.yaml`). It fades by
`1 − (t/τ)^(1/δ)` from the moment the source itself last saw it: addresses and URLs with τ 47 days and δ 1.65, domains and mail
addresses with 300 and 2.1, files with 460 and 0.9 (after Mokaddem et al., \"Taxonomy driven indicator scoring in MISP threat
intelligence platforms\", 2019). A *family* is an independent upstream; its opinions count once, at their highest, and an
aggregator counts only for what has not counted already. What we have written somewhere ourselves weighs 0. Sources of context
never weigh. The first rule that holds decides:

1. A person's decision, for 90 days, unless a grade-A source has seen it since, by its own `last_seen`, and says otherwise:
   then rule 2.
2. **Contradiction**, `suspicious`: malicious 50 or more, and a benign of 50 or more from grade A or B. Also what would be
   malicious, but people have called it a false positive twice and no grade-A source has seen it since. Always a person.
3. **malicious**: one grade-A family of 70 or more, or two families of 35 or more each, together 100 or more.
4. **suspicious**: malicious weight and half the suspicious weight make 35 or more.
5. **benign**: a grade A or B source of 35 or more says so, nobody says malicious or suspicious, every required family has
   answered, no source has failed, and none was left out that could have been asked. A source that is off for everybody
   (switched off, without a key, terms not accepted) was never to be asked; what has to answer is said by `required:`.
6. **unknown**, with the first reason that holds: `degraded` (a required family failed), `low_coverage` (one was not asked),
   `weak_evidence`, `expired`, `no_opinion`, `not_found`.

A verdict is `degraded` when a source failed that could have made it worse. With `merge: xsoar` the most reliable source decides
instead of rules 2 to 4, and of equally reliable ones the worst. A line of the second column is `<source> <outcome>` or
`<source> <grade> <verdict> <age>`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_situation_is_concluded_as_its_file_says_and_the_page_shows_it() {
        let project = Project::find().unwrap();
        let topics = topics(&project).unwrap();
        println!("{}", page(&topics).unwrap());
        let faults = faults(&project).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        let count: usize = topics.iter().map(|(_, topic)| topic.situations.len()).sum();
        assert!(count >= 60, "{count}");
    }

    #[test]
    fn no_two_situations_are_called_the_same() {
        let topics = topics(&Project::find().unwrap()).unwrap();
        let mut names: Vec<&str> =
            topics.iter().flat_map(|(_, topic)| &topic.situations).map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        let now = now().unwrap();
        for line in
            ["a", "a wrong", "a A malicious", "a A malicious 3x", "a A good 1h", "a not_found own", "a A benign 0h x=1"]
        {
            assert!(said(line, now).is_err(), "{line}");
        }
        let said = said("a error:timeout family=b context", now).unwrap();
        assert_eq!((said.family.as_str(), said.reason.as_deref(), said.context), ("b", Some("timeout"), true));
    }
}
