use serde_json::json;

use super::*;

const DEPLOYED: &str = "arn:aws:lambda:eu-west-1:111111111111:function:ioc-";

fn template() -> Value {
    template::parse(&template::text(&Project::find().unwrap()).unwrap()).unwrap()
}

fn shipped(word: &str) -> String {
    std::fs::read_to_string(file(&Project::find().unwrap(), word)).unwrap()
}

/// A definition as an editor might write it: keys in any order, whole numbers without a fraction, no line breaks.
fn shuffled(value: &Value, seed: &mut u64) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), shuffled(value, seed)))
                .collect();
            for at in (1..entries.len()).rev() {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                entries.swap(at, usize::try_from(*seed >> 33).unwrap() % (at + 1));
            }
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| shuffled(item, seed)).collect::<Vec<_>>().join(","))
        }
        Value::Number(number) => number.to_string().trim_end_matches(".0").to_owned(),
        other => other.to_string(),
    }
}

/// A definition as a stack holds it.
fn deployed(text: &str) -> String {
    let mut text = text.to_owned();
    for id in template::functions(&template()) {
        text = text.replace(&format!("${{{id}}}"), &format!("{DEPLOYED}{id}-AbCdEf123456"));
    }
    text.replace("${IncidentsTable}", "ioc-IncidentsTable-1ABCDEFGHIJKL")
        .replace("${AlarmTopic}", "arn:aws:sns:eu-west-1:111111111111:ioc-AlarmTopic-x1y2z3a4b5c6")
}

fn pull_text(text: &str, word: &str) -> Result<String> {
    let template = template();
    pulled(serde_json::from_str(text).unwrap(), &Names::of_ids(ids(&template)), &template, word)
}

#[test]
fn what_was_only_opened_and_saved_gives_no_difference() {
    for word in ["playbook", "enrich-only"] {
        let ours = shipped(word);
        for mut seed in 1..=5 {
            let saved = shuffled(&serde_json::from_str(&deployed(&ours)).unwrap(), &mut seed);
            assert_ne!(saved, ours);
            assert_eq!(pull_text(&saved, word).unwrap(), ours, "{word}");
            let described = json!({ "name": "x", "definition": saved }).to_string();
            assert_eq!(pull_text(&described, word).unwrap(), ours, "{word}");
        }
    }
}

#[test]
fn every_definition_is_written_in_the_canonical_form() {
    for path in definition::all(&Project::find().unwrap()).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(canonical(&serde_json::from_str(&text).unwrap()), text, "{}", path.display());
    }
}

#[test]
fn what_the_checks_refuse_is_refused_with_the_reason() {
    let check = |change: fn(&mut Value), expected: &str| {
        let mut machine: Value = serde_json::from_str(&shipped("playbook")).unwrap();
        change(&mut machine);
        let error = pull_text(&machine.to_string(), "playbook").unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check(|m| m["States"]["Close"]["TimeoutSeconds"] = json!("{% 1 %}"), "Close: TimeoutSeconds is no literal number");
    check(
        |m| m["States"]["Close"]["Arguments"]["FunctionName"] = json!("arn:aws:lambda:x:111111111111:function:mine"),
        "function:mine is no resource of the template",
    );
    check(
        |m| m["States"]["Close"]["Arguments"]["FunctionName"] = json!("${SweepFunction}"),
        "${SweepFunction} is not filled in",
    );
    check(|m| drop(m.as_object_mut().unwrap().remove("States")), "it has no States");
}

#[test]
fn a_playbooks_name_is_a_word_that_a_file_and_an_arn_can_hold() {
    for (word, is_good) in [
        ("two-approvals", true),
        ("a1", true),
        ("", false),
        ("1a", false),
        ("Two", false),
        ("a--b", false),
        ("a-", false),
        ("../x", false),
        ("an-altogether-much-too-long-name", false),
    ] {
        assert_eq!(is_word(word), is_good, "{word}");
    }
}

#[test]
fn a_copy_is_a_file_and_a_machine_and_comes_back_as_it_was() {
    let (ours, folder) = (Project::find().unwrap(), tempfile::tempdir().unwrap());
    let theirs = Project::at(folder.path());
    for file in ["statemachine/playbook.asl.json", template::FILE] {
        std::fs::create_dir_all(theirs.path(file).parent().unwrap()).unwrap();
        std::fs::copy(ours.path(file), theirs.path(file)).unwrap();
    }
    copy(&theirs, "mine").unwrap();
    assert!(copy(&theirs, "mine").unwrap_err().to_string().contains("is there already"));
    assert!(copy(&theirs, "../mine").is_err());
    let saved = folder.path().join("saved.json");
    std::fs::write(&saved, deployed(&shipped("playbook"))).unwrap();
    pull(&theirs, "mine", &Source::File(saved.clone())).unwrap();
    assert_eq!(std::fs::read_to_string(theirs.path("statemachine/mine.asl.json")).unwrap(), shipped("playbook"));
    assert!(pull(&theirs, "yours", &Source::File(saved)).unwrap_err().to_string().contains("playbook copy yours"));
}
