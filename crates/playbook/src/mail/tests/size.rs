//! However much there is to say, a mail is shown whole, and says what it leaves out.

use ioc::{Observable, ObservableType};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::assessment::Said;

const OBSERVABLES: usize = 200;
const PROVIDERS: usize = 20;
/// What Gmail shows of a mail.
const SHOWN_BYTES: usize = 102 * 1024;
const LINK: &str = "https://review.soc.example/r/secret";

/// What an answer says: texts as long as a provider likes, of characters that take room in HTML.
#[derive(Clone, Debug)]
struct Load {
    text: String,
    path: String,
    /// Characters of them that the first and the last have.
    chars: usize,
    is_planned: bool,
}

fn load() -> impl Strategy<Value = Load> {
    let text = proptest::collection::vec(
        prop::sample::select(vec!['<', '&', '"', 'é', '漢', '🦀', '\u{202e}', 'a', ' ', '.']),
        1..40,
    );
    (text, "[a-z&']{1,30}", 1_usize..4_000, any::<bool>()).prop_map(|(text, path, chars, is_planned)| {
        let long = |unit: String| unit.chars().cycle().take(chars).collect::<String>();
        Load { text: long(text.into_iter().collect()), path: long(path), chars, is_planned }
    })
}

/// As many observables and answers as nobody reads in a mail.
fn crowded(load: &Load) -> Assessment {
    let mut assessment = sample::assessment().unwrap();
    let model = assessment.observables[1].clone();
    let entry = assessment.plan.entries[0].clone();
    assessment.observables.clear();
    assessment.plan.entries.clear();
    let seen = assessment.assessed_at;
    let said = |provider: usize| Said {
        provider: format!("provider-{provider:02}"),
        outcome: if provider == 17 { "error" } else { "found" }.to_owned(),
        reason: None,
        verdict: Some(if provider == 18 { "benign" } else { "suspicious" }.to_owned()),
        text: Some(load.text.clone()),
        permalink: Some(format!("https://provider.example/{}", load.path)),
        seen,
    };
    for number in 0..OBSERVABLES {
        let url = format!("https://evil.example/{number}/{}", load.path);
        let mut assessed = model.clone();
        assessed.sighted.observable = Observable::parse(ObservableType::Url, &url).unwrap();
        assessed.sighted.places = vec![load.text.clone(); 8];
        assessed.evidence = (0..PROVIDERS).map(said).collect();
        if load.is_planned {
            let mut entry = entry.clone();
            entry.observable = assessed.sighted.observable.clone();
            assessment.plan.entries.push(entry);
        }
        assessment.observables.push(assessed);
    }
    assessment.subject = load.text.clone();
    assessment.severity_terms = vec![load.text.clone(); 80];
    assessment.failed = vec![load.text.clone(); 80];
    assessment.off = vec![load.text.clone(); 80];
    assessment
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn two_hundred_observables_of_twenty_providers_fit_and_what_is_left_out_is_counted(load in load()) {
        let assessment = crowded(&load);
        let round = Round { skipped: vec![load.text.clone(); 80], ..sample::round(&assessment, Question::ApprovePlan).unwrap() };
        let written = serde_json::from_value(json!({
            "type": "url", "value": "https://evil.example/", "target": "misp", "act": "record", "lifetime_hours": 1,
            "expires_at": sample::ASSESSED_AT, "ticked": false, "refused": null })).unwrap();
        let written = brief::Written { entry: written, ledger: None, refused: Some(load.text.clone()) };
        let around = Surroundings { written: vec![written; 60], ..Surroundings::default() };
        let brief = Brief::of(&assessment, &round, &around, round.deadline.plus_minutes(-9));
        let others = vec!["x".repeat(254); 80];
        let asked = request("ana@soc.example", &brief, LINK, &others).unwrap();
        let unreached = Unreached { address: "ben@soc.example", why: &load.text, is_final: true };
        let long = Decision { indicators: assessment.observables.iter().map(|a| a.sighted.observable.key()).collect(), ..decision(&load.text) };
        for mail in [
            asked.clone(),
            reminder("ana@soc.example", &brief).unwrap(),
            expired("ana@soc.example", &assessment, &round, &around).unwrap(),
            undelivered("ana@soc.example", &brief, &unreached).unwrap(),
            decided("ana@soc.example", &assessment, 1, &long, &load.text).unwrap(),
        ] {
            let (text, html) = (mail.text.len(), mail.html.len());
            prop_assert!(text <= SHOWN_BYTES && html <= SHOWN_BYTES, "{text} and {html} bytes: {}", mail.subject);
            prop_assert!(mail.subject.chars().count() <= SUBJECT_MAX_CHARS, "{}", mail.subject);
            prop_assert!(mail.html.trim_end().ends_with("</html>"));
        }
        prop_assert!(asked.subject.ends_with(") by 06:00Z"), "{}", asked.subject);
        prop_assert_eq!(asked.html.matches("href=").count(), 1);
        prop_assert_eq!(asked.html.matches("http").count(), 2, "our link, to press and to read");

        // Whatever is not shown is counted, in both parts.
        let shown = asked.html.matches("<table>").count();
        prop_assert!(shown >= 3, "{shown} observables");
        let left_out = format!("{} of {OBSERVABLES} observables", OBSERVABLES - shown);
        let answers = PROVIDERS * shown - asked.html.matches("<th scope=\"row\">").count();
        for part in [&asked.text, &asked.html] {
            prop_assert!(part.contains(&left_out), "{left_out} in {part}");
            prop_assert!(answers == 0 || part.contains(&format!("{answers} answers of sources")), "{answers} in {part}");
            // Who failed and who disagrees is there, however little is.
            prop_assert!(part.contains("provider-17") && part.contains("provider-18"), "{part}");
        }
        if load.chars > 1_000 {
            prop_assert!(asked.text.contains(" long texts, each marked by …"), "{}", asked.text);
        }
    }
}
