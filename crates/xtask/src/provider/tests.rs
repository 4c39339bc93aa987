use super::*;

/// What `new` writes is good, off, and does what its cases say.
#[test]
fn a_new_provider_does_what_its_cases_say() {
    for kind in [ProviderKind::Http, ProviderKind::Dns, ProviderKind::List] {
        let yaml = skeleton::manifest("my-source", kind);
        let manifest = Manifest::parse(&yaml, "playbook/providers/my-source.yaml").unwrap();
        assert_eq!((manifest.name.as_str(), manifest.off_reason()), ("My source", Some("disabled")));
        let cases: Vec<Case> = skeleton::cases("my-source", kind)
            .into_iter()
            .map(|(name, text)| Case::parse(&text, name).unwrap())
            .collect();
        let now = Timestamp::parse(NOW).unwrap();
        for case in &cases {
            assert_eq!(case.differences(&manifest, &Grades::default(), now), Vec::<String>::new(), "{kind:?} {case:?}");
        }
        assert!(contract::unshown(&manifest, &cases).is_empty(), "{kind:?}");
    }
}

#[test]
fn an_id_names_a_file_in_its_folder_and_no_other() {
    let project = Project::find().unwrap();
    for id in ["", "../policy", "a/b", "A", "-a", "a.yaml", &"a".repeat(41)] {
        assert!(file(&project, id).is_err(), "{id}");
    }
    assert!(file(&project, "my-source").unwrap().ends_with("playbook/providers/my-source.yaml"));
}
