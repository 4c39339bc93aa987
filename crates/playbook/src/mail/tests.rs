//! The mails as people get them. Snapshots show the text part; the HTML part is checked to say the same.

mod size;

use super::*;
use crate::{
    brief::sample,
    decision::{Choice, Question},
};

fn decision(reason: &str) -> Decision {
    Decision {
        choice: Choice::Approved,
        by: sample::APPROVER.to_owned(),
        authenticated_by: "mailbox".to_owned(),
        reason: reason.to_owned(),
        indicators: vec![
            "url#https://evil.example/login?next=invoice".to_owned(),
            "url#https://gone.example/".to_owned(),
        ],
        ..Decision::at(Timestamp::from_millis(1_800_000_000_000))
    }
}

fn check_dead(mail: &Mail) {
    for part in [&mail.text, &mail.html, &mail.subject] {
        for live in ["https://", "http://", "evil.example", "gone.example", "@soc", "\u{202e}"] {
            assert!(!part.contains(live), "{live:?} is live in {part}");
        }
    }
    for living in ["href", "<script", "src=", "url(", "@import"] {
        assert!(!mail.html.contains(living), "{living} in {}", mail.html);
    }
}

#[test]
fn everybody_is_told_what_was_decided_by_whom_and_why() {
    let assessment = sample::assessment().unwrap();
    let hostile = "see https://evil.example <script>alert(1)</script> \u{202e}";
    let mail = decided("ben@soc.example", &assessment, 1, &decision(hostile), "1 entry was written").unwrap();
    check_dead(&mail);
    for part in ["approved by ana[@]soc[.]example at 2027-01-15 08:00 UTC", "1 entry was written", "gone[.]example"] {
        assert!(mail.text.contains(part), "{part} is not in {}", mail.text);
    }
    assert_eq!(mail.thread, thread(assessment.incident_id.as_str()));
}

