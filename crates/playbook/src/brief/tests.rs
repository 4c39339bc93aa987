//! What a brief says of score, impact, undo and earlier rounds.

use super::*;
use crate::assessment::Said;

fn brief(assessment: &Assessment, question: Question) -> Brief {
    let round = sample::round(assessment, question).unwrap();
    Brief::of(assessment, &round, &Surroundings::default(), assessment.assessed_at)
}

#[test]
fn the_score_is_the_highest_confidence_of_what_approval_blocks_and_says_so() {
    let mut assessment = sample::assessment().unwrap();
    assessment.observables[0].conclusion.confidence = 71;
    let check = |assessment: &Assessment, expected: Option<(u32, &str)>| {
        let score = brief(assessment, Question::ApprovePlan).score;
        let value = score.as_ref().map(|score| score.value);
        assert_eq!(value, expected.map(|(value, _)| value));
        let basis = score.map(|score| score.basis).unwrap_or_default();
        assert!(basis.contains(expected.map_or("", |(_, words)| words)), "{basis}");
    };
    // What is torn or guarded is surer, and is not what approval blocks.
    check(
        &assessment,
        Some((71, "malicious on hxxps://evil[.]example/login?next=invoice, the highest of what approval")),
    );
    assessment.plan.entries[0].ticked = false;
    check(
        &assessment,
        Some((92, "suspicious on cdn[.]evil[.]example, the highest of what can be ticked: the sources")),
    );
    assessment.plan.entries.clear();
    check(&assessment, Some((92, "the highest of what is malicious or suspicious")));
    assessment.observables.retain(|assessed| !assessed.conclusion.is_bad());
    check(&assessment, None);
}

#[test]
fn what_is_asked_is_said_in_a_few_words() {
    let mut assessment = sample::assessment().unwrap();
    let check = |assessment: &Assessment, question, expected: &str| {
        assert_eq!(brief(assessment, question).asks, expected);
    };
    check(&assessment, Question::NeedsData, "what now?");
    check(&assessment, Question::ApprovePlan, "block on served-list");
    let mut more = assessment.plan.entries[0].clone();
    more.target = "waf".to_owned();
    assessment.plan.entries.push(more.clone());
    check(&assessment, Question::ApprovePlan, "block on served-list and waf");
    more.target = "dns-firewall".to_owned();
    assessment.plan.entries.push(more);
    check(&assessment, Question::ApprovePlan, "block on 3 targets");
    assessment.plan.entries.retain(|entry| !entry.ticked);
    check(&assessment, Question::ApprovePlan, "block? sources disagree");
    assessment.plan.entries.clear();
    check(&assessment, Question::ApprovePlan, "malicious or not?");
}

#[test]
fn the_impact_says_what_is_blocked_and_only_what_is_known_of_others() {
    let mut assessment = sample::assessment().unwrap();
    assessment.observables[1].evidence.push(Said {
        provider: "rdap".to_owned(),
        outcome: "found".to_owned(),
        reason: None,
        verdict: None,
        text: Some("registered 2011 at https://registrar.example".to_owned()),
        permalink: None,
        seen: assessment.assessed_at,
    });
    assessment.observables[0].history = None;
    let offers = brief(&assessment, Question::ApprovePlan).offers;
    let expected =
        ["blocks this one URL; the rest of the site stays reachable", "how often it was seen here is not known"];
    assert_eq!(offers[0].impact, expected);
    let expected = [
        "blocks this name and every name below it",
        "isolated: in no other incident",
        "called harmless by hashlookup: somebody may need it",
        "rdap: registered 2011 at hxxps://registrar[.]example",
    ];
    assert_eq!(offers[1].impact, expected);
}

#[test]
fn the_undo_names_this_round_and_nothing_is_undone_where_nothing_is_blocked() {
    let assessment = sample::assessment().unwrap();
    let undo = brief(&assessment, Question::ApprovePlan).undo;
    let payload = format!(r#"{{"act": "release", "incident_id": "{}", "run": 1, "round": 1}}"#, assessment.incident_id);
    assert!(undo[2].contains(&format!("--payload '{payload}'")), "{undo:?}");
    assert!(brief(&assessment, Question::NeedsData).undo.is_empty());
}

#[test]
fn a_level_that_could_not_be_reached_has_not_kept_silent() {
    let (assessment, second, around) = sample::busy().unwrap();
    let check = |undelivered: &[&str], is_unreached: bool, expected: &str| {
        let mut around = around.clone();
        around.earlier[0].undelivered = undelivered.iter().map(ToString::to_string).collect();
        let brief = Brief::of(&assessment, &second, &around, second.deadline);
        assert_eq!(brief.earlier, [expected]);
        let because = if is_unreached { "nobody was reached" } else { "nobody answered" };
        assert_eq!(brief.asked_because, because);
    };
    let (both, at) = ("ana[@]soc[.]example, ben[@]soc[.]example", "at 2026-11-24 05:00 UTC");
    check(&[], false, &format!("level 1: {both} were asked {at} and did not answer by 06:00 UTC"));
    let half = format!(
        "level 1: ana[@]soc[.]example was asked {at} and did not answer by 06:00 UTC; ben[@]soc[.]example could not be \
         reached by mail"
    );
    check(&[sample::OTHER_APPROVER], false, &half);
    let lost = format!("level 1: {both} could not be reached by mail {at}");
    check(&[&sample::APPROVER.to_uppercase(), sample::OTHER_APPROVER], true, &lost);
}

#[test]
fn what_is_cut_twice_is_counted_once() {
    let lines = |number: usize| (0..number).map(|n| n.to_string()).collect::<Vec<String>>();
    let check = |number: usize, max: usize, last: &str, shown: usize| {
        let cut = at_most(&bounded(lines(number).into_iter()), max);
        assert_eq!((cut.last().map(String::as_str), cut.len()), (Some(last), shown), "{number} lines, {max} shown");
    };
    check(3, 3, "2", 3);
    check(4, 3, "and 1 more", 4);
    check(50, 50, "49", 50);
    check(51, 50, "and 1 more", 51);
    check(200, 50, "and 150 more", 51);
    check(200, 4, "and 196 more", 5);
    // Whoever writes such a line changes no count.
    let hostile = ["a".to_owned(), "and 900 more".to_owned()];
    assert_eq!(at_most(&hostile, 1), ["a", "and 1 more"]);
    // A list that nobody has bounded counts nothing, however long it is.
    assert_eq!(at_most(&lines(51), 50).last().map(String::as_str), Some("and 1 more"));
}
