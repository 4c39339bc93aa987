//! What enriching one incident asks of AWS and of providers is what `docs/COSTS.md` says.

use measure::{
    page::Measured,
    scenario::{self, Counts},
    script::Known,
};
use xtask::{build, project::Project};

/// A page that says up to a tenth too much is left alone.
const SLACK: f64 = 1.1;

#[tokio::test]
async fn enriching_one_incident_costs_what_the_page_says() {
    let project = Project::find().unwrap();
    build::for_local(&project).unwrap();
    let enrich = build::target_folder(&project).unwrap().join("debug/enrich");
    let kept = std::fs::read_to_string(project.path("crates/measure/counters.json")).unwrap();
    let kept: Measured = serde_json::from_str(&kept).unwrap();
    let Counts { calls, read_units, write_units, gets, puts, .. } =
        scenario::one(&enrich, Known::Third).await.unwrap().counts;
    let said = &kept.enrich;
    assert_eq!((calls, gets, puts), (said.calls, said.gets, said.puts), "cargo xtask bench enrich --write");
    for (what, now, said) in [("read", read_units, said.read_units), ("write", write_units, said.write_units)] {
        let is_so = now <= said && said <= now * SLACK;
        assert!(is_so, "{now} {what} units, docs/COSTS.md says {said}: cargo xtask bench enrich --write");
    }
}