#[test]
fn a_subject_is_one_short_line_whatever_the_indicator_is() {
    let mut assessment = sample::assessment().unwrap();
    let long = format!("https://evil.example/{}", "a".repeat(4_000));
    let long = ioc::Observable::parse(ioc::ObservableType::Url, &long).unwrap();
    assessment.plan.entries[0].observable = long.clone();
    assessment.observables[0].sighted.observable = long;
    let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
    let brief = Brief::of(&assessment, &round, &Surroundings::default(), round.deadline.plus_minutes(-15));
    let mail = request("ben@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
    let expected = format!("→ block on served-list ({}) by 06:00Z", assessment.incident_id);
    assert!(mail.subject.ends_with(&expected), "{}", mail.subject);
    assert!(mail.subject.starts_with("[IOC review] HIGH 92/100 hxxps://evil[.]example/aaa"), "{}", mail.subject);
    assert!(mail.text.contains("You are the only one who is asked now."));
}

/// The mail as its reader sees it; the HTML has to hold every line of the text that is longer than a label.
fn check(name: &str, mail: &Mail) {
    insta::assert_snapshot!(name, format!("Subject: {}\n\n{}", mail.subject, mail.text));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let html = words(&mail.html.replace("<br>", " ").replace("&quot;", "\"").replace("&#39;", "'"));
    for indicator in ["hxxps://evil[.]example/login?next=invoice", "inc-v7nq3hwrbyvyttkgbf33us42e3"] {
        assert!(html.contains(indicator) && words(&mail.text).contains(indicator), "{indicator} is not in both parts");
    }
}

fn at(time: &str) -> Timestamp {
    Timestamp::parse(time).unwrap()
}

#[test]
fn the_next_level_reads_that_nobody_answered_and_what_was_done_already() {
    let (assessment, round, around) = sample::busy().unwrap();
    let brief = Brief::of(&assessment, &round, &around, at("2026-11-24T06:00:00Z"));
    let mail = request("lead@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
    assert!(mail.subject.ends_with("by 07:00Z, nobody answered before"), "{}", mail.subject);
    check("request_of_the_next_level", &mail);
}

#[test]
fn a_later_run_says_that_it_is_looked_at_again_and_what_was_decided_before() {
    let mut assessment = sample::assessment().unwrap();
    assessment.run = 2;
    let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
    let around = Surroundings { decided: vec![decision("it was a newsletter")], ..Surroundings::default() };
    let brief = Brief::of(&assessment, &round, &around, at("2026-11-24T05:00:00Z"));
    let mail = request("ana@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
    assert!(mail.subject.starts_with("[IOC review] looked at again: HIGH"), "{}", mail.subject);
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Looked at again (run 2)"), "{part}");
        assert!(
            part.contains("approved by ana[@]soc[.]example at 2027-01-15 08:00 UTC: it was a newsletter"),
            "{part}"
        );
    }
}

#[test]
fn the_reminder_says_how_much_time_is_left_and_holds_no_link() {
    let assessment = sample::assessment().unwrap();
    let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
    let brief = Brief::of(&assessment, &round, &Surroundings::default(), at("2026-11-24T05:30:00Z"));
    let mail = reminder("ana@soc.example", &brief).unwrap();
    check_dead(&mail);
    check("reminder", &mail);
}

#[test]
fn the_end_of_a_round_says_who_is_asked_next_or_what_stays() {
    let (assessment, last, around) = sample::busy().unwrap();
    let first = around.earlier[0].clone();
    let before = Surroundings { earlier: vec![], ..around.clone() };
    let quiet = sample::assessment().unwrap();
    let alone = Round { last: true, ..sample::round(&quiet, Question::ApprovePlan).unwrap() };
    for (name, mail) in [
        ("expired_and_the_next_level_is_asked", expired("ana@soc.example", &assessment, &first, &before)),
        ("expired_for_good", expired("ana@soc.example", &assessment, &last, &around)),
        ("expired_without_a_ticket", expired("ana@soc.example", &quiet, &alone, &Surroundings::default())),
    ] {
        let mail = mail.unwrap();
        check_dead(&mail);
        check(name, &mail);
    }
}

#[test]
fn the_decision_says_who_why_and_what_was_done() {
    let assessment = sample::assessment().unwrap();
    let result = "1 entry was written, of 2 that were approved; 1 was refused: over the cap of 50 entries an incident";
    let mail = decided("ben@soc.example", &assessment, 1, &decision("known phishing kit"), result).unwrap();
    check("decided", &mail);
}

fn lost(brief: &Brief, is_final: bool) -> Result<Mail, Fault> {
    let why = if is_final { "it bounced for good (General)" } else { "the other side does not take it at the moment" };
    undelivered("ana@soc.example", brief, &Unreached { address: "ben@soc.example", why, is_final })
}

#[test]
fn the_others_are_told_who_is_not_reached() {
    let assessment = sample::assessment().unwrap();
    let round = sample::round(&assessment, Question::ApprovePlan).unwrap();
    let brief = Brief::of(&assessment, &round, &Surroundings::default(), at("2026-11-24T05:02:00Z"));
    for (name, is_final) in [("undelivered_for_good", true), ("undelivered_for_now", false)] {
        let mail = lost(&brief, is_final).unwrap();
        check_dead(&mail);
        check(name, &mail);
    }
}

#[test]
fn a_level_after_one_that_nobody_reached_reads_that() {
    let (assessment, round, mut around) = sample::busy().unwrap();
    around.earlier[0].undelivered = around.earlier[0].asked.clone();
    let brief = Brief::of(&assessment, &round, &around, round.deadline.plus_minutes(-60));
    let mail = request("lead@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
    assert!(mail.subject.ends_with("by 07:00Z, nobody was reached before"), "{}", mail.subject);
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("You are asked because nobody was reached:"), "{part}");
        assert!(part.contains("could not be reached by mail at 2026-11-24 05:00 UTC"), "{part}");
    }
}

#[test]
fn no_two_kinds_of_mail_have_the_same_subject() {
    let (assessment, last, around) = sample::busy().unwrap();
    let brief = Brief::of(&assessment, &last, &around, last.deadline.plus_minutes(-30));
    let next = Round { last: false, ..last.clone() };
    let mails = [
        request("a@soc.example", &brief, "https://review.soc.example/r/secret", &[]),
        reminder("a@soc.example", &brief),
        expired("a@soc.example", &assessment, &next, &around),
        expired("a@soc.example", &assessment, &last, &around),
        decided("a@soc.example", &assessment, 1, &decision("bad"), ""),
        lost(&brief, true),
        lost(&brief, false),
    ];
    let subjects: std::collections::BTreeSet<String> = mails.into_iter().map(|mail| mail.unwrap().subject).collect();
    assert_eq!(subjects.len(), 7, "{subjects:?}");
}

#[test]
fn an_authors_question_speaks_of_no_approval() {
    let assessment = sample::assessment().unwrap();
    let asked = |evidence: &str| {
        let asks = serde_json::json!({
            "question": "Shall dc01 be isolated?", "evidence": evidence,
            "choices": [{"value": "isolate", "label": "Isolate it", "effect": "the network team is paged"}],
        });
        let asks = Some(serde_json::from_value(asks).unwrap());
        let round = Round { asks, ..sample::round(&assessment, Question::Manual).unwrap() };
        let brief = Brief::of(&assessment, &round, &Surroundings::default(), round.deadline);
        let mail = request("ben@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
        for part in [&mail.text, &mail.html] {
            for expected in ["Shall dc01 be isolated?", "Isolate it", "the network team is paged"] {
                assert!(part.contains(expected), "{expected} is not in {part}");
            }
            for absent in ["What approval", "WHAT APPROVAL", "would be blocked", "False positive", "aws lambda"] {
                assert!(!part.contains(absent), "{absent} is in {part}");
            }
        }
        mail
    };
    let shown = asked("assessment");
    assert!(shown.text.contains("EVIDENCE") && shown.text.contains("urlhaus") && shown.html.contains("urlhaus"));
    let hidden = asked("nothing");
    for absent in ["EVIDENCE", "Evidence", "urlhaus", "SOURCES THAT FAILED", "RELATED"] {
        assert!(!hidden.text.contains(absent) && !hidden.html.contains(absent), "{absent} is in {}", hidden.text);
    }
}

#[test]
fn what_takes_two_people_says_so() {
    let mut assessment = sample::assessment().unwrap();
    assessment.plan.entries[0].second = Some("policy calls it critical".to_owned());
    let check = |sign_in: bool, expected: &str| {
        let round = Round { sign_in, ..sample::round(&assessment, Question::ApprovePlan).unwrap() };
        let brief = Brief::of(&assessment, &round, &Surroundings::default(), round.deadline);
        let mail = request("ben@soc.example", &brief, "https://review.soc.example/r/secret", &[]).unwrap();
        assert!(mail.text.contains(expected), "{expected} is not in {}", mail.text);
        assert!(mail.html.to_lowercase().contains(expected), "{expected} is not in {}", mail.html);
    };
    check(true, "takes a second person: policy calls it critical");
    check(false, "cannot be approved here: policy calls it critical: two people have to sign in");
}
