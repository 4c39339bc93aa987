//! `cargo xtask replay`: a receipt reaches its verdict again, without AWS and without the providers.

use anyhow::{Context, Result};
use playbook::{
    receipt::Receipt,
    verdict::{Facts, Merge, Verdict, words},
};
use serde_json::json;

use crate::{extract_command::word, term};

/// Replays every receipt of a file, or of standard input for `-`. False when the rule gives another verdict today.
pub fn receipts(path: &str, explain: bool, json: bool) -> Result<bool> {
    let bytes = if path == "-" {
        let mut bytes = vec![];
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
        bytes
    } else {
        std::fs::read(path).with_context(|| format!("{path} cannot be read"))?
    };
    let receipts = Receipt::parse(&bytes).with_context(|| format!("{path} cannot be replayed"))?;
    let mut same = true;
    let mut told = vec![];
    for (number, receipt) in receipts.iter().enumerate() {
        let (verdict, differences) = receipt.replay();
        same &= differences.is_empty();
        if json {
            told.push(json!({
                "incident_id": receipt.incident_id,
                "observable": receipt.facts.observable,
                "verdict": verdict,
                "dbot_score": verdict.dbot_score(),
                "arithmetic": words::arithmetic(&verdict, receipt.now),
                "rule": words::rule(verdict.rule),
                "same": differences.is_empty(),
                "differences": differences,
            }));
        } else {
            if number > 0 {
                term::line("");
            }
            term::line(&human(receipt, &verdict, &differences, explain));
        }
    }
    if json {
        term::line(&serde_json::to_string_pretty(&json!({ "same": same, "receipts": told }))?);
    }
    Ok(same)
}

/// What became of a folder of receipts.
#[derive(Debug, Default)]
pub struct Replayed {
    /// How many reach the verdict that they hold.
    pub same: usize,
    /// The others: the file, the observable and the first term that differs.
    pub differing: Vec<String>,
}

impl std::fmt::Display for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.same + self.differing.len();
        match self.differing.as_slice() {
            [] => write!(f, "{all} replayed, all equal"),
            some => write!(f, "{all} replayed, {} not equal:\n  {}", some.len(), some.join("\n  ")),
        }
    }
}

/// Replays every file of a folder.
pub fn folder(folder: &std::path::Path) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for receipt in Receipt::parse(&std::fs::read(&path)?).with_context(|| name.clone())? {
            match receipt.replay().1.first() {
                None => replayed.same += 1,
                Some(term) => replayed.differing.push(format!("{name}: {}: {term}", receipt.facts.observable)),
            }
        }
    }
    replayed.differing.sort();
    Ok(replayed)
}

fn human(receipt: &Receipt, verdict: &Verdict, differences: &[String], explain: bool) -> String {
    let mut lines = vec![];
    let reason = verdict.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    let degraded = if verdict.degraded { ", degraded: a source failed, so that it may be worse" } else { "" };
    lines.push(format!("{}  {}", receipt.facts.observable.kind(), receipt.facts.observable.defanged()));
    lines.push(format!("verdict     {}{reason}{degraded}", term::bold(verdict.verdict.as_str())));
    lines.push(format!("confidence  {} of 100, as in STIX; DBotScore {}", verdict.confidence, verdict.dbot_score()));
    lines.push(format!(
        "coverage    {} of {} required sources answered",
        verdict.coverage.answered, verdict.coverage.required
    ));
    lines.push(format!("rule {}      {}", verdict.rule, words::rule(verdict.rule)));
    lines.push(format!(
        "incident    {} run {}, judged {} by configuration {}",
        receipt.incident_id,
        receipt.run,
        receipt.now,
        short(&receipt.config_digest)
    ));
    lines.push(String::new());
    lines.extend(words::arithmetic(verdict, receipt.now).into_iter().map(|line| format!("  {line}")));
    if explain {
        lines.push(String::new());
        lines.push(explanation(receipt, verdict));
    }
    lines.push(String::new());
    if differences.is_empty() {
        lines.push("The same verdict as in the receipt.".to_owned());
    } else {
        lines.push("NOT the same as in the receipt:".to_owned());
        lines.extend(differences.iter().map(|difference| format!("  {difference}")));
    }
    lines.join("\n")
}

fn explanation(receipt: &Receipt, verdict: &Verdict) -> String {
    let mut rows = vec![["PROVIDER", "FAMILY", "REQUIRED", "OUTCOME", "REASON", "FETCHED"].map(str::to_owned).to_vec()];
    for outcome in &receipt.facts.outcomes {
        rows.push(vec![
            outcome.provider.clone(),
            outcome.family.clone(),
            if receipt.facts.required.contains(&outcome.family) { "yes" } else { "no" }.to_owned(),
            outcome.outcome.as_str().to_owned(),
            outcome.reason.clone().unwrap_or_default(),
            outcome.fetched_at.to_string(),
        ]);
    }
    let mut text = format!("What became of each lookup:\n{}\n", term::table(&rows));
    if !verdict.opinions.is_empty() {
        let mut rows = vec![["PROVIDER", "FAMILY", "RELIABILITY", "AT MOST", "SEEN"].map(str::to_owned).to_vec()];
        rows.extend(verdict.opinions.iter().map(|opinion| {
            let ceiling = receipt.facts.grades.get(&opinion.provider);
            vec![
                opinion.provider.clone(),
                opinion.family.clone(),
                opinion.grade.reliability().to_owned(),
                ceiling.map_or_else(|| "as it says".to_owned(), word),
                opinion.seen.to_string(),
            ]
        }));
        text.push_str(&["\nHow far each was trusted:\n", &term::table(&rows), "\n"].concat());
    }
    let people = people(&receipt.facts);
    if !people.is_empty() {
        text.push_str(&["\nWhat people had said:\n", &people, "\n"].concat());
    }
    if receipt.facts.merge == Merge::Xsoar {
        text.push_str(
            "\nMerged as Cortex XSOAR merges: the most reliable source decides, of equally reliable ones the worst.\n",
        );
    }
    text.push_str("\nAn opinion weighs its grade (A 100, B 75, C 50, D and F 25, E 0) times its freshness, counted in whole hours from SEEN to\n");
    text.push_str("the verdict. The opinions of one family count once, at their highest. The rules are tried from 1 to 6; the first that\n");
    text.push_str("holds decides:\n");
    for number in 1..=6_u8 {
        let mark = if number == verdict.rule { "→" } else { " " };
        text.push_str("  ");
        text.push_str(&[mark, " ", &number.to_string(), "  ", words::rule(number), "\n"].concat());
    }
    text.trim_end().to_owned()
}

/// What people had said of it before, a line each; empty when nothing.
fn people(facts: &Facts) -> String {
    let decision = facts.decision.as_ref().map(|decision| {
        let (verdict, by) = (decision.verdict.as_str(), &decision.by);
        format!("  {by} decided {verdict} at {}, which rules until {}", decision.at, decision.expires_at)
    });
    let precedent = facts.precedent.map(|before| {
        format!("  called a false positive in {} incidents, last at {}", before.false_positives, before.last_at)
    });
    decision.into_iter().chain(precedent).collect::<Vec<_>>().join("\n")
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
